"""Networks: names, shapes, first values, what is refused, and the step beside its parts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from gradc.errors import ArgumentError, GradcError, InputRefused, ShapeError
from gradc.nn.initialisers import Constant
from gradc.nn.layer import Context, Layer, Parameter
from gradc.nn.layers.activations import ReLU, Tanh
from gradc.nn.layers.dense import Dense
from gradc.nn.layers.dropout import Dropout
from gradc.nn.layers.embedding import Embedding
from gradc.nn.layers.normalisation import BatchNorm
from gradc.nn.layers.shapes import Add, Flatten
from gradc.nn.losses import Logistic, Loss, SoftmaxCrossEntropy, SquaredError
from gradc.nn.network import Network
from gradc.nn.optimisers import Adam, Momentum, Optimiser
from gradc.nn.regularisers import L1, L2

rng = np.random.default_rng(1)


@dataclass(frozen=True)
class Scale(Layer):
    """The layer of five lines in the documentation."""

    def parameters(self, shape: Any) -> dict[str, Parameter]:
        return {"gain": Parameter(shape, Constant(2.0))}

    def apply(self, context: Context, x: Any) -> Any:
        return x * context["gain"]


def small(**changes: Any) -> Network:
    options = {"shape": 3, "loss": SquaredError(), "seed": 4, **changes}
    return Network(Dense(5), Tanh(), Dense(2), **options)


def test_layers_and_parameters_are_named_after_their_class_and_number():
    network = Network(Dense(5), BatchNorm(), ReLU(), Dense(2, name="last"), shape=3, loss=SquaredError())
    assert [node.name for node in network.nodes] == ["dense_1", "batch_norm_1", "relu_1", "last"]
    assert set(network.parameters) == {
        *("dense_1.weight", "dense_1.bias", "last.weight", "last.bias"),
        *("batch_norm_1.gamma", "batch_norm_1.beta"),
    }
    assert set(network.statistics) == {"batch_norm_1.mean", "batch_norm_1.variance"}
    assert network.weights == {"dense_1.weight", "last.weight"}
    assert network.output == (2,)
    assert network.size == 3 * 5 + 5 + 5 * 2 + 2 + 10


def test_first_values_follow_from_the_seed():
    one, same, other = small(), small(), small(seed=5)
    for name, value in one.parameters.items():
        np.testing.assert_array_equal(value, same.parameters[name])
    assert (one.parameters["dense_1.weight"] != other.parameters["dense_1.weight"]).any()
    assert small(dtype="float32").parameters["dense_1.weight"].dtype == np.float32


def test_prediction_is_the_formula():
    network, x = small(), rng.normal(size=(7, 3))
    p = network.parameters
    expected = np.tanh(x @ p["dense_1.weight"] + p["dense_1.bias"]) @ p["dense_2.weight"] + p["dense_2.bias"]
    np.testing.assert_allclose(network.predict(x), expected, rtol=1e-14)
    assert network.predict(x[:0]).shape == (0, 2)


def test_layers_take_what_their_inputs_name():
    network = Network(
        Dense(3, name="first"),
        Tanh(name="branch"),
        Dense(3),
        Add(inputs=("dense_2", "branch", "input")),
        shape=3,
        loss=SquaredError(),
    )
    p, x = network.parameters, rng.normal(size=(4, 3))
    branch = np.tanh(x @ p["first.weight"] + p["first.bias"])
    expected = branch @ p["dense_2.weight"] + p["dense_2.bias"] + branch + x
    np.testing.assert_allclose(network.predict(x), expected, rtol=1e-13)


def test_a_layer_of_ones_own():
    network = Network(Scale(), shape=2, loss=SquaredError())
    np.testing.assert_array_equal(network.predict(np.ones((1, 2))), [[2.0, 2.0]])


def test_evaluation_is_at_test_time_and_without_regulariser():
    network = Network(Dense(3), Dropout(0.5), shape=4, loss=SoftmaxCrossEntropy(), regulariser=L2(10.0))
    x, y = rng.normal(size=(600, 4)), rng.integers(0, 3, 600)
    scores = network.predict(x)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances = powers / powers.sum(axis=1, keepdims=True)
    loss, accuracy = network.evaluate(x, y)
    assert loss == pytest.approx(-np.log(chances[np.arange(600), y]).mean(), rel=1e-12)
    assert accuracy == pytest.approx((scores.argmax(axis=1) == y).mean(), rel=1e-12)


def test_what_is_right_is_for_the_loss_to_say():
    x, y = rng.normal(size=(700, 3)), (rng.normal(size=(700, 1)) > 0).astype(float)
    network = Network(Dense(1), shape=3, loss=Logistic())
    assert network.evaluate(x, y)[1] == pytest.approx(
        ((network.predict(x) > 0) == (y > 0.5)).mean(), rel=1e-12
    )
    assert small().evaluate(x, np.zeros((700, 2)))[1] is None


@pytest.mark.parametrize("optimiser", [Momentum(0.1), Adam(0.01, clip_norm=0.5)])
def test_a_step_is_loss_gradient_and_update(optimiser: Any):
    network = small(regulariser=L2(0.1))
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    slots = {f"{n}.{s}": np.zeros_like(v) for n, v in network.parameters.items() for s in optimiser.slots()}
    step = network.step_function(optimiser).with_options(target="interpret")
    arguments = (network.parameters, network.statistics, slots, x, y)
    value, parameters, _, _ = step(*arguments, np.array([0.1, 1.0]), np.array([0]))

    def loss(values: dict[str, np.ndarray]) -> float:
        return float(network.objective(values, {}, x, y)[0])

    assert value == pytest.approx(loss(network.parameters), rel=1e-13)
    gradient = {}
    for name, array in network.parameters.items():
        gradient[name] = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            up, down = ({**network.parameters, name: _moved(array, place, sign * 1e-6)} for sign in (1, -1))
            gradient[name][place] = (loss(up) - loss(down)) / 2e-6
    if optimiser.clip_norm is not None:
        norm = np.sqrt(sum(np.sum(g * g) for g in gradient.values()))
        gradient = {name: g * min(1.0, optimiser.clip_norm / norm) for name, g in gradient.items()}
    for name, array in network.parameters.items():
        own = {slot: slots[f"{name}.{slot}"] for slot in optimiser.slots()}
        is_weight = name in network.weights
        expected, _ = optimiser.update(array, gradient[name], own, 0.1, 1.0, is_weight=is_weight)
        np.testing.assert_allclose(parameters[name], expected, rtol=2e-4, atol=1e-6)


def _moved(array: np.ndarray, place: tuple[int, ...], by: float) -> np.ndarray:
    found = array.copy()
    found[place] += by
    return found


REFUSED: dict[str, tuple[Any, type[GradcError], str]] = {
    "no layer": (lambda: small_of(np.tanh), ArgumentError, "no layer"),
    "no layers": (lambda: Network(shape=3, loss=SquaredError()), ArgumentError, "at least one layer"),
    "a name twice": (
        lambda: small_of(Dense(2, name="a"), Dense(2, name="a")),
        ArgumentError,
        "'a' of layer 2 is taken",
    ),
    "a name of the input": (
        lambda: small_of(Dense(2, name="input")),
        ArgumentError,
        "'input' of layer 1 is taken",
    ),
    "no name": (lambda: small_of(Dense(2, name="a.b")), ArgumentError, "is no name"),
    "a later layer": (
        lambda: small_of(Add(inputs=("input", "dense_1")), Dense(3)),
        ArgumentError,
        "no layer before it",
    ),
    "shapes that differ": (
        lambda: small_of(Dense(2), Add(inputs=("input", "dense_1"))),
        ShapeError,
        "shape",
    ),
    "two inputs for one": (
        lambda: small_of(Dense(2, inputs=("input", "input"))),
        ShapeError,
        "does not take 2 inputs",
    ),
    "no shape": (
        lambda: Network(Dense(2), shape=(0,), loss=SquaredError()),
        ArgumentError,
        "no shape of an example",
    ),
    "a dtype": (
        lambda: Network(Dense(2), shape=2, loss=SquaredError(), dtype="f2"),
        ArgumentError,
        "unknown",
    ),
    "examples of another shape": (lambda: small().predict(np.ones((2, 4))), ShapeError, "the network takes"),
    "one example without a batch": (lambda: small().predict(np.ones(3)), ShapeError, "the network takes"),
    "NaN": (
        lambda: small().predict(np.full((2, 3), np.nan)),
        InputRefused,
        "examples hold nan at \\[0, 0\\]",
    ),
    "a row that is not there": (lambda: looking_up().predict([[0, 4, 1]]), InputRefused, "from 0 to 3"),
    "no whole number": (lambda: looking_up().predict([[0.5, 1, 1]]), InputRefused, "from 0 to 3"),
    "no examples": (lambda: small().evaluate(np.ones((0, 3)), np.ones((0, 2))), ShapeError, "at least one"),
    "fewer targets": (
        lambda: small().evaluate(np.ones((2, 3)), np.ones((1, 2))),
        ShapeError,
        "2 examples have 1",
    ),
}


def looking_up() -> Network:
    return Network(Embedding(4, 2), Flatten(), Dense(1), shape=3, loss=SquaredError())


def small_of(*layers: Any) -> Network:
    return Network(*layers, shape=3, loss=SquaredError())


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_at_once(name: str):
    make, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message) as caught:
        make()
    assert caught.value.do


def test_what_a_network_learned_is_written_and_read(tmp_path: Any):
    one, other = small(), small(seed=9)
    one.save(tmp_path / "net.safetensors")
    arrays = dict(other.parameters)
    other.load(tmp_path / "net.safetensors")
    for name, value in one.parameters.items():
        np.testing.assert_array_equal(other.parameters[name], value)
        assert other.parameters[name] is arrays[name]
    with pytest.raises(InputRefused, match="of another network"):
        Network(Dense(2), shape=3, loss=SquaredError()).load(tmp_path / "net.safetensors")


@pytest.mark.parametrize("base", [Layer, Loss, Optimiser])
def test_what_lacks_its_one_method_cannot_be_made(base: type):
    lacking: Any = type("Lacking", (base,), {})
    with pytest.raises(TypeError, match="abstract"):
        lacking(rate=0.1) if base is Optimiser else lacking()


def test_activations_are_the_outputs_of_all_layers_at_test_time():
    x = rng.normal(size=(6, 3))
    network = Network(Dense(4), BatchNorm(), ReLU(), Dropout(0.5), Dense(2), shape=3, loss=SquaredError())
    found = network.activations(x)
    assert list(found) == ["dense_1", "batch_norm_1", "relu_1", "dropout_1", "dense_2"]
    first = x @ network.parameters["dense_1.weight"] + network.parameters["dense_1.bias"]
    assert np.allclose(found["dense_1"], first)
    assert np.allclose(found["dropout_1"], np.maximum(first / np.sqrt(1 + 1e-5), 0))
    assert np.allclose(found["dense_2"], network.predict(x))


def test_gradients_are_those_of_a_training_step():
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    network = Network(
        Dense(4), Dropout(0.5), Dense(2), shape=3, loss=SquaredError(), regulariser=L2(0.1), seed=2
    )
    value, gradients = network.gradients(x, y, seed=5)
    assert network.gradients(x, y, seed=5)[0] == value != network.gradients(x, y, seed=6)[0]

    def moved(change: float) -> float:
        other = {name: array + change * gradients[name] for name, array in network.parameters.items()}
        return float(network.objective(other, network.statistics, x, y, np.int64(5))[0])

    assert value == pytest.approx(moved(0.0), rel=1e-12)
    squares = sum(float(np.square(gradient).sum()) for gradient in gradients.values())
    assert (moved(1e-5) - moved(-1e-5)) / 2e-5 == pytest.approx(squares, rel=1e-6)


def test_a_layers_own_regulariser_replaces_the_networks():
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))

    def loss(**options: Any) -> tuple[float, dict[str, np.ndarray]]:
        network = Network(
            Dense(4, regulariser=options.pop("own", None)), Dense(2), shape=3, loss=SquaredError(), **options
        )
        return network.gradients(x, y)[0], network.parameters

    plain, parameters = loss()
    first, second = parameters["dense_1.weight"], parameters["dense_2.weight"]
    assert loss(regulariser=L2(0.2))[0] == pytest.approx(
        plain + 0.1 * (np.square(first).sum() + np.square(second).sum()), rel=1e-12
    )
    assert loss(own=L1(0.3))[0] == pytest.approx(plain + 0.3 * abs(first).sum(), rel=1e-12)
    assert loss(own=L1(0.3), regulariser=L2(0.2))[0] == pytest.approx(
        plain + 0.3 * abs(first).sum() + 0.1 * np.square(second).sum(), rel=1e-12
    )


def test_a_layer_that_nobody_takes_is_refused():
    with pytest.raises(ArgumentError, match="no layer takes the output of layer unused"):
        Network(
            Dense(4), Dense(4, name="unused"), Dense(2, inputs=("dense_1",)), shape=3, loss=SquaredError()
        )


@pytest.mark.parametrize("given", [-1, 1.5, True, None])
def test_what_is_no_seed_is_refused(given):
    with pytest.raises(ArgumentError, match="is no seed"):
        Network(Dense(4), shape=3, loss=SquaredError(), seed=given)


def test_what_is_no_loss_is_refused():
    name: Any = "SquaredError"
    with pytest.raises(ArgumentError, match="is no loss"):
        Network(Dense(4), shape=3, loss=name)


def test_wide_outputs_are_evaluated_few_at_a_time():
    wide = Network(Dense(2**23), Dense(1, bias=False), shape=1, loss=SquaredError(), dtype="float32")
    assert [len(part) for part in wide._chunks(np.zeros((9, 1)))] == [4, 4, 1]
    assert [len(part) for part in small()._chunks(np.zeros((513, 3)))] == [512, 1]


def test_the_kernels_of_a_network_know_all_shapes_but_the_batch():
    network = small()
    source = network.step.inspect(Momentum(0.1), 16).source
    assert "x: f64[batch, 3]" in source
    assert "_n0" not in source


def test_the_graph_of_a_network_is_its_layers():
    network = Network(
        Dense(4, name="first"),
        Dense(4, name="second"),
        Add(inputs=("first", "second")),
        Dense(2, name="last"),
        shape=3,
        loss=SquaredError(),
    )
    graph = network.graph().graph
    assert [node.label for node in graph.nodes] == [
        "input", "Dense(4)", "Dense(4)", "Add()", "Dense(2)", "output",
    ]  # fmt: skip
    assert [(wire.source, wire.target, wire.type) for wire in graph.wires] == [
        ("input", "first", "3"),
        ("first", "second", "4"),
        ("first", "add_1", "4"),
        ("second", "add_1", "4"),
        ("add_1", "last", "4"),
        ("last", "output", "2"),
    ]
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    found = {(wire.source, wire.target): wire for wire in network.graph(x, y).graph.wires}
    assert np.allclose(found["last", "output"].value, network.predict(x))
    signals = network.signals(x, y)
    assert np.array_equal(found["add_1", "last"].gradient, signals.output_gradients["add_1"])
    assert found["first", "add_1"].gradient is None  # it is a part of the sum
    assert "<svg" in network.graph(x, y).svg
