"""The tab of the graph: the picture, and beside it equations, rules and lines of the kernel."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from gradc.explain.drawing.svg import svg
from gradc.explain.graph.circuit import operands_of
from gradc.explain.graph.model import Node
from gradc.explain.graph.picture import Picture
from gradc.explain.graph.summary import summary
from gradc.explain.mathematics.derivation import local_rule, names_of
from gradc.explain.mathematics.programs import differentiated, equation_latex
from gradc.explain.mathematics.symbols import Symbols
from gradc.explain.report.mathml import mathml
from gradc.explain.report.page import Tab, text
from gradc.ir.index.nodes import Equation, Program, outputs_of
from gradc.ir.index.show import show
from gradc.ir.stages import Stages

_COMMENT = re.compile(r"\s*# ([A-Za-z_]\w*)(\[[^=]*\])?(, \w+)* \+?= ")
_BLOCK = re.compile(r"\s*(for|if|elif|else|while|def|return|with|run_tasks)\b")
_CHOICES = """<fieldset><legend hidden>what the wires show</legend>
<label><input type="checkbox" data-hide="hide-values" checked> values</label>
<label><input type="checkbox" data-hide="hide-gradients" checked> gradients</label></fieldset>"""
_HINT = (
    "Rest on a gate, or reach it with the tabulator: its equation, its derivative rule and its lines in the kernel "
    "light up. A click holds them; Escape lets go. Values stand above a wire, gradients below it."
)


def graph_tab(stages: Stages, picture: Picture, wrt: Sequence[str]) -> tuple[Tab, dict[str, Any]]:
    """Return the tab, and for each gate of the picture what its hovering lights up."""
    program = stages.program
    cotangents = differentiated(program, wrt)[1] if wrt else {}
    equations: dict[str, list[Equation]] = {}
    for equation in program.equations:
        for name in outputs_of(equation):
            equations.setdefault(name, []).append(equation)
    gates, details, names = {}, [], names_of(program)
    nodes = [node for node in picture.graph.nodes if node.kind != "output"]
    values = {wire.source: wire.value for wire in picture.graph.wires}
    computed = {name for equation in stages.optimised.equations for name in outputs_of(equation)}
    for number, node in enumerate(nodes):
        members = _members(node)
        tensors = [*members, *(cotangents[name] for name in members if name in cotangents)]
        gates[node.id] = {
            "number": number,
            "tensors": tensors,
            "kernel": [] if node.kind == "input" else _merged_into(node.id, picture, computed),
        }
        own = [equation for name in members for equation in equations.get(name, ())]
        rows = _rows(node, own, program, cotangents, values.get(node.id), picture.graph.kernels, names)
        details.append(f'<template id="rule-{number}">{rows}</template>')
    content = f"""<p class="hint">{text(_HINT)}</p>
{_CHOICES}
<div class="picture" tabindex="0">{svg(picture.scene, alone=False)}</div>
<div id="detail" aria-live="polite"><p class="hint">no gate chosen</p></div>
<div class="panes"><pre tabindex="0" aria-label="equations">{_equations(program)}</pre>
<pre tabindex="0" aria-label="kernel">{source_lines(stages.source)}</pre></div>
{"".join(details)}"""
    return Tab("Graph", content), gates


def _merged_into(gate: str, picture: Picture, computed: Collection[str]) -> list[str]:
    """Return the gate that the kernel computes instead of this one: its reader, or a reader of that."""
    readers = {wire.source: wire.target for wire in reversed(picture.graph.wires)}
    found = gate
    while found in readers and found not in computed:
        found = readers[found]
    return [found] if found != gate and found in computed else []


def tensor_of(line: str) -> str:
    """Return the tensor on the left of an equation's text."""
    return line.partition(" ")[0].partition("[")[0].rstrip(",")


def _members(node: Node) -> list[str]:
    return list(dict.fromkeys([node.id, *map(tensor_of, node.formula)]))


def _rows(
    node: Node,
    equations: Sequence[Equation],
    program: Program,
    cotangents: Mapping[str, str],
    value: Any,
    kernels: Sequence[str],
    names: Symbols,
) -> str:
    """Return what is known of a gate: equations, value, gradient, local derivatives, place, kernel."""
    few = equations[:8]
    rows = [("equation", mathml(equation_latex(equation, program, names))) for equation in few]
    if len(equations) > len(few):
        rows.append(("", f"... {len(equations) - len(few)} more"))
    if value is not None:
        rows.append(("value", text(", ".join(summary(value).lines))))
    if node.gradient is not None:
        rows.append(("gradient", text(", ".join(summary(node.gradient).lines))))
    for equation in few:
        if any(name in cotangents for name in outputs_of(equation)):
            flows = [at for at, name in operands_of(equation) if at >= 0 and name in cotangents]
            rows += [("derivative", mathml(local_rule(equation, at, program, names).latex)) for at in flows]
    if node.line:
        rows.append(("source", text(f"line {node.line}: {node.source}")))
    if node.kernel is not None:
        rows.append(("kernel", text(kernels[node.kernel])))
    if node.kept:
        rows.append(
            (
                "backward pass",
                {"array": "kept in memory", "register": "kept in a register"}.get(node.kept, node.kept),
            )
        )
    if node.replaced:
        rows.append(("in the kernel", text(f"a stable form: {node.replaced}")))
    listed = "".join(f"<dt>{name}</dt><dd>{shown}</dd>" for name, shown in dict.fromkeys(rows))
    return f"<h3>{text(node.id)}</h3><dl>{listed}</dl>"


def _equations(program: Program) -> str:
    lines = []
    for line in show(program).rstrip().splitlines():
        name = "" if line.startswith(("program", "  where", "  requires")) else tensor_of(line.strip())
        lines.append(_line(line, name))
    return "".join(lines)


def source_lines(source: str) -> str:
    """Return the lines of a kernel, numbered, each with the tensor whose equation it belongs to."""
    lines, tensor, indent = [], "", 0
    for number, line in enumerate(source.rstrip().splitlines(), 1):
        found = _COMMENT.match(line)
        depth = len(line) - len(line.lstrip())
        if found:
            tensor, indent = found.group(1), depth
        elif not line.strip() or depth < indent or _BLOCK.match(line) or line.lstrip().startswith("#"):
            tensor = ""
        lines.append(_line(line, tensor, number))
    return "".join(lines)


def _line(line: str, tensor: str, number: int = 0) -> str:
    data = f' data-tensor="{text(tensor)}"' if tensor else ""
    shown = f'<span class="comment">{text(line)}</span>' if line.lstrip().startswith("#") else text(line)
    count = f'<span class="number">{number}</span>' if number else ""
    return f'<span class="line"{data}>{count}{shown}</span>'
