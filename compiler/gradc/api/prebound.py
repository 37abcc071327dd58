"""``loss.bind(...)``: value and gradient with the arguments fixed in place, for hot loops."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import optree

from gradc.api.variant import Variant, require_scalar
from gradc.errors import ArgumentError
from gradc.lang.signature import NAMESPACE
from gradc.pipeline import Derivation
from gradc_runtime import backends

if TYPE_CHECKING:
    from gradc.api.core import Core


class Prebound(functools.partial):
    """A call with its arguments fixed: ``step()`` returns the value and writes the gradient to `gradient`.

    Arrays are read where they are, so what is written to them between calls counts; numbers are as they were.

    Attributes
    ----------
    gradient : array or containers of arrays
        What `grad` returns for these arguments, as of the last call; a number's is an array without axes.
    """

    gradient: Any
    _held: tuple[Any, ...]

    def __reduce__(self) -> Any:
        raise TypeError("a bound call holds addresses of this process: bind again where it is needed")


def bind(function: Core, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Prebound:
    """Bind a differentiated function; see `Differentiated.bind`."""
    for leaf in optree.tree_leaves((args, kwargs), namespace=NAMESPACE):  # pyright: ignore[reportArgumentType]
        if isinstance(leaf, np.ndarray) and not (leaf.flags.c_contiguous and leaf.flags.aligned):
            raise ArgumentError(
                f"an array of shape {leaf.shape} and strides {leaf.strides} cannot be bound",
                why="it is read in place, and kernels read C-contiguous arrays",
                do="bind np.ascontiguousarray(...) of it, and write to that",
            )
    variant, values, flat = function._prepare(args, kwargs)
    assert isinstance(variant, Variant)  # `Differentiated.bind` refuses traced arguments
    require_scalar(variant.built, "bind")
    if function.options.target != "cpu" or len(variant.built.program.outputs) != 1:
        raise ArgumentError(
            "only a compiled function that returns one number can be bound", do="target='cpu'"
        )
    leaves = function._leaves(variant)
    derivation = Derivation("value_and_grad", variant.gradient_inputs(leaves))
    dispatcher = variant.dispatcher(derivation)
    outputs = _outputs([np.shape(values[leaf]) for leaf in leaves], variant, leaves, out)
    inputs = variant.inputs(values)
    if any(np.shares_memory(a, b) for a in outputs for b in inputs if isinstance(b, np.ndarray)):
        raise ArgumentError("an output shares memory with an argument", do="give arrays of their own as out=")
    step = Prebound(backends.load("entry").bound(dispatcher, inputs, outputs))
    step.gradient = function._containers(dict(zip(leaves, outputs, strict=True)), flat)
    step._held = (inputs, outputs)  # the kernel knows addresses alone
    step()  # refuses now what does not fit
    return step


def _outputs(
    shapes: Sequence[tuple[int, ...]], variant: Any, leaves: Sequence[int], out: Any
) -> list[np.ndarray]:
    """Arrays for the gradients: new ones, or those given, which must fit."""
    dtypes = [
        np.dtype(variant.kinds[leaf].dtype.numpy) if shape else np.dtype(np.float64)
        for leaf, shape in zip(leaves, shapes, strict=True)
    ]
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
    return given
