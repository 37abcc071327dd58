"""Layers, losses and optimisers compile for devices of every capability, although none is here."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from tests.cuda.assembled import CAPABILITIES, check_ptx, on_device, source_of
from tests.cuda.networks import LAYERS, LOSSES, OPTIMISERS, inputs_of
from tests.unit.nn.applied import random_arrays

from gradc import differentiate, nn
from gradc.nn.files import kinds
from gradc.nn.layer import Context

pytestmark = [
    pytest.mark.ptx,
    pytest.mark.filterwarnings("ignore:.* does not depend on"),
]
DTYPES = ("float64", "float32")
OTHERS = (  # layers that no network file has, and one that takes integers
    (nn.Function(lambda x: x[:, ::2] * x[:, 1::2]), ((6,),)),
    (nn.Embedding(4, 2), ((3,),)),
)
REGULARISERS = (nn.L1(0.1), nn.L2(0.1), nn.Elastic(0.1, 0.2))
USUAL = (nn.LayerNorm, nn.BatchNorm, nn.MaxPool)  # layers that are compiled every time


def named(parts: Sequence[Any], usual: Sequence[type]) -> Iterator[Any]:
    """Every part for every capability, and in both dtypes; the `usual` ones run every time, for one of them."""
    seen: set[type] = set()
    for (at, part), (turn, where) in itertools.product(enumerate(parts), enumerate(CAPABILITIES)):
        dtype = DTYPES[(at + turn) % 2]
        first = part[0] if isinstance(part, tuple) else part
        marks = () if type(first) in usual and type(first) not in seen else pytest.mark.full
        seen.add(type(first))
        name = str(first).partition("(")[0]
        yield pytest.param(part, dtype, where, id=f"{name}-{dtype}-{where}", marks=marks)


def test_every_type_is_here():
    layers = {type(layer).__name__ for layer, _ in (*LAYERS, *OTHERS)}
    assert layers == {*kinds.LAYERS.types, "Function"}
    assert {type(loss).__name__ for loss in LOSSES} == set(kinds.LOSSES.types)
    assert {type(optimiser).__name__ for optimiser in OPTIMISERS} == set(kinds.OPTIMISERS.types)


@pytest.mark.parametrize(("case", "dtype", "capability"), list(named((*LAYERS, *OTHERS), USUAL)))
def test_layers(case: tuple[nn.Layer, tuple[tuple[int, ...], ...]], dtype: str, capability: tuple[int, int]):
    layer, shapes = case
    inputs: Any = [x.astype(dtype) for x in inputs_of(shapes)]
    noise = inputs[0]
    if isinstance(layer, nn.Embedding):
        inputs = [np.abs(x).astype(np.int64) for x in inputs]
    arrays = random_arrays(layer, *shapes, dtype=dtype)

    def weighed(arrays: Any, inputs: Any, noise: Any) -> Any:
        context = Context(arrays, True, lambda like: noise)
        return (layer.apply(context, *inputs) ** 2).sum()

    varied = {"arrays": bool(arrays), "inputs": not isinstance(layer, nn.Embedding)}
    function = differentiate(
        weighed, wrt=[name for name, is_varied in varied.items() if is_varied], target="cuda"
    )
    assert check_ptx(source_of(function, arrays, inputs, noise), capability)


def network_of(dtype: str, loss: nn.Loss, **more: Any) -> nn.Network:
    return nn.Network(nn.Dense(4, **more), nn.ReLU(), nn.Dense(3), shape=4, loss=loss, dtype=dtype)


def check_step(network: nn.Network, optimiser: nn.Optimiser, capability: tuple[int, int]) -> None:
    variant, derivation = network.step.derivation(optimiser, 16)
    assert check_ptx(on_device(variant, derivation), capability) > 3


@pytest.mark.parametrize(("loss", "dtype", "capability"), list(named(LOSSES, ())))
def test_losses(loss: nn.Loss, dtype: str, capability: tuple[int, int]):
    check_step(network_of(dtype, loss), nn.GradientDescent(0.1), capability)


@pytest.mark.parametrize(("optimiser", "dtype", "capability"), list(named(OPTIMISERS, (nn.AdamW,))))
def test_optimisers(optimiser: nn.Optimiser, dtype: str, capability: tuple[int, int]):
    check_step(network_of(dtype, nn.SoftmaxCrossEntropy()), optimiser, capability)


@pytest.mark.parametrize(("regulariser", "dtype", "capability"), list(named(REGULARISERS, ())))
def test_regularisers(regulariser: nn.Regulariser, dtype: str, capability: tuple[int, int]):
    network = network_of(dtype, nn.SquaredError(), regulariser=regulariser)
    check_step(network, nn.Momentum(0.1, clip_norm=1.0), capability)
