"""Copies of an array are added up: neighbouring threads have neighbouring elements, and rows of threads have copies.

    launch sums_1, block < (elements + columns - 1) / columns, thread < 256:
        column = thread % columns
        for copy in range(thread / columns, copies, rows): sum = sum + x_parts[copy, element]
        sums[thread] = sum
        ...                         the rows of the block, the lower half of them to the upper one, until one is left
        x[element] += sums[column]

So every read is of whole sectors of memory, and the order of the sum follows from extents alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Barrier,
    Expr,
    Extent,
    Let,
    Number,
    Share,
    Statement,
    Store,
    Stride,
    Update,
    Var,
    When,
    Width,
)
from gradc.ir.names import INDEX_NAMES
from gradc.passes.grids.contraction_numbers import Writer
from gradc.passes.grids.numbers import THREADS, Numbers, least
from gradc.passes.loops.work import product

ROWS = 32  # of threads in a block, at most: each has a copy, and every ROWS-th one behind it


def add_up(array: Allocate, copies: str, many: Expr, numbers: Numbers) -> None:
    """Launch the sums over `many` copies of an array, which are added to it."""
    names, zero, one = numbers.names, nodes.number(0), nodes.number(1)
    rows, columns = nodes.var(names.fresh("sharing")), nodes.var(names.fresh("columns"))
    elements = product(array.shape)
    across = nodes.apply("floor_divide", nodes.number(THREADS), rows)
    numbers.out += [
        Width(rows.name, many, ROWS),
        Extent(columns.name, across),
    ]
    if not isinstance(elements, Var | Number):
        many_elements = names.fresh("elements")
        numbers.out.append(Extent(many_elements, elements))
        elements = nodes.var(many_elements)
    launch, writer = numbers.launch("sums"), Writer(names)
    row = writer.let("row", nodes.apply("floor_divide", launch.thread, columns))
    column = writer.let("column", nodes.apply("sub", launch.thread, nodes.apply("mul", row, columns)))
    number = writer.let("element", nodes.apply("add", nodes.apply("mul", launch.block, columns), column))
    last = nodes.apply("sub", elements, nodes.number(1))
    axes = [(letter, size) for letter, size in zip(INDEX_NAMES, array.shape, strict=False)]
    place = tuple(writer.decoded(writer.let("at", least(number, last)), axes).values())
    total, copy = writer.fresh("total"), nodes.var(writer.fresh("copy"))
    update = Update(total, "sum", nodes.load(copies, (copy, *place), array.dtype))
    shared = writer.fresh("sums")
    writer.add(Let(total, nodes.neutral("sum", array.dtype)), Stride(copy.name, row, many, rows, (update,)))
    writer.add(Share(shared, array.dtype, (THREADS,)))
    writer.add(Store(shared, (launch.thread,), nodes.var(total, array.dtype)), Barrier())
    writer.add(*_halved(shared, array, launch.thread, columns))
    found = nodes.load(shared, (column,), array.dtype)
    is_first = nodes.apply("logical_and", nodes.apply("eq", row, zero), nodes.apply("lt", number, elements))
    writer.add(When(is_first, (AddTo(array.tensor, place, "sum", found),)))
    blocks = nodes.apply(
        "floor_divide", nodes.apply("add", elements, nodes.apply("sub", columns, one)), columns
    )
    many_blocks = names.fresh("blocks")
    numbers.out.append(Extent(many_blocks, blocks))
    numbers.emit(launch, nodes.var(many_blocks), writer.close())


def _halved(shared: str, array: Allocate, thread: Expr, columns: Expr) -> Sequence[Statement]:
    """Add the lower half of the rows of threads to the upper one, until one row is left."""
    made: list[Statement] = []
    half = THREADS // 2
    while half >= THREADS // ROWS:
        upper = nodes.number(half)
        other = nodes.load(shared, (nodes.apply("add", thread, upper),), array.dtype)
        inside = nodes.apply(
            "logical_and", nodes.apply("lt", thread, upper), nodes.apply("le", columns, upper)
        )
        made += [When(inside, (AddTo(shared, (thread,), "sum", other),)), Barrier()]
        half //= 2
    return made
