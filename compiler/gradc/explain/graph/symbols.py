"""What is written into a gate: ``+``, ``×2``, ``1/x``, ``Σ_k ×``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from gradc.ir.functions import FUNCTIONS
from gradc.ir.index.build import IDENTITY
from gradc.ir.index.nodes import Access, Accumulate, Assemble, Assign, Call, Const, Equation, Operand
from gradc.ir.index.show import show_operand, show_template
from gradc.ir.names import INDEX_NAMES

WIDEST = 22  # characters

_SIGNS = {
    "add": "+",
    "sub": "−",
    "mul": "×",
    "div": "/",
    "neg": "−",
    "square": "x²",
    "reciprocal": "1/x",
    "sqrt": "√",
    "maximum": "max",
    "minimum": "min",
    "select": "if",
    "abs": "|x|",
    "pow": "x^y",
    "lt": "<",
    "le": "≤",
    "gt": ">",
    "ge": "≥",
    "eq": "=",
    "ne": "≠",
    "logical_and": "and",
    "logical_or": "or",
    "logical_not": "not",
}
_WITH_NUMBER = {"add": "+{0}", "mul": "×{0}", "sub": "−{0}", "div": "/{0}", "pow": "x^{0}"}  # second operand
_OF_NUMBER = {"add": "+{0}", "mul": "×{0}", "sub": "{0}−x", "div": "{0}/x", "pow": "{0}^x"}  # first operand
_REDUCTIONS = {"sum": "Σ", "prod": "Π"}
_LETTERS = "xyzuvw"


def symbol(equations: Sequence[Equation]) -> str:
    """Return what the equations of one tensor do, in a few characters."""
    equation = equations[0]
    match equation:
        case Assign():
            return _cut(_assigned(equation))
        case Accumulate():
            return "Σ +="
        case Assemble():
            return "concat"
        case Call():
            return _cut(equation.operation)
        case _:
            assert_never(equation)


def _assigned(equation: Assign) -> str:
    if equation.reduce is None:
        return _pointwise(equation)
    sign = _REDUCTIONS.get(equation.reduce.op, equation.reduce.op)
    reduced = ",".join(INDEX_NAMES[at] for at in range(equation.rank, len(equation.space)))
    body = "" if equation.template.is_copy else f" {_pointwise(equation)}"
    return f"{sign}_{reduced}{body}"


def _pointwise(equation: Assign) -> str:
    name, operands = equation.template.name, equation.operands
    numbers = [at for at, operand in enumerate(operands) if isinstance(operand, Const)]
    if len(operands) == 2 and len(numbers) == 1:
        forms = _OF_NUMBER if numbers[0] == 0 else _WITH_NUMBER
        if name in forms:
            return forms[name].format(_operand(operands[numbers[0]]))
    if equation.template.is_copy:
        return _copied(equation)
    if name in _SIGNS:
        return _SIGNS[name]
    return name if name in FUNCTIONS else _composite(equation)


def _copied(equation: Assign) -> str:
    """Show a copy by what it does to the indices: ``[j, i]``, ``[i + 1]``."""
    (operand,) = equation.operands
    if not isinstance(operand, Access):
        return _operand(operand)
    if operand.indices == IDENTITY[len(equation.space)]:
        return "copy"
    return show_operand(operand).removeprefix(operand.tensor) or "broadcast"


def _composite(equation: Assign) -> str:
    names: dict[Operand, str] = {}
    for operand in equation.operands:
        if isinstance(operand, Access) and operand not in names:
            names[operand] = _LETTERS[len(names)] if len(names) < len(_LETTERS) else f"x{len(names)}"
    return show_template(
        equation.template, tuple(names.get(operand) or _operand(operand) for operand in equation.operands)
    )


def _operand(operand: Operand) -> str:
    if isinstance(operand, Const) and isinstance(operand.value, float):
        return (
            f"{operand.value:g}" if float(f"{operand.value:g}") == operand.value else f"{operand.value:.4g}"
        )
    return show_operand(operand)


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"
