"""The order of elements along an axis."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import lower_builtin, type_callable

from gradc_runtime import arrays
from gradc_runtime.memory import NO_MEMORY, data_of, drop, new_memory
from gradc_runtime.routines import exported, routine
from gradc_runtime.simd import element_access

Array = Any

_WORD = ir.IntType(64)


def argsort(x: Array, axis: int) -> Array:
    """Return the positions that sort `x` along an axis: equal elements keep their order, NaN comes last."""
    return np.argsort(x, axis=axis, kind="stable").astype(np.int64, copy=False)


@type_callable(argsort)
def _type(context: Any) -> Any:
    def typer(x: Any, axis: Any) -> Any:
        known = isinstance(x, types.Array) and x.layout == "C" and isinstance(axis, types.Integer)
        return types.Array(types.int64, x.ndim, "C") if known else None

    return typer


@lower_builtin(argsort, types.Array, types.Integer)
def _lower(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
    kind, axis_kind = signature.args
    data, shape = arrays.data_and_shape(builder, kind, values[0])
    found = arrays.array_of(context, builder, signature.return_type, shape, arrays.on_heap(False))
    bits = {types.float64: 64, types.float32: 32}.get(kind.dtype, 0)
    words = None
    if not bits and kind.dtype != types.int64:
        words = _as_words(context, builder, kind, values[0])
        data = builder.extract_value(words, arrays.DATA_FIELD)
    with builder.goto_entry_block():
        extents = builder.alloca(ir.ArrayType(_WORD, kind.ndim))
    builder.store(cgutils.pack_array(builder, shape), extents)
    axis = context.cast(builder, values[1], axis_kind, types.int64)
    target = builder.extract_value(found, arrays.DATA_FIELD)
    places = (builder.ptrtoint(place, _WORD) for place in (data, target, extents))
    done = arrays.called_symbol(builder, _sorting(bits).symbol, [*places, _WORD(kind.ndim), axis])
    if words is not None:
        arrays.give_back(builder, words)
    arrays.refuse_if(context, builder, builder.icmp_signed("==", done, _WORD(0)), MemoryError, NO_MEMORY)
    return found


def _as_words(context: Any, builder: ir.IRBuilder, kind: types.Array, array: Any) -> Any:
    """An array of int64 with the elements of another."""
    data, shape = arrays.data_and_shape(builder, kind, array)
    wide = types.Array(types.int64, kind.ndim, "C")
    found = arrays.array_of(context, builder, wide, shape, arrays.on_heap(False))
    with cgutils.for_range(builder, builder.extract_value(array, arrays.COUNT_FIELD)) as loop:
        element = context.unpack_value(builder, kind.dtype, builder.gep(data, [loop.index]))
        place = builder.gep(builder.extract_value(found, arrays.DATA_FIELD), [loop.index])
        builder.store(context.cast(builder, element, kind.dtype, types.int64), place)
    return found


def _merging(bits: int) -> Any:
    """``merge(values, positions, spare, count)``: order positions by the values there; NaN is the largest number."""
    get, _ = element_access(bits)
    read, write = element_access(0)
    item = bits // 8 or 8

    @routine
    def merge(values: int, positions: int, spare: int, count: int) -> None:
        width = 1  # of the runs that are in order
        while width < count:
            for start in range(0, count, 2 * width):
                middle, stop = min(start + width, count), min(start + 2 * width, count)
                left, right = start, middle
                for at in range(start, stop):
                    from_left = left < middle
                    if from_left and right < stop:
                        x = get(values + item * read(positions + 8 * left))
                        y = get(values + item * read(positions + 8 * right))
                        from_left = not (x > y or (x != x and y == y))
                    if from_left:
                        write(spare + 8 * at, read(positions + 8 * left))
                        left += 1
                    else:
                        write(spare + 8 * at, read(positions + 8 * right))
                        right += 1
            for at in range(count):
                write(positions + 8 * at, read(spare + 8 * at))
            width *= 2

    return merge


@cache
def _sorting(bits: int) -> Any:
    """``sort(x, out, extents, rank, axis)``, as a symbol: the positions of all rows; 0 where memory is missing."""
    get, put = element_access(bits)
    read, write = element_access(0)
    item, memory = bits // 8 or 8, new_memory()

    merge = _merging(bits)

    def sort(x: int, out: int, extents: int, rank: int, axis: int) -> int:
        blocks, inner, count = 1, 1, read(extents + 8 * axis)
        for before in range(axis):
            blocks *= read(extents + 8 * before)
        for behind in range(axis + 1, rank):
            inner *= read(extents + 8 * behind)
        owner = memory(24 * count)
        if owner == 0:
            return 0
        values = data_of(owner)
        positions = values + 8 * count
        for row in range(blocks * inner):
            start = row // inner * count * inner + row % inner
            for i in range(count):
                put(values + item * i, get(x + item * (start + i * inner)))
                write(positions + 8 * i, i)
            merge(values, positions, positions + 8 * count, count)
            for i in range(count):
                write(out + 8 * (start + i * inner), read(positions + 8 * i))
        drop(owner)
        return 1

    return exported(f"gradc_argsort_{bits or 'int'}", sort)
