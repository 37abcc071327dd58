"""Loops over strips and over blocks: how to know one, for those that count what it does."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gradc.ir.loop.nodes import Apply, Expr, For, Let, Var, apply, number, var

BLOCK_ROWS = 128  # of a block at least: what all blocks multiply by is packed again for each


@dataclass(frozen=True, slots=True)
class Limit:
    """How many columns a block has whose rows a mask ends: as many as there are rows up to its end, at most `columns`.

    With `begins`, the first block has all of them.
    """

    name: str
    columns: Expr
    begins: bool


@dataclass(frozen=True, slots=True)
class Strip:
    """``for strip < ...: start = first + strip * lanes; width = minimum(lanes, many - strip * lanes); ...``.

    Blocks of all indices of a loop are such strips, with 0 for `first` and the loop's extent for `many`.
    """

    first: Expr
    start: str
    width: str
    lanes: Expr
    many: Expr
    limit: Limit | None = None


def strip_of(loop: For) -> Strip | None:
    """What a loop over strips calls its parts (`gradc.passes.loops.strips`); None for other loops."""
    match loop.body[:2]:
        case (
            Let(start, Apply("add", (Var() as first, Apply("mul", (Var(index), lanes))))),
            Let(width, Apply("minimum", (_, Apply("sub", (Var() as many, _))))),
        ) if index == loop.index:
            found = Strip(first, start, width, lanes, many)
        case (
            Let(start, Apply("mul", (Var(index), lanes))),
            Let(width, Apply("minimum", (_, Apply("sub", (many, Var(again)))))),
        ) if index == loop.index and again == start:
            found = Strip(number(0), start, width, lanes, many)
        case _:
            return None
    end = apply("add", var(start), var(width))
    match loop.body[2:3]:
        case (Let(name, Apply("minimum" | "select" as function, (*_, columns, last))),) if last is end:
            return replace(found, limit=Limit(name, columns, function == "select"))
        case _:
            return found
