"""Functions mapped over an axis equal a loop over it, in every place a mapped function may stand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(3)
W, X, Y = RNG.normal(size=3), RNG.normal(size=(5, 3)), RNG.normal(size=5)


def interpreted(function: Any, **options: Any) -> Any:
    return gradc.differentiate(target="interpret", **options)(function)


def mapped(function: Any, *args: Any, **options: Any) -> Any:
    return gradc.vmap(function, *args, target="interpret", **options)


def loss(w, b, x, y):
    return (np.tanh(w @ x + b) - y) ** 2


def test_per_example_gradients():
    function = interpreted(loss, wrt=("w", "b"))
    per_example = mapped(function.grad, (None, None, 0, 0))
    w_bar, b_bar = per_example(W, 0.3, X, Y)
    for at in range(5):
        one = function.grad(W, 0.3, X[at], Y[at])
        np.testing.assert_allclose(w_bar[at], one[0], rtol=1e-14)
        assert b_bar[at] == pytest.approx(one[1], rel=1e-14)


def test_compiled_per_example_gradients_serve_every_batch_size():
    per_example = gradc.vmap(interpreted(loss, wrt="w").grad, in_axes=(None, None, 0, 0))
    plain = interpreted(loss, wrt="w")
    for count in (5, 2):
        found = per_example(W, 0.3, X[:count], Y[:count])
        expected = [plain.grad(W, 0.3, X[at], Y[at]) for at in range(count)]
        np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert per_example.cache_info() == (1, 1)


@pytest.mark.parametrize("method", ["value_and_grad", "hessian"])
def test_other_methods(method: str):
    function = interpreted(lambda x: np.sum(np.sin(x) ** 2))
    found = mapped(getattr(function, method))(X)
    expected = [getattr(function, method)(row) for row in X]
    if method == "value_and_grad":
        np.testing.assert_allclose(found[0], [value for value, _ in expected])
        np.testing.assert_allclose(found[1], [gradient for _, gradient in expected])
    else:
        np.testing.assert_allclose(found, expected)


def test_forward_products():
    function = interpreted(lambda x: np.sum(np.sin(x) ** 2))
    found = mapped(function.hvp)(X, X)[1]
    np.testing.assert_allclose(found, [function.hvp(row, row)[1] for row in X])


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_axes_of_arguments_and_results(axis: int):
    a = RNG.normal(size=(4, 4))
    found = mapped(lambda x: x**2 * np.arange(4.0), axis, axis)(a)
    np.testing.assert_allclose(
        found, np.stack([row**2 * np.arange(4.0) for row in np.moveaxis(a, axis, 0)], axis)
    )


def test_axes_in_containers():
    def function(p, x):
        return {"d": p["w"] @ x + p["b"], "o": np.outer(x, x), "w": p["w"]}

    p = {"w": W, "b": Y}
    found = mapped(function, ({"w": None, "b": 0}, 0), {"d": 0, "o": 2, "w": None})(p, X)
    np.testing.assert_allclose(found["d"], X @ W + Y)
    np.testing.assert_allclose(found["o"], np.stack([np.outer(x, x) for x in X], 2))
    np.testing.assert_array_equal(found["w"], W)


def test_results_that_do_not_depend_on_the_axis_are_repeated():
    found = mapped(lambda x, y: (y * 2, np.sum(x), 7.0), (0, None))(X, 3.0)
    np.testing.assert_array_equal(found[0], np.full(5, 6.0))
    np.testing.assert_array_equal(found[2], np.full(5, 7.0))


def test_inside_out_and_upside_down():
    """A map in a gradient, a gradient in a map, a map in a map, a map of captured arrays."""
    total = interpreted(lambda w: np.sum(gradc.vmap(loss, (None, None, 0, 0))(w, 0.3, X, Y)))
    by_hand = interpreted(lambda w: np.sum((np.tanh(X @ w + 0.3) - Y) ** 2))
    np.testing.assert_allclose(total.grad(W), by_hand.grad(W), rtol=1e-13)
    np.testing.assert_allclose(total.hessian(W), by_hand.hessian(W), rtol=1e-12)
    pairs = mapped(lambda x: gradc.vmap(lambda y: x @ y)(X))
    np.testing.assert_allclose(pairs(X), X @ X.T)
    jacobian = mapped(lambda x: np.sin(x)).jacobian(X)
    np.testing.assert_allclose(np.einsum("ijij->ij", jacobian), np.cos(X))


def test_library_operations_and_lookups():
    matrices = RNG.normal(size=(4, 3, 3)) + 3 * np.eye(3)
    found = mapped(lambda a, b: np.linalg.solve(a, b), (0, None))(matrices, W)
    np.testing.assert_allclose(found, [np.linalg.solve(a, W) for a in matrices], rtol=1e-12)
    picked = mapped(lambda x, at: x[at] + np.sort(x)[0])(X, np.array([0, 2, 1, 1, 0]))
    np.testing.assert_allclose(picked, X[np.arange(5), [0, 2, 1, 1, 0]] + X.min(1))


def test_arrays_that_are_made_before_and_inside():
    """What does not depend on the axis is computed once and may be used after the map."""

    def function(x):
        mask = np.eye(3)
        rows = gradc.vmap(lambda row: mask @ row)(x)
        return np.sum(rows) + np.sum(mask)

    assert interpreted(function)(X) == pytest.approx(X.sum() + 3)


def test_methods_of_objects_and_keywords():
    class Model:
        def __init__(self) -> None:
            self.w = W

        @gradc.differentiate(target="interpret")
        def score(self, x, scale=1.0):
            return np.sum(self.w * x**2) * scale

    model = Model()
    np.testing.assert_allclose(mapped(model.score.grad, (0, None), wrt="x")(X, scale=2.0)[0], 4 * W * X)


@pytest.mark.parametrize(
    ("in_axes", "args", "error", "text"),
    [
        (0, (X, 1.0), ArgumentError, "argument b has no axis 0"),
        (None, (X, Y), ArgumentError, "maps over no argument|has no mapped argument"),
        ((0,), (X, Y), ArgumentError, "1 entries for 2 arguments"),
        ({"c": 0}, (X, Y), ArgumentError, "names c"),
        (0, (X, Y[:4]), ShapeError, "do not agree"),
        (0, (X, Y[:1]), ShapeError, "mapped axis of b has extent 1"),
        (({"w": 0}, 0), (X, Y), ArgumentError, "does not have the form"),
        (("first", 0), (X, Y), ArgumentError, "an axis is an int or None"),
    ],
)
def test_refusals(in_axes: Any, args: Any, error: type[Exception], text: str):
    with pytest.raises(error, match=text):
        mapped(lambda a, b: a * b, in_axes)(*args)


def test_results_cannot_lose_the_axis():
    with pytest.raises(ArgumentError, match="depends on the mapped axis"):
        mapped(lambda x: x, 0, None)(X)
    with pytest.raises(ArgumentError, match="out_axes is 3"):
        mapped(lambda x: x, 0, 3)(X)
