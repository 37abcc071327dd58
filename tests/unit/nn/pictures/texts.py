"""The texts of a picture: what they say, and whether they lie on each other."""

import re
from html import unescape
from typing import Any
from unittest.mock import patch

import pytest

from gradc.nn.pictures.plot import Plot, styled


def texts_of(picture: Plot) -> list[str]:
    """Return the texts of the SVG."""
    return [unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", picture.svg)]


def overlapping(picture: Plot) -> list[tuple[str, str]]:
    """Return the pairs of texts that lie on each other, and the texts that leave the figure."""
    text_class = pytest.importorskip("matplotlib.text").Text
    drawn: dict[int, tuple[str, Any]] = {}
    draw = text_class.draw

    def recorded(self: Any, renderer: Any) -> None:
        draw(self, renderer)
        if self.get_visible() and self.get_text():
            drawn[id(self)] = self.get_text(), self.get_window_extent(renderer).padded(-0.5)

    with styled(), patch.object(text_class, "draw", recorded):
        picture.figure.draw_without_rendering()
    found = list(drawn.values())
    assert found
    pairs = [
        (text, other)
        for at, (text, box) in enumerate(found)
        for other, second in found[:at]
        if box.overlaps(second)
    ]
    right, top = picture.figure.bbox.max
    outside = [
        (text, "edge")
        for text, box in found
        if box.x0 < -1 or box.y0 < -1 or box.x1 > right + 1 or box.y1 > top + 1
    ]
    return pairs + outside
