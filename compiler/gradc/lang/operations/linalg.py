"""Linear algebra: norms, powers, and the library calls of LAPACK with NumPy's and SciPy's conventions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gradc.errors import ShapeError
from gradc.ir.index.templates import root_of_squares
from gradc.ir.types import DType
from gradc.lang.emit import Emitter, Value
from gradc.lang.operations import lift
from gradc.lang.operations.contractions import matmul
from gradc.lang.operations.lift import ArrayLike, Axes, Handler, Table
from gradc.lang.operations.shapes import matrix_transpose
from gradc.lang.operations.sizes import static
from gradc.lang.operations.triangles import diagonal, trace, tril, triu

# --- operands -----------------------------------------------------------------------------------------------


def _float(emit: Emitter, *arguments: ArrayLike) -> list[Value]:
    """Operands in the dtype in which LAPACK works: float32 if all are, float64 for everything else."""
    values = [lift.array(emit, argument) for argument in arguments]
    dtype = DType.F32 if all(value.dtype is DType.F32 for value in values) else DType.F64
    return [emit.cast(value, dtype) for value in values]


def _square(emit: Emitter, value: Value, call: str) -> Value:
    shape = emit.shape(value)
    if len(shape) < 2:
        raise ShapeError(f"{call} takes a matrix, not an array with {len(shape)} axes")
    emit.solver.unify(shape[-2], shape[-1], f"{call} takes a square matrix")
    return value


def _system(emit: Emitter, call: str, x: ArrayLike, y: ArrayLike) -> tuple[Value, Value, bool]:
    """Matrix and the right-hand sides with the same leading axes; whether `b` was a vector."""
    a, b = _float(emit, x, y)
    _square(emit, a, call)
    vector = len(emit.shape(b)) == 1
    if vector:
        b = emit.reshape(b, (*emit.shape(b), 1))
    if len(emit.shape(b)) < 2:
        raise ShapeError(f"{call} takes a right-hand side with at least one axis")
    emit.solver.unify(emit.shape(a)[-1], emit.shape(b)[-2], f"{call}: as many equations as right-hand sides")
    lead = emit.broadcast_shape([emit.shape(a)[:-2], emit.shape(b)[:-2]])
    a = emit.broadcast_to(a, (*lead, *emit.shape(a)[-2:]))
    b = emit.broadcast_to(b, (*lead, *emit.shape(b)[-2:]))
    return a, b, vector


def _unpacked(emit: Emitter, x: Value, vector: bool) -> Value:
    return emit.reshape(x, emit.shape(x)[:-1]) if vector else x


# --- norms --------------------------------------------------------------------------------------------------


def norm(
    emit: Emitter, x: ArrayLike, ord: float | str | None = None, axis: Axes = None, keepdims: bool = False
) -> Value:
    """Vector norm along one axis, matrix norm along two; of the flattened array without `ord` and `axis`."""
    (value,) = _float(emit, x)
    rank = len(emit.shape(value))
    axes = lift.axes(axis, rank)
    if axis is None and ord is None:
        return _two_norm(emit, value, axes, keepdims)
    if len(axes) == 1:
        return _vector_norm(emit, value, ord, axes, keepdims)
    if len(axes) == 2:
        return _matrix_norm(emit, value, ord, axes, keepdims)
    raise ShapeError(
        f"a norm with ord={ord!r} over {len(axes)} axes", do="name one axis, or two for a matrix norm"
    )


def vector_norm(
    emit: Emitter, x: ArrayLike, /, *, axis: Axes = None, keepdims: bool = False, ord: float = 2
) -> Value:
    """Vector norm over axes taken together."""
    (value,) = _float(emit, x)
    axes = lift.axes(axis, len(emit.shape(value)))
    return _vector_norm(emit, value, ord, axes, keepdims)


def matrix_norm(emit: Emitter, x: ArrayLike, /, *, keepdims: bool = False, ord: float | str = "fro") -> Value:
    """Matrix norm over the last two axes."""
    return norm(emit, x, ord, (-2, -1), keepdims)


def _two_norm(emit: Emitter, value: Value, axes: Sequence[int], keepdims: bool) -> Value:
    squares = emit.reduce("sum", emit.elementwise("square", value), axes, keepdims=keepdims)
    return emit.elementwise(root_of_squares(), squares)


def _vector_norm(
    emit: Emitter, value: Value, ord: float | str | None, axes: Sequence[int], keepdims: bool
) -> Value:
    if ord is None or ord == 2:
        return _two_norm(emit, value, axes, keepdims)
    if isinstance(ord, str):
        raise ShapeError(f"a vector norm with ord={ord!r}", do="use a number, or two axes")
    if ord == 0:
        present = emit.cast(emit.elementwise("ne", value, 0), value.dtype)
        return emit.reduce("sum", present, axes, keepdims=keepdims)
    size = emit.elementwise("abs", value)
    if ord in (np.inf, -np.inf):
        return emit.reduce("max" if ord > 0 else "min", size, axes, keepdims=keepdims)
    if ord == 1:
        return emit.reduce("sum", size, axes, keepdims=keepdims)
    total = emit.reduce("sum", emit.power(size, ord), axes, keepdims=keepdims)
    return _root(emit, total, ord)


def _root(emit: Emitter, total: Value, ord: float) -> Value:
    """``total ** (1 / ord)``, with derivative 0 at 0: the arm not taken gets a strong zero."""
    root = emit.power(total, 1 / ord)
    return root if ord < 0 else emit.elementwise("select", emit.elementwise("eq", total, 0), 0, root)


def _matrix_norm(
    emit: Emitter, value: Value, ord: float | str | None, axes: tuple[int, ...], keepdims: bool
) -> Value:
    if ord in (None, "fro", "f"):
        return _two_norm(emit, value, axes, keepdims)
    if ord not in (1, -1, np.inf, -np.inf):
        raise lift.refused(
            f"a matrix norm with ord={ord!r}", why="it needs singular values", do="use 'fro', 1 or np.inf"
        )
    summed, compared = axes if ord in (1, -1) else axes[::-1]
    sums = emit.reduce("sum", emit.elementwise("abs", value), (summed,), keepdims=True)
    op = "max" if ord in (1, np.inf) else "min"
    extreme = emit.reduce(op, sums, (compared,), keepdims=True)
    if keepdims:
        return extreme
    shape = emit.shape(value)
    return emit.reshape(extreme, tuple(size for at, size in enumerate(shape) if at not in axes))


# --- systems and inverses -----------------------------------------------------------------------------------


def solve(emit: Emitter, a: ArrayLike, b: ArrayLike) -> Value:
    """Solution of ``a @ x = b``."""
    matrix, right, vector = _system(emit, "solve", a, b)
    return _unpacked(emit, emit.call("solve", (matrix, right))[0], vector)


def inv(emit: Emitter, a: ArrayLike) -> Value:
    """Inverse of a matrix."""
    (value,) = _float(emit, a)
    return emit.call("inv", (_square(emit, value, "inv"),))[0]


class SlogdetResult(NamedTuple):
    """What ``np.linalg.slogdet`` returns."""

    sign: Value
    logabsdet: Value


def slogdet(emit: Emitter, a: ArrayLike) -> SlogdetResult:
    """Sign and logarithm of the absolute value of the determinant."""
    (value,) = _float(emit, a)
    return SlogdetResult(*emit.call("slogdet", (_square(emit, value, "slogdet"),)))


def det(emit: Emitter, a: ArrayLike) -> Value:
    """Give the determinant of a matrix."""
    (value,) = _float(emit, a)
    return emit.call("det", (_square(emit, value, "det"),))[0]


def matrix_power(emit: Emitter, a: ArrayLike, n: object) -> Value:
    """Matrix times itself, by squaring; negative powers are powers of the inverse."""
    value = _square(emit, lift.array(emit, a), "matrix_power")
    power = static(emit, n, "the exponent of matrix_power")
    if power == 0:
        shape = emit.shape(value)
        one = emit.index_predicate("eq", len(shape) - 2, len(shape) - 1, shape)
        return emit.cast(one, value.dtype)
    if power < 0:
        value, power = inv(emit, value), -power
    result: Value | None = None
    while power:
        if power & 1:
            result = value if result is None else matmul(emit, result, value)
        power >>= 1
        if power:
            value = matmul(emit, value, value)
    assert result is not None
    return result


# --- Cholesky and triangles ---------------------------------------------------------------------------------


def cholesky(emit: Emitter, a: ArrayLike, /, *, upper: bool = False) -> Value:
    """Lower triangular factor of a positive definite matrix, or its transpose."""
    (value,) = _float(emit, a)
    _square(emit, value, "cholesky")
    # only the named triangle is read, as LAPACK does
    source = matrix_transpose(emit, value) if upper else value
    (factor,) = emit.call("cholesky", (source,))
    return matrix_transpose(emit, factor) if upper else factor


def _scipy_cholesky(
    emit: Emitter, a: ArrayLike, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> Value:
    return cholesky(emit, a, upper=not lower)


def _cho_factor(
    emit: Emitter, a: ArrayLike, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> tuple[Value, bool]:
    return cholesky(emit, a, upper=not lower), bool(lower)


def _cho_solve(
    emit: Emitter,
    c_and_lower: tuple[ArrayLike, bool],
    b: ArrayLike,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Value:
    factor, lower = c_and_lower
    half = solve_triangular(emit, factor, b, trans=0 if lower else 1, lower=lower)
    return solve_triangular(emit, factor, half, trans=1 if lower else 0, lower=lower)


def solve_triangular(
    emit: Emitter,
    a: ArrayLike,
    b: ArrayLike,
    trans: int | str = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Value:
    """Solution of a triangular system; `trans` takes the transposed matrix."""
    matrix, right, vector = _system(emit, "solve_triangular", a, b)
    if trans not in (0, 1, 2, "N", "T", "C"):
        raise ShapeError(f"solve_triangular(trans={trans!r})", do="use 0 or 'N', 1 or 'T'")
    if unit_diagonal:
        shape = emit.shape(matrix)
        on_diagonal = emit.index_predicate("eq", len(shape) - 2, len(shape) - 1, shape)
        matrix = emit.elementwise("select", on_diagonal, 1, matrix)
    attributes = {"lower": bool(lower), "transposed": trans not in (0, "N")}
    return _unpacked(emit, emit.call("solve_triangular", (matrix, right), attributes)[0], vector)


def _scipy_solve(
    emit: Emitter,
    a: ArrayLike,
    b: ArrayLike,
    lower: bool = False,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
    assume_a: str | None = None,
    transposed: bool = False,
) -> Value:
    (matrix,) = _float(emit, a)
    if assume_a in ("sym", "her", "pos", "symmetric", "hermitian", "positive definite"):
        matrix = _mirrored(emit, _square(emit, matrix, "solve"), lower)
    elif assume_a in ("lower triangular", "upper triangular"):
        return solve_triangular(emit, matrix, b, lower=assume_a.startswith("lower"), trans=int(transposed))
    return solve(emit, matrix_transpose(emit, matrix) if transposed else matrix, b)


def _mirrored(emit: Emitter, matrix: Value, lower: bool) -> Value:
    """Symmetric matrix that one triangle determines: the other one is not read."""
    half = (tril if lower else triu)(emit, matrix)
    strict = tril(emit, matrix, -1) if lower else triu(emit, matrix, 1)
    return emit.elementwise("add", half, matrix_transpose(emit, strict))


def _scipy_inv(emit: Emitter, a: ArrayLike, overwrite_a: bool = False, check_finite: bool = True) -> Value:
    return inv(emit, a)


def _scipy_det(emit: Emitter, a: ArrayLike, overwrite_a: bool = False, check_finite: bool = True) -> Value:
    return det(emit, a)


def _scipy_norm(
    emit: Emitter,
    a: ArrayLike,
    ord: float | str | None = None,
    axis: Axes = None,
    keepdims: bool = False,
    check_finite: bool = True,
) -> Value:
    return norm(emit, a, ord, axis, keepdims)


# --- diagonals of stacks ------------------------------------------------------------------------------------


def _linalg_diagonal(emit: Emitter, x: ArrayLike, /, *, offset: int = 0) -> Value:
    return diagonal(emit, x, offset, -2, -1)


def _linalg_trace(emit: Emitter, x: ArrayLike, /, *, offset: int = 0, dtype: object = None) -> Value:
    return trace(emit, x, offset, -2, -1, dtype)


def _spectral(name: str) -> Handler:
    return lift.refusing(
        name,
        why="spectral decompositions have no rule yet",
        do="use solve, cholesky, slogdet or inv, or gradc.external",
    )


FUNCTIONS: Table = {
    np.linalg.norm: norm,
    np.linalg.vector_norm: vector_norm,
    np.linalg.matrix_norm: matrix_norm,
    np.linalg.solve: solve,
    np.linalg.inv: inv,
    np.linalg.det: det,
    np.linalg.slogdet: slogdet,
    np.linalg.cholesky: cholesky,
    np.linalg.matrix_power: matrix_power,
    np.linalg.diagonal: _linalg_diagonal,
    np.linalg.trace: _linalg_trace,
    "scipy.linalg.cholesky": _scipy_cholesky,
    "scipy.linalg.cho_factor": _cho_factor,
    "scipy.linalg.cho_solve": _cho_solve,
    "scipy.linalg.solve": _scipy_solve,
    "scipy.linalg.solve_triangular": solve_triangular,
    "scipy.linalg.inv": _scipy_inv,
    "scipy.linalg.det": _scipy_det,
    "scipy.linalg.norm": _scipy_norm,
    "scipy.linalg.expm": lift.refusing(
        "scipy.linalg.expm", do="use np.linalg.matrix_power or gradc.external"
    ),
    **{
        getattr(np.linalg, name): _spectral(f"np.linalg.{name}")
        for name in ("eig", "eigh", "eigvals", "eigvalsh", "svd", "svdvals", "qr", "pinv", "lstsq", "cond")
    },
    np.linalg.matrix_rank: _spectral("np.linalg.matrix_rank"),
}

__all__ = ["FUNCTIONS", "SlogdetResult", "det", "inv", "norm", "slogdet", "solve"]
