"""Loops over float32 that add in float64 have as many lanes as a register has numbers of float32.

LLVM takes as many lanes as a register has numbers of the widest type in a loop: with one sum in float64, all of the
arithmetic in float32 beside it would fill half a register.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llvmlite import ir

from gradc_runtime.simd import ask_of_loop, vector_bytes


def widen(module: ir.Module) -> None:
    """Ask for full registers of float32 in the loops of a module that add them up in float64."""
    for function in module.functions:
        for latch in {id(latch): latch for latch in _latches_of_mixed_sums(function)}.values():
            ask_of_loop(latch, "llvm.loop.vectorize.width", ir.IntType(32)(vector_bytes() // 4))


def _latches_of_mixed_sums(function: ir.Function) -> Iterator[Any]:
    """For every sum of float32 in float64 the branch back to the head of the innermost loop around it."""
    sums = [block for block in function.blocks if any(map(_is_mixed_sum, block.instructions))]
    if not sums:
        return
    following = {block: _targets(block) for block in function.blocks}
    before: dict[ir.Block, list[ir.Block]] = {block: [] for block in function.blocks}
    for block, targets in following.items():
        for target in targets:
            before[target].append(block)
    ends = _branches_back(function.blocks[0], following)
    loops = sorted(((_body(head, end, before), end) for end, head in ends), key=lambda loop: len(loop[0]))
    for block in sums:
        around = next((end for body, end in loops if block in body), None)
        if around is not None:
            yield around.terminator


def _branches_back(
    entry: ir.Block, following: Mapping[ir.Block, Sequence[ir.Block]]
) -> list[tuple[ir.Block, ir.Block]]:
    """The branches to a block that leads to them: walking down from the entry, it is on the way."""
    found: list[tuple[ir.Block, ir.Block]] = []
    way, seen = {entry: iter(following[entry])}, {entry}
    while way:
        block, targets = next(reversed(way.items()))
        target = next(targets, None)
        if target is None:
            del way[block]
        elif target in way:
            found.append((block, target))
        elif target not in seen:
            seen.add(target)
            way[target] = iter(following[target])
    return found


def _body(head: ir.Block, end: ir.Block, before: Mapping[ir.Block, Sequence[ir.Block]]) -> set[ir.Block]:
    """The blocks from which the branch back is reached without the head."""
    found, open_ = {head, end}, [end]
    while open_:
        block = open_.pop()
        for earlier in before[block] if block is not head else ():
            if earlier not in found:
                found.add(earlier)
                open_.append(earlier)
    return found


def _targets(block: ir.Block) -> list[ir.Block]:
    terminator: Any = block.terminator
    return [found for found in getattr(terminator, "operands", ()) if isinstance(found, ir.Block)]


def _is_mixed_sum(instruction: Any) -> bool:
    """Whether this adds a number of float32 to an element in float64, or to a sum of them whose order is free."""
    if getattr(instruction, "opname", "") != "fadd":
        return False
    names = [getattr(operand, "opname", "") for operand in instruction.operands]
    if "reassoc" not in instruction.flags and "load" not in names:
        return False
    return any(
        name == "fpext" and operand.operands[0].type == ir.FloatType()
        for name, operand in zip(names, instruction.operands, strict=True)
    )
