"""Contractions: sums of products of two tensors read at affine positions, what their indices do, and their meaning.

A matrix product, a batch of them, a convolution, and both gradients of a convolution are contractions:

    y[i, j, k, l] = sum[p, q, r] x[i, j + p, k + q, r] * w[p, q, r, l]

The positions are written as text: ``"i j+p k+q r"``.  Extents come in alphabetical order of the letters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np

Array = Any

Position: TypeAlias = tuple[tuple[tuple[int, str], ...], int]
"""Where along an axis: the terms (coefficient, letter), and an offset."""


@dataclass(frozen=True, slots=True)
class Roles:
    """What each index of a contraction does, as letters.

    For one value of the `sequential` indices the rest is a matrix product for every value of the `batch`
    indices: no two elements of it are the same element of the result.
    """

    sequential: str
    batch: str
    rows: str
    columns: str
    summed: str
    swapped: bool
    """Whether the right operand gives the rows: the last axis of the result runs along the columns."""

    @property
    def order(self) -> str:
        """All letters, group by group."""
        return self.sequential + self.batch + self.rows + self.columns + self.summed


_TERM = re.compile(r"([+-]?)(?:(\d*)([a-z])|(\d+))")
_WORD = re.compile(rf"(?:{_TERM.pattern})+")


@cache
def positions(text: str) -> tuple[Position, ...]:
    """Read ``"i 2j+p k+1"``: one position for each axis.

    Raises
    ------
    ValueError
        A word is no sum of letters with factors and of whole numbers.
    """
    found: list[Position] = []
    for word in text.split():
        if not _WORD.fullmatch(word):
            raise ValueError(f"{word!r} in {text!r} is no position: write i, 2j+p or k+1")
        terms: list[tuple[int, str]] = []
        offset = 0
        for sign, factor, letter, constant in _TERM.findall(word):
            unit = -1 if sign == "-" else 1
            if letter:
                terms.append((unit * int(factor or 1), letter))
            else:
                offset += unit * int(constant)
        found.append((tuple(terms), offset))
    return tuple(found)


def roles_of(reads: Sequence[Sequence[Position]], add: bool) -> Roles | None:
    """What the indices do; None where this is no contraction, or has no rows, columns or summed indices.

    `reads` are the positions of target, left and right.  Without `add` every axis of the target is an index of its own.
    """
    target = reads[0]
    out, first, second = map(_letters, reads)
    summed = (first & second) - out
    if (first | second) != out | summed:
        return None
    sequential = _colliding(target)
    if sequential is None or (sequential and not add):
        return None
    free = out - sequential
    batch, rows, columns = free & first & second, (free & first) - second, (free & second) - first
    if not (rows and columns and summed):
        return None
    swapped = _is_swapped(reads, rows, columns)
    if swapped:
        rows, columns = columns, rows
    left = reads[2] if swapped else reads[1]
    ranked = _ranks(target)

    def joined(group: set[str]) -> str:
        return "".join(sorted(group, key=ranked.index))

    last_group, of_left = "".join(sorted(summed)), _ranks(left)
    in_order = "".join(sorted(rows, key=of_left.index))  # rows are written one by one, but read together
    return Roles(joined(sequential), joined(batch), in_order, joined(columns), last_group, swapped)


def _is_swapped(reads: Sequence[Sequence[Position]], rows: set[str], columns: set[str]) -> bool:
    """Whether the right operand should give the rows.

    Columns are neighbours in the result, unless what runs along memory in their operand is another one of them, and
    the columns of the other operand are neighbours: operands are read again and again.
    """
    last, first, second = ({letter for factor, letter in read[-1][0] if factor == 1} for read in reads)
    swapped = not last & columns and bool(last & rows)
    chosen, other = ((rows, first), (columns, second)) if swapped else ((columns, second), (rows, first))
    scattered = bool(chosen[0] & chosen[1]) and not last & chosen[1]
    return swapped != (scattered and bool(other[0] & other[1]))


def _letters(read: Sequence[Position]) -> set[str]:
    return {letter for terms, _ in read for _, letter in terms}


def _ranks(target: Sequence[Position]) -> list[str]:
    """The letters of the target, outermost axis first: neighbours in memory become neighbours in a group."""
    return list(dict.fromkeys(letter for terms, _ in target for _, letter in terms))


def _colliding(target: Sequence[Position]) -> set[str] | None:
    """The indices to take one value at a time, so that the others reach every element once; None: impossible.

    Of an axis ``j + p`` the first letter stays: it is the output's index in the gradient of a convolution, and
    the longer one.
    """
    found: set[str] = set()
    kept: set[str] = set()
    for terms, _ in target:
        if any(coefficient == 0 for coefficient, _ in terms):
            return None
        letters = sorted(letter for _, letter in terms)
        kept.update(letters[:1])
        found.update(letters[1:])
    return None if found & kept else found


# --- meaning ------------------------------------------------------------------------------------------------


def contract(
    out: Array,
    target: str,
    left: Array,
    first: str,
    right: Array,
    second: str,
    extents: tuple[int, ...],
    beside: int = 1,
) -> None:
    """``out[target] = sum left[first] * right[second]`` over the indices that the target lacks.

    Compiled, a contraction in one of several parts that run `beside` each other takes one thread, alone all.
    """
    _write(out, target, left, first, right, second, extents, False)


def add_contraction(
    out: Array,
    target: str,
    left: Array,
    first: str,
    right: Array,
    second: str,
    extents: tuple[int, ...],
    beside: int = 1,
    again: bool = True,
) -> None:
    """``out[target] += left[first] * right[second]`` for every value of all indices; `beside` as in `contract`.

    Where it is not `again`, what was there before is not added to but overwritten.
    """
    _write(out, target, left, first, right, second, extents, again)


def _write(
    out: Array,
    target: str,
    left: Array,
    first: str,
    right: Array,
    second: str,
    extents: tuple[int, ...],
    add: bool,
) -> None:
    read = [positions(text) for text in (target, first, second)]
    letters = sorted(set().union(*map(_letters, read)))
    sizes = dict(zip(letters, extents, strict=True))
    number = {letter: at for at, letter in enumerate(letters)}
    factors: list[Any] = []
    for tensor, where in ((left, read[1]), (right, read[2])):
        used = sorted(_letters(where))
        factors += [tensor[_grid(where, used, sizes)], [number[letter] for letter in used]]
    used = sorted(_letters(read[0]))
    result = np.einsum(*factors, [number[letter] for letter in used], optimize=True)
    if add:
        np.add.at(out, _grid(read[0], used, sizes), result)
    else:
        out[_grid(read[0], used, sizes)] = result


def elements_of(texts: Sequence[str], extents: Sequence[int]) -> list[tuple[Array, ...]]:
    """Index arrays for the elements that a contraction touches of its result and of its operands."""
    read = [positions(text) for text in texts]
    sizes = dict(zip(sorted(set().union(*map(_letters, read))), extents, strict=True))
    return [_grid(where, sorted(_letters(where)), sizes) for where in read]


def _grid(read: Sequence[Position], used: Sequence[str], sizes: dict[str, int]) -> tuple[Array, ...]:
    """Index arrays over the space of the `used` letters, one for each axis of the tensor."""
    grids = dict(zip(used, np.ix_(*(np.arange(sizes[letter]) for letter in used)), strict=True))
    shape = tuple(sizes[letter] for letter in used)
    return tuple(
        np.broadcast_to(sum((c * grids[letter] for c, letter in terms), np.int64(offset)), shape)
        for terms, offset in read
    )
