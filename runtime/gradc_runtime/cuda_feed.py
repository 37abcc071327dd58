"""What a training on a device does beside its steps: batches made there, losses kept there, copies that wait once.

Everything is queued on one device and one stream, inside `Queue.call`; `read` alone waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np

from gradc_runtime import cuda_backend, cuda_driver
from gradc_runtime.cuda_backend import cuda
from gradc_runtime.cuda_families import BLOCKS, copied, family, flat, threads_for, viewed
from gradc_runtime.cuda_host import Kernel, kernel, launch
from gradc_runtime.cuda_memory import Call, call_on, release, this_call
from gradc_runtime.cuda_memory import zeros as zeros

Array = Any


class Queue:
    """A device and a stream: those of an array that lies there.

    Parameters
    ----------
    array : array of Numba
        From `gradc_runtime.cuda_run.to_device`.
    """

    def __init__(self, array: Array) -> None:
        self.device: int = cuda_driver.where(array) or 0
        self.stream: Any = array.stream or None

    def call(self) -> AbstractContextManager[Call]:
        """Let what follows run there, with memory that outlives it."""
        return call_on(self.device, self.stream, stay=True)


def require() -> None:
    """Refuse a machine without a device, or without a driver for it."""
    cuda_driver.count()


def free_memory() -> int | None:
    """How many bytes of the device are free, what calls have kept for later ones included; None in the simulator."""
    if cuda_backend.SIMULATED:
        return None
    own = this_call().workspace
    if own is not None:
        own.release()
    release()
    with cuda_backend.translated():
        cuda.current_context().memory_manager.deallocations.clear()  # Numba lets go of memory late
    return cuda_backend.memory()[0]


def load_kernels(function: Callable[..., Any]) -> None:
    """Compile the kernels of a generated function for the device of the call, before it is called."""
    for value in function.__globals__.values():
        if isinstance(value, Kernel):
            value._load(this_call().device)


# --- copies -------------------------------------------------------------------------------------------------


def write(pairs: Iterable[tuple[np.ndarray, Array]]) -> None:
    """Copy arrays of the processor to those of the device with their shape and dtype; they may change at once."""
    for host, array in pairs:
        cuda_driver.copy_to_device(np.ascontiguousarray(host), array, this_call().stream)


def read(pairs: Iterable[tuple[Array, np.ndarray]]) -> None:
    """Copy arrays of the device to C-contiguous ones of their dtype, as many elements as these have; wait once."""
    stream = this_call().stream
    for array, host in pairs:
        cuda_driver.copy_to_host(viewed(array, host.shape), host, stream)
    cuda_driver.wait(stream)


def copy(pairs: Iterable[tuple[Array, Array]]) -> None:
    """Copy arrays of the device to others there with their shape and dtype."""
    for source, target in pairs:
        copied.each(source.size, flat(source), flat(target))


# --- steps --------------------------------------------------------------------------------------------------


class Batch:
    """The arrays that a step reads, filled on the device with examples in the order of an epoch.

    Parameters
    ----------
    order : array of int64
        The numbers of the examples.
    x, y : array
        All examples and targets.
    batch_x, batch_y : array
        Those of a step.
    control : array
        Learning rate and number of the step.
    key : array of int64
        What the step draws its random numbers from.
    """

    def __init__(
        self, order: Array, x: Array, y: Array, batch_x: Array, batch_y: Array, control: Array, key: Array
    ) -> None:
        self._arrays = (order, *map(flat, (x, y, batch_x, batch_y)), control, key)
        many = batch_x.shape[0]
        self._rows = (batch_x.size // many, batch_y.size // many)
        self._sizes = (batch_x.size, batch_y.size)
        self._kernel = _fill(*(np.dtype(array.dtype).name for array in (x, y, control)))

    def fill(self, first: int, rate: float, number: int, key: int) -> None:
        """Take the examples from place `first` of the order on, and the numbers of the step."""
        pieces = max(self._sizes)
        threads = threads_for(pieces)
        blocks = min(BLOCKS, -(-pieces // threads))
        numbers = (first, *self._rows, *self._sizes, rate, number, key)
        launch(self._kernel, blocks, threads, *self._arrays, *numbers)


@cache
def _fill(examples: str, targets: str, control: str) -> Kernel:
    """A kernel that fills the arrays of a step; its first thread writes the numbers."""

    def fill(
        order: Array,
        x: Array,
        y: Array,
        batch_x: Array,
        batch_y: Array,
        control: Array,
        key: Array,
        first: int,
        x_row: int,
        y_row: int,
        x_size: int,
        y_size: int,
        rate: float,
        number: int,
        drawn_from: int,
    ) -> None:
        for p in range(cuda.grid(1), x_size, cuda.gridsize(1)):
            batch_x[p] = x[order[first + p // x_row] * x_row + p % x_row]
        for p in range(cuda.grid(1), y_size, cuda.gridsize(1)):
            batch_y[p] = y[order[first + p // y_row] * y_row + p % y_row]
        if cuda.grid(1) == 0:
            control[0] = rate
            control[1] = number
            key[0] = drawn_from

    data = f"{examples}[::1], {targets}[::1]"
    arrays = f"int64[::1], {data}, {data}, {control}[::1], int64[::1]"
    return kernel(f"{arrays}, int64, int64, int64, int64, int64, float64, int64, int64")(fill)


def note(number: Array, notes: Array, place: int) -> None:
    """Write a number of the device, an array without axes, to a place in an array of float64 there."""
    noted.run(1, 1, viewed(number, (1,)), notes, place)


@family("T[::1], float64[::1], int64")
def noted(source: Array, target: Array, place: int) -> None:
    """Copy one element to a place."""
    target[place] = source[0]
