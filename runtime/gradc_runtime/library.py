"""The library operations that kernels call and that loops of their own would not make clearer.

Called from Python they are plain Python; called from compiled code they are compiled with it.  Arrays are
C-contiguous.  Matrix operations are in `gradc_runtime.linalg`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types
from numba.cpython.unsafe import tuple as tuples
from numba.extending import overload, register_jitable

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

    def each(table: Array, extent: int) -> None:
        for index in table.flat:
            if not -extent <= index < extent:
                raise IndexError("an index is out of range")

    return each if isinstance(table, types.Array) else one


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

    def copied(x: Array, shape: tuple[int, ...]) -> Array:
        return x.copy().reshape(shape)

    if isinstance(x, types.Array):
        return only if to_scalar else copied
    return same if to_scalar else filled


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


# --- scans, orders, winners ---------------------------------------------------------------------------------


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
def _sort_positions(values: Array, positions: Array, spare: Array) -> None:
    """Order `positions` by `values`, merging runs of doubling length; NaN is the largest number."""
    count, width = len(values), 1
    while width < count:
        for start in range(0, count, 2 * width):
            middle, stop = min(start + width, count), min(start + 2 * width, count)
            left, right = start, middle
            for at in range(start, stop):
                from_left = left < middle
                if from_left and right < stop:
                    x, y = values[positions[left]], values[positions[right]]
                    from_left = not ((x > y) | ((x != x) & (y == y)))
                if from_left:
                    spare[at] = positions[left]
                    left += 1
                else:
                    spare[at] = positions[right]
                    right += 1
        for at in range(count):  # slices would bring Numba's error messages about shapes: two seconds
            positions[at] = spare[at]
        width *= 2


@register_jitable(**OPTIONS)
def argsort(x: Array, axis: int) -> Array:
    """Return the positions that sort `x` along an axis: equal elements keep their order, NaN comes last."""
    blocks, count, inner = _around(x, axis)
    out = np.empty(x.shape, np.int64)
    source, target = x.reshape(x.size), out.reshape(x.size)
    values, positions, spare = np.empty(count, x.dtype), np.empty(count, np.int64), np.empty(count, np.int64)
    for block in range(blocks):
        for column in range(inner):
            start = block * count * inner + column
            for i in range(count):
                values[i] = source[start + i * inner]
                positions[i] = i
            _sort_positions(values, positions, spare)
            for i in range(count):
                target[start + i * inner] = positions[i]
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
