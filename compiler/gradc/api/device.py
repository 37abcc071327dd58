"""Where the kernels of a GPU run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import optree

from gradc.errors import ArgumentError, DeviceError
from gradc.lang.signature import NAMESPACE
from gradc_runtime import backends
from gradc_runtime.artifact import KernelArtifact
from gradc_runtime.cuda_errors import CudaError

_chosen: ContextVar[tuple[int | None, Any]] = ContextVar("_chosen", default=(None, None))


@contextmanager
def device(number: int | None = None, *, stream: Any = None) -> Iterator[None]:
    """Run kernels with ``target="cuda"`` on a device and a stream of your choice inside a ``with`` block.

    Parameters
    ----------
    number : int, optional
        The number of the device; without it that of the arguments, else the one that the thread uses.
    stream : optional
        A stream of Numba, the number of a stream, or an object with ``__cuda_stream__``; the default stream without
        it.  Calls on arrays of the device return at once: the stream is what tells when they are done.

    Raises
    ------
    ArgumentError
        If `number` is no whole number from 0 on.

    Examples
    --------
    >>> with device(0):
    ...     pass
    """
    if number is not None and (type(number) is not int or number < 0):
        raise ArgumentError(f"{number!r} is no number of a device", do="give 0, 1, ...")
    token = _chosen.set((number, stream))
    try:
        yield
    finally:
        _chosen.reset(token)


def to_device(arrays: Any) -> Any:
    """Copy arrays to the GPU, where functions with ``target="cuda"`` take them without further copies.

    Parameters
    ----------
    arrays : array, or containers of arrays
        Containers stay what they are; numbers too.

    Returns
    -------
    arrays of Numba, with ``copy_to_host()``
        On the device that `device` names; other libraries read them through ``__cuda_array_interface__``.

    Raises
    ------
    DeviceError
        There is no package, no driver, no device, or not enough memory.
    """
    number, stream = _chosen.get()
    with translated("to_device"):
        runtime = _runtime()

        def copied(leaf: Any) -> Any:
            return runtime.to_device(leaf, stream=stream, device=number) if np.ndim(leaf) else leaf

        return _trees.tree_map(copied, arrays, namespace=NAMESPACE)


_trees: Any = optree  # its types describe trees whose leaves all have one type


def on_device(artifact: KernelArtifact) -> tuple[Any, Callable[..., Any]]:
    """Load a kernel for a GPU; return it and the function that runs it.

    Raises
    ------
    DeviceError
        There is no package, no driver or no device.
    """
    with translated(artifact.name):
        runtime = _runtime()
        loaded = runtime.load(artifact)

    def run(*inputs: Any) -> Any:
        number, stream = _chosen.get()
        with translated(artifact.name):
            return runtime.run(loaded, inputs, stream=stream, device=number)

    return loaded, run


def share_memory(one: Any, other: Any) -> bool:
    """Whether two arrays on the GPU are the same one, or the memory from the first to the last element overlaps."""
    (first, end), (other_first, other_end) = map(_runtime().span, (one, other))
    return one is other or max(first, other_first) < min(end, other_end)


def _runtime() -> Any:
    try:
        return backends.load("cuda")
    except ImportError as error:
        raise DeviceError(
            "kernels for CUDA need the package numba-cuda",
            why=str(error),
            do="pip install 'gradc[cuda]', or use another target",
        ) from error


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn errors of the runtime into gradc's; `name` is what failed."""
    try:
        yield
    except CudaError as error:
        raise DeviceError(error.what, where=name, why=error.why, do=error.do) from error
