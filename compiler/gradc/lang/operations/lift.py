"""Arguments of NumPy calls, normalised: arrays, axes, shapes and dtypes in all forms that NumPy takes."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Hashable, Sequence
from types import MethodType
from typing import TypeAlias, Union

import numpy as np

from gradc.errors import ShapeError, TraceError
from gradc.ir.extents import Polynomial, Size
from gradc.ir.index.nodes import fixed
from gradc.ir.types import DType, dtype_of, promote
from gradc.lang.emit import Arg, Emitter, SizeValue, Value

ArrayLike: TypeAlias = Union[Arg, np.generic, "Sequence[ArrayLike]"]
SizeLike: TypeAlias = Size | SizeValue
Axes: TypeAlias = int | Sequence[int] | None
Handler: TypeAlias = Callable[..., object]
Table: TypeAlias = dict[Hashable, Handler]


# --- refusals -----------------------------------------------------------------------------------------------


def refused(call: str, *, why: str = "", do: str) -> TraceError:
    """Return the error for a call that cannot be traced; `do` is what to write instead."""
    return TraceError(f"{call} cannot be traced", why=why, do=do)


def only_default(call: str, **options: object) -> None:
    """Refuse options that have no meaning in a trace when they are given; None and True are defaults."""
    for name, value in options.items():
        if value is None or value is True or value is np._NoValue:
            continue
        do = (
            "assign the result"
            if name == "out"
            else "use np.where"
            if name == "where"
            else f"leave {name} out"
        )
        raise refused(f"{call}(..., {name}=...)", why=f"{name} is not supported", do=do)


def refusing(call: str, *, why: str = "", do: str) -> Handler:
    """Return a handler that only refuses."""

    def handler(emit: Emitter, *arguments: object, **options: object) -> object:
        raise refused(call, why=why, do=do)

    handler.__name__ = "refused"
    return handler


# --- look-up ------------------------------------------------------------------------------------------------

# Modules that take long to import: a program that calls them has them loaded, and gradc need not load them.
_BY_NAME = {
    "scipy.integrate": ("trapezoid", "cumulative_trapezoid", "simpson"),
    "scipy.linalg": (
        *("cholesky", "cho_factor", "cho_solve", "solve", "solve_triangular"),
        *("inv", "det", "norm", "expm"),
    ),
}
_NORMAL = ("pdf", "logpdf", "cdf", "logcdf", "sf", "logsf", "ppf", "isf")


def key_of(function: Callable[..., object]) -> Hashable:
    """Return the key of a callable in `UFUNCS`, `FUNCTIONS` and `CREATION`.

    Functions and ufuncs are their own key.  The methods of `scipy.stats.norm`, a new object at each access,
    and functions of modules that are slow to import have their dotted name.
    """
    if isinstance(function, MethodType):
        stats = sys.modules.get("scipy.stats")
        if stats is not None and function.__self__ is stats.norm and function.__name__ in _NORMAL:
            return f"scipy.stats.norm.{function.__name__}"
    if str(getattr(function, "__module__", "")).startswith("scipy."):
        for module, names in _BY_NAME.items():
            name = getattr(function, "__name__", "")
            if name in names and getattr(sys.modules.get(module), name, None) is function:
                return f"{module}.{name}"
    try:
        hash(function)
    except TypeError:
        return id(function)
    return function


# --- arrays -------------------------------------------------------------------------------------------------


def argument(emit: Emitter, x: ArrayLike) -> Arg:
    """Return an elementwise operand: Python scalars and extents stay weak, all else becomes a tensor."""
    if isinstance(x, np.generic):
        return emit.constant(x.item(), dtype_of(x.dtype))
    if isinstance(x, Value | SizeValue | bool | int | float):
        return x
    if isinstance(x, Polynomial):
        return SizeValue(x)
    return array(emit, x)


def array(emit: Emitter, x: ArrayLike, dtype: DType | None = None) -> Value:
    """Return a tensor: scalars become 0-d, nested lists are stacked; in `dtype` where one is given."""
    if isinstance(x, list | tuple):
        found = stack(emit, [array(emit, item) for item in x]) if x else emit.constant(0.0, DType.F64, (0,))
    else:
        found = _scalar(emit, x, dtype)
    return found if dtype is None else emit.cast(found, dtype)


def _scalar(emit: Emitter, x: ArrayLike, dtype: DType | None) -> Value:
    if isinstance(x, Value):
        return x if x.weak is None else Value(x.name, x.dtype, x.shape)  # an array is never weak
    if isinstance(x, SizeValue):
        return emit.size_value(x.size)
    if isinstance(x, Polynomial):
        return emit.size_value(x)
    if isinstance(x, np.generic):
        return emit.constant(x.item(), dtype_of(x.dtype))
    if isinstance(x, bool | int | float):
        kind = DType.BOOL if isinstance(x, bool) else DType.INT64 if isinstance(x, int) else DType.F64
        return emit.constant(x, dtype or kind)
    raise refused(
        f"an operand of type {type(x).__name__}",
        why="operands are arrays, numbers, extents, or lists of these",
        do="convert it with np.asarray before the call",
    )


def arrays(emit: Emitter, xs: ArrayLike) -> list[Value]:
    """Return the tensors of a sequence, or of a tensor along its first axis."""
    if isinstance(xs, list | tuple):
        return [array(emit, x) for x in xs]
    value = array(emit, xs)
    shape = emit.shape(value)
    if not shape:
        raise ShapeError("a 0-d array is not a sequence", do="pass a list of arrays")
    count = emit.solver.specialise(shape[0], "an array is used as a sequence of arrays")
    return [item(emit, value, 0, position) for position in range(count)]


def item(emit: Emitter, value: Value, axis: int, position: Size) -> Value:
    """Emit ``value[..., position, ...]`` along `axis`."""
    shape = emit.shape(value)
    indices = (*range(axis), fixed(position), *range(axis, len(shape) - 1))
    return emit.reindex(value, (*shape[:axis], *shape[axis + 1 :]), indices)


def stack(emit: Emitter, values: Sequence[Value], at: int = 0) -> Value:
    """Join tensors of one shape along a new axis."""
    expanded = []
    for value in values:
        shape = emit.shape(value)
        if len(shape) != len(emit.shape(values[0])):
            raise ShapeError(
                f"arrays with {len(emit.shape(values[0]))} and {len(shape)} axes cannot be stacked",
                do="give all entries of the list the same shape",
            )
        at_ = axis(at, len(shape) + 1)
        expanded.append(emit.reshape(value, (*shape[:at_], 1, *shape[at_:])))
    return emit.concatenate(expanded, axis(at, len(emit.shape(values[0])) + 1))


def common_dtype(values: Sequence[Value]) -> DType:
    """NumPy's promotion of several arrays."""
    found = values[0].dtype
    for value in values[1:]:
        found = promote(found, value.dtype)
    return found


# --- axes, shapes, dtypes -----------------------------------------------------------------------------------


def axis(number: object, rank: int) -> int:
    """Return one axis, counted from the front."""
    try:
        at = operator.index(number)  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise TraceError(
            f"an axis must be an integer, not {type(number).__name__}", do="pass axis=0"
        ) from None
    if not -rank <= at < rank:
        raise ShapeError(f"axis {at} does not exist", why=f"the array has {rank} axes")
    return at % rank


def axes(number: Axes, rank: int) -> tuple[int, ...]:
    """Return the axes of a reduction, counted from the front; None stands for all of them."""
    if number is None:
        return tuple(range(rank))
    found = tuple(axis(a, rank) for a in (number if isinstance(number, list | tuple) else (number,)))
    if len(set(found)) != len(found):
        raise ShapeError(f"axis {number} names an axis twice", do="name each axis once")
    return found


def size(x: SizeLike) -> Size:
    """Return one extent."""
    if isinstance(x, SizeValue):
        return x.size
    if isinstance(x, Polynomial):
        return x
    try:
        number = operator.index(x)
    except TypeError:
        raise TraceError(
            f"an extent must be an integer or come from a shape, not {type(x).__name__}",
            do="use x.shape[0] or a Python int",
        ) from None
    if number < 0:
        raise ShapeError(f"an extent cannot be negative: {number}")
    return number


def shape(x: SizeLike | Sequence[SizeLike]) -> tuple[Size, ...]:
    """Return a shape; a single extent stands for a vector."""
    return tuple(size(s) for s in x) if isinstance(x, list | tuple) else (size(x),)  # pyright: ignore[reportArgumentType]


def dtype(x: object) -> DType | None:
    """Return the dtype of a ``dtype=`` argument; None stays None."""
    if x is None or x is np._NoValue or isinstance(x, DType):
        return x if isinstance(x, DType) else None
    return dtype_of(x)


__all__ = [
    "ArrayLike",
    "Axes",
    "Handler",
    "SizeLike",
    "Table",
    "argument",
    "array",
    "arrays",
    "axes",
    "axis",
    "common_dtype",
    "dtype",
    "item",
    "key_of",
    "only_default",
    "refused",
    "refusing",
    "shape",
    "size",
    "stack",
]
