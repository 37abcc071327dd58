"""Adding up what the parts of tasks have left, in vectors and on all threads.

    for part in range(parts):
        for i in range(n):
            total[i] += total_parts[part, i]

Kernels that launch tasks are compiled for size (`gradc_runtime.kernel_code`), so this loop is a call in them.  Every
element is one chain of additions in the order of the parts: the bits are those of the loop.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from gradc_runtime import threads
from gradc_runtime.routines import exported, task
from gradc_runtime.simd import (
    element_access,
    element_type,
    first_lanes,
    masked_load,
    masked_store,
    stack_buffer,
    tile,
)

VECTORS = 4  # of neighbours that are added up together
PARALLEL = 1 << 15  # elements of all parts above which threads pay
TOTAL, ROWS, COUNT, SIZE, WORDS = 0, 8, 16, 24, 4  # what tasks are told


@dataclass(frozen=True, slots=True)
class PartSum:
    """The names of an array and of the copies that are added to it, row by row."""

    total: str
    copies: str


def part_sum(loop: ast.For, made: Mapping[str, Sequence[ast.expr]]) -> PartSum | None:
    """The sum that a loop is, if it goes through whole arrays; `made` has the extents with which each was made."""
    statement: ast.stmt = loop
    indices: list[str] = []
    extents: list[str] = []
    while isinstance(statement, ast.For) and len(statement.body) == 1:
        if not isinstance(statement.target, ast.Name) or not isinstance(statement.iter, ast.Call):
            return None
        indices.append(statement.target.id)
        extents += map(ast.dump, statement.iter.args)
        statement = statement.body[0]
    match statement:
        case ast.AugAssign(
            target=ast.Subscript(value=ast.Name(id=total), slice=here),
            op=ast.Add(),
            value=ast.Subscript(value=ast.Name(id=copies), slice=there),
        ):
            pass
        case _:
            return None
    whole = _names(here) == indices[1:] and _names(there) == indices
    same = _shape(made, total) == extents[1:] and _shape(made, copies) == extents
    return PartSum(total, copies) if whole and same else None


def _names(places: ast.expr) -> list[str]:
    found = places.elts if isinstance(places, ast.Tuple) else [places]
    return [place.id if isinstance(place, ast.Name) else "" for place in found]


def _shape(made: Mapping[str, Sequence[ast.expr]], name: str) -> list[str]:
    return [ast.dump(extent) for extent in made.get(name, ())]


@cache
def adder(bits: int) -> Any:
    """``add(total, rows, count, size)``, as a symbol: add `count` rows of `size` neighbours to the row `total`."""
    launch, address, words = threads.launcher(), _adding(bits), stack_buffer(8 * WORDS)
    _, write = element_access(0)
    lanes = VECTORS * tile(bits).lanes

    def add(total: int, rows: int, count: int, size: int) -> None:
        table = words()
        write(table + TOTAL, total)
        write(table + ROWS, rows)
        write(table + COUNT, count)
        write(table + SIZE, size)
        patience = 1_000_000 + count * size if count * size >= PARALLEL else 0
        launch(address(), (size + lanes - 1) // lanes, table, patience)

    return exported(f"gradc_add_parts_{bits}", add)


def _adding(bits: int) -> Any:
    """The task that adds up some neighbours."""
    read, _ = element_access(0)
    lanes, size = tile(bits).lanes, bits // 8
    many, one = _added_vectors(bits, VECTORS), _added_vectors(bits, 1)

    def adding(arguments: int, counts: int, steps: int, table: int) -> None:
        width, count = read(table + SIZE), read(table + COUNT)
        first = read(arguments) * VECTORS * lanes
        total, rows = read(table + TOTAL) + first * size, read(table + ROWS) + first * size
        if first + VECTORS * lanes <= width:
            many(total, rows, count, width * size, lanes)
            return
        for at in range(0, width - first, lanes):
            one(total + at * size, rows + at * size, count, width * size, min(lanes, width - first - at))

    return task(f"gradc_adding_parts_{bits}", adding)


def _added_vectors(bits: int, vectors: int) -> Any:
    """``add(total, rows, count, step, filled)``: `vectors` neighbours of `count` rows; the last vector has `filled`."""
    word, lanes, size = ir.IntType(64), tile(bits).lanes, bits // 8
    vector = ir.VectorType(element_type(bits), lanes)

    @intrinsic
    def add(typing: Any, total: Any, rows: Any, count: Any, step: Any, filled: Any) -> Any:
        """Keep the sums in registers while going through the rows."""

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            total, rows, count, step, filled = arguments
            mask, zero = first_lanes(builder, filled, lanes), ir.Constant(vector, [0.0] * lanes)

            def place(address: Any, at: int) -> Any:
                found = builder.add(address, word(at * lanes * size))
                return builder.inttoptr(found, vector.as_pointer())

            def loaded(address: Any, at: int) -> Any:
                if at == vectors - 1:
                    return masked_load(builder, place(address, at), mask, zero)
                return builder.load(place(address, at), align=size)

            before = builder.block
            start = [loaded(total, at) for at in range(vectors)]
            test, loop, done = (builder.append_basic_block(name) for name in ("test", "row", "done"))
            builder.branch(test)
            builder.position_at_end(test)
            row, sums = builder.phi(word), [builder.phi(vector) for _ in range(vectors)]
            row.add_incoming(word(0), before)
            builder.cbranch(builder.icmp_signed("<", row, count), loop, done)
            builder.position_at_end(loop)
            line = builder.add(rows, builder.mul(row, step))
            for at, (old, first) in enumerate(zip(sums, start, strict=True)):
                old.add_incoming(first, before)
                old.add_incoming(builder.fadd(old, loaded(line, at)), loop)
            row.add_incoming(builder.add(row, word(1)), loop)
            builder.branch(test)
            builder.position_at_end(done)
            for at, found in enumerate(sums):
                if at == vectors - 1:
                    masked_store(builder, found, place(total, at), mask)
                else:
                    builder.store(found, place(total, at), align=size)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 5), generate

    return add
