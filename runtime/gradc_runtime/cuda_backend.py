"""The one door to CUDA: nothing else imports numba-cuda, so that another compiler could take its place.

The module is that of the simulator where ``NUMBA_ENABLE_CUDASIM=1``: kernels are then Python functions and devices the
processor, on which everything but speed can be tried.
"""

from __future__ import annotations

import operator
import struct
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np

from gradc_runtime import cuda_errors, cuda_simulator

if find_spec("numba_cuda") is None:  # Numba itself has a module `numba.cuda` too, an older one
    raise cuda_errors.package_missing("it is not installed")
try:
    cuda: Any = import_module("numba.cuda")  # what it has depends on the simulator: nothing here is typed
    types: Any = import_module("numba.cuda.types")
    devicearray: Any = import_module("numba.cuda.cudadrv.devicearray")
    driver: Any = import_module("numba.cuda.cudadrv.driver")
    _error: Any = import_module("numba.cuda.cudadrv.error")
    _sigutils: Any = import_module("numba.cuda.core.sigutils")
except ImportError as _found:
    raise cuda_errors.package_missing(str(_found)) from _found

Capability = tuple[int, int]

SIMULATED: bool = bool(import_module("numba.cuda.core.config").ENABLE_CUDASIM)
MOST_BLOCKS = 2**31 - 1
EVERY_LANE = 0xFFFFFFFF

compiling = threading.RLock()
_simulating = threading.Lock()  # the simulator runs one kernel at a time


# --- compiling ----------------------------------------------------------------------------------------------


def device_function(function: Callable[..., Any]) -> Any:
    """Compile `function` for use inside kernels, once per types of its arguments."""
    return cuda.jit(device=True)(function)


def types_of(signature: str) -> tuple[Any, ...]:
    """Numba's types of a text such as ``float32[:, ::1], int64``."""
    arguments, _ = _sigutils.normalize_signature(f"void({signature})")
    return tuple(arguments)


@contextmanager
def _assumed(capability: Capability) -> Iterator[None]:
    """Let device functions compile for a capability where there is no driver to ask for one."""
    dispatcher: Any = import_module("numba.cuda.dispatcher")
    with compiling:
        asked = dispatcher.get_current_device
        dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
        try:
            yield
        finally:
            dispatcher.get_current_device = asked


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms on which a kernel is compiled.

    `launch_bounds` are how many threads a block has at most, and how many blocks a multiprocessor takes at once, to
    which end registers are given; where `fused`, a product that is added may be one operation with the addition.
    """

    launch_bounds: tuple[int, int] | None = None
    fused: bool = False


@contextmanager
def _on(terms: Terms) -> Iterator[None]:
    """Compile in this thread as kernels are meant: no subscript is negative, and operations round each.

    Numba asks every subscript whether it counts from the end, which is up to a third of a kernel's instructions and
    registers, and has no option by which NVVM keeps products and sums apart.
    """
    compiler: Any = import_module("numba.cuda.compiler")
    dispatcher: Any = import_module("numba.cuda.dispatcher")
    arrays: Any = import_module("numba.cuda.np.arrayobj")
    usual = compiler.compile_cuda

    def from_the_start(context: Any, builder: Any, kind: Any, index: Any, extent: Any) -> Any:
        return context.cast(builder, index, kind, types.intp if kind.signed else types.uintp)

    def rounding(*given: Any, nvvm_options: dict[str, Any], **more: Any) -> Any:
        return usual(*given, nvvm_options={**nvvm_options, "fma": terms.fused}, **more)

    with (
        compiling,
        _in_this_thread(arrays, "fix_integer_index", from_the_start),
        _in_this_thread(compiler, "compile_cuda", rounding),
        _in_this_thread(dispatcher, "compile_cuda", rounding),
    ):
        yield


@contextmanager
def _in_this_thread(owner: Any, name: str, ours: Callable[..., Any]) -> Iterator[None]:
    """Call something of ours in place of a function of Numba, which other threads call as ever."""
    usual, thread = getattr(owner, name), threading.get_ident()

    def choose(*given: Any, **named: Any) -> Any:
        return (ours if threading.get_ident() == thread else usual)(*given, **named)

    setattr(owner, name, choose)
    try:
        yield
    finally:
        setattr(owner, name, usual)


def ptx(function: Callable[..., Any], signature: Any, capability: Capability, terms: Terms = Terms()) -> str:
    """Return the PTX of a kernel for a compute capability; needs neither a driver nor a device."""
    if SIMULATED:
        raise cuda_errors.SimulatorLacks(
            "there is no PTX in the simulator",
            why="NUMBA_ENABLE_CUDASIM=1 replaces the compiler in this process",
            do="unset NUMBA_ENABLE_CUDASIM: PTX needs no device",
        )
    bounds = terms.launch_bounds
    with _assumed(capability), _on(terms):
        text, _ = cuda.compile(
            function, signature, cc=capability, device=False, abi="numba", launch_bounds=bounds
        )
    return text if isinstance(text, str) else text.decode()


def assembled(text: str, capability: Capability) -> str:
    """What the assembler reports about PTX that it makes machine code of; needs neither a driver nor a device."""
    core = _core()
    options = core.LinkerOptions(arch="sm_{}{}".format(*capability), verbose=True)
    linker = core.Linker(core.ObjectCode.from_ptx(text.encode()), options=options)
    try:
        linker.link("cubin")
        return linker.get_info_log()
    finally:
        linker.close()


@cache
def _core() -> Any:
    return import_module("cuda.core")


def core_stream(handle: int) -> Any:
    """A stream by its number, as kernels are launched on it."""
    return None if SIMULATED else _core().Stream.from_handle(handle)


def compiled(function: Callable[..., Any], kinds: tuple[Any, ...], terms: Terms = Terms()) -> Any:
    """A kernel for arguments of these types, ready for the current device."""
    with compiling, translated():
        if SIMULATED:
            return cuda.jit(cuda_simulator.with_numpy_numbers(function))
        with _on(terms):
            return cuda.jit(function, launch_bounds=terms.launch_bounds).compile(kinds)


def bind(kernel: Any) -> None:
    """Load a kernel on the current device, for which it may have to be assembled anew."""
    if not SIMULATED:
        with compiling, translated():
            kernel.bind()


def start(kernel: Any, blocks: int, threads: int, stream: Any, arguments: tuple[Any, ...]) -> None:
    """Launch a kernel that `compiled` made, of whose types the arguments must be, on a `core_stream`."""
    if SIMULATED:
        with (
            _simulating,
            _replaced("kernel.BlockManager", cuda_simulator.Block),
            _replaced("kernelapi.FakeCUDAShared.array", cuda_simulator.shared_array),
            _replaced("cudadrv.devicearray.FakeWithinKernelCUDAArray.__getitem__", cuda_simulator.read),
            _replaced("cudadrv.devicearray.FakeWithinKernelCUDAArray.__setitem__", cuda_simulator.write),
        ):
            kernel[blocks, threads](*arguments)
        return
    # Numba's own call would look up the types of the arguments again, and warn of every small grid.
    with translated():
        kernel.launch(arguments, (blocks, 1, 1), (threads, 1, 1), stream, 0)


def start_packed(kernel: Any, blocks: int, threads: int, stream: Any, words: Sequence[Any]) -> None:
    """Launch a kernel that `direct` returned, on what stands for its arguments."""
    core = _core()
    try:
        core.launch(stream, core.LaunchConfig(grid=(blocks, 1, 1), block=(threads, 1, 1)), kernel, *words)
    except Exception:
        with translated():
            raise


def direct(kernel: Any, words: Sequence[Any], arguments: Sequence[Any], stream: Any) -> Any:
    """A kernel as cuda.core launches it on the current device, or None where Numba has to launch it.

    That is where Numba does more at a launch, and where `words` are not what it makes of the arguments.
    """
    try:
        if kernel.debug or kernel.cooperative or kernel.extensions:
            return None
        same = [*map(_bytes_of, words)] == [*map(_bytes_of, _packed_by_numba(kernel, arguments, stream))]
        found = kernel._codelibrary.get_cufunc().kernel
    except (AttributeError, TypeError) as error:  # another version of it
        _launched_by_numba(str(error))
        return None
    if not same:
        _launched_by_numba("it packs arguments of kernels in another way")
        return None
    return found


@cache
def _launched_by_numba(why: str) -> None:
    told = f"numba-cuda {installed()} is not as gradc knows it: every launch takes some 100 us longer; {why}"
    warnings.warn(told, RuntimeWarning, stacklevel=6)


def _packed_by_numba(kernel: Any, arguments: Sequence[Any], stream: Any) -> list[Any]:
    """What Numba gives to cuda.core for arguments."""
    found: list[Any] = []
    for kind, value in zip(kernel.argument_types, arguments, strict=True):
        kernel._prepare_args(kind, value, stream, [], found)
    return found


def _bytes_of(word: Any) -> bytes:
    """What cuda.core makes of what stands for an argument, or for a part of one."""
    if isinstance(word, bool):
        return struct.pack("?", word)
    if isinstance(word, int):
        return struct.pack("q", word)
    return struct.pack("d", word) if isinstance(word, float) else bytes(memoryview(word))


@contextmanager
def _replaced(place: str, value: Any) -> Iterator[None]:
    """Put something of ours in the place of a part of Numba's simulator."""
    module, *inner, last = place.split(".")
    owner: Any = import_module(f"numba.cuda.simulator.{module}")
    for name in inner:
        owner = getattr(owner, name)
    usual = getattr(owner, last)
    setattr(owner, last, value)
    try:
        yield
    finally:
        setattr(owner, last, usual)


def limits(kernel: Any) -> tuple[int, int]:
    """How many threads a block of a kernel may have on the current device, and the registers of one."""
    if SIMULATED:
        return 1024, 0
    return kernel.max_threads_per_block, kernel.regs_per_thread


def installed() -> str:
    """The version of numba-cuda."""
    return version("numba-cuda")


# --- inside kernels -----------------------------------------------------------------------------------------


def added(first: Any, second: Any) -> Any:
    """The sum, of the type of its terms, in an addition that never becomes one operation with a product."""
    return np.add(first, second, dtype=np.asarray(first).dtype)


def multiplied(first: Any, second: Any) -> Any:
    """The product, of the type of its factors, in a multiplication that never becomes one operation with a sum."""
    return np.multiply(first, second, dtype=np.asarray(first).dtype)


def from_lane(value: Any, offset: int) -> Any:
    """The value that the thread has whose number differs in the bit `offset`; all threads of a warp ask at once."""
    raise NotImplementedError("the simulator has no warps")


if not SIMULATED:
    libdevice: Any = import_module("numba.cuda.libdevice")
    overload: Any = import_module("numba.cuda.extending").overload

    def _exactly(function: Any, single: Any, double: Any, other: Any) -> None:
        """Lower an operation to one of the device's that rounds once, numbers of `other` types to Numba's."""

        @overload(function, strict=False)
        def _rounded(first: Any, second: Any) -> Any:
            kind, exact = first, {types.float32: single, types.float64: double}.get(first)
            if exact is not None:
                return lambda first, second: exact(first, second)
            return lambda first, second: kind(other(first, second))

    _exactly(added, libdevice.fadd_rn, libdevice.dadd_rn, operator.add)
    _exactly(multiplied, libdevice.fmul_rn, libdevice.dmul_rn, operator.mul)

    @overload(from_lane, strict=False)
    def _from_lane(value: Any, offset: int) -> Any:
        kind = value
        wide = kind if kind in (types.int32, types.int64, types.float32, types.float64) else types.int64
        return lambda value, offset: kind(cuda.shfl_xor_sync(EVERY_LANE, wide(value), offset))


# --- errors -------------------------------------------------------------------------------------------------


@contextmanager
def translated(asked: int = 0) -> Iterator[None]:
    """Raise our errors instead of the driver's; `asked` is the number of bytes that are being allocated."""
    try:
        yield
    except _error.CudaSupportError as found:
        raise cuda_errors.no_driver(_words(found)) from found
    except Exception as found:
        known = _known(_words(found), asked)
        if known is None:
            raise
        raise known from found


_REFUSED = (
    "LAUNCH_OUT_OF_RESOURCES",
    "too much shared data",
    "uses too much",
    "INVALID_PTX",
    "NO_BINARY_FOR_GPU",
)
_FAULTS = ("ILLEGAL_ADDRESS", "LAUNCH_FAILED", "LAUNCH_TIMEOUT", "MISALIGNED_ADDRESS", "ILLEGAL_INSTRUCTION")


def _known(words: str, asked: int) -> cuda_errors.CudaError | None:
    if "ERROR_OUT_OF_MEMORY" in words:
        free, total = memory()
        return cuda_errors.out_of_memory(asked, free, total)
    if any(name in words for name in _REFUSED):
        do = "compile with fewer threads to a block, or report it with the kernel's file"
        return cuda_errors.LaunchRefused("the CUDA device refuses a kernel", why=words, do=do)
    if any(name in words for name in _FAULTS):
        do = "start a new process; compute-sanitizer finds the place"
        return cuda_errors.DeviceFault("a kernel failed on the CUDA device", why=words, do=do)
    return None


def memory() -> tuple[int, int]:
    """Free and total bytes of the current device."""
    free, total = cuda.current_context().get_memory_info()
    return (0, 0) if SIMULATED else (int(free), int(total))


def _words(found: Exception) -> str:
    return " ".join((str(found) or repr(found)).split())
