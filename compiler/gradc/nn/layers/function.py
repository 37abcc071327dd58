"""A layer from a function of your own, or from an index equation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from gradc.ir.extents import show, symbol
from gradc.lang.annotations import f64
from gradc.nn.layer import Array, Context, Initialiser, Layer, Parameter, Shape
from gradc.nn.layers.options import glorot, refused


@dataclass(frozen=True)
class Function(Layer):
    """A function of the inputs, for a batch at once: NumPy code, traced; it learns nothing.

    Parameters
    ----------
    function : callable
        Takes as many arrays as the layer has inputs, batch first.

    Examples
    --------
    >>> Function(lambda x: x[:, ::2]).output_shape((10,))
    (5,)
    """

    function: Callable[..., Any]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise refused(
                self,
                "function cannot be called",
                why=f"it is {self.function!r}",
                do="write Function(lambda x: x * x)",
            )

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the shape that tracing the function gives."""
        return traced_shape(self, lambda inputs, learned: self.function(*inputs), shapes, {})

    def apply(self, context: Context, *inputs: Array) -> Array:
        """Return the value of the function."""
        return self.function(*inputs)


@dataclass(frozen=True)
class Equation(Layer):
    """An index equation whose tensors are inputs, but for those that are learned.

    Parameters
    ----------
    text : str
        What `gradc.equation` takes, with one output.
    learned : mapping of name to shape, optional
        The tensors that the layer learns; all others are inputs of the layer, in order of appearance.
    initialiser : Initialiser, optional
        Makes what is learned; by default Glorot, uniform, from all extents but the first to the first.

    Examples
    --------
    >>> layer = Equation("y[n,o] = sum[i] w[o,i] * x[n,i] * x[n,i]", {"w": (3, 4)})
    >>> layer.output_shape((4,))
    (3,)
    """

    text: str
    learned: Mapping[str, Shape] = field(default_factory=dict)
    initialiser: Initialiser | None = None

    def __post_init__(self) -> None:
        names = parameter_names(self.text)
        for name in self.learned:
            if name not in names:
                raise refused(
                    self,
                    f"learned names {name}, which the equation does not read",
                    why=f"it reads {', '.join(names)}",
                    do="name a tensor of the equation",
                )
        if len(self.learned) == len(names):
            raise refused(self, "the layer has no input", why="all tensors are learned", do="leave one out")

    def parameters(self, *shapes: Shape) -> dict[str, Parameter]:
        """Return what is learned."""
        make = self.initialiser or glorot()
        return {
            name: Parameter(
                tuple(shape), make, int(np.prod(shape[1:])), int(np.prod(shape[:1])), is_weight=len(shape) > 1
            )
            for name, shape in self.learned.items()
        }

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the shape that the equation gives."""
        count = len(parameter_names(self.text)) - len(self.learned)
        if len(shapes) != count:
            raise self.refuse(
                f"the equation reads {count} tensors that are not learned, and the layer has {len(shapes)} inputs",
                *shapes,
                do="name as many inputs",
            )
        return traced_shape(self, self._value, shapes, self.learned)

    def apply(self, context: Context, *inputs: Array) -> Array:
        """Return the value of the equation."""
        return self._value(inputs, context)

    def _value(self, inputs: tuple[Array, ...], learned: Any) -> Array:
        rest = iter(inputs)
        names = parameter_names(self.text)
        return _equation(self.text)(
            *[learned[name] if name in self.learned else next(rest) for name in names]
        )


@lru_cache
def _equation(text: str) -> Any:
    from gradc.api.equation_source import equation  # noqa: PLC0415  (loads SymPy)

    return equation(text)


@lru_cache
def parameter_names(text: str) -> tuple[str, ...]:
    """Return the tensors that an equation reads, in order of appearance."""
    from gradc.lang.equations import Equation as Parsed  # noqa: PLC0415

    return Parsed(text).parameters


def traced_shape(
    layer: Layer, function: Callable[..., Any], shapes: tuple[Shape, ...], learned: Mapping[str, Shape]
) -> Shape:
    """Return the shape of what a function makes of a batch, without the batch, by tracing it.

    Parameters
    ----------
    layer : Layer
        What messages are about.
    function : callable
        Takes a tuple of inputs, and a mapping of what is learned.
    shapes : tuple of tuple of int
        Of the inputs, without the batch.
    learned : mapping of name to shape
        Of what is learned.

    Raises
    ------
    ShapeError
        The result has no batch as its first axis.
    """
    from gradc.api.decorator import differentiate  # noqa: PLC0415  (loads SymPy)

    batch = 2 + max((extent for shape in shapes for extent in shape), default=0)  # unlike all other extents

    def traced(inputs: Any, held: Any) -> Any:
        return function(inputs, held)

    traced.__annotations__ = {
        "inputs": {at: f64[("batch", *shape)] for at, shape in enumerate(shapes)},
        "held": {name: f64[tuple(shape)] for name, shape in learned.items()},
    }
    inputs = tuple(np.zeros((batch, *shape)) for shape in shapes)
    at = differentiate(traced).at(inputs, {name: np.zeros(shape) for name, shape in learned.items()})
    program, _ = at.program_and_inputs()  # nothing is computed
    found = program.types[program.outputs[0]].shape
    if not found or found[0] != symbol("batch") or not all(isinstance(size, int) for size in found[1:]):
        raise layer.refuse(
            "the result does not have the batch as its first axis",
            *shapes,
            do=f"return an array of shape (batch, ...); it was ({', '.join(map(show, found))})",
        )
    return tuple(size for size in found[1:] if isinstance(size, int))
