"""Why an equation does not run in the loop nest that makes what it reads: the conditions of fusion, restated.

`gradc.schedule.fuse` places equations one after the other.  An equation enters the outermost loop of what it reads if

* both are loops of their own, not a matrix product, a contraction, a call of the library or an assembled tensor;
* the tensor is complete in each iteration: a sum over the loop's own index is complete only behind it;
* the tensor is read at the index of the loop, and that index runs the equation's own outermost loop;
* the loop has as many iterations as the equation wants;
* the loop's body is not full;
* nothing else that the equation reads is made in a later loop, or behind one.

Where all of this holds, fusion puts both into one loop: there is no other reason.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gradc.ir.extents import Size, show
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Assemble,
    Assign,
    Call,
    Equation,
    Index,
    Lookup,
    Program,
    accesses_of,
    outputs_of,
    reads_of,
)
from gradc.ir.index.show import show_operand
from gradc.ir.names import INDEX_NAMES
from gradc.ir.schedule import Leaf, Loop, Node, Schedule
from gradc.schedule.fuse import MAX_LEAVES

ALONE = frozenset(("product", "contract", "call"))
LEAVES = frozenset(("compute", "update", "add", "part"))
WORDS = {
    "sum": "sum",
    "prod": "product",
    "max": "maximum",
    "min": "minimum",
    "any": "disjunction",
    "all": "conjunction",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why two equations share no loop.

    Attributes
    ----------
    kind : str
        ``"alone"``, ``"assembled"``, ``"number"``, ``"behind"``, ``"incomplete"``, ``"shifted"``, ``"turned"``,
        ``"extents"``, ``"full"`` or ``"order"``.
    text : str
        What is to be said of the tensor: ``"is the maximum over k, complete only behind that loop"``.
    after : int
        For ``"order"`` the equation that the reader waits for; else -1.
    """

    kind: str
    text: str
    after: int = -1


@dataclass(frozen=True, slots=True)
class Placed:
    """A leaf, the loops around it, and the place of the outermost one (or its own) in the schedule."""

    leaf: Leaf
    path: tuple[Loop, ...]
    position: int


@dataclass(slots=True)
class Layout:
    """A program with the places of its equations in a schedule: what `why_apart` asks, found once.

    Requires: the schedule is that of `gradc.schedule.fuse.fuse`, before anything is computed again.
    """

    program: Program
    schedule: Schedule
    leaves: int = MAX_LEAVES  # that a loop gets at most
    places: dict[int, list[Placed]] = field(init=False)
    definers: dict[str, list[int]] = field(init=False)
    filled: dict[int, list[int]] = field(init=False)

    def __post_init__(self) -> None:
        self.places, self.definers, self.filled = {}, {}, {}
        for placed in _placed(self.schedule.body):
            self.places.setdefault(placed.leaf.equation, []).append(placed)
            if placed.path and placed.leaf.role in LEAVES:
                self.filled.setdefault(placed.path[0].id, []).append(placed.leaf.equation)
        for numbers in self.filled.values():
            numbers.sort()
        for number, equation in enumerate(self.program.equations):
            for name in outputs_of(equation):
                self.definers.setdefault(name, []).append(number)

    def main(self, number: int) -> Placed:
        """The place where an equation does its work; of an `Assemble` that of its last part."""
        found = [placed for placed in self.places[number] if placed.leaf.role not in ("start", "finish")]
        return found[-1]

    def readers_place(self, number: int, tensor: str) -> Placed:
        """The place where an equation reads a tensor: an `Assemble` has one for every part."""
        equation = self.program.equations[number]
        if isinstance(equation, Assemble):
            for placed in self.places[number]:
                if equation.parts[placed.leaf.part] == tensor:
                    return placed
        return self.main(number)

    def producer_before(self, tensor: str, reader: int) -> int | None:
        """The last equation before a reader that defines a tensor or adds to it; None for an input."""
        numbers = self.definers.get(tensor, [])
        at = bisect_left(numbers, reader)
        return numbers[at - 1] if at else None


def why_apart(layout: Layout, reader: int, tensor: str) -> Reason | None:
    """Why an equation does not run in the outermost loop that makes a tensor which it reads.

    Parameters
    ----------
    layout : Layout
        The program and its schedule.
    reader : int
        The number of the equation that reads (or adds to) the tensor.
    tensor : str
        What another equation before it makes.

    Returns
    -------
    Reason or None
        None where both share their outermost loop, where the tensor is an input, and where both run once, outside
        of loops.

    Examples
    --------
    >>> import numpy as np
    >>> from gradc import differentiate
    >>> from gradc.schedule.fuse import fuse
    >>> program = differentiate(lambda x: x / x.sum()).at(np.ones(3)).inspect("value").stages.optimised
    >>> why_apart(Layout(program, fuse(program)), 1, "v1").text
    'is the sum over i, complete only behind that loop'
    """
    number = layout.producer_before(tensor, reader)
    if number is None:
        return None
    made, read = layout.main(number), layout.readers_place(reader, tensor)
    if made.path and read.path and made.path[0] is read.path[0]:
        return None
    return _of_kinds(layout, number, made, read, tensor) or _of_loops(
        layout, number, made, reader, read, tensor
    )


def _of_kinds(layout: Layout, number: int, made: Placed, read: Placed, tensor: str) -> Reason | None:
    """The reasons that need no look at indices."""
    equations = layout.program.equations
    if made.leaf.role in ALONE:
        return Reason("alone", f"comes of {_what(made.leaf.role, equations[number])}, a step of its own")
    if read.leaf.role in ALONE:
        what = _what(read.leaf.role, equations[read.leaf.equation])
        return Reason("alone", f"is read by {what}, a step of its own")
    if isinstance(equations[number], Assemble):
        return Reason("assembled", "is put together from parts, and complete only behind the last one")
    if not made.path:
        return Reason("number", "is computed once, outside of loops") if read.path else None
    return None if read.path else Reason("behind", _incomplete(equations[number]))


def _what(role: str, equation: Equation) -> str:
    if role == "product":
        return "a matrix product"
    return f"the library's {equation.operation}" if isinstance(equation, Call) else "a contraction"


def _of_loops(
    layout: Layout, number: int, made: Placed, reader: int, read: Placed, tensor: str
) -> Reason | None:
    """The reasons that two loops have."""
    if not made.path:
        return None
    loop, program = made.path[0], layout.program
    axis = _axis_of(program.equations[number], made.leaf, loop)
    if axis is None or _spread(layout, tensor, reader, loop, axis):
        return Reason("incomplete", _incomplete(program.equations[number]))
    accesses = [access for access in _reads(program.equations[reader]) if access.tensor == tensor]
    for access in accesses:
        index = access.indices[axis]
        if not isinstance(index, int):
            return Reason("shifted", f"is read as {show_operand(access)}, which another iteration makes")
        if read.leaf.loops[index] != read.path[0].id:
            return Reason("turned", _turned(access, read))
    if read.path[0].extent != loop.extent:
        here, there = show(read.path[0].extent), show(loop.extent)
        return Reason("extents", f"is made in a loop over {there} and read in one over {here}")
    if bisect_left(layout.filled[loop.id], reader) >= layout.leaves:
        return Reason("full", f"is made in a loop of {layout.leaves} steps, the most that one gets")
    return _order(layout, made, reader, tensor)


def _turned(access: Access, read: Placed) -> str:
    outer = next(at for at, loop in enumerate(read.leaf.loops) if loop == read.path[0].id)
    return f"is read as {show_operand(access)} in loops whose outermost index is {INDEX_NAMES[outer]}"


def _axis_of(equation: Equation, leaf: Leaf, loop: Loop) -> int | None:
    """The axis of what an equation makes that a loop runs; None where the loop runs over something else."""
    match equation:
        case Assign():
            indices: Sequence[Index] = range(equation.rank)
        case Accumulate():
            indices = equation.target
        case _:
            return None
    found = (
        at for at, index in enumerate(indices) if isinstance(index, int) and leaf.loops[index] == loop.id
    )
    return next(found, None)


def _spread(layout: Layout, tensor: str, reader: int, loop: Loop, axis: int) -> bool:
    """Whether contributions inside the same loop add along another axis: then no iteration completes any element."""
    for number in layout.definers[tensor]:
        placed = layout.main(number)
        if number < reader and placed.path and placed.path[0] is loop:
            equation = layout.program.equations[number]
            if isinstance(equation, Accumulate) and _axis_of(equation, placed.leaf, loop) != axis:
                return True
    return False


def _incomplete(equation: Equation) -> str:
    if isinstance(equation, Assign) and equation.reduce is not None:
        names = ", ".join(INDEX_NAMES[at] for at in range(equation.rank, len(equation.space)))
        return f"is the {WORDS[equation.reduce.op]} over {names}, complete only behind that loop"
    return "is added to in all iterations of that loop, and complete only behind it"


def _order(layout: Layout, made: Placed, reader: int, tensor: str) -> Reason | None:
    """What else the equation reads that is made in a later loop, or complete only behind one."""
    equation = layout.program.equations[reader]
    names = [*reads_of(equation), *(outputs_of(equation) if isinstance(equation, Accumulate) else ())]
    latest: tuple[int, int, str] | None = None
    for name in names:
        number = layout.producer_before(name, reader)
        if number is None:
            continue
        at = layout.main(number).position
        if at >= made.position and name != tensor and (latest is None or at > latest[0]):
            latest = at, number, name
    if latest is None:
        return None
    reader_of = outputs_of(equation)[0]
    return Reason("order", f"is read by {reader_of}, which also needs {latest[2]}", latest[1])


def _reads(equation: Equation) -> Iterator[Access]:
    """All accesses of an equation, with look-up tables, and its own result where it adds to it."""
    if isinstance(equation, Assemble):
        return
    if isinstance(equation, Assign | Accumulate):
        found = list(accesses_of(equation))
        if isinstance(equation, Accumulate):
            found.append(Access(equation.out, equation.target))
        yield from found
        for access in found:
            for index in access.indices:
                if isinstance(index, Lookup):
                    yield Access(index.tensor, index.indices)


def _placed(nodes: Sequence[Node]) -> Iterator[Placed]:
    for position, top in enumerate(nodes):
        stack: list[tuple[Node, tuple[Loop, ...]]] = [(top, ())]
        while stack:
            node, path = stack.pop()
            if isinstance(node, Leaf):
                yield Placed(node, path, position)
            else:
                stack += [(child, (*path, node)) for child in reversed(node.body)]


def extents_of(placed: Placed) -> tuple[Size, ...]:
    """The extents of the loops around a leaf."""
    return tuple(loop.extent for loop in placed.path)
