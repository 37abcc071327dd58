"""Operation counts of library operations: the usual flop counts, rounded up, as extents."""

from __future__ import annotations

from collections.abc import Callable

from gradc.ir.extents import Size, add, mul, product
from gradc.ir.tensors import TensorType

Types = tuple[TensorType, ...]


def _elements(factor: int) -> Callable[[Types], Size]:
    return lambda types: mul(factor, product(types[-1].shape))


def _cubic(factor: int) -> Callable[[Types], Size]:
    """`factor` times ``n^3`` per matrix."""
    return lambda types: mul(factor, mul(product(types[0].shape), types[0].shape[-1]))


def _right_hand_sides(factor: int) -> Callable[[Types], Size]:
    """`factor` times ``n^2`` per column on the right."""
    return lambda types: mul(factor, mul(product(types[1].shape), types[0].shape[-1]))


def _solve(types: Types) -> Size:
    return add(_cubic(1)(types), _right_hand_sides(2)(types))


# Golub and Van Loan, "Matrix Computations": 2/3 n^3 for LU, 1/3 n^3 for Cholesky, about 20 n^3 for SVD.
CALL_OPERATIONS: dict[str, Callable[[Types], Size]] = {
    "reshape": _elements(0),
    "affine_scan": _elements(2),
    "argsort": _elements(1),
    "arg_extreme": _elements(1),
    "solve": _solve,
    "inv": _cubic(2),
    "det": _cubic(1),
    "cofactor": _cubic(20),
    "slogdet": _cubic(1),
    "cholesky": _cubic(1),
    "solve_triangular": _right_hand_sides(1),
}
