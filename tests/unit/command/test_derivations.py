"""``gradc explain``: the derivation, its end, its refusals."""

import json
from pathlib import Path

import pytest
from tests.unit.command.support import clean_imports
from tests.unit.explain.mathematics import braces

from gradc.command.explain import explain
from gradc.command.request import Request
from gradc.errors import GradcError, InputRefused

NEURON = "1/(1+exp(-(w0*x0+w1*x1+w2)))"
POINT = ("w0=2", "x0=-1", "w1=-3", "x1=-2", "w2=-3")


def request(expr: str | None, *at: str, spec: str | None = None) -> Request:
    return Request(spec, expr, at, (), None, 0, "cpu")


def test_the_neuron_ends_in_its_gradient():
    answer = explain(request(NEURON, *POINT), "plain", False)
    assert answer.code == 0
    lines = answer.text.splitlines()
    assert lines[0] == "L = 1 / v7 = 0.731059   upstream ∂L/∂L = 1   [1]"
    assert lines[1] == "    ∂L/∂v7 = -L / v7 = -0.534447   ∂L/∂v7 = 1 · (-0.534447) = -0.534447"
    assert "  [1] 1 / (1 + exp(-x)) = expit(x)" in lines
    gradient = [float(line.rpartition(" = ")[2]) for line in lines[-5:]]
    assert [round(number, 2) for number in gradient] == [-0.2, 0.39, -0.39, -0.59, 0.2]


def test_latex_is_one_environment():
    text = explain(request(NEURON, *POINT), "latex", False).text
    derived = text[: text.index(r"\end{aligned}") + len(r"\end{aligned}")]
    assert derived.startswith("\\begin{aligned}\nL &= \\frac{1}{v_{7}} && = 0.731059")
    braces.check(derived)


def test_json_has_the_steps():
    document = json.loads(explain(request(NEURON, *POINT), "plain", True).text)
    assert document["schema"] == 1
    first, *_ = document["steps"]
    assert (first["gate"], first["equation"]["plain"], first["upstream"]) == ("v8", "L = 1 / v7", 1.0)
    (part,) = first["contributions"]
    assert (part["operand"], part["local"]["plain"]) == ("v7", "∂L/∂v7 = -L / v7")
    assert part["value"] == pytest.approx(-0.534447, abs=1e-6)
    assert round(document["gradient"]["x1"], 2) == -0.59


def test_a_function_in_a_file(tmp_path: Path):
    path = tmp_path / "model.py"
    path.write_text("import numpy as np\n\ndef loss(w, x):\n    p = x @ w\n    return np.square(p).sum()\n")
    with clean_imports():
        text = explain(
            request(None, "w=[1.0,2.0]", "x=[[1.0,0.0],[0.5,1.0]]", spec=f"{path}:loss"), "plain", False
        ).text
    assert "p_j = Σ_i x_ji w_i" in text
    assert text.splitlines()[-3].startswith("  w = [")


def test_missing_values_are_refused():
    with pytest.raises(InputRefused):
        explain(request("x*y", "x=1"), "plain", False)


def test_arrays_have_no_derivation(tmp_path: Path):
    path = tmp_path / "model.py"
    path.write_text("def twice(x):\n    return 2 * x\n")
    with clean_imports(), pytest.raises(GradcError):
        explain(request(None, "x=[1.0,2.0]", spec=f"{path}:twice"), "plain", False)


def test_an_unknown_style_is_refused():
    with pytest.raises(InputRefused, match="html"):
        explain(request("x", "x=1"), "html", False)
