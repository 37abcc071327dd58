"""Tensors without the axes of one element that the user kept.

Equal equations look alike then, and it is known how far apart the other elements lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Assemble,
    Assign,
    Call,
    Equation,
    Index,
    Operand,
    Program,
    accesses_of,
    fixed,
    outputs_of,
    reads_of,
)
from gradc.ir.index.rewrite import compose_operand


def without_unit_axes(program: Program) -> Program:
    """Drop the axes of extent 1 of tensors that only equations make and read.

    Requires: `program` is valid.  Ensures: the same values.

        v[i, j] = sum[k] x[i, k] with j < 1;  w[i, k] = x[i, k] / v[i, 0]
        ->   v[i] = sum[k] x[i, k];  w[i, k] = x[i, k] / v[i]
    """
    whole = {*program.outputs}
    for equation in program.equations:
        if isinstance(equation, Call | Assemble):
            whole.update((*reads_of(equation), *outputs_of(equation)))
        else:
            whole.update(set(reads_of(equation)) - {access.tensor for access in accesses_of(equation)})
    kept: dict[str, tuple[int, ...]] = {}
    for equation in program.equations:
        if isinstance(equation, Assign) and equation.out not in whole:
            axes = tuple(axis for axis in range(equation.rank) if equation.space[axis] != 1)
            if len(axes) < equation.rank:
                kept[equation.out] = axes
    if not kept:
        return program
    types = dict(program.types)
    for name, axes in kept.items():
        types[name] = replace(types[name], shape=tuple(types[name].shape[axis] for axis in axes))
    return replace(program, equations=tuple(_equation(e, kept) for e in program.equations), types=types)


def _equation(equation: Equation, kept: Mapping[str, tuple[int, ...]]) -> Equation:
    if not isinstance(equation, Assign | Accumulate):
        return equation
    operands = tuple(_read(operand, kept) for operand in equation.operands)
    if not isinstance(equation, Assign) or equation.out not in kept:
        return replace(equation, operands=operands)
    axes = (*kept[equation.out], *range(equation.rank, len(equation.space)))
    places: tuple[Index, ...] = tuple(
        axes.index(at) if at in axes else fixed(0) for at in range(len(equation.space))
    )
    moved = tuple(compose_operand(operand, places) for operand in operands)
    return replace(
        equation,
        space=tuple(equation.space[at] for at in axes),
        rank=len(kept[equation.out]),
        operands=tuple(operand for operand in moved if operand is not None),
    )


def _read(operand: Operand, kept: Mapping[str, tuple[int, ...]]) -> Operand:
    """An operand that may be a tensor without its unit axes now."""
    if not isinstance(operand, Access) or operand.tensor not in kept:
        return operand
    return Access(operand.tensor, tuple(operand.indices[axis] for axis in kept[operand.tensor]))
