"""Layers that change shapes, and those that join the outputs of several layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from gradc.nn.layer import Array, Context, Layer, Shape
from gradc.nn.layers.options import axis_of, is_whole, refused


@dataclass(frozen=True)
class Flatten(Layer):
    """All axes but the batch become one.

    Examples
    --------
    >>> Flatten().output_shape((64, 7, 7))
    (3136,)
    """

    def output_shape(self, shape: Shape) -> Shape:
        """Return the number of elements."""
        return (prod(shape),)

    def apply(self, context: Context, x: Array) -> Array:
        """Return the elements of every example in a row."""
        return x.reshape(x.shape[0], -1)


@dataclass(frozen=True)
class Reshape(Layer):
    """Other axes, the same elements in the same order.

    Parameters
    ----------
    shape : sequence of int
        The new shape without the batch; one extent may be -1: whatever is left.

    Examples
    --------
    >>> Reshape((1, 8, -1)).output_shape((64,))
    (1, 8, 8)
    """

    shape: Sequence[int]

    def __post_init__(self) -> None:
        lengths = tuple(self.shape)
        if not all(is_whole(item) and (item > 0 or item == -1) for item in lengths) or lengths.count(-1) > 1:
            raise refused(
                self,
                "shape is not a shape",
                why=f"shape = {self.shape!r}",
                do="write whole numbers of at least 1, of which one may be -1",
            )

    def output_shape(self, shape: Shape) -> Shape:
        """Return the new shape, -1 replaced."""
        lengths, total = tuple(self.shape), prod(shape)
        known = prod(item for item in lengths if item != -1)
        if -1 in lengths and total % known == 0:
            return tuple(total // known if item == -1 else item for item in lengths)
        if -1 in lengths or total != known:
            raise self.refuse(
                f"{total} elements cannot have the shape {lengths}",
                shape,
                do=f"choose extents whose product {'divides' if -1 in lengths else 'is'} {total}",
            )
        return lengths

    def apply(self, context: Context, x: Array) -> Array:
        """Return the elements under their new axes."""
        return x.reshape(x.shape[0], *self.shape)


@dataclass(frozen=True)
class Concatenate(Layer):
    """Several inputs one after the other along an axis.

    Parameters
    ----------
    axis : int
        The axis, without the batch: 0 for features or channels.
    """

    axis: int = 0

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the common shape, the extents of the axis added."""
        at_least_two(self, *shapes)
        axis = axis_of(self, self.axis, *shapes)
        others = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
        if len(others) > 1 or len({len(shape) for shape in shapes}) > 1:
            raise self.refuse(
                f"inputs differ in more than axis {axis}", *shapes, do="make all other axes equal"
            )
        first = shapes[0]
        return (*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])

    def apply(self, context: Context, *inputs: Array) -> Array:
        """Return the joined inputs."""
        return np.concatenate(inputs, axis=self.axis + 1 if self.axis >= 0 else self.axis)


@dataclass(frozen=True)
class Add(Layer):
    """The sum of several inputs of one shape: a skip connection is ``Add(inputs=("deep", "early"))``."""

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the common shape."""
        at_least_two(self, *shapes)
        if len(set(shapes)) > 1:
            raise self.refuse("inputs of different shapes cannot be added", *shapes, do="make them equal")
        return shapes[0]

    def apply(self, context: Context, *inputs: Array) -> Array:
        """Return the sum."""
        total = inputs[0]
        for x in inputs[1:]:
            total = total + x
        return total


def at_least_two(layer: Layer, *shapes: Shape) -> None:
    """Refuse a single input for a layer that joins."""
    if len(shapes) < 2:
        raise layer.refuse("there is one input, and nothing to join", *shapes, do="name inputs=(..., ...)")
