"""Whether results lie within the running error bounds of others, and programs in float32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import mpmath
import numpy as np

from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Accumulate, Assign, Const, Equation, Operand, Program, TensorType
from gradc.ir.types import DType

Arrays = Mapping[str, np.ndarray]


def narrowed(program: Program) -> Program:
    """The program with float32 in the place of float64."""

    def dtype(old: DType) -> DType:
        return DType.F32 if old is DType.F64 else old

    def operand(old: Operand) -> Operand:
        return replace(old, dtype=dtype(old.dtype)) if isinstance(old, Const) else old

    def equation(old: Equation) -> Equation:
        if not isinstance(old, Assign | Accumulate):
            return old
        changed = replace(old, operands=tuple(operand(each) for each in old.operands))
        if isinstance(changed, Assign) and changed.reduce is not None:
            changed = replace(changed, reduce=replace(changed.reduce, acc=dtype(changed.reduce.acc)))
        return changed

    types = {name: TensorType(dtype(type_.dtype), type_.shape) for name, type_ in program.types.items()}
    return replace(program, equations=tuple(equation(each) for each in program.equations), types=types)


def taken(program: Program, inputs: Arrays) -> dict[str, np.ndarray]:
    """Inputs in the dtypes of the program."""
    return {name: np.asarray(inputs[name], program.types[name].dtype.numpy) for name in program.inputs}


def excess(got: object, bound: object, exact: object) -> float:
    """How many times the bound the worst result is off; results that are NaN are not judged."""
    worst = 0.0
    for one, room, true in zip(np.ravel(got), np.ravel(bound), np.ravel(exact), strict=True):  # type: ignore[call-overload]
        if np.isnan(one) or np.isinf(room):
            continue
        one, true = mpmath.mpf(float(one)), mpmath.mpf(true if isinstance(true, mpmath.mpf) else float(true))
        off = mpmath.mpf(0) if one == true else abs(one - true)
        if off > 0:
            worst = max(worst, float(off / mpmath.mpf(float(room))) if room else float("inf"))
    return worst


def assert_bounded(program: Program, inputs: Arrays) -> list[float]:
    """50-digit results lie within the bound of machine results; returns the relative bounds."""
    inputs = taken(program, inputs)
    values, bounds = evaluate(program, inputs, bound=True)
    plain = evaluate(program, inputs)
    with mpmath.workdps(50):
        exact = evaluate(program, inputs, numbers="mp")
        for name, value, same, bound, true in zip(program.outputs, values, plain, bounds, exact, strict=True):
            assert np.asarray(value).tobytes() == np.asarray(same).tobytes(), name
            assert np.shape(bound) == np.shape(value), name
            assert excess(value, bound, true) <= 1, name
    return [
        float(room) / max(abs(float(one)), 1e-300)
        for value, bound in zip(values, bounds, strict=True)
        for one, room in zip(np.ravel(value), np.ravel(bound), strict=True)
    ]


def assert_agree(first: Program, second: Program, inputs: Arrays) -> None:
    """The results of two programs lie within the sum of their bounds."""
    inputs = taken(first, inputs)
    (one, room), (two, other) = (evaluate(program, inputs, bound=True) for program in (first, second))
    for name, a, b, c, d in zip(first.outputs, one, two, room, other, strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype, name
        assert excess(a, np.asarray(c) + np.asarray(d), b) <= 1, name
