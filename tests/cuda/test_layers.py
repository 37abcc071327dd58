"""Layers, losses and optimisers with kernels of a GPU: what the interpreter gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.cuda.networks import LAYERS, LOSSES, OPTIMISERS, inputs_of
from tests.unit.nn.applied import apply

import gradc
from gradc import nn
from gradc.nn.files import kinds
from gradc.nn.step import UPDATED, arguments_of, slots_of

pytestmark = [pytest.mark.simulator, pytest.mark.cuda]


def test_every_type_is_here():
    found = {type(layer).__name__ for layer, _ in LAYERS} | {"Embedding"}
    assert found == set(kinds.LAYERS.types)
    assert {type(loss).__name__ for loss in LOSSES} == set(kinds.LOSSES.types)
    assert {type(optimiser).__name__ for optimiser in OPTIMISERS} == set(kinds.OPTIMISERS.types)


def close(found: Any, wanted: Any) -> None:
    scale = max(1.0, float(np.abs(wanted).max(initial=0)))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-11 * scale)


@pytest.mark.parametrize(("layer", "shapes"), LAYERS, ids=lambda part: str(part).partition("(")[0])
def test_a_layer(layer: nn.Layer, shapes: tuple[tuple[int, ...], ...]):
    given = inputs_of(shapes)
    found, wanted = (apply(layer, *given, check=False, target=t) for t in ("cuda", "interpret"))
    close(found.value, wanted.value)
    for name, gradient in wanted.gradients[0].items():
        close(found.gradients[0][name], gradient)
    for one, two in zip(found.gradients[1], wanted.gradients[1], strict=True):
        close(one, two)


def test_an_embedding():
    rows = np.array([[1, 3, 1], [0, 2, 3]])
    found, wanted = (
        apply(nn.Embedding(4, 2), rows, check=False, target=target) for target in ("cuda", "interpret")
    )
    close(found.value, wanted.value)
    close(found.gradients[0]["weight"], wanted.gradients[0]["weight"])


def targets_of(loss: nn.Loss, prediction: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if loss.target_kind == "labels":
        shape = loss.counted(prediction.shape)
        return rng.integers(0, 2, shape)
    kept = rng.uniform(0.2, 0.8, prediction.shape)
    return kept / kept.sum(axis=-1, keepdims=True)


SLOW = [  # the processor's steps take seconds to compile
    pytest.param(o, id=type(o).__name__, marks=() if type(o) is nn.Adam else pytest.mark.full)
    for o in OPTIMISERS
]


@pytest.mark.parametrize("optimiser", SLOW)
def test_steps_keep_everything_on_the_device(optimiser: nn.Optimiser):
    """Two steps of training on the device give the parameters that the processor computes."""
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(4, 3)), rng.integers(0, 2, 4)
    found = []
    for target in ("cuda", "cpu"):
        network = nn.Network(
            nn.Dense(4), nn.Tanh(), nn.Dense(2), shape=3, loss=nn.SoftmaxCrossEntropy(), seed=2
        )
        arguments = arguments_of(network, slots_of(network.parameters, optimiser), x, y)
        arguments.control[:] = 0.1, 1
        step = network.step_function(optimiser).with_options(target=target)
        given = gradc.to_device(tuple(arguments)) if target == "cuda" else arguments
        update = step.bind_update(*given, updates=UPDATED)
        losses = [float(update()) for _ in range(2)]
        parameters: Any = given[0]
        if target == "cuda":
            parameters = {name: array.copy_to_host() for name, array in parameters.items()}
        found.append((losses, parameters))
    (losses, parameters), (wanted, others) = found
    np.testing.assert_allclose(losses, wanted, rtol=1e-12)
    for name, array in others.items():
        np.testing.assert_allclose(parameters[name], array, rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_a_loss(loss: nn.Loss):
    rng = np.random.default_rng(6)
    network = nn.Network(nn.Dense(3), shape=4, loss=loss, seed=1)
    x = rng.normal(size=(5, 4))
    y = targets_of(loss, np.zeros((5, 3)), rng)
    arguments = (network.parameters, network.statistics, x, np.ascontiguousarray(y), np.int64(0))
    on_device = network.objective_function.with_options(target="cuda")
    (value, _), gradients = on_device.value_and_grad(*arguments)
    slow = network.objective_function.with_options(target="interpret")
    (wanted, _), others = slow.value_and_grad(*arguments)
    assert float(value) == pytest.approx(float(wanted), rel=1e-12)
    for name, gradient in others.items():
        close(gradients[name], gradient)
