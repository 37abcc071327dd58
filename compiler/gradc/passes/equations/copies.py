"""Whole copies are read through before anything else looks at a program.

A gradient inside a function is one with respect to copies of what it is given.  All passes shall see the program that
they see where the function itself is differentiated: of a copy with axes of one element, for one, these would be
dropped, and the weights of a convolution of single pixels look like no weights then.
"""

from __future__ import annotations

from dataclasses import replace

from gradc.ir.index.build import IDENTITY
from gradc.ir.index.nodes import Access, Assign, Equation, Program, outputs_of
from gradc.ir.index.splice import renamed


def without_copies(program: Program) -> Program:
    """Read what a tensor is a copy of, in place of the copy; results stay what they are.

    Requires: `program` is valid and will not be differentiated again.  Ensures: bit-equal outputs.

        v[i, j] = w[i, j];  y[i] = sum[j] v[i, j] * x[j]   ->   y[i] = sum[j] w[i, j] * x[j]
    """
    sources: dict[str, str] = {}
    equations: list[Equation] = []
    results = frozenset(program.outputs)
    for equation in program.equations:
        found = renamed(equation, sources) if sources else equation
        source = _source(found, program)
        if source and not results.issuperset(outputs_of(found)):
            sources[outputs_of(found)[0]] = source
        else:
            equations.append(found)
    if not sources:
        return program
    types = {name: type_ for name, type_ in program.types.items() if name not in sources}
    return replace(program, equations=tuple(equations), types=types)


def _source(equation: Equation, program: Program) -> str:
    """The tensor that an equation copies as it is, or empty."""
    if not isinstance(equation, Assign) or not equation.template.is_copy or equation.reduce is not None:
        return ""
    (operand,) = equation.operands
    if not isinstance(operand, Access) or operand.indices != IDENTITY[equation.rank]:
        return ""
    return operand.tensor if program.types[operand.tensor] == program.types[equation.out] else ""
