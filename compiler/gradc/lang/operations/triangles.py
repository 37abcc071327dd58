"""Triangles and diagonals: selects on two indices of a matrix."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradc.errors import ShapeError
from gradc.ir.extents import Size
from gradc.ir.index.nodes import affine
from gradc.ir.types import DType
from gradc.lang.emit import Emitter, Value
from gradc.lang.operations import lift
from gradc.lang.operations.lift import ArrayLike, Handler, SizeLike, Table
from gradc.lang.operations.shapes import ravel
from gradc.lang.operations.sizes import at_least, signed_size, smaller


def _triangle(function: str) -> Callable[..., Value]:
    def handler(emit: Emitter, m: ArrayLike, k: SizeLike = 0) -> Value:
        value = lift.array(emit, m)
        shape = emit.shape(value)
        if len(shape) == 1:
            shape = (*shape, *shape)
        rank = len(shape)
        if rank == 0:
            raise ShapeError("a triangle of a 0-d array", do="pass a matrix")
        row, column = rank - 2, rank - 1
        offset = signed_size(k, "the diagonal of a triangle")
        mask = emit.index_predicate(function, column, affine({row: 1}, offset), shape)
        return emit.elementwise("select", mask, value, lift.array(emit, 0, value.dtype))

    return handler


triu = _triangle("ge")
tril = _triangle("le")


def diag(emit: Emitter, v: ArrayLike, k: SizeLike = 0) -> Value:
    """Diagonal of a matrix, or the matrix with a given diagonal."""
    value = lift.array(emit, v)
    rank = len(emit.shape(value))
    if rank == 2:
        return diagonal(emit, value, k)
    if rank != 1:
        raise ShapeError(f"diag takes one or two axes, not {rank}", do="use np.diagonal")
    return _matrix_of_diagonal(emit, value, signed_size(k, "the position of a diagonal"))


def _matrix_of_diagonal(emit: Emitter, value: Value, k: Size) -> Value:
    (size,) = emit.shape(value)
    square = (size, size)
    zero = lift.array(emit, 0, value.dtype)
    matrix = emit.elementwise("select", emit.index_predicate("eq", 0, 1, square), value, zero)
    if k == 0:
        return matrix
    above = at_least(emit, k, 0, "the side of a diagonal")
    shift = k if above else 0 - k
    columns = emit.broadcast_to(zero, (size, shift))
    matrix = emit.concatenate((columns, matrix) if above else (matrix, columns), 1)
    rows = emit.broadcast_to(zero, (shift, size + shift))
    return emit.concatenate((matrix, rows) if above else (rows, matrix), 0)


def diagflat(emit: Emitter, v: ArrayLike, k: SizeLike = 0) -> Value:
    """Matrix with the elements of an array on a diagonal."""
    return diag(emit, ravel(emit, v), k)


def diagonal(emit: Emitter, a: ArrayLike, offset: SizeLike = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """Diagonal of a plane, as the last axis."""
    value = lift.array(emit, a)
    shape = emit.shape(value)
    if len(shape) < 2:
        raise ShapeError("a diagonal needs two axes", do="use np.diag to make a matrix")
    row, column = lift.axes((axis1, axis2), len(shape))
    k = signed_size(offset, "the position of a diagonal")
    reason = "the diagonal ends at the shorter side"
    above = at_least(emit, k, 0, "the side of a diagonal")
    rows, columns = (shape[row], shape[column] - k) if above else (shape[row] + k, shape[column])
    length = smaller(emit, rows, columns, reason)
    if not at_least(emit, length, 0, "the diagonal lies within the matrix"):
        length = 0
    kept = [at for at in range(len(shape)) if at not in (row, column)]
    last = len(kept)
    indices: list[int | object] = [kept.index(at) if at in kept else last for at in range(len(shape))]
    indices[column if above else row] = affine({last: 1}, k if above else 0 - k)
    return emit.reindex(value, (*(shape[at] for at in kept), length), tuple(indices))  # pyright: ignore[reportArgumentType]


def trace(
    emit: Emitter,
    a: ArrayLike,
    offset: SizeLike = 0,
    axis1: int = 0,
    axis2: int = 1,
    dtype: object = None,
    out: None = None,
) -> Value:
    """Sum of a diagonal; small integers are summed as int64, as NumPy does."""
    lift.only_default("np.trace", out=out)
    value = diagonal(emit, a, offset, axis1, axis2)
    value = emit.cast(value, lift.dtype(dtype) or summed_dtype(value.dtype))
    return emit.reduce("sum", value, (len(emit.shape(value)) - 1,))


def summed_dtype(dtype: DType) -> DType:
    """Dtype in which NumPy sums."""
    if dtype.is_float:
        return dtype
    return DType.UINT64 if dtype.value.startswith("uint") else DType.INT64


FUNCTIONS: Table = {
    np.triu: triu,
    np.tril: tril,
    np.diag: diag,
    np.diagflat: diagflat,
    np.diagonal: diagonal,
    np.trace: trace,
    np.fill_diagonal: lift.refusing(
        "np.fill_diagonal", why="it writes into its argument", do="np.where(np.eye(n, dtype=bool), value, a)"
    ),
}

METHODS: dict[str, Handler] = {"diagonal": diagonal, "trace": trace}
