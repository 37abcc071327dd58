"""The dtype in which NumPy computes: asked of NumPy itself, so that no rule is written twice."""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np

from gradc.errors import ArgumentError, DTypeError
from gradc.ir.types import DType, dtype_of
from gradc.lang.emit import Arg, Emitter, Value, weak_kind
from gradc.lang.operations import lift

Kind: TypeAlias = DType | type  # a tensor's dtype, or the type of a weak Python scalar


def kind_of(x: Arg) -> Kind:
    """Return what promotion needs to know of an operand."""
    kind = weak_kind(x)
    if kind is None:
        assert isinstance(x, Value)
        return x.dtype
    return DType.BOOL if kind is bool else int if kind is int else float


def ufunc_dtype(ufunc: np.ufunc, operands: tuple[Arg, ...]) -> DType:
    """Return the dtype of the inner loop that NumPy would choose for these operands."""
    if len(operands) != ufunc.nin:
        raise ArgumentError(
            f"{ufunc.__name__} takes {ufunc.nin} arrays, {len(operands)} were given",
            do="assign the result instead of passing an output array",
        )
    return _loop(ufunc, tuple(kind_of(operand) for operand in operands))


@cache
def _loop(ufunc: np.ufunc, kinds: tuple[Kind, ...]) -> DType:
    # Python numbers alone have nothing to be weak against: NumPy computes in their default dtypes.
    weak = any(isinstance(kind, DType) for kind in kinds)
    given = tuple(
        kind.numpy if isinstance(kind, DType) else kind if weak else np.dtype(kind) for kind in kinds
    )
    try:
        resolved = ufunc.resolve_dtypes((*given, *(None,) * ufunc.nout))  # pyright: ignore[reportAttributeAccessIssue]
    except TypeError as problem:
        shown = ", ".join(
            str(kind) if isinstance(kind, DType) else f"Python {kind.__name__}" for kind in kinds
        )
        raise DTypeError(
            f"NumPy does not define {ufunc.__name__} for {shown}", why=str(problem), do="convert with astype"
        ) from None
    return _supported(np.result_type(*resolved[: ufunc.nin]))


def result_dtype(*operands: Arg) -> DType:
    """NumPy's `result_type`: what `where`, `select` and `concatenate` give."""
    return _result(tuple(kind_of(operand) for operand in operands))


@cache
def _result(kinds: tuple[Kind, ...]) -> DType:
    return _supported(np.result_type(*(kind.numpy if isinstance(kind, DType) else kind(0) for kind in kinds)))


def _supported(dtype: np.dtype) -> DType:
    """Small integers give float16 in NumPy; gradc has none and computes in float32."""
    return DType.F32 if dtype == np.float16 else dtype_of(dtype)


def common_float(emit: Emitter, *xs: lift.ArrayLike) -> tuple[Value, ...]:
    """Return the operands as tensors of the floating-point dtype that they share: integers become float64."""
    operands = [lift.argument(emit, x) for x in xs]
    shared = result_dtype(*operands)
    shared = shared if shared.is_float else DType.F64
    return tuple(lift.array(emit, operand, shared) for operand in operands)
