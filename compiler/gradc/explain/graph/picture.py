"""A graph that can be looked at, saved and shown in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradc.errors import ArgumentError
from gradc.explain.drawing.image import Image
from gradc.explain.graph.circuit import circuit
from gradc.explain.graph.collapse import by_kernel, by_layer, by_line
from gradc.explain.graph.dot import dot
from gradc.explain.graph.draw import SHOWN, draw
from gradc.explain.graph.model import Graph
from gradc.ir.stages import Stages

VIEWS = ("auto", "gates", "lines", "layers", "kernels")
LIMIT = 300  # nodes of a picture
MOST = 4000  # gates that are run one by one for their numbers
READABLE = 40  # nodes up to which "auto" shows a finer view
FORMATS = (".svg", ".png", ".dot", ".gv")


class Picture(Image):
    """The graph of a program, drawn.

    Attributes
    ----------
    graph : Graph
        Nodes and wires, as data.
    shown : str
        ``"both"``, ``"forward"`` or ``"adjoint"``.
    view : str
        ``"gates"``, ``"lines"``, ``"layers"`` or ``"kernels"``.
    """

    formats = FORMATS

    def __init__(self, graph: Graph, shown: str, view: str) -> None:
        super().__init__(lambda: draw(graph, shown))
        self.graph = graph
        self.shown = shown
        self.view = view

    @property
    def dot(self) -> str:
        """The graph in Graphviz's language, for layouts of your own."""
        return dot(self.graph)

    def _content(self, suffix: str) -> bytes:
        return self.dot.encode() if suffix in (".dot", ".gv") else super()._content(suffix)

    def __repr__(self) -> str:
        size = f"{self.graph.size} {self.view}, {len(self.graph.wires)} wires"
        return f"<graph of {self.graph.title}: {size}; .save('graph.svg')>"


def picture(
    stages: Stages, inputs: Mapping[str, Any] | None, *, shown: str, by: str, limit: int = LIMIT
) -> Picture:
    """Draw the graph of a program.

    Parameters
    ----------
    inputs : mapping of str to array, optional
        The program's inputs; with None wires carry types instead of numbers.
    shown : {"both", "forward", "adjoint"}
        What stands on the wires.
    by : {"auto", "gates", "lines", "layers", "kernels"}
        What a node is.  ``"auto"`` takes the finest view that has at most 40 nodes, else layers, or kernels where
        there are too many of those.
    limit : int
        Nodes of a picture.

    Raises
    ------
    ArgumentError
        An unknown choice, or a view with more nodes than `limit`.
    """
    for name, value, known in (("shown", shown, SHOWN), ("by", by, VIEWS)):
        if value not in known:
            raise ArgumentError(f"{name}={value!r} is unknown", do=f"choose one of {', '.join(known)}")
    view, graph = _chosen(stages, inputs, by, limit)
    if graph.size > limit:
        raise _too_many(view, graph.size, limit)
    return Picture(graph, shown, view)


def _too_many(view: str, size: int, limit: int) -> ArgumentError:
    coarser = ", ".join(VIEWS[VIEWS.index(view) + 1 :])
    return ArgumentError(
        f"the graph by {view} has {size} nodes, the limit is {limit}",
        do=f"choose a coarser view ({coarser}) or raise the limit" if coarser else "raise the limit",
    )


def _chosen(stages: Stages, inputs: Mapping[str, Any] | None, by: str, limit: int) -> tuple[str, Graph]:
    """Return the view asked for, or the finest one that a reader can take in."""
    many = len(stages.program.equations)
    if by == "gates" and many > limit:
        raise _too_many("gates", many, limit)  # before every gate is run
    if by == "kernels" or (by == "auto" and many > MOST):
        return "kernels", by_kernel(stages, inputs)
    gates = circuit(stages, inputs)
    views = {"gates": lambda: gates, "lines": lambda: by_line(gates), "layers": lambda: by_layer(gates)}
    if by != "auto":
        return by, views[by]()
    for name in views:
        graph = views[name]()
        if graph.size <= (limit if name == "layers" else min(limit, READABLE)):
            return name, graph
    return "kernels", by_kernel(stages, inputs)
