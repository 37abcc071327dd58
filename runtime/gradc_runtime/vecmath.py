"""Elementary functions that LLVM vectorises inside the loops of generated kernels.

Called from Python these are NumPy's functions, without warnings, in the dtype of the operand.  In compiled
code each is branch-free arithmetic (`gradc_runtime.vecmath_lanes` says how) in float64 or float32: off by
less than 2 units in the last place over the whole range (`pow`, `tan`, `erfc` and `ndtr` by less than 4), exact at
zeros, infinities and NaN.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from gradc_runtime import vecmath_circular as circular
from gradc_runtime import vecmath_errors as errors
from gradc_runtime import vecmath_exponentials as exponentials
from gradc_runtime import vecmath_logarithms as logarithms
from gradc_runtime import vecmath_powers as powers
from gradc_runtime.vecmath_lanes import Algorithm, define

Number = Any  # a NumPy scalar here, a machine number in a kernel
NAMES: set[str] = set()  # of the functions below


def _compiled_as(algorithm: Algorithm, arity: int = 1) -> Callable[[Callable[..., Number]], Any]:
    """Let compiled code run `algorithm` for a function, and silence its warnings in Python."""

    def decorate(function: Callable[..., Number]) -> Any:
        @functools.wraps(function)
        def call(*operands: Number) -> Number:
            with np.errstate(all="ignore"):
                return function(*operands)

        define(call, algorithm, arity)
        NAMES.add(function.__name__)
        return call

    return decorate


# --- Exponentials -------------------------------------------------------------------------------------------


@_compiled_as(exponentials.exp)
def exp(a: Number) -> Number:
    """Exponential."""
    return np.exp(a)


@_compiled_as(exponentials.exp2)
def exp2(a: Number) -> Number:
    """Power of two."""
    return np.exp2(a)


@_compiled_as(exponentials.expm1)
def expm1(a: Number) -> Number:
    """``exp(a) - 1``."""
    return np.expm1(a)


@_compiled_as(exponentials.tanh)
def tanh(a: Number) -> Number:
    """Hyperbolic tangent."""
    return np.tanh(a)


@_compiled_as(exponentials.sinh)
def sinh(a: Number) -> Number:
    """Hyperbolic sine."""
    return np.sinh(a)


@_compiled_as(exponentials.cosh)
def cosh(a: Number) -> Number:
    """Hyperbolic cosine."""
    return np.cosh(a)


@_compiled_as(exponentials.expit)
def expit(a: Number) -> Number:
    """``1 / (1 + exp(-a))``, without overflow on either side."""
    small = np.exp(-np.abs(a))
    return np.where(a >= 0, 1, small) / (1 + small)


# --- Logarithms ---------------------------------------------------------------------------------------------


@_compiled_as(logarithms.log)
def log(a: Number) -> Number:
    """Natural logarithm."""
    return np.log(a)


@_compiled_as(logarithms.log2)
def log2(a: Number) -> Number:
    """Logarithm to base 2."""
    return np.log2(a)


@_compiled_as(logarithms.log10)
def log10(a: Number) -> Number:
    """Logarithm to base 10."""
    return np.log10(a)


@_compiled_as(logarithms.log1p)
def log1p(a: Number) -> Number:
    """``log(1 + a)``."""
    return np.log1p(a)


@_compiled_as(logarithms.softplus)
def softplus(a: Number) -> Number:
    """``log(1 + exp(a))``."""
    return np.logaddexp(a, 0)


@_compiled_as(logarithms.log_expit)
def log_expit(a: Number) -> Number:
    """``log(expit(a))``."""
    return -np.logaddexp(-a, 0)


@_compiled_as(logarithms.logaddexp, 2)
def logaddexp(a: Number, b: Number) -> Number:
    """``log(exp(a) + exp(b))``."""
    return np.logaddexp(a, b)


@_compiled_as(logarithms.logaddexp2, 2)
def logaddexp2(a: Number, b: Number) -> Number:
    """``log2(2**a + 2**b)``."""
    return np.logaddexp2(a, b)


@_compiled_as(logarithms.xlogy, 2)
def xlogy(a: Number, b: Number) -> Number:
    """Return ``a * log(b)``, 0 where `a` is 0."""
    return np.where((a == 0) & (b == b), 0, a * np.log(b))[()]


@_compiled_as(logarithms.xlog1py, 2)
def xlog1py(a: Number, b: Number) -> Number:
    """Return ``a * log(1 + b)``, 0 where `a` is 0."""
    return np.where((a == 0) & (b == b), 0, a * np.log1p(b))[()]


# --- Angles -------------------------------------------------------------------------------------------------


@_compiled_as(circular.sin)
def sin(a: Number) -> Number:
    """Sine."""
    return np.sin(a)


@_compiled_as(circular.cos)
def cos(a: Number) -> Number:
    """Cosine."""
    return np.cos(a)


@_compiled_as(circular.tan)
def tan(a: Number) -> Number:
    """Tangent."""
    return np.tan(a)


@_compiled_as(circular.arcsin)
def arcsin(a: Number) -> Number:
    """Inverse sine."""
    return np.arcsin(a)


@_compiled_as(circular.arccos)
def arccos(a: Number) -> Number:
    """Inverse cosine."""
    return np.arccos(a)


@_compiled_as(circular.arctan)
def arctan(a: Number) -> Number:
    """Inverse tangent."""
    return np.arctan(a)


@_compiled_as(circular.arctan2, 2)
def arctan2(a: Number, b: Number) -> Number:
    """Angle of the point (b, a), from -pi to pi."""
    return np.arctan2(a, b)


# --- Powers and the error function --------------------------------------------------------------------------


@_compiled_as(powers.cbrt)
def cbrt(a: Number) -> Number:
    """Cube root."""
    return np.cbrt(a)


@_compiled_as(powers.power, 2)
def power(a: Number, b: Number) -> Number:
    """``a**b`` of floats; NaN for a negative `a` and a fraction."""
    return np.power(a, b)


@_compiled_as(errors.erf)
def erf(a: Number) -> Number:
    """Error function."""
    return type(a)(math.erf(a))


@_compiled_as(errors.ndtr)
def ndtr(a: Number) -> Number:
    """Distribution function of the normal distribution."""
    if not -40 < a < 0:
        return type(a)(0.5 * math.erfc(-a / math.sqrt(2)))
    first, second = map(Fraction, (errors.INVERSE_ROOT2, -4.833646656726457e-17))  # 1 / sqrt(2) in two parts
    argument = float(a) * float(first)
    rest = float(Fraction(float(a)) * (first + second) - Fraction(argument))
    return type(a)(0.5 * math.erfc(-argument) * math.exp(-2 * argument * rest))


@_compiled_as(errors.erfc)
def erfc(a: Number) -> Number:
    """``1 - erf(a)``."""
    return type(a)(math.erfc(a))
