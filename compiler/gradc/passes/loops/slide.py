"""Sums that slide along with a loop: neighbouring elements get their contributions from neighbouring iterations.

    for i < m:                                 ahead = 0
        x_bar[i] += a                   ->     for i < m:
        x_bar[i + 1] += b                          here = ahead + a
                                                   x_bar[i] = here
                                                   ahead = b
                                               x_bar[m] = ahead

What an iteration adds to elements ahead of its own is carried in numbers, so every element is written once and never
read, and LLVM fills vectors with the loop: before, an iteration read what the one before it had written.  A loop that
runs in parts carries through each of them; what a part leaves is added to the elements behind it when all are done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gradc.ir import extents
from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Apply,
    Carry,
    Expr,
    For,
    Let,
    Number,
    Statement,
    Store,
    Update,
    Var,
)
from gradc.ir.loop.sizes import size_of
from gradc.ir.loop.walk import every, touched
from gradc.ir.names import NameSupply
from gradc.ir.types import DType

FARTHEST = 8  # elements ahead of an iteration that it may add to: as many numbers are carried


@dataclass(frozen=True, slots=True)
class Slide:
    """The elements of a vector from ``index + lowest`` on, `ahead` of them behind it, that an iteration adds to."""

    tensor: str
    lowest: int
    ahead: int
    dtype: DType

    def place(self, at: Expr, step: int = 0) -> tuple[Expr, ...]:
        """The element that lies `step` elements ahead of the lowest one of iteration `at`."""
        return (nodes.apply("add", at, nodes.number(self.lowest + step)),)

    def fills(self, shape: tuple[Expr, ...], extent: Expr) -> bool:
        """Whether a loop of this extent gives every element of the vector a value."""
        return size_of(shape[0]) == extents.add(size_of(extent), self.ahead)


def slide_of(loop: For, tensor: str) -> Slide | None:
    """How a vector slides along with a loop that does nothing else to it; None if it does not."""
    adds = [s for s in loop.body if isinstance(s, AddTo) and s.tensor == tensor]
    touching = [s for s in every(loop.body) for name in touched(s) if name == tensor]
    if not adds or len(touching) != len(adds) or any(s.op != "sum" for s in adds):
        return None
    here = nodes.var(loop.index)
    offsets = [_offset(s.indices, here) for s in adds]
    found = [offset for offset in offsets if offset is not None]
    lowest, highest = min(found, default=0), max(found, default=0)
    if len(found) < len(offsets) or not 0 < highest - lowest <= FARTHEST:
        return None
    return Slide(tensor, lowest, highest - lowest, adds[0].value.dtype)


def _offset(indices: tuple[Expr, ...], here: Expr) -> int | None:
    """The whole number by which the only index differs from the loop's own."""
    match indices:
        case (Var() as index,) if index is here:
            return 0
        case (Apply("add", (first, Number(value))),) if first is here:
            return int(value)
        case _:
            return None


class Carried:
    """One slide as statements: numbers that are carried through the loop of a part, and what its last ones become."""

    def __init__(self, slide: Slide, names: NameSupply) -> None:
        self.slide = slide
        tensor, steps = slide.tensor, range(slide.ahead)
        self.sums = [names.fresh(f"{tensor}_{step}") for step in range(slide.ahead + 1)]
        self.carried = [names.fresh(f"{tensor}_ahead") for _ in steps]
        self.left = [names.fresh(f"{tensor}_left") for _ in steps]  # by every part
        self.ends = names.fresh(f"{tensor}_ends")  # where the elements of every part end

    def before(self, extent: Expr, parts: Expr) -> Iterator[Statement]:
        """What stands before the tasks: the elements behind the last iteration are there to be added to."""
        dtype = self.slide.dtype
        for step in range(self.slide.ahead):
            yield Store(self.slide.tensor, self.slide.place(extent, step), nodes.neutral("sum", dtype))
        yield Allocate(self.ends, DType.INT64, (parts,))
        for name in self.left:
            yield Allocate(name, dtype, (parts,))

    def starts(self) -> Iterator[Statement]:
        """What stands before the loop of a part."""
        for name in self.carried:
            yield Let(name, nodes.neutral("sum", self.slide.dtype))

    def body(self, statements: Sequence[Statement], here: Expr) -> Iterator[Statement]:
        """The body of the loop, which has the index `here`, with every element written once."""
        slide, dtype = self.slide, self.slide.dtype
        for name, carried in zip(self.sums, self.carried, strict=False):
            yield Let(name, nodes.var(carried, dtype))
        is_new = True
        for statement in statements:
            if not isinstance(statement, AddTo) or statement.tensor != slide.tensor:
                yield statement
                continue
            step = (_offset(statement.indices, here) or 0) - slide.lowest
            if step == slide.ahead and is_new:
                yield Let(self.sums[step], statement.value, statement.note)
                is_new = False
            else:
                yield Update(self.sums[step], "sum", statement.value, statement.note)
        yield Store(slide.tensor, slide.place(here), nodes.var(self.sums[0], dtype))
        for name, total in zip(self.carried, self.sums[1:], strict=True):
            yield Carry(name, nodes.var(total, dtype))

    def rest(self, part: Expr, end: Expr) -> Iterator[Statement]:
        """What stands behind the loop of a part, whose iterations end at `end`."""
        (place,) = self.slide.place(end)
        yield Store(self.ends, (part,), place)
        for name, left in zip(self.carried, self.left, strict=True):
            yield Store(left, (part,), nodes.var(name, self.slide.dtype))

    def after(self, part: Expr) -> Iterator[Statement]:
        """What all parts left, to be added in their order."""
        end = nodes.load(self.ends, (part,), DType.INT64)
        for step, left in enumerate(self.left):
            place = nodes.apply("add", end, nodes.number(step))
            yield AddTo(self.slide.tensor, (place,), "sum", nodes.load(left, (part,), self.slide.dtype))
