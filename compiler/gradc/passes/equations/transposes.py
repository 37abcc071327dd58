"""Axes in the order in which memory is read: sums written as they are wanted, tensors stored like what they come of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Assign,
    Equation,
    Operand,
    Program,
    outputs_of,
    reads_of,
)
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


def in_order_of_operands(program: Program) -> Program:
    """Store a tensor whose operands are all read transposed in the order of these.

    Requires: `program` is valid.  Ensures: the same values; whoever reads the tensor finds them at other places.

        v[i, j] = 2 * x[j, i];  w[i] = sum[j] v[i, j] * y[j]   ->   v[i, j] = 2 * x[i, j];  w[i] = sum[j] v[j, i] * y[j]
    """
    kept = _of_fixed_order(program)
    orders: dict[str, tuple[int, ...]] = {}
    for equation in program.equations:
        order = _order_of_operands(equation)
        if order is not None and isinstance(equation, Assign) and equation.out not in kept:
            orders[equation.out] = order
    if not orders:
        return program
    types = dict(program.types)
    for name, order in orders.items():
        types[name] = replace(types[name], shape=tuple(types[name].shape[axis] for axis in order))
    equations: list[Equation] = []
    for equation in program.equations:
        if isinstance(equation, Assign) and equation.out in orders:
            equation = _stored(equation, orders[equation.out])
        if isinstance(equation, Assign | Accumulate):
            equation = replace(
                equation, operands=tuple(_read(operand, orders) for operand in equation.operands)
            )
        equations.append(equation)
    return replace(program, equations=tuple(equations), types=types)


def _of_fixed_order(program: Program) -> set[str]:
    """Tensors whose axes have a meaning: results, look-up tables, and what is read whole or is not one equation's."""
    kept = {*program.outputs, *(name for name, type_ in program.types.items() if not type_.dtype.is_float)}
    for equation in program.equations:
        if isinstance(equation, Accumulate):
            kept.add(equation.out)
        elif not isinstance(equation, Assign):
            kept.update((*reads_of(equation), *outputs_of(equation)))
    return kept


def _order_of_operands(equation: Equation) -> tuple[int, ...] | None:
    """The one order, not the usual one, in which an equation without a sum reads all tensors of its rank."""
    if not isinstance(equation, Assign) or equation.reduce is not None or equation.template.is_copy:
        return None
    axes = list(range(equation.rank))
    orders = {
        tuple(index for index in operand.indices if isinstance(index, int))
        for operand in equation.operands
        if isinstance(operand, Access) and len(operand.indices) == equation.rank > 1
    }
    order = orders.pop() if len(orders) == 1 else ()
    return order if sorted(order) == axes and list(order) != axes else None


def _stored(equation: Assign, order: tuple[int, ...]) -> Assign:
    """An equation with its indices in another order."""
    places = tuple(order.index(position) for position in range(equation.rank))
    operands = (compose_operand(operand, places) for operand in equation.operands)
    space = tuple(equation.space[position] for position in order)
    return replace(
        equation, space=space, operands=tuple(operand for operand in operands if operand is not None)
    )


def _read(operand: Operand, orders: Mapping[str, tuple[int, ...]]) -> Operand:
    """An operand that may be a tensor of another order now."""
    if not isinstance(operand, Access) or operand.tensor not in orders:
        return operand
    return Access(operand.tensor, tuple(operand.indices[axis] for axis in orders[operand.tensor]))


def _transposed(equation: Equation) -> str | None:
    """The tensor that an equation transposes, if that is all it does; it may have axes of one element besides."""
    if not isinstance(equation, Assign) or equation.reduce is not None or not equation.template.is_copy:
        return None
    (operand,) = equation.operands
    if not isinstance(operand, Access) or operand.indices == tuple(range(equation.rank)):
        return None
    places = [index for index in operand.indices if isinstance(index, int)]
    besides = set(range(equation.rank)) - set(places)
    if len(places) < len(operand.indices) or len(set(places)) < len(places):
        return None
    return operand.tensor if all(equation.space[at] == 1 for at in besides) else None


def _in_order(total: Assign, transpose: Assign) -> Assign | None:
    """The sum with the axes of its transpose."""
    (read,) = transpose.operands
    assert isinstance(read, Access)
    order = tuple(
        index for index in read.indices if isinstance(index, int)
    )  # where each axis of the sum goes
    summed = total.space[total.rank :]
    places = (*order, *range(transpose.rank, transpose.rank + len(summed)))
    operands = [compose_operand(operand, places) for operand in total.operands]
    kept = tuple(operand for operand in operands if operand is not None)
    if len(kept) < len(operands):
        return None
    space = (*transpose.space, *summed)
    return replace(total, out=transpose.out, space=space, rank=transpose.rank, operands=kept)
