"""Decide in which dtype sums are accumulated, and make that part of the program."""

from __future__ import annotations

from dataclasses import replace

from gradc.ir.index.build import IDENTITY
from gradc.ir.index.contraction import is_matrix_product
from gradc.ir.index.nodes import Access, Assign, Equation, Program, Reduce, TensorType
from gradc.ir.index.templates import template
from gradc.ir.names import NameSupply
from gradc.ir.types import DType


def wide_accumulators(program: Program) -> Program:
    """Accumulate float32 sums in float64 (matrix products keep their own dtype) and round once at the end.

    Requires: `program` is valid.  Ensures: float32 sums are at least as accurate as before (a *rounding* pass).

        s : f32 = sum[i] x[i]      ->  s_wide : f64 = sum[i] x[i];  s : f32 = s_wide
    """
    types = dict(program.types)
    names = NameSupply(tuple(types))
    result: list[Equation] = []
    for equation in program.equations:
        if not _is_narrow_sum(equation) or is_matrix_product(equation) or not isinstance(equation, Assign):
            result.append(equation)
            continue
        wide = names.fresh(f"{equation.out}_wide")
        shape = equation.space[: equation.rank]
        types[wide] = TensorType(DType.F64, shape)
        result.append(replace(equation, out=wide, reduce=Reduce("sum", DType.F64)))
        operands = (Access(wide, IDENTITY[equation.rank]),)
        result.append(
            Assign(equation.out, shape, equation.rank, None, template("copy"), operands, equation.origin)
        )
    return replace(program, equations=tuple(result), types=types)


def _is_narrow_sum(equation: Equation) -> bool:
    if not isinstance(equation, Assign) or equation.reduce is None:
        return False
    return equation.reduce.op == "sum" and equation.reduce.acc is DType.F32
