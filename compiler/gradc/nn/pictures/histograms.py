"""Histograms of outputs and gradients, a pair for each layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.explain.drawing.palette import LIGHT
from gradc.nn.pictures.plot import panel, words

MOST_BESIDE = 10  # layers in a row
FEWEST_BESIDE = 4  # fewer are as wide as these
ROW = 2.2  # inches: the height of a pair, with names and numbers
LEFT, RIGHT, GAP = 0.4, 0.1, 0.12  # inches: beside the rows, and between two histograms
HEIGHT = 0.58  # inches: of one histogram
LONGEST = 18  # characters of a name
ABOVE = {"fontsize": 7.5, "xycoords": "axes fraction", "textcoords": "offset points"}
BINS = 41  # odd: one number again and again is in the middle of a bin
TAIL = 0.005  # of the numbers: left out at either end
NARROW = 1e-9  # a range below this part of its numbers is one number, with errors of rounding


def rows_of(layers: int) -> int:
    """Return how many rows the histograms of some layers need."""
    return -(-layers // MOST_BESIDE)


def draw_histograms(
    figure: Any, top: float, names: Sequence[str], pairs: Sequence[tuple[np.ndarray, np.ndarray]]
) -> None:
    """Draw outputs and gradients of layers, in rows of at most `MOST_BESIDE`.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        As wide as it is, from `top` inches below its upper edge.
    names : sequence of str
        Of the layers.
    pairs : sequence of (array, array)
        The output of each layer, and the gradient by it.
    """
    beside = max(FEWEST_BESIDE, -(-len(names) // rows_of(len(names))))
    width = (figure.get_figwidth() - LEFT - RIGHT) / beside
    for at, (name, pair) in enumerate(zip(names, pairs, strict=True)):
        row, column = divmod(at, beside)
        for kind, (numbers, role) in enumerate(zip(pair, ("value", "gradient"), strict=True)):
            above = top + row * ROW + (0.3, 0.3 + HEIGHT + 0.42)[kind]
            axes = panel(figure, LEFT + column * width, above, width - GAP, HEIGHT)
            _histogram(axes, numbers, LIGHT[role])
            if not column:
                axes.set_ylabel(("output", "gradient")[kind])
            if not kind:
                axes.annotate(words(name, LONGEST), (0, 1), (0, 12), **ABOVE)


def _histogram(axes: Any, numbers: np.ndarray, colour: str) -> None:
    axes.set_yticks([])
    axes.grid(False)
    axes.set_title(_note(numbers), fontsize=6.5, color=LIGHT["faint"], pad=2)
    heights, edges, largest = binned(numbers)
    if not heights.size:
        axes.set_xticks([])
        return
    axes.stairs(heights, edges, fill=True, color=colour)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, 1.05 * heights.max())
    if edges[0] < 0 < edges[-1]:
        axes.axvline(0, color=LIGHT["wire"], linewidth=0.6)
    ends = [edges[0], edges[-1]]
    axes.set_xticks(ends, [f"{end * largest:.2g}" for end in ends], fontsize=6.5)
    for label, side in zip(axes.get_xticklabels(), ("left", "right"), strict=True):
        label.set_horizontalalignment(side)


def _note(numbers: np.ndarray) -> str:
    """Say what a histogram leaves out."""
    zeros, unfit = float((numbers == 0).mean()), float((~np.isfinite(numbers)).mean())
    parts = [(zeros, "zeros"), (unfit, "not finite")]
    shown = [(f"{share:.0%}" if share >= 0.01 else "< 1%", what) for share, what in parts if share]
    return ", ".join(f"{share} {what}" for share, what in shown)


def binned(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return counts and edges of the bins in units of the largest magnitude, and that; nothing where all are 0.

    In units of their own, numbers near the least that float64 holds would share one bin.
    """
    found = numbers[np.isfinite(numbers) & (numbers != 0)].astype(np.float64)
    if not found.size:
        return np.zeros(0), np.zeros(0), 0.0
    largest = float(np.abs(found).max())
    found /= largest
    low, high = np.quantile(found, (TAIL, 1 - TAIL))
    if high - low < NARROW * max(abs(low), abs(high)):
        low, high = low - 0.5 * abs(low), high + 0.5 * abs(high)
    heights, edges = np.histogram(found, BINS, (low, high))
    return heights, edges, largest
