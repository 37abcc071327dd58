"""Functions with derivatives inside traced functions: values, derivatives, closures, containers, methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import ArgumentError, ShapeError, TraceError

X = np.array([0.3, 0.7, 1.1, 1.6])


def interpreted(function: Any, **options: Any) -> Any:
    return gradc.differentiate(target="interpret", **options)(function)


@gradc.differentiate(target="interpret")
def energy(x):
    return np.sum(np.sin(x) * x)


def slope(x):
    return np.sin(x) + x * np.cos(x)


def curvature(x):
    return 2 * np.cos(x) - x * np.sin(x)


def assert_gradient(function: Any, *args: Any) -> None:
    """Compare the first gradient with central differences."""
    found = function.grad(*args)
    found = found[0] if isinstance(found, tuple) else found
    step = 1e-6
    for at in np.ndindex(np.shape(args[0])):
        move = np.zeros_like(args[0])
        move[at] = step
        change = (function(args[0] + move, *args[1:]) - function(args[0] - move, *args[1:])) / (2 * step)
        assert found[at] == pytest.approx(change, rel=1e-6, abs=1e-7)


# --- values and derivatives --------------------------------------------------------------------------------


def test_a_value_inside_is_the_function_itself():
    twice = interpreted(lambda x: energy(x) * energy(2 * x))
    assert twice(X) == pytest.approx(energy(X) * energy(2 * X))
    np.testing.assert_allclose(
        twice.grad(X), slope(X) * energy(2 * X) + 2 * slope(2 * X) * energy(X), rtol=1e-14
    )


def test_a_gradient_penalty():
    penalty = interpreted(lambda x: energy(x) + np.sum(energy.grad(x) ** 2))
    assert penalty(X) == pytest.approx(energy(X) + np.sum(slope(X) ** 2))
    np.testing.assert_allclose(penalty.grad(X), slope(X) + 2 * slope(X) * curvature(X), rtol=1e-13)


METHODS = {
    "value_and_grad": lambda x: energy.value_and_grad(x)[0] + np.sum(energy.value_and_grad(x)[1]),
    "vjp": lambda x: np.sum(energy.vjp(x)[1](3.0)) + energy.vjp(x)[0],
    "jvp": lambda x: energy.jvp(x, x**2)[1] + energy.jvp((x,), x)[0],
    "jacobian": lambda x: np.sum(energy.jacobian(x) * x),
    "hessian": lambda x: np.sum(energy.hessian(x)),
    "hvp": lambda x: np.sum(energy.hvp(x, x)[0]) + np.sum(energy.hvp((x,), x)[1]),
    "hessp": lambda x: np.sum(energy.hessp(x, x)),
}
EXPECTED = {
    "value_and_grad": lambda x: np.sum(np.sin(x) * x) + np.sum(slope(x)),
    "vjp": lambda x: 3 * np.sum(slope(x)) + np.sum(np.sin(x) * x),
    "jvp": lambda x: np.sum(slope(x) * x**2) + np.sum(np.sin(x) * x),
    "jacobian": lambda x: np.sum(slope(x) * x),
    "hessian": lambda x: np.sum(curvature(x)),
    "hvp": lambda x: np.sum(slope(x)) + np.sum(curvature(x) * x),
    "hessp": lambda x: np.sum(curvature(x) * x),
}


@pytest.mark.parametrize("method", METHODS)
def test_every_derivative_works_inside_and_can_be_differentiated(method: str):
    inside, plain = interpreted(METHODS[method]), interpreted(EXPECTED[method])
    assert inside(X) == pytest.approx(plain(X), rel=1e-13)
    np.testing.assert_allclose(inside.grad(X), plain.grad(X), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(inside.hessian(X), plain.hessian(X), rtol=1e-12, atol=1e-13)


def test_one_program_serves_every_size():
    penalty = interpreted(lambda x: np.sum(energy.grad(x) ** 2))
    for size in (2, 3, 7):
        x = np.linspace(0.1, 1.0, size)
        np.testing.assert_allclose(penalty.grad(x), 2 * slope(x) * curvature(x), rtol=1e-13)
    assert penalty.cache_info().variants == 1


def test_a_compiled_gradient_penalty():
    penalty = gradc.differentiate(lambda x: energy(x) + np.sum(energy.grad(x) ** 2))
    value, gradient = penalty.value_and_grad(X)
    assert value == pytest.approx(energy(X) + np.sum(slope(X) ** 2), rel=1e-14)
    np.testing.assert_allclose(gradient, slope(X) + 2 * slope(X) * curvature(X), rtol=1e-13)


def test_stable_forms_are_found_before_the_inner_derivative():
    softplus = interpreted(lambda x: np.sum(np.log(1 + np.exp(x))))
    slopes = interpreted(lambda x: np.sum(softplus.grad(x)))
    assert slopes(np.array([800.0, -800.0])) == 1.0
    unstable = softplus.with_options(stabilise=False)
    assert np.isnan(
        interpreted(lambda x: np.sum(unstable.grad(x)), stabilise=False)(np.array([800.0, -800.0]))
    )


def test_what_depends_on_a_stable_form_is_computed_from_it():
    """The inner derivative reads ``2 * softplus(x)``, which only the stable softplus keeps finite."""
    squares = interpreted(lambda x: np.sum((2 * np.log(1 + np.exp(x))) ** 2))
    outer = interpreted(lambda x: np.sum(squares.grad(x)), stabilise=False)
    assert outer(np.array([800.0, -800.0])) == 8 * 800.0


# --- what the inner function reads -------------------------------------------------------------------------


def test_functions_made_in_the_trace_see_its_values():
    def residual(w, t):
        def u(s):
            return np.tanh(w * s)

        first = interpreted(u).grad
        total = 0.0
        for k in range(3):
            total = total + (first(t[k]) + k * u(t[k])) ** 2
        return total

    def by_hand(w, t):
        y = np.tanh(w * t)
        return np.sum((w * (1 - y**2) + np.arange(3) * y) ** 2)

    loss = interpreted(residual)
    assert loss(1.5, X[:3]) == pytest.approx(by_hand(1.5, X[:3]))
    step = 1e-6
    slope_in_w = (by_hand(1.5 + step, X[:3]) - by_hand(1.5 - step, X[:3])) / (2 * step)
    assert loss.grad(1.5, X[:3])[0] == pytest.approx(slope_in_w, rel=1e-7)
    assert loss.cache_info().variants == 1


def test_functions_made_in_a_loop_read_the_loops_variable():
    def series(x):
        total = 0.0
        for k in range(1, 4):
            total = total + interpreted(lambda s: np.sin(k * s)).grad(x)  # noqa: B023  (called at once)
        return total

    function = interpreted(series)
    for x in (0.4, 0.9):
        assert function(x) == pytest.approx(sum(k * np.cos(k * x) for k in (1, 2, 3)))
    assert function.cache_info().variants == 1


def test_the_argument_and_an_enclosing_variable_are_told_apart():
    """``d/dy (x * y)`` at ``y = x`` is x, not 2 x: perturbations are not confused."""
    confused = interpreted(lambda x: x * interpreted(lambda y: x * y).grad(x))
    assert confused(3.0) == 9.0
    assert confused.grad(3.0) == 6.0


def test_the_same_tensor_for_two_arguments():
    product = interpreted(lambda a, b: np.sum(a * b**2))
    both = interpreted(lambda x: np.sum(product.grad(x, x)[0]))
    np.testing.assert_allclose(both.grad(X), 2 * X)


SCALE = np.array([1.0, 2.0, 3.0, 4.0])
FACTOR = 2.0


@gradc.differentiate(target="interpret")
def scaled(x):
    return FACTOR * np.sum(SCALE * x**2)


def test_what_the_inner_function_captures_is_read_at_every_call(monkeypatch: pytest.MonkeyPatch):
    outer = interpreted(lambda x: np.sum(scaled.grad(x)))
    np.testing.assert_allclose(outer.grad(X), 4 * SCALE)
    monkeypatch.setitem(globals(), "SCALE", 10 * SCALE)
    np.testing.assert_allclose(outer.grad(X), 4 * SCALE)
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    np.testing.assert_allclose(outer.grad(X), 6 * SCALE)


def test_a_gradient_at_numbers_alone_is_not_frozen(monkeypatch: pytest.MonkeyPatch):
    line = interpreted(lambda t: np.sum(SCALE) * t**2)
    outer = interpreted(lambda x: x * line.grad(3.0))
    assert outer(1.0) == 6 * SCALE.sum()
    monkeypatch.setitem(globals(), "SCALE", 10 * SCALE)
    assert outer(1.0) == 6 * SCALE.sum()


def test_python_numbers_stay_weak_in_promotion():
    line = interpreted(lambda t: t**3)
    f32 = np.ones(3, np.float32)
    assert interpreted(lambda x: x * line.grad(2.0), wrt="x")(f32).dtype == np.float32
    assert interpreted(lambda x: interpreted(lambda y: np.sum(y**2)).grad(x))(f32).dtype == np.float32


# --- containers --------------------------------------------------------------------------------------------


@dataclass
class Parameters:
    a: np.ndarray
    b: float


@gradc.differentiate(target="interpret")
def linear(p, x):
    return np.sum(p.a * x) * p.b


@gradc.differentiate(target="interpret")
def nested(p, x):
    return np.sum(p["a"] * x) * p["b"][0] + np.sum(p["b"][1] ** 2)


CAPTURED: dict[str, Any] = {"a": X, "b": [2.0, X]}


def test_containers_go_in_and_come_out():
    outer = interpreted(lambda p, x: np.sum(linear.grad(p, x)[0].a ** 2) + linear(p, x))
    gradient = outer.grad(Parameters(X, 2.0), X)[0]
    assert isinstance(gradient, Parameters)
    np.testing.assert_allclose(gradient.a, 2 * X)
    assert gradient.b == pytest.approx(4 * np.sum(X**2) + np.sum(X**2))


def test_captured_containers():
    outer = interpreted(lambda x: np.sum(nested.grad(CAPTURED, x)[0]["b"][1] * x))
    np.testing.assert_allclose(outer.grad(X), 2 * X)


def test_wrt_and_static_of_the_inner_function_hold():
    @gradc.differentiate(wrt="w", static=("power",), target="interpret")
    def inner(w, x, power):
        return np.sum((w * x) ** power)

    outer = interpreted(lambda w, x: np.sum(inner.grad(w, x, power=3)))
    np.testing.assert_allclose(outer.grad(X, X)[0], 6 * X**4, rtol=1e-13)


def test_auxiliary_results_inside():
    pair = interpreted(lambda x: (np.sum(x**2), {"cube": x**3}), has_aux=True)

    def outer(x):
        (value, aux), gradient = pair.value_and_grad(x)
        return value + np.sum(aux["cube"]) + np.sum(gradient)

    np.testing.assert_allclose(interpreted(outer).grad(X), 2 * X + 3 * X**2 + 2)


# --- methods -----------------------------------------------------------------------------------------------


class Model:
    def __init__(self) -> None:
        self.w = np.arange(1.0, 5.0)

    @gradc.differentiate(target="interpret")
    def loss(self, x):
        return np.sum(self.w * x**2)

    @gradc.differentiate(target="interpret")
    def penalised(self, x):
        return self.loss(x) + np.sum(self.loss.grad(x) ** 2)


MODEL = Model()


def test_methods_call_methods():
    model = Model()
    np.testing.assert_allclose(model.penalised.grad(X), 2 * model.w * X + 8 * model.w**2 * X)
    model.w = -model.w
    np.testing.assert_allclose(model.penalised.grad(X), 2 * model.w * X + 8 * model.w**2 * X)
    assert model.penalised.cache_info().variants == 1


def test_methods_of_captured_objects():
    bound = MODEL.loss
    for outer in (lambda x: np.sum(MODEL.loss.grad(x) * x), lambda x: np.sum(bound.grad(x) * x)):
        np.testing.assert_allclose(interpreted(outer).grad(X), 4 * MODEL.w * X)
    np.testing.assert_allclose(interpreted(lambda x: bound(x)).grad(X), 2 * MODEL.w * X)


def test_methods_take_primals_without_the_instance():
    np.testing.assert_allclose(MODEL.loss.jvp((X,), X)[1], np.sum(2 * MODEL.w * X**2))
    np.testing.assert_allclose(MODEL.loss.hvp(X, X)[1], 2 * MODEL.w * X)
    np.testing.assert_allclose(MODEL.loss.hessp(X, X), 2 * MODEL.w * X)


# --- differentiating derivatives ---------------------------------------------------------------------------


def test_a_method_can_be_differentiated_like_a_function():
    gradient = gradc.differentiate(energy.grad, target="interpret")
    np.testing.assert_allclose(gradient(X), slope(X))
    np.testing.assert_allclose(gradient.jacobian(X), np.diag(curvature(X)), atol=1e-15)
    assert gradc.differentiate(energy, target="interpret").grad(X) == pytest.approx(slope(X))


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_derivatives_nest(order: int):
    function = interpreted(lambda x: np.sin(2 * x))
    for _ in range(order - 1):
        function = interpreted(function.grad)
    expected = 2**order * np.sin(2 * 0.4 + order * np.pi / 2)
    assert function.grad(0.4) == pytest.approx(expected, rel=1e-13)


# --- stop_gradient -----------------------------------------------------------------------------------------


def test_stop_gradient_is_the_identity_outside():
    x = np.ones(3)
    assert gradc.stop_gradient(x) is x


def test_stop_gradient_lets_nothing_through():
    half = interpreted(lambda x: np.sum(x * gradc.stop_gradient(x) ** 2))
    np.testing.assert_allclose(half.grad(X), X**2)
    np.testing.assert_allclose(half.jvp(X, X)[1], np.sum(X**3))
    assert not interpreted(lambda x: np.sum(gradc.stop_gradient(x) ** 2) + 0 * x.sum()).grad(X).any()


def test_stop_gradient_takes_containers_and_leaves_integers():
    def function(p):
        fixed = gradc.stop_gradient(p)
        return np.sum(p["x"] * fixed["x"]) + fixed["n"]

    gradient = interpreted(function).grad({"x": X, "n": 3})
    np.testing.assert_allclose(gradient["x"], X)


def test_stop_gradient_survives_stable_forms():
    function = interpreted(lambda x: np.log(1 + np.exp(gradc.stop_gradient(x))) * x)
    assert function.grad(0.5) == pytest.approx(np.log1p(np.exp(0.5)))


# --- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["check", "inspect", "kernel", "at"])
def test_methods_about_kernels_are_refused_inside(method: str):
    outer = interpreted(lambda x: getattr(energy, method)(x))
    with pytest.raises(TraceError, match="cannot be used while a function is traced") as caught:
        outer(X)
    assert "test_composition.py" in caught.value.where


def test_a_gradient_of_an_array_is_refused_inside():
    vector = interpreted(lambda x: x**2)
    with pytest.raises(ShapeError, match="grad needs a scalar output"):
        interpreted(lambda x: np.sum(vector.grad(x)))(X)


def test_a_cotangent_of_another_shape_is_refused_inside():
    vector = interpreted(lambda x: x**2)
    with pytest.raises(ArgumentError, match="cotangent has 2 axes"):
        interpreted(lambda x: np.sum(vector.vjp(x)[1](np.ones((2, 2)))))(X)
    with pytest.raises(ShapeError):
        interpreted(lambda x: np.sum(vector.vjp(x)[1](np.ones(7))))(X)
