"""Running generated modules on a CUDA device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc_runtime import cuda_driver
from gradc_runtime.cuda_arrays import Arguments, as_numbers, coming_back, device_of, staying
from gradc_runtime.cuda_driver import span as span
from gradc_runtime.cuda_errors import WrongDevice
from gradc_runtime.cuda_memory import call_on, empty
from gradc_runtime.cuda_memory import release as release
from gradc_runtime.numba_backend import Loaded as Loaded
from gradc_runtime.numba_backend import load as load


def run(loaded: Loaded, arguments: Sequence[Any], *, stream: Any = None, device: int | None = None) -> Any:
    """Call a generated function on a device.

    Parameters
    ----------
    loaded : Loaded
        The module, from `load`.
    arguments : sequence
        One for each parameter of the artifact: arrays of exactly its dtype and rank, or numbers.
    stream : optional
        Where the work is queued: a Numba stream, the number of a stream, or an object with ``__cuda_stream__``; the
        default stream without it.  It waits for the streams that other libraries name as those of their arrays.
    device : int, optional
        The number of the device; without it that of the arguments, or the one that this thread uses.

    Returns
    -------
    results : as the function returns them
        NumPy arrays and numbers where all arguments are the processor's.  Where one lies on the device, the results
        do too, as Numba's arrays, numbers as arrays without axes that `float` reads; the call then does not wait for
        them, and results of a stream belong to it.

    Raises
    ------
    NoDriver, NoDevice, WrongDevice, OutOfMemory, LaunchRefused, DeviceFault
        Subclasses of `gradc_runtime.cuda_errors.CudaError`.
    TypeError, ValueError
        An argument is not of the parameter's dtype and rank, or the function refuses it.
    """
    artifact = loaded.artifact
    if len(arguments) != len(artifact.parameters):
        many = len(artifact.parameters)
        raise TypeError(f"{artifact.name} takes {many} argument{'s' * (many != 1)}, not {len(arguments)}")
    lies_on = device_of(artifact.parameters, arguments)
    stay = lies_on is not None
    with call_on(_chosen(device, lies_on), stream, stay=stay) as call:
        given = Arguments(call, artifact.parameters, artifact.written)
        admitted = given.admitted(arguments)
        if stay and given.copied:
            cuda_driver.wait(call.stream)  # the caller may change arrays of the processor once this returns
        results = loaded.function(*admitted)
        given.copy_back()
        if stay:
            found = staying(call, results, iter(artifact.results))
            if given.written_back:
                cuda_driver.wait(call.stream)
            return found
        found = coming_back(call, results, iter(artifact.results))
        cuda_driver.wait(call.stream)
        return as_numbers(found, iter(artifact.results))


def to_device(array: Any, *, stream: Any = None, device: int | None = None) -> Any:
    """Copy an array to a device; one that lies there stays where it is.

    Parameters
    ----------
    array : array
        NumPy's, or what it makes an array of.
    stream, device : optional
        As for `run`.

    Returns
    -------
    array of Numba
        Complete when this returns.

    Raises
    ------
    NoDriver, NoDevice, OutOfMemory
        Subclasses of `gradc_runtime.cuda_errors.CudaError`.
    """
    cuda_driver.count()
    if cuda_driver.where(array) is not None:
        return array
    with call_on(_chosen(device, None), stream, stay=True) as call:
        found = empty(np.shape(array), np.asarray(array).dtype)
        cuda_driver.copy_to_device(np.ascontiguousarray(array), found, call.stream)
        cuda_driver.wait(call.stream)
        return found


def _chosen(device: int | None, lies_on: int | None) -> int:
    """The number of the device to run on."""
    if lies_on is None or lies_on < 0:
        return cuda_driver.current() if device is None else device
    if device is not None and device != lies_on:
        raise WrongDevice(
            f"a call is to run on CUDA device {device}",
            why=f"its arrays lie on device {lies_on}",
            do="copy them there, or leave out `device`",
        )
    return lies_on
