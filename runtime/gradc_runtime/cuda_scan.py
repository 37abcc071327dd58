"""Linear recurrences along an axis of arrays on a CUDA device.

Where there are few lines and long ones, a line is cut into chunks: each is first run from zero, then their
ends are carried on, and then each is run again from what it is carried.  How long a chunk is follows from the
shape alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradc_runtime.cuda_backend import cuda, device_function
from gradc_runtime.cuda_families import around, family, flat
from gradc_runtime.cuda_memory import empty, scratch

Array = Any
Number = Any

WHOLE = 128  # elements of a line, up to which it is not cut
LINES = 4096  # lines, from which on they are not cut: enough to keep a device busy


def affine_scan(a: Array, b: Array, axis: int, reverse: bool) -> Array:
    """``t[i] = a[i] * t[i-1] + b[i]`` along an axis, from zero before the start; `reverse` runs backwards.

    A thread takes a line, or one of about ``sqrt(n)`` chunks of a line of n elements where there are few
    lines; it then takes ``3 sqrt(n)`` steps instead of n.  Chunks round otherwise than a run through.
    """
    out = empty(b.shape, b.dtype)
    before, count, inner = around(b.shape, axis)
    if not b.size:
        return out
    lines = before * inner
    length = _chunk(count, lines)
    chunks = -(-count // length)
    factors, terms, results = flat(a), flat(b), flat(out)
    form = (count, inner, chunks, length, reverse)
    ends = results
    if chunks > 1:
        products, ends = (scratch((lines * chunks,), b.dtype) for _ in range(2))
        _ends.each(lines * chunks, factors, terms, products, ends, *form)
        _carried.each(lines, factors, terms, products, ends, *_limits(np.dtype(b.dtype)), *form)
    _scanned.each(lines * chunks, factors, terms, results, ends, *form)
    return out


def _chunk(count: int, lines: int) -> int:
    """How many elements a chunk has: all, or a power of two near the square root."""
    if count <= WHOLE or lines >= LINES:
        return count
    length = 1
    while length * length < count:
        length *= 2
    return length


def _limits(dtype: np.dtype) -> tuple[float, float]:
    """The smallest number of full precision and the precision, zeros for integers."""
    if dtype.kind != "f":
        return 0, 0
    found = np.finfo(dtype)
    return float(found.tiny), float(found.eps)


@device_function
def _places(
    p: int, count: int, inner: int, chunks: int, length: int, reverse: bool
) -> tuple[int, int, int, int]:
    """The number of chunk p in its line, its first place, the step to the next one, and how many there are."""
    column, rest = p % inner, p // inner
    chunk, block = rest % chunks, rest // chunks
    first = chunk * length
    many = min(length, count - first)
    if reverse:
        return chunk, (block * count + count - 1 - first) * inner + column, -inner, many
    return chunk, (block * count + first) * inner + column, inner, many


@family("T[::1], T[::1], T[::1], T[::1], int64, int64, int64, int64, boolean, int64")
def _ends(
    factors: Array,
    terms: Array,
    products: Array,
    ends: Array,
    count: int,
    inner: int,
    chunks: int,
    length: int,
    reverse: bool,
    size: int,
) -> None:
    """Run every chunk from zero: its last element, and the product of its factors."""
    for p in range(cuda.grid(1), size, cuda.gridsize(1)):
        _, at, step, many = _places(p, count, inner, chunks, length, reverse)
        product, value = factors[at], terms[at]
        for _ in range(1, many):
            at += step
            product = factors[at] * product
            value = factors[at] * value + terms[at]
        products[p] = product
        ends[p] = value


@device_function
def _is_lost(
    product: Number, start: Number, end: Number, carried: Number, tiny: Number, precision: Number
) -> bool:
    """Whether ``carried = product * start + end`` lost to overflow or underflow what a run through keeps."""
    if start != start:
        return False
    if carried - carried != 0:
        return True
    return abs(product) < tiny and abs(start) * tiny > precision * abs(end)


@family("T[::1], T[::1], T[::1], T[::1], T, T, int64, int64, int64, int64, boolean, int64")
def _carried(
    factors: Array,
    terms: Array,
    products: Array,
    ends: Array,
    tiny: Number,
    precision: Number,
    count: int,
    inner: int,
    chunks: int,
    length: int,
    reverse: bool,
    size: int,
) -> None:
    """Carry the ends of chunks on to the next ones; what is carried takes their place."""
    for line in range(cuda.grid(1), size, cuda.gridsize(1)):
        p = line // inner * chunks * inner + line % inner
        value = ends[p]
        for _ in range(1, chunks):
            p += inner
            start, value = value, products[p] * value + ends[p]
            if tiny > 0 and _is_lost(products[p], start, ends[p], value, tiny, precision):
                value = start
                _, at, step, many = _places(p, count, inner, chunks, length, reverse)
                for _ in range(many):
                    value = factors[at] * value + terms[at]
                    at += step
            ends[p] = value


@family("T[::1], T[::1], T[::1], T[::1], int64, int64, int64, int64, boolean, int64")
def _scanned(
    factors: Array,
    terms: Array,
    results: Array,
    ends: Array,
    count: int,
    inner: int,
    chunks: int,
    length: int,
    reverse: bool,
    size: int,
) -> None:
    """Run every chunk from what is carried to it, the first one of a line from its first term."""
    for p in range(cuda.grid(1), size, cuda.gridsize(1)):
        chunk, at, step, many = _places(p, count, inner, chunks, length, reverse)
        value = terms[at]
        if chunk > 0:
            value = factors[at] * ends[p - inner] + terms[at]
        results[at] = value
        for _ in range(1, many):
            at += step
            value = factors[at] * value + terms[at]
            results[at] = value
