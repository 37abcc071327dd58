"""Layers in their places: names, inputs, and the shapes of everything."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass

from gradc.errors import ArgumentError, ShapeError
from gradc.nn.layer import Layer, Parameter, Shape

INPUT = "input"  # what layers call the network's input
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_WORDS = re.compile(r"(?<=[a-z]{2})(?=[A-Z])")  # MaxPool is max_pool, ReLU is relu


@dataclass(frozen=True, slots=True)
class Node:
    """A layer in its place: what it is called, what it takes, and the shapes of its inputs and its output."""

    layer: Layer
    name: str
    inputs: tuple[str, ...]
    shapes: tuple[Shape, ...]
    output: Shape

    @property
    def parameters(self) -> dict[str, Parameter]:
        """What it learns, by its name and theirs: ``dense_1.weight``."""
        return {f"{self.name}.{key}": found for key, found in self.layer.parameters(*self.shapes).items()}

    @property
    def statistics(self) -> dict[str, Parameter]:
        """The running statistics that it keeps, named like parameters."""
        return {f"{self.name}.{key}": found for key, found in self.layer.statistics(*self.shapes).items()}


class Placing:
    """Gives one layer after the other its name and its inputs, and finds all shapes.

    Parameters
    ----------
    shape : tuple of int
        Of one example of the network's input.
    """

    def __init__(self, shape: Shape) -> None:
        self._shapes: dict[str, Shape] = {INPUT: shape}
        self._counts: dict[str, int] = {}
        self._before = INPUT

    def add(self, layer: Layer) -> Node:
        """Return the next layer in its place.

        Raises
        ------
        ArgumentError
            It is no layer, its name is taken, or it takes what no layer before it is called.
        ShapeError
            It does not take what comes to it.
        """
        position = len(self._shapes)
        if not isinstance(layer, Layer):
            do = (
                "nn.Function(f) makes a layer of a function" if callable(layer) else "give layers of gradc.nn"
            )
            raise ArgumentError(f"layer {position} is {layer!r}, no layer", do=do)
        name = self._named(layer, position)
        inputs = layer.inputs or (self._before,)
        for wanted in inputs:
            if wanted not in self._shapes:
                raise ArgumentError(
                    f"layer {name} takes {wanted!r}, which no layer before it is called",
                    why="a network has no cycles: layers take what stands before them",
                    do=f"choose of {', '.join(self._shapes)}",
                )
        shapes = tuple(self._shapes[wanted] for wanted in inputs)
        self._shapes[name] = _output(layer, name, shapes)
        self._before = name
        return Node(layer, name, inputs, shapes, self._shapes[name])

    def _named(self, layer: Layer, position: int) -> str:
        kind = _WORDS.sub("_", type(layer).__name__).lower()
        self._counts[kind] = self._counts.get(kind, 0) + 1
        name = layer.name or f"{kind}_{self._counts[kind]}"
        if not _NAME.match(name) or name in self._shapes:
            what = "is taken" if name in self._shapes else "is no name"
            raise ArgumentError(
                f"the name {name!r} of layer {position} {what}", do="name it like conv_2, once"
            )
        return name


def first_unread(nodes: Sequence[Node]) -> int | None:
    """Return the position of the first layer, other than the last, whose output no layer takes."""
    read = {wanted for node in nodes for wanted in node.inputs}
    return next((at for at, node in enumerate(nodes[:-1]) if node.name not in read), None)


def require_all_read(nodes: Sequence[Node]) -> None:
    """Refuse a layer that would do nothing, because no layer takes its output.

    Raises
    ------
    ArgumentError
        It names the first one.
    """
    at = first_unread(nodes)
    if at is not None:
        name = nodes[at].name
        raise ArgumentError(
            f"no layer takes the output of layer {name}",
            why="only the last layer's output is the network's",
            do=f'leave it out, or name it: inputs=("{name}", ...)',
        )


def _output(layer: Layer, name: str, shapes: tuple[Shape, ...]) -> Shape:
    try:
        inspect.signature(layer.output_shape).bind(*shapes)
        inspect.signature(layer.apply).bind(None, *shapes)
    except TypeError as error:
        what = f"{type(layer).__name__} does not take {len(shapes)} input{'' if len(shapes) == 1 else 's'}"
        raise ShapeError(what, where=f"layer {name}", do="name its inputs: inputs=(...)") from error
    try:
        return layer.output_shape(*shapes)
    except ShapeError as error:
        error.where = f"layer {name}"
        raise
