"""``loss.at(...).report()``: one page with graph, mathematics, kernels, timings, memory and gradient check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any

from gradc.errors import InputRefused
from gradc.explain.files import write_whole
from gradc.explain.inspection import Inspection
from gradc.explain.mathematics.derivation import derivation
from gradc.explain.profile import Profile
from gradc.explain.report.gates import graph_tab
from gradc.explain.report.page import page
from gradc.explain.report.tabs import Evidence, other_tabs
from gradc.ir.index.nodes import Program
from gradc.ir.index.show import show_type
from gradc.pipeline import VERSION
from gradc_runtime.gradcheck import Report

FORMATS = (".html", ".htm")


class ReportPage:
    """A page in one file, which needs no network.

    Attributes
    ----------
    html : str
        The page.
    check : Report
        The gradient check on it.
    """

    def __init__(self, html: str, title: str, check: Report) -> None:
        self.html = html
        self.title = title
        self.check = check

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the page, whole or not at all.

        Raises
        ------
        InputRefused
            The name does not end in .html, or the place cannot be written.
        """
        found = require_page(path)
        write_whole(found, self.html.encode())
        return found

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{escape(self.html)}" width="100%" height="800"></iframe>'

    def __repr__(self) -> str:
        return f"<report of {self.title}: {len(self.html) // 1024} KiB; .save('report.html')>"


def require_page(path: str | PathLike[str]) -> Path:
    """Return the path of a page, refusing a name that does not say so."""
    found = Path(path)
    if found.suffix.lower() not in FORMATS:
        raise InputRefused(f"{found.name} is no name of a page", do="end it in .html")
    return found


def report(
    inspection: Inspection,
    program: Program,
    inputs: Mapping[str, Any],
    wrt: Sequence[str],
    profile: Profile,
    checked: Report,
) -> ReportPage:
    """Return the page of a compilation that was timed and checked.

    Parameters
    ----------
    inspection : Inspection
        Of value and gradient.
    program, inputs
        The traced program and the values of its inputs.
    wrt : sequence of str
        The inputs that the gradient is about.
    """
    evidence = Evidence(
        derivation=None if program.types[program.outputs[0]].shape else derivation(program, inputs),
        profile=profile,
        timings=inspection.timings,
        workspace=inspection.workspace,
        counts=inspection.counts,
        schedule=inspection.schedule,
        loops=inspection.kernels,
        assembly=inspection.asm,
        check=str(checked),
        passed=bool(checked),
    )
    stages = inspection.stages
    first, gates = graph_tab(stages, inspection.graph(), wrt)
    types = ", ".join(f"{name}: {show_type(program.types[name])}" for name in program.inputs)
    subtitle = f"{program.name}({types}), gradc {VERSION}"
    html = page(program.name, subtitle, [first, *other_tabs(stages, wrt, evidence)], gates)
    return ReportPage(html, program.name, checked)
