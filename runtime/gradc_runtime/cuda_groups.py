"""Reductions over groups of threads of a block: device functions that kernels call.

    scratch = cuda.shared.array(256, np.float64)     # an element for each thread
    total = group_sum(scratch, total, 32)            # called by all threads of the block

A group is `width` threads that follow each other, a power of two that divides the threads of a block; width 1 costs
nothing.  Every thread gets the result.  Neighbours are combined first, then pairs of neighbours, and so on, always the
one with the lower number first: the bits are the same on every device and in the simulator.

A group is no barrier for other memory than `scratch`, which may be used again at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradc_runtime.cuda_backend import SIMULATED, added, cuda, device_function, from_lane, multiplied

Number = Any
WARP, BITS = 32, 5


@device_function
def _plus(first: Number, second: Number) -> Number:
    return added(first, second)


@device_function
def _times(first: Number, second: Number) -> Number:
    return multiplied(first, second)


@device_function
def _larger(first: Number, second: Number) -> Number:
    return first if (first >= second) | (first != first) else second


@device_function
def _smaller(first: Number, second: Number) -> Number:
    return first if (first <= second) | (first != first) else second


def by_lanes(combined: Any, ordered: bool) -> Any:
    """A reduction of groups for devices: within warps through registers, then over the warps' results.

    An `ordered` one gives other bits where its operands change places: the larger one of 0.0 and -0.0.
    """

    @device_function
    def between(value: Number, lane: int, lanes: int) -> Number:
        offset = 1
        while offset < lanes:
            other = from_lane(value, offset)
            if ordered:
                second = lane & offset != 0
                value = combined(other if second else value, value if second else other)
            else:
                value = combined(value, other)
            offset *= 2
        return value

    @device_function
    def group(scratch: Any, value: Number, width: int) -> Number:
        if width == 1:
            return value
        thread = cuda.threadIdx.x
        lane = thread & (WARP - 1)
        value = between(value, lane, min(width, WARP))
        if width > WARP:
            warps = width >> BITS
            if lane == 0:
                scratch[thread >> BITS] = value
            cuda.syncthreads()
            # Every warp reads the results of its group's warps and combines them once more.
            first = (thread & -width) >> BITS
            value = scratch[first + (lane & (warps - 1))]
            cuda.syncthreads()
            value = between(value, lane, warps)
        return value

    return group


def by_memory(combined: Callable[[Any, Any], Any]) -> Any:
    """A reduction of groups for the simulator, in which a barrier costs a tenth of a second."""

    @device_function
    def group(scratch: Any, value: Number, width: int) -> Number:
        if width == 1:
            return value
        thread = cuda.threadIdx.x
        first = thread - thread % width
        scratch[thread] = value
        cuda.syncthreads()
        values = np.array(scratch[first : first + width])
        cuda.syncthreads()
        while values.size > 1:
            values = combined(values[0::2], values[1::2])
        return values[0]

    return group


def _larger_of(first: Any, second: Any) -> Any:
    return np.where((first >= second) | (first != first), first, second)


def _smaller_of(first: Any, second: Any) -> Any:
    return np.where((first <= second) | (first != first), first, second)


LANES: dict[str, tuple[Any, bool]] = {
    "sum": (_plus, False),
    "prod": (_times, False),
    "max": (_larger, True),
    "min": (_smaller, True),
    "any": (_plus, False),
    "all": (_times, False),
}
MEMORY: dict[str, Callable[[Any, Any], Any]] = {
    "sum": np.add,
    "prod": np.multiply,
    "max": _larger_of,
    "min": _smaller_of,
    "any": np.logical_or,
    "all": np.logical_and,
}


def _group(name: str) -> Any:
    return by_memory(MEMORY[name]) if SIMULATED else by_lanes(*LANES[name])


group_sum = _group("sum")
group_prod = _group("prod")
group_max = _group("max")
group_min = _group("min")
group_any = _group("any")
group_all = _group("all")
