"""Shape functions: reshaping, permuting axes, broadcasting, flipping."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradc.errors import ShapeError
from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.index.nodes import Index, affine, fixed
from gradc.lang.emit import Emitter, SizeValue, Value
from gradc.lang.operations import lift
from gradc.lang.operations.lift import ArrayLike, Axes, Handler, SizeLike, Table
from gradc.lang.operations.sizes import as_number, show_sizes, signed_size, static
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
    """Wanted shape with -1 replaced by what is left over."""
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
    """Do what ``np.atleast_<rank>d`` does."""
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


# --- questions ----------------------------------------------------------------------------------------------


def shape_of(emit: Emitter, a: ArrayLike) -> tuple[int | SizeValue, ...]:
    """Shape, extents symbolic where they are."""
    return tuple(as_number(size) for size in emit.shape(lift.array(emit, a)))


def ndim(emit: Emitter, a: ArrayLike) -> int:
    """Count the axes."""
    return len(emit.shape(lift.array(emit, a)))


def size_of(emit: Emitter, a: ArrayLike, axis: Axes = None) -> int | SizeValue:
    """Count the elements, or those along axes."""
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
    np.shape: shape_of,
    np.ndim: ndim,
    np.size: size_of,
    np.resize: lift.refusing("np.resize", do="use np.tile and a slice, or np.pad"),
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
}
