"""Functions whose derivative the user writes: equal to the derivative of the same formula at any order."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.autodiff.linear import first_nonlinear
from gradc.errors import ArgumentError, NoDerivativeRule, ShapeError
from gradc.ir.index.build import Builder
from gradc.ir.types import DType

X = np.array([0.3, 0.7, 1.1])
A = np.array([[1.0, 2.0, -1.0], [0.5, -1.0, 3.0]])


def interpreted(function: Any, **options: Any) -> Any:
    return gradc.differentiate(target="interpret", **options)(function)


@gradc.custom_gradient
def sine(x):
    return np.sin(x), lambda y_bar: y_bar * np.cos(x)


@gradc.custom_gradient
def product(a, x):
    def pullback(y_bar):
        return np.outer(y_bar, x), a.T @ y_bar

    return a @ x, pullback


@gradc.custom_gradient
def tanh_in_steps(x):
    y = np.tanh(x)

    def pullback(y_bar):
        slope = 1 - y * y  # computed in the pullback, of what the function computed
        return np.where(x > 1, y_bar * slope, slope * y_bar / 1.0)

    return y, pullback


PAIRS = {
    "sine": (lambda x: np.sum(sine(x) ** 2 * x), lambda x: np.sum(np.sin(x) ** 2 * x)),
    "tanh": (lambda x: np.sum(np.exp(tanh_in_steps(x))), lambda x: np.sum(np.exp(np.tanh(x)))),
    "twice": (lambda x: np.sum(sine(sine(x))), lambda x: np.sum(np.sin(np.sin(x)))),
    "solve": (
        lambda x: np.sum(product(np.outer(x, x), sine(x)) ** 2),
        lambda x: np.sum((np.outer(x, x) @ np.sin(x)) ** 2),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_equals_the_derivative_of_the_formula(name: str):
    custom, plain = (interpreted(function) for function in PAIRS[name])
    assert custom(X) == pytest.approx(plain(X), rel=1e-15)
    for method in ("grad", "jacobian", "hessian"):
        np.testing.assert_allclose(
            getattr(custom, method)(X), getattr(plain, method)(X), rtol=1e-12, atol=1e-14
        )
    np.testing.assert_allclose(custom.jvp(X, X)[1], plain.jvp(X, X)[1], rtol=1e-12)
    np.testing.assert_allclose(custom.hvp(X, X)[1], plain.hvp(X, X)[1], rtol=1e-12)


@pytest.mark.parametrize("name", ["sine", "tanh"])
def test_third_and_fourth_order(name: str):
    first, second = (interpreted(function) for function in PAIRS[name])
    custom = interpreted(lambda x: np.sum(first.hessian(x)))
    plain = interpreted(lambda x: np.sum(second.hessian(x)))
    np.testing.assert_allclose(custom.grad(X), plain.grad(X), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(custom.hessian(X), plain.hessian(X), rtol=1e-10, atol=1e-12)


def test_the_derivative_is_the_users_not_the_formulas():
    """A straight-through estimator: the value is rounded, the derivative passes."""
    through = gradc.custom_gradient(lambda x: (np.round(x), lambda y_bar: y_bar))
    function = interpreted(lambda x: np.sum(through(x) ** 2))
    np.testing.assert_allclose(function.grad(X), 2 * np.round(X))
    reversal = gradc.custom_gradient(lambda x: (x, lambda y_bar: -2 * y_bar))
    np.testing.assert_allclose(interpreted(lambda x: np.sum(reversal(x) ** 2)).grad(X), -4 * X)


def test_several_arguments_containers_and_none():
    @gradc.custom_gradient
    def weighted(p, x, n):
        def pullback(y_bar):
            return {"w": y_bar * x * 10, "b": None}, None, None

        return np.sum(p["w"] * x) * n + p["b"], pullback

    function = interpreted(lambda p, x: weighted(p, x, 2))
    gradient = function.grad({"w": X, "b": 1.0}, X)
    np.testing.assert_allclose(gradient[0]["w"], 10 * X)
    assert gradient[0]["b"] == 0.0
    assert not gradient[1].any()


def test_several_results():
    @gradc.custom_gradient
    def both(x):
        def pullback(y_bar):
            first, second = y_bar
            return first * np.cos(x) + 100 * second

        return (np.sin(x), x.sum()), pullback

    function = interpreted(lambda x: np.sum(both(x)[0]) + both(x)[1])
    np.testing.assert_allclose(function.grad(X), np.cos(X) + 100)


def test_matrices_both_modes():
    custom = interpreted(lambda a, x: np.exp(product(a, x)))
    plain = interpreted(lambda a, x: np.exp(a @ x))
    for found, expected in zip(custom.jacobian(A, X), plain.jacobian(A, X), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13)
    np.testing.assert_allclose(custom.jvp((A, X), (A, X))[1], plain.jvp((A, X), (A, X))[1], rtol=1e-13)


def test_compiled_the_surrogate_leaves_no_trace_in_the_value():
    function = gradc.differentiate(lambda x: np.sum(sine(x) ** 2))
    assert "cos(" not in function.at(X).inspect("value").source.rpartition('"""')[2]
    np.testing.assert_allclose(function.grad(X), 2 * np.sin(X) * np.cos(X), rtol=1e-14)


def test_the_value_is_untouched_where_the_derivative_is_not_finite():
    root = gradc.custom_gradient(lambda x: (np.sqrt(x), lambda y_bar: y_bar / (2 * np.sqrt(x))))
    function = interpreted(lambda x: np.sum(root(x)))
    assert function(np.array([0.0, 4.0])) == 2.0
    np.testing.assert_array_equal(function.grad(np.array([0.0, 4.0])), [np.inf, 0.25])


def test_outside_it_is_the_plain_function():
    np.testing.assert_array_equal(sine(X), np.sin(X))
    assert pickle.loads(pickle.dumps(sine)) is sine
    assert repr(sine) == "<custom gradient sine(x)>"
    np.testing.assert_allclose(gradc.differentiate(sine, target="interpret").jacobian(X), np.diag(np.cos(X)))


class Layer:
    def __init__(self) -> None:
        self.w = np.array([1.0, 2.0, 3.0])

    @gradc.custom_gradient
    def forward(self, x):
        return self.w * x, lambda y_bar: (None, 10 * self.w * y_bar)

    @gradc.differentiate(target="interpret")
    def loss(self, x):
        return np.sum(self.forward(x))


def test_as_a_method():
    layer = Layer()
    np.testing.assert_allclose(layer.loss.grad(X), 10 * layer.w)
    np.testing.assert_allclose(layer.forward(X), layer.w * X)


def test_mapped_and_inside_other_derivatives():
    rows = np.stack([X, 2 * X])
    mapped = gradc.vmap(interpreted(lambda x: np.sum(sine(x))).grad, target="interpret")
    np.testing.assert_allclose(mapped(rows), np.cos(rows))


# --- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pullback",
    [
        lambda y_bar: np.clip(y_bar, -1, 1),
        lambda y_bar: y_bar + 1,
        lambda y_bar: y_bar * y_bar,
        lambda y_bar: np.abs(y_bar),
        lambda y_bar: np.where(y_bar > 0, y_bar, 0.0),
        lambda y_bar: 1 / y_bar,
        lambda y_bar: np.ones(3),
        lambda y_bar: np.max(y_bar) * np.ones(3),
    ],
)
def test_a_pullback_that_is_not_linear_is_refused(pullback: Any):
    function = gradc.custom_gradient(lambda x: (x, pullback))
    with pytest.raises(NoDerivativeRule, match="not linear in the cotangent"):
        interpreted(lambda x: np.sum(function(x)))(X)


def test_a_cotangent_of_another_shape_is_refused():
    scalar = gradc.custom_gradient(lambda x: (x.sum(), lambda y_bar: y_bar))
    with pytest.raises(ShapeError, match="another shape than x") as caught:
        interpreted(lambda x: scalar(x))(X)
    assert "x is [x_n0], its cotangent is []" in str(caught.value)
    longer = gradc.custom_gradient(lambda x: (x, lambda y_bar: np.concatenate([y_bar, y_bar])))
    with pytest.raises(ShapeError, match="another shape than x"):
        interpreted(lambda x: np.sum(longer(x)))(X)


def test_the_number_of_cotangents_is_checked():
    one = gradc.custom_gradient(lambda x, y: (x * y, lambda y_bar: y_bar))
    with pytest.raises(ArgumentError, match="1 cotangents for 2 arguments"):
        interpreted(lambda x: np.sum(one(x, x)))(X)
    missing: Any = gradc.custom_gradient(lambda x: x)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ArgumentError, match=r"does not return \(value, pullback\)"):
        missing(X)


def test_linearity_of_programs():
    build = Builder("f")
    g, c = build.input("g", DType.F64, (3,)), build.input("c", DType.F64, (3,))
    scaled = build.pointwise("mul", g, c)
    zero = build.constant(0.0, DType.F64, (3,))
    total = build.pointwise("add", scaled, zero)
    assert first_nonlinear(build.finish((total,)), (g,)) is None
    shifted = build.pointwise("add", scaled, c)
    assert first_nonlinear(build.finish((shifted,)), (g,)) is build.equations[-1]
    assert first_nonlinear(Builder.resume(build.finish((c,))).finish((c,)), ()) == "c"
