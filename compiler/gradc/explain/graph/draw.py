"""From a graph to a scene: values above each wire, gradients below it, kernels as boxes round their gates.

Three pictures share all positions: ``"both"``, ``"forward"`` (values) and ``"adjoint"`` (gradients, with the arrows
turned round).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from gradc.explain.drawing.scene import (
    HUES,
    Circle,
    Curve,
    Group,
    Mark,
    Rect,
    Scene,
    Strip,
    Text,
    text_width,
)
from gradc.explain.graph.layout import GAP, STUB, Box, Cell, Layout, Link, Route, arrange
from gradc.explain.graph.model import Graph, Node, Wire
from gradc.explain.graph.summary import Summary, summary

SHOWN = ("both", "forward", "adjoint")
RADIUS = 17.0
BARE = 5.0  # half the height of a name without a circle
LINE = 13.0  # between the baselines of two lines of text
SMALL = 9.5  # size of what stands under a gate
STRIP = 5.0
_KEPT = {"array": "●", "register": "○", "recomputed": "↻"}
_KEPT_TEXT = {
    "array": "kept in memory for the backward pass",
    "register": "kept in a register of the same loop",
    "recomputed": "computed again where the backward pass needs it",
}
_LEGEND_ROW = 18.0


def draw(graph: Graph, shown: str = "both") -> Scene:
    """Return the picture of a graph.

    Parameters
    ----------
    shown : {"both", "forward", "adjoint"}
        What stands on the wires.
    """
    marks = _marks_of_laws(graph)
    numbers = {node.id: at for at, node in enumerate(graph.nodes)}
    labels = [_label(wire) for wire in graph.wires]
    readers = _readers(graph)
    boxes = [_box(node, _under(node, readers, marks)) for node in graph.nodes]
    links = [
        Link(numbers[wire.source], numbers[wire.target], label.box)
        for wire, label in zip(graph.wires, labels, strict=True)
    ]
    targets = {link.target for link in links}
    layout = arrange(boxes, links, [at for at in range(len(boxes)) if at not in targets])
    drawn: list[Mark] = [*_kernels(graph, layout, shown)]
    for wire, label, route in zip(graph.wires, labels, layout.routes, strict=True):
        drawn.append(_wire(wire, label, route, shown))
    for node, cell in zip(graph.nodes, layout.nodes, strict=True):
        drawn.append(_node(node, cell, _under(node, readers, marks), shown))
    drawn += _folds(graph, layout)
    legend, width, height = _legend(graph, marks, layout, shown)
    drawn += legend
    return Scene(width, height, tuple(drawn), f"graph of {graph.title}")


# --- what needs how much room -------------------------------------------------------------------------------


class _Label:
    """The numbers of a wire: those above it, those below it, and the room they take."""

    def __init__(self, wire: Wire, value: Summary, gradient: Summary | None) -> None:
        self.role, self.value, self.gradient = wire.role, value, gradient
        below = gradient if gradient is not None else Summary(())
        widest = max((text_width(line) for line in (*value.lines, *below.lines)), default=0.0)
        self.box = Box(widest + 8, _height(value), _height(below))


def _label(wire: Wire) -> _Label:
    if wire.value is None:
        return _Label(wire, Summary((wire.type,) if wire.type else ()), None)
    value = summary(wire.value)
    if wire.type.startswith(f"{wire.tensor} : "):  # of a graph of kernels: which tensor it is
        value = Summary((wire.type, *value.lines[:1]), value.levels)
    return _Label(wire, value, None if wire.gradient is None else summary(wire.gradient))


def _height(found: Summary) -> float:
    return 4 + LINE * len(found.lines) + (STRIP + 2 if found.levels else 0)


def _readers(graph: Graph) -> dict[str, int]:
    readers: dict[str, int] = {}
    for wire in graph.wires:
        readers[wire.source] = readers.get(wire.source, 0) + 1
    return readers


def _under(node: Node, readers: Mapping[str, int], laws: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return the lines under a node with their roles: its name and marks, and the sum of what readers contribute."""
    name = node.name if node.kind != "output" else ""
    marked = f"{name} {_KEPT[node.kept]}" if node.kept else name
    marked += f" [{laws[node.replaced]}]" if node.replaced else ""
    lines = [(marked.strip(), "faint")] if marked.strip() else []
    if node.gradient is not None and readers.get(node.id, 0) != 1 and node.kind in ("input", "gate"):
        lines.append((f"Σ {summary(node.gradient).lines[0]}", "gradient"))
    return lines


def _box(node: Node, under: Sequence[tuple[str, str]]) -> Box:
    width = 2 * RADIUS if _is_round(node) else text_width(node.label) + 16
    widest = max((text_width(line, SMALL) for line, _ in under), default=0.0)
    radius = RADIUS if node.kind not in ("input", "output") else BARE
    return Box(max(width, widest + 4), radius + 2, radius + 4 + LINE * len(under))


def _is_round(node: Node) -> bool:
    return node.kind == "gate" and len(node.label) <= 4


# --- wires and nodes ----------------------------------------------------------------------------------------


def _wire(wire: Wire, label: _Label, route: Route, shown: str) -> Group:
    back = shown == "adjoint" and wire.gradient is not None
    stroke = "wire" if shown != "adjoint" else "gradient" if back else "track"
    marks: list[Mark] = []
    for points in route.pieces:
        marks.append(Curve(points[::-1] if back else points, stroke, arrow=True, dashed=wire.index))
    if shown != "adjoint":
        marks += _stack(label.value, route.label, wire.role if wire.value is not None else "faint", up=True)
    if shown != "forward" and label.gradient is not None:
        marks += _stack(label.gradient, route.label, "gradient", up=False)
    title = f"{wire.tensor} : {wire.type}" if " : " not in wire.type else wire.type
    data = (("wire", wire.tensor), ("from", wire.source), ("to", wire.target))
    return Group(tuple(marks), title, data)


def _stack(found: Summary, cell: Cell, role: str, *, up: bool) -> list[Mark]:
    """Return lines of text and a strip beside a wire, the strip next to it."""
    room = STRIP + 2 if found.levels else 0.0
    marks: list[Mark] = []
    if found.levels:
        width = min(cell.right - cell.left - 8, 6.0 * len(found.levels))
        top = cell.y - 3 - STRIP if up else cell.y + 3
        marks.append(Strip(cell.x - width / 2, top, width, STRIP, found.levels))
    for at, line in enumerate(reversed(found.lines) if up else found.lines):
        y = cell.y - 4 - room - at * LINE if up else cell.y + room + 11 + at * LINE
        marks.append(Text(cell.x, y, line, role))
    return marks


def _node(node: Node, cell: Cell, under: Sequence[tuple[str, str]], shown: str) -> Group:
    marks: list[Mark] = []
    if node.kind in ("input", "output"):
        marks.append(Text(cell.x, cell.y + 4, node.label, "ink", bold=True))
    elif _is_round(node):
        marks += [Circle(cell.x, cell.y, RADIUS, "gate", "outline"), Text(cell.x, cell.y + 4, node.label)]
    else:
        width = text_width(node.label) + 12
        body = Rect(cell.x - width / 2, cell.y - RADIUS + 2, width, 2 * RADIUS - 4, "gate", "outline", 6)
        marks += [body, Text(cell.x, cell.y + 4, node.label)]
    for at, (line, role) in enumerate(under):
        if role != "gradient" or shown != "forward":
            radius = RADIUS if node.kind not in ("input", "output") else BARE
            marks.append(Text(cell.x, cell.y + radius + 11 + at * LINE, line, role, SMALL))
    kernel = "" if node.kernel is None else str(node.kernel)
    data = (("gate", node.id), ("kernel", kernel), ("line", str(node.line or "")))
    return Group(tuple(marks), _title(node), data)


def _title(node: Node) -> str:
    lines = list(node.formula[:12])
    if len(node.formula) > 12:
        lines.append(f"... {len(node.formula) - 12} more")
    if node.source:
        lines.append(f"line {node.line}: {node.source}")
    lines += node.rule[:6]
    if node.gradient is not None:
        lines.append(f"gradient {', '.join(summary(node.gradient).lines)}")
    if node.kept:
        lines.append(_KEPT_TEXT[node.kept])
    if node.replaced:
        lines.append(f"a stable form takes its place in the kernel: {node.replaced}")
    return "\n".join(lines)


def _folds(graph: Graph, layout: Layout) -> list[Mark]:
    """Return the names of wires at both ends of a fold; wires that go together there share a text."""
    names: dict[tuple[float, float], dict[str, None]] = {}
    for wire, route in zip(graph.wires, layout.routes, strict=True):
        for before, after in pairwise(route.pieces):
            for x, y in ((before[-1][0] - STUB / 2, before[-1][1]), (after[0][0] + STUB / 2, after[0][1])):
                names.setdefault((x, y), {})[wire.tensor] = None
    marks: list[Mark] = []
    for (x, y), found in names.items():
        text = ", ".join(found)
        most = int(STUB / text_width("0", SMALL))
        marks.append(Text(x, y - 2, text if len(text) <= most else f"{text[: most - 1]}…", "faint", SMALL))
    return marks


# --- kernels ------------------------------------------------------------------------------------------------


def _kernels(graph: Graph, layout: Layout, shown: str) -> list[Mark]:
    """Return a box for each kernel behind its gates; where others stand between them, a tint behind each."""
    homes = _homes(graph, shown)
    cells = dict(zip((node.id for node in graph.nodes), layout.nodes, strict=True))
    marks: list[Mark] = []
    free = [_room(cells[node.id]) for node in graph.nodes if node.kind in ("input", "output")]
    free += [_room(route.label) for route in layout.routes]
    for kernel in sorted({home for home in homes.values() if home is not None}):
        mine = [cells[name] for name, home in homes.items() if home == kernel]
        others = [_room(cells[name]) for name, home in homes.items() if home not in (kernel, None)]
        for band in sorted({cell.band for cell in mine}):
            hull = _grown(_hull([_room(cell) for cell in mine if cell.band == band]), free)
            inner = _inner(graph, layout, homes, kernel, band)
            shapes = [hull]
            if any(_meet(hull, other) for other in others):
                shapes = [*(_room(cell) for cell in mine if cell.band == band), *inner]
            hue = f"kernel-{kernel % HUES}"
            marks += [Rect(*_sized(shape, 1), "", f"{hue}-line", 8) for shape in shapes]
            marks += [Rect(*_sized(shape, 0), hue, "", 8) for shape in shapes]
    return marks


def _homes(graph: Graph, shown: str) -> dict[str, int | None]:
    """Return the kernel of every gate."""
    return {
        node.id: node.adjoint_kernel if shown == "adjoint" else node.kernel
        for node in graph.nodes
        if node.kind in ("gate", "group")
    }


_Room = tuple[float, float, float, float]


def _room(cell: Cell) -> _Room:
    edge = GAP / 2 - 2
    return cell.left - 4, cell.y - cell.above - edge, cell.right + 4, cell.y + cell.below + edge


def _inner(
    graph: Graph, layout: Layout, homes: Mapping[str, int | None], kernel: int, band: int
) -> list[_Room]:
    """Return the places of wires between two gates of a kernel."""
    return [
        _room(cell)
        for wire, route in zip(graph.wires, layout.routes, strict=True)
        if homes.get(wire.source) == kernel == homes.get(wire.target)
        for cell in route.through
        if cell.band == band
    ]


def _hull(rooms: Sequence[_Room]) -> _Room:
    lefts, tops, rights, bottoms = zip(*rooms, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _grown(hull: _Room, free: Sequence[_Room]) -> _Room:
    """Return a box that cuts no input and no numbers in two."""
    while True:
        cut = [room for room in free if _meet(hull, room) and _hull((hull, room)) != hull]
        if not cut:
            return hull
        hull = _hull((hull, *cut))


def _meet(one: _Room, two: _Room) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]


def _sized(room: _Room, more: float) -> tuple[float, float, float, float]:
    left, top, right, bottom = room
    return left - more, top - more, right - left + 2 * more, bottom - top + 2 * more


# --- legend -------------------------------------------------------------------------------------------------


def _marks_of_laws(graph: Graph) -> dict[str, int]:
    laws = dict.fromkeys(node.replaced for node in graph.nodes if node.replaced)
    return {law: number for number, law in enumerate(laws, 1)}


def _legend(
    graph: Graph, laws: Mapping[str, int], layout: Layout, shown: str
) -> tuple[list[Mark], float, float]:
    """Return the entries under the picture, in columns, and the size of the whole."""
    drawn = sorted({home for home in _homes(graph, shown).values() if home is not None})
    entries = [(f"kernel {graph.kernels[number]}", f"kernel-{number % HUES}") for number in drawn]
    kept = {node.kept for node in graph.nodes}
    entries += [(f"{sign} {_KEPT_TEXT[how]}", "") for how, sign in _KEPT.items() if how in kept]
    entries += [(f"[{number}] a stable form in the kernel: {law}", "") for law, number in laws.items()]
    if not entries:
        return [], layout.width, layout.height
    column = GAP * 2 + 28 + max(text_width(text) for text, _ in entries)
    across = max(1, int(layout.width / column))
    marks: list[Mark] = []
    for at, (text, hue) in enumerate(entries):
        x, y = GAP + at % across * column, layout.height + 12 + at // across * _LEGEND_ROW
        if hue:
            marks.append(Rect(x, y - 9, 20, 12, hue, f"{hue}-line", 3))
        marks.append(Text(x + (28 if hue else 0), y, text, "faint", anchor="start"))
    rows = -(-len(entries) // across)
    return marks, max(layout.width, column), layout.height + 8 + rows * _LEGEND_ROW
