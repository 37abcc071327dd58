"""Tangents by 50-digit differences: the truth that no rule of the table and no rounding has touched.

The program is evaluated in mpmath at ``x - h v``, ``x`` and ``x + h v`` with ``h`` = 1e-18.  At 50 digits the
quotient is exact to some 30 digits, for every tensor of the program at once; the slopes to the left and to the
right differ by more than ``h`` only at a kink.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradc.errors import GradcError
from gradc.ir.extents import evaluate as size_value
from gradc.ir.index.build import IDENTITY
from gradc.ir.index.evaluate import Interpreter, bind_extents
from gradc.ir.index.nodes import Access, Accumulate, Assign, Call, Const, Equation, Program
from gradc.ir.index.templates import template
from gradc.ir.types import DType

DIGITS = 50
STEP = "1e-18"
SAME = "1e-12"  # slopes that differ by a larger share are those of a kink
STILL = ("stop_gradient", "passive")
MOST_POINTS = 60_000  # scalar operations in mpmath take some microseconds each

Array = Any


@dataclass(frozen=True, slots=True)
class Oracle:
    """Values and tangents of all tensors of `program` along one direction of its inputs, in object arrays.

    `values` holds the 50-digit values, `left` and `right` the one-sided slopes; where they agree the tangent
    is their mean.
    """

    program: Program
    values: Mapping[str, Array]
    left: Mapping[str, Array]
    right: Mapping[str, Array]

    def tangent(self, name: str) -> Array:
        """The slope of a tensor, from both sides."""
        return (np.asarray(self.left[name]) + np.asarray(self.right[name])) / 2

    def is_smooth(self, name: str) -> bool:
        """Whether the slopes from both sides are finite and agree in every element."""
        return self.first_kink(name) is None

    def jumps(self, name: str) -> bool:
        """Whether the value changes visibly over the oracle's step, which no slope explains."""
        step, value = float(STEP), np.abs(np.asarray(self.values[name], float))
        sides = (np.abs(np.asarray(side[name], float)) * step for side in (self.left, self.right))
        return any(bool(np.any(rise > 1e-12 * np.maximum(value, 1.0))) for rise in sides)

    def first_kink(self, name: str) -> tuple[int, ...] | None:
        """The first element whose slopes differ; None if there is none."""
        left, right = np.asarray(self.left[name], object), np.asarray(self.right[name], object)
        for place in np.ndindex(left.shape):
            if not _agree(left[place], right[place]):
                return place
        return None


def observe(program: Program, inputs: Mapping[str, Array], directions: Mapping[str, Array]) -> Oracle | None:
    """Evaluate `program` around `inputs` along `directions` (by input; the others rest).

    None where there is no 50-digit meaning (a factorisation, a user's external function) or the program is
    too large to evaluate this slowly.
    """
    if not is_affordable(program, inputs):
        return None
    still = frozen(program)
    try:
        here = Interpreter("mp", DIGITS).run(program, inputs)
        held = {name: here[name] for name in still.inputs[len(program.inputs) :]}
        sides = [_beside(still, {**inputs, **held}, directions, sign) for sign in (-1, 1)]
    except (GradcError, ArithmeticError, ValueError, TypeError, AttributeError, NotImplementedError):
        return None
    slopes = [_slopes(here, there, sign) for there, sign in zip(sides, (-1, 1), strict=True)]
    return Oracle(program, here, *slopes)


def is_affordable(program: Program, inputs: Mapping[str, Array]) -> bool:
    """Whether a 50-digit evaluation takes seconds rather than minutes."""
    if any(isinstance(equation, Call) and equation.operation == "external" for equation in program.equations):
        return False
    return points(program, inputs) <= MOST_POINTS


def points(program: Program, inputs: Mapping[str, Array]) -> int:
    """How many scalar bodies an evaluation of `program` computes."""
    extents = bind_extents(program, {name: np.shape(inputs[name]) for name in program.inputs})
    return sum(
        math.prod(max(1, size_value(size, extents)) for size in equation.space)
        for equation in program.equations
        if isinstance(equation, Assign | Accumulate)
    )


def frozen(program: Program) -> Program:
    """Return `program` with what carries no derivative by definition held as additional inputs.

    The value under ``stop_gradient`` does not move; the one beside a user's own derivative does.
    """
    beside = {
        equation.operands[0]
        for equation in program.equations
        if isinstance(equation, Assign) and equation.template.name == "attach_gradient"
    }
    held: list[str] = []
    equations: list[Equation] = []
    for equation in program.equations:
        marker = equation.template.name if isinstance(equation, Assign) else ""
        if not isinstance(equation, Assign) or marker not in STILL:
            equations.append(equation)
        elif marker == "stop_gradient" and Access(equation.out, IDENTITY[equation.rank]) in beside:
            equations.append(replace(equation, template=template("copy")))
        else:
            held.append(equation.out)
    if not held:
        return program
    return replace(program, inputs=(*program.inputs, *held), equations=tuple(equations))


def is_narrow(program: Program) -> bool:
    """Whether something between float64 inputs and the result is computed in float32."""
    kinds = {program.types[name].dtype for name in program.inputs if program.types[name].dtype.is_float}
    return DType.F32 not in kinds and any(type_.dtype is DType.F32 for type_ in program.types.values())


def widened(program: Program) -> Program:
    """Return `program` with float64 in place of float32: its slopes can be measured by differences."""

    def wide(dtype: DType) -> DType:
        return DType.F64 if dtype is DType.F32 else dtype

    def rewritten(equation: Equation) -> Equation:
        if not isinstance(equation, Assign | Accumulate):
            return equation
        operands = tuple(
            replace(operand, dtype=wide(operand.dtype)) if isinstance(operand, Const) else operand
            for operand in equation.operands
        )
        if isinstance(equation, Assign) and equation.reduce is not None:
            reduce = replace(equation.reduce, acc=wide(equation.reduce.acc))
            return replace(equation, operands=operands, reduce=reduce)
        return replace(equation, operands=operands)

    types = {name: replace(type_, dtype=wide(type_.dtype)) for name, type_ in program.types.items()}
    return replace(program, equations=tuple(map(rewritten, program.equations)), types=types)


def _beside(
    program: Program, inputs: Mapping[str, Array], directions: Mapping[str, Array], sign: int
) -> dict[str, Array]:
    import mpmath  # noqa: PLC0415  (comes with SymPy; only the oracle needs it)

    with mpmath.workdps(DIGITS):
        step = sign * mpmath.mpf(STEP)
        moved = dict(inputs)
        for name, direction in directions.items():
            exact = np.frompyfunc(lambda x, v: mpmath.mpf(x) + step * mpmath.mpf(v), 2, 1)
            moved[name] = exact(np.asarray(inputs[name], float), np.asarray(direction, float))
        return Interpreter("mp", DIGITS).run(program, moved)


def _slopes(here: Mapping[str, Array], there: Mapping[str, Array], sign: int) -> dict[str, Array]:
    import mpmath  # noqa: PLC0415

    with mpmath.workdps(DIGITS):
        step = sign * mpmath.mpf(STEP)
        found = {}
        for name, value in here.items():
            other = there.get(name)
            if other is not None and np.asarray(value).dtype == object:
                found[name] = (np.asarray(other) - np.asarray(value)) / step
            elif other is not None and isinstance(value, mpmath.mpf):
                found[name] = (other - value) / step
        return found


def _agree(a: Any, b: Any) -> bool:
    import mpmath  # noqa: PLC0415

    if not (mpmath.isfinite(a) and mpmath.isfinite(b)):
        return False
    return abs(a - b) <= mpmath.mpf(SAME) * max(abs(a), abs(b), mpmath.mpf(1e-30))
