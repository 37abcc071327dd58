"""Operations and bytes, equation by equation as if each ran alone, and piece by piece as the kernel runs them.

Both tables weigh operations as `gradc.ir.loop.count` does: additions and products 1, divisions and roots 4, elementary
functions 8; comparisons, choices and copies are free.  Equations are counted as they are written; the kernel leaves
out what multiplies by one or compares literals, and may compute a cheap equation more than once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradc.explain.costs import Cost, costs
from gradc.explain.figures import abridged, amount
from gradc.explain.kernels.fusion import Group, fusion, title
from gradc.explain.kernels.launch_plan import Plan, Step
from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.functions import FUNCTIONS, Result
from gradc.ir.index.call_operations import CALL_OPERATIONS
from gradc.ir.index.cost import bytes_moved
from gradc.ir.index.nodes import Accumulate, Assign, Call, Equation, Program, accesses_of
from gradc.ir.index.show import show_equation
from gradc.ir.loop.count import FREE, weight_of
from gradc.ir.stages import Stages

WIDEST = 56  # characters of an equation, and of a formula


@dataclass(frozen=True, slots=True)
class EquationCost:
    """What one equation costs by itself: operations and bytes as extents; `formula` is the operations as a product."""

    text: str
    operations: Size
    bytes: Size
    formula: str


def equation_costs(program: Program) -> tuple[EquationCost, ...]:
    """What every equation costs if it runs alone: it reads its operands from memory and writes its result there.

    Examples
    --------
    >>> import numpy as np
    >>> from gradc import differentiate
    >>> program = differentiate(lambda x: np.exp(x) / 2).at(np.ones(3)).inspect("value").stages.optimised
    >>> [(cost.text, str(cost.operations), str(cost.bytes)) for cost in equation_costs(program)]
    [('v1[i] = exp(x[i])', '8*x_n0', '16*x_n0'), ('v2[i] = v1[i] / 2.0', '4*x_n0', '16*x_n0')]
    """
    return tuple(
        EquationCost(
            show_equation(e), weighted_operations(program, e), bytes_moved(program, e), _product(program, e)
        )
        for e in program.equations
    )


def weighted_operations(program: Program, equation: Equation) -> Size:
    """Floating-point operations of one equation, weighted as in the counts of pieces."""
    match equation:
        case Call(outs, operation, ins):
            is_float = program.types[outs[0]].dtype.is_float
            return CALL_OPERATIONS[operation](tuple(program.types[name] for name in ins)) if is_float else 0
        case Assign() | Accumulate():
            each = _of_a_point(program, equation)
            return extents.mul(each, extents.product(equation.space))
        case _:
            return 0


def _product(program: Program, equation: Equation) -> str:
    """The operations as those of a point times the extents of the space, not multiplied out."""
    if not isinstance(equation, Assign | Accumulate):
        return _formula(weighted_operations(program, equation))
    each = _of_a_point(program, equation)
    texts = [extents.show(size) for size in equation.space if size != 1]
    factors = [f"({text})" if " " in text else text for text in texts]
    if not each or not factors:
        return ""
    return "*".join([str(each), *factors] if each > 1 else factors)


def _of_a_point(program: Program, equation: Assign | Accumulate) -> int:
    is_float = program.types[equation.out].dtype.is_float
    summed = isinstance(equation, Accumulate) or equation.reduce is not None
    operands = any(program.types[access.tensor].dtype.is_float for access in accesses_of(equation))
    if not (is_float or operands):
        return 0
    steps = (step.function for step in equation.template.tape.instructions)
    body = sum(weight_of(name) for name in steps if name not in FREE and not _is_predicate(name))
    return body + (summed and is_float)


def _is_predicate(name: str) -> bool:
    return FUNCTIONS[name].result in (Result.BOOL, Result.LOGICAL)


def show_counts(stages: Stages, numbers: Mapping[str, int]) -> str:
    """Two tables, of equations and of pieces, and what sharing loops saves.

    Parameters
    ----------
    stages : Stages
        Of any derivation.
    numbers : mapping of name to int
        The values of all extents (`gradc.ir.loop.sizes.numbers_of`).
    """
    alone = equation_costs(stages.optimised)
    pieces, groups = costs(stages, numbers), fusion(stages)
    lines = [
        f"{stages.kernel.name}: operations and bytes for {_values(stages, numbers)}",
        "",
        "Every equation by itself",
        *_equations(alone, numbers),
        "",
        "The pieces of the kernel",
        *_pieces(pieces, groups),
        "",
        *_saved(alone, pieces, numbers),
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def show_device_counts(stages: Stages, plan: Plan, numbers: Mapping[str, int]) -> str:
    """A table of equations, the launch plan of a kernel for a GPU, and what sharing loops saves.

    Parameters
    ----------
    numbers : mapping of name to int
        The values of all extents (`gradc.ir.loop.sizes.numbers_of`).
    """
    alone = equation_costs(stages.optimised)
    steps = [step for step in plan.steps if not step.kind.startswith("copy")]
    lines = [
        f"{stages.kernel.name}: operations and bytes for {_values(stages, numbers)}",
        "",
        "Every equation by itself",
        *_equations(alone, numbers),
        "",
        str(plan),
        *_saved(alone, steps, numbers),
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _values(stages: Stages, numbers: Mapping[str, int]) -> str:
    shapes = (type_.shape for type_ in stages.optimised.types.values())
    used = sorted({name for shape in shapes for size in shape for name in extents.symbols(size)})
    values = [f"{name} = {numbers[name]}" for name in used if name in numbers]
    return ", ".join(values) or "numbers alone"


def _equations(alone: Sequence[EquationCost], numbers: Mapping[str, int]) -> list[str]:
    rows = [("", "operations", "", "bytes", "")]
    for cost in alone:
        rows.append(
            (
                _cut(cost.text),
                _number(extents.evaluate(cost.operations, numbers)),
                _cut(cost.formula),
                _number(extents.evaluate(cost.bytes, numbers)),
                _formula(cost.bytes),
            )
        )
    operations, moved = _totals(alone, numbers)
    rows.append(("together", _number(operations), "", _number(moved), ""))
    head, *body, together = _aligned(rows)
    return [head, *abridged(body, "equations"), together]


def _totals(alone: Sequence[EquationCost], numbers: Mapping[str, int]) -> tuple[int, int]:
    operations = sum(extents.evaluate(cost.operations, numbers) for cost in alone)
    return operations, sum(extents.evaluate(cost.bytes, numbers) for cost in alone)


def _pieces(pieces: Sequence[Cost], groups: Sequence[Group]) -> list[str]:
    rows = [("", "operations", "", "bytes", "held in")]
    for cost, group in zip(pieces, groups, strict=True):
        if group.equations or cost.moved:
            rows.append(
                (
                    _cut(f"{group.index}  {title(group)}"),
                    _number(cost.operations),
                    _formula(cost.counts.operations),
                    _number(cost.moved),
                    f"{_number(cost.held)} bytes",
                )
            )
    operations, moved = sum(cost.operations for cost in pieces), sum(cost.moved for cost in pieces)
    rows.append(("together", _number(operations), "", _number(moved), ""))
    return _aligned(rows)


def _saved(
    alone: Sequence[EquationCost], pieces: Sequence[Cost] | Sequence[Step], numbers: Mapping[str, int]
) -> list[str]:
    operations, moved = _totals(alone, numbers)
    fused, done = sum(cost.moved for cost in pieces), sum(cost.operations for cost in pieces)
    saved = moved - fused
    if saved > 0:
        share = f"{amount(saved, 'B')} of {amount(moved, 'B')} read and written ({100 * saved / moved:.0f} %)"
        lines = [f"Sharing loops saves {share}."]
    else:
        lines = [
            f"Sharing loops saves nothing: the pieces move {amount(fused, 'B')}, equations {amount(moved, 'B')}."
        ]
    if fused:
        before = f"{operations / moved:.2g}" if moved else "-"
        lines.append(f"Operations per byte: {before} one by one, {done / fused:.2g} in pieces.")
    return lines


def _number(value: int) -> str:
    """Digits in groups of three: ``25 165 824`` is read faster than ``25165824``."""
    return f"{value:,}".replace(",", " ")


def _formula(size: Size) -> str:
    return "" if isinstance(size, int) else _cut(extents.show(size))


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 4] + " ..."


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns: numbers to the right, everything else to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if at in (1, 3) else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return lines
