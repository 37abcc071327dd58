"""The memory of a GPU, as trainings use it: the runtime's functions for it, and arrays that are not there yet."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np

from gradc.errors import DeviceError
from gradc_runtime.cuda_errors import CudaError


def runtime() -> Any:
    """The part of the runtime that feeds trainings; it loads the compiler for GPUs.

    Raises
    ------
    DeviceError
        There is no package for it.
    """
    with translated():
        return importlib.import_module("gradc_runtime.cuda_feed")


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of the runtime into gradc's."""
    try:
        yield
    except CudaError as error:
        raise DeviceError(error.what, where="training", why=error.why, do=error.do) from error


class Planned:
    """An array of a GPU that is not there yet: kernels are compiled for it, and its bytes are counted.

    Parameters
    ----------
    shape : tuple of int
        Its extents.
    dtype : dtype
        Of its elements.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape = shape
        self.dtype = dtype
        self.ndim = len(shape)
        self.size = prod(shape)
        self.nbytes = self.size * dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """What the compiler asks for; the address is that of no array."""
        return {"typestr": self.dtype.str, "shape": self.shape, "data": (0, False), "version": 3}
