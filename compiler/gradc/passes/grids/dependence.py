"""What passes from one iteration of a loop to another: whether threads may share the iterations out.

An array that a loop writes is

    own        every iteration touches elements of its own:       for i: y[i] = f(x[i], y[i])
    sum        iterations add to common elements, nothing else:   for i: s[k[i]] += f(x[i])
    scratch    every iteration writes it anew before it reads it, and nobody needs it afterwards
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import (
    AddTo,
    Apply,
    CheckIndices,
    Expr,
    For,
    Let,
    Load,
    Number,
    Statement,
    Store,
    Update,
    Var,
)
from gradc.ir.loop.walk import every, expressions, subexpressions

Place = tuple[Expr, ...]


@dataclass(slots=True)
class Effects:
    """What statements do to names outside them."""

    updated: dict[str, set[str]] = field(
        default_factory=dict
    )  # numbers that are added to, with the operations
    read: set[str] = field(default_factory=set)  # numbers
    local: set[str] = field(default_factory=set)  # numbers and indices that are defined inside
    places: dict[str, list[Place]] = field(default_factory=dict)  # of every access to an array
    loaded: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)
    added: dict[str, set[str]] = field(default_factory=dict)  # arrays that are added to, with the operations
    first_stored: set[str] = field(default_factory=set)  # arrays whose first access is a store
    is_plain: bool = True  # nothing but loops, numbers and elements

    @property
    def written(self) -> set[str]:
        """The arrays of which elements change."""
        return self.stored | self.added.keys()

    @property
    def totals(self) -> dict[str, set[str]]:
        """Numbers from outside that are added to, with the operations."""
        return {name: ops for name, ops in self.updated.items() if name not in self.local}


def effects(statements: Sequence[Statement]) -> Effects:
    """Look at statements; loops nest as deep as tensors have axes."""
    found = Effects()
    for statement in every(statements):
        _look(found, statement)
    return found


def _look(found: Effects, statement: Statement) -> None:
    for expression in expressions(statement):
        _read(found, expression)
    match statement:
        case Let(name):
            found.local.add(name)
        case For(index):
            found.local.add(index)
        case Update(name, op):
            found.updated.setdefault(name, set()).add(op)
        case Store(tensor, indices):
            if tensor not in found.places:
                found.first_stored.add(tensor)
            found.stored.add(tensor)
            found.places.setdefault(tensor, []).append(indices)
        case AddTo(tensor, indices, op):
            found.added.setdefault(tensor, set()).add(op)
            found.places.setdefault(tensor, []).append(indices)
        case CheckIndices():
            pass
        case _:
            found.is_plain = False


def _read(found: Effects, expression: Expr) -> None:
    for part in subexpressions(expression):
        if isinstance(part, Var):
            found.read.add(part.name)
        elif isinstance(part, Load) and not part.tensor.endswith(".shape"):
            found.loaded.add(part.tensor)
            found.places.setdefault(part.tensor, []).append(part.indices)


def kinds(loop: For, is_private: Callable[[str, For], bool]) -> dict[str, str] | None:
    """Return what each array that a loop writes is to its iterations; None where one depends on another.

    `is_private` tells whether nobody but the loop touches an array that is not a result.
    """
    found = effects(loop.body)
    if not found.is_plain or any(name in found.read or len(ops) > 1 for name, ops in found.totals.items()):
        return None
    made: dict[str, str] = {}
    for tensor in sorted(found.written):
        kind = _kind(loop, found, tensor, is_private)
        if kind is None:
            return None
        made[tensor] = kind
    return made


def is_shared_out(loop: For) -> bool:
    """Whether the threads of a group may share out a loop inside a row: each touches elements of its own."""
    found = kinds(loop, lambda tensor, within: False)
    return found is not None and set(found.values()) <= {"own"}


def _kind(loop: For, found: Effects, tensor: str, is_private: Callable[[str, For], bool]) -> str | None:
    places = found.places[tensor]
    for axis, index in enumerate(places[0]):
        if is_shifted(index, loop.index, found.local) and all(place[axis] is index for place in places):
            return "own"
    if tensor in found.first_stored and is_private(tensor, loop) and not _varies(loop.index, places):
        return "scratch"
    only_sums = found.added.get(tensor) == {"sum"} and tensor not in found.stored | found.loaded
    return "sum" if only_sums else None


def _varies(index: str, places: Sequence[Place]) -> bool:
    here = nodes.var(index)
    return any(here in subexpressions(at) for place in places for at in place)


def is_shifted(index: Expr, loop: str, inside: set[str]) -> bool:
    """Whether an index is that of the loop times a number other than 0, plus what no iteration changes."""
    match index:
        case Var(name):
            return name == loop
        case Apply("neg", (argument,)):
            return is_shifted(argument, loop, inside)
        case Apply("mul", (Number(factor), argument) | (argument, Number(factor))):
            return factor != 0 and is_shifted(argument, loop, inside)
        case Apply("add" | "sub", (left, right)):
            moving, other = (left, right) if nodes.var(loop) in subexpressions(left) else (right, left)
            return is_shifted(moving, loop, inside) and all(
                _is_fixed(part, loop, inside) for part in subexpressions(other)
            )
        case _:
            return False


def _is_fixed(part: Expr, loop: str, inside: set[str]) -> bool:
    if isinstance(part, Var):
        return part.name != loop and part.name not in inside
    return isinstance(part, Number | Apply)


def chain(loop: For, is_private: Callable[[str, For], bool]) -> tuple[list[For], dict[str, str]]:
    """Return the loops, outermost first, whose iterations taken together are independent, and the kinds of arrays.

    Every loop but the last is all that stands in the one around it.  No loop: the iterations depend on each other.
    """
    loops: list[For] = []
    known: dict[str, str] = {}
    for inner in _nested(loop):
        found = kinds(inner, is_private)
        if found is None or (loops and found != known):
            break
        loops.append(inner)
        known = found
    return loops, known


def _nested(loop: For) -> Iterator[For]:
    yield loop
    while len(loop.body) == 1 and isinstance(loop.body[0], For):
        loop = loop.body[0]
        yield loop
