"""Which tensors carry derivatives: those that depend on an input of interest and reach an output of interest."""

from __future__ import annotations

from collections.abc import Iterable

from gradc.ir.index.nodes import (
    Accumulate,
    Assemble,
    Assign,
    Call,
    Equation,
    Program,
    accesses_of,
    outputs_of,
)


def differentiable_reads(equation: Equation) -> tuple[str, ...]:
    """Names that an equation reads as values (look-up tables are indices and carry no derivative)."""
    match equation:
        case Assign() | Accumulate():
            return tuple(access.tensor for access in accesses_of(equation))
        case Assemble():
            return equation.parts
        case Call():
            return equation.ins


def varying(program: Program, wrt: Iterable[str]) -> set[str]:
    """Floating-point tensors that depend on `wrt`."""
    found = {name for name in wrt if program.types[name].dtype.is_float}
    for equation in program.equations:
        if any(name in found for name in differentiable_reads(equation)):
            found.update(name for name in outputs_of(equation) if program.types[name].dtype.is_float)
    return found


def useful(program: Program, outputs: Iterable[str]) -> set[str]:
    """Tensors that some output depends on."""
    found = set(outputs)
    for equation in reversed(program.equations):
        if any(name in found for name in outputs_of(equation)):
            found.update(differentiable_reads(equation))
    return found
