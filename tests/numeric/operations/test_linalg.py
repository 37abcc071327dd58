"""Linear algebra against NumPy and SciPy: values, leading axes, vector right-hand sides, norms at zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from tests.numeric.operations.shaped import check, check_gradient, declare, run, traced
from tests.numeric.operations.support import Case, call, check_value, refusing, uncovered
from tests.numeric.operations.support import check_gradient as check_case_gradient

from gradc.autodiff.vjp import gradient
from gradc.errors import ShapeError, TraceError
from gradc.ir.index.verify import verify
from gradc.lang.operations import key_of, linalg

RNG = np.random.default_rng(60)
INF = np.inf


def x(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    return np.asarray(RNG.uniform(-2.0, 2.0, shape), dtype)


def regular(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    """Well-conditioned square matrices."""
    return np.asarray(x(*shape) + 4 * np.eye(shape[-1]), dtype)


def positive(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    """Symmetric positive definite matrices."""
    a = x(*shape)
    return np.asarray(a @ np.swapaxes(a, -1, -2) + 2 * np.eye(shape[-1]), dtype)


NORMS: list[Case] = [
    *(call(np.linalg.norm, x(5), ord) for ord in (None, 0, 1, 2, 3, 0.5, -1, INF, -INF)),
    *(call(np.linalg.norm, x(3, 4), ord) for ord in (None, "fro", 1, -1, INF, -INF)),
    *(call(np.linalg.norm, x(3, 4), ord, axis=1) for ord in (None, 1, 2, INF, 2.5)),
    *(call(np.linalg.norm, x(2, 3, 4), ord, axis=(2, 0)) for ord in (None, "fro", 1, INF, -INF)),
    call(np.linalg.norm, x(2, 3, 4)),
    call(np.linalg.norm, x(2, 3, 4), keepdims=True),
    call(np.linalg.norm, x(3, 4), axis=0, keepdims=True),
    call(np.linalg.norm, x(2, 3, 4), INF, axis=(0, 1), keepdims=True),
    call(np.linalg.norm, x(4, dtype=np.float32)),
    call(np.linalg.norm, x(4, dtype=np.int64)),
    call(np.linalg.norm, x(0)),
    call(np.linalg.norm, x(0), 3),
    call(np.linalg.norm, [3.0, 4.0]),
    call(np.linalg.vector_norm, x(2, 3)),
    call(np.linalg.vector_norm, x(2, 3, 4), axis=(0, 2), ord=1, keepdims=True),
    call(np.linalg.matrix_norm, x(2, 3, 4)),
    call(np.linalg.matrix_norm, x(2, 3, 4), ord=1, keepdims=True),
    call(scipy.linalg.norm, x(3, 4)),
    call(scipy.linalg.norm, x(3, 4), 1, axis=0),
]
LAPACK: list[Case] = [
    call(np.linalg.solve, regular(3, 3), x(3)),
    call(np.linalg.solve, regular(3, 3), x(3, 2)),
    call(np.linalg.solve, regular(4, 3, 3), x(3, 2)),
    call(np.linalg.solve, regular(3, 3), x(4, 3, 2)),
    call(np.linalg.solve, regular(4, 3, 3), x(3)),
    call(np.linalg.solve, regular(3, 3, dtype=np.float32), x(3, dtype=np.float32)),
    call(np.linalg.solve, np.array([[2, 1], [1, 3]]), [1, 2]),
    call(np.linalg.inv, regular(3, 3)),
    call(np.linalg.inv, regular(2, 3, 3)),
    call(np.linalg.det, regular(3, 3)),
    call(np.linalg.det, regular(2, 4, 4)),
    call(np.linalg.det, np.array([[1.0, 2.0], [2.0, 4.0]])),
    call(np.linalg.slogdet, -regular(3, 3)),
    call(np.linalg.slogdet, regular(2, 3, 3)),
    call(np.linalg.cholesky, positive(3, 3)),
    call(np.linalg.cholesky, positive(2, 3, 3)),
    call(np.linalg.cholesky, positive(3, 3, dtype=np.float32)),
    call(np.linalg.cholesky, positive(3, 3), upper=True),
    *(call(np.linalg.matrix_power, regular(3, 3), n) for n in (0, 1, 2, 3, 5, -1, -2)),
    call(np.linalg.matrix_power, x(2, 3, 3), 3),
    call(np.linalg.matrix_power, x(3, 3, dtype=np.int64), 2),
    call(np.linalg.matrix_power, x(3, 3, dtype=np.int64), 0),
    call(np.linalg.diagonal, x(2, 3, 4), offset=1),
    call(np.linalg.trace, x(2, 3, 3)),
    call(np.linalg.trace, x(2, 3, 3, dtype=np.int32), offset=-1),
    call(scipy.linalg.cholesky, positive(3, 3)),
    call(scipy.linalg.cholesky, positive(3, 3), lower=True),
    call(scipy.linalg.solve, regular(3, 3), x(3)),
    call(scipy.linalg.solve, regular(3, 3), x(3, 2), transposed=True),
    call(scipy.linalg.solve, positive(3, 3), x(3), assume_a="pos"),
    call(scipy.linalg.solve, np.triu(positive(3, 3)), x(3), assume_a="pos"),
    call(scipy.linalg.solve, np.tril(positive(3, 3)), x(3), assume_a="sym", lower=True),
    call(scipy.linalg.solve, np.tril(regular(3, 3)), x(3), assume_a="lower triangular"),
    *(
        call(scipy.linalg.solve_triangular, regular(3, 3), x(3), trans, lower, unit)
        for trans in (0, 1, "T")
        for lower in (False, True)
        for unit in (False, True)
    ),
    call(scipy.linalg.solve_triangular, regular(3, 3), x(3, 2), lower=True),
    call(scipy.linalg.inv, regular(3, 3)),
    call(scipy.linalg.det, regular(3, 3)),
]
CASES = [Case(c.function, c.arguments, c.options, 1e-11, c.smooth) for c in (*NORMS, *LAPACK)]


@pytest.mark.parametrize("static", [False, True], ids=["symbolic", "static"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_functions_mean_what_numpy_means(case: Case, static: bool) -> None:
    check_value(case, static=static)


# Functions that read one triangle only are differentiated as functions of that triangle: see below.
WHOLE = (np.linalg.cholesky, scipy.linalg.cholesky, np.linalg.slogdet)


def _smooth(case: Case) -> bool:
    first = case.arguments[0]
    return isinstance(first, np.ndarray) and first.dtype == np.float64 and first.size > 0


@pytest.mark.parametrize("case", [c for c in CASES if _smooth(c) and c.function not in WHOLE], ids=str)
def test_gradients_agree_with_differences(case: Case) -> None:
    check_case_gradient(case)


def test_gradients_of_factorisations() -> None:
    def symmetric(emit: Any, a: Any) -> Any:
        return emit.elementwise("add", a, emit.transpose(a, (1, 0)))

    base = positive(3, 3)
    check_gradient(lambda e, a: linalg.cholesky(e, symmetric(e, a)), base)
    check_gradient(lambda e, a: linalg.cholesky(e, symmetric(e, a), upper=True), base)
    check_gradient(lambda e, a: linalg.slogdet(e, a).logabsdet, -regular(3, 3))
    check_gradient(
        lambda e, a, b: linalg.FUNCTIONS[key_of(scipy.linalg.cho_solve)](
            e, linalg.FUNCTIONS[key_of(scipy.linalg.cho_factor)](e, symmetric(e, a)), b
        ),
        base,
        x(3),
    )


@pytest.mark.parametrize("lower", [False, True])
def test_cholesky_solve(lower: bool) -> None:
    factor, solve = (linalg.FUNCTIONS[key_of(f)] for f in (scipy.linalg.cho_factor, scipy.linalg.cho_solve))
    for right in (x(3), x(3, 2)):
        check(
            lambda e, a, b: solve(e, factor(e, a, lower), b),
            lambda a, b: scipy.linalg.cho_solve(scipy.linalg.cho_factor(a, lower), b),
            positive(3, 3),
            right,
            exact=False,
        )


def test_cholesky_reads_one_triangle() -> None:
    a = positive(3, 3)
    dirty = np.tril(a) + np.triu(np.full((3, 3), 7.0), 1)
    check(linalg.cholesky, np.linalg.cholesky, dirty, exact=False)
    check(
        lambda e, a: linalg.cholesky(e, a, upper=True),
        lambda a: np.linalg.cholesky(a, upper=True),
        dirty.T,
        exact=False,
    )


def test_slogdet_has_names() -> None:
    emit, (a,) = declare([regular(2, 2)])
    result = linalg.slogdet(emit, a)
    assert result._fields == ("sign", "logabsdet") == np.linalg.slogdet(np.eye(2))._fields
    assert result.sign is result[0]


@pytest.mark.parametrize("ord", [None, 2, 3, 1.5])
def test_the_gradient_of_a_norm_at_zero_is_zero(ord: float | None) -> None:
    program, _ = traced(lambda e, a: linalg.norm(e, a, ord), [np.ones(3)])
    adjoint = verify(gradient(program, program.inputs))
    value, slope = run(adjoint, [np.zeros(3)])
    assert value == 0.0
    np.testing.assert_array_equal(slope, np.zeros(3))
    _, slope = run(adjoint, [np.array([3.0, 0.0, -4.0])])
    assert np.isfinite(slope).all()
    assert slope[1] == 0.0


def test_rows_that_are_zero_do_not_spoil_others() -> None:
    def total(emit: Any, a: Any) -> Any:
        return emit.reduce("sum", linalg.norm(emit, a, axis=1), (0,))

    program, _ = traced(total, [np.ones((2, 2))])
    _, slope = run(gradient(program, program.inputs), [np.array([[0.0, 0.0], [3.0, 4.0]])])
    np.testing.assert_allclose(slope, [[0.0, 0.0], [0.6, 0.8]])


def test_the_determinant_of_a_singular_matrix_has_a_gradient() -> None:
    singular = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 0.0, 1.0]])
    check_gradient(linalg.det, singular)


def test_every_handler_is_exercised() -> None:
    elsewhere = [call(f) for f in (scipy.linalg.cho_factor, scipy.linalg.cho_solve)]
    assert uncovered((linalg.FUNCTIONS,), [*CASES, *elsewhere]) == []


@pytest.mark.parametrize("handler", refusing((linalg.FUNCTIONS,)))
def test_refused_functions_say_what_to_write(handler: Callable[..., Any]) -> None:
    with pytest.raises(TraceError, match="do: "):
        handler(declare([])[0])


@pytest.mark.parametrize("ord", [2, -2, "nuc"])
def test_spectral_norms_are_refused(ord: float | str) -> None:
    emit, (a,) = declare([x(3, 3)])
    with pytest.raises(TraceError, match="singular values"):
        linalg.norm(emit, a, ord)


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (linalg.inv, ((2, 3),)),
        (linalg.inv, ((3,),)),
        (linalg.det, ((2, 3),)),
        (linalg.cholesky, ((2, 3),)),
        (linalg.solve, ((3, 3), (2,))),
        (linalg.solve, ((2, 3), (3,))),
        (linalg.solve, ((2, 3, 3), (4, 3, 1))),
        (linalg.solve, ((3, 3), ())),
        (lambda e, a, b: linalg.solve_triangular(e, a, b, trans="X"), ((3, 3), (3,))),
        (lambda e, a: linalg.norm(e, a, 1), ((2, 2, 2),)),
        (lambda e, a: linalg.norm(e, a, "fro"), ((2,),)),
    ],
)
@pytest.mark.parametrize("static", [False, True])
def test_operands_that_do_not_fit_are_refused(
    function: Callable[..., Any], shapes: tuple[tuple[int, ...], ...], static: bool
) -> None:
    emit, values = declare([x(*shape) for shape in shapes], static=static)
    with pytest.raises(ShapeError):
        function(emit, *values)
