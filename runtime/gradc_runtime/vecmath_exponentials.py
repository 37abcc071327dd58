"""exp, exp2, expm1 and what is made of them, on `Real` values.

Each argument is split as ``n * log(2) + r`` with ``|r| <= log(2) / 2``; ``exp(r)`` is a minimax polynomial
(found by Remez' exchange in 50 digits) and ``2**n`` is written into exponent bits, in two steps so that
subnormal results are rounded once.
"""

from __future__ import annotations

from gradc_runtime.vecmath_lanes import (
    F32,
    F64,
    Real,
    Truth,
    Word,
    clamp,
    fast_two_sum,
    polynomial,
    quotient,
    where,
)

LOG2_E = 1.4426950408889634
# log(2) in two parts; the first has few bits, so that its products with n are exact.
LN2 = {F64: (6.93147180369123816490e-01, 1.90821492927058770002e-10), F32: (0.693359375, -2.12194440e-4)}

# (exp(r) - 1 - r) / r**2 for |r| <= log(2) / 2, the error relative to expm1(r): 2**-60 and 2**-31.
EXP = {
    F64: (
        0.5,
        0.16666666666666677,
        0.041666666666666505,
        0.008333333333321515,
        0.0013888888888963483,
        0.00019841269886476778,
        2.4801587171086877e-05,
        2.75572438046633e-06,
        2.755740325756837e-07,
        2.5109194950999107e-08,
        2.087533015401883e-09,
    ),
    F32: (0.5, 0.16666666, 0.04166636, 0.00833339, 0.0013940823, 0.00019845873),
}
# (2**r - 1) / r for |r| <= 1 / 2, the error relative to 2**r: 2**-58 and 2**-29.
EXP2 = {
    F64: (
        0.6931471805599453,
        0.24022650695910133,
        0.05550410866482006,
        0.00961812910759357,
        0.0013333558146780109,
        0.00015403530457875584,
        1.5252733489457649e-05,
        1.3215434871365424e-06,
        1.017820045290354e-07,
        7.073858452766862e-09,
        4.4347322591317236e-10,
    ),
    F32: (0.6931472, 0.24022648, 0.05550332, 0.00961844, 0.0013399132, 0.00015353166),
}
# Arguments beyond which exp is 0 or infinite, and a little more.
EXP_RANGE = {F64: (-746.0, 710.0), F32: (-104.0, 89.0)}
EXP2_RANGE = {F64: (-1076.0, 1025.0), F32: (-151.0, 129.0)}
# Magnitudes beyond which the functions are constant to the last bit, and below which they are their argument.
EXPM1_LOW = {F64: -40.0, F32: -20.0}
TANH_LARGE = {F64: 22.0, F32: 10.0}
SINH_LARGE = {F64: 710.6, F32: 89.5}
TINY = {F64: 2.0**-54, F32: 2.0**-25}
TANH_TINY = {F64: 2.0**-30, F32: 2.0**-14}


def _split(x: Real) -> tuple[Real, Real, Word]:
    """Return r, its rounding error, and n + 2 * bias as an integer, where ``x = n * log(2) + r``."""
    form = x.format
    first, second = LN2[form]
    shifted = x.fma(LOG2_E, form.shifter)
    n = shifted - form.shifter
    exact = n.fma(-first, x)
    r = n.fma(-second, exact)
    return r, n.fma(-second, exact - r), shifted.pattern() - (form.pattern(form.shifter) - 2 * form.bias)


def _scaled(y: Real, count: Word) -> Real:
    """``y * 2**n``, given n + 2 * bias: two exact factors whose product may overflow or be subnormal."""
    half = count >> 1
    fraction = y.format.fraction
    return y * (half << fraction).real() * ((count - half) << fraction).real()


def _power_of_two(count: Word, less: int = 0) -> Real:
    """``2**(n - less)`` in the normal range, given n + 2 * bias."""
    return ((count - (count.format.bias + less)) << count.format.fraction).real()


def exp(x: Real) -> Real:
    """Exponential."""
    bottom, top = EXP_RANGE[x.format]
    zero, bounded = _bounded(x, bottom, top)
    r, _, count = _split(bounded)
    return where(zero, x.of(0.0), _scaled((r * r).fma(polynomial(r, EXP[x.format]), r) + 1.0, count))


def _bounded(x: Real, bottom: float, top: float) -> tuple[Truth, Real]:
    """Where the result is 0, and arguments up to `top`, 0 there: a product that underflows costs a hundred others."""
    zero = x <= bottom
    below = where(zero, x.of(0.0), x)
    return zero, where(below > top, x.of(top), below)


def exp_of_sum(high: Real, low: Real) -> Real:
    """``exp(high + low)`` to little more than half an ULP; low is too small to count in ``high + low``."""
    bottom, top = EXP_RANGE[high.format]
    zero, bounded = _bounded(high, bottom, top)
    r, error, count = _split(bounded)
    error = error + where((high > bottom) & (high < top), low, 0.0)
    rest = (r * r) * polynomial(r, EXP[high.format])
    total, lost = fast_two_sum(r.of(1.0), r)
    return where(zero, high.of(0.0), _scaled(total + (lost + (rest + error.fma(r + rest, error))), count))


def exp2(x: Real) -> Real:
    """Power of two."""
    form = x.format
    bottom, top = EXP2_RANGE[form]
    zero, bounded = _bounded(x, bottom, top)
    shifted = bounded + form.shifter
    r = bounded - (shifted - form.shifter)
    count = shifted.pattern() - (form.pattern(form.shifter) - 2 * form.bias)
    return where(zero, x.of(0.0), _scaled(r.fma(polynomial(r, EXP2[form]), 1.0), count))


def _expm1_parts(x: Real) -> tuple[Real, Real, Word]:
    """Return r, the rest of ``expm1(r)``, and n + 2 * bias."""
    r, error, count = _split(x)
    rest = (r * r).fma(polynomial(r, EXP[x.format]), error.fma(r, error))
    return r, rest, count


def _expm1_scaled(x: Real, less: int) -> Real:
    """``expm1(x) / 2**less``, for x that are not tiny."""
    r, rest, count = _expm1_parts(x)
    scale = _power_of_two(count, less)
    top = scale - 2.0**-less
    total = scale.fma(r, top)
    return total + scale.fma(rest, scale.fma(r, top - total))


def expm1(x: Real) -> Real:
    """``exp(x) - 1``."""
    form = x.format
    half = _expm1_scaled(clamp(x, EXPM1_LOW[form], EXP_RANGE[form][1]), 1)
    return where(abs(x) < TINY[form], x, half + half)


def tanh(x: Real) -> Real:
    """Hyperbolic tangent: ``E / (2 - E)`` with ``E = -expm1(-2|x|)``, both to twice the precision."""
    form = x.format
    doubled = clamp(abs(x), 0.0, TANH_LARGE[form]) * -2.0
    r, rest, count = _expm1_parts(doubled)
    scale = _power_of_two(count)
    r, rest = fast_two_sum(r, rest)
    below = 1.0 - scale
    top = (-scale).fma(r, below)
    top_error = (-scale).fma(rest, (-scale).fma(r, below - top))
    bottom, bottom_error = fast_two_sum(x.of(2.0), -top)
    result = quotient(top, top_error, bottom, bottom_error - top_error)
    return where(abs(x) < TANH_TINY[form], x, result.copysign(x))


def expit(x: Real) -> Real:
    """``1 / (1 + exp(-x))``, without overflow on either side."""
    small = exp(-abs(x))
    bottom, error = fast_two_sum(x.of(1.0), small)
    return quotient(where(x >= 0.0, x.of(1.0), small), x.of(0.0), bottom, error)


def sinh(x: Real) -> Real:
    """Hyperbolic sine: ``(E + E / (E + 1)) / 2`` with ``E = expm1(|x|)``, all divided by 4."""
    form = x.format
    quarter = _expm1_scaled(clamp(abs(x), 0.0, SINH_LARGE[form]), 2)
    half = quarter + 0.25 * (quarter / (quarter + 0.25))
    return where(abs(x) < TANH_TINY[form], x, (half + half).copysign(x))


def cosh(x: Real) -> Real:
    """Hyperbolic cosine."""
    form = x.format
    r, _, count = _split(clamp(abs(x), 0.0, SINH_LARGE[form]))
    quarter = _power_of_two(count, 2)
    quarter = quarter.fma((r * r).fma(polynomial(r, EXP[form]), r), quarter)
    half = quarter + 0.0625 / quarter
    return half + half
