"""The weights of the first layer as images: what a network looks for."""

from __future__ import annotations

import importlib
import math
import textwrap
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from gradc.errors import ArgumentError, ShapeError
from gradc.explain.drawing.palette import heat
from gradc.nn.layer import Shape
from gradc.nn.layers.convolution import Conv1D, Conv2D
from gradc.nn.layers.dense import Dense
from gradc.nn.layers.shapes import Flatten
from gradc.nn.nodes import Node
from gradc.nn.pictures.plot import Plot, new_figure, panel, styled, words

MOST = 256  # kernels
LEAST_SIDE = 4  # pixels: 4 or 9 features are rarely an image
WIDTH, EDGE, TALLEST, LARGEST = 7.0, 0.1, 9.0, 1.0  # inches: figure, its edge, the image, a small kernel
ASPECT = 1.5  # of the image, about
FINE = 24  # pixels that the longer side of a kernel has at least, so that gaps can be thin
COLOUR = 3  # channels
LETTERS = 80  # of a line of the title
GAP = 24  # of a kernel's side: one of them is the frame around it
FRAME = (0.62, 0.8, 0.92)  # light blue, which no grey is
UNFIT = (0.84, 0.37, 0.0)  # vermilion


class Weighted(Protocol):
    """A network, as far as its first weights need it."""

    nodes: tuple[Node, ...]
    parameters: dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class _Kernels:
    """Kernels as (kernel, channel, height, width), and what there is to say about them."""

    values: np.ndarray
    what: str
    remark: str = ""


def first_weights(network: Weighted, *, image: Shape | None = None) -> Plot:
    """Draw the weights of the first layer that has a `weight`.

    The kernels of a convolution are images: in colours if the input has three channels, else in grey, of the mean
    over channels if there are several.  Each is scaled from its least number, black, to its largest, white.  So are the
    units of a `Dense` on an image: on a `Flatten` of one, on a square number of features from 16, or as `image` says.
    All else is a matrix in colours, from blue for negative numbers over white for 0 to red.

    Parameters
    ----------
    network : Network
        Later training does not change the picture.
    image : tuple of int, optional
        (height, width) or (channels, height, width) of what a `Dense` sees.

    Returns
    -------
    Plot
        With ``save(path)``; a notebook shows it.  Its title says what was left out or averaged.

    Raises
    ------
    ArgumentError
        No layer has a `weight`.
    ShapeError
        The weights are no images of the shape `image`.
    InputRefused
        matplotlib is not installed.
    """
    node = next((node for node in network.nodes if f"{node.name}.weight" in network.parameters), None)
    if node is None:
        raise ArgumentError("no layer has weights", do="draw a network with a Dense or a Conv2D")
    weight = network.parameters[f"{node.name}.weight"]
    before = next((other for other in network.nodes if other.name == node.inputs[0]), None)
    found = _kernels(node, before, weight, image)
    parts = [" x ".join(map(str, weight.shape))] if found is None else _said(found)
    if unfit := int((~np.isfinite(weight)).sum()):
        colour = "black" if found is None else "orange"
        parts.append(f"{unfit} number{'' if unfit == 1 else 's'} not finite, {colour}")
    title = f"{words(node.name)}.weight: {'; '.join(parts)}"
    with styled():
        figure = _matrix(node, weight, title) if found is None else _images(mosaic(found.values), title)
    return Plot(figure, title)


def _said(found: _Kernels) -> list[str]:
    """Say how many kernels there are, their size, and what is not shown of them."""
    count, channels, *sides = found.values.shape
    size = " x ".join(map(str, sides if channels == 1 else (channels, *sides)))
    parts = [f"{count} {found.what}{'' if count == 1 else 's'} of {size}{found.remark}"]
    if count > MOST:
        parts.append(f"the first {MOST}")
    if channels not in (1, COLOUR):
        parts.append(f"the mean over {channels} channels")
    return parts


# --- what the weights are -----------------------------------------------------------------------------------


def _kernels(node: Node, before: Node | None, weight: np.ndarray, image: Shape | None) -> _Kernels | None:
    """Return the weights as images, or None where they are none."""
    layer = node.layer
    if image is not None and not isinstance(layer, Dense):
        raise ShapeError(
            f"image={image!r} is given, and {node.name} is no Dense",
            do="leave image out: a convolution knows the size of its kernels",
        )
    if isinstance(layer, Conv2D):
        return _Kernels(weight, "kernel")
    if isinstance(layer, Conv1D):
        return _Kernels(weight[:, None], "kernel", ", a row for each channel of the input")
    if not isinstance(layer, Dense):
        return None
    shape = _image_before(before, len(weight)) if image is None else _given(node, len(weight), image)
    return None if shape is None else _Kernels(weight.T.reshape(-1, *shape), "unit")


def _image_before(before: Node | None, features: int) -> Shape | None:
    """Return (channels, height, width) of the image that a layer takes features of."""
    if before is not None and isinstance(before.layer, Flatten) and len(before.shapes[0]) in (2, 3):
        return _with_channel(before.shapes[0])
    side = math.isqrt(features)
    return (1, side, side) if side * side == features and side >= LEAST_SIDE else None


def _given(node: Node, features: int, image: Shape) -> Shape:
    """Return (channels, height, width) of the image that the user names."""
    if len(image) not in (2, 3) or math.prod(image) != features or min(image) < 1:
        raise ShapeError(
            f"image={image!r} is no shape of {features} features",
            where=f"layer {node.name}",
            do="give (height, width) or (channels, height, width) whose product is that number",
        )
    return _with_channel(image)


def _with_channel(image: Shape) -> Shape:
    return (1,) * (3 - len(image)) + tuple(image)


# --- drawing ------------------------------------------------------------------------------------------------


def mosaic(kernels: np.ndarray) -> np.ndarray:
    """Return kernels (kernel, channel, height, width) in rows of one image (height, width, 3), from 0 to 1.

    Parameters
    ----------
    kernels : array
        The first 256 are taken.  Three channels are colours; of any other number the mean is grey.
    """
    kernels = kernels[:MOST]
    if kernels.shape[1] != COLOUR:
        with np.errstate(invalid="ignore"):  # of infinities of both signs there is no mean
            kernels = np.repeat(kernels.mean(axis=1, keepdims=True), COLOUR, axis=1)
    tiles = _scaled(kernels).transpose(0, 2, 3, 1)
    count, height, width, _ = tiles.shape
    fine = -(-FINE // max(height, width))
    tiles = tiles.repeat(fine, axis=1).repeat(fine, axis=2)
    gap = max(height, width) * fine // GAP
    height, width = height * fine + 2 * gap, width * fine + 2 * gap
    beside = min(count, math.ceil(math.sqrt(ASPECT * count * height / width)))
    found = np.ones((-(-count // beside) * height, beside * width, COLOUR))
    for at, tile in enumerate(tiles):
        top, left = at // beside * height, at % beside * width
        found[top : top + height, left : left + width] = FRAME
        found[top + gap : top + height - gap, left + gap : left + width - gap] = tile
    return found


def _scaled(kernels: np.ndarray) -> np.ndarray:
    """Bring the numbers of each kernel to 0 to 1; one that has a single value is in the middle."""
    is_finite = np.isfinite(kernels)
    axes = (1, 2, 3)
    low = np.where(is_finite, kernels, np.inf).min(axis=axes, keepdims=True)
    high = np.where(is_finite, kernels, -np.inf).max(axis=axes, keepdims=True)
    varies = is_finite & (high > low)
    scaled = np.full(kernels.shape, 0.5)
    np.divide(np.where(is_finite, kernels, 0) - low, high - low, out=scaled, where=varies)
    unfit = ~is_finite.all(axis=1, keepdims=True)
    return np.where(unfit, np.array(UNFIT)[:, None, None], scaled)


def _images(image: np.ndarray, title: str) -> Any:
    """Return a figure with an image below its title."""
    lines = textwrap.wrap(title, LETTERS)
    down, across = image.shape[:2]
    scale = min((WIDTH - 2 * EDGE) / across, TALLEST / down, LARGEST / FINE)
    above = 0.18 * len(lines) + 0.2
    figure = new_figure(WIDTH, above + scale * down + EDGE)
    figure.text(EDGE / WIDTH, 1 - EDGE / figure.get_figheight(), "\n".join(lines), va="top")
    axes = panel(figure, EDGE, above, scale * across, scale * down)
    axes.imshow(image, interpolation="nearest", aspect="auto")
    axes.axis("off")
    return figure


def _matrix(node: Node, weight: np.ndarray, title: str) -> Any:
    """Return a figure with a matrix in colours for negative and positive numbers."""
    matrix = weight.reshape(len(weight), -1)
    limit = float(np.abs(matrix[np.isfinite(matrix)]).max(initial=0.0)) or 1.0
    colours = importlib.import_module("matplotlib.colors").LinearSegmentedColormap
    shades = colours.from_list("heat", [heat(level) for level in (-1.0, 0.0, 1.0)], N=255)
    figure = new_figure(WIDTH, 5.0, layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(
        matrix,
        shades.with_extremes(bad=heat(None)),
        aspect="auto",
        interpolation="nearest",
        vmin=-limit,
        vmax=limit,
    )
    figure.colorbar(shown).outline.set_visible(False)
    axes.grid(False)
    locator = importlib.import_module("matplotlib.ticker").MaxNLocator
    axes.xaxis.set_major_locator(locator(integer=True))
    axes.yaxis.set_major_locator(locator(integer=True))
    axes.set_title("\n".join(textwrap.wrap(title, LETTERS)))
    if isinstance(node.layer, Dense):
        axes.set_xlabel("unit")
        axes.set_ylabel("feature")
    return figure
