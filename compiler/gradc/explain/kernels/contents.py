"""Which equations and which tensors of the optimised program a part of the kernel holds.

Statements of a kernel carry the equation that they compute as a note; notes are texts, which are unique in a program.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from gradc.ir.index.nodes import Assemble, Program, outputs_of
from gradc.ir.index.show import show_equation
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Clear,
    Contract,
    Kernel,
    Library,
    Product,
    Statement,
    Store,
    Tasks,
)
from gradc.ir.loop.pieces import Piece, pieces
from gradc.ir.loop.walk import every
from gradc.ir.stages import Stages


def with_loops(stages: Stages) -> Stages:
    """The same stages with loop nests for a kernel: of a kernel for a GPU those that its launches are made of."""
    return stages if stages.serial is None else replace(stages, kernel=stages.serial)


def numbers_of_notes(program: Program) -> dict[str, int]:
    """The number of each equation, by its text."""
    return {show_equation(equation): number for number, equation in enumerate(program.equations)}


def contents(stages: Stages) -> tuple[tuple[Piece, tuple[int, ...]], ...]:
    """Every piece of the final kernel with the numbers of the equations that it computes, in program order.

    Examples
    --------
    >>> import numpy as np
    >>> from gradc import differentiate
    >>> stages = differentiate(lambda x: (x * x).sum()).at(np.ones(3)).inspect("value").stages
    >>> [(piece.kind, equations) for piece, equations in contents(stages)]
    [('entry', ()), ('tasks', (0, 1))]
    """
    program = stages.optimised
    by_note = numbers_of_notes(program)
    # Of an `Assemble` the first part alone has a note: what writes to its result belongs to it.
    assembled = {e.out: n for n, e in enumerate(program.equations) if isinstance(e, Assemble)}
    found = []
    for piece in pieces(stages.kernel):
        numbers = {by_note[note] for note in piece.notes if note in by_note}
        numbers |= {assembled[name] for name in written(piece.statements) if name in assembled}
        found.append((piece, tuple(sorted(numbers))))
    return tuple(found)


def written(statements: Sequence[Statement]) -> dict[str, None]:
    """The arrays that statements write to, in order."""
    return dict.fromkeys(name for statement in every(statements) for name in _written_by(statement))


def _written_by(statement: Statement) -> Iterator[str]:
    match statement:
        case Store(tensor) | AddTo(tensor) | Clear(tensor):
            yield tensor
        case Contract(out) | Product(out):
            yield out
        case Library(outs):
            yield from outs
        case _:
            return


def arrays_of_tensors(stages: Stages, names: Mapping[str, object]) -> dict[str, str]:
    """The array of the kernel that holds each tensor of the program, under whatever name; not all have one.

    `names` are those of the kernel's arrays (`gradc.ir.loop.sizes.types_of`).
    """
    program = stages.optimised
    by_note = numbers_of_notes(program)
    found = {name: name for name in program.types if name in names}
    for statement in every(stages.kernel.body):
        if isinstance(statement, Store | AddTo) and statement.note in by_note:
            (out, *_) = outputs_of(program.equations[by_note[statement.note]])
            if program.types[out].shape:
                found.setdefault(out, statement.tensor)
    return found


def in_tasks(kernel: Kernel) -> set[str]:
    """The arrays that every thread has for itself."""
    tasks = (statement for statement in kernel.body if isinstance(statement, Tasks))
    return {made.tensor for found in tasks for made in every(found.body) if isinstance(made, Allocate)}
