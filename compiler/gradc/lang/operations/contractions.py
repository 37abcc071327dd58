"""Products and sums: matrix products, tensor contractions, Kronecker and cross products, 1-D convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradc.errors import ShapeError
from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.index.nodes import affine
from gradc.lang.emit import Emitter, Value
from gradc.lang.notation import with_equation
from gradc.lang.operations import lift
from gradc.lang.operations.einsum import einsum
from gradc.lang.operations.joining import joined
from gradc.lang.operations.lift import ArrayLike, Handler, Table
from gradc.lang.operations.shapes import flip, matrix_transpose, moveaxis, ravel
from gradc.lang.operations.sizes import at_least, require, static

# Labels for the axes of operands: any distinct characters will do, NumPy allows 64 axes.
_LABELS = "".join(map(chr, range(0x400, 0x480)))


# --- matrix products ----------------------------------------------------------------------------------------


def matmul(emit: Emitter, x1: ArrayLike, x2: ArrayLike, /, out: None = None, **options: object) -> Value:
    """Matrix product; leading axes are broadcast, vectors get an axis that the result drops."""
    lift.only_default("np.matmul", out=out, **options)
    a, b = lift.array(emit, x1), lift.array(emit, x2)
    left, right = len(emit.shape(a)), len(emit.shape(b))
    if left == 0 or right == 0:
        raise ShapeError("a matrix product with a 0-d array", do="use * for a scalar factor")
    batch = max(left, right, 2) - 2
    lead = _LABELS[:batch]
    a_labels = lead[batch - max(left - 2, 0) :] + ("ik" if left > 1 else "k")
    b_labels = lead[batch - max(right - 2, 0) :] + ("kj" if right > 1 else "k")
    kept = ("i" if left > 1 else "") + ("j" if right > 1 else "")
    reason = "matmul contracts the last axis with the second to last one"
    return _contracted(emit, (a, a_labels), (b, b_labels), lead + kept, reason)


def _contracted(
    emit: Emitter, first: tuple[Value, str], second: tuple[Value, str], output: str, reason: str
) -> Value:
    """Sum the products over the labels that `output` lacks: there is no broadcasting along those."""
    (a, own), (b, its) = first, second
    try:
        for at, label in enumerate(own):
            if label not in output:
                emit.solver.unify(emit.shape(a)[at], emit.shape(b)[its.index(label)], reason)
    except ShapeError as error:
        raise with_equation(error, [(a.name, own), (b.name, its)], output) from None
    return emit.contract([first, second], output)


def dot(emit: Emitter, a: ArrayLike, b: ArrayLike, out: None = None) -> Value:
    """Sum over the last axis of `a` and the second to last of `b`; a product with a scalar."""
    lift.only_default("np.dot", out=out)
    left, right = lift.array(emit, a), lift.array(emit, b)
    rank, other = len(emit.shape(left)), len(emit.shape(right))
    if rank == 0 or other == 0:
        return emit.elementwise("mul", left, right)
    return tensordot(emit, left, right, ((rank - 1,), (max(other - 2, 0),)))


def inner(emit: Emitter, a: ArrayLike, b: ArrayLike, /) -> Value:
    """Sum over the last axes."""
    left, right = lift.array(emit, a), lift.array(emit, b)
    rank, other = len(emit.shape(left)), len(emit.shape(right))
    if rank == 0 or other == 0:
        return emit.elementwise("mul", left, right)
    return tensordot(emit, left, right, ((rank - 1,), (other - 1,)))


def outer(emit: Emitter, a: ArrayLike, b: ArrayLike, out: None = None) -> Value:
    """All products of an element of `a` and one of `b`, both flattened."""
    lift.only_default("np.outer", out=out)
    return emit.contract([(ravel(emit, a), "i"), (ravel(emit, b), "j")], "ij")


def vdot(emit: Emitter, a: ArrayLike, b: ArrayLike, /) -> Value:
    """Inner product of two flattened arrays."""
    return tensordot(emit, ravel(emit, a), ravel(emit, b), 1)


def vecdot(emit: Emitter, x1: ArrayLike, x2: ArrayLike, /, out: None = None, *, axis: int = -1) -> Value:
    """Inner product along an axis, the others broadcast."""
    lift.only_default("np.vecdot", out=out)
    a, b = lift.array(emit, x1), lift.array(emit, x2)
    at, to = lift.axis(axis, len(emit.shape(a))), lift.axis(axis, len(emit.shape(b)))
    a, b = moveaxis(emit, a, at, -1), moveaxis(emit, b, to, -1)
    left, right = len(emit.shape(a)), len(emit.shape(b))
    labels = _LABELS[: max(left, right)]
    reason = "vecdot contracts one axis of each operand"
    return _contracted(emit, (a, labels[-left:]), (b, labels[-right:]), labels[:-1], reason)


def matvec(emit: Emitter, x1: ArrayLike, x2: ArrayLike, /, out: None = None) -> Value:
    """Matrix times vector; leading axes are broadcast."""
    lift.only_default("np.matvec", out=out)
    vector = lift.array(emit, x2)
    column = emit.reshape(vector, (*emit.shape(vector), 1))
    product = matmul(emit, x1, column)
    return emit.reshape(product, emit.shape(product)[:-1])


def vecmat(emit: Emitter, x1: ArrayLike, x2: ArrayLike, /, out: None = None) -> Value:
    """Vector times matrix; leading axes are broadcast."""
    lift.only_default("np.vecmat", out=out)
    return matvec(emit, matrix_transpose(emit, x2), x1)


def tensordot(
    emit: Emitter, a: ArrayLike, b: ArrayLike, axes: int | Sequence[int | Sequence[int]] = 2
) -> Value:
    """Sum over pairs of axes; the others follow, those of `a` first."""
    left, right = lift.array(emit, a), lift.array(emit, b)
    rank, other = len(emit.shape(left)), len(emit.shape(right))
    if isinstance(axes, list | tuple):
        first, second = lift.axes(axes[0], rank), lift.axes(axes[1], other)
    else:
        count = static(emit, axes, "the number of axes of tensordot")
        if count > min(rank, other):
            raise ShapeError(f"tensordot over {count} axes of arrays with {rank} and {other}")
        first, second = tuple(range(rank - count, rank)), tuple(range(count))
    if len(first) != len(second):
        raise ShapeError(f"tensordot over {len(first)} axes of one array and {len(second)} of the other")
    own, its = _LABELS[:rank], list(_LABELS[rank : rank + other])
    for at, to in zip(first, second, strict=True):
        its[to] = own[at]
    kept = [own[at] for at in range(rank) if at not in first]
    kept += [its[to] for to in range(other) if to not in second]
    reason = "tensordot contracts pairs of axes"
    return _contracted(emit, (left, own), (right, "".join(its)), "".join(kept), reason)


def multi_dot(emit: Emitter, arrays: Sequence[ArrayLike], *, out: None = None) -> Value:
    """Product of several matrices; the first and the last may be vectors."""
    lift.only_default("np.linalg.multi_dot", out=out)
    factors = lift.arrays(emit, arrays)
    if len(factors) < 2:
        raise ShapeError("multi_dot takes at least two arrays")
    if len(emit.shape(factors[-1])) == 1:  # a vector at the end: each step is a matrix times a vector
        result = factors[-1]
        for factor in factors[-2::-1]:
            result = dot(emit, factor, result)
        return result
    result = factors[0]
    for factor in factors[1:]:
        result = dot(emit, result, factor)
    return result


# --- Kronecker and cross products ---------------------------------------------------------------------------


def kron(emit: Emitter, a: ArrayLike, b: ArrayLike) -> Value:
    """Each element of `a` times the whole of `b`."""
    left, right = lift.array(emit, a), lift.array(emit, b)
    rank = max(len(emit.shape(left)), len(emit.shape(right)))
    coarse, fine = ((1,) * (rank - len(s)) + s for s in (emit.shape(left), emit.shape(right)))
    spread = emit.reshape(left, tuple(size for own in coarse for size in (own, 1)))
    grain = emit.reshape(right, tuple(size for own in fine for size in (1, own)))
    whole = tuple(extents.product(pair) for pair in zip(coarse, fine, strict=True))
    return emit.reshape(emit.elementwise("mul", spread, grain), whole)


def cross(
    emit: Emitter,
    a: ArrayLike,
    b: ArrayLike,
    axisa: int = -1,
    axisb: int = -1,
    axisc: int = -1,
    axis: int | None = None,
) -> Value:
    """Vector product along axes of three elements."""
    if axis is not None:
        axisa = axisb = axisc = axis
    left, right = lift.array(emit, a), lift.array(emit, b)
    left = moveaxis(emit, left, lift.axis(axisa, len(emit.shape(left))), 0)
    right = moveaxis(emit, right, lift.axis(axisb, len(emit.shape(right))), 0)
    for value in (left, right):
        emit.solver.unify(emit.shape(value)[0], 3, "np.cross takes vectors of three elements")

    def component(first: int, second: int) -> Value:
        forth = emit.elementwise("mul", lift.item(emit, left, 0, first), lift.item(emit, right, 0, second))
        back = emit.elementwise("mul", lift.item(emit, left, 0, second), lift.item(emit, right, 0, first))
        return emit.elementwise("sub", forth, back)

    return lift.stack(emit, [component(1, 2), component(2, 0), component(0, 1)], axisc)


def _linalg_cross(emit: Emitter, x1: ArrayLike, x2: ArrayLike, /, *, axis: int = -1) -> Value:
    return cross(emit, x1, x2, axis=axis)


def _linalg_outer(emit: Emitter, x1: ArrayLike, x2: ArrayLike, /) -> Value:
    a, b = lift.array(emit, x1), lift.array(emit, x2)
    if len(emit.shape(a)) != 1 or len(emit.shape(b)) != 1:
        raise ShapeError("np.linalg.outer takes two vectors", do="use np.outer, which flattens")
    return outer(emit, a, b)


def _linalg_vecdot(emit: Emitter, x1: ArrayLike, x2: ArrayLike, /, *, axis: int = -1) -> Value:
    return vecdot(emit, x1, x2, axis=axis)


# --- convolutions -------------------------------------------------------------------------------------------


def convolve(emit: Emitter, a: ArrayLike, v: ArrayLike, mode: str = "full") -> Value:
    """Discrete convolution of two vectors."""
    signal, kernel = _vectors(emit, a, v)
    if mode != "full" and not at_least(emit, emit.shape(signal)[0], emit.shape(kernel)[0], _LONGER):
        signal, kernel = kernel, signal
    return _sliding(emit, signal, flip(emit, kernel), mode)


def correlate(emit: Emitter, a: ArrayLike, v: ArrayLike, mode: str = "valid") -> Value:
    """Discrete correlation of two vectors."""
    signal, kernel = _vectors(emit, a, v)
    if mode != "full" and not at_least(emit, emit.shape(signal)[0], emit.shape(kernel)[0], _LONGER):
        return flip(emit, _sliding(emit, kernel, signal, mode))
    return _sliding(emit, signal, kernel, mode)


_LONGER = "the longer vector is the one that the shorter slides along"


def _vectors(emit: Emitter, a: ArrayLike, v: ArrayLike) -> tuple[Value, Value]:
    values = []
    for x in (a, v):
        value = lift.array(emit, x)
        shape = emit.shape(value)
        if len(shape) > 1:
            raise ShapeError(
                f"a 1-D convolution of an array with {len(shape)} axes", do="use an index equation"
            )
        value = value if shape else emit.reshape(value, (1,))
        require(emit, emit.shape(value)[0], 1, "a convolution needs at least one element")
        values.append(value)
    return values[0], values[1]


def _sliding(emit: Emitter, signal: Value, kernel: Value, mode: str) -> Value:
    """``out[i] = sum[k] kernel[k] * padded[i + k]``."""
    (size,), (width,) = emit.shape(signal), emit.shape(kernel)
    before, after = _padding(emit, width, mode)
    zero = lift.array(emit, 0, signal.dtype)
    ends = [emit.broadcast_to(zero, (count,)) for count in (before, after)]
    padded = joined(emit, (ends[0], signal, ends[1]), 0)
    length = size + before + after - width + 1
    if width == 1:
        return emit.elementwise("mul", signal, kernel)
    operands = [(padded, (affine({0: 1, 1: 1}, 0),)), (kernel, (1,))]
    return emit.sum_of_products(operands, (length, width), 1)


def _padding(emit: Emitter, width: Size, mode: str) -> tuple[Size, Size]:
    """Zeros before and after the signal."""
    if mode == "valid":
        return 0, 0
    if mode == "full":
        return width - 1, width - 1
    if mode == "same":
        before = emit.solver.divide_down(width, 2)
        return before, width - 1 - before
    raise ShapeError(f"the mode {mode!r} of a convolution", do="use 'full', 'same' or 'valid'")


UFUNCS: Table = {np.matmul: matmul, np.vecdot: vecdot, np.matvec: matvec, np.vecmat: vecmat}

FUNCTIONS: Table = {
    np.dot: dot,
    np.inner: inner,
    np.outer: outer,
    np.vdot: vdot,
    np.tensordot: tensordot,
    np.einsum: einsum,
    np.kron: kron,
    np.cross: cross,
    np.convolve: convolve,
    np.correlate: correlate,
    np.linalg.multi_dot: multi_dot,
    np.linalg.matmul: matmul,
    np.linalg.tensordot: tensordot,
    np.linalg.vecdot: _linalg_vecdot,
    np.linalg.outer: _linalg_outer,
    np.linalg.cross: _linalg_cross,
}

METHODS: dict[str, Handler] = {"dot": dot}

__all__ = ["FUNCTIONS", "METHODS", "UFUNCS", "dot", "matmul", "multi_dot"]
