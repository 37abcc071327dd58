"""Walking over kernels: expressions, statements, and the names that a part of a kernel takes from around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TypeAlias
from weakref import WeakKeyDictionary

from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Apply,
    Carry,
    Clear,
    Combine,
    Contract,
    Convert,
    Expr,
    For,
    From,
    Launch,
    Let,
    Load,
    Share,
    Statement,
    Store,
    Stride,
    Tasks,
    Update,
    Var,
    When,
)

Compound: TypeAlias = For | Tasks | Launch | Stride | When
"""The statements that have others inside."""


def subexpressions(expression: Expr) -> Iterator[Expr]:
    """The expression and everything in it, in reading order."""
    stack = [expression]
    while stack:
        found = stack.pop()
        yield found
        if isinstance(found, Load):
            stack.extend(reversed(found.indices))
        elif isinstance(found, Apply):
            stack.extend(reversed(found.arguments))
        elif isinstance(found, Convert):
            stack.append(found.argument)


def expressions(statement: Statement) -> Iterator[Expr]:
    """The expressions of one statement, those of statements inside it left out."""
    for slot in statement.__slots__:
        value = getattr(statement, slot)
        for found in value if isinstance(value, tuple) else (value,):
            if isinstance(found, Expr):
                yield found
    if isinstance(statement, Contract):
        yield from (at.start if isinstance(at, From) else at for view in statement.views for at in view)


def every(statements: Sequence[Statement]) -> Iterator[Statement]:
    """All statements, those inside others after these; loops nest as deep as tensors have axes."""
    for statement in statements:
        yield statement
        if isinstance(statement, Compound):
            yield from every(statement.body)


# What every pass asks again of expressions, which are interned; weak, as these are.
_tensors: WeakKeyDictionary[Expr, tuple[str, ...]] = WeakKeyDictionary()


def tensors(expression: Expr) -> tuple[str, ...]:
    """The arrays that an expression reads elements of, or the shape of."""
    found = _tensors.get(expression)
    if found is None:
        loads = (part for part in subexpressions(expression) if isinstance(part, Load))
        found = _tensors[expression] = tuple(load.tensor.removesuffix(".shape") for load in loads)
    return found


def touched(statement: Statement) -> list[str]:
    """The names that a statement defines, and those of the arrays it touches."""
    values = [getattr(statement, slot) for slot in _slots_of_names(type(statement))]
    names = [value for value in values if isinstance(value, str)]
    names += getattr(statement, "outs", ())
    names += getattr(statement, "ins", ())
    for expression in expressions(statement):
        names += tensors(expression)
    return names


def names_in(statements: Sequence[Statement]) -> set[str]:
    """The names that statements, and those inside them, define, and those of the arrays they touch."""
    names: set[str] = set()
    for statement in every(statements):
        names.update(touched(statement))
    return names


@cache
def _slots_of_names(kind: type) -> tuple[str, ...]:
    """The attributes of a kind of statement that may be names."""
    known = ("name", "tensor", "index", "block", "thread", "out", "left", "right")
    return tuple(slot for slot in known if slot in getattr(kind, "__slots__", ()))


def free_names(statement: Tasks | Launch) -> list[str]:
    """The scalars and arrays that the body uses and does not define, in order of first use; not its count."""
    if isinstance(statement, Tasks):
        defined = {statement.part, statement.first, statement.many}
        used = dict.fromkeys(_names(statement.extent))
    else:
        defined, used = {statement.block, statement.thread}, {}
    for inner in every(statement.body):
        defined.update(_defined(inner))
        used.update(dict.fromkeys(_written(inner)))
        for expression in expressions(inner):
            used.update(dict.fromkeys(tensors(expression)))
            used.update(dict.fromkeys(_names(expression)))
    return [name for name in used if name not in defined]


def _names(expression: Expr) -> Iterator[str]:
    return (found.name for found in subexpressions(expression) if isinstance(found, Var))


def _defined(statement: Statement) -> tuple[str, ...]:
    """What a statement of a body defines."""
    match statement:
        case For(name) | Stride(name) | Let(name) | Allocate(name) | Share(name):
            return (name,)
        case _:
            return ()


def _written(statement: Statement) -> tuple[str, ...]:
    """What a statement of a body changes, and what it touches as a whole."""
    match statement:
        case Store(name) | AddTo(name) | Clear(name) | Update(name) | Carry(name) | Combine(name):
            return (name,)
        case Contract(out, _, left, _, right):
            return (out, left, right)
        case _:
            return ()
