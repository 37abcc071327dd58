"""Reading and writing elements: index expressions, gathers, sorting, inserting and deleting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradc.errors import ShapeError
from gradc.ir.extents import Size
from gradc.ir.index.nodes import Index, fixed
from gradc.lang.emit import Emitter, SizeValue, Value
from gradc.lang.operations import lift
from gradc.lang.operations.assignment import set_item
from gradc.lang.operations.joining import joined, part
from gradc.lang.operations.lift import ArrayLike, Handler, SizeLike, Table
from gradc.lang.operations.masked import MaskedValue, mask_of, masked
from gradc.lang.operations.shapes import moveaxis, ravel
from gradc.lang.operations.sizes import at_least, require, signed_size, static
from gradc.lang.operations.slices import Span, select, selection, span
from gradc.lang.unify import is_one

_DYNAMIC = "the shape of the result depends on the values"
_WHERE = "use np.where(mask, x, other), or reduce x[mask] at once"


def get_item(emit: Emitter, value: Value, index: object) -> Value | MaskedValue:
    """``value[index]``; a traced mask gives a `MaskedValue`, whose length is not known."""
    mask = mask_of(emit, index)
    if mask is not None:
        return masked(emit, value, mask)
    return select(emit, value, selection(emit, value, index))


# --- gathers ------------------------------------------------------------------------------------------------


def take(
    emit: Emitter,
    a: ArrayLike,
    indices: ArrayLike,
    axis: int | None = None,
    out: None = None,
    mode: str = "raise",
) -> Value:
    """Elements at integer positions along an axis, of the flattened array without one."""
    lift.only_default("np.take", out=out)
    value = lift.array(emit, a)
    if axis is None:
        value, axis = ravel(emit, value), 0
    at = lift.axis(axis, len(emit.shape(value)))
    table = lift.array(emit, indices)
    extent = SizeValue(emit.shape(value)[at])
    if mode == "wrap":
        table = emit.elementwise("mod", table, extent)
    elif mode == "clip":
        last = emit.elementwise("sub", emit.size_value(extent.size), 1)
        table = emit.elementwise("minimum", emit.elementwise("maximum", table, 0), last)
    elif mode != "raise":
        raise ShapeError(f"np.take(mode={mode!r})", do="use mode='raise', 'wrap' or 'clip'")
    return select(emit, value, selection(emit, value, (*(slice(None),) * at, table)))


def take_along_axis(emit: Emitter, arr: ArrayLike, indices: ArrayLike, axis: int | None = -1) -> Value:
    """Along one axis the elements that `indices` names, one line after the other."""
    value, table = lift.array(emit, arr), lift.array(emit, indices)
    if axis is None:
        value, axis = ravel(emit, value), 0
    own, shape = emit.shape(value), emit.shape(table)
    if len(own) != len(shape):
        raise ShapeError(f"take_along_axis: {len(shape)} axes of indices for {len(own)} of the array")
    at = lift.axis(axis, len(own))
    others = emit.broadcast_shape([_with_one(own, at), _with_one(shape, at)])
    space = (*others[:at], shape[at], *others[at + 1 :])
    look = emit.lookup(table, tuple(_followed(size, k, space) for k, size in enumerate(shape)))  # pyright: ignore[reportArgumentType]
    indices_: tuple[Index, ...] = tuple(
        look if k == at else _followed(size, k, space) for k, size in enumerate(emit.shape(value))
    )
    return emit.reindex(value, space, indices_)


def _with_one(shape: tuple[Size, ...], at: int) -> tuple[Size, ...]:
    return (*shape[:at], 1, *shape[at + 1 :])


def _followed(size: Size, axis: int, space: tuple[Size, ...]) -> Index:
    """Index that follows an axis of the space, or stays at 0 where the own extent is 1."""
    return fixed(0) if is_one(size) and not is_one(space[axis]) else axis


def ix_(emit: Emitter, *args: ArrayLike) -> tuple[Value, ...]:
    """Shape vectors of positions so that indexing with them selects a grid."""
    tables = []
    for at, x in enumerate(args):
        table = lift.array(emit, x)
        shape = emit.shape(table)
        if len(shape) != 1:
            raise ShapeError(f"np.ix_ takes vectors, not an array with {len(shape)} axes")
        if table.dtype.is_bool:
            raise lift.refused("np.ix_ of a mask", why=_DYNAMIC, do=_WHERE)
        tables.append(emit.reshape(table, (1,) * at + shape + (1,) * (len(args) - at - 1)))
    return tuple(tables)


def diag_indices(emit: Emitter, n: SizeLike, ndim: int = 2) -> tuple[Value, ...]:
    """Give the indices of the main diagonal of an array with equal extents."""
    return (emit.index_values((lift.size(n),), 0),) * ndim


def diag_indices_from(emit: Emitter, arr: ArrayLike) -> tuple[Value, ...]:
    """Give the indices of the main diagonal of an array."""
    shape = emit.shape(lift.array(emit, arr))
    if len(shape) < 2:
        raise ShapeError("a diagonal needs at least two axes")
    for other in shape[1:]:
        emit.solver.unify(shape[0], other, "np.diag_indices_from takes an array with equal extents")
    return diag_indices(emit, SizeValue(shape[0]), len(shape))


# --- sorting ------------------------------------------------------------------------------------------------


def argsort(
    emit: Emitter,
    a: ArrayLike,
    axis: int | None = -1,
    kind: str | None = None,
    order: None = None,
    *,
    stable: bool | None = None,
) -> Value:
    """Positions of the elements in ascending order; equal elements keep theirs."""
    lift.only_default("np.argsort", order=order)
    value = lift.array(emit, a)
    if axis is None:
        value, axis = ravel(emit, value), 0
    return emit.call("argsort", (value,), {"axis": lift.axis(axis, len(emit.shape(value)))})[0]


def sort(
    emit: Emitter,
    a: ArrayLike,
    axis: int | None = -1,
    kind: str | None = None,
    order: None = None,
    *,
    stable: bool | None = None,
) -> Value:
    """Elements in ascending order along an axis."""
    lift.only_default("np.sort", order=order)
    value = lift.array(emit, a)
    if axis is None:
        value, axis = ravel(emit, value), 0
    return take_along_axis(emit, value, argsort(emit, value, axis), axis)


# --- deleting and inserting ---------------------------------------------------------------------------------


def delete(
    emit: Emitter, arr: ArrayLike, obj: SizeLike | slice | Sequence[SizeLike], axis: int | None = None
) -> Value:
    """Array without some positions along an axis."""
    value = lift.array(emit, arr)
    if axis is None:
        value, axis = ravel(emit, value), 0
    at = lift.axis(axis, len(emit.shape(value)))
    extent = emit.shape(value)[at]
    if isinstance(obj, slice):
        return _without_span(emit, value, at, span(emit, extent, obj.start, obj.stop, obj.step))
    if not isinstance(obj, list | tuple):
        chosen = selection(emit, value, (*(slice(None),) * at, obj))
        position = chosen.items[at].at  # pyright: ignore[reportAttributeAccessIssue]
        return _without_span(emit, value, at, Span(position, 1, 1))
    number = static(emit, extent, "the extent of np.delete with several positions")
    return _without(emit, value, at, {_position(static(emit, o, "a position"), number) for o in obj}, number)


def _without_span(emit: Emitter, value: Value, axis: int, removed: Span) -> Value:
    extent = emit.shape(value)[axis]
    if abs(removed.step) != 1:
        number = static(emit, extent, "the extent of np.delete with a step")
        start, count = static(emit, removed.start, "a bound"), static(emit, removed.count, "a count")
        return _without(emit, value, axis, {start + removed.step * k for k in range(count)}, number)
    start = removed.start if removed.step > 0 else removed.start - removed.count + 1
    end = start + removed.count
    return joined(emit, (part(emit, value, axis, 0, start), part(emit, value, axis, end, extent - end)), axis)


def _without(emit: Emitter, value: Value, axis: int, positions: set[int], extent: int) -> Value:
    pieces: list[Value] = []
    start = 0
    for position in (*sorted(positions), extent):
        pieces.append(part(emit, value, axis, start, position - start))
        start = position + 1
    return joined(emit, pieces, axis)


def _position(position: int, extent: int) -> int:
    if not -extent <= position < extent:
        raise ShapeError(f"position {position} does not exist", why=f"the axis has {extent} elements")
    return position % extent


def insert(emit: Emitter, arr: ArrayLike, obj: SizeLike, values: ArrayLike, axis: int | None = None) -> Value:
    """Array with `values` put before one position along an axis."""
    value = lift.array(emit, arr)
    if isinstance(obj, slice | list | tuple):
        raise lift.refused("np.insert at several positions", do="use np.concatenate of slices")
    if axis is None:
        value, axis = ravel(emit, value), 0
    shape = emit.shape(value)
    at = lift.axis(axis, len(shape))
    position = signed_size(obj, "a position")
    if not at_least(emit, position, 0, "the sign of a position"):
        position = position + shape[at]
    require(emit, position, 0, "np.insert puts values within the axis")
    require(emit, shape[at], position, "np.insert puts values within the axis")
    new = lift.array(emit, values, value.dtype)
    own = emit.shape(new)
    if len(own) > len(shape):
        raise ShapeError(f"np.insert: values with {len(own)} axes for an array with {len(shape)}")
    # NumPy reads the values for a single position as if `axis` came first
    new = moveaxis(emit, emit.reshape(new, (1,) * (len(shape) - len(own)) + own), 0, at)
    new = emit.broadcast_to(new, (*shape[:at], emit.shape(new)[at], *shape[at + 1 :]))
    pieces = (part(emit, value, at, 0, position), new, part(emit, value, at, position, shape[at] - position))
    return joined(emit, pieces, at)


# --- tables -------------------------------------------------------------------------------------------------


def _dynamic(call: str, do: str) -> Handler:
    return lift.refusing(call, why=_DYNAMIC, do=do)


FUNCTIONS: Table = {
    np.take: take,
    np.take_along_axis: take_along_axis,
    np.ix_: ix_,
    np.diag_indices_from: diag_indices_from,
    np.sort: sort,
    np.argsort: argsort,
    np.delete: delete,
    np.insert: insert,
    np.searchsorted: lift.refusing("np.searchsorted", do="(x[:, None] > edges).sum(axis=1)"),
    np.nonzero: _dynamic("np.nonzero", _WHERE),
    np.flatnonzero: _dynamic("np.flatnonzero", _WHERE),
    np.argwhere: _dynamic("np.argwhere", _WHERE),
    np.unique: _dynamic("np.unique", "compute it outside the function and pass it in"),
    np.compress: _dynamic("np.compress", _WHERE),
    np.extract: _dynamic("np.extract", _WHERE),
}

CREATION: Table = {np.diag_indices: diag_indices}

METHODS: dict[str, Handler] = {
    "take": take,
    "argsort": argsort,
    "searchsorted": FUNCTIONS[np.searchsorted],
    "nonzero": FUNCTIONS[np.nonzero],
    "compress": FUNCTIONS[np.compress],
}

__all__ = ["CREATION", "FUNCTIONS", "METHODS", "MaskedValue", "get_item", "set_item"]
