"""Scalar functions that neither NumPy, SciPy nor mpmath spells directly: meanings for the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

Array = Any


def polygamma(order: Array, x: Array) -> Array:
    """``d^(order+1)/dx^(order+1) log gamma(x)`` in the dtype of `x`; order 1 is the trigamma function."""
    return np.asarray(special.polygamma(np.asarray(order).astype(np.int64), x)).astype(x.dtype)[()]


def dsinc(x: Array) -> Array:
    """Derivative of ``sin(pi x) / (pi x)``: a series below 0.05, where the closed form cancels."""
    t = np.asarray(np.pi * np.asarray(x, np.float64))
    t2 = t * t
    series = t * (-1 / 3 + t2 * (1 / 30 + t2 * (-1 / 840 + t2 * (1 / 45360 - t2 / 3991680))))
    safe = np.where(np.abs(t) < 0.2, 1.0, t)
    closed = (np.cos(safe) - np.sin(safe) / safe) / safe
    return (np.pi * np.where(np.abs(t) < 0.2, series, closed)).astype(x.dtype)[()]


NUMPY: dict[str, Callable[..., Array]] = {"polygamma": polygamma, "dsinc": dsinc}


def high_precision(mp: Any) -> dict[str, Callable[..., Any]]:
    """The mpmath meanings; they follow NumPy at infinities, NaN and outside the real domain."""
    nan, inf, zero = mp.nan, mp.inf, mp.mpf(0)

    def divide(a: Any, b: Any) -> Any:
        if b != 0 or mp.isnan(a):
            return a / b
        return nan if a == 0 else mp.sign(a) * inf

    def logarithm(a: Any) -> Any:
        if mp.isnan(a) or a < 0:
            return nan
        return -inf if a == 0 else mp.log(a)

    def real(function: Callable[[Any], Any], a: Any) -> Any:
        value = function(a)
        return value if not isinstance(value, mp.mpc) or value.imag == 0 else nan

    def power(a: Any, b: Any) -> Any:
        if a == 0 and b < 0:
            return inf
        value = mp.power(a, b)
        return value.real if not isinstance(value, mp.mpc) or value.imag == 0 else nan

    def choose(better: Callable[[Any, Any], bool], keep_nan: bool) -> Callable[[Any, Any], Any]:
        def chosen(a: Any, b: Any) -> Any:
            if mp.isnan(a) or mp.isnan(b):
                return nan if keep_nan else (b if mp.isnan(a) else a)
            return a if better(a, b) else b

        return chosen

    def larger(a: Any, b: Any) -> bool:
        return a >= b

    def smaller(a: Any, b: Any) -> bool:
        return a <= b

    def log_sum(a: Any, b: Any) -> Any:
        top = a if a >= b else b
        return top if mp.isinf(top) else top + mp.log1p(mp.exp(-abs(a - b)))

    def derivative_of_sinc(a: Any) -> Any:
        t = mp.pi * a
        return zero if t == 0 else mp.pi * (mp.cos(t) - mp.sin(t) / t) / t

    return {
        "mp_div": divide,
        "mp_log": logarithm,
        "mp_real": real,
        "mp_pow": power,
        "mp_max": choose(larger, keep_nan=True),
        "mp_min": choose(smaller, keep_nan=True),
        "mp_fmax": choose(larger, keep_nan=False),
        "mp_fmin": choose(smaller, keep_nan=False),
        "mp_trunc": lambda a: mp.floor(a) if a >= 0 else mp.ceil(a),
        "mp_copysign": lambda a, b: abs(a) if b >= 0 else -abs(a),
        "mp_cbrt": lambda a: mp.sign(a) * mp.cbrt(abs(a)),
        "mp_logaddexp": log_sum,
        "mp_xlogy": lambda a, b: zero if a == 0 and not mp.isnan(b) else a * logarithm(b),
        "mp_dsinc": derivative_of_sinc,
    }
