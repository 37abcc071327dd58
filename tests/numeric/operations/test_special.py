"""`scipy.special`, `scipy.stats.norm` and `math` against the originals, with their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special
from scipy.stats import norm
from tests.numeric.operations.support import (
    Case,
    Recorder,
    call,
    check_gradient,
    check_value,
    differentiable,
    handler_for,
    kinked,
    refusing,
    trace,
    uncovered,
)

from gradc.autodiff.vjp import gradient
from gradc.errors import ArgumentError, DTypeError, TraceError
from gradc.ir.extents import symbol
from gradc.ir.index.evaluate import evaluate
from gradc.lang.emit import SizeValue, Value
from gradc.lang.operations import key_of, mathematics, normal
from gradc.lang.operations import special as handlers

RNG = np.random.default_rng(22)
POSITIVE, REAL, UNIT = (0.3, 3.0), (-2.5, 2.5), (0.05, 0.95)
DOMAIN: dict[Callable[..., Any], tuple[float, float]] = {
    special.erfinv: (-0.9, 0.9),
    special.ndtri: UNIT,
    special.logit: UNIT,
    special.log1p: (-0.8, 3.0),
    special.xlog1py: POSITIVE,
    **dict.fromkeys((special.gamma, special.gammaln, special.psi, special.entr), POSITIVE),
    **dict.fromkeys(
        (special.xlogy, special.rel_entr, special.kl_div, special.beta, special.betaln), POSITIVE
    ),
}
UFUNCS: tuple[Any, ...] = tuple(handlers.UFUNCS)
SHAPES = ((), (3,), (2, 3), (0,), (1, 3))
DTYPES = (np.float64, np.float32, np.int64, np.int8, np.bool_)


def drawn(shape: tuple[int, ...], domain: tuple[float, float] = REAL, dtype: Any = np.float64) -> np.ndarray:
    if np.dtype(dtype).kind == "f":
        return np.asarray(RNG.uniform(*domain, shape), dtype)
    return np.asarray(np.ones(shape), dtype)


def values(ufunc: Any, *shapes: tuple[int, ...], dtype: Any = np.float64) -> Case:
    return Case(
        ufunc, tuple(drawn(shape, DOMAIN.get(ufunc, REAL), dtype) for shape in shapes), tolerance=1e-12
    )


@pytest.mark.parametrize("ufunc", UFUNCS, ids=lambda f: f.__name__)
def test_ufuncs_for_every_shape_and_dtype(ufunc):
    for shape in SHAPES:
        check_value(values(ufunc, *(shape,) * ufunc.nin))
    for dtype in DTYPES:
        check_value(values(ufunc, *((3,),) * ufunc.nin, dtype=dtype))


@pytest.mark.parametrize("ufunc", UFUNCS, ids=lambda f: f.__name__)
def test_gradients_of_ufuncs(ufunc):
    check_gradient(values(ufunc, *((2, 3), (3,))[: ufunc.nin]))


EDGES = np.array([-np.inf, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, np.inf, np.nan])


@pytest.mark.parametrize("ufunc", [special.entr, special.rel_entr, special.kl_div], ids=lambda f: f.__name__)
def test_entropies_at_the_edge_of_their_domain(ufunc):
    grid = (EDGES,) if ufunc.nin == 1 else (EDGES[:, None], EDGES[None, :-2])
    check_value(kinked(ufunc, *grid))


@pytest.mark.parametrize("ufunc", [special.beta, special.betaln], ids=lambda f: f.__name__)
def test_beta_of_negative_numbers(ufunc):
    numbers = np.array([-2.3, -1.6, -0.4, 0.3, 1.7, 4.2])
    check_value(Case(ufunc, (numbers[:, None], numbers[None, :] + 0.05), tolerance=1e-11))


X, M, S = drawn((2, 3)), drawn((2, 3)), drawn((3,), POSITIVE)
P = drawn((2, 3), UNIT)
A, B, C = np.array(0.3), np.array(0.7), np.array(1.6)
FAR = np.array([[1000.0, 999.0, 0.0], [-1000.0, -1001.0, -1002.0]])
INFINITE = np.array([[-np.inf, -np.inf], [-np.inf, 1.0], [np.inf, 1.0], [np.inf, np.inf], [np.nan, 1.0]])
WEIGHTS = np.array([0.5, 0.0, 2.0])

CASES = [
    *(call(f, x) for f in (special.softmax, special.log_softmax, special.logsumexp) for x in (X, X[0])),
    *(call(f, X, axis=a) for f in (special.softmax, special.log_softmax, special.logsumexp) for a in (0, -1)),
    *(
        call(f, X.astype(np.float32), axis=1)
        for f in (special.softmax, special.log_softmax, special.logsumexp)
    ),
    *(call(f, FAR, axis=1) for f in (special.softmax, special.log_softmax, special.logsumexp)),
    *(kinked(f, INFINITE, axis=1) for f in (special.softmax, special.log_softmax, special.logsumexp)),
    call(special.logsumexp, X > 0),
    call(special.logsumexp, [A, B]),
    call(special.logsumexp, X, axis=(0, 1), keepdims=True),
    call(special.logsumexp, X, b=WEIGHTS[::2].sum()),
    call(special.logsumexp, X, axis=1, b=S),
    kinked(special.logsumexp, X, axis=1, b=WEIGHTS),
    call(special.logsumexp, X, axis=1, b=-S, return_sign=True),
    kinked(special.logsumexp, np.array([0.0, 1000.0]), b=np.array([1.0, 0.0])),
    call(np.logaddexp.reduce, X),
    call(np.logaddexp.reduce, X, axis=1),
    call(special.softplus, X),
    call(special.softplus, X.astype(np.float32)),
    call(special.softplus, np.array([-800.0, 0.0, 800.0])),
    call(special.softplus, np.array([1, 2])),
    *(call(special.polygamma, n, S) for n in (0, 1, 2, 3)),
    call(special.polygamma, 1, S.astype(np.float32)),
    call(special.polygamma, np.array([0, 1, 2]), S),
    *(call(getattr(norm, name), X) for name in ("pdf", "logpdf", "cdf", "logcdf", "sf", "logsf")),
    *(call(getattr(norm, name), X, M, S) for name in ("pdf", "logpdf", "cdf", "logcdf", "sf", "logsf")),
    *(call(getattr(norm, name), X, loc=1, scale=2.5) for name in ("pdf", "logpdf", "cdf", "sf")),
    *(call(getattr(norm, name), X.astype(np.float32)) for name in ("pdf", "cdf")),
    *(call(getattr(norm, name), P) for name in ("ppf", "isf")),
    *(call(getattr(norm, name), P, M, S) for name in ("ppf", "isf")),
    *(kinked(getattr(norm, name), np.array([0.0, 0.5, 1.0, 1.5])) for name in ("ppf", "isf")),
    *(kinked(getattr(norm, name), X, 0.0, np.array([-1.0, 0.0, 2.0])) for name in ("pdf", "logpdf", "cdf")),
    kinked(norm.pdf, X, 0.0, -1.0),
    *(
        call(f, A)
        for f in (math.exp, math.exp2, math.expm1, math.log, math.log1p, math.log2, math.log10, math.sqrt)
    ),
    *(call(f, A) for f in (math.cbrt, math.sin, math.cos, math.tan, math.asin, math.acos, math.atan)),
    *(call(f, A) for f in (math.sinh, math.cosh, math.tanh, math.asinh, math.atanh, math.erf, math.erfc)),
    *(call(f, A) for f in (math.gamma, math.lgamma, math.degrees, math.radians, math.fabs, math.modf)),
    *(call(f, A) for f in (math.isnan, math.isinf, math.isfinite, math.floor, math.ceil, math.trunc)),
    call(math.acosh, C),
    call(math.sin, A.astype(np.float32)),
    call(math.sin, np.array(2)),
    call(math.log, A, B),
    call(math.log, A, 2),
    call(math.pow, A, B),
    call(math.pow, A, 3),
    call(math.pow, 2, A),
    call(math.atan2, A, B),
    call(math.copysign, A, -1.0),
    call(math.fmod, C, B),
    call(math.hypot),
    call(math.hypot, -A),
    call(math.hypot, A, B),
    call(math.hypot, A, 1, B),
    call(math.dist, [A, B], [1.0, 2.0]),
    call(math.dist, X[0], X[1]),
    call(math.fsum, [A, B, 1]),
    call(math.fsum, S),
    *(call(math.prod, x, start=s) for x in ([A, B, C], [A, 2], S) for s in (1, 2.0)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_calls(case):
    check_value(case)
    check_value(case, static=True)


@pytest.mark.parametrize("case", [*filter(differentiable, CASES)], ids=str)
def test_gradients_of_calls(case):
    if case.function not in (math.modf,):
        check_gradient(case)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([-np.inf, -np.inf], [0.0, 0.0]),
        ([-np.inf, 1.0], [0.0, 1.0]),
        ([np.inf, 1.0], [0.0, 0.0]),
        ([1000.0, -1000.0], [1.0, 0.0]),
        ([1000.0, 1000.0], [0.5, 0.5]),
    ],
)
def test_logsumexp_has_no_nan_gradient_at_infinities(row, expected):
    recorder = Recorder(static=False)
    value = recorder.input(np.array(row))
    result = handlers.logsumexp(recorder.emit, value)
    assert isinstance(result, Value)
    program = recorder.finish([result])
    np.testing.assert_array_equal(evaluate(gradient(program, ["x0"]), recorder.inputs)[1], expected)


def test_the_shift_carries_no_derivative():
    recorder = Recorder(static=False)
    value = recorder.input(X)
    emit = recorder.emit
    loss = emit.reduce("sum", handlers.softmax(emit, value, 1), (0, 1))
    adjoint = gradient(recorder.finish([loss]), ["x0"])
    assert not any(name.startswith(("winner", "ties")) for name in adjoint.types)


def test_methods_of_the_normal_distribution_have_one_key():
    assert key_of(norm.cdf) == key_of(norm.cdf) == "scipy.stats.norm.cdf"
    assert key_of(norm(0, 1).cdf) != key_of(norm.cdf)
    assert key_of([].append) is not None


def test_the_product_of_a_shape_is_an_extent():
    emit = Recorder(static=False).emit
    n = SizeValue(symbol("n"))
    assert mathematics.prod(emit, (n, 3, 2)) == SizeValue(symbol("n") * 6)
    assert mathematics.prod(emit, (2, 3)) == 6
    assert mathematics.prod(emit, ()) == 1


def test_math_refuses_arrays():
    with pytest.raises(TraceError, match=r"math\.sin of an array"):
        trace(call(math.sin, X), Recorder(static=False))


def test_orders_of_polygamma_are_integers():
    with pytest.raises(DTypeError):
        trace(call(special.polygamma, A, S), Recorder(static=False))


def test_points_of_different_dimension_have_no_distance():
    with pytest.raises(ArgumentError):
        trace(call(math.dist, [A], [A, B]), Recorder(static=False))


TABLES = (handlers.UFUNCS, handlers.FUNCTIONS, normal.FUNCTIONS, mathematics.FUNCTIONS)


def test_every_handler_is_exercised():
    assert uncovered(TABLES, [*(call(ufunc) for ufunc in UFUNCS), *CASES]) == []


def test_handlers_that_refuse_say_what_to_write():
    assert refusing(TABLES)
    for handler in refusing(TABLES):
        with pytest.raises(TraceError) as caught:
            handler(Recorder(static=False).emit)
        assert caught.value.why
        assert caught.value.do


def test_handlers_are_found_by_the_callable():
    assert handler_for(norm.cdf) is normal.FUNCTIONS["scipy.stats.norm.cdf"]
