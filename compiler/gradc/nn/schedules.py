"""Learning-rate schedules: the rate of each step of the training, and the check of numbers that users set.

A schedule is called with the number of the step, counted from 1, and the number of steps in an epoch.  It is plain
Python, outside the kernel of the training step, which takes the rate as an argument.  A function of your own with
these two arguments is a schedule too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Protocol

from gradc.errors import ArgumentError

# --- what a setting may be ---------------------------------------------------------------------------------


class Schedule(Protocol):
    """Says which learning rate a step has."""

    def __call__(self, step: int, steps_per_epoch: int) -> float:
        """Return the rate of a step; the first step has the number 1."""
        ...


@dataclass(frozen=True, slots=True)
class Range:
    """Which values a setting may have.

    Attributes
    ----------
    phrase : str
        The values in words, as the object of "give".
    holds : callable
        Whether a number is one of them; False for NaN.
    schedule, optional : bool
        Whether a schedule or None may stand for the number.
    """

    phrase: str
    holds: Callable[[float], bool]
    schedule: bool = False
    optional: bool = False


FINITE = Range("a finite number", math.isfinite)
POSITIVE = Range("a positive finite number", lambda number: 0 < number < math.inf)
NOT_NEGATIVE = Range("a finite number of at least 0", lambda number: 0 <= number < math.inf)
FRACTION = Range("a number of at least 0 and less than 1", lambda number: 0 <= number < 1)
WHOLE = Range("a whole number of at least 1", lambda number: 1 <= number < math.inf and number % 1 == 0)
RATE = Range("a finite number of at least 0, or a schedule", NOT_NEGATIVE.holds, schedule=True)
LIMIT = Range("a positive finite number, or None for no limit", POSITIVE.holds, optional=True)


def keep_numbers(owner: object, **ranges: Range) -> None:
    """Check settings of a frozen dataclass and keep them as Python floats.

    A ``np.float64`` that was kept would make float64 arrays of float32 ones; a Python float never does.

    Parameters
    ----------
    owner : object
        The dataclass instance, in its ``__post_init__``.
    **ranges : Range
        For each field what it may be.

    Raises
    ------
    ArgumentError
        A setting is no number, or outside its range.
    """
    for name, allowed in ranges.items():
        value = getattr(owner, name)
        if (allowed.schedule and callable(value)) or (allowed.optional and value is None):
            continue
        object.__setattr__(owner, name, _number(f"{type(owner).__name__}.{name}", value, allowed))


def _number(what: str, value: object, allowed: Range) -> float:
    """Return a value as a Python float, or raise."""
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:  # an integer or a fraction beyond all floats
            number = math.inf
        if allowed.holds(number):
            return number
    raise ArgumentError(f"{what} is {value!r}", do=f"give {allowed.phrase}")


def rate_at(rate: float | Schedule, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step.

    Parameters
    ----------
    rate : float or Schedule
        A rate for all steps, or what says it.
    step : int
        The number of the step, counted from 1.
    steps_per_epoch : int
        How many steps an epoch has.

    Returns
    -------
    float
        The rate of this step.

    Raises
    ------
    ArgumentError
        The schedule returned what is no finite number of at least 0.

    Examples
    --------
    >>> rate_at(0.5, 3, 10), rate_at(StepDecay(0.5, factor=0.1, epochs=2), 21, 10)
    (0.5, 0.05)
    """
    if not callable(rate):
        return rate
    return _number(f"the rate of {rate!r} in step {step}", rate(step, steps_per_epoch), NOT_NEGATIVE)


# --- the schedules -----------------------------------------------------------------------------------------


def _epochs_done(step: int, steps_per_epoch: int) -> float:
    """Epochs before a step, with their fraction: 0 in the first."""
    return (step - 1) / steps_per_epoch


@dataclass(frozen=True, slots=True)
class ConstantRate:
    """The same rate in all steps: what a number in place of a schedule means.

    Parameters
    ----------
    rate : float
        The rate.
    """

    rate: float

    def __post_init__(self) -> None:
        keep_numbers(self, rate=NOT_NEGATIVE)

    def __call__(self, step: int, steps_per_epoch: int) -> float:
        """Return the rate of a step."""
        return self.rate


@dataclass(frozen=True, slots=True)
class StepDecay:
    """The rate is multiplied by a factor after every so many epochs (CS231n: 0.5 after 5, or 0.1 after 20).

    Parameters
    ----------
    rate : float
        The rate at first.
    factor : float
        What it is multiplied by.
    epochs : int
        After how many epochs each time.

    Examples
    --------
    >>> [StepDecay(1.0, factor=0.5, epochs=1)(step, 2) for step in range(1, 6)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    rate: float
    factor: float
    epochs: int

    def __post_init__(self) -> None:
        keep_numbers(self, rate=NOT_NEGATIVE, factor=POSITIVE, epochs=WHOLE)
        object.__setattr__(self, "epochs", int(self.epochs))

    def __call__(self, step: int, steps_per_epoch: int) -> float:
        """Return the rate of a step."""
        return self.rate * self.factor ** ((step - 1) // (self.epochs * steps_per_epoch))


@dataclass(frozen=True, slots=True)
class ExponentialDecay:
    """The rate ``rate * exp(-decay * t)`` after t epochs, where t has fractions (CS231n).

    Parameters
    ----------
    rate : float
        The rate at first.
    decay : float
        Its logarithm falls by this in an epoch.
    """

    rate: float
    decay: float

    def __post_init__(self) -> None:
        keep_numbers(self, rate=NOT_NEGATIVE, decay=NOT_NEGATIVE)

    def __call__(self, step: int, steps_per_epoch: int) -> float:
        """Return the rate of a step."""
        return self.rate * math.exp(-self.decay * _epochs_done(step, steps_per_epoch))


@dataclass(frozen=True, slots=True)
class InverseTimeDecay:
    """The rate ``rate / (1 + decay * t)`` after t epochs, where t has fractions (CS231n's 1/t decay).

    Parameters
    ----------
    rate : float
        The rate at first.
    decay : float
        The rate is half its first after ``1 / decay`` epochs.
    """

    rate: float
    decay: float

    def __post_init__(self) -> None:
        keep_numbers(self, rate=NOT_NEGATIVE, decay=NOT_NEGATIVE)

    def __call__(self, step: int, steps_per_epoch: int) -> float:
        """Return the rate of a step."""
        return self.rate / (1 + self.decay * _epochs_done(step, steps_per_epoch))


@dataclass(frozen=True, slots=True)
class Cosine:
    """Half a cosine from `rate` down to `least` (Loshchilov and Hutter 2017, without restarts).

    Parameters
    ----------
    rate : float
        The greatest rate.
    epochs : float
        When it has come down to `least`, warm-up included; it stays there.
    warmup : float, optional
        For so many epochs before that the rate grows in proportion to the number of the step.
    least : float, optional
        The rate at the end.

    Examples
    --------
    >>> [round(Cosine(1.0, epochs=2, warmup=1)(step, 2), 3) for step in range(1, 6)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """

    rate: float
    epochs: float
    warmup: float = 0.0
    least: float = 0.0

    def __post_init__(self) -> None:
        keep_numbers(self, rate=NOT_NEGATIVE, epochs=POSITIVE, warmup=NOT_NEGATIVE, least=NOT_NEGATIVE)
        if self.warmup >= self.epochs:
            raise ArgumentError(
                f"Cosine.warmup is {self.warmup:g} of {self.epochs:g} epochs",
                do="give a warmup that is less than epochs: epochs count the warm-up",
            )
        if self.least > self.rate:
            raise ArgumentError(
                f"Cosine.least is {self.least:g}, its rate {self.rate:g}", do="give a least of at most rate"
            )

    def __call__(self, step: int, steps_per_epoch: int) -> float:
        """Return the rate of a step."""
        if step <= self.warmup * steps_per_epoch:
            return self.rate * step / (self.warmup * steps_per_epoch)
        since = _epochs_done(step, steps_per_epoch) - self.warmup
        done = min(max(since, 0.0) / (self.epochs - self.warmup), 1.0)
        return self.least + (self.rate - self.least) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True, slots=True)
class LinearWarmup:
    """A schedule times a factor that grows to 1 in proportion to the number of the step (Goyal et al. 2017).

    Parameters
    ----------
    rate : float or Schedule
        The rate after the warm-up; a schedule's epochs count from the start of the training.
    epochs : float
        How long the warm-up takes.

    Examples
    --------
    >>> [LinearWarmup(1.0, epochs=2)(step, 2) for step in range(1, 6)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    rate: float | Schedule
    epochs: float

    def __post_init__(self) -> None:
        keep_numbers(self, rate=RATE, epochs=POSITIVE)

    def __call__(self, step: int, steps_per_epoch: int) -> float:
        """Return the rate of a step."""
        return rate_at(self.rate, step, steps_per_epoch) * min(1.0, step / (self.epochs * steps_per_epoch))
