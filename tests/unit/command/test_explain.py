"""``gradc bench --explain``: a profile of gradc's kernel in text, in JSON and as a picture; what has none."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.unit.command.support import clean_imports, gradc
from tests.unit.command.test_bench import fake, measured

from gradc.bench import report
from gradc.bench.outcome import Outcome
from gradc.bench.workload import Workload

__all__ = ["fake"]  # a fixture


def test_a_function_of_the_users(tmp_path: Path):
    path = tmp_path / "model.py"
    path.write_text("import numpy as np\n\ndef loss(w, x):\n    return np.square(x @ w).sum()\n")
    out = tmp_path / "results"
    words = ("--shape", "w=3", "x=400,3", "--peers", "gradc", "--rounds", "1", "--explain", "-o", str(out))
    with clean_imports():
        ran = gradc("bench", f"{path}:loss", *words, "--json")
    assert ran.code == 0, ran.err
    assert json.loads((out / "bench.json").read_text()) == ran.json
    (row,) = ran.json["workloads"][0]["rows"]
    found = row["profile"]
    assert {line["line"] for piece in found["pieces"] for line in piece["lines"]} == {4}
    assert found["measured_seconds"] > 0
    assert {piece["bound"] for piece in found["pieces"]} <= {
        "memory",
        "cache",
        "arithmetic",
        "functions",
        "overhead",
    }
    pictures = ["bench.svg", "roofline.svg"] if find_spec("matplotlib") else []
    assert sorted(path.name for path in out.iterdir()) == ["bench.json", *pictures]


def test_without_the_option_there_is_no_profile(fake: Workload, tmp_path: Path):
    (row,) = measured(fake, tmp_path, ["numpy"])
    assert (row.profile, row.explained) == (None, "")


def test_a_way_that_is_no_kernel(fake: Workload, tmp_path: Path):
    (row,) = measured(fake, tmp_path, ["gradc"], explain=True)
    assert row.profile is None
    assert row.explained == "no profile: this way is not one kernel of the function's arguments"
    assert row.explained in report.block(Outcome(fake, [row]))


def test_a_profile_that_fails(fake: Workload, tmp_path: Path):
    (row,) = measured(fake, tmp_path, ["gradc"], explain=True, maker="unexplained")
    assert row.explained == "no profile: RuntimeError: no such luck"
    assert row.median > 0


def test_a_list_is_not_explained():
    ran = gradc("bench", "--list", "--explain")
    assert (ran.code, ran.out) == (2, "")
    assert "leave out --list" in ran.err


@pytest.mark.parametrize("option", ["--explain", "roofline.svg"])
def test_the_help_tells(option: str):
    assert option in gradc("bench", "--help").out
