"""Number systems for the interpreter: NumPy's machine numbers, or mpmath in object arrays."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np

from gradc.errors import GradcError
from gradc.ir.functions import FUNCTIONS
from gradc.ir.index.calls import Operation
from gradc.ir.index.templates import Argument, Literal, Source, Template
from gradc.ir.types import DType

Array = Any


class NumberSystem(Protocol):
    """What the interpreter needs to know about numbers."""

    def context(self) -> contextlib.AbstractContextManager[object]:
        """Enter the precision of these numbers."""
        ...

    def convert(self, value: Array, dtype: DType) -> Array:
        """Take an input over into this system."""
        ...

    def constant(self, value: float, dtype: DType) -> Array:
        """Represent a scalar constant."""
        ...

    def integer(self, value: Array) -> Array:
        """Represent integers, such as loop indices."""
        ...

    def zeros(self, shape: tuple[int, ...], dtype: DType) -> Array:
        """Make an array of zeros."""
        ...

    def cast(self, value: Array, dtype: DType) -> Array:
        """Convert to another dtype."""
        ...

    def function(self, template: Template) -> Callable[..., Array]:
        """Make a callable of a template."""
        ...

    def call(
        self, operation: Operation, ins: Sequence[Array], attributes: dict[str, Any]
    ) -> tuple[Array, ...]:
        """Perform a library operation."""
        ...

    def take(self, value: Array, indices: tuple[Array, ...]) -> Array:
        """Read the elements at some positions."""
        ...

    def positions(self, value: Array) -> Array:
        """Use integers that were read from a table as positions."""
        ...

    def wrapped(self, index: Array, size: int) -> Array:
        """Count negative positions from the end."""
        ...

    def broadcast(self, value: Array, shape: tuple[int, ...]) -> Array:
        """Repeat a value along axes it does not have."""
        ...

    def own(self, value: Array) -> Array:
        """Copy a value that is shared by several points."""
        ...

    def concatenate(self, values: Sequence[Array], axis: int) -> Array:
        """Put values one after the other."""
        ...

    def reduce(self, op: str, body: Array, axes: tuple[int, ...]) -> Array:
        """Reduce over some axes."""
        ...

    def add_at(self, out: Array, position: tuple[Array, ...], body: Array) -> Array:
        """Add to the elements at some positions, to one of them as often as it occurs."""
        ...


class Arrays:
    """What NumPy does alike for machine numbers and for objects."""

    def take(self, value: Array, indices: tuple[Array, ...]) -> Array:
        """Read the elements at some positions."""
        return value[indices] if indices else value

    def positions(self, value: Array) -> Array:
        """Use integers that were read from a table as positions."""
        return np.asarray(value).astype(np.int64)

    def wrapped(self, index: Array, size: int) -> Array:
        """Count negative positions from the end."""
        return index % size

    def broadcast(self, value: Array, shape: tuple[int, ...]) -> Array:
        """Repeat a value along axes it does not have."""
        return np.broadcast_to(value, shape)

    def own(self, value: Array) -> Array:
        """Copy a value that is shared by several points."""
        return np.array(value)

    def concatenate(self, values: Sequence[Array], axis: int) -> Array:
        """Put values one after the other."""
        return np.concatenate(values, axis)

    def reduce(self, op: str, body: Array, axes: tuple[int, ...]) -> Array:
        """Reduce over some axes."""
        match op:
            case "sum":
                return np.sum(body, axes, dtype=body.dtype)
            case "prod":
                return np.prod(body, axes, dtype=body.dtype)
            case "any":
                return np.any(body, axes)
            case "all":
                return np.all(body, axes)
            case "max" | "min":
                if 0 in [body.shape[axis] for axis in axes]:
                    raise GradcError(
                        f"{op} over an axis without elements", do="check the extents before reducing"
                    )
                return (np.max if op == "max" else np.min)(body, axes)
            case _:
                raise GradcError(f"unknown reduction {op}")

    def add_at(self, out: Array, position: tuple[Array, ...], body: Array) -> Array:
        """Add to the elements at some positions, to one of them as often as it occurs."""
        if np.ndim(out) == 0:
            dtype = getattr(out, "dtype", object)
            return out + np.asarray(body, dtype=dtype).sum(dtype=dtype)
        np.add.at(out, position, body)
        return out


class MachineNumbers(Arrays):
    """NumPy arrays of the declared dtypes."""

    def context(self) -> contextlib.AbstractContextManager[object]:
        """Enter the precision of these numbers."""
        return contextlib.nullcontext()

    def convert(self, value: Array, dtype: DType) -> Array:
        """Take an input over into this system."""
        return np.asarray(value, dtype.numpy)[()]

    def constant(self, value: float, dtype: DType) -> Array:
        """Represent a scalar constant."""
        return dtype.numpy.type(value)

    def integer(self, value: Array) -> Array:
        """Represent integers, such as loop indices."""
        return value

    def zeros(self, shape: tuple[int, ...], dtype: DType) -> Array:
        """Make an array of zeros."""
        return np.zeros(shape, dtype.numpy)[()]

    def cast(self, value: Array, dtype: DType) -> Array:
        """Convert to another dtype."""
        return value if value.dtype == dtype.numpy else value.astype(dtype.numpy)

    def function(self, template: Template) -> Callable[..., Array]:
        """Make a callable of a template."""
        found = template.cache.get("numpy")
        if found is None:
            found = template.cache["numpy"] = _numpy_function(template)
        return found  # pyright: ignore[reportReturnType]

    def call(
        self, operation: Operation, ins: Sequence[Array], attributes: dict[str, Any]
    ) -> tuple[Array, ...]:
        """Perform a library operation."""
        return operation.numpy(*ins, **attributes)


class HighPrecision(Arrays):
    """mpmath numbers in object arrays: the oracle that no rounding touches."""

    def __init__(self, digits: int) -> None:
        self.digits = digits

    @contextlib.contextmanager
    def context(self) -> Iterator[None]:
        """Enter the precision of these numbers."""
        with _mp().workdps(self.digits):
            yield

    def convert(self, value: Array, dtype: DType) -> Array:
        """Take an input over into this system."""
        if not dtype.is_float:
            return np.asarray(value, dtype.numpy)[()]
        return _elementwise(_mp().mpf)(np.asarray(value))

    def constant(self, value: float, dtype: DType) -> Array:
        """Represent a scalar constant."""
        return _mp().mpf(value) if dtype.is_float else dtype.numpy.type(value)

    def integer(self, value: Array) -> Array:
        """Represent integers, such as loop indices."""
        return value

    def zeros(self, shape: tuple[int, ...], dtype: DType) -> Array:
        """Make an array of zeros."""
        return self.convert(np.zeros(shape, dtype.numpy), dtype)

    def cast(self, value: Array, dtype: DType) -> Array:
        """Convert to another dtype."""
        if dtype.is_float:
            return _elementwise(_mp().mpf)(value)
        return np.asarray(value).astype(dtype.numpy)[()]

    def function(self, template: Template) -> Callable[..., Array]:
        """Make a callable of a template."""
        found = template.cache.get("mpmath")
        if found is None:
            scalar = eval(_source(template, "mpmath"), _mp_namespace())
            found = template.cache["mpmath"] = _elementwise(scalar, template.arity)
        return found  # pyright: ignore[reportReturnType]

    def call(
        self, operation: Operation, ins: Sequence[Array], attributes: dict[str, Any]
    ) -> tuple[Array, ...]:
        """Perform a library operation."""
        if operation.name not in ("reshape", "affine_scan"):
            raise GradcError(
                f"{operation.name} has no high-precision meaning", do="use the finite-difference oracle"
            )
        return operation.numpy(*ins, **attributes)


def system(name: str, digits: int) -> NumberSystem:
    """Return the number system called ``"numpy"`` or ``"mp"``."""
    return MachineNumbers() if name == "numpy" else HighPrecision(digits)


def _source(template: Template, column: str) -> str:
    """Spell a lambda over ``a0, a1, ...``, from the template's tape and one column of the inventory."""
    steps: list[str] = []

    def text(source: Source) -> str:
        match source:
            case Argument(position):
                return f"a{position}"
            case Literal(value, exact):
                return (
                    f"number({exact!r}, {value!r})"
                    if column == "mpmath"
                    else f"literal({value!r}, {_like(template)})"
                )
            case _:
                return f"s{source.position}"

    for position, step in enumerate(template.tape.instructions):
        spelling: str = getattr(FUNCTIONS[step.function], column)
        steps.append(f"s{position} := {spelling.format(*(f'({text(source)})' for source in step.sources))}")
    arguments = ", ".join(f"a{position}" for position in range(template.arity))
    result = text(template.tape.result)
    return (
        f"lambda {arguments}: ({', '.join(f'({step})' for step in steps)}, {result})[-1]"
        if steps
        else f"lambda {arguments}: {result}"
    )


def _like(template: Template) -> str:
    return f"({', '.join(f'a{position}' for position in range(template.arity))},)"


def literal(value: float, operands: tuple[Array, ...]) -> Array:
    """Literal in the dtype of the first floating operand (literals never decide a dtype)."""
    for operand in operands:
        if operand.dtype.kind == "f":
            return operand.dtype.type(value)
    return operands[-1].dtype.type(value)


def _numpy_function(template: Template) -> Callable[..., Array]:
    from scipy import special  # noqa: PLC0415  (0.2 s that most processes never need)

    from gradc.ir.index import special_functions  # noqa: PLC0415

    namespace = {"np": np, "sp": special, "literal": literal, **special_functions.NUMPY}
    return eval(_source(template, "numpy"), namespace)


@cache
def _mp() -> Any:
    import mpmath  # noqa: PLC0415  (comes with SymPy; only the oracle needs it)

    return mpmath.mp


@cache
def _mp_namespace() -> dict[str, Any]:
    from gradc.ir.index import special_functions  # noqa: PLC0415

    return {"mp": _mp(), "number": _mp_number, **special_functions.high_precision(_mp())}


def _mp_number(exact: str, value: float) -> Any:
    """Literal to full precision: rationals and the constants that rules use, else the double itself."""
    mp = _mp()
    if isinstance(value, int):
        return mp.mpf(value)
    numerator, _, denominator = exact.partition("/")
    if numerator.lstrip("-").isdigit() and denominator.isdigit():
        return mp.mpf(int(numerator)) / int(denominator)
    return mp.mpf(_evaluated(exact, mp.dps))


@cache
def _evaluated(exact: str, digits: int) -> str:
    import sympy  # noqa: PLC0415

    from gradc.ir.index.templates import CONSTANTS  # noqa: PLC0415

    return str(sympy.N(CONSTANTS[exact], digits + 5))


def _elementwise(function: Callable[..., Any], arity: int = 1) -> Callable[..., Array]:
    ufunc = np.frompyfunc(function, arity, 1)

    def applied(*operands: Array) -> Array:
        return ufunc(*operands)

    return applied
