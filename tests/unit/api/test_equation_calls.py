"""Index equations as functions: called, differentiated, traced, refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import ArgumentError, GuardFailed, InputRefused, ShapeError

RNG = np.random.default_rng(1)
W, X = RNG.normal(size=(2, 3, 2)), RNG.normal(size=(4, 3, 6))


def equation(text: str, **options: Any) -> Any:
    return gradc.equation(text, target="interpret", **options)


CONVOLUTION = "y[n,o,p] = sum[c,i] w[o,c,i] * x[n,c,p+i]"


def convolved(w: np.ndarray, x: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2], axis=2)
    return np.einsum("oci,ncpi->nop", w, windows)


def test_called_by_position_and_by_name():
    layer = equation(CONVOLUTION)
    np.testing.assert_allclose(layer(W, X), convolved(W, X))
    np.testing.assert_allclose(layer(x=X, w=W), convolved(W, X))
    np.testing.assert_allclose(layer(W, X[:2, :, :5]), convolved(W, X[:2, :, :5]))
    assert layer.cache_info().variants == 1


def test_compiled():
    layer = gradc.equation("y[p] = sum[i] w[i] * x[p+i]")
    np.testing.assert_allclose(layer(w=np.ones(2), x=np.arange(4.0)), [1, 3, 5])


def test_the_pullback_nobody_wrote():
    layer = equation(CONVOLUTION)
    value, pullback = layer.vjp(W, X)
    cotangent = RNG.normal(size=value.shape)
    w_bar, x_bar = pullback(cotangent)
    step = 1e-6
    for at in [(0, 0, 0), (1, 2, 1)]:
        moved = W.copy()
        moved[at] += step
        assert w_bar[at] == pytest.approx(np.sum((convolved(moved, X) - value) * cotangent) / step, rel=1e-5)
    assert x_bar.shape == X.shape
    assert gradc.differentiate(layer, wrt="w", target="interpret").jacobian(W, X).shape == (4, 2, 5, 2, 3, 2)


def test_a_scalar_equation_has_a_gradient():
    norm = equation("y = sum[i] x[i] * x[i]")
    np.testing.assert_allclose(norm.grad(X[0, 0]), 2 * X[0, 0])
    with pytest.raises(ShapeError, match="grad needs a scalar output"):
        equation(CONVOLUTION).grad(W, X)


def test_inside_traced_functions():
    layer = equation(CONVOLUTION)
    loss = gradc.differentiate(lambda w, x: np.sum(layer(w=w, x=x) ** 2), target="interpret")
    assert loss(W, X) == pytest.approx(np.sum(convolved(W, X) ** 2))
    y_bar = 2 * convolved(W, X)
    np.testing.assert_allclose(loss.grad(W, X)[0], layer.vjp(W, X)[1](y_bar)[0], rtol=1e-12)
    inner = gradc.differentiate(lambda w, x: np.sum(layer.vjp(w, x)[1](layer(w, x))[0]), target="interpret")
    assert inner.grad(W, X)[1].shape == X.shape


def test_made_inside_a_traced_function():
    def loss(w, x):
        return np.sum(gradc.equation("y[i] = sum[j] w[i, j] * x[j]")(w, x))

    a, b = RNG.normal(size=(3, 4)), RNG.normal(size=4)
    np.testing.assert_allclose(gradc.differentiate(loss, target="interpret").grad(a, b)[1], a.sum(0))


def test_several_outputs_padding_and_sizes():
    both = equation("a[i] = x[i] + 1.0; b[i] = x[i] * 2.0")
    first, second = both(X[0, 0])
    np.testing.assert_allclose(first, X[0, 0] + 1)
    np.testing.assert_allclose(second, 2 * X[0, 0])
    same = equation("y[p] = sum[i] w[i] * x[p+i]", pad={"x": 1})
    assert same(np.ones(3), np.ones(5)).tolist() == [2, 3, 3, 3, 2]
    steps = equation("y[i] = x[0] * i with i < n")
    np.testing.assert_allclose(steps(np.array([2.0]), 3), [0, 2, 4])
    np.testing.assert_allclose(steps(x=np.array([2.0]), n=5), [0, 2, 4, 6, 8])
    traced = gradc.differentiate(lambda x: np.sum(steps(x, x.shape[0])), target="interpret")
    assert traced.grad(np.array([1.0, 2.0, 3.0])).tolist() == [3, 0, 0]


def test_options():
    layer = gradc.equation("y = sum[i] w[i] * x[i]", wrt="w", target="interpret")
    np.testing.assert_allclose(layer.grad(np.ones(3), np.arange(3.0)), np.arange(3.0))
    assert repr(layer) == "<differentiated y(w, x): y = sum[i] w[i] * x[i]>"


def test_refusals():
    with pytest.raises(InputRefused):
        gradc.equation("y[i] = ")
    layer = equation("y[i] = sum[j] w[i, j] * x[j]")
    with pytest.raises(ArgumentError):
        layer(W[0])
    with pytest.raises(ShapeError):
        layer(np.ones((2, 3)), np.ones(4))
    layer(np.ones((2, 3)), np.ones(3))
    with pytest.raises(GuardFailed, match="axis 0 of x has 4 elements"):
        layer(np.ones((2, 3)), np.ones(4))
