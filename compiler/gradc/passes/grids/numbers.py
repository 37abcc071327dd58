"""Numbers between loops: where their values are, and the launches that compute them.

What follows from extents and arguments alone is computed again in every launch that needs it.  Everything else is
computed by one thread of a small launch and kept in an array of one element, a cell; so are the totals of loops, of
which every block of the launch before has left its part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import (
    Allocate,
    Barrier,
    Carry,
    Combine,
    Expr,
    Extent,
    For,
    Kernel,
    Launch,
    Let,
    Library,
    Load,
    Number,
    Statement,
    Store,
    Stride,
    Update,
    Var,
    When,
)
from gradc.ir.loop.sizes import types_of
from gradc.ir.loop.walk import every, expressions, subexpressions
from gradc.ir.names import NameSupply
from gradc.ir.types import DType
from gradc.passes.grids.dependence import effects

THREADS = 256  # of a block
WARP = 32  # threads that run in step; no block has fewer
MOST = 16  # operations that are rather done again than kept in a cell


def ceiling(many: Expr, size: int = THREADS) -> Expr:
    """How many blocks of `size` it takes to hold `many`."""
    if isinstance(many, Number):
        return nodes.number(-(-int(many.value) // size))
    return nodes.apply("floor_divide", nodes.apply("add", many, nodes.number(size - 1)), nodes.number(size))


def least(one: Expr, other: Expr) -> Expr:
    """The smaller one of two extents."""
    if isinstance(one, Number) and isinstance(other, Number):
        return nodes.number(min(int(one.value), int(other.value)))
    return nodes.apply("minimum", one, other)


def quotient(one: Expr, other: Expr) -> Expr:
    """How often an extent goes into another."""
    if isinstance(one, Number) and isinstance(other, Number):
        return nodes.number(int(one.value) // int(other.value))
    return nodes.apply("floor_divide", one, other)


def decoded(number: Expr, loops: Sequence[tuple[str, Expr]], names: NameSupply) -> tuple[Let, ...]:
    """Bind the indices of loops, outermost first, from the number of an iteration of all of them."""
    lets: list[Let] = []
    for index, extent in reversed(loops[1:]):
        rest = names.fresh("rest")
        lets.append(Let(rest, nodes.apply("floor_divide", number, extent)))
        behind = nodes.apply("mul", nodes.var(rest), extent)
        lets.append(Let(index, nodes.apply("sub", number, behind)))
        number = nodes.var(rest)
    return (*lets, Let(loops[0][0], number))


@dataclass(frozen=True, slots=True)
class Opened:
    """A launch that is being written: its name, and the numbers of a thread."""

    name: str
    block: Var
    thread: Var
    number: Var  # of a thread in the whole grid

    @property
    def is_first(self) -> Expr:
        """Whether this is the first thread of its block."""
        return nodes.apply("eq", self.thread, nodes.number(0))


@dataclass(frozen=True, slots=True)
class Totals:
    """Numbers that all threads of a launch add to: their parts, one for each block."""

    ops: Mapping[str, str]
    dtypes: Mapping[str, DType]
    partial: Mapping[str, str]
    stored: Mapping[str, str]

    @property
    def starts(self) -> list[Statement]:
        """Start the sums of a thread."""
        return [
            Let(self.partial[name], nodes.neutral(op, self.dtypes[name])) for name, op in self.ops.items()
        ]

    def ends(self, launch: Opened) -> list[Statement]:
        """Combine the sums of a block and store them."""
        made: list[Statement] = []
        for name, op in self.ops.items():
            made.append(Combine(self.partial[name], op, nodes.number(THREADS)))
            value = nodes.var(self.partial[name], self.dtypes[name])
            made.append(When(launch.is_first, (Store(self.stored[name], (launch.block,), value),)))
        return made

    def statement(self, statement: Statement) -> Statement:
        """A statement that adds to the sum of its thread."""
        if isinstance(statement, For):
            return replace(statement, body=tuple(self.statement(inner) for inner in statement.body))
        if isinstance(statement, Update):
            return replace(statement, name=self.partial.get(statement.name, statement.name))
        return statement


@dataclass(frozen=True, slots=True)
class _Total:
    """A total that is to be added up from the parts of blocks."""

    name: str
    op: str
    dtype: DType
    parts: str
    blocks: Expr


class Numbers:
    """The numbers of a kernel; launches are appended to `out`."""

    def __init__(self, kernel: Kernel, names: NameSupply, out: list[Statement]) -> None:
        self.kernel = kernel
        self.names = names
        self.out = out
        self.arrays = {p.name for p in kernel.parameters if p.rank}
        self.arrays |= {name for s in kernel.body for name in _arrays_of(s)}
        self.dtypes = _dtypes(kernel.body)
        self.last = _last_uses(kernel)
        self.on_host = {p.name for p in kernel.parameters if not p.rank}
        self.on_host |= {s.name for s in kernel.body if isinstance(s, Extent)}
        types = types_of(kernel)
        results = (name for s in kernel.body if isinstance(s, Library) for name in s.outs)
        self.fetched = {name: types[name].dtype for name in results if not types[name].shape}
        self.dtypes |= self.fetched
        self.on_host |= self.fetched.keys()
        self.arrays -= self.fetched.keys()
        self.again: dict[str, tuple[Let, int]] = {}  # what is computed where it is needed, and its cost
        self.cells: dict[str, str] = {}
        self.totals_due: list[_Total] = []
        self.due: list[Statement] = []
        self.due_names: set[str] = set()
        self.launches = 0
        self.owned: dict[str, str] = {}

    # --- numbers ----------------------------------------------------------------------------------------

    def add(self, at: int, statement: Statement) -> None:
        """Compute a statement between loops, or a loop that one thread runs."""
        if isinstance(statement, Let):
            cost = self._cost(statement.value)
            if cost is not None and (cost <= MOST or isinstance(statement.value, Number)):
                self.again[statement.name] = (statement, cost)
                return
        started = [s.name for s in every((statement,)) if isinstance(s, Update | Carry)]
        for name in started:
            if name in self.again and name not in self.due_names:
                self.due.append(self.again.pop(name)[0])
        self.due.append(statement)
        self.due_names |= {s.name for s in every((statement,)) if isinstance(s, Let)} | set(started)

    def _cost(self, value: Expr) -> int | None:
        """The operations of a value that follows from extents and arguments; None if it does not."""
        found = 0
        for part in subexpressions(value):
            if isinstance(part, Load) and not part.tensor.endswith(".shape"):
                return None
            if isinstance(part, Var) and part.name not in self.on_host:
                if part.name not in self.again or part.name in self.due_names:
                    return None
                found += self.again[part.name][1]
            found += isinstance(part, nodes.Apply)
        return found

    def require(self, at: int, statement: Statement, *, totals_too: bool = False) -> None:
        """Have everything computed that a loop needs; with `totals_too`, the numbers that it changes as well."""
        found = effects((statement,))
        pending = effects(self.due)
        read = found.read | (found.totals.keys() if totals_too else set())
        touched = found.places.keys() | found.written
        if (
            read & self.due_names
            or touched & pending.written
            or found.written & pending.places.keys()
            or found.totals.keys() & {s.name for s in self.due if isinstance(s, Let)}
        ):
            self.flush(at)

    def results(self) -> tuple[str, ...]:
        """Compute what is left; returns the arrays of the results."""
        end = len(self.kernel.body)
        for name in self.kernel.results:
            is_known = name in self.again or name in self.fetched
            if name not in self.arrays and is_known and name not in self.due_names:
                self.due.append(self._to_cell(name))
        self.flush(end)
        return tuple(self.cells.get(name, name) for name in self.kernel.results)

    def fetch(self, at: int, statement: Library) -> None:
        """Give the host the numbers that a library operation takes."""
        self.flush(at)
        for name in statement.ins:
            if name in self.again:
                self.out.append(self.again[name][0])
            elif name in self.cells and name not in self.on_host:
                self.out.append(self._from_cell(name))
            else:
                continue
            self.on_host.add(name)

    # --- launches ---------------------------------------------------------------------------------------

    def own(self, hint: str) -> str:
        """A name for what every launch has of its own: the same in all of them."""
        if hint not in self.owned:
            self.owned[hint] = self.names.fresh(hint)
        return self.owned[hint]

    def launch(self, kind: str) -> Opened:
        """Begin a launch."""
        self.launches += 1
        block, thread, number = (nodes.var(self.own(hint)) for hint in ("block", "thread", "number"))
        return Opened(self.names.fresh(f"{kind}_{self.launches}"), block, thread, number)

    def totals(self, found: Mapping[str, set[str]], blocks: Expr) -> Totals:
        """Make room for the parts of totals, which are added up when somebody needs them."""
        ops = {name: op for name, (op,) in found.items()}
        partial = {name: self.names.fresh(f"{name}_part") for name in ops}
        stored = {name: self.names.fresh(f"{name}_parts") for name in ops}
        for name, op in ops.items():
            self.out.append(Allocate(stored[name], self.dtypes[name], (blocks,)))
            self.totals_due.append(_Total(name, op, self.dtypes[name], stored[name], blocks))
            self.due_names.add(name)
        return Totals(ops, self.dtypes, partial, stored)

    def emit(self, launch: Opened, blocks: Expr, body: Sequence[Statement], threads: int = THREADS) -> None:
        """End a launch: its statements, behind the numbers that they need."""
        used = _variables(body) - {statement.name for statement in every(body) if isinstance(statement, Let)}
        head = list(self._known(used))
        if launch.number.name in used:
            first = nodes.apply("mul", launch.block, nodes.number(threads))
            head.append(Let(launch.number.name, nodes.apply("add", first, launch.thread)))
        made = (*head, *body)
        self.out.append(Launch(launch.name, launch.block.name, launch.thread.name, blocks, threads, made))

    def completed(self, launch: Launch) -> Launch:
        """A launch behind the numbers that it needs."""
        defined = {statement.name for statement in every(launch.body) if isinstance(statement, Let)}
        return replace(launch, body=(*self._known(_variables(launch.body) - defined), *launch.body))

    def _known(self, used: set[str]) -> list[Statement]:
        """Bind the numbers that statements use: computed again, or from their cells."""
        made: list[Statement] = []
        wanted = [name for name in self.again if name in used]
        closed: dict[str, None] = {}
        while wanted:
            name = wanted.pop()
            if name in closed:
                continue
            closed[name] = None
            wanted += [v for v in _variables((self.again[name][0],)) if v in self.again and v != name]
        made += [let for name, (let, _) in self.again.items() if name in closed]
        elsewhere = self.again.keys() | self.on_host
        made += [self._from_cell(name) for name in self.cells if name in used and name not in elsewhere]
        return made

    def _from_cell(self, name: str) -> Let:
        return Let(name, nodes.load(self.cells[name], (nodes.number(0),), self.dtypes[name]))

    # --- what is due ------------------------------------------------------------------------------------

    def flush(self, at: int) -> None:
        """Compute the numbers that are due, in a launch of one block."""
        if not self.due and not self.totals_due:
            return
        launch = self.launch("numbers")
        threads = THREADS if self.totals_due else WARP
        body: list[Statement] = []
        begun: set[str] = set()
        for total in self.totals_due:
            body += self._total(total, launch, threads, begun)
        changed = {total.name for total in self.totals_due} | self.due_names
        for name in changed:
            if name not in begun and name in self.cells:
                begun.add(name)
                body.append(self._from_cell(name))
        body += _behind_reads(body, When(launch.is_first, (*self.due, *self._kept(at, changed))))
        self.emit(launch, nodes.number(1), body, threads)
        self.totals_due.clear()
        self.due.clear()
        self.due_names.clear()

    def _total(self, total: _Total, launch: Opened, threads: int, begun: set[str]) -> list[Statement]:
        """Add the parts of blocks up to a total."""
        neutral = nodes.neutral(total.op, total.dtype)
        place = nodes.var(self.own("place"))
        part = nodes.load(total.parts, (place,), total.dtype)
        again = self.again.pop(total.name, None)
        direct = total.name not in begun and again is not None and again[0].value is neutral
        name = total.name if direct else self.names.fresh(f"{total.name}_part")
        made: list[Statement] = []
        if not direct and total.name not in begun:
            made.append(again[0] if again is not None else self._from_cell(total.name))
        made.append(Let(name, neutral))
        width = nodes.number(threads)
        made.append(Stride(place.name, launch.thread, total.blocks, width, (Update(name, total.op, part),)))
        made.append(Combine(name, total.op, width))
        if not direct:
            made.append(Update(total.name, total.op, nodes.var(name, total.dtype)))
        begun.add(total.name)
        return made

    def _kept(self, at: int, changed: set[str]) -> list[Statement]:
        """Store the numbers that are needed later in cells, new ones where they have none."""
        made: list[Statement] = []
        for name in sorted(changed):
            if self.last.get(name, -1) >= at and name in self.dtypes:
                made.append(self._to_cell(name))
        return made

    def _to_cell(self, name: str) -> Store:
        if name not in self.cells:
            self.cells[name] = self.names.fresh(f"{name}_cell")
            self.out.append(Allocate(self.cells[name], self.dtypes[name], (nodes.number(1),)))
        return Store(self.cells[name], (nodes.number(0),), nodes.var(name, self.dtypes[name]))

    def emit_changing(
        self, at: int, launch: Opened, body: Sequence[Statement], changed: Mapping[str, object]
    ) -> None:
        """End a launch of one block that changes numbers."""
        starts = [
            self.again.pop(name)[0] if name in self.again else self._from_cell(name) for name in changed
        ]
        ends = _behind_reads(starts, When(launch.is_first, tuple(self._kept(at, set(changed)))))
        self.emit(launch, nodes.number(1), [*starts, *body, *ends])


def _behind_reads(before: Sequence[Statement], alone: When) -> list[Statement]:
    """What one thread does, behind a barrier where it may store what all threads have read."""
    if not alone.body:
        return []
    reads = any(isinstance(s, Let) and isinstance(s.value, Load) for s in before)
    return [Barrier(), alone] if reads else [alone]


def _arrays_of(statement: Statement) -> Sequence[str]:
    """The arrays that a statement between loops makes."""
    match statement:
        case Allocate(tensor):
            return (tensor,)
        case nodes.Product(out):
            return (out,)
        case nodes.Library(outs):
            return outs
        case _:
            return ()


def _variables(statements: Sequence[Statement]) -> set[str]:
    found: set[str] = set()
    for statement in every(statements):
        if isinstance(statement, Update | Carry | Combine):
            found.add(statement.name)
        for expression in expressions(statement):
            found |= {part.name for part in subexpressions(expression) if isinstance(part, Var)}
    return found


def _dtypes(body: Sequence[Statement]) -> dict[str, DType]:
    return {s.name: s.value.dtype for s in every(body) if isinstance(s, Let | Extent)}


def _last_uses(kernel: Kernel) -> dict[str, float]:
    """The last statement between loops that reads or changes each number; results are needed for ever."""
    found: dict[str, float] = {}
    for at, statement in enumerate(kernel.body):
        for name in (*_variables((statement,)), *getattr(statement, "ins", ())):
            found[name] = at
    return {**found, **dict.fromkeys(kernel.results, math.inf)}
