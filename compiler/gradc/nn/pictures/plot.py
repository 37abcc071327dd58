"""A picture by matplotlib that can be saved and shown in a notebook, and what all of them share."""

from __future__ import annotations

import importlib
import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from gradc.errors import InputRefused
from gradc.explain.drawing.image import require_format
from gradc.explain.drawing.palette import LIGHT
from gradc.explain.drawing.scene import printable
from gradc.explain.files import write_whole

FORMATS = (".svg", ".png")
DPI = 144
HUES = (  # Okabe and Ito (2008), those with contrast on white first
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"),
)
EXPONENTS = (-300, 290)  # of ten; float64 has few more
STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": LIGHT["outline"],
    "axes.grid": True,
    "axes.labelcolor": LIGHT["ink"],
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "figure.facecolor": LIGHT["paper"],
    "font.size": 8.5,
    "grid.color": LIGHT["track"],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "gradc",  # names in the file are the same at every run
    "text.color": LIGHT["ink"],
    "text.parse_math": False,  # a dollar in a name is a dollar
    "xtick.color": LIGHT["outline"],
    "ytick.color": LIGHT["outline"],
}


class Plot:
    """A finished picture: later training does not change it.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
        For changes of your own.
    title : str
        What it shows, in words.
    """

    def __init__(self, figure: Any, title: str) -> None:
        self.figure = figure
        self.title = title
        with styled():
            figure.draw_without_rendering()
        figure.set_layout_engine("none")  # it would move things a little each time that the picture is saved

    @property
    def svg(self) -> str:
        """The picture as SVG, the same text at every run."""
        return self._content(".svg").decode()

    @property
    def png(self) -> bytes:
        """The picture as PNG."""
        return self._content(".png")

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the picture; the file's suffix says how.  The file is written whole or not at all.

        Raises
        ------
        InputRefused
            Another suffix than .svg and .png, or a place that cannot be written.
        """
        found = require_format(path, FORMATS)
        write_whole(found, self._content(found.suffix.lower()))
        return found

    def _content(self, suffix: str) -> bytes:
        image = io.BytesIO()
        metadata = {"Date": None} if suffix == ".svg" else None
        with styled():
            self.figure.savefig(image, format=suffix[1:], dpi=DPI, metadata=metadata)
        return image.getvalue()

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        return f"<picture: {self.title}; .save('picture.svg')>"


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the style of these pictures, whatever the user's is.

    Raises
    ------
    InputRefused
        matplotlib is not installed.
    """
    try:
        style = importlib.import_module("matplotlib.style")
    except ImportError as error:
        raise InputRefused("a picture needs matplotlib", do="pip install 'gradc[plot]'") from error
    with style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # such a one is a box
        yield


def new_figure(width: float, height: float, **options: Any) -> Any:
    """Return an empty figure; sizes in inches."""
    return importlib.import_module("matplotlib.figure").Figure((width, height), DPI, **options)


def panel(figure: Any, left: float, top: float, width: float, height: float) -> Any:
    """Return axes at a place in inches from the upper left corner of a figure."""
    across, down = figure.get_size_inches()
    return figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))


def words(text: object, most: int = 40) -> str:
    r"""Return a name as a picture may show it: one line, not too long.

    Examples
    --------
    >>> words("a" * 50, 5), words("a\nb")
    ('aaaa…', 'a?b')
    """
    shown = printable(str(text))
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def spread(values: Sequence[float]) -> float:
    """Return the largest number over the least; 1 where they are not all positive, or there is none.

    Examples
    --------
    >>> spread([0.5, 2.0, float("nan")]), spread([0.0, 1.0])
    (4.0, 1.0)
    """
    finite = [value for value in values if math.isfinite(value)]
    return max(finite) / min(finite) if finite and min(finite) > 0 else 1.0


def logarithmic(axes: Any, values: Sequence[float]) -> None:
    """Give an axis of values powers of ten, from the one below the least to the one above the largest."""
    found = [value for value in values if 0 < value < math.inf]
    low = math.floor(np.log10(min(found, default=1.0)))
    high = math.ceil(np.log10(max(found, default=1.0)))
    low, high = max(low, EXPONENTS[0]), min(max(high, low + 1), EXPONENTS[1])
    axes.set_yscale("log")
    edge = 0.03 * (high - low)
    axes.set_ylim(10.0 ** (low - edge), 10.0 ** (high + edge))
    axes.yaxis.set_major_formatter("{x:.0e}" if high - low > 4 or low < -4 else "{x:g}")
    axes.yaxis.set_minor_formatter(importlib.import_module("matplotlib.ticker").NullFormatter())
