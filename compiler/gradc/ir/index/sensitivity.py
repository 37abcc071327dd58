"""How the functions of the inventory pass on and make errors: one row per function, for `bound`.

A row speaks about float64 arrays: the operands and the result ``y`` at one point.  It holds absolute values
of partial derivatives, which is all an error bound needs; derivatives proper, with the sources of the formulas,
are in `gradc.autodiff.rules`, which the IR does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from gradc.ir.index.special_functions import inverse_mills, polygamma, sinc_derivative

Array = Any  # a float64 array or scalar
Pointwise = Callable[..., Array]

INF = np.inf


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Error behaviour of one function.

    Attributes
    ----------
    slopes : callable
        Called with the operands and the result; returns the absolute partial derivatives.
    units : float
        Error of the computed function relative to `scale`, in units of the distance from 1 to the next number.
        A correctly rounded function has 0.5, an exact one 0.
    scale : callable or None
        What rounding is relative to, from the operands and the result; None is the result itself.
    cell : callable or None
        A label for each point: between points of different labels the function jumps or has a pole.
    jump : callable or None
        Bounds the change where the operands' errors reach another cell, from the operands, their errors and
        the result; None is infinite.
    """

    slopes: Callable[..., tuple[Array, ...]]
    units: float = 0.5
    scale: Pointwise | None = None
    cell: Pointwise | None = None
    jump: Callable[[tuple[Array, ...], tuple[Array, ...], Array], Array] | None = None


def _flat(*arguments: Array) -> tuple[Array, ...]:
    return tuple(0.0 for _ in arguments[:-1])


def _cell_above_zero(a: Array, *rest: Array) -> Array:
    return np.sign(a)


def _cell_of_gamma(a: Array) -> Array:
    """Separate cells at the poles 0, -1, -2, ...."""
    return np.where(a > 0, 1.0, np.floor(a))


def _cell_of_unit(a: Array) -> Array:
    return np.sign(1 - np.abs(a))


def _cell_of_probability(a: Array) -> Array:
    return np.sign(a) + np.sign(1 - a)


def _ends(function: Callable[[Array], Array]) -> Callable[..., Array]:
    """Change of a monotone function between the ends of an interval."""

    def jump(operands: tuple[Array, ...], errors: tuple[Array, ...], y: Array) -> Array:
        below, above = operands[0] - errors[0], operands[0] + errors[0]
        return np.maximum(np.abs(function(above) - y), np.abs(function(below) - y))

    return jump


def _step(name: str) -> Sensitivity:
    function: Callable[[Array], Array] = getattr(np, name)
    return Sensitivity(_flat, 0.0, cell=function, jump=_ends(function))


def _comparison() -> Sensitivity:
    """Truth changes where the difference of the operands changes its sign; equal infinities are equal."""
    return Sensitivity(
        _flat,
        0.0,
        cell=lambda a, b: np.where(a == b, 0.0, np.sign(a - b)),
        jump=lambda operands, errors, y: 1.0,
    )


def _quality() -> Sensitivity:
    """Give the row of `isnan` and its kin: a finite error does not change what they say."""
    return Sensitivity(_flat, 0.0)


def _extreme(sign: float) -> Sensitivity:
    """Pass on the winner's error; where either may win, the larger of both."""
    return Sensitivity(
        lambda a, b, y: (
            np.where(~(sign * a < sign * b), 1.0, 0.0),
            np.where(~(sign * b < sign * a), 1.0, 0.0),
        ),
        0.0,
        cell=lambda a, b: np.sign(a - b),
        jump=lambda operands, errors, y: np.maximum(*errors),
    )


def _modulo(quotient: Callable[[Array], Array], units: float) -> Sensitivity:
    return Sensitivity(
        lambda a, b, y: (1.0, np.abs(quotient(a / b))),
        units,
        scale=lambda a, b, y: np.abs(b),
        cell=lambda a, b: quotient(a / b),
        jump=lambda operands, errors, y: 2 * (np.abs(operands[1]) + errors[1]),
    )


def _power(a: Array, b: Array, y: Array) -> tuple[Array, Array]:
    return np.where(b == 0, 0.0, np.abs(b * np.power(a, b - 1))), np.abs(special.xlogy(y, np.abs(a)))


def _angle(a: Array, b: Array, y: Array) -> tuple[Array, Array]:
    r = np.hypot(a, b)
    return np.abs(b) / r / r, np.abs(a) / r / r


def _legs(a: Array, b: Array, y: Array) -> tuple[Array, Array]:
    return tuple(np.where(y == 0, 1.0, np.minimum(np.abs(side) / y, 1.0)) for side in (a, b))  # type: ignore[return-value]


def _shares(base: float) -> Callable[..., tuple[Array, Array]]:
    """Weights of both operands in a logarithm of a sum of exponentials; equal infinities count as one."""

    def slopes(a: Array, b: Array, y: Array) -> tuple[Array, Array]:
        difference = np.where(a == b, 0.0, a - b) * base
        return special.expit(difference), special.expit(-difference)

    return slopes


def _mills(a: Array, y: Array) -> tuple[Array]:
    """``y (a + y)`` cancels in the left tail; it is below 1 everywhere."""
    return (np.where(a < -50, 1.0, np.minimum(np.abs(y * (a + y)), 1.0)),)


def _arithmetic() -> dict[str, Sensitivity]:
    row = Sensitivity
    copy = row(lambda a, y: (1.0,), 0.0)
    fixed = dict.fromkeys(("copy", "stop_gradient", "passive", "neg", "abs"), copy)
    steps = {name: _step(name) for name in ("floor", "ceil", "rint", "trunc", "sign")}
    return fixed | steps | {
        "attach_gradient": row(lambda a, b, y: (1.0, 0.0), 0.0),
        "add": row(lambda a, b, y: (1.0, 1.0)),
        "sub": row(lambda a, b, y: (1.0, 1.0)),
        "mul": row(lambda a, b, y: (np.abs(b), np.abs(a))),
        "div": row(lambda a, b, y: (1 / np.abs(b), np.abs(y / b)), cell=lambda a, b: np.sign(b)),
        "floor_divide": row(
            _flat,
            cell=lambda a, b: np.floor(a / b),
            jump=lambda operands, errors, y: (
                1 + (np.abs(operands[0]) + errors[0]) / np.abs(np.abs(operands[1]) - errors[1]) + np.abs(y)
            ),
        ),
        "mod": _modulo(np.floor, 0.5),
        "fmod": _modulo(np.trunc, 0.0),
        "pow": row(_power, 2.0, cell=lambda a, b: np.sign(a)),
        "square": row(lambda a, y: (2 * np.abs(a),)),
        "reciprocal": row(lambda a, y: (y * y,), cell=_cell_above_zero),
        "heaviside": row(
            lambda a, b, y: (0.0, np.where(a == 0, 1.0, 0.0)),
            0.0,
            cell=_cell_above_zero,
            jump=lambda operands, errors, y: 1 + np.abs(operands[1]) + errors[1],
        ),
        "maximum": _extreme(1.0),
        "minimum": _extreme(-1.0),
        "fmax": _extreme(1.0),
        "fmin": _extreme(-1.0),
        "copysign": row(
            lambda a, b, y: (1.0, 0.0),
            0.0,
            cell=lambda a, b: np.sign(b),
            jump=lambda operands, errors, y: 2 * np.abs(y) + errors[0],
        ),
        "sqrt": row(
            lambda a, y: (0.5 / y,),
            cell=_cell_above_zero,
            jump=lambda operands, errors, y: np.sqrt(operands[0] + errors[0]),
        ),
        "cbrt": row(lambda a, y: (1 / (3 * y * y),), 2.0, cell=_cell_above_zero, jump=_ends(np.cbrt)),
        "hypot": row(_legs, 2.0),
    }  # fmt: skip


def _exponential() -> dict[str, Sensitivity]:
    row, ln2 = Sensitivity, np.log(2)
    return {
        "exp": row(lambda a, y: (y,), 4.0),
        "exp2": row(lambda a, y: (y * ln2,), 4.0),
        "expm1": row(lambda a, y: (np.exp(a),), 4.0),
        "log": row(lambda a, y: (1 / np.abs(a),), 4.0, cell=_cell_above_zero),
        "log2": row(lambda a, y: (1 / np.abs(a) / ln2,), 4.0, cell=_cell_above_zero),
        "log10": row(lambda a, y: (1 / np.abs(a) / np.log(10),), 4.0, cell=_cell_above_zero),
        "log1p": row(lambda a, y: (1 / np.abs(1 + a),), 4.0, cell=lambda a: np.sign(1 + a)),
        # the larger operand plus a logarithm: both may cancel
        "logaddexp": row(_shares(1.0), 4.0, scale=lambda a, b, y: np.abs(np.maximum(a, b)) + np.abs(y)),
        "logaddexp2": row(_shares(ln2), 4.0, scale=lambda a, b, y: np.abs(np.maximum(a, b)) + np.abs(y)),
        "xlogy": row(
            lambda a, b, y: (np.abs(np.log(b)), np.where(a == 0, 0.0, np.abs(a / b))),
            4.0,
            cell=lambda a, b: np.sign(b),
        ),
        "xlog1py": row(
            lambda a, b, y: (np.abs(np.log1p(b)), np.where(a == 0, 0.0, np.abs(a / (1 + b)))),
            4.0,
            cell=lambda a, b: np.sign(1 + b),
        ),
    }


def _circular() -> dict[str, Sensitivity]:
    row = Sensitivity
    return {
        "sin": row(lambda a, y: (np.abs(np.cos(a)),), 4.0),
        "cos": row(lambda a, y: (np.abs(np.sin(a)),), 4.0),
        "tan": row(lambda a, y: (1 + y * y,), 4.0, cell=lambda a: np.floor(a / np.pi + 0.5)),
        "arcsin": row(lambda a, y: (1 / np.sqrt((1 - a) * (1 + a)),), 4.0, cell=_cell_of_unit),
        "arccos": row(lambda a, y: (1 / np.sqrt((1 - a) * (1 + a)),), 4.0, cell=_cell_of_unit),
        "arctan": row(lambda a, y: (1 / (1 + a * a),), 4.0),
        "arctan2": row(
            _angle,
            4.0,
            cell=lambda a, b: np.where(b > 0, 2.0, np.sign(a)),
            jump=lambda operands, errors, y: 2 * np.pi,
        ),
        "sinh": row(lambda a, y: (np.cosh(a),), 4.0),
        "cosh": row(lambda a, y: (np.abs(np.sinh(a)),), 4.0),
        "tanh": row(lambda a, y: (1 / np.cosh(a) ** 2,), 4.0),
        "arcsinh": row(lambda a, y: (1 / np.hypot(a, 1),), 4.0),
        "arccosh": row(lambda a, y: (1 / np.sqrt((a - 1) * (a + 1)),), 4.0, cell=lambda a: np.sign(a - 1)),
        "arctanh": row(lambda a, y: (1 / np.abs((1 - a) * (1 + a)),), 4.0, cell=_cell_of_unit),
        # pi x is rounded before its sine is taken: an error relative to 1, not to the sine
        "sinc": row(lambda a, y: (np.abs(sinc_derivative(1, a)),), 4.0, scale=lambda a, y: 1.0),
        "dsinc": row(lambda a, y: (np.abs(sinc_derivative(2, a)),), 16.0, scale=lambda a, y: np.pi),
        "sinc_derivative": row(
            lambda n, a, y: (INF, np.abs(sinc_derivative(n + 1, a))),
            64.0,
            scale=lambda n, a, y: np.pi**n,
        ),
    }


def _special() -> dict[str, Sensitivity]:
    row, root = Sensitivity, np.sqrt
    return {
        "erf": row(lambda a, y: (2 / root(np.pi) * np.exp(-a * a),), 4.0),
        "erfc": row(lambda a, y: (2 / root(np.pi) * np.exp(-a * a),), 16.0),
        "erfinv": row(lambda a, y: (root(np.pi) / 2 * np.exp(y * y),), 8.0, cell=_cell_of_unit),
        "ndtr": row(lambda a, y: (np.exp(-a * a / 2) / root(2 * np.pi),), 16.0),
        "log_ndtr": row(lambda a, y: (inverse_mills(a),), 16.0),
        "inverse_mills": row(_mills, 16.0),
        "ndtri": row(lambda a, y: (root(2 * np.pi) * np.exp(y * y / 2),), 16.0, cell=_cell_of_probability),
        "expit": row(lambda a, y: (y * special.expit(-a),), 8.0),
        "log_expit": row(lambda a, y: (special.expit(-a),), 8.0),
        "logit": row(lambda a, y: (1 / np.abs(a * (1 - a)),), 8.0, cell=_cell_of_probability),
        "softplus": row(lambda a, y: (special.expit(a),), 8.0),
        "gamma": row(lambda a, y: (np.abs(y * special.digamma(a)),), 16.0, cell=_cell_of_gamma),
        "gammaln": row(
            lambda a, y: (np.abs(special.digamma(a)),),
            16.0,
            scale=lambda a, y: np.maximum(np.abs(y), 1.0),
            cell=_cell_of_gamma,
        ),
        "digamma": row(
            lambda a, y: (np.abs(special.polygamma(1, a)),),
            16.0,
            scale=lambda a, y: np.maximum(np.abs(y), 1.0),
            cell=_cell_of_gamma,
        ),
        "polygamma": row(
            lambda n, a, y: (INF, np.abs(polygamma(n + 1, a))),
            16.0,
            cell=lambda n, a: _cell_of_gamma(a),
        ),
    }


def _choice() -> dict[str, Sensitivity]:
    comparisons = {name: _comparison() for name in ("lt", "le", "gt", "ge", "eq", "ne")}
    return comparisons | {name: _quality() for name in ("isnan", "isinf", "isfinite")}


# Truth values and `select` pass on doubt, not errors: `bound` has them in a table of its own.
SENSITIVITY: dict[str, Sensitivity] = _arithmetic() | _exponential() | _circular() | _special() | _choice()
