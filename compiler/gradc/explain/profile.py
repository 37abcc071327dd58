"""A kernel beside what this machine could do: every piece of it counted, predicted and timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from gradc.codegen.numba_cpu import module_text
from gradc.explain.costs import Cost, Memory, Prediction, costs, memory, predict
from gradc.explain.figures import amount, columns, ratio, seconds, spans
from gradc.explain.roofs import Machine, Roofs
from gradc.ir.loop.count import Key
from gradc.ir.loop.sizes import numbers_of
from gradc.ir.stages import Stages
from gradc.passes.loops.clocks import with_clocks
from gradc_runtime import backends, thread_count
from gradc_runtime.artifact import KernelArtifact

if TYPE_CHECKING:
    from gradc.explain.drawing.image import Image

BUDGET = 0.05  # seconds that a kernel runs before the other one does
MOST_RUNS = 200
SMALL = 0.005  # of the whole: shorter pieces share a line
WIDEST = 60  # characters of equations on a line

_HEAD: tuple[str, ...] = (
    "",
    "operations",
    "functions",
    "bytes",
    "op/byte",
    "predicted",
    "measured",
    "ratio",
    "bound by",
)


@dataclass(frozen=True, slots=True)
class Line:
    """One piece: its cost, the prediction, and the median of its measured seconds."""

    cost: Cost
    prediction: Prediction
    measured: float

    @property
    def intensity(self) -> float:
        """Operations per byte; infinite where no array is touched."""
        return self.cost.operations / self.cost.moved if self.cost.moved else float("inf")


@dataclass(frozen=True, slots=True)
class Profile:
    """What a kernel costs, piece by piece.

    Attributes
    ----------
    name : str
        The kernel.
    lines : tuple of Line
        One for each piece, in order.
    alone, together : Roofs
        What the machine can do on one thread and on all that kernels use.
    memory : Memory
        The arrays of the kernel.
    measured : float
        Seconds of a call of the kernel as it is, without clocks in it: a median.
    """

    name: str
    lines: tuple[Line, ...]
    alone: Roofs
    together: Roofs
    memory: Memory
    measured: float

    @property
    def predicted(self) -> float:
        """Seconds of a call."""
        return sum(line.prediction.seconds for line in self.lines)

    def chart(self) -> Image:
        """Draw the measured time of each piece beside its floor."""
        from gradc.explain.drawing.image import Image  # noqa: PLC0415
        from gradc.explain.profile_chart import Row, chart  # noqa: PLC0415

        rows = [
            Row(
                f"{place_of(line.cost)}  {text_of(line.cost.equations)}",
                line.measured,
                line.prediction.seconds,
                line.prediction.bound,
            )
            for line in self.lines
        ]
        whole = Row("the whole kernel", self.measured, self.predicted)
        title = f"{self.name}, {self.together.threads} threads"
        return Image(lambda: chart(title, rows, whole))

    def _repr_html_(self) -> str:
        return f"{self.chart().svg}<pre>{escape(str(self))}</pre>"

    def __repr__(self) -> str:
        return f"<profile of {self.name}: {len(self.lines)} pieces, {seconds(self.measured)}>"

    def __str__(self) -> str:
        return shown(self)


def profile(stages: Stages, arguments: Sequence[Any], run: Callable[..., Any], rounds: int) -> Profile:
    """Count, predict and time the pieces of a kernel.

    Parameters
    ----------
    arguments : sequence
        Those of the kernel, in its order.
    run : callable
        The compiled kernel.
    rounds : int
        How often each is run at least; medians count.
    """
    numba_backend = backends.load("numba")
    timed = with_clocks(stages.kernel)
    parameters = tuple((p.name, p.dtype.value, p.rank) for p in timed.parameters)
    artifact = KernelArtifact(timed.name, module_text(timed), parameters, ())
    clocked = numba_backend.compile_kernel(numba_backend.load(artifact))
    names = [parameter.name for parameter in stages.kernel.parameters]
    given = dict(zip(names, arguments, strict=True))
    numbers = numbers_of(stages.kernel, given, backends.parts_of())
    found = costs(stages, numbers)
    machine = Machine(backends.threads(), {key for cost in found for key in cost.calls})
    before = machine.measured()
    spans, whole = _runs(clocked, run, arguments, rounds)
    alone, together = map(Roofs.or_better, before, machine.measured())
    lanes = {size: backends.vector_bytes() // size for size in (2, 4, 8)}
    lines = tuple(
        Line(cost, predict(cost, alone, together, lanes), taken)
        for cost, taken in zip(found, np.median(spans, axis=0).tolist(), strict=True)
    )
    held = memory(stages.kernel, given, numbers)
    return Profile(stages.kernel.name, lines, alone, together, held, float(np.median(whole)))


def _runs(
    clocked: Callable[..., Any], run: Callable[..., Any], arguments: Sequence[Any], rounds: int
) -> tuple[np.ndarray, list[float]]:
    """Run both kernels in turns: seconds of the pieces of the one, a row for each run, and of all of the other.

    Where other programs hold the processors, loops run on one thread for a while: each turn begins with all threads.
    """
    clocked(*arguments)
    run(*arguments)
    batch = max(1, min(MOST_RUNS, int(BUDGET / max(_seconds_of(run, arguments), 1e-9))))
    spans, whole = [], []
    for _ in range(rounds):
        thread_count.forget_stalls()
        spans += [np.diff(clocked(*arguments)[-1]) for _ in range(batch)]
        thread_count.forget_stalls()
        whole += [_seconds_of(run, arguments) for _ in range(batch)]
    return np.array(spans) * 1e-9, whole


def _seconds_of(run: Callable[..., Any], arguments: Sequence[Any]) -> float:
    begin = time.perf_counter()
    run(*arguments)
    return time.perf_counter() - begin


# --- text ---------------------------------------------------------------------------------------------------


def shown(found: Profile) -> str:
    """A line for each piece that takes time, the total, the roofs and the memory."""
    kept = [line for line in found.lines if line.measured >= SMALL * found.measured]
    rest = [line for line in found.lines if line.measured < SMALL * found.measured]
    rows = [_HEAD]
    for line in kept:
        prediction = line.prediction
        rows.append(_row(place_of(line.cost), [line], prediction.seconds, line.measured, prediction.bound))
    if rest:
        predicted = sum(line.prediction.seconds for line in rest)
        rows.append(_row(f"{len(rest)} shorter", rest, predicted, sum(line.measured for line in rest)))
    rows.append(_row("the whole kernel", found.lines, found.predicted, found.measured))
    what = ["", *(text_of(line.cost.equations) for line in kept), *[""] * (len(rows) - 1 - len(kept))]
    body = [f"  {line}  {text}".rstrip() for line, text in zip(columns(rows), what, strict=True)]
    return "\n".join([found.name, *body, *_facts(found)])


def _row(
    what: str, lines: Sequence[Line], predicted: float, measured: float, bound: str = ""
) -> tuple[str, ...]:
    operations, moved = (sum(getattr(line.cost, name) for line in lines) for name in ("operations", "moved"))
    elementary = sum(line.cost.elementary for line in lines)
    return (
        what,
        amount(operations),
        amount(elementary) if elementary else "",
        amount(moved, "B"),
        f"{operations / moved:.2g}" if moved else "",
        seconds(predicted),
        seconds(measured),
        ratio(measured / predicted) if predicted else "-",
        bound,
    )


def place_of(cost: Cost) -> str:
    """Show where in the user's source a piece comes from, and what it is: ``model.py:7-9 tasks``."""
    numbers: dict[str, list[int]] = {}
    for origin in cost.origins:
        numbers.setdefault(PurePath(origin.file).name, []).append(origin.line)
    places = [f"{file}:{spans(found)}" for file, found in numbers.items() if file]
    return " ".join([*places, cost.kind])


def text_of(equations: Sequence[str]) -> str:
    """Show an equation, or of several the names of what they compute."""
    if len(equations) == 1:
        return _cut(equations[0], WIDEST)
    more = f" ({len(equations)} equations)"
    names = dict.fromkeys(equation.partition(" ")[0].partition("[")[0] for equation in equations)
    return _cut(", ".join(names), WIDEST - len(more)) + more if names else ""


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 4].rstrip(" ,") + " ..."


def _facts(found: Profile) -> list[str]:
    held, roofs = found.memory, found.together
    sizes = [f"{amount(rate, 'B/s')} over {size >> 10} KiB" for size, rate in roofs.bandwidths]
    rates = [
        f"{name} {dtype.short} {amount(rate, '/s')}"
        for (name, dtype), rate in sorted(roofs.rates.items(), key=str)
    ]
    return [
        f"  arrays: {amount(held.arguments, 'B')} of arguments, {amount(held.results, 'B')} of results, "
        f"at most {amount(held.temporaries, 'B')} at once in between",
        f"  this machine, {roofs.threads} threads: {', '.join(rates)}",
        f"  {', '.join(sizes)}; a loop in parts starts and ends in {seconds(roofs.launch)}",
    ]


def document(found: Profile) -> dict[str, Any]:
    """The profile as JSON; keys of rates are ``function dtype``."""
    return {
        "kernel": found.name,
        "predicted_seconds": found.predicted,
        "measured_seconds": found.measured,
        "memory": {
            "argument_bytes": found.memory.arguments,
            "result_bytes": found.memory.results,
            "temporary_bytes": found.memory.temporaries,
        },
        "machine": [_machine(roofs) for roofs in (found.alone, found.together)],
        "pieces": [_piece(line) for line in found.lines],
    }


def _machine(roofs: Roofs) -> dict[str, Any]:
    return {
        "threads": roofs.threads,
        "rates": _named(roofs.rates),
        "bandwidths": [{"bytes": size, "bytes_per_second": rate} for size, rate in roofs.bandwidths],
        "launch_seconds": roofs.launch,
    }


def _named(rates: Mapping[Key, float]) -> dict[str, float]:
    return {f"{name} {dtype.value}": rate for (name, dtype), rate in rates.items()}


def _piece(line: Line) -> dict[str, Any]:
    cost, prediction = line.cost, line.prediction
    return {
        "place": place_of(cost),
        "kind": cost.kind,
        "lines": [{"file": o.file, "line": o.line, "text": o.text} for o in cost.origins],
        "equations": list(cost.equations),
        "operations": cost.operations,
        "operations_formula": cost.formula,
        "calls": _named(cost.calls),
        "bytes": cost.moved,
        "footprint_bytes": cost.held,
        "operations_per_byte": line.intensity if cost.moved else None,
        "parts": cost.parts,
        "predicted_seconds": prediction.seconds,
        "predicted": {
            "arithmetic": prediction.arithmetic,
            "functions": prediction.functions,
            "transfer": prediction.transfer,
            "overhead": prediction.overhead,
        },
        "measured_seconds": line.measured,
        "measured_over_predicted": line.measured / prediction.seconds if prediction.seconds else None,
        "bound": prediction.bound,
    }
