"""Windows that move over the last axes of an array: what convolution and pooling share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from gradc.nn.layer import Array, Layer, Shape
from gradc.nn.layers.options import is_whole, refused

PerAxis: TypeAlias = int | Sequence[int]
Padding: TypeAlias = Literal["valid", "same"] | int | Sequence[int | Sequence[int]]
Margins: TypeAlias = tuple[tuple[int, int], ...]

POSITIONS, OFFSETS = "pqr", "ijk"  # letters of the index equations


@dataclass(frozen=True, slots=True)
class Windows:
    """One window per axis; `margins` is None for ``padding="same"``, where they depend on the input."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    margins: Margins | None

    @property
    def reaches(self) -> tuple[int, ...]:
        """How many neighbours a window spans along each axis."""
        return tuple((size - 1) * gap + 1 for size, gap in zip(self.sizes, self.dilations, strict=True))

    def around(self, lengths: Sequence[Any]) -> Margins:
        """Return how much is added before and after each axis.

        ``same`` gives one window per `stride` elements; what cannot be halved goes behind, as in TensorFlow.
        """
        if self.margins is not None:
            return self.margins
        found: list[tuple[int, int]] = []
        for length, reach, stride in zip(lengths, self.reaches, self.strides, strict=True):
            # Only a stride makes the margin depend on the length, which then becomes a fixed number.
            behind = 0 if stride == 1 else (int(length) - 1) % stride
            total = max(reach - 1 - behind, 0)
            found.append((total // 2, total - total // 2))
        return tuple(found)

    def counts(self, lengths: Shape) -> Shape:
        """Return how many windows fit along each axis; below 1 where none does."""
        parts = zip(lengths, self.around(lengths), self.reaches, self.strides, strict=True)
        return tuple((length + sum(margin) - reach) // stride + 1 for length, margin, reach, stride in parts)

    def padded(self, x: Array, value: float = 0.0) -> Array:
        """Return `x` with its margins."""
        axes = len(self.sizes)
        margins = self.around(x.shape[-axes:])
        if not any(amount for margin in margins for amount in margin):
            return x
        return np.pad(x, (*((0, 0),) * (x.ndim - axes), *margins), constant_values=value)

    def read(self) -> str:
        """Return the indices of an element of a window in index notation: ``2*p+i,2*q+j``."""
        parts = zip(POSITIONS, self.strides, self.dilations, OFFSETS, strict=False)
        return ",".join(f"{_times(stride, p)}+{_times(gap, i)}" for p, stride, gap, i in parts)

    def positions(self) -> str:
        """Return the indices of windows: ``p,q``."""
        return ",".join(POSITIONS[: len(self.sizes)])

    def offsets(self) -> str:
        """Return the indices inside a window: ``i,j``."""
        return ",".join(OFFSETS[: len(self.sizes)])

    def ranges(self) -> str:
        """Return the sizes of a window: ``i < 2, j < 2``."""
        return ", ".join(f"{i} < {size}" for i, size in zip(OFFSETS, self.sizes, strict=False))


def windows(
    layer: Layer,
    axes: int,
    size: PerAxis,
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis = 1,
    called: str = "size",
) -> Windows:
    """Return the windows that the fields of a layer describe, for so many axes; messages call the size `called`.

    Raises
    ------
    ArgumentError
        A field is out of range, or has not one entry per axis.
    """
    return Windows(
        _per_axis(layer, called, size, axes),
        _per_axis(layer, "stride", stride, axes),
        _per_axis(layer, "dilation", dilation, axes),
        _margins(layer, padding, axes),
    )


def window_counts(layer: Layer, moving: Windows, shape: Shape) -> Shape:
    """Return how many windows fit along each axis, or raise `ShapeError` where none does."""
    axes = len(moving.sizes)
    counts = moving.counts(shape[-axes:])
    if min(counts) < 1:
        raise layer.refuse(
            f"a window that spans {_shown(moving.reaches)} does not fit into {_shown(shape[-axes:])}",
            shape,
            do="make the window smaller, or write padding='same'",
        )
    return counts


def _per_axis(layer: Layer, field: str, value: PerAxis, axes: int) -> tuple[int, ...]:
    values = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(values) == axes and all(is_whole(item) and item > 0 for item in values):
        return values
    several = f", or one for each of the {axes} axes" if axes > 1 else ""
    raise refused(
        layer,
        f"{field} is not a whole number of at least 1{several}",
        why=f"it is {value!r}",
        do="write one such number" + several,
    )


def _margins(layer: Layer, padding: Padding, axes: int) -> Margins | None:
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * axes
        if padding == "same":
            return None
    else:
        items = (padding,) * axes if isinstance(padding, int) else tuple(padding)
        pairs = [tuple(item) if isinstance(item, Sequence) else (item, item) for item in items]
        if len(pairs) == axes and all(map(_is_margin, pairs)):
            return tuple((pair[0], pair[1]) for pair in pairs)
    raise refused(
        layer,
        "padding is none of the things it can be",
        why=f"it is {padding!r}",
        do="write 'valid', 'same', a number, or per axis a number or (before, after): "
        + {1: "((2, 0),)"}.get(axes, "((1, 0), (1, 0))"),
    )


def _is_margin(pair: tuple[int, ...]) -> bool:
    return len(pair) == 2 and all(is_whole(item) and item >= 0 for item in pair)


def _times(factor: int, letter: str) -> str:
    return letter if factor == 1 else f"{factor}*{letter}"


def _shown(lengths: Sequence[int]) -> str:
    return " x ".join(map(str, lengths))
