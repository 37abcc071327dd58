"""The training step of a network, before it is machine code."""

import re
from typing import Any

import numpy as np
import psutil
import pytest

from gradc import nn
from gradc.errors import ArgumentError, InputRefused
from gradc.explain.kernels.fusion import fusion
from gradc.ir.index.nodes import outputs_of
from gradc.ir.index.show import show_equation
from gradc.nn.step import Step, arguments_of, batch_of, slots_of
from gradc_runtime import numba_backend

rng = np.random.default_rng(4)


def network(**changes: Any) -> nn.Network:
    options = {"shape": 4, "loss": nn.SoftmaxCrossEntropy(), "dtype": "float32", **changes}
    return nn.Network(nn.Dense(6), nn.BatchNorm(), nn.Dropout(0.1), nn.Dense(3), **options)


@pytest.fixture
def no_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("machine code was made")

    monkeypatch.setattr(numba_backend, "compile_kernel", refuse)


def test_the_kernel_shown_is_the_one_that_trains():
    net, optimiser = network(), nn.Momentum(0.1, clip_norm=1.0)
    x, y = rng.normal(size=(20, 4)), rng.integers(0, 3, 20)
    step: Any = nn.Training(net, optimiser, x, y, batch=8).bound(8)[0]
    bound = step.inspect()
    shown = Step(net).inspect(optimiser, batch=8)
    assert shown.source == bound.source
    assert shown.workspace == bound.workspace


@pytest.mark.usefixtures("no_machine_code")
def test_all_that_is_not_machine_code_is_shown_without_any():
    shown = Step(network()).inspect(nn.Adam(), batch=8)
    stages = (
        "program",
        "schedule",
        "fusion",
        "kernels",
        "source",
        "residuals",
        "counts",
        "workspace",
        "timings",
    )
    for stage in stages:
        assert shown.stage(stage)
    for name in ("dense_1_weight", "statistics_batch_norm_1_mean", "slots_dense_1_bias_first_moment"):
        assert f"inout {name if name.startswith('s') else f'parameters_{name}'}" in shown.kernels
    with pytest.raises(AssertionError, match="machine code was made"):
        shown.stage("asm")


CONVOLUTIONAL: dict[str, list[nn.Layer]] = {
    "dense": [nn.Conv2D(4, 3, padding="same"), nn.ReLU(), nn.MaxPool(2), nn.Flatten(), nn.Dense(3)],
    "pointwise": [nn.Conv2D(6, 1), nn.BatchNorm(), nn.ReLU(), nn.GlobalAvgPool(), nn.Dense(3)],
    "separable": [
        *(nn.Conv2D(4, 3, padding="same"), nn.BatchNorm(), nn.ReLU(), nn.MaxPool(3, stride=2)),
        *(nn.Conv2D(4, 3, padding="same", groups=4, bias=False), nn.BatchNorm(), nn.ReLU()),
        *(nn.Conv2D(8, 1, bias=False), nn.BatchNorm(), nn.ReLU(), nn.GlobalAvgPool(), nn.Dense(3)),
    ],
}


@pytest.mark.usefixtures("no_machine_code")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("optimiser", [nn.Momentum(0.1), nn.Adam()], ids=["momentum", "adam"])
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_forward_and_backward_share_loops_as_in_value_and_grad(
    name: str, optimiser: nn.Optimiser, channels: int
):
    net = nn.Network(*CONVOLUTIONAL[name], shape=(channels, 8, 8), loss=nn.SoftmaxCrossEntropy())
    step = Step(net).inspect(optimiser, batch=4).stages
    arguments = (net.parameters, net.statistics, *batch_of(net, 4), np.int64(0))
    alone = net.objective_function.at(*arguments).inspect("value_and_grad").stages
    gradients = set(alone.optimised.outputs[-len(net.parameters) :])  # here they are no results
    gradients |= {f"{gradient}_wide" for gradient in gradients}
    pairs = list(zip(step.optimised.equations, alone.optimised.equations, strict=False))
    assert len(pairs) == len(alone.optimised.equations)
    names = {outputs_of(ours)[0]: outputs_of(theirs)[0] for ours, theirs in pairs}
    for ours, theirs in pairs:
        if not gradients.intersection(outputs_of(theirs)):
            renamed = re.sub(r"\w+", lambda name: names.get(name[0], name[0]), show_equation(ours))
            assert renamed == show_equation(theirs)
    groups = [{names.get(made) for made in group.tensors} - gradients - {None} for group in fusion(step)]
    wanted = [set(group.tensors) - gradients for group in fusion(alone)]
    assert [group for group in groups if group] == [group for group in wanted if group]


def test_other_optimisers_have_other_kernels():
    net = network()
    assert "velocity" in Step(net).inspect(nn.Momentum(0.1)).source
    assert "velocity" not in Step(net).inspect(nn.GradientDescent(0.1)).source


@pytest.mark.usefixtures("no_machine_code")
def test_a_large_batch_takes_no_memory():
    net = nn.Network(nn.Dense(2), shape=1024, loss=nn.SquaredError())
    Step(net).inspect(batch=4)
    before = psutil.Process().memory_info().rss
    shown = Step(net).inspect(batch=2**17)
    assert shown.stages.kernel.parameters
    assert psutil.Process().memory_info().rss - before < 2**28  # of 1 GiB


def test_slots_are_zeros_of_each_parameter():
    net = network()
    slots = slots_of(net.parameters, nn.Adam())
    assert len(slots) == 2 * len(net.parameters)
    found = slots["dense_1.weight.second_moment"]
    assert found.shape == (4, 6)
    assert found.dtype == np.float32
    assert not found.any()
    assert slots_of(net.parameters, nn.GradientDescent(0.1)) == {}


def test_a_step_takes_the_arrays_of_the_network_themselves():
    net = network()
    found = arguments_of(net, {}, *batch_of(net, 5))
    assert found.parameters is net.parameters
    assert found.statistics is net.statistics
    assert found.control.dtype == net.dtype
    assert found.key.dtype == np.int64


LAYERS_AND_BATCHES = [
    ((nn.Dense(3),), {"loss": nn.SoftmaxCrossEntropy()}, (np.float64, (5, 4)), (np.int64, (5,))),
    (
        (nn.Dense(3),),
        {"loss": nn.SquaredError(), "dtype": "float32"},
        (np.float32, (5, 4)),
        (np.float32, (5, 3)),
    ),
    (
        (nn.Embedding(7, 3), nn.Dense(6)),
        {"loss": nn.SoftmaxCrossEntropy()},
        (np.int64, (5, 4)),
        (np.int64, (5, 4)),
    ),
]


@pytest.mark.parametrize(("layers", "options", "x", "y"), LAYERS_AND_BATCHES)
def test_a_batch_is_what_training_makes_of_data(layers: Any, options: Any, x: Any, y: Any):
    net = nn.Network(*layers, shape=4, **options)
    found = batch_of(net, 5)
    assert [(array.dtype, array.shape) for array in found] == [x, y]
    data = net.data_of(np.zeros(x[1], np.int64), np.zeros(y[1], np.int64))
    assert [(array.dtype, array.shape) for array in data] == [x, y]


@pytest.mark.parametrize("batch", [0, -1, 2.0, True])
def test_what_is_no_number_of_examples_is_refused(batch: Any):
    with pytest.raises(ArgumentError, match="is no number of examples"):
        Step(network()).inspect(batch=batch)


@pytest.mark.parametrize("batch", [2**58, 2**70])
def test_a_batch_that_no_memory_holds_is_refused(batch: int):
    with pytest.raises(InputRefused, match="fits no memory"):
        batch_of(network(), batch)


def test_a_batch_of_one_has_a_kernel_too():
    net = nn.Network(nn.Dense(2), shape=3, loss=nn.SquaredError())
    assert "Updated" in Step(net).inspect(batch=1).source
