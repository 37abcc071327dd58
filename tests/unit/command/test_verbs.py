"""What the verbs print, for people and for programs."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.command.support import Stream, clean_imports, gradc

from gradc.api import checks
from gradc_runtime import gradcheck, store

NEURON = "1/(1+exp(-(w0*x0+w1*x1+w2)))"
WEIGHTS = ("--at", "w0=2", "x0=-1", "w1=-3", "x1=-2", "w2=-3")
LOSS = """
import numpy as np

def loss(w, x):
    h = 1 / (1 + np.exp(-x @ w))
    return np.square(h).sum()
"""


@pytest.fixture
def loss(tmp_path: Path):
    path = tmp_path / "model.py"
    path.write_text(LOSS)
    with clean_imports():
        yield f"{path}:loss"


def test_grad_of_the_lectures_circuit(golden):
    ran = gradc("grad", "--expr", "(x + y) * z", "--at", "x=-2", "y=5", "z=-4")
    assert (ran.code, ran.err) == (0, "")
    golden(ran.out)


def test_grad_of_the_neuron_marks_what_a_stable_form_replaced(golden):
    ran = gradc("grad", "--expr", NEURON, *WEIGHTS)
    golden(ran.out.partition("\n\n")[0])  # six digits; the last ones of exp differ between machines
    marked = [line.split(" = ")[1].split("   ")[0] for line in ran.out.splitlines() if line.endswith("[1]")]
    assert marked == ["1.0 / v7", "1.0 + v6", "exp(v5)", "-v4"]


def test_gates_agree_with_slopes():
    at = {"w0": 2.0, "x0": -1.0, "w1": -3.0, "x1": -2.0, "w2": -3.0}
    found = gradc("grad", "--expr", NEURON, *WEIGHTS, "--json").json

    def value(**moved: float) -> float:
        p = {**at, **moved}
        return 1 / (1 + np.exp(-(p["w0"] * p["x0"] + p["w1"] * p["x1"] + p["w2"])))

    nodes = {node["name"]: node for node in found["nodes"]}
    for name in at:
        slope = (value(**{name: at[name] + 1e-5}) - value(**{name: at[name] - 1e-5})) / 2e-5
        assert found["gradient"][name] == pytest.approx(slope, rel=1e-8)
        assert nodes[name]["gradient"] == pytest.approx(slope, rel=1e-8)
    assert nodes["v8"]["replaced"] == nodes["v6"]["replaced"] == "1 / (1 + exp(-x)) = expit(x)"
    assert nodes["v4"]["replaced"] is None


def test_a_gate_with_another_use_is_not_marked():
    nodes = gradc("grad", "--expr", "exp(-x) + 1/(1+exp(-x))", "--at", "x=1", "--json").json["nodes"]
    exps = [node for node in nodes if node["formula"].startswith("exp")]
    read = {name for node in nodes if not node["replaced"] for name in node["inputs"]}
    assert [bool(node["replaced"]) for node in exps] == [node["name"] not in read for node in exps]
    assert any(not node["replaced"] for node in exps)


def test_unary_plus_adds_no_gate():
    plus = gradc("grad", "--expr", "+x*y - +y", "--at", "x=1", "y=2")
    assert plus.out == gradc("grad", "--expr", "x*y - y", "--at", "x=1", "y=2").out


def test_a_formula_that_is_its_variable():
    assert gradc("grad", "--expr", "x", "--at", "x=2").out.startswith("x   value 2   gradient 1\n")


def test_ascii_where_the_terminal_knows_no_more(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Stream, "encoding", "ascii")
    out = gradc("grad", "--expr", "(x + y) * z", "--at", "x=-2", "y=5", "z=-4").out
    assert "|- v1 = x + y" in out
    assert out.isascii()


def test_array_programs_are_a_table(loss: str, golden):
    at = ("--at", "w=1,2", "x=0.5,-1;2,1;0,3")
    ran = gradc("grad", loss, *at)
    golden(ran.out)
    assert "[1] 1 / (1 + exp(x)) = expit(-x)" in ran.out
    found = gradc("grad", loss, *at, "--json").json
    shapes = {node["formula"]: node["value"] for node in found["nodes"]}
    assert shapes["sum[j] v1[i, j] * w[j]"]["shape"] == [3]


def test_large_programs_are_a_table_with_the_middle_left_out():
    def text(terms: int) -> str:
        return gradc("grad", "--expr", "+".join(f"x*{k}.5" for k in range(terms)), "--at", "x=1").out

    assert text(150).startswith("v299 = v297 + v298   value")
    assert text(151).startswith("gate  formula")
    longest = text(600)
    assert "... 200 gates left out ..." in longest
    assert len(longest.splitlines()) < 1010


def test_elementwise_formulas_have_no_circuit():
    out = gradc("grad", "--expr", "x**2", "--at", "x=1,2,3").out
    assert out == "value = [1., 4., 9.]\ngradient:\n  x = [2., 4., 6.]\n"


def test_nan_is_a_string_in_json():
    found = gradc("grad", "--expr", "log(x)", "--at", "x=-1", "--json").json
    assert found["value"] == "NaN"


def test_check_prints_the_seed_and_what_was_drawn():
    ran = gradc("check", "--expr", "x*y + sin(x)", "--seed", "7")
    assert ran.code == 0
    assert re.match(r"drawn with --seed 7: x = -?\d\S+; y = -?\d\S+\nverdict ", ran.out)
    assert re.search(r"\nok: \d+ PASS; \d+ evaluations of f\n", ran.out)
    assert "50-digit differences along a random direction; so for each of its 2 terms" in ran.out
    found = gradc("check", "--expr", "x*y + sin(x)", "--seed", "7", "--json").json
    assert (found["drawn"]["seed"], found["ok"], set(found["counts"])) == (7, True, {"PASS"})


@pytest.mark.parametrize(
    ("text", "point", "code", "verdict", "words"),
    [
        ("abs(x)", "x=0", 0, "KINK-OK", "the kink is in v1 = abs(x); convention: 0 at 0"),
        ("max(x, 0)", "x=0", 0, "KINK-OK", "the kink is in v1 = maximum(x, 0.0)"),
        ("sqrt(x)", "x=0", 0, "EDGE", "f is undefined to one side"),
        ("floor(x)", "x=1", 3, "JUMP", "f jumps here; the kink is in v1 = floor(x)"),
    ],
)
def test_check_names_kinks_edges_and_jumps(text: str, point: str, code: int, verdict: str, words: str):
    ran = gradc("check", "--expr", text, "--at", point)
    assert (ran.code, words in ran.out) == (code, True), ran.out
    assert gradc("check", "--expr", text, "--at", point, "--json").json["verdict"] == verdict


def test_check_outside_the_domain_is_inconclusive():
    ran = gradc("check", "--expr", "log(x)", "--at", "x=-1")
    assert ran.code == 3
    assert "the value is nan there\n  do: choose a point inside the domain with --at" in ran.out
    as_json = gradc("check", "--expr", "log(x)", "--at", "x=-1", "--json")
    assert (as_json.code, as_json.json["verdict"], as_json.json["ok"]) == (3, "UNDEFINED", False)


def test_check_fails_where_the_gradient_is_wrong(monkeypatch: pytest.MonkeyPatch):

    real = gradcheck.check_gradient

    def of_a_wrong_gradient(value: Any, gradient: Any, *rest: Any, **options: Any) -> Any:
        return real(value, lambda *at: [1.01 * one for one in gradient(*at)], *rest, **options)

    monkeypatch.setattr(checks, "check_gradient", of_a_wrong_gradient)
    ran = gradc("check", "--expr", "sin(x)", "--at", "x=1")
    assert (ran.code, "WRONG" in ran.out) == (1, True)
    as_json = gradc("check", "--expr", "sin(x)", "--at", "x=1", "--json")
    assert (as_json.code, as_json.json["verdict"]) == (1, "WRONG")


@pytest.mark.parametrize("stage", ["program", "stable"])
def test_inspect_needs_no_values_for_a_formula(stage: str, golden):
    ran = gradc("inspect", "--expr", "1/(1+exp(-x*y))", "--stage", stage)
    assert (ran.code, ran.err) == (0, "")
    golden(ran.out)
    assert gradc("inspect", "--expr", "1/(1+exp(-x*y))", "--stage", stage, "--json").json["text"] == ran.out


@pytest.mark.parametrize("stage", ["adjoint", "optimised", "schedule", "kernels", "source"])
def test_every_stage_is_text(stage: str, loss: str):
    ran = gradc("inspect", loss, "--shape", "w=2", "x=3,2", "--stage", stage, "--of", "grad")
    assert ran.code == 0
    assert len(ran.out.splitlines()) > 3


def test_inspect_timings():
    out = gradc("inspect", "--expr", "x*y", "--stage", "timings", "--of", "hessian").out
    assert "us per equation" in out


def test_help_says_how():
    top = gradc("--help").out
    for part in ("SPEC is file.py:function", "__name__", "2 input refused", "grad ", "doctor"):
        assert part in top
    for verb in ("grad", "check", "inspect", "compile"):
        assert "Examples:\n    gradc " in gradc(verb, "--help").out
    assert gradc().out == top
    assert re.fullmatch(r"gradc \d+\.\d+\.\d+\n", gradc("--version").out)


def test_cache_path_and_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRADC_CACHE_DIR", str(tmp_path))
    (tmp_path / "kernels" / "ab").mkdir(parents=True)
    (tmp_path / "kernels" / "ab" / "k_1.py").write_text("")
    assert gradc("cache", "path").out == f"{tmp_path}\n"
    assert gradc("cache", "path", "--json").json["path"] == str(tmp_path)
    assert gradc("cache", "clear").out == f"deleted 1 kernels and 0 files of machine code in {tmp_path}\n"
    assert gradc("cache", "clear", "--json").json["deleted"] == 0


def test_cache_list_and_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRADC_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("GRADC_CACHE", raising=False)
    key, other = "ab" * 32, "cd" * 32
    store.write(key, store.packed({"name": "loss_grad"}, b"code"))
    store.write(other, store.packed({"name": "other"}, b"code"))
    listed = gradc("cache", "list").out.splitlines()
    assert {line.split()[-1] for line in listed[:2]} == {"loss_grad", "other"}
    assert listed[2].startswith("2 files of machine code, 0.0 of at most 1024 MiB")
    (first, *_) = gradc("cache", "list", "--json").json["entries"]
    assert first["fault"] is None
    ran = gradc("cache", "verify")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "all as they were written")
    store.path_of(other).write_bytes(b"damaged")
    ran = gradc("cache", "verify")
    assert ran.code == 1
    assert f"put aside: {store.path_of(other)}: it is cut short" in ran.out
    assert gradc("cache", "verify", "--json").json == {
        "schema": 1,
        "path": str(tmp_path / "machine"),
        "checked": 1,
        "faulty": [],
    }
    assert gradc("cache", "clear", "--json").json["machine_code"] == 1


def test_doctor_names_versions_and_directories():
    rows = gradc("doctor", "--json").json
    assert rows["numpy"] == np.__version__
    assert {"gradc", "Python", "numba", "CUDA", "BLAS", "threads", "kernels"} <= set(rows)
    assert len(gradc("doctor").out.splitlines()) == len(rows) - 1
