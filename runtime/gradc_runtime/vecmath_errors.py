"""The error function, its complement, and the normal distribution function, on `Real` values.

Below 0.477, where it is 1/2, erf is an odd polynomial; above it erfc is ``exp(-x**2) / (x + 2)`` times a
polynomial in (x - 2) / (x + 2).  Polynomials are minimax, found by Remez' exchange in 50 digits.
"""

from __future__ import annotations

from gradc_runtime.vecmath_exponentials import exp_of_sum
from gradc_runtime.vecmath_lanes import F32, F64, Real, clamp, polynomial, two_sum, where

HALF = 0.477  # about where erf is 1/2
LARGEST = {F64: 28.0, F32: 11.0}  # erfc is 0 beyond
INVERSE_ROOT2 = 0.7071067811865476

# erf(x) / x for |x| < 0.48 in x**2; relative error 2**-58 and 2**-30.  The first coefficient is in two parts.
ERF_FIRST = {
    F64: (1.1283791670955126, 1.533545961316588e-17),
    F32: (1.128379225730896, -5.8635382771399236e-08),
}
ERF = {
    F64: (
        -0.37612638903183604,
        0.11283791670937897,
        -0.026866170637472875,
        0.005223977454677062,
        -0.0008548305599517367,
        0.0001205375048113588,
        -1.4857246441356097e-05,
        1.4852413988428226e-06,
    ),
    F32: (-0.37612617, 0.11283029, -0.026773097, 0.0047556837),
}
# erfc(x) * exp(x**2) * (x + 2) for x > 0.47 in (x - 2) / (x + 2); relative error 2**-60 and 2**-33.
ERFC = {
    F64: (
        1.021582705242023,
        -0.6871606844138106,
        0.2794720925560552,
        -0.03644223150687675,
        -0.021510661889536927,
        0.006479185067636544,
        0.003090612061201103,
        -0.0008372960605467853,
        -0.0006630735445132828,
        3.437142131412826e-05,
        0.0001444711823022351,
        3.414887690326783e-05,
        -2.1699151025662022e-05,
        -1.611970999651801e-05,
        -1.1130941693921433e-06,
        3.63421792311866e-06,
        1.968928470260107e-06,
        4.038759524726748e-08,
        -5.214727408404069e-07,
        -4.1104108185093434e-07,
        -3.1951923179521406e-08,
        2.1637286435604615e-07,
        3.682547946579865e-08,
        -6.652477259693821e-08,
        1.0768341934286627e-08,
    ),
    F32: (
        1.0215827,
        -0.6871607,
        0.27947208,
        -0.03644232,
        -0.021510517,
        0.0064805555,
        0.0030888426,
        -0.0008460575,
        -0.00065346627,
        6.0332834e-05,
        0.00012070221,
    ),
}


def _near(x: Real) -> Real:
    """``erf(x)`` for small x."""
    first, second = ERF_FIRST[x.format]
    z = x * x
    return x.fma(first, x * z.fma(polynomial(z, ERF[x.format]), second))


def _bell(x: Real, factor: float) -> Real:
    """``exp(factor * x**2)`` for a power of two as the factor: what rounding takes from the square counts."""
    square = x * x
    return exp_of_sum(square * factor, x.fma(x, -square) * factor)


def _far(x: Real, power: Real) -> Real:
    """``erfc(x)`` for x > 0.47, given ``exp(-x**2)``."""
    x = clamp(x, 0.0, LARGEST[x.format])
    bottom, bottom_error = two_sum(x, x.of(2.0))
    inverse = 1.0 / bottom
    factor = polynomial((x - 2.0) * inverse, ERFC[x.format])
    share = factor * inverse
    share_rest = ((-share).fma(bottom, factor) - share * bottom_error) * inverse
    result = power * share
    return result + power.fma(share_rest, power.fma(share, -result))


def erf(x: Real) -> Real:
    """Error function."""
    magnitude = abs(x)
    far = _far(magnitude, _bell(magnitude, -1.0))
    return where(magnitude < HALF, _near(magnitude), 1.0 - far).copysign(x)


def ndtr(x: Real) -> Real:
    """``erfc(-x / sqrt(2)) / 2``.

    What rounding takes from the argument, the tail magnifies by its square; so the tail is the exponential of x itself,
    ``exp(-x * x / 2)``: in loops that need the density, too, it is computed once.
    """
    argument = x * INVERSE_ROOT2
    magnitude = abs(argument)
    far = 0.5 * _far(magnitude, _bell(x, -0.5))
    near = _near(argument).fma(0.5, x.of(0.5))
    return where(magnitude < HALF, near, where(x < 0.0, far, 1.0 - far))


def erfc(x: Real) -> Real:
    """``1 - erf(x)``, without cancellation."""
    magnitude = abs(x)
    far = _far(magnitude, _bell(magnitude, -1.0))
    return where(magnitude < HALF, 1.0 - _near(x), where(x < 0.0, 2.0 - far, far))
