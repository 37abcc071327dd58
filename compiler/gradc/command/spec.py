"""From SPEC to a differentiated function: ``file.py:function``, ``package.module:function`` or ``--expr TEXT``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

from gradc.api.decorator import differentiate
from gradc.api.differentiated import Differentiated
from gradc.api.expression_source import text_function
from gradc.errors import GradcError, InputRefused
from gradc.lang.signature import Signature
from gradc.pipeline import Options


def load(spec: str | None, expression: str | None, options: Options) -> Differentiated[..., Any]:
    """The function that a command line names.

    Raises
    ------
    InputRefused
        Neither or both were given, or there is nothing of that name.
    """
    if (spec is None) == (expression is None):
        raise InputRefused(
            "give one of SPEC and --expr", do='gradc grad --expr "(x + y) * z" --at x=-2 y=5 z=-4'
        )
    if expression is not None:
        function, source = text_function(expression)
        return Differentiated(
            source, Signature(function, None, (), numbers_are_floats=True), function, options
        )
    assert spec is not None
    return _as_differentiated(_find(spec), options)


def _as_differentiated(found: Any, options: Options) -> Differentiated[..., Any]:
    if isinstance(found, Differentiated):
        return found if found.options == options else found.with_options(target=options.target)
    if inspect.isfunction(found):
        return differentiate(found, target=options.target, stabilise=options.stabilise)
    raise InputRefused(f"{found!r} is no function", do="name a Python function or a differentiated one")


def _find(spec: str) -> Any:
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name:
        raise InputRefused(
            f"SPEC {spec!r} names no function", do="write file.py:function or package.module:function"
        )
    module = _module_of_file(Path(place)) if place.endswith(".py") else _module_by_name(place)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            near = ", ".join(
                sorted(n for n, v in vars(module).items() if callable(v) and not n.startswith("_"))[:8]
            )
            raise InputRefused(f"{place} has no {name!r}", why=f"it has {near or 'no functions'}")
        found = getattr(found, part)
    return found


def _module_of_file(path: Path) -> Any:
    if not path.is_file():
        raise InputRefused(
            f"there is no file {path}", do="give the path of a Python file, then ':' and a function"
        )
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    loader = importlib.util.spec_from_file_location(f"gradc_spec_{path.stem}", path)
    assert loader is not None
    assert loader.loader is not None
    module = importlib.util.module_from_spec(loader)
    sys.modules[loader.name] = module
    try:
        loader.loader.exec_module(module)
    except GradcError:
        raise
    except Exception as error:
        raise InputRefused(
            f"running {path} failed: {type(error).__name__}: {error}",
            why="the file is run to find the function in it",
            do='put what should not run here under `if __name__ == "__main__":`',
        ) from error
    return module


def _module_by_name(name: str) -> Any:
    sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputRefused(
            f"cannot import {name}: {error}", do="check the module path, or give file.py:function"
        ) from error
    finally:
        sys.path.remove("")
