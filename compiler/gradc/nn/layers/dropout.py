"""Dropout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradc.nn.layer import Array, Context, Layer
from gradc.nn.layers.options import between


@dataclass(frozen=True)
class Dropout(Layer):
    """In training, sets elements to zero by chance and scales the others so that the mean stays.

    Parameters
    ----------
    rate : float
        The chance of an element to be zero; from 0 to below 1.
    """

    rate: float

    def __post_init__(self) -> None:
        between(self, "rate", 0, 1)

    def apply(self, context: Context, x: Array) -> Array:
        """Return what is left of the input; all of it outside training."""
        keep = 1.0 - self.rate
        if not context.training or self.rate == 0:
            return x
        return np.where(context.uniform(x) < keep, x * (1 / keep), 0)
