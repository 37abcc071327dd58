"""``--target cuda``: what the command prints, writes and refuses, without a device; kernels run in the simulator."""

import json
import math
import re
import shutil
from pathlib import Path
from unittest import mock

import pytest
from tests.unit.command.alone import ALONE, child, in_simulator
from tests.unit.command.support import clean_imports, gradc

from gradc.command import export_device
from gradc.nn.files.network_file import NetworkFile
from gradc_runtime import cuda_errors

pytest.importorskip("numba_cuda", reason="pip install gradc[cuda]")
from gradc_runtime import cuda_backend, cuda_devices, cuda_run

pytestmark = pytest.mark.skipif(cuda_backend.SIMULATED, reason="NUMBA_ENABLE_CUDASIM is set")

PRODUCT = ("--expr", "x*sin(y)", "--target", "cuda")
NO_DRIVER = cuda_errors.no_driver("no libcuda.so")
NETWORK = """\
[network]
shape = 4
loss = "SoftmaxCrossEntropy"

[[layer]]
type = "LayerNorm"

[training]
optimiser = { type = "Momentum", rate = 0.1 }
epochs = 1
batch = 3
"""


@pytest.fixture
def function(tmp_path: Path) -> str:
    path = tmp_path / "model.py"
    path.write_text("import numpy as np\n\ndef scaled(x, y):\n    return (x * y).sum()\n")
    return f"{path}:scaled"


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# --- inspect ------------------------------------------------------------------------------------------------


def test_ptx_of_every_launch_stands_behind_its_heading(function: str):
    with clean_imports():
        ran = gradc(
            *("inspect", function, "--shape", "x=50", "y=50", "--target", "cuda"),
            *("--stage", "ptx", "--capability", "8.0"),
        )
    assert (ran.code, set(re.findall(r"^\.target (\S+)", ran.out, re.MULTILINE))) == (0, {"sm_80"})
    headings = re.findall(r"^// ==== (\w+): launch (\d) of (\d) ", ran.out, re.MULTILINE)
    entries = re.findall(r"^\.visible \.entry (\w+)\(", ran.out, re.MULTILINE)
    assert [name for name, _, _ in headings] == entries
    assert [(int(at), int(many)) for _, at, many in headings] == [(1, 2), (2, 2)]


def test_several_capabilities_and_that_of_an_h100_unless_told_otherwise():
    assert ".target sm_90\n" in gradc("inspect", *PRODUCT, "--stage", "ptx").out
    out = gradc("inspect", *PRODUCT, "--stage", "resources", "--capability", "8.0,sm_75").out
    assert re.findall(r"for (sm_\d+):", out) == ["sm_80", "sm_75"]


@pytest.mark.parametrize(
    ("capability", "message"),
    [("9", "no compute capability"), ("3.0", "requires >="), ("9.9", "choose 9.0"), ("sm_9x", "H100")],
)
def test_capabilities_that_there_are_not(capability: str, message: str):
    ran = gradc("inspect", *PRODUCT, "--stage", "ptx", "--capability", capability)
    assert (ran.code, ran.out, message in ran.err) == (2, "", True)


def test_the_source_is_that_of_kernels_and_of_their_host():
    out = gradc("inspect", *PRODUCT, "--stage", "source").out
    assert '@kernel("float64, float64, float64[::1], float64[::1], float64[::1]")' in out
    assert "launch(numbers_1, 1, 32, y, x, " in out


def test_the_schedule_ends_with_the_launch_plan(function: str):
    words = ("inspect", function, "--shape", "x=1000", "y=1000", "--target", "cuda")
    with clean_imports():
        schedule = gradc(*words, "--stage", "schedule", "--bandwidth", "2000")
        launches = gradc(*words, "--stage", "launches", "--bandwidth", "2000")
    assert schedule.out.endswith(f"\n\n{launches.out}")
    assert "x_n0 = 1000; floors for 2000 GB/s\n" in launches.out
    assert schedule.out.startswith(("for ", "start "))


def test_a_launch_plan_as_json(function: str):
    with clean_imports():
        found = gradc(
            *("inspect", function, "--shape", "x=1000", "y=1000", "--target", "cuda"),
            *("--stage", "launches", "--bandwidth", "1000", "--json"),
        ).json
    plan = found["plan"]
    first = next(step for step in plan["steps"] if step["kind"] == "launch")
    # Of 1000 numbers of float64, x and y are read; x_bar, y_bar and a partial sum of each of 4 blocks are written.
    assert (first["grid"], first["blocks"], first["threads"]) == ("min(ceil(x_n0 / 256), 1024)", 4, 256)
    assert (first["bytes_read"], first["bytes_written"]) == (16000, 16000 + 4 * 8)
    assert first["floor_seconds"] == pytest.approx((32000 + 32) / 1e12)
    assert plan["bandwidth_bytes_per_second"] == 1e12
    assert [step["kind"] for step in plan["steps"]] == ["copy in", "launch", "launch", "copy back"]
    assert [step["bytes_read"] for step in plan["steps"] if step["kind"] == "copy back"] == [8 + 16000]


@pytest.mark.parametrize(
    "words",
    [
        ("--stage", "source", "--capability", "8.0"),
        ("--stage", "ptx", "--bandwidth", "8.0"),
        ("--stage", "launches", "--bandwidth", "-1"),
        ("--stage", "source", "--against", "stabilise=false", "--capability", "8.0"),
    ],
)
def test_options_that_a_stage_has_no_use_for(words: tuple[str, ...]):
    ran = gradc("inspect", *PRODUCT, *words)
    assert (ran.code, ran.out) == (2, "")


@pytest.mark.parametrize(
    ("stage", "target"), [("llvm", "cuda"), ("asm", "cuda"), ("ptx", "cpu"), ("launches", "cpu")]
)
def test_stages_of_another_target_say_what_to_ask_for(stage: str, target: str):
    ran = gradc("inspect", "--expr", "x*y", "--stage", stage, "--target", target)
    other = "cuda" if target == "cpu" else "cpu"
    assert (ran.code, f"has no {stage}" in ran.err, f'target="{other}"' in ran.err) == (2, True, True)


@pytest.mark.parametrize(
    "words", [("report", "-o", "page.html"), ("bench", "model.py:f"), ("bench", "--all")]
)
def test_what_is_about_this_processor_is_refused(words: tuple[str, ...]):
    extra = ("--expr", "x*y") if words[0] == "report" else ()
    ran = gradc(*words, *extra, "--target", "cuda")
    assert (ran.code, "--target cuda" in ran.err, "--stage launches" in ran.err) == (2, True, True)


def test_explain_needs_no_device():
    words = ("explain", "--expr", "x*y", "--at", "x=2", "y=3")
    assert gradc(*words, "--target", "cuda").out == gradc(*words).out


# --- no driver ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["grad", "check"])
def test_without_a_driver_a_call_is_refused_with_what_to_do(verb: str):
    with mock.patch.object(cuda_run, "run", side_effect=NO_DRIVER):
        ran = gradc(verb, *PRODUCT, "--at", "x=1", "y=2", interpret=False)
    assert (ran.code, ran.out) == (2, "")
    what, where, why, do = ran.err.splitlines()
    assert (what, why) == ("gradc: there is no CUDA driver that works", "  why: no libcuda.so")
    assert "expression_value" in where
    assert "NUMBA_ENABLE_CUDASIM=1" in do


def test_without_a_driver_a_written_kernel_is_refused_in_the_same_words(tmp_path: Path):
    gradc("compile", *PRODUCT, "-o", str(tmp_path / "kernel"))
    with mock.patch.object(cuda_run, "run", side_effect=NO_DRIVER), clean_imports():
        ran = gradc("check", str(tmp_path / "kernel"), "--at", "x=1", "y=2", "--json", interpret=False)
    error = ran.json["error"]
    assert (ran.code, error["what"], error["why"]) == (2, NO_DRIVER.what, NO_DRIVER.why)
    assert error["do"] == NO_DRIVER.do


def test_doctor_tells_what_there_is_for_cuda():
    rows = dict(cuda_devices.describe())
    found = gradc("doctor", "--json").json
    assert rows
    assert {name: found[name] for name in rows} == rows


# --- compile ------------------------------------------------------------------------------------------------


def test_a_folder_has_the_kernel_its_runtime_and_ptx_for_every_capability(tmp_path: Path):
    out = tmp_path / "kernel"
    ran = gradc("compile", *PRODUCT, "--capability", "8.0", "--capability", "9.0", "-o", str(out), "--json")
    assert (ran.code, set(ran.json["files"])) == (0, files(out))
    own = {name for name in files(out) if not name.startswith("runtime/")}
    assert own == {
        *("__init__.py", "gradc.json", "USAGE.md", "expression_value_and_grad.py"),
        *("ptx/numbers_1.sm_80.ptx", "ptx/numbers_1.sm_90.ptx"),
    }
    text = (out / "ptx" / "numbers_1.sm_80.ptx").read_text()
    assert ".target sm_80" in text
    # Two numbers, and three arrays with one axis, which are 5 + 2 parameters each.
    assert len(set(re.findall(r"\bnumbers_1_param_\d+\b", text))) == 2 + 3 * 7
    guide = (out / "USAGE.md").read_text()
    for line in (*ran.json["usage"], "sm_80, sm_90", "| numbers_1 | `1` | 32 | y: `float64`, x: `float64`, "):
        assert line in guide


def test_the_same_command_writes_the_same_bytes(tmp_path: Path):
    for name in ("one", "two"):
        gradc("compile", *PRODUCT, "-o", str(tmp_path / name / "kernel"))
    one, two = (tmp_path / name / "kernel" for name in ("one", "two"))
    assert files(one) == files(two)
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in files(one))


@pytest.mark.parametrize("first", ["device", "host"])
def test_folders_for_both_targets_run_without_gradc_in_one_process(
    first: str, tmp_path: Path, environment: dict[str, str]
):
    model = tmp_path / "model.py"
    model.write_text("def squared(x):\n    return (x @ x).sum()\n")
    gradc("compile", *PRODUCT, "-o", str(tmp_path / "device"))
    with clean_imports():
        gradc(
            "compile", f"{model}:squared", "--shape", "x=2,2", "--of", "value", "-o", str(tmp_path / "host")
        )
    own, other = (
        {path.name for path in (tmp_path / name / "runtime" / "gradc_runtime").iterdir()}
        for name in ("device", "host")
    )
    assert "contraction.py" in other - own  # each lacks what the other has
    assert "cuda_run.py" in own - other
    program = f"""{ALONE}
sys.path.insert(0, {str(tmp_path)!r})
import {first}
import gradc_runtime
assert Path(gradc_runtime.__file__).is_relative_to({str(tmp_path / first)!r}), gradc_runtime.__file__
from device import expression_value_and_grad
print(*expression_value_and_grad(2.0, 0.5)[1])
from host import squared_value
import numpy as np
print(squared_value(np.array([[1.0, 2.0], [3.0, 4.0]]))[0])
print([name for name in ("gradc", "sympy", "optree") if name in sys.modules])
"""
    ran = in_simulator({k: v for k, v in environment.items() if k != "PYTHONPATH"}, program)
    assert ran.returncode == 0, ran.stderr
    device, host, modules = ran.stdout.splitlines()
    assert [float(part) for part in device.split()] == pytest.approx([math.sin(0.5), 2 * math.cos(0.5)])
    assert (float(host), modules) == (7 + 10 + 15 + 22, "[]")


def test_names_of_arguments_that_the_function_has_for_itself(tmp_path: Path):
    gradc("compile", "--expr", "stream*device", "--target", "cuda", "-o", str(tmp_path / "kernel"))
    text = (tmp_path / "kernel" / "__init__.py").read_text()
    compile(text, "__init__.py", "exec")
    assert "(stream, device, *, stream_=None, device_=None):" in text
    assert "run(_LOADED, (stream, device), stream=stream_, device=device_)" in text


def test_what_an_earlier_export_left_is_deleted_and_nothing_else(tmp_path: Path):
    out = tmp_path / "kernel"
    gradc("compile", *PRODUCT, "--capability", "8.0,9.0", "-o", str(out))
    (out / "ptx" / "mine.ptx").write_text("mine")
    gradc("compile", *PRODUCT, "-o", str(out))
    assert {name for name in files(out) if name.startswith("ptx/")} == {
        "ptx/numbers_1.sm_90.ptx",
        "ptx/mine.ptx",
    }
    (out / "ptx" / "mine.ptx").unlink()
    gradc("compile", "--expr", "x*y", "-o", str(out))
    assert not (out / "ptx").exists()
    assert not (out / "USAGE.md").exists()
    assert json.loads((out / "gradc.json").read_text())["target"] == "cpu"


def test_a_contract_cannot_have_other_files_deleted(tmp_path: Path):
    out = tmp_path / "kernel"
    gradc("compile", *PRODUCT, "-o", str(out))
    outside = [tmp_path / name for name in ("thesis.sm_90.ptx", "USAGE.md", "ptx/thesis.sm_90.ptx")]
    (tmp_path / "ptx").mkdir()
    mine = [*outside, out / "notes.txt"]
    for path in mine:
        path.write_text("mine")
    names = [
        "ptx/../../thesis.sm_90.ptx",
        "notes.txt",
        7,
        *(f"../{path.relative_to(tmp_path)}" for path in outside),
    ]
    contract = json.loads((out / "gradc.json").read_text())
    (out / "gradc.json").write_text(json.dumps({**contract, "more": [*names, *map(str, outside)]}))
    assert gradc("compile", "--expr", "x*y", "-o", str(out)).code == 0
    assert [path.read_text() for path in mine] == ["mine"] * 4


def test_a_link_in_the_place_of_the_folder_for_ptx_is_refused(tmp_path: Path):
    out, elsewhere = tmp_path / "kernel", tmp_path / "elsewhere"
    gradc("compile", *PRODUCT, "-o", str(out))
    shutil.rmtree(out / "ptx")
    elsewhere.mkdir()
    (out / "ptx").symlink_to(elsewhere)
    ran = gradc("compile", *PRODUCT, "-o", str(out))
    assert (ran.code, "links are not followed" in ran.err) == (2, True)
    assert not list(elsewhere.iterdir())


def test_a_folder_for_the_processor_has_no_modules_of_a_gpu_and_no_ptx(tmp_path: Path):
    gradc("compile", "--expr", "x*y", "-o", str(tmp_path / "kernel"))
    assert not [name for name in files(tmp_path / "kernel") if "cuda" in name or "ptx" in name]


def test_capabilities_are_for_a_gpu(tmp_path: Path):
    ran = gradc("compile", "--expr", "x*y", "--capability", "8.0", "-o", str(tmp_path / "kernel"))
    assert (ran.code, "--target cuda" in ran.err) == (2, True)
    assert not (tmp_path / "kernel").exists()


def test_timings_have_the_time_of_ptx(tmp_path: Path):
    found = gradc("compile", *PRODUCT, "--timings", "--json", "-o", str(tmp_path / "kernel")).json
    stages = [stage["stage"] for stage in found["timings"]["stages"]]
    assert (stages[0], stages[-2:]) == ("trace", ["source", "PTX"])


def test_late_imports_of_the_runtime_are_found():
    lines = (
        '"see gradc_runtime.clock"',
        "import gradc_runtime.lanes",
        'load("gradc_runtime.reduce")',
        "from gradc_runtime import cuda_math",
    )
    found = export_device.runtime_modules("\n".join(lines))
    assert {"lanes.py", "reduce.py", "cuda_math.py", "cuda_run.py", "__init__.py"} <= set(found)
    assert "clock.py" not in found
    assert not {"vmap.py", "gradcheck.py"} & set(found)


def test_inspect_shows_the_training_step_of_a_gpu(tmp_path: Path):
    net = tmp_path / "net.toml"
    net.write_text(NETWORK)
    step = ("inspect", str(net), "--target", "cuda", "--of", "step", "--stage")
    training = NetworkFile.read(str(net))
    expected = training.network.step.inspect(
        training.training.optimiser, training.training.batch, target="cuda"
    )
    assert "launch(" in expected.source
    assert gradc(*step, "source").out == expected.source
    assert gradc("inspect", str(net), "--target", "cuda").out == expected.source  # the usual one
    assert gradc(*step, "launches").out == expected.launches
    assert gradc(*step, "kernels").out == expected.kernels


def test_the_prediction_of_a_network_has_its_weights(tmp_path: Path, environment: dict[str, str]):
    net = tmp_path / "net.toml"
    net.write_text(NETWORK)
    for target, name in (("cuda", "device"), ("cpu", "host")):
        ran = gradc("compile", str(net), "--target", target, "-o", str(tmp_path / name))
        assert ran.code == 0, ran.err
        assert json.loads((tmp_path / name / "gradc.json").read_text())["target"] == target
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import numpy as np
from device import predict as on_device
from host import predict as on_host
x = np.arange(12.0).reshape(3, 4)
assert np.allclose(on_device(x), on_host(x), rtol=1e-5), (on_device(x), on_host(x))
"""
    ran = in_simulator(environment, program)
    assert ran.returncode == 0, ran.stderr


# --- in a process of their own -----------------------------------------------------------------------------

COMMANDS = """
import sys
from gradc.cli import run

def gradc(*words):
    sys.argv = ["gradc", *words]
    try:
        run.main()
    except SystemExit as ended:
        print("== code", ended.code)

"""
WITHOUT_PACKAGE = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "numba_cuda" else found(name, *rest)

words = ("--expr", "x*sin(y)", "--target", "cuda")
gradc("inspect", *words, "--stage", "ptx")
gradc("inspect", *words, "--stage", "launches")
gradc("compile", *words, "-o", "kernel")
gradc("grad", *words, "--at", "x=1", "y=2")
gradc("check", "written", "--at", "x=1", "y=2")
gradc("inspect", *words, "--stage", "source")
gradc("doctor")
"""


def test_without_the_package_everything_says_how_to_get_it(tmp_path: Path, environment: dict[str, str]):
    gradc("compile", *PRODUCT, "-o", str(tmp_path / "written"))
    ran = child(environment, f"import os\nos.chdir({str(tmp_path)!r})\n{COMMANDS}{WITHOUT_PACKAGE}")
    codes = re.findall(r"^== code (\d+)", ran.stdout, re.MULTILINE)
    assert codes == [*("2" * 5), "0", "0"], ran.stderr
    assert ran.stderr.count("gradc: kernels for CUDA need the package numba-cuda\n") == 5
    assert ran.stderr.count("pip install 'gradc[cuda]'") == 5
    assert "@kernel(" in ran.stdout
    assert re.search(r"^CUDA  .*pip install 'gradc\[cuda\]'", ran.stdout, re.MULTILINE)
    assert not (tmp_path / "kernel").exists()


# --- check, in the simulator --------------------------------------------------------------------------------

CHECKS = """
from gradc import pipeline

check = ("check", "--expr", "x*sin(y)", "--target", "cuda", "--at", "x=2", "y=0.5")
gradc(*check)
gradc("check", FOLDER, "--at", "x=2", "y=0.5")
gradc("inspect", "--expr", "x*y", "--target", "cuda", "--stage", "ptx")
whole = pipeline.numba_cuda.module_text
pipeline.numba_cuda.module_text = lambda kernel: whole(kernel).replace("x * cos(y)", "x * sin(y)")
gradc(*check)
"""


def test_the_check_runs_the_kernel_of_the_target_and_finds_what_is_wrong_with_it(
    tmp_path: Path, environment: dict[str, str]
):
    gradc("compile", *PRODUCT, "-o", str(tmp_path / "kernel"))
    ran = in_simulator(environment, f"{COMMANDS}\nFOLDER = {str(tmp_path / 'kernel')!r}\n{CHECKS}")
    assert ran.returncode == 0, ran.stderr
    right, folder, ptx, wrong, rest = re.split(r"^== code ", ran.stdout, flags=re.MULTILINE)
    codes = [text[0] for text in (folder, ptx, wrong, rest)]
    assert (codes, "there is no PTX in the simulator" in ran.stderr) == (["0", "0", "2", "1"], True)
    assert right.count("the kernel equals the interpreter") == 2
    assert re.search(r"^ok: ", folder, re.MULTILINE)
    assert "the kernel and the interpreter disagree" in wrong
    assert "compiled y_bar = x * cos(y) is" in wrong
