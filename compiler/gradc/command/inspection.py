"""``gradc inspect`` and ``gradc report``: stages of a compilation as text, as pictures, and all on one page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gradc.api.report import require_page
from gradc.command import networks
from gradc.command.documents import to_json
from gradc.command.export_device import capabilities_of
from gradc.command.request import Answer, Request
from gradc.command.run import COMPILED, one_of, options_of, prepared, verdict_code
from gradc.errors import InputRefused
from gradc.explain.drawing.image import require_format
from gradc.explain.files import write_whole
from gradc.explain.graph.draw import SHOWN
from gradc.explain.graph.picture import FORMATS, VIEWS
from gradc.explain.inspection import STAGES, Inspection
from gradc.explain.kernels.launch_plan import document
from gradc.pipeline import DERIVATIONS, TARGETS, Options

USUAL = "value_and_grad"  # where --of says nothing
WITH_CAPABILITY, WITH_BANDWIDTH = ("ptx", "resources"), ("launches", "schedule")


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
    capabilities: tuple[str, ...] = ()
    bandwidth: float | None = None


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
    options = options_of(request, COMPILED)
    is_graph = view.stage == "graph"
    if is_graph and view.out is not None:
        require_format(view.out, FORMATS)
    _require_device_options(request, view)
    subject = _network(request, options) if networks.is_network(request.spec) else _function(request)
    of = view.of or subject.usual
    one_of("--of", of, subject.derivations)
    inspection = subject.inspect(of, True)
    if view.against:
        text = inspection.difference(_other(subject, of, view), view.stage, (of, view.against))
    elif is_graph:
        return _graph(inspection, view, subject.note, as_json)
    else:
        text = _text(inspection, view)
    if view.out is not None:
        write_whole(view.out, text.encode())
        return _written(view.out, subject.note, as_json)
    if not as_json:
        return Answer(text)
    more = {"plan": document(inspection.launch_plan(view.bandwidth))} if view.stage == "launches" else {}
    return Answer(to_json({"stage": view.stage, "of": of, "text": text, **more}))


def _require_device_options(request: Request, view: View) -> None:
    """Refuse options that the stage has no use for."""
    for option, given, stages in (
        ("--capability", view.capabilities, WITH_CAPABILITY),
        ("--bandwidth", view.bandwidth, WITH_BANDWIDTH),
    ):
        if given and (request.target != "cuda" or view.stage not in stages or view.against):
            do = f"gradc inspect ... --target cuda --stage {stages[0]}"
            raise InputRefused(f"{option} is for {' and '.join(stages)} of a GPU", do=do)


def _text(inspection: Inspection, view: View) -> str:
    """The text of a stage, for the devices that are asked for."""
    if view.stage in WITH_CAPABILITY:
        show = inspection.ptx_for if view.stage == "ptx" else inspection.resources_for
        return "\n".join(map(show, capabilities_of(view.capabilities)))
    if view.stage == "launches":
        return str(inspection.launch_plan(view.bandwidth))
    return inspection.scheduled(view.bandwidth) if view.stage == "schedule" else inspection.stage(view.stage)


def _function(request: Request) -> Subject:
    function, found = prepared(request, draw=True)

    def stages(of: str, stabilise: bool) -> Inspection:
        variant = function if stabilise else function.with_options(stabilise=False)
        return variant.at(**found.arguments).inspect(of)

    return Subject(tuple(DERIVATIONS), USUAL, stages, found.note())


def _network(request: Request, options: Options) -> Subject:
    found = networks.NetworkSpec.of(request, options)
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
    one_of("--target", request.target, TARGETS)
    if request.target != "cpu":
        raise InputRefused(
            f"there is no report of --target {request.target}",
            why="its timings are those of compiled loops on this processor",
            do="leave it out, or gradc inspect ... --target cuda --stage launches",
        )
    function, found = prepared(request, draw=True)
    page = function.at(**found.arguments).report(out, rounds=rounds, seed=request.seed)
    code = verdict_code(page.check)
    if as_json:
        return Answer(to_json({"file": str(out), "check": str(page.check.verdict)}), code)
    return Answer(f"{found.note()}{out}: gradient check {page.check.verdict}", code)
