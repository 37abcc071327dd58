"""Running error analysis: machine numbers that carry a bound on their distance from the exact result.

Every step adds what its operands' errors become and what it rounds itself.  Derivatives are taken at the ends
and the middle of each error interval, and a step whose interval reaches a pole or a jump says so, by the
height of the jump or by infinity: *unavailable*.  Truth values and integers have the bound 0 where they are
certain.  Bounds say nothing where the value is NaN.  Errors are taken as independent, except that a number equals
itself: the winner of ``x == max(x)`` is certain where no other element comes near it.

Source: N. J. Higham, "Accuracy and Stability of Numerical Algorithms", section 3.3 and chapters 4 and 9.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradc.ir.index.call_bounds import CALL_BOUNDS
from gradc.ir.index.calls import Operation
from gradc.ir.index.numbers import MachineNumbers, literal
from gradc.ir.index.rounding import (
    DOUBTS,
    REDUCTIONS,
    conversion,
    finite,
    limit,
    missed,
    rounding,
    unit,
)
from gradc.ir.index.sensitivity import SENSITIVITY, Sensitivity
from gradc.ir.index.templates import Argument, Literal, Source, Template, template
from gradc.ir.types import DType

Array = Any

COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")

# Bounds are rounded too.
SLACK = 1 + 2.0**-20


@dataclass(frozen=True, slots=True)
class Identity:
    """Which elements of a tensor some numbers are, counted in C order; -1 where that is in doubt."""

    of: object
    elements: Array

    def same(self, other: Identity) -> Array:
        """Where both are certainly the same number."""
        return (self.elements == other.elements) & (self.elements >= 0) if self.of is other.of else False


@dataclass(frozen=True, slots=True)
class Bounded:
    """A value and the bound on its error, of one shape.

    `own` and `winner` say of which tensor the values are elements: as read, and as found by a reduction to the
    maximum or minimum.  An element equals itself however large its error is.
    """

    value: Array
    error: Array
    own: Identity | None = None
    winner: Identity | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of both."""
        return np.shape(self.value)

    def map(self, function: Callable[[Array], Array]) -> Bounded:
        """Change both alike, and which elements they are."""
        own, winner = (
            each and Identity(each.of, function(each.elements)) for each in (self.own, self.winner)
        )
        return Bounded(function(self.value), function(self.error), own, winner)


@dataclass(frozen=True, slots=True)
class Tally(Bounded):
    """A tensor being accumulated: per element the terms' errors, their absolute values and their number."""

    terms: Array = field(kw_only=True)
    size: Array = field(kw_only=True)
    count: Array = field(kw_only=True)


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
        off = abs(float(found) - value) if dtype.is_float and math.isfinite(value) else 0.0
        return Bounded(found, np.float64(off))

    def integer(self, value: Array) -> Bounded:
        """Represent integers, such as loop indices."""
        return exact(value)

    def zeros(self, shape: tuple[int, ...], dtype: DType) -> Tally:
        """Make an array of zeros to accumulate into."""
        error, terms, size, count = (np.zeros(shape) for _ in range(4))
        return Tally(np.zeros(shape, dtype.numpy), error, terms=terms, size=size, count=count)

    def cast(self, value: Bounded, dtype: DType) -> Bounded:
        """Convert to another dtype."""
        if value.value.dtype == dtype.numpy:
            return value
        changed = self.machine.cast(value.value, dtype)
        if dtype.is_float:
            return Bounded(changed, (value.error + conversion(value.value, changed)) * SLACK)
        if value.value.dtype.kind != "f":
            return Bounded(changed, value.error)
        # a truth value or a truncated number: what the ends of the interval become
        wide = value.value.astype(np.float64)
        truth = (lambda x: x != 0) if dtype.is_bool else np.trunc
        low, high = (np.where(value.error > 0, truth(wide + s * value.error), truth(wide)) for s in (-1, 1))
        spread = np.maximum(np.abs(1.0 * high - truth(wide)), np.abs(1.0 * low - truth(wide)))
        crosses = (value.error > 0) & (np.abs(wide) <= value.error)
        return Bounded(changed, finite(np.where(crosses & dtype.is_bool, 1.0, spread)))

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
        return tuple(Bounded(out, finite(error * SLACK)) for out, error in zip(outs, errors, strict=True))

    # --- arrays -----------------------------------------------------------------------------------------

    def take(self, value: Bounded, indices: tuple[Array, ...]) -> Bounded:
        """Read the elements at some positions; nothing is known of one whose position is in doubt."""
        if value.own is None:
            elements = np.arange(math.prod(value.shape)).reshape(value.shape)
            value = Bounded(value.value, value.error, Identity(value, elements), value.winner)
        if not indices:
            return value
        plain = tuple(index.value if isinstance(index, Bounded) else index for index in indices)
        found = value.map(lambda array: array[plain])
        doubt = [index.error > 0 for index in indices if isinstance(index, Bounded)]
        if not any(np.any(each) for each in doubt):
            return found
        return Bounded(found.value, np.where(functools.reduce(np.logical_or, doubt), np.inf, found.error))

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
        error = REDUCTIONS[op](body.value, body.error, result, axes)
        overflown = ~np.isfinite(result) & np.all(np.isfinite(body.value), axes)
        found = Bounded(result, finite(np.where(overflown, np.inf, error * SLACK)))
        return _with_winner(found, op, body, axes) if op in ("max", "min") and body.own else found

    def add_at(self, out: Bounded, position: tuple[Array, ...], body: Bounded) -> Bounded:
        """Add to the elements at some positions; the bound holds for every order."""
        assert isinstance(out, Tally)
        plain = tuple(index.value if isinstance(index, Bounded) else index for index in position)
        doubt = any(isinstance(index, Bounded) and np.any(index.error > 0) for index in position)
        value = self.machine.add_at(out.value, plain, body.value)
        rounded = body.error
        if body.value.dtype != out.value.dtype:  # float64 terms of a float32 tensor
            rounded = rounded + conversion(np.asarray(body.value), np.asarray(body.value, out.value.dtype))
        terms = self.machine.add_at(out.terms, plain, rounded)
        size = self.machine.add_at(out.size, plain, np.abs(body.value).astype(np.float64))
        count = self.machine.add_at(out.count, plain, np.ones(body.shape))
        terms = terms + np.inf if doubt else terms
        error = terms + np.maximum(count - 1, 0) * unit(value) * size
        overflown = ~np.isfinite(value) & np.isfinite(size)
        error = finite(np.where(overflown, np.inf, error * SLACK))
        return Tally(value, error, terms=terms, size=size, count=count)

    # --- templates --------------------------------------------------------------------------------------

    def _source(self, source: Source, operands: tuple[Bounded, ...], steps: list[Bounded]) -> Bounded:
        match source:
            case Argument(position):
                return operands[position]
            case Literal(value, text):
                number = literal(value, tuple(operand.value for operand in operands))
                return Bounded(number, np.float64(missed(float(number), value, text, unit(number))))
            case _:
                return steps[source.position]

    def _step(self, function: str, operands: list[Bounded]) -> Bounded:
        values = [operand.value for operand in operands]
        result = np.asarray(self.machine.function(template(function))(*values))[()]
        doubtful = DOUBTS.get(function)
        if doubtful is not None:
            return Bounded(result, doubtful(*((operand.value, operand.error) for operand in operands)))
        row = SENSITIVITY[function]
        wide = tuple(np.asarray(value, np.float64) for value in values)
        errors = tuple(operand.error for operand in operands)
        passed = self._propagated(function, row, wide, errors, np.asarray(result, np.float64))
        error = (passed + rounding(row, wide, result)) * SLACK
        if function in COMPARISONS:
            error = np.where(_same(*operands), 0.0, error)
        error = finite(np.where(limit(function, wide, errors, result), 0.0, error))
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
        return np.where(leaves, row.jump(wide, tuple(reach), y) if row.jump else np.inf, total)


def _same(first: Bounded, second: Bounded) -> Array:
    """Find where two operands are certainly the same number."""
    kinds = [[each for each in (operand.own, operand.winner) if each] for operand in (first, second)]
    return functools.reduce(np.logical_or, [a.same(b) for a in kinds[0] for b in kinds[1]], False)


def _with_winner(found: Bounded, op: str, body: Bounded, axes: tuple[int, ...]) -> Bounded:
    """Note which element won, where the interval of no other one reaches it; only its own error counts then."""
    assert body.own is not None
    wide = body.value.astype(np.float64) * (1.0 if op == "max" else -1.0)
    floor = np.max(wide - body.error, axes, keepdims=True)
    reaches = ~(wide + body.error < floor)
    certain = np.sum(reaches, axes) == 1
    elements = np.where(certain, np.sum(np.where(reaches, body.own.elements, 0), axes), -1)
    error = np.where(certain, np.sum(np.where(reaches, body.error, 0.0), axes), found.error)
    return Bounded(found.value, error[()], None, Identity(body.own.of, elements))


def _steepest(slopes: list[Array]) -> Array:
    """Return the largest slope, and an eighth of their range: a parabola peaks no higher between three points."""
    largest, smallest = functools.reduce(np.maximum, slopes), functools.reduce(np.minimum, slopes)
    return largest + (largest - smallest) / 8
