"""Arrays made inside the function: filled, counted, spaced; extents may be symbolic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from gradc.errors import ShapeError
from gradc.ir.extents import Polynomial, Size
from gradc.ir.types import DType
from gradc.lang.emit import Arg, Emitter, SizeValue, Value
from gradc.lang.operations import lift
from gradc.lang.operations.lift import ArrayLike, Handler, SizeLike, Table
from gradc.lang.operations.promotion import result_dtype

# --- from data ----------------------------------------------------------------------------------------------


def array(
    emit: Emitter,
    object: ArrayLike,
    dtype: object = None,
    *,
    copy: bool | None = True,
    order: str = "K",
    subok: bool = False,
    ndmin: int = 0,
    like: object = None,
) -> Value:
    """`np.array`: nested lists are stacked, and every element keeps its derivative."""
    value = lift.array(emit, object, lift.dtype(dtype))
    missing = ndmin - len(emit.shape(value))
    return emit.reshape(value, (*(1,) * missing, *emit.shape(value))) if missing > 0 else value


def asarray(
    emit: Emitter,
    a: ArrayLike,
    dtype: object = None,
    order: str | None = None,
    *,
    device: object = None,
    copy: bool | None = None,
    like: object = None,
) -> Value:
    """`np.asarray`."""
    return lift.array(emit, a, lift.dtype(dtype))


def ascontiguousarray(emit: Emitter, a: ArrayLike, dtype: object = None, *, like: object = None) -> Value:
    """`np.ascontiguousarray`: at least one axis."""
    return array(emit, a, dtype, ndmin=1)


# --- filled -------------------------------------------------------------------------------------------------


def _filled(
    number: float,
    emit: Emitter,
    shape: SizeLike | Sequence[SizeLike],
    dtype: object = None,
    order: str = "C",
    *,
    device: object = None,
    like: object = None,
) -> Value:
    return emit.constant(number, lift.dtype(dtype) or DType.F64, lift.shape(shape))


def full(
    emit: Emitter,
    shape: SizeLike | Sequence[SizeLike],
    fill_value: ArrayLike,
    dtype: object = None,
    order: str = "C",
    *,
    device: object = None,
    like: object = None,
) -> Value:
    """`np.full`; the fill value keeps its derivative."""
    return emit.broadcast_to(lift.array(emit, fill_value, lift.dtype(dtype)), lift.shape(shape))


def _like(emit: Emitter, a: ArrayLike, dtype: object, shape: object) -> tuple[DType, tuple[Size, ...]]:
    value = lift.array(emit, a)
    sizes = emit.shape(value) if shape is None else lift.shape(shape)  # pyright: ignore[reportArgumentType]
    return lift.dtype(dtype) or value.dtype, sizes


def _filled_like(
    number: float,
    emit: Emitter,
    a: ArrayLike,
    dtype: object = None,
    order: str = "K",
    subok: bool = True,
    shape: object = None,
    *,
    device: object = None,
) -> Value:
    return emit.constant(number, *_like(emit, a, dtype, shape))


def full_like(
    emit: Emitter,
    a: ArrayLike,
    fill_value: ArrayLike,
    dtype: object = None,
    order: str = "K",
    subok: bool = True,
    shape: object = None,
    *,
    device: object = None,
) -> Value:
    """`np.full_like`; the fill value is converted to the dtype of the array."""
    kind, sizes = _like(emit, a, dtype, shape)
    return emit.broadcast_to(lift.array(emit, fill_value, kind), sizes)


# --- counted and spaced -------------------------------------------------------------------------------------


def arange(
    emit: Emitter,
    start: SizeLike | float,
    stop: SizeLike | float | None = None,
    step: SizeLike | float | None = 1,
    dtype: object = None,
    *,
    device: object = None,
    like: object = None,
) -> Value:
    """`np.arange`; with integer bounds the extent stays symbolic."""
    first, last = (0, start) if stop is None else (start, stop)
    bounds = [_bound(x) for x in (first, last, 1 if step is None else step)]
    integers = [x for x in bounds if not isinstance(x, float)]
    if len(integers) == 3:
        counted = _counted(emit, *integers)
        return emit.cast(counted, lift.dtype(dtype) or DType.INT64)
    low, high, stride = (
        float(x if isinstance(x, int | float) else emit.solver.specialise(x, "np.arange with a float step"))
        for x in bounds
    )
    length = max(0, math.ceil((high - low) / stride)) if stride else _no_step()
    positions = emit.index_values((length,), 0)
    exact = (low + stride) - low  # NumPy's own step: the difference of the first two elements
    scaled = emit.elementwise("mul", positions, exact, dtype=DType.F64)
    return emit.cast(emit.elementwise("add", scaled, low), lift.dtype(dtype) or DType.F64)


def _bound(x: SizeLike | float) -> Size | float:
    if isinstance(x, float):
        return float(x)
    if isinstance(x, Value):
        raise lift.refused(
            "np.arange of a traced value", why="its length would depend on the data", do="np.arange(n) * step"
        )
    if isinstance(x, SizeValue | Polynomial):
        return lift.size(x)
    return int(x) if isinstance(x, bool) else x.__index__()


def _no_step() -> int:
    raise ShapeError("np.arange needs a step that is not 0")


def _counted(emit: Emitter, start: Size, stop: Size, step: Size) -> Value:
    stride = step if isinstance(step, int) else emit.solver.specialise(step, "the step of np.arange")
    if stride == 0:
        _no_step()
    span = stop - start if stride > 0 else start - stop
    if abs(stride) != 1 and not isinstance(span, int):
        span = emit.solver.specialise(span, "np.arange with a step counts whole steps")
    if isinstance(span, int):
        span = max(0, -(-span // abs(stride)))
    else:
        emit.solver.require(span, ">=", 0, "np.arange counts upwards")
    positions = emit.index_values((span,), 0)
    if stride != 1:
        positions = emit.elementwise("mul", positions, stride)
    if isinstance(start, int) and start == 0:
        return positions
    return emit.elementwise("add", positions, start if isinstance(start, int) else SizeValue(start))


def linspace(
    emit: Emitter,
    start: ArrayLike,
    stop: ArrayLike,
    num: SizeLike = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: object = None,
    axis: int = 0,
    *,
    device: object = None,
) -> Value | tuple[Value, Value]:
    """`np.linspace`; both ends are exact and keep their derivatives."""
    count = lift.size(num)
    low, high = lift.argument(emit, start), lift.argument(emit, stop)
    shared = result_dtype(low, high)
    shared = shared if shared.is_float else DType.F64
    step = emit.elementwise(
        "div", emit.elementwise("sub", high, low, dtype=shared), _intervals(count, endpoint), dtype=shared
    )
    shape = emit.shape(step)
    position = emit.index_values((count, *(1,) * len(shape)), 0)
    inner = emit.elementwise("add", emit.elementwise("mul", position, step, dtype=shared), low, dtype=shared)
    if endpoint:
        last = emit.elementwise("eq", position, _number(count - 1))
        inner = emit.elementwise("select", last, high, inner, dtype=shared)
    inner = emit.elementwise("select", emit.elementwise("eq", position, 0), low, inner, dtype=shared)
    result = _converted(emit, inner, lift.dtype(dtype))
    at = lift.axis(axis, len(shape) + 1)
    order = (*range(1, at + 1), 0, *range(at + 1, len(shape) + 1))
    result = result if at == 0 else emit.transpose(result, order)
    return (result, step) if retstep else result


def _number(size: Size) -> Arg:
    return size if isinstance(size, int) else SizeValue(size)


def _intervals(count: Size, endpoint: bool) -> Arg:
    """Return the number of steps; one point has none, and its step is NaN as in NumPy."""
    intervals = count - 1 if endpoint else count
    if isinstance(intervals, int):
        return float(intervals) if intervals > 0 else math.nan
    return SizeValue(intervals)


def _converted(emit: Emitter, value: Value, dtype: DType | None) -> Value:
    """Integers are rounded down, not towards zero."""
    if dtype is None or dtype.is_float:
        return value if dtype is None else emit.cast(value, dtype)
    return emit.cast(emit.elementwise("floor", value), dtype)


def logspace(
    emit: Emitter,
    start: ArrayLike,
    stop: ArrayLike,
    num: SizeLike = 50,
    endpoint: bool = True,
    base: ArrayLike = 10.0,
    dtype: object = None,
    axis: int = 0,
) -> Value:
    """`np.logspace`: powers of a base with evenly spaced exponents."""
    exponents = linspace(emit, start, stop, num, endpoint, axis=axis)
    assert isinstance(exponents, Value)
    powers = emit.elementwise("pow", lift.argument(emit, base), exponents)
    return (
        _converted(emit, powers, None)
        if dtype is None
        else emit.cast(powers, lift.dtype(dtype) or powers.dtype)
    )


# --- matrices -----------------------------------------------------------------------------------------------


def _by_diagonal(function: str, emit: Emitter, shape: tuple[Size, Size], k: int, dtype: object) -> Value:
    """Emit a matrix of ones and zeros that compares ``row + k`` with ``column``."""
    rows = emit.index_values((shape[0], 1), 0)
    columns = emit.index_values((1, shape[1]), 1)
    shifted = emit.elementwise("add", rows, k) if k else rows
    chosen = emit.elementwise(function, shifted, columns)
    return emit.elementwise("select", chosen, 1, 0, dtype=lift.dtype(dtype) or DType.F64)


def eye(
    emit: Emitter,
    N: SizeLike,
    M: SizeLike | None = None,
    k: int = 0,
    dtype: object = None,
    order: str = "C",
    *,
    device: object = None,
    like: object = None,
) -> Value:
    """`np.eye`."""
    rows = lift.size(N)
    return _by_diagonal("eq", emit, (rows, rows if M is None else lift.size(M)), k, dtype)


def identity(emit: Emitter, n: SizeLike, dtype: object = None, *, like: object = None) -> Value:
    """`np.identity`."""
    return eye(emit, n, dtype=dtype)


def tri(
    emit: Emitter,
    N: SizeLike,
    M: SizeLike | None = None,
    k: int = 0,
    dtype: object = None,
    *,
    like: object = None,
) -> Value:
    """`np.tri`: ones at and below a diagonal."""
    rows = lift.size(N)
    return _by_diagonal("ge", emit, (rows, rows if M is None else lift.size(M)), k, dtype)


# --- tables -------------------------------------------------------------------------------------------------


def _dynamic(name: str, do: str) -> Handler:
    return lift.refusing(f"np.{name}", why="gradc has no rule for it", do=do)


CREATION: Table = {
    np.array: array,
    np.asarray: asarray,
    np.asanyarray: asarray,
    np.ascontiguousarray: ascontiguousarray,
    np.zeros: partial(_filled, 0.0),
    np.ones: partial(_filled, 1.0),
    np.empty: partial(_filled, 0.0),
    np.full: full,
    np.arange: arange,
    np.linspace: linspace,
    np.logspace: logspace,
    np.eye: eye,
    np.identity: identity,
    np.tri: tri,
    np.fromiter: _dynamic("fromiter", "np.stack([...])"),
    np.fromfunction: _dynamic("fromfunction", "np.arange and broadcasting"),
    np.geomspace: _dynamic("geomspace", "np.exp(np.linspace(np.log(a), np.log(b), n))"),
}

FUNCTIONS: Table = {
    np.zeros_like: partial(_filled_like, 0.0),
    np.ones_like: partial(_filled_like, 1.0),
    np.empty_like: partial(_filled_like, 0.0),
    np.full_like: full_like,
    np.linspace: linspace,
    np.logspace: logspace,
}
