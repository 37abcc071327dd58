"""Loops over float32 that add in float64 have as many lanes as a register has numbers of float32.

LLVM takes as many lanes as a register has numbers of the widest type in a loop: with one sum in float64, all of the
arithmetic in float32 beside it would fill half a register.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from llvmlite import ir

from gradc_runtime.simd import vector_bytes


def widen(module: ir.Module) -> None:
    """Ask for full registers of float32 in the innermost loops of a module that add them up in float64."""
    for function in module.functions:
        for latch, body in _innermost_loops(function):
            if any(_is_mixed_sum(instruction) for block in body for instruction in block.instructions):
                _ask(module, latch, vector_bytes() // 4)


def _innermost_loops(function: ir.Function) -> Iterator[tuple[ir.Instruction, Sequence[ir.Block]]]:
    """The branch back to the head of each loop that has none in it, and its blocks.

    Numba lays blocks out in the order of the text: a loop is what lies between its head and the branch back.
    """
    blocks = list(function.blocks)
    place = {block.name: at for at, block in enumerate(blocks)}
    loops: list[tuple[int, int]] = []
    for at, block in enumerate(blocks):
        heads = [place[target.name] for target in _targets(block) if place[target.name] <= at]
        loops += [(head, at) for head in heads]
    for head, end in loops:
        if not any(other != (head, end) and head <= other[0] and other[1] <= end for other in loops):
            terminator: Any = blocks[end].terminator
            yield terminator, blocks[head : end + 1]


def _targets(block: ir.Block) -> list[Any]:
    terminator: Any = block.terminator
    return [found for found in getattr(terminator, "operands", ()) if isinstance(found, ir.Block)]


def _is_mixed_sum(instruction: Any) -> bool:
    """Whether this adds a number of float32 to a sum in float64 whose order is free."""
    if getattr(instruction, "opname", "") != "fadd" or "reassoc" not in instruction.flags:
        return False
    return any(
        getattr(operand, "opname", "") == "fpext" and operand.operands[0].type == ir.FloatType()
        for operand in instruction.operands
    )


def _ask(module: ir.Module, latch: Any, lanes: int) -> None:
    """Give a loop metadata with its number of lanes; LLVM wants the list of them to begin with itself."""
    width = module.add_metadata(
        [ir.MetaDataString(module, "llvm.loop.vectorize.width"), ir.IntType(32)(lanes)]
    )
    loop: Any = ir.MDValue(module, [], name=str(len(module.metadata)))
    loop.operands = (loop, width)
    latch.set_metadata("llvm.loop", loop)
