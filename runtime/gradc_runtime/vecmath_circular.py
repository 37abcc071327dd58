"""sin, cos, tan and their inverses, on `Real` values.

Angles are reduced by multiples of pi/2 held in three parts (Cody and Waite), to twice the precision of the
format; arguments too large for that go to the C library, by `rescue`.  Polynomials are minimax, found by
Remez' exchange in 50 digits.
"""

from __future__ import annotations

import math

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
    two_sum,
    where,
)
from gradc_runtime.vecmath_rescue import rescue

# pi / 2 in parts that overlap in no bit.
HALF_PI = {
    F64: (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
    F32: (1.5707964, -4.371139e-08, -1.7151245e-15),
}
# Up to here the multiple of pi/2 is found without error and its last part suffices.
LARGEST = {F64: 2.0**40, F32: 2.0**15}
TINY = {F64: 2.0**-28, F32: 2.0**-13}

# (sin(r) / r - 1) / r**2 for |r| <= pi / 4 in r**2; relative error of the sine 2**-57 and 2**-28.
SIN = {
    F64: (
        -0.1666666666666663,
        0.008333333333321891,
        -0.00019841269829400684,
        2.7557313553660847e-06,
        -2.5050736834461383e-08,
        1.5895578939178231e-10,
    ),
    F32: (-0.16666654, 0.008332151, -0.0001951398),
}
# (cos(r) - 1 + r**2 / 2) / r**4 likewise; 2**-63 and 2**-33.
COS = {
    F64: (
        0.04166666666666659,
        -0.0013888888888872733,
        2.4801587288644052e-05,
        -2.7557314117825854e-07,
        2.087569229415891e-09,
        -1.1358084422142424e-11,
    ),
    F32: (0.041666646, -0.0013887304, 2.4431669e-05),
}
# (atan(t) / t - 1) / t**2 for |t| <= tan(pi / 8) in t**2; 2**-59 and 2**-30.
ATAN = {
    F64: (
        -0.3333333333333319,
        0.19999999999951512,
        -0.14285714279983305,
        0.11111110772626108,
        -0.09090897441906284,
        0.07692054528262823,
        -0.06663038681793432,
        0.05847408667293743,
        -0.05037117538766967,
        0.03800847098897831,
        -0.01784524102279792,
    ),
    F32: (-0.33333313, 0.19998449, -0.14243087, 0.1059034, -0.060690008),
}
# (asin(t) / t - 1) / t**2 for |t| <= 1 / 2 in t**2; 2**-59 and 2**-31.
ASIN = {
    F64: (
        0.16666666666666763,
        0.0749999999996997,
        0.044642857175447984,
        0.030381942665684836,
        0.022372216225977754,
        0.017351588889282392,
        0.013981107733425967,
        0.01139648473403745,
        0.010794276709831031,
        0.003651912925412689,
        0.021843637349308824,
        -0.021196748423140906,
        0.032755275946503654,
    ),
    F32: (0.1666666, 0.0750051, 0.04451572, 0.03181868, 0.014394832, 0.03758097),
}


def _reduced(x: Real) -> tuple[Word, Real, Real]:
    """Return an integer that is n modulo 4, and ``x - n * pi / 2`` as a sum."""
    form = x.format
    first, second, third = HALF_PI[form]
    shifted = x.fma(2.0 / math.pi, form.shifter)
    n = shifted - form.shifter
    exact = n.fma(-first, x)
    part = n * -second
    r, error = two_sum(exact, part)
    return shifted.pattern(), r, error + n.fma(-third, n.fma(-second, -part))


def _sine(r: Real, error: Real) -> Real:
    z = r * r
    return (z * r).fma(polynomial(z, SIN[r.format]), (0.5 * z).fma(-error, error)) + r


def _cosine(r: Real, error: Real) -> Real:
    z = r * r
    total, rest = fast_two_sum(r.of(1.0), -0.5 * z)
    return total + (z * z).fma(polynomial(z, COS[r.format]), r.fma(-error, rest))


def _odd(quarter: Word) -> Truth:
    return (quarter & 1).equals(1)


def _signed(value: Real, quarter: Word) -> Real:
    """Negate the value if bit 1 of `quarter` is set."""
    return (value.pattern() ^ ((quarter & 2) << (value.format.bits - 2))).real()


def sin(x: Real) -> Real:
    """Sine."""
    quarter, r, error = _reduced(x)
    value = _signed(where(_odd(quarter), _cosine(r, error), _sine(r, error)), quarter)
    return rescue("sin", LARGEST[x.format], x, where(abs(x) < TINY[x.format], x, value))


def cos(x: Real) -> Real:
    """Cosine."""
    quarter, r, error = _reduced(x)
    value = _signed(where(_odd(quarter), _sine(r, error), _cosine(r, error)), quarter + 1)
    return rescue("cos", LARGEST[x.format], x, value)


def tan(x: Real) -> Real:
    """Tangent."""
    quarter, r, error = _reduced(x)
    sine, cosine, odd = _sine(r, error), _cosine(r, error), _odd(quarter)
    value = where(odd, -cosine, sine) / where(odd, sine, cosine)
    return rescue("tan", LARGEST[x.format], x, where(abs(x) < TINY[x.format], x, value))


def _arctangent(top: Real, bottom: Real) -> tuple[Real, Real, Real]:
    """Return eighths e of a turn and p so that ``atan(top / bottom) = e * pi / 4 + p``, p as a sum.

    Both are finite, ``0 <= top <= bottom`` and bottom is not 0.
    """
    halved = top > (math.sqrt(2.0) - 1.0) * bottom
    less, less_error = fast_two_sum(-bottom, top)
    more, more_error = fast_two_sum(bottom, top)
    zero = top.of(0.0)
    t = quotient(
        where(halved, less, top),
        where(halved, less_error, zero),
        where(halved, more, bottom),
        where(halved, more_error, zero),
    )
    z = t * t
    return where(halved, top.of(1.0), zero), t, t * z * polynomial(z, ATAN[top.format])


def _angle(eighths: Real, p: Real, rest: Real) -> Real:
    """``eighths * pi / 4 + p + rest``."""
    first, second, _ = HALF_PI[p.format]
    total = eighths * (0.5 * first)
    return total + (p + eighths.fma(0.5 * second, eighths.fma(0.5 * first, -total) + rest))


def arctan(x: Real) -> Real:
    """Inverse tangent."""
    magnitude = clamp(abs(x), 0.0, 4.0 / x.format.epsilon**2)
    inverted = magnitude > 1.0
    one = x.of(1.0)
    top, bottom = where(inverted, one, magnitude), where(inverted, magnitude, one)
    eighths, p, rest = _arctangent(top, bottom)
    eighths = where(inverted, 2.0 - eighths, eighths)
    return _angle(eighths, where(inverted, -p, p), where(inverted, -rest, rest)).copysign(x)


def arctan2(y: Real, x: Real) -> Real:
    """Angle of the point (x, y), from -pi to pi."""
    form = x.format
    steep, left = abs(y) > abs(x), x.of(1.0).copysign(x) < 0.0
    top, bottom = where(steep, abs(x), abs(y)), where(steep, abs(y), abs(x))
    endless = bottom.equals(math.inf)
    top = where(endless, where(top.equals(math.inf), x.of(1.0), 0.0), top)
    bottom = where(endless | bottom.equals(0.0), x.of(1.0), bottom)
    # Away from both ends of the range, so that sums do not overflow and quotients are exact enough.
    huge = 2.0 ** (form.bias - 4)
    scale = where(
        bottom > huge, x.of(2.0**-8), where(bottom < 1.0 / huge, x.of(2.0 ** (form.fraction + 8)), 1.0)
    )
    eighths, p, rest = _arctangent(top * scale, bottom * scale)
    eighths = where(steep, 2.0 - eighths, eighths)
    eighths = where(left, 4.0 - eighths, eighths)
    turned = p.of(1.0).copysign(where(steep, x.of(-1.0), 1.0) * x.of(1.0).copysign(x))
    angle = _angle(eighths, turned * p, turned * rest).copysign(y)
    return where(x.differs(x) | y.differs(y), x + y, angle)


def _halved(x: Real) -> tuple[Truth, Real, Real]:
    """Whether |x| > 1/2, then ``asin(sqrt((1 - |x|) / 2))``, else ``asin(|x|)``, as a sum."""
    magnitude = abs(x)
    large = magnitude > 0.5
    z = where(large, 0.5 * (1.0 - magnitude), x * x)
    s = where(large, z.sqrt(), magnitude)
    return large, s, s * z * polynomial(z, ASIN[x.format])


def arcsin(x: Real) -> Real:
    """Inverse sine."""
    first, second, _ = HALF_PI[x.format]
    large, s, rest = _halved(x)
    complement = first - (2.0 * s - rest.fma(-2.0, second))
    return where(large, complement, s + rest).copysign(x)


def arccos(x: Real) -> Real:
    """Inverse cosine."""
    first, second, _ = HALF_PI[x.format]
    large, s, rest = _halved(x)
    positive = x > 0.0
    right = 2.0 * (s + rest)
    left = (2.0 * first) - (2.0 * s - rest.fma(-2.0, 2.0 * second))
    middle = first - (s.copysign(x) - (second - rest.copysign(x)))
    return where(large, where(positive, right, left), middle)
