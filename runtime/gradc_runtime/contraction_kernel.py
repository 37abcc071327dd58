"""The compiled form of contractions: offset tables, packed panels, the register tile, threads over rows.

Where an element of an operand lies is a sum of one offset per index, so three tables of offsets (rows, columns, summed
index) turn every contraction into the same loop: nothing is transposed, and the patches of a convolution are never
made.  Rows are dealt out in fixed blocks and every element is one chain of additions in index order, so the bits are
equal for any number of threads.  Everything below `contract` works on one table of addresses, strides and extents, is
compiled once per process and element size, and is called by symbol.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import lower_builtin, type_callable

from gradc_runtime.arrays import DATA_FIELD, STRIDES_FIELD, refuse_if
from gradc_runtime.contraction import Position, add_contraction, contract, positions, roles_of
from gradc_runtime.contraction_packing import are_neighbours, pack_panel
from gradc_runtime.contraction_table import (
    ADD,
    BATCHES,
    BESIDE,
    COLUMN_A,
    COLUMN_B,
    COLUMN_OUT,
    COLUMNS,
    COUNTS,
    DEPTH,
    EXTENTS,
    INDEX_BYTES,
    INDICES,
    MOST_INDICES,
    OF_A,
    OF_B,
    OF_OUT,
    OFFSETS,
    OUT,
    PLAIN,
    ROW_B,
    ROWS,
    SEQUENCE,
    SIZE,
    STEP_OUT,
    TABLES,
    WORDS,
    A,
    B,
)
from gradc_runtime.contraction_tasks import (
    DEEP,
    GROUP,
    PANEL_DEEP,
    multiply_panels,
)
from gradc_runtime.contraction_ways import PARALLEL, by_panels, by_rows, in_place
from gradc_runtime.memory import NO_MEMORY, data_of, drop, new_memory
from gradc_runtime.routines import exported, routine
from gradc_runtime.simd import element_access, stack_buffer, tile

FEW_BYTES = 1 << 14  # of tables, and of packed panels, that lie on the stack: arrays take time to make
MANY_PANELS = 16  # of columns, from which on each is packed by the thread that multiplies it
# Bytes of a right operand that is not packed: one that fits in the first-level cache, or, for few rows, in the second.
# Packed panels are written by one thread and read by all of them, and a line takes longer from cache to cache than the
# tile takes to multiply with it a few times.
NEAR_BYTES, CLOSE_BYTES, FEW_ROWS = 1 << 15, 1 << 20, 128
ROWS_BYTES = 1 << 18  # bytes of all rows of the left operand that panel after panel is multiplied with


def _typer(add: bool) -> Any:
    def typing(context: Any) -> Any:
        def typer(
            out: Any,
            target: Any,
            left: Any,
            first: Any,
            right: Any,
            second: Any,
            extents: Any,
            beside: Any = None,
            again: Any = None,
        ) -> Any:
            texts = (target, first, second)
            if not all(isinstance(text, types.StringLiteral) for text in texts):
                return None
            roles = roles_of([positions(text.literal_value) for text in texts], add and again is None)
            if roles is None or len(roles.order) > MOST_INDICES:
                return None
            return types.none if out.dtype == left.dtype == right.dtype else None

        return typer

    return typing


def _lowering(add: bool) -> Any:
    def lower(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        _Table(context, builder, signature.args, values, add).drive()
        return context.get_dummy_value()

    return lower


for _function, _add in ((contract, False), (add_contraction, True)):
    type_callable(_function)(_typer(_add))
    for _count in (7, 8, 9):
        lower_builtin(_function, *[types.Any] * _count)(_lowering(_add))


class _Table:
    """The table of one contraction, filled on the stack of the kernel."""

    def __init__(self, context: Any, builder: ir.IRBuilder, kinds: Any, values: Any, add: bool) -> None:
        self.context = context
        self.builder = builder
        self.kinds = kinds
        self.values = values
        self.add = add
        self.word = ir.IntType(64)
        place = cgutils.alloca_once(builder, self.word, WORDS + INDEX_BYTES // 8 * MOST_INDICES)
        self.place = builder.ptrtoint(place, self.word)

    def drive(self) -> None:
        """Fill the table and call the driver."""
        reads = [positions(self.kinds[at].literal_value) for at in (1, 3, 5)]
        roles = roles_of(reads, self.add and len(self.kinds) < 9)
        assert roles is not None
        arrays = [self.array(at) for at in (0, 2, 4)]
        fields = (OUT, B, A) if roles.swapped else (OUT, A, B)
        strides = (OF_OUT, OF_B, OF_A) if roles.swapped else (OF_OUT, OF_A, OF_B)
        for read, (address, steps), field in zip(reads, arrays, fields, strict=True):
            terms = [(offset, step) for (_, offset), step in zip(read, steps, strict=True)]
            self.write(field, self.builder.add(address, self.combined(terms)))
        add, beside = self.word(int(self.add)), self.word(1)
        given = self.values[7:]
        self.write(BESIDE, given[0] if given else beside)
        self.write(ADD, self.builder.zext(given[1], self.word) if len(given) > 1 else add)
        groups = (roles.sequential, roles.batch, roles.rows, roles.columns, roles.summed)
        for at, group in enumerate(groups):
            self.write(COUNTS + 8 * at, self.word(len(group)))
        extents = cgutils.unpack_tuple(self.builder, self.values[6])
        letters = sorted(roles.order)
        for at, letter in enumerate(roles.order):
            place = INDICES + at * INDEX_BYTES
            self.write(place, self.builder.sext(extents[letters.index(letter)], self.word))
            for read, (_, steps), field in zip(reads, arrays, strides, strict=True):
                self.write(place + field, self.combined(_factors(read, letter, steps)))
        symbol = driver(self.kinds[0].dtype.bitwidth).symbol
        declared = ir.FunctionType(self.word, [self.word])
        function = cgutils.get_or_insert_function(self.builder.module, declared, symbol)
        done = self.builder.call(function, [self.place])
        failed = self.builder.icmp_signed("==", done, self.word(0))
        refuse_if(self.context, self.builder, failed, MemoryError, NO_MEMORY)

    def array(self, at: int) -> tuple[Any, list[Any]]:
        """The address of an array, and its strides in bytes."""
        value, extract = self.values[at], self.builder.extract_value
        strides = [extract(value, [STRIDES_FIELD, axis]) for axis in range(self.kinds[at].ndim)]
        return self.builder.ptrtoint(extract(value, DATA_FIELD), self.word), strides

    def combined(self, terms: Iterable[tuple[int, Any]]) -> Any:
        total: Any = self.word(0)
        for factor, value in terms:
            if factor:
                total = self.builder.add(total, self.builder.mul(self.word(factor), value))
        return total

    def write(self, field: int, value: Any) -> None:
        place = self.builder.add(self.place, self.word(field))
        self.builder.store(value, self.builder.inttoptr(place, self.word.as_pointer()))


def _factors(read: tuple[Position, ...], letter: str, strides: list[Any]) -> Iterator[tuple[int, Any]]:
    """The coefficient of an index along every axis, with the stride of the axis."""
    for (terms, _), stride in zip(read, strides, strict=True):
        yield sum(factor for factor, name in terms if name == letter), stride


# --- offset tables ------------------------------------------------------------------------------------------


@cache
def _extents() -> Any:
    """``extents(table)``: how many values each group of indices has together."""
    read, write = element_access(0)

    def extents(table: int) -> None:
        index = table + INDICES
        for group in range(5):
            total = 1
            for _ in range(read(table + COUNTS + 8 * group)):
                total *= read(index)
                index += INDEX_BYTES
            write(table + EXTENTS + 8 * group, total)

    return exported("gradc_contract_extents", extents)


def _filling() -> Any:
    """``fill(to, index, count, operand)``: the offsets of all values of a group of indices; how many there are."""
    read, write = element_access(0)

    @routine
    def fill_many(to: int, index: int, count: int, operand: int) -> int:
        write(to, 0)
        size = 1
        for at in range(count):  # from the back: what is still to be read is never overwritten
            place = index + at * INDEX_BYTES
            extent, stride = read(place), read(place + OF_A + operand)
            for p in range(size - 1, -1, -1):
                start = read(to + 8 * p)
                for e in range(extent - 1, -1, -1):
                    write(to + 8 * (p * extent + e), start + e * stride)
            size *= extent
        return max(size, 1)

    @routine
    def fill(to: int, index: int, count: int, operand: int) -> int:
        if count > 1:
            return fill_many(to, index, count, operand)
        extent, stride = (read(index), read(index + OF_A + operand)) if count == 1 else (1, 0)
        for e in range(extent):
            write(to + 8 * e, e * stride)
        return max(extent, 1)

    return fill


@cache
def _offsets() -> Any:
    """``offsets(table)``: fill the tables at `TABLES`, but for those that nobody reads.

    Rows are not those of the right operand, columns not those of the left one; what is summed is not in the result.
    """
    read, write = element_access(0)

    fill = _filling()

    def offsets(table: int) -> None:
        to, index = read(table + TABLES), table + INDICES
        for group in range(5):
            count = read(table + COUNTS + 8 * group)
            for operand in range(3):
                place = OFFSETS + 24 * group + 8 * operand
                if place != ROW_B and place != COLUMN_A and place != STEP_OUT:
                    write(table + place, to)
                    to += 8 * fill(to, index, count, 8 * operand)
            index += count * INDEX_BYTES

    return exported("gradc_contract_offsets", offsets)


# --- the driver ---------------------------------------------------------------------------------------------


@cache
def driver(bits: int) -> Any:
    """``drive(table)``, as a symbol: one contraction of elements of `bits` bits; 0 where memory is missing."""
    over_panels, over_rows, over_rows_in_place = by_panels(bits), by_rows(bits), in_place(bits)
    mark, is_near = _mark_plain_panels(bits), _right_operand_is_near(bits)
    read, write = element_access(0)
    extents, offsets = _extents(), _offsets()
    rows, columns, size = tile(bits).rows, tile(bits).columns, bits // 8
    few_words, directly, memory = stack_buffer(FEW_BYTES), _directly(bits), new_memory()

    @routine
    def with_tables(table: int, place: int, count: int, panels: int, blocks: int) -> int:
        write(table + TABLES, place)
        write(table + PLAIN, place + 8 * count)
        offsets(table)
        mark(table, panels)
        m, k = read(table + ROWS), read(table + DEPTH)
        few = panels * columns * k * size <= FEW_BYTES and m <= GROUP * rows and k <= DEEP
        if (
            few
            and read(table + SEQUENCE) == 1
            and m * panels * columns * k * read(table + BATCHES) < PARALLEL
        ):
            directly(table, panels)
            return 1
        few_rows = m * min(k, PANEL_DEEP) * size <= ROWS_BYTES and panels >= blocks
        if few_rows and panels * read(table + BATCHES) >= MANY_PANELS:
            over_panels(table, panels)
        elif is_near(table):
            over_rows_in_place(table, blocks)
        else:
            return over_rows(table, panels, blocks)
        return 1

    def drive(table: int) -> int:
        write(table + SIZE, size)
        extents(table)
        sequence, batches = read(table + SEQUENCE), read(table + BATCHES)
        m, n, k = read(table + ROWS), read(table + COLUMNS), read(table + DEPTH)
        if sequence * batches * m * n == 0:
            return 1
        panels, blocks = (n + columns - 1) // columns, (m + rows - 1) // rows
        count = 3 * (sequence + batches + m + n + max(k, 1))
        if 8 * (count + panels) <= FEW_BYTES:
            return with_tables(table, few_words(), count, panels, blocks)
        owner = memory(8 * (count + panels))
        if owner == 0:
            return 0
        done = with_tables(table, data_of(owner), count, panels, blocks)
        drop(owner)
        return done

    return exported(f"gradc_contract_{bits}", drive)


def _directly(bits: int) -> Any:
    """``directly(table, panels)``: few numbers, batch after batch, without the tasks."""
    columns, size, few_elements = tile(bits).columns, bits // 8, stack_buffer(FEW_BYTES)
    pack_columns, multiply = pack_panel(bits), multiply_panels(bits)
    read, _ = element_access(0)

    @routine
    def directly(table: int, panels: int) -> None:
        m, k, packed = read(table + ROWS), read(table + DEPTH), few_elements()
        for batch in range(read(table + BATCHES)):
            for panel in range(panels):
                pack_columns(table, batch, panel, 0, k, packed + panel * columns * k * size)
            multiply(table, batch, 0, m, 0, k, read(table + ADD), packed, 0, panels)

    return directly


def _right_operand_is_near(bits: int) -> Any:
    """``is_near(table)``: whether the right operand is read where it is: near, and its columns are neighbours."""
    read, _ = element_access(0)
    neighbours, size = are_neighbours(bits), bits // 8

    @routine
    def is_near(table: int) -> bool:
        n = read(table + COLUMNS)
        most = CLOSE_BYTES if read(table + ROWS) <= FEW_ROWS else NEAR_BYTES
        one_is_summed = read(table + COUNTS + 32) == 1
        small = one_is_summed and read(table + DEPTH) * n * size <= most
        return small and neighbours(read(table + COLUMN_B), n)

    return is_near


def _mark_plain_panels(bits: int) -> Any:
    """``mark(table, panels)``: note which panels of the result are written vector by vector."""
    columns, lanes, size = tile(bits).columns, tile(bits).lanes, bits // 8
    read, write = element_access(0)
    neighbours = are_neighbours(bits)

    @routine
    def mark(table: int, panels: int) -> None:
        n, offsets, plain = read(table + COLUMNS), read(table + COLUMN_OUT), read(table + PLAIN)
        if read(table + COUNTS + 24) == 1:  # all columns lie equally far apart
            whole = n < 2 or read(offsets + 8) == size
            for panel in range(panels):
                write(plain + 8 * panel, 1 if whole else 0)
            return
        for panel in range(panels):
            vectors, end = True, min(n, (panel + 1) * columns)
            for first in range(panel * columns, end, lanes):
                vectors = vectors and neighbours(offsets + 8 * first, min(lanes, end - first))
            write(plain + 8 * panel, 1 if vectors else 0)

    return mark
