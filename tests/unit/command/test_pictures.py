"""``gradc inspect --stage graph`` and ``gradc report``: printed, written, refused."""

import re
import xml.etree.ElementTree as ET
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tests.unit.command.support import clean_imports, gradc

from gradc.api.bound import At
from gradc.api.report import ReportPage
from gradc.explain.inspection import STAGES
from gradc_runtime.gradcheck import Report, check_gradient

CIRCUIT = ("--expr", "(x + y) * z", "--at", "x=-2", "y=5", "z=-4")
NEURON = ("--expr", "1/(1+exp(-(w0*x0+w1*x1+w2)))", "--at", "w0=2", "x0=-1", "w1=-3", "x1=-2", "w2=-3")
LOOP = """
import numpy as np

def loss(w, x):
    for layer in range(5):
        x = np.tanh(x @ w) + 0.1
        x = x * 2
    return x.sum()
"""


@pytest.fixture
def loop(tmp_path: Path):
    path = tmp_path / "model.py"
    path.write_text(LOOP)
    with clean_imports():
        yield (f"{path}:loss", "--shape", "w=3,3", "x=2,3", "--stage", "graph")


# --- graph --------------------------------------------------------------------------------------------------


def test_a_graph_is_printed_in_the_language_of_graphviz():
    ran = gradc("inspect", *CIRCUIT, "--stage", "graph")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("digraph ")
    for label in ('label="-2\\n-4"', 'label="5\\n-4"', 'label="3\\n-4"', 'label="-4\\n3"', 'label="-12\\n1"'):
        assert ran.out.count(label) == 1


def test_a_graph_is_written_and_told_in_one_line(tmp_path: Path):
    path = tmp_path / "g.svg"
    ran = gradc("inspect", *NEURON, "--stage", "graph", "-o", str(path))
    assert (ran.code, ran.out, ran.err) == (0, f"{path}: 8 gates\n", "")
    texts = [node.text for node in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")]
    assert {"exp", "1/x", "+1", "0.3679", "-0.5344", "0.7311"} <= set(texts)


@pytest.mark.parametrize("suffix", [".dot", ".gv", ".svg", ".png"])
def test_a_graph_is_written_in_every_format(tmp_path: Path, suffix: str):
    if suffix == ".png" and not find_spec("matplotlib"):
        pytest.skip("there is no matplotlib")
    path = tmp_path / f"g{suffix}"
    assert gradc("inspect", *CIRCUIT, "--stage", "graph", "-o", str(path)).code == 0
    starts = {".svg": b"<svg ", ".png": b"\x89PNG", ".dot": b"digraph ", ".gv": b"digraph "}
    assert path.read_bytes().startswith(starts[suffix])


@pytest.mark.parametrize(
    ("by", "size"),
    [("auto", "21 gates"), ("gates", "21 gates"), ("lines", "11 lines"), ("layers", "5 layers")],
)
def test_nodes_of_the_graph_are_chosen(tmp_path: Path, loop: tuple[str, ...], by: str, size: str):
    path = tmp_path / "g.dot"
    ran = gradc("inspect", *loop, "--by", by, "-o", str(path))
    assert ran.code == 0, ran.err
    assert ran.out.rstrip().endswith(f"{path}: {size}")


def test_the_graph_by_kernels_is_that_of_the_derivation(tmp_path: Path):
    ran = gradc("inspect", *CIRCUIT, "--stage", "graph", "--by", "kernels", "--of", "value")
    assert ran.code == 0
    assert ran.out.count("output") == 0
    assert "x_bar" not in ran.out
    assert "x_bar" in gradc("inspect", *CIRCUIT, "--stage", "graph", "--by", "kernels").out


@pytest.mark.parametrize(
    ("shown", "there", "missing"),
    [
        ("both", {"-2", "-12", "1"}, set()),
        ("forward", {"-2", "-12"}, {"1"}),
        ("adjoint", {"1"}, {"-2", "-12"}),
    ],
)
def test_numbers_of_the_graph_are_chosen(tmp_path: Path, shown: str, there: set[str], missing: set[str]):
    path = tmp_path / "g.svg"
    assert gradc("inspect", *CIRCUIT, "--stage", "graph", "--show", shown, "-o", str(path)).code == 0
    texts = {node.text for node in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")}
    assert there <= texts
    assert not missing & texts


def test_a_graph_as_json(tmp_path: Path):
    found = gradc("inspect", *CIRCUIT, "--stage", "graph", "--json").json
    text = gradc("inspect", *CIRCUIT, "--stage", "graph").out
    assert (found["stage"], found["of"], found["view"]) == ("graph", "value_and_grad", "gates")
    assert found["text"].strip() == text.strip()
    path = tmp_path / "g.svg"
    ran = gradc("inspect", *CIRCUIT, "--stage", "graph", "-o", str(path), "--json")
    assert (ran.json["file"], ran.json["size"]) == (str(path), "2 gates")
    assert path.exists()


def test_drawn_arguments_of_the_graph_are_told(tmp_path: Path):
    ran = gradc(
        "inspect", "--expr", "x * y", "--stage", "graph", "-o", str(tmp_path / "g.svg"), "--seed", "3"
    )
    assert ran.code == 0
    assert ran.out.startswith("drawn with --seed 3: x")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--stage", "grpah"), "use one of program, mathematics, latex, graph"),
        (("--stage", "graph", "--by", "line"), "auto, gates, lines, layers"),
        (("--stage", "graph", "--show", "backward"), "both, forward, adjoint"),
        (("--stage", "graph", "--limit", "0"), "--limit"),
        (("--stage", "graph", "--by", "gates", "--limit", "1"), "the graph by gates has 2 nodes"),
        (("--stage", "graph", "--of", "gradient"), "value_and_grad"),
        (("--stage", "source", "--against", "stabilize=false"), "use one of stabilise=false, value"),
        (("--stage", "graph", "--against", "value"), "graph"),
    ],
)
def test_wrong_words_about_a_graph_are_refused(words: tuple[str, ...], message: str):
    ran = gradc("inspect", *CIRCUIT, *words)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("gradc: ")
    assert message in re.sub(r"\s+", " ", ran.err)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("g.pdf", "end the name in one of .svg, .png, .dot, .gv"),
        ("none/g.svg", "No such file"),
        (".", "suffix"),
    ],
)
def test_a_graph_that_cannot_be_written_is_refused(tmp_path: Path, name: str, message: str):
    ran = gradc("inspect", *CIRCUIT, "--stage", "graph", "-o", str(tmp_path / name))
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert not list(tmp_path.iterdir())


def test_a_wrong_suffix_of_a_graph_is_refused_before_the_function_is_found():
    ran = gradc("inspect", "none.py:f", "--stage", "graph", "-o", "g.pdf")
    assert ran.code == 2
    assert "no .pdf file" in ran.err


def test_refusals_about_a_graph_as_json():
    ran = gradc("inspect", *CIRCUIT, "--stage", "graph", "--by", "line", "--json")
    assert ran.code == 2
    assert "error" in ran.json


# --- text stages --------------------------------------------------------------------------------------------


def test_another_stage_than_the_graph_is_written_as_text(tmp_path: Path):
    path = tmp_path / "stage.anything"
    ran = gradc("inspect", *CIRCUIT, "--stage", "latex", "-o", str(path))
    assert (ran.code, ran.out) == (0, f"{path}\n")
    assert path.read_text() == gradc("inspect", *CIRCUIT, "--stage", "latex").out
    assert path.read_text().startswith("\\begin{aligned}")


def test_a_compilation_is_compared_with_the_one_that_stabilises_nothing():
    ran = gradc("inspect", *NEURON, "--stage", "stable", "--against", "stabilise=false")
    assert ran.code == 0, ran.err
    assert "stabilise=false" in ran.out
    assert "value_and_grad" in ran.out
    assert "expit" in ran.out
    assert gradc("inspect", *NEURON, "--stage", "stable", "--against", "Stabilise=False").code == 0


def test_a_compilation_is_compared_with_another_derivation(tmp_path: Path):
    path = tmp_path / "difference.txt"
    words = ("inspect", *CIRCUIT, "--stage", "source", "--against", "value")
    ran = gradc(*words)
    assert ran.code == 0, ran.err
    assert re.search(r"^-.*x_bar", ran.out, re.MULTILINE)
    assert gradc(*words, "-o", str(path)).code == 0
    assert path.read_text().strip() == ran.out.strip()
    assert gradc(*words, "--json").json["text"].strip() == ran.out.strip()


def test_stages_in_the_help_are_those_that_there_are():
    shown = re.sub(r"\s+", " ", gradc("inspect", "--help").out)
    assert f"{', '.join(STAGES[:-1])} or {STAGES[-1]}." in shown


# --- report -------------------------------------------------------------------------------------------------


def test_a_report_is_written_and_its_verdict_told(tmp_path: Path):
    path = tmp_path / "r.html"
    ran = gradc("report", *CIRCUIT, "-o", str(path), "--rounds", "1")
    assert (ran.code, ran.out) == (0, f"{path}: gradient check PASS\n"), ran.err
    html = path.read_text()
    assert html.startswith("<!doctype html>")
    assert '<p class="good">passed</p>' in html
    assert [one.name for one in tmp_path.iterdir()] == ["r.html"]


RIGHT = check_gradient(np.sin, [np.cos(0.5)], [0.5])
WRONG = check_gradient(np.sin, [np.sin(0.5)], [0.5])


@pytest.mark.parametrize(("found", "code"), [(RIGHT, 0), (WRONG, 1), (Report((), 0), 3)], ids=["0", "1", "3"])
def test_the_code_of_a_report_is_that_of_its_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: Report, code: int
):
    def made(self: At, out: Path, **_: object) -> ReportPage:
        page = ReportPage("<p>page</p>", "f", found)
        page.save(out)
        return page

    monkeypatch.setattr(At, "report", made)
    path = tmp_path / "r.html"
    ran = gradc("report", *CIRCUIT, "-o", str(path), "--json")
    assert ran.code == code
    assert (ran.json["file"], ran.json["check"]) == (str(path), str(found.verdict))
    assert path.read_text() == "<p>page</p>"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "r.pdf"), "end it in .html"),
        (("-o", "none/r.html"), "cannot be written"),
        ((), "--out"),
        (("-o", "r.html", "--rounds", "0"), "--rounds"),
    ],
)
def test_a_report_that_cannot_be_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
):
    monkeypatch.chdir(tmp_path)
    ran = gradc("report", *CIRCUIT, *words)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert not list(tmp_path.iterdir())


def test_a_report_of_an_array_is_refused(tmp_path: Path):
    path = tmp_path / "model.py"
    path.write_text("def f(x):\n    return x * 2\n")
    with clean_imports():
        ran = gradc("report", f"{path}:f", "--shape", "x=3", "-o", str(tmp_path / "r.html"))
    assert ran.code == 2
    assert not (tmp_path / "r.html").exists()
