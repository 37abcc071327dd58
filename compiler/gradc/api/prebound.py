"""``loss.bind(...)``: value and gradient with the arguments fixed in place, for hot loops."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import optree

from gradc.api.outputs import arrays_and_numbers, outputs_for
from gradc.api.variant import Variant, require_scalar
from gradc.errors import ArgumentError
from gradc.lang.signature import NAMESPACE
from gradc.pipeline import Derivation
from gradc_runtime import backends

if TYPE_CHECKING:
    from gradc.api.core import Core


class Prebound(Protocol):
    """A call with its arguments fixed: ``step()`` returns the value and writes the gradient to `gradient`.

    Arrays are read where they are, so what is written to them between calls counts; numbers are as they were.

    Attributes
    ----------
    gradient : array or containers of arrays
        What `grad` returns for these arguments, as of the last call; a number's is an array without axes.
    """

    gradient: Any

    def __call__(self) -> float:
        """Return the value."""
        ...


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
    program = variant.built.program
    one_number = len(program.outputs) == 1 and not program.types[program.outputs[0]].shape
    if function.options.target != "cpu" or not one_number:
        raise ArgumentError(
            "only a compiled function that returns one number can be bound", do="target='cpu'"
        )
    leaves = function._leaves(variant)
    outputs = outputs_for(variant, values, leaves, out, (args, kwargs))
    arrays, numbers = arrays_and_numbers(outputs)
    inputs = variant.inputs(values)
    derivation = Derivation("value_and_grad", variant.gradient_inputs(leaves), into=True)
    dispatcher = variant.dispatcher(derivation)
    # A plain partial object: calls of one go straight to what it wraps, and it may have attributes.
    step: Any = partial(backends.load("entry").bound(dispatcher, (*inputs, *arrays), numbers))
    step.gradient = function._containers(dict(zip(leaves, outputs, strict=True)), flat)
    step.held = (inputs, outputs)  # the kernel knows addresses alone
    step()  # refuses now what does not fit
    return step
