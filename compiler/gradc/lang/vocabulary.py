"""The words of expression text: which functions may be called, how, and what they are in gradc.

`FUNCTIONS` is the allow list.  A name that is not in it is refused with what to write instead: from
`INSTEAD` if the name is a known one, else the most similar name of the list.
"""

from __future__ import annotations

import difflib
from typing import NamedTuple


class Function(NamedTuple):
    """A callable of the grammar: its name in the inventory, and its number of arguments.

    A `variadic` one takes `arity` arguments or more and is applied pairwise from the left.
    """

    name: str
    arity: int
    variadic: bool = False


FUNCTIONS: dict[str, Function] = {
    # one argument, as the inventory names them
    "abs": Function("abs", 1),
    "sign": Function("sign", 1),
    "floor": Function("floor", 1),
    "ceil": Function("ceil", 1),
    "trunc": Function("trunc", 1),
    "rint": Function("rint", 1),
    "sqrt": Function("sqrt", 1),
    "cbrt": Function("cbrt", 1),
    "square": Function("square", 1),
    "reciprocal": Function("reciprocal", 1),
    "exp": Function("exp", 1),
    "exp2": Function("exp2", 1),
    "expm1": Function("expm1", 1),
    "log": Function("log", 1),
    "log2": Function("log2", 1),
    "log10": Function("log10", 1),
    "log1p": Function("log1p", 1),
    "sin": Function("sin", 1),
    "cos": Function("cos", 1),
    "tan": Function("tan", 1),
    "arcsin": Function("arcsin", 1),
    "arccos": Function("arccos", 1),
    "arctan": Function("arctan", 1),
    "sinh": Function("sinh", 1),
    "cosh": Function("cosh", 1),
    "tanh": Function("tanh", 1),
    "arcsinh": Function("arcsinh", 1),
    "arccosh": Function("arccosh", 1),
    "arctanh": Function("arctanh", 1),
    "erf": Function("erf", 1),
    "erfc": Function("erfc", 1),
    "erfinv": Function("erfinv", 1),
    "expit": Function("expit", 1),
    "logit": Function("logit", 1),
    "softplus": Function("softplus", 1),
    "gammaln": Function("gammaln", 1),
    "gamma": Function("gamma", 1),
    "digamma": Function("digamma", 1),
    "ndtr": Function("ndtr", 1),
    "log_ndtr": Function("log_ndtr", 1),
    "ndtri": Function("ndtri", 1),
    "log_expit": Function("log_expit", 1),
    "sinc": Function("sinc", 1),
    "relu": Function("relu", 1),
    # other spellings, one argument
    "absolute": Function("abs", 1),
    "round": Function("rint", 1),
    "asin": Function("arcsin", 1),
    "acos": Function("arccos", 1),
    "atan": Function("arctan", 1),
    "asinh": Function("arcsinh", 1),
    "acosh": Function("arccosh", 1),
    "atanh": Function("arctanh", 1),
    "lgamma": Function("gammaln", 1),
    "loggamma": Function("gammaln", 1),
    "psi": Function("digamma", 1),
    "sigmoid": Function("expit", 1),
    # two arguments
    "pow": Function("pow", 2),
    "power": Function("pow", 2),
    "mod": Function("mod", 2),
    "arctan2": Function("arctan2", 2),
    "atan2": Function("arctan2", 2),
    "hypot": Function("hypot", 2),
    "logaddexp": Function("logaddexp", 2),
    "xlogy": Function("xlogy", 2),
    "xlog1py": Function("xlog1py", 2),
    "copysign": Function("copysign", 2),
    # two or more
    "max": Function("maximum", 2, variadic=True),
    "maximum": Function("maximum", 2, variadic=True),
    "min": Function("minimum", 2, variadic=True),
    "minimum": Function("minimum", 2, variadic=True),
    # three
    "where": Function("select", 3),
    "clip": Function("clip", 3),
}

_REDUCTION = "expressions work element by element: write a Python function for sums and products over arrays"
INSTEAD: dict[str, str] = {
    "ln": "write log(x)",
    "lg": "write log10(x)",
    "tg": "write tan(x)",
    "cot": "write 1/tan(x)",
    "ctg": "write 1/tan(x)",
    "sec": "write 1/cos(x)",
    "csc": "write 1/sin(x)",
    "fabs": "write abs(x)",
    "sgn": "write sign(x)",
    "factorial": "write gamma(n + 1)",
    "heaviside": "write where(x > 0, 1, 0)",
    "step": "write where(x > 0, 1, 0)",
    "piecewise": "write where(condition, a, b), nested for more pieces",
    "if": "write where(condition, a, b)",
    "root": "write x**(1/n)",
    "radians": "write x*pi/180",
    "deg2rad": "write x*pi/180",
    "degrees": "write x*180/pi",
    "rad2deg": "write x*180/pi",
    "e": "write exp(x)",
    "sum": _REDUCTION,
    "prod": _REDUCTION,
    "mean": _REDUCTION,
    "dot": _REDUCTION,
    "matmul": _REDUCTION,
    "norm": _REDUCTION,
}


def suggest(name: str) -> str:
    """Say what to write in place of an unknown function.

    Examples
    --------
    >>> suggest("ln"), suggest("Sine")
    ('write log(x)', 'did you mean sin?')
    """
    lower = name.lower()
    if lower in INSTEAD:
        return INSTEAD[lower]
    if lower in FUNCTIONS:
        return f"did you mean {lower}?"
    close = difflib.get_close_matches(lower, FUNCTIONS, n=1, cutoff=0.7)
    if close:
        return f"did you mean {close[0]}?"
    return f"to multiply write {name}*(...); the functions are {', '.join(sorted(FUNCTIONS))}"
