"""Trainings whose steps have their products of matrices by cuBLAS, for which a stand-in takes the place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cuda.blas_stand_in import StandIn, installed, removed

from gradc import nn
from gradc.errors import DeviceError, InputRefused
from gradc.nn.memory import plan

rng = np.random.default_rng(4)
X, Y = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
MOMENTUM = nn.Momentum(0.1)


def small() -> nn.Network:
    return nn.Network(nn.Dense(4), nn.Tanh(), nn.Dense(2), shape=3, loss=nn.SquaredError(), seed=1)


def training(target: str = "cuda", products: str = "cublas") -> nn.Training:
    return nn.Training(small(), MOMENTUM, X, Y, batch=3, seed=2, target=target, products=products)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return installed(monkeypatch)


@pytest.fixture
def nothing_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_program(*arguments: Any) -> None:
        raise AssertionError("something was compiled")

    monkeypatch.setattr("gradc.api.variant.compile_program", compile_program)


@pytest.mark.simulator
def test_training_is_that_of_the_processor(library: StandIn):
    found = []
    for target, products in (("cuda", "cublas"), ("cpu", "own")):
        network = small()
        options: dict[str, Any] = {"epochs": 2, "batch": 3, "seed": 2, "target": target, "products": products}
        history = network.fit(X, Y, optimiser=MOMENTUM, **options)
        found.append(([epoch.loss for epoch in history.epochs], network.parameters))
    (losses, one), (wanted, two) = found
    # Of both layers the output and the gradient of the weights, of the second one also that of its input.
    assert library.calls == ["dgemm"] * (5 * 2 * 2)  # in two steps an epoch
    assert losses == pytest.approx(wanted, rel=1e-12)
    for name, array in two.items():
        np.testing.assert_allclose(one[name], array, rtol=1e-11, atol=1e-13, err_msg=name)


@pytest.mark.cuda
def test_training_by_the_library_is_that_of_the_processor():
    pytest.importorskip("nvmath")
    one, two = training(), training("cpu", "own")
    assert one.epoch().loss == pytest.approx(two.epoch().loss, rel=1e-12)
    for name, array in two.network.parameters.items():
        np.testing.assert_allclose(one.network.parameters[name], array, rtol=1e-11, atol=1e-13, err_msg=name)


@pytest.mark.simulator
def test_the_handle_of_a_training_is_there_from_its_beginning(library: StandIn):
    found = training()
    assert (list(library.handles), library.calls) == ([1000], [])
    found.epoch()
    assert set(library.streams) == {(1000, 0)}


@pytest.mark.simulator
def test_a_checkpoint_goes_on_with_the_products_it_began_with(library: StandIn, tmp_path: Path):
    first, second = training(), training()
    first.epoch()
    first.save(tmp_path / "a")
    second.restore(tmp_path / "a")
    with pytest.raises(InputRefused, match="of another training") as caught:
        training(products="own").restore(tmp_path / "a")
    assert "products" in caught.value.why


def no_binding(monkeypatch: pytest.MonkeyPatch) -> None:
    removed(monkeypatch)


def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch).no_handle = [RuntimeError("Failure finding libcublas.so")]


@pytest.mark.simulator
@pytest.mark.parametrize(
    ("missing", "what"), [(no_binding, "need nvmath-python"), (no_library, "need the library cuBLAS")]
)
def test_without_the_library_nothing_is_compiled_or_changed(
    missing: Callable[[pytest.MonkeyPatch], None],
    what: str,
    monkeypatch: pytest.MonkeyPatch,
    nothing_compiled: None,
    tmp_path: Path,
):
    missing(monkeypatch)
    network, fresh = small(), small()
    with pytest.raises(DeviceError, match=what) as caught:
        network.fit(X, Y, optimiser=MOMENTUM, target="cuda", products="cublas", checkpoint=tmp_path / "a")
    assert caught.value.where == "training"
    assert "pip install 'gradc[cublas]'" in caught.value.do
    assert all((array == fresh.parameters[name]).all() for name, array in network.parameters.items())
    assert list(tmp_path.iterdir()) == []


def test_the_step_can_be_looked_at_and_planned_without_the_library():
    step = small().step
    own, by_library = (step.inspect(MOMENTUM, 3, target="cuda", products=who) for who in ("own", "cublas"))
    assert "cuda_blas" in by_library.source
    assert "cuda_blas" not in own.source
    found, other = (plan(small(), MOMENTUM, 3, target="cuda", products=who) for who in ("cublas", "own"))
    assert f"{found.temporaries} bytes at once" in by_library.workspace
    assert found.temporaries > other.temporaries  # what follows a product reads it from memory
    variant, derivation = step.derivation(MOMENTUM, 3, target="cuda", products="cublas")
    assert variant.compiled(derivation).source == by_library.source
