"""Benchmarks as text: a block for each workload, then the table, the means and the losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gradc.bench.measure import Row
from gradc.bench.outcome import OURS, Outcome, lines, losses, mean
from gradc.explain.figures import amount, columns, ratio, seconds

_HEAD = ("", "median", "/ gradc", "spread", "first call", "memory")


def block(outcome: Outcome) -> str:
    """Show one workload."""
    workload = outcome.workload
    title = f"{workload.name}: {workload.title}"
    if outcome.failed:
        return f"{title}\n  no times: {outcome.failed}"
    ours = outcome.row(OURS)
    base = ours.median if ours else math.nan
    notes = workload.notes or {}
    cells = [_HEAD, *(_cells(row, base) for row in outcome.rows)]
    texts = ["", *(row.failed or row.missing or notes.get(row.way, "") for row in outcome.rows)]
    body = [f"  {line}  {text}".rstrip() for line, text in zip(columns(cells), texts, strict=True)]
    return "\n".join([title, *body, *_explained(ours)])


def _explained(ours: Row | None) -> list[str]:
    """Show where the time of gradc goes, if that was asked for."""
    if ours is None or not ours.explained:
        return []
    memory = f"  growth of the process's peak memory, compilation included: {amount(ours.memory, 'B')}"
    lines = [*ours.explained.splitlines(), *([memory] if ours.profile else [])]
    return ["", *(f"  {line}" for line in lines)]


def _cells(row: Row, base: float) -> tuple[str, ...]:
    if math.isnan(row.median):
        state = "missing" if row.missing else "no time"
        return row.way, state, "", "", f"{row.first:.2f} s" if row.first else "", ""
    memory = f"{row.memory / 1e6:.0f} MB"
    spread = f"{100 * row.spread:.0f} %"
    return row.way, seconds(row.median), ratio(row.median / base), spread, f"{row.first:.2f} s", memory


def table(outcomes: Sequence[Outcome], waiting: Mapping[str, str]) -> str:
    """Show the final table, the geometric means and the losses."""
    found = list(lines(outcomes))
    head = ("", "gradc", "best peer", "best / gradc", "JAX / gradc", "C / gradc")
    body = [
        (
            line.name,
            seconds(line.ours),
            line.best or "-",
            ratio(line.over_best),
            ratio(line.over_jax),
            ratio(line.over_c),
        )
        for line in found
    ]
    best, jax = (mean([getattr(line, name) for line in found]) for name in ("over_best", "over_jax"))
    body.append(("geometric mean", "", "", ratio(best), ratio(jax), ratio(mean([x.over_c for x in found]))))
    text = ["above 1 gradc is faster", *columns([head, *body])]
    text += [f"{name}: waits for loops ({title})" for name, title in waiting.items()]
    lost = losses(outcomes)
    text += ["", f"losses: {len(lost)}" if lost else "losses: none", *(f"  {one}" for one in lost)]
    return "\n".join(text)
