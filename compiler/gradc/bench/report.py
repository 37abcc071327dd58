"""Benchmarks as text: a block for each workload, then the table, the means and the losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gradc.bench.measure import Row
from gradc.bench.outcome import OURS, Outcome, lines, losses, mean

_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))
_HEAD = ("", "median", "/ gradc", "spread", "first call", "memory")


def seconds(value: float) -> str:
    """Show a time with three digits and its unit.

    Examples
    --------
    >>> seconds(0.00123456), seconds(2.5e-7)
    ('1.23 ms', '250 ns')
    """
    if math.isnan(value):
        return "-"
    size, unit = next((found for found in _UNITS if value >= found[0]), (1e-9, "ns"))
    return f"{value / size:.3g} {unit}"


def ratio(value: float) -> str:
    """Show a ratio; a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.2f}" if value < 100 else f"{value:.0f}"


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
    return "\n".join([title, *body])


def _cells(row: Row, base: float) -> tuple[str, ...]:
    if math.isnan(row.median):
        state = "missing" if row.missing else "no time"
        return row.way, state, "", "", f"{row.first:.2f} s" if row.first else "", ""
    memory = f"{row.memory / 1e6:.0f} MB"
    spread = f"{100 * row.spread:.0f} %"
    return row.way, seconds(row.median), ratio(row.median / base), spread, f"{row.first:.2f} s", memory


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of aligned columns: the first to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


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
