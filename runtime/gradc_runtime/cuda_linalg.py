"""Linear algebra on a CUDA device, on the last two axes; leading axes are batches.

Everything is computed by kernels of `gradc_runtime.cuda_factors`, in the dtype of the operands: about ``n^3``
operations by all of the device, but for panels of 32 columns, which are one block's.  That is for matrices of
some hundred rows and for batches of small ones; NVIDIA's own libraries are faster for large ones.

Operations that refuse a matrix wait until it is known whether they do.  A matrix is singular where a pivot is
exactly zero, as for LAPACK; rounding may make it so there and not here.  NaN is not zero: it comes out as NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradc_runtime.cuda_backend import cuda
from gradc_runtime.cuda_factors import (
    View,
    eliminate,
    eliminate_completely,
    exchange,
    root,
    substitute,
)
from gradc_runtime.cuda_families import copied, family, flat, result
from gradc_runtime.cuda_math import exp, log
from gradc_runtime.cuda_memory import clear, empty, scratch
from gradc_runtime.cuda_numbers import number_of

Array = Any
Number = Any


def _form(x: Array) -> tuple[tuple[int, ...], int, int]:
    """Batches, rows and columns."""
    *batches, rows, columns = x.shape
    return tuple(batches), rows, columns


def _square(a: Array) -> tuple[int, int]:
    """How many matrices there are, and their rows: no matrices where they have no elements."""
    batches, n, _ = _form(a)
    return math.prod(batches) if n else 0, n


def _matrices(x: Array) -> View:
    _, rows, columns = _form(x)
    return View(flat(x), 0, rows * columns, columns, 1)


def _copy(x: Array, target: Array) -> Array:
    copied.each(x.size, flat(x), flat(target))
    return target


def _refuse_if(flag: Array, message: str) -> None:
    """Wait for a flag of the device, and raise where it is set."""
    if number_of(flag):
        raise np.linalg.LinAlgError(message)


def _unset() -> Array:
    flag = scratch((1,), np.int32)
    clear(flag)
    return flag


# --- linear systems -----------------------------------------------------------------------------------------


def solve(a: Array, b: Array) -> Array:
    """``a^-1 b``; LinAlgError where `a` is singular.

    Factors with exchanged rows take ``2/3 n^3`` operations, and each column of `b` ``2 n^2``.
    """
    return _solve(a, _copy(b, empty(b.shape, b.dtype)))


def inv(a: Array) -> Array:
    """``a^-1``; LinAlgError where `a` is singular.  Takes ``8/3 n^3`` operations."""
    return _solve(a, _identities(a))


def solve_triangular(a: Array, b: Array, lower: bool, transposed: bool) -> Array:
    """``t^-1 b`` or ``t^-T b`` where `t` is a triangle of `a`; LinAlgError where `t` is singular.

    Takes ``n^2`` operations for each column of `b`.
    """
    x = _copy(b, empty(b.shape, b.dtype))
    batch, n = _square(a)
    if batch:
        t, singular = _matrices(a), _unset()
        _check_pivots.each(batch * n, t.elements, singular, n)
        _substitute(t.transposed() if transposed else t, x, batch, lower != transposed, unit=False)
        _refuse_if(singular, "Singular matrix")
    return x


def _solve(a: Array, x: Array) -> Array:
    """Replace `x` by ``a^-1 x``."""
    batch, n = _square(a)
    if batch:
        factors, pivots = _factors(a)
        singular = _unset()
        _check_pivots.each(batch * n, factors.elements, singular, n)
        exchange(_matrices(x), pivots, range(n), batch, _form(x)[2])
        _substitute(factors, x, batch, True, unit=True)
        _substitute(factors, x, batch, False, unit=False)
        _refuse_if(singular, "Singular matrix")
    return x


def _factors(a: Array) -> tuple[View, Array]:
    batch, n = _square(a)
    factors = _matrices(_copy(a, scratch(a.shape, a.dtype)))
    pivots = scratch((batch * n,), np.int64)
    eliminate(factors, pivots, batch, n)
    return factors, pivots


def _substitute(t: View, x: Array, batch: int, lower: bool, *, unit: bool) -> None:
    """Replace `x` by ``t^-1 x``, where `t` is a triangle."""
    (_, n, columns), right = _form(x), _matrices(x)
    given = (t, right) if lower else (t.backwards(n), right.upwards(n))
    substitute(*given, batch, n, columns, unit)


def _identities(a: Array) -> Array:
    x = empty(a.shape, a.dtype)
    _identity.each(x.size, flat(x), _form(a)[1])
    return x


@family("T[::1], int64, int64")
def _identity(x: Array, n: int, size: int) -> None:
    for p in range(cuda.grid(1), size, cuda.gridsize(1)):
        x[p] = 1 if p // n % n == p % n else 0


@family("T[::1], int32[::1], int64, int64")
def _check_pivots(matrices: Array, singular: Array, n: int, size: int) -> None:
    """Set a flag where an element of a diagonal is zero; many threads may write the same 1."""
    for p in range(cuda.grid(1), size, cuda.gridsize(1)):
        if matrices[p * n + p % n] == 0:
            singular[0] = 1


# --- the Cholesky factor ------------------------------------------------------------------------------------


def cholesky(a: Array) -> Array:
    """Lower triangular ``l`` with ``l l^T = a``; reads the lower triangle of `a` only.

    LinAlgError where `a` is not positive definite.  Takes ``n^3`` operations.
    """
    out = _copy(a, empty(a.shape, a.dtype))
    batch, n = _square(a)
    if batch:
        factors, failed = _matrices(out), _unset()
        root(factors, failed, batch, n)
        _clear_above.each(out.size, factors.elements, n)
        _refuse_if(failed, "Matrix is not positive definite")
    return out


@family("T[::1], int64, int64")
def _clear_above(matrices: Array, n: int, size: int) -> None:
    for p in range(cuda.grid(1), size, cuda.gridsize(1)):
        if p // n % n < p % n:
            matrices[p] = 0


# --- determinants -------------------------------------------------------------------------------------------


def slogdet(a: Array) -> tuple[Array, Array]:
    """Sign of the determinant and logarithm of its absolute value: 0 and -inf for a singular matrix.

    Takes ``2/3 n^3`` operations.
    """
    sign, logarithm, _ = _determinants(a)
    return sign, logarithm


def det(a: Array) -> Array:
    """Return the determinant.  Takes ``2/3 n^3`` operations."""
    return _determinants(a)[2]


def _determinants(a: Array) -> tuple[Array, Array, Array]:
    """Sign, logarithm and value of determinants."""
    batches, n, _ = _form(a)
    found = tuple(result(batches, a.dtype) for _ in range(3))
    many = math.prod(batches)
    if many:
        factors, pivots = _factors(a)
        _products.each(many, factors.elements, pivots, *map(flat, found), n)
    return found


@family("T[::1], int64[::1], T[::1], T[::1], T[::1], int64, int64")
def _products(
    factors: Array,
    pivots: Array,
    signs: Array,
    logarithms: Array,
    values: Array,
    n: int,
    size: int,
) -> None:
    """Multiply the pivots of a matrix, by one thread; logarithms are added in float64."""
    for matrix in range(cuda.grid(1), size, cuda.gridsize(1)):
        sign, total = 1.0, 0.0
        for i in range(n):
            pivot = np.float64(factors[(matrix * n + i) * n + i])
            if pivot == 0:
                sign, total = 0.0, -math.inf
                break
            if (pivots[matrix * n + i] != i) != (pivot < 0):
                sign = -sign
            total += log(abs(pivot))
        signs[matrix] = sign
        logarithms[matrix] = total
        values[matrix] = sign * exp(total)


def cofactor(a: Array) -> Array:
    """``det(a) a^-T``, finite for singular matrices too; NaN in a matrix with an element that is not finite.

    Through ``p a q = l d u`` with permutations `p` and `q`, triangles of elements up to 1 with ones on their
    diagonals, and a diagonal `d`: the cofactors of a product are the product of the cofactors, those of `d` the
    products of its other elements.  A matrix takes ``n^3`` steps of one block, as each pivot is looked for in all
    that is left of it, and ``2 n^3`` operations of all of the device.
    """
    out = _identities(a)
    batch, n = _square(a)
    if batch:
        factors, x = _matrices(_copy(a, scratch(a.shape, a.dtype))), _matrices(out)
        rows, columns = (scratch((batch * n,), np.int64) for _ in range(2))
        eliminate_completely(factors, rows, columns, batch, n)
        turned = factors.transposed()
        _substitute(turned, out, batch, True, unit=True)
        _scale.each(batch * n, factors.elements, x.elements, rows, columns, n)
        _substitute(turned, out, batch, False, unit=True)
        exchange(x, rows, range(n - 1, -1, -1), batch, n)
        exchange(x.transposed(), columns, range(n - 1, -1, -1), batch, n)
    return out


@family("T[::1], T[::1], int64[::1], int64[::1], int64, int64")
def _scale(factors: Array, x: Array, rows: Array, columns: Array, n: int, size: int) -> None:
    """Multiply every row by the other pivots, in float64, and by the sign of the permutations."""
    for p in range(cuda.grid(1), size, cuda.gridsize(1)):
        start = p // n * n  # of what belongs to the matrix
        factor = np.float64(1.0)
        for i in range(n):
            if i != p % n:
                factor *= np.float64(factors[(start + i) * n + i])
            if (rows[start + i] != i) != (columns[start + i] != i):
                factor = -factor
        for column in range(n):
            x[p * n + column] *= factor
