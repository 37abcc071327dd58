"""Arguments and results of a call: where they lie, and what has to be copied.

Arrays on a device are Numba's, or those of any library with ``__cuda_array_interface__`` or DLPack (CuPy, PyTorch,
JAX); they are used where they are, unless their elements do not follow each other in C order.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from gradc_runtime import cuda_driver
from gradc_runtime.cuda_backend import cuda
from gradc_runtime.cuda_errors import WrongDevice
from gradc_runtime.cuda_host import Kernel, kernel, launch
from gradc_runtime.cuda_memory import Call, copy_in

Array = Any
Parameter = tuple[str, str, int]  # name, dtype, rank

THREADS, BLOCKS = 256, 1024  # of the kernel that copies


def device_of(parameters: Sequence[Parameter], arguments: Sequence[Any]) -> int | None:
    """The number of the device that arrays among the arguments lie on, -1 for any, None where all are NumPy's."""
    found: dict[int, str] = {}
    for (name, _, _), argument in zip(parameters, arguments, strict=True):
        number = cuda_driver.where(argument)
        if number is not None:
            found.setdefault(number, name)
    several = sorted(number for number in found if number >= 0)
    if len(several) > 1:
        shown = ", ".join(f"{found[number]} lies on device {number}" for number in several)
        raise WrongDevice(
            "the arrays of a call lie on several CUDA devices", why=shown, do="copy them to one device first"
        )
    return several[0] if several else -1 if found else None


# --- arguments ----------------------------------------------------------------------------------------------


class Arguments:
    """The arguments of a call on the device, and what is to be copied back into arrays of the caller's."""

    def __init__(self, call: Call, parameters: Sequence[Parameter], written: Sequence[str]) -> None:
        self.call = call
        self.parameters = parameters
        self.written = written
        self.copied = False  # whether an array came from the processor
        self._back: list[tuple[Array, np.ndarray]] = []

    def admitted(self, arguments: Sequence[Any]) -> list[Any]:
        """Numbers as Python's, and arrays as C-contiguous ones of the current device."""
        return [
            self._admitted(name, np.dtype(dtype), rank, argument)
            for (name, dtype, rank), argument in zip(self.parameters, arguments, strict=True)
        ]

    @property
    def written_back(self) -> bool:
        """Whether the caller waits for arrays of its own."""
        return bool(self._back)

    def copy_back(self) -> None:
        """Start to copy what was written into the caller's arrays."""
        for array, host in self._back:
            cuda_driver.copy_to_host(array, host, self.call.stream)

    def _admitted(self, name: str, dtype: np.dtype, rank: int, argument: Any) -> Any:
        here = cuda_driver.where(argument) is None
        if rank == 0:
            return _number(name, dtype, argument if here else self._read(name, argument))
        if here:
            host = np.asarray(argument)
            _check(name, dtype, rank, host)
            return self._copied(name, host)
        array, readonly = cuda_driver.wrapped(argument, self.call.stream)
        _check(name, dtype, rank, array)
        contiguous = array.is_c_contiguous()
        if name in self.written and (readonly or not contiguous):
            lacks = "may not be written" if readonly else "is not C-contiguous"
            raise ValueError(f"{name} is for a result, but {lacks}")
        return array if contiguous else gathered(self.call, array)

    def _copied(self, name: str, host: np.ndarray) -> Array:
        self.copied = True
        array = copy_in(host)
        if name in self.written:
            if not (host.flags.writeable and host.flags.c_contiguous):
                lacks = "is not C-contiguous" if host.flags.writeable else "may not be written"
                raise ValueError(f"{name} is for a result, but {lacks}")
            self._back.append((array, host))
        return array

    def _read(self, name: str, argument: Any) -> Any:
        """The number that an array without axes holds; waits for the stream."""
        array, _ = cuda_driver.wrapped(argument, self.call.stream)
        if array.size != 1 or array.ndim:
            raise TypeError(f"{name} must be a number, not an array of shape {tuple(array.shape)}")
        host = np.empty((), array.dtype)
        cuda_driver.copy_to_host(array, host, self.call.stream)
        cuda_driver.wait(self.call.stream)
        return host[()]


def _number(name: str, dtype: np.dtype, value: Any) -> bool | int | float:
    if np.ndim(value):
        raise TypeError(f"{name} must be a number, not an array of shape {np.shape(value)}")
    if dtype.kind == "b":
        return bool(value)
    if dtype.kind in "iu":
        return operator.index(value)
    with np.errstate(over="ignore"):
        return float(dtype.type(float(value)))


def _check(name: str, dtype: np.dtype, rank: int, array: Any) -> None:
    if array.dtype == dtype and array.ndim == rank:
        return
    axes = {1: "1 axis"}
    wanted, given = (axes.get(many, f"{many} axes") for many in (rank, array.ndim))
    raise TypeError(f"{name} must be an array of {dtype} with {wanted}, not of {array.dtype} with {given}")


# --- arrays whose elements do not follow each other ---------------------------------------------------------


def gathered(call: Call, source: Array) -> Array:
    """A C-contiguous copy of an array on the device, for this call alone."""
    shape, dtype = tuple(source.shape), np.dtype(source.dtype)
    array = call.temporary(shape, dtype)
    if source.size:
        flat = cuda_driver.viewed(array, (source.size,), dtype, call.stream)
        blocks = min(BLOCKS, -(-source.size // THREADS))
        launch(_gather(dtype.name, len(shape)), blocks, THREADS, source, flat, source.size)
    return array


_GATHER = """
def gather(source, out, size):
    for p in range(cuda.grid(1), size, cuda.gridsize(1)):
        rest = p
{digits}
        out[p] = source[{indices}]
"""


@cache
def _gather(dtype: str, rank: int) -> Kernel:
    """A kernel that copies an array of this rank, with any strides, in C order."""
    lines = []
    for axis in reversed(range(rank)):
        lines += [f"        i{axis} = rest % source.shape[{axis}]", f"        rest //= source.shape[{axis}]"]
    indices = ", ".join(f"i{axis}" for axis in range(rank))
    text = _GATHER.format(digits="\n".join(lines), indices=indices)
    made: dict[str, Callable[..., None]] = {}
    exec(compile(text, f"<gather {rank}>", "exec"), {"cuda": cuda}, made)
    strides = ", ".join(":" for _ in range(rank))
    return kernel(f"{dtype}[{strides}], {dtype}[::1], int64")(made["gather"])


# --- results ------------------------------------------------------------------------------------------------


def staying(call: Call, results: Any, declared: Iterator[Parameter]) -> Any:
    """Results as arrays on the device, in tuples as they came; numbers are arrays without axes."""
    if isinstance(results, tuple):
        return tuple(staying(call, result, declared) for result in results)
    _, dtype, rank = next(declared)
    if rank:
        return results
    return cuda_driver.viewed(results, (), np.dtype(dtype), call.stream)


def coming_back(call: Call, results: Any, declared: Iterator[Parameter]) -> Any:
    """Start to copy results into new NumPy arrays, in tuples as they came."""
    if isinstance(results, tuple):
        return tuple(coming_back(call, result, declared) for result in results)
    _, dtype, _ = next(declared)
    host = np.empty(tuple(results.shape), dtype)
    cuda_driver.copy_to_host(results, host, call.stream)
    return host


def as_numbers(results: Any, declared: Iterator[Parameter]) -> Any:
    """Copied results, those without axes as numbers."""
    if isinstance(results, tuple):
        return tuple(as_numbers(result, declared) for result in results)
    _, _, rank = next(declared)
    return results if rank else results[0]
