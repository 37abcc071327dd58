"""A network as a picture: its layers and what passes between them."""

from __future__ import annotations

from gradc.explain.graph.model import Graph, Node, Wire
from gradc.explain.graph.picture import Picture
from gradc.nn.layer import Shape
from gradc.nn.nodes import INPUT
from gradc.nn.nodes import Node as Placed
from gradc.nn.signals import Signals
from gradc.nn.summary import described

OUTPUT = "output"


def graph(title: str, nodes: tuple[Placed, ...], shape: Shape, signals: Signals | None = None) -> Picture:
    """Return the picture of a network.

    Parameters
    ----------
    title : str
        What the network is called.
    nodes : tuple of Node
        The layers in their places.
    shape : tuple of int
        Of one example.
    signals : Signals, optional
        What flows through it for a batch: values then stand above the wires and gradients below them; where several
        layers take an output, its gradient is their sum and stands at none of them.

    Returns
    -------
    Picture
        ``.save("network.svg")``.
    """
    shapes = {INPUT: shape, **{node.name: node.output for node in nodes}}
    readers = [wanted for node in nodes for wanted in node.inputs] + [nodes[-1].name]
    boxes = [Node(INPUT, "input", INPUT)]
    wires = []
    for node in nodes:
        size = sum(_count(found.shape) for found in node.parameters.values())
        under = f"{node.name}: {size:,}".replace(",", " ") if size else node.name
        boxes.append(Node(node.name, "group", described(node.layer), under))
        wires += [(wanted, node.name) for wanted in node.inputs]
    boxes.append(Node(OUTPUT, "output", OUTPUT))
    wires.append((nodes[-1].name, OUTPUT))
    drawn = []
    for source, target in wires:
        value = None if signals is None else signals.outputs.get(source)
        gradient = None if signals is None else signals.output_gradients.get(source)
        alone = readers.count(source) == 1
        type_ = " x ".join(map(str, shapes[source]))
        drawn.append(Wire(source, target, source, type_, value, gradient if alone else None))
    return Picture(Graph(title, tuple(boxes), tuple(drawn)), "both", "layers")


def _count(shape: Shape) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
