"""What the threads of a contraction do: pack panels of columns, and multiply rows with them by the register tile."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from gradc_runtime.contraction_packing import pack_panel, pack_rows
from gradc_runtime.contraction_table import (
    ADD,
    BATCH,
    BATCH_A,
    BATCH_B,
    BATCH_OUT,
    COLUMN_OUT,
    COLUMNS,
    COUNT,
    COUNTS,
    DEPTH,
    FIRST,
    GROUPS,
    INDEX_BYTES,
    INDICES,
    OF_A,
    OF_B,
    OUT,
    PACKED,
    PLAIN,
    ROW_A,
    ROW_OUT,
    ROWS,
    STEP_A,
    A,
    B,
)
from gradc_runtime.register_tile import micro_kernel
from gradc_runtime.routines import exported, routine, task
from gradc_runtime.simd import element_access, stack_buffer, tile

GROUP = 32  # blocks of rows in a task at most: a slice of the panels is read once for all of them
DEEP = 1024  # values of the summed index in one pass at most
PANEL_DEEP = 128  # values of the summed index for which a thread packs a panel of its own


@cache
def _progression() -> Any:
    """``fill(table, first, count, step)``: write ``first + step * at`` to the entries of a table."""
    _, write = element_access(0)

    @routine
    def fill(table: int, first: int, count: int, step: int) -> None:
        for at in range(count):
            write(table + 8 * at, first + step * at)

    return fill


@cache
def _steps_of_summed() -> Any:
    """``steps(table)``: the bytes from one value of the only summed index to the next, in a and in b."""
    read, _ = element_access(0)

    @routine
    def steps(table: int) -> tuple[int, int]:
        place = table + INDICES
        for group in range(4):
            place += INDEX_BYTES * read(table + COUNTS + 8 * group)
        return read(place + OF_A), read(place + OF_B)

    return steps


@cache
def multiply_panels(bits: int) -> Any:
    """``multiply(table, batch, start, height, first, depth, add, packed, panel, panels)``: rows times panels.

    Where `packed` is 0, the panels are read where the right operand has them; one index is summed then.
    """
    shape, size = tile(bits), bits // 8
    rows, columns = shape.rows, shape.columns
    product, leave, pack_block, fill = _tile_product(bits), _leave_tile(bits), pack_rows(bits), _progression()
    steps_of_summed = _steps_of_summed()
    read, write = element_access(0)
    row_tables, block_buffer = stack_buffer(8 * rows * (2 * GROUP + 2)), stack_buffer(rows * DEEP * size)
    tile_buffer, tables = stack_buffer(rows * columns * size), stack_buffer(8 * (columns + DEEP))

    def multiply(
        table: int,
        batch: int,
        start: int,
        height: int,
        first: int,
        depth: int,
        add: int,
        packed: int,
        panel: int,
        panels: int,
    ) -> None:
        n = read(table + COLUMNS)
        a = read(table + A) + read(read(table + BATCH_A) + 8 * batch)
        b = read(table + B) + read(read(table + BATCH_B) + 8 * batch)
        out = read(table + OUT) + read(read(table + BATCH_OUT) + 8 * batch)
        along, right, next_panel = read(table + STEP_A) + 8 * first, packed, depth * columns * size
        step_a, step_b = along, 0
        if packed == 0:
            step_a, step_b = steps_of_summed(table)
            along, next_panel = read(table + STEP_A), columns * size
            a, right = a + first * step_a, b + first * step_b + panel * next_panel
        sources, block, aside, shifts = row_tables(), block_buffer(), tile_buffer(), tables()
        targets, block_rows, steps = (
            sources + 8 * GROUP * rows,
            sources + 16 * GROUP * rows,
            shifts + 8 * columns,
        )
        aside_rows = block_rows + 8 * rows
        for r in range((height + rows - 1) // rows * rows):
            # Behind the last row it comes again: nothing is read past it, and it is written twice alike.
            row = 8 * (start + min(r, height - 1))
            write(sources + 8 * r, a + read(read(table + ROW_A) + row))
            write(targets + 8 * r, out + read(read(table + ROW_OUT) + row))
        plain = read(table + PLAIN)
        copied = panels > 1 and depth > 1 and read(along + 8) - read(along) != size
        if copied:
            step_a = rows * size if packed == 0 else steps
        fill(block_rows, block, rows, size)
        fill(aside_rows, aside, rows, columns * size)
        fill(shifts, 0, columns, size)
        fill(steps, 0, depth if copied else 0, rows * size)
        for r in range(0, height, rows):
            left, to = sources + 8 * r, targets + 8 * r
            if copied:
                pack_block(left, along, depth, block)
                left = block_rows
            for p in range(panels):
                width = min(columns, n - (panel + p) * columns)
                of_panel = right + p * next_panel
                place = read(table + COLUMN_OUT) + 8 * (panel + p) * columns
                if depth > 0 and read(plain + 8 * (panel + p)) == 1:
                    product(packed, left, step_a, of_panel, step_b, to, place, depth, add, width)
                    continue
                if depth > 0:  # what is not written in vectors is computed beside its place
                    product(packed, left, step_a, of_panel, step_b, aside_rows, shifts, depth, 0, width)
                leave(aside, to, place, min(rows, height - r), width, depth, add)

    return exported(f"gradc_multiply_{bits}", multiply, innermost=True)


# --- tasks --------------------------------------------------------------------------------------------------


def pack(bits: int) -> Any:
    """The task that packs one panel for all rows."""
    columns, size = tile(bits).columns, bits // 8
    read, _ = element_access(0)
    pack_columns = pack_panel(bits)

    def pack(arguments: int, counts: int, steps: int, table: int) -> None:
        panels = (read(table + COLUMNS) + columns - 1) // columns
        batch, panel = read(table + BATCH) + read(arguments) // panels, read(arguments) % panels
        depth = read(table + COUNT)
        to = read(table + PACKED) + read(arguments) * depth * columns * size
        pack_columns(table, batch, panel, read(table + FIRST), depth, to)

    return task(f"gradc_pack_{bits}", pack)


def group_of_rows(bits: int) -> Any:
    """The task that multiplies some blocks of rows with all panels."""
    rows, columns, size = tile(bits).rows, tile(bits).columns, bits // 8
    read, _ = element_access(0)
    multiply = multiply_panels(bits)

    def group_of_rows(arguments: int, counts: int, steps: int, table: int) -> None:
        m, n, depth = read(table + ROWS), read(table + COLUMNS), read(table + COUNT)
        panels, blocks, groups = (n + columns - 1) // columns, (m + rows - 1) // rows, read(table + GROUPS)
        batch, group = read(arguments) // groups, read(arguments) % groups
        start, end = blocks * group // groups * rows, min(m, blocks * (group + 1) // groups * rows)
        packed = read(table + PACKED)
        if packed != 0:
            packed += batch * panels * depth * columns * size
        first, add = read(table + FIRST), read(table + ADD)
        multiply(table, read(table + BATCH) + batch, start, end - start, first, depth, add, packed, 0, panels)

    return task(f"gradc_rows_{bits}", group_of_rows)


def panel_of_columns(bits: int) -> Any:
    """The task that packs one panel for itself and multiplies all rows with it."""
    rows, columns, size = tile(bits).rows, tile(bits).columns, bits // 8
    read, _ = element_access(0)
    pack_columns, multiply = pack_panel(bits), multiply_panels(bits)
    buffer = stack_buffer(PANEL_DEEP * columns * size)

    def panel_of_columns(arguments: int, counts: int, steps: int, table: int) -> None:
        m, k, packed = read(table + ROWS), read(table + DEPTH), buffer()
        panels = (read(table + COLUMNS) + columns - 1) // columns
        batch, panel = read(arguments) // panels, read(arguments) % panels
        for first in range(0, max(k, 1), PANEL_DEEP):
            depth, add = min(PANEL_DEEP, k - first), 1 if first > 0 else read(table + ADD)
            pack_columns(table, batch, panel, first, depth, packed)
            for start in range(0, m, GROUP * rows):
                height = min(GROUP * rows, m - start)
                multiply(table, batch, start, height, first, depth, add, packed, panel, 1)

    return task(f"gradc_panel_{bits}", panel_of_columns)


# --- the register tile --------------------------------------------------------------------------------------


@cache
def _tile_product(bits: int) -> Any:
    """The register tile with no more vectors of a panel than are filled: the last panel may be narrow."""
    one, two, three = (micro_kernel(bits, vectors, True) for vectors in (1, 2, 3))
    one_in_place, two_in_place, three_in_place = (micro_kernel(bits, vectors, False) for vectors in (1, 2, 3))
    lanes = tile(bits).lanes

    @routine
    def product(
        packed: int,
        left: int,
        along: int,
        right: int,
        across: int,
        to: int,
        shifts: int,
        count: int,
        add: int,
        width: int,
    ) -> None:
        if packed == 0:
            if width > 2 * lanes:
                three_in_place(left, along, right, across, to, shifts, count, add, width)
            elif width > lanes:
                two_in_place(left, along, right, across, to, shifts, count, add, width)
            else:
                one_in_place(left, along, right, across, to, shifts, count, add, width)
        elif width > 2 * lanes:
            three(left, along, right, across, to, shifts, count, add, width)
        elif width > lanes:
            two(left, along, right, across, to, shifts, count, add, width)
        else:
            one(left, along, right, across, to, shifts, count, add, width)

    return product


@cache
def _leave_tile(bits: int) -> Any:
    """What moves a tile to its place, element by element; zeros where there was nothing to sum."""
    columns, size = tile(bits).columns, bits // 8
    load, store = element_access(bits)
    read, _ = element_access(0)
    zero = np.float64(0) if bits == 64 else np.float32(0)

    @routine
    def leave(aside: int, targets: int, offsets: int, height: int, width: int, count: int, add: int) -> None:
        for r in range(height):
            row = read(targets + 8 * r)
            for j in range(width):
                place = row + read(offsets + 8 * j)
                value = load(aside + (r * columns + j) * size) if count > 0 else zero
                store(place, load(place) + value if add > 0 else value)

    return leave
