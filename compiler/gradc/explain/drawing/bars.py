"""Bars with a floor: what something took, beside the least that it could take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradc.explain.drawing.scene import Mark, Rect, Scene, Text, text_width

WIDTH = 900.0
EDGE = 14.0
ROW = 44.0
THICK = 12.0
_LABEL = 96  # characters


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: what it is, what it took, the floor, and both as text."""

    label: str
    value: float
    floor: float
    text: str


def bars(rows: Sequence[Bar], title: str, legend: tuple[str, str]) -> Scene:
    """Return a chart with a bar for each row and a mark at its floor, on one scale from 0.

    Parameters
    ----------
    legend : tuple of str
        What the bars and the marks are.
    """
    longest = max((max(row.value, row.floor) for row in rows), default=0.0) or 1.0
    room = WIDTH - 2 * EDGE - max((text_width(row.text) for row in rows), default=0.0) - 12
    marks: list[Mark] = [Text(EDGE, 22, title, size=13, anchor="start", bold=True)]
    y = 50.0
    for row in rows:
        label = row.label if len(row.label) <= _LABEL else row.label[: _LABEL - 1] + "…"
        marks.append(Text(EDGE, y, label, anchor="start"))
        marks.append(Rect(EDGE, y + 6, room, THICK, "track", "", 2))
        marks.append(Rect(EDGE, y + 6, max(1.0, room * row.value / longest), THICK, "bar", "", 2))
        marks.append(Rect(EDGE + room * row.floor / longest - 1, y + 3, 3, THICK + 6, "mark"))
        marks.append(Text(EDGE + room + 10, y + 16, row.text, "faint", anchor="start"))
        y += ROW
    marks += [
        Rect(EDGE, y - 4, 20, 8, "bar", "", 2),
        Text(EDGE + 28, y + 4, legend[0], "faint", anchor="start"),
    ]
    behind = EDGE + 28 + text_width(legend[0]) + 30
    marks += [
        Rect(behind, y - 7, 3, 14, "mark"),
        Text(behind + 12, y + 4, legend[1], "faint", anchor="start"),
    ]
    return Scene(WIDTH, y + 24, tuple(marks), title)
