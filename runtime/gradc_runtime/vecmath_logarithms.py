"""log, log1p and what is made of them, on `Real` values.

Each argument is split as ``2**k * (1 + f)`` with 1 + f between the square roots of 1/2 and 2.  With ``s = f /
(2 + f)`` it is ``log(1 + f) = 2 * atanh(s) = f - f**2 / 2 + s * (f**2 / 2 + R(s**2))``, the form of FreeBSD's
libm; R is a minimax polynomial.
"""

from __future__ import annotations

import math

from gradc_runtime.vecmath_exponentials import LN2, TINY, exp, exp2
from gradc_runtime.vecmath_lanes import F32, F64, Real, fast_two_sum, polynomial, two_sum, where

# (2 * atanh(s) - 2 * s) / s**3 in s**2, for 1 + f as above; error relative to 2 * atanh(s) 2**-59, 2**-37.
ATANH = {
    F64: (
        0.6666666666666736,
        0.39999999999400204,
        0.28571428745913136,
        0.22222198182231226,
        0.18183586066632595,
        0.1531345991257033,
        0.14802187194114635,
    ),
    F32: (0.6666666, 0.4000034, 0.28537026, 0.23587824),
}
# 1 / log(2), 1 / log(10), log10(2) in two parts; the last one's first part has few bits, as that of `LN2`.
INVERSE_LN2 = {F64: (1.4426950408889634, 2.0355273740931033e-17), F32: (1.442695, 1.925963e-8)}
INVERSE_LN10 = {F64: (0.4342944819032518, 1.098319650216765e-17), F32: (0.4342945, -1.010305e-8)}
LOG10_2 = {
    F64: (3.01029995663611771306e-01, 3.69423907715893078616e-13),
    F32: (0.30102920532, 7.9034151668e-7),
}


def _split(x: Real) -> tuple[Real, Real]:
    """Return k and 1 + f, where ``x = 2**k * (1 + f)``, for normal x > 0."""
    form = x.format
    offset = form.bias + 1
    bits = x.pattern()
    count = (bits - (form.pattern(math.sqrt(0.5)) - (offset << form.fraction))) >> form.fraction
    rest = (bits - ((count - offset) << form.fraction)).real()
    return (count + form.pattern(form.shifter)).real() - (form.shifter + offset), rest


def normal_split(x: Real) -> tuple[Real, Real]:
    """Split any finite x > 0: return k and f."""
    form = x.format
    places = form.fraction + 1
    small = x < 2.0 ** (1 - form.bias)
    k, rest = _split(where(small, x * 2.0**places, x))
    return where(small, k - float(places), k), rest - 1.0


def _series(f: Real) -> tuple[Real, Real, Real]:
    """Return ``f**2 / 2``, s, and ``s * (f**2 / 2 + R)``."""
    s = f / (f + 2.0)
    z = s * s
    square = 0.5 * f * f
    return square, s, s * z.fma(polynomial(z, ATANH[f.format]), square)


def _outside(x: Real, result: Real, pole: float = 0.0) -> Real:
    """Values at the pole, left of it, at infinity and NaN; `result` elsewhere."""
    below = where(x.equals(pole), x.of(-math.inf), math.nan)
    outer = where(x > pole, x, below)
    return where((x > pole) & (x < math.inf), result, outer)


def log(x: Real) -> Real:
    """Natural logarithm."""
    first, second = LN2[x.format]
    k, f = normal_split(x)
    square, _, series = _series(f)
    return _outside(x, k.fma(first, f - (square - k.fma(second, series))))


def log1p(x: Real) -> Real:
    """``log(1 + x)``; the rounding error of 1 + x is added to f, as the derivative says."""
    form = x.format
    first, second = LN2[form]
    total, error = two_sum(x.of(1.0), x)
    k, rest = _split(total)
    near = k.equals(0.0)
    f = where(near, x, rest - 1.0)
    square, s, series = _series(f)
    scale = (rest.pattern() - total.pattern() + form.pattern(1.0)).real()
    share = (
        error * scale * s.fma(s.fma(2.0, -2.0), 1.0)
    )  # error * 2**-k / (1 + f), of which a few bits suffice
    correction = where(near | (x > 4 / form.epsilon), x.of(0.0), share)
    result = k.fma(first, f - (square - k.fma(second, series + correction)))
    return where(abs(x) < TINY[form], x, _outside(x, result, -1.0))


def _times(f: Real, factor: tuple[float, float]) -> tuple[Real, Real]:
    """``factor * log(1 + f)`` to more than the precision of the format, as a sum."""
    square, _, series = _series(f)
    high = f - square
    low = ((f - high) - square) + series
    product = high * factor[0]
    return product, high.fma(factor[0], -product) + low.fma(factor[0], high * factor[1])


def log2(x: Real) -> Real:
    """Logarithm to base 2, exact for powers of 2."""
    k, f = normal_split(x)
    product, rest = _times(f, INVERSE_LN2[x.format])
    total, error = fast_two_sum(k, product)
    return _outside(x, total + (error + rest))


def log10(x: Real) -> Real:
    """Logarithm to base 10, exact for powers of 10."""
    first, second = LOG10_2[x.format]
    k, f = normal_split(x)
    product, rest = _times(f, INVERSE_LN10[x.format])
    total, error = fast_two_sum(k * first, product)
    return _outside(x, total + (error + k.fma(second, rest)))


def _log1p_exp(d: Real) -> Real:
    """``log(1 + exp(-d))`` for d >= 0."""
    form = d.format
    first, second = LN2[form]
    power = exp(-d)
    halve = power > math.sqrt(2.0) - 1.0
    less, error = fast_two_sum(d.of(-1.0), power)
    k, f = where(halve, d.of(1.0), 0.0), where(halve, 0.5 * less, power)
    square, _, series = _series(f)
    # The error is not 0 for powers from 0.414 to 0.5 only: there it counts 1 / (1 + power) times.
    series = series + where(halve, error * 0.6875, 0.0)
    return k.fma(first, f - (square - k.fma(second, series)))


def softplus(x: Real) -> Real:
    """``log(1 + exp(x))``."""
    return where(x > 0.0, x, 0.0) + _log1p_exp(abs(x))


def log_expit(x: Real) -> Real:
    """``log(expit(x))``."""
    tail = _log1p_exp(abs(x))
    return where(x >= 0.0, -tail, x - tail)


def logaddexp(x: Real, y: Real) -> Real:
    """``log(exp(x) + exp(y))``; equal operands are apart because the difference of infinities is NaN."""
    sum_ = where(x >= y, x, y) + _log1p_exp(abs(x - y))
    return where(x.equals(y), x + math.log(2.0), sum_)


def logaddexp2(x: Real, y: Real) -> Real:
    """``log2(2**x + 2**y)``."""
    tail = log1p(exp2(-abs(x - y))) * (1.0 / math.log(2.0))
    return where(x.equals(y), x + 1.0, where(x >= y, x, y) + tail)


def xlogy(x: Real, y: Real) -> Real:
    """Return ``x * log(y)``, 0 where x is 0 and y a number."""
    return where(x.equals(0.0) & y.equals(y), x.of(0.0), x * log(y))


def xlog1py(x: Real, y: Real) -> Real:
    """Return ``x * log(1 + y)``, 0 where x is 0 and y a number."""
    return where(x.equals(0.0) & y.equals(y), x.of(0.0), x * log1p(y))
