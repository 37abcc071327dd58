"""A scene as SVG: classes for roles, so that a style sheet decides on light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never
from xml.sax.saxutils import escape, quoteattr

from gradc.explain.drawing.palette import DARK, LIGHT, heat
from gradc.explain.drawing.scene import (
    FONTS,
    Circle,
    Curve,
    Group,
    Mark,
    Rect,
    Scene,
    Strip,
    Text,
    printable,
)

_ARROW = 5.0  # pixels
_WEIGHT = {True: ' font-weight="bold"', False: ""}


def svg(scene: Scene, *, alone: bool = True) -> str:
    """Return a scene as SVG.

    Parameters
    ----------
    alone : bool
        Whether the text is a file of its own, with its style sheet, or goes into a page that has `style`.
    """
    width, height = _number(scene.width), _number(scene.height)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
    head += f'viewBox="0 0 {width} {height}" class="scene" role="img" aria-label={_quoted(scene.title)}>'
    lines = [head]
    if alone:
        lines.append(f"<style>{style()}</style>")
        lines.append(f'<rect width="{width}" height="{height}" class="fill-paper"/>')
    lines += _marks(scene.marks)
    return "\n".join((*lines, "</svg>")) + "\n"


def style() -> str:
    """Return the style sheet: a class for the fill and one for the stroke of every role, dark where asked for."""
    names = [f'"{name}"' if " " in name else name for name in FONTS]
    light = "".join(f"--{role}:{colour};" for role, colour in LIGHT.items())
    dark = "".join(f"--{role}:{colour};" for role, colour in DARK.items())
    rules = [
        f":root{{color-scheme:light dark;{light}}}",
        f"@media(prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}",
        f":root[data-theme=dark]{{{dark}}}",
        f".scene text{{font-family:{','.join(names)};white-space:pre}}",
        ".scene .line{fill:none;stroke-width:1.4}",
        *(f".fill-{role}{{fill:var(--{role})}}.stroke-{role}{{stroke:var(--{role})}}" for role in LIGHT),
    ]
    return "\n".join(rules)


def _marks(marks: Sequence[Mark]) -> list[str]:
    lines: list[str] = []
    stack: list[Mark | str] = list(reversed(marks))
    while stack:
        mark = stack.pop()
        if isinstance(mark, str):
            lines.append(mark)
        elif isinstance(mark, Group):
            data = "".join(f" data-{name}={_quoted(value)}" for name, value in mark.data)
            lines.append(f"<g{data}>")
            if mark.title:
                lines.append(f"<title>{escape(printable(mark.title, lines=True))}</title>")
            stack.extend(("</g>", *reversed(mark.marks)))
        else:
            lines.append(_shape(mark))
    return lines


def _shape(mark: Rect | Circle | Curve | Text | Strip) -> str:
    match mark:
        case Rect(x, y, width, height, fill, stroke, radius):
            size = f'width="{_number(width)}" height="{_number(height)}" rx="{_number(radius)}"'
            return f'<rect x="{_number(x)}" y="{_number(y)}" {size}{_classes(fill, stroke)}/>'
        case Circle(x, y, radius, fill, stroke):
            place = f'cx="{_number(x)}" cy="{_number(y)}" r="{_number(radius)}"'
            return f"<circle {place}{_classes(fill, stroke)}/>"
        case Curve():
            return _curve(mark)
        case Text(x, y, text, role, size, anchor, bold):
            place = f'x="{_number(x)}" y="{_number(y)}" font-size="{_number(size)}" text-anchor="{anchor}"'
            return f'<text {place}{_WEIGHT[bold]} class="fill-{role}">{escape(printable(text))}</text>'
        case Strip(x, y, width, height, levels):
            cell = width / max(1, len(levels))
            return "".join(
                f'<rect x="{_number(x + at * cell)}" y="{_number(y)}" width="{_number(cell + 0.05)}" '
                f'height="{_number(height)}" fill="{heat(level)}"/>'
                for at, level in enumerate(levels)
            )
        case _:
            assert_never(mark)


def _curve(curve: Curve) -> str:
    (x, y), *rest = curve.points
    path = [f"M{_number(x)} {_number(y)}"]
    for to_x, to_y in rest:
        if to_y == y or to_x == x:
            path.append(f"L{_number(to_x)} {_number(to_y)}")
        else:
            middle = _number((x + to_x) / 2)
            path.append(f"C{middle} {_number(y)} {middle} {_number(to_y)} {_number(to_x)} {_number(to_y)}")
        x, y = to_x, to_y
    dashes = ' stroke-dasharray="4 3"' if curve.dashed else ""
    line = f'<path d="{"".join(path)}" class="line stroke-{curve.stroke}"{dashes}/>'
    return line + (_head(curve) if curve.arrow else "")


def _head(curve: Curve) -> str:
    (x, y), back = curve.points[-1], _ARROW if curve.points[-2][0] <= curve.points[-1][0] else -_ARROW
    corners = ((x, y), (x - back, y - _ARROW / 2 - 0.5), (x - back, y + _ARROW / 2 + 0.5))
    points = " ".join(f"{_number(a)},{_number(b)}" for a, b in corners)
    return f'<polygon points="{points}" class="fill-{curve.stroke}"/>'


def _classes(fill: str, stroke: str) -> str:
    names = [f"fill-{fill}"] * bool(fill) + [f"stroke-{stroke}"] * bool(stroke)
    return f' class="{" ".join(names)}"' + ("" if fill else ' fill="none"')


def _quoted(text: str) -> str:
    return quoteattr(printable(text, lines=True))


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
