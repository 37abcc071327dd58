"""Where nodes and wires stand: columns from left to right.

A wire that crosses columns has a cell in each of them, and the numbers of a wire have one of their own in front of
the node that reads it.  The order in a column, with few crossings, is that of igraph's layered layout (Sugiyama, Tagawa
and Toda, 1981).  Heights minimise the sum of squared rises of all wires, those between gates counting more, while
the cells of a column keep their order and their distance: nothing of the picture can overlap, and chains are straight.
A long picture is folded like text: it goes on below, at the left, and a wire that does has its name at both ends.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from gradc.errors import InputRefused
from gradc.explain.drawing.scene import Point

GAP = 12.0  # pixels between cells of a column
SPACE = 26.0  # between columns, and more where wires are steep
STEEP, WIDEST = 0.16, 110.0
FOLD = 2400.0  # pixels: what is wider is folded, to
WIDTH = 1800.0  # this width at least, and to the shape of a page
STUB = 62.0  # of a wire at a fold
SAME = 0.01  # pixels between two points of a wire
NEAR = 10.0  # pixels: a wire that rises less may become straight
SWEEPS = 24  # over all columns, there and back
MAIN = 12.0  # how much more the rise of a wire between gates counts than that of a wire from an input,
STRAIGHT = 20.0  # and how much more that of a wire before its numbers than behind them


@dataclass(frozen=True, slots=True)
class Box:
    """The room that a node or the numbers of a wire need; `above` and `below` count from the line of the wire."""

    width: float = 0.0
    above: float = 0.0
    below: float = 0.0


@dataclass(frozen=True, slots=True)
class Link:
    """A wire from node `source` to node `target`, both positions, with the box of its numbers."""

    source: int
    target: int
    label: Box


@dataclass(frozen=True, slots=True)
class Cell:
    """A place in the picture: the middle of its wire, the column's borders, and the room above and below the wire.

    `band` counts the parts of a folded picture from the top.
    """

    x: float
    y: float
    left: float
    right: float
    above: float
    below: float
    band: int = 0


@dataclass(frozen=True, slots=True)
class Route:
    """The points of a wire, in as many pieces as it is folded to, and the cell of its numbers."""

    pieces: tuple[tuple[Point, ...], ...]
    label: Cell
    through: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Places of nodes and wires, and the size of the whole."""

    nodes: tuple[Cell, ...]
    routes: tuple[Route, ...]
    width: float
    height: float


def columns(count: int, links: Sequence[Link], inputs: Sequence[int]) -> list[int]:
    """Return the column of every node: as far left as its operands allow.

    What has at most one operand that is computed stands just before its first reader.
    Requires: nodes are numbered in an order in which each comes after those it reads.
    """
    depth = [0] * count
    for link in sorted(links, key=lambda link: link.target):
        depth[link.target] = max(depth[link.target], depth[link.source] + 1)
    given = set(inputs)
    computed: dict[int, set[int]] = {}
    for link in links:
        computed.setdefault(link.target, set()).update({link.source} - given)
    first: dict[int, int] = {}
    for link in sorted(links, key=lambda link: -link.target):
        if len(computed[link.target]) <= 1 and link.target in first:
            depth[link.target] = first[link.target] - 1
        first[link.source] = min(first.get(link.source, count), depth[link.target])
    for node in inputs:
        depth[node] = max(0, first.get(node, 1) - 1)
    return depth


def arrange(boxes: Sequence[Box], links: Sequence[Link], inputs: Sequence[int]) -> Layout:
    """Return places for nodes with these boxes and for the wires between them.

    Raises
    ------
    InputRefused
        igraph is not installed.
    """
    layers = [2 * column for column in columns(len(boxes), links, inputs)]
    cells, chains = _chains(boxes, layers, links)
    sources = set(inputs)
    weights: dict[tuple[int, int], float] = {}
    for chain in chains:
        pull = 1.0 if chain[0] in sources else MAIN
        for edge in pairwise(chain):  # wires from one gate share cells
            weights[edge] = pull if edge[1] == chain[-1] else pull * STRAIGHT
    heights = _heights(cells, weights, layers)
    borders = _borders(cells, layers, heights, list(weights))
    placed = _folded(
        [
            Cell(sum(borders[layer]) / 2, y, *borders[layer], box.above, box.below)
            for box, layer, y in zip(cells, layers, heights, strict=True)
        ],
        layers,
    )
    routes = [_route(chain, placed, cells) for chain in chains]
    width = max(cell.right for cell in placed) + GAP + (STUB if any(cell.band for cell in placed) else 0.0)
    height = max(cell.y + cell.below for cell in placed) + GAP
    return Layout(tuple(placed[: len(boxes)]), tuple(routes), width, height)


def _chains(
    boxes: Sequence[Box], layers: list[int], links: Sequence[Link]
) -> tuple[list[Box], list[list[int]]]:
    """Return all cells, those of nodes first, and the cells that each wire goes through; `layers` grows with them.

    Wires from one node go together until each turns to its own reader.
    """
    cells, chains = list(boxes), []
    shared: dict[tuple[int, int], int] = {}

    def cell(box: Box, layer: int) -> int:
        cells.append(box)
        layers.append(layer)
        return len(cells) - 1

    for link in links:
        last = layers[link.target] - 1
        chain = [link.source]
        for layer in range(layers[link.source] + 1, last):
            key = (link.source, layer)
            if key not in shared:
                shared[key] = cell(Box(), layer)
            chain.append(shared[key])
        chains.append([*chain, cell(link.label, last), link.target])
    return cells, chains


def _order(count: int, edges: Sequence[tuple[int, int]], layers: Sequence[int]) -> list[list[int]]:
    """Return the cells of every column from top to bottom, with few crossings of wires."""
    try:
        igraph = importlib.import_module("igraph")
    except ImportError as error:
        why = "the layout of pictures is igraph's"
        raise InputRefused("the picture needs igraph", why=why, do="pip install 'gradc[plot]'") from error
    graph = igraph.Graph(n=count, edges=list(edges), directed=True)
    rows = [point[0] for point in graph.layout_sugiyama(layers=list(layers), hgap=1, vgap=1, maxiter=100)]
    found: list[list[int]] = [[] for _ in range(max(layers) + 1)]
    for cell in sorted(range(count), key=lambda cell: rows[cell]):
        found[layers[cell]].append(cell)
    return found


def _heights(
    cells: Sequence[Box], weights: Mapping[tuple[int, int], float], layers: Sequence[int]
) -> list[float]:
    """Return the height of every cell: column by column the best for its neighbours, until nothing moves."""
    from scipy.optimize import isotonic_regression  # noqa: PLC0415

    order = _order(len(cells), list(weights), layers)
    linked: list[list[tuple[int, float]]] = [[] for _ in cells]
    for (source, target), weight in weights.items():
        linked[source].append((target, weight))
        linked[target].append((source, weight))
    apart = [_distances(column, cells) for column in order]
    heights = [0.0] * len(cells)
    for column, distances in zip(order, apart, strict=True):
        for cell, distance in zip(column, distances, strict=True):
            heights[cell] = distance - distances[-1] / 2
    numbered = list(zip(order, apart, strict=True))
    for sweep in range(2 * SWEEPS):
        for column, distances in numbered if sweep % 2 == 0 else reversed(numbered):
            wished, pulls = [], []
            for cell, distance in zip(column, distances, strict=True):
                near = [_pull(layers, cell, other, weight, sweep) for other, weight in linked[cell]]
                total = sum(near) or 1.0
                height = sum(heights[o] * w for (o, _), w in zip(linked[cell], near, strict=True)) / total
                wished.append(height - distance)
                pulls.append(total)
            found = isotonic_regression(wished, weights=pulls).x
            for cell, distance, height in zip(column, distances, found.tolist(), strict=True):
                heights[cell] = height + distance
    _snap(heights, order, apart, linked, layers)
    top = min(height - box.above for height, box in zip(heights, cells, strict=True))
    return [height - top + GAP for height in heights]


def _snap(
    heights: list[float],
    order: Sequence[Sequence[int]],
    apart: Sequence[Sequence[float]],
    linked: Sequence[Sequence[tuple[int, float]]],
    layers: Sequence[int],
) -> None:
    """Make wires that are almost straight quite straight, from the right to the left, where there is room."""
    for column, distances in zip(reversed(order), reversed(apart), strict=True):
        for at, cell in enumerate(column):
            right = [other for other, _ in linked[cell] if layers[other] > layers[cell]]
            if len(right) != 1 or abs(heights[right[0]] - heights[cell]) > NEAR:
                continue
            low, high = -math.inf, math.inf
            if at:
                low = heights[column[at - 1]] + distances[at] - distances[at - 1]
            if at + 1 < len(column):
                high = heights[column[at + 1]] - distances[at + 1] + distances[at]
            heights[cell] = min(max(heights[right[0]], low), high)


def _pull(layers: Sequence[int], cell: int, other: int, weight: float, sweep: int) -> float:
    """Return how much a neighbour counts: at first those that the sweep comes from count most, so that chains move."""
    behind = (layers[other] < layers[cell]) == (sweep % 2 == 0)
    return weight if behind or sweep >= SWEEPS else weight * 0.05


def _distances(column: Sequence[int], cells: Sequence[Box]) -> list[float]:
    """Return how far below the first cell of a column each cell stands at least."""
    found = [0.0]
    for above, below in pairwise(column):
        found.append(found[-1] + cells[above].below + cells[below].above + GAP)
    return found


def _borders(
    cells: Sequence[Box], layers: Sequence[int], heights: Sequence[float], edges: Sequence[tuple[int, int]]
) -> dict[int, tuple[float, float]]:
    """Return left and right of every column."""
    widths: dict[int, float] = {}
    for box, layer in zip(cells, layers, strict=True):
        widths[layer] = max(widths.get(layer, 0.0), box.width)
    steepest: dict[int, float] = {}
    for source, target in edges:
        rise = abs(heights[source] - heights[target])
        steepest[layers[target]] = max(steepest.get(layers[target], 0.0), rise)
    borders: dict[int, tuple[float, float]] = {}
    x = GAP
    for layer in sorted(widths):
        x += min(WIDEST, SPACE * 0.5 + STEEP * steepest.get(layer, 0.0)) if borders else 0.0
        borders[layer] = (x, x + widths[layer])
        x += widths[layer]
    return borders


def _folded(cells: Sequence[Cell], layers: Sequence[int]) -> list[Cell]:
    """Move the columns that are too far to the right below the others; a part begins with a column of wires."""
    width = max(cell.right for cell in cells)
    if width <= FOLD:
        return list(cells)
    height = max(cell.y + cell.below for cell in cells)
    room = max(WIDTH, math.sqrt(1.8 * width * height))
    columns = dict(sorted((layer, (c.left, c.right)) for layer, c in zip(layers, cells, strict=True)))
    band, begin, bands = 0, 0.0, {}
    for layer, (left, right) in columns.items():
        if layer % 2 == 1 and right - begin > room:
            band, begin = band + 1, left
        bands[layer] = (band, begin)
    tops = _tops(cells, [bands[layer][0] for layer in layers])
    found = []
    for cell, layer in zip(cells, layers, strict=True):
        band, begin = bands[layer]
        x, y = STUB + GAP - begin, tops[band]
        moved = replace(cell, x=cell.x + x, y=cell.y + y, left=cell.left + x, right=cell.right + x, band=band)
        found.append(moved)
    return found


def _tops(cells: Sequence[Cell], bands: Sequence[int]) -> list[float]:
    """Return how far each band moves down, so that they stand below each other."""
    tops: list[float] = []
    bottom = GAP
    for band in range(max(bands) + 1):
        mine = [cell for cell, at in zip(cells, bands, strict=True) if at == band]
        tops.append(bottom - min(cell.y - cell.above for cell in mine))
        bottom = tops[-1] + max(cell.y + cell.below for cell in mine) + 3 * GAP
    return tops


def _route(chain: Sequence[int], placed: Sequence[Cell], cells: Sequence[Box]) -> Route:
    source, target = placed[chain[0]], placed[chain[-1]]
    pieces: list[list[Point]] = [[(source.x + cells[chain[0]].width / 2, source.y)]]
    for before, at in pairwise(chain):
        one, two = placed[before], placed[at]
        pieces[-1].append((one.right, one.y))
        if one.band != two.band:
            pieces[-1].append((one.right + STUB, one.y))
            pieces.append([(two.left - STUB, two.y)])
        pieces[-1].append((two.left, two.y))
    pieces[-1].append((target.x - cells[chain[-1]].width / 2, target.y))
    through = tuple(placed[at] for at in chain[1:-1])
    return Route(tuple(_apart(piece) for piece in pieces), through[-1], through)


def _apart(points: Sequence[Point]) -> tuple[Point, ...]:
    """Leave out points that lie where the one before them does."""
    found = list(points[:1])
    found += [two for one, two in pairwise(points) if abs(one[0] - two[0]) + abs(one[1] - two[1]) > SAME]
    return tuple(found)
