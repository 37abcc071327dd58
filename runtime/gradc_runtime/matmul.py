"""Matrix products as contractions: matrices in any layout, or a matrix and a vector."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload

from gradc_runtime.contraction import contract
from gradc_runtime.contraction_kernel import PARALLEL as PARALLEL

Array = Any


def product(a: Array, b: Array) -> Array:
    """``a @ b`` for two matrices of one floating-point dtype in any layout, or a matrix and a vector."""
    return np.dot(a, b)


@overload(product)
def _product(a, b):  # type: ignore[no-untyped-def]  # Numba compares these names with the implementation's
    if not (isinstance(a, types.Array) and isinstance(b, types.Array) and a.dtype == b.dtype):
        return None
    if a.ndim == 1:
        return lambda a, b: product(a.reshape((1, a.shape[0])), b).reshape(b.shape[1])
    if b.ndim == 1:
        return lambda a, b: product(a, b.reshape((b.shape[0], 1))).reshape(a.shape[0])

    def implementation(a, b):  # type: ignore[no-untyped-def]
        if b.shape[0] != a.shape[1]:
            raise ValueError("the inner extents of a matrix product differ")
        out = np.empty((a.shape[0], b.shape[1]), a.dtype)
        contract(out, "i j", a, "i k", b, "k j", (a.shape[0], b.shape[1], a.shape[1]))
        return out

    return implementation
