"""What each layer costs: operations and memory belong to the layer that causes them."""

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from gradc import nn
from gradc.errors import ArgumentError
from gradc.explain.kernels.counts import equation_costs
from gradc.explain.kernels.residuals import residuals
from gradc.ir import extents
from gradc.ir.loop.sizes import numbers_of
from gradc.nn.layer import Array, Context, Parameter, Shape
from gradc.nn.memory import plan
from gradc.nn.step import batch_of
from gradc.nn.summary import LayerCost, Summary, described, summary
from gradc_runtime import backends, numba_backend

BATCH = 6


@pytest.fixture(autouse=True)
def no_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("machine code was made")

    monkeypatch.setattr(numba_backend, "compile_kernel", refuse)


def network(*layers: nn.Layer, **changes: Any) -> nn.Network:
    return nn.Network(*layers, **{"shape": 7, "loss": nn.SquaredError(), **changes})


def costs(net: nn.Network, batch: int = BATCH) -> dict[str, LayerCost]:
    return {row.name: row for row in summary(net, batch).rows}


# --- dense layers, by hand ----------------------------------------------------------------------------------


def test_a_dense_network_costs_what_its_matrices_say():
    found = costs(network(nn.Dense(5), nn.Function(np.exp), nn.Dense(3)))
    first, exp, last = found["dense_1"], found["function_1"], found["dense_2"]
    assert first.parameters == 7 * 5 + 5
    assert first.forward == 2 * BATCH * 7 * 5 + BATCH * 5
    assert first.backward == 2 * BATCH * 7 * 5 + BATCH * 5  # by the weight and the bias, not by the examples
    assert last.forward == 2 * BATCH * 5 * 3 + BATCH * 3
    assert last.backward == 2 * (2 * BATCH * 5 * 3) + BATCH * 3
    assert exp.forward == 8 * BATCH * 5  # elementary functions weigh 8
    assert exp.backward == BATCH * 5
    assert exp.kept == 8 * BATCH * 5  # read by the last weight's gradient
    assert first.kept == 0  # exp is differentiated by its own value
    assert found["loss"].forward > 0
    assert (first.output, last.output, found["loss"].output) == ((5,), (3,), ())


def test_single_precision_keeps_half():
    double, single = (
        summary(network(nn.Dense(5), nn.Function(np.exp), nn.Dense(3), dtype=dtype), BATCH)
        for dtype in ("float64", "float32")
    )
    assert single.rows[1].kept == double.rows[1].kept / 2
    assert single.parameter_bytes == double.parameter_bytes / 2
    assert single.forward == double.forward


def test_costs_grow_with_the_batch():
    net = network(nn.Dense(5), nn.Function(np.exp), nn.Dense(3))
    six, twelve = costs(net), costs(net, 2 * BATCH)
    for name in ("dense_1", "function_1", "dense_2"):
        assert twelve[name].forward == 2 * six[name].forward
        assert twelve[name].kept == 2 * six[name].kept


def test_a_batch_of_one_has_costs_too():
    assert costs(network(nn.Dense(5)), 1)["dense_1"].forward == 2 * 7 * 5 + 5


# --- everything is counted once -----------------------------------------------------------------------------

NETWORKS = {
    "dense": ((nn.Dense(5), nn.ReLU(), nn.Dense(3)), {}),
    "normalised": ((nn.Dense(5), nn.BatchNorm(), nn.Dropout(0.3), nn.LayerNorm(), nn.Dense(3)), {}),
    "regularised": ((nn.Dense(5), nn.Sigmoid(), nn.Dense(3)), {"regulariser": nn.L2(1e-3)}),
    "convolutions": (
        (nn.Conv2D(4, 3, padding=1), nn.ReLU(), nn.MaxPool(2), nn.Flatten(), nn.Dense(3)),
        {"shape": (2, 8, 8), "loss": nn.SoftmaxCrossEntropy(), "dtype": "float32"},
    ),
    "words": (
        (nn.Embedding(9, 4), nn.Attention(2), nn.Dense(9)),
        {"shape": 7, "loss": nn.SoftmaxCrossEntropy()},
    ),
    "skip": (
        (nn.Dense(7, name="inside"), nn.Tanh(), nn.Dense(7), nn.Add(inputs=("inside", "dense_2"))),
        {},
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_operation_and_every_array_has_one_layer(name: str):
    layers, options = NETWORKS[name]
    net = network(*layers, **options)
    x, y = batch_of(net, BATCH)
    at = net.objective_function.at(net.parameters, net.statistics, x, y, np.int64(0))
    stages = at.inspect().stages
    numbers = numbers_of(stages.kernel, at.program_and_inputs()[1], backends.parts_of())
    numbers["threads"] = backends.threads()
    operations = sum(extents.evaluate(c.operations, numbers) for c in equation_costs(stages.optimised))
    arrays = {row.array: extents.evaluate(row.size, numbers) for row in residuals(stages) if row.array}
    found = summary(net, BATCH)
    assert found.forward + found.backward == operations
    assert found.kept == sum(arrays.values())
    assert all(row.forward >= 0 and row.backward >= 0 for row in found.rows)
    assert [row.name for row in found.rows] == [*(node.name for node in net.nodes), "loss"]


def test_totals_are_those_of_network_and_plan():
    net = network(nn.Dense(5), nn.Dense(3))
    found = summary(net, 20, nn.Momentum(0.1))
    assert found.parameters == net.size
    assert found.parameter_bytes == 8 * net.size
    assert found.peak == plan(net, nn.Momentum(0.1), 20).step
    assert found.batch == 20


# --- whose is it? -------------------------------------------------------------------------------------------


def test_the_gradient_of_a_layer_in_front_of_a_sum_belongs_to_the_layer():
    layers = (
        nn.Conv2D(3, 1, bias=False, name="first"),
        nn.ReLU(),
        nn.Conv2D(3, 1, bias=False, name="inside"),
        nn.Add(inputs=("inside", "relu_1")),
        nn.Flatten(),
        nn.Dense(2),
    )
    found = costs(network(*layers, shape=(3, 4, 4), regulariser=nn.L2(0.1)))
    product = 2 * BATCH * 16 * 3 * 3
    assert found["first"].forward == found["inside"].forward == product
    assert found["inside"].backward >= 2 * product
    assert found["add_1"].backward < product
    assert found["flatten_1"].backward == 0
    assert found["add_1"].inputs == ("inside", "relu_1")
    assert found["relu_1"].inputs == ()


@dataclass(frozen=True)
class Positive(nn.Layer):
    """A matrix product with the squares of what is learned."""

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        return {"root": Parameter((*shape, *shape), nn.Ones())}

    def apply(self, context: Context, x: Array) -> Array:
        return x @ np.square(context["root"])


@pytest.mark.parametrize(("inside", "extra"), [(nn.Dense(5, bias=False), 0), (Positive(), 3 * 25)])
def test_gradients_are_added_in_the_first_layer_that_a_tensor_goes_to(inside: nn.Layer, extra: int):
    inside = replace(inside, name="inside")
    layers = (
        nn.Dense(5),
        nn.Function(np.exp),
        inside,
        nn.Add(inputs=("inside", "function_1")),
        nn.Dense(2, name="last"),
    )
    found = costs(network(*layers))
    products = 2 * (2 * BATCH * 5 * 5)
    assert found["inside"].forward == products / 2 + (25 if extra else 0)
    assert products + BATCH * 5 <= found["inside"].backward <= products + BATCH * 5 + extra
    assert found["add_1"].backward == 0
    assert found["last"].backward == 2 * (2 * BATCH * 5 * 2) + BATCH * 2


def test_what_a_regulariser_costs_belongs_to_the_loss():
    plain, heavy = (costs(network(nn.Dense(5), nn.Dense(3), regulariser=r)) for r in (None, nn.L2(0.1)))
    weights = 7 * 5 + 5 * 3
    assert heavy["loss"].forward >= plain["loss"].forward + 2 * weights
    assert heavy["loss"].backward >= plain["loss"].backward + weights
    for name in ("dense_1", "dense_2"):
        assert heavy[name].forward == plain[name].forward
        # the two parts of a gradient are added where the layer has its own
        assert plain[name].backward <= heavy[name].backward <= plain[name].backward + weights


@dataclass(frozen=True)
class Counting(nn.Layer):
    """Updates its statistic after its output is there."""

    def statistics(self, shape: Shape) -> dict[str, Parameter]:
        return {"largest": Parameter(shape, nn.Zeros())}

    def apply(self, context: Context, x: Array) -> Array:
        y = x + x
        if context.training:
            context.update("largest", context["largest"] * np.exp(y).sum(axis=0))
        return y


def test_statistics_belong_to_the_layer_that_keeps_them():
    found = costs(network(nn.Dense(5), Counting(), nn.Dense(3)))
    each = BATCH * 5
    assert found["counting_1"].forward == each + 8 * each + each + 5
    assert found["dense_2"].forward == 2 * BATCH * 5 * 3 + BATCH * 3


def test_the_winners_of_a_pooling_belong_to_the_pooling():
    layers = (nn.Conv2D(4, 3), nn.MaxPool(2), nn.Flatten(), nn.Dense(3))
    found = costs(network(*layers, shape=(2, 10, 10)))
    windows = BATCH * 4 * 4 * 4
    assert found["max_pool_1"].kept >= 4 * windows  # a byte for each pixel of a window
    assert found["flatten_1"].kept == 8 * windows  # read by the gradient of the weight behind it
    assert found["max_pool_1"].backward > 0
    assert found["flatten_1"].backward == 0


def test_a_layer_that_does_nothing_costs_nothing():
    found = costs(network(nn.Dense(5), nn.Dropout(0.0), nn.Dense(3)))["dropout_1"]
    assert (found.forward, found.backward, found.kept) == (0, 0, 0)


def test_what_is_computed_again_costs_nothing():
    layers = (nn.Dense(50), nn.BatchNorm(), nn.ReLU(), nn.Dropout(0.5), nn.Dense(3))
    found = costs(network(*layers))
    assert found["relu_1"].kept == 0
    assert found["dropout_1"].kept == 8 * BATCH * 50  # its output, and not what it drew


# --- AlexNet ------------------------------------------------------------------------------------------------


def conv(channels: int, kernel: int, **options: Any) -> nn.Conv2D:
    return nn.Conv2D(channels, kernel, initialiser=nn.Zeros(), **options)


def dense(units: int) -> nn.Dense:
    return nn.Dense(units, initialiser=nn.Zeros())


@pytest.fixture(scope="module")
def alexnet() -> nn.Network:
    return nn.Network(
        *(conv(96, 11, stride=4), nn.ReLU(), nn.MaxPool(3, stride=2)),
        *(conv(256, 5, padding=2, groups=2), nn.ReLU(), nn.MaxPool(3, stride=2)),
        *(conv(384, 3, padding=1), nn.ReLU()),
        *(conv(384, 3, padding=1, groups=2), nn.ReLU()),
        *(conv(256, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool(3, stride=2), nn.Flatten()),
        *(dense(4096), nn.ReLU(), nn.Dropout(0.5)),
        *(dense(4096), nn.ReLU(), nn.Dropout(0.5)),
        dense(1000),
        shape=(3, 227, 227),
        loss=nn.SoftmaxCrossEntropy(),
        dtype="float32",
    )


def test_alexnet_costs_what_the_paper_and_the_formula_say(alexnet: nn.Network):
    batch = 64
    found = summary(alexnet, batch)
    assert found.parameters == 60_965_224
    assert found.parameter_bytes == 4 * 60_965_224
    rows = {row.name: row for row in found.rows}
    before: Shape = (3, 227, 227)
    for node in alexnet.nodes:
        if isinstance(node.layer, nn.Conv2D):
            (oc, oh, ow), kernel = node.output, node.layer.windows().sizes[0]
            products = 2 * batch * oc * oh * ow * before[0] // node.layer.groups * kernel * kernel
            biases = batch * oc * oh * ow
            row = rows[node.name]
            assert row.forward == products + biases
            assert row.output == node.output
            # twice: by the weight and by the input; the first one has no gradient by the input
            times = 1 if node.name == "conv2d_1" else 2
            assert times * products <= row.backward <= 1.01 * times * products + 2 * biases
        before = node.output
    kept = 4 * batch * 9216
    assert rows["flatten_1"].kept == kept
    assert found.kept < found.peak


# --- text ---------------------------------------------------------------------------------------------------


def test_a_summary_is_a_table():
    layers = (
        nn.Dense(1000, name="wide"),
        nn.Tanh(),
        nn.Dense(1000, name="deep"),
        nn.Add(inputs=("wide", "deep")),
    )
    lines = str(summary(network(*layers), 50)).splitlines()
    assert lines[0].split() == ["output", "parameters", "forward", "backward", "kept"]
    assert lines[1].startswith("wide                Dense(1000) ")
    assert lines[4].startswith("add_1 (wide, deep)  Add() ")
    assert " 8 000 " in lines[1]
    assert lines[6].startswith("total ")
    assert len({len(line) for line in lines[:7]}) == 1
    assert lines[7].startswith("parameters: 7.7 MiB; peak of a training step: ")
    assert "50 examples" in lines[8]


def test_a_summary_is_json():
    found = summary(network(nn.Dense(5), nn.Dense(3)), BATCH)
    back = json.loads(json.dumps(found.to_dict()))
    assert [row["name"] for row in back["rows"]] == ["dense_1", "dense_2", "loss"]
    assert back["rows"][0]["output"] == [5]
    assert back["forward"] == sum(row["forward"] for row in back["rows"])
    assert back["peak"] == found.peak
    assert Summary(found.rows, BATCH, found.parameter_bytes, found.peak) == found


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Conv2D(32, 3, padding="same"), "Conv2D(32, 3, padding='same')"),
        (nn.Dense(10, name="last", inputs=("first",)), "Dense(10)"),
        (nn.Dense(10, bias=False), "Dense(10, bias=False)"),
        (nn.ReLU(), "ReLU()"),
        (nn.Function(np.tanh), "Function(tanh)"),
        (nn.SoftmaxCrossEntropy(), "SoftmaxCrossEntropy()"),
        (
            nn.Conv2D(32, 3, stride=2, padding=((1, 2), (3, 4))),
            "Conv2D(32, 3, stride=2, padding=((1, 2), ...",
        ),
    ],
)
def test_layers_are_shown_as_they_are_written(layer: Any, text: str):
    assert described(layer) == text


def test_what_is_no_number_of_examples_is_refused():
    with pytest.raises(ArgumentError, match="is no number of examples"):
        summary(network(nn.Dense(5)), 0)
