"""Views of large programs: the gates of one source line, of one layer or of one kernel as one node.

Lines and layers are *runs*: neighbours in program order.  A tensor that has the name of a variable ends a statement,
so a line that a loop visits again is a new node.  A layer is a run of lines that only goes down: what one turn of a
loop, or one call of a function, contributes.  Runs keep the order of the program: no collapsed graph has a cycle.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from gradc.explain.graph.circuit import kernel_names, operands_of
from gradc.explain.graph.model import Graph, Node, Wire
from gradc.explain.kernels.contents import contents
from gradc.explain.kernels.fusion import fusion
from gradc.ir.index.evaluate import Interpreter
from gradc.ir.index.show import show_type
from gradc.ir.stages import Stages

_ANONYMOUS = re.compile(r"v\d+")
WIDEST = 44  # characters of a source line


def by_line(graph: Graph) -> Graph:
    """Join neighbours that come from the same line of the user's source."""
    return _collapsed(graph, lambda one, two: _same_line(one, two) and not _ends(one))


def by_layer(graph: Graph) -> Graph:
    """Join neighbours while their lines go down: one turn of a loop is one node."""

    def goes_on(one: Node, two: Node) -> bool:
        if _same_line(one, two):
            return not _ends(one)
        return one.file == two.file and one.line < two.line

    return _collapsed(graph, goes_on)


def _same_line(one: Node, two: Node) -> bool:
    return (one.file, one.line) == (two.file, two.line)


def _ends(gate: Node) -> bool:
    """Whether the tensor of a gate was assigned to a variable."""
    return not _ANONYMOUS.fullmatch(gate.id)


def _collapsed(graph: Graph, together: Callable[[Node, Node], bool]) -> Graph:
    gates = [node for node in graph.nodes if node.kind == "gate"]
    home: dict[str, str] = {}
    groups: list[Node] = []
    for members in _runs(gates, together):
        groups.append(_group(members))
        home |= {member.id: members[0].id for member in members}
    wires: dict[tuple[str, str, str, bool], Wire] = {}
    for wire in graph.wires:
        source, target = home.get(wire.source, wire.source), home.get(wire.target, wire.target)
        if source != target:
            key = (source, target, wire.tensor, wire.index)
            wires[key] = _joined(wires.get(key), wire, source, target)
    inputs = [node for node in graph.nodes if node.kind == "input"]
    ends = [node for node in graph.nodes if node.kind == "output"]
    return Graph(graph.title, (*inputs, *groups, *ends), tuple(wires.values()), graph.kernels)


def _runs(gates: Sequence[Node], together: Callable[[Node, Node], bool]) -> Iterator[list[Node]]:
    run = list(gates[:1])
    for before, gate in pairwise(gates):
        if not together(before, gate):
            yield run
            run = []
        run.append(gate)
    if run:
        yield run


def _group(members: Sequence[Node]) -> Node:
    first, last = members[0], members[-1]
    source = first.source if first.line == last.line else f"{first.source} …"
    place = f"{first.line}" if first.line == last.line else f"{first.line}-{last.line}"
    label = f"{place}: {_cut(source)}" if first.line else _cut(first.formula[0])
    kernels = {member.kernel for member in members} - {None}
    behind = {member.adjoint_kernel for member in members} - {None}
    return Node(
        id=first.id,
        kind="group",
        label=label,
        name="1 gate" if len(members) == 1 else f"{len(members)} gates",
        formula=tuple(text for member in members for text in member.formula),
        rule=tuple(text for member in members for text in member.rule),
        file=first.file,
        line=first.line,
        source=first.source,
        kept="array" if any(member.kept == "array" for member in members) else "",
        kernel=kernels.pop() if len(kernels) == 1 else None,
        adjoint_kernel=behind.pop() if len(behind) == 1 else None,
        replaced=next((member.replaced for member in members if member.replaced), ""),
    )


def _joined(before: Wire | None, wire: Wire, source: str, target: str) -> Wire:
    """Return one wire for all operands of a group that are the same tensor: what they add to its gradient is added."""
    parts = [found.gradient for found in (before, wire) if found is not None and found.gradient is not None]
    gradient = None if not parts else parts[0] if len(parts) == 1 else parts[0] + parts[1]
    return Wire(source, target, wire.tensor, wire.type, wire.value, gradient, wire.index, wire.role)


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


# --- kernels ------------------------------------------------------------------------------------------------


def by_kernel(stages: Stages, inputs: Mapping[str, Any] | None) -> Graph:
    """Return the graph of the generated kernel: a node for each loop nest, contraction or call, forward and backward.

    Wires are the tensors that pass between them; those of the backward pass have the colour of gradients.
    """
    program = stages.optimised
    known = set(program.inputs)
    values = (
        {} if inputs is None or known - set(inputs) else Interpreter().run(program, inputs)
    )  # what a derivation adds to the inputs has no value here
    forward = set(stages.stable.types)
    groups = fusion(stages)
    names = kernel_names(stages, groups)
    nodes = [Node(name, "input", name, show_type(program.types[name])) for name in program.inputs]
    wires: list[Wire] = []
    home = {name: name for name in program.inputs}
    for group, (_, numbers) in zip(groups, contents(stages), strict=True):
        if not numbers:
            continue
        computed = [program.equations[number] for number in numbers]
        inside = set(group.tensors)
        label = names[group.index]
        node = Node(
            f"piece {group.index}",
            "kernel",
            label,
            _cut(", ".join(group.tensors)),
            group.equations,
            kernel=group.index,
        )
        nodes.append(node)
        read = dict.fromkeys(name for e in computed for _, name in operands_of(e) if name in home)
        read |= dict.fromkeys(name for name in group.tensors if name in home)  # what other pieces began
        for name in read:
            if home[name] != node.id:
                wires.append(_between(stages, home[name], node.id, name, values, name in forward))
        home |= dict.fromkeys(inside, node.id)
    for at, name in enumerate(program.outputs):
        end = f"output {at + 1}"
        nodes.append(Node(end, "output", name))
        wires.append(_between(stages, home[name], end, name, values, name in forward))
    return Graph(stages.kernel.name, tuple(nodes), tuple(wires), names)


def _between(
    stages: Stages, source: str, target: str, name: str, values: Mapping[str, Any], forward: bool
) -> Wire:
    shown = f"{name} : {show_type(stages.optimised.types[name])}"
    return Wire(source, target, name, shown, values.get(name), role="value" if forward else "gradient")
