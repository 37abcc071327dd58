"""Item assignment as a function: the whole new array.

Boxes become regions (`Assemble`), single positions a select on the index, everything else an accumulation
into zeros beside a count of the writes.  Where integer tensors name a position twice the last write wins,
as in NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradc.errors import ShapeError
from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.index.nodes import (
    Access,
    Affine,
    Assign,
    Const,
    Index,
    IndexValue,
    Operand,
    fixed,
    terms_of,
)
from gradc.ir.index.templates import template
from gradc.ir.types import DType
from gradc.lang.emit import Emitter, Value
from gradc.lang.operations import lift
from gradc.lang.operations.joining import joined, part
from gradc.lang.operations.lift import ArrayLike
from gradc.lang.operations.masked import MaskedValue, mask_of, refused_masked, spread
from gradc.lang.operations.shapes import flip, ravel
from gradc.lang.operations.sizes import show_sizes
from gradc.lang.operations.slices import Gather, NewAxis, Point, Selection, Span, selection
from gradc.lang.unify import is_one


def set_item(emit: Emitter, value: Value, index: object, new: ArrayLike | MaskedValue) -> Value:
    """Array after ``value[index] = new``."""
    mask = mask_of(emit, index)
    if mask is not None:
        return _write_masked(emit, value, mask, new)
    if isinstance(new, MaskedValue):
        raise refused_masked("assigning x[mask] elsewhere")
    chosen = selection(emit, value, index)
    written = _fitting(emit, lift.array(emit, new, value.dtype), chosen.shape)
    if 0 in chosen.shape:
        return value
    return (_write_box if chosen.is_box else _scatter)(emit, value, chosen, written)


def _fitting(emit: Emitter, new: Value, shape: tuple[Size, ...]) -> Value:
    """Give the new elements as many axes as the place they go to; each has its extent there, or 1."""
    own = emit.shape(new)
    while len(own) > len(shape) and is_one(own[0]):
        own = own[1:]
    misfit = f"an array of shape {show_sizes(own)} does not fit into shape {show_sizes(shape)}"
    if len(own) > len(shape):
        raise ShapeError(misfit)
    full = (1,) * (len(shape) - len(own)) + own
    for here, there in zip(full, shape, strict=True):
        if is_one(there):  # a place is never stretched: an extent such as n - 2 has to be 1 as well
            emit.solver.unify(here, 1, misfit)
    full = tuple(emit.solver.resolve(size) for size in full)
    emit.broadcast_shape([full, shape])
    return emit.reshape(new, full)


# --- masks --------------------------------------------------------------------------------------------------


def _write_masked(emit: Emitter, value: Value, mask: Value, new: ArrayLike | MaskedValue) -> Value:
    condition = spread(emit, value, mask)
    if isinstance(new, MaskedValue):
        if new.mask != mask:
            raise refused_masked("assigning elements selected by another mask")
        return emit.elementwise("select", condition, emit.cast(new.value, value.dtype), value)
    written = lift.array(emit, new, value.dtype)
    rest = emit.shape(value)[len(emit.shape(mask)) :]
    own = emit.shape(written)
    if len(own) > len(rest) and not all(is_one(size) for size in own[: len(own) - len(rest)]):
        raise refused_masked("assigning an array of as many elements as the mask selects")
    return emit.elementwise("select", condition, _fitting(emit, written, rest), value)


# --- boxes --------------------------------------------------------------------------------------------------


def _write_box(emit: Emitter, value: Value, chosen: Selection, new: Value) -> Value:
    """Regions along one axis after the other, or a select where only single positions are named."""
    shape = emit.shape(value)
    sides: list[Span] = []  # a single position is a side of length 1
    inner: list[Size] = []
    points: set[int] = set()
    for item, size in zip(chosen.items, _sizes_at(chosen, emit.shape(new)), strict=True):
        if isinstance(item, NewAxis):
            continue
        if isinstance(item, Point):
            points.add(len(sides))
            item = Span(item.at, 1, 1)
        assert isinstance(item, Span)
        sides.append(item)
        inner.append(size)
    new = emit.reshape(new, tuple(inner))
    backwards = tuple(at for at, side in enumerate(sides) if side.step < 0)
    new = flip(emit, new, backwards) if backwards else new
    starts = [side.start if side.step > 0 else side.start - side.count + 1 for side in sides]
    partial = [at for at, side in enumerate(sides) if (starts[at], side.count) != (0, shape[at])]
    if partial and points.issuperset(partial):
        return _write_points(emit, value, {at: starts[at] for at in partial}, new)
    return _write_regions(
        emit, value, partial, starts, emit.broadcast_to(new, tuple(side.count for side in sides))
    )


def _sizes_at(chosen: Selection, sizes: tuple[Size, ...]) -> list[Size]:
    """For each part of the index expression the extent of the new elements along it; 1 for a position."""
    rest = iter(sizes)
    return [1 if isinstance(item, Point) else next(rest) for item in chosen.items]


def _write_points(emit: Emitter, value: Value, points: dict[int, Size], new: Value) -> Value:
    shape = emit.shape(value)
    condition: Value | None = None
    for axis, position in points.items():
        line = tuple(size if at == axis else 1 for at, size in enumerate(shape))
        here = emit.index_predicate("eq", axis, fixed(position), line)
        condition = here if condition is None else emit.elementwise("logical_and", condition, here)
    assert condition is not None
    return emit.elementwise("select", condition, new, value)


def _write_regions(
    emit: Emitter, value: Value, axes: Sequence[int], starts: Sequence[Size], new: Value
) -> Value:
    if not axes:
        return new
    axis, start, count = axes[0], starts[axes[0]], emit.shape(new)[axes[0]]
    inner = new
    if len(axes) > 1:
        inner = _write_regions(emit, part(emit, value, axis, start, count), axes[1:], starts, new)
    end = start + count
    rest = emit.shape(value)[axis] - end
    return joined(emit, (part(emit, value, axis, 0, start), inner, part(emit, value, axis, end, rest)), axis)


# --- scattered positions ------------------------------------------------------------------------------------


def _scatter(emit: Emitter, value: Value, chosen: Selection, new: Value) -> Value:
    dtype = DType.INT64 if value.dtype.is_bool else value.dtype
    space = chosen.shape
    keep = None if _distinct(emit, chosen) else _last_writes(emit, value, chosen)
    amount: Operand = Const(1, DType.INT64)
    new = emit.cast(new, dtype)
    if keep is not None:
        new = emit.elementwise("select", keep, new, lift.array(emit, 0, dtype))
        amount = emit.aligned(emit.cast(keep, DType.INT64), space)
    written = _accumulated(emit, value, dtype, chosen, emit.aligned(new, space))
    hits = _accumulated(emit, value, DType.INT64, chosen, amount)
    return emit.elementwise("select", emit.elementwise("ne", hits, 0), emit.cast(written, value.dtype), value)


def _accumulated(emit: Emitter, like: Value, dtype: DType, chosen: Selection, operand: Operand) -> Value:
    """Zeros of the shape of `like`, with `operand` added at the selected positions."""
    origin, hint = emit.place()
    shape = emit.shape(like)
    name = emit.builder.declare(hint, dtype, shape)
    emit.builder.accumulate(name, template("copy"), (operand,), chosen.shape, chosen.indices, origin)
    return Value(name, dtype, shape)


def _last_writes(emit: Emitter, value: Value, chosen: Selection) -> Value:
    """Which of the writes is the last one to its position: found by sorting the positions."""
    shared = chosen.shape[chosen.first : chosen.first + chosen.shared]
    position: Value = lift.array(emit, 0)
    axes = [item for item in chosen.items if not isinstance(item, NewAxis)]
    for item, extent in zip(axes, emit.shape(value), strict=True):
        if isinstance(item, Gather):
            table = emit.cast(item.table, DType.INT64)
            size = emit.size_value(extent)
            wrapped = emit.elementwise(
                "select", emit.elementwise("lt", table, 0), emit.elementwise("add", table, size), table
            )
            position = emit.elementwise("add", emit.elementwise("mul", position, size), wrapped)
    flat = ravel(emit, emit.broadcast_to(position, shared))
    (count,) = emit.shape(flat)
    (order,) = emit.call("argsort", (flat,), {"axis": 0})
    ranked = emit.reindex(flat, (count,), (emit.lookup(order, (0,)),))
    ends = lift.array(emit, [-1])
    following = part(emit, emit.concatenate((ranked, ends), 0), 0, 1, count)
    last = emit.cast(emit.elementwise("ne", ranked, following), DType.INT64)
    target = Selection((count,), (emit.lookup(order, (0,)),), ())
    kept = _accumulated(emit, flat, DType.INT64, target, emit.aligned(last, (count,)))
    after = len(chosen.shape) - chosen.first - chosen.shared
    kept = emit.reshape(kept, (*shared, *(1,) * after))
    return emit.elementwise("ne", kept, 0)


def _distinct(emit: Emitter, chosen: Selection) -> bool:
    """Whether no position is named twice: along every shared axis some integer tensor counts upwards."""
    tables = [item.table for item in chosen.items if isinstance(item, Gather)]
    shared = chosen.shape[chosen.first : chosen.first + chosen.shared]
    counted = {at for at, size in enumerate(shared) if is_one(size)}
    for table in tables:
        axis = _counting_axis(emit, table.name)
        if axis is not None:
            counted.add(axis + len(shared) - len(emit.shape(table)))
    return len(counted) == len(shared)


def _counting_axis(emit: Emitter, name: str) -> int | None:
    """Axis along which a tensor is ``start, start + step, ...`` (nonnegative), and constant along others."""
    equation = next(
        (e for e in reversed(emit.builder.equations) if isinstance(e, Assign) and e.out == name), None
    )
    if equation is None or not equation.template.is_copy or equation.reduce is not None:
        return None
    (operand,) = equation.operands
    if isinstance(operand, IndexValue):
        return _upward(operand.index)
    if isinstance(operand, Access):
        inner = _counting_axis(emit, operand.tensor)
        return None if inner is None else _upward(operand.indices[inner])
    return None


def _upward(index: Index) -> int | None:
    if not isinstance(index, int | Affine):
        return None
    terms, offset = terms_of(index)
    if len(terms) != 1 or terms[0][0] <= 0 or not extents.is_nonnegative(offset):
        return None
    return terms[0][1]


__all__ = ["set_item"]
