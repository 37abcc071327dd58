"""Pictures of graphs: no text lies on another text or on a foreign gate, three pictures share their places."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from tests.unit.explain.graph.samples import SAMPLES, graph_of, inspection_of

from gradc.explain.drawing.scene import Circle, Curve, Group, Rect, Scene, Strip, Text, extent_of, flat
from gradc.explain.graph.draw import RADIUS, SHOWN, draw
from gradc.explain.graph.model import Graph, Node, Wire

VIEWS = ("gates", "lines", "layers", "kernels")
EXACT = 1e-6  # pixels
Room = tuple[float, float, float, float]


@cache
def scene_of(name: str, by: str = "gates", shown: str = "both", values: bool = True) -> Scene:
    return draw(graph_of(name, by, values), shown)


def texts_of(scene: Scene) -> list[Text]:
    return [mark for mark in flat(scene.marks) if isinstance(mark, Text)]


def gates_of(scene: Scene) -> dict[str, Group]:
    return {
        mark.data[0][1]: mark for mark in scene.marks if isinstance(mark, Group) and mark.data[0][0] == "gate"
    }


def wires_of(scene: Scene) -> list[Group]:
    return [mark for mark in scene.marks if isinstance(mark, Group) and mark.data[0][0] == "wire"]


def meet(one: Room, two: Room) -> bool:
    return (
        one[0] + EXACT < two[2]
        and two[0] + EXACT < one[2]
        and one[1] + EXACT < two[3]
        and two[1] + EXACT < one[3]
    )


def pairs_that_meet(rooms: Sequence[tuple[Room, Any]]) -> Iterator[tuple[Any, Any]]:
    """Return what overlaps, by a sweep from left to right."""
    open_: list[tuple[Room, Any]] = []
    for room, what in sorted(rooms, key=lambda item: item[0]):
        open_ = [item for item in open_ if item[0][2] > room[0]]
        yield from ((what, other) for before, other in open_ if meet(room, before))
        open_.append((room, what))


def body_of(gate: Group) -> Room | None:
    """The outline of a gate; names of inputs and outputs have none."""
    for mark in gate.marks:
        if isinstance(mark, Circle):
            return mark.x - mark.radius, mark.y - mark.radius, mark.x + mark.radius, mark.y + mark.radius
        if isinstance(mark, Rect):
            return room_of(mark)
    return None


def room_of(rect: Rect | Strip) -> Room:
    return rect.x, rect.y, rect.x + rect.width, rect.y + rect.height


def boxes_of(scene: Scene) -> dict[str, list[Room]]:
    """The boxes of each kernel, by its colour."""
    found: dict[str, list[Room]] = {}
    first = next(at for at, mark in enumerate(scene.marks) if isinstance(mark, Group))
    for mark in scene.marks[:first]:
        if isinstance(mark, Rect) and mark.fill:
            found.setdefault(mark.fill, []).append(room_of(mark))
    return found


def inside(room: Room, box: Room) -> bool:
    return box[0] <= room[0] and box[1] <= room[1] and room[2] <= box[2] and room[3] <= box[3]


# --- room ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", VIEWS)
@pytest.mark.parametrize("name", SAMPLES)
def test_no_text_of_the_graph_lies_on_another(name: str, by: str):
    for shown in SHOWN:
        scene = scene_of(name, by, shown)
        texts = [(extent_of(text), text) for text in texts_of(scene)]
        assert texts
        assert not list(pairs_that_meet(texts))


@pytest.mark.parametrize("name", SAMPLES)
def test_no_text_of_the_graph_lies_on_another_where_wires_carry_types(name: str):
    scene = scene_of(name, values=False)
    assert not list(pairs_that_meet([(extent_of(text), text) for text in texts_of(scene)]))


@pytest.mark.parametrize("by", VIEWS)
@pytest.mark.parametrize("name", SAMPLES)
def test_no_text_of_the_graph_lies_on_a_foreign_gate(name: str, by: str):
    for shown in SHOWN:
        scene = scene_of(name, by, shown)
        gates = gates_of(scene)
        bodies = [(body, (gate, None)) for gate in gates.values() for body in (body_of(gate),) if body]
        own = {id(mark): gate for gate in gates.values() for mark in gate.marks}
        texts = [(extent_of(text), (own.get(id(text)), text)) for text in texts_of(scene)]
        for one, two in pairs_that_meet(bodies + texts):
            assert one[0] is two[0], f"{one} and {two}"


@pytest.mark.parametrize("by", VIEWS)
@pytest.mark.parametrize("name", SAMPLES)
def test_strips_of_the_graph_lie_on_no_text_and_no_gate(name: str, by: str):
    for shown in SHOWN:
        scene = scene_of(name, by, shown)
        strips = [(room_of(mark), mark) for mark in flat(scene.marks) if isinstance(mark, Strip)]
        others: list[tuple[Room, Any]] = [(extent_of(text), text) for text in texts_of(scene)]
        others += [(body, gate) for gate in gates_of(scene).values() for body in (body_of(gate),) if body]
        found = [pair for pair in pairs_that_meet(strips + others) if any(isinstance(m, Strip) for m in pair)]
        assert not found


@pytest.mark.parametrize("by", VIEWS)
@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_of_the_graph_is_cut_off(name: str, by: str):
    for shown in SHOWN:
        scene = scene_of(name, by, shown)
        whole = (0.0, 0.0, scene.width, scene.height)
        for mark in flat(scene.marks):
            match mark:
                case Text():
                    assert inside(extent_of(mark), whole)
                case Rect() | Strip():
                    assert inside(room_of(mark), whole)
                case Circle(x, y, radius):
                    assert inside((x - radius, y - radius, x + radius, y + radius), whole)
                case Curve(points):
                    assert all(0 <= x <= scene.width and 0 <= y <= scene.height for x, y in points)


@pytest.mark.parametrize("name", SAMPLES)
def test_labels_of_round_gates_fit_into_them(name: str):
    for gate in gates_of(scene_of(name)).values():
        circle, body = gate.marks[0], body_of(gate)
        label = gate.marks[1] if body else gate.marks[0]
        assert isinstance(label, Text)
        left, _, right, _ = extent_of(label)
        if isinstance(circle, Circle):
            assert right - left <= 2 * RADIUS
        elif body:
            assert inside((left, body[1], right, body[3]), body)


def test_a_chain_behind_a_tree_of_the_graph_is_straight():
    gates = gates_of(scene_of("neuron"))
    bodies = [body_of(gates[name]) for name in ("v4", "v5", "v6", "v7", "v8")]
    assert len({round(body[1], 9) for body in bodies if body}) == 1


# --- three pictures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", VIEWS)
@pytest.mark.parametrize("name", SAMPLES)
def test_the_three_pictures_of_a_graph_share_all_places(name: str, by: str):
    both, *others = (scene_of(name, by, shown) for shown in SHOWN)
    for other in others:
        assert list(gates_of(both)) == list(gates_of(other))
        for one, two in zip(gates_of(both).values(), gates_of(other).values(), strict=True):
            assert body_of(one) == body_of(two)
            assert one.data == two.data
        for one, two in zip(wires_of(both), wires_of(other), strict=True):
            assert [_ends(mark) for mark in _curves(one)] == [_ends(mark) for mark in _curves(two)]


def _curves(wire: Group) -> list[Curve]:
    return [mark for mark in wire.marks if isinstance(mark, Curve)]


def _ends(curve: Curve) -> list[tuple[float, float]]:
    return sorted(curve.points)


def shown_on(wire: Group) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for mark in wire.marks:
        if isinstance(mark, Text):
            found.setdefault(mark.role, []).append(mark.text)
    return found


def test_the_graph_has_values_above_and_gradients_below_its_wires():
    for wire in wires_of(scene_of("neuron")):
        (line,) = _curves(wire)
        (value,) = [m for m in wire.marks if isinstance(m, Text) and m.role == "value"]
        (gradient,) = [m for m in wire.marks if isinstance(m, Text) and m.role == "gradient"]
        ends = [one for one in pairwise(line.points) if one[0][0] <= value.x <= one[1][0]]
        ((_, y), (_, to_y)) = ends[0]
        assert (len(ends), y) == (1, to_y)
        assert extent_of(value)[3] < y < extent_of(gradient)[1]


def test_the_forward_graph_has_values_alone_and_the_adjoint_one_gradients():
    both, forward, adjoint = (list(map(shown_on, wires_of(scene_of("neuron", shown=s)))) for s in SHOWN)
    assert [set(one) for one in both] == [{"value", "gradient"}] * 13
    assert [set(one) for one in forward] == [{"value"}] * 13
    assert [set(one) for one in adjoint] == [{"gradient"}] * 13
    assert [one["value"] for one in both] == [one["value"] for one in forward]
    assert [one["gradient"] for one in both] == [one["gradient"] for one in adjoint]
    assert {"value": ["0.3679"], "gradient": ["-0.5344"]} in both


def test_the_adjoint_graph_turns_the_wires_that_gradients_go_along():
    forward, adjoint = (scene_of("looked up", shown=shown) for shown in ("forward", "adjoint"))
    for one, two in zip(wires_of(forward), wires_of(adjoint), strict=True):
        for before, after in zip(_curves(one), _curves(two), strict=True):
            turned = dict(one.data)["wire"] != "rows"
            assert after.points == (before.points[::-1] if turned else before.points)
            assert after.stroke == ("gradient" if turned else "track")
            assert before.dashed == after.dashed == (not turned)


def test_the_sum_of_a_gradient_stands_under_the_input_that_branches():
    def under(scene: Scene) -> list[str]:
        return [mark.text for mark in gates_of(scene)["x"].marks if isinstance(mark, Text)][1:]

    graph = inspection_of(lambda x, y: x * y + x, 2.0, 5.0).graph(by="gates").graph
    assert under(draw(graph)) == ["Σ 6"]
    assert under(draw(graph, "adjoint")) == ["Σ 6"]
    assert under(draw(graph, "forward")) == []
    single = inspection_of(lambda x: x * 2, 2.0).graph(by="gates").graph
    assert under(draw(single)) == []


# --- kernels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["gates", "lines", "layers"])
@pytest.mark.parametrize("name", SAMPLES)
def test_boxes_of_the_graph_hold_the_gates_of_their_kernel_alone(name: str, by: str):
    for shown in SHOWN:
        scene, graph = scene_of(name, by, shown), graph_of(name, by)
        boxes, gates = (
            boxes_of(scene) if any(home(n, shown) is not None for n in graph.nodes) else {},
            gates_of(scene),
        )
        kernels = {home(node, shown) for node in graph.nodes} - {None}
        hues = {f"kernel-{kernel % 8}" for kernel in kernels if kernel is not None}
        assert set(boxes) == hues
        alone = len(hues) == len(kernels)
        for node in graph.nodes:
            kernel, body = home(node, shown), body_of(gates[node.id])
            if kernel is None or body is None:
                continue
            assert any(inside(body, box) for box in boxes[f"kernel-{kernel % 8}"])
            for hue, rooms in boxes.items():
                if alone and hue != f"kernel-{kernel % 8}":
                    assert not any(meet(body, room) for room in rooms)


def home(node: Node, shown: str) -> int | None:
    if node.kind not in ("gate", "group"):
        return None
    return node.adjoint_kernel if shown == "adjoint" else node.kernel


def test_boxes_of_the_graph_cut_no_numbers_in_two():
    for name in ("two layers", "cross entropy", "attention", "convolution"):
        scene = scene_of(name)
        for rooms in boxes_of(scene).values():
            for box in rooms:
                for text in texts_of(scene):
                    room = extent_of(text)
                    if any(
                        isinstance(m, Group) and text in m.marks and m.data[0][0] == "wire"
                        for m in scene.marks
                    ):
                        assert inside(room, box) or not meet(room, box)


def test_each_kernel_of_the_graph_is_in_the_legend():
    scene, graph = scene_of("two layers"), graph_of("two layers")
    shown = {text.text for text in texts_of(scene)}
    kernels = {kernel for node in graph.nodes for kernel in (home(node, "both"),) if kernel is not None}
    assert len(kernels) > 1
    for kernel in kernels:
        assert f"kernel {graph.kernels[kernel]}" in shown


# --- marks --------------------------------------------------------------------------------------------------


def test_marks_of_the_graph_are_told_in_the_legend():
    shown = [text.text for text in texts_of(scene_of("neuron"))]
    assert "[1] a stable form in the kernel: 1 / (1 + exp(-x)) = expit(x)" in shown
    assert "○ kept in a register of the same loop" in shown
    assert "v6 [1]" in shown
    assert "v8 ○ [1]" in shown
    assert not any(text.startswith("●") for text in shown)


def test_a_pointer_on_a_gate_of_the_graph_shows_formula_line_rule_and_gradient():
    title = gates_of(scene_of("circuit"))["v1"].title.splitlines()
    assert title[0] == "v1 = x + y"
    assert title[1].endswith(": return (x + y) * z")
    assert title[2:4] == ["∂v1/∂x = 1", "∂v1/∂y = 1"]
    assert title[4] == "gradient -4"


def test_gates_and_wires_of_the_graph_are_named_for_scripts():
    scene = scene_of("circuit")
    first = SAMPLES["circuit"][0].__code__.co_firstlineno
    assert dict(gates_of(scene)["v1"].data) == {"gate": "v1", "kernel": "0", "line": str(first + 1)}
    assert dict(wires_of(scene)[0].data) == {"wire": "x", "from": "x", "to": "v1"}


def test_an_array_of_the_graph_has_a_strip_beside_its_wire():
    graph = inspection_of(lambda x: x.sum(), np.array([1.0, -2.0])).graph(by="gates").graph
    (strip, _) = [mark for mark in flat(draw(graph).marks) if isinstance(mark, Strip)]
    assert strip.levels == (0.5, -1.0)


def test_foreign_names_of_the_graph_take_the_room_that_they_need():
    long = "n" * 60
    nodes = (
        Node("a", "input", long),
        Node("b", "gate", "漢字漢字", "combe\u0301"),
        Node("c", "output", long),
    )
    wires = (Wire("a", "b", "a", "f64[" + long + "]"), Wire("b", "c", "b", long))
    scene = draw(Graph(long, nodes, wires))
    texts = [(extent_of(text), text) for text in texts_of(scene)]
    assert not list(pairs_that_meet(texts))
    assert all(inside(room, (0, 0, scene.width, scene.height)) for room, _ in texts)


@pytest.mark.parametrize("by", VIEWS)
@pytest.mark.parametrize("name", SAMPLES)
def test_arrows_of_the_graph_point_to_the_reader(name: str, by: str):
    for wire in wires_of(scene_of(name, by)):
        for curve in _curves(wire):
            one, two = curve.points[-2:]
            assert two[0] - one[0] > 1
