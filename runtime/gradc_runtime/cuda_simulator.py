"""How a block of threads runs in the simulator: one at a time, each to the next barrier.

Numba's simulator gives every thread of a block a thread of the system and watches all of them, at some half a second
for a block of 256 with two barriers.  Here a thread runs until it waits at a barrier; without barriers all of them
are run by one thread of the system.  The order is shuffled, and other behind every barrier, so that what depends on
the order shows; it is the same at every run.  Memory that a block shares starts as numbers that are none, and a
negative subscript, on a device a place outside the array, is an error.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

UNWRITTEN = 0xFF  # bytes of memory that no kernel has written: not a number


class _Place(NamedTuple):
    """The number of a block or of a thread."""

    x: int
    y: int = 0
    z: int = 0


class _Stopped(BaseException):
    """Ends a thread that waits at a barrier of a block that has failed."""


class _Worker(threading.Thread):
    """A thread of the system; what kernels ask the current thread for are its attributes."""

    blockIdx: _Place  # noqa: N815 (CUDA's name)
    threadIdx: _Place  # noqa: N815

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.go = threading.Lock()
        self.go.acquire()
        self.block: Block | None = None
        self.start()

    def run(self) -> None:
        """Work for one block after the other."""
        np.seterr(all="ignore")  # for this thread alone: a device divides by zero in silence
        while True:
            self.go.acquire()
            block = self.block
            assert block is not None
            try:
                block.work(self)
            except _Stopped:
                pass
            except BaseException as error:
                block.fail(error, self)
            _idle.append(self)
            block.pass_on()

    @property
    def thread_id(self) -> int:
        """The number of the simulated thread in its block."""
        return self.threadIdx.x

    def syncthreads(self) -> None:
        """Wait for the other threads of the block."""
        block = self.block
        assert block is not None
        block.waiting.append(self)
        block.pass_on()
        self.go.acquire()
        if block.failure is not None:
            raise _Stopped


def shared_array(module: Any, shape: Any, dtype: Any, alignment: int | None = None) -> np.ndarray:
    """The array that a block shares; it stands in for the method of Numba's simulator, which is slow."""
    frame = sys._getframe(1)
    block: Any = threading.current_thread()
    place = (frame.f_code, frame.f_lasti)
    found = module._allocations.get(place)
    if found is None or found[0] != block.blockIdx:
        kind = np.dtype(
            dtype if isinstance(dtype, type | np.dtype) else str(dtype).replace("boolean", "bool")
        )
        array = np.empty(shape, kind)
        array.view(np.uint8).fill(UNWRITTEN)
        module._allocations[place] = found = (block.blockIdx, array)
    return found[1]


def read(array: Any, place: Any) -> Any:
    """An element, or a view; it stands in for the method of Numba's simulator, which counts from the end as well."""
    found = array._item[_from_the_start(place)]
    return type(array)(found) if type(found) is type(array._item) else found


def write(array: Any, place: Any, value: Any) -> None:
    """Give an element a value; it stands in as `read` does."""
    array._item[_from_the_start(place)] = value


def _from_the_start(place: Any) -> Any:
    for index in place if type(place) is tuple else (place,):
        if type(index) is not slice and index < 0:
            raise IndexError(f"the subscript {place} is negative")
    return place


def with_numpy_numbers(function: Callable[..., None]) -> Callable[..., None]:
    """A function whose literals are NumPy's: dividing by zero gives what it does on a device, not an error."""
    code = function.__code__
    literals = tuple(np.float64(value) if type(value) is float else value for value in code.co_consts)
    code = code.replace(co_consts=literals)
    found = FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    found.__module__ = function.__module__
    return found


_idle: list[_Worker] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # threads do not survive it


class Block:
    """Runs blocks of a kernel; it stands in for the class of Numba's simulator with the same methods.

    One thread of the system runs at a time: the launching one, or a worker, which passes on to the next.
    """

    def __init__(self, function: Callable[..., None], grid: Any, shape: Any, debug: bool) -> None:
        self.function = function
        self.many = int(np.prod(shape))
        self.order = random.Random(self.many)
        self.home = threading.Lock()
        self.home.acquire()
        self.fresh: list[_Place] = []
        self.ready: list[_Worker] = []  # to go on from the barrier
        self.waiting: list[_Worker] = []  # at the next one
        self.failure: BaseException | None = None

    def run(self, number: tuple[int, ...], *arguments: Any) -> None:
        """Run all threads of one block."""
        self.number, self.arguments = _Place(*number), arguments
        self.fresh = [_Place(x) for x in range(self.many)]
        self.order.shuffle(self.fresh)
        self._until_all_wait()
        while self.waiting and self.failure is None:
            if len(self.waiting) != self.many:
                many = f"{len(self.waiting)} of {self.many} threads"
                self.failure = RuntimeError(f"{many} of block {self.number.x} wait at a barrier")
                break
            self.ready, self.waiting = self.waiting, []
            self.order.shuffle(self.ready)
            self._until_all_wait()
        if self.failure is not None:
            self.ready, self.waiting = self.waiting, []
            if self.ready:  # at a barrier of a block that failed a thread ends
                self._until_all_wait()
            raise self.failure

    def _until_all_wait(self) -> None:
        self.pass_on()
        self.home.acquire()

    def pass_on(self) -> None:
        """Let the next thread run, or the launching one where there is none."""
        if self.fresh and self.failure is None:
            worker = _idle.pop() if _idle else _Worker()
            worker.block = self
            worker.go.release()
        elif self.ready:
            self.ready.pop().go.release()
        else:
            self.home.release()

    def work(self, worker: _Worker) -> None:
        """Run threads that have not begun, until one of them has to wait."""
        worker.blockIdx = self.number
        while self.fresh:
            worker.threadIdx = self.fresh.pop()
            self.function(*self.arguments)

    def fail(self, error: BaseException, worker: _Worker) -> None:
        """Keep the first error, with its place."""
        if self.failure is None:
            error.add_note(f"in thread {worker.threadIdx.x} of block {worker.blockIdx.x}")
            self.failure = error
