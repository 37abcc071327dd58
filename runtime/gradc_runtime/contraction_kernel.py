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

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import lower_builtin, type_callable

from gradc_runtime import threads
from gradc_runtime.arrays import LINE, empty
from gradc_runtime.contraction import Position, add_contraction, contract, positions, roles_of
from gradc_runtime.simd import copy_bytes, element_access, micro_kernel, stack_buffer, tile

PARALLEL = 2_000_000  # multiply-adds above which threads pay
# Values of the summed index in one pass: a block of rows stays in the first-level cache, and the packed panels of the
# pass, if that leaves them deep enough, in the second.
SHALLOW, DEEP = 128, 1024
PASS_BYTES = 1 << 18
PACKED_BYTES = 1 << 22  # of the panels of several batches at a time
GROUP = 32  # blocks of rows in a task at most: a slice of the panels is read once for all of them
SHARES = 4  # tasks for each thread, where there are that many blocks of rows

# The table of one contraction, in words.  Strides and offsets are in bytes.
WORDS = 37
A, B, OUT, SIZE, TABLES, PACKED, FIRST, COUNT, BATCH, ADD, UNIT, TOGETHER = range(0, 96, 8)
# For each of the five groups of indices, in the order of `Roles`: how many there are, how many values they have
# together, and the tables of their offsets in a, b and out.
COUNTS, EXTENTS, OFFSETS = 96, 136, 176
SEQUENCE, BATCHES, ROWS, COLUMNS, DEPTH = range(EXTENTS, EXTENTS + 40, 8)
SEQUENCE_A, BATCH_A, ROW_A, _, STEP_A = range(OFFSETS, OFFSETS + 120, 24)
SEQUENCE_B, BATCH_B, _, COLUMN_B, STEP_B = range(OFFSETS + 8, OFFSETS + 120, 24)
SEQUENCE_OUT, BATCH_OUT, ROW_OUT, COLUMN_OUT, _ = range(OFFSETS + 16, OFFSETS + 136, 24)
INDICES = 8 * WORDS  # then, for each index: extent, strides in a, b and out
INDEX_BYTES, OF_A, OF_B, OF_OUT = 32, 8, 16, 24
MOST_INDICES = 16


def _typer(add: bool) -> Any:
    def typing(context: Any) -> Any:
        def typer(out: Any, target: Any, left: Any, first: Any, right: Any, second: Any, extents: Any) -> Any:
            texts = (target, first, second)
            if not all(isinstance(text, types.StringLiteral) for text in texts):
                return None
            roles = roles_of([positions(text.literal_value) for text in texts], add)
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
    lower_builtin(_function, *[types.Any] * 7)(_lowering(_add))


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
        roles = roles_of(reads, self.add)
        assert roles is not None
        arrays = [self.array(at) for at in (0, 2, 4)]
        fields = (OUT, B, A) if roles.swapped else (OUT, A, B)
        strides = (OF_OUT, OF_B, OF_A) if roles.swapped else (OF_OUT, OF_A, OF_B)
        for read, (address, steps), field in zip(reads, arrays, fields, strict=True):
            terms = [(offset, step) for (_, offset), step in zip(read, steps, strict=True)]
            self.write(field, self.builder.add(address, self.combined(terms)))
        self.write(ADD, self.word(int(self.add)))
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
        symbol = f"gradc_contract_{self.kinds[0].dtype.bitwidth}"
        driver(self.kinds[0].dtype.bitwidth)  # defines it
        declared = ir.FunctionType(ir.VoidType(), [self.word])
        self.builder.call(cgutils.get_or_insert_function(self.builder.module, declared, symbol), [self.place])

    def array(self, at: int) -> tuple[Any, list[Any]]:
        """The address of an array, and its strides in bytes."""
        array = self.context.make_array(self.kinds[at])(self.context, self.builder, self.values[at])
        strides = cgutils.unpack_tuple(self.builder, array.strides)
        return self.builder.ptrtoint(array.data, self.word), strides

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

    return threads.exported("gradc_contract_extents", types.void(types.intp), extents)


@cache
def _offsets() -> Any:
    """``offsets(table)``: fill the tables at `TABLES`; whether the columns of the result are neighbours."""
    read, write = element_access(0)

    @njit(error_model="numpy")
    def fill(to: int, index: int, count: int, operand: int) -> int:
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

    def offsets(table: int) -> None:
        to, index = read(table + TABLES), table + INDICES
        for group in range(5):
            count = read(table + COUNTS + 8 * group)
            for operand in range(0, 24, 8):
                write(table + OFFSETS + 24 * group + operand, to)
                to += 8 * fill(to, index, count, operand)
            index += count * INDEX_BYTES
        across, unit = read(table + COLUMN_OUT), 1
        for j in range(read(table + COLUMNS)):
            if read(across + 8 * j) != j * read(table + SIZE):
                unit = 0
        write(table + UNIT, unit)

    return threads.exported("gradc_contract_offsets", types.void(types.intp), offsets)


# --- the driver ---------------------------------------------------------------------------------------------


@cache
def driver(bits: int) -> Any:
    """The driver for elements of `bits` bits, as a symbol: takes the address of the table of one contraction."""
    pack_address, rows_address = _pack(bits), _group_of_rows(bits)
    launch, used = threads.launcher(), threads.used()
    read, write = element_access(0)
    extents, offsets = _extents(), _offsets()
    rows, columns, size = tile(bits).rows, tile(bits).columns, bits // 8
    scalar = np.float64 if bits == 64 else np.float32

    def drive(table: int) -> None:
        write(table + SIZE, size)
        extents(table)
        sequence, batches = read(table + SEQUENCE), read(table + BATCHES)
        m, n, k = read(table + ROWS), read(table + COLUMNS), read(table + DEPTH)
        if sequence * batches * m * n == 0:
            return
        words = empty((3 * (sequence + batches + m + n + max(k, 1)),), np.int64)
        write(table + TABLES, words.ctypes.data)
        offsets(table)
        panels, blocks = (n + columns - 1) // columns, (m + rows - 1) // rows
        across = panels * columns * size
        deep = min(max(k, 1), min(DEEP, max(SHALLOW, PASS_BYTES // across)))
        together = max(1, min(batches, PACKED_BYTES // (across * deep)))
        packed = empty((together * panels * deep * columns + LINE // size,), scalar)
        write(table + PACKED, (packed.ctypes.data + LINE - 1) // LINE * LINE)
        shares = SHARES * used() if batches * m * n * k >= PARALLEL else 1
        group = max(1, min(GROUP, blocks * together // shares))
        write(table + TOGETHER, group)
        groups = (blocks + group - 1) // group
        a, b, out, adds = read(table + A), read(table + B), read(table + OUT), read(table + ADD)
        for step in range(sequence):
            write(table + A, a + read(read(table + SEQUENCE_A) + 8 * step))
            write(table + B, b + read(read(table + SEQUENCE_B) + 8 * step))
            write(table + OUT, out + read(read(table + SEQUENCE_OUT) + 8 * step))
            for batch in range(0, batches, together):
                count = min(together, batches - batch)
                work = count * m * n * k
                # Several times what one thread needs.
                patience = 1_000_000 + work // 2 if work >= PARALLEL else 0
                write(table + BATCH, batch)
                for first in range(0, max(k, 1), deep):
                    write(table + FIRST, first)
                    write(table + COUNT, min(deep, k - first))
                    write(table + ADD, 1 if first > 0 else adds)
                    launch(pack_address(), panels * count, table, patience)
                    launch(rows_address(), groups * count, table, patience)
        # The last use: Numba frees an array after it, whatever holds its address.
        write(table + PACKED, packed.size + words.size)

    return threads.exported(f"gradc_contract_{bits}", types.void(types.intp), drive)


def _pack(bits: int) -> Any:
    """The task that copies one panel of columns of the right operand, padded with zeros."""
    columns, size = tile(bits).columns, bits // 8
    load, store = element_access(bits)
    read, _ = element_access(0)
    zero = np.float64(0) if bits == 64 else np.float32(0)

    def pack(arguments: int, counts: int, steps: int, table: int) -> None:
        n, depth, first = read(table + COLUMNS), read(table + COUNT), read(table + FIRST)
        panels = (n + columns - 1) // columns
        batch, panel = read(arguments) // panels, read(arguments) % panels
        start = panel * columns
        width = min(columns, n - start)
        to = read(table + PACKED) + read(arguments) * depth * columns * size
        source = read(table + B) + read(read(table + BATCH_B) + 8 * (read(table + BATCH) + batch))
        across = read(table + COLUMN_B) + 8 * start
        along = read(table + STEP_B) + 8 * first
        origin = read(across)
        unit = True
        for j in range(width):
            unit = unit and read(across + 8 * j) == origin + j * size
        for k in range(depth):
            row, line = source + read(along + 8 * k), to + k * columns * size
            if unit:
                copy_bytes(line, row + origin, width * size)
            else:
                for j in range(width):
                    store(line + j * size, load(row + read(across + 8 * j)))
            for j in range(width, columns):
                store(line + j * size, zero)

    return threads.task(f"gradc_pack_{bits}", pack)


def _group_of_rows(bits: int) -> Any:
    """The task that multiplies some blocks of rows with all panels."""
    shape, size = tile(bits), bits // 8
    rows, columns = shape.rows, shape.columns
    product, leave = _tile_product(bits), _leave_edge(bits)
    read, write = element_access(0)
    edge_buffer, addresses = stack_buffer(rows * columns * size), stack_buffer(8 * rows * (2 * GROUP + 1))

    def group_of_rows(arguments: int, counts: int, steps: int, table: int) -> None:
        m, n, depth = read(table + ROWS), read(table + COLUMNS), read(table + COUNT)
        group, panels = read(table + TOGETHER) * rows, (n + columns - 1) // columns
        groups = (m + group - 1) // group
        batch, start = read(arguments) // groups, read(arguments) % groups * group
        height = min(group, m - start)
        chosen = 8 * (read(table + BATCH) + batch)
        a = read(table + A) + read(read(table + BATCH_A) + chosen)
        out = read(table + OUT) + read(read(table + BATCH_OUT) + chosen)
        packed = read(table + PACKED) + batch * panels * depth * columns * size
        edge, sources = edge_buffer(), addresses()
        targets, edges = sources + 8 * GROUP * rows, sources + 16 * GROUP * rows
        for r in range((height + rows - 1) // rows * rows):
            # Behind the last row it comes again: nothing is read past it.
            row = 8 * (start + min(r, height - 1))
            write(sources + 8 * r, a + read(read(table + ROW_A) + row))
            write(targets + 8 * r, out + read(read(table + ROW_OUT) + row))
        for r in range(rows):
            write(edges + 8 * r, edge + r * columns * size)
        add, unit = read(table + ADD), read(table + UNIT) == 1
        along = read(table + STEP_A) + 8 * read(table + FIRST)
        for r in range(0, height, rows):
            left, to = sources + 8 * r, targets + 8 * r
            for panel in range(panels):
                width = min(columns, n - panel * columns)
                right = packed + panel * depth * columns * size
                if r + rows <= height and width == columns and unit and depth > 0:
                    product(left, along, right, to, panel * columns * size, depth, add, width)
                    continue
                if depth > 0:  # an edge of the result is computed beside it: nothing else is written
                    product(left, along, right, edges, 0, depth, 0, width)
                place = read(table + COLUMN_OUT) + 8 * panel * columns
                leave(edge, to, place, min(rows, height - r), width, depth, add)

    return threads.task(f"gradc_rows_{bits}", group_of_rows)


def _tile_product(bits: int) -> Any:
    """The register tile with no more vectors of a panel than are filled: the last panel may be narrow."""
    one, two, three = (micro_kernel(bits, vectors) for vectors in (1, 2, 3))
    lanes = tile(bits).lanes

    @njit(error_model="numpy")
    def product(
        left: int, along: int, right: int, to: int, shift: int, count: int, add: int, width: int
    ) -> None:
        if width > 2 * lanes:
            three(left, along, right, to, shift, count, add)
        elif width > lanes:
            two(left, along, right, to, shift, count, add)
        else:
            one(left, along, right, to, shift, count, add)

    return product


def _leave_edge(bits: int) -> Any:
    """What moves the valid part of a tile to its place; zeros where there was nothing to sum."""
    columns, size = tile(bits).columns, bits // 8
    load, store = element_access(bits)
    read, _ = element_access(0)
    zero = np.float64(0) if bits == 64 else np.float32(0)

    @njit(error_model="numpy")
    def leave(edge: int, targets: int, offsets: int, height: int, width: int, count: int, add: int) -> None:
        for r in range(height):
            row = read(targets + 8 * r)
            for j in range(width):
                place = row + read(offsets + 8 * j)
                value = load(edge + (r * columns + j) * size) if count > 0 else zero
                store(place, load(place) + value if add > 0 else value)

    return leave
