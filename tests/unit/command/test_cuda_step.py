"""``gradc compile --of step --target cuda``: a training step in a folder of its own, which runs in the simulator."""

import json
import re
from pathlib import Path

import pytest
from tests.unit.command.alone import ALONE, in_simulator
from tests.unit.command.support import gradc

pytest.importorskip("numba_cuda", reason="pip install gradc[cuda]")
from gradc_runtime import cuda_backend

pytestmark = pytest.mark.skipif(cuda_backend.SIMULATED, reason="NUMBA_ENABLE_CUDASIM is set")

NETWORK = """\
[network]
shape = 4
dtype = "float32"
loss = "SoftmaxCrossEntropy"

[[layer]]
type = "Dense"
units = 3

[[layer]]
type = "BatchNorm"

[training]
optimiser = { type = "Adam", rate = 0.1 }
epochs = 1
batch = 5
"""

# Arguments of both folders by name, with two batches of different sizes.
GIVEN = """
sys.path.insert(0, FOLDER)
import json
import numpy as np

contract = json.loads((Path(FOLDER) / "on_device" / "gradc.json").read_text())
same = [json.loads((Path(FOLDER) / "on_host" / "gradc.json").read_text())[part] for part in ("parameters", "written")]
assert [contract[part] for part in ("parameters", "written")] == same
rng = np.random.default_rng(6)
names = [name for name, _, _ in contract["parameters"]]
sizes = {name: [6 if size == "batch" else size for size in contract["extents"][name]] for name in names}
given = {name: np.abs(rng.normal(size=sizes[name])).astype(kind) for name, kind, _ in contract["parameters"]}
labels = rng.integers(0, 3, 6)

def steps(function, place, read):
    held = {name: place(array.copy()) for name, array in given.items()}
    losses = []
    for number, size in ((1, 6), (2, 5)):
        control, key = np.array([0.1, number], np.float32), np.array([number])
        batch = {"x": given["x"][:size] * number, "y": labels[:size], "control": control, "key": key}
        held |= {name: place(array) for name, array in batch.items()}
        (loss,) = function(*(held[name] for name in names))
        losses.append(float(loss))
    return losses, {name: read(held[name]) for name in names}

def compare(one, two):
    np.testing.assert_allclose(one[0], two[0], rtol=2e-6)
    for name in names:
        assert name not in contract["written"] or not np.array_equal(two[1][name], given[name]), name
        np.testing.assert_allclose(one[1][name], two[1][name], rtol=2e-5, atol=2e-6, err_msg=name)
"""
STEPS = """
from numba import cuda
from on_device import step_value_in_place as on_device
from on_host import step_value_in_place as on_host

wanted = steps(on_host, lambda array: array, lambda array: array)
assert wanted[0][0] != wanted[0][1]
compare(steps(on_device, lambda array: array, lambda array: array), wanted)
compare(steps(on_device, cuda.to_device, lambda array: array.copy_to_host()), wanted)

mixed = {name: cuda.to_device(given[name]) if name in contract["written"] else given[name] for name in names}
mixed |= {"y": labels, "control": np.array([0.1, 1], np.float32)}
(loss,) = on_device(*mixed.values())
np.testing.assert_allclose(float(loss), wanted[0][0], rtol=2e-6)

wrong = {name: array.copy() for name, array in given.items()} | {"y": labels + 9}
for change, kind in (({}, IndexError), ({"parameters_dense_1_bias": None}, ValueError)):
    tried = {name: array.copy() for name, array in wrong.items()}
    for name in change:
        tried[name].flags.writeable = False
    try:
        on_device(*tried.values())
    except kind as error:
        print(type(error).__name__, error)
    assert all(np.array_equal(tried[name], wrong[name]) for name in names)
print([name for name in ("gradc", "sympy", "optree") if name in sys.modules])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The step of a network for a GPU and for the processor."""
    found = tmp_path_factory.mktemp("step")
    net = found / "net.toml"
    net.write_text(NETWORK)
    for target, name in (("cuda", "on_device"), ("cpu", "on_host")):
        ran = gradc("compile", str(net), "--of", "step", "--target", target, "-o", str(found / name))
        assert ran.code == 0, ran.err
    return found


def test_two_steps_are_those_of_the_processor_without_gradc(folder: Path, environment: dict[str, str]):
    program = f"{ALONE}\nFOLDER = {str(folder)!r}\n{GIVEN}{STEPS}"
    alone = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    ran = in_simulator(alone, program)
    assert ran.returncode == 0, ran.stderr
    outside, read_only, modules = ran.stdout.splitlines()
    assert outside.startswith("IndexError")
    assert read_only == "ValueError parameters_dense_1_bias is for a result, but may not be written"
    assert modules == "[]"


def test_the_folder_has_the_ptx_of_the_step_and_tells_what_is_updated(folder: Path):
    shown = gradc(
        "inspect", str(folder / "net.toml"), "--of", "step", "--target", "cuda", "--stage", "source"
    )
    out = folder / "on_device"
    source = (out / "step_value_in_place.py").read_text()
    assert source == shown.out
    launched = set(re.findall(r"^@kernel\(.*\)\ndef (\w+)\(", source, re.MULTILINE))
    assert {path.name.split(".")[0] for path in (out / "ptx").iterdir()} == launched
    guide = (out / "USAGE.md").read_text()
    contract = json.loads((out / "gradc.json").read_text())
    assert len(contract["written"]) == 4 + 2 + 2 * 4
    for name, dtype, axes in contract["parameters"]:
        updated = "yes" if name in contract["written"] else ""
        assert f"| {name} | {dtype} | {axes} | {updated} |\n" in guide
    assert {"x", "y", "control", "key"}.isdisjoint(contract["written"])
    assert "share memory with no other argument" in guide
    assert "| batch |" not in guide
    assert f"    step_value_in_place({', '.join(name for name, _, _ in contract['parameters'])})\n" in guide


def test_a_folder_that_updates_nothing_says_nothing_of_it(tmp_path: Path):
    gradc("compile", "--expr", "x*y", "--target", "cuda", "-o", str(tmp_path / "kernel"))
    assert "updated" not in (tmp_path / "kernel" / "USAGE.md").read_text()
    assert json.loads((tmp_path / "kernel" / "gradc.json").read_text())["written"] == []
