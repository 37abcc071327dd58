"""The gradient of a division divides once: what the numerator gets is what the denominator's part is made of.

Of ``y = a / b`` the rules give ``a_bar = y_bar / b`` and ``b_bar = -y_bar * y / b``: two divisions by the same number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gradc.ir.index.build import IDENTITY, Builder
from gradc.ir.index.nodes import Access, Accumulate, Assign, Equation, Index, Operand, Program
from gradc.ir.index.rewrite import compose_operand
from gradc.ir.index.templates import StrongZero, composite, placeholder, template

_A, _B, _C = (placeholder(position) for position in range(3))
_OF_NUMERATOR = composite(StrongZero(_A, _A / _B), (_A, _B))  # of y_bar, b
_OF_DENOMINATOR = composite(StrongZero(_A, -_A * _C / _B), (_A, _B, _C))  # of y_bar, b, y
_OF_QUOTIENT = composite(StrongZero(_A, -_B * _C), (_A, _B, _C))  # of y_bar, y_bar / b, y


def shared_quotients(program: Program) -> Program:
    """Compute what the denominator of a division gets from what the numerator gets.

    Requires: `program` is valid.  Ensures: the same values up to rounding, but where ``y_bar * y`` overflows or
    ``y_bar / b`` is no normal number (a *rounding* pass).

        a_bar[i] = y_bar[i] / b[j];  b_bar[j] = sum[i] -(y_bar[i] * y[i] / b[j])
        ->   a_bar[i] = y_bar[i] / b[j];  b_bar[j] = sum[i] -(a_bar[i] * y[i])
    """
    wanted = {
        equation.operands[0].tensor
        for equation in program.equations
        if isinstance(equation, Assign)
        and equation.template is _OF_DENOMINATOR
        and isinstance(equation.operands[0], Access)
    }
    if not wanted:
        return program
    walk = _Sharing(Builder.resume(replace(program, equations=())), wanted)
    for equation in program.equations:
        walk.visit(equation)
    return replace(program, equations=tuple(walk.builder.equations), types=walk.builder.types)


class _Sharing:
    """Finds the quotients of the cotangents that are `wanted`, and goes on with the builder's equations."""

    def __init__(self, builder: Builder, wanted: set[str]) -> None:
        self.builder = builder
        self.wanted = wanted
        self.quotients: dict[str, list[Assign]] = {}  # of a cotangent

    def visit(self, equation: Equation) -> None:
        if isinstance(equation, Assign) and equation.template is _OF_DENOMINATOR:
            equation = _from_quotient(equation, self.quotients)
        elif isinstance(equation, Assign | Accumulate) and equation.template is _OF_NUMERATOR:
            equation = self.numerator(equation)
        self.builder.equations.append(equation)

    def numerator(self, equation: Assign | Accumulate) -> Assign | Accumulate:
        """Note a quotient; what is added to a tensor at once gets a name before."""
        cotangent = equation.operands[0]
        if not isinstance(cotangent, Access) or cotangent.tensor not in self.wanted:
            return equation
        if isinstance(equation, Assign):
            if equation.reduce is None:
                self.quotients.setdefault(cotangent.tensor, []).append(equation)
            return equation
        dtype = self.builder.types[equation.out].dtype
        shape = equation.space
        name = self.builder.assign(_OF_NUMERATOR, equation.operands, shape, dtype, origin=equation.origin)
        made = self.builder.equations[-1]
        assert isinstance(made, Assign)
        self.quotients.setdefault(cotangent.tensor, []).append(made)
        read = Access(name, IDENTITY[len(shape)])
        return replace(equation, template=template("copy"), operands=(read,))


def _from_quotient(equation: Assign, quotients: dict[str, list[Assign]]) -> Assign:
    cotangent, denominator, result = equation.operands
    if not isinstance(cotangent, Access):
        return equation
    for quotient in quotients.get(cotangent.tensor, ()):
        places = _places(quotient, cotangent.indices)
        if places is None or compose_operand(quotient.operands[1], places) != denominator:
            continue
        operands: tuple[Operand, ...] = (cotangent, Access(quotient.out, places), result)
        return replace(equation, template=_OF_QUOTIENT, operands=operands)
    return equation


def _places(quotient: Assign, indices: Sequence[Index]) -> tuple[Index, ...] | None:
    """The element of a quotient that is made of the cotangent's element at these indices."""
    cotangent = quotient.operands[0]
    assert isinstance(cotangent, Access)
    if cotangent.indices != IDENTITY[quotient.rank]:
        return None
    return tuple(indices)
