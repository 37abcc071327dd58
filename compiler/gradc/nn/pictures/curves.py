"""Losses, accuracy and learning rate of trainings, epoch by epoch."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gradc.errors import ArgumentError
from gradc.explain.drawing.palette import LIGHT
from gradc.nn.pictures.plot import HUES, Plot, logarithmic, new_figure, spread, styled, words

MARKERS = ("o", "s", "^", "D")  # of the trainings that share a colour
MOST = len(HUES) * len(MARKERS)  # trainings
FEW = 40  # epochs that are points; more are a line alone
WIDE = 100.0  # a larger ratio of numbers needs powers of ten
HEIGHTS = {"loss": 3.0, "accuracy": 1.8, "learning rate": 0.9}  # inches
PANELS = {"loss": ("loss", "validation_loss"), "accuracy": ("accuracy",), "learning rate": ("rate",)}
KEYS = tuple(key for keys in PANELS.values() for key in keys)
NAMES = {"loss": "training loss", "validation_loss": "validation loss"}
RING = {"linestyle": "", "marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.4}
GREY = LIGHT["faint"]


class Trained(Protocol):
    """A history of a training, as far as a picture needs it."""

    @property
    def epochs(self) -> Sequence[Any]:
        """The epochs, in order."""
        ...

    @property
    def stopped(self) -> str:
        """Why the training ended."""
        ...


@dataclass(frozen=True, slots=True)
class _Series:
    """A training as numbers; NaN where an epoch has none."""

    name: str
    numbers: list[int]
    values: Mapping[str, list[float]]  # by `KEYS`

    @property
    def judged_by(self) -> str:
        """What says which epoch is the best."""
        return "validation_loss" if self.has("validation_loss") else "loss"

    @property
    def best(self) -> int:
        """Position of the epoch with the least validation loss, or loss where there is none."""
        values = self.values[self.judged_by]
        return min(range(len(values)), key=lambda at: math.inf if math.isnan(values[at]) else values[at])

    def has(self, key: str) -> bool:
        return not all(map(math.isnan, self.values[key]))


@dataclass(frozen=True, slots=True)
class _Look:
    """How one training is drawn."""

    training: str
    validation: str
    marker: str
    dash: str  # of the training loss

    def colour(self, key: str) -> str:
        return self.training if key in ("loss", "rate") else self.validation

    def line(self, key: str) -> dict[str, Any]:
        """Return how matplotlib draws the curve of one of `KEYS`."""
        is_thin = key == "loss" and self.dash != "-"
        return {
            "color": self.colour(key),
            "linestyle": self.dash if key == "loss" else "-",
            "linewidth": 1.0 if is_thin else 1.5,
            "marker": self.marker,
            "markersize": 2.8,
        }


def curves(history: Trained | Mapping[str, Trained]) -> Plot:
    """Draw training and validation loss by epoch, accuracy if it was measured, and the learning rate if it varies.

    A ring marks the best epoch: that of the least validation loss, or of the least loss without validation data.
    Where the largest number is more than 100 times the least, the axis has powers of ten.

    Parameters
    ----------
    history : History or mapping of str to History
        One training, or several by their names, which share the panels.

    Returns
    -------
    Plot
        With ``save(path)``; a notebook shows it.

    Raises
    ------
    ArgumentError
        There is no training, a training has no epoch, or there are more trainings than a reader can tell apart.
    InputRefused
        matplotlib is not installed.
    """
    trained = dict(history) if isinstance(history, Mapping) else {"": history}
    _require_epochs(trained)
    found = [_series(name, one) for name, one in trained.items()]
    if isinstance(history, Mapping):
        title = words(f"{len(found)} training{'' if len(found) == 1 else 's'}: {', '.join(trained)}", 80)
    else:
        title = _title(history, found[0])
    with styled():
        rows = len(found) if len(found) > 1 else 1
        panels = _panels(found)
        height = sum(HEIGHTS[panel] for panel in panels) + 0.9 + 0.2 * rows
        figure = new_figure(7.0, height, layout="constrained")
        fill(figure, found, panels)
        figure.axes[0].set_title(title)
    return Plot(figure, title)


def _require_epochs(trained: Mapping[str, Trained]) -> None:
    if not trained:
        raise ArgumentError("there is no training to draw", do='curves({"momentum": history})')
    if len(trained) > MOST:
        raise ArgumentError(
            f"{len(trained)} trainings cannot be told apart in one picture", do=f"choose at most {MOST}"
        )
    for name, history in trained.items():
        if not history.epochs:
            what = f"the history of {words(name)} has no epoch" if name else "the history has no epoch"
            raise ArgumentError(what, do="train at least one epoch: network.fit(..., epochs=1)")


def _series(name: str, history: Trained) -> _Series:
    epochs = history.epochs
    values = {key: [_number(getattr(epoch, key)) for epoch in epochs] for key in KEYS}
    return _Series(words(name), [epoch.number for epoch in epochs], values)


def _number(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else math.nan


def _title(history: Trained, series: _Series) -> str:
    count = len(series.numbers)
    parts = [f"{count} epoch{'' if count == 1 else 's'}"]
    if history.stopped:
        parts[0] += f", {history.stopped}"
    return ": ".join((*parts, f"loss {series.values['loss'][0]:.3g} to {series.values['loss'][-1]:.3g}"))


def _panels(found: Sequence[_Series]) -> list[str]:
    panels = ["loss"]
    if any(series.has("accuracy") for series in found):
        panels.append("accuracy")
    if any(len(set(series.values["rate"])) > 1 for series in found):
        panels.append("learning rate")
    return panels


# --- drawing ------------------------------------------------------------------------------------------------


def fill(figure: Any, found: Sequence[_Series], panels: Sequence[str]) -> None:
    """Draw trainings into an empty figure, a panel below the other, and the legend below them."""
    ratios = [HEIGHTS[panel] for panel in panels]
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    looks = _looks(found)
    for axes, panel in zip(grid, panels, strict=True):
        keys = PANELS[panel]
        for series, look in zip(found, looks, strict=True):
            for key in keys:
                _curve(axes, series, look, key)
        _scale(axes, panel, [value for series in found for key in keys for value in series.values[key]])
    grid[-1].set_xlabel("epoch")
    grid[-1].xaxis.set_major_locator(importlib.import_module("matplotlib.ticker").MaxNLocator(integer=True))
    labels, lines = zip(*_legend(found, looks), strict=True)
    longest = max(map(len, labels))
    columns = 3 if longest <= 34 else 2 if longest <= 54 else 1
    figure.legend(lines, labels, loc="outside lower center", ncols=min(columns, len(labels)))


def _looks(found: Sequence[_Series]) -> list[_Look]:
    dash = "--" if any(series.has("validation_loss") for series in found) else "-"
    if len(found) == 1:
        return [_Look(HUES[0], HUES[1], MARKERS[0], dash)]
    hues = [HUES[at % len(HUES)] for at in range(len(found))]
    return [_Look(hue, hue, MARKERS[at // len(HUES)], dash) for at, hue in enumerate(hues)]


def _curve(axes: Any, series: _Series, look: _Look, key: str) -> None:
    """Draw one curve, and the ring of the best epoch on what says which it is and on the accuracy."""
    if not series.has(key):
        return
    values = series.values[key]
    axes.plot(series.numbers, values, label=key, markevery=_points(values, look), **look.line(key))
    if key in (series.judged_by, "accuracy") and not math.isnan(values[series.best]):
        axes.plot(
            series.numbers[series.best], values[series.best], **RING, color=look.colour(key), label="best"
        )


def _points(values: Sequence[float], look: _Look) -> list[int]:
    """Return which points have a marker: all if they are few, else those that a line alone would not show."""
    if len(values) <= FEW:
        return list(range(len(values)))
    missing = [True, *map(math.isnan, values), True]
    lone = {
        at for at, value in enumerate(values) if missing[at] and missing[at + 2] and not math.isnan(value)
    }
    shared = range(0, len(values), len(values) // 10) if look.marker != MARKERS[0] else ()
    return sorted(lone.union(shared))


def _scale(axes: Any, panel: str, values: Sequence[float]) -> None:
    """Name the axis and choose its scale; the end of a schedule, often next to 0, says nothing about that."""
    axes.set_ylabel(panel)
    if panel == "accuracy":
        axes.yaxis.set_major_formatter(importlib.import_module("matplotlib.ticker").PercentFormatter(1.0))
    elif spread(sorted(values)[len(values) // 10 :] if panel == "learning rate" else values) > WIDE:
        logarithmic(axes, values)


# --- the legend ---------------------------------------------------------------------------------------------


def _legend(found: Sequence[_Series], looks: Sequence[_Look]) -> list[tuple[str, Any]]:
    """Return what it says, each with a line to show."""
    line = importlib.import_module("matplotlib.lines").Line2D
    if len(found) == 1:
        (series,), (look,) = found, looks
        ring = line([], [], **RING, color=look.colour(series.judged_by))
        keys = [key for key in PANELS["loss"] if series.has(key)]
        return [*((NAMES[key], line([], [], **look.line(key))) for key in keys), (_best(series), ring)]
    entries = [
        (_shown(f"{series.name}, {_best(series)}"), line([], [], **look.line("validation_loss")))
        for series, look in zip(found, looks, strict=True)
    ]
    if any(series.has("validation_loss") for series in found):
        grey = _Look(GREY, GREY, "", looks[0].dash)
        entries += [(NAMES[key], line([], [], **grey.line(key))) for key in PANELS["loss"]]
    return entries


def _shown(label: str) -> str:
    """Return a label that matplotlib shows: before 3.10 it takes one that begins with an underscore for none."""
    return f" {label}" if label.startswith("_") else label


def _best(series: _Series) -> str:
    value = series.values[series.judged_by][series.best]
    return f"best: epoch {series.numbers[series.best]} ({value:.3g})"
