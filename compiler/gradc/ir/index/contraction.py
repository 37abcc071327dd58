"""Recognising sums of products of two tensors: which index plays which part."""

from __future__ import annotations

from dataclasses import dataclass

from gradc.ir.index.nodes import Access, Assign, Equation


@dataclass(frozen=True, slots=True)
class Contraction:
    """``out[batch, m, n] = sum[k] a[batch, m, k] * b[batch, k, n]``, up to the order of axes.

    Each field holds positions in the equation's space.
    """

    batch: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    summed: tuple[int, ...]


def classify(equation: Equation) -> Contraction | None:
    """The parts that the indices play, or None if the equation is no plain sum of products of two accesses."""
    if not isinstance(equation, Assign) or equation.reduce is None or equation.reduce.op != "sum":
        return None
    if equation.template.name != "mul" or not all(
        isinstance(operand, Access) for operand in equation.operands
    ):
        return None
    left, right = (_bare(operand) for operand in equation.operands if isinstance(operand, Access))
    if left is None or right is None:
        return None
    both, out = left & right, set(range(equation.rank))
    summed = set(range(equation.rank, len(equation.space)))
    if summed - both or (left | right) != out | summed:
        return None
    parts = (both & out, (left - both) & out, (right - both) & out, summed)
    return Contraction(*(tuple(sorted(part)) for part in parts))


def _bare(access: Access) -> set[int] | None:
    positions = [index for index in access.indices if isinstance(index, int)]
    distinct = len(set(positions)) == len(positions) == len(access.indices)
    return set(positions) if distinct else None


SMALL = 1024


def is_matrix_product(equation: Equation) -> bool:
    """Whether a library product is worth calling: one row, one column and one summed index, not statically small."""
    parts = classify(equation)
    if parts is None or not isinstance(equation, Assign):
        return False
    if (
        len(parts.summed) != 1
        or len(parts.rows) > 1
        or len(parts.columns) > 1
        or not (parts.rows or parts.columns)
    ):
        return False
    if parts.batch != tuple(range(len(parts.batch))):
        return False
    points = 1
    for size in equation.space:
        points *= size if isinstance(size, int) else SMALL
    return points > SMALL
