"""Matrix products: packed panels of the right operand, the register tile of `gradc_runtime.simd`, threads over rows.

Rows of the result are dealt out in fixed blocks and every element is one chain of additions in index order, so the
bits are equal for any number of threads.  Everything below `product` works on addresses and strides, so that it is
compiled once per element size, whatever the layouts of the operands.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit, prange
from numba.core import types
from numba.extending import overload

from gradc_runtime import threads
from gradc_runtime.simd import copy_bytes, element_access, micro_kernel, tile

Array = Any

PARALLEL = 2_000_000  # multiply-adds above which threads pay
DEPTH = 1024  # of the contracted index: a packed panel then stays in the second-level cache


def product(a: Array, b: Array) -> Array:
    """``a @ b`` for two matrices of one floating-point dtype, in any layout."""
    return np.dot(a, b)


@overload(product)
def _product(a, b):  # type: ignore[no-untyped-def]  # Numba compares these names with the implementation's
    if not (isinstance(a, types.Array) and isinstance(b, types.Array) and a.dtype == b.dtype):
        return None
    serial, parallel = drivers(a.dtype.bitwidth)
    size = a.dtype.bitwidth // 8
    use_threads = threads.available()

    def implementation(a, b):  # type: ignore[no-untyped-def]
        m, k = a.shape
        n = b.shape[1]
        if b.shape[0] != k:
            raise ValueError("the inner extents of a matrix product differ")
        out = np.empty((m, n), a.dtype)
        if k == 0:
            out[:] = 0
        left, right = a.ctypes.data, b.ctypes.data
        a0, a1, b0, b1 = a.strides[0] // size, a.strides[1] // size, b.strides[0] // size, b.strides[1] // size
        if use_threads and m * n * k >= PARALLEL:
            parallel(left, a0, a1, right, b0, b1, out.ctypes.data, m, n, k)
        else:
            serial(left, a0, a1, right, b0, b1, out.ctypes.data, m, n, k)
        return out

    return implementation


@cache
def drivers(bits: int) -> tuple[Any, Any]:
    """The serial and the parallel driver: (a, row and column stride, b, its strides, c, rows, columns, depth)."""
    signature = types.void(*[types.intp] * 10)
    pack, block_of_rows = _parts(bits)
    rows, columns, size = tile(bits).rows, tile(bits).columns, bits // 8
    scalar = np.float64 if bits == 64 else np.float32

    @njit(signature, error_model="numpy", nogil=True)
    def serial(a: int, a0: int, a1: int, b: int, b0: int, b1: int, c: int, m: int, n: int, k: int) -> None:
        panels = (n + columns - 1) // columns
        packed = np.empty(panels * min(DEPTH, k) * columns, scalar)
        edge = np.empty(rows * columns, scalar)
        for first in range(0, k, DEPTH):
            depth = min(DEPTH, k - first)
            for panel in range(panels):
                pack(b + first * b0 * size, b0, b1, packed.ctypes.data, panel, n, depth)
            for block in range((m + rows - 1) // rows):
                place = a + first * a1 * size
                block_of_rows(place, a0, a1, packed.ctypes.data, c, edge.ctypes.data, block, m, n, depth, first)

    if not threads.available():
        return serial, serial

    @njit(signature, error_model="numpy", nogil=True, parallel=True)
    def parallel(a: int, a0: int, a1: int, b: int, b0: int, b1: int, c: int, m: int, n: int, k: int) -> None:
        panels = (n + columns - 1) // columns
        packed = np.empty(panels * min(DEPTH, k) * columns, scalar)
        for first in range(0, k, DEPTH):
            depth = min(DEPTH, k - first)
            for panel in prange(panels):
                pack(b + first * b0 * size, b0, b1, packed.ctypes.data, panel, n, depth)
            for block in prange((m + rows - 1) // rows):
                edge = np.empty(rows * columns, scalar)
                place = a + first * a1 * size
                block_of_rows(place, a0, a1, packed.ctypes.data, c, edge.ctypes.data, block, m, n, depth, first)

    return serial, parallel


@cache
def _parts(bits: int) -> tuple[Any, Any]:
    """Packing one panel of columns, and the products of one block of rows with all panels."""
    shape, size = tile(bits), bits // 8
    rows, columns = shape.rows, shape.columns
    micro = micro_kernel(bits)
    load, store = element_access(bits)
    zero = np.float64(0) if bits == 64 else np.float32(0)

    @njit(types.void(*[types.intp] * 7), error_model="numpy", nogil=True)
    def pack(b: int, b0: int, b1: int, packed: int, panel: int, n: int, depth: int) -> None:
        start = panel * columns
        width = min(columns, n - start)
        to = packed + panel * depth * columns * size
        source = b + start * b1 * size
        for k in range(depth):
            row, line = source + k * b0 * size, to + k * columns * size
            if b1 == 1:
                copy_bytes(line, row, width * size)
            else:
                for j in range(width):
                    store(line + j * size, load(row + j * b1 * size))
            for j in range(width, columns):
                store(line + j * size, zero)

    @njit(types.void(*[types.intp] * 11), error_model="numpy", nogil=True)
    def block_of_rows(
        a: int, a0: int, a1: int, packed: int, c: int, edge: int, block: int, m: int, n: int, depth: int, add: int
    ) -> None:
        start = block * rows
        height = min(rows, m - start)
        row = a + start * a0 * size
        step = a0 if height == rows else 0  # a short block reads its first row several times, never past the end
        for panel in range((n + columns - 1) // columns):
            column = panel * columns
            width = min(columns, n - column)
            right = packed + panel * depth * columns * size
            out = c + (start * n + column) * size
            if height == rows and width == columns:
                micro(row, step, a1, right, out, n, depth, add)
                continue
            for i in range(0, height, 1 if step == 0 else rows):
                micro(row + i * a0 * size, step, a1, right, edge, columns, depth, 0)
                for r in range(1 if step == 0 else height):
                    for j in range(width):
                        to = out + ((i + r) * n + j) * size
                        value = load(edge + (r * columns + j) * size)
                        store(to, load(to) + value if add else value)

    return pack, block_of_rows
