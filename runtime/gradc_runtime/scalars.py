"""Scalar functions that generated kernels import, each with NumPy's meaning at every floating-point value.

Exponentials, logarithms, angles and powers of floats are those of `gradc_runtime.vecmath`, which vectorise.
Another name is NumPy's own function where Numba compiles it to the same meaning.  The others are compiled on
first use, once per dtype.  All return the dtype of their operand.  None is compiled with relaxed arithmetic,
whatever the kernel that calls it asks for.  None raises (a domain error is NaN, an overflow infinite) but the
integer power, as NumPy's does.  What needs SciPy is in `gradc_runtime.special`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numba.core import types
from numba.extending import overload

from gradc_runtime import vecmath
from gradc_runtime.instructions import are_signed, emit_with, floor_quotient, floor_rest
from gradc_runtime.instructions import fmax as fmax
from gradc_runtime.instructions import fmin as fmin
from gradc_runtime.instructions import maximum as maximum
from gradc_runtime.instructions import minimum as minimum
from gradc_runtime.random_bits import random_bits as random_bits

Number = Any  # a NumPy scalar here, a machine number in a kernel

floor, ceil, rint, trunc = np.floor, np.ceil, np.rint, np.trunc
sqrt = np.sqrt
arccosh, arctanh = np.arccosh, np.arctanh
exp, exp2, expm1, expit = vecmath.exp, vecmath.exp2, vecmath.expm1, vecmath.expit
log, log2, log10, log1p = vecmath.log, vecmath.log2, vecmath.log10, vecmath.log1p
log_expit, softplus = vecmath.log_expit, vecmath.softplus
logaddexp, logaddexp2 = vecmath.logaddexp, vecmath.logaddexp2
xlogy, xlog1py = vecmath.xlogy, vecmath.xlog1py
sinh, cosh, tanh = vecmath.sinh, vecmath.cosh, vecmath.tanh
sin, cos, tan = vecmath.sin, vecmath.cos, vecmath.tan
cbrt, erf, erfc, ndtr = vecmath.cbrt, vecmath.erf, vecmath.erfc, vecmath.ndtr
_power = vecmath.power
arcsin, arccos, arctan, arctan2 = vecmath.arcsin, vecmath.arccos, vecmath.arctan, vecmath.arctan2


def kernel_function(function: Callable[..., Number]) -> Any:
    """Compile `function` for use inside kernels: division never raises, NaN and infinities count."""
    return njit(error_model="numpy", fastmath=False, nogil=True)(function)


# --- Arithmetic ---------------------------------------------------------------------------------------------


@kernel_function
def square(a: Number) -> Number:
    """Return ``a * a`` in the dtype of `a`."""
    return type(a)(a * a)


@kernel_function
def reciprocal(a: Number) -> Number:
    """``1 / a`` in the dtype of `a`."""
    return type(a)(1) / a


@kernel_function
def sign(a: Number) -> Number:
    """-1, 0 or 1; NaN for NaN."""
    return type(a)(1) if a > 0 else (type(a)(-1) if a < 0 else (type(a)(0) if a == 0 else a))


@kernel_function
def heaviside(a: Number, at_zero: Number) -> Number:
    """0 below zero, `at_zero` at zero, 1 above; NaN for NaN."""
    return type(a)(1) if a > 0 else (type(a)(0) if a < 0 else (type(a)(at_zero) if a == 0 else a))


# Integers and floats are divided and raised to powers by different algorithms; `overload` picks one by type.


def floor_divide(a: Number, b: Number) -> Number:
    """``floor(a / b)``, exact; an integer divided by zero gives 0."""
    return np.floor_divide(a, b)


def modulo(a: Number, b: Number) -> Number:
    """Return ``a - b * floor(a / b)``, with the sign of `b`; an integer modulo zero gives 0."""
    return np.mod(a, b)


def fmod(a: Number, b: Number) -> Number:
    """Return ``a - b * trunc(a / b)``, with the sign of `a`; an integer modulo zero gives 0."""
    return np.fmod(a, b)


def power(a: Number, b: Number) -> Number:
    """``a**b``; NaN for a negative float and a fraction.  Integers wrap and take no negative exponent."""
    return np.power(a, b)


def _float_floor_divide(a: Number, b: Number) -> Number:
    if b == 0:
        return a / b
    rest = np.fmod(a, b)
    quotient = (a - rest) / b
    if (rest != 0) & ((b < 0) != (rest < 0)):
        quotient -= type(a)(1)
    if quotient == 0:
        return math.copysign(type(a)(0), a / b)
    whole = np.floor(quotient)
    return whole + type(a)(1) if quotient - whole > type(a)(0.5) else whole


def _float_modulo(a: Number, b: Number) -> Number:
    rest = np.fmod(a, b)
    if rest == 0:
        return math.copysign(rest, b)
    return rest + b if (b < 0) != (rest < 0) else rest


def integer_floor_divide(a: Number, b: Number) -> Number:
    """``floor(a / b)`` of integers; 0 for a divisor of 0."""
    if b == 0:
        return type(a)(0)
    if b == -1:  # the one quotient that overflows is a trap on x86
        return type(a)(-a)
    return type(a)(a // b)


def integer_modulo(a: Number, b: Number) -> Number:
    """Rest of `integer_floor_divide`, with the sign of `b`; 0 for a divisor of 0."""
    if (b == 0) | (b == -1):
        return type(a)(0)
    return type(a)(a % b)


def _float_fmod(a: Number, b: Number) -> Number:
    return np.fmod(a, b)


def integer_fmod(a: Number, b: Number) -> Number:
    """Rest of ``trunc(a / b)``, with the sign of `a`; 0 for a divisor of 0."""
    if (b == 0) | (b == -1):
        return type(a)(0)
    rest = a % b
    return type(a)(rest - b if (rest != 0) & ((rest < 0) != (a < 0)) else rest)


def _float_power(a: Number, b: Number) -> Number:
    return _power(a, b)


def _integer_power(a: Number, b: Number) -> Number:
    if b < 0:
        raise ValueError("Integers to negative integer powers are not allowed.")
    result, base, left = type(a)(1), a, b
    while left > 0:
        if left & 1:
            result = type(a)(result * base)
        left = type(b)(left >> 1)
        base = type(a)(base * base)
    return result


def _by_kind(
    function: Callable[..., Number], for_floats: Callable[..., Number], for_integers: Callable[..., Number]
) -> None:
    @overload(function, jit_options={"error_model": "numpy", "fastmath": False}, strict=False)
    def choose(a: types.Type, b: types.Type) -> Any:
        if function in _INSTRUCTIONS and are_signed(a, b):
            return None  # written in place
        return for_floats if isinstance(a, types.Float) else for_integers


_INSTRUCTIONS = {floor_divide: floor_quotient, modulo: floor_rest}  # of signed integers
for _function, _emit in _INSTRUCTIONS.items():
    emit_with(_function, _emit, are_signed)
_by_kind(floor_divide, _float_floor_divide, integer_floor_divide)
_by_kind(modulo, _float_modulo, integer_modulo)
_by_kind(fmod, _float_fmod, integer_fmod)
_by_kind(power, _float_power, _integer_power)


# --- Exponentials and logarithms ----------------------------------------------------------------------------


@kernel_function
def logit(a: Number) -> Number:
    """``log(a / (1 - a))``; near one half by `log1p`, where the quotient is close to 1."""
    one = type(a)(1)
    if (a < type(a)(0.3)) | (a > type(a)(0.65)):
        return log(a / (one - a))
    shifted = type(a)(2) * (a - type(a)(0.5))
    return log1p(shifted) - log1p(-shifted)


# --- sin(pi x) / (pi x) -------------------------------------------------------------------------------------


# Coefficients of t**(2k - 1) in the derivative of sin(t) / t, the last one first: (-1)**k * 2k / (2k + 1)!.
DSINC_SERIES = tuple((-1) ** k * 2 * k / math.factorial(2 * k + 1) for k in range(10, 0, -1))


@kernel_function
def sinc(a: Number) -> Number:
    """``sin(pi a) / (pi a)``, 1 at 0."""
    t = type(a)(math.pi) * a
    return type(a)(1) if a == 0 else sin(t) / t


@kernel_function
def dsinc(a: Number) -> Number:
    """Differentiate `sinc`: a series where the closed form would cancel."""
    t = math.pi * a
    t2 = t * t
    if t2 < 1.0:
        total = 0.0
        for factor in DSINC_SERIES:
            total = total * t2 + factor
        return type(a)(math.pi * t * total)
    return type(a)(math.pi * (cos(t) - sin(t) / t) / t)


@kernel_function
def sinc_derivative(n: Number, a: Number) -> Number:
    """Differentiate `sinc` n times: Taylor series for pi a below n + 1, recurrence in n above."""
    order, t = int(n), math.pi * a
    if abs(t) < order + 1:
        k = (order + 1) // 2
        power = (1.0 - 2.0 * (k % 2)) * (t if order % 2 else 1.0)
        total = 0.0
        for j in range(k, order + 31):
            total += power / (2 * j + 1)
            power *= -t * t / ((2 * j - order + 1) * (2 * j - order + 2))
    else:
        total = sin(t) / t
        for m in range(1, order + 1):
            circular = cos(t) if m % 2 else sin(t)
            total = ((circular if m % 4 < 2 else -circular) - m * total) / t
    return type(a)(math.pi**order * total)
