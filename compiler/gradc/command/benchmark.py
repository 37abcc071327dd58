"""``gradc bench``: the workloads beside other libraries, or one function of the user's."""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gradc.bench import chart, machine, report, roofline
from gradc.bench.child import ChildFailed
from gradc.bench.measure import Bench, Settings, Task
from gradc.bench.outcome import OURS, Outcome, document
from gradc.bench.peers import CHOICES, PEERS, Found, find
from gradc.bench.progress import BenchProgress
from gradc.bench.workload import Workload, peer_of
from gradc.bench.workloads import ALL, WAITING
from gradc.command import own_function
from gradc.command.documents import named, to_json
from gradc.command.failures import INTERRUPTED
from gradc.command.request import Answer, Request
from gradc.command.run import one_of
from gradc.errors import InputRefused
from gradc.pipeline import TARGETS

INSTALL = "pip install 'gradc[plot]'"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says beside the function and its arguments."""

    only: str
    peers: str
    pythons: tuple[str, ...]
    settings: Settings
    out: Path | None


def require_target(target: str) -> None:
    """Refuse to time what does not run on this processor.

    Raises
    ------
    InputRefused
        The target is none, or another one than ``"cpu"``.
    """
    one_of("--target", target, TARGETS)
    if target != "cpu":
        raise InputRefused(
            f"gradc bench does not time --target {target}",
            why="it compares compiled kernels of this processor",
            do="gradc inspect ... --target cuda --stage launches"
            if target == "cuda"
            else "leave it out: the interpreter of a function takes part anyway",
        )


def listed(as_json: bool) -> Answer:
    """Name the workloads and the libraries, with what keeps a library from taking part."""
    found = {name: find(name, {}) for name in CHOICES}
    if as_json:
        workloads = [
            {"name": one.name, "title": one.title, "dtype": one.dtype, "ways": list(one.ways)}
            for one in ALL.values()
        ]
        peers = [
            {"name": name, "versions": dict(peer.versions), "missing": peer.missing or None}
            for name, peer in found.items()
        ]
        return Answer(to_json({"workloads": workloads, "waiting": dict(WAITING), "peers": peers}))
    rows = [(one.name, one.title, ", ".join(dict.fromkeys(map(peer_of, one.ways)))) for one in ALL.values()]
    rows += [(name, title, "waits for loops") for name, title in WAITING.items()]
    width = max(len(row[0]) for row in rows)
    lines = [f"{name:{width}}  {title}\n{'':{width}}    {peers}" for name, title, peers in rows]
    lines += ["", "libraries:"]
    lines += [
        f"{name:{width}}  {peer.missing or ', '.join(map(' '.join, peer.versions.items()))}"
        for name, peer in found.items()
    ]
    return Answer("\n".join(lines))


def of_all(asked: Asked, as_json: bool) -> Answer:
    """Measure the workloads."""
    names = _chosen("--only", "workload", asked.only, tuple(ALL))
    peers = _with_ours(_chosen("--peers", "peer", asked.peers, CHOICES))
    found = _found(peers, asked.pythons)
    plan = [
        (ALL[name], Task("gradc.bench.workloads", "named", {"name": name}), _ways(ALL[name], peers))
        for name in names
    ]
    return _measured(plan, found, asked, as_json, WAITING if not asked.only else {})


def of_function(request: Request, asked: Asked, as_json: bool) -> Answer:
    """Measure a function of the user's: gradc beside its interpreter, the function itself, and JAX."""
    if asked.only:
        raise InputRefused(
            "--only chooses among the workloads of --all", do="leave it out, or leave SPEC out"
        )
    peers = _with_ours(_chosen("--peers", "peer", asked.peers, own_function.PEERS))
    arguments = own_function.arguments_of(request)
    workload = own_function.workload(**arguments)  # refuses here and now what cannot be measured
    workload.inputs(False)
    task = Task("gradc.command.own_function", "workload", arguments)
    plan = [(workload, task, _ways(workload, peers))]
    return _measured(plan, _found((*peers, "interpreter"), asked.pythons), asked, as_json, {})


def _chosen(option: str, what: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Names from a list with commas; all if there is none."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise InputRefused(
                f"{option}: there is no {what} `{named(name)}`",
                why=f"the {what}s are {', '.join(known)}",
                do=f"did you mean {close[0]}?" if close else "gradc bench --list",
            )
    return names or tuple(known)


def _with_ours(peers: tuple[str, ...]) -> tuple[str, ...]:
    """Gradc is what the others are compared with."""
    return tuple(dict.fromkeys((OURS, *peers)))


def _ways(workload: Workload, peers: Sequence[str]) -> list[str]:
    return [way for way in workload.ways if peer_of(way) in peers]


def _found(peers: Sequence[str], pythons: Sequence[str]) -> dict[str, Found]:
    """Look for the libraries; NumPy always, because the references need it."""
    given: dict[str, str] = {}
    for word in pythons:
        name, equals, path = word.partition("=")
        if not equals or not path or name not in CHOICES or name in ("gradc", "c"):
            raise InputRefused(
                f"--python {named(word)} does not name a library and its interpreter",
                why=f"the libraries are {', '.join(set(CHOICES) - {'gradc', 'c'})}",
                do="--python pytensor=DIR/bin/python",
            )
        given[name] = path
    return {name: find(name, given) for name in PEERS if name in peers or name == "numpy"}


Plan = Sequence[tuple[Workload, Task, list[str]]]


def _measured(
    plan: Plan, found: Mapping[str, Found], asked: Asked, as_json: bool, waiting: Mapping[str, str]
) -> Answer:
    if asked.out is not None:
        _require_folder(asked.out)
    facts = machine.describe(asked.settings, found)

    def keep(outcomes: Sequence[Outcome]) -> None:
        if asked.out is not None:
            _install(asked.out / "bench.json", to_json(document(outcomes, facts, interrupted=True)).encode())

    outcomes, interrupted = _outcomes(plan, found, asked.settings, keep)
    answer = document(outcomes, facts, interrupted)
    text = [machine.shown(facts), "", *(report.block(outcome) + "\n" for outcome in outcomes)]
    text.append(report.table(outcomes, waiting))
    if interrupted:
        text.append("interrupted: what is missing was not measured")
    if asked.out is not None:
        text += ["", *_write(asked.out, answer, outcomes)]
    return Answer(to_json(answer) if as_json else "\n".join(text), INTERRUPTED if interrupted else 0)


def _outcomes(
    plan: Plan, found: Mapping[str, Found], settings: Settings, keep: Callable[[Sequence[Outcome]], None]
) -> tuple[list[Outcome], bool]:
    """Measure one workload after the other, keeping what is there; Ctrl-C ends that."""
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="gradc-bench-") as folder, BenchProgress(len(plan)) as progress:
        bench = Bench(settings, found, Path(folder), progress.tell)
        for workload, task, ways in plan:
            outcome, failed = Outcome(workload), ""
            try:
                bench.run(workload, task, ways, outcome.rows)
            except KeyboardInterrupt:
                return [*outcomes, outcome], True
            except ChildFailed as error:
                failed = f"the reference fails: {error}"
            outcomes.append(Outcome(workload, outcome.rows, failed))
            keep(outcomes)
            progress.advance()
    return outcomes, False


def _require_folder(out: Path) -> None:
    """Make the folder before anything is measured."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        writable = os.access(out, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise InputRefused(f"{named(out)} is no folder that can be written", do="give another -o DIR")


def _write(out: Path, answer: dict[str, Any], outcomes: Sequence[Outcome]) -> list[str]:
    """Write the document and the pictures, each whole or not at all; say what was written."""
    profiles = {
        f"{outcome.workload.name}: {outcome.workload.title}": row.profile
        for outcome in outcomes
        for row in outcome.rows
        if row.profile is not None
    }
    pictures = {"bench.svg": lambda: chart.draw(outcomes)}
    if profiles:
        pictures["roofline.svg"] = lambda: roofline.draw(profiles)
    _install(out / "bench.json", to_json(answer).encode())
    written = [str(out / "bench.json")]
    for name, draw in pictures.items():
        if find_spec("matplotlib") is None:
            written.append(f"{out / name} is not drawn: matplotlib is not installed ({INSTALL})")
        else:
            _install(out / name, draw())
            written.append(str(out / name))
    return written


def _install(path: Path, content: bytes) -> None:
    """Replace a file at once."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
