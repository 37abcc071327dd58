"""Joining, splitting and repeating: regions along an axis, and extra indices that are reshaped away."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gradc.errors import ShapeError
from gradc.ir.extents import Size
from gradc.ir.index.nodes import affine
from gradc.lang.emit import Emitter, Value
from gradc.lang.operations import lift
from gradc.lang.operations.lift import ArrayLike, Handler, SizeLike, Table
from gradc.lang.operations.shapes import ravel, with_rank
from gradc.lang.operations.sizes import at_least, signed_size, static
from gradc.lang.operations.slices import span

# --- parts --------------------------------------------------------------------------------------------------


def part(emit: Emitter, value: Value, axis: int, start: Size, count: Size) -> Value:
    """``value[start : start + count]`` along one axis; the caller knows that it lies within."""
    shape = emit.shape(value)
    if start == 0 and emit.solver.resolve(count) == shape[axis]:
        return value
    indices = tuple(affine({at: 1}, start) if at == axis else at for at in range(len(shape)))
    return emit.reindex(value, (*shape[:axis], count, *shape[axis + 1 :]), indices)


def joined(emit: Emitter, values: Sequence[Value], axis: int) -> Value:
    """Concatenate, leaving out parts that are known to be empty."""
    kept = [value for value in values if emit.shape(value)[axis] != 0] or [values[0]]
    return kept[0] if len(kept) == 1 else emit.concatenate(kept, axis)


# --- joining ------------------------------------------------------------------------------------------------


def concatenate(
    emit: Emitter,
    arrays: ArrayLike,
    /,
    axis: int | None = 0,
    out: None = None,
    *,
    dtype: object = None,
    casting: str = "same_kind",
) -> Value:
    """Join arrays along an axis; None joins the flattened arrays."""
    lift.only_default("np.concatenate", out=out)
    values = lift.arrays(emit, arrays)
    if not values:
        raise ShapeError("nothing to concatenate", do="pass at least one array")
    if axis is None:
        values, axis = [ravel(emit, value) for value in values], 0
    ranks = {len(emit.shape(value)) for value in values}
    if len(ranks) > 1 or 0 in ranks:
        raise ShapeError(
            f"arrays with {' and '.join(map(str, sorted(ranks)))} axes cannot be concatenated",
            do="use np.stack for a new axis, or reshape",
        )
    wanted = lift.dtype(dtype) or lift.common_dtype(values)
    values = [emit.cast(value, wanted) for value in values]
    return emit.concatenate(values, lift.axis(axis, ranks.pop()))


def stack(
    emit: Emitter,
    arrays: ArrayLike,
    axis: int = 0,
    out: None = None,
    *,
    dtype: object = None,
    casting: str = "same_kind",
) -> Value:
    """Join arrays of one shape along a new axis."""
    lift.only_default("np.stack", out=out)
    values = lift.arrays(emit, arrays)
    if not values:
        raise ShapeError("nothing to stack", do="pass at least one array")
    wanted = lift.dtype(dtype)
    result = lift.stack(emit, values, axis)
    return result if wanted is None else emit.cast(result, wanted)


def vstack(emit: Emitter, tup: ArrayLike, *, dtype: object = None, casting: str = "same_kind") -> Value:
    """Join rows."""
    rows = [with_rank(emit, value, 2) for value in lift.arrays(emit, tup)]
    return concatenate(emit, rows, 0, dtype=dtype)


def hstack(emit: Emitter, tup: ArrayLike, *, dtype: object = None, casting: str = "same_kind") -> Value:
    """Join along axis 1, vectors along axis 0."""
    values = [with_rank(emit, value, 1) for value in lift.arrays(emit, tup)]
    vectors = all(len(emit.shape(value)) == 1 for value in values[:1])
    return concatenate(emit, values, 0 if vectors else 1, dtype=dtype)


def dstack(emit: Emitter, tup: ArrayLike) -> Value:
    """Join along axis 2."""
    return concatenate(emit, [with_rank(emit, value, 3) for value in lift.arrays(emit, tup)], 2)


def column_stack(emit: Emitter, tup: ArrayLike) -> Value:
    """Join along axis 1, vectors as columns."""
    columns = []
    for value in lift.arrays(emit, tup):
        shape = emit.shape(value)
        columns.append(emit.reshape(value, (*shape, *(1,) * (2 - len(shape)))) if len(shape) < 2 else value)
    return concatenate(emit, columns, 1)


def append(emit: Emitter, arr: ArrayLike, values: ArrayLike, axis: int | None = None) -> Value:
    """Join two arrays, flattened without `axis`."""
    return concatenate(emit, [lift.array(emit, arr), lift.array(emit, values)], axis)


def block(emit: Emitter, arrays: ArrayLike) -> Value:
    """Assemble nested lists of blocks: the innermost lists along the last axis, and so on outwards."""
    depth = _depth(arrays)
    leaves: list[Value] = []

    def lifted(item: ArrayLike) -> object:
        if isinstance(item, list):
            return [lifted(entry) for entry in item]
        leaves.append(lift.array(emit, item))
        return leaves[-1]

    tree = lifted(arrays)
    rank = max((depth, *(len(emit.shape(leaf)) for leaf in leaves)))

    def join(item: object, level: int) -> Value:
        if isinstance(item, list):
            return concatenate(emit, [join(entry, level - 1) for entry in item], rank - level)
        assert isinstance(item, Value)
        shape = emit.shape(item)
        return emit.reshape(item, (1,) * (rank - len(shape)) + shape)

    return join(tree, depth)


def _depth(item: object) -> int:
    if isinstance(item, tuple):
        raise ShapeError("np.block takes lists, not tuples", do="write [[a, b], [c, d]]")
    if not isinstance(item, list):
        return 0
    depths = {_depth(entry) for entry in item}
    if len(depths) != 1:
        raise ShapeError("the lists of np.block are not nested alike", do="give every entry the same depth")
    return depths.pop() + 1


# --- splitting ----------------------------------------------------------------------------------------------


def split(
    emit: Emitter, ary: ArrayLike, indices_or_sections: SizeLike | Sequence[SizeLike], axis: int = 0
) -> list[Value]:
    """Cut into equal sections, or at given positions."""
    value = lift.array(emit, ary)
    at = lift.axis(axis, len(emit.shape(value)))
    if isinstance(indices_or_sections, list | tuple):
        return _cut(emit, value, at, [signed_size(i, "a split position") for i in indices_or_sections])
    sections = static(emit, indices_or_sections, "the number of sections")
    extent = emit.shape(value)[at]
    length = emit.solver.divide(extent, sections, "np.split makes equal sections")
    return [part(emit, value, at, length * k, length) for k in range(sections)]


def array_split(
    emit: Emitter, ary: ArrayLike, indices_or_sections: SizeLike | Sequence[SizeLike], axis: int = 0
) -> list[Value]:
    """Cut into sections whose lengths differ by at most one."""
    value = lift.array(emit, ary)
    at = lift.axis(axis, len(emit.shape(value)))
    if isinstance(indices_or_sections, list | tuple):
        return split(emit, value, indices_or_sections, at)
    sections = static(emit, indices_or_sections, "the number of sections")
    if sections <= 0:
        raise ShapeError(f"{sections} sections", do="ask for at least one section")
    extent = static(emit, emit.shape(value)[at], "the extent cut by np.array_split")
    short, long = divmod(extent, sections)
    lengths = [short + 1] * long + [short] * (sections - long)
    starts = [sum(lengths[:k]) for k in range(sections)]
    return [part(emit, value, at, start, length) for start, length in zip(starts, lengths, strict=True)]


def _cut(emit: Emitter, value: Value, axis: int, positions: Sequence[Size]) -> list[Value]:
    pieces: list[Value] = []
    extent = emit.shape(value)[axis]
    for first, last in zip((0, *positions), (*positions, None), strict=True):
        piece = span(emit, extent, first, last, 1)
        pieces.append(part(emit, value, axis, piece.start, piece.count))
    return pieces


def _split_at(axis_of: Callable[[int], int], least: int, name: str) -> Handler:
    def handler(
        emit: Emitter, ary: ArrayLike, indices_or_sections: SizeLike | Sequence[SizeLike]
    ) -> list[Value]:
        value = lift.array(emit, ary)
        rank = len(emit.shape(value))
        if rank < least:
            raise ShapeError(f"{name} takes at least {least} axes, not {rank}")
        return split(emit, value, indices_or_sections, axis_of(rank))

    return handler


def unstack(emit: Emitter, x: ArrayLike, /, *, axis: int = 0) -> tuple[Value, ...]:
    """Slices along an axis, without it."""
    value = lift.array(emit, x)
    at = lift.axis(axis, len(emit.shape(value)))
    count = static(emit, emit.shape(value)[at], "the extent taken apart by np.unstack")
    return tuple(lift.item(emit, value, at, position) for position in range(count))


# --- repeating ----------------------------------------------------------------------------------------------


def tile(emit: Emitter, A: ArrayLike, reps: SizeLike | Sequence[SizeLike]) -> Value:
    """Repeat the whole array along each axis."""
    value = lift.array(emit, A)
    counts = lift.shape(reps)
    shape = emit.shape(value)
    rank = max(len(shape), len(counts))
    shape = (1,) * (rank - len(shape)) + shape
    counts = (1,) * (rank - len(counts)) + counts
    paired = tuple(size for pair in zip(counts, shape, strict=True) for size in pair)
    spread = emit.reshape(value, tuple(size for own in shape for size in (1, own)))
    whole = tuple(count * size for count, size in zip(counts, shape, strict=True))
    return emit.reshape(emit.broadcast_to(spread, paired), whole)


def repeat(
    emit: Emitter, a: ArrayLike, repeats: SizeLike | Sequence[SizeLike], axis: int | None = None
) -> Value:
    """Repeat each element along an axis, of the flattened array without one."""
    value = lift.array(emit, a)
    if axis is None:
        value, axis = ravel(emit, value), 0
    at = lift.axis(axis, len(emit.shape(value)))
    shape = emit.shape(value)
    if isinstance(repeats, list | tuple):
        return _repeat_each(emit, value, at, lift.shape(repeats))
    (count,) = lift.shape(repeats)
    spread = emit.reshape(value, (*shape[: at + 1], 1, *shape[at + 1 :]))
    spread = emit.broadcast_to(spread, (*shape[: at + 1], count, *shape[at + 1 :]))
    return emit.reshape(spread, (*shape[:at], shape[at] * count, *shape[at + 1 :]))


def _repeat_each(emit: Emitter, value: Value, axis: int, counts: tuple[Size, ...]) -> Value:
    shape = emit.shape(value)
    emit.solver.unify(shape[axis], len(counts), "np.repeat takes one count for each element")
    parts = []
    for position, count in enumerate(counts):
        one = part(emit, value, axis, position, 1)
        parts.append(emit.broadcast_to(one, (*shape[:axis], count, *shape[axis + 1 :])))
    return joined(emit, parts, axis) if parts else value


def roll(
    emit: Emitter, a: ArrayLike, shift: SizeLike | Sequence[SizeLike], axis: int | Sequence[int] | None = None
) -> Value:
    """Shift elements along axes; what leaves at one end enters at the other."""
    value = lift.array(emit, a)
    if axis is None:
        flat = roll(emit, ravel(emit, value), shift, 0)
        return emit.reshape(flat, emit.shape(value))
    axes = list(axis) if isinstance(axis, list | tuple) else [axis]
    shifts = list(shift) if isinstance(shift, list | tuple) else [shift]
    count = max(len(axes), len(shifts))
    axes, shifts = (items * count if len(items) == 1 else items for items in (axes, shifts))
    if len(axes) != len(shifts):
        raise ShapeError(
            f"np.roll: {len(shifts)} shifts and {len(axes)} axes", do="give one shift for each axis"
        )
    for at, by in zip(axes, shifts, strict=True):
        value = _rolled(emit, value, lift.axis(at, len(emit.shape(value))), signed_size(by, "a shift"))
    return value


def _rolled(emit: Emitter, value: Value, axis: int, shift: Size) -> Value:
    extent = emit.shape(value)[axis]
    reason = "np.roll shifts by at most the extent"
    if isinstance(shift, int) and isinstance(extent, int):
        shift = shift % extent if extent else 0
    elif not at_least(emit, shift, 0, "the direction of np.roll"):
        shift = shift + extent
        if not at_least(emit, shift, 0, reason):
            shift = _reduced(emit, shift, extent)
    if not at_least(emit, extent, shift, reason):
        shift = _reduced(emit, shift, extent)
    if shift == 0:
        return value
    tail = part(emit, value, axis, extent - shift, shift)
    return joined(emit, (tail, part(emit, value, axis, 0, extent - shift)), axis)


def _reduced(emit: Emitter, shift: Size, extent: Size) -> int:
    number = static(emit, extent, "an extent below the shift of np.roll")
    return static(emit, shift, "a shift of np.roll") % number if number else 0


FUNCTIONS: Table = {
    np.concatenate: concatenate,
    np.concat: concatenate,
    np.stack: stack,
    np.vstack: vstack,
    np.hstack: hstack,
    np.dstack: dstack,
    np.column_stack: column_stack,
    np.append: append,
    np.block: block,
    np.split: split,
    np.array_split: array_split,
    np.hsplit: _split_at(lambda rank: 0 if rank == 1 else 1, 1, "np.hsplit"),
    np.vsplit: _split_at(lambda rank: 0, 2, "np.vsplit"),
    np.dsplit: _split_at(lambda rank: 2, 3, "np.dsplit"),
    np.unstack: unstack,
    np.tile: tile,
    np.repeat: repeat,
    np.roll: roll,
}

METHODS: dict[str, Handler] = {"repeat": repeat}
