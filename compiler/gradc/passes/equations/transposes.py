"""Sums written with their axes in the order that is wanted, instead of transposed afterwards."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from gradc.ir.index.nodes import Access, Assign, Equation, Program, reads_of
from gradc.ir.index.rewrite import compose_operand


def without_transposes(program: Program) -> Program:
    """Let a sum that is only read by a transpose have its axes in the transpose's order.

    Requires: `program` is valid.  Ensures: the same values; a product of matrices is stored once.

        v[i, j] = sum[k] a[i, k] * b[k, j];  w[i, j] = v[j, i]   ->   w[i, j] = sum[k] a[j, k] * b[k, i]
    """
    readers = Counter(name for equation in program.equations for name in reads_of(equation))
    readers.update(program.outputs)
    sums = {e.out: e for e in program.equations if isinstance(e, Assign) and e.reduce is not None}
    written: dict[str, Assign] = {}  # by the name of the sum: what takes its place
    copies: set[str] = set()
    for equation in program.equations:
        source = _transposed(equation)
        if source is None or readers[source] != 1 or source not in sums:
            continue
        assert isinstance(equation, Assign)
        found = _in_order(sums[source], equation)
        if found is not None and program.types[source].dtype is program.types[equation.out].dtype:
            written[source] = found
            copies.add(equation.out)
    if not written:
        return program
    equations = tuple(
        written.get(equation.out, equation) if isinstance(equation, Assign) else equation
        for equation in program.equations
        if not (isinstance(equation, Assign) and equation.out in copies)
    )
    types = {name: type_ for name, type_ in program.types.items() if name not in written}
    return replace(program, equations=equations, types=types)


def _transposed(equation: Equation) -> str | None:
    """The tensor that an equation transposes, if that is all it does."""
    if not isinstance(equation, Assign) or equation.reduce is not None or not equation.template.is_copy:
        return None
    (operand,) = equation.operands
    if not isinstance(operand, Access) or sorted(map(str, operand.indices)) != sorted(
        map(str, range(equation.rank))
    ):
        return None
    return operand.tensor if operand.indices != tuple(range(equation.rank)) else None


def _in_order(total: Assign, transpose: Assign) -> Assign | None:
    """The sum with the axes of its transpose."""
    (read,) = transpose.operands
    assert isinstance(read, Access)
    order = tuple(
        index for index in read.indices if isinstance(index, int)
    )  # where each axis of the sum goes
    places = (*order, *range(total.rank, len(total.space)))
    space = list(total.space)
    for axis, place in enumerate(order):
        space[place] = total.space[axis]
    operands = [compose_operand(operand, places) for operand in total.operands]
    kept = tuple(operand for operand in operands if operand is not None)
    if len(kept) < len(operands):
        return None
    return replace(total, out=transpose.out, space=tuple(space), operands=kept)
