"""Self-attention over (time, features), with one head or several."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradc.nn.layer import Array, Context, Initialiser, Layer, Parameter, Shape
from gradc.nn.layers.activations import softmax
from gradc.nn.layers.options import glorot, whole, zeros

_PARTS = ("query", "key", "value")


@dataclass(frozen=True)
class Attention(Layer):
    """Scaled dot-product self-attention (Vaswani et al., 2017).

    Every head makes queries, keys and values by linear maps; every time takes the mean of the values, weighed by
    the softmax of query times key; what the heads found is mapped to as many features as the input has.

    Parameters
    ----------
    heads : int
        How many heads.
    size : int, optional
        Features of a head; by default those of the input divided by `heads`.
    causal : bool
        Whether a time sees itself and earlier ones only.
    bias : bool
        Whether the linear maps add a bias.
    initialiser : Initialiser, optional
        Makes the first weights; by default Glorot, uniform.
    """

    heads: int = 1
    size: int | None = None
    causal: bool = False
    bias: bool = True
    initialiser: Initialiser | None = None

    def __post_init__(self) -> None:
        whole(self, "heads")
        if self.size is not None:
            whole(self, "size")

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the input."""
        if len(shape) != 2:
            raise self.refuse("attention takes (time, features)", shape, do="put a Reshape before it")
        if self.size is None and shape[1] % self.heads:
            raise self.refuse(
                f"{shape[1]} features cannot be divided among {self.heads} heads",
                shape,
                do="choose heads that divide the features, or give size",
            )
        return shape

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        """Return ``query``, ``key``, ``value``, ``output`` and their biases."""
        features = self.output_shape(shape)[1]
        inner = self.heads * (self.size or features // self.heads)
        make = self.initialiser or glorot()
        found: dict[str, Parameter] = {}
        for part in (*_PARTS, "output"):
            size = (inner, features) if part == "output" else (features, inner)
            found[part] = Parameter(size, make, *size, is_weight=True)
            if self.bias:
                found[f"{part}_bias"] = Parameter(size[1:], zeros())
        return found

    def apply(self, context: Context, x: Array) -> Array:
        """Return what every time found."""
        queries, keys, values = (self._heads(self._mapped(context, part, x)) for part in _PARTS)
        size = self.size or int(x.shape[2]) // self.heads
        scores = queries @ keys.swapaxes(-1, -2) * size**-0.5
        if self.causal:
            times = x.shape[1]
            scores = np.where(np.tril(np.ones((times, times), bool)), scores, -np.inf)
        found = softmax(scores) @ values
        joined = found.swapaxes(1, 2).reshape(x.shape[0], x.shape[1], -1)
        return self._mapped(context, "output", joined)

    def _mapped(self, context: Context, part: str, x: Array) -> Array:
        """Apply the linear map of a name."""
        product = x @ context[part]
        return product + context[f"{part}_bias"] if self.bias else product

    def _heads(self, x: Array) -> Array:
        """Turn (batch, time, heads * size) into (batch, heads, time, size)."""
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).swapaxes(1, 2)
