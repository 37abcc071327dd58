"""The page of a report in a browser: keys, pointer and focus do what they should, and nothing is refused."""

import json
import re
import shutil
import subprocess
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from tests.unit.explain.report.pages import report

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=3000",
    "--window-size=1400,900",
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
TABS = ["graph", "mathematics", "kernels", "timings", "memory", "gradient-check"]

ERRORS = """<script>
window.failures = [];
addEventListener("error", (event) => failures.push(event.message));
addEventListener("unhandledrejection", (event) => failures.push(String(event.reason)));
</script>"""
TOOLS = """
const all = (selector) => [...document.querySelectorAll(selector)];
const one = (selector) => document.querySelector(selector);
const ids = (elements) => elements.map((element) => element.id);
const shown = () => ids(all("[role=tabpanel]").filter((panel) => panel.getClientRects().length > 0));
const chosen = () => ids(all("[role=tab][aria-selected=true]"));
const tabbable = () => ids(all("[role=tab]").filter((tab) => tab.tabIndex === 0));
const press = (key, on) => {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
  (on || document.activeElement).dispatchEvent(event);
  return event.defaultPrevented;
};
const gate = (name) => all("g[data-gate]").find((group) => group.dataset.gate === name);
const over = (element) => element.dispatchEvent(new MouseEvent("mouseover", { bubbles: true }));
const click = (element) => element.dispatchEvent(new MouseEvent("click", { bubbles: true }));
const focus = (element) => {
  element.focus();
  if (document.activeElement !== element) throw new Error("no focus");
  if (!document.hasFocus()) element.dispatchEvent(new FocusEvent("focus"));
};
const pane = (name) => all(`pre[aria-label=${name}] .line`);
const lit = (name) => pane(name).filter((line) => line.classList.contains("lit")).map((line) => line.dataset.tensor);
const state = () => ({
  gates: all("g.lit").map((group) => group.dataset.gate),
  equations: [...new Set(lit("equations"))],
  kernel: [...new Set(lit("kernel"))],
  detail: one("#detail h3") ? one("#detail h3").textContent : "",
  rows: all("#detail dt").map((term) => term.textContent),
});
const visible = (element) => getComputedStyle(element).display !== "none";
const drawn = (role) => all(`.picture text.fill-${role}`).filter(visible).length;
"""


def browse(path: Path, *flags: str, at: str = "") -> subprocess.CompletedProcess[str]:
    """Run the browser with a profile of its own."""
    assert CHROMIUM is not None
    words = [CHROMIUM, *FLAGS, f"--user-data-dir={path.parent / 'profile'}", *flags]
    found = subprocess.run(
        [*words, path.as_uri() + at], capture_output=True, text=True, timeout=120, check=False
    )
    assert found.returncode == 0, found.stderr
    return found


def seen(folder: Path, script: str) -> Any:
    """Return what a script sees on a copy of the page that lets it run."""
    html = report().html
    copy, count = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', lambda _: ERRORS, html)
    assert count == 1
    run = f"""<script>
let result;
try {{ result = (() => {{ {TOOLS} {script} }})(); }} catch (error) {{ failures.push(String(error)); }}
const pre = document.createElement("pre");
pre.id = "seen";
pre.textContent = JSON.stringify({{ result, failures }});
document.body.append(pre);
</script></body>"""
    assert copy.count("</body>") == 1
    path = folder / "copy.html"
    path.write_text(copy.replace("</body>", run), encoding="utf-8")
    found = browse(path, "--dump-dom")
    match = re.search(r'<pre id="seen">(.*?)</pre>', found.stdout, re.DOTALL)
    assert match is not None
    answer = json.loads(unescape(match.group(1)))
    assert answer["failures"] == []
    return answer["result"]


@cache
def gates() -> dict[str, Any]:
    match = re.search(r'id="gates">(.*?)</script>', report().html, re.DOTALL)
    assert match is not None
    return json.loads(match.group(1))


def test_the_report_loads_without_a_complaint(tmp_path: Path):
    path = tmp_path / "report.html"
    report().save(path)
    found = browse(path, "--enable-logging=stderr", "--v=0", "--dump-dom")
    said = [line for line in found.stderr.splitlines() if "CONSOLE" in line]
    assert said == []
    assert found.stdout.count('aria-selected="true"') == 1  # its script ran


def test_the_report_in_a_frame_of_a_notebook_makes_no_complaint(tmp_path: Path):
    path = tmp_path / "notebook.html"
    path.write_text(report()._repr_html_())
    found = browse(path, "--enable-logging=stderr", "--v=0", "--dump-dom")
    assert [line for line in found.stderr.splitlines() if "CONSOLE" in line] == []


def test_the_policy_of_the_report_stops_a_foreign_script(tmp_path: Path):
    path = tmp_path / "report.html"
    path.write_text(report().html.replace("</body>", "<script>document.title = 'foreign'</script></body>"))
    found = browse(path, "--enable-logging=stderr", "--v=0", "--dump-dom")
    assert "<title>foreign</title>" not in found.stdout
    assert "Content Security Policy" in found.stderr  # so that the test above would see a complaint


def test_tabs_of_the_report_go_by_click_and_keys(tmp_path: Path):
    steps = """
    const steps = [];
    const note = (what) => steps.push([what, shown(), chosen(), tabbable(), document.activeElement.id]);
    note("start");
    for (const tab of all("[role=tab]")) { tab.click(); note("click"); }
    focus(one("#graph")); one("#graph").click(); note("click");
    for (const key of ["ArrowRight", "ArrowRight", "ArrowLeft", "End", "ArrowRight", "ArrowLeft", "Home"]) {
      const prevented = press(key); note(key + " " + prevented);
    }
    note("a " + press("a"));
    return [steps, location.hash];
    """
    (steps, fragment) = seen(tmp_path, steps)
    order = [*TABS, "graph"]
    expected: list[tuple[str, str]] = [("start", "graph"), *(("click", tab) for tab in order)]
    for key, tab in (
        ("ArrowRight", "mathematics"),
        ("ArrowRight", "kernels"),
        ("ArrowLeft", "mathematics"),
        ("End", "gradient-check"),
        ("ArrowRight", "graph"),
        ("ArrowLeft", "gradient-check"),
        ("Home", "graph"),
    ):
        expected.append((f"{key} true", tab))
    expected.append(("a false", "graph"))
    assert [(what, panels, tabs, reached) for what, panels, tabs, reached, _ in steps] == [
        (what, [f"panel-{tab}"], [tab], [tab]) for what, tab in expected
    ]
    by_key = [(what, focus) for what, _, _, _, focus in steps if what.endswith("true")]
    assert by_key == [(what, tab) for what, tab in expected if what.endswith("true")]
    assert fragment == "#tab=graph"


@pytest.mark.parametrize(
    ("at", "tab"), [("#tab=memory", "memory"), ("#tab=none", "graph"), ("#memory", "graph")]
)
def test_an_address_of_the_report_opens_its_tab(tmp_path: Path, at: str, tab: str):
    path = tmp_path / "report.html"
    report().save(path)
    dom = browse(path, "--dump-dom", at=at).stdout
    chosen = re.findall(r'<button role="tab"[^>]*id="([\w-]+)"[^>]*aria-selected="true"', dom)
    open_ = re.findall(r'<section role="tabpanel" id="panel-([\w-]+)"(?![^>]*hidden)', dom)
    assert chosen == open_ == [tab]


def test_a_focused_gate_of_the_report_lights_what_belongs_to_it(tmp_path: Path):
    script = """
    const held = (name) => [...new Set(pane(name).map((line) => line.dataset.tensor).filter(Boolean))];
    const states = Object.keys(JSON.parse(one("#gates").textContent)).map((name) => {
      focus(gate(name));
      return [name, gate(name).tabIndex, state()];
    });
    return [states, held("equations"), held("kernel")];
    """
    found, in_equations, in_kernel = seen(tmp_path, script)
    assert [name for name, _, _ in found] == list(gates())
    for name, index, state in found:
        tensors = gates()[name]["tensors"]
        assert index == 0
        assert state["gates"] == [name]
        assert state["detail"] == name
        assert set(state["equations"]) == set(tensors) & set(in_equations)
        instead = gates()[name]["kernel"]
        assert set(state["kernel"]) == {*tensors, *instead} & set(in_kernel)
        assert not instead or set(state["kernel"]) & set(instead)
    by_name = {name: state for name, _, state in found}
    assert by_name["h"]["equations"] == ["h"]
    assert set(by_name["h"]["kernel"]) == {"h", "h_bar"}
    assert "derivative" in by_name["h"]["rows"]
    assert "equation" in by_name["h"]["rows"]
    assert by_name["x"]["equations"] == []
    assert "equation" not in by_name["x"]["rows"]


def test_a_pointer_on_a_line_of_the_report_lights_its_gate(tmp_path: Path):
    script = """
    const line = (name, tensor) => pane(name).find((one) => one.dataset.tensor === tensor);
    over(line("equations", "h"));
    const first = state();
    over(line("kernel", "h_bar"));
    const second = state();
    over(gate("p").querySelector("text"));
    const third = state();
    over(one("h1"));
    return [first, second, third, state()];
    """
    first, second, third, last = seen(tmp_path, script)
    assert first["gates"] == second["gates"] == ["h"]
    assert first == second
    assert third["gates"] == ["p"]
    assert last == third  # what was seen last stays


def test_a_click_holds_a_gate_of_the_report_and_escape_lets_go(tmp_path: Path):
    script = """
    const found = [];
    const note = () => found.push(state().detail);
    over(gate("h")); note();
    click(gate("p")); note();
    over(gate("h")); note();
    press("Escape", document.body); note();
    over(gate("h")); note();
    click(gate("h")); over(gate("p")); note();
    click(gate("h")); over(gate("p")); note();
    click(gate("h")); click(gate("p")); over(gate("h")); note();
    click(one("#panel-graph .hint")); over(gate("h")); note();
    return found;
    """
    assert seen(tmp_path, script) == ["h", "p", "p", "p", "h", "h", "p", "p", "h"]


def test_boxes_of_the_report_hide_values_and_gradients(tmp_path: Path):
    script = """
    const found = [[drawn("value"), drawn("gradient")]];
    const [values, gradients] = all("input[data-hide]");
    for (const box of [values, gradients, values, gradients]) {
      box.click();
      found.push([drawn("value"), drawn("gradient")]);
    }
    return found;
    """
    found = seen(tmp_path, script)
    values, gradients = found[0]
    assert values > 0
    assert gradients > 0
    assert found == [[values, gradients], [0, gradients], [0, 0], [values, 0], [values, gradients]]


def test_the_button_of_the_report_turns_the_theme(tmp_path: Path):
    script = """
    const paper = () => getComputedStyle(document.body).backgroundColor;
    const found = [[document.documentElement.dataset.theme || "", paper()]];
    for (let at = 0; at < 2; at++) {
      one("#theme").click();
      found.push([document.documentElement.dataset.theme, paper()]);
    }
    return found;
    """
    start, dark, light = seen(tmp_path, script)
    assert start == ["", "rgb(255, 255, 255)"]
    assert dark == ["dark", "rgb(13, 17, 23)"]
    assert light == ["light", "rgb(255, 255, 255)"]


def test_nothing_of_the_report_needs_a_wider_window(tmp_path: Path):
    script = """
    return all("[role=tab]").map((tab) => { tab.click(); return [tab.id, document.documentElement.scrollWidth]; });
    """
    for name, width in seen(tmp_path, script):
        assert width <= 1400, name
