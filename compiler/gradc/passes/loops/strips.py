"""Strips: iterations of a loop taken together, innermost, where its inner loops are too short for vectors.

    for step < many:                             for strip < strips:
        i = first + step                             start = first + strip * lanes
        for j < m:                                   width = minimum(lanes, many - strip * lanes)
            s = 0                         ->         for j < m:
            for k < 3:                                   for lane < width:
                s = sum(s, f[j, k] * x[i, k])                s = f[j, 0] * x_strip[0, lane] + ...
            y[j] = s                                         y[j, lane] = s

A mixture of normal distributions is the example: 10,000 points, each with loops over 25 components and 10 dimensions
of its own.  The short loops are unrolled, and each run of statements between loops is done for a whole strip of
points, which are neighbours in memory: what an iteration keeps for itself has an axis of lanes at its end, and sums
over iterations are taken in registers, strip by strip.  Only loops that are tasks are taken: their iterations are
independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Expr,
    Extent,
    For,
    Kernel,
    Let,
    Load,
    Number,
    Statement,
    Store,
    Tasks,
    Update,
    Var,
)
from gradc.ir.loop.rewrite import rebuilt, substituted, with_values
from gradc.ir.loop.walk import every, expressions, names_in, subexpressions
from gradc.ir.names import NameSupply
from gradc.ir.types import DType
from gradc.passes.loops.short_loops import SHORT, fill_no_vectors
from gradc.passes.loops.strip_rows import Rows

LONGEST = 32  # statements that a short loop may become
MOST = 8  # times eight lanes of a strip
KEPT = 4096  # times eight elements of a strip's own arrays, which should stay in the second-level cache


def in_strips(kernel: Kernel) -> Kernel:
    """Let tasks that spend their time in short inner loops take several iterations at once.

    Requires: `kernel` is valid.  Ensures: the same values, with the sums of such loops in another order.
    """
    if not any(isinstance(statement, Tasks) for statement in kernel.body):
        return kernel
    names = names_in(kernel.body)
    inside = {name for s in every(kernel.body) if isinstance(s, Tasks) for name in (s.part, s.first, s.many)}
    supply = NameSupply((*names, *inside, *(p.name for p in kernel.parameters), *kernel.results, kernel.name))
    allocated = {s.tensor: s for s in kernel.body if isinstance(s, Allocate)}
    nested = {s.extent for tasks in kernel.body if isinstance(tasks, Tasks) for s in _inner_loops(tasks)}
    body: list[Statement] = []
    for statement in kernel.body:
        found = _strips(statement, allocated, nested, supply) if isinstance(statement, Tasks) else None
        if found is None:
            body.append(statement)
            continue
        body = [s for s in body if not (isinstance(s, Allocate) and s.tensor in found.own)]
        body += [*found.before, found.tasks]
    return replace(kernel, body=tuple(body))


@dataclass(frozen=True, slots=True)
class _Strips:
    """Tasks in strips, what comes before them, and the arrays of each iteration alone."""

    before: tuple[Statement, ...]
    tasks: Tasks
    own: frozenset[str]


def _inner_loops(tasks: Tasks) -> Iterator[For]:
    """The loops inside that over the part's own indices."""
    for loop in tasks.body:
        if isinstance(loop, For):
            yield from (found for found in every(loop.body) if isinstance(found, For))


def _strips(
    tasks: Tasks, allocated: dict[str, Allocate], nested: set[Expr], names: NameSupply
) -> _Strips | None:
    """The tasks in strips; None where the loop has to stay as it is.

    A loop over what is an inner loop elsewhere is hardly a long one: it stays where all in it is of fixed length.
    """
    loops = [statement for statement in tasks.body if isinstance(statement, For)]
    if len(loops) != 1 or not isinstance(loops[0].body[0], Let):
        return None
    inside = loops[0].body[1:]
    plain = all(isinstance(found, Let | Update | Store | AddTo | For) for found in every(inside))
    fixed = all(isinstance(found.extent, Number) for found in _inner_loops(tasks))
    if not plain or (fixed and tasks.extent in nested) or not fill_no_vectors(inside):
        return None
    made = _Strip(tasks, loops[0], allocated, names)
    return made.result() if made.is_possible() and not made.has_long_rows() else None


# --- the groups ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Group:
    """Statements that a loop over the lanes does together."""

    number: int
    statements: list[Statement] = field(default_factory=list)


_Tree = list["_Group | tuple[For, _Tree]"]


class _Strip:
    """One loop in strips."""

    def __init__(self, tasks: Tasks, loop: For, allocated: dict[str, Allocate], names: NameSupply) -> None:
        self.tasks = tasks
        self.loop = loop
        self.allocated = allocated
        self.names = names
        first = loop.body[0]
        assert isinstance(first, Let)
        self.index = first.name
        self.here = nodes.var(first.name)
        self.part = nodes.var(tasks.part)
        self.inside = loop.body[1:]
        self.local = {s.name for s in every(self.inside) if isinstance(s, Let)}
        self.own, self.sums = self._arrays()
        self.varying = self._varying()
        self.lane, self.lanes, self.strip, self.start, self.width = (
            nodes.var(names.fresh(name)) for name in ("lane", "lanes", "strip", "start", "width")
        )
        self.groups = 0
        self.added: dict[str, Allocate] = {}  # arrays of lanes that were numbers, or rows read once
        self.lanes_of: dict[str, str] = {}  # the arrays of lanes that numbers became

    # --- looking ----------------------------------------------------------------------------------------

    def _arrays(self) -> tuple[set[str], set[str]]:
        """The arrays of an iteration alone, and those that iterations add to: a part has a copy of each."""
        stored = [s for s in every(self.inside) if isinstance(s, Store | AddTo)]
        copies = {s.tensor for s in stored if s.indices and s.indices[0] is self.part}
        own = {s.tensor for s in stored if isinstance(s, Store)} & copies
        return own, copies - own

    def _varying(self) -> set[str]:
        """The numbers that differ between the iterations of a strip."""
        varying = {self.index}
        known = -1
        while known < len(varying):
            known = len(varying)
            for statement in every(self.inside):
                if isinstance(statement, Let | Update) and self.varies(statement.value, varying):
                    varying.add(statement.name)
        return varying

    def varies(self, value: Expr, varying: set[str] | None = None) -> bool:
        """Whether a value depends on the iteration."""
        names = self.varying if varying is None else varying
        return any(
            (isinstance(found, Var) and found.name in names)
            or (isinstance(found, Load) and found.tensor in self.own)
            for found in subexpressions(value)
        )

    def is_possible(self) -> bool:
        """Whether all iterations have the same loops, and every array that they share is theirs element by element."""
        for statement in every(self.inside):
            if isinstance(statement, For) and self.varies(statement.extent):
                return False
            if isinstance(statement, Store | AddTo):
                kept = statement.tensor in self.own
                moves = any(map(self.varies, statement.indices))
                if moves if kept else not moves and statement.tensor not in self.sums:
                    return False
        return True

    def has_long_rows(self) -> bool:
        """Whether an iteration has long rows of an array to itself: its neighbours' elements lie far from its own."""
        return any(
            self.here in found and long & set(found) for long, found in self.places(self.inside, frozenset())
        )

    def places(
        self, statements: Sequence[Statement], long: frozenset[Expr]
    ) -> Iterator[tuple[frozenset[Expr], list[Expr]]]:
        """For every element that is read or written: the indices of long loops around it, and what its indices hold."""
        for statement in statements:
            if isinstance(statement, For):
                short = isinstance(statement.extent, Number) and int(statement.extent.value) < SHORT
                here = nodes.var(statement.index)
                yield from self.places(statement.body, long - {here} if short else long | {here})
                continue
            found = [statement.indices] if isinstance(statement, Store | AddTo) else []
            for value in expressions(statement):
                found += [load.indices for load in subexpressions(value) if isinstance(load, Load)]
            for indices in found:
                yield long, [part for index in indices for part in subexpressions(index)]

    # --- the tree of loops and groups -------------------------------------------------------------------

    def tree(self, statements: Sequence[Statement]) -> _Tree:
        """The statements in groups, between the loops that stay."""
        made: _Tree = []
        for statement in statements:
            run = self.unrolled(statement)
            if run is None:
                assert isinstance(statement, For)
                made.append((statement, self.tree(statement.body)))
                continue
            if not made or not isinstance(made[-1], _Group):
                self.groups += 1
                made.append(_Group(self.groups))
            group = made[-1]
            assert isinstance(group, _Group)
            group.statements += run
        return made

    def unrolled(self, statement: Statement) -> list[Statement] | None:
        """A short loop as the statements of its iterations; None for a long one."""
        if not isinstance(statement, For):
            return [statement]
        if not isinstance(statement.extent, Number) or int(statement.extent.value) > SHORT:
            return None
        inner: list[Statement] = []
        for found in statement.body:
            run = self.unrolled(found)
            if (
                run is None
                or isinstance(found, Store)
                or (isinstance(found, AddTo) and not self.is_sum(found))
            ):
                return None  # LLVM does not vectorise loops that write to more than a few places
            inner += run
        times = int(statement.extent.value)
        if times * len(inner) > LONGEST:
            return None
        return [s for step in range(times) for s in self.iteration(inner, statement.index, step)]

    def iteration(self, statements: Sequence[Statement], index: str, step: int) -> Iterator[Statement]:
        """The statements of one iteration of a loop, with names of its own for what it defines."""
        values: dict[str, Expr] = {index: nodes.number(step)}
        renamed: dict[str, str] = {}
        for statement in statements:
            if isinstance(statement, Let):
                name = renamed[statement.name] = self.names.fresh(f"{statement.name}_{step}")
                yield Let(name, substituted(statement.value, values), "" if step else statement.note)
                values[statement.name] = nodes.var(name, statement.value.dtype)
                self.local.add(name)
                if statement.name in self.varying:
                    self.varying.add(name)
                continue
            found = with_values(statement, lambda value: substituted(value, values))
            if isinstance(found, Update):
                found = replace(found, name=renamed.get(found.name, found.name))
            yield replace(found, note="") if step else found  # pyright: ignore[reportCallIssue]

    # --- the result -------------------------------------------------------------------------------------

    def result(self) -> _Strips:
        """The tasks, after the arrays that they need."""
        parts = self.tasks.count
        rows = Rows(self.inside, self.here, self.part, parts, self.names)
        inside = rows.replaced(self.inside)
        self.added = {array.tensor: array for array in rows.arrays()}
        tree = self.tree(inside)
        self.lanes_of = self.between_groups(tree)
        lanes, strip = self.lanes, self.strip
        body = [*self.filled(rows), *self.emitted(tree)]
        many = nodes.var(self.tasks.many)
        behind = nodes.apply("mul", strip, lanes)
        head: list[Statement] = [
            Let(self.start.name, nodes.apply("add", nodes.var(self.tasks.first), behind)),
            Let(self.width.name, nodes.apply("minimum", lanes, nodes.apply("sub", many, behind))),
        ]
        up = nodes.apply("add", many, nodes.apply("sub", lanes, nodes.number(1)))
        loop = For(strip.name, nodes.apply("floor_divide", up, lanes), (*head, *body))
        whole = tuple(loop if statement is self.loop else statement for statement in self.tasks.body)
        arrays = {name: self.allocated[name] for name in self.own} | self.added
        with_lanes = (replace(array, shape=(*array.shape, lanes)) for array in arrays.values())
        before = (Extent(lanes.name, _lanes(list(arrays.values()))), *with_lanes)
        return _Strips(before, replace(self.tasks, body=whole), frozenset(self.own))

    def between_groups(self, tree: _Tree) -> dict[str, str]:
        """The varying numbers that one group defines and another one uses, and the arrays of lanes they become."""
        groups: dict[str, set[int]] = {}
        dtypes: dict[str, DType] = {}
        for group in _groups(tree):
            for statement in group.statements:
                if isinstance(statement, Let):
                    dtypes[statement.name] = statement.value.dtype
                if isinstance(statement, Let | Update):
                    groups.setdefault(statement.name, set()).add(group.number)
                for value in expressions(statement):
                    for found in subexpressions(value):
                        if isinstance(found, Var):
                            groups.setdefault(found.name, set()).add(group.number)
        shared = (name for name, users in groups.items() if len(users) > 1 and name in dtypes)
        found = {name: self.names.fresh(f"{name}_lanes") for name in shared if name in self.varying}
        self.added |= {
            array: Allocate(array, dtypes[name], (self.tasks.count,)) for name, array in found.items()
        }
        return found

    def filled(self, rows: Rows) -> list[Statement]:
        """Loops that fill the copies of rows."""
        made: list[Statement] = []
        for loops, store in rows.fills():
            inner = self.together(_Group(0, [store]))
            for loop in reversed(loops):
                inner = [replace(loop, body=tuple(inner))]
            made += inner
        return made

    # --- printing groups --------------------------------------------------------------------------------

    def emitted(self, tree: _Tree) -> list[Statement]:
        """The statements of a tree: each group is a loop over the lanes."""
        made: list[Statement] = []
        for item in tree:
            if isinstance(item, _Group):
                made += self.together(item)
            else:
                loop, inner = item
                made.append(For(loop.index, loop.extent, tuple(self.emitted(inner))))
        return made

    def together(self, group: _Group) -> list[Statement]:
        """A group's loop over the lanes, after what does not vary, before its sums go to their places."""
        before: list[Statement] = []
        inside: list[Statement] = []
        after: list[Statement] = []
        for at, statement in enumerate(group.statements):
            if isinstance(statement, Let | Update) and self.is_fixed(statement):
                if _reads(inside, statement.name):  # the lanes use what it was until here
                    rest = _Group(group.number, group.statements[at:])
                    return [*before, *self.over_lanes(inside), *after, *self.together(rest)]
                before.append(statement)
            elif isinstance(statement, AddTo) and self.is_sum(statement):
                name = self.names.fresh(f"{statement.tensor.removesuffix('_parts')}_sum")
                dtype = statement.value.dtype
                before.append(Let(name, nodes.neutral("sum", dtype)))
                inside.append(Update(name, "sum", self.value(statement.value), statement.note))
                after.append(AddTo(statement.tensor, statement.indices, "sum", nodes.var(name, dtype)))
            else:
                inside.append(self.lanewise(statement))
        return [*before, *self.over_lanes(inside), *after]

    def over_lanes(self, inside: Sequence[Statement]) -> list[Statement]:
        """The loop over the lanes, if there is anything in it."""
        index = (
            [Let(self.index, nodes.apply("add", self.start, self.lane))] if _reads(inside, self.index) else []
        )
        return [For(self.lane.name, self.width, (*index, *inside))] if inside else []

    def is_fixed(self, statement: Let | Update) -> bool:
        """Whether a number is the same in all iterations, and not one that they add up."""
        return statement.name in self.local and statement.name not in self.varying

    def is_sum(self, statement: AddTo) -> bool:
        """Whether all iterations add to the same element."""
        return statement.tensor in self.sums and not any(self.varies(index) for index in statement.indices)

    def lanewise(self, statement: Statement) -> Statement:
        """A statement of one lane."""
        match statement:
            case Let(name, value, note) if name in self.lanes_of:
                return Store(self.lanes_of[name], (self.part, self.lane), self.value(value), note)
            case Update(name, op, value, note) if name in self.lanes_of:
                return AddTo(self.lanes_of[name], (self.part, self.lane), op, self.value(value), note)
            case Store(tensor, indices, value, note) if tensor in self.own or tensor in self.added:
                return Store(tensor, (*map(self.value, indices), self.lane), self.value(value), note)
            case AddTo(tensor, indices, op, value, note) if tensor in self.own:
                return AddTo(tensor, (*map(self.value, indices), self.lane), op, self.value(value), note)
            case _:
                return with_values(statement, self.value)

    def value(self, expression: Expr) -> Expr:
        """A value of one lane."""
        match expression:
            case Var(name, dtype) if name in self.lanes_of:
                return nodes.load(self.lanes_of[name], (self.part, self.lane), dtype)
            case Load(tensor, indices, dtype):
                inner = tuple(map(self.value, indices))
                lanes = (self.lane,) if tensor in self.own or tensor in self.added else ()
                return nodes.load(tensor, (*inner, *lanes), dtype)
            case _:
                return rebuilt(expression, self.value)


# --- helpers ------------------------------------------------------------------------------------------------


def _reads(statements: Sequence[Statement], name: str) -> bool:
    """Whether one of the statements uses a number."""
    values = (value for statement in statements for value in expressions(statement))
    return any(isinstance(found, Var) and found.name == name for v in values for found in subexpressions(v))


def _groups(tree: _Tree) -> Iterator[_Group]:
    for item in tree:
        if isinstance(item, _Group):
            yield item
        else:
            yield from _groups(item[1])


def _lanes(arrays: Sequence[Allocate]) -> Expr:
    """How many iterations a strip has: a multiple of eight, fewer where each keeps much."""
    kept: Expr = nodes.number(1)
    for array in arrays:
        elements: Expr = nodes.number(1)
        for size in array.shape[1:]:
            elements = nodes.apply("mul", elements, size)
        kept = nodes.apply("add", kept, elements)
    fitting = nodes.apply("floor_divide", nodes.number(KEPT), kept)
    many = nodes.apply("minimum", nodes.apply("add", fitting, nodes.number(1)), nodes.number(MOST))
    return nodes.apply("mul", many, nodes.number(8))
