"""Recognising sums of products of two tensors: which index plays which part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradc.ir.index.nodes import Access, Accumulate, Assign, Equation, Index, Lookup, terms_of
from gradc.ir.names import INDEX_NAMES
from gradc_runtime.contraction import Roles, positions, roles_of


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
LETTERS = "".join(sorted(name for name in INDEX_NAMES if len(name) == 1))


def is_matrix_product(equation: Equation) -> bool:
    """Whether a library product is worth calling: one row, one column and one summed index, not statically small.

    A matrix times a vector is not: its loops run as fast as memory is read, and fuse with what is around them.
    """
    parts = classify(equation)
    if parts is None or parts.batch or not isinstance(equation, Assign):
        return False
    if not len(parts.rows) == len(parts.columns) == len(parts.summed) == 1:
        return False
    points = 1
    for size in equation.space:
        points *= size if isinstance(size, int) else SMALL
    return points > SMALL


# --- contractions at affine positions -----------------------------------------------------------------------

FUSED = 128  # values of two groups of indices: a smaller product is better off in the loops around it


@dataclass(frozen=True, slots=True)
class Reading:
    """Where a contraction writes and reads, in the text form of `gradc_runtime.contraction`."""

    target: str
    first: str
    second: str


def is_contraction(equation: Equation) -> bool:
    """Whether the runtime's contraction is worth calling: rows, columns and summed indices, not statically small."""
    parts = roles(equation)
    if parts is None or not isinstance(equation, Assign | Accumulate):
        return False
    if isinstance(equation, Assign) and (equation.reduce is None or equation.reduce.op != "sum"):
        return False
    rows, columns, summed = (
        _static_count(equation, group) for group in (parts.rows, parts.columns, parts.summed)
    )
    smallest = sorted((rows, columns, summed))
    if smallest[0] * smallest[1] <= FUSED:
        return False
    return rows * columns * summed > SMALL


def roles(equation: Equation) -> Roles | None:
    """What the indices of a contraction do; None for other equations."""
    text = reading(equation)
    if text is None:
        return None
    reads = [positions(part) for part in (text.target, text.first, text.second)]
    return roles_of(reads, isinstance(equation, Accumulate))


def reading(equation: Equation) -> Reading | None:
    """The positions of a product of two accesses, or None where there is no text for them.

    An index of one value is always 0; it has no letter.
    """
    if not isinstance(equation, Assign | Accumulate) or equation.template.name != "mul":
        return None
    running = [LETTERS[at] for at, size in enumerate(equation.space[: len(LETTERS)]) if size != 1]
    if len(running) < 3 or len(equation.space) > len(LETTERS):  # a row, a column and a summed index
        return None
    accesses = [operand for operand in equation.operands if isinstance(operand, Access)]
    if len(accesses) != 2:
        return None
    target = equation.target if isinstance(equation, Accumulate) else tuple(range(equation.rank))
    reads = (target, accesses[0].indices, accesses[1].indices)
    texts = [_positions(indices, running) for indices in reads]
    used = set("".join(text for text in texts if text is not None)) & set(LETTERS)
    if None in texts or used != set(running):
        return None
    return Reading(*(text or "" for text in texts))


def _positions(indices: tuple[Index, ...], running: Sequence[str]) -> str | None:
    words: list[str] = []
    for index in indices:
        if isinstance(index, Lookup):
            return None
        terms, offset = terms_of(index)
        terms = tuple((c, LETTERS[at]) for c, at in terms if LETTERS[at] in running)
        if not isinstance(offset, int) or offset < 0 or any(c <= 0 for c, _ in terms):
            return None
        word = "+".join(f"{c if c != 1 else ''}{letter}" for c, letter in terms)
        words.append((word + (f"+{offset}" if offset else "")).removeprefix("+") or "0")
    return " ".join(words)


def _static_count(equation: Assign | Accumulate, letters: str) -> int:
    count = 1
    for letter in letters:
        size = equation.space[LETTERS.index(letter)]
        count *= size if isinstance(size, int) else SMALL
    return count
