"""``gradc bench``: what is printed, what is refused, and children that are wrong, die or hang."""

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.unit.command.support import clean_imports, gradc

from gradc.bench import report
from gradc.bench.child import STOPS, ChildFailed
from gradc.bench.measure import Bench, Row, Settings, Task
from gradc.bench.outcome import Outcome, document, losses, mean
from gradc.bench.peers import Found
from gradc.bench.workload import Workload
from gradc.bench.workloads import ALL
from gradc.command import benchmark
from gradc.command.documents import to_json

FAKE = """
import os, time
from dataclasses import replace
import numpy as np
from gradc.bench.workload import Workload

def right():
    return 2.0, np.array([1.0, 3.0])

def raises():
    raise RuntimeError("no such luck")

calls = 0

def dies_later():
    global calls
    calls += 1
    if calls > 3:
        os._exit(5)
    return right()

def workload():
    return Workload(
        name="fake", title="a fake", inputs=lambda small: (), reference=right,
        ways={
            "numpy": lambda: right,
            "numpy, wrong": lambda: lambda: (2.0, np.array([1.0, 3.1])),
            "numpy, short": lambda: lambda: 2.0,
            "numpy, raises": lambda: raises,
            "numpy, dies": lambda: os._exit(3),
            "numpy, dies later": lambda: dies_later,
            "numpy, hangs": lambda: time.sleep(60),
            "jax": lambda: right,
            "gradc": lambda: right,
        },
    )

class Unexplained:
    def __call__(self):
        return right()

    def profile(self, rounds):
        return raises()

def unexplained():
    return replace(workload(), ways={"gradc": Unexplained})

def undefined():
    return replace(workload(), reference=lambda: np.nan)
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workload:
    (tmp_path / "fake_workload.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    names = {"__name__": "fake"}
    exec(FAKE, names)
    return names["workload"]()  # pyright: ignore[reportCallIssue]


def measured(
    fake: Workload,
    folder: Path,
    ways: Sequence[str],
    tell=lambda what: None,
    timeout: float = 30.0,
    maker: str = "workload",
    explain: bool = False,
) -> list[Row]:
    found = {name: Found(sys.executable, {}) for name in ("numpy", "gradc")}
    found["jax"] = Found(sys.executable, {}, "not installed (pip)")
    settings = Settings(rounds=2, budget=1e-4, timeout=timeout, explain=explain)
    rows: list[Row] = []
    try:
        Bench(settings, found, folder, tell).run(fake, Task("fake_workload", maker, {}), ways, rows)
    except KeyboardInterrupt:
        rows.append(Row("interrupted"))
    return rows


def test_only_what_is_right_is_timed(fake: Workload, tmp_path: Path):
    rows = {
        row.way: row for row in measured(fake, tmp_path, [way for way in fake.ways if "hangs" not in way])
    }
    assert len(rows["numpy"].seconds) == 2
    assert rows["numpy"].median > 0
    reasons = {
        "numpy, wrong": "wrong: it differs from the reference by 3.3e-02, more than 1e-09",
        "numpy, short": "wrong: it returns 1 numbers, the reference 3",
        "numpy, raises": "RuntimeError: no such luck",
        "numpy, dies": "the process died (exit code 3)",
        "numpy, dies later": "the process died (exit code 5)",
    }
    assert {way: rows[way].failed for way in reasons} == reasons
    assert all(math.isnan(rows[way].median) for way in reasons)
    assert rows["jax"].missing == "not installed (pip)"
    shown = report.block(Outcome(fake, list(rows.values())))
    for reason in (*reasons.values(), "not installed (pip)"):
        assert reason in shown


def test_a_reference_that_is_not_finite_shows_nothing(fake: Workload, tmp_path: Path):
    with pytest.raises(ChildFailed, match="not finite"):
        measured(fake, tmp_path, ["numpy"], maker="undefined")


def test_a_child_that_hangs_is_ended(fake: Workload, tmp_path: Path):
    rows = measured(fake, tmp_path, ["numpy", "numpy, hangs"], timeout=3.0)
    assert [row.failed for row in rows] == ["", "no answer within 3 s"]


@pytest.mark.skipif(not STOPS, reason="processes are not stopped here")
def test_an_interrupted_run_keeps_what_it_has_and_ends_its_children(fake: Workload, tmp_path: Path):
    def tell(what: str) -> None:
        if "round 2" in what:
            raise KeyboardInterrupt

    rows = measured(fake, tmp_path, ["numpy"], tell)
    assert [row.way for row in rows] == ["numpy", "interrupted"]
    assert len(rows[0].seconds) == 1
    with pytest.raises(ChildProcessError):  # none is left to wait for
        os.waitpid(-1, os.WNOHANG)


# --- the table ----------------------------------------------------------------------------------------------


def outcome(**seconds: float) -> Outcome:
    rows = [Row(way.replace("_", ", "), [value]) for way, value in seconds.items()]
    return Outcome(ALL["rosenbrock-10"], rows)


def test_the_table_compares_calls_with_calls():
    found = [outcome(gradc=4e-6, gradc_bound=1e-6, numpy=8e-6, casadi_bound=2e-6, jax=1.6e-5, c=1e-6)]
    table = document(found, {}, interrupted=False)
    plain, bound = table["table"]
    assert (plain["best_peer"], plain["best_over_gradc"]) == ("numpy", 2.0)
    assert (bound["best_peer"], bound["best_over_gradc"]) == ("casadi, bound", 2.0)
    assert (plain["jax_over_gradc"], bound["jax_over_gradc"]) == (4.0, 16.0)
    assert plain["c_over_gradc"] == 0.25
    assert table["losses"] == []
    assert table["geometric_mean"]["jax_over_gradc"] == pytest.approx(8.0)
    assert "rosenbrock-10, bound" in report.table(found, {"ode": "not yet"})


def test_losses_are_told():
    slow, failing = outcome(gradc=4e-6, numpy=1e-6), Outcome(ALL["gmm"], [Row("gradc", failed="it broke")])
    assert losses([slow, failing]) == [
        "gmm: gradc fails: it broke",
        "rosenbrock-10: numpy is 4.00 times as fast as gradc",
    ]
    assert "it broke" in report.table([slow, failing], {})
    json.loads(to_json(document([slow, failing], {}, interrupted=False)))


def test_means_and_units():
    assert mean([2.0, 8.0, math.nan]) == pytest.approx(4.0)
    assert math.isnan(mean([math.nan]))
    assert [report.seconds(value) for value in (2.5, 1e-3, 2e-9, math.nan)] == ["2.5 s", "1 ms", "2 ns", "-"]


# --- the command --------------------------------------------------------------------------------------------


def test_one_workload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def find(name: str, pythons: dict[str, str]) -> Found:
        missing = "not installed (pip install casadi)" if name == "casadi" else ""
        return Found(sys.executable, {name: "1.0"}, missing)

    monkeypatch.setattr(benchmark, "find", find)
    out = tmp_path / "results"
    words = ("--only", "neuron", "--peers", "numpy,casadi", "--small", "--rounds", "2", "-o", str(out))
    ran = gradc("bench", *words, "--json")
    assert ran.code == 0, ran.out
    assert json.loads((out / "bench.json").read_text()) == ran.json
    rows = {row["way"]: row for row in ran.json["workloads"][0]["rows"]}
    assert {row["failed"] for row in rows.values()} == {None}
    assert rows["gradc"]["median_seconds"] > 0
    assert rows["casadi, bound"]["missing"] == "not installed (pip install casadi)"
    assert ran.json["machine"]["threads"] == 2
    assert sorted(path.name for path in out.iterdir()) in (["bench.json"], ["bench.json", "bench.svg"])


def test_a_function_of_the_users(tmp_path: Path):
    path = tmp_path / "model.py"
    path.write_text("import numpy as np\n\ndef loss(w, x):\n    return np.square(x @ w).sum()\n")
    words = ("--shape", "w=3", "x=4,3", "--peers", "numpy,interpreter", "--rounds", "1")
    with clean_imports():
        ran = gradc("bench", f"{path}:loss", *words)
    assert ran.code == 0, ran.err
    for text in ("the value alone", "the reference", "compiled"):
        assert text in ran.out
    assert "no time" not in ran.out


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--only", "neuro"), "did you mean neuron?"),
        (("--all", "--peers", "jaxx"), "the peers are gradc, numpy, jax"),
        (("--all", "--python", "pytensor"), "--python pytensor=DIR/bin/python"),
        ((), "give one of SPEC and --all"),
        (("model.py:loss", "--all"), "give one of SPEC and --all"),
        (("model.py:loss", "--only", "gmm"), "--only chooses among the workloads"),
        (("model.py:loss",), "there is no file model.py"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    ran = gradc("bench", *words)
    assert (ran.code, ran.out) == (2, "")
    assert what in ran.err


def test_a_folder_that_cannot_be_written_is_refused_first(tmp_path: Path):
    (tmp_path / "file").write_text("")
    ran = gradc("bench", "--only", "neuron", "-o", str(tmp_path / "file"))
    assert (ran.code, ran.out) == (2, "")
    assert "can be written" in ran.err


def test_the_list_names_everything():
    found = gradc("bench", "--list", "--json").json
    assert [one["name"] for one in found["workloads"]] == list(ALL)
    assert set(found["waiting"]) == {"lstm", "ode"}
    peers = {peer["name"]: peer for peer in found["peers"]}
    assert set(peers) == {"gradc", "numpy", "jax", "torch", "pytensor", "casadi", "heyoka", "c"}
    assert peers["gradc"]["missing"] is None
    text = gradc("bench", "--list").out
    assert all(name in text for name in ALL)
