"""Kinks, edges of domains, jumps and infinite slopes: ``(f, x, claim, verdict)``."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Scalar = Callable[[float], float]


def relu(x: float) -> float:
    return max(x, 0.0)


def clip(x: float) -> float:
    return min(max(x, -1.0), 1.0)


def right_only(f: Scalar) -> Scalar:
    return lambda x: f(x) if x >= 0 else math.nan


def cbrt(x: float) -> float:
    return math.copysign(abs(x) ** (1 / 3), x)


KINKS: list[tuple[Scalar, float, float, str]] = [
    (abs, 0.0, 0.0, "KINK-OK"),
    (abs, 0.0, -1.0, "KINK-OK"),
    (abs, 0.0, 1.01, "KINK-WRONG"),
    (abs, 1e-9, 1.0, "PASS"),
    (abs, 1e-9, 0.0, "WRONG"),
    (lambda x: max(x, -x), 0.0, 0.0, "KINK-OK"),
    (relu, 0.0, 0.0, "KINK-OK"),
    (relu, 0.0, 0.5, "KINK-OK"),
    (relu, 0.0, 1.0, "KINK-OK"),
    (relu, 0.0, -0.01, "KINK-WRONG"),
    (relu, 0.0, 1.01, "KINK-WRONG"),
    (relu, 1e-9, 1.0, "PASS"),
    (relu, 1e-9, 0.5, "WRONG"),
    (relu, -1e-9, 0.0, "PASS"),
    (relu, -1e-9, 0.5, "WRONG"),
    (relu, 1e-7, 0.5, "WRONG"),
    (relu, -1e-5, 0.5, "WRONG"),
    (lambda x: relu(x - 1), 1 + 1e-9, 1.0, "PASS"),
    (lambda x: relu(x - 1), 1 + 1e-9, 0.5, "WRONG"),
    (clip, 1.0, 0.0, "KINK-OK"),
    (clip, -1.0, 1.0, "KINK-OK"),
    (clip, 1.0, -1.0, "KINK-WRONG"),
    (clip, 0.5, 1.0, "PASS"),
    (lambda x: max(x, x * x), 1.0, 1.5, "KINK-OK"),
    (lambda x: max(x, x * x), 1.0, 3.0, "KINK-WRONG"),
    (lambda x: abs(math.sin(x)), math.pi, 0.0, "KINK-OK"),
    (lambda x: 1e-3 * abs(x) + math.sin(x), 0.0, 1.0, "KINK-OK"),
    (lambda x: 1e-3 * abs(x) + math.sin(x), 0.0, 1.01, "KINK-WRONG"),
    (lambda x: x * abs(x), 0.0, 0.0, "PASS"),
    (lambda x: abs(x) ** 1.5, 0.0, 0.0, "PASS"),
    (lambda x: 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5, 1.0, 1.0, "PASS"),
    (lambda x: x if x > 0 else math.expm1(x), 0.0, 1.0, "PASS"),
    (lambda x: x if x > 0 else 2 * math.expm1(x), 0.0, 1.5, "KINK-OK"),
    (math.sqrt, 0.0, math.inf, "EDGE"),
    (math.sqrt, 0.0, 0.0, "WRONG"),
    (math.sqrt, 0.0, -math.inf, "WRONG"),
    (math.sqrt, 0.0, math.nan, "WRONG"),
    (math.acos, 1.0, -math.inf, "EDGE"),
    (math.acos, 1.0, -1.0, "WRONG"),
    (right_only(lambda x: 3 * x + 1), 0.0, 3.0, "EDGE"),
    (right_only(lambda x: 3 * x + 1), 0.0, 3.001, "WRONG"),
    (right_only(lambda x: x**1.5), 0.0, 0.0, "EDGE"),
    (right_only(lambda x: x**1.5), 0.0, 1e-3, "WRONG"),
    (lambda x: x**1.5, 0.0, 0.0, "EDGE"),  # complex to the left
    (right_only(lambda x: x * math.log(x) if x else 0.0), 0.0, -math.inf, "EDGE"),
    (cbrt, 0.0, math.inf, "PASS"),
    (cbrt, 0.0, 5.0, "WRONG"),
    (lambda x: math.sqrt(abs(x)), 0.0, 0.0, "KINK-OK"),
    (lambda x: math.sqrt(abs(x)), 0.0, 7.0, "INFINITE"),
    (lambda x: math.sqrt(max(x, 0.0)), 0.0, 0.0, "KINK-OK"),
    (lambda x: math.sqrt(max(x, 0.0)), 0.0, math.nan, "WRONG"),
    (lambda x: float(math.floor(x)), 1.0, 0.0, "JUMP"),
    (lambda x: float(np.sign(x)), 0.0, 0.0, "JUMP"),
    (lambda x: float(math.floor(x)), 1.5, 0.0, "PASS"),
    (lambda x: 1.0 if x == 1 else math.nan, 1.0, 0.0, "INCONCLUSIVE"),
    (lambda x: math.nan, 1.0, 0.0, "UNDEFINED"),
    (lambda x: math.inf, 1.0, 0.0, "UNDEFINED"),
    # the same kinks away from 0, steep, flat, shifted and scaled
    (lambda x: abs(x - 3), 3.0, 0.3, "KINK-OK"),
    (lambda x: abs(x - 3), 3.0, 2.0, "KINK-WRONG"),
    (lambda x: abs(x - 3), 3.0 + 1e-6, 1.0, "PASS"),
    (lambda x: abs(x - 3), 3.0 - 1e-6, 1.0, "WRONG"),
    (lambda x: 1e6 * abs(x), 0.0, 5e5, "KINK-OK"),
    (lambda x: 1e6 * abs(x), 0.0, 2e6, "KINK-WRONG"),
    (lambda x: 1e-9 * abs(x), 0.0, 0.0, "KINK-OK"),
    (lambda x: 1e-9 * abs(x), 0.0, 2e-9, "KINK-WRONG"),
    (lambda x: 10 + abs(x), 0.0, 0.0, "KINK-OK"),
    (lambda x: 10 + abs(x), 0.0, -1.5, "KINK-WRONG"),
    (lambda x: x if x > 0 else 0.01 * x, 0.0, 0.01, "KINK-OK"),
    (lambda x: x if x > 0 else 0.01 * x, 0.0, 1.0, "KINK-OK"),
    (lambda x: x if x > 0 else 0.01 * x, 0.0, 0.0, "KINK-WRONG"),
    (lambda x: x if x > 0 else 0.01 * x, -2.0, 0.01, "PASS"),
    (lambda x: x if x > 0 else 0.01 * x, -2.0, 1.0, "WRONG"),
    (lambda x: min(max(x, 0.0), 6.0), 6.0, 0.0, "KINK-OK"),
    (lambda x: min(max(x, 0.0), 6.0), 6.0, -0.1, "KINK-WRONG"),
    (lambda x: max(0.0, 1 - x), 1.0, -1.0, "KINK-OK"),
    (lambda x: max(0.0, 1 - x), 1.0, 0.1, "KINK-WRONG"),
    (lambda x: max(0.0, 1 - x) ** 2, 1.0, 0.0, "PASS"),
    (lambda x: max(0.0, 1 - x) ** 2, 1.0, 0.1, "WRONG"),
    (lambda x: max(math.sin(x), math.cos(x)), math.pi / 4, 0.0, "KINK-OK"),
    (lambda x: max(math.sin(x), math.cos(x)), math.pi / 4, 0.8, "KINK-WRONG"),
    (lambda x: min(x, x * x), 1.0, 1.2, "KINK-OK"),
    (lambda x: min(x, x * x), 0.0, 0.5, "KINK-OK"),
    (lambda x: abs(x) + abs(x - 1e-3), 0.0, 0.1, "KINK-WRONG"),
    (lambda x: abs(x) + abs(x - 1e-3), 0.0, -1.0, "KINK-OK"),
    (lambda x: math.exp(-abs(x)), 0.0, 0.0, "KINK-OK"),
    (lambda x: math.exp(-abs(x)), 0.0, 1.1, "KINK-WRONG"),
    (lambda x: abs(math.tanh(x)), 0.0, 0.0, "KINK-OK"),
    (lambda x: math.sqrt(x * x), 0.0, 0.0, "KINK-OK"),
    (lambda x: math.hypot(x, 0.0), 0.0, 0.0, "KINK-OK"),
    (lambda x: abs(x) if x < 1 else 2 * x - 1, 1.0, 1.5, "KINK-OK"),
    (lambda x: abs(x) if x < 1 else 2 * x - 1, 1.0, 2.5, "KINK-WRONG"),
    # smooth across a seam of pieces
    (lambda x: x * x if x > 0 else -x * x, 0.0, 0.0, "PASS"),
    (lambda x: x**3 if x > 0 else 0.0, 0.0, 0.0, "PASS"),
    (lambda x: max(x, 0.0) ** 2, 0.0, 0.0, "PASS"),
    (lambda x: math.sin(x) if x < 0 else x, 0.0, 1.0, "PASS"),
    (lambda x: math.log1p(math.exp(-abs(x))) + max(x, 0.0), 0.0, 0.5, "PASS"),
    (lambda x: math.log1p(math.exp(-abs(x))) + max(x, 0.0), 0.0, 0.0, "WRONG"),
    (lambda x: 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5, -1.0, -1.0, "PASS"),
    # edges of the domain
    (lambda x: math.sqrt(1 - x), 1.0, -math.inf, "EDGE"),
    (lambda x: math.asin(x), 1.0, math.inf, "EDGE"),
    (lambda x: math.asin(x), -1.0, math.inf, "EDGE"),
    (right_only(lambda x: math.exp(x)), 0.0, 1.0, "EDGE"),
    (right_only(lambda x: math.exp(x)), 0.0, 1.01, "WRONG"),
    (right_only(lambda x: x**2.5), 0.0, 0.0, "EDGE"),
    (right_only(lambda x: x**0.25), 0.0, math.inf, "EDGE"),
    (lambda x: math.log(x) if x > 0 else math.nan, 1e-12, 1e12, "PASS"),
    (lambda x: math.log(x) if x > 0 else math.nan, 1e-12, 1.001e12, "WRONG"),
    # jumps
    (lambda x: float(math.ceil(x)), 2.0, 0.0, "JUMP"),
    (lambda x: float(x > 0), 0.0, 0.0, "JUMP"),
    (lambda x: x + float(x >= 1), 1.0, 1.0, "JUMP"),
    (lambda x: math.copysign(1.0, x), 0.0, 0.0, "JUMP"),
    (lambda x: math.fmod(x, 1.0) if x >= 0 else 0.0, 1.0, 1.0, "JUMP"),
    (lambda x: float(round(x)), 0.5, 0.0, "JUMP"),
    (lambda x: math.atan2(x, -1.0), 0.0, -1.0, "JUMP"),
    (lambda x: float(math.ceil(x)), 2.5, 0.0, "PASS"),
    # infinite slopes
    (cbrt, 0.0, -math.inf, "WRONG"),
    (lambda x: math.copysign(math.sqrt(abs(x)), x), 0.0, math.inf, "PASS"),
    (lambda x: math.copysign(math.sqrt(abs(x)), x), 0.0, 1.0, "WRONG"),
    (lambda x: -math.sqrt(abs(x)), 0.0, 0.0, "KINK-OK"),
    (lambda x: abs(x) ** 0.25, 0.0, 0.0, "KINK-OK"),
]
