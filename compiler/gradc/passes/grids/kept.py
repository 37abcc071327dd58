"""Arrays of a row that every lane keeps its own elements of, in registers.

    for j in range(lane, m, width): e[part, j] = f(x[i, j])
    ...
    for j in range(lane, m, width): y[i, j] = e[part, j] / s
                                                                  where m <= 8 * width:
    for slot < 8:
        j = lane + slot * width
        when j < m: e_own[slot] = f(x[i, j])
    ...
    for slot < 8:
        j = lane + slot * width
        when j < m: y[i, j] = e_own[slot] / s

A row then goes through memory once, although several loops run over it.  Longer rows go through copies in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import AddTo, Allocate, Expr, For, Let, Load, Statement, Store, When
from gradc.ir.loop.rewrite import rebuilt, with_values
from gradc.passes.grids.dependence import effects, is_shared_out

SLOTS = nodes.SHARE  # elements of a row that a lane keeps


@dataclass(frozen=True, slots=True)
class Kept:
    """Arrays of one axis of `extent` elements, with the names of what a lane keeps of them."""

    extent: Expr
    names: Mapping[str, str]
    slot: str

    def loop(self, loop: For, lane: Expr, width: Expr, many: Expr) -> Statement:
        """The iterations of a loop over the row that one lane has."""
        slot = nodes.var(self.slot)
        index = Let(loop.index, nodes.apply("add", lane, nodes.apply("mul", slot, width)))
        exists = nodes.apply("lt", nodes.var(loop.index), many)
        body = tuple(_own(statement, self.names, slot) for statement in loop.body)
        return For(self.slot, nodes.number(SLOTS), (index, When(exists, body)))

    def arrays(self, allocated: Mapping[str, Allocate]) -> list[Statement]:
        """What a lane keeps."""
        return [
            Allocate(own, allocated[tensor].dtype, (nodes.number(SLOTS),), local=True)
            for tensor, own in self.names.items()
        ]

    def cleared(self, tensors: Sequence[str], allocated: Mapping[str, Allocate]) -> list[Statement]:
        """Start sums with 0."""
        slot = nodes.var(self.slot)
        stores = tuple(
            Store(self.names[t], (slot,), nodes.neutral("sum", allocated[t].dtype)) for t in tensors
        )
        return [For(self.slot, nodes.number(SLOTS), stores)] if stores else []

    def stored(
        self, copies: Mapping[str, str], allocated: Mapping[str, Allocate], place: Sequence[Expr]
    ) -> list[Statement]:
        """Store sums in the copies of the group; `place` is the lane, the width, the part and how many there are."""
        lane, width, part, many = place
        slot, at = (
            nodes.var(self.slot),
            nodes.apply("add", lane, nodes.apply("mul", nodes.var(self.slot), width)),
        )
        exists = nodes.apply("logical_and", nodes.apply("lt", part, many), nodes.apply("lt", at, self.extent))
        stores = tuple(
            Store(copy, (part, at), nodes.load(self.names[tensor], (slot,), allocated[tensor].dtype))
            for tensor, copy in copies.items()
        )
        return [For(self.slot, nodes.number(SLOTS), (When(exists, stores),))] if stores else []


def keepable(body: Sequence[Statement], arrays: Mapping[str, Allocate]) -> tuple[Expr | None, list[str]]:
    """Return the arrays that only loops over one extent touch, each at their index, and that extent."""
    found: dict[Expr, list[str]] = {}
    for tensor, array in arrays.items():
        if len(array.shape) != 1:
            continue
        touching = [s for s in body if tensor in effects((s,)).places]
        if all(_runs_along(s, tensor, array.shape[0]) for s in touching):
            found.setdefault(array.shape[0], []).append(tensor)
    return max(found.items(), key=lambda item: len(item[1]), default=(None, []))


def _runs_along(statement: Statement, tensor: str, extent: Expr) -> bool:
    if not (isinstance(statement, For) and statement.extent is extent and is_shared_out(statement)):
        return False
    here = (nodes.var(statement.index),)
    return all(place == here for place in effects((statement,)).places[tensor])


def _own(statement: Statement, names: Mapping[str, str], slot: Expr) -> Statement:
    """A statement about the elements that a lane keeps."""

    def value(expression: Expr) -> Expr:
        if isinstance(expression, Load) and expression.tensor in names:
            return nodes.load(names[expression.tensor], (slot,), expression.dtype)
        return rebuilt(expression, value)

    if isinstance(statement, For):
        return replace(statement, body=tuple(_own(inner, names, slot) for inner in statement.body))
    statement = with_values(statement, value)
    if isinstance(statement, Store | AddTo) and statement.tensor in names:
        return replace(statement, tensor=names[statement.tensor], indices=(slot,))
    return statement
