"""Arrays made inside a function against plain NumPy; extents stay symbolic."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from tests.numeric.operations.support import (
    Case,
    Recorder,
    call,
    check_gradient,
    check_value,
    describe,
    differentiable,
    handler_for,
    refusing,
    uncovered,
)

from gradc.errors import ShapeError, TraceError
from gradc.ir.extents import symbol
from gradc.ir.index.evaluate import evaluate
from gradc.ir.types import DType
from gradc.lang.emit import SizeValue, Value
from gradc.lang.operations import creation

A, B = np.array(1.25), np.array(-0.5)
V, M = np.array([1.5, -2.0, 0.5]), np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
F, N = V.astype(np.float32), np.array([1, 2, 3])

CASES = [
    *(
        call(function, [[A, 1.0], [B, A]])
        for function in (np.array, np.asarray, np.asanyarray, np.ascontiguousarray)
    ),
    call(np.array, [V, [1, 2, 3]]),
    call(np.array, [[1, 2], [3, 4]]),
    call(np.array, [True, False]),
    call(np.array, [A, 1, True]),
    call(np.array, [F, F]),
    call(np.array, [A.astype(np.float32), 1.0]),
    call(np.array, []),
    call(np.array, V, ndmin=3),
    call(np.array, [1.5, 2.5], dtype=np.int64),
    call(np.array, V, np.float32),
    call(np.array, [[np.float32(1), np.float32(2)]]),
    call(np.asarray, N, dtype=np.float64),
    call(np.ascontiguousarray, A),
    *(call(function, (2, 3)) for function in (np.zeros, np.ones)),
    *(call(function, 4, np.int64) for function in (np.zeros, np.ones)),
    *(call(function, (), dtype=bool) for function in (np.zeros, np.ones)),
    *(call(function, (2, 0)) for function in (np.zeros, np.ones, np.empty)),
    call(np.full, (2, 3), 7),
    call(np.full, 3, 2.5, dtype=np.float32),
    call(np.full, (2, 3), A),
    call(np.full, (2, 3), V),
    call(np.full, 2, True),
    *(call(function, M) for function in (np.zeros_like, np.ones_like)),
    *(call(function, N) for function in (np.zeros_like, np.ones_like)),
    *(call(function, M, dtype=np.float32) for function in (np.zeros_like, np.ones_like)),
    call(np.ones_like, M, shape=(4,)),
    call(np.empty_like, np.zeros((0, 2))),
    call(np.full_like, M, A),
    call(np.full_like, N, 2.7),
    call(np.full_like, M, 3, dtype=np.int64),
    *(call(np.arange, n) for n in (0, 1, 5, -2, 4.5, 3.0)),
    call(np.arange, 2, 7),
    call(np.arange, 2, 9, 3),
    call(np.arange, 9, 2, -3),
    call(np.arange, 3, 3),
    call(np.arange, 0.5, 2.0, 0.25),
    call(np.arange, 0.1, 1.0, 0.1),
    call(np.arange, 5, dtype=np.float32),
    call(np.arange, 1.0, 4.0, dtype=np.int64),
    call(np.arange, 3, None, 1),
    *(call(np.linspace, 0, 1, n) for n in (0, 1, 2, 5)),
    *(call(np.linspace, A, B, n) for n in (1, 2, 7)),
    call(np.linspace, A, 2.0, 5, endpoint=False),
    call(np.linspace, A, 2, 4, retstep=True),
    call(np.linspace, V, M, 4),
    call(np.linspace, V, 0.0, 4, axis=-1),
    call(np.linspace, V, M, 4, axis=1),
    call(np.linspace, F, 1, 4),
    call(np.linspace, 0, 10, 4, dtype=np.int64),
    call(np.linspace, -5, 5, 4, dtype=np.int64),
    call(np.logspace, A, B, 4),
    call(np.logspace, 0, 2, 3, base=2),
    call(np.logspace, 0, 2, 3, dtype=np.float32),
    call(np.eye, 3),
    *(call(np.eye, 2, 4, k) for k in (-1, 0, 2, 7)),
    call(np.eye, 2, dtype=bool),
    call(np.identity, 3),
    call(np.identity, 0),
    call(np.identity, 2, dtype=np.int64),
    call(np.tri, 3),
    *(call(np.tri, 3, 4, k) for k in (-2, 0, 1)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_calls(case):
    check_value(case)
    check_value(case, static=True)


@pytest.mark.parametrize(
    "case",
    [
        c
        for c in CASES
        if differentiable(c)
        and c.options.get("dtype") is None
        and c.function not in (np.zeros_like, np.ones_like, np.empty_like)
        and not any(a is np.float32 for a in c.arguments)
    ],
    ids=str,
)
def test_gradients_agree_with_differences(case):
    check_gradient(case)


def test_both_ends_of_a_linspace_are_exact():
    recorder = Recorder(static=False)
    value = creation.linspace(recorder.emit, 0.3, 1.9, 11)
    assert isinstance(value, Value)
    (result,) = evaluate(recorder.finish([value]), {})
    assert (result[0], result[-1]) == (0.3, 1.9)
    assert 0.3 + 10 * ((1.9 - 0.3) / 10) != 1.9


def test_python_numbers_are_not_weak_inside_a_list():
    recorder = Recorder(static=False)
    sine = handler_for(math.sin)(recorder.emit, recorder.input(A))
    assert sine.weak is float
    assert creation.array(recorder.emit, [sine, recorder.input(F[:1].reshape(()))]).dtype is DType.F64
    assert creation.array(recorder.emit, sine).weak is None


def symbolic(function: Any, *arguments: Any, n: int = 4, **options: Any) -> tuple[Recorder, np.ndarray]:
    """Evaluate a call whose arguments hold the extent `n` of an input vector."""
    recorder = Recorder(static=False)
    recorder.input(np.zeros(n))
    value = handler_for(function)(recorder.emit, *arguments, **options)
    (result,) = evaluate(recorder.finish([value]), recorder.inputs)
    return recorder, result


EXTENT = SizeValue(symbol("x0_n0"))


def concrete(x: Any, n: int) -> Any:
    if isinstance(x, tuple):
        return tuple(concrete(item, n) for item in x)
    return n + concrete(x.size - symbol("x0_n0"), n) if isinstance(x, SizeValue) else x


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (np.arange, (EXTENT,)),
        (np.arange, (1, EXTENT)),
        (np.arange, (EXTENT, 0, -1)),
        (np.zeros, (EXTENT,)),
        (np.ones, ((2, EXTENT),)),
        (np.full, ((EXTENT, EXTENT), 2.5)),
        (np.eye, (EXTENT,)),
        (np.eye, (EXTENT, 3, 1)),
        (np.identity, (EXTENT,)),
        (np.tri, (EXTENT,)),
        (np.linspace, (0.0, 1.0, EXTENT)),
        (np.linspace, (0.0, 1.0, EXTENT, False)),
        (np.arange, (SizeValue(symbol("x0_n0") + 1),)),
    ],
    ids=describe,
)
@pytest.mark.parametrize("n", [1, 4])
def test_one_program_serves_every_extent(function, arguments, n):
    recorder = Recorder(static=False)
    recorder.input(np.zeros(3))
    program = recorder.finish([handler_for(function)(recorder.emit, *arguments)])
    assert recorder.emit.solver.bound == {}
    (result,) = evaluate(program, {"x0": np.zeros(n)})
    expected = function(*(concrete(argument, n) for argument in arguments))
    np.testing.assert_allclose(result, expected, rtol=1e-14)
    assert result.dtype == expected.dtype


def test_a_step_fixes_the_extent_and_says_so():
    recorder, result = symbolic(np.arange, 0, EXTENT, 2, n=5)
    np.testing.assert_array_equal(result, [0, 2, 4])
    assert [str(guard) for guard in recorder.emit.solver.guards] == ["x0_n0 == 5"]
    recorder, result = symbolic(np.arange, 0.0, EXTENT, 0.5, n=2)
    np.testing.assert_array_equal(result, np.arange(0.0, 2, 0.5))


@pytest.mark.parametrize(
    ("case", "error"),
    [
        (call(np.arange, A), TraceError),
        (call(np.arange, 0, 3, 0), ShapeError),
        (call(np.arange, 0.0, 3.0, 0.0), ShapeError),
        (call(np.zeros, -1), ShapeError),
        (call(np.zeros, A), TraceError),
        (call(np.zeros, 2.5), TraceError),
        (call(np.array, [V, M]), ShapeError),
        (call(np.array, ["a"]), TraceError),
    ],
    ids=str,
)
def test_what_has_no_static_shape_is_refused(case, error):
    recorder = Recorder(static=False)
    with pytest.raises(error) as caught:
        handler_for(case.function)(recorder.emit, *recorder.lifted(case.arguments))
    assert caught.value.do or caught.value.why or error is ShapeError


TABLES = (creation.CREATION, creation.FUNCTIONS)


def test_every_handler_is_exercised():
    assert uncovered(TABLES, CASES) == []


def test_handlers_that_refuse_say_what_to_write():
    for handler in refusing(TABLES):
        with pytest.raises(TraceError) as caught:
            handler(Recorder(static=False).emit)
        assert caught.value.do


def test_cases_name_their_call():
    assert str(Case(np.full, ((2, 3), V))) == "full([2 3]-d3)"
