"""Random numbers from a key: the same in NumPy and in compiled code, drawn again instead of kept.

A key is an integer.  Element i of an array, counted in C order, is a function of the key and of i alone: no state
changes, the order of drawing and the number of threads do not matter, and the backward pass computes a dropout mask
again from the key.  Two calls with one key and shape give the same numbers; take `split` or `fold_in` for others.

Inside traced functions a key may be an argument, so that every training step has its own and nothing is compiled
again.  Results are constants of differentiation.

Examples
--------
>>> import numpy as np, gradc
>>> @gradc.differentiate(wrt="x", target="interpret")
... def dropped(x, key):
...     return np.sum(np.where(gradc.random.uniform_like(key, x) < 0.5, 2 * x, 0.0))
>>> dropped.grad(np.ones(4), 7), gradc.random.uniform(7, 4).round(3)
(array([0., 0., 2., 2.]), array([0.978, 0.957, 0.118, 0.023]))
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import numpy as np

from gradc.errors import ArgumentError, DTypeError, ShapeError
from gradc.ir.random_bits import random_bits
from gradc.ir.types import DType, dtype_of

BITS = {DType.F64: 53, DType.F32: 24}  # of a number in [0, 1): all that the format has
NORMAL_BITS = 52  # and one more for the middle between two numbers: neither 0 nor 1 occurs
WHOLE = 64

Key = Any  # an int, an int64, or one of these that is being traced
Shape = int | Sequence[int]

P = ParamSpec("P")


def _traceable(function: Callable[P, Any]) -> Callable[P, Any]:
    """Leave a call to an argument that is being traced, by NumPy's protocol (NEP 18)."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Any:
        for given in (*args, *kwargs.values()):
            kind = type(given)
            if hasattr(kind, "__array_function__") and not issubclass(kind, np.ndarray | np.generic):
                return given.__array_function__(call, (kind,), args, kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        return function(*args, **kwargs)

    return call


@_traceable
def uniform(key: Key, shape: Shape = (), dtype: Any = np.float64) -> Any:
    """Draw from the uniform distribution on [0, 1).

    Parameters
    ----------
    key : int
        Which numbers; any int64.
    shape : int or sequence of int
        Shape of the result; extents of traced arrays stay symbolic.
    dtype : data-type
        float64 (multiples of 2**-53) or float32 (multiples of 2**-24).

    Returns
    -------
    ndarray or NumPy scalar

    Raises
    ------
    DTypeError
        The key is no integer, or `dtype` is no floating-point dtype.
    ShapeError
        An extent is negative, or the key is an array.

    Examples
    --------
    >>> import gradc
    >>> gradc.random.uniform(0, 3).round(3)
    array([0.114, 0.122, 0.168])
    """
    return _uniform(key, _shape(shape), float_dtype(dtype))


@_traceable
def uniform_like(key: Key, x: Any) -> Any:
    """Draw from the uniform distribution on [0, 1) in the shape and dtype of an array.

    Parameters
    ----------
    key : int
        As of `uniform`.
    x : array or number
        Its elements do not matter; what is not float32 gives float64.

    Returns
    -------
    ndarray or NumPy scalar

    Raises
    ------
    DTypeError, ShapeError
        As `uniform`.
    """
    x = np.asarray(x)
    return _uniform(key, x.shape, like_dtype(dtype_of(x.dtype)))


@_traceable
def normal(key: Key, shape: Shape = (), dtype: Any = np.float64) -> Any:
    """Draw from the normal distribution with mean 0 and variance 1.

    Each number is the quantile (`scipy.special.ndtri`) of one uniform number, computed in float64.

    Parameters
    ----------
    key, shape, dtype
        As of `uniform`.

    Returns
    -------
    ndarray or NumPy scalar

    Raises
    ------
    DTypeError, ShapeError
        As `uniform`.
    """
    from scipy.special import ndtri  # noqa: PLC0415  (0.2 s that most processes never need)

    bits = random_bits(checked_key(key), _elements(_shape(shape)), NORMAL_BITS)
    return np.asarray(ndtri((2 * bits + 1) * 2.0 ** -(NORMAL_BITS + 1))).astype(float_dtype(dtype).numpy)[()]


@_traceable
def bernoulli(key: Key, p: Any, shape: Shape = ()) -> Any:
    """Draw truth values that are true with probability `p`: where ``uniform(key, shape) < p``.

    Parameters
    ----------
    key : int
        As of `uniform`.
    p : float or array
        The probability, or one per element: it broadcasts to `shape`.
    shape : int or sequence of int
        Shape of the result.

    Returns
    -------
    ndarray of bool or NumPy bool

    Raises
    ------
    ArgumentError
        A probability is not between 0 and 1.
    DTypeError, ShapeError
        As `uniform`; `p` does not broadcast to `shape`.
    """
    sizes, probability = _shape(shape), np.asarray(checked_probability(p))
    try:
        np.broadcast_to(probability, sizes)
    except ValueError:
        raise ShapeError(
            f"probabilities of shape {probability.shape} do not broadcast to {sizes}",
            do="pass the whole shape of the result",
        ) from None
    return np.less(_uniform(key, sizes, DType.F64), probability)[()]


@_traceable
def fold_in(key: Key, data: Key) -> Any:
    """Make a key of a key and a number, such as that of a step, a layer or an example.

    Parameters
    ----------
    key : int
        As of `uniform`.
    data : int
        From 0 on.

    Returns
    -------
    int64
        Its numbers have nothing to do with those of `key` and of other `data`.

    Raises
    ------
    DTypeError, ShapeError
        As `uniform`.
    ArgumentError
        `data` is negative.
    """
    return random_bits(checked_key(key), folded(checked_key(data)), WHOLE)


@_traceable
def split(key: Key, n: int = 2) -> Any:
    """Make `n` keys of one: element i is ``fold_in(key, i)``.

    Parameters
    ----------
    key : int
        As of `uniform`.
    n : int
        How many.

    Returns
    -------
    ndarray of int64

    Raises
    ------
    DTypeError, ShapeError
        As `uniform`.

    Examples
    --------
    >>> import gradc
    >>> first, second = gradc.random.split(0)
    >>> first == gradc.random.fold_in(0, 0)
    np.True_
    """
    return random_bits(checked_key(key), -1 - _elements(_shape(n)), WHOLE)


# --- arguments ----------------------------------------------------------------------------------------------


def checked_key(key: Any) -> int:
    """Return a key, or a number folded into one, as an int; or the error that says what it must be."""
    if np.ndim(key):
        raise ShapeError("a key is one integer, not an array", do="draw for each, or use gradc.vmap")
    try:
        found = operator.index(key)
    except TypeError:
        raise refused_key(type(key).__name__) from None
    if not -(2**63) <= found < 2**63:
        raise DTypeError(f"the key {found} is no int64", do="take it modulo 2**63")
    return found


def refused_key(kind: str) -> DTypeError:
    """Return (not raise) the error for a key that is no integer."""
    return DTypeError(f"a key is an integer, not {kind}", do="pass an int or an np.int64")


def folded(number: int) -> int:
    """Return the element that `fold_in` takes: those from 0 on are the numbers of the key itself."""
    if number < 0:
        raise ArgumentError(f"fold_in takes numbers from 0 on, not {number}")
    return -1 - number


def checked_probability(p: Any) -> Any:
    """Return probabilities that are between 0 and 1, or an error."""
    if not np.all((np.asarray(p) >= 0) & (np.asarray(p) <= 1)):
        raise ArgumentError("a probability is not between 0 and 1", why=f"it is {p}")
    return p


def float_dtype(dtype: Any) -> DType:
    """Return the dtype of random numbers, or an error for what is none."""
    found = dtype if isinstance(dtype, DType) else dtype_of(dtype)
    if found not in BITS:
        raise DTypeError(f"random numbers of dtype {found.value}", do="draw float64 or float32, then convert")
    return found


def like_dtype(dtype: DType) -> DType:
    """Return the dtype of random numbers for an array of `dtype`."""
    return dtype if dtype in BITS else DType.F64


def _shape(shape: Any) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, Sequence | np.ndarray) else (shape,)
    try:
        found = tuple(operator.index(size) for size in sizes)
    except TypeError:
        raise ShapeError(f"{shape!r} is no shape", do="pass an int or a tuple of ints") from None
    if min(found, default=0) < 0:
        raise ShapeError(f"an extent cannot be negative: {min(found)}")
    return found


def _elements(shape: tuple[int, ...]) -> np.ndarray:
    """The number of each element, in C order."""
    return np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.int64).reshape(shape)


def _uniform(key: Any, shape: tuple[int, ...], dtype: DType) -> Any:
    bits = np.asarray(random_bits(checked_key(key), _elements(shape), BITS[dtype]))
    return (bits.astype(dtype.numpy) * dtype.numpy.type(2.0 ** -BITS[dtype]))[()]


__all__ = ["bernoulli", "fold_in", "normal", "split", "uniform", "uniform_like"]
