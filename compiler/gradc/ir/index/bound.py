"""Running error analysis: machine numbers that carry a bound on their distance from the exact result.

Every step adds what its operands' errors become and what it rounds itself.  Derivatives are taken at the ends
and the middle of each error interval, and a step whose interval reaches a pole or a jump says so, by the
height of the jump or by infinity: *unavailable*.  Truth values and integers have the bound 0 where they are
certain.  Where the value is NaN, the bound is infinite.  Errors are taken as independent: ``x == max(x)`` is in
doubt for the winner itself if ``x`` has been rounded.

Source: N. J. Higham, "Accuracy and Stability of Numerical Algorithms", section 3.3 and chapters 4 and 9.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from gradc.ir.index.call_bounds import CALL_BOUNDS
from gradc.ir.index.calls import Operation
from gradc.ir.index.numbers import MachineNumbers, literal
from gradc.ir.index.sensitivity import SENSITIVITY, Sensitivity
from gradc.ir.index.templates import Argument, Literal, Source, Template, template
from gradc.ir.types import DType

Array = Any

# Bounds are rounded too.
SLACK = 1 + 2.0**-20


@dataclass(frozen=True, slots=True)
class Bounded:
    """A value and the bound on its error, of one shape."""

    value: Array
    error: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of both."""
        return np.shape(self.value)

    def map(self, function: Callable[[Array], Array]) -> Bounded:
        """Change both alike."""
        return Bounded(function(self.value), function(self.error))


@dataclass(frozen=True, slots=True)
class Tally(Bounded):
    """A tensor being accumulated: per element the terms' errors, their absolute values and their number."""

    terms: Array
    size: Array
    count: Array


def exact(value: Array) -> Bounded:
    """Give a value the error zero."""
    return Bounded(value, np.zeros(np.shape(value))[()])


class BoundedNumbers:
    """NumPy arrays of the declared dtypes, each with its error bound in float64."""

    def __init__(self) -> None:
        self.machine = MachineNumbers()

    def context(self) -> contextlib.AbstractContextManager[object]:
        """Enter the precision of these numbers."""
        return contextlib.nullcontext()

    def convert(self, value: Array, dtype: DType) -> Bounded:
        """Take an input over: inputs are exact."""
        return exact(self.machine.convert(value, dtype))

    def constant(self, value: float, dtype: DType) -> Bounded:
        """Represent a scalar constant."""
        found = self.machine.constant(value, dtype)
        missed = abs(float(found) - value) if dtype.is_float and math.isfinite(value) else 0.0
        return Bounded(found, np.float64(missed))

    def integer(self, value: Array) -> Bounded:
        """Represent integers, such as loop indices."""
        return exact(value)

    def zeros(self, shape: tuple[int, ...], dtype: DType) -> Tally:
        """Make an array of zeros to accumulate into."""
        zero, *rest = (np.zeros(shape) for _ in range(4))
        return Tally(np.zeros(shape, dtype.numpy), zero, *rest)

    def cast(self, value: Bounded, dtype: DType) -> Bounded:
        """Convert to another dtype."""
        if value.value.dtype == dtype.numpy:
            return value
        changed = self.machine.cast(value.value, dtype)
        if dtype.is_float:
            return Bounded(changed, (value.error + _conversion(value.value, changed)) * SLACK)
        if value.value.dtype.kind != "f":
            return Bounded(changed, value.error)
        # a truth value or a truncated number: what the ends of the interval become
        wide = value.value.astype(np.float64)
        truth = (lambda x: x != 0) if dtype.is_bool else np.trunc
        low, high = (np.where(value.error > 0, truth(wide + s * value.error), truth(wide)) for s in (-1, 1))
        spread = np.maximum(np.abs(1.0 * high - truth(wide)), np.abs(1.0 * low - truth(wide)))
        crosses = (value.error > 0) & (np.abs(wide) <= value.error)
        return Bounded(changed, _finite(np.where(crosses & dtype.is_bool, 1.0, spread)))

    def function(self, template: Template) -> Callable[..., Bounded]:
        """Make a callable of a template."""

        def run(*operands: Bounded) -> Bounded:
            steps: list[Bounded] = []
            for instruction in template.tape.instructions:
                sources = [self._source(source, operands, steps) for source in instruction.sources]
                steps.append(self._step(instruction.function, sources))
            return self._source(template.tape.result, operands, steps)

        return run

    def call(
        self, operation: Operation, ins: Sequence[Bounded], attributes: dict[str, Any]
    ) -> tuple[Bounded, ...]:
        """Perform a library operation."""
        outs = self.machine.call(operation, [operand.value for operand in ins], attributes)
        bound = CALL_BOUNDS.get(operation.name)
        if bound is None:
            return tuple(Bounded(out, np.full(np.shape(out), np.inf)) for out in outs)
        errors = bound(outs, [(operand.value, operand.error) for operand in ins], attributes)
        return tuple(Bounded(out, _finite(error * SLACK)) for out, error in zip(outs, errors, strict=True))

    # --- arrays -----------------------------------------------------------------------------------------

    def take(self, value: Bounded, indices: tuple[Array, ...]) -> Bounded:
        """Read the elements at some positions; nothing is known of one whose position is in doubt."""
        if not indices:
            return Bounded(value.value, value.error)
        plain = tuple(index.value if isinstance(index, Bounded) else index for index in indices)
        found, error = value.value[plain], value.error[plain]
        for index in indices:
            if isinstance(index, Bounded):
                error = np.where(index.error > 0, np.inf, error)
        return Bounded(found, error)

    def positions(self, value: Bounded) -> Bounded:
        """Use integers that were read from a table as positions."""
        return Bounded(self.machine.positions(value.value), value.error)

    def wrapped(self, index: Bounded, size: int) -> Bounded:
        """Count negative positions from the end."""
        return Bounded(index.value % size, index.error)

    def broadcast(self, value: Array, shape: tuple[int, ...]) -> Array:
        """Repeat a value, or positions, along axes that are missing."""
        if isinstance(value, Bounded):
            return value.map(lambda array: np.broadcast_to(array, shape))
        return np.broadcast_to(value, shape)

    def own(self, value: Bounded) -> Bounded:
        """Copy a value that is shared by several points."""
        return value.map(np.array)

    def concatenate(self, values: Sequence[Bounded], axis: int) -> Bounded:
        """Put values one after the other."""
        arrays, errors = zip(*((value.value, value.error) for value in values), strict=True)
        return Bounded(np.concatenate(arrays, axis), np.concatenate(errors, axis))

    def reduce(self, op: str, body: Bounded, axes: tuple[int, ...]) -> Bounded:
        """Reduce over some axes; the bound holds for every order."""
        result = self.machine.reduce(op, body.value, axes)
        error = _REDUCTIONS[op](body, result, axes)
        overflown = ~np.isfinite(result) & np.all(np.isfinite(body.value), axes)
        return Bounded(result, _finite(np.where(overflown, np.inf, error * SLACK)))

    def add_at(self, out: Bounded, position: tuple[Array, ...], body: Bounded) -> Bounded:
        """Add to the elements at some positions; the bound holds for every order."""
        assert isinstance(out, Tally)
        plain = tuple(index.value if isinstance(index, Bounded) else index for index in position)
        doubt = any(isinstance(index, Bounded) and np.any(index.error > 0) for index in position)
        value = self.machine.add_at(out.value, plain, body.value)
        terms = self.machine.add_at(out.terms, plain, body.error)
        size = self.machine.add_at(out.size, plain, np.abs(body.value).astype(np.float64))
        count = self.machine.add_at(out.count, plain, np.ones(body.shape))
        terms = terms + np.inf if doubt else terms
        error = terms + np.maximum(count - 1, 0) * _unit(value) * size
        return Tally(value, _finite(error * SLACK), terms, size, count)

    # --- templates --------------------------------------------------------------------------------------

    def _source(self, source: Source, operands: tuple[Bounded, ...], steps: list[Bounded]) -> Bounded:
        match source:
            case Argument(position):
                return operands[position]
            case Literal(value, text):
                number = literal(value, tuple(operand.value for operand in operands))
                return Bounded(number, np.float64(_missed(float(number), value, text, _unit(number))))
            case _:
                return steps[source.position]

    def _step(self, function: str, operands: list[Bounded]) -> Bounded:
        values = [operand.value for operand in operands]
        result = np.asarray(self.machine.function(template(function))(*values))[()]
        doubtful = DOUBTS.get(function)
        if doubtful is not None:
            return Bounded(result, doubtful(*operands))
        row = SENSITIVITY[function]
        wide = tuple(np.asarray(value, np.float64) for value in values)
        errors = tuple(operand.error for operand in operands)
        passed = self._propagated(function, row, wide, errors, np.asarray(result, np.float64))
        error = (passed + _rounding(row, wide, result)) * SLACK
        limit = _limit(function, wide, errors, result)
        error = _finite(np.where(limit, 0.0, error))
        return Bounded(result, np.minimum(error, 1.0) if result.dtype.kind == "b" else error)

    def _propagated(
        self, function: str, row: Sensitivity, wide: tuple[Array, ...], errors: tuple[Array, ...], y: Array
    ) -> Array:
        """Sum of slope times error over the operands, with the steepest slope found in the error box."""
        if not any(np.any(error > 0) for error in errors):
            return np.zeros(np.shape(y))
        # Half a unit in the last place would be lost in the sum: widen the interval to the next number.
        reach = [np.where(e > 0, e + np.spacing(np.abs(x)), 0.0) for x, e in zip(wide, errors, strict=True)]
        ends = [(-1.0, 1.0) if np.any(error > 0) else (0.0,) for error in errors]
        centre = row.cell(*wide) if row.cell else 0.0
        slopes = [[np.abs(slope)] for slope in row.slopes(*wide, y)]
        leaves = np.zeros(np.shape(y), bool)
        for signs in itertools.product(*ends):
            corner = tuple(x + s * r for x, s, r in zip(wide, signs, reach, strict=True))
            there = np.asarray(self.machine.function(template(function))(*corner), np.float64)
            for found, slope in zip(slopes, row.slopes(*corner, there), strict=True):
                found.append(np.abs(slope))
            if row.cell:
                leaves = leaves | (row.cell(*corner) != centre)
        total = sum(np.where(e > 0, _steepest(f) * e, 0.0) for f, e in zip(slopes, errors, strict=True))
        if not row.cell:
            return total
        return np.where(leaves, row.jump(wide, errors, y) if row.jump else np.inf, total)


def _steepest(slopes: list[Array]) -> Array:
    """Return the largest slope, and an eighth of their range: a parabola peaks no higher between three points."""
    largest, smallest = functools.reduce(np.maximum, slopes), functools.reduce(np.minimum, slopes)
    return largest + (largest - smallest) / 8


# --- rounding -----------------------------------------------------------------------------------------------


def _unit(value: Array) -> float:
    """Half the distance from 1 to the next number; 0 for integers and truth values, which are exact."""
    return float(np.finfo(value.dtype).eps) / 2 if value.dtype.kind == "f" else 0.0


def _finite(error: Array) -> Array:
    """Replace what could not be computed by infinity: the bound is unavailable there."""
    return np.where(np.isnan(error), np.inf, error)[()]


def _rounding(row: Sensitivity, operands: tuple[Array, ...], y: Array) -> Array:
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


def _limit(function: str, operands: tuple[Array, ...], errors: tuple[Array, ...], y: Array) -> Array:
    """Where a sum is infinite because one operand is exactly so, the other operand's error is immaterial."""
    if function not in ("add", "sub"):
        return False
    certain = np.isinf(operands[0]) & (errors[0] == 0) & np.isfinite(errors[1])
    return np.isinf(y) & (certain | (np.isinf(operands[1]) & (errors[1] == 0) & np.isfinite(errors[0])))


def _conversion(before: Array, after: Array) -> Array:
    """Find what a conversion to a floating-point dtype rounds."""
    if before.dtype.kind == "b":
        return np.zeros(np.shape(after))
    wide = before.astype(np.float64)
    kept = np.isfinite(wide) == np.isfinite(after)
    if before.dtype.kind == "f":
        change = np.where(np.isfinite(wide), np.abs(after.astype(np.float64) - wide), 0.0)
        return np.where(kept, change, np.inf)
    exact_below = 1 / (2 * _unit(after))
    return np.where(np.abs(wide) <= exact_below, 0.0, np.abs(wide) * 2 * _unit(after))


def _missed(number: float, value: float, text: str, unit: float) -> float:
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


def _select(condition: Bounded, first: Bounded, second: Bounded) -> Array:
    """Take the chosen arm's error; where the condition is in doubt, also the distance to the other arm."""
    taken = np.where(condition.value, first.error, second.error)
    a, b = (np.asarray(arm.value, np.float64) for arm in (first, second))
    other = np.where(a == b, 0.0, np.abs(a - b)) + np.maximum(first.error, second.error)
    return _finite(np.where(condition.error > 0, other, taken))


def _truth(value: Bounded) -> tuple[Array, Array]:
    return np.asarray(value.value, bool), np.asarray(value.error > 0)


def _and(first: Bounded, second: Bounded) -> Array:
    (a, doubt_a), (b, doubt_b) = _truth(first), _truth(second)
    return np.where((doubt_a & (b | doubt_b)) | (doubt_b & (a | doubt_a)), 1.0, 0.0)


def _or(first: Bounded, second: Bounded) -> Array:
    (a, doubt_a), (b, doubt_b) = _truth(first), _truth(second)
    return np.where((doubt_a & (~b | doubt_b)) | (doubt_b & (~a | doubt_a)), 1.0, 0.0)


DOUBTS: dict[str, Callable[..., Array]] = {
    "select": _select,
    "logical_and": _and,
    "logical_or": _or,
    "logical_xor": lambda a, b: np.where((a.error > 0) | (b.error > 0), 1.0, 0.0),
    "logical_not": lambda a: np.where(a.error > 0, 1.0, 0.0),
}


# --- reductions ---------------------------------------------------------------------------------------------


def _length(body: Bounded, axes: tuple[int, ...]) -> int:
    return math.prod(body.shape[axis] for axis in axes)


def _sum(body: Bounded, result: Array, axes: tuple[int, ...]) -> Array:
    size = np.sum(np.abs(body.value.astype(np.float64)), axes)
    return np.sum(body.error, axes) + max(_length(body, axes) - 1, 0) * _unit(body.value) * size


def _product(body: Bounded, result: Array, axes: tuple[int, ...]) -> Array:
    """Take the largest product of what the factors may be, less the product; rounding counts in both."""
    size, info = np.abs(body.value.astype(np.float64)), np.finfo(np.float64)
    largest = np.prod(size + body.error, axes)
    own = np.finfo(body.value.dtype) if body.value.dtype.kind == "f" else info
    steps = max(_length(body, axes) - 1, 0)
    lost = np.where((largest > 0) & (np.abs(result) < own.tiny), float(own.tiny), 0.0)
    rounding = steps * (_unit(body.value) + 2 * float(info.eps)) * largest if _unit(body.value) else 0.0
    return largest - np.prod(size, axes) + rounding + (lost if steps else 0.0)


def _largest(body: Bounded, result: Array, axes: tuple[int, ...]) -> Array:
    return np.max(body.error, axes)


def _any(settles: bool) -> Callable[[Bounded, Array, tuple[int, ...]], Array]:
    """In doubt where an element is and no certain element settles it."""

    def doubt(body: Bounded, result: Array, axes: tuple[int, ...]) -> Array:
        settled = np.any((body.value == settles) & (body.error == 0), axes)
        return np.where(settled, 0.0, np.max(body.error, axes, initial=0.0))

    return doubt


_REDUCTIONS: dict[str, Callable[[Bounded, Array, tuple[int, ...]], Array]] = {
    "sum": _sum,
    "prod": _product,
    "max": _largest,
    "min": _largest,
    "any": _any(True),
    "all": _any(False),
}
