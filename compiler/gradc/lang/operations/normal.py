"""`scipy.stats.norm`: densities and distribution functions, in float64 as SciPy."""

from __future__ import annotations

import math
from collections.abc import Callable

from gradc.ir.types import DType
from gradc.lang.emit import Arg, Emitter, Value
from gradc.lang.operations import lift
from gradc.lang.operations.lift import ArrayLike, Handler, Table

LOG_SQRT_2PI = math.log(2 * math.pi) / 2


def _standardised(formula: Callable[[Emitter, Value, Arg], Value]) -> Handler:
    """Return a handler that applies `formula` to ``(x - loc) / scale``; NaN unless ``scale > 0``."""

    def handler(emit: Emitter, x: ArrayLike, loc: ArrayLike = 0, scale: ArrayLike = 1) -> Value:
        centred = emit.elementwise(
            "sub", lift.array(emit, x, DType.F64), lift.argument(emit, loc), dtype=DType.F64
        )
        width = lift.argument(emit, scale)
        standard = emit.elementwise("div", centred, width, dtype=DType.F64)
        return _if_positive(emit, width, formula(emit, standard, width))

    return handler


def _if_positive(emit: Emitter, scale: Arg, value: Value) -> Value:
    if not isinstance(scale, Value):
        return value if not isinstance(scale, int | float) or scale > 0 else _like(emit, value, math.nan)
    positive = emit.elementwise("gt", scale, 0)
    return emit.elementwise("select", positive, value, math.nan, dtype=DType.F64)


def _like(emit: Emitter, value: Value, number: float) -> Value:
    return emit.constant(number, DType.F64, emit.shape(value))


def _exponent(emit: Emitter, z: Value) -> Value:
    return emit.elementwise("mul", emit.elementwise("square", z), -0.5)


def _pdf(emit: Emitter, z: Value, scale: Arg) -> Value:
    density = emit.elementwise("mul", emit.elementwise("exp", _exponent(emit, z)), math.exp(-LOG_SQRT_2PI))
    return density if _is_one(scale) else emit.elementwise("div", density, scale, dtype=DType.F64)


def _logpdf(emit: Emitter, z: Value, scale: Arg) -> Value:
    value = emit.elementwise("sub", _exponent(emit, z), LOG_SQRT_2PI)
    if _is_one(scale):
        return value
    return emit.elementwise("sub", value, emit.elementwise("log", scale, dtype=DType.F64))


def _is_one(scale: Arg) -> bool:
    return isinstance(scale, int | float) and scale == 1


def _cumulative(function: str, upper: bool) -> Callable[[Emitter, Value, Arg], Value]:
    def formula(emit: Emitter, z: Value, scale: Arg) -> Value:
        return emit.elementwise(function, emit.elementwise("neg", z) if upper else z)

    return formula


def _quantile(upper: bool) -> Handler:
    def handler(emit: Emitter, q: ArrayLike, loc: ArrayLike = 0, scale: ArrayLike = 1) -> Value:
        standard = emit.elementwise("ndtri", lift.array(emit, q, DType.F64))
        standard = emit.elementwise("neg", standard) if upper else standard
        width = lift.argument(emit, scale)
        scaled = emit.elementwise("mul", standard, width, dtype=DType.F64)
        shifted = emit.elementwise("add", scaled, lift.argument(emit, loc), dtype=DType.F64)
        return _if_positive(emit, width, shifted)

    return handler


FUNCTIONS: Table = {
    "scipy.stats.norm.pdf": _standardised(_pdf),
    "scipy.stats.norm.logpdf": _standardised(_logpdf),
    "scipy.stats.norm.cdf": _standardised(_cumulative("ndtr", upper=False)),
    "scipy.stats.norm.logcdf": _standardised(_cumulative("log_ndtr", upper=False)),
    "scipy.stats.norm.sf": _standardised(_cumulative("ndtr", upper=True)),
    "scipy.stats.norm.logsf": _standardised(_cumulative("log_ndtr", upper=True)),
    "scipy.stats.norm.ppf": _quantile(upper=False),
    "scipy.stats.norm.isf": _quantile(upper=True),
}
