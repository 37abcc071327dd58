"""What the host function of a generated module calls: kernels, launches, device memory, how loops are cut.

    @kernel("float32[:, ::1], float32[::1], int64, int64")
    def rows_1(x, out, n, m): ...

    launch(rows_1, (n + 255) // 256, 256, x, out, n, m)

How a loop is cut follows from its extents alone, never from the device: sums have the same bits on every one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from gradc_runtime import cuda_backend, cuda_driver
from gradc_runtime.cuda_backend import Capability, cuda, types
from gradc_runtime.cuda_errors import CudaError, LaunchRefused
from gradc_runtime.cuda_memory import clear as clear
from gradc_runtime.cuda_memory import copy_in as copy_in
from gradc_runtime.cuda_memory import empty as empty
from gradc_runtime.cuda_memory import scratch as scratch
from gradc_runtime.cuda_memory import this_call
from gradc_runtime.cuda_memory import zeros as zeros

Array = Any

PARTS = 1024  # of one loop at most
COPIES = 1 << 22  # elements of the copies that all parts have together, where each has one
WORK, COPYING = 1 << 12, 4  # operations of a part at least, and of an element of its copy
EACH = 4  # elements of a row that a thread has at least, where several threads share it
CHECKERS, CHECKED = 128, 256  # threads of a block, and blocks at most, that look at indices


# --- kernels ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Resources:
    """What a thread of a kernel takes: registers, bytes of its stack and of spilled registers; a block's bytes."""

    registers: int
    stack: int
    spilled: int
    shared: int


class Kernel:
    """A function that runs on a device, for arguments of the types of one signature."""

    def __init__(self, function: Callable[..., None], signature: str) -> None:
        self.py_func = function
        self.signature = signature
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        self._compiled: Any = None
        self._threads: dict[
            int, tuple[int, int]
        ] = {}  # on each device: of a block at most, and registers of one
        self._texts: dict[Capability, str] = {}

    def __repr__(self) -> str:
        return f"<kernel {self.__name__}({self.signature})>"

    def ptx(self, capability: Capability) -> str:
        """The kernel in the assembly language of a compute capability, such as ``(8, 0)``; needs no device."""
        if capability not in self._texts:
            self._texts[capability] = cuda_backend.ptx(self.py_func, self._types, capability)
        return self._texts[capability]

    def resources(self, capability: Capability) -> tuple[Resources | None, str]:
        """What the kernel takes on devices of a compute capability, or None and why that is unknown."""
        try:
            report = cuda_backend.assembled(self.ptx(capability), capability)
        except CudaError as error:
            return None, str(error)
        except Exception as error:  # the assembler has none of its own, and of several versions several
            return None, f"the kernel could not be assembled: {error}"
        found = [_number(pattern, report) for pattern in _REPORTED]
        if None in found:
            return None, f"the assembler reported something else: {report}"
        registers, stack, stores, loads, shared = (number or 0 for number in found)
        return Resources(registers, stack, stores + loads, shared), ""

    def run(self, blocks: int, threads: int, arguments: tuple[Any, ...]) -> None:
        """Launch the kernel on the current stream."""
        if not 0 <= blocks <= cuda_backend.MOST_BLOCKS:
            why = f"it has {blocks} blocks, and a device takes {cuda_backend.MOST_BLOCKS}"
            raise LaunchRefused(
                f"the kernel {self.__name__} is too large", why=why, do="use smaller arguments"
            )
        if blocks == 0:
            return
        admitted = self._admitted(arguments)
        call = this_call()
        if call.device not in self._threads:
            self._load(call.device)
        most, registers = self._threads[call.device]
        if threads > most:
            raise LaunchRefused(
                f"the kernel {self.__name__} needs more than the CUDA device has",
                why=f"a block has {threads} threads of {registers} registers each, and the device takes {most} threads",
                do="compile with fewer threads to a block",
            )
        cuda_backend.start(self._compiled, blocks, threads, call.stream.core, admitted)

    @cached_property
    def _types(self) -> tuple[Any, ...]:
        return cuda_backend.types_of(self.signature)

    def _load(self, device: int) -> None:
        with cuda_backend.compiling:
            if self._compiled is None:
                self._compiled = cuda_backend.compiled(self.py_func, self._types)
            cuda_backend.bind(self._compiled)
            self._threads[device] = cuda_backend.limits(self._compiled)

    def _admitted(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments as numbers and arrays of the signature: the device would take others for what they are not."""
        if len(arguments) != len(self._types):
            raise TypeError(f"{self!r} is launched with {len(arguments)} arguments")
        return tuple(map(self._argument, self._types, arguments))

    def _argument(self, kind: Any, value: Any) -> Any:
        if not isinstance(kind, types.Array):
            return _numbers(kind)(value)
        fits = (
            isinstance(value, cuda_driver.DeviceArray)
            and value.ndim == kind.ndim
            and value.dtype == _dtype(kind.dtype)
            and (kind.layout == "A" or value.is_c_contiguous())
        )
        if not fits:
            shown = f"{getattr(value, 'dtype', '')}{list(getattr(value, 'shape', ()))}"
            raise TypeError(f"{self!r} is launched with a {type(value).__name__} {shown} for {kind}")
        return value


def kernel(signature: str) -> Callable[[Callable[..., None]], Kernel]:
    """Make a function a kernel for arguments of these types, compiled where it is first launched."""
    return lambda function: Kernel(function, signature)


def launch(kernel: Kernel, blocks: int, threads: int, *arguments: Any) -> None:
    """Run a kernel on a grid of blocks of threads, on the stream of the call; nothing happens for no blocks."""
    kernel.run(int(blocks), int(threads), arguments)


_REPORTED = (
    r"[Uu]sed (\d+) registers",
    r"(\d+) bytes stack frame",
    r"(\d+) bytes spill stores",
    r"(\d+) bytes spill loads",
    r"(\d+) bytes smem",
)


def _number(pattern: str, report: str) -> int | None:
    found = re.search(pattern, report)
    return int(found[1]) if found else 0 if "smem" in pattern else None


@cache
def _dtype(kind: Any) -> np.dtype:
    return np.dtype("bool" if kind == types.boolean else str(kind))


@cache
def _numbers(kind: Any) -> Callable[[Any], Any]:
    """What makes a number of this type of another one; in the simulator one that computes as the type does."""
    if kind == types.boolean:
        return bool
    if isinstance(kind, types.Integer):
        return int
    if cuda_backend.SIMULATED and isinstance(kind, types.Float):
        return _dtype(kind).type
    return float if isinstance(kind, types.Float) else lambda value: value


# --- how loops are cut --------------------------------------------------------------------------------------


def parts_of(extent: int, work: int, size: int) -> int:
    """How many parts a loop over `extent` has: at most `extent` and 1024, 0 where it is empty.

    `work` is the number of operations of one iteration, `size` the number of elements of which every part has a
    copy of its own, to be cleared and added up.  A part has some thousand operations, and the copies together at
    most 2**22 elements.
    """
    extent, work, size = int(extent), int(work), int(size)
    if extent <= 1:
        return max(extent, 0)
    found = min(PARTS, extent, extent * work // (WORK + COPYING * size), COPIES // max(size, 1))
    return max(1, found)


def width_of(extent: int, most: int) -> int:
    """How many threads share a row of `extent` elements: a power of two from 1 to `most`.

    Each has four elements at least, so that fewer than 8 elements are one thread's and 128 a warp's.
    """
    found = 1
    while 2 * found <= most and 2 * found * EACH <= extent:
        found *= 2
    return found


# --- indices ------------------------------------------------------------------------------------------------


def check_indices(table: Any, extent: int) -> None:
    """Raise IndexError unless every element is an index into an axis of this extent, from either end.

    For an array on the device it waits for the stream.
    """
    extent = int(extent)
    if not isinstance(table, cuda_driver.DeviceArray):
        wrong = not all(-extent <= index < extent for index in np.ravel(table))
    else:
        wrong = table.size > 0 and _any_outside(table, extent)
    if wrong:
        raise IndexError("an index is out of range")


def _any_outside(table: Array, extent: int) -> bool:
    stream = this_call().stream
    flat = cuda_driver.viewed(table, (table.size,), table.dtype, stream)
    found, read = scratch((1,), np.int32), np.zeros(1, np.int32)
    clear(found)
    blocks = min(CHECKED, -(-table.size // CHECKERS))
    launch(_outside(table.dtype.name), blocks, CHECKERS, flat, found, table.size, extent)
    cuda_driver.copy_to_host(found, read, stream)
    cuda_driver.wait(stream)
    return bool(read[0])


@cache
def _outside(dtype: str) -> Kernel:
    """A kernel that sets a flag where an index is out of range; many threads may write the same 1."""

    def outside(table: Array, found: Array, size: int, extent: int) -> None:
        for p in range(cuda.grid(1), size, cuda.gridsize(1)):
            if table[p] < -extent or table[p] >= extent:
                found[0] = 1

    return kernel(f"{dtype}[::1], int32[::1], int64, int64")(outside)
