"""Turn accumulations into plain equations where the access can be solved."""

from __future__ import annotations

from gradc.ir.extents import Size
from gradc.ir.index.nodes import Access, Accumulate, Affine, Assign, Equation, Program, Reduce
from gradc.ir.index.rewrite import map_operand, renumber
from gradc.ir.index.templates import template
from gradc.ir.names import NameSupply
from gradc.ir.types import DType
from gradc.passes.equations.windows import without_overlaps


def gather(program: Program) -> Program:
    """Solve the targets of accumulations; a tensor whose targets are all solved is assigned instead.

    Requires: `program` is valid.  Ensures: the same sums, in the same order of contributions; a sum of
    negative zeros stays negative, because nothing starts at zero any more.  Short windows that overlap come first
    (`gradc.passes.equations.windows`).

        w_bar[k, j] += h_bar[i, j] * x[i, k]      ->  w_bar[i, j] = sum[k] h_bar[k, j] * x[k, i]
        y_bar[i] += a[i];  y_bar[i] += b[i]       ->  y_bar_1 = a;  y_bar_2 = b;  y_bar = y_bar_1 + y_bar_2
    """
    program = without_overlaps(program)
    contributions: dict[str, list[Accumulate]] = {}
    for equation in program.equations:
        if isinstance(equation, Accumulate):
            contributions.setdefault(equation.out, []).append(equation)
    solved = {
        name: len(found)
        for name, found in contributions.items()
        if all(_is_projection(equation, program.types[name].shape) for equation in found)
    }
    types = dict(program.types)
    names = NameSupply(tuple(types))
    so_far: dict[str, list[str]] = {name: [] for name in solved}
    result: list[Equation] = []
    for equation in program.equations:
        if not isinstance(equation, Accumulate) or equation.out not in solved:
            result.append(equation)
            continue
        total = equation.out
        last = len(so_far[total]) + 1 == solved[total]
        if solved[total] == 1:
            result.append(_assigned(equation, total, types[total].shape, types[total].dtype))
            continue
        part = names.fresh(total)
        types[part] = types[total]
        result.append(_assigned(equation, part, types[total].shape, types[total].dtype))
        so_far[total].append(part)
        if len(so_far[total]) > 1:
            first = so_far[total][0]
            out = total if last else names.fresh(total)
            types[out] = types[total]
            identity = tuple(range(len(types[total].shape)))
            operands = (Access(first, identity), Access(part, identity))
            shape = types[total].shape
            result.append(Assign(out, shape, len(shape), None, template("add"), operands, equation.origin))
            so_far[total] = [out, *so_far[total][1:]]
    return Program(
        program.name, program.inputs, tuple(result), program.outputs, types, program.guards, program.quotients
    )


def _is_projection(equation: Accumulate, shape: tuple[Size, ...]) -> bool:
    """Every target index is a distinct bare index that covers its axis, or index 0 of a unit axis."""
    seen: set[int] = set()
    for index, size in zip(equation.target, shape, strict=True):
        if isinstance(index, int):
            if index in seen or equation.space[index] != size:
                return False
            seen.add(index)
        elif not (isinstance(index, Affine) and not index.terms and index.offset == 0 and size == 1):
            return False
    return True


def _assigned(equation: Accumulate, out: str, shape: tuple[Size, ...], dtype: DType) -> Assign:
    """Return the solved equation: target indices first, the others summed."""
    mapping: dict[int, int] = {}
    for axis, index in enumerate(equation.target):
        if isinstance(index, int):
            mapping[index] = axis
    rest = [position for position in range(len(equation.space)) if position not in mapping]
    for at, position in enumerate(rest, len(shape)):
        mapping[position] = at
    space = (*shape, *(equation.space[position] for position in rest))
    change = renumber(mapping)
    operands = tuple(map_operand(operand, change) for operand in equation.operands)
    reduce = Reduce("sum", dtype) if rest else None
    return Assign(out, space, len(shape), reduce, equation.template, operands, equation.origin)
