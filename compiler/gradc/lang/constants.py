"""Sizes of constant subexpressions in double precision: the parser bounds them before anyone computes.

Nothing here uses Python's unbounded integers: a tower of powers overflows a float in one step.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

CONSTANTS: dict[str, float] = {"pi": math.pi, "e": math.e, "inf": math.inf}


def _expit(x: float) -> float:
    return 0.5 * (1 + math.tanh(0.5 * x))


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _ndtr(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def _logaddexp(x: float, y: float) -> float:
    return max(x, y) + math.log1p(math.exp(-abs(x - y)))


def _sinc(x: float) -> float:
    return math.sin(math.pi * x) / (math.pi * x) if x else 1.0


_IN_FLOAT: dict[str, Callable[..., float]] = {
    "neg": lambda x: -x,
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "floor_divide": operator.floordiv,
    "mod": operator.mod,
    "pow": math.pow,
    "abs": math.fabs,
    "sign": lambda x: math.copysign(1.0, x) if x else 0.0,
    "floor": lambda x: float(math.floor(x)),
    "ceil": lambda x: float(math.ceil(x)),
    "rint": lambda x: float(round(x)),
    "trunc": lambda x: float(math.trunc(x)),
    "copysign": math.copysign,
    "square": lambda x: x * x,
    "reciprocal": lambda x: 1.0 / x,
    "sqrt": math.sqrt,
    "cbrt": math.cbrt,
    "exp": math.exp,
    "exp2": math.exp2,
    "expm1": math.expm1,
    "log": math.log,
    "log2": math.log2,
    "log10": math.log10,
    "log1p": math.log1p,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "sinh": math.sinh,
    "cosh": math.cosh,
    "tanh": math.tanh,
    "erf": math.erf,
    "erfc": math.erfc,
    "gamma": math.gamma,
    "hypot": math.hypot,
    "gammaln": math.lgamma,
    "arcsin": math.asin,
    "arccos": math.acos,
    "arctan": math.atan,
    "arcsinh": math.asinh,
    "arccosh": math.acosh,
    "arctanh": math.atanh,
    "arctan2": math.atan2,
    "logaddexp": _logaddexp,
    "maximum": max,
    "minimum": min,
    "expit": _expit,
    "logit": lambda x: math.log(x / (1 - x)),
    "log_expit": lambda x: -_softplus(-x),
    "softplus": _softplus,
    "xlogy": lambda x, y: x * math.log(y) if x else 0.0,
    "xlog1py": lambda x, y: x * math.log1p(y) if x else 0.0,
    "ndtr": _ndtr,
    "log_ndtr": lambda x: math.log(_ndtr(x)),
    "sinc": _sinc,
    "relu": lambda x: max(x, 0.0),
    "clip": lambda x, low, high: min(max(x, low), high),
    "select": lambda condition, a, b: a if condition else b,
}


def value_of(function: str, arguments: list[float]) -> float:
    """Compute a function of constants: NaN where it is unknown or undefined, infinite if it overflows.

    Comparisons and logical operations are not evaluated: a condition has no size.

    Examples
    --------
    >>> value_of("pow", [9.0, 9.0]), value_of("pow", [9.0, 9999.0]), value_of("log", [-1.0])
    (387420489.0, inf, nan)
    """
    evaluate = _IN_FLOAT.get(function)
    if evaluate is None or any(math.isnan(argument) for argument in arguments):
        return math.nan
    try:
        return evaluate(*arguments)
    except OverflowError:
        return math.inf
    except (ValueError, ZeroDivisionError):
        return math.nan
