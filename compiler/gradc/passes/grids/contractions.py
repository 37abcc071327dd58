"""Products of matrices and contractions as launches.

    product z = x @ w          launch z_tiles, block < ((n + 127) / 128) * ((m + 127) / 128), thread < 256:
                        ->         ...
                               launch z_sum, block < ...      where a long sum has been cut into parts

Every element of the result is written by one thread, and the parts of a sum are added in their order: results are
always the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gradc.errors import CompilerBug
from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import Allocate, Contract, Expr, Product, Statement
from gradc.ir.names import NameSupply
from gradc.ir.types import DType
from gradc.passes.grids.contraction_kernel import tile_launch
from gradc.passes.grids.contraction_numbers import ONE, most, times
from gradc.passes.grids.contraction_places import Reading, Space, Variable, space_of
from gradc.passes.grids.contraction_results import Epilogue, Host, Problem, added_up, cut
from gradc.passes.grids.contraction_tiles import Plan, are_many, blocks_of, parts_of, plan_of
from gradc.passes.grids.contraction_vectors import blocks_of as blocks_of_vectors
from gradc.passes.grids.contraction_vectors import vector_launch, width_of
from gradc.passes.loops.work import product
from gradc_runtime.contraction import positions


@dataclass(frozen=True, slots=True)
class Tensors:
    """What is known of the kernel around a contraction: free names, and the dtypes and shapes of its tensors.

    A shape that is not there is read from the array.
    """

    names: NameSupply
    dtypes: Mapping[str, DType]
    shapes: Mapping[str, tuple[Expr, ...]]

    def extent(self, tensor: str, axis: int) -> Expr:
        """The extent of an axis."""
        if tensor in self.shapes:
            return self.shapes[tensor][axis]
        return nodes.load(f"{tensor}.shape", (nodes.number(axis),), DType.INT64)


def contraction_launches(
    statement: Product | Contract,
    tensors: Tensors,
    *,
    epilogue: Epilogue | None = None,
    plan: Plan | None = None,
) -> list[Statement]:
    """Return the statements of the host that carry out a product or a contraction.

    Requires: a contraction has no views, and adds in any case or never.  Ensures: the same values, sums in another
    order, where what meets a zero for a missing element is finite.

    Parameters
    ----------
    epilogue : Epilogue, optional
        What to do with the elements instead of storing them, if they are not added.
    plan : Plan, optional
        Instead of the one for these extents.
    """
    host = Host(tensors.names)
    if isinstance(statement, Product):
        statement = allocated(statement, tensors, host)
    if any(statement.views) or statement.again is not None:
        raise CompilerBug(f"a contraction to {statement.out} in parts of tensors", stage="grids")
    if epilogue is not None and statement.add:
        raise CompilerBug(f"a contraction adds to {statement.out}, and has an epilogue", stage="grids")
    problem = replace(_problem(statement, tensors, host), epilogue=epilogue)
    carry_out = _tiles if problem.space.rows and problem.space.columns else _vectors
    carry_out(problem, plan_of(problem.space, problem.dtype) if plan is None else plan, host)
    return host.statements


def allocated(statement: Product, tensors: Tensors, host: Host) -> Contract:
    """Return the contraction that a product is, into a tensor that the host makes."""
    left, right, turned = statement.left, statement.right, statement.transpose_left
    rows = host.bind("rows", tensors.extent(left, int(turned)))
    columns = host.bind("columns", tensors.extent(right, int(not statement.transpose_right)))
    terms = host.bind("terms", tensors.extent(left, int(not turned)))
    host.statements.append(Allocate(statement.out, tensors.dtypes[left], (rows, columns)))
    first, second = ("k i" if turned else "i k"), ("j k" if statement.transpose_right else "k j")
    texts = ("i j", left, first, right, second)
    return Contract(statement.out, *texts, (rows, columns, terms), False, note=statement.note)


def _problem(statement: Contract, tensors: Tensors, host: Host) -> Problem:
    """The contraction with names for all extents."""
    target, *operands = (positions(text) for text in (statement.target, statement.first, statement.second))
    letters = {letter for read in (target, *operands) for terms, _ in read for _, letter in terms}
    named = zip(sorted(letters), statement.extents, strict=True)
    extents = {letter: host.bind(f"{letter}_extent", size) for letter, size in named}
    readings = Reading(statement.left, operands[0]), Reading(statement.right, operands[1])
    shape = [tensors.extent(statement.out, axis) for axis in range(len(target))]
    space = _named(space_of(statement.out, target, readings, extents, shape), host)
    groups = {"batch": space.batch, "rows": space.rows, "columns": space.columns, "terms": space.summed}
    counts = [host.bind(hint, product([v.extent for v in group])) for hint, group in groups.items()]
    batch, rows, columns, terms = counts
    dtype = tensors.dtypes[statement.left]
    return Problem(space, dtype, statement.add, batch, rows, columns, terms, note=statement.note)


def _named(space: Space, host: Host) -> Space:
    """The same space, where every extent is a name or a literal."""

    def bound(variables: Sequence[Variable]) -> tuple[Variable, ...]:
        return tuple(Variable(v.name, host.bind(f"{v.name}_extent", v.extent)) for v in variables)

    return replace(
        space,
        batch=bound(space.batch),
        rows=bound(space.rows),
        columns=bound(space.columns),
        summed=bound(space.summed),
        ends={axis: host.bind(f"end_{axis}", end) for axis, end in space.ends.items()},
    )


def _tiles(problem: Problem, plan: Plan, host: Host) -> None:
    """Launch the products of matrices."""
    small = ONE
    for tile in plan.tiles:
        blocks = host.bind("blocks", blocks_of(tile, problem.batch, problem.rows, problem.columns))
        if tile is not plan.tiles[-1]:
            large = host.bind("is_large", are_many(blocks, plan.enough))
            small = host.bind("is_small", nodes.apply("sub", ONE, large))
            host.statements.append(tile_launch(problem, tile, None, times(blocks, large), host))
            continue
        parts = parts_of(blocks, problem.space) if plan.parts is None else plan.parts
        found = cut(problem, ONE if parts is ONE else most(times(parts, small), ONE), host)
        blocks = times(blocks if found is None else times(blocks, found.parts), small)
        host.statements.append(tile_launch(problem, tile, found, blocks, host))
        if found is not None:
            added_up(problem, found, host)


def _vectors(problem: Problem, plan: Plan, host: Host) -> None:
    """Launch sums of their own for every element of the result."""
    width = width_of(problem, host)
    elements = host.bind("elements", product([problem.batch, problem.rows, problem.columns]))
    blocks = host.bind("blocks", blocks_of_vectors(elements, width))
    parts = parts_of(blocks, problem.space) if plan.parts is None else plan.parts
    found = cut(problem, parts, host)
    host.statements.append(vector_launch(problem, width, elements, found, host))
    if found is not None:
        added_up(problem, found, host)
