"""The roofline picture of kernels: how fast every loop runs, and what this machine allows it.

Across are operations per byte, upwards operations a second, both on scales of powers.  The lines are what was measured
of the machine; a point is a piece of a kernel, as large as its share of the time, and the small ring above it is where
it would be if it took the time that was predicted.
"""

from __future__ import annotations

import importlib
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from gradc.explain.figures import seconds

COLOURS = {
    "memory": "#4269a5",
    "cache": "#6fa8c9",
    "arithmetic": "#c1443c",
    "functions": "#d9a13b",
    "overhead": "#8a8a8a",
}
LINE, TEXT, FAINT = "#9a9a9a", "#333333", "#dddddd"
SHOWN = 0.005  # of a kernel's time
APART = 0.03  # of the axis, at least, between names of ceilings
NEAR = 0.08  # powers of ten between points that share a number
MOST = 16  # lines of the key

SMALL = {"fontsize": 6.5, "color": "#666666"}

Piece = Mapping[str, Any]


def draw(profiles: Mapping[str, Mapping[str, Any]], kind: str = "svg") -> bytes:
    """Return the picture of some kernels, one below the other.

    Parameters
    ----------
    profiles : mapping of title to document
        As `gradc.explain.profile.document` makes them.
    """
    figure_class = importlib.import_module("matplotlib.figure").Figure
    figure = figure_class(figsize=(10.5, 4.6 * len(profiles)), layout="constrained")
    grid = figure.subplots(len(profiles), 2, squeeze=False, width_ratios=(1.45, 1))
    for (axes, key), (title, profile) in zip(grid, profiles.items(), strict=True):
        _panel(axes, key, title, profile)
    image = io.BytesIO()
    figure.savefig(image, format=kind, dpi=150)
    return image.getvalue()


def _panel(axes: Any, key: Any, title: str, profile: Mapping[str, Any]) -> None:
    pieces = [piece for piece in profile["pieces"] if _is_shown(piece, profile)]
    counted = [piece for piece in pieces if piece["operations"] and piece["bytes"]]
    axes.set_xscale("log")
    axes.set_yscale("log")
    roofs = profile["machine"][-1]
    _frame(axes, counted, roofs)
    _roofs(axes, roofs)
    groups = _groups(counted)
    for number, group in enumerate(groups, 1):
        _point(axes, number, group, profile["measured_seconds"])
    axes.set_title(title, loc="left", fontsize=10, color=TEXT, fontweight="bold")
    axes.set_xlabel("operations per byte", fontsize=8, color=TEXT)
    axes.set_ylabel("GFLOP/s", fontsize=8, color=TEXT)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.tick_params(labelsize=7, colors=TEXT, which="both")
    axes.grid(color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    rest = [piece for piece in pieces if piece not in counted]
    _key(key, groups, rest, profile)


def _is_shown(piece: Piece, profile: Mapping[str, Any]) -> bool:
    return piece["measured_seconds"] >= SHOWN * profile["measured_seconds"]


def _speed(piece: Piece, taken: str = "measured_seconds") -> float:
    """Operations a second, in billions."""
    return piece["operations"] / max(piece[taken], 1e-12) / 1e9


def _peaks(roofs: Mapping[str, Any]) -> dict[str, float]:
    """Billions of operations a second, by what is written on the line."""
    found = {}
    for name, rate in roofs["rates"].items():
        function, dtype = name.rsplit(" ", 1)
        if function in ("arithmetic", "multiply-add"):
            what = "contraction" if function == "multiply-add" else "add, multiply"
            found[f"{what} {dtype}"] = rate * (2 if function == "multiply-add" else 1) / 1e9
    return found


def _slopes(roofs: Mapping[str, Any]) -> dict[str, float]:
    """Billions of bytes a second of the memory and of the fastest cache."""
    rates = [found["bytes_per_second"] / 1e9 for found in roofs["bandwidths"]]
    return {"memory": rates[-1], "cache": max(rates)}


def _frame(axes: Any, pieces: Sequence[Piece], roofs: Mapping[str, Any]) -> None:
    peak, slope = max(_peaks(roofs).values(), default=1.0), _slopes(roofs)
    across = [piece["operations_per_byte"] for piece in pieces] or [1.0]
    upwards = [speed for piece in pieces for speed in (_speed(piece), _speed(piece, "predicted_seconds"))]
    axes.set_xlim(min(*across, peak / slope["cache"]) / 3, max(*across, peak / slope["memory"]) * 4)
    axes.set_ylim(min([*upwards, peak / 10]) / 3, peak * 2.2)


def _roofs(axes: Any, roofs: Mapping[str, Any]) -> None:
    """Draw bandwidths as slopes and rates as ceilings, each with its name along it."""
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    peaks = _peaks(roofs)
    top = max(peaks.values(), default=high)
    for name, rate in _slopes(roofs).items():
        axes.plot([left, top / rate], [rate * left, top], color=LINE, linewidth=1)
        start = max(left * 1.15, low / rate * 1.3)
        turn = {"rotation": math.degrees(math.atan(rate)), "transform_rotates_text": True}
        label = f"{name} {rate:.3g} GB/s"
        axes.text(start, rate * start * 1.1, label, **SMALL, **turn, rotation_mode="anchor")
    slope = max(_slopes(roofs).values())
    place = 0.0
    for name, rate in sorted(peaks.items(), key=lambda item: item[1]):
        axes.plot([rate / slope, right], [rate, rate], color=LINE, linewidth=1)
        place = max(rate, place * (high / low) ** APART)  # names of neighbours do not touch
        label = f" {name} {rate:.3g}"
        axes.text(1.0, place, label, **SMALL, va="center", transform=axes.get_yaxis_transform())


def _groups(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Pieces, those that take longest first; one that lies on another shares its number."""
    groups: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: -piece["measured_seconds"]):
        for group in groups:
            if math.dist(_place(group[0]), _place(piece)) < NEAR and group[0]["bound"] == piece["bound"]:
                group.append(piece)
                break
        else:
            groups.append([piece])
    return groups


def _place(piece: Piece) -> tuple[float, float]:
    return math.log10(piece["operations_per_byte"]), math.log10(_speed(piece))


def _point(axes: Any, number: int, group: Sequence[Piece], whole: float) -> None:
    first = group[0]
    across, upwards, possible = (
        first["operations_per_byte"],
        _speed(first),
        _speed(first, "predicted_seconds"),
    )
    share = sum(piece["measured_seconds"] for piece in group) / whole
    colour = COLOURS[first["bound"]]
    size = 110 + 700 * min(share, 1.0)
    axes.plot([across, across], [upwards, possible], color=colour, linewidth=0.8, alpha=0.6, zorder=2)
    axes.scatter([across], [possible], s=18, facecolor="white", edgecolor=colour, linewidth=0.9, zorder=3)
    axes.scatter(
        [across], [upwards], s=size, color=colour, alpha=0.9, edgecolor="white", linewidth=0.8, zorder=4
    )
    axes.annotate(
        *(str(number), (across, upwards)),
        **{"ha": "center", "va": "center", "fontsize": 6.5, "color": "white", "fontweight": "bold"},
        zorder=5,
    )


def _key(
    axes: Any, groups: Sequence[Sequence[Piece]], rest: Sequence[Piece], profile: Mapping[str, Any]
) -> None:
    """List the points: number, place in the source, time, and how far that is from the prediction."""
    axes.set_axis_off()
    predicted, measured = profile["predicted_seconds"], profile["measured_seconds"]
    rows = [(str(at), *_entry(group), COLOURS[group[0]["bound"]]) for at, group in enumerate(groups, 1)]
    if len(rows) > MOST:
        hidden = [piece for group in groups[MOST - 1 :] for piece in group]
        rows = [*rows[: MOST - 1], ("...", f"{len(hidden)} more", *_times(hidden), TEXT)]
    if rest:
        rows.append(("", f"{len(rest)} without operations", *_times(rest), TEXT))
    rows.append(
        ("", "the whole kernel", seconds(measured), f"{measured / predicted:.2f}" if predicted else "", TEXT)
    )
    heads = (("", 0.0, "left"), ("", 0.05, "left"), ("time", 0.8, "right"), ("/ predicted", 1.0, "right"))
    step = 1 / (MOST + 4)
    for line, row in enumerate([("", "", "time", "/ predicted", "#777777"), *rows]):
        for text, (_, across, side) in zip(row[:4], heads, strict=True):
            bold = "bold" if row[1] == "the whole kernel" or across == 0.0 else "normal"
            colour = row[4] if across == 0.0 or not line else TEXT
            axes.text(
                *(across, 1 - line * step, text),
                **{"ha": side, "va": "top", "fontsize": 7, "color": colour, "fontweight": bold},
                transform=axes.transAxes,
            )
    _bounds(axes, groups)


def _entry(group: Sequence[Piece]) -> tuple[str, str, str]:
    place = group[0]["place"]
    more = f" and {len(group) - 1} more" if len(group) > 1 else ""
    return place + more, *_times(group)


def _times(pieces: Sequence[Piece]) -> tuple[str, str]:
    measured = sum(piece["measured_seconds"] for piece in pieces)
    predicted = sum(piece["predicted_seconds"] for piece in pieces)
    return seconds(measured), f"{measured / predicted:.2f}" if predicted else ""


def _bounds(axes: Any, groups: Sequence[Sequence[Piece]]) -> None:
    """Say what the colours mean: what the piece is bound by."""
    lines = importlib.import_module("matplotlib.lines")
    used = [bound for bound in COLOURS if any(group[0]["bound"] == bound for group in groups)]
    style = {"linestyle": "", "marker": "o", "markersize": 5, "markeredgecolor": "white"}
    handles = [lines.Line2D([], [], color=COLOURS[bound], label=bound, **style) for bound in used]
    ring = {**style, "markeredgecolor": LINE, "markerfacecolor": "white", "markersize": 4}
    handles.append(lines.Line2D([], [], label="predicted", **ring))
    title = "bound by" if used else None
    axes.legend(
        handles=handles, loc="lower left", ncols=4, fontsize=7, frameon=False, title=title, title_fontsize=7
    )
