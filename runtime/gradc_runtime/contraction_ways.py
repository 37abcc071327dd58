"""Three ways to go through a contraction: by panels, by rows with packed panels, by rows with the operand in place.

Each fills in what the tasks read from the table (`gradc_runtime.contraction_tasks`) and launches them.  Rows are dealt
out in whole blocks, and every element is one chain of additions in index order for each pass; passes follow from the
extents: results have the same bits for any layout of the operands, and for any number of threads.
"""

from __future__ import annotations

from typing import Any

from gradc_runtime import threads
from gradc_runtime.contraction_table import (
    ADD,
    BATCH,
    BATCHES,
    BESIDE,
    COLUMNS,
    COUNT,
    DEPTH,
    FIRST,
    GROUPS,
    OUT,
    PACKED,
    ROWS,
    SEQUENCE,
    SEQUENCE_A,
    SEQUENCE_B,
    SEQUENCE_OUT,
    A,
    B,
)
from gradc_runtime.contraction_tasks import DEEP, GROUP, group_of_rows, pack, panel_of_columns
from gradc_runtime.memory import LINE, data_of, drop, new_memory
from gradc_runtime.routines import routine
from gradc_runtime.simd import element_access, tile, vector_bytes

PARALLEL = 2_000_000  # multiply-adds above which threads pay
# Values of the summed index in one pass at least, and bytes of the packed panels of one.  Every pass reads and writes
# the result again.  The panels are read once for each block of rows: by vectors of 64 bytes so slowly that they may
# come from the third-level cache, by smaller ones faster, so that they shall stay in the second-level one.
SHALLOW = 128
PASS_BYTES = 1 << 20 if vector_bytes() == 64 else 1 << 18
PACKED_BYTES = 1 << 22  # of the panels of several batches at a time
SHARES = 4  # tasks for each thread, where there are that many blocks of rows


def _shift() -> Any:
    """``shift(table, a, b, out, step)``: let the operands begin where they do for one of the sequential values."""
    read, write = element_access(0)

    @routine
    def shift(table: int, a: int, b: int, out: int, step: int) -> None:
        write(table + A, a + read(read(table + SEQUENCE_A) + 8 * step))
        write(table + B, b + read(read(table + SEQUENCE_B) + 8 * step))
        write(table + OUT, out + read(read(table + SEQUENCE_OUT) + 8 * step))

    return shift


def by_panels(bits: int) -> Any:
    """``by_panels(table, panels)``: few rows, that stay in a core's cache, times many panels, each packed when used.

    Convolutions are of this kind: as many rows as channels, as many columns as there are places in all images.
    """
    launch, panel_address, shift = threads.launcher(), panel_of_columns(bits), _shift()
    read, _ = element_access(0)

    @routine
    def run(table: int, panels: int) -> None:
        batches, work = (
            read(table + BATCHES),
            read(table + ROWS) * read(table + COLUMNS) * read(table + DEPTH),
        )
        patience = patience_for(batches * work, read(table + BESIDE))
        a, b, out = read(table + A), read(table + B), read(table + OUT)
        for step in range(read(table + SEQUENCE)):
            shift(table, a, b, out, step)
            launch(panel_address(), panels * batches, table, patience)

    return run


def groups() -> Any:
    """``groups_of(blocks, batches, patience)``: into how many groups the blocks of rows of every batch are dealt out.

    Threads get equally many groups, and all groups of a batch have as many blocks, or one more.
    """
    used = threads.used()

    @routine
    def groups_of(blocks: int, batches: int, patience: int) -> int:
        count = used() if patience > 0 else 1
        wanted = SHARES * count if count > 1 else 1
        found = max((wanted + batches - 1) // batches, (blocks + GROUP - 1) // GROUP)
        return min(blocks, (found + count - 1) // count * count)

    return groups_of


def by_rows(bits: int) -> Any:
    """``by_rows(table, panels, blocks)``: all panels are packed, then blocks of rows are multiplied with them.

    It returns 0 where memory for the panels is missing.
    """
    columns, size = tile(bits).columns, bits // 8
    launch, groups_of, shift = threads.launcher(), groups(), _shift()
    pack_address, rows_address = pack(bits), group_of_rows(bits)
    (read, write), memory = element_access(0), new_memory()

    @routine
    def run(table: int, panels: int, blocks: int) -> int:
        batches, k = read(table + BATCHES), read(table + DEPTH)
        work = read(table + ROWS) * read(table + COLUMNS) * k
        across = panels * columns * size
        deep = depth_of(k, across)
        together = max(1, min(batches, PACKED_BYTES // (across * deep)))
        owner = memory(together * deep * across + LINE)
        if owner == 0:
            return 0
        write(table + PACKED, (data_of(owner) + LINE - 1) // LINE * LINE)
        beside = read(table + BESIDE)
        groups = groups_of(blocks, together, patience_for(batches * work, beside))
        write(table + GROUPS, groups)
        a, b, out, adds = read(table + A), read(table + B), read(table + OUT), read(table + ADD)
        for step in range(read(table + SEQUENCE)):
            shift(table, a, b, out, step)
            for batch in range(0, batches, together):
                count = min(together, batches - batch)
                patience = patience_for(count * work, beside)
                write(table + BATCH, batch)
                for first in range(0, max(k, 1), deep):
                    write(table + FIRST, first)
                    write(table + COUNT, min(deep, k - first))
                    write(table + ADD, 1 if first > 0 else adds)
                    launch(pack_address(), panels * count, table, patience)
                    launch(rows_address(), groups * count, table, patience)
        drop(owner)
        return 1

    return run


def in_place(bits: int) -> Any:
    """``in_place(table, blocks)``: blocks of rows are multiplied with the right operand where it is."""
    columns, size = tile(bits).columns, bits // 8
    launch, groups_of, shift = threads.launcher(), groups(), _shift()
    rows_address = group_of_rows(bits)
    read, write = element_access(0)

    @routine
    def run(table: int, blocks: int) -> None:
        batches, k = read(table + BATCHES), read(table + DEPTH)
        work = batches * read(table + ROWS) * read(table + COLUMNS) * k
        patience = patience_for(work, read(table + BESIDE))
        groups = groups_of(blocks, batches, patience)
        write(table + PACKED, 0)
        write(table + GROUPS, groups)
        write(table + BATCH, 0)
        a, b, out, adds = read(table + A), read(table + B), read(table + OUT), read(table + ADD)
        panels = (read(table + COLUMNS) + columns - 1) // columns
        deep = depth_of(k, panels * columns * size)
        for step in range(read(table + SEQUENCE)):
            shift(table, a, b, out, step)
            for first in range(0, max(k, 1), deep):
                write(table + FIRST, first)
                write(table + COUNT, min(deep, k - first))
                write(table + ADD, 1 if first > 0 else adds)
                launch(rows_address(), groups * batches, table, patience)

    return run


@routine
def depth_of(k: int, across: int) -> int:
    """Values of the summed index in one pass, of `k`; `across` are the bytes of the panels for each.

    All passes are as deep.  That follows from the extents alone: bits are the same for any layout of the operands.
    """
    passes = min((k * across + PASS_BYTES // 2) // PASS_BYTES, (k + SHALLOW - 1) // SHALLOW)
    passes = max(passes, (k + DEEP - 1) // DEEP, 1)
    return max((k + passes - 1) // passes, 1)


@routine
def patience_for(work: int, beside: int) -> int:
    """How many nanoseconds so many multiply-adds may take in parallel: several times what one thread needs.

    None, where they are too few for threads, or the threads have several such contractions to do.
    """
    return 1_000_000 + work // 2 if work >= PARALLEL and beside < 2 else 0
