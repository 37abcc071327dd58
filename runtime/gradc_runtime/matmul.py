"""Matrix products as contractions: two matrices in any layout."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import lower_builtin, type_callable

from gradc_runtime.arrays import (
    DATA,
    OWNER,
    SHAPE,
    array_maker,
    called_symbol,
    described_at,
    place_of,
    refuse_if,
    room_for,
)
from gradc_runtime.contraction_kernel import driver
from gradc_runtime.contraction_table import (
    ADD,
    BESIDE,
    COUNTS,
    INDEX_BYTES,
    INDICES,
    OF_A,
    OF_B,
    OF_OUT,
    OUT,
    WORDS,
    A,
    B,
)
from gradc_runtime.memory import NO_MEMORY, drop
from gradc_runtime.routines import exported, routine
from gradc_runtime.simd import element_access, stack_buffer

Array = Any
STRIDES = SHAPE + 16  # of a matrix, in its description
INNER = "the inner extents of a matrix product differ"


def product(a: Array, b: Array) -> Array:
    """``a @ b`` for two matrices of one floating-point dtype in any layout."""
    return np.dot(a, b)


@type_callable(product)
def _type_of_product(context: Any) -> Any:
    def typer(a: Any, b: Any) -> Any:
        arrays = isinstance(a, types.Array) and isinstance(b, types.Array)
        if not arrays or a.dtype != b.dtype or (a.ndim, b.ndim) != (2, 2):
            return None
        return types.Array(a.dtype, 2, "C")

    return typer


@lower_builtin(product, types.Array, types.Array)
def _lower_product(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
    word, kind = ir.IntType(64), signature.return_type
    out = room_for(context, builder, kind)
    places = [builder.ptrtoint(place, word) for place in (out, *(place_of(builder, v) for v in values))]
    done = called_symbol(builder, _multiplier(kind.dtype.bitwidth).symbol, places)
    refuse_if(context, builder, builder.icmp_signed("<", done, word(0)), ValueError, INNER)
    refuse_if(context, builder, builder.icmp_signed("==", done, word(0)), MemoryError, NO_MEMORY)
    return described_at(builder, out)


@cache
def _multiplier(bits: int) -> Any:
    """``multiply(out, a, b)``, as a symbol, of the places of descriptions: completes that of the product.

    It returns 0 where memory is missing, and -1 where the inner extents differ.
    """
    read, write = element_access(0)
    new_array, drive, item = array_maker(), driver(bits), bits // 8
    words = stack_buffer(8 * WORDS + 3 * INDEX_BYTES)

    @routine
    def add_index(place: int, extent: int, in_a: int, in_b: int, in_out: int) -> None:
        write(place, extent)
        write(place + OF_A, in_a)
        write(place + OF_B, in_b)
        write(place + OF_OUT, in_out)

    def multiply(out: int, a: int, b: int) -> int:
        rows, inner, columns = read(a + SHAPE), read(a + SHAPE + 8), read(b + SHAPE + 8)
        if read(b + SHAPE) != inner:
            return -1
        write(out + SHAPE, rows)
        write(out + SHAPE + 8, columns)
        if new_array(out, 2, item, 0) == 0:
            return 0
        table, of_a, of_b = words(), a + STRIDES, b + STRIDES
        write(table + OUT, read(out + DATA))
        write(table + A, read(a + DATA))
        write(table + B, read(b + DATA))
        write(table + BESIDE, 1)
        write(table + ADD, 0)
        for group in range(5):
            write(table + COUNTS + 8 * group, 1 if group > 1 else 0)  # neither a sequence nor a batch
        place = table + INDICES
        add_index(place, rows, read(of_a), 0, read(out + STRIDES))
        add_index(place + INDEX_BYTES, columns, 0, read(of_b + 8), read(out + STRIDES + 8))
        add_index(place + 2 * INDEX_BYTES, inner, read(of_a + 8), read(of_b), 0)
        if drive(table) == 0:
            drop(read(out + OWNER))
            return 0
        return 1

    return exported(f"gradc_product_{bits}", multiply)
