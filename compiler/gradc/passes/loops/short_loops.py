"""Which loops spend their time where LLVM finds no vectors: around inner loops, and in short ones."""

from __future__ import annotations

from collections.abc import Sequence

from gradc.ir.loop.nodes import For, Number, Statement
from gradc.ir.loop.walk import expressions, subexpressions
from gradc.passes.loops.work import cost

SHORT = 16  # iterations of a loop that does not fill vectors
_ASSUMED = 32  # iterations of a loop of unknown extent


def fill_no_vectors(body: Sequence[Statement]) -> bool:
    """Whether a body has loops, and more than half of its operations are not in long innermost ones."""
    loops = any(isinstance(statement, For) for statement in body)
    total, vector = _operations(body)
    return loops and 2 * vector < total


def _operations(body: Sequence[Statement]) -> tuple[int, int]:
    """The operations of a body, and those of them in long innermost loops."""
    total = vector = 0
    for statement in body:
        if not isinstance(statement, For):
            total += 1 + sum(cost(e) for value in expressions(statement) for e in subexpressions(value))
            continue
        inner, filled = _operations(statement.body)
        times = int(statement.extent.value) if isinstance(statement.extent, Number) else _ASSUMED
        innermost = not any(isinstance(found, For) for found in statement.body)
        total += times * inner
        vector += times * (inner if innermost and times >= SHORT else filled)
    return total, vector
