"""Results that take the place of arguments: a step that updates what it is given.

    kernel f(x, w) -> v, w_2                 kernel f_in_place(x, inout w) -> v
    allocate w_2[n]                          for i: ... w[i] ...
    for i: ... w[i] ...               ->     for i: w[i] = w[i] - g[i]
    for i: w_2[i] = w[i] - g[i]

A result is written to its argument's memory at once where nothing reads the argument afterwards: no statement behind
the one that computes the result, and in that one no iteration but the one that writes the same element, and that not
after it.  Nor may anything behind it refuse the call: an argument is never left half updated.  Otherwise the result
keeps an array of its own, and is copied when all else is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import (
    Allocate,
    Apply,
    CheckIndices,
    Expr,
    For,
    From,
    Kernel,
    Let,
    Library,
    Load,
    Number,
    Require,
    Statement,
    Store,
    Tasks,
    Var,
)
from gradc.ir.loop.rewrite import rebuilt
from gradc.ir.loop.walk import every, expressions, subexpressions
from gradc.passes.loops.into import copy_loops, free_letters

SHOWN = 4  # names in a remark


def in_place(kernel: Kernel, updates: Mapping[str, str]) -> Kernel:
    """Make results the new contents of arguments.

    Parameters
    ----------
    updates : mapping of result to parameter
        Both are arrays of one dtype and shape; no argument takes two results.

    Requires: `kernel` is valid.
    Ensures: the same values, those of `updates` in the arguments; what is left of the results is returned.
    """
    uses = _Uses(kernel.body)
    moved = {result: parameter for result, parameter in updates.items() if uses.is_free(result, parameter)}
    copied = {result: parameter for result, parameter in updates.items() if result not in moved}
    body = _renamed((s for s in kernel.body if not (isinstance(s, Allocate) and s.tensor in moved)), moved)
    kinds, letters = {parameter.name: parameter for parameter in kernel.parameters}, free_letters(body)
    body = (*body, *(copy_loops(result, kinds[name], letters) for result, name in copied.items()))
    updated = set(updates.values())
    parameters = tuple(
        replace(p, written=True, updated=True) if p.name in updated else p for p in kernel.parameters
    )
    results = tuple(name for name in kernel.results if name not in updates)
    header = (*kernel.header[:1], *_remarks(moved, copied), *kernel.header[1:])
    return Kernel(f"{kernel.name}_in_place", parameters, body, results, header)


def _remarks(moved: Mapping[str, str], copied: Mapping[str, str]) -> Iterator[str]:
    """Say what is updated, for readers of the kernel."""
    if moved:
        yield f"Updated where they are, and sharing memory with nothing else: {_few(moved.values())}."
    if copied:
        yield f"Updated at the end, because they are read until then: {_few(copied.values())}."


def _few(names: Iterable[str]) -> str:
    """The first names; a network has hundreds, and the parameters of the kernel list them all."""
    shown = list(names)
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return ", ".join(shown[:SHOWN]) + more


# --- may a result be written to its argument at once? -------------------------------------------------------


class _Uses:
    """Where a body writes and reads arrays, found in one walk: the positions of its statements.

    Whether a result is free does not depend on what becomes of the others: no argument takes two.
    """

    def __init__(self, body: Sequence[Statement]) -> None:
        self.body = body
        self.writers: dict[str, list[int]] = {}
        self.last_read: dict[str, int] = {}
        self.last_refusal = -1
        for at, statement in enumerate(body):
            for inner in every((statement,)):
                self._note(inner, at)

    def _note(self, statement: Statement, at: int) -> None:
        target = _target(statement)
        if target and not isinstance(statement, Allocate) and at not in self.writers.get(target, ())[-1:]:
            self.writers.setdefault(target, []).append(at)
        for name in (*_operands(statement), *(load.tensor for load in _loads(statement))):
            self.last_read[name] = at
        if isinstance(statement, Require | CheckIndices | Library):
            self.last_refusal = at

    def is_free(self, result: str, parameter: str) -> bool:
        """Whether a result may be written to its argument at once."""
        writers = self.writers.get(result, [])
        if len(writers) != 1:
            return False
        if max(self.last_read.get(parameter, -1), self.last_refusal) > writers[0]:
            return False
        nest = self.body[writers[0]]
        return isinstance(nest, For | Tasks) and _meets_at_one_element(nest, result, parameter)


def _target(statement: Statement) -> str:
    """The array that a statement itself writes to, or empty."""
    for slot in ("tensor", "out"):
        found = getattr(statement, slot, None)
        if isinstance(found, str):
            return found
    outs = getattr(statement, "outs", ())
    return outs[0] if outs else ""


def _operands(statement: Statement) -> tuple[str, ...]:
    """The arrays that a statement reads as wholes."""
    names = tuple(getattr(statement, slot, "") for slot in ("left", "right"))
    return (*(name for name in names if isinstance(name, str)), *getattr(statement, "ins", ()))


def _loads(statement: Statement) -> Iterator[Load]:
    for place in expressions(statement):
        yield from (part for part in subexpressions(place) if isinstance(part, Load))


def _meets_at_one_element(nest: For | Tasks, result: str, parameter: str) -> bool:
    """Whether each element of the argument is read, in the nest, only on the way to the same element of the result."""
    found = list(_stores(nest, result, {}))
    if len(found) != 1:
        return False
    block, at, around = found[0]
    store = block[at]
    if not isinstance(store, Store) or not _is_injective(store.indices, around):
        return False
    here = sum(load.tensor == parameter for statement in block[: at + 1] for load in _loads(statement))
    everywhere = sum(load.tensor == parameter for inner in every((nest,)) for load in _loads(inner))
    same = all(
        load.indices == store.indices
        for statement in block[: at + 1]
        for load in _loads(statement)
        if load.tensor == parameter
    )
    whole = any(parameter in _operands(inner) for inner in every((nest,)))
    return here == everywhere and same and not whole


def _stores(
    statement: Statement, result: str, around: Mapping[str, str]
) -> Iterator[tuple[tuple[Statement, ...], int, Mapping[str, str]]]:
    """The statements that write to an array: their block, their place in it, and what counts the loops around them.

    `around` maps the index of each loop to itself, and numbers made of it to the loop's index.
    """
    if not isinstance(statement, For | Tasks):
        return
    counting = dict(around)
    if isinstance(statement, For):
        counting[statement.index] = statement.index
    for at, child in enumerate(statement.body):
        if isinstance(child, Let):
            loops = {counting[name] for name in _variables(child.value) if name in counting}
            if len(loops) == 1 and _is_shifted(child.value):
                counting[child.name] = loops.pop()
        elif not isinstance(child, For | Tasks) and _target(child) == result:
            yield statement.body, at, counting
        yield from _stores(child, result, counting)


def _variables(expression: Expr) -> list[str]:
    return [part.name for part in subexpressions(expression) if isinstance(part, Var)]


def _is_shifted(value: Expr) -> bool:
    """Whether a number is another one plus or minus something: ``first + step``."""
    if not isinstance(value, Apply) or value.function not in ("add", "sub"):
        return False
    return all(isinstance(operand, Var | Number) for operand in value.arguments)


def _is_injective(indices: Sequence[Expr], around: Mapping[str, str]) -> bool:
    """Whether every iteration of the loops around writes an element of its own: each loop counts one axis."""
    used = []
    for index in indices:
        loops = [around[name] for name in _variables(index) if name in around]
        if len(loops) > 1 or (loops and not (isinstance(index, Var) or _is_shifted(index))):
            return False
        used += loops
    return sorted(used) == sorted(set(around.values()))


# --- the new body -------------------------------------------------------------------------------------------


def _renamed(statements: Iterable[Statement], names: Mapping[str, str]) -> tuple[Statement, ...]:
    """Statements in which arrays have other names."""
    renaming = _Renaming(names)
    return tuple(renaming.statement(statement) for statement in statements)


class _Renaming:
    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = {**names, **{f"{old}.shape": f"{new}.shape" for old, new in names.items()}}

    def statement(self, statement: Statement) -> Statement:
        fields = {slot: self.field(slot, getattr(statement, slot)) for slot in statement.__slots__}
        return replace(statement, **fields)

    def field(self, slot: str, value: Any) -> Any:
        if slot in _NAMES:
            return self.names.get(value, value)
        if slot in ("ins", "outs"):
            return tuple(self.names.get(name, name) for name in value)
        return self.inner(value)

    def inner(self, value: Any) -> Any:
        """What stands in a field: expressions, views, statements, in tuples or not."""
        if isinstance(value, tuple):
            return tuple(map(self.inner, value))
        if isinstance(value, From):
            return From(self.expression(value.start))
        if isinstance(value, Expr):
            return self.expression(value)
        return self.statement(value) if isinstance(value, Statement) else value

    def expression(self, expression: Expr) -> Expr:
        if isinstance(expression, Load) and expression.tensor in self.names:
            indices = tuple(map(self.expression, expression.indices))
            return nodes.load(self.names[expression.tensor], indices, expression.dtype)
        return rebuilt(expression, self.expression)


_NAMES = ("tensor", "out", "left", "right")
