"""What a gradient check found, as values, text, JSON and HTML."""

from __future__ import annotations

import html
import json
import math
from collections import Counter
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

MAX_ROWS = 20
COLUMNS = ("verdict", "argument", "element", "analytic", "numeric", "bound", "detail")


class Verdict(StrEnum):
    """What was found, from best to worst.

    `PASS`: inside a computed bound. `EDGE`: f has values to one side only, and the claim is that slope.
    `KINK-OK`: the slopes to the left and right differ and the claim lies between them. `INCONCLUSIVE`:
    neither confirmed nor refuted. `INFINITE`: the slope grows without limit, and what the claim should be is
    a convention. `JUMP`: f itself jumps. `UNDEFINED`: f(x) is not finite. `NONDETERMINISTIC`: two calls
    differed. `KINK-WRONG`: outside the slopes of a kink. `WRONG`: refuted.
    """

    PASS = "PASS"
    EDGE = "EDGE"
    KINK_OK = "KINK-OK"
    INCONCLUSIVE = "INCONCLUSIVE"
    INFINITE = "INFINITE"
    JUMP = "JUMP"
    UNDEFINED = "UNDEFINED"
    NONDETERMINISTIC = "NONDETERMINISTIC"
    KINK_WRONG = "KINK-WRONG"
    WRONG = "WRONG"


SEVERITY = {verdict: rank for rank, verdict in enumerate(Verdict)}
ACCEPTED = frozenset({Verdict.PASS, Verdict.EDGE, Verdict.KINK_OK})


@dataclass(frozen=True, slots=True)
class Entry:
    """One comparison.

    Attributes
    ----------
    argument : str
        Name of the argument, or `f` for the function as a whole.
    index : tuple of int or str
        The element, `()` for a scalar, or what else was compared: `direction 0`, `shape`, `input`.
    analytic, numeric, bound : float
        The claim, the estimate, and the bound on the estimate's error; nan, nan and inf where the entry is
        not about numbers.
    verdict : Verdict
        What was found.
    detail : str
        Why, in words.
    """

    argument: str
    index: tuple[int, ...] | str
    analytic: float
    numeric: float
    bound: float
    verdict: Verdict
    detail: str = ""

    def _cells(self) -> tuple[str, ...]:
        place = self.index if isinstance(self.index, str) else str(list(self.index)) if self.index else "-"
        numbers = (f"{self.analytic:.10g}", f"{self.numeric:.10g}", f"{self.bound:.1e}")
        return (str(self.verdict), self.argument, place, *numbers, self.detail)


class GradientCheckError(AssertionError):
    """A gradient check found something other than PASS, KINK-OK or EDGE; the message is its report."""


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """The outcome of a gradient check; true only if every verdict is PASS, KINK-OK or EDGE.

    Attributes
    ----------
    entries : tuple of Entry
        Every comparison, in the order made.
    evaluations : int
        How often f was called (`wide` included).
    seed : int
        Seed of the random directions.
    """

    entries: tuple[Entry, ...]
    evaluations: int
    seed: int = 0

    def __bool__(self) -> bool:
        return bool(self.entries) and all(entry.verdict in ACCEPTED for entry in self.entries)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict; INCONCLUSIVE if nothing was compared."""
        return max((e.verdict for e in self.entries), key=SEVERITY.__getitem__, default=Verdict.INCONCLUSIVE)

    @property
    def counts(self) -> dict[str, int]:
        """How many entries have each verdict, worst first."""
        found = Counter(entry.verdict for entry in self.entries)
        return {str(v): found[v] for v in reversed(Verdict) if found[v]}

    def assert_ok(self) -> None:
        """Raise unless the report is true.

        Raises
        ------
        GradientCheckError
            An AssertionError whose message is the report.
        """
        if not self:
            raise GradientCheckError(f"the gradient is not confirmed\n{self}")

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain Python values; nan and inf stay floats."""
        entries = [{**asdict(e), "verdict": str(e.verdict)} for e in self.entries]
        head = {"ok": bool(self), "verdict": str(self.verdict), "counts": self.counts}
        return {**head, "evaluations": self.evaluations, "seed": self.seed, "entries": entries}

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the report as strict JSON; nan and inf become the strings "nan", "inf" and "-inf"."""
        return json.dumps(_jsonable(self.to_dict()), indent=indent, allow_nan=False)

    def __repr__(self) -> str:
        return f"<gradient check: {self._summary()}>"

    def __str__(self) -> str:
        rows, hidden = self._worst()
        cells = [COLUMNS, *(entry._cells() for entry in rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(COLUMNS))]
        lines = [
            "  ".join(
                text.rjust(width) if 3 <= i <= 5 else text.ljust(width)
                for i, (text, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        ]
        if hidden:
            lines.append(f"... and {hidden} more, none worse")
        return "\n".join([*lines, self._summary()])

    def _repr_html_(self) -> str:
        rows, hidden = self._worst()
        head = "".join(f"<th>{name}</th>" for name in COLUMNS)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in entry._cells()) + "</tr>"
            for entry in rows
        )
        more = f"<p>... and {hidden} more, none worse</p>" if hidden else ""
        summary = html.escape(self._summary())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}<p>{summary}</p>"

    def _worst(self) -> tuple[list[Entry], int]:
        ranked = sorted(self.entries, key=lambda entry: -SEVERITY[entry.verdict])
        return ranked[:MAX_ROWS], max(0, len(ranked) - MAX_ROWS)

    def _summary(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.counts.items()) or "nothing compared"
        return f"{'ok' if self else 'NOT OK'}: {counts}; {self.evaluations} evaluations of f"


def _jsonable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return value
