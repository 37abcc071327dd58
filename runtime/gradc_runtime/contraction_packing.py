"""Packing: what a contraction reads again and again is copied once, in the order in which the register tile reads it.

A panel of the right operand has as many columns as the tile, element by element of the summed index.  A block of the
left operand has as many rows as the tile; it is packed where the elements of its rows are no neighbours in memory.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from gradc_runtime.contraction_table import BATCH_B, COLUMN_B, COLUMNS, STEP_B, B
from gradc_runtime.routines import exported, routine
from gradc_runtime.simd import (
    copy_some,
    copy_vector,
    element_access,
    stack_buffer,
    tile,
    transpose_block,
)


@cache
def are_neighbours(bits: int) -> Any:
    """``neighbours(offsets, count)``: whether `count` elements stand side by side."""
    size = bits // 8
    read, _ = element_access(0)

    @routine
    def neighbours(offsets: int, count: int) -> bool:
        first = read(offsets)
        same = True
        for lane in range(1, count):
            same = same and read(offsets + 8 * lane) == first + lane * size
        return same

    return neighbours


@cache
def pack_panel(bits: int) -> Any:
    """``pack(table, batch, panel, first, depth, to)``, as a symbol: copy a panel of the right operand.

    Behind the last column stands what no result is computed from.
    """
    columns, lanes, size = tile(bits).columns, tile(bits).lanes, bits // 8
    read, _ = element_access(0)
    neighbours, copy_part = are_neighbours(bits), copy_some(bits)
    whole, turned, loose = _pack_whole(bits), _pack_turned(bits), _pack_loose(bits)

    def pack_panel(table: int, batch: int, panel: int, first: int, depth: int, to: int) -> None:
        start = panel * columns
        width = min(columns, read(table + COLUMNS) - start)
        source = read(table + B) + read(read(table + BATCH_B) + 8 * batch)
        across = read(table + COLUMN_B) + 8 * start
        along = read(table + STEP_B) + 8 * first
        if width == columns and neighbours(across, columns):
            whole(to, source + read(across), along, depth)
            return
        turn = depth >= lanes and neighbours(along, depth)
        for place in range(0, width, lanes):
            filled, line, offsets = min(lanes, width - place), to + place * size, across + 8 * place
            if neighbours(offsets, filled):
                row = source + read(offsets)
                for k in range(depth):
                    copy_part(line + k * columns * size, row + read(along + 8 * k), filled)
            elif turn:
                turned(line, source, offsets, filled, read(along), depth)
            else:
                loose(line, source, offsets, filled, along, depth)

    return exported(f"gradc_pack_panel_{bits}", pack_panel, innermost=True)


def _pack_whole(bits: int) -> Any:
    """``pack(to, row, along, depth)``: all columns of a panel are neighbours."""
    shape = tile(bits)
    read, _ = element_access(0)
    copy = copy_vector(bits, shape.lanes)
    lanes, vectors, size = shape.lanes, shape.vectors, bits // 8

    @routine
    def pack_whole(to: int, row: int, along: int, depth: int) -> None:
        for k in range(depth):
            line = row + read(along + 8 * k)
            for at in range(vectors):
                copy(to + (k * vectors + at) * lanes * size, line + at * lanes * size)

    return pack_whole


def _pack_turned(bits: int) -> Any:
    """``pack(to, source, offsets, filled, start, depth)``: the summed index runs along neighbours in every column."""
    columns, lanes, size = tile(bits).columns, tile(bits).lanes, bits // 8
    load, store = element_access(bits)
    read, write = element_access(0)
    transpose, buffer = transpose_block(bits), stack_buffer(8 * lanes)

    @routine
    def pack_turned(to: int, source: int, offsets: int, filled: int, start: int, depth: int) -> None:
        starts = buffer()
        for j in range(lanes):  # behind the last column it comes again
            write(starts + 8 * j, source + start + read(offsets + 8 * min(j, filled - 1)))
        for k in range(0, depth - lanes + 1, lanes):
            transpose(to + k * columns * size, columns * size, starts, k * size)
        for j in range(lanes):
            column = read(starts + 8 * j)
            for k in range(depth // lanes * lanes, depth):
                store(to + (k * columns + j) * size, load(column + k * size))

    return pack_turned


def _pack_loose(bits: int) -> Any:
    """``pack(to, source, offsets, filled, along, depth)``: element by element."""
    columns, lanes, size = tile(bits).columns, tile(bits).lanes, bits // 8
    load, store = element_access(bits)
    read, _ = element_access(0)
    zero = np.float64(0) if bits == 64 else np.float32(0)

    @routine
    def pack_loose(to: int, source: int, offsets: int, filled: int, along: int, depth: int) -> None:
        for k in range(depth):
            row, line = source + read(along + 8 * k), to + k * columns * size
            for j in range(filled):
                store(line + j * size, load(row + read(offsets + 8 * j)))
            for j in range(filled, lanes):
                store(line + j * size, zero)

    return pack_loose


@cache
def pack_rows(bits: int) -> Any:
    """``pack(rows, along, depth, to)``: copy a block of the left operand, whose rows begin at a table of addresses."""
    rows, size = tile(bits).rows, bits // 8
    load, store = element_access(bits)
    read, _ = element_access(0)
    neighbours, copy = are_neighbours(bits), copy_vector(bits, rows)

    @routine
    def pack_rows(starts: int, along: int, depth: int, to: int) -> None:
        if neighbours(starts, rows):
            first = read(starts)
            for k in range(depth):
                copy(to + k * rows * size, first + read(along + 8 * k))
            return
        for r in range(rows):
            start = read(starts + 8 * r)
            for k in range(depth):
                store(to + (k * rows + r) * size, load(start + read(along + 8 * k)))

    return pack_rows
