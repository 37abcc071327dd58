"""Products of matrices by NVIDIA's cuBLAS, for functions that are compiled with ``products="cublas"``.

    contract(z, 'i j', x, 'i k', w, 'k j', (n, m, k))       z = x @ w, by one call of the library

The library comes through nvmath-python, which nothing else imports and which is loaded by the first product.  Numbers
are float64 or float32, and computed in that: the library may not round factors to TF32.  An array's rows are columns
to it, so that it computes the transpose of what the arrays hold.

Every call has a handle of the library that no other call uses meanwhile, and that belongs to one device and one stream:
the library then chooses its own memory and its kernels in the same way at every run, so that results are the same bits
on GPUs of one kind with one version of the library (cuBLAS, "Results reproducibility").  They are others than those of
gradc's own kernels, and may be others on another GPU or with another version.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from gradc_runtime import cuda_driver, cuda_errors, cuda_memory
from gradc_runtime.cuda_backend import SIMULATED, memory
from gradc_runtime.cuda_errors import CudaError
from gradc_runtime.cuda_memory import Call, clear, this_call
from gradc_runtime.matrix_products import Gemm, gemm_of

Array = Any

MOST_IDLE = 16  # handles kept, which have memory of the device


class BlasMissing(CudaError):
    """There is no cuBLAS to call.  Fix: ``pip install 'gradc[cublas]'``, or compile with ``products="own"``.

    For kernels without gradc, `gradc_runtime.cuda_errors.CUBLAS` names the packages.
    """


class BlasRefused(CudaError):
    """The library reports an error."""


# --- what generated code calls ------------------------------------------------------------------------------


def contract(
    out: Array, target: str, left: Array, first: str, right: Array, second: str, extents: tuple[int, ...]
) -> None:
    """``out[target] = sum left[first] * right[second]``: as `gradc_runtime.contraction.contract`, of matrices."""
    _multiply((out, left, right), (target, first, second), extents, add=False)


def add_contraction(
    out: Array, target: str, left: Array, first: str, right: Array, second: str, extents: tuple[int, ...]
) -> None:
    """``out[target] += sum left[first] * right[second]``."""
    _multiply((out, left, right), (target, first, second), extents, add=True)


def _multiply(
    arrays: tuple[Array, Array, Array], texts: tuple[str, str, str], extents: tuple[int, ...], *, add: bool
) -> None:
    out, left, right = arrays
    dtype = np.dtype(out.dtype)
    if dtype.name not in _PREFIXES or any(array.dtype != dtype for array in arrays):
        shown = ", ".join(str(array.dtype) for array in arrays)
        raise TypeError(f"cuBLAS multiplies arrays of float64 or of float32, not {shown}")
    if not all(isinstance(a, cuda_driver.DeviceArray) and a.is_c_contiguous() for a in arrays):
        raise TypeError("cuBLAS multiplies C-contiguous arrays on the device")
    gemm = gemm_of(texts, tuple(tuple(map(int, a.shape)) for a in arrays), tuple(map(int, extents)))
    if not gemm.many * gemm.m * gemm.n:
        return
    if not gemm.k:
        if not add:
            clear(out)
        return
    factors = (right, left) if gemm.swapped else (left, right)
    _call(gemm, dtype, [*map(_address, factors), _address(out)], add)


_PREFIXES = {"float32": "s", "float64": "d"}
_SCALARS = {name: (np.zeros(1, name), np.ones(1, name)) for name in _PREFIXES}  # read by the library


def _call(gemm: Gemm, dtype: np.dtype, addresses: list[int], add: bool) -> None:
    """Compute ``C = A B``, or ``C += A B``, on the stream of the call."""
    library, call = _library(), this_call()
    zero, one = (number.ctypes.data for number in _SCALARS[dtype.name])
    turned = [int(library.Operation.T if turn else library.Operation.N) for turn in gemm.turned]
    batch = (gemm.many,) if gemm.many > 1 else ()
    a, b, c = (
        place if batch else place[:2] for place in zip(addresses, gemm.leading, gemm.strides, strict=True)
    )
    name = f"{_PREFIXES[dtype.name]}gemm{'_strided_batched' if batch else ''}_64"
    with _handle(call) as handle, _translated():
        library.set_stream(handle, call.stream.handle)
        sizes = (*turned, gemm.m, gemm.n, gemm.k)
        getattr(library, name)(handle, *sizes, one, *a, *b, one if add else zero, *c, *batch)


def _address(array: Array) -> int:
    return array._ary.ctypes.data if SIMULATED else int(array.device_ctypes_pointer.value or 0)


# --- the library --------------------------------------------------------------------------------------------


def require() -> None:
    """Refuse a process without the binding of the library."""
    _library()


def begin() -> None:
    """Load the library, and have a handle for the device and the stream of the call, as its first product would."""
    with _handle(this_call()):
        pass


@cache
def _library() -> Any:
    """The binding."""
    if SIMULATED:
        raise cuda_errors.SimulatorLacks(
            "the simulator has no cuBLAS",
            why="NUMBA_ENABLE_CUDASIM=1 replaces the GPU in this process",
            do='compile with products="own", or run on a GPU',
        )
    try:
        return import_module("nvmath.bindings.cublas")
    except ImportError as error:
        raise _missing("nvmath-python", error) from error


def _missing(what: str, error: Exception) -> BlasMissing:
    packages = f"'gradc[cublas]', where gradc is not: {cuda_errors.CUBLAS}"
    return BlasMissing(
        f"products by cuBLAS need {what}",
        why=str(error).partition("\n")[0],
        do=f'pip install {packages}; or compile with products="own"',
    )


_lock = threading.Lock()
_idle: list[tuple[tuple[int, int, int], int]] = []  # handles of no call, the last one used at the end


@contextmanager
def _handle(call: Call) -> Iterator[int]:
    """A handle that no other call has; one that met an error is used no more."""
    stream = call.stream.handle
    key = (call.device, stream, threading.get_ident() if stream == cuda_driver.PER_THREAD else 0)
    with _lock:
        found = next((at for at in reversed(range(len(_idle))) if _idle[at][0] == key), None)
        handle = None if found is None else _idle.pop(found)[1]
    if handle is None:
        handle = _created()
    yield handle
    with _lock:
        _idle.append((key, handle))
        old = next((at for at, (other, _) in enumerate(_idle) if other[0] == call.device), 0)
        excess = _idle.pop(old)[1] if len(_idle) > MOST_IDLE else None
    if excess is not None:
        with _translated():
            _library().destroy(excess)


def _created() -> int:
    """A new handle for the current device; memory that calls keep for later ones makes room for it if need be."""
    try:
        return _begun()
    except cuda_errors.OutOfMemory:
        if not cuda_memory.release():
            raise
        return _begun()


def _begun() -> int:
    library = _library()
    with _translated():
        try:
            handle = library.create()
        except library.cuBLASError:
            raise
        except Exception as error:  # the binding has several for a library that it does not find
            raise _missing("the library cuBLAS", error) from error
        library.set_pointer_mode(handle, library.PointerMode.HOST)
        library.set_math_mode(handle, library.Math.DEFAULT_MATH)
        library.set_atomics_mode(handle, library.AtomicsMode.NOT_ALLOWED)
    return handle


@contextmanager
def _translated() -> Iterator[None]:
    """Raise our errors instead of the library's."""
    library = _library()
    try:
        yield
    except library.cuBLASError as error:
        raise _known(" ".join(str(error).split())) from error


def _known(words: str) -> CudaError:
    if "ALLOC_FAILED" in words or "NOT_INITIALIZED" in words:
        free, total = memory()
        return cuda_errors.OutOfMemory(
            "the CUDA device has no memory for cuBLAS",
            why=f"{words}; {cuda_errors.size(free)} of its {cuda_errors.size(total)} are free",
            do='use smaller arguments, release() what earlier calls keep, or compile with products="own"',
        )
    if "EXECUTION_FAILED" in words or "INTERNAL_ERROR" in words:
        do = "start a new process; compute-sanitizer finds the place"
        return cuda_errors.DeviceFault("a product by cuBLAS failed on the CUDA device", why=words, do=do)
    do = 'compile with products="own", or report it with the file of the kernel'
    return BlasRefused("cuBLAS refuses a product", why=words, do=do)
