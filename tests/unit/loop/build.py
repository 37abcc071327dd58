"""Kernels written by hand, shared by the tests of the loop IR and of the printer."""

from __future__ import annotations

from gradc.ir.loop.nodes import (
    Allocate,
    Expr,
    Extent,
    For,
    Kernel,
    Let,
    Parameter,
    Statement,
    Store,
    Update,
    apply,
    load,
    number,
    var,
)
from gradc.ir.types import DType

F64, F32, I64, I32, BOOL = DType.F64, DType.F32, DType.INT64, DType.INT32, DType.BOOL
X = Parameter("x", F64, 1)
N = Extent("n", load("x.shape", (number(0),), I64))


def element(tensor: str = "x", dtype: DType = F64) -> Expr:
    """``tensor[i]``."""
    return load(tensor, (var("i"),), dtype)


def loop(*body: Statement) -> For:
    """``for i < n``."""
    return For("i", var("n"), body)


def kernel(
    *body: Statement, parameters: tuple[Parameter, ...] = (X,), results: tuple[str, ...] = ("y",)
) -> Kernel:
    """A kernel over ``x`` whose extent is bound to ``n``."""
    return Kernel("k", parameters, (N, *body) if X in parameters else body, results)


SUM = kernel(
    Let("s", number(0.0, F64)),
    Allocate("y", F64, (var("n"),)),
    loop(
        Update("s", "sum", element(), "s = sum[i] x[i]"),
        Store("y", (var("i"),), apply("mul", element(), element()), "y[i] = x[i] * x[i]"),
    ),
    results=("s", "y"),
)
