"""Solving the target of an accumulation for loop indices: ``u = p + i`` for ``p = u - i``.

An index is solved for where it occurs in one axis of the target alone, with coefficient 1 or -1; divisions never
arise.  The solved index leaves its old range, so operands that it indexes are padded with zeros on both sides:
no element is read out of range and no predicate is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Affine,
    Index,
    IndexValue,
    Lookup,
    Operand,
    TensorType,
    affine,
    terms_of,
)
from gradc.ir.index.rewrite import map_operand
from gradc.ir.index.templates import Argument, Source, Step, Template

Types = Mapping[str, TensorType]

# The gather may visit this many times the points of the accumulation.
DEARER = 4
# What an extent unknown at compile time counts as; a smaller one where it is taken off another, as a window is.
UNKNOWN, WINDOW = 64, 8


@dataclass(frozen=True, slots=True)
class Padded:
    """A loop index solved for: its value is ``position - before`` on an axis padded by `before` and `after`."""

    position: int | Affine
    before: Size
    after: Size


@dataclass(frozen=True, slots=True)
class Solution:
    """The space of the gather, its first indices those of the target, and what the loop indices are in it."""

    space: tuple[Size, ...]
    renamed: Mapping[int, int]
    padded: Mapping[int, Padded]


def solve(equation: Accumulate, types: Types) -> Solution | None:
    """Return the gather form of an accumulation's target; None where there is none or it is too dear."""
    shape = types[equation.out].shape
    renamed: dict[int, int] = {}
    sums: dict[int, Affine] = {}
    for axis, (index, size) in enumerate(zip(equation.target, shape, strict=True)):
        if isinstance(index, int):
            if index in renamed or equation.space[index] != size:
                return None
            renamed[index] = axis
        elif isinstance(index, Affine) and len(index.terms) > 1:
            sums[axis] = index
        elif not (isinstance(index, Affine) and not index.terms and index.offset == 0 and size == 1):
            return None
    chosen = _choose(equation, types, sums) if sums else {}
    if chosen is None:
        return None
    taken = {*renamed, *chosen.values()}
    rest = [position for position in range(len(equation.space)) if position not in taken]
    renamed |= {position: at for at, position in enumerate(rest, len(shape))}
    space = (*shape, *(equation.space[position] for position in rest))
    padded = {p: _padded(equation, sums[axis], axis, p, shape[axis], renamed) for axis, p in chosen.items()}
    return Solution(space, renamed, padded)


def operand_in(solution: Solution, operand: Operand) -> Operand:
    """Write an operand in the gather's indices; the tensors it reads have been padded."""

    def change(index: int | Affine) -> int | Affine:
        if isinstance(index, int):
            return solution.padded[index].position if index in solution.padded else solution.renamed[index]
        terms = {solution.renamed[position]: coefficient for coefficient, position in index.terms}
        return affine(terms, index.offset)

    return map_operand(operand, change)


# --- choosing -----------------------------------------------------------------------------------------------


def _choose(equation: Accumulate, types: Types, sums: Mapping[int, Affine]) -> dict[int, int] | None:
    """Choose for every sum the loop index whose range is nearest to that of the axis."""
    shape = types[equation.out].shape
    windows = {name for size in equation.space for name in _subtracted(size)}
    chosen: dict[int, int] = {}
    ratio = 1.0
    for axis, index in sums.items():
        elsewhere = {p for at, other in enumerate(equation.target) if at != axis for p in _positions(other)}
        options = [
            (_count(shape[axis], windows) / _count(equation.space[p], windows), p)
            for coefficient, p in index.terms
            if abs(coefficient) == 1 and p not in elsewhere and _may_be_padded(equation, p, types)
            and _covered(equation, index, coefficient, p, shape[axis])
        ]  # fmt: skip
        if not options:
            return None
        best, chosen[axis] = min(options)
        ratio *= best
    return chosen if ratio <= DEARER else None


def _subtracted(size: Size) -> Iterator[str]:
    if not isinstance(size, int):
        for monomial, coefficient in size.terms:
            if coefficient < 0:
                yield from monomial


def _count(size: Size, windows: set[str]) -> int:
    values = {name: WINDOW if name in windows else UNKNOWN for name in extents.symbols(size)}
    return max(1, extents.evaluate(size, values))


def _covered(equation: Accumulate, index: Affine, coefficient: int, solved: int, size: Size) -> bool:
    before, after = _widths(equation, index, coefficient, solved, size)
    return extents.is_nonnegative(before) is True and extents.is_nonnegative(after) is True


def _may_be_padded(equation: Accumulate, solved: int, types: Types) -> bool:
    """Whether zeros in the operands that `solved` indexes make the body zero, and they can have them."""
    vanishes = False
    for number, operand in enumerate(equation.operands):
        if not _mentions(operand, solved):
            continue
        if not isinstance(operand, Access) or not types[operand.tensor].dtype.is_float:
            return False
        for index, size in zip(operand.indices, types[operand.tensor].shape, strict=True):
            if solved in _positions(index) and (index != solved or size != equation.space[solved]):
                return False
        vanishes = vanishes or _vanishes_with(equation.template, number)
    return vanishes


def _mentions(operand: Operand, position: int) -> bool:
    match operand:
        case Access(_, indices):
            return any(position in _positions(index) for index in indices)
        case IndexValue(index):
            return position in _positions(index)
        case _:
            return False


def _positions(index: Index) -> tuple[int, ...]:
    if isinstance(index, Lookup):
        return tuple(position for inner in index.indices for position in _positions(inner))
    return tuple(position for _, position in terms_of(index)[0])


def _vanishes_with(template: Template, operand: int) -> bool:
    """Whether the body is a product with this operand as a factor: zero with it, if all else is finite."""
    zeros: list[bool] = []

    def is_zero(source: Source) -> bool:
        match source:
            case Argument(position):
                return position == operand
            case Step(position):
                return zeros[position]
            case _:
                return False

    for step in template.tape.instructions:
        first, *others = map(is_zero, step.sources)
        match step.function:
            case "mul":
                zeros.append(first or others[0])
            case "neg" | "copy":
                zeros.append(first)
            case "div":
                zeros.append(first and not others[0])
            case _:
                zeros.append(False)
    return is_zero(template.tape.result)


# --- padding ------------------------------------------------------------------------------------------------


def _widths(
    equation: Accumulate, index: Affine, coefficient: int, solved: int, size: Size
) -> tuple[Size, Size]:
    """Zeros before and after the range of a solved index; one too many, so that empty windows have none.

    ``u = p + t + c`` with ``t`` between `low` and `high` gives ``-high - c <= p <= size - 1 - low - c``.
    """
    low: Size = 0
    high: Size = 0
    for factor, position in index.terms:
        if position != solved:
            reach = extents.mul(factor, equation.space[position])
            low, high = (low + reach, high) if factor < 0 else (low, high + reach)
    extent = equation.space[solved]
    if coefficient > 0:
        return high + index.offset, size - extent - index.offset - low + 1
    return size - index.offset - low, high + index.offset - extent + 1


def _padded(
    equation: Accumulate, index: Affine, axis: int, solved: int, size: Size, renamed: Mapping[int, int]
) -> Padded:
    sign = next(factor for factor, position in index.terms if position == solved)
    before, after = _widths(equation, index, sign, solved, size)
    terms = {axis: sign}
    for factor, position in index.terms:
        if position != solved:
            at = renamed[position]
            terms[at] = terms.get(at, 0) - sign * factor
    return Padded(affine(terms, before - extents.mul(sign, index.offset)), before, after)
