"""Initialisers: the first values of parameters, from a random generator and nothing else.

`fan_in` numbers flow into one result, and one argument flows into `fan_out` results.  Where weights are random, each
has mean 0, and the variance is chosen so that activations (`fan_in`) or gradients (`fan_out`) keep their size from
layer to layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from gradc.errors import ArgumentError
from gradc.nn.layer import Shape
from gradc.nn.schedules import FINITE, NOT_NEGATIVE, POSITIVE, keep_numbers

Kind: TypeAlias = Literal["uniform", "normal"]


@dataclass(frozen=True, slots=True)
class Zeros:
    """All 0: for biases.  Units of a layer whose weights are all 0 stay equal to each other for ever."""

    def __call__(self, generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
        """Return the first values."""
        return np.zeros(shape)


@dataclass(frozen=True, slots=True)
class Ones:
    """All 1: for scales."""

    def __call__(self, generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
        """Return the first values."""
        return np.ones(shape)


@dataclass(frozen=True, slots=True)
class Constant:
    """All the same number.

    Parameters
    ----------
    value : float
        The number.
    """

    value: float

    def __post_init__(self) -> None:
        keep_numbers(self, value=FINITE)

    def __call__(self, generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
        """Return the first values."""
        return np.full(shape, self.value)


@dataclass(frozen=True, slots=True)
class Normal:
    """Normal with a given standard deviation, whatever the fans.

    Parameters
    ----------
    deviation : float, optional
        The standard deviation, at least 0.
    """

    deviation: float = 0.01

    def __post_init__(self) -> None:
        keep_numbers(self, deviation=NOT_NEGATIVE)

    def __call__(self, generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
        """Return the first values."""
        return generator.normal(0.0, self.deviation, shape)


@dataclass(frozen=True, slots=True)
class Glorot:
    """Variance ``2 / (fan_in + fan_out)``, also called Xavier: for tanh (Glorot and Bengio 2010, equations 12, 16).

    CS231n calls the variance ``1 / fan_in`` Xavier; here that is `Lecun`, and the two agree where the fans do.

    Parameters
    ----------
    kind : {"uniform", "normal"}, optional
        The distribution; the uniform one lies within ``sqrt(6 / (fan_in + fan_out))`` of 0.
    """

    kind: Kind = "uniform"

    def __post_init__(self) -> None:
        _require_kind(self, self.kind)

    def __call__(self, generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
        """Return the first values."""
        return _scaled(self, self.kind, generator, shape, 2.0, fan_in + fan_out)


@dataclass(frozen=True, slots=True)
class He:
    """Variance ``2 / fan_in``: for ReLU, which drops half of the variance (He et al. 2015, equation 10).

    Parameters
    ----------
    kind : {"uniform", "normal"}, optional
        The distribution; the uniform one lies within ``sqrt(6 / fan_in)`` of 0.

    Examples
    --------
    >>> import numpy as np
    >>> weight = He()(np.random.default_rng(0), (200, 100), fan_in=200, fan_out=100)
    >>> round(float(weight.std()), 2)
    0.1
    """

    kind: Kind = "normal"

    def __post_init__(self) -> None:
        _require_kind(self, self.kind)

    def __call__(self, generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
        """Return the first values."""
        return _scaled(self, self.kind, generator, shape, 2.0, fan_in)


@dataclass(frozen=True, slots=True)
class Lecun:
    """Variance ``1 / fan_in``: for SELU (LeCun et al. 1998, equation 16; Klambauer et al. 2017).

    Parameters
    ----------
    kind : {"uniform", "normal"}, optional
        The distribution; the uniform one lies within ``sqrt(3 / fan_in)`` of 0.
    """

    kind: Kind = "normal"

    def __post_init__(self) -> None:
        _require_kind(self, self.kind)

    def __call__(self, generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
        """Return the first values."""
        return _scaled(self, self.kind, generator, shape, 1.0, fan_in)


@dataclass(frozen=True, slots=True)
class Orthogonal:
    """A random matrix with orthonormal rows or columns, whichever are fewer, times `gain` (Saxe et al. 2014).

    An array of more than two axes is taken as a matrix with its first or its last axes as rows, so that rows or
    columns are the `fan_in` numbers that flow into one result.

    Parameters
    ----------
    gain : float, optional
        What the matrix is multiplied by: 1 for linear layers, ``sqrt(2)`` for ReLU.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        keep_numbers(self, gain=POSITIVE)

    def __call__(self, generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
        """Return the first values."""
        rows, columns = _as_matrix(shape, fan_in)
        basis, triangle = np.linalg.qr(generator.normal(size=(max(rows, columns), min(rows, columns))))
        # With the signs of the triangle's diagonal every orthogonal matrix is equally likely (Mezzadri 2007).
        basis *= np.where(np.diagonal(triangle) < 0, -self.gain, self.gain)
        return np.ascontiguousarray(basis if rows >= columns else basis.T).reshape(shape)


def _require_kind(owner: object, kind: object) -> None:
    """Refuse a distribution that is not one of the two."""
    if kind not in get_args(Kind):
        raise ArgumentError(f"{type(owner).__name__}.kind is {kind!r}", do='give "uniform" or "normal"')


def _scaled(
    owner: object, kind: Kind, generator: np.random.Generator, shape: Shape, gain: float, fan: int
) -> np.ndarray:
    """Return random numbers with mean 0 and variance ``gain / fan``."""
    if fan < 1:
        raise ArgumentError(
            f"{type(owner).__name__} divides by a fan of {fan}", do="give the parameter fans of at least 1"
        )
    if kind == "normal":
        return generator.normal(0.0, math.sqrt(gain / fan), shape)
    bound = math.sqrt(3 * gain / fan)  # the variance of a uniform distribution is bound ** 2 / 3
    return generator.uniform(-bound, bound, shape)


def _as_matrix(shape: Shape, fan_in: int) -> tuple[int, int]:
    """Rows and columns of an array as a matrix; see `Orthogonal`."""
    if len(shape) == 2:
        return shape[0], shape[1]
    # One axis of results is the usual case, as in the weights of a convolution: last, or else first.
    splits = sorted(range(1, len(shape)), key=lambda split: split != len(shape) - 1)
    for split in splits:
        rows, columns = math.prod(shape[:split]), math.prod(shape[split:])
        if fan_in in (rows, columns):
            return rows, columns
    raise ArgumentError(
        f"Orthogonal cannot tell the rows from the columns of a parameter of shape {shape}",
        why=f"its fan_in is {fan_in}, and neither first nor last axes have so many elements",
        do="give the parameter at least two axes and its fan_in, or choose another initialiser",
    )
