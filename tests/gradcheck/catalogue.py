"""Smooth functions at easy and hard points, each in floats and in mpmath, with the true derivative to 60 digits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath

Scalar = Callable[[float], float]


@dataclass(frozen=True)
class Pair:
    """A function at a point; `noisy` where its own rounding hides a millionth of its slope."""

    text: str
    x: float
    noisy: bool = False

    def __str__(self) -> str:
        return f"{self.text} at {self.x}"

    @property
    def f(self) -> Scalar:
        """The function in floats."""
        return eval(f"lambda x: {self.text}", dict(vars(math)))

    @property
    def truth(self) -> Any:
        """The derivative, by a centred difference with 1e-30 of the point at 120 digits."""
        exact: Callable[[Any], Any] = eval(f"lambda x: {EXACT.get(self.text, self.text)}", _namespace())
        with mpmath.workdps(120):
            point = mpmath.mpf(self.x)
            h = mpmath.mpf(10) ** -30 * (abs(point) or 1)
            return (exact(point + h) - exact(point - h)) / (2 * h)


def _namespace() -> dict[str, Any]:
    names = dict(vars(mpmath))
    names.update(lgamma=mpmath.loggamma, fabs=abs, pi=mpmath.mpf(math.pi))
    return names


EXPANDED = "((((((x - 7) * x + 21) * x - 35) * x + 35) * x - 21) * x + 7) * x - 1"
# Where the rounding of constants would make another function of the mpmath twin.
EXACT = {EXPANDED: "(x - 1) ** 7", "(1e8 + x) - 1e8": "x"}

EASY = (-2.3, -0.7, 0.4, 1.1, 3.2)
POSITIVE = (0.03, 0.4, 1.1, 3.2, 40.0)
INSIDE = (-0.9, -0.3, 0.2, 0.7)

FUNCTIONS: dict[str, tuple[float, ...]] = {
    # elementary
    "sin(x)": (*EASY, 0.0, 1e-9, 100.0, 1e6),
    "cos(x)": (*EASY, 1e-3, 50.0),
    "tan(x)": (*EASY, 0.0, 1.5, 1.57, 1.5707),
    "exp(x)": (*EASY, -30.0, 0.0, 1e-5, 300.0),
    "expm1(x)": (*EASY, 1e-10),
    "log(x)": (*POSITIVE, 1e-300, 1e-20, 1e-12, 1e-5, 1.0, 1e12, 1e300),
    "log1p(x)": (*POSITIVE, -0.9, -0.999999, 1e-8),
    "sqrt(x)": (*POSITIVE, 1e-12, 1e-6, 1e14),
    "tanh(x)": (*EASY, 0.0, 5.0),
    "sinh(x)": (*EASY, 12.0),
    "cosh(x)": (*EASY, 20.0),
    "asin(x)": (*INSIDE, 0.0, 0.99, 0.999999),
    "acos(x)": (*INSIDE, 1 - 1e-9),
    "atan(x)": (*EASY, 0.0, 1e5),
    "asinh(x)": (*EASY, 1e4),
    "acosh(x)": (1.001, 1.5, 30.0),
    "atanh(x)": (*INSIDE, 0.9999),
    "gamma(x)": (0.1, 0.5, 1.0, 2.5, 5.0, 20.5, -0.5),
    "lgamma(x)": (0.1, 1.3, 2.5, 30.0),
    "erf(x)": (*EASY, 0.0),
    "erfc(x)": (*EASY, 5.0),
    # powers and quotients
    "1 / x": (*EASY, 1e-9, 1e-4, 1e6),
    "x**3": (*EASY, 1e-8, 1e5, 1e80),
    "x**1.5": (*POSITIVE, 1e-10, 1e-3, 1e3),
    "x**-2.5": (*POSITIVE,),
    "x / (1 + x * x)": (*EASY, 100.0),
    "1 / (1 + 25 * x * x)": (*EASY, 5.0),
    "x**10 - 3 * x**4": EASY,
    EXPANDED: (0.9, 1.1, 2.0),
    "(x * x - 1) / (x - 2)": (*EASY, 1.99, 2.001),
    # compositions
    "exp(-x * x)": EASY,
    "exp(sin(3 * x))": EASY,
    "sin(x) / x": (*EASY, 1e-3),
    "sin(x * x)": (*EASY, 20.0),
    "log(1 + exp(x))": (*EASY, -20.0, 30.0),
    "1 / (1 + exp(-x))": (*EASY, -20.0, 10.0),
    "x * log(x)": (*POSITIVE, 1e-6, 1.0),
    "x * exp(-x)": EASY,
    "sqrt(1 + x * x)": (*EASY, 1e8),
    "log(cosh(x))": EASY,
    "atan(sinh(x))": EASY,
    "exp(-1 / x)": (0.05, 0.4, 2.0),
    "x**x": POSITIVE[:4],
    "sin(cos(sin(x)))": EASY,
    # scales
    "sin(1 / x)": (0.01, 0.1, 1.0),
    "sin(1000 * x)": (0.0, 0.5, 2.0),
    "tanh(1e6 * x)": (0.0, 1e-6, 1e-7),
    "sqrt(x * x + 1e-12)": (1e-6, 1e-5, 1.0),
    "1e6 + sin(x)": (0.0, 1.0, 3.0),
    "1e-200 * sin(x)": (0.4, 1.1),
    "1e200 * cosh(x)": (0.4, 1.1),
    "3 * x + 1": (0.0, 1e-9, 1e12),
    "exp(1e-3 * x)": (0.0, 100.0),
    "x + 1e-6 * sin(1e4 * x)": (0.3, 1.7),
    "log(log(x))": (1.001, 2.0, 1e6),
    "exp(-exp(x))": (-3.0, 0.0, 1.5),
    "1 / cosh(x)": (*EASY, 15.0),
    "exp(x) - 1 - x": (0.1, 1.0),
    "sqrt(x + 1) - sqrt(x)": (0.1, 1.0, 100.0),
    # rounded on the way: flat from close up, stairs from further away
    "log(1 + x * x)": (*EASY, 1e-4),
    "cos(x) - 1": (*EASY, 1e-3),
    "log(cos(atan(x))) + 2 * x": (5.64e-6, 0.02),
}
NOISY = {"(1e8 + x) - 1e8": (0.3, 1.0, 4.0)}
# Flat from close up: a millionth of these slopes is beyond what the rounded values can show.
STAIRS = {
    "log(1 + x * x)": (1.87e-8, 6.82e-7, -2.02e-6),
    "log(1 + (1e-3 * exp(x))**2)": (-0.00343, 0.4),
    "cos(x) - 1": (2.78e-8, -1e-6),
}


def _pairs(table: dict[str, tuple[float, ...]], *, noisy: bool = False) -> list[Pair]:
    return [Pair(text, x, noisy=noisy) for text, points in table.items() for x in points]


CATALOGUE = _pairs(FUNCTIONS) + _pairs(NOISY, noisy=True)
STAIRCASES = _pairs(STAIRS, noisy=True)
