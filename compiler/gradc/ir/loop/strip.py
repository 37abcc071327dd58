"""Loops over strips: how to know one, for those that count what it does."""

from __future__ import annotations

from dataclasses import dataclass

from gradc.ir.loop.nodes import Apply, Expr, For, Let, Var


@dataclass(frozen=True, slots=True)
class Strip:
    """``for strip < ...: start = first + strip * lanes; width = minimum(lanes, many - strip * lanes); ...``."""

    first: str
    start: str
    width: str
    lanes: Expr
    many: str


def strip_of(loop: For) -> Strip | None:
    """What a loop over strips calls its parts (`gradc.passes.loops.strips`); None for other loops."""
    match loop.body[:2]:
        case (
            Let(start, Apply("add", (Var(first), Apply("mul", (Var(index), lanes))))),
            Let(width, Apply("minimum", (_, Apply("sub", (Var(many), _))))),
        ) if index == loop.index:
            return Strip(first, start, width, lanes, many)
        case _:
            return None
