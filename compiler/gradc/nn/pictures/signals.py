"""What flows through a network, drawn: statistics over depth, and histograms of every layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gradc.explain.drawing.palette import LIGHT
from gradc.nn.pictures.histograms import LONGEST, ROW, draw_histograms, rows_of
from gradc.nn.pictures.plot import HUES, Plot, logarithmic, new_figure, panel, styled, words
from gradc.nn.signals import LayerSignals, Signals

MOST = 40  # layers that have histograms, and names below the panels
WIDTH, PANEL, LEFT, GAP = 13.0, 2.6, 0.85, 0.12  # inches
TOP, LETTER, AROUND = 0.65, 0.062, 0.3  # inches: above the panels; of a name below them, and around it
SIZES = (5.4, 7.0)  # points: of names below an axis, which must not touch each other
OUTPUT, GRADIENT, PARAMETERS = LIGHT["value"], LIGHT["gradient"], HUES[0]


def signal_picture(signals: Signals) -> Plot:
    """Draw what flows through a network, layer by layer.

    Above, over depth: mean and standard deviation of the outputs, and the deviations of the gradients by them and by
    the parameters of a layer.  A triangle at the lower edge is a deviation of exactly 0, a cross at the upper edge a
    number that is not finite.  Below, for each layer, histograms of its output and of the gradient by it.  Each has a
    scale of its own and shows the central 99 % of the numbers, without exact zeros, whose share is written above it.

    Parameters
    ----------
    signals : Signals
        What ``network.signals(x, y)`` returns.

    Returns
    -------
    Plot
        With ``save(path)``; a notebook shows it.  Of more than 40 layers, the first and the last 20 have histograms.

    Raises
    ------
    InputRefused
        matplotlib is not installed.
    """
    shown = signals.layers
    if len(shown) > MOST:
        shown = (*shown[: MOST // 2], *shown[-(MOST // 2) :])
    title = _title(signals, len(shown))
    names = [layer.name for layer in shown]
    pairs = [(signals.outputs[name], signals.output_gradients[name]) for name in names]
    below = max(len(words(name, LONGEST)) for name in names) * LETTER if len(signals.layers) <= MOST else 0.25
    above = TOP + PANEL + below + AROUND
    with styled():
        figure = new_figure(WIDTH, above + ROW * rows_of(len(shown)))
        figure.text(0.01, 1 - 0.22 / figure.get_figheight(), title, fontsize=10, va="center")
        _depth(figure, signals.layers)
        draw_histograms(figure, above, names, pairs)
    return Plot(figure, title)


def _title(signals: Signals, shown: int) -> str:
    count = len(signals.layers)
    title = f"signals of {count} layer{'' if count == 1 else 's'}: loss {signals.loss:.4g}"
    title += f" of {signals.examples} example{'' if signals.examples == 1 else 's'}"
    if shown < count:
        title += f"; histograms of the first {MOST // 2} and the last {MOST // 2} layers"
    return title


# --- over depth ---------------------------------------------------------------------------------------------


def _depth(figure: Any, layers: Sequence[LayerSignals]) -> None:
    """Draw three panels side by side: means, deviations of outputs, deviations of gradients."""
    third = WIDTH / 3
    titles = ("mean of outputs", "deviation of outputs", "deviation of gradients by")
    means, deviations, gradients = (
        _framed(panel(figure, LEFT + at * third, TOP, third - LEFT - GAP, PANEL), title, layers)
        for at, title in enumerate(titles)
    )
    _line(means, "outputs", [layer.output_mean for layer in layers], OUTPUT, "o")
    means.yaxis.set_major_formatter("{x:.3g}")
    _powers(deviations, {"outputs": ([layer.output_deviation for layer in layers], OUTPUT, "o")})
    _powers(
        gradients,
        {
            "outputs": ([layer.gradient_deviation for layer in layers], GRADIENT, "o"),
            "parameters": ([layer.parameters_deviation for layer in layers], PARAMETERS, "s"),
        },
    )
    gradients.legend(
        handles=[line for line in gradients.lines if line.get_label() in ("outputs", "parameters")],
        **{"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 2, "borderaxespad": 0.1},
        **{"handlelength": 1.4, "columnspacing": 1.0},
    )


def _framed(axes: Any, title: str, layers: Sequence[LayerSignals]) -> Any:
    """Give a panel its title and the names of the layers, or their numbers where they are many."""
    axes.set_title(title)
    axes.set_xlim(0.5, len(layers) + 0.5)
    if len(layers) > MOST:
        axes.set_xlabel("layer")
    else:
        names = [words(layer.name, LONGEST) for layer in layers]
        room = 72 * (WIDTH / 3 - LEFT - GAP) / len(layers)
        size = min(SIZES[1], max(SIZES[0], 0.88 * room))
        axes.set_xticks(range(1, len(layers) + 1), names, fontsize=size, rotation=90)
    return axes


def _powers(axes: Any, lines: Mapping[str, tuple[Sequence[float | None], str, str]]) -> None:
    """Draw deviations on an axis of powers of ten, which has no place for 0."""
    for label, (values, colour, marker) in lines.items():
        _line(axes, label, [None if value == 0 else value for value in values], colour, marker)
        _at_edge(axes, "0", [value == 0 for value in values], 0.03, colour, "v")
    logarithmic(axes, [value for values, _, _ in lines.values() for value in values if value is not None])


def _line(axes: Any, label: str, values: Sequence[float | None], colour: str, marker: str) -> None:
    """Draw values over depth; the line goes on behind a layer without one."""
    places = [at for at, value in enumerate(values, 1) if value is not None and math.isfinite(value)]
    heights = [value for value in values if value is not None and math.isfinite(value)]
    axes.plot(places, heights, marker=marker, markersize=3, color=colour, label=label)
    unfit = [value is not None and not math.isfinite(value) for value in values]
    _at_edge(axes, "not finite", unfit, 0.97, colour, "x")


def _at_edge(axes: Any, label: str, where: Sequence[bool], height: float, colour: str, marker: str) -> None:
    """Mark layers at a height of the panel, whatever its scale."""
    places = [at for at, marked in enumerate(where, 1) if marked]
    if places:
        heights = [height] * len(places)
        across = axes.get_xaxis_transform()
        axes.plot(places, heights, marker, color=colour, markersize=4.5, transform=across, label=label)
