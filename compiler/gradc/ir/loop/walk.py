"""Walking over kernels: expressions, statements, and the names that a part of a kernel takes from around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Apply,
    Carry,
    Clear,
    Contract,
    Convert,
    Expr,
    For,
    From,
    Let,
    Load,
    Statement,
    Store,
    Tasks,
    Update,
    Var,
)


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
        if isinstance(statement, For | Tasks):
            yield from every(statement.body)


def tensors(expression: Expr) -> Iterator[str]:
    """The arrays that an expression reads elements of, or the shape of."""
    for found in subexpressions(expression):
        if isinstance(found, Load):
            yield found.tensor.removesuffix(".shape")


def touched(statement: Statement) -> Iterator[str]:
    """The names that a statement defines, and those of the arrays it touches."""
    for slot in ("name", "tensor", "index", "out", "left", "right"):
        value = getattr(statement, slot, None)
        if isinstance(value, str):
            yield value
    yield from getattr(statement, "outs", ())
    yield from getattr(statement, "ins", ())
    for expression in expressions(statement):
        yield from tensors(expression)


def free_names(tasks: Tasks) -> list[str]:
    """The scalars and arrays that the tasks use and do not define, in order of first use; not their count."""
    defined = {tasks.part, tasks.first, tasks.many}
    extent = subexpressions(tasks.extent)
    used = {found.name: None for found in extent if isinstance(found, Var)}
    for statement in every(tasks.body):
        if isinstance(statement, For):
            defined.add(statement.index)
        elif isinstance(statement, Let):
            defined.add(statement.name)
        elif isinstance(statement, Allocate):
            defined.add(statement.tensor)
        elif isinstance(statement, Store | AddTo | Clear):
            used[statement.tensor] = None
        elif isinstance(statement, Update | Carry):
            used[statement.name] = None
        elif isinstance(statement, Contract):
            used.update(dict.fromkeys((statement.out, statement.left, statement.right)))
        for expression in expressions(statement):
            used.update(dict.fromkeys(tensors(expression)))
            names = (found.name for found in subexpressions(expression) if isinstance(found, Var))
            used.update(dict.fromkeys(names))
    return [name for name in used if name not in defined]
