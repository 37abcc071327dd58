"""Sums into neighbouring elements, taken apart: iterations that add to common elements become independent.

    for i < n:                              for i < n:
        x_bar[i] += f(i)                        x_bar_at_0[i] = f(i)
        x_bar[i + 1] += g(i)         ->         x_bar_at_1[i] = g(i)
                                            for k < m:
                                                x_bar[k] += (x_bar_at_0[k] if k < n else 0)
                                                          + (x_bar_at_1[k - 1] if 0 <= k - 1 < n else 0)

So chained slices, stencils and windows, their strides included, need neither copies of the result nor an order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Apply,
    Expr,
    For,
    Kernel,
    Let,
    Number,
    Statement,
    Store,
    Update,
    Var,
)
from gradc.ir.loop.rewrite import substituted, with_values
from gradc.ir.loop.walk import names_in, subexpressions
from gradc.ir.names import NameSupply
from gradc.passes.grids.dependence import effects

Place = tuple[Expr, ...]
MOST = 16  # terms of an array, and iterations that are written out


def without_common_elements(kernel: Kernel) -> Kernel:
    """Take sums into neighbouring elements apart.

    Requires: `kernel` is valid.  Ensures: the same values, the terms of such sums in another order.
    """
    names = names_in(kernel.body)
    supply = NameSupply((*names, *(p.name for p in kernel.parameters), *kernel.results, kernel.name))
    shapes = {s.tensor: s for s in kernel.body if isinstance(s, Allocate)}
    body: list[Statement] = []
    for statement in kernel.body:
        body += _apart(statement, shapes, supply) if isinstance(statement, For) else [statement]
    return replace(kernel, body=tuple(body))


@dataclass(frozen=True, slots=True)
class _Term:
    """What is added at one place of an array: a number in the loops, an array behind them."""

    place: Place
    number: str
    array: str


def _apart(loop: For, shapes: Mapping[str, Allocate], names: NameSupply) -> list[Statement]:
    loops = list(_chain(loop))
    body = _written_out(loops[-1].body, shapes, names)
    found = effects(body)
    extents = {inner.index: inner.extent for inner in loops}
    terms: dict[str, list[_Term]] = {}
    for tensor in sorted(found.added):
        places = list(dict.fromkeys(s.indices for s in body if isinstance(s, AddTo) and s.tensor == tensor))
        alone = found.added[tensor] == {"sum"} and tensor not in found.loaded | found.stored
        if not (alone and tensor in shapes and len(places) > 1 and len(found.places[tensor]) >= len(places)):
            continue
        inside = {p for s in body if isinstance(s, For) for p in effects((s,)).places.get(tensor, ())}
        if not inside and len(places) <= MOST and all(_is_shift(place, extents) for place in places):
            hints = [names.fresh(f"{tensor}_at_{at}") for at in range(len(places))]
            terms[tensor] = [_Term(p, names.fresh(f"{h}_sum"), h) for p, h in zip(places, hints, strict=True)]
    if not terms:
        return [loop]
    sizes = tuple(inner.extent for inner in loops)
    made: list[Statement] = [
        Allocate(term.array, shapes[tensor].dtype, sizes) for tensor, found in terms.items() for term in found
    ]
    made.append(_nest(loops, _with_terms(body, terms, shapes, loops)))
    return [*made, *(_gathered(shapes[tensor], found, loops, names) for tensor, found in terms.items())]


def _chain(loop: For) -> Iterator[For]:
    yield loop
    while len(loop.body) == 1 and isinstance(loop.body[0], For):
        loop = loop.body[0]
        yield loop


def _written_out(
    body: Sequence[Statement], shapes: Mapping[str, Allocate], names: NameSupply
) -> tuple[Statement, ...]:
    """The statements with short loops that add to windows of an array written out."""
    made: list[Statement] = []
    for statement in body:
        if isinstance(statement, For) and _is_window(statement, shapes):
            for place in range(int(statement.extent.value)):  # pyright: ignore[reportAttributeAccessIssue]
                values: dict[str, Expr] = {statement.index: nodes.number(place)}
                made += _written_out(_renamed(statement.body, values, names), shapes, names)
        else:
            made.append(statement)
    return tuple(made)


def _is_window(loop: For, shapes: Mapping[str, Allocate]) -> bool:
    found = effects(loop.body)
    added = any(
        len(place) and any(nodes.var(loop.index) in subexpressions(index) for index in place)
        for tensor in found.added.keys() & shapes.keys()
        for place in found.places[tensor]
    )
    return added and isinstance(loop.extent, Number) and int(loop.extent.value) <= MOST


def _renamed(
    statements: Sequence[Statement], values: dict[str, Expr], names: NameSupply
) -> tuple[Statement, ...]:
    """Statements of one iteration, with names of their own."""
    made: list[Statement] = []
    for statement in statements:
        if isinstance(statement, For):
            body = _renamed(statement.body, values, names)
            made.append(For(statement.index, substituted(statement.extent, values), body))
            continue
        changed = with_values(statement, lambda value: substituted(value, values))
        if isinstance(changed, Let):
            name = names.fresh(changed.name)
            values[changed.name] = nodes.var(name, changed.value.dtype)
            changed = replace(changed, name=name)
        elif isinstance(changed, Update) and changed.name in values:
            changed = replace(changed, name=values[changed.name].name)  # pyright: ignore[reportAttributeAccessIssue]
        made.append(changed)
    return tuple(made)


def _is_shift(place: Place, extents: Mapping[str, Expr]) -> bool:
    """Whether every loop runs one axis of a place, a literal number of elements further or farther."""
    loops = [_shifted(index) for index in place]
    return None not in loops and sorted(found.loop for found in loops if found) == sorted(extents)


@dataclass(frozen=True, slots=True)
class _Shift:
    """The index ``stride * loop + by``."""

    loop: str
    stride: int
    by: int


def _shifted(index: Expr) -> _Shift | None:
    match index:
        case Var(name):
            return _Shift(name, 1, 0)
        case Apply("mul", (Number(stride), Var(name)) | (Var(name), Number(stride))) if stride > 0:
            return _Shift(name, int(stride), 0)
        case Apply("add", (inner, Number(by)) | (Number(by), inner)):
            found = _shifted(inner)
            return found and replace(found, by=found.by + int(by))
        case Apply("sub", (inner, Number(by))):
            found = _shifted(inner)
            return found and replace(found, by=found.by - int(by))
        case _:
            return None


def _nest(loops: Sequence[For], body: Sequence[Statement]) -> Statement:
    for loop in reversed(loops):
        body = (replace(loop, body=tuple(body)),)
    return body[0]


def _with_terms(
    body: Sequence[Statement],
    terms: Mapping[str, Sequence[_Term]],
    shapes: Mapping[str, Allocate],
    loops: Sequence[For],
) -> list[Statement]:
    """The body with terms as numbers, and their stores at its end."""
    made: list[Statement] = []
    for tensor, found in terms.items():
        zero = nodes.neutral("sum", shapes[tensor].dtype)
        made += [Let(term.number, zero) for term in found]
    for statement in body:
        if isinstance(statement, AddTo) and statement.tensor in terms:
            (term,) = (t for t in terms[statement.tensor] if t.place == statement.indices)
            made.append(Update(term.number, "sum", statement.value, statement.note))
        else:
            made.append(statement)
    here = tuple(nodes.var(loop.index) for loop in loops)
    for tensor, found in terms.items():
        dtype = shapes[tensor].dtype
        made += [Store(term.array, here, nodes.var(term.number, dtype)) for term in found]
    return made


def _gathered(array: Allocate, terms: Sequence[_Term], loops: Sequence[For], names: NameSupply) -> Statement:
    """Add the terms of every element."""
    here = [nodes.var(names.fresh(f"{loop.index}_there")) for loop in loops]
    zero, value = nodes.neutral("sum", array.dtype), None
    for term in terms:
        at: dict[str, Expr] = {}
        exists: list[Expr] = []
        for place, index in zip(here, term.place, strict=True):
            shift = _shifted(index)
            assert shift is not None
            at[shift.loop], conditions = _solved(place, shift)
            exists += conditions
        exists += [nodes.apply("lt", at[loop.index], loop.extent) for loop in loops]
        condition = exists[0]
        for other in exists[1:]:
            condition = nodes.apply("logical_and", condition, other)
        element = nodes.load(term.array, tuple(at[loop.index] for loop in loops), array.dtype)
        part = nodes.apply("select", condition, element, zero)
        value = part if value is None else nodes.apply("add", value, part)
    assert value is not None
    statement: Statement = AddTo(array.tensor, tuple(here), "sum", value)
    for index, extent in zip(reversed(here), reversed(array.shape), strict=True):
        statement = For(index.name, extent, (statement,))
    return statement


def _solved(place: Expr, shift: _Shift) -> tuple[Expr, list[Expr]]:
    """The iteration that adds to a place, and what holds where there is one."""
    behind = nodes.apply("sub", place, nodes.number(shift.by))
    conditions = [nodes.apply("ge", behind, nodes.number(0))] if shift.by > 0 else []
    if shift.stride == 1:
        return behind, conditions
    stride = nodes.number(shift.stride)
    found = nodes.apply("floor_divide", behind, stride)
    whole = nodes.apply("eq", nodes.apply("mul", found, stride), behind)
    return found, [*conditions, whole]
