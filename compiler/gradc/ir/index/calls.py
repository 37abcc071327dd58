"""The closed table of library operations: what an index equation cannot say.

Each row gives the types of the results and the NumPy meaning.  Derivatives are in `gradc.autodiff.calls`; there is
no operation without one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradc.ir.extents import Size
from gradc.ir.types import DType

if TYPE_CHECKING:
    from gradc.ir.index.nodes import TensorType

Attributes = Mapping[str, Any]
Infer = Callable[[tuple["TensorType", ...], Attributes], tuple["TensorType", ...]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One library operation: `infer` gives result types, `numpy` the meaning on arrays (returns a tuple)."""

    name: str
    infer: Infer
    numpy: Callable[..., tuple[np.ndarray, ...]]


def _retype(type_: TensorType, shape: tuple[Size, ...], dtype: DType | None = None) -> TensorType:
    return type(type_)(dtype or type_.dtype, shape)


# --- meanings -----------------------------------------------------------------------------------------------


def _reshape(x: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return (np.reshape(x, shape).copy(),)


def _affine_scan(a: np.ndarray, b: np.ndarray, axis: int, reverse: bool) -> tuple[np.ndarray, ...]:
    """``t[i] = a[i] * t[i-1] + b[i]`` with ``t`` zero before the start; `reverse` runs from the end."""
    step = -1 if reverse else 1
    moved_a, moved_b = np.moveaxis(a, axis, 0)[::step], np.moveaxis(b, axis, 0)[::step]
    result = np.empty_like(moved_b)
    for position in range(len(result)):
        carried = moved_a[position] * result[position - 1] if position else 0
        result[position] = carried + moved_b[position] if position else moved_b[position]
    return (np.moveaxis(result[::step], 0, axis),)


def _argsort(x: np.ndarray, axis: int) -> tuple[np.ndarray, ...]:
    return (np.argsort(x, axis=axis, kind="stable").astype(np.int64),)


def _arg_extreme(x: np.ndarray, axis: int, largest: bool) -> tuple[np.ndarray, ...]:
    return ((np.argmax if largest else np.argmin)(x, axis=axis).astype(np.int64),)


def _solve(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.linalg.solve(a, b).astype(a.dtype),)


def _inv(a: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.linalg.inv(a).astype(a.dtype),)


def _slogdet(a: np.ndarray) -> tuple[np.ndarray, ...]:
    sign, logarithm = np.linalg.slogdet(a)
    return np.asarray(sign, a.dtype), np.asarray(logarithm, a.dtype)


def _cholesky(a: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.linalg.cholesky(a).astype(a.dtype),)


def _solve_triangular(a: np.ndarray, b: np.ndarray, lower: bool, transposed: bool) -> tuple[np.ndarray, ...]:
    triangle = np.tril(a) if lower else np.triu(a)
    matrix = np.swapaxes(triangle, -1, -2) if transposed else triangle
    return (np.linalg.solve(matrix, b).astype(a.dtype),)


# --- types --------------------------------------------------------------------------------------------------


def _same(types: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    return (types[0],)


def _second(types: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    return (types[1],)


def _reshaped(types: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    return (_retype(types[0], attributes["shape"]),)


def _as_integers(types: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    return (_retype(types[0], types[0].shape, DType.INT64),)


def _without_axis(types: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    axis, shape = attributes["axis"], types[0].shape
    return (_retype(types[0], (*shape[:axis], *shape[axis + 1 :]), DType.INT64),)


def _sign_and_logarithm(types: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    scalar = _retype(types[0], types[0].shape[:-2])
    return scalar, scalar


CALLS: dict[str, Operation] = {
    row.name: row
    for row in (
        Operation("reshape", _reshaped, _reshape),
        Operation("affine_scan", _second, _affine_scan),
        Operation("argsort", _as_integers, _argsort),
        Operation("arg_extreme", _without_axis, _arg_extreme),
        Operation("solve", _second, _solve),
        Operation("inv", _same, _inv),
        Operation("slogdet", _sign_and_logarithm, _slogdet),
        Operation("cholesky", _same, _cholesky),
        Operation("solve_triangular", _second, _solve_triangular),
    )
}
