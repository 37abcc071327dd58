"""What one step of the innermost loop costs in each order of the loops: strides decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradc.ir.extents import Size
from gradc.ir.index.nodes import Access, Assign, Index, Lookup, accesses_of, terms_of

STRIDED = 8  # a cache line for one number
NEAR = 2  # strided, but the whole row of rows is a few cache lines
SHORT = 64  # elements that count as near
UNROLLED = 8  # steps that LLVM writes out
LANES = 16  # a sum of fewer numbers is mostly the sum of a vector's lanes


def step_cost(equation: Assign, order: Sequence[int], shapes: Mapping[str, Sequence[Size]]) -> int:
    """The memory accesses of one step of the innermost loop, in units of one element beside the last one.

    Requires: `equation` is a reduction, `shapes` has every tensor it reads.  A sum in the innermost loops alone
    is a local variable; with an index of the result inside it, the sum goes through memory.
    """
    kept = list(order)
    while kept and kept[-1] >= equation.rank and _is_unrolled(equation.space[kept[-1]]):
        kept.pop()  # written out by LLVM: the loop around it is the innermost one
    if not kept:
        return 0
    if kept[-1] < equation.rank:
        kept = _around_windows(equation, kept, shapes)
    inner = kept[-1]
    reads = sum(_stride_cost(access, inner, shapes[access.tensor]) for access in accesses_of(equation))
    if inner >= equation.rank:
        size = equation.space[inner]
        first = next(at for at, index in enumerate(kept) if index >= equation.rank)
        if any(index < equation.rank for index in kept[first:]):
            return reads + STRIDED  # every step waits for the sum that the last one stored
        return reads + (3 if isinstance(size, int) and size < LANES else 1)
    if all(index < equation.rank for index in kept):
        return reads + 1
    out = Access(equation.out, tuple(range(equation.rank)))
    return reads + 2 * _stride_cost(out, inner, equation.space[: equation.rank])


def _around_windows(
    equation: Assign, order: Sequence[int], shapes: Mapping[str, Sequence[Size]]
) -> list[int]:
    """The loops without short innermost ones over the result, where the loop around them runs along neighbours.

    LLVM writes the short loops out, and sums for all places of a window in one pass.
    """
    kept = list(order)
    while kept and kept[-1] < equation.rank and _is_unrolled(equation.space[kept[-1]]):
        kept.pop()
    out = Access(equation.out, tuple(range(equation.rank)))
    touched = [
        (out, equation.space[: equation.rank]),
        *((a, shapes[a.tensor]) for a in accesses_of(equation)),
    ]
    along = (
        kept
        and kept[-1] < equation.rank
        and all(_stride_cost(a, kept[-1], shape) == 1 for a, shape in touched)
    )
    return kept if along else list(order)


def _is_unrolled(size: Size) -> bool:
    return isinstance(size, int) and size <= UNROLLED


def _stride_cost(access: Access, inner: int, shape: Sequence[Size]) -> int:
    cost = 0
    for axis, index in enumerate(access.indices):
        if isinstance(index, Lookup):
            if any(_depends(position, inner) for position in index.indices):
                cost = max(cost, STRIDED)
        elif _depends(index, inner):
            last = axis == len(shape) - 1 and (1, inner) in terms_of(index)[0]
            cost = max(cost, 1 if last else NEAR if _is_short(shape[axis:]) else STRIDED)
    return cost


def _depends(index: Index, inner: int) -> bool:
    return not isinstance(index, Lookup) and any(position == inner for _, position in terms_of(index)[0])


def _is_short(shape: Sequence[Size]) -> bool:
    count = 1
    for size in shape:
        if not isinstance(size, int):
            return False
        count *= size
    return count <= SHORT
