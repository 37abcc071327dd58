"""Rows of arrays that the inner loops of a strip read again and again: each strip reads them once, lane by lane."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import AddTo, Allocate, Apply, Expr, For, Load, Statement, Store, Var
from gradc.ir.loop.rewrite import rebuilt, with_values
from gradc.ir.loop.walk import every
from gradc.ir.names import NameSupply


class Rows:
    """The copies of rows, under names that are new.

    `index` is the loop's own, `part` the part whose copy it is and `parts` how many there are.
    """

    def __init__(
        self, inside: Sequence[Statement], index: Expr, part: Expr, parts: Expr, names: NameSupply
    ) -> None:
        self.index = index
        self.part = part
        self.parts = parts
        self.names = names
        self.written = {s.tensor for s in every(inside) if isinstance(s, Store | AddTo)}
        self.copies: dict[tuple[str, int, tuple[Expr, ...]], tuple[str, Load]] = {}

    def arrays(self) -> Iterator[Allocate]:
        """The copies, without their axis of lanes."""
        for (_, _, sizes), (name, read) in self.copies.items():
            yield Allocate(name, read.dtype, (self.parts, *sizes))

    def replaced(
        self, statements: Sequence[Statement], around: tuple[For, ...] = ()
    ) -> tuple[Statement, ...]:
        """The statements with loads from the copies."""
        made: list[Statement] = []
        for statement in statements:
            if isinstance(statement, For):
                inner = self.replaced(statement.body, (*around, statement))
                made.append(replace(statement, body=inner))
            else:
                made.append(with_values(statement, lambda value: self.value(value, around)))
        return tuple(made)

    def value(self, expression: Expr, around: tuple[For, ...]) -> Expr:
        """A value with loads from the copies."""
        match expression:
            case Load(_, indices, dtype):
                copy = self.copy(expression, around)
                rest = tuple(index for index in indices if index is not self.index)
                return expression if copy is None else nodes.load(copy, (self.part, *rest), dtype)
            # An arm that is not taken may stand outside the array.
            case Apply("select", (condition, *arms), dtype):
                return nodes.applied("select", (self.value(condition, around), *arms), dtype)
            case _:
                return rebuilt(expression, lambda operand: self.value(operand, around))

    def copy(self, read: Load, around: tuple[For, ...]) -> str | None:
        """The copy of an element's row, if loops around the element read the row many times."""
        extents = {loop.index: loop.extent for loop in around}
        rest = [index for index in read.indices if index is not self.index]
        loops = [index.name for index in rest if isinstance(index, Var) and index.name in extents]
        again = any(loop.index not in loops for loop in around)
        if read.tensor in self.written or len(rest) != len(read.indices) - 1 or not again:
            return None
        if not loops or len(set(loops)) != len(rest):
            return None
        sizes = tuple(extents[name] for name in loops)
        key = (read.tensor, read.indices.index(self.index), sizes)
        if key not in self.copies:
            name = self.names.fresh(f"{read.tensor}_strip")
            self.copies[key] = (name, read)
        return self.copies[key][0]

    def fills(self) -> Iterator[tuple[list[For], Store]]:
        """What fills the copies: a store, and the loops around it."""
        for (_, _, sizes), (name, read) in self.copies.items():
            rest = [index for index in read.indices if index is not self.index]
            loops = [
                For(index.name, size, ())
                for index, size in zip(rest, sizes, strict=True)
                if isinstance(index, Var)
            ]
            yield loops, Store(name, (self.part, *rest), read)
