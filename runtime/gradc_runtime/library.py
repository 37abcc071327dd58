"""The library operations that kernels call and that loops of their own would not make clearer.

Called from Python they are plain Python; called from compiled code they are compiled with it.  Arrays are
C-contiguous.  Matrix operations are in `gradc_runtime.linalg`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.cpython.unsafe import tuple as tuples
from numba.extending import lower_builtin, overload, register_jitable, type_callable
from numba.np.numpy_support import as_dtype

from gradc_runtime import arrays
from gradc_runtime.sorting import argsort as argsort

Array = Any
Number = Any

_set_item: Any = tuples.tuple_setitem  # an intrinsic: its first parameter is not for callers

OPTIONS: Any = {"error_model": "numpy", "nogil": True}


# --- indices and shapes -------------------------------------------------------------------------------------


def check_indices(table: Array, extent: int) -> None:
    """Raise IndexError unless every element is an index into an axis of this extent, from either end."""
    for index in np.ravel(table):
        if not -extent <= index < extent:
            raise IndexError("an index is out of range")


@overload(check_indices, jit_options=OPTIONS, strict=False)
def _check_indices(table: Any, extent: Any) -> Any:
    def one(table: int, extent: int) -> None:
        if not -extent <= table < extent:
            raise IndexError("an index is out of range")

    return None if isinstance(table, types.Array) else one


@type_callable(check_indices)
def _type_of_check(context: Any) -> Any:
    def typer(table: Any, extent: Any) -> Any:
        known = isinstance(table, types.Array) and table.layout == "C" and isinstance(extent, types.Integer)
        return types.none if known else None

    return typer


@lower_builtin(check_indices, types.Array, types.Integer)
def _lower_check(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
    kind, extent_kind = signature.args
    table, extent = values[0], context.cast(builder, values[1], extent_kind, types.int64)
    wrong = cgutils.alloca_once_value(builder, cgutils.false_bit)
    with cgutils.for_range(builder, builder.extract_value(table, arrays.COUNT_FIELD)) as loop:
        place = builder.gep(builder.extract_value(table, arrays.DATA_FIELD), [loop.index])
        index = context.cast(builder, builder.load(place), kind.dtype, types.int64)
        below = builder.icmp_signed("<", index, builder.neg(extent))
        outside = builder.or_(below, builder.icmp_signed(">=", index, extent))
        builder.store(builder.or_(builder.load(wrong), outside), wrong)
    arrays.refuse_if(context, builder, builder.load(wrong), IndexError, "an index is out of range")
    return context.get_dummy_value()


def reshape(x: Array, shape: tuple[int, ...]) -> Array:
    """Return the same elements in C order: a copy."""
    return np.reshape(x, shape).copy()[()]


@overload(reshape, jit_options=OPTIONS, strict=False)
def _reshape(x: Any, shape: Any) -> Any:
    to_scalar = len(shape) == 0

    def same(x: Number, shape: tuple[int, ...]) -> Number:
        return x

    def filled(x: Number, shape: tuple[int, ...]) -> Array:
        return np.full(shape, x)

    def only(x: Array, shape: tuple[int, ...]) -> Number:
        return x.flat[0]

    if isinstance(x, types.Array):
        return only if to_scalar else None
    return same if to_scalar else filled


@type_callable(reshape)
def _type_of_reshape(context: Any) -> Any:
    def typer(x: Any, shape: Any) -> Any:
        known = isinstance(x, types.Array) and x.layout == "C" and isinstance(shape, types.BaseTuple)
        return types.Array(x.dtype, len(shape), "C") if known and len(shape) else None

    return typer


@lower_builtin(reshape, types.Array, types.BaseTuple)
def _lower_reshape(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
    (kind, shape_kind), word = signature.args, ir.IntType(64)
    extents = [
        context.cast(builder, extent, of, types.int64)
        for extent, of in zip(cgutils.unpack_tuple(builder, values[1]), shape_kind.types, strict=True)
    ]
    count = builder.extract_value(values[0], arrays.COUNT_FIELD)
    other = builder.icmp_signed("!=", functools.reduce(builder.mul, extents), count)
    for extent in extents:
        other = builder.or_(other, builder.icmp_signed("<", extent, word(0)))
    message = "an array of another size is asked for"
    arrays.refuse_if(context, builder, other, ValueError, message)
    found = arrays.array_of(context, builder, signature.return_type, extents, arrays.on_heap(False))
    to, start = (builder.extract_value(array, arrays.DATA_FIELD) for array in (found, values[0]))
    size = as_dtype(kind.dtype).itemsize
    cgutils.raw_memcpy(builder, to, start, count, word(size))
    return found


def _with_item(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])


@overload(_with_item, strict=False)
def _with_item_compiled(shape: Any, axis: Any, size: Any) -> Any:
    if len(shape) == 0:
        return lambda shape, axis, size: shape
    return lambda shape, axis, size: _set_item(shape, axis, size)


@register_jitable(inline="always")
def _around(x: Array, axis: int) -> tuple[int, int, int]:
    """Return the shape of `x` as what lies before an axis, the axis itself and what lies behind it."""
    before = behind = 1
    for k in range(axis):
        before *= x.shape[k]
    for k in range(axis + 1, x.ndim):
        behind *= x.shape[k]
    return before, x.shape[axis], behind


# --- scans, winners -----------------------------------------------------------------------------------------


@register_jitable(**OPTIONS)
def affine_scan(a: Array, b: Array, axis: int, reverse: bool) -> Array:
    """``t[i] = a[i] * t[i-1] + b[i]`` along an axis, from zero before the start; `reverse` runs backwards."""
    blocks, count, inner = _around(b, axis)
    out = np.empty(b.shape, b.dtype)
    factors, terms, results = a.reshape(b.size), b.reshape(b.size), out.reshape(b.size)
    step = -inner if reverse else inner
    for block in range(blocks if count else 0):
        first = (block * count + (count - 1 if reverse else 0)) * inner
        for column in range(first, first + inner):
            results[column] = terms[column]
        for start in range(1, count):
            row = first + start * step
            for at in range(row, row + inner):
                results[at] = factors[at] * results[at - step] + terms[at]
    return out


@register_jitable(**OPTIONS)
def arg_extreme(x: Array, axis: int, largest: bool) -> Array:
    """Return the first position of the largest (smallest) element along an axis; NaN wins."""
    blocks, count, inner = _around(x, axis)
    shape = x.shape[1:]
    for k in range(axis):
        shape = _with_item(shape, k, x.shape[k])
    out = np.zeros(shape, np.int64)
    source, best = x.reshape(x.size), out.reshape(out.size)
    if count == 0 and out.size > 0:
        raise ValueError("the largest or smallest element of an axis without elements")
    for block in range(blocks):
        for i in range(1, count):
            for column in range(inner):
                winner = block * inner + column
                start = block * count * inner + column
                value, record = source[start + i * inner], source[start + best[winner] * inner]
                better = value > record if largest else value < record
                if (better | (value != value)) & (record == record):
                    best[winner] = i
    return out[()]
