"""From SPEC (``file.py:function`` or ``package.module:function``) or ``--expr`` to a function to derive."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from gradc.api.decorator import differentiate
from gradc.api.differentiated import Differentiated
from gradc.api.expression_source import text_function
from gradc.command.documents import named
from gradc.errors import GradcError, InputRefused
from gradc.lang.signature import Signature
from gradc.pipeline import Options
from gradc_runtime.cuda_errors import CudaError

_RUN = "the file is run to find the function in it"
_GUARD = 'put what should not run here under `if __name__ == "__main__":`'


def load(spec: str | None, expression: str | None, options: Options) -> Differentiated[..., Any]:
    """Return the function that a command line names.

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
    return _as_differentiated(_find(spec), spec, options)


def _as_differentiated(found: Any, spec: str, options: Options) -> Differentiated[..., Any]:
    if isinstance(found, Differentiated):
        chosen = {"target": options.target, "products": options.products}
        same = all(getattr(found.options, name) == value for name, value in chosen.items())
        return found if same else found.with_options(**chosen)
    plain = inspect.unwrap(getattr(found, "py_func", found))  # of Numba; of functools.cache and wraps
    if inspect.isfunction(plain) or inspect.ismethod(plain):
        return differentiate(
            plain, target=options.target, products=options.products, stabilise=options.stabilise
        )
    raise InputRefused(
        f"{named(spec)} is no function",
        why=f"its type is {named(type(found).__name__)}",
        do="name a Python function or a differentiated one",
    )


def _find(spec: str) -> Any:
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name or spec.endswith(".py"):
        raise InputRefused(
            f"SPEC `{named(spec)}` names no function",
            why=_functions_of_file(Path(spec)) if spec.endswith(".py") else "",
            do="write file.py:function or package.module:function",
        )
    module = module_of_file(Path(place)) if place.endswith(".py") else _module_by_name(place)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise InputRefused(f"{named(place)} has no `{named(name)}`", why=_offered(module, name))
        found = getattr(found, part)
    return found


def _offered(module: ModuleType, wanted: str) -> str:
    """Return the functions that a module defines itself, those of similar name first."""
    own = sorted(
        name
        for name, value in vars(module).items()
        if isinstance(value, Differentiated)
        or (inspect.isfunction(value) and value.__module__ == module.__name__)
    )
    close = difflib.get_close_matches(wanted, own, n=3)
    listed = [*close, *(name for name in own if name not in close)][:8]
    return f"its functions are {named(', '.join(listed))}" if listed else "it has no functions"


def _functions_of_file(path: Path) -> str:
    """Return the functions that a file defines, found without running it."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ""
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return f"its functions are {named(', '.join(names[:8]))}" if names else "it has no functions"


def module_of_file(path: Path) -> ModuleType:
    """Run a Python file as a module of its own.

    Raises
    ------
    InputRefused
        There is no such file, or it fails.
    """
    if not path.is_file():
        raise InputRefused(
            f"there is no file {named(path)}", do="give the path of a Python file, then `:` and a function"
        )
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = f"gradc_spec_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    _run(module, found.loader.exec_module, path)
    return module


def _run(module: ModuleType, execute: Any, path: Path) -> None:
    """Run the user's file; whatever stops it is told as what it is."""
    try:
        execute(module)
    except (GradcError, CudaError):
        raise
    except KeyboardInterrupt as error:
        error.add_note(f"it was running {named(path)} to find the function; {_GUARD}")
        raise
    except SystemExit as error:
        what = f"running {named(path)} ended the program with sys.exit({named(error.code)})"
        raise InputRefused(what, why=_RUN, do=_GUARD) from error
    except Exception as error:
        remedy = "" if isinstance(error, SyntaxError) else _import_remedy(error, path) or _GUARD
        what = f"running {named(path)} failed: {type(error).__name__}: {named(error)}"
        raise InputRefused(what, where=_line_of(error, path), why=_RUN, do=remedy) from error


def _line_of(error: Exception, path: Path) -> str:
    """Return the line of the user's file that was running."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve() == path.resolve()
    ]
    if isinstance(error, SyntaxError):
        lines.append(error.lineno)
    return f"{named(path)}:{lines[-1]}" if lines else ""


def _import_remedy(error: Exception, path: Path) -> str:
    """For a relative import: the SPEC that names the file as part of its package."""
    if not (isinstance(error, ImportError) and "relative import" in str(error)):
        return ""
    parts, folder = [path.stem], path.resolve().parent
    while (folder / "__init__.py").is_file():
        parts, folder = [folder.name, *parts], folder.parent
    return f"relative imports need the package: in {named(folder)} write SPEC as {'.'.join(parts)}:function"


def _module_by_name(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise InputRefused(
            f"`{named(name)}` is neither a Python file nor a module",
            do="write file.py:function or package.module:function",
        )
    sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name + ".").startswith(error.name + "."):
            raise InputRefused(
                f"there is no module {named(error.name)}",
                where=f"SPEC {named(name)}",
                do="run gradc in the folder that holds the package, or give file.py:function",
            ) from error
        raise InputRefused(f"importing {named(name)} failed: {named(error)}", do="install it") from error
    except GradcError:
        raise
    except SystemExit as error:
        what = f"importing {named(name)} ended the program with sys.exit({named(error.code)})"
        raise InputRefused(
            what, why="the module is imported to find the function in it", do=_GUARD
        ) from error
    except Exception as error:
        raise InputRefused(
            f"importing {named(name)} failed: {type(error).__name__}: {named(error)}",
            why="the module is imported to find the function in it",
            do=_GUARD,
        ) from error
    finally:
        sys.path.remove("")
