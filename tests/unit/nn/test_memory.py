"""What a training takes is known before it takes it, and what will not fit is refused."""

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from gradc import nn
from gradc.errors import InputRefused
from gradc.nn import memory
from gradc.nn.memory import (
    MemoryPlan,
    available_memory,
    bytes_text,
    plan,
    require_parameters_fit,
)
from gradc.nn.nodes import Node, Placing
from gradc.nn.step import Step
from gradc_runtime import numba_backend

rng = np.random.default_rng(6)


def convnet(**changes: Any) -> nn.Network:
    layers = (nn.Conv2D(8, 3, padding="same"), nn.ReLU(), nn.MaxPool(2), nn.Flatten(), nn.Dense(10))
    return nn.Network(*layers, **{"shape": (3, 16, 16), "loss": nn.SoftmaxCrossEntropy(), **changes})


# --- plans --------------------------------------------------------------------------------------------------


def test_a_plan_counts_every_array():
    net = nn.Network(nn.Dense(5), nn.BatchNorm(), shape=3, loss=nn.SquaredError())
    x, y = np.zeros((100, 3)), np.zeros((100, 5))
    found = plan(net, nn.Adam(), batch=8, examples=(x, y))
    parameters, statistics = 8 * (3 * 5 + 5 + 5 + 5), 8 * (5 + 5)
    assert found.parameters == parameters
    assert found.statistics == statistics
    assert found.slots == 2 * parameters
    assert found.batch == 8 * (8 * 3 + 8 * 5)
    assert found.beginning == 3 * parameters + statistics
    assert found.best == 2 * (parameters + statistics)
    assert found.examples == 8 * (100 * 3 + 100 * 5)
    assert found.step == 3 * parameters + statistics + found.batch + found.temporaries
    assert found.total == found.step + found.beginning + found.best + found.examples


@pytest.mark.parametrize("batch", [16, 64])
def test_temporaries_are_those_of_the_final_kernel(batch: int):
    net = convnet()
    shown = re.search(r"(\d+) bytes at once", Step(net).inspect(nn.Momentum(0.1), batch).workspace)
    assert shown is not None
    assert plan(net, nn.Momentum(0.1), batch).temporaries == int(shown[1])


def test_temporaries_hold_the_activations_of_a_dense_layer():
    net = nn.Network(nn.Dense(300), nn.ReLU(), nn.Dense(1), shape=2, loss=nn.SquaredError())
    one, two = (plan(net, nn.GradientDescent(0.1), batch).temporaries for batch in (1000, 3000))
    activations = 8 * 300 * 2000
    assert activations <= two - one <= 4 * activations


def test_a_plan_prints_as_a_table_of_what_there_is():
    lines = str(MemoryPlan(2**20, 0, 2 * 2**20, 2**19, 1500 * 2**20, 3 * 2**20, 0)).splitlines()
    assert lines[0] == "parameters                         1 MiB"
    assert lines[1] == "optimiser slots                    2 MiB"
    assert lines[3] == "temporaries at once             1.46 GiB"
    assert lines[-1] == "total                           1.47 GiB"
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == 6


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (100_900, "98.5 KiB"),
        (250_000, "244 KiB"),
        (2**30 - 1, "1023 MiB"),
        (2**30, "1 GiB"),
        (2**69, "512 EiB"),
        (2**2000, f"{2**1940} EiB"),
    ],
)
def test_bytes_have_units_of_1024(value: int, text: str):
    assert bytes_text(value) == text


CHILD = """
import re
import numpy as np
from gradc import nn
from gradc.nn.memory import plan

def kibibytes(key):
    return int(re.search(key + r":\\s+(\\d+)", open("/proc/self/status").read()).group(1))

net = nn.Network(nn.Conv2D(32, 3, padding="same"), nn.ReLU(), nn.MaxPool(2), nn.Flatten(), nn.Dense(10),
                 shape=(3, 32, 32), loss=nn.SoftmaxCrossEntropy(), dtype="float32")
training = nn.Training(net, nn.Momentum(0.01), np.ones((512, 3, 32, 32)), np.zeros(512, int), batch=512)
training.bound(2)[0]()
before = kibibytes("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
step, x, y = training.bound(512)
x[...] = training.x
step()
found = plan(net, nn.Momentum(0.01), 512)
print((kibibytes("VmHWM") - before) * 1024, found.batch + found.temporaries)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read where Linux has them")
def test_a_step_takes_what_is_planned():
    out = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True).stdout
    grown, expected = map(int, out.split())
    assert 0.5 * expected < grown < 1.5 * expected + 2**25


# --- what will not fit --------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the machine some memory, and none of the compilers that make machine code."""

    def refuse(*args: object) -> None:
        raise AssertionError("machine code was made")

    monkeypatch.setattr(numba_backend, "compile_kernel", refuse)
    return lambda value: monkeypatch.setattr(memory, "available_memory", lambda: value)


def training(optimiser: nn.Optimiser, batch: int, **changes: Any) -> nn.Training:
    x, y = rng.normal(size=(512, 3, 16, 16)), rng.integers(0, 10, 512)
    return nn.Training(convnet(**changes), optimiser, x, y, batch=batch)


def wanted(net: nn.Network, batch: int) -> int:
    """Return what a training takes that finds its parameters."""
    found = plan(net, nn.Adam(), batch)
    return found.total - found.parameters - found.statistics


def test_a_training_that_does_not_fit_is_refused_before_it_is_compiled(machine: Any):
    available = wanted(convnet(), 256) - 1
    machine(available)
    found = training(nn.Adam(), 256)
    with pytest.raises(InputRefused, match=r"training with batch=256 needs .* more memory") as caught:
        found.bound(256)
    assert bytes_text(available) in caught.value.what
    assert bytes_text(available + 1) in caught.value.what
    assert caught.value.why.startswith("temporaries at once: ")
    assert "batch: " in caught.value.why
    assert "dtype='float32'" in caught.value.do
    suggested = int(re.findall(r"batch=(\d+)", caught.value.do)[0])
    assert wanted(convnet(), suggested) <= available < wanted(convnet(), suggested + 1 + suggested // 16)


def test_a_training_that_just_fits_is_compiled(machine: Any):
    machine(wanted(convnet(), 256))
    with pytest.raises(AssertionError, match="machine code was made"):
        training(nn.Adam(), 256).bound(256)


def test_where_no_batch_fits_none_is_suggested(machine: Any):
    found = training(nn.Adam(), 64, dtype="float32")
    machine(1000)
    with pytest.raises(InputRefused) as caught:
        found.bound(64)
    assert "batch=" not in caught.value.do
    assert "float32" not in caught.value.do
    assert "smaller network" in caught.value.do


def test_what_a_training_has_taken_already_does_not_count_again(machine: Any):
    net = convnet()
    fixed = wanted(net, 4) - plan(net, nn.Adam(), 4).temporaries - plan(net, nn.Adam(), 4).batch
    machine(wanted(net, 4) - fixed)
    found = training(nn.Adam(), 4)
    with pytest.raises(InputRefused):
        found.bound(4)
    found._bound[8] = (lambda: 0.0, found.x, found.y)
    with pytest.raises(AssertionError, match="machine code was made"):
        found.bound(4)


def placed(*layers: nn.Layer) -> list[Node]:
    placing = Placing((64,))
    return [placing.add(layer) for layer in layers]


def test_parameters_that_fit_no_memory_are_refused_at_once():
    nodes = placed(nn.Dense(10), nn.Dense(2**40), nn.Dense(2))
    begin = time.perf_counter()
    with pytest.raises(InputRefused, match=r"parameters need 104 TiB of memory") as caught:
        require_parameters_fit(nodes, np.dtype("float64"))
    assert time.perf_counter() - begin < 0.1
    assert caught.value.where == "layer dense_2"
    assert "weight (10, 1099511627776), bias (1099511627776,)" in caught.value.why
    assert "float32" in caught.value.do


def test_sizes_beyond_all_integers_of_machines_are_refused():
    with pytest.raises(InputRefused, match=r"\d{20} EiB"):
        require_parameters_fit(placed(nn.Dense(2**80), nn.Dense(2**80)), np.dtype("float32"))


def test_parameters_that_just_fit_are_accepted(machine: Any):
    nodes = placed(nn.Dense(10), nn.BatchNorm(), nn.Dense(5))
    numbers = 64 * 10 + 10 + 2 * 10 + 2 * 10 + 10 * 5 + 5
    machine(8 * numbers)
    require_parameters_fit(nodes, np.dtype("float64"))
    machine(8 * numbers - 1)
    with pytest.raises(InputRefused, match="layer dense_1"):
        require_parameters_fit(nodes, np.dtype("float64"))
    machine(4 * numbers + 8 * 64 * 10)  # the largest is there in float64 too, for a moment
    require_parameters_fit(nodes, np.dtype("float32"))
    machine(4 * numbers + 8 * 64 * 10 - 1)
    with pytest.raises(InputRefused):
        require_parameters_fit(nodes, np.dtype("float32"))


# --- what there is ------------------------------------------------------------------------------------------


def write(root: Path, **files: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text)


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_OWN", tmp_path / "own")
    (tmp_path / "cgroup").mkdir()
    return tmp_path


def test_without_groups_the_machine_says_what_is_available(groups: Path):
    assert 0.5 < available_memory() / psutil.virtual_memory().available < 2


def test_the_limit_of_a_group_counts(groups: Path):
    (groups / "own").write_text("0::/jobs/one\n")
    write(groups / "cgroup/jobs/one", memory__max="5000\n", memory__current="1200\n")
    assert available_memory() == 3800


def test_pages_of_files_are_given_back(groups: Path):
    (groups / "own").write_text("0::/\n")
    stat = "anon 700\nfile 400\nactive_file 100\ninactive_file 250\nshmem 50\n"
    write(groups / "cgroup", memory__max="5000", memory__current="1200", memory__stat=stat)
    assert available_memory() == 5000 - 1200 + 350


def test_limits_of_groups_around_a_group_count(groups: Path):
    (groups / "own").write_text("0::/jobs/one\n")
    write(groups / "cgroup/jobs", memory__max="4000", memory__current="3900")
    write(groups / "cgroup/jobs/one", memory__max="5000", memory__current="1200")
    assert available_memory() == 100


def test_max_is_no_limit(groups: Path):
    (groups / "own").write_text("0::/one\n")
    write(groups / "cgroup/one", memory__max="max\n", memory__current="1200\n")
    assert available_memory() > 5000


def test_a_group_beyond_its_limit_has_nothing_left(groups: Path):
    (groups / "own").write_text("0::/one\n")
    write(groups / "cgroup/one", memory__max="1000", memory__current="1200")
    assert available_memory() == 0


def test_groups_of_the_first_version_count(groups: Path):
    (groups / "own").write_text("5:cpu,cpuacct:/one\n4:memory:/one\n1:name=systemd:/\n")
    write(
        groups / "cgroup/memory/one",
        **{"memory__limit_in_bytes": "9000", "memory__usage_in_bytes": "2000"},
        memory__stat="cache 1\ntotal_active_file 30\ntotal_inactive_file 4\nactive_file 999\n",
    )
    write(groups / "cgroup/one", memory__max="1", memory__current="0")  # of the second version, not ours
    assert available_memory() == 7034
    (groups / "own").write_text("5:cpu,cpuacct:/one\n")
    assert available_memory() > 7034


def test_a_group_as_the_host_calls_it_is_the_root_inside(groups: Path):
    (groups / "own").write_text("4:memory:/docker/0123\n")
    limits = {"memory__limit_in_bytes": "9000", "memory__usage_in_bytes": "2000"}
    write(groups / "cgroup/memory", **limits)
    assert available_memory() == 7000
