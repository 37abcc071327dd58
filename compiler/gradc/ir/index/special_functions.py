"""Scalar functions that neither NumPy, SciPy nor mpmath spells directly: meanings for the interpreter."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from gradc.ir.random_bits import exact_random_bits, random_bits

Array = Any  # a NumPy array or scalar; in the second half, one mpmath number
Functions = dict[str, Callable[..., Any]]


# --- NumPy --------------------------------------------------------------------------------------------------


def polygamma(order: Array, x: Array) -> Array:
    """``d^(order+1)/dx^(order+1) log gamma(x)`` in the dtype of `x`; order 1 is the trigamma function."""
    value = special.polygamma(np.asarray(order).astype(np.int64), x)
    return np.asarray(value).astype(np.asarray(x).dtype)[()]


def ndtr(x: Array) -> Array:
    """Distribution function of the normal distribution; SciPy's loses digits in the left tail.

    There it is ``erfcx(-x / sqrt(2)) / 2 * exp(-x**2 / 2)``, and the square of `near` is exact.
    """
    x = np.asarray(x)
    wide = x.astype(np.float64)
    left = np.clip(wide, -40.0, 0.0)
    near = np.round(left * 16) / 16
    density = np.exp(-0.5 * (left - near) * (left + near)) * np.exp(-0.5 * near * near)
    tail = 0.5 * special.erfcx(-left / math.sqrt(2)) * density
    value = np.where(wide < -1, tail, 0.5 * special.erfc(-wide / math.sqrt(2)))
    return value.astype(x.dtype if np.issubdtype(x.dtype, np.floating) else np.float64)[()]


def inverse_mills(x: Array) -> Array:
    """``phi(x) / Phi(x)`` of the normal distribution; the scaled `erfcx` keeps both tails."""
    x = np.asarray(x)
    value = math.sqrt(2 / math.pi) / special.erfcx(-x.astype(np.float64) / math.sqrt(2))
    return value.astype(x.dtype)[()]


def sinc_derivative(order: Array, x: Array) -> Array:
    """Differentiate ``sin(pi x) / (pi x)`` `order` times, in the dtype of `x`.

    With ``t = pi x`` the derivatives s_n of ``sin(t) / t`` obey ``t s_n + n s_(n-1) = sin(t + n pi/2)``.
    That recurrence cancels where t is small against n: there the Taylor series takes over.
    """
    x = np.asarray(x)
    n, t = np.broadcast_arrays(np.asarray(order).astype(np.int64), math.pi * x.astype(np.float64))
    values = np.empty(t.shape)
    for each in np.unique(n):
        at = n == each
        values[at] = math.pi**each * _derivative_of_sinc(int(each), t[at])
    return values.astype(x.dtype)[()]


def _derivative_of_sinc(n: int, t: np.ndarray) -> np.ndarray:
    near = np.abs(t) < n + 1
    total, small = np.zeros_like(t), np.where(near, t, 0.0)
    for k in range(n + 30, (n + 1) // 2 - 1, -1):
        factor = (-1) ** k / (math.factorial(2 * k - n) * (2 * k + 1))
        total = total * small**2 + factor
    total *= small ** (n % 2)
    large = np.where(near, 1.0, t)
    closed = np.sin(large) / large
    for m in range(1, n + 1):
        circular = (np.sin, np.cos)[m % 2](large) * (1, 1, -1, -1)[m % 4]
        closed = (circular - m * closed) / large
    return np.where(near, total, closed)


NUMPY: Functions = {
    "polygamma": polygamma,
    "inverse_mills": inverse_mills,
    "ndtr": ndtr,
    "random_bits": random_bits,
    "sinc_derivative": sinc_derivative,
}


# --- mpmath: as NumPy at infinities, NaN, poles and outside the real domain ---------------------------------


def high_precision(mp: Any) -> Functions:
    """Return the mpmath meanings by name."""
    groups = (_division, _powers, _choices, _logarithmic, _normal, _factorial, _sines)
    found = {name: function for group in groups for name, function in group(mp).items()}
    return found | {"random_bits": exact_random_bits}


def _division(mp: Any) -> Functions:
    nan, inf = mp.nan, mp.inf

    def divide(a: Any, b: Any) -> Any:
        if b != 0:
            return a / b
        return nan if a == 0 or mp.isnan(a) else mp.sign(a) * inf

    def floor_divide(a: Any, b: Any) -> Any:
        if b == 0 or mp.isnan(a) or mp.isnan(b):
            return divide(a, b)
        if mp.isinf(b):
            return nan if mp.isinf(a) else -mp.mpf(a != 0 and (a < 0) != (b < 0))
        return nan if mp.isinf(a) else mp.floor(a / b)

    def modulo(a: Any, b: Any) -> Any:
        if b == 0 or mp.isinf(a) or mp.isnan(a) or mp.isnan(b):
            return nan
        if mp.isinf(b):
            return a if a == 0 or (a < 0) == (b < 0) else b
        return a % b  # exact, however large the quotient

    def remainder(a: Any, b: Any) -> Any:
        return nan if mp.isnan(b) else mp.sign(a) * modulo(abs(a), abs(b)) if a != 0 else modulo(a, b)

    return {
        "mp_div": divide,
        "mp_floor_divide": floor_divide,
        "mp_mod": modulo,
        "mp_fmod": remainder,
    }


def _powers(mp: Any) -> Functions:
    nan, inf = mp.nan, mp.inf

    def real(function: Callable[[Any], Any], a: Any) -> Any:
        value = function(a)
        return value if not isinstance(value, mp.mpc) or value.imag == 0 else nan

    def power(a: Any, b: Any) -> Any:
        if b == 0 or a == 1:
            return mp.mpf(1)
        if a == 0 and b < 0:
            return inf
        if a < 0 and (mp.isinf(b) or (a == -inf and (mp.isnan(b) or b % 2 != 1))):
            return power(-a, b)
        return real(lambda base: mp.power(base, b), a)

    def hypot(a: Any, b: Any) -> Any:
        return inf if mp.isinf(a) or mp.isinf(b) else mp.hypot(a, b)

    def angle(a: Any, b: Any) -> Any:
        if mp.isnan(a) or mp.isnan(b):
            return nan
        if mp.isinf(a) and mp.isinf(b):
            return mp.sign(a) * mp.pi * (1 if b > 0 else 3) / 4
        return mp.mpf(0) if a == 0 and b == 0 else mp.atan2(a, b)

    return {
        "mp_real": real,
        "mp_pow": power,
        "mp_hypot": hypot,
        "mp_atan2": angle,
        "mp_trunc": lambda a: mp.floor(a) if a >= 0 else mp.ceil(a),
        "mp_copysign": lambda a, b: -abs(a) if b < 0 else abs(a),
        "mp_cbrt": lambda a: a if a == 0 or mp.isnan(a) else mp.sign(a) * mp.cbrt(abs(a)),
    }


def _choices(mp: Any) -> Functions:
    def choose(better: Callable[[Any, Any], bool], keep_nan: bool) -> Callable[[Any, Any], Any]:
        def chosen(a: Any, b: Any) -> Any:
            if mp.isnan(a) or mp.isnan(b):
                return mp.nan if keep_nan else (b if mp.isnan(a) else a)
            return a if better(a, b) else b

        return chosen

    def step(a: Any, at_zero: Any) -> Any:
        return at_zero if a == 0 else a if mp.isnan(a) else mp.mpf(a > 0)

    def larger(a: Any, b: Any) -> bool:
        return a >= b

    def smaller(a: Any, b: Any) -> bool:
        return a <= b

    return {
        "mp_heaviside": step,
        "mp_max": choose(larger, keep_nan=True),
        "mp_min": choose(smaller, keep_nan=True),
        "mp_fmax": choose(larger, keep_nan=False),
        "mp_fmin": choose(smaller, keep_nan=False),
    }


def _logarithmic(mp: Any) -> Functions:
    nan, inf, zero = mp.nan, mp.inf, mp.mpf(0)

    def logarithm(a: Any) -> Any:
        if mp.isnan(a) or a < 0:
            return nan
        return -inf if a == 0 else mp.log(a)

    def shifted(a: Any) -> Any:
        return logarithm(1 + a) if a <= -1 or not mp.isfinite(a) else mp.log1p(a)

    def log_sum(a: Any, b: Any) -> Any:
        if mp.isnan(a) or mp.isnan(b):
            return nan
        top = a if a >= b else b
        return top if mp.isinf(top) else top + mp.log1p(mp.exp(-abs(a - b)))

    def log_odds(a: Any) -> Any:
        return inf if a == 1 else logarithm(a / (1 - a))

    return {
        "mp_log": logarithm,
        "mp_log1p": shifted,
        "mp_logaddexp": log_sum,
        "mp_logaddexp2": lambda a, b: log_sum(a * mp.ln2, b * mp.ln2) / mp.ln2,
        "mp_logit": log_odds,
        "mp_xlogy": lambda a, b: zero if a == 0 and not mp.isnan(b) else a * logarithm(b),
        "mp_xlog1py": lambda a, b: zero if a == 0 and not mp.isnan(b) else a * shifted(b),
    }


def _factorial(mp: Any) -> Functions:
    nan, inf = mp.nan, mp.inf

    def at_pole(function: Callable[[Any], Any], at_zero: Any, elsewhere: Any) -> Callable[[Any], Any]:
        """Give `function` values at the poles 0, -1, -2, ... and at minus infinity."""

        def guarded(a: Any) -> Any:
            if mp.isfinite(a) and a <= 0 and a == mp.floor(a):
                return at_zero if a == 0 else elsewhere
            return elsewhere if a == -inf else mp.re(function(a))

        return guarded

    return {
        "mp_gamma": at_pole(mp.gamma, inf, nan),
        "mp_gammaln": at_pole(mp.loggamma, inf, inf),
        "mp_digamma": at_pole(mp.digamma, -inf, nan),
        "mp_polygamma": lambda n, a: (
            at_pole(lambda x: mp.polygamma(int(n), x), inf, inf)(a) if a != inf else mp.mpf(0)
        ),
    }


def _normal(mp: Any) -> Functions:
    nan, inf = mp.nan, mp.inf

    def inverse_erf(a: Any) -> Any:
        if not abs(a) <= 1:
            return nan
        return mp.sign(a) * inf if abs(a) == 1 else mp.erfinv(a)

    def quantile(a: Any) -> Any:
        if not 0 < a < 1:
            return -inf if a == 0 else inf if a == 1 else nan
        with mp.extradps(max(0, int(-mp.log10(a))) + 5):  # 2 a - 1 must keep the digits of a small a
            return mp.sqrt(2) * mp.erfinv(2 * a - 1)

    def log_normal(a: Any) -> Any:
        return -inf if a == -inf else mp.log1p(-mp.ncdf(-a)) if a > 0 else mp.log(mp.ncdf(a))

    def mills(a: Any) -> Any:
        return inf if a == -inf else mp.npdf(a) / mp.ncdf(a)

    return {
        "mp_erfinv": inverse_erf,
        "mp_ndtri": quantile,
        "mp_log_ndtr": log_normal,
        "mp_inverse_mills": mills,
    }


def _sines(mp: Any) -> Functions:
    def sinc_derivative(n: int, a: Any) -> Any:
        if not mp.isfinite(a):
            return mp.nan
        if a == 0:
            return mp.pi**n * (1, 0, -1, 0)[n % 4] / (n + 1)
        lost = max(0, int(-mp.log10(abs(a)))) * n  # the recurrence loses this many digits near 0
        with mp.extradps(lost + 10):
            t = mp.pi * a
            value = mp.sin(t) / t
            for m in range(1, n + 1):
                value = (mp.sin(t + m * mp.pi / 2) - m * value) / t
            return mp.pi**n * value

    return {"mp_dsinc": sinc_derivative}
