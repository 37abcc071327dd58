"""What statements read and write, and whether they touch an array at the index of one loop only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gradc.ir.loop.nodes import (
    AddTo,
    Carry,
    Contract,
    Expr,
    Extent,
    For,
    From,
    Let,
    Library,
    Load,
    Number,
    Statement,
    Store,
    Update,
    Var,
)
from gradc.ir.loop.walk import every, expressions, subexpressions, touched

ELSEWHERE = -1  # the axis of an array that is touched otherwise than at the loop's index


@dataclass(slots=True)
class Effects:
    """The names that statements read and write, and on which axis of each array the loop's index stands."""

    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    axes: dict[str, int] = field(default_factory=dict)

    def add(self, other: Effects) -> None:
        """Take in what further statements do."""
        self.read |= other.read
        self.written |= other.written
        for name, axis in other.axes.items():
            self.note(name, axis)

    def note(self, array: str, axis: int) -> None:
        """Note an access to an array."""
        self.axes[array] = axis if self.axes.setdefault(array, axis) == axis else ELSEWHERE

    def common(self, other: Effects) -> set[str]:
        """The names that both touch and one of them writes."""
        return (self.written & (other.read | other.written)) | (other.written & self.read)

    def in_step(self, other: Effects, names: set[str]) -> bool:
        """Whether both touch each of these arrays at the loop's index, which stands on the same axis."""
        here, there = self.axes, other.axes
        return all(here.get(name, ELSEWHERE) == there.get(name, ELSEWHERE) != ELSEWHERE for name in names)


def effects(
    statements: Sequence[Statement], index: Expr | None = None, around: Sequence[Expr] = ()
) -> Effects:
    """What statements do; in a loop with this index, inside loops with the indices `around`, which stand still."""
    return _Looking(index, around).at(statements)


class _Looking:
    def __init__(self, index: Expr | None, around: Sequence[Expr]) -> None:
        self.index = index
        self.around = around

    def at(self, statements: Sequence[Statement]) -> Effects:
        found = Effects()
        for statement in statements:
            found.add(self.one(statement))
        return found

    def one(self, statement: Statement) -> Effects:
        found = Effects()
        for inner in every((statement,)):
            for place in expressions(inner):
                for part in subexpressions(place):
                    if isinstance(part, Var):
                        found.read.add(part.name)
                    elif isinstance(part, Load):
                        self.touch(found, part.tensor.removesuffix(".shape"), part.indices)
            self.write(found, inner)
        if isinstance(statement, For):  # what it defines, it forgets
            inside = list(every((statement,)))
            own = {s.name for s in inside if isinstance(s, Let)} | {
                s.index for s in inside if isinstance(s, For)
            }
            found.read -= own
            found.written -= own
        return found

    def touch(self, found: Effects, tensor: str, place: Sequence[Expr | None]) -> None:
        found.read.add(tensor)
        axis = 0
        while axis < len(place) and (isinstance(place[axis], Number) or place[axis] in self.around):
            axis += 1
        here = axis < len(place) and place[axis] is self.index
        found.note(tensor, axis if here else ELSEWHERE)

    def write(self, found: Effects, statement: Statement) -> None:
        """Note what a statement itself writes, and arrays it reads otherwise than by expressions."""
        match statement:
            case Let(name) | Extent(name):
                found.written.add(name)
            case Update(name) | Carry(name):
                found.read.add(name)
                found.written.add(name)
            case For():
                pass
            case Store(tensor, place) | AddTo(tensor, place):
                self.touch(found, tensor, place)
                found.written.add(tensor)
            case Contract():
                names = (statement.out, statement.left, statement.right)
                for name, view in zip(names, statement.views, strict=True):
                    self.touch(found, name, [self.index if isinstance(at, From) else at for at in view])
                found.written.add(statement.out)
            case _:
                names = tuple(touched(statement))
                found.read.update(names)
                for name in names:
                    found.note(name, ELSEWHERE)
                # A check counts as writing what it checks: nothing may look there before it.
                found.written.update(statement.outs if isinstance(statement, Library) else names[:1])
