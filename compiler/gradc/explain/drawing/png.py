"""A scene as PNG, by matplotlib: in light colours, at twice the size."""

from __future__ import annotations

import importlib
import io
import warnings
from typing import Any, assert_never

from gradc.errors import InputRefused
from gradc.explain.drawing.palette import LIGHT, heat
from gradc.explain.drawing.scene import FONTS, Circle, Curve, Rect, Scene, Strip, Text, flat, printable

DPI = 144  # two pixels for one of the scene
MOST = 30_000  # pixels of a side, and
MOST_PIXELS = 200_000_000  # of the image: what viewers and the memory of a small machine take


def png(scene: Scene) -> bytes:
    """Return a scene as PNG.

    Raises
    ------
    InputRefused
        matplotlib is not installed, or the image would be too large.
    """
    scale = DPI / 72
    width, height = scene.width * scale, scene.height * scale
    if max(width, height) > MOST or width * height > MOST_PIXELS:
        size = f"{width:.0f} x {height:.0f} pixels"
        raise InputRefused(
            f"the picture has {size}, too many for PNG", do="write .svg, or draw it by line or kernel"
        )
    try:
        figure_class = importlib.import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise InputRefused("PNG needs matplotlib", do="pip install 'gradc[plot]', or write .svg") from error
    figure = figure_class(figsize=(scene.width / 72, scene.height / 72), dpi=DPI, facecolor=LIGHT["paper"])
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, scene.width)
    axes.set_ylim(scene.height, 0)
    axes.axis("off")
    for order, mark in enumerate(flat(scene.marks)):
        _draw(axes, mark, order)
    image = io.BytesIO()
    with warnings.catch_warnings():  # a character that the font lacks is a box
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(image, format="png", dpi=DPI)
    return image.getvalue()


def _draw(axes: Any, mark: Rect | Circle | Curve | Text | Strip, order: int) -> None:
    patches = importlib.import_module("matplotlib.patches")
    match mark:
        case Rect(x, y, width, height, fill, stroke, radius):
            style = f"round,pad=0,rounding_size={radius}" if radius else "square,pad=0"
            shape = patches.FancyBboxPatch((x, y), width, height, boxstyle=style)
            _add(axes, shape, fill, stroke, order)
        case Circle(x, y, radius, fill, stroke):
            _add(axes, patches.Circle((x, y), radius), fill, stroke, order)
        case Curve():
            _curve(axes, patches, mark, order)
        case Text(x, y, text, role, size, anchor, bold):
            aligned = {"start": "left", "middle": "center", "end": "right"}[anchor]
            weight = "bold" if bold else "normal"
            axes.text(
                x,
                y,
                printable(text).replace("$", r"\$"),
                color=LIGHT[role],
                fontsize=size,
                ha=aligned,
                va="baseline",
                weight=weight,
                family=[name for name in FONTS if name != "Menlo"][:1],
                zorder=order,
            )
        case Strip(x, y, width, height, levels):
            cell = width / max(1, len(levels))
            for at, level in enumerate(levels):
                shape = patches.Rectangle((x + at * cell, y), cell, height, linewidth=0, color=heat(level))
                axes.add_patch(shape).set_zorder(order)
        case _:
            assert_never(mark)


def _add(axes: Any, shape: Any, fill: str, stroke: str, order: int) -> None:
    shape.set_facecolor(LIGHT[fill] if fill else "none")
    shape.set_edgecolor(LIGHT[stroke] if stroke else "none")
    shape.set_linewidth(1.0)
    axes.add_patch(shape).set_zorder(order)


def _curve(axes: Any, patches: Any, curve: Curve, order: int) -> None:
    path = importlib.import_module("matplotlib.path").Path
    points, codes = [curve.points[0]], [path.MOVETO]
    for (x, y), (to_x, to_y) in zip(curve.points, curve.points[1:], strict=False):
        middle = (x + to_x) / 2
        points += [(middle, y), (middle, to_y), (to_x, to_y)]
        codes += [path.CURVE4] * 3
    colour, style = LIGHT[curve.stroke], "--" if curve.dashed else "-"
    line = patches.PathPatch(path(points, codes), fill=False, color=colour, linewidth=1.4, linestyle=style)
    axes.add_patch(line).set_zorder(order)
    if curve.arrow:
        (x, y), back = curve.points[-1], 5 if curve.points[-2][0] <= curve.points[-1][0] else -5
        head = patches.Polygon([(x, y), (x - back, y - 3), (x - back, y + 3)], color=colour, linewidth=0)
        axes.add_patch(head).set_zorder(order)
