"""The rows of a launch: which thread has which, alone or together with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import AddTo, Barrier, Expr, For, Let, Load, Statement, Store, Stride, Var, When
from gradc.ir.loop.rewrite import rebuilt, with_values
from gradc.passes.grids.cooperate import Cooperation, Lanes
from gradc.passes.grids.kept import Kept
from gradc.passes.grids.numbers import Numbers, Opened


@dataclass(frozen=True, slots=True)
class Rows:
    """The iterations of loops: the name of an iteration's number, how many there are, and the indices it stands for."""

    name: str
    many: Expr
    lets: tuple[Let, ...] = ()


@dataclass(frozen=True, slots=True)
class Sharing:
    """How rows are shared out: to `groups` of `width` threads, of which this thread's has the number `part`.

    A group has one row where there are as many groups as rows; else every `groups`-th one.
    """

    rows: Rows
    groups: Expr
    width: Expr
    part: Var
    numbers: Numbers

    @property
    def _has_one_row(self) -> bool:
        return self.groups is self.rows.many

    def alone(self, body: Sequence[Statement], launch: Opened) -> list[Statement]:
        """Statements of a thread that works on its rows alone."""
        here = Let(self.part.name, launch.number)
        exists = nodes.apply("lt", self.part, self.groups)
        row = self.rows.name
        if self._has_one_row:
            return [here, When(exists, (Let(row, self.part), *self.rows.lets, *body))]
        loop = Stride(row, self.part, self.rows.many, self.groups, (*self.rows.lets, *body))
        return [here, When(exists, (loop,))]

    @property
    def place(self) -> tuple[Expr, ...]:
        """The lane of a thread, the width of its group, the group's number and how many groups there are."""
        return nodes.var(self.numbers.own("lane")), self.width, self.part, self.groups

    def together(
        self, body: Sequence[Statement], launch: Opened, totals: frozenset[str], kept: Kept | None = None
    ) -> list[Statement]:
        """Statements of a thread of a group; raises `NotShared`."""
        lane, active = map(self.numbers.own, ("lane", "active"))
        behind = nodes.apply("mul", self.part, self.width)
        head: list[Statement] = [
            Let(self.part.name, nodes.apply("floor_divide", launch.number, self.width)),
            Let(lane, nodes.apply("sub", launch.number, behind)),
        ]
        lanes = Lanes(nodes.var(lane), self.width, nodes.var(active, nodes.DType.BOOL))
        work = Cooperation(lanes, self.numbers.names, totals, kept=kept)
        made = work.row(body)
        last = nodes.apply("sub", self.rows.many, nodes.number(1))
        if self._has_one_row:
            exists = Let(active, nodes.apply("lt", self.part, self.rows.many))
            row = Let(self.rows.name, nodes.apply("minimum", self.part, last))
            return [*head, exists, row, *self.rows.lets, *made]
        step, here = map(self.numbers.own, ("step", "here"))
        place = nodes.apply("add", self.part, nodes.apply("mul", nodes.var(step), self.groups))
        exists = nodes.apply(
            "logical_and",
            nodes.apply("lt", self.part, self.groups),
            nodes.apply("lt", nodes.var(here), self.rows.many),
        )
        inside: list[Statement] = [
            Let(here, place),
            Let(active, exists),
            Let(self.rows.name, nodes.apply("minimum", nodes.var(here), last)),
            *self.rows.lets,
            *made,
        ]
        if not work.is_closed:
            inside.append(Barrier())
        up = nodes.apply("add", self.rows.many, nodes.apply("sub", self.groups, nodes.number(1)))
        steps = nodes.apply("floor_divide", up, self.groups)
        return [*head, For(step, steps, tuple(inside))]


def copied(statement: Statement, copies: Mapping[str, str], part: Expr) -> Statement:
    """A statement about the copies of arrays that belong to a group."""

    def value(expression: Expr) -> Expr:
        if isinstance(expression, Load) and expression.tensor in copies:
            indices = tuple(value(index) for index in expression.indices)
            return nodes.load(copies[expression.tensor], (part, *indices), expression.dtype)
        return rebuilt(expression, value)

    if isinstance(statement, For):
        return replace(statement, body=tuple(copied(inner, copies, part) for inner in statement.body))
    statement = with_values(statement, value)
    if isinstance(statement, Store | AddTo) and statement.tensor in copies:
        return replace(statement, tensor=copies[statement.tensor], indices=(part, *statement.indices))
    return statement
