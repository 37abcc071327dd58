"""A picture as plain data: shapes with roles instead of colours, in pixels, y downwards.

    Scene := width, height, marks
    Mark  := Rect | Circle | Curve | Text | Strip | Group(marks)

A role ("ink", "value", "gradient", "kernel-3") is given its colour by the format, so that one scene is right in
light and in dark.  Text is set in a fixed-width font: its width is known before anything is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from unicodedata import combining, east_asian_width

FONTS = ("DejaVu Sans Mono", "Menlo", "Consolas", "Liberation Mono", "monospace")
ADVANCE = 0.602  # width of a character over the size of the font: the widest of `FONTS`
HUES = 8  # roles "kernel-0" ... "kernel-7"

Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle with round corners; an empty role draws nothing."""

    x: float
    y: float
    width: float
    height: float
    fill: str = ""
    stroke: str = ""
    radius: float = 0.0


@dataclass(frozen=True, slots=True)
class Circle:
    """A circle."""

    x: float
    y: float
    radius: float
    fill: str = ""
    stroke: str = ""


@dataclass(frozen=True, slots=True)
class Curve:
    """A smooth line through points; between two of them it leaves and arrives horizontally."""

    points: tuple[Point, ...]
    stroke: str = "wire"
    arrow: bool = False
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text; `y` is its baseline, `anchor` says which end of it `x` is."""

    x: float
    y: float
    text: str
    role: str = "ink"
    size: float = 11.0
    anchor: str = "middle"  # "start", "middle", "end"
    bold: bool = False


@dataclass(frozen=True, slots=True)
class Strip:
    """Small cells in a row, coloured by numbers from -1 to 1; None is a cell without a number."""

    x: float
    y: float
    width: float
    height: float
    levels: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Shapes that belong together; `title` is shown where a pointer rests on them, `data` goes to scripts."""

    marks: tuple[Mark, ...]
    title: str = ""
    data: tuple[tuple[str, str], ...] = ()


Mark: TypeAlias = Rect | Circle | Curve | Text | Strip | Group


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture; `title` says in words what it shows."""

    width: float
    height: float
    marks: tuple[Mark, ...]
    title: str = ""


def text_width(text: str, size: float = 11.0) -> float:
    """Return the width of a line of text in pixels.

    Examples
    --------
    >>> round(text_width("W[j, k]"), 1), round(text_width("漢"), 1)
    (46.4, 13.2)
    """
    columns = sum(
        0 if combining(character) else 1 + (east_asian_width(character) in "WF")
        for character in printable(text)
    )
    return columns * ADVANCE * size


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return text that may come from anywhere as a picture may hold it: control characters and the like are ``?``.

    Parameters
    ----------
    lines : bool
        Whether line ends stay.

    Examples
    --------
    >>> printable("a\u202eb\nc"), printable("a\nb", lines=True)
    ('a?b?c', 'a\nb')
    """
    return "".join(
        character if character.isprintable() or (lines and character == "\n") else "?" for character in text
    )


def extent_of(text: Text) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a line of text."""
    width = text_width(text.text, text.size)
    left = text.x - {"start": 0.0, "middle": width / 2, "end": width}[text.anchor]
    return left, text.y - 0.76 * text.size, left + width, text.y + 0.24 * text.size


def flat(marks: Sequence[Mark]) -> Iterator[Rect | Circle | Curve | Text | Strip]:
    """All shapes, those in groups included, in the order in which they are drawn."""
    stack = list(reversed(marks))
    while stack:
        mark = stack.pop()
        if isinstance(mark, Group):
            stack.extend(reversed(mark.marks))
        else:
            yield mark
