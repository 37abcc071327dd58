"""Matrix products as contractions: two matrices in any layout."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload

from gradc_runtime.contraction_kernel import contract

Array = Any


def product(a: Array, b: Array) -> Array:
    """``a @ b`` for two matrices of one floating-point dtype in any layout."""
    return np.dot(a, b)


@overload(product)
def _product(a, b):  # type: ignore[no-untyped-def]  # Numba compares these names with the implementation's
    arrays = isinstance(a, types.Array) and isinstance(b, types.Array)
    if not arrays or a.dtype != b.dtype or (a.ndim, b.ndim) != (2, 2):
        return None

    def implementation(a, b):  # type: ignore[no-untyped-def]
        if b.shape[0] != a.shape[1]:
            raise ValueError("the inner extents of a matrix product differ")
        out = np.empty((a.shape[0], b.shape[1]), a.dtype)
        contract(out, "i j", a, "i k", b, "k j", (a.shape[0], b.shape[1], a.shape[1]))
        return out

    return implementation
