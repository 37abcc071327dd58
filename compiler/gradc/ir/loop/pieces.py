"""The pieces of a kernel: one for every loop nest, contraction, product or call at its top, and for long scalar runs.

What stands before a loop (the arrays it fills, its number of parts, a few numbers) belongs to it, and so do the
loops behind it that add up the sums of its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from gradc.ir.loop.nodes import (
    AddTo,
    Contract,
    Extent,
    For,
    Kernel,
    Launch,
    Let,
    Library,
    Product,
    Require,
    Statement,
    Store,
    Tasks,
    Update,
)
from gradc.ir.loop.walk import every

LONG = 32  # scalar statements that are a piece of their own


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive statements at the top of a kernel.

    `kind` is ``"entry"``, ``"scalars"``, ``"loop"``, ``"tasks"``, ``"contract"``, ``"product"`` or the name of a
    library operation: what the main statement is.
    """

    statements: tuple[Statement, ...]
    kind: str

    @property
    def notes(self) -> tuple[str, ...]:
        """The equations that the statements compute: those of the main statements, then what stands before them."""
        ordered = sorted(self.statements, key=lambda statement: not _kind_of(statement))
        found = (getattr(statement, "note", "") for statement in every(ordered))
        return tuple(dict.fromkeys(note for note in found if note))


def pieces(kernel: Kernel) -> tuple[Piece, ...]:
    """Cut the body of a kernel; the statements of all pieces, one after the other, are the body again."""
    entry = tuple(takewhile(lambda statement: isinstance(statement, Extent | Require), kernel.body))
    found = [Piece(entry, "entry")] if entry else []
    run: list[Statement] = []
    for statement in kernel.body[len(entry) :]:
        kind = _kind_of(statement)
        if not kind:
            run.append(statement)
        elif not run and found and _adds_up(statement, found[-1]):
            found[-1] = _joined(found[-1], (statement,))
        else:
            if _is_long(run):
                found.append(Piece(tuple(run), "scalars"))
                run = []
            found.append(Piece((*run, statement), kind))
            run = []
    if run and (_is_long(run) or len(found) == bool(entry)):
        found.append(Piece(tuple(run), "scalars"))
    elif run:
        found[-1] = _joined(found[-1], run)
    return tuple(found)


def _kind_of(statement: Statement) -> str:
    match statement:
        case For():
            return "loop"
        case Tasks() | Product() | Contract() | Launch():
            return type(statement).__name__.lower()
        case Library(_, operation):
            return operation
        case _:
            return ""


def _adds_up(statement: Statement, before: Piece) -> bool:
    """Whether a loop runs over the parts of the tasks before it."""
    counts = [tasks.count for tasks in before.statements if isinstance(tasks, Tasks)]
    return isinstance(statement, For) and statement.extent in counts


def _is_long(run: Sequence[Statement]) -> bool:
    return sum(isinstance(statement, Let | Update | Store | AddTo) for statement in run) >= LONG


def _joined(piece: Piece, statements: Sequence[Statement]) -> Piece:
    return Piece((*piece.statements, *statements), piece.kind)
