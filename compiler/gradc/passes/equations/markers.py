"""Drop what only differentiation looks at."""

from __future__ import annotations

from dataclasses import replace

from gradc.ir.functions import MARKERS
from gradc.ir.index.nodes import Assign, Equation, Program
from gradc.ir.index.templates import template


def without_markers(program: Program) -> Program:
    """Replace markers by copies of their first operand.

    Requires: `program` is valid and will not be differentiated again.  Ensures: bit-equal outputs.

        y[i] = attach_gradient(v[i], s[i])     ->  y[i] = v[i]
    """
    return replace(program, equations=tuple(_unmarked(equation) for equation in program.equations))


def _unmarked(equation: Equation) -> Equation:
    if not isinstance(equation, Assign) or equation.template.name not in MARKERS:
        return equation
    return replace(equation, template=template("copy"), operands=equation.operands[:1])
