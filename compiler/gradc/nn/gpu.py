"""The memory of a GPU, as trainings use it: the runtime's functions for it, and arrays that are not there yet."""

from __future__ import annotations

import importlib
from math import prod
from typing import Any

import numpy as np

from gradc.api.device import translated

TRAINING = "training"  # where errors of the device are said to be


def runtime(part: str = "cuda_feed") -> Any:
    """A part of the runtime, without a name the one that feeds trainings; it loads the compiler for GPUs.

    Raises
    ------
    DeviceError
        There is no package for it.
    """
    with translated(TRAINING):
        return importlib.import_module(f"gradc_runtime.{part}")


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
