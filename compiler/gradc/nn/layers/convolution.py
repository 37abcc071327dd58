"""Convolutions over one and two axes, as index equations; channels come first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, ClassVar

from gradc.nn.layer import Array, Context, Initialiser, Layer, Parameter, Shape
from gradc.nn.layers.options import he, refused, whole, zeros
from gradc.nn.layers.windows import Padding, PerAxis, Windows, window_counts, windows


@dataclass(frozen=True)
class _Convolution(Layer):
    """What convolutions over any number of axes share."""

    channels: int
    kernel: PerAxis
    stride: PerAxis = 1
    padding: Padding = "valid"
    dilation: PerAxis = 1
    groups: int = 1
    bias: bool = True
    initialiser: Initialiser | None = None

    axes: ClassVar[int]
    lengths: ClassVar[str]

    def __post_init__(self) -> None:
        whole(self, "channels", "groups")
        self.windows()
        if self.channels % self.groups:
            raise refused(
                self,
                f"{self.channels} channels cannot be divided into {self.groups} groups",
                why="every group makes as many channels",
                do="make channels a multiple of groups",
            )

    def windows(self) -> Windows:
        """Return the windows of the kernel."""
        return windows(
            self, self.axes, self.kernel, self.stride, self.padding, self.dilation, called="kernel"
        )

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the output: channels and how many windows fit."""
        if len(shape) != self.axes + 1:
            raise self.refuse(
                f"{type(self).__name__} takes (channels, {self.lengths})",
                shape,
                do="put a Reshape before it, with the channels first",
            )
        if shape[0] % self.groups:
            raise self.refuse(
                f"{shape[0]} channels of the input cannot be divided into {self.groups} groups",
                shape,
                do="choose groups that divide the channels of the input",
            )
        return (self.channels, *window_counts(self, self.windows(), shape))

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        """Return ``weight`` of shape (channels, input channels of a group, kernel) and ``bias``."""
        sizes = self.windows().sizes
        inputs, outputs = shape[0] // self.groups, self.channels // self.groups
        fans = inputs * prod(sizes), outputs * prod(sizes)
        size = (self.channels, inputs, *sizes)
        found = {"weight": Parameter(size, self.initialiser or he(), *fans, is_weight=True)}
        if self.bias:
            found["bias"] = Parameter((self.channels,), zeros())
        return found

    def apply(self, context: Context, x: Array) -> Array:
        """Return the sums of products of kernel and windows."""
        moving = self.windows()
        x, weight, groups = moving.padded(x), context["weight"], self.groups
        if groups > 1:
            x = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
            weight = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
        y = _equation(moving, groups > 1)(weight, x)
        if groups > 1:
            y = y.reshape(y.shape[0], self.channels, *y.shape[3:])
        return y + context["bias"][(slice(None), *(None,) * self.axes)] if self.bias else y


@lru_cache
def _equation(moving: Windows, grouped: bool) -> Any:
    """Return the equation of a convolution; in the grouped one ``g`` counts groups."""
    from gradc.api.equation_source import equation  # noqa: PLC0415  (loads SymPy)

    g, inside = "g," if grouped else "", moving.offsets()
    return equation(
        f"y[n,{g}o,{moving.positions()}] = sum[c,{inside}] w[{g}o,c,{inside}] * x[n,{g}c,{moving.read()}]"
    )


@dataclass(frozen=True)
class Conv1D(_Convolution):
    """Convolution of (channels, length).

    Parameters
    ----------
    channels : int
        How many channels the output has.
    kernel, stride, dilation : int
        How many elements a kernel has, how far it moves, and how far apart it reads.
    padding : {"valid", "same"}, int or ((before, after),)
        Zeros around the input; "same" gives one output per `stride` elements.
    groups : int
        Into how many parts channels are divided that do not see each other.
    bias : bool
        Whether to add a bias per channel.
    initialiser : Initialiser, optional
        Makes the first weights; by default He, normal.

    Examples
    --------
    >>> Conv1D(8, 3, padding="same").output_shape((2, 100))
    (8, 100)
    """

    axes: ClassVar[int] = 1
    lengths: ClassVar[str] = "length"


@dataclass(frozen=True)
class Conv2D(_Convolution):
    """Convolution of images (channels, height, width).

    Parameters
    ----------
    channels : int
        How many channels the output has.
    kernel, stride, dilation : int or (int, int)
        How many pixels a kernel has, how far it moves, and how far apart it reads, for both axes or for each.
    padding : {"valid", "same"}, int or per axis int or (before, after)
        Zeros around the image; "same" gives one output per `stride` pixels.
    groups : int
        Into how many parts channels are divided that do not see each other; as many as channels: depthwise.
    bias : bool
        Whether to add a bias per channel.
    initialiser : Initialiser, optional
        Makes the first weights; by default He, normal.

    Examples
    --------
    >>> Conv2D(96, 11, stride=4).output_shape((3, 227, 227))
    (96, 55, 55)
    """

    axes: ClassVar[int] = 2
    lengths: ClassVar[str] = "height, width"
