"""What a contraction is about to compute, and where its results go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Expr,
    Extent,
    For,
    Launch,
    Let,
    Number,
    Statement,
    Store,
    Update,
)
from gradc.ir.names import NameSupply
from gradc.ir.types import DType
from gradc.passes.grids.contraction_numbers import (
    ONE,
    ZERO,
    Writer,
    both,
    ceiling,
    combination,
    numbered,
    plus,
    times,
    under,
)
from gradc.passes.grids.contraction_places import Reading, Space, Variable
from gradc.passes.grids.numbers import THREADS, least


@dataclass(frozen=True, slots=True)
class Epilogue:
    """Statements that take the place of the store of an element, in the launch that computes it.

    In the `body` the sum is called `value`, and the positions on the axes of the result are called `indices`: names
    that nothing else has.  The body stores what it makes of them; it may stand in two launches, of which one runs.
    """

    value: str
    indices: tuple[str, ...]
    body: tuple[Statement, ...]


class Host:
    """Statements of the host that come before a launch."""

    def __init__(self, names: NameSupply) -> None:
        self.names = names
        self.statements: list[Statement] = []

    def bind(self, hint: str, value: Expr) -> Expr:
        """Give an extent a name, unless it is one or a literal."""
        if isinstance(value, nodes.Var | Number):
            return value
        name = self.names.fresh(hint)
        self.statements.append(Extent(name, value))
        return nodes.var(name)


@dataclass(frozen=True, slots=True)
class Problem:
    """A contraction whose extents have names; `batch`, `rows`, `columns` and `terms` say how many there are of each."""

    space: Space
    dtype: DType
    add: bool
    batch: Expr
    rows: Expr
    columns: Expr
    terms: Expr
    epilogue: Epilogue | None = None
    note: str = ""

    @property
    def zero(self) -> Number:
        """What a sum starts from."""
        return nodes.neutral("sum", self.dtype)

    def element(
        self, writer: Writer, reading: Reading, values: Mapping[str, Expr], known: Sequence[Expr]
    ) -> Expr:
        """An element of an operand for values of the variables: 0 where there is none, or a condition fails."""
        letters: dict[str, Expr] = {}
        conditions = list(known)
        for letter in sorted(reading.letters):
            index = self.space.indices[letter]
            place = combination(index.place.terms, index.place.offset, values)
            if index.divisor > 1:
                place, whole = writer.let("place", place), nodes.number(index.divisor)
                found = writer.let(letter, nodes.apply("floor_divide", place, whole))
                conditions.append(nodes.apply("eq", times(found, whole), place))
            else:
                found = writer.let(letter, place) if index.below or index.above else place
            if index.below:
                conditions.append(nodes.apply("le", ZERO, found))
            if index.above:
                conditions.append(under(found, index.extent))
            letters[letter] = found
        for (terms, offset), name in reading.equal:
            conditions.append(nodes.apply("eq", combination(terms, offset, letters), values[name]))
        places = tuple(combination(terms, offset, letters) for terms, offset in reading.positions)
        element, condition = nodes.load(reading.tensor, places, self.dtype), both(conditions)
        return element if condition is None else nodes.apply("select", condition, element, self.zero)

    def store(self, writer: Writer, values: Mapping[str, Expr], value: Expr) -> None:
        """Write statements that store an element of the result, or add to it."""
        places = [combination(place.terms, place.offset, values) for place in self.space.places]
        inside, conditions = writer.inside(), []
        for axis, end in self.space.ends.items():
            places[axis] = writer.let("place", places[axis])
            conditions.append(under(places[axis], end))
        if self.epilogue is not None:
            for name, place in zip(self.epilogue.indices, places, strict=True):
                inside.add(Let(name, place))
            inside.add(Let(self.epilogue.value, value), *self.epilogue.body)
        elif self.add:
            inside.add(AddTo(self.space.out, tuple(places), "sum", value, self.note))
        else:
            inside.add(Store(self.space.out, tuple(places), value, self.note))
        writer.when(both(conditions), inside)

    @property
    def results(self) -> tuple[tuple[str, Expr], ...]:
        """The variables that count the elements of the result."""
        return extents_of((*self.space.batch, *self.space.rows, *self.space.columns))


def extents_of(variables: Sequence[Variable]) -> tuple[tuple[str, Expr], ...]:
    """Names and extents."""
    return tuple((variable.name, variable.extent) for variable in variables)


@dataclass(frozen=True, slots=True)
class Cut:
    """A sum in `parts`, each of which has a copy of the result; `many` is the number of copies, 0 if it is whole."""

    parts: Expr
    copies: str
    many: Expr
    elements: Expr

    def store(
        self, writer: Writer, problem: Problem, part: Expr, values: Mapping[str, Expr], value: Expr
    ) -> None:
        """Store an element of a part, or of the result where there is one part."""
        whole, cut = writer.inside(), writer.inside()
        cut.add(Store(self.copies, (part, numbered(values, problem.results)), value))
        if isinstance(self.parts, Number):
            writer.add(*cut.statements)
            return
        problem.store(whole, values, value)
        writer.when(nodes.apply("eq", self.parts, ONE), whole)
        writer.when(nodes.apply("lt", ONE, self.parts), cut)


def cut(problem: Problem, parts: Expr, host: Host) -> Cut | None:
    """Make room for the parts of a sum; None for a sum that is whole."""
    if parts is ONE:
        return None
    parts = host.bind("parts", parts)
    several = least(nodes.apply("sub", parts, ONE), ONE)
    many = host.bind("copies", times(parts, several))
    elements = host.bind("elements", times(times(problem.batch, problem.rows), problem.columns))
    copies = host.names.fresh(f"{problem.space.out}_copies")
    host.statements.append(Allocate(copies, problem.dtype, (many, elements)))
    return Cut(parts, copies, many, elements)


def added_up(problem: Problem, cut: Cut, host: Host) -> None:
    """Launch the sums of the copies, in their order; nothing where there are none."""
    writer = Writer(host.names)
    block, thread = writer.fresh("block"), writer.fresh("thread")
    number = writer.let("element", plus(times(nodes.var(block), THREADS), nodes.var(thread)))
    inside = writer.inside()
    total, copy = inside.fresh("total"), nodes.var(inside.fresh("copy"))
    value = nodes.load(cut.copies, (copy, number), problem.dtype)
    inside.add(Let(total, problem.zero), For(copy.name, cut.many, (Update(total, "sum", value),)))
    problem.store(inside, inside.decoded(number, problem.results), nodes.var(total, problem.dtype))
    writer.when(under(number, cut.elements), inside)
    name = host.names.fresh(f"{problem.space.out}_sum")
    blocks = times(ceiling(cut.elements, THREADS), least(cut.many, ONE))
    host.statements.append(Launch(name, block, thread, blocks, THREADS, writer.close()))
