"""What was measured, and what follows from it: the best peer, ratios, means, losses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradc.bench.measure import Row
from gradc.bench.workload import OURS as OURS
from gradc.bench.workload import Workload

NO_PEERS = (OURS, "c", "interpreter")  # C by hand is a floor, not a peer


@dataclass(frozen=True, slots=True)
class Outcome:
    """The rows of one workload; `failed` says why there are none."""

    workload: Workload
    rows: list[Row] = field(default_factory=list)
    failed: str = ""

    def row(self, way: str) -> Row | None:
        """Return the row of a way that was timed."""
        return next((row for row in self.rows if row.way == way and not math.isnan(row.median)), None)

    def best(self, peers: Sequence[str] = (), *, bound: bool = True) -> Row | None:
        """Return the fastest row of these peers, or of all but gradc and C; it computes gradients."""
        found = [
            row
            for row in self.rows
            if (row.peer in peers if peers else row.peer not in NO_PEERS)
            and not math.isnan(row.median)
            and row.way not in self.workload.value_only
            and (bound or not row.way.endswith("bound"))
        ]
        return min(found, key=lambda row: row.median, default=None)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the final table; a ratio is a peer's time over gradc's: above 1 gradc is faster."""

    name: str
    ours: float
    best: str
    over_best: float
    over_jax: float
    over_c: float


def lines(outcomes: Sequence[Outcome]) -> Iterator[Line]:
    """Give the lines of the final table: calls beside calls, bound calls beside whatever is fastest."""
    for outcome in outcomes:
        yield _line(outcome, OURS, outcome.workload.name, bound=False)
        if f"{OURS}, bound" in outcome.workload.ways:
            yield _line(outcome, f"{OURS}, bound", f"{outcome.workload.name}, bound", bound=True)


def _line(outcome: Outcome, way: str, name: str, *, bound: bool) -> Line:
    row = outcome.row(way)
    ours = row.median if row else math.nan
    # where gradc cannot be bound either, peers that are bound are ordinary peers
    best = outcome.best(bound=bound or f"{OURS}, bound" not in outcome.workload.ways)
    found = [best, outcome.best(("jax",)), outcome.best(("c",))]
    ratios = [one.median / ours if one else math.nan for one in found]
    return Line(name, ours, best.way if best else "", *ratios)


def mean(ratios: Sequence[float]) -> float:
    """Return the geometric mean of the ratios there are; NaN if there are none."""
    known = [math.log(ratio) for ratio in ratios if not math.isnan(ratio)]
    return math.exp(sum(known) / len(known)) if known else math.nan


def losses(outcomes: Sequence[Outcome]) -> list[str]:
    """Tell in words where gradc is slower than a peer, or fails."""
    found = []
    for outcome in outcomes:
        row = next((row for row in outcome.rows if row.way == OURS), None)
        if row is not None and row.failed:
            found.append(f"{outcome.workload.name}: gradc fails: {row.failed}")
    for line in lines(outcomes):
        if line.over_best < 1:
            found.append(f"{line.name}: {line.best} is {1 / line.over_best:.2f} times as fast as gradc")
    return found


def document(outcomes: Sequence[Outcome], machine: dict[str, Any], interrupted: bool) -> dict[str, Any]:
    """Everything as one JSON document."""
    table = list(lines(outcomes))
    return {
        "machine": machine,
        "interrupted": interrupted,
        "workloads": [_outcome_json(outcome) for outcome in outcomes],
        "table": [
            {
                "workload": line.name,
                "gradc": line.ours,
                "best_peer": line.best or None,
                "best_over_gradc": line.over_best,
                "jax_over_gradc": line.over_jax,
                "c_over_gradc": line.over_c,
            }
            for line in table
        ],
        "geometric_mean": {
            "best_over_gradc": mean([line.over_best for line in table]),
            "jax_over_gradc": mean([line.over_jax for line in table]),
        },
        "losses": losses(outcomes),
    }


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    notes = outcome.workload.notes or {}
    return {
        "name": outcome.workload.name,
        "title": outcome.workload.title,
        "dtype": outcome.workload.dtype,
        "failed": outcome.failed or None,
        "rows": [
            {
                "way": row.way,
                "median_seconds": row.median,
                "seconds": row.seconds,
                "spread": row.spread,
                "first_call_seconds": row.first,
                "import_seconds": row.imported,
                "memory_bytes": row.memory,
                "missing": row.missing or None,
                "failed": row.failed or None,
                "note": notes.get(row.way),
                "profile": row.profile,
            }
            for row in outcome.rows
        ],
    }
