"""Families of kernels: one function of arrays of any dtype, and a kernel of it for each dtype.

    @family("T[::1], T[::1], int64")
    def doubled(x, out, size):
        for p in range(cuda.grid(1), size, cuda.gridsize(1)):
            out[p] = x[p] + x[p]

    doubled.each(x.size, x, out)

The kernels run on the stream of the call.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from gradc_runtime import cuda_driver
from gradc_runtime.cuda_backend import SIMULATED, cuda
from gradc_runtime.cuda_groups import WARP
from gradc_runtime.cuda_host import Kernel, kernel, launch
from gradc_runtime.cuda_memory import empty, this_call

Array = Any
Number = Any

THREADS, BLOCKS = 256, 1024  # of a launch, at most, whose threads share out pieces of work
LEAST = (
    1 if SIMULATED else WARP
)  # threads of a block: the simulator takes time for each, and a warp is never halved


class Family:
    """A function that runs on a device, and a kernel of it for each dtype that takes the place of `T`."""

    def __init__(self, function: Callable[..., None], signature: str) -> None:
        self.py_func = function
        self.signature = signature
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        self._kernels: dict[str, Kernel] = {}

    def of(self, dtype: Any) -> Kernel:
        """The kernel for one dtype."""
        name = np.dtype(dtype).name
        if name not in self._kernels:
            spelled = "boolean" if name == "bool" else name
            self._kernels[name] = kernel(re.sub(r"\bT\b", spelled, self.signature), fused=True)(self.py_func)
        return self._kernels[name]

    def run(self, blocks: int, threads: int, *arguments: Any) -> None:
        """Launch the kernel for the dtype of the first array; of tuples every element is an argument."""
        given: list[Any] = []
        for argument in arguments:
            given += argument if isinstance(argument, tuple) else (argument,)
        launch(self.of(given[0].dtype), blocks, threads, *given)

    def each(self, size: int, *arguments: Any) -> None:
        """Launch threads that share out `size` pieces of work; the kernel is given the number last."""
        self.run(min(BLOCKS, -(-size // THREADS)), THREADS, *arguments, size)


def family(signature: str) -> Callable[[Callable[..., None]], Family]:
    """Make a function a family of kernels."""
    return lambda function: Family(function, signature)


def threads_for(pieces: int) -> int:
    """How many threads a block has that shares out pieces of work: a power of two."""
    found = LEAST
    while found < min(pieces, THREADS):
        found *= 2
    return found


# --- arrays -------------------------------------------------------------------------------------------------


def result(shape: tuple[int, ...], dtype: Any) -> Array:
    """A new array for a result; a number is an array of one element."""
    return empty(shape or (1,), dtype)


def viewed(x: Array, shape: tuple[int, ...]) -> Array:
    """The elements of a C-contiguous array in C order, in its memory."""
    return cuda_driver.viewed(x, shape, np.dtype(x.dtype), this_call().stream)


def flat(x: Array) -> Array:
    """The elements of a C-contiguous array along one axis, in its memory."""
    return viewed(x, (x.size,))


def around(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """How many elements lie before an axis, on it, and behind it."""
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


@family("T[::1], T[::1], int64")
def copied(source: Array, target: Array, size: int) -> None:
    """Copy elements."""
    for p in range(cuda.grid(1), size, cuda.gridsize(1)):
        target[p] = source[p]
