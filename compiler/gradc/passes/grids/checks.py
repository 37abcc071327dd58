"""Look-ups that loops compute, checked on the device: a launch cannot raise, so it leaves word.

    for i < n:                                 fault = 0
        let t = f(i)                           for i < n:
        check t < m                                let t = f(i)
        y[i] = x[t]                  ->            let is_inside = -m <= t and t < m
                                                   fault = max(fault, 0 if is_inside else 1)
                                                   let t_inside = t if is_inside else 0
                                                   y[i] = x[t_inside]
                                               fault_cell[0] = fault
                                               check fault_cell < 1

Where `m` may be 0 there is no element to read instead: before the loop an index 0, if the loop runs at all, is checked
against `m`.  The word of numbers between loops is left once, before the next loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    CheckIndices,
    Expr,
    Extent,
    For,
    Kernel,
    Let,
    Number,
    Require,
    Statement,
    Store,
    Update,
    Var,
)
from gradc.ir.loop.rewrite import substituted, with_values
from gradc.ir.loop.walk import every, names_in
from gradc.ir.names import NameSupply
from gradc.ir.types import DType
from gradc.passes.grids.numbers import least

_ONE = nodes.number(1)


def with_checks_behind(kernel: Kernel) -> Kernel:
    """Replace the checks of single indices by one behind the loop that computes them.

    Requires: `kernel` is valid.  Ensures: it refuses the same arguments, and reads nothing out of range.
    """
    return replace(kernel, body=tuple(_Checking(kernel).statements()))


class _Checking:
    """A kernel's statements with the checks of single indices behind loops."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.parameters = {p.name for p in kernel.parameters}
        self.arrays = {p.name for p in kernel.parameters if p.rank}
        self.arrays |= {s.tensor for s in kernel.body if isinstance(s, Allocate)}
        self.arrays |= {name for s in kernel.body for name in getattr(s, "outs", ())}
        names = names_in(kernel.body)
        self.names = NameSupply((*names, *(p.name for p in kernel.parameters), *kernel.results, kernel.name))
        self.dtypes = {
            s.name: nodes.var(s.name, s.value.dtype) for s in every(kernel.body) if isinstance(s, Let)
        }
        self.dtypes |= {p.name: nodes.var(p.name, p.dtype) for p in kernel.parameters if not p.rank}
        self.inside: dict[str, Expr] = {}  # indices between loops, by what they are replaced with
        self.refused: set[tuple[Expr, Expr]] = set()
        self.fault = ""  # of the numbers since the last loop

    def statements(self) -> Iterator[Statement]:
        for original in self.kernel.body:
            (statement,) = _substituted((original,), self.inside)
            if isinstance(statement, CheckIndices) and self._is_single(statement):
                yield from self._number(statement)
                continue
            if not self._may_wait(statement):
                yield from self._word()
            if isinstance(statement, For) and self._checks(statement):
                yield from self._loop(statement)
            else:
                yield statement
        yield from self._word()

    def _may_wait(self, statement: Statement) -> bool:
        """Whether the word of numbers may be left behind a statement: nothing the caller sees changes in it."""
        if isinstance(statement, Store | AddTo):
            return statement.tensor not in self.parameters
        return isinstance(statement, Let | Update | Allocate | Extent | Require)

    def _is_single(self, check: CheckIndices) -> bool:
        return check.tensor not in self.arrays

    def _checks(self, loop: For) -> bool:
        return any(isinstance(s, CheckIndices) and self._is_single(s) for s in every((loop,)))

    def _number(self, check: CheckIndices) -> Iterator[Statement]:
        """Check a number between loops."""
        yield from self._refused(_ONE, check.extent)
        if not self.fault:
            self.fault = self.names.fresh("fault")
            yield Let(self.fault, nodes.number(0))
        made, self.inside[check.tensor] = _check(check, self.dtypes[check.tensor], self.fault, self.names)
        yield from made

    def _word(self) -> Iterator[Statement]:
        if self.fault:
            yield from _behind(self.fault, self.names)
        self.fault = ""

    def _loop(self, loop: For) -> Iterator[Statement]:
        for runs, extent in _tables(loop, _ONE):
            yield from self._refused(runs, extent)
        fault = self.names.fresh("fault")
        yield Let(fault, nodes.number(0))
        yield _checked(loop, self.dtypes, fault, self.names)
        yield from _behind(fault, self.names)

    def _refused(self, runs: Expr, extent: Expr) -> Iterator[Statement]:
        """Refuse a table of no elements that is looked up in at all: `runs` is 0 or 1."""
        is_known = isinstance(extent, Number) and extent.value > 0
        if is_known or {(runs, extent), (_ONE, extent)} & self.refused:
            return
        self.refused.add((runs, extent))
        if not isinstance(runs, Number):
            name = self.names.fresh("runs")
            yield Extent(name, runs)
            runs = nodes.var(name)
        first = self.names.fresh("first")
        yield Allocate(first, DType.INT64, (runs,), zeroed=True)
        yield CheckIndices(first, extent)


def _tables(loop: For, around: Expr) -> Iterator[tuple[Expr, Expr]]:
    """The extents of what a loop looks single indices up in, each behind 1 where that runs at all, else 0."""
    runs = least(around, loop.extent)
    for statement in loop.body:
        if isinstance(statement, For):
            yield from _tables(statement, runs)
        elif isinstance(statement, CheckIndices):
            yield runs, statement.extent


def _behind(fault: str, names: NameSupply) -> list[Statement]:
    cell = names.fresh(f"{fault}_cell")
    return [
        Allocate(cell, DType.INT64, (_ONE,)),
        Store(cell, (nodes.number(0),), nodes.var(fault)),
        CheckIndices(cell, _ONE),
    ]


def _checked(loop: For, dtypes: Mapping[str, Var], fault: str, names: NameSupply) -> For:
    body: list[Statement] = []
    inside: dict[str, Expr] = {}
    for original in loop.body:
        (statement,) = _substituted((original,), inside)
        if isinstance(statement, For):
            body.append(_checked(statement, dtypes, fault, names))
        elif isinstance(statement, CheckIndices):
            made, value = _check(statement, dtypes[statement.tensor], fault, names)
            inside[statement.tensor] = value
            body += made
        else:
            body.append(statement)
    return replace(loop, body=tuple(body))


def _check(check: CheckIndices, given: Var, fault: str, names: NameSupply) -> tuple[list[Statement], Var]:
    """Note whether the index `given` is out of range, and give it a place in range."""
    index, zero = nodes.convert(given, DType.INT64), nodes.number(0)
    is_inside, inside = names.fresh("is_inside"), names.fresh(f"{check.tensor}_inside")
    low = nodes.apply("ge", index, nodes.apply("sub", zero, check.extent))
    known = nodes.var(is_inside, DType.BOOL)
    made = [
        Let(is_inside, nodes.apply("logical_and", low, nodes.apply("lt", index, check.extent))),
        Update(fault, "max", nodes.apply("select", known, zero, nodes.number(1))),
        Let(inside, nodes.apply("select", known, given, nodes.number(0, given.dtype))),
    ]
    return made, nodes.var(inside, given.dtype)


def _substituted(statements: Sequence[Statement], values: dict[str, Expr]) -> tuple[Statement, ...]:
    if not values:
        return tuple(statements)

    def changed(statement: Statement) -> Statement:
        if isinstance(statement, For):
            return For(
                statement.index,
                substituted(statement.extent, values),
                tuple(changed(inner) for inner in statement.body),
            )
        return with_values(statement, lambda value: substituted(value, values))

    return tuple(changed(statement) for statement in statements)
