"""Arguments for a function, from ``--at``, ``--inputs``, ``--shape``, annotations, or drawn at random."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from gradc.api.differentiated import Differentiated
from gradc.command.documents import named
from gradc.command.request import Request
from gradc.errors import InputRefused
from gradc.ir.types import DType
from gradc.lang.annotations import ArrayType, annotated_type
from gradc.lang.array_files import load_archive
from gradc.lang.source import WITHIN_LIMITS, limit_reason
from gradc.lang.values import ValueLimits, nest, parse_assignment, parse_value

SIZES = (5, 7, 3, 4, 6, 2)  # for named extents without a size: different, so that a mixed-up axis shows
LIMITS = ValueLimits()


@dataclass(frozen=True, slots=True)
class Inputs:
    """Arguments by name; `drawn` describes those that were drawn at random."""

    arguments: dict[str, Any]
    drawn: tuple[str, ...]
    seed: int

    def note(self) -> str:
        """One line about what was drawn, or nothing."""
        return f"drawn with --seed {self.seed}: {'; '.join(self.drawn)}\n" if self.drawn else ""


class Takes(Protocol):
    """What takes arguments: its signature, and where the names in annotations are looked up."""

    @property
    def python(self) -> inspect.Signature:
        """The parameters."""
        ...

    @property
    def namespace(self) -> Mapping[str, Any]:
        """What annotations that are text refer to."""
        ...


@dataclass(frozen=True, slots=True)
class Function:
    """A differentiated function as something that takes arguments."""

    function: Differentiated[..., Any]

    @property
    def python(self) -> inspect.Signature:
        """The parameters."""
        return self.function.signature.python

    @property
    def namespace(self) -> Mapping[str, Any]:
        """The globals of the user's function."""
        return getattr(self.function.__wrapped__, "__globals__", {})


def gather(function: Takes, request: Request, *, scalars: bool) -> Inputs:
    """Arguments for every parameter; with `scalars` a parameter of unknown type is drawn as one number.

    Raises
    ------
    InputRefused
        A name is unknown or given twice, or a parameter has neither value, shape nor default.
    """
    rng = np.random.default_rng(request.seed)
    parameters = function.python.parameters
    given = _given(request, parameters, rng)
    shapes = {name: _sizes(text) for name, text in (parse_assignment(word) for word in request.shape)}
    _refuse_unknown([*given, *shapes], parameters)
    for name in given.keys() & shapes:
        raise InputRefused(f"argument {name} has both a value and a --shape", do="give one of them")
    types = {name: annotated_type(parameter.annotation) for name, parameter in parameters.items()}
    sizes = _known_sizes(types, {**{name: np.shape(value) for name, value in _arrays(given)}, **shapes})
    drawn: list[str] = []
    arguments: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if name in given:
            arguments[name] = _container(given[name], _class_of(function, parameter.annotation), name)
            continue
        type_ = types[name]
        shape = shapes.get(name)
        if shape is None and type_ is not None and type_.extents is not None:
            shape = _named(type_.extents, sizes)
        if shape is None:
            if parameter.default is not inspect.Parameter.empty:
                continue
            if not scalars:
                raise _missing(name, request)
            shape = ()
        dtype = type_.dtype if type_ else DType.F64
        arguments[name] = _draw(rng, shape, dtype)
        drawn.append(_description(name, arguments[name], dtype))
    return Inputs(arguments, tuple(drawn), request.seed)


def _missing(name: str, request: Request) -> InputRefused:
    ways = f"--at {name}=..., --shape {name}=3,4, --inputs file.npz"
    if request.spec is not None:
        ways += f', or annotate it: {name}: f64["N", 3]'
    return InputRefused(f"argument {name} has no value", do=ways)


# --- what was given -----------------------------------------------------------------------------------------


def _given(
    request: Request, parameters: Mapping[str, inspect.Parameter], rng: np.random.Generator
) -> dict[str, Any]:
    """Values by argument; ``--at`` overrides ``--inputs``, entry by entry."""
    stored: dict[str, Any] = {}
    if request.inputs is not None:
        path = str(request.inputs)
        stored = load_archive(
            path, max_bytes=LIMITS.file_bytes, max_elements=LIMITS.elements, label="--inputs"
        )
    written: dict[str, Any] = {}
    for word in request.at:
        name, text = parse_assignment(word)
        if name in written:
            raise InputRefused(f"`{name}` is given twice", do="give each argument once", code="E_VALUE_TWICE")
        parameter = parameters.get(name.partition(".")[0])
        written[name] = _value(text, parameter, rng, f"value of {name}")
    return nest({**stored, **written}.items())


def _value(text: str, parameter: inspect.Parameter | None, rng: np.random.Generator, label: str) -> Any:
    """Read a text: whole numbers are floats, unless the function says that it wants integers."""
    default = parameter.default if parameter else None
    annotation = parameter.annotation if parameter else None
    if annotation in (str, "str") or isinstance(default, str):
        return text
    value = parse_value(text, rng=rng, limits=LIMITS, label=label)
    type_ = annotated_type(annotation)
    if text.startswith("@") or isinstance(value, bool):
        return value
    if type_ is not None:
        return _typed(value, type_.dtype, label)
    if annotation in (int, "int") or type(default) is int:
        return value
    if isinstance(value, np.ndarray):
        return value if value.dtype == np.bool_ else value.astype(np.float64)
    return float(value)


def _typed(value: Any, dtype: DType, label: str) -> Any:
    """Return a value in the annotated dtype; one that would change is refused."""
    typed = np.asarray(value).astype(dtype.numpy)
    if not dtype.is_float and not np.array_equal(typed, value):
        raise InputRefused(f"the {label} is annotated {dtype.short} and is not", do="write whole numbers")
    return typed if typed.ndim else float(typed) if dtype is DType.F64 else typed[()]


def _refuse_unknown(names: Iterable[str], parameters: Mapping[str, Any]) -> None:
    for name in names:
        if name not in parameters:
            close = difflib.get_close_matches(name, parameters, n=1)
            raise InputRefused(
                f"there is no argument `{named(name)}`",
                why=f"the arguments are {named(', '.join(parameters))}"
                if parameters
                else "it has no arguments",
                do=f"did you mean {close[0]}?" if close else "",
            )


def _class_of(function: Takes, annotation: Any) -> Any:
    """Look up what ``from __future__ import annotations`` made a string; nothing is evaluated."""
    if not isinstance(annotation, str):
        return annotation
    return function.namespace.get(annotation)


def _container(value: Any, annotation: Any, label: str) -> Any:
    """Nested entries in the container that the function expects: numbered ones are a tuple."""
    if not isinstance(value, dict):
        return value
    entries = {key: _container(item, None, f"{label}.{key}") for key, item in value.items()}
    if set(entries) == {str(position) for position in range(len(entries))}:
        return tuple(entries[str(position)] for position in range(len(entries)))
    if inspect.isclass(annotation) and (
        dataclasses.is_dataclass(annotation) or hasattr(annotation, "_fields")
    ):
        try:
            return annotation(**entries)
        except TypeError as error:
            raise InputRefused(
                f"argument {label} is a {annotation.__name__}, which its entries do not make",
                why=named(error),
            ) from error
    return entries


# --- what is drawn ------------------------------------------------------------------------------------------


def _sizes(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isascii() and part.isdigit() and len(part) <= 18 for part in parts):
        raise InputRefused(f"`{named(text)}` is no shape", do="--shape w1=1000,100", code="E_VALUE_SHAPE")
    sizes = tuple(int(part) for part in parts)
    if math.prod(max(1, size) for size in sizes) > LIMITS.elements:
        reason = limit_reason("elements", LIMITS.elements)
        raise InputRefused(
            f"the shape {named(text)} is too large", why=reason, do=WITHIN_LIMITS, code="E_LIMIT_ELEMENTS"
        )
    return sizes


def _arrays(given: Mapping[str, Any]) -> list[tuple[str, np.ndarray]]:
    return [(name, value) for name, value in given.items() if isinstance(value, np.ndarray)]


def _known_sizes(
    types: Mapping[str, ArrayType | None], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, int]:
    """Return the sizes that given arrays and shapes fix for the extents that annotations name."""
    sizes: dict[str, int] = {}
    for name, shape in shapes.items():
        type_ = types.get(name)
        extents = type_.extents if type_ and type_.extents else ()
        for extent, size in zip(extents, shape, strict=False):
            if isinstance(extent, str):
                sizes.setdefault(extent, size)
    return sizes


def _named(extents: tuple[str | int | None, ...], sizes: dict[str, int]) -> tuple[int, ...]:
    shape = []
    for extent in extents:
        if isinstance(extent, int):
            shape.append(extent)
        else:
            shape.append(sizes.setdefault(extent or f"axis {len(sizes)}", SIZES[len(sizes) % len(SIZES)]))
    return tuple(shape)


def _draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Any:
    if dtype.is_float:
        drawn = rng.standard_normal(shape)
        return (
            drawn.astype(dtype.numpy)
            if shape
            else dtype.numpy.type(drawn)
            if dtype is not DType.F64
            else drawn
        )
    return rng.integers(0, 2, shape).astype(dtype.numpy)


def _description(name: str, value: Any, dtype: DType) -> str:
    array = np.asarray(value)
    if array.ndim == 0:
        return f"{name} = {array.item():.6g}"
    extent = f"in {array.min():.3g} .. {array.max():.3g}" if array.size else "empty"
    return f"{name} {dtype.short}{list(array.shape)} {extent}"
