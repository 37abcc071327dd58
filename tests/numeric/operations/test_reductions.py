"""Reductions, statistics and scans against plain NumPy, with their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.integrate
from tests.numeric.operations.support import (
    Case,
    Recorder,
    call,
    check_gradient,
    check_value,
    describe,
    differentiable,
    handler_for,
    kinked,
    refusing,
    trace,
    uncovered,
)

from gradc.autodiff.vjp import gradient
from gradc.errors import ArgumentError, ShapeError, TraceError
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Assign
from gradc.lang.operations import METHODS, key_of, reductions, scans, statistics

RNG = np.random.default_rng(21)
DTYPES = (np.float64, np.float32, np.int64, np.int32, np.int8, np.uint8, np.bool_)
SHAPES = ((), (3,), (2, 3), (1, 3), (2, 3, 2))
EMPTY = ((0,), (2, 0), (0, 3))


def drawn(shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
    kind = np.dtype(dtype).kind
    if kind == "f":
        return np.asarray(RNG.uniform(-2, 2, shape), dtype)
    return np.asarray(RNG.integers(0, 2 if kind == "b" else 5, shape), dtype)


def axes_of(rank: int) -> list[Any]:
    """Every form of an axis: none, positive, negative, a tuple."""
    singles = [*range(-rank, rank)]
    return [None, *singles, *([(0, -1), (1, 0)] if rank >= 2 else []), *([()] if rank else [])]


MANY_AXES = (
    np.sum,
    np.prod,
    np.mean,
    np.var,
    np.std,
    np.max,
    np.min,
    np.any,
    np.all,
    np.amax,
    np.amin,
    np.ptp,
)
COUNTING = (np.count_nonzero,)
ONE_AXIS = (np.argmax, np.argmin)
SCANS = (np.cumsum, np.cumprod)
NONEMPTY = (np.max, np.min, np.amax, np.amin, np.ptp, np.argmax, np.argmin, np.median, np.average)


@pytest.mark.parametrize("function", [*MANY_AXES, *COUNTING, np.median], ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", [*SHAPES, *EMPTY], ids=str)
def test_reductions_over_every_axis(function, shape):
    if 0 in shape and function in NONEMPTY:
        with pytest.raises(ShapeError):
            trace(call(function, drawn(shape)), Recorder(static=False))
        return
    for axis in axes_of(len(shape)):
        if function in (np.median, np.count_nonzero, np.ptp) and axis == ():
            continue
        for keepdims in (False, True):
            case = call(function, drawn(shape), axis=axis, keepdims=keepdims)
            check_value(case, static=keepdims)


@pytest.mark.parametrize(
    "function", [*MANY_AXES, *COUNTING, *ONE_AXIS, *SCANS, np.median, np.average], ids=lambda f: f.__name__
)
def test_reductions_of_every_dtype(function):
    for dtype in DTYPES:
        if function is np.ptp and dtype is np.bool_:
            continue
        check_value(call(function, drawn((2, 3), dtype)))
        check_value(call(function, drawn((2, 3), dtype), axis=1))


@pytest.mark.parametrize("function", ONE_AXIS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_positions_of_extremes(function, shape):
    for axis in [None, *range(-len(shape), len(shape))]:
        for keepdims in (False, True):
            check_value(call(function, drawn(shape), axis=axis, keepdims=keepdims))


@pytest.mark.parametrize("function", SCANS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", [*SHAPES, *EMPTY], ids=str)
def test_scans_along_every_axis(function, shape):
    for axis in [None, *range(-len(shape), len(shape))]:
        check_value(call(function, drawn(shape), axis=axis))


X, W, V = drawn((2, 3)), np.abs(drawn((2, 3))) + 0.1, np.abs(drawn((3,))) + 0.1
WIDE = drawn((2, 3, 4))
SOME = np.array([[True, False, True], [False, True, True]])
LONG = RNG.uniform(0.5, 1.5, (70, 2))
ZEROS = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]])
WITH_NAN = np.array([[1.0, np.nan, 2.0], [3.0, 1.0, 2.0]])

CASES = [
    *(
        call(function, X, dtype=np.float32)
        for function in (np.sum, np.prod, np.mean, np.var, np.std, np.cumsum)
    ),
    *(
        call(function, np.arange(6, dtype=np.int8), dtype=np.float64)
        for function in (np.sum, np.prod, np.mean)
    ),
    *(call(function, X, where=SOME) for function in (np.sum, np.prod, np.mean, np.var, np.std)),
    *(call(function, X, axis=0, where=SOME) for function in (np.sum, np.prod, np.mean, np.var)),
    *(call(function, SOME, axis=1, where=SOME) for function in (np.any, np.all)),
    *(call(function, X, initial=1.5) for function in (np.sum, np.prod, np.max, np.min)),
    *(call(function, X, 1, initial=0.3, where=SOME) for function in (np.max, np.min)),
    call(np.sum, X, 1, initial=0),
    *(call(function, X, axis=1, ddof=1) for function in (np.var, np.std)),
    call(np.var, X, ddof=1.5),
    call(np.var, X, correction=1),
    call(np.var, X, axis=1, mean=X.mean(1, keepdims=True)),
    call(np.prod, LONG, axis=0),
    call(np.prod, LONG),
    call(np.prod, RNG.uniform(0.5, 1.5, (63,))),
    call(np.sum, [X[0], [1.0, 2.0, 3.0]]),
    call(np.max, [X[0], X[1]], axis=0),
    call(np.average, X),
    call(np.average, X, axis=1, weights=W),
    call(np.average, X, weights=W),
    call(np.average, X, axis=1, weights=V),
    call(np.average, X, axis=1, weights=V, returned=True),
    call(np.average, X, axis=0, returned=True),
    call(np.average, WIDE, axis=(2, 0), weights=np.abs(drawn((4, 2))) + 0.1),
    call(np.average, WIDE, axis=(2, 0, 1), weights=np.abs(drawn((4, 2, 3))) + 0.1),
    call(np.average, WIDE[:, :2, :2], axis=(2, 0, 1), weights=np.abs(drawn((2, 2, 2))) + 0.1),
    call(np.average, np.arange(3), weights=np.array([1, 2, 3]), keepdims=True),
    call(np.median, X),
    call(np.median, X, axis=1),
    call(np.median, WIDE, axis=(0, 2), keepdims=True),
    kinked(np.median, WITH_NAN, axis=1),
    kinked(np.median, WITH_NAN, axis=0),
    *(call(function, X) for function in (np.cumulative_sum, np.cumulative_prod) if X.ndim == 1),
    *(call(function, X, axis=-1) for function in (np.cumulative_sum, np.cumulative_prod)),
    *(
        call(function, X, axis=0, include_initial=True)
        for function in (np.cumulative_sum, np.cumulative_prod)
    ),
    *(call(function, V) for function in (np.cumulative_sum, np.cumulative_prod)),
    *(
        call(method, X)
        for method in (np.add.reduce, np.multiply.reduce, np.maximum.reduce, np.minimum.reduce)
    ),
    *(call(method, WIDE, axis=(0, 2)) for method in (np.add.reduce, np.maximum.reduce)),
    call(np.add.reduce, X, axis=None, keepdims=True),
    call(np.add.reduce, X, dtype=np.float32),
    *(call(method, SOME) for method in (np.logical_or.reduce, np.logical_and.reduce, np.add.reduce)),
    *(call(method, X) for method in (np.add.accumulate, np.multiply.accumulate)),
    *(call(method, X, 1) for method in (np.add.accumulate, np.multiply.accumulate)),
    *(call(np.add.accumulate, np.ones(3, dtype)) for dtype in (np.bool_, np.int8, np.uint8)),
    *(call(np.diff, X, axis=axis) for axis in (0, 1, -1)),
    *(call(np.diff, WIDE, n=n) for n in (0, 2, 3)),
    call(np.diff, X, prepend=0.0, append=X),
    call(np.diff, X, axis=0, prepend=drawn((1, 3))),
    call(np.diff, np.array([1, 4, 2])),
    call(np.diff, SOME),
    call(np.diff, np.zeros((2, 1))),
    call(np.diff, np.zeros((2, 0))),
    call(np.ediff1d, X),
    call(np.ediff1d, V, to_begin=1.0, to_end=[2.0, 3.0]),
    call(np.trapezoid, V),
    call(np.trapezoid, X, dx=0.5, axis=0),
    call(np.trapezoid, X, V),
    call(np.trapezoid, X, np.array([1.0, 2.5]), axis=0),
    call(np.trapezoid, X, W),
    call(np.trapezoid, np.array([1, 2, 4])),
    call(np.trapezoid, V.astype(np.float32), dx=2.0),
    call(scipy.integrate.trapezoid, X, V),
    call(np.argmax, np.array([1.0, 3.0, 3.0])),
    call(np.argmin, WITH_NAN[1:], axis=-1),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_calls(case):
    check_value(case)
    check_value(case, static=True)


SMOOTH = [
    *(
        call(function, WIDE, axis=axis)
        for function in (
            np.sum,
            np.prod,
            np.mean,
            np.var,
            np.std,
            np.max,
            np.min,
            np.amax,
            np.amin,
            np.ptp,
            np.median,
        )
        for axis in (None, 1, (0, 2))
    ),
    *(call(function, WIDE, axis=axis) for function in SCANS for axis in (None, 0, 1)),
    *(call(function, ZEROS, axis=axis) for function in (np.prod, np.cumprod) for axis in (0, 1, None)),
]


@pytest.mark.parametrize("case", [*filter(differentiable, CASES), *SMOOTH], ids=str)
def test_gradients_agree_with_differences(case):
    if case.options.get("dtype") is not np.float32:
        check_gradient(case)


def test_the_deviation_of_equal_numbers_has_derivative_zero():
    recorder = Recorder(static=False)
    value = recorder.input(np.full(4, 2.5))
    program = recorder.finish([statistics.std(recorder.emit, value)])
    result, derivative = evaluate(gradient(program, ["x0"]), recorder.inputs)
    assert result == 0
    np.testing.assert_array_equal(derivative, np.zeros(4))


def test_small_products_are_trees():
    recorder = Recorder(static=True)
    reductions.prod(recorder.emit, recorder.input(np.ones(64)))
    assigns = [equation for equation in recorder.emit.builder.equations if isinstance(equation, Assign)]
    multiplications = [equation for equation in assigns if equation.template.name == "mul"]
    assert len(multiplications) == 6


def test_extents_stay_symbolic():
    recorder = Recorder(static=False)
    emit = recorder.emit
    x = recorder.input(drawn((4, 5)))
    for handler in (reductions.sum_, statistics.mean, statistics.var, scans.cumsum, reductions.max_):
        handler(emit, x, 1)
    scans.diff(emit, x)
    assert emit.solver.bound == {}


@pytest.mark.parametrize(
    ("function", "arguments", "options", "error"),
    [
        (np.sum, (X,), {"axis": 2}, ShapeError),
        (np.sum, (X,), {"axis": (0, 0)}, ShapeError),
        (np.sum, (X,), {"axis": 0.5}, TraceError),
        (np.sum, (X,), {"out": X}, TraceError),
        (np.max, (X,), {"where": SOME}, ArgumentError),
        (np.diff, (X,), {"n": -1}, ArgumentError),
        (np.diff, (np.array(1.0),), {}, ShapeError),
        (np.average, (X,), {"weights": V}, ShapeError),
        (np.cumulative_sum, (X,), {}, ArgumentError),
        (np.trapezoid, (np.zeros(0),), {}, ShapeError),
        (np.median, (np.zeros(0),), {}, ShapeError),
    ],
    ids=describe,
)
def test_what_numpy_refuses_is_refused(function, arguments, options, error):
    with pytest.raises(error):
        trace(Case(function, arguments, options), Recorder(static=False))


TABLES = (reductions.FUNCTIONS, statistics.FUNCTIONS, scans.FUNCTIONS)


def test_every_handler_is_exercised():
    direct = [call(f) for f in (*MANY_AXES, *COUNTING, *ONE_AXIS, *SCANS, np.median, np.average)]
    assert uncovered(TABLES, [*direct, *CASES]) == []


@pytest.mark.parametrize("name", [*reductions.METHODS, *statistics.METHODS, *scans.METHODS])
def test_methods_are_the_functions(name):
    assert METHODS[name] is handler_for(getattr(np, name))


def test_handlers_that_refuse_say_what_to_write():
    found = refusing(TABLES)
    assert len(found) == 10
    for handler in found:
        with pytest.raises(TraceError) as caught:
            handler(Recorder(static=False).emit)
        assert caught.value.why
        assert caught.value.do


def test_methods_of_scipy_have_one_key():
    assert key_of(scipy.integrate.trapezoid) == "scipy.integrate.trapezoid"
