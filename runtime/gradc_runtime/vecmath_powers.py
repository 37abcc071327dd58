"""Cube roots and powers, on `Real` values."""

from __future__ import annotations

import math

from gradc_runtime.vecmath_exponentials import LN2, exp, exp_of_sum
from gradc_runtime.vecmath_lanes import F32, F64, Real, Truth, fast_two_sum, polynomial, where
from gradc_runtime.vecmath_logarithms import log, normal_split

# m**(-1/3) for 1 <= m <= 2, relative error 2**-17 (minimax, by Remez' exchange in 50 digits).
INVERSE_CBRT = (
    1.7810579201084242,
    -1.5660295608292871,
    1.2437867497993915,
    -0.5978736180750663,
    0.15607182511602613,
    -0.01701906537597914,
)
# 2/3 in two parts; (2 * atanh(s) - 2 * s - 2/3 * s**3) / s**5 in s**2, error relative to 2 * atanh(s) 2**-73.
TWO_THIRDS = (2.0 / 3.0, 3.700743415417188e-17)
ATANH_TAIL = (
    0.39999999999999974,
    0.2857142857144558,
    0.22222222217423307,
    0.18181818884193574,
    0.1538455592443669,
    0.1333635382725965,
    0.11674079572225901,
    0.1199516642847083,
)


def cbrt(x: Real) -> Real:
    """Cube root: Halley's iteration for its inverse, then a step of Newton's with an exact remainder."""
    form = x.format
    magnitude = abs(x)
    small = magnitude < 2.0 ** (1 - form.bias)
    thirds = form.fraction // 3 + 1
    bits = where(small, magnitude * 2.0 ** (3 * thirds), magnitude).pattern()
    offset = -form.bias % 3
    exponent = (bits >> form.fraction) + offset
    third = exponent.third()
    left = exponent - (third + third + third)
    m = ((bits & ((1 << form.fraction) - 1)) | form.pattern(1.0)).real()
    one, two = left.equals(1), left.equals(2)
    v = m * where(two, x.of(4.0), where(one, x.of(2.0), 1.0))
    factor = where(two, x.of(4.0 ** (-1 / 3)), where(one, x.of(2.0 ** (-1 / 3)), 1.0))
    guess = polynomial(m, INVERSE_CBRT) * factor
    error = (-(v * guess)).fma(guess * guess, 1.0)
    guess = (guess * error).fma(error.fma(2.0 / 9.0, 1.0 / 3.0), guess)
    root = v * guess * guess
    square = root * root
    remainder = square.fma(root, -v) + root.fma(root, -square) * root
    root = (remainder * (guess * guess)).fma(-1.0 / 3.0, root)
    result = (root.pattern() + ((third - (form.bias + offset) // 3) << form.fraction)).real()
    result = where(small, result * 2.0**-thirds, result).copysign(x)
    return where((magnitude > 0.0) & (magnitude < math.inf), result, x + x)


def _accurate_log(x: Real) -> tuple[Real, Real]:
    """Logarithm of a finite x > 0 to 68 bits, as a sum."""
    k, f = normal_split(x)
    bottom, bottom_error = fast_two_sum(x.of(2.0), f)
    inverse = 1.0 / bottom
    s = f * inverse
    s_rest = ((-s).fma(bottom, f) - s * bottom_error) * inverse
    square = s * s
    square_rest = s.fma(s, -square) + 2.0 * s * s_rest
    cube = square * s
    cube_rest = square.fma(s, -cube) + square_rest.fma(s, square * s_rest)
    first, second = TWO_THIRDS
    term = cube * first
    tail = cube * (square * polynomial(square, ATANH_TAIL))
    rest = cube.fma(first, -term) + (cube_rest.fma(first, cube * second) + tail)
    total, error = fast_two_sum(k * LN2[F64][0], 2.0 * s)
    total, second_error = fast_two_sum(total, term)
    return fast_two_sum(total, (error + second_error) + (rest + k.fma(LN2[F64][1], 2.0 * s_rest)))


def _positive_power(x: Real, y: Real) -> Real:
    """``x**y`` for finite x > 0."""
    if x.format is F32:
        return exp(y.to(F64) * log(x.to(F64))).to(F32)
    high, low = _accurate_log(x)
    exponent = y * high
    return exp_of_sum(exponent, y.fma(high, -exponent) + y * low)


def _whole(y: Real) -> Truth:
    return y.truncated().equals(y)


def power(x: Real, y: Real) -> Real:
    """``x**y``, in all special cases as C's ``pow``."""
    magnitude = abs(x)
    result = _positive_power(magnitude, y)
    extreme = where(magnitude.equals(0.0), x.of(0.0), math.inf)
    inverse = where(magnitude.equals(0.0), x.of(math.inf), 0.0)
    result = where(
        magnitude.equals(0.0) | magnitude.equals(math.inf), where(y < 0.0, inverse, extreme), result
    )
    result = where(magnitude.equals(1.0) & y.equals(y), x.of(1.0), result)
    odd = _whole(y) & (0.5 * y).truncated().differs(0.5 * y)
    result = where(odd, result.copysign(x), result)
    result = where((x < 0.0) & (magnitude < math.inf) & y.truncated().differs(y), x.of(math.nan), result)
    result = where(x.differs(x) | y.differs(y), x + y, result)
    return where(x.equals(1.0) | y.equals(0.0), x.of(1.0), result)
