"""Shape functions: reshaping, permuting axes, broadcasting, flipping, triangles and diagonals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gradc.errors import ShapeError
from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.index.nodes import Index, affine, fixed
from gradc.ir.types import DType
from gradc.lang.emit import Emitter, SizeValue, Value
from gradc.lang.operations import lift
from gradc.lang.operations.lift import ArrayLike, Axes, Handler, SizeLike, Table
from gradc.lang.operations.sizes import as_number, at_least, show_sizes, signed_size, smaller, static
from gradc.lang.unify import is_one

# --- reshaping ----------------------------------------------------------------------------------------------


def reshape(
    emit: Emitter,
    a: ArrayLike,
    /,
    shape: SizeLike | Sequence[SizeLike],
    order: str = "C",
    *,
    copy: bool | None = None,
) -> Value:
    """Give an array a new shape; one extent may be -1."""
    value = lift.array(emit, a)
    wanted = [signed_size(s, "a shape") for s in (shape if isinstance(shape, list | tuple) else (shape,))]
    _check_order("reshape", order)
    if order == "F":
        backwards = _complete(emit, value, wanted[::-1])
        return transpose(emit, emit.reshape(transpose(emit, value), backwards))
    return emit.reshape(value, _complete(emit, value, wanted))


def _complete(emit: Emitter, value: Value, wanted: Sequence[Size]) -> tuple[Size, ...]:
    """The wanted shape with -1 replaced by what is left over."""
    open_axes = [axis for axis, size in enumerate(wanted) if size == -1]
    if len(open_axes) > 1 or any(isinstance(size, int) and size < -1 for size in wanted):
        raise ShapeError(f"{show_sizes(wanted)} is not a shape", do="leave at most one extent open with -1")
    if not open_axes:
        return tuple(wanted)
    rest = extents.product(tuple(size for size in wanted if size != -1))
    if rest == 0:
        raise ShapeError(
            f"the extent -1 of {show_sizes(wanted)} is not determined", why="the others make 0 elements"
        )
    total = extents.product(emit.shape(value))
    missing = emit.solver.divide(total, rest, f"reshape to {show_sizes(wanted)} keeps the number of elements")
    return tuple(missing if size == -1 else size for size in wanted)


def _check_order(call: str, order: str) -> None:
    if order not in ("C", "F"):
        raise lift.refused(
            f"{call}(order={order!r})",
            why="the result would depend on the memory layout of the argument",
            do="use order='C' or order='F'",
        )


def ravel(emit: Emitter, a: ArrayLike, order: str = "C") -> Value:
    """All elements in one axis."""
    return reshape(emit, a, -1, order)


def flatten(emit: Emitter, a: ArrayLike, order: str = "C") -> Value:
    """All elements in one axis."""
    return ravel(emit, a, order)


def _reshape_method(
    emit: Emitter, a: Value, *shape: SizeLike, order: str = "C", copy: bool | None = None
) -> Value:
    return reshape(emit, a, _unpacked(shape), order, copy=copy)


def _unpacked(arguments: tuple) -> tuple:
    """Array methods take ``x.f(1, 2)`` and ``x.f((1, 2))``."""
    return (
        tuple(arguments[0]) if len(arguments) == 1 and isinstance(arguments[0], list | tuple) else arguments
    )


def squeeze(emit: Emitter, a: ArrayLike, axis: Axes = None) -> Value:
    """Drop axes of extent 1; an axis named here must have that extent."""
    value = lift.array(emit, a)
    shape = emit.shape(value)
    if axis is None:
        return emit.reshape(value, tuple(size for size in shape if not is_one(size)))
    dropped = lift.axes(axis, len(shape))
    for at in dropped:
        emit.solver.unify(shape[at], 1, "squeeze drops axes of extent 1")
    kept = tuple(at for at in range(len(shape)) if at not in dropped)
    return _without_axes(emit, value, kept)


def _without_axes(emit: Emitter, value: Value, kept: tuple[int, ...]) -> Value:
    shape = emit.shape(value)
    indices: tuple[Index, ...] = tuple(kept.index(at) if at in kept else fixed(0) for at in range(len(shape)))
    return emit.reindex(value, tuple(shape[at] for at in kept), indices)


def expand_dims(emit: Emitter, a: ArrayLike, axis: int | Sequence[int]) -> Value:
    """Insert axes of extent 1 at the given positions of the result."""
    value = lift.array(emit, a)
    shape = emit.shape(value)
    count = len(axis) if isinstance(axis, list | tuple) else 1
    new = lift.axes(axis, len(shape) + count)
    rest = iter(shape)
    return emit.reshape(value, tuple(1 if at in new else next(rest) for at in range(len(shape) + count)))


def _at_least(rank: int) -> Handler:
    def handler(emit: Emitter, *arys: ArrayLike) -> Value | tuple[Value, ...]:
        results = tuple(with_rank(emit, lift.array(emit, a), rank) for a in arys)
        return results[0] if len(results) == 1 else results

    return handler


def with_rank(emit: Emitter, value: Value, rank: int) -> Value:
    """What ``np.atleast_<rank>d`` makes of an array."""
    shape = emit.shape(value)
    if len(shape) >= rank:
        return value
    if rank == 3 and len(shape) == 2:
        return emit.reshape(value, (*shape, 1))
    if rank == 3 and len(shape) == 1:
        return emit.reshape(value, (1, *shape, 1))
    return emit.reshape(value, (1,) * (rank - len(shape)) + shape)


# --- permuting ----------------------------------------------------------------------------------------------


def transpose(emit: Emitter, a: ArrayLike, axes: Sequence[int] | None = None) -> Value:
    """Permute the axes; without `axes` reverse them."""
    value = lift.array(emit, a)
    rank = len(emit.shape(value))
    order = tuple(range(rank))[::-1] if axes is None else lift.axes(axes, rank)
    if len(order) != rank:
        raise ShapeError(f"axes {tuple(order)} do not permute {rank} axes", do="name every axis once")
    return value if order == tuple(range(rank)) else emit.transpose(value, order)


def _transpose_method(emit: Emitter, a: Value, *axes: int | Sequence[int] | None) -> Value:
    order = None if axes in ((), (None,)) else _unpacked(axes)
    return transpose(emit, a, order)


def matrix_transpose(emit: Emitter, x: ArrayLike) -> Value:
    """Exchange the last two axes."""
    value = lift.array(emit, x)
    if len(emit.shape(value)) < 2:
        raise ShapeError("a matrix transpose needs two axes", do="use x.T or reshape the array first")
    return swapaxes(emit, value, -1, -2)


def swapaxes(emit: Emitter, a: ArrayLike, axis1: int, axis2: int) -> Value:
    """Exchange two axes."""
    value = lift.array(emit, a)
    order = list(range(len(emit.shape(value))))
    one, two = lift.axis(axis1, len(order)), lift.axis(axis2, len(order))
    order[one], order[two] = order[two], order[one]
    return transpose(emit, value, order)


def moveaxis(
    emit: Emitter, a: ArrayLike, source: int | Sequence[int], destination: int | Sequence[int]
) -> Value:
    """Move axes to new positions; the others keep their order."""
    value = lift.array(emit, a)
    rank = len(emit.shape(value))
    old, new = lift.axes(source, rank), lift.axes(destination, rank)
    if len(old) != len(new):
        raise ShapeError(f"moveaxis: {len(old)} sources and {len(new)} destinations")
    order = [at for at in range(rank) if at not in old]
    for to, at in sorted(zip(new, old, strict=True)):
        order.insert(to, at)
    return transpose(emit, value, order)


def rollaxis(emit: Emitter, a: ArrayLike, axis: int, start: int = 0) -> Value:
    """Move `axis` before `start`."""
    value = lift.array(emit, a)
    rank = len(emit.shape(value))
    at = lift.axis(axis, rank)
    to = start + rank if start < 0 else start
    if not 0 <= to <= rank:
        raise ShapeError(f"rollaxis: start {start} does not exist", why=f"the array has {rank} axes")
    return moveaxis(emit, value, at, to - 1 if at < to else to)


# --- broadcasting -------------------------------------------------------------------------------------------


def broadcast_to(
    emit: Emitter, array: ArrayLike, shape: SizeLike | Sequence[SizeLike], subok: bool = False
) -> Value:
    """Repeat an array along new and unit axes."""
    return emit.broadcast_to(lift.array(emit, array), lift.shape(shape))


def broadcast_arrays(emit: Emitter, *args: ArrayLike, subok: bool = False) -> tuple[Value, ...]:
    """Broadcast arrays against each other."""
    values = [lift.array(emit, a) for a in args]
    shape = emit.broadcast_shape([emit.shape(value) for value in values])
    return tuple(emit.broadcast_to(value, shape) for value in values)


def meshgrid(
    emit: Emitter, *xi: ArrayLike, indexing: str = "xy", sparse: bool = False, copy: bool = True
) -> tuple[Value, ...]:
    """Coordinate arrays from coordinate vectors."""
    vectors = [ravel(emit, x) for x in xi]
    axes = list(range(len(vectors)))
    if indexing == "xy" and len(vectors) > 1:
        axes[:2] = 1, 0
    elif indexing not in ("xy", "ij"):
        raise ShapeError(f"meshgrid(indexing={indexing!r})", do="use indexing='xy' or indexing='ij'")
    sized = [emit.shape(vector)[0] for vector in vectors]
    spread = [
        emit.reshape(vector, tuple(sized[k] if at == axes[k] else 1 for at in range(len(vectors))))
        for k, vector in enumerate(vectors)
    ]
    return tuple(spread) if sparse else broadcast_arrays(emit, *spread)


# --- flips --------------------------------------------------------------------------------------------------


def flip(emit: Emitter, m: ArrayLike, axis: Axes = None) -> Value:
    """Reverse the order along axes."""
    value = lift.array(emit, m)
    shape = emit.shape(value)
    reversed_ = lift.axes(axis, len(shape))
    indices = tuple(affine({at: -1}, size - 1) if at in reversed_ else at for at, size in enumerate(shape))
    return emit.reindex(value, shape, indices) if reversed_ else value


def fliplr(emit: Emitter, m: ArrayLike) -> Value:
    """Reverse axis 1."""
    return flip(emit, m, 1)


def flipud(emit: Emitter, m: ArrayLike) -> Value:
    """Reverse axis 0."""
    return flip(emit, m, 0)


def rot90(emit: Emitter, m: ArrayLike, k: int = 1, axes: Sequence[int] = (0, 1)) -> Value:
    """Rotate by quarter turns in the plane of two axes."""
    value = lift.array(emit, m)
    first, second = lift.axes(axes, len(emit.shape(value)))
    turns = static(emit, k, "the number of turns of rot90") % 4
    if turns == 0:
        return value
    if turns == 2:
        return flip(emit, value, (first, second))
    if turns == 1:
        return swapaxes(emit, flip(emit, value, second), first, second)
    return flip(emit, swapaxes(emit, value, first, second), second)


# --- triangles and diagonals --------------------------------------------------------------------------------


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
    """The diagonal of a matrix, or the matrix with a given diagonal."""
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
    """The matrix with the elements of an array on a diagonal."""
    return diag(emit, ravel(emit, v), k)


def diagonal(emit: Emitter, a: ArrayLike, offset: SizeLike = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """A diagonal of a plane, as the last axis."""
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
    """The sum of a diagonal; small integers are summed as int64, as NumPy does."""
    lift.only_default("np.trace", out=out)
    value = diagonal(emit, a, offset, axis1, axis2)
    value = emit.cast(value, lift.dtype(dtype) or summed_dtype(value.dtype))
    return emit.reduce("sum", value, (len(emit.shape(value)) - 1,))


def summed_dtype(dtype: DType) -> DType:
    """The dtype in which NumPy sums."""
    if dtype.is_float:
        return dtype
    return DType.UINT64 if dtype.value.startswith("uint") else DType.INT64


# --- questions ----------------------------------------------------------------------------------------------


def shape_of(emit: Emitter, a: ArrayLike) -> tuple[int | SizeValue, ...]:
    """The shape, extents symbolic where they are."""
    return tuple(as_number(size) for size in emit.shape(lift.array(emit, a)))


def ndim(emit: Emitter, a: ArrayLike) -> int:
    """The number of axes."""
    return len(emit.shape(lift.array(emit, a)))


def size_of(emit: Emitter, a: ArrayLike, axis: Axes = None) -> int | SizeValue:
    """The number of elements, or of those along axes."""
    shape = emit.shape(lift.array(emit, a))
    return as_number(extents.product(tuple(shape[at] for at in lift.axes(axis, len(shape)))))


FUNCTIONS: Table = {
    np.reshape: reshape,
    np.ravel: ravel,
    np.squeeze: squeeze,
    np.expand_dims: expand_dims,
    np.atleast_1d: _at_least(1),
    np.atleast_2d: _at_least(2),
    np.atleast_3d: _at_least(3),
    np.transpose: transpose,
    np.permute_dims: transpose,
    np.matrix_transpose: matrix_transpose,
    np.linalg.matrix_transpose: matrix_transpose,
    np.swapaxes: swapaxes,
    np.moveaxis: moveaxis,
    np.rollaxis: rollaxis,
    np.broadcast_to: broadcast_to,
    np.broadcast_arrays: broadcast_arrays,
    np.meshgrid: meshgrid,
    np.flip: flip,
    np.fliplr: fliplr,
    np.flipud: flipud,
    np.rot90: rot90,
    np.triu: triu,
    np.tril: tril,
    np.diag: diag,
    np.diagflat: diagflat,
    np.diagonal: diagonal,
    np.trace: trace,
    np.shape: shape_of,
    np.ndim: ndim,
    np.size: size_of,
    np.resize: lift.refusing("np.resize", do="use np.tile and a slice, or np.pad"),
    np.fill_diagonal: lift.refusing(
        "np.fill_diagonal", why="it writes into its argument", do="np.where(np.eye(n, dtype=bool), value, a)"
    ),
}

METHODS: dict[str, Handler] = {
    "reshape": _reshape_method,
    "ravel": ravel,
    "flatten": flatten,
    "transpose": _transpose_method,
    "T": transpose,
    "mT": matrix_transpose,
    "swapaxes": swapaxes,
    "squeeze": squeeze,
    "diagonal": diagonal,
    "trace": trace,
}
