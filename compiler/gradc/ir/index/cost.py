"""Operation and byte counts of equations, as extents: polynomials where extents are symbols.

Counted are scalar operations of the templates (selects and copies are free) and the additions,
multiplications or comparisons of reductions and accumulations.  The first accumulation into a tensor is free
where it writes every element once: it is an assignment.  Library operations count as the usual flop counts,
rounded up.
"""

from __future__ import annotations

from typing import assert_never

from gradc.ir.extents import Size, add, mul, product
from gradc.ir.index.call_operations import CALL_OPERATIONS
from gradc.ir.index.nodes import (
    Accumulate,
    Assemble,
    Assign,
    Call,
    Equation,
    Program,
    outputs_of,
    reads_of,
)
from gradc.ir.index.templates import operation_count


def operations(program: Program, start: int = 0) -> Size:
    """Scalar operations of the equations from number `start` on."""
    total: Size = 0
    filled: set[str] = set()
    for equation in program.equations[start:]:
        total = add(total, equation_operations(program, equation))
        if isinstance(equation, Accumulate):
            if equation.out not in filled and covers_once(program, equation):
                total = add(total, mul(-1, product(equation.space)))
            filled.add(equation.out)
    return total


def equation_operations(program: Program, equation: Equation) -> Size:
    """Scalar operations of one equation."""
    match equation:
        case Assign(space=space, reduce=reduce):
            per_point = operation_count(equation.template)
            if reduce is None:
                return mul(per_point, product(space))
            return mul(per_point + 1, product(space))
        case Accumulate():
            return mul(operation_count(equation.template) + 1, product(equation.space))
        case Assemble():
            return 0
        case Call():
            return CALL_OPERATIONS[equation.operation](tuple(program.types[name] for name in equation.ins))
        case _:
            assert_never(equation)


def covers_once(program: Program, equation: Accumulate) -> bool:
    """Whether the target is a permutation of the whole space: every element is written exactly once."""
    bare = sorted(index for index in equation.target if isinstance(index, int))
    return bare == list(range(len(equation.space))) and len(bare) == len(equation.target)


def bytes_moved(program: Program, equation: Equation) -> Size:
    """Bytes of the tensors that the equation reads and writes, each once."""
    total: Size = 0
    for name in (*reads_of(equation), *outputs_of(equation)):
        type_ = program.types[name]
        total = add(total, mul(type_.dtype.numpy.itemsize, product(type_.shape)))
    return total
