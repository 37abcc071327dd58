"""A graph in Graphviz's language."""

from __future__ import annotations

from gradc.explain.drawing.palette import LIGHT
from gradc.explain.drawing.scene import HUES, printable
from gradc.explain.graph.model import Graph, Node, Wire
from gradc.explain.graph.summary import summary


def dot(graph: Graph) -> str:
    """Return a graph as text for Graphviz: clusters are kernels, a wire carries its value and its gradient."""
    numbers = {node.id: f"n{at}" for at, node in enumerate(graph.nodes)}
    lines = [f"digraph {_quoted(graph.title)} {{", "  rankdir=LR;", '  node [fontname="monospace"];']
    lines.append('  edge [fontname="monospace"];')
    kernels: dict[int, list[Node]] = {}
    for node in graph.nodes:
        if node.kernel is None or node.kind == "kernel":
            lines.append(f"  {_node(node, numbers)}")
        else:
            kernels.setdefault(node.kernel, []).append(node)
    for kernel, nodes in sorted(kernels.items()):
        lines.append(f"  subgraph cluster_{kernel} {{")
        lines.append(f"    label={_quoted('kernel ' + graph.kernels[kernel])};")
        lines.append(f'    style=filled; fillcolor="{LIGHT[f"kernel-{kernel % HUES}"]}";')
        lines += [f"    {_node(node, numbers)}" for node in nodes]
        lines.append("  }")
    lines += [f"  {_wire(wire, numbers)}" for wire in graph.wires]
    return "\n".join((*lines, "}")) + "\n"


def _node(node: Node, numbers: dict[str, str]) -> str:
    shape = {"input": "plaintext", "output": "plaintext", "gate": "circle"}.get(node.kind, "box")
    label = f"{node.label}\n{node.name}" if node.name and node.kind != "output" else node.label
    tip = _quoted("\n".join(node.formula))
    return f"{numbers[node.id]} [shape={shape}, label={_quoted(label)}, tooltip={tip}];"


def _wire(wire: Wire, numbers: dict[str, str]) -> str:
    value = wire.type if wire.value is None else ", ".join(summary(wire.value).lines)
    parts = [value] if wire.gradient is None else [value, ", ".join(summary(wire.gradient).lines)]
    dashed = ", style=dashed" if wire.index else ""
    return f"{numbers[wire.source]} -> {numbers[wire.target]} [label={_quoted(chr(10).join(parts))}{dashed}];"


def _quoted(text: str) -> str:
    escaped = printable(text, lines=True).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
