"""Activations, as functions for your own code and as layers.

The functions are plain NumPy.  Called on arrays rather than traced, ``np.where`` computes both arms, and NumPy
may warn of an overflow in the arm that is not taken.

At a kink the derivative is that of the convention: ReLU and hard tanh have 0 there; leaky ReLU, PReLU, ELU and
SELU are the arm for x <= 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from gradc.nn.layer import Array, Context, Initialiser, Layer, Parameter, Shape
from gradc.nn.layers.options import axis_of, between, constant, whole

_SELU_SCALE = 1.0507009873554805  # Klambauer et al., 2017, equation 14
_SELU_ALPHA = 1.6732632423543772

# --- functions ----------------------------------------------------------------------------------------------


def sigmoid(x: Array) -> Array:
    """``1 / (1 + exp(-x))``.

    Examples
    --------
    >>> float(sigmoid(np.array(0.0)))
    0.5
    """
    from scipy.special import expit  # noqa: PLC0415

    return expit(x)


def tanh(x: Array) -> Array:
    """``np.tanh``."""
    return np.tanh(x)


def relu(x: Array) -> Array:
    """``max(x, 0)``; its derivative at 0 is 0.

    Examples
    --------
    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return np.maximum(x, 0)


def leaky_relu(x: Array, slope: float = 0.01) -> Array:
    """``x`` above 0, ``slope * x`` below."""
    return np.where(x > 0, x, slope * x)


def elu(x: Array, alpha: float = 1.0) -> Array:
    """``x`` above 0, ``alpha * (exp(x) - 1)`` below (Clevert et al., 2015)."""
    return np.where(x > 0, x, alpha * np.expm1(x))


def selu(x: Array) -> Array:
    """ELU scaled so that layers keep mean 0 and variance 1 (Klambauer et al., 2017)."""
    return _SELU_SCALE * elu(x, _SELU_ALPHA)


def gelu(x: Array, *, exact: bool = True) -> Array:
    """``x`` times the chance that a standard normal number lies below it (Hendrycks and Gimpel, 2016).

    Parameters
    ----------
    x : array
        Any shape.
    exact : bool
        Whether by the error function, or by the approximation with tanh.
    """
    from scipy.special import erfc  # noqa: PLC0415

    if exact:
        return 0.5 * x * erfc(x * -(0.5**0.5))
    return 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x * x * x)))


def silu(x: Array) -> Array:
    """``x * sigmoid(x)``, also known as swish."""
    return x * sigmoid(x)


def softplus(x: Array) -> Array:
    """``log(1 + exp(x))``."""
    return np.logaddexp(x, 0)


def hard_tanh(x: Array) -> Array:
    """``x`` between -1 and 1, constant outside."""
    return np.clip(x, -1, 1)


def softmax(x: Array, axis: int = -1) -> Array:
    """``exp(x)`` divided by its sum over an axis.

    Examples
    --------
    >>> softmax(np.array([0.0, 0.0]))
    array([0.5, 0.5])
    """
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def maxout(x: Array, pieces: int, axis: int = -1) -> Array:
    """Return the largest of every `pieces` neighbours along an axis (Goodfellow et al., 2013).

    Parameters
    ----------
    x : array
        The extent of the axis is a multiple of `pieces`.
    pieces : int
        How many values compete.
    axis : int
        The axis, which is shortened.
    """
    return _maxout(x.ndim, axis % x.ndim, pieces)(x)


@lru_cache
def _maxout(rank: int, axis: int, pieces: int) -> Any:
    """Return the equation for arrays of a rank."""
    from gradc.api.equation_source import equation  # noqa: PLC0415  (loads SymPy)

    letters = [f"a{at}" for at in range(rank)]
    read = [f"{pieces}*{letter} + i" if at == axis else letter for at, letter in enumerate(letters)]
    return equation(f"y[{','.join(letters)}] = max[i] x[{','.join(read)}] with i < {pieces}")


# --- layers -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sigmoid(Layer):
    """``1 / (1 + exp(-x))``."""

    def apply(self, context: Context, x: Array) -> Array:
        """Return the sigmoid of every element."""
        return sigmoid(x)


@dataclass(frozen=True)
class Tanh(Layer):
    """The hyperbolic tangent."""

    def apply(self, context: Context, x: Array) -> Array:
        """Return the hyperbolic tangent of every element."""
        return np.tanh(x)


@dataclass(frozen=True)
class ReLU(Layer):
    """``max(x, 0)``."""

    def apply(self, context: Context, x: Array) -> Array:
        """Return the positive part of every element."""
        return relu(x)


@dataclass(frozen=True)
class LeakyReLU(Layer):
    """``x`` above 0, ``slope * x`` below.

    Parameters
    ----------
    slope : float
        The slope below 0.
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        between(self, "slope", 0, 1)

    def apply(self, context: Context, x: Array) -> Array:
        """Return the activation of every element."""
        return leaky_relu(x, self.slope)


@dataclass(frozen=True)
class PReLU(Layer):
    """Leaky ReLU whose slopes are learned, one for each feature or channel (He et al., 2015).

    Parameters
    ----------
    axis : int
        The axis of features or channels, without the batch; -1 for (time, features).
    initialiser : Initialiser, optional
        Makes the first slopes; by default 0.25 everywhere.
    """

    axis: int = 0
    initialiser: Initialiser | None = None

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        """Return ``slope``."""
        count = shape[axis_of(self, self.axis, shape)]
        return {"slope": Parameter((count,), self.initialiser or constant(0.25))}

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the input."""
        axis_of(self, self.axis, shape)
        return shape

    def apply(self, context: Context, x: Array) -> Array:
        """Return the activation of every element."""
        behind = x.ndim - 2 - self.axis if self.axis >= 0 else -1 - self.axis
        slope = context["slope"][(slice(None), *(None,) * behind)]
        return np.where(x > 0, x, slope * x)


@dataclass(frozen=True)
class ELU(Layer):
    """``x`` above 0, ``alpha * (exp(x) - 1)`` below.

    Parameters
    ----------
    alpha : float
        The limit far below 0, with its sign turned.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        between(self, "alpha", 0, float("inf"))

    def apply(self, context: Context, x: Array) -> Array:
        """Return the activation of every element."""
        return elu(x, self.alpha)


@dataclass(frozen=True)
class SELU(Layer):
    """ELU scaled so that layers keep mean 0 and variance 1."""

    def apply(self, context: Context, x: Array) -> Array:
        """Return the activation of every element."""
        return selu(x)


@dataclass(frozen=True)
class GELU(Layer):
    """``x`` times the chance that a standard normal number lies below it.

    Parameters
    ----------
    exact : bool
        Whether by the error function, or by the approximation with tanh.
    """

    exact: bool = True

    def apply(self, context: Context, x: Array) -> Array:
        """Return the activation of every element."""
        return gelu(x, exact=self.exact)


@dataclass(frozen=True)
class SiLU(Layer):
    """``x * sigmoid(x)``."""

    def apply(self, context: Context, x: Array) -> Array:
        """Return the activation of every element."""
        return silu(x)


@dataclass(frozen=True)
class Softplus(Layer):
    """``log(1 + exp(x))``."""

    def apply(self, context: Context, x: Array) -> Array:
        """Return the activation of every element."""
        return softplus(x)


@dataclass(frozen=True)
class HardTanh(Layer):
    """``x`` between -1 and 1, constant outside."""

    def apply(self, context: Context, x: Array) -> Array:
        """Return the activation of every element."""
        return hard_tanh(x)


@dataclass(frozen=True)
class Maxout(Layer):
    """The largest of every `pieces` neighbouring features or channels.

    Parameters
    ----------
    pieces : int
        How many values compete.
    axis : int
        The axis of features or channels, without the batch; -1 for (time, features).
    """

    pieces: int
    axis: int = 0

    def __post_init__(self) -> None:
        whole(self, "pieces")

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the input, its axis shortened by `pieces`."""
        axis = axis_of(self, self.axis, shape)
        if shape[axis] % self.pieces:
            raise self.refuse(
                f"{shape[axis]} values cannot be divided among {self.pieces} pieces",
                shape,
                do=f"give the layer before a multiple of {self.pieces}",
            )
        return (*shape[:axis], shape[axis] // self.pieces, *shape[axis + 1 :])

    def apply(self, context: Context, x: Array) -> Array:
        """Return the largest of every group."""
        return maxout(x, self.pieces, self.axis + 1 if self.axis >= 0 else self.axis)


@dataclass(frozen=True)
class Softmax(Layer):
    """``exp(x)`` divided by its sum over an axis.

    Not before a loss that takes scores: `SoftmaxCrossEntropy` contains it.

    Parameters
    ----------
    axis : int
        The axis of classes, without the batch.
    """

    axis: int = -1

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the input."""
        axis_of(self, self.axis, shape)
        return shape

    def apply(self, context: Context, x: Array) -> Array:
        """Return positive numbers whose sum over the axis is 1."""
        return softmax(x, self.axis + 1 if self.axis >= 0 else self.axis)
