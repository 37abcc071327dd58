"""What the simulator runs in place of libdevice, which it has not: NumPy's and SciPy's functions.

Most of Python's own `math` raises where a device returns NaN or an infinity.  Names are those of `cuda_math`; each
function takes a scalar and returns its dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
from scipy import special

from gradc_runtime import random_bits as streams
from gradc_runtime import vecmath

Number = Any


def _wide(function: Callable[[Number], Number]) -> Callable[[Number], Number]:
    """Compute in float64: some of SciPy's float32 versions overflow early."""
    return lambda a: type(a)(function(np.float64(a)))


def _of_half_turns(first_quarter: int) -> Callable[[Number], Number]:
    """Make ``sin(pi * (a + first_quarter / 2))`` with an exact reduction of `a`."""
    circular = (np.sin, np.cos, lambda t: -np.sin(t), lambda t: -np.cos(t))

    def call(a: Number) -> Number:
        turns = np.fmod(a, 2.0)
        if turns != turns:
            return turns
        quarters = int(np.rint(2.0 * turns))
        return circular[(quarters + first_quarter) % 4](math.pi * (turns - 0.5 * quarters))

    return _wide(call)


def _interpreted(function: Any) -> Callable[..., Number]:
    """Return the Python source of a compiled function, and of those that it calls."""
    scope = {name: getattr(value, "py_func", value) for name, value in function.py_func.__globals__.items()}
    return FunctionType(function.py_func.__code__, scope)


_bits = _interpreted(streams.random_bits)


def random_bits(key: Number, counter: Number, count: Number) -> Number:
    """The `count` highest random bits of element `counter` of the stream `key`."""
    return _bits(np.int64(key), np.int64(counter), np.int64(count))


floor, ceil, rint, trunc = np.floor, np.ceil, np.rint, np.trunc
remainder, with_sign_of = np.fmod, np.copysign
sqrt, cbrt, float_power = np.sqrt, np.cbrt, np.power
exp, exp2, expm1 = np.exp, np.exp2, np.expm1
log, log2, log10, log1p = np.log, np.log2, np.log10, np.log1p
sin, cos, tan = np.sin, np.cos, np.tan
sinpi, cospi = _of_half_turns(0), _of_half_turns(1)
arcsin, arccos = np.arcsin, np.arccos
arctan, arctan2 = np.arctan, np.arctan2
sinh, cosh, tanh = np.sinh, np.cosh, np.tanh
arccosh, arctanh = np.arccosh, np.arctanh
erf, erfc = _wide(math.erf), _wide(math.erfc)
erfcx, erfinv = _wide(special.erfcx), _wide(special.erfinv)
ndtr, ndtri = vecmath.ndtr, _wide(special.ndtri)
gamma, gammaln = _wide(special.gamma), _wide(special.gammaln)
