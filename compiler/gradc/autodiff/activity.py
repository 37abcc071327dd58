"""Which tensors carry derivatives: those that depend on an input and reach an output of interest."""

from __future__ import annotations

from collections.abc import Iterable

from gradc.errors import ArgumentError
from gradc.ir.index.build import IDENTITY
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Assemble,
    Assign,
    Call,
    Equation,
    Program,
    accesses_of,
    outputs_of,
)
from gradc.ir.index.splice import renamed


def differentiable_reads(equation: Equation) -> tuple[str, ...]:
    """Names that an equation reads as values (look-up tables are indices and carry no derivative)."""
    match equation:
        case Assign() | Accumulate():
            return tuple(access.tensor for access in accesses_of(equation))
        case Assemble():
            return equation.parts
        case Call():
            return equation.ins


def require_floats(program: Program, names: Iterable[str]) -> None:
    """Refuse names that cannot carry a derivative: what is no floating-point tensor of the program."""
    for name in names:
        type_ = program.types.get(name)
        if type_ is None or not type_.dtype.is_float:
            raise ArgumentError(
                f"there is no derivative with respect to, or of, {name}",
                where=f"program {program.name}",
                why=f"it is {'no tensor of the program' if type_ is None else type_.dtype.value}",
                do="name floating-point inputs, and start from a floating-point output",
            )


def read_through_passive(equations: list[Equation], count: int) -> None:
    """Let the equations from number `count` on read what passive copies are copies of.

    A passive copy carries no derivative, but what is derived from its readers depends on the operand as
    ever: so the pullback of ``y = passive(a) * x`` is ``x_bar += a * y_bar``, to be differentiated in ``a``
    next time.
    """
    names: dict[str, str] = {}
    for equation in equations[:count]:
        if isinstance(equation, Assign) and equation.template.name == "passive" and equation.reduce is None:
            (operand,) = equation.operands
            if isinstance(operand, Access) and operand.indices == IDENTITY[equation.rank]:
                names[equation.out] = names.get(operand.tensor, operand.tensor)
    if names:
        equations[count:] = [renamed(equation, names) for equation in equations[count:]]


def varying(program: Program, wrt: Iterable[str]) -> set[str]:
    """Floating-point tensors that depend on `wrt`."""
    types = program.types
    found = {name for name in wrt if types[name].dtype.is_float}
    for equation in program.equations:
        if isinstance(
            equation, Assign | Accumulate
        ):  # the common case, without a tuple of names per equation
            for operand in equation.operands:
                if type(operand) is Access and operand.tensor in found:
                    if types[equation.out].dtype.is_float and equation.template.name != "stop_gradient":
                        found.add(equation.out)
                    break
        elif any(name in found for name in differentiable_reads(equation)):
            found.update(name for name in outputs_of(equation) if types[name].dtype.is_float)
    return found


def useful(program: Program, outputs: Iterable[str]) -> set[str]:
    """Tensors that some output depends on."""
    found = set(outputs)
    for equation in reversed(program.equations):
        if isinstance(equation, Assign | Accumulate):
            if equation.out in found:
                found.update([operand.tensor for operand in equation.operands if type(operand) is Access])
        elif any(name in found for name in outputs_of(equation)):
            found.update(differentiable_reads(equation))
    return found


CHOOSING = frozenset(("select", "maximum", "minimum", "fmax", "fmin"))


def maybe_unused(program: Program) -> set[str]:
    """Tensors that feed an arm of a choice: where the arm is not taken their values may be anything.

    Their cotangents are then exact zeros, which must not meet an infinite partial.
    """
    found: set[str] = set()
    for equation in reversed(program.equations):
        if isinstance(equation, Assign | Accumulate):
            chooses = equation.template.name in CHOOSING
            chooses = chooses or (isinstance(equation, Assign) and _picks(equation))
            if (chooses or equation.out in found) and equation.template.name != "stop_gradient":
                found.update([operand.tensor for operand in equation.operands if type(operand) is Access])
        elif any(name in found for name in outputs_of(equation)):
            found.update(differentiable_reads(equation))
    return found


def _picks(equation: Assign) -> bool:
    return equation.reduce is not None and equation.reduce.op in ("max", "min")


def read_anywhere(program: Program, names: Iterable[str]) -> set[str]:
    """Those of `names` that some equation reads as a value."""
    sought, found = set(names), set()
    for equation in program.equations:
        if isinstance(equation, Assign | Accumulate):
            for operand in equation.operands:
                if type(operand) is Access and operand.tensor in sought:
                    found.add(operand.tensor)
        else:
            found.update(name for name in differentiable_reads(equation) if name in sought)
    return found
