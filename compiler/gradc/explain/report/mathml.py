"""LaTeX as MathML, which browsers show without a library or a network."""

from __future__ import annotations

import importlib
from html import escape

from gradc.errors import InputRefused


def mathml(latex: str) -> str:
    """Return one formula as MathML.

    Raises
    ------
    InputRefused
        latex2mathml is not installed.
    """
    try:
        converter = importlib.import_module("latex2mathml.converter")
    except ImportError as error:
        raise InputRefused("the page needs latex2mathml", do="pip install 'gradc[plot]'") from error
    shown = converter.convert(latex, display="inline")
    return shown.replace(
        'display="inline"', 'displaystyle="true"', 1
    )  # fractions and sums in their full size


def table(aligned: str) -> str:
    """Return an ``aligned`` environment as a table, a row for each line of it."""
    body = aligned.strip().removeprefix("\\begin{aligned}").removesuffix("\\end{aligned}")
    rows = []
    for line in body.strip().split(" \\\\\n"):
        left, found, right = line.partition("&")
        cells = (left, right) if found else ("", line)
        shown = "".join(f"<td>{mathml(cell) if cell.strip() else ''}</td>" for cell in cells)
        rows.append(f"<tr>{shown}</tr>")
    return f'<table class="math">{"".join(rows)}</table>'


def preformatted(text: str) -> str:
    """Return text as it is, in a box."""
    return f"<pre>{escape(text.rstrip())}</pre>"
