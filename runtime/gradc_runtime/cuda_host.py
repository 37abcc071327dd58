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

from gradc_runtime import cuda_backend, cuda_driver
from gradc_runtime.cuda_backend import Capability, types
from gradc_runtime.cuda_errors import CudaError, LaunchRefused
from gradc_runtime.cuda_memory import Call, this_call
from gradc_runtime.cuda_memory import clear as clear
from gradc_runtime.cuda_memory import copy_in as copy_in
from gradc_runtime.cuda_memory import empty as empty
from gradc_runtime.cuda_memory import scratch as scratch
from gradc_runtime.cuda_memory import zeros as zeros
from gradc_runtime.cuda_packing import Packing, Unfit
from gradc_runtime.cuda_packing import dtype_of as _dtype

Array = Any

PARTS = 4096  # of one loop at most
COPIES, CHEAP = 1 << 22, 1 << 20  # elements of the copies that all parts have together; more than CHEAP for
FEW = 512  # parts, which give every multiprocessor something to do, and no more
WORK, COPYING = 1 << 12, 4  # operations of a part at least, and of an element of its copy
EACH, SHARE = 4, 8  # elements of a row that a thread has at least and at most, where several threads share it
SECTOR = 8  # threads that read a sector of memory together


# --- kernels ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Resources:
    """What a thread of a kernel takes: registers, bytes of its stack and of spilled registers; a block's bytes."""

    registers: int
    stack: int
    spilled: int
    shared: int


@dataclass(frozen=True, slots=True)
class _Ready:
    """A kernel on a device: threads of a block at most, registers of one, and what is launched without Numba."""

    most: int
    registers: int
    direct: Any


class Kernel:
    """A function that runs on a device, for arguments of the types of one signature."""

    def __init__(self, function: Callable[..., None], signature: str, terms: cuda_backend.Terms) -> None:
        self.py_func = function
        self.signature, self.terms = signature, terms
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        self._compiled: Any = None
        self._limits: dict[int, tuple[int, int]] = {}  # on each device, as in `_Ready`
        self._ready: dict[int, _Ready] = {}
        self._texts: dict[Capability, str] = {}

    def __repr__(self) -> str:
        return f"<kernel {self.__name__}({self.signature})>"

    def ptx(self, capability: Capability) -> str:
        """The kernel in the assembly language of a compute capability, such as ``(8, 0)``; needs no device."""
        if capability not in self._texts:
            self._texts[capability] = cuda_backend.ptx(self.py_func, self._types, capability, self.terms)
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
        call = this_call()
        ready = self._ready.get(call.device) or self._begun(call, arguments)
        if threads > ready.most:
            raise LaunchRefused(
                f"the kernel {self.__name__} needs more than the CUDA device has",
                why=f"a block has {threads} threads of {ready.registers} registers each, and the device takes"
                f" {ready.most} threads",
                do="compile with fewer threads to a block",
            )
        stream = call.stream.core
        if ready.direct is None:
            cuda_backend.start(self._compiled, blocks, threads, stream, self._admitted(arguments))
        else:
            cuda_backend.start_packed(ready.direct, blocks, threads, stream, self._words(arguments))

    @cached_property
    def _types(self) -> tuple[Any, ...]:
        return cuda_backend.types_of(self.signature)

    def _load(self, device: int) -> None:
        with cuda_backend.compiling:
            if self._compiled is None:
                self._compiled = cuda_backend.compiled(self.py_func, self._types, self.terms)
            cuda_backend.bind(self._compiled)
            self._limits[device] = cuda_backend.limits(self._compiled)

    def _begun(self, call: Call, arguments: tuple[Any, ...]) -> _Ready:
        """Get ready for the first launch on a device."""
        admitted, direct = self._admitted(arguments), None
        if call.device not in self._limits:
            self._load(call.device)
        if not cuda_backend.SIMULATED:
            words = self._words(arguments)
            direct = cuda_backend.direct(self._compiled, words, admitted, call.stream.core)
        found = self._ready[call.device] = _Ready(*self._limits[call.device], direct)
        return found

    @cached_property
    def _packing(self) -> Packing:
        return Packing(self._types)

    def _words(self, arguments: tuple[Any, ...]) -> list[Any]:
        """What stands for the arguments at a launch."""
        try:
            return self._packing.words(arguments)
        except Unfit:
            self._admitted(arguments)  # tells which one
            raise

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


def kernel(
    signature: str, *, launch_bounds: tuple[int, int] | None = None, fused: bool = False
) -> Callable[[Callable[..., None]], Kernel]:
    """Make a function a kernel for arguments of these types, compiled where it is first launched.

    What more is given says on which `Terms`.
    """
    terms = cuda_backend.Terms(launch_bounds, fused)
    return lambda function: Kernel(function, signature, terms)


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
    """How many parts a loop over `extent` has: at most `extent` and 4096, 0 where it is empty.

    `work` is the number of operations of one iteration, `size` the number of elements of which every part has a
    copy of its own, to be stored and added up.  A part has some thousand operations, and the copies together at most
    2**20 elements, or up to 2**22 for the first 512 parts.
    """
    extent, work, size = int(extent), int(work), int(size)
    if extent <= 1:
        return max(extent, 0)
    held = min(max(FEW, CHEAP // max(size, 1)), COPIES // max(size, 1))
    return max(1, min(PARTS, extent, extent * work // (WORK + COPYING * size), held))


def width_of(extent: int, most: int) -> int:
    """How many threads share a row of `extent` elements: a power of two from 1 to `most`.

    They are as few as can keep the row, eight elements each, so that all that is kept is used; but up to eight threads
    have four each, so that together they read whole sectors of memory.  Fewer than 8 elements are one thread's.
    """
    found = 1
    while 2 * found <= most and (2 * found * EACH <= extent if found < SECTOR else found * SHARE < extent):
        found *= 2
    return found
