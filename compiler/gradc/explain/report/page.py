"""The page itself: tabs, style and script in one file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from string import Template
from typing import Any

from gradc.explain.drawing.scene import printable
from gradc.explain.drawing.svg import style


@dataclass(frozen=True, slots=True)
class Tab:
    """One view: its name, and its content as HTML in which everything foreign is escaped."""

    name: str
    content: str

    @property
    def id(self) -> str:
        """The name as an identifier."""
        return self.name.lower().replace(" ", "-")


def page(title: str, subtitle: str, tabs: Sequence[Tab], gates: Mapping[str, Any]) -> str:
    """Return the page.

    Parameters
    ----------
    gates : mapping
        For each gate of the picture the tensors whose lines belong to it, and the number of its template.
    """
    script = _text("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(_text("page.html")).substitute(
        title=text(title),
        subtitle=text(subtitle),
        style=style() + "\n" + _text("page.css"),
        digest=digest,
        script=script,
        tabs="\n".join(
            f'<button role="tab" type="button" id="{tab.id}" aria-controls="panel-{tab.id}" tabindex="-1" '
            f'aria-selected="false">{text(tab.name)}</button>'
            for tab in tabs
        ),
        panels="\n".join(
            f'<section role="tabpanel" id="panel-{tab.id}" aria-labelledby="{tab.id}" tabindex="0">\n'
            f"{tab.content}\n</section>"
            for tab in tabs
        ),
        gates=json.dumps(gates).replace("<", "\\u003c"),
    )


def text(foreign: str) -> str:
    """Return text that may come from anywhere as HTML."""
    return escape(printable(foreign, lines=True))


def section(heading: str, content: str, hint: str = "") -> str:
    """Return a part of a tab."""
    shown = f'<p class="hint">{text(hint)}</p>' if hint else ""
    return f"<h2>{text(heading)}</h2>{shown}\n{content}"


def folded(summary: str, content: str) -> str:
    """Return a part that is closed at first."""
    return f"<details><summary>{text(summary)}</summary>\n{content}\n</details>"


def _text(name: str) -> str:
    return (resources.files("gradc.explain.report") / name).read_text(encoding="utf-8")
