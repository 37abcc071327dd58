"""What every operand of every equation contributes to the gradient, from the derivative that the compiler derives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gradc.autodiff.activity import varying
from gradc.autodiff.vjp import gradient_with_cotangents
from gradc.ir.index.build import IDENTITY
from gradc.ir.index.evaluate import Interpreter
from gradc.ir.index.nodes import Access, Accumulate, Assemble, Assign, Call, Equation, Program
from gradc.ir.index.templates import template
from gradc.ir.names import NameSupply

Reader = tuple[int, int]  # the number of an equation and the position of an operand


@dataclass(frozen=True, slots=True)
class Separated:
    """A program in which every operand that varies is a copy of its tensor, so that it has its own cotangent."""

    program: Program
    copies: Mapping[Reader, str]


@dataclass(frozen=True, slots=True)
class Flow:
    """Values and cotangents of a program at a point.

    `values` has the value of every tensor of the program as written, without guards on arms that are
    not taken, `cotangents` those of the tensors that have one, and `contributions` the part of its
    tensor's cotangent that comes from each operand.
    """

    values: Mapping[str, Any]
    cotangents: Mapping[str, Any]
    contributions: Mapping[Reader, Any]


def contributions(
    program: Program, inputs: Mapping[str, Any], wrt: Sequence[str] | None = None
) -> dict[Reader, Any]:
    """Return what each operand contributes to the gradient of the tensor that it reads.

    Parameters
    ----------
    program : Program
        A program with a scalar output.
    inputs : mapping
        The value of every input.
    wrt : sequence of str, optional
        The inputs that vary; all floating-point inputs by default.

    Returns
    -------
    dict
        For the number of an equation and the position of an operand an array in the shape of the tensor;
        operands without influence on the output are left out.

    Examples
    --------
    >>> import gradc
    >>> program, inputs = gradc.differentiate(lambda x: x * x).at(3.0).program_and_inputs()
    >>> {reader: float(value) for reader, value in contributions(program, inputs).items()}
    {(0, 0): 3.0, (0, 1): 3.0}
    """
    return dict(flow(program, inputs, wrt).contributions)


def flow(program: Program, inputs: Mapping[str, Any], wrt: Sequence[str] | None = None) -> Flow:
    """Return values, cotangents and contributions of a program with a scalar output."""
    chosen = floats(program) if wrt is None else tuple(wrt)
    separated = separate(program, chosen)
    derived, names = gradient_with_cotangents(separated.program, chosen)
    found = Interpreter().run(derived, inputs)
    cotangents = {name: found[names[name]] for name in program.types if name in names}
    parts = {reader: found[names[copy]] for reader, copy in separated.copies.items() if copy in names}
    return Flow(Interpreter().run(program, inputs), cotangents, parts)


def floats(program: Program) -> tuple[str, ...]:
    """Return the floating-point inputs."""
    return tuple(name for name in program.inputs if program.types[name].dtype.is_float)


def operands_of(equation: Equation) -> Iterator[tuple[int, str]]:
    """Yield position and tensor of the operands that are tensors."""
    match equation:
        case Assign() | Accumulate():
            for position, operand in enumerate(equation.operands):
                if isinstance(operand, Access):
                    yield position, operand.tensor
        case Assemble():
            yield from enumerate(equation.parts)
        case Call():
            yield from enumerate(equation.ins)


def separate(program: Program, wrt: Sequence[str]) -> Separated:
    """Return a program of equal value in which every reader of a tensor that varies has a copy of its own."""
    active = varying(program, wrt)
    names = NameSupply(tuple(program.types))
    types = dict(program.types)
    equations: list[Equation] = []
    copies: dict[Reader, str] = {}
    for number, equation in enumerate(program.equations):
        own: dict[int, str] = {}
        for position, tensor in operands_of(equation):
            if tensor in active:
                copy = own[position] = copies[number, position] = names.fresh(tensor)
                types[copy] = type_ = types[tensor]
                rank = len(type_.shape)
                read = (Access(tensor, IDENTITY[rank]),)
                equations.append(
                    Assign(copy, type_.shape, rank, None, template("copy"), read, equation.origin)
                )
        equations.append(_reading(equation, own))
    return Separated(replace(program, equations=tuple(equations), types=types), copies)


def _reading(equation: Equation, own: Mapping[int, str]) -> Equation:
    """Return an equation whose operands at the positions in `own` read other tensors."""
    match equation:
        case Assign() | Accumulate():
            operands = tuple(
                Access(own[at], operand.indices) if at in own and isinstance(operand, Access) else operand
                for at, operand in enumerate(equation.operands)
            )
            return replace(equation, operands=operands)
        case Assemble():
            return replace(equation, parts=tuple(own.get(at, part) for at, part in enumerate(equation.parts)))
        case Call():
            return replace(equation, ins=tuple(own.get(at, name) for at, name in enumerate(equation.ins)))
