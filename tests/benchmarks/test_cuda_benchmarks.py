"""The benchmarks of a GPU, as far as that goes without one: kernels compile and are right, nothing wrong is timed."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradc.api.updating import update_derivation
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.verify import verify
from gradc.ir.stages import Stages
from gradc.pipeline import Derivation

pytest.importorskip("numba_cuda")

FOLDER = Path(__file__).parent
NAMES = (
    "black-scholes-f64",
    "black-scholes-f32",
    "chain-f32",
    "cross-entropy-f32",
    "layer-norm-f32",
    "train-lecture",
    "train-classifier",
    "product-f32",
    "evaluations-f32",
    "evaluations-along-f32",
)
TRAININGS = ("train-lecture", "train-classifier")
COMPILED = [
    pytest.param(name, marks=() if name in ("chain-f32", "layer-norm-f32") else pytest.mark.full)
    for name in NAMES
]
STEPS = (
    ("train-lecture", 2),
    ("train-classifier", 2),
    pytest.param(
        "train-classifier", 3, marks=pytest.mark.full
    ),  # the third is the first that momentum changes
)
SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
CAPABILITY = (9, 0)
LIMIT = 10**8


@pytest.fixture(autouse=True)
def _as_scripts_see_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(FOLDER))


def module(name: str) -> ModuleType:
    return importlib.import_module(f"cuda_{name}")


def found(name: str) -> tuple[Any, tuple[Any, ...]]:
    """A small computation or training, and gradc's ways."""
    trainings = module("training").TRAININGS
    if name in trainings:
        one = trainings[name](True)
        return one, (one.ours,)
    one = module("tasks").COMPUTATIONS[name](True)
    return one, one.ours


def stages_of(ours: Any) -> tuple[Stages, dict[str, np.ndarray], list[np.ndarray]]:
    """What a way of gradc is compiled to, the arguments of its kernel, and those that it updates."""
    if ours.updates:
        variant, values, derivation = update_derivation(ours.function, ours.arguments, {}, ours.updates)
    else:
        variant, values, _ = ours.function._prepare(ours.arguments, {})
        leaves = variant.gradient_inputs(ours.function._leaves(variant)) if ours.of else ()
        derivation = Derivation(ours.of or "value", leaves)
    stages = variant.compiled(derivation)
    names = [parameter.name for parameter in stages.kernel.parameters]
    inputs = {name: np.array(value) for name, value in zip(names, variant.inputs(values), strict=True)}
    return stages, inputs, [inputs[name] for _, name in sorted(derivation.updates)]


# --- gradc's ways -------------------------------------------------------------------------------------------


def test_every_task_is_tested_and_has_a_target():
    targets = module("benchmarks").TARGETS
    assert set(targets) == set(NAMES)
    assert all(targets.values())


@pytest.mark.parametrize("name", [name for name in NAMES if name not in TRAININGS])
def test_results_are_right(name: str):
    """Kernels run thread by thread in the interpreter; a wrong number is seen."""
    one, ways = found(name)
    for ours in ways:
        stages, inputs, written = stages_of(ours)
        results = [np.asarray(r) for r in evaluate(verify(stages.kernel), inputs, limit=LIMIT)]
        if one.count:
            results[0] = results[0][0]  # the value, which is a cell
        results += written
        assert one.fault(results) == ""
        for at in range(len(results) - 1 if name == "product-f32" else 0, len(results)):
            wrong = [1.01 * result if place == at else result for place, result in enumerate(results)]
            assert "differs" in one.fault(wrong)


@pytest.mark.parametrize(("name", "steps"), STEPS)
def test_steps_are_right(name: str, steps: int):
    one, (ours,) = found(name)
    stages, inputs, _ = stages_of(ours)
    kernel = verify(stages.kernel)
    losses = [float(evaluate(kernel, inputs, limit=LIMIT)[0][0]) for _ in range(steps)]
    assert one.fault(losses) == ""
    assert "losses" in one.fault([*losses[:-1], losses[-1] * 1.001])


@pytest.mark.skipif(SIMULATED, reason="there is no compiler in the simulator")
@pytest.mark.parametrize("name", COMPILED)
def test_kernels_compile(name: str):
    """For a capability, without a device; of two ways the one that writes to arrays that are there."""
    names: dict[str, Any] = {}
    exec(compile(stages_of(found(name)[1][-1])[0].source, name, "exec"), names)
    kernels = [value for value in names.values() if hasattr(value, "ptx")]
    assert kernels
    assert all(".target sm_90" in kernel.ptx(CAPABILITY) for kernel in kernels)


def test_traffic_is_inputs_and_gradients():
    tasks = module("tasks").COMPUTATIONS
    assert tasks["black-scholes-f64"](True).traffic == 50 * 8 * 10
    assert tasks["cross-entropy-f32"](True).traffic == 6 * 5 * 4 * 2 + 6 * 8
    assert tasks["layer-norm-f32"](True).traffic == 6 * 5 * 4 * 3 + 5 * 4 * 4
    assert tasks["evaluations-f32"](True).traffic == 7 * 50 * 4 * 2 + 7 * 4


# --- measuring ----------------------------------------------------------------------------------------------


def way_of(name: str, run: Any, wait: Any = lambda result: None) -> Any:
    """A way that needs no GPU."""
    return module("measuring").Way(name, list, lambda placed: run, wait, lambda result: [np.array(result)])


def task_of(*ways: Any, **more: Any) -> Any:
    def fault(way: Any, run: Any, result: Any) -> str:
        return "" if way.host(result)[0] == 1 else "it is not 1"

    return module("measuring").Task("one", "the number 1", ways, fault, **more)


def test_what_is_wrong_or_fails_is_told_and_not_timed():
    calls: list[int] = []

    def fails() -> float:
        raise ValueError("no\nnumber")

    def wrong() -> float:
        calls.append(1)
        return 2.0

    task = task_of(way_of("right", lambda: 1.0), way_of("wrong", wrong), way_of("fails", fails))
    right, second, third = module("measuring").measure(task, 3, 1e-4)
    assert right.fault == ""
    assert len(right.samples) == 3
    assert 0 < right.host_seconds <= right.seconds
    assert (second.fault, second.samples, len(calls)) == ("it is not 1", [], 1)
    assert (third.fault, third.samples) == ("ValueError: no number", [])


def test_a_time_has_the_waiting_in_it():
    pause = 0.002
    task = task_of(way_of("waits", lambda: 1.0, lambda result: time.sleep(pause)))
    (row,) = module("measuring").measure(task, 3, 0.0)
    assert row.seconds >= pause > row.host_seconds


def test_what_a_call_asks_of_the_driver_is_counted(monkeypatch: pytest.MonkeyPatch):
    """Nothing to be done counts for nothing."""
    measuring, host = module("measuring"), importlib.import_module("gradc_runtime.cuda_host")
    driver = importlib.import_module("gradc_runtime.cuda_driver")
    fake = SimpleNamespace(
        event=lambda: SimpleNamespace(record=lambda: None),
        event_elapsed_time=lambda begin, end: 0.5,
        synchronize=lambda: None,
    )
    monkeypatch.setattr(measuring, "_cuda", lambda: fake)
    monkeypatch.setattr(host.Kernel, "run", lambda kernel, blocks, threads, given: None)
    for name in ("fill", "allocated", "wait"):
        monkeypatch.setattr(driver, name, lambda *given: None)
    kernel = host.kernel("int64")(host.launch)

    def run() -> float:
        for blocks in (0, 3, 2):
            host.launch(kernel, blocks, 64, 1)
        for size in (0, 8):
            driver.fill(None, 0, 0, size, None)
            driver.allocated(size)
        driver.wait(None)
        return 1.0

    counts, kernels = measuring.observed(way_of("gradc", run), run)
    assert counts == {"launches": 2, "fills": 1, "allocations": 1, "waits": 1}
    milliseconds = 0.0 if SIMULATED else 0.5
    assert kernels == [
        {"kernel": "launch", "blocks": blocks, "threads": 64, "ms": milliseconds} for blocks in (3, 2)
    ]


def test_the_losses_of_several_steps_are_compared():
    training, peers = module("training"), module("peers")
    one = training.TRAININGS["train-lecture"](True)
    assert len(one.wanted) == training.STEPS
    for at in range(training.STEPS):
        losses = iter(loss * (1 + 0.01 * (place == at)) for place, loss in enumerate(one.wanted))
        way = way_of("any", lambda losses=losses: next(losses))
        run = way.build([])
        assert str(one.wanted[at]) in peers.fault_of_losses(one, way, run, run())
    losses = iter(one.wanted)
    way = way_of("any", lambda: next(losses))
    run = way.build([])
    assert peers.fault_of_losses(one, way, run, run()) == ""


def test_targets_compare_with_the_copy_and_with_others():
    measuring = module("measuring")
    row, fast, slow = (measuring.Row(n, seconds=s) for n, s in (("gradc", 2.0), ("B", 1.0), ("C", 8.0)))
    missing = measuring.Row("C, other", fault="it sees no GPU")
    targets = (measuring.Share(0.85), measuring.Ahead("C", 3.0), measuring.Ahead("B", 0.6))
    task = task_of(targets=targets, traffic=18, operations=10)
    told = measuring.document(task, [row, fast, slow, missing], bandwidth=10.0)
    reached = {verdict["what"]: (verdict["reached"], verdict["met"]) for verdict in told["verdicts"]}
    assert reached == {
        "copy bandwidth": (0.9, True),
        "speed of C": (4.0, True),
        "speed of B": (0.5, False),
    }
    assert told["rows"][0]["bytes_per_second"] == 9.0
    assert told["rows"][0]["operations_per_second"] == 5.0
    text = measuring.shown(told)
    assert "0.50 x the speed of B, target 0.6: NOT met" in text
    assert "it sees no GPU" in text


# --- the command --------------------------------------------------------------------------------------------


def command(environment: dict[str, str], *given: str, **more: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, str(FOLDER / "cuda_benchmarks.py"), *given]
    return subprocess.run(
        call, env={**environment, **more}, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize(
    ("name", "fault", "code"), [("gradc", "", 0), ("gradc, bound", "no", 1), ("JAX", "no", 0)]
)
def test_a_wrong_way_of_gradc_is_a_failure(name: str, fault: str, code: int):
    told = {"rows": [{"name": "gradc", "fault": ""}, {"name": name, "fault": fault}], "verdicts": []}
    assert module("benchmarks").concluded({"tasks": [told]}) == code


def test_without_a_gpu_the_command_says_so(environment: dict[str, str]):
    found = command(environment, NUMBA_ENABLE_CUDASIM="0", CUDA_VISIBLE_DEVICES="-1")
    assert found.returncode == 2
    assert found.stdout == ""
    assert "CUDA" in found.stderr
    assert "do: " in found.stderr
    assert "Traceback" not in found.stderr


def test_the_simulator_is_not_timed(environment: dict[str, str]):
    found = command(environment, NUMBA_ENABLE_CUDASIM="1")
    assert (found.returncode, found.stdout) == (2, "")
    assert "no time in the simulator" in found.stderr


@pytest.mark.full
def test_the_command_runs_from_end_to_end(environment: dict[str, str], tmp_path: Path):
    """In the simulator, on small sizes."""
    file = tmp_path / "found.json"
    asked = ("--small", "--rounds", "1", "--ours", "--kernels", "--json", str(file))
    found = command(environment, *asked, "--only", "chain-f32", "evaluations-f32", NUMBA_ENABLE_CUDASIM="1")
    assert (found.returncode, found.stderr) == (0, "")
    told = json.loads(file.read_text(encoding="utf-8"))
    assert [task["name"] for task in told["tasks"]] == ["chain-f32", "evaluations-f32"]
    for row in told["tasks"][0]["rows"]:
        assert row["counts"]["launches"] == len(row["kernels"]) > 0
        assert row["kernels"][0]["kernel"].startswith("elements")
    assert [verdict["what"] for verdict in told["tasks"][0]["verdicts"]] == ["copy bandwidth"] * 2
    assert "0 of 2 targets met" in found.stdout
