"""Orders and winners along an axis of arrays on a CUDA device: NaN is the largest number, and wins anyway."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradc_runtime.cuda_backend import cuda, device_function
from gradc_runtime.cuda_families import THREADS, around, family, flat, result, threads_for
from gradc_runtime.cuda_host import width_of
from gradc_runtime.cuda_memory import empty, scratch

Array = Any
Number = Any

RUN = 32  # elements that are sorted by counting
LINES = 4096  # lines, from which on each is one thread's if its elements do not follow each other
PART, PARTS = 8192, 256  # elements of a part of a line at least, and its parts at most


# --- orders -------------------------------------------------------------------------------------------------


def argsort(x: Array, axis: int) -> Array:
    """Return the positions that sort `x` along an axis: equal elements keep their order, NaN comes last.

    A line of n elements takes ``1 + log2(n / 32)`` launches, in all of which an element is one thread's: first
    runs of 32 are sorted by counting, then pairs of runs merged by binary search.
    """
    out = empty(x.shape, np.int64)
    _, count, inner = around(x.shape, axis)
    if not x.size:
        return out
    merges = 0
    while RUN << merges < count:
        merges += 1
    values = [scratch((x.size,), x.dtype) for _ in range(2 if merges else 1)]
    positions = [flat(out), scratch((x.size,), np.int64)] if merges else [flat(out)]
    now = merges % 2  # so that the last merge writes the result
    _ranked.each(x.size, flat(x), values[now], positions[now], count, inner)
    for merge in range(merges):
        before, now = now, 1 - now
        given = (values[before], values[now], positions[before], positions[now])
        _merged.each(x.size, *given, count, inner, RUN << merge)
    return out


@device_function
def _is_before(x: Number, y: Number) -> bool:
    return (x < y) | ((x == x) & (y != y))


@family("T[::1], T[::1], int64[::1], int64, int64, int64")
def _ranked(source: Array, values: Array, positions: Array, count: int, inner: int, size: int) -> None:
    """Sort runs by counting, for every element, those that come before it."""
    for p in range(cuda.grid(1), size, cuda.gridsize(1)):
        i = p // inner % count
        many = min(RUN, count - (i - i % RUN))
        value, first, target = source[p], p - i % RUN * inner, p - i % RUN * inner
        for j in range(many):
            other = source[first + j * inner]
            if _is_before(other, value) or (j < i % RUN and not _is_before(value, other)):
                target += inner
        values[target] = value
        positions[target] = i


@family("T[::1], T[::1], int64[::1], int64[::1], int64, int64, int64, int64")
def _merged(
    values: Array,
    new_values: Array,
    positions: Array,
    new_positions: Array,
    count: int,
    inner: int,
    width: int,
    size: int,
) -> None:
    """Merge pairs of runs: before an element come those before it in its own run, and some of the other.

    Of the second run those that are smaller come before one of the first, of the first those that are not
    larger.
    """
    for p in range(cuda.grid(1), size, cuda.gridsize(1)):
        i = p // inner % count
        at = i % (2 * width)  # in its pair of runs
        first, value = p - at * inner, values[p]
        is_second = at >= width
        start = 0 if is_second else width
        low, high = start, width if is_second else min(2 * width, count - (i - at))
        while low < high:
            middle = (low + high) // 2
            other = values[first + middle * inner]
            precedes = not _is_before(value, other) if is_second else _is_before(other, value)
            if precedes:
                low = middle + 1
            else:
                high = middle
        target = first + (low - start + at - (width if is_second else 0)) * inner
        new_values[target] = value
        new_positions[target] = positions[p]


# --- winners ------------------------------------------------------------------------------------------------


def arg_extreme(x: Array, axis: int, largest: bool) -> Array:
    """Return the first position of the largest (smallest) element along an axis; NaN wins.

    A group of up to 256 threads looks through a line, several groups through one of more than 8192 elements.

    Raises
    ------
    ValueError
        The axis has no elements.
    """
    before, count, inner = around(x.shape, axis)
    out = result((*x.shape[:axis], *x.shape[axis + 1 :]), np.int64)
    lines = before * inner
    if count == 0 and lines > 0:
        raise ValueError("the largest or smallest element of an axis without elements")
    if not x.size:
        return out
    length = max(PART, -(-count // PARTS))
    parts = -(-count // length)
    width = 1 if inner > 1 and lines * parts >= LINES else width_of(min(count, length), THREADS)
    found = flat(out) if parts == 1 else scratch((lines * parts,), np.int64)
    rows = lines * parts
    given = (flat(x), found, count, inner)
    threads = threads_for(rows * width)
    _extremes.run(-(-rows * width // threads), threads, *given, parts, length, width, largest, rows)
    if parts > 1:
        _winners.each(lines, *given, flat(out), parts, largest)
    return out


@device_function
def _beats(new: Number, old: Number, largest: bool) -> bool:
    better = new > old if largest else new < old
    return (better | (new != new)) & (old == old)


@family("T[::1], int64[::1], int64, int64, int64, int64, int64, boolean, int64")
def _extremes(
    source: Array,
    found: Array,
    count: int,
    inner: int,
    parts: int,
    length: int,
    width: int,
    largest: bool,
    rows: int,
) -> None:
    """Find the winner of every part of a line, its first one; `width` threads look through a part."""
    places = cuda.shared.array(THREADS, np.int64)
    thread = cuda.threadIdx.x
    lane = thread % width
    row = cuda.grid(1) // width
    part = min(row, rows - 1)  # threads without a part keep the others company at the barriers
    line, first = part // parts, part % parts * length
    start = line // inner * count * inner + line % inner
    best = first
    for i in range(first + lane, min(count, first + length), width):
        if _beats(source[start + i * inner], source[start + best * inner], largest):
            best = i
    step = width // 2
    while step > 0:
        places[thread] = best
        cuda.syncthreads()
        if lane < step:
            other = places[thread + step]
            new, old = source[start + other * inner], source[start + best * inner]
            if _beats(new, old, largest) or (other < best and not _beats(old, new, largest)):
                best = other
        cuda.syncthreads()
        step //= 2
    if lane == 0 and row < rows:
        found[row] = best


@family("T[::1], int64[::1], int64, int64, int64[::1], int64, boolean, int64")
def _winners(
    source: Array,
    found: Array,
    count: int,
    inner: int,
    out: Array,
    parts: int,
    largest: bool,
    size: int,
) -> None:
    """Find the winner of every line among those of its parts."""
    for line in range(cuda.grid(1), size, cuda.gridsize(1)):
        start = line // inner * count * inner + line % inner
        best = found[line * parts]
        for part in range(1, parts):
            other = found[line * parts + part]
            if _beats(source[start + other * inner], source[start + best * inner], largest):
                best = other
        out[line] = best
