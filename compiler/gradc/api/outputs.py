"""Arrays of the caller's for gradients: which ones fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import optree

from gradc.errors import ArgumentError
from gradc.lang.signature import NAMESPACE

if TYPE_CHECKING:
    from gradc.api.variant import Variant


def outputs_for(variant: Variant, values: Sequence[Any], leaves: Sequence[int], out: Any) -> list[np.ndarray]:
    """Arrays for the gradients of a call: new ones, or those given.

    Raises
    ------
    ArgumentError
        One has another shape or dtype than its gradient, cannot be written in place, or shares memory with an
        argument or another one.
    """
    shapes = [np.shape(values[leaf]) for leaf in leaves]
    if variant.built.elementwise:
        shapes = [np.broadcast_shapes(*map(np.shape, values))] * len(leaves)
    kinds = [variant.kinds[leaf] for leaf in leaves]  # a Python number's gradient is a float64
    dtypes = [np.dtype(k.dtype.numpy if k.kind == "array" and k.dtype else np.float64) for k in kinds]
    if out is None:
        return [np.zeros(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
    given = optree.tree_leaves(out, namespace=NAMESPACE)
    if len(given) != len(leaves):
        raise ArgumentError(
            f"out= has {len(given)} arrays, the gradient {len(leaves)}", do="give what grad returns"
        )
    for array, shape, dtype in zip(given, shapes, dtypes, strict=True):
        fits = isinstance(array, np.ndarray) and array.shape == shape and array.dtype == dtype
        if not fits or not (array.flags.c_contiguous and array.flags.aligned and array.flags.writeable):
            found = f"{getattr(array, 'dtype', type(array).__name__)} {np.shape(array)}"
            raise ArgumentError(
                f"an output is {found}, a gradient {dtype} {shape}",
                do="give writable C-contiguous arrays of the gradients' shapes and dtypes",
            )
    if any(np.shares_memory(a, b) for at, a in enumerate(given) for b in given[:at]):
        raise ArgumentError("two outputs share memory", do="give arrays of their own as out=")
    inputs = [value for value in variant.inputs(values) if isinstance(value, np.ndarray)]
    if any(np.shares_memory(a, b) for a in given for b in inputs):
        raise ArgumentError("an output shares memory with an argument", do="give arrays of their own as out=")
    return given


def arrays_and_numbers(outputs: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The outputs that a kernel writes to, and those for numbers, which it returns."""
    return [a for a in outputs if a.ndim], [a for a in outputs if not a.ndim]
