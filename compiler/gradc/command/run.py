"""The verbs of the command: each returns text and an exit code."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from gradc.api.differentiated import Differentiated
from gradc.command import answers, export, spec
from gradc.command.inputs import Inputs, gather
from gradc.errors import CompilerBug, GradcError, InputRefused
from gradc.explain.gates import gates, show_circuit
from gradc.pipeline import DERIVATIONS, VERSION, Options
from gradc_runtime import cache

PICTURE_LIMIT = 300  # gates that a circuit is drawn for


@dataclass(frozen=True, slots=True)
class Request:
    """What function at which arguments."""

    spec: str | None
    expr: str | None
    at: tuple[str, ...]
    shape: tuple[str, ...]
    inputs: Path | None
    seed: int
    target: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What to print and the exit code."""

    text: str
    code: int = 0


@dataclass(frozen=True, slots=True)
class Writing:
    """How ``compile`` writes."""

    timings: bool
    force: bool


def _prepared(request: Request) -> tuple[Differentiated[..., Any], Inputs]:
    if request.target not in ("cpu", "interpret"):
        raise InputRefused(f"there is no target {request.target!r}", do="use cpu or interpret")
    function = spec.load(request.spec, request.expr, Options(target=request.target))
    return function, gather(function, request.at, request.shape, request.inputs, request.seed)


def grad(request: Request, as_json: bool) -> Answer:
    """Value, gradient and gates."""
    function, found = _prepared(request)
    value, gradient = function.value_and_grad(**found.arguments)
    names = function.signature.wrt
    by_name = {names[0]: gradient} if function.signature.bare else dict(zip(names, gradient, strict=True))
    by_name = {name: item for name, item in by_name.items() if item is not None}
    program, inputs = function.at(**found.arguments).program_and_inputs()
    scalar = not program.types[program.outputs[0]].shape
    rows = gates(program, inputs) if scalar and len(program.equations) <= PICTURE_LIMIT else ()
    if as_json:
        nodes = [answers.node(gate) for gate in rows]
        return Answer(answers.to_json({"value": value, "gradient": by_name, "nodes": nodes}))
    circuit = show_circuit(rows, program.outputs[0]) + "\n" if rows else ""
    return Answer(_drawn(found) + circuit + answers.show_gradient(value, by_name))


def check(request: Request, as_json: bool) -> Answer:
    """The gradient check."""
    function, found = _prepared(request)
    value = np.asarray(function(**found.arguments))
    if not np.isfinite(value).all():
        text = (
            f"inconclusive: the value is {value.item() if value.ndim == 0 else 'not finite'} there; give --at"
        )
        return Answer(
            answers.to_json({"verdict": "UNDEFINED", "why": text}) if as_json else _drawn(found) + text, 3
        )
    report = function.at(**found.arguments).check(seed=request.seed)
    wrong = any(str(entry.verdict) in ("WRONG", "KINK-WRONG", "NONDETERMINISTIC") for entry in report.entries)
    code = 0 if report else 1 if wrong else 3
    return Answer(report.to_json() if as_json else f"{_drawn(found)}{report}", code)


def inspect(request: Request, stage: str, of: str, as_json: bool) -> Answer:
    """One stage as text."""
    _known_derivation(of)
    function, found = _prepared(request)
    text = function.at(**found.arguments).inspect(of).stage(stage)
    return Answer(answers.to_json({"stage": stage, "of": of, "text": text}) if as_json else text)


def compile_to(request: Request, of: str, out: Path, writing: Writing, as_json: bool) -> Answer:
    """Write a kernel and what it needs to a directory."""
    _known_derivation(of)
    function, found = _prepared(request)
    inspection = function.at(**found.arguments).inspect(of)
    written = export.write(inspection.stages, out, force=writing.force)
    if as_json:
        return Answer(
            answers.to_json({"directory": str(out), "files": written.files, "function": written.function})
        )
    timings = inspection.timings if writing.timings else ""
    return Answer(timings + "\n".join((*written.files, "", *written.usage)))


def _known_derivation(of: str) -> None:
    if of not in DERIVATIONS:
        raise InputRefused(f"--of {of!r} is unknown", do=f"use one of {', '.join(DERIVATIONS)}")


def _drawn(found: Inputs) -> str:
    if not found.drawn:
        return ""
    return f"drawn with --seed {found.seed}: {'; '.join(found.drawn)}\n"


def cache_path() -> Answer:
    """Where generated kernels are kept."""
    return Answer(str(cache.directory()))


def cache_clear() -> Answer:
    """Delete generated kernels."""
    return Answer(f"deleted {cache.clear()} kernels in {cache.directory()}")


def doctor(as_json: bool) -> Answer:
    """Versions, threads and directories."""
    rows = [("gradc", VERSION), ("Python", platform.python_version())]
    rows += [(name, metadata.version(name)) for name in ("numpy", "numba", "llvmlite", "scipy", "sympy")]
    rows.append(("processors", str(os.cpu_count())))
    from gradc_runtime.backends import describe  # noqa: PLC0415  (loads Numba)

    rows += describe()
    rows.append(("kernels", str(cache.directory())))
    return Answer(answers.to_json(dict(rows)) if as_json else answers.table(rows))


def unexpected(error: Exception, as_json: bool) -> int:
    """Report what should not have happened; the exit code."""
    if type(error).__module__.startswith(("click", "typer")):
        refused = InputRefused(str(getattr(error, "message", "") or error), do="gradc --help")
        print(
            answers.error_json(refused) if as_json else f"gradc: {refused}",
            file=sys.stdout if as_json else sys.stderr,
        )
        return 2
    if isinstance(error, ArithmeticError | ValueError | TypeError | LookupError | OSError | RuntimeError):
        bug: GradcError = CompilerBug(f"{type(error).__name__}: {error}", why="gradc did not expect this")
        print(
            answers.error_json(bug) if as_json else f"gradc: {bug}",
            file=sys.stdout if as_json else sys.stderr,
        )
        return 70
    raise error
