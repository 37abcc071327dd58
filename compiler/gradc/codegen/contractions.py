"""The calls of generated kernels that contract arrays, or views of them."""

from __future__ import annotations

from collections.abc import Callable

from gradc.codegen.printer import Printer
from gradc.ir.loop.nodes import Contract, From, View


def contraction(statement: Contract, printer: Printer, rename: Callable[[str], str], beside: str) -> str:
    """``contract(s, 'j k', q[i], 'j p', r[i], 'k p', (m, n, d))``; `beside` is how many tasks run beside this one."""
    views = (
        _view(rename(name), view, printer)
        for name, view in zip((statement.out, statement.left, statement.right), statement.views, strict=True)
    )
    texts = (statement.target, statement.first, statement.second)
    given = [f"{view}, {text!r}" for view, text in zip(views, texts, strict=True)]
    given.append(f"({', '.join(printer.text(size) for size in statement.extents)})")
    if beside or statement.again is not None:
        given.append(beside or "1")
    if statement.again is not None:
        given.append(printer.text(statement.again))
    return f"{'add_contraction' if statement.add else 'contract'}({', '.join(given)})"


def _view(name: str, view: View, printer: Printer) -> str:
    places = (f"{printer.text(at.start)}:" if isinstance(at, From) else printer.text(at) for at in view)
    return f"{name}[{', '.join(places)}]" if view else name
