"""Scans and differences along one axis: `cumsum`, `cumprod`, `diff`, `trapezoid`."""

from __future__ import annotations

import numpy as np

from gradc.errors import ArgumentError, ShapeError
from gradc.ir import extents
from gradc.lang.emit import Emitter, Value
from gradc.lang.operations import lift
from gradc.lang.operations.elementwise import UFUNCS as ELEMENTWISE
from gradc.lang.operations.lift import ArrayLike, Handler, Table
from gradc.lang.operations.promotion import common_float
from gradc.lang.operations.reductions import accumulator_dtype, part
from gradc.lang.operations.sizes import at_least


def _prepared(emit: Emitter, a: ArrayLike, axis: int | None, dtype: object) -> tuple[Value, int]:
    """Return the array to scan and the axis: flat without an axis, in the dtype in which NumPy adds."""
    value = lift.array(emit, a)
    value = emit.cast(value, lift.dtype(dtype) or accumulator_dtype(value.dtype))
    if axis is None:
        return emit.reshape(value, (extents.product(emit.shape(value)),)), 0
    return value, lift.axis(axis, len(emit.shape(value)))


def cumsum(
    emit: Emitter, a: ArrayLike, axis: int | None = None, dtype: object = None, out: object = None
) -> Value:
    """`np.cumsum`: the scan ``t[i] = t[i-1] + x[i]``."""
    lift.only_default("np.cumsum", out=out)
    value, at = _prepared(emit, a, axis, dtype)
    ones = emit.constant(1, value.dtype, emit.shape(value))
    return emit.call("affine_scan", (ones, value), {"axis": at, "reverse": False})[0]


def cumprod(
    emit: Emitter, a: ArrayLike, axis: int | None = None, dtype: object = None, out: object = None
) -> Value:
    """`np.cumprod`: the scan ``t[i] = x[i] * t[i-1]`` that starts with ``x[0]``."""
    lift.only_default("np.cumprod", out=out)
    value, at = _prepared(emit, a, axis, dtype)
    first = emit.elementwise("eq", emit.index_values(emit.shape(value), at), 0)
    start = emit.elementwise("select", first, value, 0)
    return emit.call("affine_scan", (value, start), {"axis": at, "reverse": False})[0]


def _cumulative(handler: Handler, neutral: int) -> Handler:
    """Return `np.cumulative_sum` or `np.cumulative_prod`: the array API's names."""

    def cumulative(
        emit: Emitter,
        x: ArrayLike,
        /,
        *,
        axis: int | None = None,
        dtype: object = None,
        out: object = None,
        include_initial: bool = False,
    ) -> Value:
        value = lift.array(emit, x)
        if axis is None and len(emit.shape(value)) != 1:
            raise ArgumentError("a scan of an array with several axes needs axis=")
        at = lift.axis(0 if axis is None else axis, len(emit.shape(value)))
        result = handler(emit, value, at, dtype, out)
        assert isinstance(result, Value)
        if not include_initial:
            return result
        shape = emit.shape(result)
        start = emit.constant(neutral, result.dtype, (*shape[:at], 1, *shape[at + 1 :]))
        return emit.concatenate((start, result), at)

    return cumulative


def _accumulate(handler: Handler) -> Handler:
    """Return the `accumulate` method of a ufunc: over the first axis unless told otherwise."""

    def accumulated(
        emit: Emitter, array: ArrayLike, axis: int = 0, dtype: object = None, out: object = None
    ) -> object:
        return handler(emit, array, axis, dtype, out)

    return accumulated


def diff(
    emit: Emitter,
    a: ArrayLike,
    n: int = 1,
    axis: int = -1,
    prepend: ArrayLike = np._NoValue,  # pyright: ignore[reportArgumentType]
    append: ArrayLike = np._NoValue,  # pyright: ignore[reportArgumentType]
) -> Value:
    """`np.diff`: differences of neighbours, `n` times."""
    value = lift.array(emit, a)
    if n < 0:
        raise ArgumentError(f"np.diff needs n >= 0, not {n}")
    if not emit.shape(value):
        raise ShapeError("np.diff needs an array with at least one axis")
    at = lift.axis(axis, len(emit.shape(value)))
    ends = [_end(emit, x, value, at) for x in (prepend, append)]
    parts = [x for x in (ends[0], value, ends[1]) if x is not None]
    value = emit.concatenate(parts, at) if len(parts) > 1 else value
    function = "ne" if value.dtype.is_bool else "sub"
    for _ in range(n):
        value = _neighbours(emit, function, value, at)
    return value


def _end(emit: Emitter, x: ArrayLike, value: Value, axis: int) -> Value | None:
    if x is np._NoValue:
        return None
    end, shape = lift.array(emit, x), emit.shape(value)
    if emit.shape(end):
        return end
    return emit.broadcast_to(end, (*shape[:axis], 1, *shape[axis + 1 :]))


def _neighbours(emit: Emitter, function: str, value: Value, axis: int) -> Value:
    extent = emit.shape(value)[axis]
    if not at_least(emit, extent, 1, "differences of neighbours"):
        return value  # no elements, no differences
    later, earlier = part(emit, value, axis, 1, extent - 1), part(emit, value, axis, 0, extent - 1)
    return emit.elementwise(function, later, earlier)


def ediff1d(
    emit: Emitter, ary: ArrayLike, to_end: ArrayLike | None = None, to_begin: ArrayLike | None = None
) -> Value:
    """`np.ediff1d`: differences of the flat array, with values put before and after."""
    value = lift.array(emit, ary)
    flat = emit.reshape(value, (extents.product(emit.shape(value)),))
    inner = _neighbours(emit, "sub", flat, 0)
    ends = [None if x is None else lift.array(emit, x, value.dtype) for x in (to_begin, to_end)]
    shaped = [None if x is None else emit.reshape(x, (extents.product(emit.shape(x)),)) for x in ends]
    parts = [x for x in (shaped[0], inner, shaped[1]) if x is not None]
    return emit.concatenate(parts, 0) if len(parts) > 1 else inner


def trapezoid(
    emit: Emitter, y: ArrayLike, x: ArrayLike | None = None, dx: ArrayLike = 1.0, axis: int = -1
) -> Value:
    """`np.trapezoid`: the integral by the trapezoidal rule."""
    (value,) = common_float(emit, y)
    at = lift.axis(axis, len(emit.shape(value)))
    extent = emit.shape(value)[at]
    if extent == 0:
        raise ShapeError("np.trapezoid needs at least one sample")
    emit.solver.require(extent, ">=", 1, "np.trapezoid needs at least one sample")
    low, high = part(emit, value, at, 0, extent - 1), part(emit, value, at, 1, extent - 1)
    step = lift.argument(emit, dx) if x is None else _steps(emit, x, value, at)
    pairs = ELEMENTWISE[np.multiply](emit, step, emit.elementwise("add", low, high))
    assert isinstance(pairs, Value)
    return emit.elementwise("mul", emit.reduce("sum", pairs, (at,)), 0.5)


def _steps(emit: Emitter, x: ArrayLike, value: Value, axis: int) -> Value:
    points = lift.array(emit, x)
    if len(emit.shape(points)) != 1:
        return diff(emit, points, axis=axis)
    steps = diff(emit, points)
    trailing = len(emit.shape(value)) - axis - 1
    return emit.reshape(steps, (*emit.shape(steps), *(1,) * trailing))


METHODS: dict[str, Handler] = {"cumsum": cumsum, "cumprod": cumprod}

_CUMULATIVE_MAX = "no scan keeps the winners"
FUNCTIONS: Table = {
    np.cumsum: cumsum,
    np.cumprod: cumprod,
    np.cumulative_sum: _cumulative(cumsum, 0),
    np.cumulative_prod: _cumulative(cumprod, 1),
    np.add.accumulate: _accumulate(cumsum),
    np.multiply.accumulate: _accumulate(cumprod),
    np.maximum.accumulate: lift.refusing(
        "np.maximum.accumulate", why=_CUMULATIVE_MAX, do="use np.maximum in a loop"
    ),
    np.minimum.accumulate: lift.refusing(
        "np.minimum.accumulate", why=_CUMULATIVE_MAX, do="use np.minimum in a loop"
    ),
    np.diff: diff,
    np.ediff1d: ediff1d,
    np.trapezoid: trapezoid,
    "scipy.integrate.trapezoid": trapezoid,
}
