"""Elementwise functions against plain NumPy: every ufunc, dtype and shape; gradients against differences."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.numeric.operations.support import (
    Case,
    Recorder,
    call,
    check_gradient,
    check_value,
    refusing,
    trace,
    uncovered,
)

from gradc.errors import DTypeError, TraceError
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Assign
from gradc.lang.operations import FAMILIES, choices, elementwise

RNG = np.random.default_rng(20)
SHAPES = ((), (3,), (2, 3), (1, 3), (0,), (2, 0))

# Intervals in which a function is defined, for floats.  Integers are drawn from `INTEGERS` where they fit.
REAL = (-2.5, 2.5)
DOMAIN: dict[Callable[..., Any], tuple[float, float]] = {
    np.sqrt: (0.2, 3.0),
    np.log: (0.2, 3.0),
    np.log2: (0.2, 3.0),
    np.log10: (0.2, 3.0),
    np.log1p: (-0.8, 3.0),
    np.arcsin: (-0.9, 0.9),
    np.arccos: (-0.9, 0.9),
    np.arctanh: (-0.9, 0.9),
    np.arccosh: (1.2, 3.0),
    np.reciprocal: (0.3, 2.0),
}
STEPS = (np.floor, np.ceil, np.trunc, np.rint, np.sign, np.fix, np.round, np.around, np.signbit)
FLOATS_ONLY = (np.reciprocal,)  # NumPy divides integers; gradc refuses that

UNARY = tuple(ufunc for ufunc in elementwise._BODIES if ufunc.nin == 1)
UNARY_FUNCTIONS = (np.round, np.around, np.fix, np.sinc, np.isposinf, np.isneginf, np.real, np.copy)
BINARY = tuple(ufunc for ufunc in elementwise._BODIES if ufunc.nin == 2)
CASTS = tuple(key for key in elementwise.FUNCTIONS if isinstance(key, type))
BITS = (np.invert, np.bitwise_and, np.bitwise_or, np.bitwise_xor)


def floats(
    shape: tuple[int, ...], low: float = -2.5, high: float = 2.5, dtype: Any = np.float64
) -> np.ndarray:
    """Numbers away from integers and halves, where step functions and `mod` have their kinks."""
    drawn = RNG.uniform(low, high, shape)
    return np.asarray(
        np.where(np.abs(drawn * 2 - np.rint(drawn * 2)) < 0.1, drawn * 0.9 + 0.051, drawn), dtype
    )


def drawn(shape: tuple[int, ...], dtype: Any, domain: tuple[float, float] = REAL) -> np.ndarray:
    kind = np.dtype(dtype).kind
    if kind == "f":
        return floats(shape, *domain, dtype)
    if kind == "b":
        return np.asarray(RNG.uniform(size=shape) < 0.5)
    return np.asarray(RNG.integers(1, 5, shape), dtype)


def values(ufunc: Callable[..., Any], *dtypes: Any, shapes: tuple[tuple[int, ...], ...]) -> Case:
    domain = DOMAIN.get(ufunc, REAL)
    arrays = [drawn(shape, dtype, domain) for dtype, shape in zip(dtypes, shapes, strict=True)]
    if ufunc in (np.power, np.float_power):
        arrays[0] = np.abs(arrays[0])
    return Case(ufunc, tuple(arrays))


DTYPES = (np.float64, np.float32, np.int64, np.int32, np.int8, np.uint8, np.bool_)
FEW = (np.float64, np.float32, np.int64, np.int8, np.bool_)
PAIR_SHAPES = (
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((2, 1), (1, 3)),
    ((), (2,)),
    ((), ()),
    ((0,), (1,)),
    ((2, 0), (1,)),
)


def check_typed(case: Case) -> None:
    """What NumPy does not define for these dtypes, gradc refuses with a dtype error."""
    try:
        with np.errstate(all="ignore"):
            case.function(*case.arguments)
    except TypeError:
        with pytest.raises(DTypeError):
            trace(case, Recorder(static=False))
    else:
        check_value(case)


@pytest.mark.parametrize("function", [*UNARY, *UNARY_FUNCTIONS], ids=lambda f: f.__name__)
def test_unary_functions_for_all_shapes_and_dtypes(function):
    for shape in SHAPES:
        check_value(values(function, np.bool_ if function in BITS else np.float64, shapes=(shape,)))
    for dtype in DTYPES:
        if function in BITS and np.dtype(dtype).kind in "iu":
            continue
        if function in FLOATS_ONLY and np.dtype(dtype).kind != "f":
            continue
        check_typed(values(function, dtype, shapes=((3,),)))


@pytest.mark.parametrize("dtypes", [FEW, pytest.param(DTYPES, marks=pytest.mark.full)], ids=["few", "all"])
@pytest.mark.parametrize("function", BINARY, ids=lambda f: f.__name__)
def test_binary_functions_for_all_dtypes(function, dtypes):
    for pair in itertools.product(dtypes, dtypes):
        if function in BITS and pair != (np.bool_, np.bool_):
            continue
        check_typed(values(function, *pair, shapes=((2, 3), (3,))))


@pytest.mark.parametrize("function", BINARY, ids=lambda f: f.__name__)
def test_binary_functions_broadcast(function):
    dtype = np.bool_ if function in BITS else np.float64
    for shapes in PAIR_SHAPES:
        check_value(values(function, dtype, dtype, shapes=shapes))


@pytest.mark.parametrize("function", BINARY, ids=lambda f: f.__name__)
def test_python_scalars_are_weak(function):
    if function in BITS:
        check_value(call(function, drawn((3,), np.bool_), True))
        return
    for dtype in (np.float64, np.float32, np.int64, np.int8, np.bool_):
        for scalar in (2, 1.5, True):
            array = np.abs(drawn((3,), dtype)) if dtype is not np.bool_ else drawn((3,), dtype)
            check_typed(Case(function, (array, scalar)))
            check_typed(Case(function, (scalar, array)))


@pytest.mark.parametrize("function", BINARY, ids=lambda f: f.__name__)
def test_numpy_scalars_are_strong(function):
    if function not in BITS:
        check_typed(Case(function, (np.abs(drawn((3,), np.float32)), np.float64(2))))
        check_typed(Case(function, (np.abs(drawn((3,), np.int8)), np.int64(2))))


def is_smooth(function: Callable[..., Any]) -> bool:
    if function in STEPS or function in BITS:
        return False
    arguments = (np.float64(1.5),) * getattr(function, "nin", 1)
    with np.errstate(all="ignore"):
        result = function(*arguments)
    return all(
        np.asarray(leaf).dtype.kind == "f" for leaf in (result if isinstance(result, tuple) else (result,))
    )


@pytest.mark.parametrize(
    "function", [f for f in (*UNARY, *UNARY_FUNCTIONS, *BINARY) if is_smooth(f)], ids=lambda f: f.__name__
)
def test_gradients_agree_with_differences(function):
    if getattr(function, "nin", 1) == 1:
        check_gradient(values(function, np.float64, shapes=((2, 3),)))
    else:
        check_gradient(values(function, np.float64, np.float64, shapes=((2, 3), (3,))))
        check_gradient(Case(function, (1.25, floats((3,), 0.2, 2.0))))


X, Y = floats((2, 3)), floats((2, 3))
MASK = X > 0.3
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, -2.5, 0.5, 1e30, 1e-40])

CASES = [
    *(
        call(ufunc.outer, floats((2,), 0.3, 2.0), floats((2, 3), 0.3, 2.0))
        for ufunc in BINARY
        if ufunc not in BITS
    ),
    *(call(ufunc.outer, drawn((2,), np.bool_), drawn((3,), np.bool_)) for ufunc in BITS if ufunc.nin == 2),
    *(call(cast, np.array([0.0, 1.0, 2.75])) for cast in CASTS),
    *(call(np.astype, X, dtype) for dtype in (np.float32, np.float64, np.int64, np.bool_)),
    call(np.where, MASK, X, Y),
    call(np.where, X, X, 0.0),
    call(np.where, MASK, X.astype(np.float32), 0),
    call(np.where, MASK, 1, 2.0),
    call(np.where, MASK[0], X, floats((4, 1, 1))),
    call(np.where, np.array(True), 1.0, X),
    call(np.where, MASK, np.array([1, 2, 3]), X.astype(np.float32)),
    call(np.select, [MASK, Y > 0], [X, 2 * Y]),
    call(np.select, [MASK, Y > 0], [X, 1.0], 7),
    call(np.select, [X > -1, X > 0], [X, 2 * X], Y),
    call(np.select, [MASK], [X.astype(np.float32)], Y),
    call(np.piecewise, X, [X < 0, X >= 1], [-1.0, 1.0]),
    call(np.piecewise, X, [X < 0, X >= 1], [-1.0, 1.0, 0.5]),
    call(np.piecewise, np.array([1, 2, 3]), [np.array([True, False, True])], [2.7, 3]),
    call(np.piecewise, X[0], MASK[0], [2.0, 3.0]),
    call(np.piecewise, np.array(1.0), [np.array(True), np.array(False)], [2.0, 3.0]),
    call(np.clip, X, -1.0, 1.0),
    call(np.clip, X.astype(np.float32), -1.0, 1.0),
    call(np.clip, np.arange(6), 1, 3),
    call(np.clip, np.arange(6), 0.5, 3),
    call(np.clip, X, None, 1.0),
    call(np.clip, X, -0.5, None),
    call(np.clip, X, min=-0.5),
    call(np.clip, X, max=floats((3,))),
    call(np.clip, X, Y - 1, Y + 1),
    call(np.nan_to_num, X),
    call(np.nan_to_num, np.arange(3)),
    call(np.nan_to_num, SPECIAL.astype(np.float32)),
    call(np.isclose, X, X + 1e-9),
    call(np.isclose, X, Y),
    call(np.isclose, np.arange(3), np.arange(3)),
    call(np.round, X * 10, 1),
    call(np.round, X * 100, -1),
    call(np.round, np.arange(0, 300, 7), -1),
    call(np.add, [X, 1.0 * Y], 2.0),
    call(np.exp, [X[0], [0.5, 1.0, 1.5]]),
    call(np.hypot, X, [1.0, 2.0, 3.0]),
    call(np.power, X, np.int64(2)),
    call(np.power, X, np.float64(3)),
    *(call(np.power, X, n) for n in (-3, -2, -1, 0, 1, 2, 3, 5, 17, 64)),
    *(call(np.power, np.abs(X), n) for n in (-0.5, 0.5, 1.5, 65, -70, 2.0, -2.0)),
    *(call(np.power, np.arange(4), n) for n in (0, 1, 2, 3, 2.0)),
    call(np.power, 2.0, X),
    call(np.power, np.abs(X), Y),
]
EDGE_CASES = [
    call(np.nan_to_num, SPECIAL),
    call(np.nan_to_num, SPECIAL, nan=1.0, posinf=2.0, neginf=-3.0),
    call(np.isclose, SPECIAL, SPECIAL),
    call(np.isclose, SPECIAL, SPECIAL, equal_nan=True),
    call(np.isclose, SPECIAL[:, None], SPECIAL),
    *(
        call(ufunc, SPECIAL)
        for ufunc in (
            *(np.isnan, np.isinf, np.isfinite, np.signbit, np.isposinf, np.isneginf),
            *(np.sign, np.floor, np.trunc, np.rint, np.modf, np.abs, np.sqrt, np.square),
        )
    ),
    *(
        call(ufunc, SPECIAL[:, None], SPECIAL[None, :])
        for ufunc in (
            *(np.fmod, np.heaviside, np.copysign, np.maximum, np.fmax, np.minimum, np.fmin),
            *(np.hypot, np.arctan2, np.less_equal, np.equal, np.logical_and, np.divmod),
        )
    ),
]


@pytest.mark.parametrize("case", [*CASES, *EDGE_CASES], ids=str)
def test_calls(case):
    check_value(case)
    check_value(case, static=True)


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in CASES
        if case.function not in (np.isclose, np.round, *CASTS, *(u.outer for u in BINARY))
        and any(isinstance(a, np.ndarray) and a.dtype == np.float64 for a in case.arguments)
        and case.function not in (np.astype, np.piecewise)
    ],
    ids=str,
)
def test_gradients_of_calls(case):
    check_gradient(case)


def test_piecewise_applies_functions_to_the_whole_array():
    recorder = Recorder(static=False)
    emit = recorder.emit
    x = recorder.input(X)
    negative = emit.elementwise("lt", x, 0)
    pieces = [lambda v, k: emit.elementwise("mul", v, k), lambda v, k: emit.elementwise("exp", v)]
    program = recorder.finish([choices.piecewise(emit, x, [negative], pieces, 3.0)])
    expected = np.piecewise(X, [X < 0], [lambda v, k: v * k, lambda v, k: np.exp(v)], 3.0)
    np.testing.assert_array_equal(evaluate(program, recorder.inputs)[0], expected)


@pytest.mark.parametrize("function", [np.add, np.multiply, np.maximum, np.minimum, np.fmax, np.fmin])
def test_booleans_are_combined_by_logic(function):
    recorder = Recorder(static=False)
    trace(Case(function, (MASK, MASK)), recorder)
    (equation,) = recorder.emit.builder.equations
    assert isinstance(equation, Assign)
    assert equation.template.name in ("logical_or", "logical_and")


def test_every_handler_is_exercised():
    direct = [call(function) for function in (*UNARY, *UNARY_FUNCTIONS, *BINARY)]
    tables = (elementwise.UFUNCS, elementwise.FUNCTIONS, choices.FUNCTIONS)
    assert uncovered(tables, [*direct, *CASES]) == []


def test_no_call_has_two_meanings():
    for name in ("UFUNCS", "FUNCTIONS", "CREATION", "METHODS"):
        keys = [key for family in FAMILIES for key in getattr(family, name, {})]
        assert len(keys) == len(set(keys)), [key for key in keys if keys.count(key) > 1]


def test_handlers_that_refuse_say_what_to_write():
    for handler in refusing((elementwise.UFUNCS, elementwise.FUNCTIONS)):
        with pytest.raises(TraceError) as caught:
            handler(Recorder(static=False).emit)
        assert caught.value.why
        assert caught.value.do
