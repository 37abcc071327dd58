"""What flows through a network: against activations, gradients, closed forms, and the table that students read."""

import re

import numpy as np
import pytest

from gradc.errors import ShapeError
from gradc.nn.initialisers import Constant, Normal
from gradc.nn.layers.activations import HardTanh, ReLU, Sigmoid, Tanh
from gradc.nn.layers.dense import Dense
from gradc.nn.layers.dropout import Dropout
from gradc.nn.layers.embedding import Embedding
from gradc.nn.layers.normalisation import BatchNorm
from gradc.nn.layers.shapes import Concatenate, Flatten
from gradc.nn.losses import SquaredError
from gradc.nn.network import Network
from gradc.nn.regularisers import L2
from gradc.nn.signals import LayerSignals, Signals, signals

rng = np.random.default_rng(1)


def test_outputs_gradients_and_their_statistics_are_those_of_the_closed_form():
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    network = Network(
        Dense(5, regulariser=L2(0.3)), Tanh(), Dense(2), shape=3, loss=SquaredError(), regulariser=L2(0.1)
    )
    found = signals(network, x, y)

    activations = network.activations(x)
    assert list(found.outputs) == list(activations) == ["dense_1", "tanh_1", "dense_2"]
    for name, output in activations.items():
        np.testing.assert_allclose(found.outputs[name], output, rtol=1e-14)

    last = 2 * (activations["dense_2"] - y) / y.size
    middle = last @ network.parameters["dense_2.weight"].T
    expected = {
        "dense_1": middle * (1 - activations["tanh_1"] ** 2),
        "tanh_1": middle,
        "dense_2": last,
    }
    for name, gradient in expected.items():
        np.testing.assert_allclose(found.output_gradients[name], gradient, rtol=1e-12)

    loss, gradients = network.gradients(x, y)
    assert found.loss == pytest.approx(loss, rel=1e-14)
    assert found.examples == 7
    assert found.gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        np.testing.assert_allclose(found.gradients[name], gradient, rtol=1e-12)

    first = found.layers[0]
    assert first.output_mean == pytest.approx(activations["dense_1"].mean(), rel=1e-12)
    assert first.output_deviation == pytest.approx(activations["dense_1"].std(), rel=1e-12)
    assert first.gradient_mean == pytest.approx(expected["dense_1"].mean(), rel=1e-12)
    assert first.gradient_deviation == pytest.approx(expected["dense_1"].std(), rel=1e-12)
    assert first.gradient_largest == pytest.approx(abs(expected["dense_1"]).max(), rel=1e-12)
    own = np.concatenate([gradients["dense_1.weight"].ravel(), gradients["dense_1.bias"]])
    assert first.parameters_deviation == pytest.approx(own.std(), rel=1e-12)
    norm = np.linalg.norm(network.parameters["dense_1.weight"])  # biases begin at 0
    assert first.parameters_ratio == pytest.approx(np.linalg.norm(own) / norm, rel=1e-12)
    assert found.layers[1].parameters_deviation is found.layers[1].parameters_ratio is None


def test_signals_are_those_of_training_and_change_nothing():
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 2))
    network = Network(Dense(6), BatchNorm(), Dropout(0.5), Dense(2), shape=3, loss=SquaredError())
    before = {name: value.copy() for name, value in (network.parameters | network.statistics).items()}
    found = signals(network, x, y, seed=5)
    for name, value in (network.parameters | network.statistics).items():
        np.testing.assert_array_equal(value, before[name])

    np.testing.assert_allclose(found.outputs["batch_norm_1"].mean(axis=0), 0, atol=1e-12)
    dropped = found.outputs["dropout_1"] == 0
    assert 0.3 < found.layers[2].zeros == dropped.mean() < 0.7
    assert (found.output_gradients["batch_norm_1"][dropped] == 0).all()

    loss, gradients = network.gradients(x, y, seed=5)
    assert found.loss == pytest.approx(loss, rel=1e-14)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(found.gradients[name], gradient, rtol=1e-9, atol=1e-14)
    assert signals(network, x, y, seed=6).loss != found.loss == signals(network, x, y, seed=5).loss


def test_saturation_is_the_outer_hundredth_of_what_an_activation_can_give():
    network = Network(
        Dense(50, name="sums", initialiser=Normal(4.0)),
        Tanh(inputs=("sums",)),
        HardTanh(inputs=("sums",)),
        Sigmoid(inputs=("sums",)),
        ReLU(inputs=("sums",)),
        Concatenate(inputs=("tanh_1", "hard_tanh_1", "sigmoid_1", "relu_1")),
        shape=3,
        loss=SquaredError(),
    )
    x = rng.normal(size=(20, 3))
    found = {layer.name: layer for layer in signals(network, x, np.zeros((20, 200))).layers}
    sums = x @ network.parameters["sums.weight"]
    assert found["tanh_1"].saturated == (abs(np.tanh(sums)) > 0.99).mean() > 0.1
    assert found["hard_tanh_1"].saturated == (abs(sums) > 0.99).mean()
    assert found["sigmoid_1"].saturated == (abs(np.tanh(sums / 2)) > 0.99).mean() > 0.1
    assert found["sums"].saturated is found["relu_1"].saturated is None
    assert found["relu_1"].zeros == (sums <= 0).mean()


def test_bad_first_weights_of_sigmoids_make_the_gradients_vanish():
    layers = [layer for _ in range(3) for layer in (Dense(20, initialiser=Normal(0.01)), Sigmoid())]
    network = Network(*layers, Dense(2), shape=4, loss=SquaredError(), seed=1)
    found = signals(network, rng.normal(size=(30, 4)), rng.normal(size=(30, 2)))
    deviations = {layer.name: layer.gradient_deviation for layer in found.layers}
    for before, behind in (("dense_1", "dense_2"), ("dense_2", "dense_3")):
        assert deviations[before] < 0.05 * deviations[behind]
    fall = re.search(r"at dense_1 over that at dense_4: (.*)\n", str(found))
    assert fall is not None
    assert float(fall[1]) == pytest.approx(deviations["dense_1"] / deviations["dense_4"], rel=1e-2)


def test_numbers_whose_squares_are_too_small_have_a_deviation():
    network = Network(Dense(3, initialiser=Normal(1e-200)), shape=2, loss=SquaredError())
    x, y = rng.normal(size=(5, 2)), 1e-200 * rng.normal(size=(5, 3))
    (layer,) = signals(network, x, y).layers
    scaled = 1e200 * (x @ network.parameters["dense_1.weight"])
    assert 1e200 * layer.output_deviation == pytest.approx(scaled.std(), rel=1e-12)
    gradients = 2 / 15 * np.array([*(x.T @ (scaled - 1e200 * y)), (scaled - 1e200 * y).sum(axis=0)])
    weights = np.linalg.norm(1e200 * network.parameters["dense_1.weight"])
    assert layer.parameters_ratio == pytest.approx(np.linalg.norm(gradients) / weights, rel=1e-9)


def test_numbers_that_are_not_finite_show_and_raise_nothing():
    network = Network(Dense(2, initialiser=Constant(1e200)), ReLU(), shape=2, loss=SquaredError())
    found = signals(network, np.array([[1e200, 1.0], [0.0, 1.0]]), np.zeros((2, 2)))
    layer = found.layers[0]
    assert layer.output_mean != layer.output_mean  # NaN
    assert np.isnan(layer.output_deviation)
    assert found.loss == np.inf
    assert " nan " in str(found)


def test_examples_of_whole_numbers_and_float32_have_signals():
    network = Network(Embedding(5, 3), Flatten(), Dense(2), shape=(4,), loss=SquaredError(), dtype="float32")
    x, y = rng.integers(0, 5, (6, 4)), rng.normal(size=(6, 2))
    found = signals(network, x, y)
    assert {array.dtype for array in found.output_gradients.values()} == {np.dtype("float32")}
    table = network.parameters["embedding_1.weight"]
    assert found.layers[0].output_deviation == pytest.approx(table[x].std(), rel=1e-5)


def test_targets_that_do_not_fit_are_refused():
    network = Network(Dense(2), shape=3, loss=SquaredError())
    with pytest.raises(ShapeError, match="4 examples have 3 targets"):
        signals(network, np.zeros((4, 3)), np.zeros((3, 2)))


# --- the table ----------------------------------------------------------------------------------------------


def made(*layers: LayerSignals, examples: int = 8) -> Signals:
    return Signals(2.34567, examples, layers, {}, {}, {})


DENSE = LayerSignals("dense_1", -0.0145, 1.0, 0.0, None, 1.2e-5, 0.000368, 0.00173, 0.00293, 0.0164)
RELU = LayerSignals("relu_1", 0.4, 0.625, 0.5125, None, 0.0, 0.00736, 0.01, None, None)
TANH = LayerSignals("tanh_1", 0.0, 0.9, 0.0, 0.25, float("nan"), float("inf"), 0.5, None, None)


def test_the_table_has_a_row_for_each_layer():
    assert str(made(DENSE, RELU)) == (
        "loss 2.346 of 8 examples, as in training\n"
        "          output     output  output     output  gradient   gradient  gradient  parameters  parameters\n"
        "            mean  deviation   zeros  saturated      mean  deviation   largest   deviation       ratio\n"
        "dense_1  -0.0145          1    0.0%              1.2e-05   0.000368   0.00173     0.00293      0.0164\n"
        "relu_1       0.4      0.625   51.2%                    0    0.00736      0.01\n"
        "gradient: of the loss by the output of the layer\n"
        "parameters: deviation of the gradients of all its parameters, and ratio |gradients| / |parameters|\n"
        "deviation of the gradient at dense_1 over that at relu_1: 0.05\n"
    )


def test_the_table_shows_saturation_and_what_is_not_finite():
    text = str(made(TANH, examples=1))
    assert text.startswith("loss 2.346 of 1 example, ")
    assert re.search(r"tanh_1 +0 +0.9 +0.0% +25.0% +nan +inf +0.5\n", text)
    assert "over that at" not in text  # one layer has nothing before it


def test_the_middle_of_a_long_table_is_left_out():
    text = str(made(*[DENSE] * 500))
    assert "... 100 layers left out ..." in text
    assert text.count("dense_1 ") == 400 + 1


def test_signals_are_shown_without_their_arrays():
    assert repr(made(DENSE, RELU)) == "<signals of 2 layers for 8 examples: loss 2.346>"
