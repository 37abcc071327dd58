"""What a step rounds, which truth values are in doubt, and error bounds of reductions: arrays in, arrays out."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from gradc.ir.index.sensitivity import Sensitivity

Array = Any
Pair = tuple[Array, Array]  # values and error bounds


def unit(value: Array) -> float:
    """Half the distance from 1 to the next number; 0 for integers and truth values, which are exact."""
    return float(np.finfo(value.dtype).eps) / 2 if value.dtype.kind == "f" else 0.0


def finite(error: Array) -> Array:
    """Replace what could not be computed by infinity: the bound is unavailable there."""
    return np.where(np.isnan(error), np.inf, error)[()]


def rounding(row: Sensitivity, operands: tuple[Array, ...], y: Array) -> Array:
    """Bound the error a function makes itself, overflow and underflow included."""
    if row.units == 0 or y.dtype.kind != "f":
        return 0.0
    info, wide = np.finfo(y.dtype), np.asarray(y, np.float64)
    size = np.abs(row.scale(*operands, wide)) if row.scale else np.abs(wide)
    limits = [~np.isfinite(operand) for operand in operands]
    limit = np.logical_or.reduce([np.broadcast_to(one, np.shape(y)) for one in limits])
    nothing = np.logical_or.reduce([np.broadcast_to(o == 0, np.shape(y)) for o in operands]) & (wide == 0)
    # Library functions may return zero for what is below the normal numbers.
    lost = float(info.smallest_subnormal if row.units <= 0.5 else info.tiny)
    error = row.units * float(info.eps) * size + np.where((np.abs(wide) < info.tiny) & ~nothing, lost, 0.0)
    return np.where(limit, 0.0, np.where(np.isfinite(wide), error, np.inf))


def limit(function: str, operands: tuple[Array, ...], errors: tuple[Array, ...], y: Array) -> Array:
    """Where a sum is infinite because one operand is exactly so, the other operand's error is immaterial."""
    if function not in ("add", "sub"):
        return False
    certain = np.isinf(operands[0]) & (errors[0] == 0) & np.isfinite(errors[1])
    return np.isinf(y) & (certain | (np.isinf(operands[1]) & (errors[1] == 0) & np.isfinite(errors[0])))


def conversion(before: Array, after: Array) -> Array:
    """Find what a conversion to a floating-point dtype rounds."""
    if before.dtype.kind == "b":
        return np.zeros(np.shape(after))
    wide = before.astype(np.float64)
    kept = np.isfinite(wide) == np.isfinite(after)
    if before.dtype.kind == "f":
        change = np.where(np.isfinite(wide), np.abs(after.astype(np.float64) - wide), 0.0)
        return np.where(kept, change, np.inf)
    exact_below = 1 / (2 * unit(after))
    return np.where(np.abs(wide) <= exact_below, 0.0, np.abs(wide) * 2 * unit(after))


def missed(number: float, value: float, text: str, unit: float) -> float:
    """Distance of a literal from what it stands for, which may be no number of any dtype."""
    if unit == 0 or not math.isfinite(value):
        return 0.0
    if isinstance(value, int):
        return float(abs(Fraction(number) - value))
    numerator, _, denominator = text.partition("/")
    if numerator.lstrip("-").isdigit() and denominator.isdigit():
        return float(abs(Fraction(number) - Fraction(text)))
    return 2 * unit * abs(number)


# --- truth values and choices -------------------------------------------------------------------------------


def _select(condition: Pair, first: Pair, second: Pair) -> Array:
    """Take the chosen arm's error; where the condition is in doubt, also the distance to the other arm."""
    taken = np.where(condition[0], first[1], second[1])
    a, b = (np.asarray(arm[0], np.float64) for arm in (first, second))
    other = np.where(a == b, 0.0, np.abs(a - b)) + np.maximum(first[1], second[1])
    return finite(np.where(condition[1] > 0, other, taken))


def _truth(pair: Pair) -> tuple[Array, Array]:
    return np.asarray(pair[0], bool), np.asarray(pair[1] > 0)


def _and(first: Pair, second: Pair) -> Array:
    (a, doubt_a), (b, doubt_b) = _truth(first), _truth(second)
    return np.where((doubt_a & (b | doubt_b)) | (doubt_b & (a | doubt_a)), 1.0, 0.0)


def _or(first: Pair, second: Pair) -> Array:
    (a, doubt_a), (b, doubt_b) = _truth(first), _truth(second)
    return np.where((doubt_a & (~b | doubt_b)) | (doubt_b & (~a | doubt_a)), 1.0, 0.0)


DOUBTS: dict[str, Callable[..., Array]] = {
    "select": _select,
    "logical_and": _and,
    "logical_or": _or,
    "logical_xor": lambda a, b: np.where((a[1] > 0) | (b[1] > 0), 1.0, 0.0),
    "logical_not": lambda a: np.where(a[1] > 0, 1.0, 0.0),
    # other bits of another key: nothing is known where one is in doubt
    "random_bits": lambda *pairs: np.where(sum(pair[1] for pair in pairs) > 0, np.inf, 0.0),
}


# --- reductions ---------------------------------------------------------------------------------------------


def _length(values: Array, axes: tuple[int, ...]) -> int:
    return math.prod(values.shape[axis] for axis in axes)


def _sum(values: Array, errors: Array, result: Array, axes: tuple[int, ...]) -> Array:
    size = np.sum(np.abs(values.astype(np.float64)), axes)
    return np.sum(errors, axes) + max(_length(values, axes) - 1, 0) * unit(values) * size


def _product(values: Array, errors: Array, result: Array, axes: tuple[int, ...]) -> Array:
    """Take the largest product of what the factors may be, less the product; rounding counts in both."""
    size, info = np.abs(values.astype(np.float64)), np.finfo(np.float64)
    largest = np.prod(size + errors, axes)
    own = np.finfo(values.dtype) if values.dtype.kind == "f" else info
    steps = max(_length(values, axes) - 1, 0)
    lost = np.where((largest > 0) & (np.abs(result) < own.tiny), float(own.tiny), 0.0)
    rounding = steps * (unit(values) + 2 * float(info.eps)) * largest if unit(values) else 0.0
    return largest - np.prod(size, axes) + rounding + (lost if steps else 0.0)


def _largest(values: Array, errors: Array, result: Array, axes: tuple[int, ...]) -> Array:
    return np.max(errors, axes)


def _any(settles: bool) -> Callable[[Array, Array, Array, tuple[int, ...]], Array]:
    """In doubt where an element is and no certain element settles it."""

    def doubt(values: Array, errors: Array, result: Array, axes: tuple[int, ...]) -> Array:
        settled = np.any((values == settles) & (errors == 0), axes)
        return np.where(settled, 0.0, np.max(errors, axes, initial=0.0))

    return doubt


REDUCTIONS: dict[str, Callable[[Array, Array, Array, tuple[int, ...]], Array]] = {
    "sum": _sum,
    "prod": _product,
    "max": _largest,
    "min": _largest,
    "any": _any(True),
    "all": _any(False),
}
