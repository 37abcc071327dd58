"""Pooling: the largest or the mean of windows of (channels, length) or (channels, height, width)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from gradc.nn.layer import Array, Context, Layer, Shape
from gradc.nn.layers.options import refused
from gradc.nn.layers.windows import Padding, PerAxis, Windows, window_counts, windows


@dataclass(frozen=True)
class _Pool(Layer):
    """What pooling layers share."""

    size: PerAxis
    stride: PerAxis | None = None
    padding: Padding = "valid"

    def __post_init__(self) -> None:
        fields = (self.size, self.stride, self.padding)
        given = [len(field) for field in fields if not isinstance(field, int | str | None)]
        self.windows(min(max(given, default=2), 2))

    def windows(self, axes: int) -> Windows:
        """Return the windows over so many axes."""
        stride = self.size if self.stride is None else self.stride
        found = windows(self, axes, self.size, stride, self.padding)
        for size, margin in zip(found.sizes, found.margins or (), strict=False):
            if max(margin) >= size:
                raise refused(
                    self,
                    "a window would lie in the padding alone",
                    why=f"size = {self.size!r}, padding = {self.padding!r}",
                    do="write padding smaller than size",
                )
        return found

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the output: channels and how many windows fit."""
        if len(shape) not in (2, 3):
            raise self.refuse(
                f"{type(self).__name__} takes (channels, length) or (channels, height, width)",
                shape,
                do="pool before Flatten()",
            )
        return (shape[0], *window_counts(self, self.windows(len(shape) - 1), shape))


@dataclass(frozen=True)
class MaxPool(_Pool):
    """The largest of every window; equal largest share the gradient.

    Parameters
    ----------
    size : int or one int per axis
        Elements of a window.
    stride : int or one int per axis, optional
        How far windows lie apart; by default they touch.
    padding : {"valid", "same"}, int or per axis int or (before, after)
        What may lie outside the image; it is never the largest.

    Examples
    --------
    >>> MaxPool(3, 2).output_shape((96, 55, 55))
    (96, 27, 27)
    """

    def apply(self, context: Context, x: Array) -> Array:
        """Return the largest of every window."""
        moving = self.windows(x.ndim - 2)
        return _pooling("max", moving)(moving.padded(x, -np.inf))


@dataclass(frozen=True)
class AvgPool(_Pool):
    """The mean of every window, over what of it lies inside the image.

    Parameters
    ----------
    size : int or one int per axis
        Elements of a window.
    stride : int or one int per axis, optional
        How far windows lie apart; by default they touch.
    padding : {"valid", "same"}, int or per axis int or (before, after)
        What may lie outside the image; it is not counted.
    """

    def apply(self, context: Context, x: Array) -> Array:
        """Return the mean of every window."""
        moving = self.windows(x.ndim - 2)
        total = _pooling("sum", moving)
        sums = total(moving.padded(x))
        if moving.margins is not None and not any(map(any, moving.margins)):
            return sums / int(np.prod(moving.sizes))
        inside = np.ones((1, 1, *x.shape[2:]), x.dtype)
        return sums / total(moving.padded(inside))


@lru_cache
def _pooling(reduction: str, moving: Windows) -> Any:
    """Return the equation that reduces every window of an array."""
    from gradc.api.equation_source import equation  # noqa: PLC0415  (loads SymPy)

    return equation(
        f"y[n,c,{moving.positions()}] = "
        f"{reduction}[{moving.offsets()}] x[n,c,{moving.read()}] with {moving.ranges()}"
    )


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """The mean of every channel.

    Examples
    --------
    >>> GlobalAvgPool().output_shape((64, 7, 7))
    (64,)
    """

    def output_shape(self, shape: Shape) -> Shape:
        """Return the number of channels."""
        if len(shape) < 2:
            raise self.refuse("there is nothing to average over", shape, do="leave it out")
        return shape[:1]

    def apply(self, context: Context, x: Array) -> Array:
        """Return the mean over all axes but batch and channels."""
        return x.mean(axis=tuple(range(2, x.ndim)))
