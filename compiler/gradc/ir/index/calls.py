"""The closed table of library operations: what an index equation cannot say.

Each row gives the types of the results, the NumPy meaning and how the attributes change when a leading batch
axis is added to all operands.  Derivatives are in `gradc.autodiff.calls`; there is no operation without one.

Matrix operations work on the last two axes.  All their operands have the same leading axes, which are
batches; a right-hand side is a matrix, so a vector is a matrix of one column.

    reshape(x; shape)                               the elements of x in C order affine_scan(a, b; axis,
    reverse)                t[i] = a[i] * t[i-1] + b[i], starting from zero argsort(x; axis)
    stable; int64 arg_extreme(x; axis, largest)                   the first index of the largest or smallest
    element; int64 solve(a, b)                                     a^-1 b inv(a)
    a^-1 det(a)                                          the determinant cofactor(a)
    its derivative: det(a) a^-T, finite for singular matrices too slogdet(a)
    sign and logarithm of the absolute value of the determinant cholesky(a)
    lower triangular l with l l^T = a; reads the lower triangle only solve_triangular(a, b; lower, transposed)
    t^-1 b or t^-T b, where t is that triangle of a
    external(x, ...; number, pullback, name, dtypes, shape_0, ...)
    the Python function registered under a number, and under another its pullback (0: none)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.errors import ShapeError
from gradc.ir.extents import Size
from gradc.ir.tensors import TensorType
from gradc.ir.types import DType

Attributes = Mapping[str, Any]
Infer = Callable[[tuple[TensorType, ...], Attributes], tuple[TensorType, ...]]
Batch = Callable[[Attributes, Size], Attributes]


@dataclass(frozen=True, slots=True)
class Operation:
    """One library operation.

    `infer` gives the types of the results, `numpy` the meaning on arrays (returns a tuple) and `batch` the
    attributes after every operand has been given a leading axis of some extent.
    """

    name: str
    infer: Infer
    numpy: Callable[..., tuple[np.ndarray, ...]]
    batch: Batch


def _retype(type_: TensorType, shape: tuple[Size, ...], dtype: DType | None = None) -> TensorType:
    return TensorType(dtype or type_.dtype, shape)


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


def _det(a: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.asarray(np.linalg.det(a), a.dtype),)


def _cofactor(a: np.ndarray) -> tuple[np.ndarray, ...]:
    """``det(u) det(v) u s' v^T`` where ``a = u s v^T`` and ``s'[i]`` is the product of the other ``s``."""
    u, s, vt = np.linalg.svd(a)
    others = np.where(np.eye(s.shape[-1], dtype=bool), s.dtype.type(1), s[..., None, :]).prod(-1)
    sign = np.linalg.det(u) * np.linalg.det(vt)
    return (np.asarray(sign[..., None, None] * ((u * others[..., None, :]) @ vt), a.dtype),)


def _slogdet(a: np.ndarray) -> tuple[np.ndarray, ...]:
    sign, logarithm = np.linalg.slogdet(a)
    return np.asarray(sign, a.dtype), np.asarray(logarithm, a.dtype)


def _cholesky(a: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.linalg.cholesky(a).astype(a.dtype),)


def _solve_triangular(a: np.ndarray, b: np.ndarray, lower: bool, transposed: bool) -> tuple[np.ndarray, ...]:
    triangle = np.tril(a) if lower else np.triu(a)
    matrix = np.swapaxes(triangle, -1, -2) if transposed else triangle
    return (np.linalg.solve(matrix, b).astype(a.dtype),)


def _external(
    *ins: np.ndarray, number: int, pullback: int, name: str, dtypes: str, **shapes: tuple[int, ...]
) -> tuple[np.ndarray, ...]:
    from gradc_runtime import registry  # noqa: PLC0415  (what only programs with external functions need)

    declared = dtypes.split()
    return registry.call(number, name, ins, declared, [shapes[f"shape_{at}"] for at in range(len(declared))])


# --- types --------------------------------------------------------------------------------------------------


def _matrices(operation: str, types: tuple[TensorType, ...]) -> None:
    first, last = types[0].shape, types[-1].shape
    square = len(first) < 2 or not all(isinstance(size, int) for size in first[-2:]) or first[-2] == first[-1]
    if len(first) < 2 or not square or len(last) != len(first):
        shapes = " and ".join(f"[{', '.join(map(str, type_.shape))}]" for type_ in types)
        raise ShapeError(
            f"{operation} does not take operands of shape {shapes}",
            why="it takes matrices [..., n, n] and right-hand sides [..., n, m] with the same leading axes",
            do="reshape a vector to one column, and broadcast the leading axes",
        )


def _matrix(operation: str) -> Infer:
    """Return the result has the type of the last operand."""

    def infer(types: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        _matrices(operation, types)
        return (types[-1],)

    return infer


def _scalars(operation: str, count: int) -> Infer:
    """`count` results with one number per matrix."""

    def infer(types: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        _matrices(operation, types)
        return (_retype(types[0], types[0].shape[:-2]),) * count

    return infer


def _second(types: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    return (types[1],)


def _reshaped(types: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    return (_retype(types[0], attributes["shape"]),)


def _as_integers(types: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    return (_retype(types[0], types[0].shape, DType.INT64),)


def _without_axis(types: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    axis, shape = attributes["axis"], types[0].shape
    return (_retype(types[0], (*shape[:axis], *shape[axis + 1 :]), DType.INT64),)


def _declared(types: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    dtypes = attributes["dtypes"].split()
    return tuple(TensorType(DType(dtype), attributes[f"shape_{at}"]) for at, dtype in enumerate(dtypes))


# --- batches ------------------------------------------------------------------------------------------------


def _unchanged(attributes: Attributes, extent: Size) -> Attributes:
    return attributes


def _next_axis(attributes: Attributes, extent: Size) -> Attributes:
    return {**attributes, "axis": attributes["axis"] + 1}


def _longer_shape(attributes: Attributes, extent: Size) -> Attributes:
    return {**attributes, "shape": (extent, *attributes["shape"])}


def _mapped(attributes: Attributes, extent: Size) -> Attributes:
    """Return the function that maps over the axis; it is called once per element."""
    from gradc_runtime import registry  # noqa: PLC0415  (what only programs with external functions need)

    changed = {
        name: (extent, *value) if name.startswith("shape_") else value for name, value in attributes.items()
    }
    pullback = attributes["pullback"]
    changed["number"] = registry.mapped(attributes["number"])
    changed["pullback"] = registry.mapped(pullback) if pullback else 0
    return changed


CALLS: dict[str, Operation] = {
    row.name: row
    for row in (
        Operation("reshape", _reshaped, _reshape, _longer_shape),
        Operation("affine_scan", _second, _affine_scan, _next_axis),
        Operation("argsort", _as_integers, _argsort, _next_axis),
        Operation("arg_extreme", _without_axis, _arg_extreme, _next_axis),
        Operation("solve", _matrix("solve"), _solve, _unchanged),
        Operation("inv", _matrix("inv"), _inv, _unchanged),
        Operation("det", _scalars("det", 1), _det, _unchanged),
        Operation("cofactor", _matrix("cofactor"), _cofactor, _unchanged),
        Operation("slogdet", _scalars("slogdet", 2), _slogdet, _unchanged),
        Operation("cholesky", _matrix("cholesky"), _cholesky, _unchanged),
        Operation("solve_triangular", _matrix("solve_triangular"), _solve_triangular, _unchanged),
        Operation("external", _declared, _external, _mapped),
    )
}
