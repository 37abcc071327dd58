"""Matrix products as contractions: two matrices in any layout."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import lower_builtin, type_callable

from gradc_runtime.arrays import array_of, data_and_shape, on_heap, refuse_if
from gradc_runtime.contraction_kernel import contract_matrices

Array = Any
INNER = "the inner extents of a matrix product differ"


def product(a: Array, b: Array) -> Array:
    """``a @ b`` for two matrices of one floating-point dtype in any layout."""
    return np.dot(a, b)


@type_callable(product)
def _type_of_product(context: Any) -> Any:
    def typer(a: Any, b: Any) -> Any:
        arrays = isinstance(a, types.Array) and isinstance(b, types.Array)
        if not arrays or a.dtype != b.dtype or (a.ndim, b.ndim) != (2, 2):
            return None
        return types.Array(a.dtype, 2, "C")

    return typer


@lower_builtin(product, types.Array, types.Array)
def _lower_product(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
    kinds = (signature.return_type, *signature.args)
    (rows, inner), (depth, columns) = (
        data_and_shape(builder, *given)[1] for given in zip(kinds[1:], values, strict=True)
    )
    refuse_if(context, builder, builder.icmp_signed("!=", inner, depth), ValueError, INNER)
    out = array_of(context, builder, kinds[0], [rows, columns], on_heap(clear=False))
    contract_matrices(context, builder, kinds, (out, *values), (rows, columns, inner))
    return out
