"""Regularisers: what is added to the loss for the size of weights; traced with it, like any NumPy code."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradc.nn.layer import Array
from gradc.nn.schedules import NOT_NEGATIVE, keep_numbers


@dataclass(frozen=True, slots=True)
class L1:
    """``strength * sum(abs(w))``: makes weights sparse; its gradient is ``strength * sign(w)``, 0 at 0.

    Parameters
    ----------
    strength : float
        The factor, at least 0.
    """

    strength: float

    def __post_init__(self) -> None:
        keep_numbers(self, strength=NOT_NEGATIVE)

    def penalty(self, value: Array) -> Array:
        """Return what a weight adds to the loss."""
        return self.strength * np.sum(np.abs(value))


@dataclass(frozen=True, slots=True)
class L2:
    """``0.5 * strength * sum(w * w)``: keeps weights small; its gradient is ``strength * w`` (CS231n, with the half).

    For plain gradient descent this is weight decay by ``rate * strength`` in each step.

    Parameters
    ----------
    strength : float
        Twice the factor of the sum of squares, at least 0.

    Examples
    --------
    >>> import numpy as np
    >>> float(L2(0.1).penalty(np.array([3.0, 4.0])))
    1.25
    """

    strength: float

    def __post_init__(self) -> None:
        keep_numbers(self, strength=NOT_NEGATIVE)

    def penalty(self, value: Array) -> Array:
        """Return what a weight adds to the loss."""
        return 0.5 * self.strength * np.sum(value * value)


@dataclass(frozen=True, slots=True)
class Elastic:
    """``l1 * sum(abs(w)) + 0.5 * l2 * sum(w * w)``: the sum of `L1` and `L2` (Zou and Hastie 2005).

    Parameters
    ----------
    l1, l2 : float
        The strengths of the two, at least 0.
    """

    l1: float
    l2: float

    def __post_init__(self) -> None:
        keep_numbers(self, l1=NOT_NEGATIVE, l2=NOT_NEGATIVE)

    def penalty(self, value: Array) -> Array:
        """Return what a weight adds to the loss."""
        return L1(self.l1).penalty(value) + L2(self.l2).penalty(value)
