"""Averages, variances and medians."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradc.errors import ShapeError
from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.index.nodes import fixed
from gradc.ir.types import DType
from gradc.lang.emit import Arg, Emitter, Value
from gradc.lang.operations import lift
from gradc.lang.operations.lift import ArrayLike, Axes, Handler, Table
from gradc.lang.operations.promotion import common_float
from gradc.lang.operations.reductions import count_of, given, kept, masked


def _float_dtype(value: Value, dtype: object) -> DType:
    return lift.dtype(dtype) or (value.dtype if value.dtype.is_float else DType.F64)


def mean(
    emit: Emitter,
    a: ArrayLike,
    axis: Axes = None,
    dtype: object = None,
    out: object = None,
    keepdims: object = False,
    *,
    where: ArrayLike = True,
) -> Value:
    """`np.mean`: integers give float64; the extent stays symbolic."""
    lift.only_default("np.mean", out=out)
    value = lift.array(emit, a)
    value = emit.cast(value, _float_dtype(value, dtype))
    axes = lift.axes(axis, len(emit.shape(value)))
    total = emit.reduce("sum", masked(emit, value, where, 0), axes, keepdims=kept(keepdims))
    return emit.elementwise("div", total, _count(emit, value, axes, where, keepdims), dtype=value.dtype)


def _count(emit: Emitter, value: Value, axes: Sequence[int], where: ArrayLike, keepdims: object) -> Arg:
    shape = emit.shape(value)
    if not given(where):
        return count_of(emit, shape, axes)
    chosen = emit.broadcast_to(lift.array(emit, where, DType.BOOL), shape)
    return emit.reduce("sum", emit.cast(chosen, value.dtype), axes, keepdims=kept(keepdims))


def var(
    emit: Emitter,
    a: ArrayLike,
    axis: Axes = None,
    dtype: object = None,
    out: object = None,
    ddof: float = 0,
    keepdims: object = False,
    *,
    where: ArrayLike = True,
    mean: ArrayLike | None = None,
    correction: float | None = None,
) -> Value:
    """`np.var`: the mean of squared deviations, ``n - ddof`` in the denominator."""
    lift.only_default("np.var", out=out)
    if given(correction):
        assert correction is not None
        ddof = correction
    value = lift.array(emit, a)
    value = emit.cast(value, _float_dtype(value, dtype))
    axes = lift.axes(axis, len(emit.shape(value)))
    centre = (
        lift.argument(emit, mean) if mean is not None and given(mean) else _centre(emit, value, axes, where)
    )
    deviation = emit.elementwise("sub", value, centre, dtype=value.dtype)
    squares = masked(emit, emit.elementwise("square", deviation), where, 0)
    total = emit.reduce("sum", squares, axes, keepdims=kept(keepdims))
    count = _count(emit, value, axes, where, keepdims)
    return emit.elementwise("div", total, _freedom(emit, count, ddof, value.dtype), dtype=value.dtype)


def _centre(emit: Emitter, value: Value, axes: Sequence[int], where: ArrayLike) -> Value:
    total = emit.reduce("sum", masked(emit, value, where, 0), axes, keepdims=True)
    return emit.elementwise("div", total, _count(emit, value, axes, where, True), dtype=value.dtype)


def _freedom(emit: Emitter, count: Arg, ddof: float, dtype: DType) -> Arg:
    """Return ``max(count - ddof, 0)``: too few elements give NaN or infinity, as in NumPy."""
    if not ddof:
        return count
    if isinstance(count, int):
        return max(count - ddof, 0)
    left = emit.elementwise("sub", count, ddof, dtype=dtype)
    return emit.elementwise("maximum", left, 0, dtype=dtype)


def std(emit: Emitter, a: ArrayLike, *arguments: object, **options: object) -> Value:
    """`np.std`; where all elements are equal the derivative is 0, the subgradient of least norm."""
    variance = var(emit, a, *arguments, **options)  # pyright: ignore[reportArgumentType]
    positive = emit.elementwise("gt", variance, 0)
    return emit.elementwise("select", positive, emit.elementwise("sqrt", variance), variance)


def average(
    emit: Emitter,
    a: ArrayLike,
    axis: Axes = None,
    weights: ArrayLike | None = None,
    returned: bool = False,
    *,
    keepdims: object = False,
) -> Value | tuple[Value, Value]:
    """`np.average`, weighted; weights of one axis may be a vector."""
    value = lift.array(emit, a)
    shape = emit.shape(value)
    axes = lift.axes(axis, len(shape))
    if weights is None:
        result = mean(emit, value, axis, keepdims=keepdims)
        total = emit.elementwise("copy", count_of(emit, shape, axes), dtype=result.dtype)
    else:
        value, factor = common_float(emit, value, weights)
        factor = _weights_along(emit, factor, shape, axis, axes)
        total = emit.reduce("sum", factor, axes, keepdims=kept(keepdims))
        weighted = emit.reduce("sum", emit.elementwise("mul", value, factor), axes, keepdims=kept(keepdims))
        result = emit.elementwise("div", weighted, total)
    return (result, emit.broadcast_to(total, emit.shape(result))) if returned else result


def _weights_along(
    emit: Emitter, weights: Value, shape: tuple[Size, ...], axis: Axes, axes: tuple[int, ...]
) -> Value:
    """Weights in the shape of the array: theirs already, or that of the averaged axes."""
    own = emit.shape(weights)
    if len(own) == len(shape) and all(_agree(emit, a, b) for a, b in zip(own, shape, strict=True)):
        return emit.broadcast_to(weights, shape)
    if axis is None or len(own) != len(axes):
        raise ShapeError(
            "the weights of np.average have another shape than the array",
            do="give the array's shape, or name the axis",
        )
    ordered = emit.transpose(weights, tuple(int(at) for at in np.argsort(axes)))
    sizes = iter(emit.shape(ordered))
    return emit.broadcast_to(
        emit.reshape(ordered, tuple(next(sizes) if at in axes else 1 for at in range(len(shape)))), shape
    )


def _agree(emit: Emitter, first: Size, second: Size) -> bool:
    """Whether two extents are equal in the call being traced; reading one beside the other unifies them."""
    hints = emit.solver.hints
    symbols = (*extents.symbols(first), *extents.symbols(second))
    if all(symbol in hints for symbol in symbols):
        return emit.solver.value(first) == emit.solver.value(second)
    return first == second


# --- order statistics ---------------------------------------------------------------------------------------


def median(
    emit: Emitter,
    a: ArrayLike,
    axis: Axes = None,
    out: object = None,
    overwrite_input: bool = False,
    keepdims: object = False,
) -> Value:
    """`np.median`: the middle of the sorted values; whether there are one or two fixes the extent."""
    lift.only_default("np.median", out=out)
    value = lift.array(emit, a)
    value = emit.cast(value, _float_dtype(value, None))
    shape = emit.shape(value)
    axes = lift.axes(axis, len(shape))
    kept_axes = tuple(at for at in range(len(shape)) if at not in axes)
    moved = emit.transpose(value, (*kept_axes, *axes))
    rest = tuple(shape[at] for at in kept_axes)
    count = emit.solver.specialise(
        extents.product(tuple(shape[at] for at in axes)), "a median has one or two middle elements"
    )
    if count == 0:
        raise ShapeError("the median of no elements is not defined", do="check the extents before the call")
    result = _middle(emit, emit.reshape(moved, (*rest, count)), count)
    if not kept(keepdims):
        return result
    return emit.reshape(result, tuple(1 if at in axes else size for at, size in enumerate(shape)))


def _middle(emit: Emitter, rows: Value, count: int) -> Value:
    """Return the mean of the two middle elements along the last axis; NaN where there is one."""
    (order,) = emit.call("argsort", (rows,), {"axis": len(emit.shape(rows)) - 1})
    rest = emit.shape(rows)[:-1]
    lead = tuple(range(len(rest)))

    def ranked(position: int) -> Value:
        return emit.reindex(rows, rest, (*lead, emit.lookup(order, (*lead, fixed(position)))))

    low, high = ranked((count - 1) // 2), ranked(count // 2)
    middle = low if count % 2 else emit.elementwise("mul", emit.elementwise("add", low, high), 0.5)
    last = ranked(count - 1)  # argsort puts NaN at the end
    return emit.elementwise("select", emit.elementwise("isnan", last), last, middle)


# --- tables -------------------------------------------------------------------------------------------------

METHODS: dict[str, Handler] = {"mean": mean, "var": var, "std": std}

FUNCTIONS: Table = {
    np.mean: mean,
    np.var: var,
    np.std: std,
    np.average: average,
    np.median: median,
}
