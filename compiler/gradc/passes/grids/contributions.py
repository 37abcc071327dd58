"""What is added to an array first is stored: the array need not be made 0 before, nor read.

    allocate g[n, m] zeroed                allocate g[n, m]
    for i < n:                             for i < n:
        for j < m:                             t = k[i]
            g[i, j] += f(i, j)      ->         for j < m:
        t = k[i]                                   g[i, j] = f(i, j) + (h(i) if j == t else 0)
        g[i, t] += h(i)

The loops around the sum run along one axis each and over all of it; what touches the array elsewhere in them touches
elements that have been stored by then.  What is added to one element of a row, behind a loop over all of it, is added
in the loop: then no thread waits for another one's element.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    CheckIndices,
    Clear,
    Contract,
    Expr,
    For,
    Kernel,
    Let,
    Number,
    Statement,
    Store,
    Var,
)
from gradc.ir.loop.walk import every, expressions, names_in, subexpressions, tensors, touched
from gradc.ir.names import NameSupply
from gradc.passes.grids.dependence import Place, effects
from gradc.passes.grids.shapes import shapes_of
from gradc_runtime.contraction import positions

Shape = tuple[Expr, ...]
MOST = 4  # sums into one element that a loop over a row takes: it asks of each of its elements whether it is meant


def stored_first(kernel: Kernel) -> Kernel:
    """Store what is added first to the elements of arrays that start at 0.

    Requires: `kernel` is valid and has no tasks.  Ensures: the same values, the terms of sums in another order, and a
    sum of nothing but -0 may be -0.
    """
    names = names_in(kernel.body)
    supply = NameSupply((*names, *(p.name for p in kernel.parameters), *kernel.results, kernel.name))
    shapes, body = shapes_of(kernel), list(kernel.body)
    touching = _touching(body)
    dropped: set[int] = set()
    for at, statement in enumerate(kernel.body):
        tensor = _started(statement)
        later = (place for place in touching.get(tensor, ()) if place > at)
        first = next(later, None)
        made = None if first is None else _stored(body[first], tensor, shapes[tensor])
        if first is None or made is None:
            continue
        body[first] = made
        if isinstance(statement, Allocate):
            body[at] = replace(statement, zeroed=False)
        else:
            dropped.add(at)
    kept = (s for at, s in enumerate(body) if at not in dropped)
    joined = (_with_elements(s, shapes, supply) if isinstance(s, For) else s for s in kept)
    return replace(kernel, body=tuple(joined))


def _started(statement: Statement) -> str:
    """The array whose every element a statement makes 0."""
    match statement:
        case Allocate(tensor, zeroed=True) | Clear(tensor, None):
            return tensor
        case _:
            return ""


def _touching(body: Sequence[Statement]) -> dict[str, list[int]]:
    """Where the statements are that touch each array, or ask for its shape."""
    found: dict[str, list[int]] = {}
    for at, statement in enumerate(body):
        for name in names_in((statement,)):
            found.setdefault(name, []).append(at)
    return found


# --- sums over all of an array ------------------------------------------------------------------------------


def _stored(statement: Statement, tensor: str, shape: Shape) -> Statement | None:
    """The statement with its first sum into all elements of an array stored; None where that is not what it does."""
    match statement:
        case For():
            found = _First(tensor, shape).loop(statement, ())
            return found and found.statement
        case Contract(out, target, add=True) if out == tensor and _is_whole(statement, target, shape):
            return replace(statement, add=False)
        case _:
            return None


def _is_whole(contract: Contract, target: str, shape: Shape) -> bool:
    """Whether a contraction adds to every element once: each axis has an index of its own that runs over it."""
    places = positions(target)
    texts = (target, contract.first, contract.second)
    letters = sorted({letter for text in texts for terms, _ in positions(text) for _, letter in terms})
    extents = dict(zip(letters, contract.extents, strict=True))
    plain = [terms[0][1] for terms, offset in places if [f for f, _ in terms] == [1] and offset == 0]
    if any(contract.views) or contract.again is not None or len(set(plain)) < len(places):
        return False
    if contract.out in (contract.left, contract.right):
        return False
    return tuple(extents[letter] for letter in plain) == shape


@dataclass(frozen=True, slots=True)
class _Found:
    """A statement in which the first sum is stored, and the place of the sum."""

    statement: Statement
    place: Place


@dataclass(frozen=True, slots=True)
class _First:
    """Looks for the first sum into an array."""

    tensor: str
    shape: Shape

    def loop(self, loop: For, around: tuple[For, ...]) -> _Found | None:
        """Store it in a loop inside others."""
        loops = (*around, loop)
        at = next((at for at, inner in enumerate(loop.body) if self.is_touched((inner,))), None)
        if at is None or self.tensor in _arrays(loop.extent):
            return None
        first, rest = loop.body[at], loop.body[at + 1 :]
        found = self.loop(first, loops) if isinstance(first, For) else self.sum(first, loops)
        if found is None or not self.is_behind(rest, loops, found.place):
            return None
        body = (*loop.body[:at], found.statement, *rest)
        return _Found(replace(loop, body=body), found.place)

    def sum(self, statement: Statement, loops: Sequence[For]) -> _Found | None:
        """Store it where it is added."""
        match statement:
            case AddTo(tensor, place, "sum", value, note) if tensor == self.tensor:
                is_read = self.tensor in (name for e in expressions(statement) for name in _arrays(e))
                if is_read or not self.is_everywhere(place, loops):
                    return None
                return _Found(Store(tensor, place, value, note), place)
            case _:
                return None

    def is_everywhere(self, place: Place, loops: Sequence[For]) -> bool:
        """Whether the loops run once over all elements."""
        extents = {loop.index: loop.extent for loop in loops}
        indices = [index.name for index in place if isinstance(index, Var)]
        if sorted(indices) != sorted(extents):
            return False
        return all(
            extents[index.name] is extent if isinstance(index, Var) else _is_only(index, extent)
            for index, extent in zip(place, self.shape, strict=True)
        )

    def is_touched(self, statements: Sequence[Statement]) -> bool:
        return any(self.tensor in touched(inner) for inner in every(statements))

    def is_behind(self, statements: Sequence[Statement], loops: Sequence[For], place: Place) -> bool:
        """Whether statements in the loops touch none but elements of the same iteration, which have been stored."""
        if any(isinstance(s, CheckIndices) and s.tensor == self.tensor for s in every(statements)):
            return False
        indices = {nodes.var(loop.index) for loop in loops}
        fixed = [axis for axis, index in enumerate(place) if index in indices]
        found = effects(statements)
        here = all(p[axis] is place[axis] for p in found.places.get(self.tensor, ()) for axis in fixed)
        return found.is_plain and here


def _arrays(expression: Expr) -> set[str]:
    return set(tensors(expression))


def _is_only(index: Expr, extent: Expr) -> bool:
    """Whether an index is the only one of its axis."""
    return index is nodes.number(0) and extent is nodes.number(1)


# --- sums into one element of a row -------------------------------------------------------------------------


def _with_elements(loop: For, shapes: Mapping[str, Shape], names: NameSupply) -> For:
    """Loops in which what is added to one element of a row is added where the row is."""
    made: list[Statement] = []
    rest = [_with_elements(s, shapes, names) if isinstance(s, For) else s for s in loop.body]
    while rest:
        row = _row(rest[0], shapes)
        joined = None if row is None else _joined(row, rest[1:], names)
        for _ in range(MOST):
            if joined is None:
                break
            lets, row, behind = joined
            made += lets
            rest = [row.loop, *behind]
            joined = _joined(row, behind, names)
        made.append(rest.pop(0))
    return replace(loop, body=tuple(made))


@dataclass(frozen=True, slots=True)
class _Row:
    """A loop that writes all elements of a row of an array, at `place` of its body, along an axis."""

    loop: For
    place: int
    axis: int

    @property
    def write(self) -> Store | AddTo:
        """The statement that writes an element."""
        found = self.loop.body[self.place]
        assert isinstance(found, Store | AddTo)
        return found

    def is_of(self, place: Place) -> bool:
        """Whether an element is one of the row."""
        pairs = zip(place, self.write.indices, strict=True)
        return all(one is other or axis == self.axis for axis, (one, other) in enumerate(pairs))

    def with_term(self, place: Expr, value: Expr) -> _Row:
        """The row with a value added at a place."""
        here, zero = nodes.var(self.loop.index), nodes.neutral("sum", value.dtype)
        term = nodes.apply("select", nodes.apply("eq", here, place), value, zero)
        write = replace(self.write, value=nodes.apply("add", self.write.value, term))
        body = (*self.loop.body[: self.place], write, *self.loop.body[self.place + 1 :])
        return replace(self, loop=replace(self.loop, body=body))


def _row(loop: Statement, shapes: Mapping[str, Shape]) -> _Row | None:
    """The row that a loop writes and does not touch otherwise: the last one of several."""
    if not isinstance(loop, For) or any(isinstance(inner, For) for inner in loop.body):
        return None
    found = effects(loop.body)
    here = nodes.var(loop.index)
    for at, statement in reversed(list(enumerate(loop.body))):
        if not isinstance(statement, Store | AddTo) or len(found.places[statement.tensor]) > 1:
            continue
        if found.added.get(statement.tensor, {"sum"}) != {"sum"}:
            continue
        axes = [axis for axis, index in enumerate(statement.indices) if index is here]
        others = [index for index in statement.indices if index is not here]
        inside = {loop.index, *found.local} & {name for index in others for name in _variables(index)}
        if len(axes) == 1 and not inside and shapes[statement.tensor][axes[0]] is loop.extent:
            return _Row(loop, at, axes[0])
    return None


def _joined(
    row: _Row, behind: Sequence[Statement], names: NameSupply
) -> tuple[list[Let], _Row, list[Statement]] | None:
    """The row with the next sum into one of its elements, what must come before it, and what is left behind it."""
    tensor = row.write.tensor
    touching = (at for at, s in enumerate(behind) if any(tensor in touched(inner) for inner in every((s,))))
    at = next(touching, len(behind))
    term = behind[at] if at < len(behind) else None
    if not (isinstance(term, AddTo) and term.op == "sum" and row.is_of(term.indices)):
        return None
    between = behind[:at]
    needed = _needed(term, row.loop, between)
    if needed is None:
        return None
    lets = list(needed)
    place = _bound(term.indices[row.axis], "place", "", names, lets)
    value = _bound(term.value, "term", term.note, names, lets)
    rest = [*(statement for statement in between if statement not in needed), *behind[at + 1 :]]
    return lets, row.with_term(place, value), rest


def _needed(term: AddTo, loop: For, between: Sequence[Statement]) -> list[Let] | None:
    """The numbers that a sum behind a loop is made of, if they are the same before it."""
    found = effects((loop, *between))
    needed: list[Let] = []
    wanted, read = _used(term)
    for statement in reversed(between):
        if isinstance(statement, Let) and statement.name in wanted:
            needed.insert(0, statement)
            names, arrays = _used(statement)
            wanted |= names
            read |= arrays
    is_same = found.is_plain and not wanted & found.updated.keys() and not read & found.written
    return needed if is_same else None


def _bound(value: Expr, hint: str, note: str, names: NameSupply, lets: list[Let]) -> Expr:
    """A number or a name for a value."""
    if isinstance(value, Var | Number):
        return value
    lets.append(Let(names.fresh(hint), value, note))
    return nodes.var(lets[-1].name, value.dtype)


def _used(statement: Statement) -> tuple[set[str], set[str]]:
    """The numbers and the arrays that a statement reads."""
    parts = list(expressions(statement))
    return {name for e in parts for name in _variables(e)}, {name for e in parts for name in _arrays(e)}


def _variables(expression: Expr) -> set[str]:
    return {part.name for part in subexpressions(expression) if isinstance(part, Var)}
