"""Fully connected layers."""

from __future__ import annotations

from dataclasses import dataclass

from gradc.nn.layer import Array, Context, Initialiser, Layer, Parameter, Shape
from gradc.nn.layers.options import glorot, whole, zeros


@dataclass(frozen=True)
class Dense(Layer):
    """``x @ weight + bias``: every output depends on every input; of (time, features) at each time.

    Parameters
    ----------
    units : int
        How many outputs.
    bias : bool
        Whether to add a bias.
    initialiser : Initialiser, optional
        Makes the first weights; by default Glorot, uniform.

    Examples
    --------
    >>> Dense(10).output_shape((64,))
    (10,)
    """

    units: int
    bias: bool = True
    initialiser: Initialiser | None = None

    def __post_init__(self) -> None:
        whole(self, "units")

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the input with `units` in place of its features."""
        if len(shape) not in (1, 2):
            raise self.refuse(
                "a dense layer takes (features,) or (time, features)", shape, do="put Flatten() before it"
            )
        return (*shape[:-1], self.units)

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        """Return ``weight`` of shape (features, units) and ``bias``."""
        features = shape[-1]
        size = (features, self.units)
        found = {"weight": Parameter(size, self.initialiser or glorot(), *size, is_weight=True)}
        if self.bias:
            found["bias"] = Parameter((self.units,), zeros())
        return found

    def apply(self, context: Context, x: Array) -> Array:
        """Return ``x @ weight + bias``."""
        product = x @ context["weight"]
        return product + context["bias"] if self.bias else product
