"""Is a program linear in some of its inputs?  And the transpose of one that is."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import assert_never

from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Assemble,
    Assign,
    Call,
    Const,
    Equation,
    Operand,
    Program,
    outputs_of,
)


class Degree(Enum):
    """How a tensor depends on the inputs: not at all, as 0 does, linearly, or in another way."""

    CONSTANT = "constant"
    ZERO = "zero"
    LINEAR = "linear"
    OTHER = "other"


_SUMS = frozenset(("copy", "neg", "add", "sub"))
# The operand of a library operation in which it is linear.
_LINEAR_CALLS = {"reshape": 0, "affine_scan": 1, "solve": 1, "solve_triangular": 1}


def first_nonlinear(program: Program, inputs: Sequence[str]) -> Equation | str | None:
    """Return the equation (or the output) that is not linear in `inputs`; None where all outputs are.

    Only what is linear by its form is recognised: sums, products with one linear factor, selections whose
    condition does not depend on `inputs`, and the linear library operations.
    """
    degrees = dict.fromkeys(inputs, Degree.LINEAR)
    for equation in program.equations:
        degree = _degree(equation, degrees)
        if degree is Degree.OTHER:
            return equation
        for out in outputs_of(equation):
            degrees[out] = degree
    for output in program.outputs:
        if degrees.get(output, Degree.CONSTANT) is Degree.CONSTANT:
            return output
    return None


def _degree(equation: Equation, degrees: dict[str, Degree]) -> Degree:
    match equation:
        case Assign():
            degree = _of_body(equation, degrees)
            summed = equation.reduce is None or equation.reduce.op == "sum"
            return degree if summed or degree is not Degree.LINEAR else Degree.OTHER
        case Accumulate():
            before = degrees.get(equation.out, Degree.ZERO)
            return _sum([before, _of_body(equation, degrees)])
        case Assemble():
            return _sum([degrees.get(part, Degree.CONSTANT) for part in equation.parts])
        case Call():
            return _of_call(equation, [degrees.get(name, Degree.CONSTANT) for name in equation.ins])
        case _:
            assert_never(equation)


def _of_call(equation: Call, degrees: Sequence[Degree]) -> Degree:
    position = _LINEAR_CALLS.get(equation.operation)
    varying = [at for at, degree in enumerate(degrees) if degree is Degree.LINEAR]
    if not varying:
        return Degree.CONSTANT
    return Degree.LINEAR if varying == [position] else Degree.OTHER


def _of_body(equation: Assign | Accumulate, degrees: dict[str, Degree]) -> Degree:
    found = [_of_operand(operand, degrees) for operand in equation.operands]
    name, body = equation.template.name, equation.template.body
    if name in _SUMS:
        return _sum(found)
    if name == "mul" or (body.is_Mul and all(argument.is_Symbol for argument in body.args)):
        return _product(found)
    if name == "div" and found[1] is not Degree.LINEAR:
        return found[0]
    if name == "select" and found[0] is not Degree.LINEAR:
        return _sum(found[1:])
    return Degree.OTHER if Degree.LINEAR in found else Degree.CONSTANT


def _of_operand(operand: Operand, degrees: dict[str, Degree]) -> Degree:
    if isinstance(operand, Access):
        return degrees.get(operand.tensor, Degree.CONSTANT)
    return Degree.ZERO if isinstance(operand, Const) and operand.value == 0 else Degree.CONSTANT


def _sum(terms: Sequence[Degree]) -> Degree:
    """Return what a sum or a choice of terms is: a linear one has no constant terms."""
    kinds = set(terms) - {Degree.ZERO}
    if not kinds:
        return Degree.ZERO
    return kinds.pop() if len(kinds) == 1 else Degree.OTHER


def _product(factors: Sequence[Degree]) -> Degree:
    if Degree.LINEAR not in factors:
        return Degree.CONSTANT
    return Degree.LINEAR if factors.count(Degree.LINEAR) == 1 else Degree.OTHER
