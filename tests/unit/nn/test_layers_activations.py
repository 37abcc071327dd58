"""Activations against their definitions, as functions and as layers; kinks, tails, options."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.unit.nn.applied import agree, apply, random_inputs

from gradc import differentiate
from gradc.errors import ArgumentError, ShapeError
from gradc.nn import (
    ELU,
    GELU,
    SELU,
    HardTanh,
    LeakyReLU,
    Maxout,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from gradc.nn.layers import activations as functions


def normal_below(x):
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def logistic(x):
    return 1 / (1 + math.exp(-x))


def gelu_tanh(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


SELU_SCALE, SELU_ALPHA = 1.0507009873554804934, 1.6732632423543772848

SCALAR = [
    (Sigmoid(), functions.sigmoid, logistic),
    (Tanh(), functions.tanh, math.tanh),
    (ReLU(), functions.relu, lambda x: max(x, 0.0)),
    (LeakyReLU(), functions.leaky_relu, lambda x: x if x > 0 else 0.01 * x),
    (LeakyReLU(0.2), lambda x: functions.leaky_relu(x, 0.2), lambda x: x if x > 0 else 0.2 * x),
    (ELU(), functions.elu, lambda x: x if x > 0 else math.expm1(x)),
    (ELU(0.5), lambda x: functions.elu(x, 0.5), lambda x: x if x > 0 else 0.5 * math.expm1(x)),
    (SELU(), functions.selu, lambda x: SELU_SCALE * (x if x > 0 else SELU_ALPHA * math.expm1(x))),
    (GELU(), functions.gelu, lambda x: x * normal_below(x)),
    (GELU(exact=False), lambda x: functions.gelu(x, exact=False), gelu_tanh),
    (SiLU(), functions.silu, lambda x: x * logistic(x)),
    (Softplus(), functions.softplus, lambda x: math.log1p(math.exp(x))),
    (HardTanh(), functions.hard_tanh, lambda x: min(max(x, -1.0), 1.0)),
]
EACH = pytest.mark.parametrize(("layer", "function", "scalar"), SCALAR, ids=[str(row[0]) for row in SCALAR])


@EACH
def test_an_activation_is_its_definition_on_every_element(layer, function, scalar):
    def expected(_, x):
        return np.array([scalar(float(item)) for item in x.ravel()]).reshape(x.shape)

    agree(layer, *random_inputs((2, 5)), expected=expected)


@EACH
def test_the_function_of_an_activation_takes_plain_arrays(layer, function, scalar):
    x = np.linspace(-3, 3, 13)
    np.testing.assert_allclose(function(x), [scalar(item) for item in x], rtol=1e-13, atol=1e-15)
    assert function(x.astype(np.float32)).dtype == np.float32


@EACH
def test_an_activation_neither_overflows_nor_becomes_nan_far_out(layer, function, scalar):
    for dtype in (np.float64, np.float32):
        x = np.array([[-900.0, -90.0, 90.0, 900.0]], dtype)
        found = apply(layer, x, check=False)
        assert np.isfinite(found.value).all()
        assert np.isfinite(found.gradients[1][0]).all()


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (functions.relu, 0.0),
        (functions.leaky_relu, 0.01),
        (functions.elu, 1.0),
        (functions.selu, SELU_SCALE * SELU_ALPHA),
        (functions.softplus, 0.5),
        (functions.gelu, 0.5),
        (functions.silu, 0.5),
    ],
)
def test_the_derivative_at_zero_is_that_of_the_convention(function, expected):
    slope = differentiate(lambda x: function(x).sum(), target="interpret").grad(np.zeros(2))
    np.testing.assert_allclose(slope, expected, rtol=1e-12)


def test_gelu_keeps_its_digits_in_the_lower_tail():
    assert functions.gelu(np.array(-10.0)) == pytest.approx(
        -10 * 0.5 * math.erfc(10 / math.sqrt(2)), rel=1e-12, abs=0
    )


def test_a_compiled_activation_agrees_with_the_interpreter():
    x = random_inputs((5,))
    for layer in (GELU(), Softmax()):
        compiled, still = apply(layer, *x, check=False, target="cpu"), apply(layer, *x, check=False)
        np.testing.assert_allclose(compiled.value, still.value, rtol=1e-13)
        np.testing.assert_allclose(compiled.gradients[1][0], still.gradients[1][0], rtol=1e-12, atol=1e-15)


# --- learned slopes, maxout, softmax ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axis"), [((4,), 0), ((4, 3), 0), ((3, 4), -1), ((3, 4), 1), ((4, 2, 3), 0), ((2, 4, 3), -2)]
)
def test_prelu_learns_one_slope_for_each_channel(shape, axis):
    def loops(arrays, x):
        y = np.moveaxis(x.copy(), axis + 1 if axis >= 0 else axis, -1)
        for *at, channel in np.ndindex(*y.shape):
            place = (*at, channel)
            y[place] = y[place] if y[place] > 0 else arrays["slope"][channel] * y[place]
        return np.moveaxis(y, -1, axis + 1 if axis >= 0 else axis)

    found = agree(PReLU(axis), *random_inputs(shape), expected=loops)
    assert found.arrays["slope"].shape == (4,)


def test_the_slopes_of_prelu_begin_at_a_quarter():
    slope = PReLU().parameters((3,))["slope"]
    assert np.array_equal(slope.initialiser(np.random.default_rng(0), (3,), 1, 1), np.full(3, 0.25))
    assert not slope.is_weight


@pytest.mark.parametrize(
    ("shape", "pieces", "axis"),
    [((6,), 3, 0), ((4, 3, 2), 2, 0), ((3, 4), 2, -1), ((3, 4), 4, 1), ((3,), 1, 0)],
)
def test_maxout_keeps_the_largest_of_neighbours(shape, pieces, axis):
    def loops(_, x):
        y = np.moveaxis(x, axis + 1 if axis >= 0 else axis, -1)
        groups = [y[..., at : at + pieces].max(-1) for at in range(0, y.shape[-1], pieces)]
        return np.moveaxis(np.stack(groups, -1), -1, axis + 1 if axis >= 0 else axis)

    agree(Maxout(pieces, axis), *random_inputs(shape), expected=loops)


@pytest.mark.parametrize(("shape", "axis"), [((4,), -1), ((4, 3), 0), ((4, 3), -1), ((2, 3, 4), 1)])
def test_softmax_is_powers_over_their_sum(shape, axis):
    def expected(_, x):
        at = axis + 1 if axis >= 0 else axis
        return np.exp(x) / np.exp(x).sum(axis=at, keepdims=True)

    agree(Softmax(axis), *random_inputs(shape), expected=expected)


def test_softmax_of_large_scores_is_finite():
    assert np.array_equal(functions.softmax(np.array([1000.0, 0.0])), [1, 0])


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: LeakyReLU(1.0), "slope"),
        (lambda: LeakyReLU(-0.1), "slope"),
        (lambda: LeakyReLU("a"), "slope"),  # pyright: ignore[reportArgumentType]
        (lambda: ELU(-1), "alpha"),
        (lambda: ELU(math.nan), "alpha"),
        (lambda: Maxout(0), "pieces"),
    ],
)
def test_options_of_activations_that_cannot_be_are_refused(make, what):
    with pytest.raises(ArgumentError, match=what) as caught:
        make()
    assert caught.value.where
    assert caught.value.why
    assert caught.value.do


@pytest.mark.parametrize(
    ("layer", "shape", "what"),
    [
        (Maxout(3), (4,), "cannot be divided among 3 pieces"),
        (Maxout(2, 1), (4,), "no axis 1"),
        (PReLU(2), (4, 3), "no axis 2"),
        (Softmax(-2), (4,), "no axis -2"),
    ],
    ids=str,
)
def test_inputs_that_do_not_fit_activations_are_refused(layer, shape, what):
    with pytest.raises(ShapeError, match=what) as caught:
        layer.output_shape(shape)
    assert str(shape) in caught.value.why
    assert caught.value.do
