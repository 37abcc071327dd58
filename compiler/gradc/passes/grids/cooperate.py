"""A row worked on by a group of threads: loops are shared out over its lanes, sums are combined.

    v = 0                               v = 0
    for j < m: v = v + f(x[i, j])       for j in range(lane, m, width): v = v + f(x[i, j])
    for j < m: y[i, j] = g(v, j)   ->   combine v over the group
                                        for j in range(lane, m, width): y[i, j] = g(v, j)

Every lane computes what stands outside loops for itself; the first one stores it.  A lane reads what it has written
itself; between one lane's writing and another's reading there is a barrier, which all threads of a block reach: rows
that do not exist have empty loops and store nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import (
    AddTo,
    Barrier,
    Combine,
    Expr,
    For,
    Let,
    Load,
    Number,
    Statement,
    Store,
    Stride,
    Update,
    Var,
    When,
)
from gradc.ir.loop.rewrite import rebuilt, substituted, with_values
from gradc.ir.loop.show import show_expression
from gradc.ir.loop.walk import subexpressions
from gradc.ir.names import NameSupply
from gradc.ir.types import DType
from gradc.passes.grids.dependence import Effects, Place, effects, is_shared_out, is_shifted
from gradc.passes.grids.kept import Kept

ANY = "any"  # a pattern that equals no other one: elements may be touched by every lane
SHORT = 8  # iterations of a loop that one thread runs through as soon as a group has shared it out
_FIRST = nodes.number(0)


class NotShared(Exception):
    """The statements cannot be worked on by several threads at once."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """A group: which thread of it this is, how many there are, and whether its row exists."""

    lane: Expr
    width: Expr
    active: Expr

    @property
    def stores(self) -> Expr:
        """Whether this thread stores what all lanes have computed."""
        return nodes.apply("logical_and", self.active, nodes.apply("eq", self.lane, _FIRST))

    def many(self, extent: Expr) -> Expr:
        """The extent of a loop, which is empty for a row that does not exist."""
        return nodes.apply("select", self.active, extent, _FIRST)


def shared_extents(statements: Sequence[Statement]) -> list[Expr]:
    """Return the extents of the loops that a group would share out; none where one thread does as well."""
    found: list[Expr] = []
    for statement in statements:
        if isinstance(statement, For):
            if is_shared_out(statement):
                short = isinstance(statement.extent, Number) and int(statement.extent.value) <= SHORT
                found += [] if short else [statement.extent]
            else:
                found += shared_extents(statement.body)
    return list(dict.fromkeys(found))


def can_share(statements: Sequence[Statement]) -> bool:
    """Whether a group can work on a row."""
    lanes = Lanes(nodes.var("lane"), nodes.var("width"), nodes.var("active", DType.BOOL))
    try:
        Cooperation(lanes, NameSupply()).row(statements)
    except NotShared:
        return False
    return True


@dataclass(slots=True)
class Cooperation:
    """Statements of one row under construction.

    `totals` are numbers that all rows add to: every thread sums for itself.
    """

    lanes: Lanes
    names: NameSupply
    totals: frozenset[str] = frozenset()
    out: list[Statement] = field(default_factory=list)
    neutral: set[str] = field(default_factory=set)  # numbers that are where their sums start
    written: dict[str, str] = field(default_factory=dict)  # since the last barrier: arrays and by which lanes
    read: dict[str, str] = field(default_factory=dict)
    patterns: dict[str, set[str]] = field(default_factory=dict)  # of all accesses to an array that is written
    known: dict[Expr, Expr] = field(default_factory=dict)  # elements that were stored a moment ago
    changing: set[str] = field(default_factory=set)  # arrays that the launch writes
    kept: Kept | None = None

    def row(self, statements: Sequence[Statement]) -> list[Statement]:
        """Return the statements of a row; raises `NotShared`."""
        self.changing |= effects(statements).written
        self._statements(statements)
        return self.out

    @property
    def is_closed(self) -> bool:
        """Whether a next row may begin without a barrier: every element is touched by one lane alone."""
        touched = (self.patterns.get(name, set()) for name in effects(self.out).written)
        return all(len(patterns) <= 1 and ANY not in patterns for patterns in touched)

    def _statements(self, statements: Sequence[Statement]) -> None:
        for statement in statements:
            match statement:
                case For():
                    self._loop(statement)
                case Let(name, value):
                    self._touch(effects((statement,)), ANY)
                    self.out.append(with_values(statement, self._alone_value))
                    (self.neutral.add if isinstance(value, Number) else self.neutral.discard)(name)
                case Update():
                    self._update(statement)
                case Store() | AddTo():
                    self._store(statement)
                case _:
                    raise NotShared

    def _update(self, statement: Update) -> None:
        self._touch(effects((statement,)), ANY)
        value = self._alone_value(statement.value)
        if statement.name in self.totals:
            value = nodes.apply("select", self.lanes.stores, value, nodes.neutral(statement.op, value.dtype))
        self.neutral.discard(statement.name)
        self.out.append(replace(statement, value=value))

    def _store(self, statement: Store | AddTo) -> None:
        """Let the first lane store; the others know the value where it has a name."""
        found = effects((statement,))
        self._touch(found, ANY)
        statement = replace(statement, value=self._alone_value(statement.value))
        if statement.tensor in found.loaded:  # what the others read, the first lane might have written
            self._forget(statement.tensor)
            self.out.append(When(self.lanes.stores, (statement,)))
            return
        if not isinstance(statement.value, Var | Number):
            name = self.names.fresh("value")
            self.out.append(Let(name, statement.value, statement.note))
            statement = replace(statement, value=nodes.var(name, statement.value.dtype), note="")
        self._forget(statement.tensor)
        self.out.append(When(self.lanes.stores, (statement,)))
        if isinstance(statement, Store):
            element = nodes.load(statement.tensor, statement.indices, statement.value.dtype)
            self.known[element] = statement.value

    def _value(self, expression: Expr) -> Expr:
        """An expression with elements that were stored a moment ago as numbers."""
        known = self.known.get(expression)
        return known if known is not None else rebuilt(expression, self._value)

    def _alone_value(self, expression: Expr) -> Expr:
        """An expression outside loops: of a row that does not exist, nothing that others write is read."""
        known = self.known.get(expression)
        if known is not None:
            return known
        found = rebuilt(expression, self._alone_value)
        if isinstance(found, Load) and found.tensor in self.changing:
            zero = nodes.number(found.dtype.numpy.type(0).item(), found.dtype)
            return nodes.apply("select", self.lanes.active, found, zero)
        return found

    def _forget(self, tensor: str) -> None:
        self.known = {
            element: value
            for element, value in self.known.items()
            if not (isinstance(element, Load) and element.tensor == tensor)
        }

    # --- loops ------------------------------------------------------------------------------------------

    def _loop(self, loop: For) -> None:
        body = tuple(_with_values_everywhere(inner, self._value) for inner in loop.body)
        loop = For(loop.index, loop.extent, body)
        if is_shared_out(loop):
            self._shared(loop)
        elif any(isinstance(inner, For) for inner in body):
            self._uniform(loop)
        else:
            self._alone(loop)

    def _shared(self, loop: For) -> None:
        found = effects(loop.body)
        self._touch(found, "", loop)
        sums = {name: op for name, (op,) in found.totals.items() if name not in self.totals}
        partial: dict[str, str] = {}
        dtypes = _dtypes(loop)
        for name, op in sums.items():
            if name not in self.neutral:
                partial[name] = self.names.fresh(f"{name}_lane")
                self.out.append(Let(partial[name], nodes.neutral(op, dtypes[name])))
        body = tuple(_with_sums(inner, partial) for inner in loop.body)
        self.out.append(self._of_lane(replace(loop, body=body)))
        for name, op in sums.items():
            here = partial.get(name, name)
            self.out.append(Combine(here, op, self.lanes.width))
            if name in partial:
                self.out.append(Update(name, op, nodes.var(here, dtypes[name])))
        self.neutral -= sums.keys()
        for tensor in found.written:
            self._forget(tensor)

    def _of_lane(self, loop: For) -> Statement:
        """The iterations of a loop that one lane has."""
        many = self.lanes.many(loop.extent)
        if self.kept is not None and self.kept.extent is loop.extent:
            return self.kept.loop(loop, self.lanes.lane, self.lanes.width, many)
        return Stride(loop.index, self.lanes.lane, many, self.lanes.width, loop.body)

    def _uniform(self, loop: For) -> None:
        """A loop whose iterations follow one another: all lanes go through it together."""
        if any(isinstance(part, Load) for part in subexpressions(loop.extent)):
            raise NotShared  # rows of a block would disagree on the number of barriers
        found = effects(loop.body)
        if found.written or found.loaded & self.written.keys():
            self._barrier()
        for tensor in found.written:
            self._forget(tensor)
        inner = Cooperation(self.lanes, self.names, self.totals, changing=self.changing, kept=self.kept)
        inner.row(loop.body)
        body = [*inner.out, Barrier()] if found.written else inner.out
        self.out.append(For(loop.index, loop.extent, tuple(body)))
        self.neutral -= found.totals.keys()
        for tensor in found.written:
            self.patterns.setdefault(tensor, set()).add(ANY)

    def _alone(self, loop: For) -> None:
        """A loop without others in it that cannot be shared out: the first lane does it."""
        found = effects(loop.body)
        if found.totals:
            raise NotShared
        self._touch(found, ANY)
        for tensor in found.written:
            self._forget(tensor)
        self.out.append(When(self.lanes.stores, (loop,)))

    # --- barriers ---------------------------------------------------------------------------------------

    def _touch(self, found: Effects, pattern: str, loop: For | None = None) -> None:
        """Put a barrier where lanes touch what others have written, or write what others have read."""
        here = {
            tensor: pattern if loop is None else _pattern(loop, found, places)
            for tensor, places in found.places.items()
        }
        written = found.written
        clash = any(
            (tensor in self.written and _differ(self.written[tensor], how))
            or (tensor in written and tensor in self.read and _differ(self.read[tensor], how))
            for tensor, how in here.items()
        )
        if clash:
            self._barrier()
        for tensor, how in here.items():
            seen = self.patterns.setdefault(tensor, set())
            seen.add(how)
            table = self.written if tensor in written else self.read
            table[tensor] = how if table.get(tensor, how) == how else ANY

    def _barrier(self) -> None:
        self.out.append(Barrier())
        self.written.clear()
        self.read.clear()


def _differ(one: str, other: str) -> bool:
    return one != other or one == ANY


def _pattern(loop: For, found: Effects, places: Sequence[Place]) -> str:
    """Which lane touches which elements: the axis that runs with the loop, and how it is shifted."""
    for axis, index in enumerate(places[0]):
        if is_shifted(index, loop.index, found.local) and all(place[axis] is index for place in places):
            return f"{axis} {_text(index, loop.index)} {id(loop.extent)}"
    return ANY


def _text(index: Expr, loop: str) -> str:
    """An index that two loops may have in common, whatever they call their own."""
    return show_expression(substituted(index, {loop: nodes.var(":")}))


def _dtypes(loop: For) -> dict[str, DType]:
    found: dict[str, DType] = {}
    stack: list[Statement] = list(loop.body)
    while stack:
        statement = stack.pop()
        if isinstance(statement, For):
            stack.extend(statement.body)
        elif isinstance(statement, Update):
            found[statement.name] = statement.value.dtype
    return found


def _with_sums(statement: Statement, partial: dict[str, str]) -> Statement:
    if isinstance(statement, For):
        return For(statement.index, statement.extent, tuple(_with_sums(s, partial) for s in statement.body))
    if isinstance(statement, Update):
        return replace(statement, name=partial.get(statement.name, statement.name))
    return statement


def _with_values_everywhere(statement: Statement, change: Callable[[Expr], Expr]) -> Statement:
    if isinstance(statement, For):
        body = tuple(_with_values_everywhere(inner, change) for inner in statement.body)
        return For(statement.index, change(statement.extent), body)
    return with_values(statement, change)
