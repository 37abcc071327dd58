"""Scalar functions that generated CUDA kernels import, each with NumPy's meaning at every floating-point value.

They are what `gradc_runtime.scalars` is on the CPU, under the same names, and compiled from its source where
that calls nothing.  All return the dtype of their operand, and compute float32 in float32, which some devices do
64 times as fast.  The exceptions are `sinc_derivative`, and `sin`, `cos` and `tan` beyond 1e5, where libdevice
takes a step in float64.  None raises.  The special functions are in `gradc_runtime.cuda_special`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradc_runtime import cuda_math, instructions, reduce, scalars
from gradc_runtime.cuda_backend import SIMULATED, device_function
from gradc_runtime.cuda_math import (
    by_kind,
    cospi,
    float_power,
    remainder,
    sinpi,
    with_sign_of,
)
from gradc_runtime.scalars import DSINC_SERIES

Number = Any  # a machine number on a device, a NumPy scalar or a Python number in the simulator

floor, ceil, rint, trunc = cuda_math.floor, cuda_math.ceil, cuda_math.rint, cuda_math.trunc
sqrt, cbrt = cuda_math.sqrt, cuda_math.cbrt
exp, exp2, expm1 = cuda_math.exp, cuda_math.exp2, cuda_math.expm1
log, log2, log10, log1p = cuda_math.log, cuda_math.log2, cuda_math.log10, cuda_math.log1p
sin, cos, tan = cuda_math.sin, cuda_math.cos, cuda_math.tan
arcsin, arccos = cuda_math.arcsin, cuda_math.arccos
arctan, arctan2 = cuda_math.arctan, cuda_math.arctan2
sinh, cosh, tanh = cuda_math.sinh, cuda_math.cosh, cuda_math.tanh
arccosh, arctanh = cuda_math.arccosh, cuda_math.arctanh
erf, erfc, ndtr = cuda_math.erf, cuda_math.erfc, cuda_math.ndtr
random_bits = cuda_math.random_bits


# --- Arithmetic ---------------------------------------------------------------------------------------------

square = device_function(scalars.square.py_func)
reciprocal = device_function(scalars.reciprocal.py_func)
sign = device_function(scalars.sign.py_func)
heaviside = device_function(scalars.heaviside.py_func)
maximum = device_function(instructions.maximum)
minimum = device_function(instructions.minimum)
fmax = device_function(instructions.fmax)
fmin = device_function(instructions.fmin)
larger = device_function(reduce.larger)
smaller = device_function(reduce.smaller)


@device_function
def plus(total: Number, value: Number) -> Number:
    """``total + value`` in the dtype of `total`; of booleans, whether either is true."""
    return type(total)(total + value)


def _float_floor_divide(a: Number, b: Number) -> Number:
    if b == 0:
        return a / b
    rest = remainder(a, b)
    quotient = (a - rest) / b
    if (rest != 0) & ((b < 0) != (rest < 0)):
        quotient -= type(a)(1)
    if quotient == 0:
        return with_sign_of(type(a)(0), a / b)
    whole = floor(quotient)
    return whole + type(a)(1) if quotient - whole > type(a)(0.5) else whole


def _float_modulo(a: Number, b: Number) -> Number:
    rest = remainder(a, b)
    if rest == 0:
        return with_sign_of(rest, b)
    return rest + b if (b < 0) != (rest < 0) else rest


def _float_remainder(a: Number, b: Number) -> Number:
    return remainder(a, b)


def _float_power(a: Number, b: Number) -> Number:
    return float_power(a, b)


def _integer_power(a: Number, b: Number) -> Number:
    if b < 0:  # ``1 / a**-b`` without its fraction: a kernel cannot raise as NumPy does
        odd = type(a)(1) if a == 1 else (type(a)(-1) if b & 1 else type(a)(1))
        return odd if (a == 1) | (a == -1) else type(a)(0)
    result, base, left = type(a)(1), a, b
    while left > 0:
        if left & 1:
            result = type(a)(result * base)
        left = type(b)(left >> 1)
        base = type(a)(base * base)
    return result


def _unsigned_quotient(a: Number, b: Number) -> Number:
    return np.int64(np.uint64(a) // np.uint64(b))


def _checked_quotient(a: Number, b: Number) -> Number:
    if a < 0 or b <= 0:
        raise ValueError(f"{a} // {b} is no quotient of unsigned numbers")
    return a // b


quotient = (
    _checked_quotient if SIMULATED else device_function(_unsigned_quotient)
)  # of indices: none is negative
floor_divide = by_kind(_float_floor_divide, scalars.integer_floor_divide)
modulo = by_kind(_float_modulo, scalars.integer_modulo)
fmod = by_kind(_float_remainder, scalars.integer_fmod)
power = by_kind(_float_power, _integer_power)


# --- Exponentials and logarithms ----------------------------------------------------------------------------

LN2, LOG2_E = math.log(2.0), 1.0 / math.log(2.0)


@device_function
def expit(a: Number) -> Number:
    """``1 / (1 + exp(-a))``, without overflow on either side."""
    one, small = type(a)(1), exp(-abs(a))
    return (one if a >= 0 else small) / (one + small)


@device_function
def softplus(a: Number) -> Number:
    """``log(1 + exp(a))``."""
    return (a if a > 0 else type(a)(0)) + log1p(exp(-abs(a)))


@device_function
def log_expit(a: Number) -> Number:
    """``log(expit(a))``."""
    return -((-a if a < 0 else type(a)(0)) + log1p(exp(-abs(a))))


@device_function
def logaddexp(a: Number, b: Number) -> Number:
    """``log(exp(a) + exp(b))``."""
    if a == b:  # equal infinities have no difference
        return a + type(a)(LN2)
    top, low = (a, b) if a > b else (b, a)
    return top + log1p(exp(low - top))


@device_function
def logaddexp2(a: Number, b: Number) -> Number:
    """``log2(2**a + 2**b)``."""
    if a == b:
        return a + type(a)(1)
    top, low = (a, b) if a > b else (b, a)
    return top + type(a)(LOG2_E) * log1p(exp2(low - top))


@device_function
def xlogy(a: Number, b: Number) -> Number:
    """Return ``a * log(b)``, 0 where `a` is 0."""
    return type(a)(0) if (a == 0) & (b == b) else a * log(b)


@device_function
def xlog1py(a: Number, b: Number) -> Number:
    """Return ``a * log(1 + b)``, 0 where `a` is 0."""
    return type(a)(0) if (a == 0) & (b == b) else a * log1p(b)


@device_function
def logit(a: Number) -> Number:
    """``log(a / (1 - a))``; near one half by `log1p`, where the quotient is close to 1."""
    one = type(a)(1)
    if (a < type(a)(0.3)) | (a > type(a)(0.65)):
        return log(a / (one - a))
    shifted = type(a)(2) * (a - type(a)(0.5))
    return log1p(shifted) - log1p(-shifted)


# --- sin(pi x) / (pi x): libdevice reduces the angle pi x without error -------------------------------------


@device_function
def sinc(a: Number) -> Number:
    """``sin(pi a) / (pi a)``, 1 at 0."""
    return type(a)(1) if a == 0 else sinpi(a) / (type(a)(math.pi) * a)


@device_function
def dsinc(a: Number) -> Number:
    """Differentiate `sinc`: a series where the closed form would cancel."""
    t = type(a)(math.pi) * a
    t2 = t * t
    if t2 < 1:
        total = type(a)(0)
        for factor in DSINC_SERIES:
            total = total * t2 + type(a)(factor)
        return type(a)(math.pi) * t * total
    return (cospi(a) - sinpi(a) / t) / a


@device_function
def sinc_derivative(n: Number, a: Number) -> Number:
    """Differentiate `sinc` n times: Taylor series for pi a below n + 1, recurrence in n above."""
    order, wide = int(n), np.float64(a)
    t = math.pi * wide
    if abs(t) < order + 1:
        total = _sinc_series(order, t)
    else:
        sine, cosine = sinpi(wide), cospi(wide)
        total = sine / t
        for m in range(1, order + 1):
            circular = cosine if m % 2 else sine
            total = ((circular if m % 4 < 2 else -circular) - m * total) / t
    return type(a)(float_power(np.float64(math.pi), np.float64(order)) * total)


@device_function
def _sinc_series(order: int, t: Number) -> Number:
    k = (order + 1) // 2
    power = (1.0 - 2.0 * (k % 2)) * (t if order % 2 else np.float64(1.0))
    total = np.float64(0.0)
    for j in range(k, order + 31):
        total += power / (2 * j + 1)
        power *= -t * t / ((2 * j - order + 1) * (2 * j - order + 2))
    return total
