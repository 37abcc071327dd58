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


def placed(layers: Sequence[Layer], shape: Shape) -> tuple[Node, ...]:
    """Give every layer its name and its inputs, and find all shapes."""
    shapes: dict[str, Shape] = {INPUT: shape}
    nodes: list[Node] = []
    counts: dict[str, int] = {}
    before = INPUT
    for position, layer in enumerate(layers, 1):
        if not isinstance(layer, Layer):
            do = (
                "nn.Function(f) makes a layer of a function" if callable(layer) else "give layers of gradc.nn"
            )
            raise ArgumentError(f"layer {position} is {layer!r}, no layer", do=do)
        kind = _WORDS.sub("_", type(layer).__name__).lower()
        counts[kind] = counts.get(kind, 0) + 1
        name = layer.name or f"{kind}_{counts[kind]}"
        if not _NAME.match(name) or name in shapes:
            what = "is taken" if name in shapes else "is no name"
            raise ArgumentError(
                f"the name {name!r} of layer {position} {what}", do="name it like conv_2, once"
            )
        inputs = layer.inputs or (before,)
        for wanted in inputs:
            if wanted not in shapes:
                known = ", ".join(shapes)
                raise ArgumentError(
                    f"layer {name} takes {wanted!r}, which no layer before it is called",
                    why="a network has no cycles: layers take what stands before them",
                    do=f"choose of {known}",
                )
        own = tuple(shapes[wanted] for wanted in inputs)
        shapes[name] = _output(layer, name, own)
        nodes.append(Node(layer, name, inputs, own, shapes[name]))
        before = name
    return tuple(nodes)


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
