"""Extents that a traced function looks at: arithmetic stays symbolic, decisions leave guards."""

import math

import numpy as np
import pytest

from gradc.errors import GuardFailed
from gradc.ir.index.evaluate import evaluate
from gradc.lang.trace import TraceResult, leaves, trace

X = np.arange(1.0, 7.0)


def check(function, x, traced: TraceResult) -> None:
    for found, wanted in zip(evaluate(traced.program, {"x": x}), leaves(function(x)), strict=True):
        np.testing.assert_allclose(found, wanted)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x / len(x),
        lambda x: x * x.shape[0] ** 2 + x.size - 3,
        lambda x: x / math.sqrt(len(x)),
        lambda x: np.zeros(len(x)) + np.arange(len(x)) * x,
        lambda x: np.eye(x.shape[0]) @ x,
        lambda x: x * (len(x) // 2) + len(x) % 2,
        lambda x: float(len(x)) * x + len(x) + round(len(x)) + -len(x) + abs(len(x)),
        lambda x: np.ones((len(x), 2)) * x[:, None],
        lambda x: x[: len(x)] + x[len(x) - 1],
        lambda x: 2 ** len(x) * x + 1.0 / len(x) + (x > len(x)),
        lambda x: np.full(len(x), 2.5) + x.reshape(len(x), 1)[:, 0],
        lambda x: x * np.sqrt(x.shape[0]) + np.float64(2) * len(x),
    ],
)
def test_arithmetic_serves_every_size(function):
    traced = trace(function, {"x": X})
    for count in (6, 9, 4):
        check(function, np.linspace(1, 2, count), traced)


def decides(x):
    if len(x) > 3:
        return x * 2
    return x


def loops(x):
    total = 0.0
    for i in range(len(x)):
        total += x[i] * i
    return total


def parity(x):
    return x + 1 if len(x) % 2 == 0 else x - 1


def share(x):
    return x[: int(len(x) * 0.5)]


def key(x):
    return x * {6: 10.0, 7: 20.0}[len(x)]


@pytest.mark.parametrize(
    ("function", "fits", "fails"),
    [(decides, 9, 2), (loops, 6, 5), (parity, 8, 7), (share, 6, 8), (key, 6, 7)],
)
def test_decisions_leave_guards(function, fits, fails):
    traced = trace(function, {"x": X})
    check(function, np.linspace(1, 2, fits), traced)
    with pytest.raises(GuardFailed):
        evaluate(traced.program, {"x": np.linspace(1, 2, fails)})


def test_the_guard_names_the_line():
    (guard,) = trace(decides, {"x": X}).program.guards
    line = decides.__code__.co_firstlineno + 1
    assert guard.reason == f"test_trace_extents.py:{line}: if len(x) > 3:"


def test_equal_by_comparison_is_a_guard():
    def function(x, y):
        assert x.shape == y.shape
        return x.sum() * y.sum()

    program = trace(function, {"x": X, "y": X}).program
    evaluate(program, {"x": X[:3], "y": X[:3]})
    with pytest.raises(GuardFailed):
        evaluate(program, {"x": X[:3], "y": X[:4]})


def test_extents_of_one_are_static():
    program = trace(lambda x: x.shape[0] + x.sum(), {"x": np.ones(1)}).program
    assert program.types["x"].shape == (1,)


def test_equal_extents_of_a_call_are_not_unified_by_chance():
    program = trace(lambda x, y: x.sum() + y.sum(), {"x": X, "y": X}).program
    assert program.types["x"].shape != program.types["y"].shape


def test_a_concrete_mask_fixes_the_extent():
    mask = [True, False, True, True, False, False]
    program = trace(lambda x: x[np.array(mask)], {"x": X})
    given = {hidden.name: hidden.read() for hidden in program.hidden}
    np.testing.assert_allclose(evaluate(program.program, {"x": X, **given})[0], X[mask])
    with pytest.raises(GuardFailed):
        evaluate(program.program, {"x": np.ones(7), **given})
