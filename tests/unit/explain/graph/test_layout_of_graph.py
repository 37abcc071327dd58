"""Where nodes and wires stand, on random graphs: nothing overlaps, wires go to the right, folds keep the order."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradc.errors import InputRefused
from gradc.explain.graph.layout import FOLD, GAP, SAME, STUB, Box, Cell, Layout, Link, arrange, columns

EXACT = 1e-6  # pixels


@dataclass(frozen=True)
class Given:
    """A graph to be laid out."""

    boxes: tuple[Box, ...]
    links: tuple[Link, ...]

    @property
    def inputs(self) -> list[int]:
        """Nodes without operands."""
        targets = {link.target for link in self.links}
        return [at for at in range(len(self.boxes)) if at not in targets]

    def layout(self) -> Layout:
        return arrange(self.boxes, self.links, self.inputs)


heights = st.floats(0, 40)


@st.composite
def graphs(draw: st.DrawFn, widest: float = 90.0) -> Given:
    """Nodes in an order in which each comes after what it reads, sometimes the same thing twice."""
    boxes = st.builds(Box, st.floats(0, widest), heights, heights)
    count = draw(st.integers(2, 14))
    links: list[Link] = []
    for target in range(1, count):
        for source in draw(st.lists(st.integers(0, target - 1), max_size=3)):
            links.append(Link(source, target, draw(boxes)))
    if not links:
        links.append(Link(0, 1, draw(boxes)))
    return Given(tuple(draw(boxes) for _ in range(count)), tuple(links))


SHAPES = st.one_of(graphs(), graphs(widest=700.0))  # the wide ones are folded
repeatedly = settings(max_examples=50)


def cells_of(layout: Layout) -> list[Cell]:
    """All cells, each once: wires from one node share theirs."""
    found = {id(cell): cell for cell in layout.nodes}
    for route in layout.routes:
        found |= {id(cell): cell for cell in route.through}
    return list(found.values())


def columns_of(layout: Layout) -> dict[tuple[int, float, float], list[Cell]]:
    found: dict[tuple[int, float, float], list[Cell]] = {}
    for cell in cells_of(layout):
        found.setdefault((cell.band, cell.left, cell.right), []).append(cell)
    return found


def spans(layout: Layout) -> Iterator[tuple[Cell, float, float]]:
    for cell in cells_of(layout):
        yield cell, cell.y - cell.above, cell.y + cell.below


@given(SHAPES)
@repeatedly
def test_cells_of_a_column_keep_their_distance(shape: Given):
    for column in columns_of(shape.layout()).values():
        for upper, lower in pairwise(sorted(column, key=lambda cell: cell.y)):
            assert lower.y - lower.above - (upper.y + upper.below) >= GAP - EXACT


@given(SHAPES)
@repeatedly
def test_columns_of_the_graph_are_apart(shape: Given):
    for (band, _, right), (other, left, _) in pairwise(sorted(columns_of(shape.layout()))):
        assert band < other or left - right >= GAP - EXACT


@given(SHAPES)
@repeatedly
def test_cells_of_the_graph_are_as_large_as_their_boxes(shape: Given):
    layout = shape.layout()
    held = [*zip(shape.boxes, layout.nodes, strict=True)]
    held += [(link.label, route.label) for link, route in zip(shape.links, layout.routes, strict=True)]
    for box, cell in held:
        assert (cell.above, cell.below) == (box.above, box.below)
        assert cell.right - cell.left >= box.width - EXACT
        assert cell.x == pytest.approx((cell.left + cell.right) / 2)


@given(SHAPES)
@repeatedly
def test_every_wire_of_the_graph_has_one_place_for_its_numbers(shape: Given):
    layout = shape.layout()
    labels = [route.label for route in layout.routes]
    assert len({id(label) for label in labels}) == len(shape.links)
    for link, route in zip(shape.links, layout.routes, strict=True):
        assert route.through[-1] is route.label
        target = layout.nodes[link.target]
        assert (route.label.band, route.label.right) < (
            target.band,
            target.left,
        )  # it stands before its reader
        passed = [other.through[:-1] for other in layout.routes]
        assert all(route.label is not cell for cells in passed for cell in cells)


@given(SHAPES)
@repeatedly
def test_wires_of_the_graph_go_to_the_right(shape: Given):
    layout = shape.layout()
    for route in layout.routes:
        for piece in route.pieces:
            assert len(piece) > 1
            assert all(x <= to_x + EXACT for (x, _), (to_x, _) in pairwise(piece))


@given(SHAPES)
@repeatedly
def test_wires_of_the_graph_join_the_edges_of_their_nodes(shape: Given):
    layout = shape.layout()
    for link, route in zip(shape.links, layout.routes, strict=True):
        source, target = layout.nodes[link.source], layout.nodes[link.target]
        begin = source.x + shape.boxes[link.source].width / 2, source.y
        end = target.x - shape.boxes[link.target].width / 2, target.y
        assert route.pieces[0][0] == pytest.approx(begin)
        assert route.pieces[-1][-1] == pytest.approx(end)


@given(SHAPES)
@repeatedly
def test_wires_of_the_graph_run_level_through_their_cells(shape: Given):
    layout = shape.layout()
    for route in layout.routes:
        points = [point for piece in route.pieces for point in piece]
        for cell in route.through:
            for x in (cell.left, cell.right):  # of points at one place there is one
                assert any(abs(at - x) + abs(y - cell.y) <= 2 * SAME for at, y in points)


@given(SHAPES)
@repeatedly
def test_a_wire_is_cut_where_the_graph_is_folded_and_nowhere_else(shape: Given):
    layout = shape.layout()
    for link, route in zip(shape.links, layout.routes, strict=True):
        way = [layout.nodes[link.source], *route.through, layout.nodes[link.target]]
        bands = [cell.band for cell in way]
        assert bands == sorted(bands)
        assert len(route.pieces) == 1 + sum(one != two for one, two in pairwise(bands))
        for before, after in pairwise(route.pieces):
            assert before[-1][0] - before[-2][0] == pytest.approx(STUB)
            assert after[1][0] - after[0][0] == pytest.approx(STUB)


@given(SHAPES)
@repeatedly
def test_parts_of_a_folded_graph_stand_below_each_other(shape: Given):
    layout = shape.layout()
    tops: dict[int, float] = {}
    bottoms: dict[int, float] = {}
    for cell, top, bottom in spans(layout):
        tops[cell.band] = min(tops.get(cell.band, top), top)
        bottoms[cell.band] = max(bottoms.get(cell.band, bottom), bottom)
    for one, two in combinations(sorted(tops), 2):
        assert bottoms[one] + GAP <= tops[two] + EXACT


@given(SHAPES)
@repeatedly
def test_nothing_stands_outside_of_the_graph(shape: Given):
    layout = shape.layout()
    for cell, top, bottom in spans(layout):
        assert cell.left >= GAP - EXACT
        assert cell.right <= layout.width - GAP + EXACT
        assert top >= GAP - EXACT
        assert bottom <= layout.height - GAP + EXACT
    for route in layout.routes:
        for piece in route.pieces:
            assert all(0 <= x <= layout.width and 0 <= y <= layout.height for x, y in piece)


def chain(count: int, width: float = 60.0) -> Given:
    box, label = Box(34, 19, 32), Box(width, 17, 17)
    return Given((box,) * count, tuple(Link(at, at + 1, label) for at in range(count - 1)))


def test_a_narrow_graph_is_not_folded():
    assert {cell.band for cell in chain(8).layout().nodes} == {0}


def test_a_wide_graph_is_folded():
    layout = chain(60).layout()
    bands = {cell.band for cell in layout.nodes}
    assert bands == set(range(max(bands) + 1))
    assert max(bands) >= 2
    assert layout.width < FOLD + 200


def test_a_folded_graph_goes_on_with_wires():
    links = tuple(Link(at, at + 1, Box(10, 5, 5)) for at in range(14))
    layout = Given((Box(500, 20, 20),) * 15, links).layout()
    assert max(cell.band for cell in layout.nodes) > 0
    for link, route in zip(links, layout.routes, strict=True):
        assert route.label.band == layout.nodes[link.target].band


def test_a_chain_of_the_graph_is_straight():
    assert len({round(cell.y, 6) for cell in chain(12).layout().nodes}) == 1


def test_a_graph_of_one_node():
    layout = Given((Box(20, 10, 10),), ()).layout()
    assert layout.routes == ()
    assert (layout.width, layout.height) == (20 + 2 * GAP, 20 + 2 * GAP)


@given(SHAPES)
@repeatedly
def test_what_reads_stands_to_the_right(shape: Given):
    found = columns(len(shape.boxes), shape.links, shape.inputs)
    assert min(found) >= 0
    for link in shape.links:
        assert found[link.source] < found[link.target]


@given(SHAPES)
@repeatedly
def test_inputs_of_the_graph_stand_just_before_their_first_reader(shape: Given):
    found = columns(len(shape.boxes), shape.links, shape.inputs)
    for node in shape.inputs:
        readers = [found[link.target] for link in shape.links if link.source == node]
        assert found[node] == (min(readers) - 1 if readers else 0)


def test_the_layout_of_a_graph_is_repeated():
    shape = chain(30)
    assert shape.layout() == shape.layout()


def test_a_graph_of_four_hundred_gates_is_laid_out():
    box, label = Box(34, 19, 32), Box(50, 17, 17)
    links = [Link(at - step, at, label) for at in range(7, 400) for step in (1, 2 + at % 5)]
    layout = arrange((box,) * 400, links, list(range(6)))
    assert len(layout.routes) == len(links)
    _no_overlaps(layout)


def _no_overlaps(layout: Layout) -> None:
    for column in columns_of(layout).values():
        ordered: Sequence[Cell] = sorted(column, key=lambda cell: cell.y)
        assert all(two.y - two.above >= one.y + one.below for one, two in pairwise(ordered))


def test_without_igraph_the_graph_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "igraph", None)
    with pytest.raises(InputRefused, match=r"needs igraph[\s\S]*pip install 'gradc\[plot\]'"):
        chain(3).layout()
