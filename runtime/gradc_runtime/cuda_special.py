"""Special functions that generated CUDA kernels import: libdevice's, and what is made of them.

All return the dtype of their operand.  `digamma` and `polygamma` compute float32 in float64 as well: sums that
cancel near their zeros.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradc_runtime import cuda_math
from gradc_runtime.cuda_backend import device_function
from gradc_runtime.cuda_math import (
    cospi,
    erfcx,
    exp,
    float_power,
    floor,
    log,
    log1p,
    ndtr,
    rint,
    sinpi,
)

Number = Any  # a machine number on a device, a NumPy scalar or a Python number in the simulator

erfinv, ndtri, gamma = cuda_math.erfinv, cuda_math.ndtri, cuda_math.gamma


# --- The normal distribution --------------------------------------------------------------------------------

ROOT_HALF, ROOT_TWO_OVER_PI = math.sqrt(0.5), math.sqrt(2.0 / math.pi)


@device_function
def log_ndtr(a: Number) -> Number:
    """Logarithm of the normal distribution function."""
    if a < -1:
        half = type(a)(0.5)
        return log(half * erfcx(type(a)(-ROOT_HALF) * a)) - half * a * a
    return log1p(-ndtr(-a))


@device_function
def inverse_mills(a: Number) -> Number:
    """Density by distribution function of the normal distribution; the scaled `erfcx` keeps the left tail."""
    if a <= 0:
        return type(a)(ROOT_TWO_OVER_PI) / erfcx(type(a)(-ROOT_HALF) * a)
    half, sixteen = type(a)(0.5), type(a)(16)
    bounded = type(a)(40) if a > 40 else a  # where the density is 0
    near = rint(bounded * sixteen) / sixteen  # of few bits, so that its square is exact
    density = exp(-half * near * near) * exp(-half * (bounded - near) * (bounded + near))
    return half * type(a)(ROOT_TWO_OVER_PI) * density / ndtr(a)


# --- The logarithm of gamma and its derivatives -------------------------------------------------------------


@device_function
def gammaln(a: Number) -> Number:
    """Logarithm of the absolute value of the gamma function; SciPy's value at minus infinity, where none is right."""
    return a if a == -math.inf else cuda_math.gammaln(a)


# The positive zero of digamma in two parts, and digamma(x) / (x - zero) for 1 <= x <= 2 in x - 3/2, the last
# coefficient first: interpolation at Chebyshev nodes in 60 digits, relative error 2**-60.
ZERO = (1.4616321449683622, 9.549995429965697e-17)
FROM_ZERO = (
    -8.153978973309418e-05,
    0.00012230983055406747,
    -6.11554261750751e-05,
    9.173383289174792e-05,
    -0.0002178682145501451,
    0.0003268068044141764,
    -0.0004599625144612576,
    0.0006899717801166841,
    -0.001042261556504223,
    0.0015635679757533885,
    -0.002344650082351321,
    0.0035180800751066694,
    -0.00528001782089874,
    0.007927024067961237,
    -0.011908215172584002,
    0.017907248195969127,
    -0.02697579684427536,
    0.04076083394462657,
    -0.06192213327165706,
    0.09498872445283,
    -0.14840492305391761,
    0.24054248424078736,
    -0.42362742128146047,
    0.9510558760318328,
)
# Bernoulli's numbers B(2k) for k = 1, 2, ..., and what series make of them: B(2k) / (2k), the last coefficient first
# (DLMF 5.11.2), and B(2k) / (2k)! (DLMF 25.11.5).
BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
BERNOULLI += (43867 / 798, -174611 / 330, 854513 / 138)
ASYMPTOTIC = tuple(number / (2 * k) for k, number in enumerate(BERNOULLI[:7], 1))[::-1]
EULER_MACLAURIN = tuple(number / math.factorial(2 * k) for k, number in enumerate(BERNOULLI, 1))


@device_function
def _digamma(x: Number) -> Number:
    """`digamma` of a float64."""
    total = np.float64(0.0)
    if x < 0:  # reflection (DLMF 5.5.4), without the whole turns of the angle
        beyond = x - rint(x)
        if beyond == 0:
            return np.float64(math.nan)
        total = -math.pi * cospi(beyond) / sinpi(beyond)
        x = 1.0 - x
    if not x < 10:
        inverse, series = 1.0 / (x * x), np.float64(0.0)
        for coefficient in ASYMPTOTIC:
            series = series * inverse + coefficient
        return total + (log(x) - 0.5 / x - series * inverse)
    while x > 2:  # recurrence (DLMF 5.5.2) to between 1 and 2
        x -= 1.0
        total += 1.0 / x
    if x < 1:
        total -= 1.0 / x
        x += 1.0
    ratio = np.float64(0.0)
    for coefficient in FROM_ZERO:
        ratio = ratio * (x - 1.5) + coefficient
    return total + (x - ZERO[0] - ZERO[1]) * ratio


@device_function
def digamma(a: Number) -> Number:
    """Logarithmic derivative of the gamma function."""
    return type(a)(_digamma(np.float64(a)))


@device_function
def _zeta_of_positive(s: Number, q: Number) -> Number:
    """Sum ``(q + k)**-s`` over k >= 0, for s > 1, q > 0: some terms, then Euler-Maclaurin (DLMF 25.11.5)."""
    total = np.float64(0.0)
    while q < s + 8:  # the more derivatives, the later the series converges
        total += float_power(q, -s)
        q += 1.0
    total += float_power(q, 1.0 - s) * (1.0 / (s - 1.0) + 0.5 / q)
    rising = s
    scale = float_power(q, -s - 1.0)
    for k, coefficient in enumerate(EULER_MACLAURIN):
        total += coefficient * rising * scale
        rising *= (s + 2 * k + 1) * (s + 2 * k + 2)
        scale /= q * q
    return total


@device_function
def _hurwitz_zeta(s: Number, q: Number) -> Number:
    """Continue `_zeta_of_positive` to negative `q` for integers `s`; infinite at the poles 0, -1, -2, ..."""
    if not q <= 0:
        return _zeta_of_positive(s, q)
    above = q - floor(q)
    if above == 0:
        return np.float64(math.inf)
    below = _zeta_of_positive(s, 1.0 - above) - _zeta_of_positive(s, 1.0 - q)
    return _zeta_of_positive(s, above) + (-below if int(s) % 2 else below)


@device_function
def polygamma(n: Number, a: Number) -> Number:
    """Differentiate `digamma` n times: ``(-1)**(n + 1) * n! * zeta(n + 1, a)`` (DLMF 25.11.12)."""
    if n == 0:
        return type(a)(_digamma(np.float64(a)))
    order = np.float64(n) + 1.0
    magnitude = gamma(order) * _hurwitz_zeta(order, np.float64(a))
    return type(a)(magnitude if int(n) % 2 else -magnitude)
