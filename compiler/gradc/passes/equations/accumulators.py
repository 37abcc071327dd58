"""Decide in which dtype sums are accumulated, and make that part of the program."""

from __future__ import annotations

from dataclasses import replace

from gradc.ir.index.build import IDENTITY
from gradc.ir.index.contraction import is_contraction, is_matrix_product
from gradc.ir.index.nodes import Access, Assign, Equation, Program, Reduce, TensorType
from gradc.ir.index.templates import template
from gradc.ir.names import NameSupply
from gradc.ir.types import DType


def wide_accumulators(program: Program) -> Program:
    """Accumulate float32 sums in float64 (matrix products keep their own dtype) and round once at the end.

    Requires: `program` is valid.  Ensures: every sum is accumulated in the dtype of its result, float32 ones
    at least as accurately as before (a *rounding* pass).

        s : f32 = sum[i] x[i]      ->  s_wide : f64 = sum[i] x[i];  s : f32 = s_wide
    """
    types = dict(program.types)
    names = NameSupply(tuple(types))
    result: list[Equation] = []
    for equation in program.equations:
        acc = _accumulator(equation)
        if acc is None or not isinstance(equation, Assign) or acc is types[equation.out].dtype:
            result.append(equation)
            continue
        wide = names.fresh(f"{equation.out}_wide")
        shape = equation.space[: equation.rank]
        types[wide] = TensorType(acc, shape)
        result.append(replace(equation, out=wide, reduce=Reduce("sum", acc)))
        operands = (Access(wide, IDENTITY[equation.rank]),)
        result.append(
            Assign(equation.out, shape, equation.rank, None, template("copy"), operands, equation.origin)
        )
    return replace(program, equations=tuple(result), types=types)


def _accumulator(equation: Equation) -> DType | None:
    """Return the dtype in which an equation's sum is to be accumulated; None if it has no sum."""
    if not isinstance(equation, Assign) or equation.reduce is None or equation.reduce.op != "sum":
        return None
    narrow = equation.reduce.acc is DType.F32 and not (
        is_matrix_product(equation) or is_contraction(equation)
    )
    return DType.F64 if narrow else equation.reduce.acc
