"""Measuring one workload: every way in a process of its own, checked first, then timed in turns."""

from __future__ import annotations

import os
import re
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from gradc.bench.child import Child, ChildFailed
from gradc.bench.peers import PEERS, Found
from gradc.bench.workload import OURS, Workload, fault, peer_of

REFERENCE = ""  # the way that is not timed
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure.

    Attributes
    ----------
    threads : int
        For every library, and as many processors for every process.
    rounds : int
        How often each way is timed; the median counts.
    budget : float
        Seconds of each timing; at least one call.
    timeout : float
        Seconds to wait for a way to be built and for its first result.
    explain : bool
        Profile gradc's kernel, too.
    """

    threads: int = 2
    rounds: int = 9
    small: bool = False
    budget: float = 0.05
    timeout: float = 180.0
    explain: bool = False


@dataclass(slots=True)
class Row:
    """One way: its seconds in each round, or why there are none."""

    way: str
    seconds: list[float] = field(default_factory=list)
    first: float = 0.0  # building and the first call, compilation included
    imported: float = 0.0
    memory: int = 0  # growth of the peak, in bytes
    missing: str = ""
    failed: str = ""
    profile: dict[str, Any] | None = None  # of gradc's kernel, as `gradc.explain.profile.document` has it
    explained: str = ""  # the same as text, or why there is none

    @property
    def peer(self) -> str:
        """The library."""
        return peer_of(self.way)

    @property
    def median(self) -> float:
        """Seconds of one call; NaN if it was not timed."""
        return statistics.median(self.seconds) if self.seconds and not self.failed else float("nan")

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a share of the median."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return (high - low) / 2 / self.median


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker imports to find the workload: ``module.maker(**arguments)``."""

    module: str
    maker: str
    arguments: Mapping[str, Any]


class Bench:
    """Measures workloads in a folder of its own, which holds the results and the caches of the libraries."""

    def __init__(self, settings: Settings, found: Mapping[str, Found], scratch: Path, tell: Tell) -> None:
        self._settings = settings
        self._found = found
        self._scratch = scratch
        self._tell = tell
        self._children: dict[str, Child] = {}

    def run(self, workload: Workload, task: Task, ways: Sequence[str], rows: list[Row]) -> None:
        """Measure the ways; `rows` fills while it does, so that an interrupted run keeps what it has.

        Raises
        ------
        ChildFailed
            There is nothing to compare with: the reference fails, or is not finite.
        """
        try:
            wanted, sizes = self._reference(workload, task)
            for way in ways:
                row = Row(way)
                rows.append(row)
                self._build(workload, task, row, wanted, sizes)
            self._rounds(workload, rows)
            if self._settings.explain:
                self._explain(workload, rows)
        finally:
            for child in self._children.values():
                child.end()
            self._children.clear()

    def _reference(self, workload: Workload, task: Task) -> tuple[np.ndarray, list[int]]:
        self._tell(f"{workload.name}: reference")
        file = self._file(workload, "reference")
        child = self._start(task, REFERENCE, workload.reference_peer, file)
        try:
            sizes = child.answer(self._settings.timeout)["sizes"]
            wanted = np.load(file)
            if not np.isfinite(wanted).all():
                raise ChildFailed("it is not finite")
            return wanted, sizes
        finally:
            child.end()
            file.unlink(missing_ok=True)

    def _build(self, workload: Workload, task: Task, row: Row, wanted: np.ndarray, sizes: list[int]) -> None:
        """Start one way and check what it returns; one that is wrong is ended and never timed."""
        row.missing = self._found[row.peer].missing
        if row.missing:
            return
        self._tell(f"{workload.name}: building {row.way}")
        file = self._file(workload, row.way)
        child = self._children[row.way] = self._start(task, row.way, row.peer, file)
        try:
            answer = child.answer(self._settings.timeout)
            row.first, row.imported = answer["first"], answer["imported"]
            row.memory = answer["memory"] - answer["before"]
            found = np.load(file)
            if row.way in workload.value_only:
                wanted, sizes = wanted[: sizes[0]], sizes[:1]
            row.failed = fault(found, wanted, sizes, workload.rtol)
            if row.failed:
                row.failed = f"wrong: {row.failed}"
        except ChildFailed as error:
            row.failed = str(error)
        finally:
            file.unlink(missing_ok=True)
        if row.failed:
            self._children.pop(row.way).end()

    def _rounds(self, workload: Workload, rows: Sequence[Row]) -> None:
        for at in range(self._settings.rounds):
            self._tell(f"{workload.name}: round {at + 1} of {self._settings.rounds}")
            for row in rows:
                if row.way in self._children:
                    self._time(row)

    def _time(self, row: Row) -> None:
        child = self._children[row.way]
        try:
            answer = child.ask({"budget": self._settings.budget}, self._settings.timeout)
        except ChildFailed as error:
            row.failed = str(error)
            self._children.pop(row.way).end()
        else:
            row.seconds.append(answer["seconds"])

    def _explain(self, workload: Workload, rows: Sequence[Row]) -> None:
        """Profile gradc's kernel where it is."""
        for row in rows:
            if row.way == OURS and row.way in self._children:
                self._tell(f"{workload.name}: profile")
                try:
                    question = {"profile": self._settings.rounds}
                    answer = self._children[row.way].ask(question, self._settings.timeout)
                except ChildFailed as error:
                    row.explained = f"no profile: {error}"
                    self._children.pop(row.way).end()
                else:
                    row.profile, row.explained = answer["profile"], answer["text"]

    def _start(self, task: Task, way: str, peer: str, file: Path) -> Child:
        question = {
            "module": task.module,
            "maker": task.maker,
            "arguments": dict(task.arguments),
            "modules": PEERS[peer].modules,
            "way": way,
            "small": self._settings.small,
            "result": str(file),
            "cpus": processors(self._settings.threads),
        }
        python = self._found[peer].python
        return Child(question, python, self._environment(file.with_suffix(""), python))

    def _file(self, workload: Workload, way: str) -> Path:
        return self._scratch / f"{workload.name}-{re.sub('[^A-Za-z]+', '-', way)}.npy"

    def _environment(self, folder: Path, python: str) -> dict[str, str]:
        """Variables of a child: threads, and empty caches, so that every first call compiles."""
        folder.mkdir(exist_ok=True)
        count = str(self._settings.threads)
        changed = {name: count for name in _THREADS}
        changed |= {name: str(folder) for name in _CACHES}
        changed["TORCHINDUCTOR_CACHE_DIR"] = str(self._scratch / "inductor")  # its headers compile only once
        changed["PYTENSOR_FLAGS"] = f"base_compiledir={folder}"
        if self._settings.threads == 1:
            flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
            changed["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
        if python == sys.executable:
            changed["PYTHONPATH"] = os.pathsep.join(_homes())
        return {**os.environ, **changed}


_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "GRADC_NUM_THREADS",
    "TORCHINDUCTOR_COMPILE_THREADS",
)
_CACHES = ("GRADC_CACHE_DIR", "NUMBA_CACHE_DIR", "TMPDIR")


def processors(count: int) -> list[int]:
    """Return the processors that every child stays on; empty where that cannot be said."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    return sorted(os.sched_getaffinity(0))[:count]


def _homes() -> Iterator[str]:
    """Give the folders where this process found the packages of gradc."""
    given = os.environ.get("PYTHONPATH")
    for name in ("gradc", "gradc_runtime"):
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            yield str(Path(spec.origin).parents[1])
    if given:
        yield given
