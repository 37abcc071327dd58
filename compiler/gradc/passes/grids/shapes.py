"""The shapes of a kernel's arrays, by the names that the kernel gives extents."""

from __future__ import annotations

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import Allocate, Apply, Expr, Extent, Kernel, Load, Product, Require
from gradc.ir.types import DType


def shapes_of(kernel: Kernel) -> dict[str, tuple[Expr, ...]]:
    """The shapes of arrays, those of arguments by the names that the kernel gives their extents at its entry."""
    known: dict[Expr, Expr] = {}
    for statement in kernel.body:
        match statement:
            case Extent(name, Load() as size):
                known[size] = nodes.var(name)
            case Require(Apply("eq", (Load() as size, same))):
                known[size] = same
            case _:
                pass
    found: dict[str, tuple[Expr, ...]] = {}
    for parameter in kernel.parameters:
        sizes = (
            nodes.load(f"{parameter.name}.shape", (nodes.number(a),), DType.INT64)
            for a in range(parameter.rank)
        )
        found[parameter.name] = tuple(known.get(size, size) for size in sizes)
    for statement in kernel.body:
        if isinstance(statement, Allocate):
            found[statement.tensor] = statement.shape
        elif isinstance(statement, Product) and {statement.left, statement.right} <= found.keys():
            rows = found[statement.left][int(statement.transpose_left)]
            found[statement.out] = (rows, found[statement.right][int(not statement.transpose_right)])
    return found
