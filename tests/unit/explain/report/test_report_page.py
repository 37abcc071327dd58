"""The page of a report: one file without references, foreign text escaped, gates joined with their lines."""

import base64
import hashlib
import json
import sys
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.unit.explain.report.pages import ARGUMENTS, inspection, loss, report

import gradc
from gradc.api.bound import At
from gradc.api.report import ReportPage
from gradc.errors import InputRefused, ShapeError
from gradc.explain.report.gates import source_lines, tensor_of
from gradc.explain.report.mathml import mathml, preformatted, table
from gradc.explain.report.page import Tab, page, section, text
from gradc.explain.report.tabs import Evidence, other_tabs
from gradc.ir.index.nodes import outputs_of
from gradc.ir.index.show import show, show_equation

VOID = ("meta", "input", "br", "hr", "img", "link")
TABS = ["graph", "mathematics", "kernels", "timings", "memory", "gradient-check"]
Attributes = dict[str, str | None]


@dataclass
class Element:
    """A node of the page."""

    tag: str
    attributes: Attributes
    children: list["Element | str"] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(one if isinstance(one, str) else one.text for one in self.children)

    def all(self, tag: str = "", **attributes: str) -> list["Element"]:
        """Elements below this one with a tag and attributes; ``_`` stands for ``-``."""
        found = []
        for one in self.children:
            if isinstance(one, Element):
                wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
                if (not tag or one.tag == tag) and wanted.items() <= one.attributes.items():
                    found.append(one)
                found += one.all(tag, **attributes)
        return found

    def one(self, tag: str = "", **attributes: str) -> "Element":
        (found,) = self.all(tag, **attributes)
        return found


class Reader(HTMLParser):
    """Reads a page whose tags are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("", {})]
        self.comments: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert len(dict(attrs)) == len(attrs)
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> ends something else"

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def read(html: str) -> Element:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.comments == []
    (root,) = reader.open
    return root


@cache
def root() -> Element:
    return read(report().html)


def gates() -> dict[str, Any]:
    return json.loads(root().one("script", id="gates").text)


def lines_of(pane: str) -> list[tuple[str, str | None]]:
    """The lines of a pane, numbers left out, each with its tensor."""
    found = []
    for line in root().one("pre", aria_label=pane).all("span", class_="line"):
        shown = "".join(
            one if isinstance(one, str) else one.text * (one.attributes["class"] != "number")
            for one in line.children
        )
        found.append((shown, line.attributes.get("data-tensor")))
    return found


# --- one file -----------------------------------------------------------------------------------------------


def test_tags_of_the_report_are_balanced():
    assert [one.tag for one in root().children if isinstance(one, Element)] == ["html"]


@pytest.mark.parametrize("word", ["http:", "https:", "src=", "href=", "url(", "@import", "//cdn", "file:"])
def test_the_report_refers_to_nothing_outside(word: str):
    html = report().html
    for space in ("http://www.w3.org/2000/svg", "http://www.w3.org/1998/Math/MathML"):
        html = html.replace(f'xmlns="{space}"', "")
    assert word not in html


def test_the_policy_of_the_report_allows_its_script_alone():
    scripts = root().all("script")
    (script,) = [one for one in scripts if one.attributes.get("type") != "application/json"]
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    policy = root().one("meta", http_equiv="Content-Security-Policy").attributes["content"]
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert len(scripts) == 2
    assert not [name for one in root().all() for name in one.attributes if name.startswith("on")]


def test_identifiers_of_the_report_are_its_own():
    found = [one.attributes["id"] for one in root().all() if "id" in one.attributes]
    assert len(found) == len(set(found))


# --- tabs ---------------------------------------------------------------------------------------------------


def test_the_report_has_a_panel_for_each_tab():
    tabs = root().all("button", role="tab")
    assert [tab.attributes["id"] for tab in tabs] == TABS
    panels = root().all("section", role="tabpanel")
    assert [panel.attributes["id"] for panel in panels] == [tab.attributes["aria-controls"] for tab in tabs]
    assert [panel.attributes["aria-labelledby"] for panel in panels] == TABS
    assert all(len(panel.text) > 100 for panel in panels)


def panel(name: str) -> Element:
    return root().one("section", id=f"panel-{name}")


def test_the_report_shows_the_verdict_of_the_check():
    shown = panel("gradient-check")
    assert shown.one("p", class_="good").text == "passed"
    assert str(report().check).strip() in shown.text
    assert report().check


def test_the_report_of_a_wrong_gradient_says_so():
    evidence = Evidence(
        None, _profile(), "timings", "workspace", "counts", "schedule", "loops", "assembly", "<FAIL>", False
    )
    (*_, last) = other_tabs(inspection().stages, ("x", "w"), evidence)
    shown = read(last.content)
    assert shown.one("p", class_="bad").text == "not passed"
    assert not shown.all("p", class_="good")
    assert "<FAIL>" in shown.text


def _profile() -> Any:
    scene = inspection().graph().scene
    return SimpleNamespace(chart=lambda: SimpleNamespace(scene=scene), __str__=lambda: "profile")


def test_tabs_of_the_report_hold_what_was_measured():
    evidence = Evidence(
        None,
        _profile(),
        "<timings>",
        "<workspace>",
        "<counts>",
        "<schedule>",
        "<loops>",
        "<assembly>",
        "ok",
        True,
    )
    found = {tab.id: read(tab.content).text for tab in other_tabs(inspection().stages, ("x", "w"), evidence)}
    held = {
        "kernels": ("<schedule>", "<loops>", "<assembly>"),
        "timings": ("<timings>",),
        "memory": ("<workspace>", "<counts>"),
    }
    assert list(found) == TABS[1:]
    for name, texts in found.items():
        for shown in ("<schedule>", "<loops>", "<assembly>", "<timings>", "<workspace>", "<counts>"):
            assert (shown in texts) == (shown in held.get(name, ()))


def test_the_mathematics_of_the_report_are_those_of_the_inspection():
    shown = panel("mathematics")
    pre = [one.text for one in shown.all("pre")]
    assert pre[:2] == [inspection().mathematics.rstrip(), inspection().latex.rstrip()]
    assert "local derivative times upstream gradient" in shown.text
    rows = shown.one("table", class_="math").all("tr")
    assert len(rows) == inspection().latex.count(" \\\\\n") + 1
    assert all(row.all("math") for row in rows)


def test_the_kernels_of_the_report_are_those_of_the_inspection():
    shown = panel("kernels")
    assert inspection().fusion.rstrip() in shown.text
    for line in inspection().source.splitlines():
        assert line in shown.text


# --- gates --------------------------------------------------------------------------------------------------


def test_every_gate_of_the_report_has_a_template_and_an_entry():
    nodes = [node for node in inspection().graph().graph.nodes if node.kind != "output"]
    assert list(gates()) == [node.id for node in nodes]
    assert [entry["number"] for entry in gates().values()] == list(range(len(nodes)))
    drawn = [
        group.attributes["data-gate"] for group in panel("graph").all("g") if "data-gate" in group.attributes
    ]
    assert [name for name in drawn if name in gates()] == list(gates())
    for number, node in enumerate(nodes):
        template = root().one("template", id=f"rule-{number}")
        assert template.one("h3").text == node.id
        terms = [term.text for term in template.all("dt")]
        assert len(terms) == len(template.all("dd"))
        assert ("equation" in terms) == (node.kind == "gate")
        assert ("gradient" in terms) == (node.gradient is not None)
        assert ("in the kernel" in terms) == bool(node.replaced)
        assert ("backward pass" in terms) == bool(node.kept)
        assert "value" in terms


def test_a_gate_of_the_report_names_its_tensor_and_its_cotangent():
    found = {name: entry["tensors"] for name, entry in gates().items()}
    assert found["x"] == ["x", "x_bar"]
    assert found["labels"] == ["labels"]  # an index has no cotangent
    assert found["h"] == ["h", "h_bar"]


def test_a_gate_of_the_report_that_a_pass_merged_points_to_what_is_computed_instead():
    computed = {name for e in inspection().stages.optimised.equations for name in outputs_of(e)}
    found = {name: entry["kernel"] for name, entry in gates().items()}
    inputs = inspection().stages.program.inputs
    assert all(not found[name] for name in inputs)
    for name in set(found) - set(inputs):
        assert bool(found[name]) == (name not in computed)
        assert set(found[name]) <= computed


def test_every_equation_line_of_the_report_is_marked():
    program = inspection().stages.program
    lines = lines_of("equations")
    assert "\n".join(line for line, _ in lines) == show(program).rstrip()
    marked = [tensor for _, tensor in lines if tensor]
    assert marked == [outputs_of(equation)[0] for equation in program.equations]
    lit = {tensor for entry in gates().values() for tensor in entry["tensors"]}
    assert set(marked) <= lit


def test_every_kernel_line_of_the_report_belongs_to_its_equation():
    lines = lines_of("kernel")
    assert "\n".join(line for line, _ in lines) == inspection().source.rstrip()
    equations = {
        show_equation(equation): outputs_of(equation)[0]
        for equation in inspection().stages.optimised.equations
    }
    found = [
        (line.strip().removeprefix("# "), tensor) for line, tensor in lines if line.strip().startswith("# ")
    ]
    checked = {text for text, tensor in found if text in equations and tensor == equations[text]}
    assert checked == {text for text, _ in found if text in equations}
    assert len(checked) > len(equations) / 2
    for (before, tensor), (line, own) in pairwise(lines):
        if tensor and before.strip().startswith("# ") and not line.strip().startswith("#"):
            assert own == tensor or line.strip().startswith("for ") or not line.strip()


def test_lines_of_a_kernel_belong_to_the_equation_above_them():
    source = "\n".join(
        (
            "# Header: x = 1.",
            "def f(x, y):",
            "    # v1[i] = x[i] * 2.0",
            "    for i in range(n):",
            "        # v2[i] = v1[i]",
            "        v2 = v1",
            "        more = v2",
            "    # a note",
            "    # out[i, j] += v2[i]",
            "    out[i, j] += v2",
            "    return out",
            "    # q, r = qr(a)",
            "    q = 1",
            "q = 2",
        )
    )
    found = read(source_lines(source)).all("span", class_="line")
    assert [line.attributes.get("data-tensor") for line in found] == [
        None,
        None,
        "v1",
        None,
        "v2",
        "v2",
        "v2",
        None,
        "out",
        "out",
        None,
        "q",
        "q",
        None,
    ]
    assert [line.one("span", class_="number").text for line in found] == [str(at) for at in range(1, 15)]


@pytest.mark.parametrize(
    ("line", "tensor"),
    [
        ("v1[i, j] = x[i]", "v1"),
        ("v2 = sum[i] v1[i]", "v2"),
        ("x_bar[i] += y", "x_bar"),
        ("q, r = qr(a)", "q"),
    ],
)
def test_the_tensor_of_an_equation_of_the_report(line: str, tensor: str):
    assert tensor_of(line) == tensor


# --- foreign text -------------------------------------------------------------------------------------------


def test_foreign_text_of_the_report_is_escaped():
    html = report().html
    assert "<b>" not in html
    assert html.count("</script>") == 2
    source = "# </script><b>bold</b> <!-- ]]> \" ' &"
    shown = [one for one in panel("graph").all("dd") if source in one.text]
    assert shown
    titles = [one.text for one in panel("graph").all("title")]
    assert any(source in title for title in titles)


@pytest.mark.parametrize(
    "foreign", ["</script><b>", "<!--", "a\u202eb", "&amp;", '" onload="', "]]>", "$title ${x}"]
)
def test_a_hostile_title_of_the_report_is_text(foreign: str):
    html = page(
        foreign,
        foreign,
        [Tab("Graph", section(foreign, "<p>p</p>", foreign))],
        {foreign: {"tensors": [foreign]}},
    )
    found = read(html)
    safe = foreign.replace("\u202e", "?")
    assert [one.text for one in (*found.all("title"), *found.all("h1"), *found.all("h2"))] == [safe] * 3
    assert json.loads(found.one("script", id="gates").text) == {foreign: {"tensors": [foreign]}}
    assert text(foreign) == text(safe)
    assert len(found.all("script")) == 2


def test_formulas_of_the_report_are_mathml():
    shown = mathml(r"\frac{a}{b} < c")
    assert read(shown).one("math").all("mfrac")
    assert "displaystyle" in shown
    assert read(mathml("a < b")).text == "a<b"


def test_a_formula_of_several_lines_is_a_table_of_the_report():
    found = read(table("\\begin{aligned}\na &= b \\\\\nc\n\\end{aligned}\n")).all("tr")
    assert [[bool(cell.all("math")) for cell in row.all("td")] for row in found] == [
        [True, True],
        [False, True],
    ]


def test_text_of_the_report_as_it_is():
    assert read(preformatted("a <b> & c\n")).one("pre").text == "a <b> & c"


def test_without_latex2mathml_the_report_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "latex2mathml.converter", None)
    with pytest.raises(InputRefused, match=r"needs latex2mathml[\s\S]*pip install 'gradc\[plot\]'"):
        mathml("x")


# --- making and saving it -----------------------------------------------------------------------------------


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is timed or checked."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was measured")

    monkeypatch.setattr(At, "profile", refuse)
    monkeypatch.setattr(At, "check", refuse)


@pytest.mark.usefixtures("unmeasured")
def test_the_report_of_an_array_is_refused_before_anything_is_measured():
    with pytest.raises(ShapeError):
        gradc.differentiate(lambda x: x * 2).at(np.ones(3)).report()


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("name", ["report.pdf", "report", "html"])
def test_a_report_of_another_suffix_is_refused_before_anything_is_measured(tmp_path: Path, name: str):
    with pytest.raises(InputRefused, match=r"is no name of a page[\s\S]*end it in \.html"):
        gradc.differentiate(loss).at(*ARGUMENTS).report(tmp_path / name)


def test_a_report_is_saved_whole(tmp_path: Path):
    for name in ("r.html", "r.HTM"):
        assert report().save(tmp_path / name) == tmp_path / name
        assert (tmp_path / name).read_bytes() == report().html.encode()
    with pytest.raises(InputRefused, match="No such file"):
        report().save(tmp_path / "none" / "r.html")


def test_a_report_shows_itself_in_a_notebook():
    small = ReportPage('<p title="a">&amp;</p>', "f", report().check)
    (frame,) = read(small._repr_html_()).children
    assert isinstance(frame, Element)
    assert frame.attributes["srcdoc"] == small.html
    assert repr(report()).startswith("<report of loss: ")
