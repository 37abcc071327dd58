"""Reductions: sums, products, extremes and conditions over axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gradc.errors import ArgumentError
from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.index.nodes import affine, fixed
from gradc.ir.types import DType
from gradc.lang.emit import Arg, Emitter, SizeValue, Value
from gradc.lang.operations import lift
from gradc.lang.operations.lift import ArrayLike, Axes, Handler, Table
from gradc.lang.unify import is_one

TREE = 64  # products over a static extent up to this are a balanced tree of multiplications

_UNSIGNED = (DType.UINT8, DType.UINT16, DType.UINT32, DType.UINT64)


def accumulator_dtype(dtype: DType) -> DType:
    """Return the dtype in which NumPy sums and multiplies: integers become 64 bits wide."""
    if dtype.is_float:
        return dtype
    return DType.UINT64 if dtype in _UNSIGNED else DType.INT64


def given(x: object) -> bool:
    """Whether an optional argument differs from its default."""
    return x is not None and x is not np._NoValue and x is not True


def masked(emit: Emitter, value: Value, where: ArrayLike, neutral: float) -> Value:
    """Return `value` with `neutral` where the condition does not hold (all of it without a condition)."""
    if not given(where):
        return value
    condition = lift.argument(emit, where)
    return emit.elementwise("select", condition, value, neutral, dtype=value.dtype)


def _with_initial(emit: Emitter, function: str, value: Value, initial: ArrayLike) -> Value:
    if not given(initial) and initial is not True:
        return value
    return emit.elementwise(function, value, lift.argument(emit, initial), dtype=value.dtype)


def kept(keepdims: object) -> bool:
    """Whether reduced axes stay, with extent 1."""
    return bool(keepdims) and keepdims is not np._NoValue


def count_of(emit: Emitter, shape: Sequence[Size], axes: Sequence[int]) -> Arg:
    """Return the number of elements that a reduction takes together."""
    size = extents.product(tuple(shape[axis] for axis in axes))
    return size if isinstance(size, int) else SizeValue(size)


# --- sums and products --------------------------------------------------------------------------------------


def sum_(
    emit: Emitter,
    a: ArrayLike,
    axis: Axes = None,
    dtype: object = None,
    out: object = None,
    keepdims: object = False,
    initial: ArrayLike = None,  # pyright: ignore[reportArgumentType]
    where: ArrayLike = True,
) -> Value:
    """`np.sum`: small integers and booleans are summed as int64."""
    lift.only_default("np.sum", out=out)
    value = lift.array(emit, a)
    value = emit.cast(value, lift.dtype(dtype) or accumulator_dtype(value.dtype))
    value = masked(emit, value, where, 0)
    axes = lift.axes(axis, len(emit.shape(value)))
    total = emit.reduce("sum", value, axes, keepdims=kept(keepdims))
    return _with_initial(emit, "add", total, initial)


def prod(
    emit: Emitter,
    a: ArrayLike,
    axis: Axes = None,
    dtype: object = None,
    out: object = None,
    keepdims: object = False,
    initial: ArrayLike = None,  # pyright: ignore[reportArgumentType]
    where: ArrayLike = True,
) -> Value:
    """`np.prod`: a balanced tree over small static extents, else a reduction of one axis after the other."""
    lift.only_default("np.prod", out=out)
    value = lift.array(emit, a)
    value = emit.cast(value, lift.dtype(dtype) or accumulator_dtype(value.dtype))
    value = masked(emit, value, where, 1)
    shape = emit.shape(value)
    axes = lift.axes(axis, len(shape))
    for at in sorted(axes, reverse=True):
        extent = shape[at]
        if isinstance(extent, int) and extent <= TREE:
            value = _product_tree(emit, value, at, extent)
        else:
            value = emit.reduce("prod", value, (at,))
    if kept(keepdims):
        value = emit.reshape(value, tuple(1 if at in axes else size for at, size in enumerate(shape)))
    return _with_initial(emit, "mul", value, initial)


def _product_tree(emit: Emitter, value: Value, axis: int, extent: int) -> Value:
    """Multiply the first half with the second until one entry is left; an odd entry waits for the end."""
    shape = emit.shape(value)
    if extent == 0:
        return emit.constant(1, value.dtype, (*shape[:axis], *shape[axis + 1 :]))
    waiting: list[Value] = []
    while extent > 1:
        half = extent // 2
        if extent % 2:
            waiting.append(lift.item(emit, value, axis, extent - 1))
        front, back = part(emit, value, axis, 0, half), part(emit, value, axis, half, half)
        value, extent = emit.elementwise("mul", front, back), half
    result = lift.item(emit, value, axis, 0)
    for factor in waiting:
        result = emit.elementwise("mul", result, factor)
    return result


def part(emit: Emitter, value: Value, axis: int, start: Size, length: Size) -> Value:
    """Return ``value[..., start:start + length, ...]`` along `axis`."""
    shape = emit.shape(value)
    indices = tuple(
        (fixed(start) if is_one(length) else affine({at: 1}, start)) if at == axis else at
        for at in range(len(shape))
    )
    return emit.reindex(value, (*shape[:axis], length, *shape[axis + 1 :]), indices)


# --- extremes -----------------------------------------------------------------------------------------------


def _extreme(op: str, logical: str, function: str) -> Handler:
    def handler(
        emit: Emitter,
        a: ArrayLike,
        axis: Axes = None,
        out: object = None,
        keepdims: object = False,
        initial: ArrayLike = None,  # pyright: ignore[reportArgumentType]
        where: ArrayLike = True,
    ) -> Value:
        lift.only_default(f"np.{op}", out=out)
        value = lift.array(emit, a)
        if given(where):
            if not given(initial):
                raise ArgumentError(f"np.{op} with where= needs initial=")
            value = emit.elementwise(
                "select", lift.argument(emit, where), value, lift.argument(emit, initial), dtype=value.dtype
            )
        axes = lift.axes(axis, len(emit.shape(value)))
        chosen = logical if value.dtype.is_bool else op
        return _with_initial(
            emit, function, emit.reduce(chosen, value, axes, keepdims=kept(keepdims)), initial
        )

    handler.__name__ = handler.__qualname__ = op
    return handler


max_ = _extreme("max", "any", "maximum")
min_ = _extreme("min", "all", "minimum")


def ptp(
    emit: Emitter, a: ArrayLike, axis: Axes = None, out: object = None, keepdims: object = False
) -> Value:
    """`np.ptp`: the largest minus the smallest."""
    lift.only_default("np.ptp", out=out)
    value = lift.array(emit, a)
    high, low = (f(emit, value, axis, None, keepdims) for f in (max_, min_))
    assert isinstance(high, Value)
    assert isinstance(low, Value)
    return emit.elementwise("sub", high, low)


def _arg_extreme(largest: bool) -> Handler:
    name = "argmax" if largest else "argmin"

    def handler(
        emit: Emitter, a: ArrayLike, axis: int | None = None, out: object = None, *, keepdims: object = False
    ) -> Value:
        lift.only_default(f"np.{name}", out=out)
        value = lift.array(emit, a)
        shape = emit.shape(value)
        at = 0 if axis is None else lift.axis(axis, len(shape))
        flat = emit.reshape(value, (extents.product(shape),)) if axis is None else value
        emit.solver.require(emit.shape(flat)[at], ">=", 1, f"{name} needs at least one element")
        (found,) = emit.call("arg_extreme", (flat,), {"axis": at, "largest": largest})
        if not kept(keepdims):
            return found
        return emit.reshape(
            found, tuple(1 if axis is None or d == at else size for d, size in enumerate(shape))
        )

    handler.__name__ = name
    return handler


# --- conditions ---------------------------------------------------------------------------------------------


def _quantifier(op: str, neutral: bool) -> Handler:
    def handler(
        emit: Emitter,
        a: ArrayLike,
        axis: Axes = None,
        out: object = None,
        keepdims: object = False,
        *,
        where: ArrayLike = True,
    ) -> Value:
        lift.only_default(f"np.{op}", out=out)
        value = masked(emit, lift.array(emit, a, DType.BOOL), where, neutral)
        return emit.reduce(op, value, lift.axes(axis, len(emit.shape(value))), keepdims=kept(keepdims))

    handler.__name__ = op
    return handler


def count_nonzero(emit: Emitter, a: ArrayLike, axis: Axes = None, *, keepdims: object = False) -> Value:
    """`np.count_nonzero`."""
    return sum_(emit, lift.array(emit, a, DType.BOOL), axis, keepdims=keepdims)


# --- tables -------------------------------------------------------------------------------------------------


def _first_axis(handler: Callable[..., object]) -> Handler:
    """Return the `reduce` method of a ufunc: the function, over the first axis unless told otherwise."""

    def reduced(
        emit: Emitter,
        array: ArrayLike,
        axis: Axes = 0,
        dtype: object = None,
        out: object = None,
        **options: object,
    ) -> object:
        if dtype is not None:
            array = lift.array(emit, array, lift.dtype(dtype))
        return handler(emit, array, axis, out=out, **options)

    return reduced


_any, _all = _quantifier("any", False), _quantifier("all", True)
_argmax, _argmin = _arg_extreme(True), _arg_extreme(False)

METHODS: dict[str, Handler] = {
    "sum": sum_,
    "prod": prod,
    "max": max_,
    "min": min_,
    "argmax": _argmax,
    "argmin": _argmin,
    "any": _any,
    "all": _all,
}

FUNCTIONS: Table = {
    **{getattr(np, _name): _handler for _name, _handler in METHODS.items()},
    np.amax: max_,
    np.amin: min_,
    np.ptp: ptp,
    np.count_nonzero: count_nonzero,
    np.add.reduce: _first_axis(sum_),
    np.multiply.reduce: _first_axis(prod),
    np.maximum.reduce: _first_axis(max_),
    np.minimum.reduce: _first_axis(min_),
    np.logical_or.reduce: _first_axis(_any),
    np.logical_and.reduce: _first_axis(_all),
    **{
        getattr(np, f"nan{_name}"): lift.refusing(
            f"np.nan{_name}",
            why="which elements count depends on the data",
            do=f"np.{_name}(x, where=~np.isnan(x))"
            if _name in ("sum", "prod", "mean", "var", "std")
            else _do,
        )
        for _name, _do in (
            *((_n, "") for _n in ("sum", "prod", "mean", "var", "std")),
            ("max", "np.where(np.isnan(x), -np.inf, x).max()"),
            ("min", "np.where(np.isnan(x), np.inf, x).min()"),
            ("median", "np.median of the values that are not NaN, chosen outside the function"),
        )
    },
}
