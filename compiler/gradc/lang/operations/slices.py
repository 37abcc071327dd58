"""Index expressions: what ``x[...]`` selects, as one index of the result for each axis of the array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import TypeAlias, Union

import numpy as np

from gradc.errors import ShapeError
from gradc.ir import extents
from gradc.ir.extents import Polynomial, Size
from gradc.ir.index.build import IDENTITY
from gradc.ir.index.nodes import Affine, Index, affine, fixed
from gradc.lang.emit import Emitter, SizeValue, Value
from gradc.lang.operations import lift
from gradc.lang.operations.sizes import at_least, require, signed_size, static
from gradc.lang.unify import is_one

IndexItem: TypeAlias = Union[
    int, np.integer, SizeValue, slice, EllipsisType, Value, "Sequence[IndexItem]", None
]


@dataclass(frozen=True, slots=True)
class Point:
    """One position; the axis disappears."""

    at: Size


@dataclass(frozen=True, slots=True)
class Span:
    """``start + step * k`` for ``k < count``."""

    start: Size
    count: Size
    step: int


@dataclass(frozen=True, slots=True)
class Gather:
    """Positions given by an integer tensor."""

    table: Value


@dataclass(frozen=True, slots=True)
class NewAxis:
    """An axis of extent 1 that the array does not have."""


Item: TypeAlias = Point | Span | Gather | NewAxis


@dataclass(frozen=True, slots=True)
class Selection:
    """``result[i] = array[indices(i)]`` over `shape`.

    `items` is the index expression, one entry for each part; the axes ``first .. first + shared`` of the
    result are those that the integer tensors share.
    """

    shape: tuple[Size, ...]
    indices: tuple[Index, ...]
    items: tuple[Item, ...]
    first: int = 0
    shared: int = 0

    @property
    def is_box(self) -> bool:
        """Whether a contiguous box is selected (axes may be reversed)."""
        return all(
            not isinstance(item, Gather) and not (isinstance(item, Span) and abs(item.step) != 1)
            for item in self.items
        )


# --- spans --------------------------------------------------------------------------------------------------


def span(emit: Emitter, extent: Size, start: object, stop: object, step: object = None) -> Span:
    """Read ``start:stop:step``; comparisons with a symbolic extent leave guards."""
    stride = 1 if step is None else static(emit, step, "a slice step")
    if stride == 0:
        raise ShapeError("a slice step cannot be zero", do="use a step of 1")
    lower, upper = (0, extent) if stride > 0 else (-1, extent - 1)
    reason = f"the slice {_text(start)}:{_text(stop)}{'' if stride == 1 else f':{stride}'}"
    first = (
        _bound(emit, start, extent, lower, upper, reason) if start is not None else (lower, upper)[stride < 0]
    )
    last = (
        _bound(emit, stop, extent, lower, upper, reason) if stop is not None else (upper, lower)[stride < 0]
    )
    distance = last - first if stride > 0 else first - last
    if not at_least(emit, distance, 0, reason):
        distance = 0
    return Span(first, emit.solver.divide_down(distance + (abs(stride) - 1), abs(stride)), stride)


def _bound(emit: Emitter, given: object, extent: Size, lower: Size, upper: Size, reason: str) -> Size:
    """Slice bound counted from the front and clipped, as `slice.indices` does."""
    bound = signed_size(given, "a slice bound")
    if not at_least(emit, bound, 0, reason):
        bound = bound + extent
        return bound if at_least(emit, bound, lower, reason) else lower
    return bound if at_least(emit, upper, bound, reason) else upper


def _text(bound: object) -> str:
    if bound is None:
        return ""
    size = bound.size if isinstance(bound, SizeValue) else bound
    return extents.show(size) if isinstance(size, int | Polynomial) else str(size)


def _point(emit: Emitter, extent: Size, given: object) -> Point:
    position = signed_size(given, "an index")
    if not at_least(emit, position, 0, "the sign of an index"):
        position = position + extent
        require(emit, position, 0, f"the index {_text(given)} lies within the axis")
    else:
        require(emit, extent, position + 1, f"the index {_text(given)} lies within the axis")
    return Point(position)


# --- reading an index expression ----------------------------------------------------------------------------


def selection(emit: Emitter, value: Value, index: object) -> Selection:
    """Read an index expression; boolean masks are not handled here."""
    entries = list(index) if isinstance(index, tuple) else [index]
    items = _items(emit, emit.shape(value), _completed(entries, len(emit.shape(value))))
    if any(isinstance(item, Gather) for item in items):
        return _gathered(emit, emit.shape(value), items)
    return _sliced(items)


def _completed(entries: list[object], rank: int) -> list[object]:
    """Entries with the ellipsis kept in place and followed by the full slices that it stands for."""
    given = sum(1 for entry in entries if entry is not None and entry is not Ellipsis)
    dots = [at for at, entry in enumerate(entries) if entry is Ellipsis]
    if len(dots) > 1:
        raise ShapeError("an index may hold one ellipsis", do="write ... once")
    if given > rank:
        raise ShapeError(f"{given} indices for {rank} axes", do="drop indices, or add axes with None")
    at = dots[0] if dots else len(entries)
    full: list[object] = [slice(None)] * (rank - given)
    return [*entries[:at], *entries[at : at + 1], *full, *entries[at + 1 :]]


def _items(emit: Emitter, shape: tuple[Size, ...], entries: list[object]) -> list[Item | EllipsisType]:
    items: list[Item | EllipsisType] = []
    axis = 0
    for entry in entries:
        if entry is Ellipsis:
            items.append(Ellipsis)
        elif entry is None:
            items.append(NewAxis())
        else:
            items.append(_item(emit, shape[axis], entry))
            axis += 1
    return items


def _item(emit: Emitter, extent: Size, entry: object) -> Item:
    if isinstance(entry, slice):
        return span(emit, extent, entry.start, entry.stop, entry.step)
    if isinstance(entry, bool | np.bool_):
        raise lift.refused(
            "an index that is True or False", do="use None for a new axis, np.where for a choice"
        )
    if isinstance(entry, list | tuple):
        entry = lift.array(emit, entry)
        if emit.shape(entry) == (0,):
            entry = emit.cast(entry, lift.dtype(np.int64) or entry.dtype)
    if not isinstance(entry, Value):
        return _point(emit, extent, entry)
    if entry.dtype.is_float:
        raise lift.refused(f"an index of dtype {entry.dtype.value}", do="use .astype(int)")
    if entry.dtype.is_bool:
        raise lift.refused("a mask beside other indices", do="index with the mask alone, or use np.where")
    return Gather(entry)


def select(emit: Emitter, value: Value, chosen: Selection) -> Value:
    """Elements that a selection names; the array itself where that is all of it."""
    if chosen.indices == IDENTITY[len(chosen.shape)] and chosen.shape == emit.shape(value):
        return value
    return emit.reindex(value, chosen.shape, chosen.indices)


# --- from items to indices ----------------------------------------------------------------------------------


def _sliced(items: Sequence[Item | EllipsisType]) -> Selection:
    shape: list[Size] = []
    indices: list[Index] = []
    kept = tuple(item for item in items if not isinstance(item, EllipsisType))
    for item in kept:
        if isinstance(item, NewAxis):
            shape.append(1)
        elif isinstance(item, Span):
            indices.append(affine({len(shape): item.step}, item.start))
            shape.append(item.count)
        elif isinstance(item, Point):
            indices.append(fixed(item.at))
    return Selection(tuple(shape), tuple(indices), kept)


def _gathered(emit: Emitter, extents_: tuple[Size, ...], items: Sequence[Item | EllipsisType]) -> Selection:
    """Integer tensors are broadcast together; positions beside them count as such tensors too."""
    tables = [item.table for item in items if isinstance(item, Gather)]
    shared = emit.broadcast_shape([emit.shape(table) for table in tables])
    advanced = [at for at, item in enumerate(items) if isinstance(item, Gather | Point)]
    together = advanced[-1] - advanced[0] + 1 == len(advanced)
    before = sum(1 for item in items[: advanced[0]] if isinstance(item, Span | NewAxis)) if together else 0

    plain: list[Size] = []
    indices: list[Index] = []
    for item in items:
        at = len(plain) if len(plain) < before else len(plain) + len(shared)
        if isinstance(item, NewAxis):
            plain.append(1)
        elif isinstance(item, Span):
            indices.append(affine({at: item.step}, item.start))
            plain.append(item.count)
        elif isinstance(item, Point):
            indices.append(fixed(item.at))
        elif isinstance(item, Gather):
            indices.append(emit.lookup(item.table, _aligned(emit, item.table, shared, before)))
    shape = (*plain[:before], *shared, *plain[before:])
    kept = tuple(item for item in items if not isinstance(item, EllipsisType))
    return Selection(shape, tuple(indices), kept, before, len(shared))


def _aligned(emit: Emitter, table: Value, shared: tuple[Size, ...], offset: int) -> tuple[int | Affine, ...]:
    """Index of a table broadcast to `shared`, whose axes start at `offset` in the result."""
    own = emit.shape(table)
    lead = len(shared) - len(own)
    return tuple(
        fixed(0) if is_one(size) and not is_one(shared[lead + at]) else offset + lead + at
        for at, size in enumerate(own)
    )
