"""Rows of several iterations, read into vectors with a lane for each iteration, and written from there.

A window is a part of a row that fits into a vector.  Of a narrow window the parts of several iterations fill a vector
together, and blocks of it are transposed: as many shuffles as it needs, no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llvmlite import ir

from gradc_runtime.simd import masked_load, masked_store, transposed, vector_bytes

Value = Any  # of LLVM
Place = tuple[Any, ...]  # an index for every axis, None for that of the iteration
FEWEST = 2  # neighbours in a row that are worth a transpose

_BIT, _LANE = ir.IntType(1), ir.IntType(32)


def rows_of(places: Iterable[tuple[int, Place]]) -> dict[tuple[int, Place], list[int]]:
    """The columns of rows of the iterations, in order, by array and place of the row."""
    found: dict[tuple[int, Place], list[int]] = {}
    for position, place in places:
        if None in place[:-1] and place[-1] is not None:
            found.setdefault((position, place[:-1]), []).append(place[-1])
    return {row: sorted(columns) for row, columns in found.items()}


def alike(places: Iterable[tuple[int, Place]]) -> bool:
    """Whether different places are different elements: ``x[i, i]`` may be ``x[i, 3]``."""
    seen: dict[int, tuple[bool, ...]] = {}
    kinds = [(position, tuple(index is None for index in place)) for position, place in places]
    return all(seen.setdefault(position, kind) == kind for position, kind in kinds)


def windows(columns: Sequence[int], lanes: int, *, gaps: bool) -> list[list[int]]:
    """Columns that fit into a vector together, at least `FEWEST`.

    With `gaps` columns may be missing; without, there are 2, 4, 8, ... of them.
    """
    found: list[list[int]] = []
    for column in columns:
        window = found[-1] if found else []
        near = bool(window) and column - window[0] < lanes
        if near and (gaps or column == window[-1] + 1):
            window.append(column)
        else:
            found.append([column])
    if not gaps:
        found = [part for window in found for part in _halved(window)]
    return [window for window in found if len(window) >= FEWEST]


def _halved(window: list[int]) -> list[list[int]]:
    """Parts of 2, 4, 8, ... columns, the largest first."""
    parts = []
    while window:
        size = 1 << (len(window).bit_length() - 1)
        parts.append(window[:size])
        window = window[size:]
    return parts


class Rows:
    """The instructions that read and write windows of rows; `vector` is the type with a lane for each iteration."""

    def __init__(self, builder: ir.IRBuilder, vector: ir.VectorType) -> None:
        self.builder, self.vector = builder, vector
        # Older processors have masks too, but write with them an element at a time.
        self.masked = vector_bytes() >= 64

    def load(self, pointers: Sequence[Value], window: Sequence[int]) -> dict[int, Value]:
        """The columns of a window that starts at these pointers, one for each iteration."""
        width = _width(window)
        kind = ir.VectorType(self.vector.element, width)
        parts = [self.builder.bitcast(at, kind.as_pointer()) for at in pointers]
        span = window[-1] - window[0] + 1
        if span == width:
            parts = [self.builder.load(at, align=8) for at in parts]
        else:
            mask = _mask(range(span), width)
            parts = [masked_load(self.builder, at, mask, ir.Constant(kind, ir.Undefined)) for at in parts]
        vectors = [self.joined(parts[at::width]) for at in range(width)]
        columns = transposed(self.builder, vectors)
        return {column: columns[column - window[0]] for column in window}

    def store(self, pointers: Sequence[Value], columns: Mapping[int, Value]) -> None:
        """Write the columns of a window that starts at these pointers."""
        window = sorted(columns)
        width = _width(window)
        undefined = ir.Constant(self.vector, ir.Undefined)
        vectors = transposed(self.builder, [columns.get(window[0] + at, undefined) for at in range(width)])
        kind = ir.VectorType(self.vector.element, width)
        mask = _mask([column - window[0] for column in window], width)
        for lane, pointer in enumerate(pointers):
            place = self.builder.bitcast(pointer, kind.as_pointer())
            part = self.part(vectors[lane % width], lane // width, width)
            if len(window) == width:
                self.builder.store(part, place, align=8)
            else:
                masked_store(self.builder, part, place, mask)

    def joined(self, parts: Sequence[Value]) -> Value:
        """One vector after the other."""
        found = list(parts)
        while len(found) > 1:
            order = _numbers(range(2 * found[0].type.count))
            found = [
                self.builder.shuffle_vector(*found[at : at + 2], order) for at in range(0, len(found), 2)
            ]
        return found[0]

    def part(self, vector: Value, number: int, width: int) -> Value:
        """One of the parts of `width` elements of a vector."""
        if vector.type.count == width:
            return vector
        order = _numbers(range(number * width, (number + 1) * width))
        return self.builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), order)


def _width(window: Sequence[int]) -> int:
    """Elements of the smallest vector that a window fits into."""
    return 1 << (window[-1] - window[0]).bit_length()


def _mask(lanes: Iterable[int], width: int) -> Value:
    there = set(lanes)
    return ir.Constant(ir.VectorType(_BIT, width), [int(lane in there) for lane in range(width)])


def _numbers(numbers: Sequence[int]) -> Value:
    return ir.Constant(ir.VectorType(_LANE, len(numbers)), list(numbers))
