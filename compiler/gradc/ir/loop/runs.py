"""How often what stands in a launch runs, all its threads together: the indices of all threads are computed at once.

Every body has a symbol, which stands for the number of its runs in what `gradc.ir.loop.count` counts.  Of a loop of
more than `TURNS` turns around others, one in the middle of a span counts for the whole span.  A condition that depends
on data counts as true, a loop over an extent that does as one turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradc.ir.loop.meaning import OPERATORS
from gradc.ir.loop.nodes import (
    Apply,
    Carry,
    Combine,
    Convert,
    Expr,
    For,
    Launch,
    Let,
    Load,
    Number,
    Statement,
    Stride,
    Update,
    Var,
    When,
    number,
)
from gradc.ir.loop.show import show_expression
from gradc.ir.loop.walk import every

TURNS = 64
THREADS = 1 << 18  # whose indices are computed at once

_WHOLE = {
    **OPERATORS,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_not": np.logical_not,
}

Known = Any  # a number, or one for every thread; None where it depends on data


def runs_of(launch: Launch, numbers: Mapping[str, int]) -> Counter[str]:
    """Find what the symbols of a launch stand for, given the values of all extents.

    The symbol of the body of a launch is the launch's name.  That of a statement in a body is the body's symbol and
    the statement's place, ``rows_1.2.0``: how often its own body runs, or how often two numbers are combined.
    """
    found: Counter[str] = Counter()
    blocks, many = int(value_of(launch.blocks, numbers)), max(1, THREADS // launch.threads)
    for first in range(0, max(blocks, 1), many):
        place = np.arange(first * launch.threads, min(first + many, blocks) * launch.threads)
        own = {launch.block: place // launch.threads, launch.thread: place % launch.threads}
        _body(launch.body, launch.name, {**numbers, **own}, np.ones(len(place), np.int64), found)
    return found


def value_of(expression: Expr, values: Mapping[str, Known]) -> Known:
    """The value of an integer or a condition where `values` say enough; None where they do not."""
    match expression:
        case Number(value):
            return value
        case Var(name):
            return values.get(name)
        case Load():
            return values.get(show_expression(expression))
        case Convert(argument):
            return value_of(argument, values)
        case Apply("select", (condition, yes, no)):
            chosen = value_of(condition, values)
            if chosen is None:
                return value_of(yes, values)
            arms = value_of(yes, values), value_of(no, values)
            return None if arms[0] is None or arms[1] is None else np.where(chosen, *arms)
        case Apply(function, arguments) if function in _WHOLE:
            given = [value_of(argument, values) for argument in arguments]
            return None if any(one is None for one in given) else _applied(function, given)
        case _:
            return None


def _applied(function: str, given: Sequence[Known]) -> Known:
    if function in ("floor_divide", "mod"):  # a division by zero is of an empty loop, and gives 0
        left, right = given
        return np.where(np.equal(right, 0), 0, _WHOLE[function](left, np.where(np.equal(right, 0), 1, right)))
    return _WHOLE[function](*given)


def _body(
    statements: Sequence[Statement],
    name: str,
    values: dict[str, Known],
    weights: np.ndarray,
    found: Counter[str],
) -> None:
    """Count a body that every thread runs as often as its weight says; nested as deep as tensors have axes."""
    found[name] += int(weights.sum())
    for at, statement in enumerate(statements):
        inside = f"{name}.{at}"
        match statement:
            case Let(scalar, value):
                values[scalar] = value_of(value, values)
            case Update(scalar) | Carry(scalar):
                values[scalar] = None
            case Combine(scalar, _, width):
                values[scalar] = None
                levels = np.log2(value_of(width, values) or 1).astype(np.int64)
                found[inside] += int((weights * levels).sum())
            case When(condition, body):
                holds = value_of(condition, values)
                here = weights if holds is None else np.where(holds, weights, 0)
                _body(body, inside, dict(values), here, found)
                values.update(_changed(body))
            case For() | Stride():
                values.update(_changed(statement.body))
                _loop(statement, inside, dict(values), weights, found)
            case _:
                pass


def _changed(body: Sequence[Statement]) -> dict[str, Known]:
    """Numbers that a body changes: what they are afterwards is not known."""
    return {found.name: None for found in every(body) if isinstance(found, Update | Carry | Combine)}


def _loop(
    loop: For | Stride, name: str, values: dict[str, Known], weights: np.ndarray, found: Counter[str]
) -> None:
    start, by = (loop.first, loop.step) if isinstance(loop, Stride) else (number(0), number(1))
    first, step, extent = (value_of(value, values) for value in (start, by, loop.extent))
    known = not any(value is None for value in (first, step, extent))
    turns = np.maximum(-((first - extent) // step), 0) if known else np.array(1)
    if not any(isinstance(inner, For | Stride | When) for inner in loop.body):
        _body(loop.body, name, {**values, loop.index: None}, weights * turns, found)
        return
    most = int(np.max(turns, initial=0))
    spans = max(1, min(most, TURNS))
    for span in range(spans):
        begin, end = most * span // spans, most * (span + 1) // spans
        index = first + (begin + end - 1) // 2 * step if known else None
        here = weights * np.clip(turns - begin, 0, end - begin)
        _body(loop.body, name, {**values, loop.index: index}, here, found)
