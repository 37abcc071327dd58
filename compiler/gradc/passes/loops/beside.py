"""Rows that a loop fills but for a few zeros: it stores these too, and the rows are not cleared before.

    for i < many: y[first + i, 0] = a;  y[first + i, 2] = b
    ->   clear the rows unless they have 3 elements;  for i < many: ...;  y[first + i, 1] = 0

How many elements a row has is known when the kernel runs.  A Jacobian of short rows is written once, not twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import prod

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import (
    Allocate,
    Apply,
    Clear,
    Expr,
    For,
    Kernel,
    Let,
    Number,
    Statement,
    Store,
    Tasks,
    Var,
)
from gradc.ir.loop.walk import every, names_in
from gradc.ir.types import DType

MOST = 64  # elements of a row
SHARE = 2  # at least one in so many of them is computed

Place = tuple[int, ...]


def without_clearing(kernel: Kernel) -> Kernel:
    """Store the zeros of rows that a loop writes all other elements of.

    Requires: `kernel` is valid.  Ensures: the same results, bit for bit.
    """
    dtypes = {s.tensor: s.dtype for s in every(kernel.body) if isinstance(s, Allocate)}
    return replace(kernel, body=tuple(_filled(statement, dtypes) for statement in kernel.body))


def _filled(statement: Statement, dtypes: dict[str, DType]) -> Statement:
    if not isinstance(statement, Tasks):
        return statement
    body = list(statement.body)
    for at, cleared in enumerate(body):
        if not isinstance(cleared, Clear) or cleared.first is None or cleared.tensor not in dtypes:
            continue
        users = [n for n in range(len(body)) if n != at and cleared.tensor in _touched_within(body[n])]
        if len(users) != 1 or users[0] < at:
            continue
        loop = body[users[0]]
        places = _places(loop, cleared)
        if places is None:
            continue
        extents = tuple(max(axis) + 1 for axis in zip(*places, strict=True))
        if prod(extents) <= min(MOST, SHARE * len(places)):
            assert isinstance(loop, For)
            missing = [p for p in product(*map(range, extents)) if p not in places]
            body[users[0]] = _with_zeros(loop, cleared.tensor, missing, dtypes[cleared.tensor])
            body[at] = replace(cleared, unless=extents)
    return replace(statement, body=tuple(body))


def _touched_within(statement: Statement) -> set[str]:
    """The names in a statement and in those inside it."""
    return names_in((statement,))


def _places(loop: Statement, cleared: Clear) -> set[Place] | None:
    """The elements of a row that each iteration stores; None where something else is done, or with other rows."""
    row = _row(loop, cleared)
    if row is None or not isinstance(loop, For):
        return None
    found: set[Place] = set()
    for statement in loop.body:
        match statement:
            case Store(tensor, (Var(name), *columns), _) if tensor == cleared.tensor:
                place = tuple(int(at.value) for at in columns if isinstance(at, Number))
                if name != row or len(place) < len(columns) or not place:
                    return None
                found.add(place)
            case _ if cleared.tensor in _touched_within(statement):
                return None
            case _:
                pass
    return found or None


def _row(loop: Statement, cleared: Clear) -> str | None:
    """The variable that runs over the cleared rows, where the loop does."""
    match loop:
        case For(index, many, (Let(name, Apply("add", (first, Var(step)))), *_)):
            return name if step == index and (first, many) == (cleared.first, cleared.many) else None
        case _:
            return None


def _with_zeros(loop: For, tensor: str, places: Sequence[Place], dtype: DType) -> For:
    begin = loop.body[0]
    assert isinstance(begin, Let)
    row: Expr = Var(begin.name, DType.INT64)
    zeros = [Store(tensor, (row, *map(nodes.number, place)), Number(0.0, dtype)) for place in places]
    return replace(loop, body=(*loop.body, *zeros))


__all__ = ["without_clearing"]
