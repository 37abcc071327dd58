"""Rewriting the operands of equations: renumbering, composing and replacing indices, never templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.index.nodes import Access, Affine, Index, IndexValue, Lookup, Operand, affine, terms_of


def map_index(index: Index, change: Callable[[int | Affine], int | Affine]) -> Index:
    """Apply `change` to an index, inside look-ups too."""
    if isinstance(index, Lookup):
        return Lookup(index.tensor, tuple(change(inner) for inner in index.indices))
    return change(index)


def map_operand(operand: Operand, change: Callable[[int | Affine], int | Affine]) -> Operand:
    """Apply `change` to every index of an operand."""
    match operand:
        case Access(tensor, indices):
            return Access(tensor, tuple(map_index(index, change) for index in indices))
        case IndexValue(index):
            return IndexValue(change(index))
        case _:
            return operand


def renumber(mapping: Mapping[int, int]) -> Callable[[int | Affine], int | Affine]:
    """Return the change that renames loop indices."""

    def change(index: int | Affine) -> int | Affine:
        if isinstance(index, int):
            return mapping[index]
        return affine({mapping[position]: coefficient for coefficient, position in index.terms}, index.offset)

    return change


def compose(outer: int | Affine, inner: tuple[Index, ...]) -> int | Affine | None:
    """`outer`, an index over axes, where axis ``p`` is at ``inner[p]``; None where that is not affine."""
    if isinstance(outer, int):
        found = inner[outer]
        return None if isinstance(found, Lookup) else found
    terms: dict[int, int] = {}
    offset: Size = outer.offset
    for coefficient, axis in outer.terms:
        index = inner[axis]
        if isinstance(index, Lookup):
            return None
        inner_terms, inner_offset = terms_of(index)
        for factor, position in inner_terms:
            terms[position] = terms.get(position, 0) + coefficient * factor
        offset = extents.add(offset, extents.mul(coefficient, inner_offset))
    return affine(terms, offset)


def compose_index(outer: Index, inner: tuple[Index, ...]) -> Index | None:
    """As `compose`, for an index that may be a look-up or reach one directly."""
    if isinstance(outer, int):
        return inner[outer]
    if isinstance(outer, Affine):
        return compose(outer, inner)
    positions = tuple(compose(index, inner) for index in outer.indices)
    return None if any(position is None for position in positions) else Lookup(outer.tensor, positions)  # pyright: ignore[reportArgumentType]


def compose_all(outer: tuple[Index, ...], inner: tuple[Index, ...]) -> tuple[Index, ...] | None:
    """As `compose_index`, for the indices of an access; None if it is None for one of them."""
    found = [compose_index(index, inner) for index in outer]
    kept = tuple(index for index in found if index is not None)
    return kept if len(kept) == len(found) else None


def compose_operand(operand: Operand, inner: tuple[Index, ...]) -> Operand | None:
    """Return an operand in the space where loop index ``p`` is ``inner[p]``; None if it has no form there."""
    match operand:
        case Access(tensor, indices):
            composed = compose_all(indices, inner)
            return None if composed is None else Access(tensor, composed)
        case IndexValue(index):
            value = compose(index, inner)
            return None if value is None else IndexValue(value)
        case _:
            return operand
