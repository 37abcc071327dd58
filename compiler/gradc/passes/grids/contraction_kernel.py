"""The product of matrices, tile by tile.

A block of threads computes a tile of the result.  It walks along the sum, a few terms at a time: all threads read a
tile of either operand into memory that the block shares, each then multiplies what its own rows and columns need of
them, with the sums in registers.  Two tiles of either operand take turns, so that a thread may read the next ones while
another still multiplies: one barrier for each step is enough.

Rows and columns behind the end are read as the last one, and are not stored; terms behind the end are zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import AddTo, Allocate, Barrier, Expr, For, Launch, Let, Number, Share, Store
from gradc.passes.grids.contraction_numbers import (
    ONE,
    ZERO,
    Writer,
    ceiling,
    is_one,
    plus,
    quotient,
    remainder,
    times,
    under,
)
from gradc.passes.grids.contraction_places import WIDE, Reading, Space, Variable, is_short
from gradc.passes.grids.contraction_results import Cut, Host, Problem, extents_of
from gradc.passes.grids.contraction_tiles import Tile
from gradc.passes.grids.numbers import least

PAD = 4  # elements between rows of a shared tile: threads write a column to different banks, and read 16 bytes at once
ALIGNED = 4  # rows or columns of a thread that are neighbours: 16 bytes of float32


@dataclass(frozen=True, slots=True)
class Terms:
    """The walk along a sum: `outer` variables change from step to step, `inner` ones within a step as well."""

    outer: tuple[Variable, ...]
    inner: tuple[Variable, ...]
    chunks: Expr  # steps for one value of the outer variables
    many: Expr  # terms for one value of the outer variables
    whole: bool  # whether all steps have as many terms as a tile


def terms_of(space: Space, depth: int) -> Terms:
    """Cut a sum into steps; as few variables as fill them change within one."""
    inner: list[Variable] = []
    many: Expr = ONE
    for variable in reversed(space.summed):
        if isinstance(many, Number) and inner and (many.value % depth == 0 or many.value >= 4 * depth):
            break
        inner.insert(0, variable)
        many = nodes.apply("mul", variable.extent, many)
    whole = isinstance(many, Number) and many.value % depth == 0
    outer = space.summed[: len(space.summed) - len(inner)]
    return Terms(outer, tuple(inner), ceiling(many, depth), many, whole)


@dataclass(slots=True)
class _Side:
    """An operand: its tile has `size` rows, or columns, from `first` on, of `many`."""

    reading: Reading
    variables: tuple[Variable, ...]
    size: int
    many: Expr
    along_terms: bool  # whether neighbouring threads read neighbouring terms, not rows
    shared: str
    first: Expr = ZERO
    lane: Expr = ZERO  # what a thread has of what neighbouring threads have neighbours of
    line: Expr = ZERO
    values: dict[str, Expr] = field(default_factory=dict)  # of the variables, where a thread has one row
    kept: dict[str, str] = field(default_factory=dict)  # arrays of them, where it has several
    batch: Mapping[str, Expr] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether all tiles lie within the result."""
        return isinstance(self.many, Number) and self.many.value % self.size == 0

    def clamped(self, row: Expr) -> Expr:
        """A row of the result from one of the tile: the last one where there is none."""
        at = plus(self.first, row)
        return at if self.whole else least(at, nodes.apply("sub", self.many, ONE))

    def has(self, at: Expr) -> Expr | None:
        """The condition that there is such a row; None where there always is."""
        return None if self.whole else under(at, self.many)


def _runs_along_terms(space: Space, reading: Reading, variables: Sequence[Variable]) -> bool:
    """Whether terms are neighbours in an operand, and rows or columns are not, or are too few."""
    rows = space.runs_along(reading, variables)
    if any(not is_short(variable.extent, WIDE) for variable in rows):
        return False
    return bool(space.runs_along(reading, space.summed))


def tile_launch(problem: Problem, tile: Tile, cut: Cut | None, blocks: Expr, host: Host) -> Launch:
    """The launch of a product of matrices, with so many blocks; 0 of them do nothing."""
    return _Kernel(problem, tile, cut, host).launch(blocks)


class _Kernel:
    """A launch in the making."""

    def __init__(self, problem: Problem, tile: Tile, cut: Cut | None, host: Host) -> None:
        self.problem, self.tile, self.cut, self.host = problem, tile, cut, host
        space = problem.space
        self.terms = terms_of(space, tile.depth)
        chunks = host.bind("chunks", self.terms.chunks)
        self.inner_terms = host.bind("terms", self.terms.many)
        self.chunks = (*extents_of(self.terms.outer), ("chunk", chunks))
        steps: Expr = ONE
        for _, extent in self.chunks:
            steps = times(steps, extent)
        self.steps = host.bind("steps", steps)
        self.writer = Writer(host.names)
        self.block, self.thread = (nodes.var(self.writer.fresh(hint)) for hint in ("block", "thread"))
        self.sides = (
            self.side(space.left, space.rows, tile.rows, problem.rows, "left_tile"),
            self.side(space.right, space.columns, tile.columns, problem.columns, "right_tile"),
        )

    def side(
        self, reading: Reading, variables: tuple[Variable, ...], size: int, many: Expr, hint: str
    ) -> _Side:
        along = _runs_along_terms(self.problem.space, reading, variables)
        return _Side(reading, variables, size, many, along, self.writer.fresh(hint))

    def launch(self, blocks: Expr) -> Launch:
        tile, writer = self.tile, self.writer
        for side in self.sides:
            row = side.size + (PAD if side.along_terms else 0)
            writer.add(Share(side.shared, self.problem.dtype, (2 * tile.depth, row)))
        part = self.place()
        for side in self.sides:
            self.prepare(side)
        sums = self.zeros()
        self.walk(part, sums)
        self.finish(part, sums)
        name = self.host.names.fresh(f"{self.problem.space.out}_tiles")
        return Launch(name, self.block.name, self.thread.name, blocks, tile.threads, writer.close())

    # --- where a block and a thread are -----------------------------------------------------------------

    def place(self) -> Expr:
        """Find the tile of the block, and the rows and columns of the thread in it; return the part of the sum."""
        tile, writer = self.tile, self.writer
        parts = ONE if self.cut is None else self.cut.parts
        left, right = self.sides
        down, across = ceiling(left.many, tile.rows), ceiling(right.many, tile.columns)
        batch = extents_of(self.problem.space.batch)
        grid = (("part", parts), *batch, ("row_tile", down), ("column_tile", across))
        at = writer.decoded(self.block, grid)
        for side, name in ((left, "row_tile"), (right, "column_tile")):
            side.batch = {variable: at[variable] for variable, _ in batch}
            side.first = writer.let(f"first_{name.removesuffix('_tile')}", times(at[name], side.size))
        wide = tile.columns // tile.own_columns
        self.down = writer.let("down", quotient(self.thread, nodes.number(wide)))
        self.across = writer.let("across", nodes.apply("sub", self.thread, times(self.down, wide)))
        return at["part"]

    def own(self, which: Expr, lane: Expr, own: int, size: int) -> Expr:
        """The row or column of a tile that is a thread's own by number: neighbours, as far as a read goes."""
        near = gcd(own, ALIGNED)
        if near == own:
            return plus(times(lane, own), which)
        skipped = times(quotient(which, nodes.number(near)), size // own * near - near)
        return plus(which, skipped, times(lane, near))

    def prepare(self, side: _Side) -> None:
        """Find what a thread reads of an operand, as far as it is the same in all steps."""
        tile, writer = self.tile, self.writer
        wide = tile.depth if side.along_terms else side.size
        side.line = writer.let("line", quotient(self.thread, nodes.number(wide)))
        side.lane = writer.let("lane", nodes.apply("sub", self.thread, times(side.line, wide)))
        extents = extents_of(side.variables)
        if not side.along_terms:
            at = writer.let("at", side.clamped(side.lane))
            side.values = writer.decoded(at, extents)
        elif sum(not is_one(extent) for _, extent in extents) > 1:
            many = ceiling(nodes.number(side.size), tile.threads // tile.depth)
            side.kept = {name: writer.fresh(f"{name}_of") for name, _ in extents}
            for array in side.kept.values():
                writer.add(Allocate(array, nodes.DType.INT64, (many,), local=True))
            turn = nodes.var(writer.fresh("turn"))
            inside = writer.inside()
            row = plus(side.line, times(turn, tile.threads // tile.depth))
            for name, value in inside.decoded(inside.let("at", side.clamped(row)), extents).items():
                inside.add(Store(side.kept[name], (turn,), value))
            writer.add(For(turn.name, many, tuple(inside.statements)))

    # --- the walk along the sum -------------------------------------------------------------------------

    def zeros(self) -> str:
        """The sums of a thread."""
        tile, writer, dtype = self.tile, self.writer, self.problem.dtype
        sums, i, j = writer.fresh("sums"), writer.counter("i", 2), writer.counter("j", 2)
        sizes = (nodes.number(tile.own_rows), nodes.number(tile.own_columns))
        writer.add(Allocate(sums, dtype, sizes, local=True))
        self.own_rows, self.factor = writer.fresh("own_rows"), writer.fresh("factor")
        writer.add(Allocate(self.own_rows, dtype, sizes[:1], local=True))
        column, row = writer.inside(), writer.inside()
        column.add(Store(sums, (i, j), self.problem.zero))
        row.repeat(j, tile.own_columns, column)
        writer.repeat(i, tile.own_rows, row)
        self.i, self.j = i, j
        return sums

    def walk(self, part: Expr, sums: str) -> None:
        tile, writer = self.tile, self.writer
        first, many = ZERO, self.steps
        if self.cut is not None:
            ends = [quotient(times(at, self.steps), self.cut.parts) for at in (part, plus(part, ONE))]
            first = writer.let("first_step", ends[0])
            many = writer.let("steps", nodes.apply("sub", ends[1], first))
        step, body = nodes.var(writer.fresh("step")), writer.inside()
        at = body.decoded(body.let("here", plus(first, step)), self.chunks)
        even = nodes.apply("eq", remainder(step, 2), ZERO)
        phase = body.let("phase", nodes.apply("select", even, ZERO, nodes.number(tile.depth)))
        base = body.let("base", times(at["chunk"], tile.depth))
        for side in self.sides:
            self.read(body, side, {**at, **side.batch}, base, phase)
        body.add(Barrier())
        self.multiply(body, sums, phase)
        writer.add(For(step.name, many, tuple(body.statements)))

    def read(self, body: Writer, side: _Side, values: Mapping[str, Expr], base: Expr, phase: Expr) -> None:
        """Read a tile of an operand."""
        if side.along_terms:
            self.read_along_terms(body, side, values, base, phase)
        else:
            self.read_along_rows(body, side, values, base, phase)

    def read_along_terms(
        self, body: Writer, side: _Side, values: Mapping[str, Expr], base: Expr, phase: Expr
    ) -> None:
        lines = self.tile.threads // self.tile.depth
        found, known = self.term(body, plus(base, side.lane))
        many = -(-side.size // lines)
        turn, inside = body.counter("turn", many), body.inside()
        row = inside.let("row", plus(side.line, times(turn, lines)))
        reading = inside.inside()
        rows = {name: nodes.load(kept, (turn,), nodes.DType.INT64) for name, kept in side.kept.items()}
        if not rows:
            rows = reading.decoded(reading.let("at", side.clamped(row)), extents_of(side.variables))
        value = self.problem.element(reading, side.reading, {**values, **found, **rows}, known)
        reading.add(Store(side.shared, (plus(phase, side.lane), row), value))
        inside.when(None if side.size % lines == 0 else under(row, nodes.number(side.size)), reading)
        body.repeat(turn, many, inside)

    def read_along_rows(
        self, body: Writer, side: _Side, values: Mapping[str, Expr], base: Expr, phase: Expr
    ) -> None:
        depth, lines = self.tile.depth, self.tile.threads // side.size
        many = -(-depth // lines)
        turn, inside = body.counter("turn", many), body.inside()
        term = inside.let("term", plus(side.line, times(turn, lines)))
        reading = inside.inside()
        found, known = self.term(reading, plus(base, term))
        value = self.problem.element(reading, side.reading, {**values, **found, **side.values}, known)
        reading.add(Store(side.shared, (plus(phase, term), side.lane), value))
        inside.when(None if depth % lines == 0 else under(term, nodes.number(depth)), reading)
        body.repeat(turn, many, inside)

    def term(self, writer: Writer, number: Expr) -> tuple[dict[str, Expr], list[Expr]]:
        """The values of the inner variables of a term of the sum, and the condition that there is one."""
        number = writer.let("k", number)
        known = [] if self.terms.whole else [under(number, self.inner_terms)]
        return writer.decoded(number, extents_of(self.terms.inner)), known

    def multiply(self, body: Writer, sums: str, phase: Expr) -> None:
        """Add the products of a step to the sums of a thread."""
        tile = self.tile
        turn, inside = body.counter("q", tile.depth // tile.unrolled), body.inside()
        term = inside.let("term", plus(phase, times(turn, tile.unrolled)))
        for more in range(tile.unrolled):
            self.multiply_term(inside, sums, plus(term, nodes.number(more)))
        body.repeat(turn, tile.depth // tile.unrolled, inside)

    def multiply_term(self, body: Writer, sums: str, term: Expr) -> None:
        tile, dtype, (left, right) = self.tile, self.problem.dtype, self.sides
        i, j = self.i, self.j
        row, column = body.inside(), body.inside()
        at = self.own(i, self.down, tile.own_rows, tile.rows)
        row.add(Store(self.own_rows, (i,), nodes.load(left.shared, (term, at), dtype)))
        body.repeat(i, tile.own_rows, row)
        at = self.own(j, self.across, tile.own_columns, tile.columns)
        column.add(Let(self.factor, nodes.load(right.shared, (term, at), dtype)))
        factor = nodes.var(self.factor, dtype)
        product = nodes.apply("mul", nodes.load(self.own_rows, (i,), dtype), factor)
        row = column.inside()
        row.add(AddTo(sums, (i, j), "sum", product))
        column.repeat(i, tile.own_rows, row)
        body.repeat(j, tile.own_columns, column)

    # --- the results ------------------------------------------------------------------------------------

    def finish(self, part: Expr, sums: str) -> None:
        """Store the sums of a thread, of rows and columns that exist."""
        tile, problem, (left, right) = self.tile, self.problem, self.sides
        i, j, row, column = self.i, self.j, self.writer.inside(), self.writer.inside()
        of_row, of_column = row.inside(), column.inside()
        at = row.let("row", plus(left.first, self.own(i, self.down, tile.own_rows, tile.rows)))
        rows = of_row.decoded(at, extents_of(left.variables))
        at_column = column.let(
            "column", plus(right.first, self.own(j, self.across, tile.own_columns, tile.columns))
        )
        columns = of_column.decoded(at_column, extents_of(right.variables))
        values, value = {**left.batch, **rows, **columns}, nodes.load(sums, (i, j), problem.dtype)
        if self.cut is None:
            problem.store(of_column, values, value)
        else:
            self.cut.store(of_column, problem, part, values, value)
        column.when(right.has(at_column), of_column)
        of_row.repeat(j, tile.own_columns, column)
        row.when(left.has(at), of_row)
        self.writer.repeat(i, tile.own_rows, row)
