"""Optimisers: how a step changes a parameter, in plain NumPy that is traced into the kernel of the training step.

An update is pure: it takes a parameter, its gradient and the arrays that the optimiser keeps for it (*slots*), and
returns their new values.  Python floats take the dtype of the arrays that they meet, so the same update serves
float32 and float64.  Below, x is the parameter, g its gradient, t the number of the step.  An optimiser of your own::

    @dataclass(frozen=True, slots=True)
    class SignDescent(nn.Optimiser):
        def update(self, value, gradient, slots, rate, step, *, is_weight):
            return value - rate * np.sign(gradient), {}
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from gradc.nn.layer import Array
from gradc.nn.schedules import (
    FRACTION,
    LIMIT,
    NOT_NEGATIVE,
    POSITIVE,
    RATE,
    Range,
    Schedule,
    keep_numbers,
    rate_at,
)


@dataclass(frozen=True, slots=True)
class Optimiser(ABC):
    """Base of all optimisers.

    Parameters
    ----------
    rate : float or Schedule
        The learning rate: for all steps, or a function of the step.
    clip_norm : float, optional
        Gradients are scaled down where the norm of all of them together is greater.
    clip_value : float, optional
        Every element of a gradient is brought between minus this and this.

    Raises
    ------
    ArgumentError
        A setting is no number, or outside its range.
    """

    rate: float | Schedule
    clip_norm: float | None = field(default=None, kw_only=True)
    clip_value: float | None = field(default=None, kw_only=True)

    ranges: ClassVar[Mapping[str, Range]] = {}  # of the settings that a subclass adds

    def __post_init__(self) -> None:
        keep_numbers(self, rate=RATE, clip_norm=LIMIT, clip_value=LIMIT, **self.ranges)

    def rate_at(self, step: int, steps_per_epoch: int) -> float:
        """Return the learning rate of a step; steps count from 1."""
        return rate_at(self.rate, step, steps_per_epoch)

    def slots(self) -> tuple[str, ...]:
        """Names of the arrays kept for each parameter: of its shape and dtype, and 0 before the first step."""
        return ()

    @abstractmethod
    def update(
        self,
        value: Array,
        gradient: Array,
        slots: Mapping[str, Array],
        rate: Array,
        step: Array,
        *,
        is_weight: bool,
    ) -> tuple[Array, dict[str, Array]]:
        """Return the new value of a parameter and of its slots.

        Parameters
        ----------
        value, gradient : array
            The parameter and the gradient of the loss with respect to it, clipped before.
        slots : mapping of str to array
            What the step before returned.
        rate, step : scalar
            The learning rate and the number of this step, which counts from 1, in the dtype of the parameter.
        is_weight : bool
            Whether weight decay counts the parameter.

        Returns
        -------
        tuple of array and dict
            The parameter after this step and its slots.
        """


def clipped(
    gradients: Mapping[str, Array], clip_norm: float | None, clip_value: float | None
) -> dict[str, Array]:
    """Return gradients within limits: first each element within `clip_value`, then the norm within `clip_norm`.

    The norm is the Euclidean norm of all gradients as one vector; their common direction stays (Pascanu, Mikolov
    and Bengio 2013).  It is NaN if an element is, and then so are all gradients.

    Parameters
    ----------
    gradients : mapping of str to array
        The gradients of all parameters.
    clip_norm, clip_value : float or None
        The two limits, positive; None for no limit.

    Returns
    -------
    dict of str to array
        The gradients, by the same names.

    Examples
    --------
    >>> import numpy as np
    >>> clipped({"a": np.array([3.0]), "b": np.array([4.0])}, clip_norm=1.0, clip_value=None)
    {'a': array([0.6]), 'b': array([0.8])}
    """
    limited = dict(gradients)
    if clip_value is not None:
        limited = {name: np.clip(g, -clip_value, clip_value) for name, g in limited.items()}
    if clip_norm is None or not limited:
        return limited
    norm = np.sqrt(sum(np.sum(g * g) for g in limited.values()))
    scale = clip_norm / np.maximum(norm, clip_norm)  # 1 within the limit; nothing is divided by 0
    return {name: g * scale for name, g in limited.items()}


@dataclass(frozen=True, slots=True)
class GradientDescent(Optimiser):
    """``x -= rate * g``; with mini-batches this is stochastic gradient descent, SGD.

    Examples
    --------
    >>> import numpy as np
    >>> GradientDescent(0.5).update(np.array([1.0]), np.array([4.0]), {}, 0.5, 1.0, is_weight=True)
    (array([-1.]), {})
    """

    def update(
        self,
        value: Array,
        gradient: Array,
        slots: Mapping[str, Array],
        rate: Array,
        step: Array,
        *,
        is_weight: bool,
    ) -> tuple[Array, dict[str, Array]]:
        """Return the new value of a parameter and of its slots."""
        return value - rate * gradient, {}


@dataclass(frozen=True, slots=True)
class Momentum(Optimiser):
    """``v = momentum * v - rate * g; x += v`` (CS231n; Polyak 1964).

    The velocity v contains the rates of the steps that made it.  Some libraries keep ``v / -rate`` instead, which
    is the same unless the rate changes.  With `nesterov` the step is ``x += momentum * v - rate * g`` with the new
    v: x stands for the point ahead, where the gradient is taken (CS231n; Sutskever et al. 2013).

    Parameters
    ----------
    momentum : float, optional
        How much of the velocity is left after a step, at least 0 and less than 1.
    nesterov : bool, optional
        Whether the gradient is taken at the point ahead.
    """

    momentum: float = 0.9
    nesterov: bool = False

    ranges: ClassVar[Mapping[str, Range]] = {"momentum": FRACTION}

    def slots(self) -> tuple[str, ...]:
        """Names of the arrays kept for each parameter."""
        return ("velocity",)

    def update(
        self,
        value: Array,
        gradient: Array,
        slots: Mapping[str, Array],
        rate: Array,
        step: Array,
        *,
        is_weight: bool,
    ) -> tuple[Array, dict[str, Array]]:
        """Return the new value of a parameter and of its slots."""
        descent = rate * gradient
        velocity = self.momentum * slots["velocity"] - descent
        move = self.momentum * velocity - descent if self.nesterov else velocity
        return value + move, {"velocity": velocity}


@dataclass(frozen=True, slots=True)
class AdaGrad(Optimiser):
    """``s += g * g; x -= rate * g / (sqrt(s) + epsilon)`` (Duchi, Hazan and Singer 2011).

    Parameters
    ----------
    epsilon : float, optional
        Keeps the quotient finite where all gradients were 0, positive.
    """

    epsilon: float = 1e-8

    ranges: ClassVar[Mapping[str, Range]] = {"epsilon": POSITIVE}

    def slots(self) -> tuple[str, ...]:
        """Names of the arrays kept for each parameter."""
        return ("square_sum",)

    def update(
        self,
        value: Array,
        gradient: Array,
        slots: Mapping[str, Array],
        rate: Array,
        step: Array,
        *,
        is_weight: bool,
    ) -> tuple[Array, dict[str, Array]]:
        """Return the new value of a parameter and of its slots."""
        squares = slots["square_sum"] + gradient * gradient
        return value - rate * gradient / (np.sqrt(squares) + self.epsilon), {"square_sum": squares}


@dataclass(frozen=True, slots=True)
class RMSProp(Optimiser):
    """``s = decay * s + (1 - decay) * g * g; x -= rate * g / (sqrt(s) + epsilon)`` (Tieleman and Hinton 2012).

    Parameters
    ----------
    decay : float, optional
        How much of the mean square is left after a step, at least 0 and less than 1.
    epsilon : float, optional
        Keeps the quotient finite where all gradients were 0, positive.
    """

    decay: float = 0.9
    epsilon: float = 1e-8

    ranges: ClassVar[Mapping[str, Range]] = {"decay": FRACTION, "epsilon": POSITIVE}

    def slots(self) -> tuple[str, ...]:
        """Names of the arrays kept for each parameter."""
        return ("mean_square",)

    def update(
        self,
        value: Array,
        gradient: Array,
        slots: Mapping[str, Array],
        rate: Array,
        step: Array,
        *,
        is_weight: bool,
    ) -> tuple[Array, dict[str, Array]]:
        """Return the new value of a parameter and of its slots."""
        square = self.decay * slots["mean_square"] + (1 - self.decay) * (gradient * gradient)
        return value - rate * gradient / (np.sqrt(square) + self.epsilon), {"mean_square": square}


@dataclass(frozen=True, slots=True)
class Adam(Optimiser):
    """RMSProp with momentum and without the bias of slots that begin at 0 (Kingma and Ba 2015, algorithm 1).

    ``m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g * g`` and then
    ``x -= rate * m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + epsilon)``.

    Parameters
    ----------
    beta1, beta2 : float, optional
        How much of the two moments is left after a step, at least 0 and less than 1.
    epsilon : float, optional
        Keeps the quotient finite where all gradients were 0, positive.
    """

    rate: float | Schedule = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    ranges: ClassVar[Mapping[str, Range]] = {"beta1": FRACTION, "beta2": FRACTION, "epsilon": POSITIVE}

    def slots(self) -> tuple[str, ...]:
        """Names of the arrays kept for each parameter."""
        return ("first_moment", "second_moment")

    def update(
        self,
        value: Array,
        gradient: Array,
        slots: Mapping[str, Array],
        rate: Array,
        step: Array,
        *,
        is_weight: bool,
    ) -> tuple[Array, dict[str, Array]]:
        """Return the new value of a parameter and of its slots."""
        first = self.beta1 * slots["first_moment"] + (1 - self.beta1) * gradient
        second = self.beta2 * slots["second_moment"] + (1 - self.beta2) * (gradient * gradient)
        # The scalars come first: they cost nothing per element.
        unbiased = rate / _weight_so_far(self.beta1, step)
        size = np.sqrt(second * (1 / _weight_so_far(self.beta2, step))) + self.epsilon
        return value - unbiased * first / size, {"first_moment": first, "second_moment": second}


def _weight_so_far(beta: float, step: Array) -> Array:
    """``1 - beta**step``: the sum of the weights that a moving average has given to gradients."""
    # In float32 the difference itself would lose four of the seven digits when beta is 0.999.
    return -np.expm1(step * math.log(beta)) if beta else 1.0


@dataclass(frozen=True, slots=True)
class AdamW(Adam):
    """Adam, and weights decay by ``x -= rate * decay * x`` in each step (Loshchilov and Hutter 2019).

    The decay is no part of the gradient, so the moments do not see it and clipping does not limit it.

    Parameters
    ----------
    decay : float, optional
        The decay per step relative to the rate, at least 0; of weights only, not of biases and scales.
    """

    decay: float = 0.01

    ranges: ClassVar[Mapping[str, Range]] = {**Adam.ranges, "decay": NOT_NEGATIVE}

    def update(
        self,
        value: Array,
        gradient: Array,
        slots: Mapping[str, Array],
        rate: Array,
        step: Array,
        *,
        is_weight: bool,
    ) -> tuple[Array, dict[str, Array]]:
        """Return the new value of a parameter and of its slots."""
        kept = value - rate * self.decay * value if is_weight else value
        return Adam.update(self, kept, gradient, slots, rate, step, is_weight=is_weight)
