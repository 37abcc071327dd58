"""Matrix products: packed panels of the right operand, the register tile of `gradc_runtime.simd`, threads over rows.

Rows of the result are dealt out in fixed blocks and every element is one chain of additions in index order, so the
bits are equal for any number of threads.  Everything below `product` works on a table of addresses and strides, is
compiled once per process and element size, and is called by symbol.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload

from gradc_runtime import threads
from gradc_runtime.simd import copy_bytes, element_access, micro_kernel, stack_buffer, tile

Array = Any

PARALLEL = 2_000_000  # multiply-adds above which threads pay
SLICE = 1024  # of the contracted index: a packed panel then stays in the second-level cache

# The table of one product: addresses, strides in elements, extents, and the slice being worked on.
FIELDS = 13
A, A_ROW, A_STEP, B, B_STEP, B_COLUMN, OUT, ROWS, COLUMNS, DEPTH, PACKED, FIRST, COUNT = (
    8 * field for field in range(FIELDS)
)


def product(a: Array, b: Array) -> Array:
    """``a @ b`` for two matrices of one floating-point dtype in any layout, or a matrix and a vector."""
    return np.dot(a, b)


@overload(product)
def _product(a, b):  # type: ignore[no-untyped-def]  # Numba compares these names with the implementation's
    if not (isinstance(a, types.Array) and isinstance(b, types.Array) and a.dtype == b.dtype):
        return None
    if a.ndim == 1:
        return lambda a, b: product(a.reshape((1, a.shape[0])), b).reshape(b.shape[1])
    if b.ndim == 1:
        return lambda a, b: product(a, b.reshape((b.shape[0], 1))).reshape(a.shape[0])
    drive, buffer, (_, write) = driver(a.dtype.bitwidth), stack_buffer(8 * FIELDS), element_access(0)
    size = a.dtype.bitwidth // 8

    def implementation(a, b):  # type: ignore[no-untyped-def]
        if b.shape[0] != a.shape[1]:
            raise ValueError("the inner extents of a matrix product differ")
        out = np.empty((a.shape[0], b.shape[1]), a.dtype)
        table = buffer()
        write(table + A, a.ctypes.data)
        write(table + A_ROW, a.strides[0] // size)
        write(table + A_STEP, a.strides[1] // size)
        write(table + B, b.ctypes.data)
        write(table + B_STEP, b.strides[0] // size)
        write(table + B_COLUMN, b.strides[1] // size)
        write(table + OUT, out.ctypes.data)
        write(table + ROWS, a.shape[0])
        write(table + COLUMNS, b.shape[1])
        write(table + DEPTH, a.shape[1])
        drive(table)
        return out

    return implementation


@cache
def driver(bits: int) -> Any:
    """The driver for elements of `bits` bits, as a symbol: takes the address of the table of one product."""
    pack, pack_address = _pack(bits)
    block, block_address = _block_of_rows(bits)
    launch = threads.launcher()
    read, write = element_access(0)
    rows, columns = tile(bits).rows, tile(bits).columns
    scalar = np.float64 if bits == 64 else np.float32

    def drive(table: int) -> None:
        m, n, k = read(table + ROWS), read(table + COLUMNS), read(table + DEPTH)
        panels, blocks = (n + columns - 1) // columns, (m + rows - 1) // rows
        packed = np.empty(panels * min(SLICE, k) * columns, scalar)
        write(table + PACKED, packed.ctypes.data)
        work = m * n * k
        patience = 1_000_000 + work // 2 if work >= PARALLEL else 0  # several times what one thread needs
        for first in range(0, max(k, 1), SLICE):
            write(table + FIRST, first)
            write(table + COUNT, min(SLICE, k - first))
            launch(pack, pack_address(), panels, table, patience)
            launch(block, block_address(), blocks, table, patience)
        write(
            table + PACKED, packed.size
        )  # the last use: Numba frees an array after it, whatever holds its address

    return threads.exported(f"gradc_product_{bits}", types.void(types.intp), drive)


def _pack(bits: int) -> tuple[Any, Any]:
    """The task that copies one panel of columns of the right operand, padded with zeros."""
    columns, size = tile(bits).columns, bits // 8
    load, store = element_access(bits)
    read, _ = element_access(0)
    zero = np.float64(0) if bits == 64 else np.float32(0)

    def pack(arguments: int, counts: int, steps: int, table: int) -> None:
        panel, depth = read(arguments), read(table + COUNT)
        step, across = read(table + B_STEP), read(table + B_COLUMN)
        start = panel * columns
        width = min(columns, read(table + COLUMNS) - start)
        to = read(table + PACKED) + panel * depth * columns * size
        source = read(table + B) + (read(table + FIRST) * step + start * across) * size
        for k in range(depth):
            row, line = source + k * step * size, to + k * columns * size
            if across == 1:
                copy_bytes(line, row, width * size)
            else:
                for j in range(width):
                    store(line + j * size, load(row + j * across * size))
            for j in range(width, columns):
                store(line + j * size, zero)

    return threads.task(f"gradc_pack_{bits}", pack)


def _block_of_rows(bits: int) -> tuple[Any, Any]:
    """The task that multiplies one block of rows with all panels."""
    shape, size = tile(bits), bits // 8
    rows, columns = shape.rows, shape.columns
    one, two, three = (micro_kernel(bits, vectors) for vectors in (1, 2, 3))
    lanes = shape.lanes
    load, store = element_access(bits)
    read, _ = element_access(0)
    buffer = stack_buffer(rows * columns * size)
    zero = np.float64(0) if bits == 64 else np.float32(0)

    def block_of_rows(arguments: int, counts: int, steps: int, table: int) -> None:
        n, depth, add = read(table + COLUMNS), read(table + COUNT), read(table + FIRST)
        across, along = read(table + A_ROW), read(table + A_STEP)
        start = read(arguments) * rows
        height = min(rows, read(table + ROWS) - start)
        left = read(table + A) + (start * across + add * along) * size
        edge = buffer()
        for panel in range((n + columns - 1) // columns):
            width = min(columns, n - panel * columns)
            right = read(table + PACKED) + panel * depth * columns * size
            out = read(table + OUT) + (start * n + panel * columns) * size
            inner = height == rows and width == columns and depth > 0
            # At an edge the tile goes to a buffer; a short block runs row by row: nothing is read past the end.
            whole = height == rows
            for i in range(0, height, rows if whole else 1):
                a, a_row = left + i * across * size, across if whole else 0
                to, stride = (out, n) if inner else (edge, columns)
                first = add if inner else 0
                # The last panel may be narrow: use no more vectors of it than it fills.
                if depth == 0:
                    pass
                elif width > 2 * lanes:
                    three(a, a_row, along, right, to, stride, depth, first)
                elif width > lanes:
                    two(a, a_row, along, right, to, stride, depth, first)
                else:
                    one(a, a_row, along, right, to, stride, depth, first)
                if inner:
                    continue
                for r in range(rows if whole else 1):
                    for j in range(width):
                        place = out + ((i + r) * n + j) * size
                        value = load(edge + (r * columns + j) * size) if depth > 0 else zero
                        store(place, load(place) + value if add > 0 else value)

    return threads.task(f"gradc_rows_{bits}", block_of_rows)
