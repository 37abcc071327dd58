"""Elementary functions of device code: those of `math` and libdevice, or their stand-ins in the simulator.

All but `random_bits` take float32 or float64 and return the dtype of their operand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from gradc_runtime import random_bits as streams
from gradc_runtime.cuda_backend import SIMULATED, cuda, types

stand_ins: Any = import_module("gradc_runtime.cuda_stand_ins") if SIMULATED else None
Number = Any  # a machine number on a device, a NumPy scalar or a Python number in the simulator


# --- Choice by type -----------------------------------------------------------------------------------------


def by_kind(for_floats: Callable[..., Number], for_integers: Callable[..., Number]) -> Any:
    """Make a device function of two operands that is one function of floats and another of integers."""

    def choose(a: Number, b: Number) -> Number:
        return for_floats(a, b) if isinstance(a, float | np.floating) else for_integers(a, b)

    if SIMULATED:
        return choose

    @cuda.extending.overload(choose, strict=False)
    def chosen(a: Any, b: Any) -> Callable[..., Number]:
        return for_floats if isinstance(a, types.Float) else for_integers

    return choose


def _of_precision(name: str) -> Any:
    """Make a device function of one operand: libdevice's `name` of float64, with an f at its end of float32."""
    single, double = getattr(cuda.libdevice, f"{name}f"), getattr(cuda.libdevice, name)

    def choose(a: Number) -> Number:
        raise NotImplementedError(name)  # for compiled code alone

    @cuda.extending.overload(choose, strict=False)
    def chosen(a: Any) -> Callable[[Number], Number]:
        function = single if a == types.float32 else double

        def run(a: Number) -> Number:
            return function(a)

        return run

    return choose


def _elementary(name: str, on_device: Callable[..., Number] | str) -> Any:
    """Return a function of `math`, or one of libdevice by its name; in the simulator the stand-in `name`."""
    if SIMULATED:
        return getattr(stand_ins, name)
    return _of_precision(on_device) if isinstance(on_device, str) else on_device


# --- The functions ------------------------------------------------------------------------------------------

floor = _elementary("floor", math.floor)
ceil = _elementary("ceil", math.ceil)
rint = _elementary("rint", "rint")
trunc = _elementary("trunc", math.trunc)
remainder = _elementary("remainder", math.fmod)
with_sign_of = _elementary("with_sign_of", math.copysign)
sqrt = _elementary("sqrt", math.sqrt)
cbrt = _elementary("cbrt", "cbrt")
float_power = _elementary("float_power", math.pow)
exp = _elementary("exp", math.exp)
exp2 = _elementary("exp2", math.exp2)
expm1 = _elementary("expm1", math.expm1)
log = _elementary("log", math.log)
log2 = _elementary("log2", math.log2)
log10 = _elementary("log10", math.log10)
log1p = _elementary("log1p", math.log1p)
sin = _elementary("sin", math.sin)
cos = _elementary("cos", math.cos)
tan = _elementary("tan", math.tan)
sinpi = _elementary("sinpi", "sinpi")  # sin(pi * a)
cospi = _elementary("cospi", "cospi")
arcsin = _elementary("arcsin", math.asin)
arccos = _elementary("arccos", math.acos)
arctan = _elementary("arctan", math.atan)
arctan2 = _elementary("arctan2", math.atan2)
sinh = _elementary("sinh", math.sinh)
cosh = _elementary("cosh", math.cosh)
tanh = _elementary("tanh", math.tanh)
arccosh = _elementary("arccosh", math.acosh)
arctanh = _elementary("arctanh", math.atanh)
erf = _elementary("erf", math.erf)
erfc = _elementary("erfc", math.erfc)
erfcx = _elementary("erfcx", "erfcx")  # exp(a**2) * erfc(a)
erfinv = _elementary("erfinv", "erfinv")
ndtr = _elementary("ndtr", "normcdf")
ndtri = _elementary("ndtri", "normcdfinv")
gamma = _elementary("gamma", math.gamma)
gammaln = _elementary("gammaln", math.lgamma)
random_bits = _elementary("random_bits", streams.random_bits)  # compiled for the device from its source
