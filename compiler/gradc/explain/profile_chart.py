"""A profile as a chart: what each piece of a kernel took, and the floor that this machine sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradc.explain.drawing.bars import Bar, bars
from gradc.explain.drawing.scene import Scene
from gradc.explain.figures import ratio, seconds

MOST = 24  # rows; the pieces that take least share the last one


@dataclass(frozen=True, slots=True)
class Row:
    """A piece: what it is, its measured seconds, those that it needs at least, and what needs most of them."""

    label: str
    measured: float
    floor: float
    bound: str = ""


def chart(title: str, rows: Sequence[Row], whole: Row) -> Scene:
    """Return a bar for the measured time of each piece, longest first, with a mark at its roofline floor."""
    longest = sorted(rows, key=lambda row: -row.measured)
    shown = longest[:MOST]
    rest = longest[MOST:]
    if rest:
        measured, floor = sum(row.measured for row in rest), sum(row.floor for row in rest)
        shown.append(Row(f"{len(rest)} more", measured, floor))
    legend = ("measured, median", "floor: the roofline of this machine")
    return bars([_bar(row) for row in (*shown, whole)], title, legend)


def _bar(row: Row) -> Bar:
    share = f", {ratio(row.measured / row.floor)}x the floor" if row.floor else ""
    by = f" ({row.bound})" if row.bound else ""
    return Bar(row.label, row.measured, row.floor, f"{seconds(row.measured)}{share}{by}")
