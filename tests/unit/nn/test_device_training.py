"""Training on a GPU, on a machine without one: what is refused, and what is planned."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.unit.command.support import gradc as run

from gradc import nn, pipeline
from gradc.errors import ArgumentError, DeviceError
from gradc.nn.memory import DevicePlan, plan
from gradc_runtime import cuda_errors

X, Y = np.ones((7, 4)), np.zeros(7, np.int64)


def network(**changes: Any) -> nn.Network:
    options = {"shape": 4, "loss": nn.SoftmaxCrossEntropy(), "dtype": "float32", **changes}
    return nn.Network(nn.Dense(8), nn.BatchNorm(), nn.ReLU(), nn.Dense(3), **options)


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be no driver, and nothing that compiles."""
    pytest.importorskip("numba_cuda", reason="pip install gradc[cuda]")
    from gradc_runtime import cuda_driver  # noqa: PLC0415  (the compiler for CUDA)

    def count() -> int:
        raise cuda_errors.no_driver("no libcuda.so")

    monkeypatch.setattr(cuda_driver, "count", count)
    forbid_compiling(monkeypatch)


def forbid_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_program(*arguments: Any) -> None:
        raise AssertionError("something was compiled")

    monkeypatch.setattr(pipeline, "compile_program", compile_program)
    monkeypatch.setattr("gradc.api.variant.compile_program", compile_program)


def unchanged(found: nn.Network) -> bool:
    fresh = network()
    return all((array == fresh.parameters[name]).all() for name, array in found.parameters.items())


@pytest.mark.usefixtures("no_driver")
def test_without_a_driver_nothing_is_compiled_or_changed(tmp_path: Path):
    found = network()
    with pytest.raises(DeviceError, match="no CUDA driver") as caught:
        found.fit(X, Y, optimiser=nn.Adam(), target="cuda", checkpoint=tmp_path / "a")
    assert caught.value.where == "training"
    assert "NUMBA_ENABLE_CUDASIM" in caught.value.do
    assert unchanged(found)
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_nothing_is_compiled_or_changed(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise cuda_errors.package_missing("it is not installed")

    monkeypatch.setattr("gradc.nn.gpu.importlib", SimpleNamespace(import_module=missing))
    forbid_compiling(monkeypatch)
    found = network()
    with pytest.raises(DeviceError, match="numba-cuda") as caught:
        found.fit(X, Y, optimiser=nn.Adam(), target="cuda")
    assert "pip install" in caught.value.do
    assert unchanged(found)


@pytest.mark.parametrize("target", ["tpu", "interpret", ""])
def test_other_targets_are_refused(target: str, monkeypatch: pytest.MonkeyPatch):
    forbid_compiling(monkeypatch)
    found = network()
    with pytest.raises(ArgumentError, match=f"target={target!r} trains no network") as caught:
        found.fit(X, Y, optimiser=nn.Adam(), target=target)
    assert caught.value.do == "give one of 'cpu', 'cuda'"
    assert unchanged(found)


@pytest.mark.parametrize(
    ("products", "what"), [("cublas", "products='cublas' is for GPUs"), ("blas", "nobody called 'blas'")]
)
def test_other_products_are_refused(products: str, what: str, monkeypatch: pytest.MonkeyPatch):
    forbid_compiling(monkeypatch)
    found = network()
    with pytest.raises(ArgumentError, match=what):
        found.fit(X, Y, optimiser=nn.Adam(), products=products)
    with pytest.raises(ArgumentError, match=what):
        found.step.inspect(products=products)
    with pytest.raises(ArgumentError, match=what):
        plan(found, products=products)
    assert unchanged(found)


@pytest.mark.parametrize("report", [0, -1, 2.5, True])
def test_a_report_is_a_number_of_steps(report: Any):
    with pytest.raises(ArgumentError, match=r"report=\S+ is no number of steps"):
        network().fit(X, Y, optimiser=nn.Adam(), report=report)


def test_a_report_changes_nothing_on_the_processor():
    losses = []
    for report in (None, 2):
        training = nn.Training(network(), nn.GradientDescent(0.1), X, Y, batch=4)
        training.report = report
        losses.append(list(training.batches()))
    assert losses[0] == losses[1]
    assert len(losses[0]) == 2


def test_a_plan_says_what_lies_on_the_device():
    pytest.importorskip("numba_cuda", reason="pip install gradc[cuda]")
    found = plan(network(), nn.Adam(), 32, (np.zeros((100, 4), np.float32), np.zeros(100, int)), "cuda")
    parameters, statistics = 4 * (4 * 8 + 8 + 8 + 8 + 8 * 3 + 3), 4 * (8 + 8)
    assert isinstance(found, DevicePlan)
    assert (found.parameters, found.statistics, found.slots) == (parameters, statistics, 2 * parameters)
    assert (found.beginning, found.best) == (found.slots, 0)
    assert found.batch == 32 * (4 * 4 + 8)
    assert found.examples == 100 * (4 * 4 + 8 + 8)
    text = network().step.inspect(nn.Adam(), 32, target="cuda").workspace
    assert f"{found.temporaries} bytes at once" in text
    assert str(found).startswith("in the memory of the GPU:\n")
    assert f"optimiser slots                 {2 * parameters} bytes" in str(found)


def test_a_plan_counts_arrays_behind_a_reshape():
    pytest.importorskip("numba_cuda", reason="pip install gradc[cuda]")
    found = nn.Network(
        *(nn.Conv2D(8, 3), nn.Flatten(), nn.Dense(10)), shape=(3, 8, 8), loss=nn.SquaredError()
    )
    one, two = (plan(found, nn.Momentum(0.1), batch, target="cuda").temporaries for batch in (16, 32))
    assert two - one >= 16 * 8 * (8 * 6 * 6 + 10)


def test_batches_are_made_by_kernels_that_compile():
    pytest.importorskip("numba_cuda", reason="pip install gradc[cuda]")
    from gradc_runtime import cuda_backend, cuda_feed  # noqa: PLC0415  (the compiler for CUDA)

    if cuda_backend.SIMULATED:
        pytest.skip("NUMBA_ENABLE_CUDASIM is set")
    for kernel in (cuda_feed._fill("float32", "int64", "float32"), cuda_feed.noted.of("float32")):
        assert ".visible .entry" in kernel.ptx((8, 0))


# --- the command --------------------------------------------------------------------------------------------

NET = """\
[network]
shape = 4
loss = "SoftmaxCrossEntropy"

[[layer]]
type = "Dense"
units = 3

[training]
optimiser = { type = "Momentum", rate = 0.1 }
epochs = 1
batch = 3
"""


def trained(folder: Path, target: str) -> Any:
    spec, data = folder / "net.toml", folder / "data.npz"
    spec.write_text(NET)
    np.savez(data, x=X, y=Y)
    return run("train", str(spec), "--data", str(data), "--out", str(folder / "run"), "--target", target)


@pytest.mark.usefixtures("no_driver")
def test_the_command_without_a_driver_writes_nothing(tmp_path: Path):
    ran = trained(tmp_path, "cuda")
    assert ran.code == 2
    assert "no CUDA driver" in ran.err
    assert not (tmp_path / "run").exists()


def test_the_command_refuses_other_targets(tmp_path: Path):
    ran = trained(tmp_path, "tpu")
    assert ran.code == 2
    assert "target='tpu' trains no network" in ran.err
    assert not (tmp_path / "run").exists()
