"""Linear algebra that kernels call, on the last two axes; leading axes are batches.

Called from Python they are NumPy's; called from compiled code they go straight to the BLAS and LAPACK that
SciPy brings.  Arrays are C-contiguous and may be read-only; both libraries want columns contiguous, so a
C-contiguous matrix is its transpose to them.  A function is one piece, because each helper would cost a
compilation of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import overload

from gradc_runtime.fortran import ALL, LOWER, NO, RIGHT, UPPER, YES, by_dtype, flat
from gradc_runtime.library import OPTIONS

Array = Any
Number = Any

_GEMM, _TRSM = (by_dtype("cython_blas", name) for name in ("gemm", "trsm"))
_GESV, _GETRF, _POTRF, _GESDD = (
    by_dtype("cython_lapack", name) for name in ("gesv", "getrf", "potrf", "gesdd")
)


# --- linear systems -----------------------------------------------------------------------------------------


def solve(a: Array, b: Array) -> Array:
    """``a^-1 b``; LinAlgError where `a` is singular."""
    return np.linalg.solve(a, b).astype(a.dtype)


@overload(solve, jit_options=OPTIONS, strict=False)
def _solve(a: Any, b: Any) -> Any:
    gesv = _GESV[a.dtype]

    def solved(a: Array, b: Array) -> Array:
        n, m = b.shape[-2:]
        out = np.empty(b.shape, b.dtype)
        lefts, rights, results = flat(a), flat(b), flat(out)
        matrix, columns, pivots = np.empty(n * n, a.dtype), np.empty(n * m, a.dtype), np.empty(n, np.int32)
        for k in range(lefts.size // (n * n) if n > 0 else 0):
            for i in range(n):
                for j in range(n):
                    matrix[j * n + i] = lefts[(k * n + i) * n + j]
                for j in range(m):
                    columns[j * n + i] = rights[(k * n + i) * m + j]
            if gesv((n, m, matrix, n, pivots, columns, n)) != 0:
                raise np.linalg.LinAlgError("Singular matrix")
            for i in range(n):
                for j in range(m):
                    results[(k * n + i) * m + j] = columns[j * n + i]
        return out

    return solved


def inv(a: Array) -> Array:
    """``a^-1``; LinAlgError where `a` is singular."""
    return np.linalg.inv(a).astype(a.dtype)


@overload(inv, jit_options=OPTIONS, strict=False)
def _inv(a: Any) -> Any:
    def inverse(a: Array) -> Array:
        n = a.shape[-1]
        identities = np.zeros(a.shape, a.dtype)
        elements = flat(identities)
        for row in range(elements.size // n if n > 0 else 0):
            elements[row * n + row % n] = 1
        return solve(a, identities)

    return inverse


def solve_triangular(a: Array, b: Array, lower: bool, transposed: bool) -> Array:
    """``t^-1 b`` or ``t^-T b`` where `t` is a triangle of `a`; LinAlgError where `t` is singular."""
    triangle = np.tril(a) if lower else np.triu(a)
    return np.linalg.solve(np.swapaxes(triangle, -1, -2) if transposed else triangle, b).astype(a.dtype)


@overload(solve_triangular, jit_options=OPTIONS, strict=False)
def _solve_triangular(a: Any, b: Any, lower: Any, transposed: Any) -> Any:
    trsm = _TRSM[a.dtype]

    def solved(a: Array, b: Array, lower: bool, transposed: bool) -> Array:
        """Return the transposed system: the unknown on the left, the triangle on the right."""
        n, m = b.shape[-2:]
        out, one = b.copy(), a.dtype.type(1)
        matrices, results = flat(a), flat(out)
        triangle, mode = UPPER if lower else LOWER, YES if transposed else NO
        for k in range(matrices.size // (n * n) if n > 0 else 0):
            for i in range(n):
                if matrices[(k * n + i) * n + i] == 0:
                    raise np.linalg.LinAlgError("Singular matrix")
            if m > 0:
                start, target = (matrices, k * n * n), (results, k * n * m)
                trsm((RIGHT, triangle, mode, NO, m, n, one, start, n, target, m))
        return out

    return solved


def cholesky(a: Array) -> Array:
    """Lower triangular ``l`` with ``l l^T = a``; reads the lower triangle of `a` only."""
    return np.linalg.cholesky(a).astype(a.dtype)


@overload(cholesky, jit_options=OPTIONS, strict=False)
def _cholesky(a: Any) -> Any:
    potrf = _POTRF[a.dtype]

    def factor(a: Array) -> Array:
        n, out = a.shape[-1], a.copy()
        results = flat(out)
        for k in range(results.size // (n * n) if n > 0 else 0):
            if potrf((UPPER, n, (results, k * n * n), n)) != 0:
                raise np.linalg.LinAlgError("Matrix is not positive definite")
            for i in range(n):
                for j in range(i + 1, n):
                    results[(k * n + i) * n + j] = 0
        return out

    return factor


# --- determinants -------------------------------------------------------------------------------------------


def _sign_and_logarithm(matrices: Array, start: int, n: int) -> tuple[Number, Number]:
    """Sign and logarithm of the absolute value of the determinant of the `n` by `n` matrix at `start`."""
    sign, logarithm = np.linalg.slogdet(matrices[start : start + n * n].reshape(n, n))
    return sign, logarithm


@overload(_sign_and_logarithm, jit_options=OPTIONS, strict=False)
def _sign_and_logarithm_compiled(matrices: Any, start: Any, n: Any) -> Any:
    getrf = _GETRF[matrices.dtype]

    def compute(matrices: Array, start: int, n: int) -> tuple[Number, Number]:
        factors, pivots = np.empty(n * n, matrices.dtype), np.empty(n, np.int32)
        for i in range(n):
            for j in range(n):
                factors[j * n + i] = matrices[start + i * n + j]
        sign, logarithm = matrices.dtype.type(1), matrices.dtype.type(0)
        if n > 0 and getrf((n, n, factors, n, pivots)) > 0:
            return matrices.dtype.type(0), matrices.dtype.type(-np.inf)
        for i in range(n):
            pivot = factors[i * n + i]
            if (pivots[i] != i + 1) != (pivot < 0):
                sign = -sign
            logarithm += np.log(abs(pivot))
        return sign, logarithm

    return compute


def slogdet(a: Array) -> tuple[Array, Array]:
    """Sign of the determinant and logarithm of its absolute value: 0 and -inf for a singular matrix."""
    sign, logarithm = np.linalg.slogdet(a)
    return sign, logarithm


@overload(slogdet, jit_options=OPTIONS, strict=False)
def _slogdet(a: Any) -> Any:
    def compute(a: Array) -> tuple[Array, Array]:
        n, matrices = a.shape[-1], flat(a)
        signs, logarithms = np.ones(a.shape[:-2], a.dtype), np.zeros(a.shape[:-2], a.dtype)
        flat_signs, flat_logarithms = flat(signs), flat(logarithms)
        for k in range(signs.size):
            flat_signs[k], flat_logarithms[k] = _sign_and_logarithm(matrices, k * n * n, n)
        return signs[()], logarithms[()]

    return compute


def det(a: Array) -> Array:
    """Return the determinant."""
    return np.linalg.det(a)


@overload(det, jit_options=OPTIONS, strict=False)
def _det(a: Any) -> Any:
    def compute(a: Array) -> Array:
        n, matrices = a.shape[-1], flat(a)
        out = np.empty(a.shape[:-2], a.dtype)
        results = flat(out)
        for k in range(results.size):
            sign, logarithm = _sign_and_logarithm(matrices, k * n * n, n)
            results[k] = sign * np.exp(logarithm)
        return out[()]

    return compute


def cofactor(a: Array) -> Array:
    """``det(a) a^-T``, finite for singular matrices too: through ``a = u s v^T``."""
    u, s, vt = np.linalg.svd(a)
    others = np.where(np.eye(s.shape[-1], dtype=bool), s.dtype.type(1), s[..., None, :]).prod(-1)
    sign = np.linalg.det(u) * np.linalg.det(vt)
    return (sign[..., None, None] * ((u * others[..., None, :]) @ vt)).astype(a.dtype)


@overload(cofactor, jit_options=OPTIONS, strict=False)
def _cofactor(a: Any) -> Any:
    gemm, gesdd = _GEMM[a.dtype], _GESDD[a.dtype]

    def compute(a: Array) -> Array:
        """LAPACK sees the transpose, ``v s u^T``, and returns ``v`` and ``u^T``, each transposed to us."""
        n, out, scratch = a.shape[-1], np.empty(a.shape, a.dtype), a.copy()
        matrices, results = flat(scratch), flat(out)
        s, u, vt = np.empty(n, a.dtype), np.empty(n * n, a.dtype), np.empty(n * n, a.dtype)
        size = (
            4 * n * n + 71 * n
        )  # 4 n^2 + 7 n is the least that LAPACK takes; the rest lets it work in blocks
        work, integers = np.empty(size, a.dtype), np.empty(8 * n, np.int32)
        one, zero = a.dtype.type(1), a.dtype.type(0)
        for k in range(out.size // (n * n) if n > 0 else 0):
            start = k * n * n
            if gesdd((ALL, n, n, (matrices, start), n, s, vt, n, u, n, work, size, integers)) != 0:
                raise np.linalg.LinAlgError("SVD did not converge")
            sign = _sign_and_logarithm(u, 0, n)[0] * _sign_and_logarithm(vt, 0, n)[0]
            for j in range(n):
                factor = sign
                for i in range(n):
                    factor *= s[i] if i != j else one
                for i in range(n):
                    u[i * n + j] *= factor
            gemm((NO, NO, n, n, n, one, vt, n, u, n, zero, (results, start), n))
        return out

    return compute
