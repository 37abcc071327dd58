"""What a layer is: shapes in, shape out, what it learns, and plain NumPy that is traced.

A layer knows nothing of batches but that they are the first axis, and nothing of gradients: the compiler derives
them.  A layer of your own takes five lines::

    class Scale(nn.Layer):
        def parameters(self, shape):
            return {"gain": nn.Parameter(shape, nn.Constant(1.0))}

        def apply(self, context, x):
            return x * context["gain"]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np

from gradc.errors import ShapeError

Shape: TypeAlias = tuple[int, ...]  # without the batch
Array: TypeAlias = Any  # a NumPy array, or one that is being traced


class Initialiser(Protocol):
    """Makes the first values of a parameter."""

    def __call__(self, generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
        """Return a float64 array of `shape`; `fan_in` numbers flow into each of `fan_out` results."""
        ...


class Regulariser(Protocol):
    """Says what a weight adds to the loss."""

    def penalty(self, value: Array) -> Array:
        """Return a scalar of the dtype of `value`."""
        ...


@dataclass(frozen=True, slots=True)
class Parameter:
    """An array that a layer learns, or a running statistic of it.

    Attributes
    ----------
    shape : tuple of int
        Its shape.
    initialiser : Initialiser
        Makes its first values.
    fan_in, fan_out : int
        How many numbers flow into one result, and from one argument into how many results; for the initialiser.
    is_weight : bool
        Whether regularisers and weight decay count it: of weights they do, of biases and scales they do not.
    """

    shape: Shape
    initialiser: Initialiser
    fan_in: int = 1
    fan_out: int = 1
    is_weight: bool = False


class Context:
    """What a layer may use while it is applied: its arrays, the mode, random numbers.

    ``context["weight"]`` is a parameter or a statistic of the layer.
    """

    def __init__(
        self,
        arrays: Mapping[str, Array],
        training: bool,
        uniform: Callable[[Array], Array],
    ) -> None:
        self._arrays = arrays
        self._uniform = uniform
        self.training = training
        self.updated: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def update(self, name: str, value: Array) -> None:
        """Give a running statistic its value for the next step; without effect on gradients."""
        self.updated[name] = value

    def uniform(self, like: Array) -> Array:
        """Return random numbers in [0, 1) in the shape of an array, others in every step and layer."""
        return self._uniform(like)


@dataclass(frozen=True)
class Layer(ABC):
    """Base of all layers: frozen dataclasses whose fields are what a file says about them.

    A layer gives its inputs names, ``def apply(self, context, x)``, and takes as many as it names.

    Parameters
    ----------
    name : str, optional
        What other layers and files call it; by default its class and a number.
    inputs : tuple of str, optional
        The layers whose outputs it takes; by default the one before it.
    regulariser : Regulariser, optional
        What its weights add to the loss, in place of what the network says.
    """

    name: str = field(default="", kw_only=True)
    inputs: tuple[str, ...] = field(default=(), kw_only=True)
    regulariser: Regulariser | None = field(default=None, kw_only=True)

    def output_shape(self, *shapes: Any, **named: Any) -> Shape:
        """Return the shape of the output for inputs of these shapes, or raise `ShapeError`."""
        return shapes[0]

    def parameters(self, *shapes: Any, **named: Any) -> dict[str, Parameter]:
        """Return what it learns, by name."""
        return {}

    def statistics(self, *shapes: Any, **named: Any) -> dict[str, Parameter]:
        """Return the running statistics that it keeps, by name."""
        return {}

    @abstractmethod
    def apply(self, context: Context, *inputs: Any, **named: Any) -> Array:
        """Return the output for a batch: NumPy code, traced."""

    def refuse(self, what: str, *shapes: Shape, do: str) -> ShapeError:
        """Return (not raise) the error for inputs that do not fit."""
        shown = ", ".join(str(shape) for shape in shapes)
        where = f"layer {self.name}" if self.name else type(self).__name__
        return ShapeError(what, where=where, why=f"without the batch its input is {shown}", do=do)
