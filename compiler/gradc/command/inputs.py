"""Arguments for a function, from ``--at``, ``--inputs``, ``--shape``, annotations, or drawn at random."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradc.api.differentiated import Differentiated
from gradc.errors import InputRefused
from gradc.ir.types import DType
from gradc.lang.annotations import ArrayType, annotated_type
from gradc.lang.values import nest, parse_assignment, parse_value

SIZES = (5, 7, 3, 4, 6, 2)  # for named extents without a size: different, so that a mixed-up axis shows


@dataclass(frozen=True, slots=True)
class Inputs:
    """Arguments by name; `drawn` describes those that were drawn at random."""

    arguments: dict[str, Any]
    drawn: tuple[str, ...]
    seed: int


def gather(
    function: Differentiated[..., Any],
    at: Sequence[str],
    shapes: Sequence[str],
    file: Path | None,
    seed: int,
) -> Inputs:
    """Arguments for every parameter.

    Raises
    ------
    InputRefused
        A name is unknown, or a parameter has neither value, shape nor default.
    """
    rng = np.random.default_rng(seed)
    given: dict[str, Any] = dict(_file(file)) if file is not None else {}
    pairs = [parse_assignment(word) for word in at]
    given.update(nest((name, parse_value(text, rng=rng)) for name, text in pairs))
    wanted = {name: _extents(text) for name, text in (parse_assignment(word) for word in shapes)}
    parameters = function.signature.python.parameters
    for name in (*given, *wanted):
        if name not in parameters:
            raise InputRefused(
                f"there is no argument {name!r}", why=f"the arguments are {', '.join(parameters)}"
            )
    drawn: list[str] = []
    sizes: dict[str, int] = {}
    arguments: dict[str, Any] = {}
    for name, parameter in parameters.items():
        type_ = annotated_type(parameter.annotation)
        if name in given:
            arguments[name] = _number(given[name], parameter)
            continue
        if name not in wanted and (type_ is None or type_.extents is None):
            if parameter.default is not inspect.Parameter.empty:
                continue
            raise InputRefused(
                f"argument {name} has no value",
                do=f'--at {name}=..., --shape {name}=3,4, --inputs file.npz, or annotate it: {name}: f64["N", 3]',
            )
        shape = wanted.get(name) or _named(type_, sizes)
        arguments[name] = _draw(rng, shape, type_.dtype if type_ else DType.F64)
        drawn.append(f"{name} {type_.dtype.short if type_ else 'f64'}{list(shape)} {_range(arguments[name])}")
    return Inputs(arguments, tuple(drawn), seed)


def _number(value: Any, parameter: inspect.Parameter) -> Any:
    """A whole number on the command line is a float, unless the function says that it wants an int."""
    whole = parameter.annotation in (int, "int") or type(parameter.default) is int
    return float(value) if type(value) is int and not whole else value


def _file(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise InputRefused(f"there is no file {path}", do="give the path of an .npz file")
    try:
        with np.load(path, allow_pickle=False) as stored:
            return nest((name, stored[name]) for name in stored.files)
    except (ValueError, OSError) as error:
        raise InputRefused(
            f"{path} cannot be read: {error}", do="write it with np.savez(file, name=array, ...)"
        ) from error


def _extents(text: str) -> tuple[int, ...]:
    parts = [part for part in text.split(",") if part]
    if not all(part.isdigit() for part in parts):
        raise InputRefused(f"{text!r} is no shape", do="--shape w1=1000,100")
    return tuple(int(part) for part in parts)


def _named(type_: ArrayType | None, sizes: dict[str, int]) -> tuple[int, ...]:
    extents = type_.extents if type_ and type_.extents else ()
    shape = []
    for extent in extents:
        if isinstance(extent, int):
            shape.append(extent)
        else:
            shape.append(sizes.setdefault(extent or f"axis {len(sizes)}", SIZES[len(sizes) % len(SIZES)]))
    return tuple(shape)


def _draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Any:
    if dtype.is_float:
        return rng.standard_normal(shape).astype(dtype.numpy) if shape else float(rng.standard_normal())
    return rng.integers(0, 2, shape).astype(dtype.numpy)


def _range(value: Any) -> str:
    array = np.asarray(value)
    return f"in {array.min():.3g} .. {array.max():.3g}" if array.size else "empty"
