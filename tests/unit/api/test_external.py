"""Functions outside gradc: called at run time, differentiated by the pullback that the user gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.command.export import write
from gradc.errors import ArgumentError, InputRefused, NoDerivativeRule, ShapeError
from gradc.pipeline import Derivation
from gradc_runtime.gradcheck import Verdict

X = np.array([0.1, 0.4, 0.7, 1.0])


def interpreted(function: Any, **options: Any) -> Any:
    return gradc.differentiate(target="interpret", **options)(function)


def _cumulative(x, s):
    return np.cumsum(x) * s


_cumulative.__annotations__ = {"x": gradc.f64["N"]}


def _cumulative_pullback(y_bar, x, s):
    return np.cumsum(y_bar[::-1])[::-1] * s, np.sum(y_bar * np.cumsum(x))


cumulative = gradc.external(_cumulative, result=gradc.f64["N"], vjp=_cumulative_pullback)


def through(x, s):
    return np.sum(np.sin(cumulative(x, s)) ** 2)


def traced(x, s):
    return np.sum(np.sin(np.cumsum(x) * s) ** 2)


@pytest.mark.parametrize("target", ["interpret", "cpu"])
def test_value_and_gradient(target: str):
    function, expected = gradc.differentiate(target=target)(through), interpreted(traced)
    for x in (X, X[:2], X[::2]):
        assert function(x, 2.0) == pytest.approx(expected(x, 2.0), rel=1e-14)
        for found, wanted in zip(function.grad(x, 2.0), expected.grad(x, 2.0), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-13)
    assert function.cache_info().variants == 1


def test_a_jacobian_calls_the_pullback_once_per_seed():
    function = interpreted(lambda x: cumulative(x, 2.0) ** 2)
    np.testing.assert_allclose(
        function.jacobian(X), interpreted(lambda x: (np.cumsum(x) * 2.0) ** 2).jacobian(X), rtol=1e-14
    )


def test_mapped_over_an_axis():
    rows = np.stack([X, X + 1, 2 * X])
    function = gradc.vmap(through, in_axes=(0, None), target="interpret")
    np.testing.assert_allclose(function(rows, 2.0), [traced(row, 2.0) for row in rows])
    assert function(rows[:0], 2.0).shape == (0,)


def test_several_results_and_result_types_from_shapes():
    split = gradc.external(
        lambda x: (x.sum(), x[:2] * 3, np.argmax(x)),
        result=lambda x: (gradc.f64, gradc.f64[2], gradc.i64),
        vjp=lambda y_bar, x: y_bar[0] + np.concatenate([3 * y_bar[1], np.zeros(len(x) - 2)]),
    )
    function = interpreted(lambda x: split(x)[0] * 10 + np.sum(split(x)[1]) + split(x)[2])
    assert function(X) == pytest.approx(10 * X.sum() + 3 * X[:2].sum() + 3)
    np.testing.assert_allclose(function.grad(X), [13, 13, 10, 10])
    doubled = gradc.external(lambda x: np.repeat(x, 2), result=lambda x: gradc.f64[2 * x[0]])
    assert interpreted(lambda x: doubled(x))(X).shape == (8,)


def test_float32_and_none():
    half = gradc.external(
        lambda x, n: x * n, result=lambda x, n: gradc.f32[x[0]], vjp=lambda g, x, n: (g * n, None)
    )
    gradient = interpreted(lambda x: np.sum(half(x, 3)))
    assert gradient.grad(X.astype(np.float32)).dtype == np.float32


def test_results_are_arrays_of_their_own():
    same = gradc.external(lambda x: x, result=lambda x: gradc.f64[x[0]])
    result = interpreted(lambda x: same(x))(X)
    result[0] = 9.0
    assert X[0] == 0.1


def test_outside_it_is_the_plain_function():
    np.testing.assert_array_equal(cumulative(X, 2.0), np.cumsum(X) * 2)
    assert repr(cumulative) == "<external _cumulative>"


# --- refusals ----------------------------------------------------------------------------------------------


def test_without_a_pullback_there_is_no_gradient():
    plain = gradc.external(lambda x: x.sum(), result=gradc.f64)
    function = interpreted(lambda x: plain(x) * 2)
    assert function(X) == pytest.approx(2 * X.sum())
    with pytest.raises(NoDerivativeRule, match="has no pullback"):
        function.grad(X)
    with pytest.raises(NoDerivativeRule, match=r"has no pullback|no forward derivative"):
        interpreted(through, wrt="x").hessian(X, 2.0)
    with pytest.raises(NoDerivativeRule, match="no forward derivative"):
        interpreted(through, wrt="x").jvp((X, 2.0), X)


@pytest.mark.parametrize("target", ["interpret", "cpu"])
def test_a_result_of_another_shape(target: str):
    short = gradc.external(lambda x: x[:2], result=lambda x: gradc.f64[x[0]])
    with pytest.raises(ValueError, match=r"has shape \(2,\), declared is \(4,\)"):
        gradc.differentiate(target=target)(lambda x: np.sum(short(x)))(X)


def test_exceptions_of_the_function_come_through():
    def fails(x):
        raise RuntimeError("out of tape")

    function = gradc.external(fails, result=gradc.f64)
    with pytest.raises(RuntimeError, match="out of tape"):
        interpreted(lambda x: function(x))(X)


def test_wrong_numbers_of_results_and_cotangents():
    two = gradc.external(lambda x: (x, x), result=lambda x: gradc.f64[x[0]])
    with pytest.raises(ValueError, match="returned 2 results, not 1"):
        interpreted(lambda x: two(x))(X)
    wrong = gradc.external(lambda x: x.sum(), result=gradc.f64, vjp=lambda g, x: (g, g))
    with pytest.raises(ArgumentError, match="returned 2 cotangents for 1 arguments"):
        interpreted(lambda x: wrong(x)).grad(X)


def test_declarations_that_say_nothing():
    unnamed = gradc.external(lambda x: x, result=gradc.f64["M"])
    with pytest.raises(ArgumentError, match="the extent 'M', which nothing gives"):
        interpreted(lambda x: unnamed(x))(X)
    untyped: Any = gradc.external(lambda x: x, result=(3,))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ArgumentError, match="is declared as 3"):
        interpreted(lambda x: untyped(x))(X)
    with pytest.raises(ArgumentError, match="has the parameter rest"):
        gradc.external(lambda x, *rest: x, result=gradc.f64)
    with pytest.raises(ArgumentError, match="was called with 'fast'"):
        interpreted(lambda x: cumulative(x, "fast"))(X)


def test_named_extents_of_arguments_must_agree():
    def pair(x, y):
        return x + y

    pair.__annotations__ = {"x": gradc.f64["N"], "y": gradc.f64["N"]}
    function = gradc.external(pair, result=gradc.f64["N"])
    with pytest.raises(ShapeError):
        interpreted(lambda x, y: function(x, y))(X, X[:3])


def test_programs_with_external_functions_are_not_exported(tmp_path: Path):
    stages = gradc.differentiate(through).at(X, 2.0).inspect("value").stages
    with pytest.raises(InputRefused, match="calls the Python function _cumulative"):
        write(stages, Derivation("value"), tmp_path / "kernel", force=False)
    assert not (tmp_path / "kernel").exists()


def test_external_functions_are_checked_by_differences():
    report = interpreted(through).check(X, 2.0)
    report.assert_ok()
    assert {"kernel", (0,)} <= {entry.index for entry in report.entries}
    wrong = gradc.external(_cumulative, result=gradc.f64["N"], vjp=lambda y_bar, x, s: (y_bar, 0.0 * s))
    report = interpreted(lambda x, s: np.sum(wrong(x, s) ** 2)).check(X, 2.0)
    assert report.verdict is Verdict.WRONG
