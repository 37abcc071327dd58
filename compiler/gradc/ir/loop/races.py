"""Who has touched the elements of an array in a launch, as far as somebody else could collide with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from gradc.errors import CompilerBug
from gradc.ir.loop.nodes import Statement
from gradc.ir.loop.show import show_statement

Access: TypeAlias = tuple[int, int, int, Statement]
"""Block, thread of the block, how many times the threads of the launch have waited before, and the statement."""


@dataclass(slots=True)
class _Touched:
    """The last write of an element, the last read, and a read by somebody else that no barrier has put behind us."""

    write: Access | None = None
    read: Access | None = None
    other: Access | None = None


class Log:
    """Raises CompilerBug where two threads touch an element, one of them writing, and no barrier is between them.

    Blocks run one after another here, so the last accesses are enough: what collides with one of a block before this
    collides with all that come.
    """

    def __init__(self, tensor: str) -> None:
        self.tensor = tensor
        self.elements: dict[tuple[int, ...], _Touched] = {}

    def reads(self, position: tuple[int, ...], access: Access) -> None:
        """Note a read."""
        touched = self.elements.get(position)
        if touched is None:
            touched = self.elements[position] = _Touched()
        if touched.write is not None and _collide(touched.write, access):
            raise self.race(position, (touched.write, "written"), (access, "read"))
        before, other = touched.read, touched.other
        # A read of another block stays: it collides with every write to come.
        if before is not None and _collide(before, access) and (other is None or other[0] == access[0]):
            touched.other = before
        touched.read = access

    def writes(self, position: tuple[int, ...], access: Access) -> None:
        """Note a write."""
        touched = self.elements.get(position)
        if touched is None:
            touched = self.elements[position] = _Touched()
        for before, how in ((touched.write, "written"), (touched.read, "read"), (touched.other, "read")):
            if before is not None and _collide(before, access):
                raise self.race(position, (before, how), (access, "written"))
        touched.write = access

    def race(
        self, position: tuple[int, ...], first: tuple[Access, str], second: tuple[Access, str]
    ) -> CompilerBug:
        """Describe two accesses that collide."""
        texts = [f"{how} by thread {by[1]} of block {by[0]}" for by, how in (first, second)]
        return CompilerBug(
            f"{self.tensor}{list(position)} is {texts[0]} and {texts[1]} with no barrier between",
            why=f"{show_statement(first[0][3])}; {show_statement(second[0][3])}",
        )


def _collide(one: Access, two: Access) -> bool:
    """Whether nothing puts one access before the other."""
    return one[0] != two[0] or (one[1] != two[1] and one[2] == two[2])
