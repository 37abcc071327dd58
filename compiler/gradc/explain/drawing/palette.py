"""The colours of roles, in light and in dark.

Values are green and gradients red, as in the lectures; both also differ in place (above and below a wire), so that
nothing depends on colours alone.  Hues of kernels are those of Okabe and Ito (2008), which colour-blind readers can
tell apart, as tints.
"""

from __future__ import annotations

import math

_HUES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")


def _mixed(first: str, second: str, share: float) -> str:
    """`share` of the first colour in the second."""
    one, two = (tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5)) for colour in (first, second))
    return "#" + "".join(f"{round(a * share + b * (1 - share)):02x}" for a, b in zip(one, two, strict=True))


def _with_kernels(theme: dict[str, str]) -> dict[str, str]:
    """Add a tint and a line for each kernel."""
    for number, hue in enumerate(_HUES):
        theme[f"kernel-{number}"] = _mixed(hue, theme["paper"], 0.16)
        theme[f"kernel-{number}-line"] = _mixed(hue, theme["paper"], 0.75)
    return theme


LIGHT = _with_kernels(
    {
        "paper": "#ffffff",
        "ink": "#1f2328",
        "faint": "#656d76",
        "wire": "#8c959f",
        "gate": "#f6f8fa",
        "outline": "#57606a",
        "value": "#1a7f37",
        "gradient": "#cf222e",
        "mark": "#9a6700",
        "bar": "#0969da",
        "track": "#eaeef2",
    }
)
DARK = _with_kernels(
    {
        "paper": "#0d1117",
        "ink": "#e6edf3",
        "faint": "#8d96a0",
        "wire": "#6e7681",
        "gate": "#161b22",
        "outline": "#8b949e",
        "value": "#3fb950",
        "gradient": "#ff7b72",
        "mark": "#d29922",
        "bar": "#58a6ff",
        "track": "#21262d",
    }
)


def heat(level: float | None) -> str:
    """Return the colour of a number from -1 to 1: blue, white, red; no number is black.

    Examples
    --------
    >>> heat(0.0), heat(1.0), heat(-1.0), heat(None)
    ('#f7f7f7', '#b2182b', '#2166ac', '#000000')
    """
    if level is None or math.isnan(level):
        return "#000000"
    level = max(-1.0, min(1.0, level))
    return _mixed("#b2182b" if level > 0 else "#2166ac", "#f7f7f7", abs(level))
