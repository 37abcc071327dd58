"""The library operations that kernels call: products, reshapes, scans, sorts and linear algebra."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

Array = Any


def _kernel(function: Any) -> Any:
    return njit(error_model="numpy", nogil=True)(function)


@_kernel
def check_indices(table: Array, extent: int) -> None:
    """Raise IndexError unless every element is an index into an axis of this extent, from either end."""
    for position in np.ndindex(table.shape):
        if not -extent <= table[position] < extent:
            raise IndexError("an index array holds an index that is out of range")


@_kernel
def product(a: Array, b: Array) -> Array:
    """Matrix-matrix, matrix-vector or vector-matrix product through BLAS."""
    return np.dot(a, b)


@_kernel
def transposed(a: Array) -> Array:
    """Swap the last two axes."""
    return a.transpose((*range(a.ndim - 2), a.ndim - 1, a.ndim - 2))


@_kernel
def reshape(x: Array, shape: tuple[int, ...]) -> Array:
    """The same elements in C order; a view where memory allows."""
    return np.ascontiguousarray(x).reshape(shape)
