"""Taking a part of a program under construction out as a program, and putting a derived one back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from gradc.ir.index.build import Builder
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Assemble,
    Assign,
    Call,
    Equation,
    Index,
    Lookup,
    Operand,
    Program,
    outputs_of,
    reads_of,
)

_NUMBERED = re.compile(r"v[0-9]+\Z")


def segment(builder: Builder, start: int, inputs: Sequence[str], outputs: Sequence[str]) -> Program:
    """Return the equations from number `start` on as a program.

    Its inputs are `inputs`, then every other tensor that the equations read and do not define.
    """
    return _program(builder, builder.equations[start:], inputs, outputs)


def detach(builder: Builder, start: int, inputs: Sequence[str], outputs: Sequence[str]) -> Program:
    """Take the equations from number `start` on that depend on `inputs` out of `builder`, as a program.

    `inputs` are placeholders, which no equation defines; their names and those of the removed tensors become
    free.
    """
    equations = builder.equations[start:]
    affected = set(inputs)
    for equation in equations:
        if any(name in affected for name in reads_of(equation)):
            affected.update(outputs_of(equation))
    taken = [equation for equation in equations if any(out in affected for out in outputs_of(equation))]
    program = _program(builder, taken, inputs, outputs)
    builder.equations[start:] = [e for e in equations if not any(out in affected for out in outputs_of(e))]
    for name in affected:
        del builder.types[name]
        builder.names.release(name)
    return program


def _program(
    builder: Builder, equations: Sequence[Equation], inputs: Sequence[str], outputs: Sequence[str]
) -> Program:
    defined = dict.fromkeys(name for equation in equations for name in outputs_of(equation))
    read = dict.fromkeys(name for equation in equations for name in reads_of(equation))
    free = [name for name in dict.fromkeys((*read, *outputs)) if name not in defined and name not in inputs]
    names = (*inputs, *free)
    types = {name: builder.types[name] for name in (*names, *defined)}
    return Program(builder.name, names, tuple(equations), tuple(outputs), types)


def splice(
    builder: Builder,
    program: Program,
    bound: Mapping[str, str] | None = None,
    *,
    known: Program | None = None,
) -> dict[str, str]:
    """Append the equations of `program`, which reads tensors of `builder` and those that `bound` renames.

    Tensors that `program` defines get fresh names.  Equations that `known` has too are not repeated: they
    stand in `builder` already.  Returns the new name of every tensor that has one.
    """
    names = dict(bound or {})
    new = _new_tensors(program, known)
    for equation in program.equations:
        outs = outputs_of(equation)
        if not any(out in new for out in outs):
            continue
        for out in outs:
            if out not in names:
                names[out] = builder.names.fresh("" if _NUMBERED.match(out) else out)
                builder.types[names[out]] = program.types[out]
        builder.equations.append(renamed(equation, names))
    return names


def _new_tensors(program: Program, known: Program | None) -> set[str]:
    """Tensors that `program` defines in another way than `known`, and what depends on them."""
    standing: dict[tuple[str, ...], list[Equation]] = {}
    for equation in known.equations if known else ():
        standing.setdefault(outputs_of(equation), []).append(equation)
    new: set[str] = set()
    for equation in program.equations:
        outs = outputs_of(equation)
        if equation not in standing.get(outs, ()) or any(name in new for name in reads_of(equation)):
            new.update(outs)
    return new


def renamed(equation: Equation, names: Mapping[str, str]) -> Equation:
    """Return `equation` with its tensors renamed; names that `names` lacks stay."""
    match equation:
        case Assign():
            operands = tuple(_operand(operand, names) for operand in equation.operands)
            return Assign(
                names.get(equation.out, equation.out),
                equation.space,
                equation.rank,
                equation.reduce,
                equation.template,
                operands,
                equation.origin,
            )
        case Accumulate():
            operands = tuple(_operand(operand, names) for operand in equation.operands)
            target = tuple(_index(index, names) for index in equation.target)
            out = names.get(equation.out, equation.out)
            return Accumulate(out, equation.space, target, equation.template, operands, equation.origin)
        case Assemble():
            parts = tuple(names.get(part, part) for part in equation.parts)
            return Assemble(names.get(equation.out, equation.out), equation.axis, parts, equation.origin)
        case Call():
            outs = tuple(names.get(out, out) for out in equation.outs)
            ins = tuple(names.get(name, name) for name in equation.ins)
            return Call(outs, equation.operation, ins, equation.attributes, equation.origin)


def _operand(operand: Operand, names: Mapping[str, str]) -> Operand:
    if not isinstance(operand, Access):
        return operand
    indices = tuple(_index(index, names) for index in operand.indices)
    return Access(names.get(operand.tensor, operand.tensor), indices)


def _index(index: Index, names: Mapping[str, str]) -> Index:
    return (
        Lookup(names.get(index.tensor, index.tensor), index.indices) if isinstance(index, Lookup) else index
    )
