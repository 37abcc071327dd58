"""``gradc inspect`` and ``gradc report``: stages of a compilation as text, as pictures, and all on one page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gradc.api.report import require_page
from gradc.command import networks
from gradc.command.documents import to_json
from gradc.command.request import Answer, Request
from gradc.command.run import one_of, prepared, verdict_code
from gradc.errors import InputRefused
from gradc.explain.drawing.image import require_format
from gradc.explain.files import write_whole
from gradc.explain.graph.draw import SHOWN
from gradc.explain.graph.picture import FORMATS, VIEWS
from gradc.explain.inspection import STAGES, Inspection
from gradc.pipeline import DERIVATIONS

USUAL = "value_and_grad"  # where --of says nothing


@dataclass(frozen=True, slots=True)
class View:
    """What of a compilation to show: fields are the options of ``gradc inspect``."""

    stage: str
    of: str
    out: Path | None
    by: str
    shown: str
    limit: int
    against: str


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked at: its derivations, the usual one, their stages, and a line on what was drawn."""

    derivations: tuple[str, ...]
    usual: str
    inspect: Callable[[str, bool], Inspection]
    note: str


def inspect(request: Request, view: View, as_json: bool) -> Answer:
    """One stage, printed or written."""
    one_of("--stage", view.stage, STAGES)
    one_of("--by", view.by, VIEWS)
    one_of("--show", view.shown, SHOWN)
    is_graph = view.stage == "graph"
    if is_graph and view.out is not None:
        require_format(view.out, FORMATS)
    subject = _network(request) if networks.is_network(request.spec) else _function(request)
    of = view.of or subject.usual
    one_of("--of", of, subject.derivations)
    inspection = subject.inspect(of, True)
    if view.against:
        text = inspection.difference(_other(subject, of, view), view.stage, (of, view.against))
    elif is_graph:
        return _graph(inspection, view, subject.note, as_json)
    else:
        text = inspection.stage(view.stage)
    if view.out is not None:
        write_whole(view.out, text.encode())
        return _written(view.out, subject.note, as_json)
    return Answer(to_json({"stage": view.stage, "of": of, "text": text}) if as_json else text)


def _function(request: Request) -> Subject:
    function, found = prepared(request, draw=True)

    def stages(of: str, stabilise: bool) -> Inspection:
        variant = function if stabilise else function.with_options(stabilise=False)
        return variant.at(**found.arguments).inspect(of)

    return Subject(tuple(DERIVATIONS), USUAL, stages, found.note())


def _network(request: Request) -> Subject:
    found = networks.NetworkSpec.of(request)
    return Subject(networks.DERIVED, networks.DERIVED[0], found.inspect, found.inputs().note())


def _other(subject: Subject, of: str, view: View) -> Inspection:
    """Return the compilation to compare with: the same derivation unstabilised, or another derivation."""
    if view.against.lower() == "stabilise=false":
        return subject.inspect(of, False)
    if view.against not in subject.derivations:
        known = ", ".join(("stabilise=false", *subject.derivations))
        raise InputRefused(f"--against {view.against!r} is unknown", do=f"use one of {known}")
    return subject.inspect(view.against, True)


def _graph(inspection: Inspection, view: View, note: str, as_json: bool) -> Answer:
    found = inspection.graph(view.out, shown=view.shown, by=view.by, limit=view.limit)
    if view.out is not None:
        size = f"{found.graph.size} {found.view}"
        return _written(view.out, note, as_json, size=size)
    return Answer(
        to_json({"stage": "graph", "of": view.of or USUAL, "view": found.view, "text": found.dot})
        if as_json
        else found.dot
    )


def _written(path: Path, note: str, as_json: bool, size: str = "") -> Answer:
    if as_json:
        return Answer(to_json({"file": str(path), "size": size} if size else {"file": str(path)}))
    return Answer(f"{note}{path}" + (f": {size}" if size else ""))


def report(request: Request, out: Path, rounds: int, as_json: bool) -> Answer:
    """Write the page; the exit code is that of the gradient check."""
    require_page(out)
    function, found = prepared(request, draw=True)
    page = function.at(**found.arguments).report(out, rounds=rounds, seed=request.seed)
    code = verdict_code(page.check)
    if as_json:
        return Answer(to_json({"file": str(out), "check": str(page.check.verdict)}), code)
    return Answer(f"{found.note()}{out}: gradient check {page.check.verdict}", code)
