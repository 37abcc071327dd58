"""How much a loop does: what decides into how many parts it is shared out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import Apply, Contract, Expr, For, Load
from gradc.ir.loop.rewrite import substituted
from gradc.ir.loop.strip import strip_of
from gradc.ir.loop.walk import expressions, subexpressions

# Operations that a function counts for; one that is not here is a call.
_COSTS: dict[str, int] = {
    **dict.fromkeys(("add", "sub", "mul", "neg", "select", "copy", "maximum", "minimum", "abs"), 1),
    **dict.fromkeys(("div", "sqrt", "reciprocal"), 4),
}
_CALL = 20
_LOOKUP = 20  # an element anywhere in memory


def work_of(loop: For) -> Expr:
    """The operations of one iteration, as an expression in the extents; of blocks, those of a whole one."""
    here, loops = 0, []
    for statement in loop.body:
        if isinstance(statement, For):
            loops.append(nodes.apply("mul", statement.extent, work_of(statement)))
            continue
        if isinstance(statement, Contract):
            loops.append(product(statement.extents))
            continue
        here += 1
        for expression in expressions(statement):
            here += sum(cost(found) for found in subexpressions(expression))
    whole, blocks = total((nodes.number(here), *loops)), strip_of(loop)
    if blocks is None:
        return whole
    limits = {} if blocks.limit is None else {blocks.limit.name: blocks.limit.columns}
    return substituted(whole, {blocks.width: blocks.lanes, **limits})


def cost(expression: Expr) -> int:
    """The operations that a part of an expression counts for, those of its own parts left out."""
    if isinstance(expression, Load):
        wrapped = (isinstance(at, Apply) and at.function == "select" for at in expression.indices)
        return _LOOKUP if any(wrapped) else 1
    if not isinstance(expression, Apply) or not expression.dtype.is_float:
        return 0
    return _COSTS.get(expression.function, _CALL)


def product(sizes: Sequence[Expr]) -> Expr:
    """The product of extents."""
    found: Expr = nodes.number(1)
    for size in sizes:
        found = nodes.apply("mul", found, size)
    return found


def total(values: Iterator[Expr] | Sequence[Expr]) -> Expr:
    """The sum of extents."""
    found: Expr = nodes.number(0)
    for value in values:
        found = nodes.apply("add", found, value)
    return found
