"""Template -> loop-IR expressions: the only place where the two meet.

A template's tape is read once per use; steps that are used twice become local variables so that nothing is
computed twice, everything else nests into one readable expression.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradc.ir.index.templates import Argument, Literal, Source, Tape, Template
from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import Expr, Load, Number, Var
from gradc.ir.types import DType


def freeze(template: Template, operands: Sequence[Expr], bind: Callable[[Expr], Expr]) -> Expr:
    """Return `template` applied to `operands`; `bind` gives a value a name and returns the variable."""
    tape = template.tape
    dtype = _literal_dtype(operands)
    if "uses" not in template.cache:
        template.cache["uses"] = _use_counts(tape)
    counts: Any = template.cache["uses"]
    steps: list[Expr] = []

    def source(item: Source) -> Expr:
        match item:
            case Argument(position):
                return operands[position]
            case Literal(value, _):
                return nodes.number(dtype.numpy.type(value).item(), dtype)
            case _:
                return steps[item.position]

    for position, step in enumerate(tape.instructions):
        value = _apply(step.function, [source(item) for item in step.sources], bind)
        shared = counts[position] > 1 and not isinstance(value, Var | Number)
        steps.append(bind(value) if shared else value)
    return source(tape.result)


def _apply(function: str, arguments: list[Expr], bind: Callable[[Expr], Expr]) -> Expr:
    if function == "square":
        factor = arguments[0] if isinstance(arguments[0], Var | Number | Load) else bind(arguments[0])
        return nodes.apply("mul", factor, factor)
    return nodes.apply(function, *arguments)


def _use_counts(tape: Tape) -> list[int]:
    counts = [0] * len(tape.instructions)
    for step in tape.instructions:
        for item in step.sources:
            if not isinstance(item, Argument | Literal):
                counts[item.position] += 1
    return counts


def _literal_dtype(operands: Sequence[Expr]) -> DType:
    """Literals take the floating dtype of the operands; without one, the dtype of the last operand."""
    for operand in operands:
        if operand.dtype.is_float:
            return operand.dtype
    return operands[-1].dtype if operands else DType.F64
