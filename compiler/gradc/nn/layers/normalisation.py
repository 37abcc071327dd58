"""Normalisation: of features over a batch, of examples over their features."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from gradc.nn.layer import Array, Context, Layer, Parameter, Shape
from gradc.nn.layers.options import axis_of, between, constant, whole, zeros


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Every feature or channel normalised to mean 0 and variance 1, then scaled by gamma and shifted by beta.

    In training mean and variance are those of the batch (the variance divided by the number of values);
    afterwards they are running averages, ``momentum * before + (1 - momentum) * of the batch``, in which the
    variance is the unbiased one (divided by the number less one), as in Ioffe and Szegedy, 2015.

    Parameters
    ----------
    momentum : float
        How much of the running averages a step keeps.
    epsilon : float
        Added to the variance.
    axis : int
        The axis of features or channels, without the batch; -1 for (time, features).
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    axis: int = 0

    def __post_init__(self) -> None:
        between(self, "momentum", 0, 1)
        between(self, "epsilon", 0, 1, includes_low=False)

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the input."""
        axis_of(self, self.axis, shape)
        return shape

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        """Return ``gamma``, at first 1, and ``beta``, at first 0."""
        count = (shape[axis_of(self, self.axis, shape)],)
        return {"gamma": Parameter(count, constant(1.0)), "beta": Parameter(count, zeros())}

    def statistics(self, shape: Shape) -> dict[str, Parameter]:
        """Return ``mean``, at first 0, and ``variance``, at first 1."""
        count = (shape[axis_of(self, self.axis, shape)],)
        return {"mean": Parameter(count, zeros()), "variance": Parameter(count, constant(1.0))}

    def apply(self, context: Context, x: Array) -> Array:
        """Return the normalised input; in training also update the running averages.

        Raises
        ------
        ShapeError
            A batch in training has one value per feature, whose variance is 0.
        """
        kept = self.axis + 1 if self.axis >= 0 else x.ndim + self.axis
        every = (slice(None), *(None,) * (x.ndim - 1 - kept))  # puts a value per feature beside the features
        if context.training:
            mean, variance = self._of_batch(context, x, tuple(at for at in range(x.ndim) if at != kept))
        else:
            mean, variance = context["mean"], context["variance"]
        scale = context["gamma"] / np.sqrt(variance + self.epsilon)
        return (x - mean[every]) * scale[every] + context["beta"][every]

    def _of_batch(self, context: Context, x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
        """Return mean and variance over the batch, and update their running averages."""
        # While tracing an extent of 1 is a number; any other stays a symbol, and is known not to be 1.
        if all(x.shape[at] == 1 for at in axes):
            raise self.refuse(
                "batch normalisation cannot be trained on a batch with one value per feature",
                tuple(x.shape[1:]),
                do="use at least two examples in every batch, or LayerNorm",
            )
        count = prod(x.shape[at] for at in axes)
        mean = x.mean(axis=axes)
        variance = x.var(axis=axes)
        keep = self.momentum
        context.update("mean", keep * context["mean"] + (1 - keep) * mean)
        unbiased = variance * (count / (count - 1))
        context.update("variance", keep * context["variance"] + (1 - keep) * unbiased)
        return mean, variance


@dataclass(frozen=True)
class LayerNorm(Layer):
    """Every example normalised to mean 0 and variance 1, then scaled by gamma and shifted by beta.

    Parameters
    ----------
    axes : int
        Over how many of the last axes: 1 for features, also of (time, features); 3 for whole images.
    epsilon : float
        Added to the variance, which is divided by the number of values (Ba et al., 2016).
    """

    axes: int = 1
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        whole(self, "axes")
        between(self, "epsilon", 0, 1, includes_low=False)

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the input."""
        if len(shape) < self.axes:
            raise self.refuse(
                f"the input has no {self.axes} axes to normalise",
                shape,
                do=f"write axes={len(shape)} or less",
            )
        return shape

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        """Return ``gamma``, at first 1, and ``beta``, at first 0."""
        last = self.output_shape(shape)[-self.axes :]
        return {"gamma": Parameter(last, constant(1.0)), "beta": Parameter(last, zeros())}

    def apply(self, context: Context, x: Array) -> Array:
        """Return the normalised input."""
        last = tuple(range(-self.axes, 0))
        centred = x - x.mean(axis=last, keepdims=True)
        variance = np.square(centred).mean(axis=last, keepdims=True)
        return centred / np.sqrt(variance + self.epsilon) * context["gamma"] + context["beta"]
