"""Devices, streams and memory, and the arrays of other libraries, as Numba sees them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc_runtime import cuda_errors
from gradc_runtime.cuda_backend import SIMULATED, core_stream, cuda, devicearray, driver, translated

Array = Any

LEGACY = 1  # the number of the default stream, where 0 means that there is none
PER_THREAD = 2  # the number of a default stream that every thread has of its own

# --- devices and streams ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """A queue of work: its number, and as Numba and cuda.core see it; the first two are 0 for the default stream."""

    handle: int
    numba: Any
    core: Any


def count() -> int:
    """How many devices there are; raises where there is none, or no driver."""
    with translated():
        found = len(cuda.gpus)
    if not found:
        raise cuda_errors.no_driver("CUDA_ERROR_NO_DEVICE: the driver knows no device")
    return found


def current() -> int:
    """The number of the device that this thread uses."""
    with translated():
        context = cuda.current_context()
        return context.id if SIMULATED else context.device.id


@contextmanager
def on(number: int) -> Iterator[None]:
    """Make a device the current one.

    The first device stays it in a thread that had none, as with Numba: the thread may have to free memory later.
    """
    found = count()
    if not 0 <= number < found:
        raise cuda_errors.no_such_device(number, found)
    with translated():
        stays = number == 0 and not SIMULATED and not int(driver.driver.cuCtxGetCurrent())
        entered = cuda.gpus[number]
        entered.__enter__()
    try:
        yield
    finally:
        if not stays:
            entered.__exit__(None, None, None)


def stream_of(given: Any) -> Stream:
    """The stream that a caller means: None, one of Numba's, a number, or an object of another library.

    Others' objects have ``__cuda_stream__`` or, as PyTorch's, ``cuda_stream``.
    """
    if SIMULATED:
        if given is not None and not isinstance(given, cuda.stream):
            raise TypeError("the simulator has no streams but those of cuda.stream()")
        return Stream(0 if given is None else id(given), given, None)
    handle = _handle(given)
    core = core_stream(handle)
    if not handle:
        return Stream(0, 0, core)
    if isinstance(given, driver.Stream):
        return Stream(handle, given, core)
    with translated():
        numba = cuda.external_stream(handle)
    numba.owner = given  # lives as long as the arrays that are bound to the stream
    return Stream(handle, numba, core)


def _handle(given: Any) -> int:
    if given is None:
        return 0
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    protocol: Any = getattr(given, "__cuda_stream__", None)
    if protocol is not None:
        found: Any = protocol() if callable(protocol) else protocol
        return int(found[1])
    number = getattr(given, "cuda_stream", None)
    if isinstance(number, int):
        return number
    raise TypeError(
        f"stream is a {type(given).__name__}: pass a Numba stream, the number of a stream, or an object with"
        " __cuda_stream__"
    )


def follow(stream: Stream, other: int) -> None:
    """Let the stream wait for what is in another one by now; the processor does not wait."""
    if (other or LEGACY) == (stream.handle or LEGACY):
        return
    event = cuda.event(timing=False)
    driver.driver.cuEventRecord(int(event.handle), other)
    driver.driver.cuStreamWaitEvent(stream.handle, int(event.handle), 0)


def wait(stream: Stream) -> None:
    """Wait until all is done that is in the stream."""
    if not SIMULATED:
        with translated():
            driver.driver.cuStreamSynchronize(stream.handle)


def driver_version() -> str:
    """The version of CUDA that the driver knows; raises where there is none."""
    with translated():
        return ".".join(map(str, driver.driver.get_version()))


def device_row(number: int) -> str:
    """Name, memory and capability of a device."""
    with translated():
        found = cuda.gpus[number]
        total = int(driver.driver.cuDeviceTotalMem(found.id))
        return f"{found.name}, {cuda_errors.size(total)}, compute capability " + "{}.{}".format(
            *found.compute_capability
        )


# --- memory -------------------------------------------------------------------------------------------------


class _Number:
    """What an array without axes has besides: the number it holds."""

    def item(self: Any) -> Any:
        """The number, copied to the processor."""
        return self.copy_to_host()[()].item()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())


DeviceArray: Any = devicearray.FakeCUDAArray if SIMULATED else devicearray.DeviceNDArray


class DeviceScalar(_Number, DeviceArray):
    """A number on the device: an array without axes, which `float` copies to the processor."""


def allocated(size: int) -> Array:
    """New memory on the current device, as an array of bytes."""
    with translated(size):
        return cuda.device_array((size,), np.uint8)


def viewed(block: Array, shape: tuple[int, ...], dtype: np.dtype, stream: Stream) -> Array:
    """The beginning of a C-contiguous array as one of another shape and dtype, which shares its memory.

    It belongs to the stream: its copies to the processor wait for what is there.
    """
    made: Any = DeviceArray if shape else DeviceScalar
    if SIMULATED:
        host = block._ary.reshape(-1).view(np.uint8)[: dtype.itemsize * math.prod(shape)]
        return made(host.view(dtype).reshape(shape))
    strides = tuple(dtype.itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return made(shape, strides, dtype, stream=stream.numba, gpu_data=block.gpu_data)


def fill(array: Array, byte: int, first: int, many: int, stream: Stream) -> None:
    """Give `many` bytes of a C-contiguous array a value, from the byte `first` on."""
    if not many:
        return
    if SIMULATED:
        array._ary.reshape(-1).view(np.uint8)[first : first + many] = byte
        return
    with translated():
        driver.driver.cuMemsetD8Async(_address(array) + first, byte, many, stream.handle)


def copy_to_device(host: np.ndarray, array: Array, stream: Stream) -> None:
    """Copy between C-contiguous arrays of one size; memory that is not pinned may change at once."""
    if not host.nbytes:
        return
    if SIMULATED:
        array._ary[...] = host
        return
    with translated():
        driver.driver.cuMemcpyHtoDAsync(_address(array), host.ctypes.data, host.nbytes, stream.handle)


def copy_to_host(array: Array, host: np.ndarray, stream: Stream) -> None:
    """Copy between C-contiguous arrays of one size; the stream has to be waited for."""
    if not host.nbytes:
        return
    if SIMULATED:
        host[...] = array._ary
        return
    with translated():
        driver.driver.cuMemcpyDtoHAsync(host.ctypes.data, _address(array), host.nbytes, stream.handle)


def _address(array: Array) -> int:
    return int(array.device_ctypes_pointer.value or 0)


# --- arrays of other libraries ------------------------------------------------------------------------------

_CUDA_DEVICES = (2, 13)  # of DLPack: memory of a device, and managed memory


def where(value: Any) -> int | None:
    """The number of the device that a value lies on, None for the processor's, -1 where that is all the same."""
    if isinstance(value, np.ndarray | np.generic | int | float):
        return None
    if SIMULATED:
        return 0 if isinstance(value, DeviceArray) else None
    if isinstance(value, DeviceArray):
        return int(value.gpu_data.context.device.id) if value.size else -1
    interface = getattr(value, "__cuda_array_interface__", None)
    if interface is not None:
        return _owner(interface["data"][0])
    if hasattr(value, "__dlpack_device__"):
        kind, number = value.__dlpack_device__()
        return int(number) if int(kind) in _CUDA_DEVICES else None
    return None


def span(value: Any) -> tuple[int, int]:
    """The addresses of an array's first byte and of the one behind its last, equal where it says no address."""
    of: Any = value._ary if SIMULATED and isinstance(value, DeviceArray) else value
    found = getattr(of, "__array_interface__" if of is not value else "__cuda_array_interface__", None)
    if found is None or 0 in found["shape"]:
        return 0, 0
    shape, item, address = found["shape"], np.dtype(found["typestr"]).itemsize, int(found["data"][0])
    strides = found.get("strides") or [item * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    reach = [(extent - 1) * step for extent, step in zip(shape, strides, strict=True)]
    return address + sum(min(0, end) for end in reach), address + sum(max(0, end) for end in reach) + item


def _owner(address: int) -> int:
    if not address:
        return -1
    if count() == 1:
        return 0
    asked = driver.binding.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    with translated():
        return int(driver.driver.cuPointerGetAttribute(asked, driver.binding.CUdeviceptr(address)))


def wrapped(value: Any, stream: Stream) -> tuple[Array, bool]:
    """A value on the current device as Numba's array, nothing copied, and whether it may not be written.

    The stream waits for the one that the owner says it was written in.
    """
    if isinstance(value, DeviceArray):
        if not SIMULATED and value.stream:
            follow(stream, _handle(value.stream))
        return value, False
    interface = getattr(value, "__cuda_array_interface__", None)
    if interface is None:
        interface, value = _from_dlpack(value, stream)
    elif interface.get("stream") is not None:
        follow(stream, int(interface["stream"]))
    with translated():
        return cuda.from_cuda_array_interface(interface, owner=value, sync=False), bool(interface["data"][1])


def _from_dlpack(value: Any, stream: Stream) -> tuple[dict[str, Any], Any]:
    """Ask the owner for its memory, in a way that lets `stream` see what has been written to it."""
    view = devicearray.StridedMemoryView.from_dlpack(value, stream_ptr=stream.handle or LEGACY)
    if view.dtype is None:
        raise TypeError(f"the elements of a {type(value).__name__} are of no dtype that NumPy has")
    item = view.dtype.itemsize
    interface = {
        "shape": tuple(view.shape),
        "strides": None if view.strides is None else tuple(item * step for step in view.strides),
        "typestr": view.dtype.str,
        "data": (view.ptr, view.readonly),
        "version": 3,
    }
    return interface, view
