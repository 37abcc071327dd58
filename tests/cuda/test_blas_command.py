"""The command with products of matrices by cuBLAS: what drives the kernel, which a stand-in for the library serves."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from tests.cuda.blas_stand_in import Failure, StandIn, installed
from tests.unit.command.support import Ran, clean_imports, gradc

pytestmark = pytest.mark.simulator

MODEL = "def loss(x, w):\n    return ((x @ w) ** 2).sum()\n"
AT = ("--at", "x=1,2;0,1", "w=3,1;4,0")
BY_LIBRARY = ("--target", "cuda", "--products", "cublas")
NET = """\
[network]
shape = 3
loss = "SquaredError"

[[layer]]
type = "Dense"
units = 2

[training]
optimiser = { type = "Momentum", rate = 0.1 }
epochs = 1
batch = 3
"""


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return installed(monkeypatch)


def called(folder: Path, verb: str) -> Ran:
    path = folder / "model.py"
    path.write_text(MODEL)
    with clean_imports():
        return gradc(verb, f"{path}:loss", *AT, *BY_LIBRARY, interpret=False)


def test_grad_is_by_the_library(library: StandIn, tmp_path: Path):
    ran = called(tmp_path, "grad")
    assert ran.code == 0, ran.err
    value, gradient = ran.out.split("value = ")[1].split("gradient:")
    assert float(value) == 11**2 + 1**2 + 4**2
    # 2 (x w) w' and 2 x' (x w), of x w = [[11, 1], [4, 0]]
    numbers = [float(number) for number in re.findall(r"-?\d+\.", gradient)]
    assert numbers == [68.0, 88.0, 24.0, 32.0, 22.0, 2.0, 52.0, 4.0]
    assert set(library.calls) == {"dgemm"}


def test_check_drives_the_kernel_with_the_library(library: StandIn, tmp_path: Path):
    ran = called(tmp_path, "check")
    assert ran.code == 0, ran.err + ran.out
    assert "the kernel equals the interpreter" in ran.out
    assert set(library.calls) == {"dgemm"}
    library.failure = Failure("CUBLAS_STATUS_INVALID_VALUE (7)")
    ran = called(tmp_path, "check")
    assert (ran.code, "cuBLAS refuses a product" in ran.err) == (2, True)


def trained(folder: Path) -> Ran:
    rng = np.random.default_rng(4)
    spec, data = folder / "net.toml", folder / "data.npz"
    spec.write_text(NET)
    np.savez(data, x=rng.normal(size=(5, 3)), y=rng.normal(size=(5, 2)))
    return gradc("train", str(spec), "--data", str(data), "--out", str(folder / "run"), *BY_LIBRARY)


def test_train_is_by_the_library(library: StandIn, tmp_path: Path):
    ran = trained(tmp_path)
    assert ran.code == 0, ran.err
    assert library.calls == ["dgemm"] * (2 * 2)  # of two steps; examples have no gradient


def test_without_the_library_training_writes_nothing(tmp_path: Path):
    ran = trained(tmp_path)
    assert (ran.code, "the simulator has no cuBLAS" in ran.err) == (2, True)
    assert not (tmp_path / "run").exists()
