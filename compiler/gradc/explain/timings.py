"""Where the time of a compilation goes: seconds of every stage, by equations and by operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradc.explain.figures import columns
from gradc.ir.index.nodes import Accumulate, Assign, Equation, Program
from gradc.ir.index.templates import operation_count

DEFINITION = "operations: scalar functions of the derived equations, each counted once whatever the sizes"
_HEAD = ("", "seconds", "share", "us per equation", "ms per 1000 operations")


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds by stage, in order; `remarks` say what a reader has to know about a stage."""

    equations: int
    operations: int
    seconds: Mapping[str, float]
    remarks: Mapping[str, str]

    @property
    def total(self) -> float:
        """Seconds of all stages together."""
        return sum(self.seconds.values())

    def __str__(self) -> str:
        total = {"total": self.total}
        rows = [_HEAD, *(self._row(*item) for item in (*self.seconds.items(), *total.items()))]
        texts = ["", *(self.remarks.get(stage, "") for stage in self.seconds), ""]
        body = [f"{line}  {text}".rstrip() for line, text in zip(columns(rows), texts, strict=True)]
        head = f"{self.equations} equations, {self.operations} operations"
        return "\n".join((head, *body, DEFINITION)) + "\n"

    def _row(self, stage: str, taken: float) -> tuple[str, ...]:
        share = f"{100 * taken / self.total:.0f} %" if self.total else ""
        return (
            stage,
            f"{taken:.4f}",
            share,
            f"{1e6 * self._each(taken):.2f}",
            f"{1e3 * self._thousand(taken):.2f}",
        )

    def _each(self, taken: float) -> float:
        return taken / max(1, self.equations)

    def _thousand(self, taken: float) -> float:
        return 1000 * taken / max(1, self.operations)

    def document(self) -> dict[str, Any]:
        """The same as JSON."""
        stages = [
            {
                "stage": stage,
                "seconds": taken,
                "seconds_per_equation": self._each(taken),
                "seconds_per_1000_operations": self._thousand(taken),
                "remark": self.remarks.get(stage),
            }
            for stage, taken in self.seconds.items()
        ]
        return {
            "equations": self.equations,
            "operations": self.operations,
            "total_seconds": self.total,
            "total_seconds_per_1000_operations": self._thousand(self.total),
            "stages": stages,
        }


def timings(
    derived: Program, seconds: Mapping[str, float], remarks: Mapping[str, str] | None = None
) -> Timings:
    """The times of the compilation of a derived program.

    Examples
    --------
    >>> from gradc.ir.index.build import Builder
    >>> from gradc.ir.types import DType
    >>> build = Builder("f")
    >>> x = build.access(build.input("x", DType.F64, ()))
    >>> program = build.finish((build.assign("exp", (x,), (), DType.F64),))
    >>> print(timings(program, {"adjoint": 0.25, "source": 0.75}))
    1 equations, 1 operations
             seconds  share  us per equation  ms per 1000 operations
    adjoint   0.2500   25 %        250000.00               250000.00
    source    0.7500   75 %        750000.00               750000.00
    total     1.0000  100 %       1000000.00              1000000.00
    operations: scalar functions of the derived equations, each counted once whatever the sizes
    <BLANKLINE>
    """
    operations = sum(map(_operations, derived.equations))
    return Timings(len(derived.equations), operations, dict(seconds), dict(remarks or {}))


def _operations(equation: Equation) -> int:
    """What the text of an equation applies: its functions, and the operation of its reduction."""
    match equation:
        case Assign(template=template, reduce=reduce):
            return operation_count(template) + (reduce is not None)
        case Accumulate(template=template):
            return operation_count(template) + 1
        case _:
            return 1
