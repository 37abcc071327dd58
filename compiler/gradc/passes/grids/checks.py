"""Look-ups that loops compute, checked on the device: a launch cannot raise, so it leaves word.

for i < n:                                 fault = 0
let t = f(i)                           for i < n:
check t < m                                let t = f(i)
y[i] = x[t]                  ->            let is_inside = -m <= t and t < m
fault = max(fault, 0 if is_inside else 1)
let t_inside = t if is_inside else 0
y[i] = x[t_inside]
fault_cell[0] = fault
check fault_cell < 1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import Allocate, CheckIndices, Expr, For, Kernel, Let, Statement, Store, Update, Var
from gradc.ir.loop.rewrite import substituted, with_values
from gradc.ir.loop.walk import every, touched
from gradc.ir.names import NameSupply
from gradc.ir.types import DType


def with_checks_behind(kernel: Kernel) -> Kernel:
    """Replace the checks of single indices by one behind the loop that computes them.

    Requires: `kernel` is valid.  Ensures: it refuses the same arguments, and reads nothing out of range.
    """
    arrays = {p.name for p in kernel.parameters if p.rank}
    arrays |= {s.tensor for s in kernel.body if isinstance(s, Allocate)}
    arrays |= {name for s in kernel.body for name in getattr(s, "outs", ())}
    names = {name for statement in every(kernel.body) for name in touched(statement)}
    supply = NameSupply((*names, *(p.name for p in kernel.parameters), *kernel.results, kernel.name))
    dtypes = {s.name: nodes.var(s.name, s.value.dtype) for s in every(kernel.body) if isinstance(s, Let)}
    dtypes |= {p.name: nodes.var(p.name, p.dtype) for p in kernel.parameters if not p.rank}
    body: list[Statement] = []
    for at, statement in enumerate(kernel.body):
        checks = [s for s in every((statement,)) if isinstance(s, CheckIndices) and s.tensor not in arrays]
        if not checks:
            body.append(statement)
            continue
        fault = supply.fresh("fault")
        body.append(Let(fault, nodes.number(0)))
        if isinstance(statement, For):
            body.append(_checked(statement, dtypes, fault, supply))
            body += _behind(fault, supply)
            continue
        made, inside = _check(checks[0], dtypes[checks[0].tensor], fault, supply)
        rest = _substituted(kernel.body[at + 1 :], {checks[0].tensor: inside})
        return with_checks_behind(replace(kernel, body=(*body, *made, *_behind(fault, supply), *rest)))
    return replace(kernel, body=tuple(body))


def _behind(fault: str, names: NameSupply) -> list[Statement]:
    cell = names.fresh(f"{fault}_cell")
    one = nodes.number(1)
    return [
        Allocate(cell, DType.INT64, (one,)),
        Store(cell, (nodes.number(0),), nodes.var(fault)),
        CheckIndices(cell, one),
    ]


def _checked(loop: For, dtypes: Mapping[str, Var], fault: str, names: NameSupply) -> For:
    body: list[Statement] = []
    inside: dict[str, Expr] = {}
    for original in loop.body:
        (statement,) = _substituted((original,), inside)
        if isinstance(statement, For):
            body.append(_checked(statement, dtypes, fault, names))
        elif isinstance(statement, CheckIndices):
            made, value = _check(statement, dtypes[statement.tensor], fault, names)
            inside[statement.tensor] = value
            body += made
        else:
            body.append(statement)
    return replace(loop, body=tuple(body))


def _check(check: CheckIndices, given: Var, fault: str, names: NameSupply) -> tuple[list[Statement], Var]:
    """Note whether the index `given` is out of range, and give it a place in range."""
    index, zero = nodes.convert(given, DType.INT64), nodes.number(0)
    is_inside, inside = names.fresh("is_inside"), names.fresh(f"{check.tensor}_inside")
    low = nodes.apply("ge", index, nodes.apply("sub", zero, check.extent))
    known = nodes.var(is_inside, DType.BOOL)
    made = [
        Let(is_inside, nodes.apply("logical_and", low, nodes.apply("lt", index, check.extent))),
        Update(fault, "max", nodes.apply("select", known, zero, nodes.number(1))),
        Let(inside, nodes.apply("select", known, given, nodes.number(0, given.dtype))),
    ]
    return made, nodes.var(inside, given.dtype)


def _substituted(statements: Sequence[Statement], values: dict[str, Expr]) -> tuple[Statement, ...]:
    if not values:
        return tuple(statements)

    def changed(statement: Statement) -> Statement:
        if isinstance(statement, For):
            return For(
                statement.index,
                substituted(statement.extent, values),
                tuple(changed(inner) for inner in statement.body),
            )
        return with_values(statement, lambda value: substituted(value, values))

    return tuple(changed(statement) for statement in statements)
