"""Arrays of the caller's for gradients: which ones fit, and calls that write to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import optree

from gradc.api.core import outputs_tree
from gradc.api.variant import require_scalar
from gradc.errors import ArgumentError
from gradc.lang.signature import NAMESPACE
from gradc.pipeline import Derivation

if TYPE_CHECKING:
    from gradc.api.variant import Variant

_trees: Any = optree  # its types describe trees whose leaves all have one type


def written(
    function: Any, of: str, out: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Any]:
    """Value and gradient of a differentiated function, the latter in `out`; `of` is the method that was called."""
    trace = function._tracing((*args, out), kwargs)
    if trace is not None:
        from gradc.lang.refusals import out_inside  # noqa: PLC0415  (tracing loads SciPy)

        raise trace.poisoned(out_inside(f"{function.signature.name}.{of}", trace.where()))
    variant, values, flat = function._prepare(args, kwargs)
    require_scalar(variant.built, of)
    function._check_once(args, kwargs)
    leaves = function._leaves(variant)
    outputs = outputs_for(variant, values, leaves, out, (args, kwargs))
    derivation = Derivation("value_and_grad", variant.gradient_inputs(leaves))
    if function.options.target == "cpu":
        arrays, left = arrays_and_numbers(outputs)
        results = function._run(variant, replace(derivation, into=True), values, arrays)
    else:  # the interpreter makes arrays of its own
        results, left = function._run(variant, derivation, values), outputs
    count = len(variant.built.program.outputs)
    for place, result in zip(left, results[count:], strict=True):
        place[...] = result
    gradient = function._containers(dict(zip(leaves, outputs, strict=True)), flat)
    return outputs_tree(variant, results[:count]), gradient


def outputs_for(
    variant: Variant, values: Sequence[Any], leaves: Sequence[int], out: Any, arguments: Any
) -> list[np.ndarray]:
    """Arrays for the gradients of a call: new ones, or those given.

    `values` are the leaves of `arguments` as kernels take them: copies, where these are of another layout.

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
    given = _trees.tree_leaves(out, namespace=NAMESPACE)
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
    read = (*variant.inputs(values), *_trees.tree_leaves(arguments, namespace=NAMESPACE))
    if any(np.shares_memory(a, b) for a in given for b in read if isinstance(b, np.ndarray)):
        raise ArgumentError("an output shares memory with an argument", do="give arrays of their own as out=")
    return given


def arrays_and_numbers(outputs: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The outputs that a kernel writes to, and those for numbers, which it returns."""
    return [a for a in outputs if a.ndim], [a for a in outputs if not a.ndim]
