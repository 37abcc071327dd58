"""Fuse equations into loop nests.

Equations are placed one after the other into a tree of loops.  At every level an equation may enter an
existing loop of the same extent if each tensor it reads that is produced inside that loop is read at the
loop's own index; otherwise it goes behind the loop.  Elementwise chains, broadcasts and reductions thus share
loops, rows share an outer loop although a reduction separates their inner ones, and a tensor that never
leaves an iteration becomes a local variable.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from gradc.ir.extents import Size
from gradc.ir.index.contraction import is_contraction, is_matrix_product
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Affine,
    Assemble,
    Assign,
    Call,
    Index,
    Lookup,
    Program,
    accesses_of,
    reads_of,
)
from gradc.ir.loop.strip import BLOCK_ROWS
from gradc.ir.schedule import Leaf, Loop, Node, Schedule, Storage
from gradc.ir.types import DType
from gradc.schedule.order import step_cost

MAX_LEAVES = 128  # of a loop body: what a further loop would load and store costs more than spilled registers

# On a GPU what goes from one launch to another goes through memory, and a thread has 255 registers of 32 bits.
# A program of 1,000 operations with its gradient moves 10.9 kB a point in float32 at 512 leaves, with nothing
# spilled, and 17.8 kB at 128.  In float64 128 leaves fill the registers, and larger loops compile for minutes.
MAX_LEAVES_SINGLE = 512


@dataclass(slots=True, eq=False)
class _Block:
    """A sequence of loops and leaves; `by_extent` finds the loops of one extent."""

    items: list[_Loop | Leaf] = field(default_factory=list)
    by_extent: dict[Size, list[int]] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Loop:
    """A loop under construction; `before` and `after` hold accumulators' starts and finishes."""

    id: int
    extent: Size
    position: int
    block: _Block = field(default_factory=_Block)
    before: list[Leaf] = field(default_factory=list)
    after: list[Leaf] = field(default_factory=list)
    leaves: int = 0


@dataclass(slots=True, eq=False)
class _Definition:
    """Where a tensor is complete: after item `position` of the block at the end of `path`.

    `axes` gives the loop that runs each axis, or None where the axis is complete only as a whole.
    """

    path: tuple[_Loop, ...]
    axes: tuple[_Loop | None, ...]
    position: int


@dataclass(slots=True, eq=False)
class _Use:
    """One read of a tensor: the loops around it, and the loop of each axis (None if not a bare index)."""

    path: tuple[_Loop, ...]
    axes: tuple[_Loop | None, ...]


class _Fuser:
    def __init__(self, program: Program, leaves: int) -> None:
        self.program = program
        self.leaves = leaves
        self.root = _Block()
        self.loops = 0
        self.definitions: dict[str, _Definition] = {}
        self.uses: dict[str, list[_Use]] = {}
        self.zeroed: set[str] = set()
        self.slides: dict[str, tuple[_Loop, ...]] = {}

    # --- equations --------------------------------------------------------------------------------------

    def place(self, number: int) -> None:
        equation = self.program.equations[number]
        match equation:
            case Assign() if self._is_library_product(equation):
                self._opaque(number, "product")
            case Assign() | Accumulate() if self._is_contraction(equation):
                self._opaque(number, "contract")
            case Assign() if equation.reduce is None:
                self._compute(number, equation)
            case Assign():
                self._reduction(number, equation)
            case Accumulate():
                self._accumulate(number, equation)
            case Assemble():
                self._assemble(number, equation)
            case Call():
                self._opaque(number, "call")
            case _:
                assert_never(equation)

    def _compute(self, number: int, equation: Assign) -> None:
        order = self._order(equation)
        path = self._descend(equation.space, order, list(_reads(equation)))
        self._finish_compute(number, equation, path, order)

    def _finish_compute(
        self, number: int, equation: Assign, path: Sequence[_Loop], order: Sequence[int]
    ) -> None:
        self._add(path, Leaf(number, "compute", _loop_ids(path, order, len(equation.space))))
        self._define(equation.out, path, _axes(path, order, equation.rank), len(self._block(path).items) - 1)
        self._use(_reads(equation), path, order)

    def _reduction(self, number: int, equation: Assign) -> None:
        order = self._order(equation)
        path = self._descend(equation.space, order, list(_reads(equation)))
        first = next((at for at, index in enumerate(order) if index >= equation.rank), None)
        if first is None:  # every reduced index has extent 1: nothing to sum
            self._finish_compute(number, equation, path, order)
            return
        scalar = all(index >= equation.rank for index in order[first:])
        loops = _loop_ids(path, order, len(equation.space))
        outermost = path[first]
        if scalar:
            outermost.before.append(Leaf(number, "start", loops))
            self._add(path, Leaf(number, "update", loops))
            outermost.after.append(Leaf(number, "finish", loops))
        else:
            self.zeroed.add(equation.out)
            self._add(path, Leaf(number, "add", loops))
        outer = path[:first]
        axes = tuple(
            loop if loop is not None and loop in outer else None for loop in _axes(path, order, equation.rank)
        )
        self._define(equation.out, outer, axes, outermost.position)
        self._use(_reads(equation), path, order)

    def _accumulate(self, number: int, equation: Accumulate) -> None:
        order = _loops_of(equation.space)
        beside = self.slides.get(equation.out, ()) if _slides(equation) else ()
        reads = _reads(equation) if beside else [*_reads(equation), Access(equation.out, equation.target)]
        path = self._descend(equation.space, order, reads, beside)
        self._note_slide(equation, tuple(path))
        self.zeroed.add(equation.out)
        self._add(path, Leaf(number, "add", _loop_ids(path, order, len(equation.space))))
        loop_of = dict(zip(order, path, strict=True))
        axes = [loop_of.get(index) if isinstance(index, int) else None for index in equation.target]
        earlier = self.definitions.get(equation.out)
        if earlier is not None:  # an axis runs with a loop if it does for all contributions inside that loop
            axes = [
                None if loop in earlier.path and before is not loop else loop
                for loop, before in zip(axes, earlier.axes, strict=True)
            ]
        count = next((at for at, loop in enumerate(path) if loop not in axes), len(path))
        outer, inner = path[:count], path[count:]
        position = inner[0].position if inner else len(self._block(outer).items) - 1
        kept = tuple(loop if loop in outer else None for loop in axes)
        self._define(equation.out, outer, kept, position)
        self._use(_reads(equation), path, order)

    def _note_slide(self, equation: Accumulate, path: tuple[_Loop, ...]) -> None:
        """Remember the loop that all contributions to a vector slide along with; no loop where they do not."""
        first = equation.out not in self.definitions
        together = _slides(equation) and (first or self.slides.get(equation.out) == path)
        self.slides[equation.out] = path if together else ()

    def _assemble(self, number: int, equation: Assemble) -> None:
        position = -1
        for part, name in enumerate(equation.parts):
            shape = self.program.types[name].shape
            order = _loops_of(shape)
            read = Access(name, tuple(range(len(shape))))
            path = self._descend(shape, order, [read])
            self._add(path, Leaf(number, "part", _loop_ids(path, order, len(shape)), part))
            self._use([read], path, order)
            position = max(position, path[0].position if path else len(self.root.items) - 1)
        rank = len(self.program.types[equation.out].shape)
        self._define(equation.out, (), (None,) * rank, position)

    def _opaque(self, number: int, role: str) -> None:
        equation = self.program.equations[number]
        self.root.items.append(Leaf(number, role))
        if isinstance(equation, Accumulate):
            self.zeroed.add(equation.out)
        for out in equation.outs if isinstance(equation, Call) else (equation.out,):
            self._define(out, (), (None,) * len(self.program.types[out].shape), len(self.root.items) - 1)
        for name in reads_of(equation):
            rank = len(self.program.types[name].shape)
            self.uses.setdefault(name, []).append(_Use((), (None,) * rank))

    def _is_library_product(self, equation: Assign) -> bool:
        if not (self.program.types[equation.out].dtype.is_float and is_matrix_product(equation)):
            return False
        # A contraction may stand in a loop over blocks of what grows with the square of the rows.
        return not any(map(self._is_square, (equation.out, *reads_of(equation))))

    def _is_square(self, name: str) -> bool:
        """Whether a matrix has as many columns as rows, and more than one block of them."""
        rows, columns = self.program.types[name].shape[-2:]
        return rows == columns and not (isinstance(rows, int) and rows <= BLOCK_ROWS)

    def _is_contraction(self, equation: Assign | Accumulate) -> bool:
        if not self.program.types[equation.out].dtype.is_float or not is_contraction(equation):
            return False
        dtype = self.program.types[equation.out].dtype
        return all(self.program.types[name].dtype is dtype for name in reads_of(equation))

    # --- loop order -------------------------------------------------------------------------------------

    def _order(self, equation: Assign) -> tuple[int, ...]:
        """Loop order: that of the output; of an operand where a reduction then runs better through memory."""
        natural = _loops_of(equation.space)
        if equation.reduce is None:
            return self._order_of_a_producer(equation, natural)
        types = {access.tensor: self.program.types[access.tensor].shape for access in accesses_of(equation)}
        found = natural
        for access in accesses_of(equation):
            bare = tuple(index for index in access.indices if isinstance(index, int) and index in natural)
            if len(set(bare)) == len(bare):
                order = (*bare, *(index for index in natural if index not in bare))
                found = min(found, order, key=lambda order: step_cost(equation, order, types))
        gain = step_cost(equation, natural, types) - step_cost(equation, found, types)
        return found if gain >= 2 else natural

    def _order_of_a_producer(self, equation: Assign, natural: tuple[int, ...]) -> tuple[int, ...]:
        """The order in which a loop nest makes an operand: the equation can then run inside that nest."""
        for access in accesses_of(equation):
            definition = self.definitions.get(access.tensor)
            bare = tuple(index for index in access.indices if isinstance(index, int) and index in natural)
            if definition and definition.path and sorted(bare) == list(natural):
                return bare
        return natural

    # --- placing ----------------------------------------------------------------------------------------

    def _block(self, path: Sequence[_Loop]) -> _Block:
        return path[-1].block if path else self.root

    def _add(self, path: Sequence[_Loop], leaf: Leaf) -> None:
        self._block(path).items.append(leaf)
        for loop in path:
            loop.leaves += 1

    def _define(
        self, name: str, path: Sequence[_Loop], axes: tuple[_Loop | None, ...], position: int
    ) -> None:
        self.definitions[name] = _Definition(tuple(path), axes, position)

    def _use(self, reads: Sequence[Access], path: Sequence[_Loop], order: Sequence[int]) -> None:
        loop_of = dict(zip(order, path, strict=True))
        for access in reads:
            axes = tuple(loop_of.get(index) if isinstance(index, int) else None for index in access.indices)
            self.uses.setdefault(access.tensor, []).append(_Use(tuple(path), axes))

    def _descend(
        self,
        space: Sequence[Size],
        order: Sequence[int],
        reads: Sequence[Access],
        beside: Sequence[_Loop] = (),
    ) -> list[_Loop]:
        """Find or make the loops, outermost first, in which an equation over `space` may run.

        It enters the loops `beside`, or later ones.
        """
        path: list[_Loop] = []
        sources = [
            (access, self.definitions[access.tensor]) for access in reads if access.tensor in self.definitions
        ]
        for index in order:
            enter, strict = -1, -1
            if len(beside) > len(path) and all(a is b for a, b in zip(beside, path, strict=False)):
                enter = beside[len(path)].position
            for access, definition in sources:
                if len(definition.path) < len(path) or any(
                    a is not b for a, b in zip(definition.path, path, strict=False)
                ):
                    continue
                if len(definition.path) == len(path):
                    strict = max(strict, definition.position)
                    continue
                loop = definition.path[len(path)]
                if _aligned(access, definition, loop, index):
                    enter = max(enter, loop.position)
                else:
                    strict = max(strict, loop.position)
            path.append(self._enter_or_make(self._block(path), space[index], max(enter, strict + 1)))
        return path

    def _enter_or_make(self, block: _Block, extent: Size, earliest: int) -> _Loop:
        positions = block.by_extent.setdefault(extent, [])
        for position in positions[bisect_left(positions, earliest) :]:
            loop = block.items[position]
            if isinstance(loop, _Loop) and loop.leaves < self.leaves:
                return loop
        self.loops += 1
        loop = _Loop(self.loops, extent, len(block.items))
        positions.append(loop.position)
        block.items.append(loop)
        return loop

    # --- the result -------------------------------------------------------------------------------------

    def finish(self) -> Schedule:
        storage = {name: self._storage(name) for name in self.definitions}
        return Schedule(_frozen(self.root), storage)

    def _storage(self, name: str) -> Storage:
        rank = len(self.program.types[name].shape)
        zeroed = name in self.zeroed
        if rank == 0:
            return Storage("scalar", (), zeroed)
        everything = Storage("array", tuple(range(rank)), zeroed)
        if name in self.program.outputs or zeroed:
            return everything
        definition = self.definitions[name]
        shared = len(definition.path)
        for use in self.uses.get(name, []):
            shared = min(shared, _shared_prefix(definition, use))
        if shared == 0 and definition.path:
            return everything
        local, shape = set(definition.path[:shared]), self.program.types[name].shape
        kept = tuple(
            axis
            for axis, loop in enumerate(definition.axes)
            if (loop is None or loop not in local) and axis in _loops_of(shape)
        )
        if kept or not definition.path:
            return Storage("array", kept) if shared else everything
        return Storage("scalar")


def _aligned(access: Access, definition: _Definition, loop: _Loop, index: int) -> bool:
    return any(
        axis is loop and at == index and isinstance(at, int)
        for axis, at in zip(definition.axes, access.indices, strict=True)
    )


def _shared_prefix(definition: _Definition, use: _Use) -> int:
    """How many outer loops the definition and a use run in step."""
    shared = 0
    for mine, theirs in zip(definition.path, use.path, strict=False):
        in_step = any(a is mine and b is mine for a, b in zip(definition.axes, use.axes, strict=True))
        if mine is not theirs or not in_step:
            break
        shared += 1
    return shared


def _reads(equation: Assign | Accumulate) -> list[Access]:
    """All accesses of an equation, look-up tables included."""
    found = list(accesses_of(equation))
    indices: list[Index] = [index for access in found for index in access.indices]
    if isinstance(equation, Accumulate):
        indices += equation.target
    found += [Access(index.tensor, index.indices) for index in indices if isinstance(index, Lookup)]
    return found


def _slides(equation: Accumulate) -> bool:
    """Whether an accumulation adds to a vector, at its only index or a fixed number of elements behind it.

    Several of them can share a loop, which carries from iteration to iteration what is added ahead
    (`gradc.passes.loops.slide`).
    """
    match equation.target:
        case (0 | Affine(((1, 0),), int()),):
            return len(equation.space) == 1
        case _:
            return False


def _loops_of(space: Sequence[Size]) -> tuple[int, ...]:
    """Return the indices that need a loop: an index of extent 1 is always 0."""
    return tuple(index for index, size in enumerate(space) if not (isinstance(size, int) and size == 1))


def _loop_ids(path: Sequence[_Loop], order: Sequence[int], rank: int) -> tuple[int, ...]:
    found = {index: loop.id for index, loop in zip(order, path, strict=True)}
    return tuple(found.get(index, 0) for index in range(rank))


def _axes(path: Sequence[_Loop], order: Sequence[int], rank: int) -> tuple[_Loop | None, ...]:
    found = dict(zip(order, path, strict=True))
    return tuple(found.get(axis) for axis in range(rank))


def _frozen(block: _Block) -> tuple[Node, ...]:
    """Return the finished tree; nesting is as deep as a tensor's rank, so recursion is safe here."""

    def nodes(items: Sequence[_Loop | Leaf]) -> Iterator[Node]:
        for item in items:
            if isinstance(item, Leaf):
                yield item
            else:
                yield from item.before
                yield Loop(item.id, item.extent, tuple(nodes(item.block.items)))
                yield from item.after

    return tuple(nodes(block.items))


def most_leaves(program: Program, target: str) -> int:
    """How many equations a loop gets at most."""
    is_single = all(program.types[name].dtype is not DType.F64 for name in program.inputs)
    return MAX_LEAVES_SINGLE if target == "cuda" and is_single else MAX_LEAVES


def fuse(program: Program, leaves: int = MAX_LEAVES) -> Schedule:
    """Return the schedule that fuses greedily in program order; no loop gets more than `leaves` equations.

    Requires: `program` is valid.  Ensures: every equation runs after what it reads; time linear in equations.
    """
    fuser = _Fuser(program, leaves)
    early = _prelude(program)
    for number in (*early, *(n for n in range(len(program.equations)) if n not in early)):
        fuser.place(number)
    return fuser.finish()


def _prelude(program: Program) -> dict[int, None]:
    """Scalar equations without a loop: placed first, they keep no loop nest from joining an earlier one."""
    scalars = {name for name in program.inputs if not program.types[name].shape}
    found: dict[int, None] = {}
    for number, equation in enumerate(program.equations):
        if isinstance(equation, Assign) and not equation.space and scalars.issuperset(reads_of(equation)):
            scalars.add(equation.out)
            found[number] = None
    return found
