"""Special functions that generated kernels import: SciPy's compiled code, called without Python.

Each function computes in float64 and returns the dtype of its operand.  SciPy's functions enter as named
symbols of the linker, not as addresses in the code, so a kernel that uses them can be kept in Numba's cache;
importing this module defines the symbols.
"""

from __future__ import annotations

import math
from typing import Any

import llvmlite.binding
import numpy as np
from numba.core import types
from numba.extending import get_cython_function_address

from gradc_runtime.scalars import kernel_function

Number = Any


def _scipy(name: str, exported: str) -> Any:
    """Declare SciPy's C function `exported` under a symbol of our own."""
    symbol = f"gradc_special_{name}"
    address = get_cython_function_address("scipy.special.cython_special", exported)
    llvmlite.binding.add_symbol(symbol, address)
    # The integer is Cython's own: whether to skip a dispatch that these functions do not have.
    return types.ExternalFunction(symbol, types.float64(types.float64, types.int32))


_log_ndtr = _scipy("log_ndtr", "__pyx_fuse_1log_ndtr")
_ndtri = _scipy("ndtri", "ndtri")
_erfinv = _scipy("erfinv", "__pyx_fuse_0erfinv")
_erfcx = _scipy("erfcx", "__pyx_fuse_1erfcx")
_digamma = _scipy("digamma", "__pyx_fuse_1psi")
_gamma = _scipy("gamma", "__pyx_fuse_1gamma")
_gammaln = _scipy("gammaln", "gammaln")


@kernel_function
def log_ndtr(a: Number) -> Number:
    """Logarithm of the normal distribution function."""
    return type(a)(_log_ndtr(float(a), 0))


@kernel_function
def ndtri(a: Number) -> Number:
    """Inverse of `ndtr`."""
    return type(a)(_ndtri(float(a), 0))


@kernel_function
def erfinv(a: Number) -> Number:
    """Inverse of the error function."""
    return type(a)(_erfinv(float(a), 0))


@kernel_function
def inverse_mills(a: Number) -> Number:
    """Density by distribution function of the normal distribution; the scaled `erfcx` keeps both tails."""
    return type(a)(math.sqrt(2.0 / math.pi) / _erfcx(float(a) / -math.sqrt(2.0), 0))


@kernel_function
def gamma(a: Number) -> Number:
    """Gamma function."""
    return type(a)(_gamma(float(a), 0))


@kernel_function
def gammaln(a: Number) -> Number:
    """Logarithm of the absolute value of the gamma function."""
    return type(a)(_gammaln(float(a), 0))


@kernel_function
def digamma(a: Number) -> Number:
    """Logarithmic derivative of the gamma function."""
    return type(a)(_digamma(float(a), 0))


# B(2k) / (2k)! for k = 1, ..., 11: the Euler-Maclaurin correction of a sum by its integral.
EULER_MACLAURIN = (
    1 / 12,
    -1 / 720,
    1 / 30240,
    -1 / 1209600,
    1 / 47900160,
    -691 / 1307674368000,
    1 / 74724249600,
    -3617 / 10670622842880000,
    43867 / 5109094217170944000,
    -174611 / 802857662698291200000,
    77683 / 14101100039391805440000,
)


@kernel_function
def _zeta_of_positive(s: float, q: float) -> float:
    """Sum ``(q + k)**-s`` over k >= 0, for s > 1, q > 0: some terms, then Euler-Maclaurin (DLMF 25.11.5)."""
    total = 0.0
    while q < max(12.0, s + 8.0):  # the terms of the series fall only where q is larger than s
        total += q**-s
        q += 1.0
    total += q ** (1.0 - s) * (1.0 / (s - 1.0) + 0.5 / q)
    rising = s
    scale = q ** (-s - 1.0)
    for k, coefficient in enumerate(EULER_MACLAURIN):
        total += coefficient * rising * scale
        rising *= (s + 2 * k + 1) * (s + 2 * k + 2)
        scale /= q * q
    return total


@kernel_function
def _hurwitz_zeta(s: float, q: float) -> float:
    """Continue `_zeta_of_positive` to negative `q` for integers `s`; infinite at the poles 0, -1, -2, ..."""
    if not q <= 0.0:
        return _zeta_of_positive(s, q)
    above = q - np.floor(q)  # not math.floor, an integer: beyond 2**63 `above` would be far below 0
    if above == 0.0:
        return math.inf
    below = _zeta_of_positive(s, 1.0 - above) - _zeta_of_positive(s, 1.0 - q)
    return _zeta_of_positive(s, above) + (-below if int(s) % 2 else below)


@kernel_function
def polygamma(n: Number, a: Number) -> Number:
    """Differentiate `digamma` n times: ``(-1)**(n + 1) * n! * zeta(n + 1, a)`` (DLMF 25.11.12)."""
    if n == 0:
        return type(a)(_digamma(float(a), 0))
    magnitude = _gamma(n + 1.0, 0) * _hurwitz_zeta(n + 1.0, float(a))
    return type(a)(magnitude if int(n) % 2 else -magnitude)
