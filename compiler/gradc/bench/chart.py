"""The chart: for every workload a bar for each library, on a scale of powers of ten."""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from typing import Any

from gradc.bench.outcome import OURS, Outcome
from gradc.bench.peers import PEERS
from gradc.errors import InputRefused

COLOURS = {
    "gradc": "#d62728",
    "numpy": "#7f7f7f",
    "jax": "#1f77b4",
    "torch": "#ff7f0e",
    "pytensor": "#2ca02c",
    "casadi": "#9467bd",
    "heyoka": "#8c564b",
    "c": "#000000",
    "interpreter": "#bcbd22",
}


def draw(outcomes: Sequence[Outcome], kind: str = "svg") -> bytes:
    """Return the chart as an image: time over gradc's, the best way of each library.

    Raises
    ------
    InputRefused
        matplotlib is not installed.
    """
    try:
        figure_class = importlib.import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise InputRefused("the chart needs matplotlib", do="pip install 'gradc[plot]'") from error
    drawn = [outcome for outcome in outcomes if outcome.row(OURS) is not None]
    bars = {outcome.workload.name: _bars(outcome) for outcome in drawn}
    height = 1.2 + sum(0.16 * len(found) + 0.2 for found in bars.values())
    figure = figure_class(figsize=(8, height), layout="constrained")
    axes = figure.subplots()
    _fill(axes, bars)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("best time of each library / time of a plain call of gradc; left of the line is faster")
    used = [name for name in PEERS if any(name == peer for found in bars.values() for peer, _ in found)]
    patch = importlib.import_module("matplotlib.patches").Patch
    handles = [patch(color=COLOURS[name], label=name) for name in used]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(COLOURS), fontsize=7)
    image = io.BytesIO()
    figure.savefig(image, format=kind)
    return image.getvalue()


def _bars(outcome: Outcome) -> list[tuple[str, float]]:
    """Return the best time of each library over gradc's."""
    ours = outcome.row(OURS)
    assert ours is not None
    found = [(name, outcome.best((name,))) for name in PEERS]
    return [(name, row.median / ours.median) for name, row in found if row is not None and row.median > 0]


def _fill(axes: Any, bars: dict[str, list[tuple[str, float]]]) -> None:
    at, ticks = 0.0, []
    for found in bars.values():
        begin = at
        for peer, ratio in found:
            axes.barh(at, ratio - 1, left=1, height=0.8, color=COLOURS[peer])
            at += 1
        ticks.append((begin + at - 1) / 2)
        at += 1.2
    axes.set_yticks(ticks, list(bars), fontsize=7)
    axes.invert_yaxis()
    axes.margins(y=0.01)
