"""Short loops unrolled: a long loop over short ones of fixed lengths becomes one over a straight run of numbers.

A batch of small problems (vectors of 3, matrices of 4 x 4, a robot with 7 joints) is a long loop around many loops of
a few iterations.  Unrolled, what an iteration keeps in arrays for itself is a number with a name of its own, and
neighbouring loops over the same batch become one, because nothing passes from one iteration to another.  The code of
the CPU then computes several iterations at once, in the lanes of vectors (`gradc.codegen.lanes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Apply,
    Convert,
    Expr,
    For,
    Kernel,
    Let,
    Load,
    Number,
    Statement,
    Store,
    Update,
    Var,
)
from gradc.ir.loop.straight import is_simple
from gradc.ir.loop.walk import every, names_in, subexpressions, touched
from gradc.ir.names import NameSupply
from gradc.ir.types import DType

MOST = 64  # iterations of a loop that is unrolled, those of the loops around it counted in
MOST_LOOPS = 8  # that become one
FEWEST = 40  # statements of a loop that is taken though nothing is unrolled in it
LONGEST = 4000  # statements of one iteration: LLVM's time grows faster than a block's length

Place = tuple[str, tuple[int | None, ...]]  # an array and the indices of an element, None for the loop's own


class _Refused(Exception):
    """The loops cannot be a straight run."""


@dataclass(frozen=True, slots=True)
class _Merged:
    """Neighbouring loops over one extent, at these positions up to `end`, and what stands between them."""

    loops: tuple[For, ...]
    before: tuple[Statement, ...]
    positions: set[int]
    end: int
    straight: tuple[Statement, ...] = ()  # what stands for them

    def gains(self) -> bool:
        """Whether there is something to unroll or to merge, or rows of results are added up number by number."""
        body = [inner for loop in self.loops for inner in loop.body]
        nested = any(isinstance(inner, For) for inner in body)
        sums = [statement for statement in body if isinstance(statement, AddTo)]
        rows = any(isinstance(at, Number) for statement in sums for at in statement.indices)
        return len(self.loops) > 1 or nested or (rows and len(body) >= FEWEST)


def unroll(kernel: Kernel) -> Kernel:
    """Unroll and merge the outermost loops that become straight runs of numbers.

    Requires: `kernel` is valid.  Ensures: the same values, every operation in its order.
    """
    if not any(isinstance(statement, For) for statement in kernel.body):
        return kernel
    return _Unrolling(kernel).kernel()


class _Unrolling:
    def __init__(self, kernel: Kernel) -> None:
        self.before = kernel
        names = names_in(kernel.body)
        self.taken = (*names, *(p.name for p in kernel.parameters), *kernel.results, kernel.name)
        self.allocated = {s.tensor: s for s in kernel.body if isinstance(s, Allocate)}
        self.floats = frozenset(
            (
                *(p.name for p in kernel.parameters if p.rank and p.dtype is DType.F64),
                *(name for name, made in self.allocated.items() if made.dtype is DType.F64),
            )
        )
        self.users: dict[str, set[int]] = {}
        for at, statement in enumerate(kernel.body):
            for inner in every((statement,)) if not isinstance(statement, Allocate) else ():
                for name in touched(inner):
                    self.users.setdefault(name, set()).add(at)
        self.dropped: set[str] = set()

    def kernel(self) -> Kernel:
        body: list[Statement] = []
        at, statements = 0, self.before.body
        while at < len(statements):
            found = self.merged(at)
            if found is None:
                body.append(statements[at])
                at += 1
            else:
                body += [*found.before, *found.straight]
                at = found.end
                self.dropped |= {name for name in self.allocated if self.is_local(name, found.positions)}
        kept = tuple(s for s in body if not (isinstance(s, Allocate) and s.tensor in self.dropped))
        return replace(self.before, body=kept)

    def merged(self, at: int) -> _Merged | None:
        """As many loops from here on as make one straight run, if that is worth it."""
        loops: list[For] = []
        before: list[Statement] = []
        candidates: list[_Merged] = []
        for position in range(at, len(self.before.body)):
            statement = self.before.body[position]
            if isinstance(statement, For) and (not loops or statement.extent is loops[0].extent):
                loops.append(statement)
                positions = {at + step for step in range(position - at + 1)}
                candidates.append(_Merged(tuple(loops), tuple(before), positions, position + 1))
            elif loops and _may_come_first(statement):
                before.append(statement)
            else:
                break
        for found in reversed(candidates[:MOST_LOOPS]):
            if isinstance(found.loops[0].extent, Number) or not found.gains():
                continue
            run = _Run(self, found)
            try:
                found = replace(found, straight=run.statements())
            except _Refused:
                continue
            self.taken = (*self.taken, *run.made)
            return found
        return None

    def is_local(self, tensor: str, positions: set[int]) -> bool:
        """Whether an array serves the loops at these positions alone."""
        users = self.users.get(tensor, set())
        return (
            tensor in self.allocated
            and bool(users)
            and users <= positions
            and tensor not in self.before.results
        )


def _may_come_first(statement: Statement) -> bool:
    """Whether a statement between two loops may stand before both."""
    return isinstance(statement, Allocate) or (
        isinstance(statement, Let) and isinstance(statement.value, Number)
    )


class _Run:
    """The straight run of a group: elements that it writes are variables until its end."""

    def __init__(self, owner: _Unrolling, group: _Merged) -> None:
        self.owner = owner
        self.group = group
        self.index = group.loops[0].index
        self.names = NameSupply(owner.taken)
        self.written = {inner.tensor for inner in every(group.loops) if isinstance(inner, Store | AddTo)}
        self.values: dict[str, Expr] = {}
        self.elements: dict[Place, Var] = {}
        self.axes: dict[str, int] = {}  # of the arrays that are written: the axis of the loop
        self.changed: dict[Place, None] = {}
        self.made: list[str] = []  # names
        self.sums: set[str] = set()
        self.totals: dict[Place, str] = {}  # elements of arrays that all iterations add to
        self.read: set[str] = set()
        self.body: list[Statement] = []

    def statements(self) -> tuple[Statement, ...]:
        """The loop that stands for all of them, between the starts of sums and their ends in arrays."""
        for loop in self.group.loops:
            self.values[loop.index] = nodes.var(self.index)
            self.run(loop.body)
        if self.sums & self.read:
            raise _Refused
        for place in self.changed:
            if not self.owner.is_local(place[0], self.group.positions):
                self.body.append(Store(place[0], self.indices(place), self.elements[place]))
        zero = nodes.number(0.0, DType.F64)
        starts = (Let(name, zero) for name in self.totals.values())
        ends = (
            AddTo(place[0], self.indices(place), "sum", nodes.var(name, DType.F64))
            for place, name in self.totals.items()
        )
        return (*starts, For(self.index, self.group.loops[0].extent, tuple(self.body)), *ends)

    def run(self, statements: Sequence[Statement], times: int = 1) -> None:
        for statement in statements:
            if len(self.body) > LONGEST:
                raise _Refused
            match statement:
                case Let(name, value, note):
                    self.values[name] = self.named(name, self.value(value), note)
                case Update(name, op, value, note):
                    self.update(name, op, self.value(value), note)
                case Store(tensor, indices, value, note):
                    place = self.place(tensor, indices)
                    self.elements[place] = self.named(_name_of(place), self.value(value), note)
                    self.changed[place] = None
                case AddTo(tensor, indices, op, value, note):
                    self.add(self.place(tensor, indices, added=True), op, self.value(value), note)
                case For(index, Number(count, _), body) if times * int(count) <= MOST:
                    for step in range(int(count)):
                        self.values[index] = nodes.number(step)
                        self.run(body, times * int(count))
                case _:
                    raise _Refused

    def named(self, hint: str, value: Expr, note: str) -> Var:
        """A new variable with this value."""
        found = nodes.var(self.fresh(hint), value.dtype)
        self.append(Let(found.name, value, note), value)
        return found

    def fresh(self, hint: str) -> str:
        self.made.append(self.names.fresh(hint))
        return self.made[-1]

    def append(self, statement: Statement, value: Expr) -> None:
        if not is_simple(value, self.owner.floats, self.index):
            raise _Refused
        self.read.update(found.name for found in subexpressions(value) if isinstance(found, Var))
        self.body.append(statement)

    def update(self, name: str, op: str, value: Expr, note: str) -> None:
        if op != "sum" or value.dtype is not DType.F64:
            raise _Refused
        own = self.values.get(name)
        if own is None:
            self.sums.add(name)
        self.append(Update(own.name if isinstance(own, Var) else name, op, value, note), value)

    def add(self, place: Place, op: str, value: Expr, note: str) -> None:
        if op != "sum" or value.dtype is not DType.F64:
            raise _Refused
        if None not in place[1] and not self.owner.is_local(place[0], self.group.positions):
            name = self.totals[place] = self.totals.get(place) or self.fresh(_name_of(place))
            self.append(Update(name, op, value, note), value)
            return
        if place not in self.elements:
            self.elements[place] = self.named(_name_of(place), self.start(place), "")
        self.changed[place] = None
        self.append(Update(self.elements[place].name, op, value, note), value)

    def start(self, place: Place) -> Expr:
        """An element as it was before the loop."""
        tensor, positions = place[0], self.group.positions
        made = self.owner.allocated.get(tensor)
        earlier = any(at < min(positions) for at in self.owner.users.get(tensor, ()))
        if made is not None and not earlier:
            if not made.zeroed or None not in place[1]:
                raise _Refused  # nothing, or what an earlier iteration left
            return nodes.number(0.0, made.dtype)
        return nodes.load(tensor, self.indices(place), DType.F64)

    def place(self, tensor: str, indices: Sequence[Expr], *, added: bool = False) -> Place:
        """The element of an array that is written: of this iteration alone, or of a row that all iterations use.

        Such a row is the iterations' own, or they add to it.
        """
        found: list[int | None] = []
        for index in map(self.value, indices):
            if isinstance(index, Number):
                found.append(int(index.value))
            elif index is nodes.var(self.index):
                found.append(None)
            else:
                raise _Refused
        made = self.owner.allocated.get(tensor)
        axis = found.index(None) if None in found else -1
        if made is None or self.axes.setdefault(tensor, axis) != axis or found.count(None) > 1:
            raise _Refused
        local = self.owner.is_local(tensor, self.group.positions)
        if not local and ((axis < 0 and not added) or made.dtype is not DType.F64):
            raise _Refused
        return tensor, tuple(found)

    def indices(self, place: Place) -> tuple[Expr, ...]:
        return tuple(nodes.var(self.index) if at is None else nodes.number(at) for at in place[1])

    def value(self, expression: Expr) -> Expr:
        match expression:
            case Var(name, _):
                return self.values.get(name, expression)
            case Load(tensor, indices, dtype) if tensor in self.written:
                place = self.place(tensor, indices)
                return self.elements[place] if place in self.elements else self.start(place)
            case Load(tensor, indices, dtype):
                return nodes.load(tensor, tuple(map(self.value, indices)), dtype)
            case Apply(function, arguments, _):
                return nodes.apply(function, *map(self.value, arguments))
            case Convert(argument, dtype):
                return nodes.convert(self.value(argument), dtype)
            case Number():
                return expression


def _name_of(place: Place) -> str:
    """What an element is called as a variable."""
    return "_".join((place[0], *(str(at) for at in place[1] if at is not None)))


__all__ = ["unroll"]
