"""Timing on a GPU: results are checked, then ways take turns; a time is that of many calls between two waits.

What a call leaves to be done on the device is not waited for, as in a user's loop: the time of a way is that of the
device where calls queue up, and that of Python where the device waits for it (then `host_seconds` is as long).
"""

from __future__ import annotations

import gc
import importlib
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any
from unittest import mock

import numpy as np

OURS = "gradc"
WARM = 5  # calls before anything is timed
BUDGET = 0.05  # seconds of a way in a round
Run = Callable[[], Any]
Leaves = Sequence[np.ndarray]


@dataclass(frozen=True)
class Way:
    """One way to compute: `place` copies arrays to the device, `build` makes of them a call without arguments.

    `wait` takes the results of the last call, and `host` makes NumPy arrays of them, the same for all ways.
    """

    name: str
    place: Callable[[], Any]
    build: Callable[[Any], Run]
    wait: Callable[[Any], None]
    host: Callable[[Any], list[np.ndarray]]

    @property
    def is_ours(self) -> bool:
        return self.name.startswith(OURS)


@dataclass
class Row:
    """What is known of a way; what it computes is wrong, or it failed, where there is a `fault`."""

    name: str
    fault: str = ""
    first_seconds: float = 0.0  # from the function to its first results: compilation
    seconds: float = 0.0
    host_seconds: float = 0.0  # until Python may go on
    samples: list[float] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    kernels: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Share:
    """A target: minimal traffic at this share of the bandwidth of a copy."""

    share: float

    def verdicts(self, row: Row, rows: Sequence[Row], least_seconds: float) -> Iterator[dict[str, Any]]:
        reached = least_seconds / row.seconds
        yield _verdict(row, "copy bandwidth", reached, self.share)


@dataclass(frozen=True)
class Ahead:
    """A target: the time of every way whose name starts like this, at least `factor` times ours."""

    of: str
    factor: float = 1.0

    def verdicts(self, row: Row, rows: Sequence[Row], least_seconds: float) -> Iterator[dict[str, Any]]:
        for other in rows:
            if other.name.startswith(self.of) and not other.fault:
                yield _verdict(row, f"speed of {other.name}", other.seconds / row.seconds, self.factor)


def _verdict(row: Row, what: str, reached: float, wanted: float) -> dict[str, Any]:
    return {"way": row.name, "what": what, "reached": reached, "target": wanted, "met": reached >= wanted}


@dataclass(frozen=True)
class Task:
    """Something to compute in several ways.

    `fault` takes a way, its call and the results of the first one, and says what is wrong with them.  `traffic` is in
    bytes, inputs read once and outputs written once; `operations` are floating-point ones.
    """

    name: str
    title: str
    ways: Sequence[Way]
    fault: Callable[[Way, Run, Any], str]
    targets: Sequence[Share | Ahead] = ()
    traffic: int = 0
    operations: int = 0


def measure(task: Task, rounds: int, budget: float = BUDGET) -> list[Row]:
    """Check every way, then time those that are right."""
    runs: list[tuple[Way, Row, Run]] = []
    rows = []
    for way in task.ways:
        row, run = _checked(task, way)
        rows.append(row)
        if run is not None:
            runs.append((way, row, run))
    repeats = [_repeats(way, run, budget) for way, _, run in runs]
    hosts: list[list[float]] = [[] for _ in runs]
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for (way, row, run), repeat, host in zip(runs, repeats, hosts, strict=True):
                whole, sent = _timed(way, run, repeat)
                row.samples.append(whole)
                host.append(sent)
    finally:
        gc.enable()
    for (way, row, run), host in zip(runs, hosts, strict=True):
        row.seconds, row.host_seconds = statistics.median(row.samples), statistics.median(host)
        if way.is_ours:
            row.counts, row.kernels = observed(way, run)
    return rows


def _checked(task: Task, way: Way) -> tuple[Row, Run | None]:
    """Compile a way and look at its results; what a library raises is told in the table."""
    row = Row(way.name)
    try:
        placed = way.place()
        begin = time.perf_counter()
        run = way.build(placed)
        result = run()
        way.wait(result)
        row.first_seconds = time.perf_counter() - begin
        row.fault = task.fault(way, run, result)
    except Exception as error:
        row.fault = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return row, None
    return row, None if row.fault else run


def _repeats(way: Way, run: Run, budget: float) -> int:
    """How many calls fill a round."""
    _timed(way, run, WARM)
    return max(1, int(budget / max(_timed(way, run, WARM)[0], 1e-7)))


def _timed(way: Way, run: Run, repeat: int) -> tuple[float, float]:
    """Seconds of a call, and until the last one returned."""
    result = None
    begin = time.perf_counter()
    for _ in range(repeat):
        result = run()
    sent = time.perf_counter()
    way.wait(result)
    return (time.perf_counter() - begin) / repeat, (sent - begin) / repeat


# --- what a call does ---------------------------------------------------------------------------------------

PLACES = {  # functions of the runtime that stand for work of the driver, and which argument is how many bytes
    "fills": ("gradc_runtime.cuda_driver", "fill", 3),
    "allocations": ("gradc_runtime.cuda_driver", "allocated", 0),
    "waits": ("gradc_runtime.cuda_driver", "wait", None),
}


def observed(way: Way, run: Run) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """What one call asks of the driver, and its kernels with the milliseconds that the device took for each."""
    counts: Counter[str] = Counter(launches=0, **dict.fromkeys(PLACES, 0))
    with ExitStack() as stack:
        for name in PLACES:
            stack.enter_context(_counted(counts, name))
        launches = stack.enter_context(_launches())
        way.wait(run())
        counts["launches"] = len(launches)
    synchronize()
    return dict(counts), [
        {"kernel": name, "blocks": blocks, "threads": threads, "ms": _elapsed(begin, end)}
        for name, blocks, threads, begin, end in launches
    ]


@contextmanager
def _counted(counts: Counter[str], name: str) -> Iterator[None]:
    place, function, size = PLACES[name]
    module = importlib.import_module(place)
    usual = getattr(module, function)

    def counting(*args: Any) -> Any:
        counts[name] += size is None or args[size] > 0
        return usual(*args)

    with mock.patch.object(module, function, counting):
        yield


@contextmanager
def _launches() -> Iterator[list[tuple[str, int, int, Any, Any]]]:
    """Note every launch of a kernel between two events."""
    kernel_type = importlib.import_module("gradc_runtime.cuda_host").Kernel
    usual, cuda = kernel_type.run, _cuda()
    found: list[tuple[str, int, int, Any, Any]] = []

    def run(kernel: Any, blocks: int, threads: int, arguments: tuple[Any, ...]) -> None:
        begin, end = cuda.event(), cuda.event()
        begin.record()
        usual(kernel, blocks, threads, arguments)
        end.record()
        if blocks:
            found.append((kernel.__name__, blocks, threads, begin, end))

    with mock.patch.object(kernel_type, "run", run):
        yield found


def _elapsed(begin: Any, end: Any) -> float:
    """Milliseconds between two events; in the simulator no time passes."""
    simulated = importlib.import_module("gradc_runtime.cuda_backend").SIMULATED
    return 0.0 if simulated else float(_cuda().event_elapsed_time(begin, end))


def _cuda() -> Any:
    return importlib.import_module("gradc_runtime.cuda_backend").cuda


def synchronize(result: Any = None) -> None:
    """Wait for everything that is queued on the device."""
    _cuda().synchronize()


# --- the yardstick ------------------------------------------------------------------------------------------


def copy_bandwidth(size: int, rounds: int) -> float:
    """Bytes read and written a second by copies from the device to itself."""
    cuda = _cuda()
    source, target = (cuda.to_device(np.arange(size // 8, dtype=np.float64)) for _ in range(2))
    way = Way("copy", list, lambda _: lambda: target.copy_to_device(source), synchronize, list)
    run = way.build(None)
    repeat = _repeats(way, run, BUDGET)
    return 2 * source.nbytes / statistics.median(_timed(way, run, repeat)[0] for _ in range(rounds))


# --- what is told -------------------------------------------------------------------------------------------


def document(task: Task, rows: Sequence[Row], bandwidth: float) -> dict[str, Any]:
    """Everything about a task, as JSON has it."""
    verdicts = [
        verdict
        for row in rows
        if row.name.startswith(OURS) and not row.fault
        for target in task.targets
        for verdict in target.verdicts(row, rows, task.traffic / bandwidth)
    ]
    sizes = {"traffic": task.traffic, "operations": task.operations}
    told = [{**asdict(row), **_rates(task, row, bandwidth)} for row in rows]
    return {"name": task.name, "title": task.title, **sizes, "rows": told, "verdicts": verdicts}


def _rates(task: Task, row: Row, bandwidth: float) -> dict[str, float]:
    if row.fault:
        return {}
    found = {}
    if task.traffic:
        found["bytes_per_second"] = task.traffic / row.seconds
        found["share_of_copy"] = task.traffic / row.seconds / bandwidth
    if task.operations:
        found["operations_per_second"] = task.operations / row.seconds
    return found


def shown(told: dict[str, Any], kernels: bool = False) -> str:
    """A table of the ways of a task, and what became of its targets."""
    width = max(len(row["name"]) for row in told["rows"])
    heads = ("ms", "host ms", "first s", "GB/s", "of copy", "TFLOP/s", "launches", "fills", "new", "waits")
    lines = [f"\n{told['name']}: {told['title']}", f"  {'':{width}}" + "".join(f"{h:>10}" for h in heads)]
    for row in told["rows"]:
        lines.append(f"  {row['name']:{width}}" + (f"  {row['fault']}" if row["fault"] else _cells(row)))
        if kernels:
            lines += [
                f"    {k['kernel']:{width}} {k['ms']:9.4f} ms, {k['blocks']} x {k['threads']} threads"
                for k in row["kernels"]
            ]
    for verdict in told["verdicts"]:
        met = "met" if verdict["met"] else "NOT met"
        lines.append(
            f"  {verdict['way']}: {verdict['reached']:.2f} x the {verdict['what']}, target {verdict['target']}: {met}"
        )
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> str:
    cells = [f"{row['seconds'] * 1e3:.4f}", f"{row['host_seconds'] * 1e3:.4f}", f"{row['first_seconds']:.2f}"]
    rates = (
        ("bytes_per_second", 1e9, ".0f"),
        ("share_of_copy", 0.01, ".1f"),
        ("operations_per_second", 1e12, ".2f"),
    )
    for name, unit, how in rates:
        cells.append(f"{row[name] / unit:{how}}" + " %" * (unit == 0.01) if name in row else "")
    counts = row["counts"]
    cells += [str(counts.get(name, "")) for name in ("launches", "fills", "allocations", "waits")]
    return "".join(f"{cell:>10}" for cell in cells)
