"""Two compilations side by side: what differs in numbers, and in the text of a stage."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable, Sequence

from gradc.errors import ArgumentError
from gradc.explain.kernels.contents import with_loops
from gradc.explain.kernels.counts import equation_costs
from gradc.explain.kernels.residuals import residuals
from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.index.show import show, show_left
from gradc.ir.loop.count import count
from gradc.ir.loop.nodes import Allocate, Library, Product
from gradc.ir.loop.pieces import pieces
from gradc.ir.loop.show import show as show_kernel
from gradc.ir.loop.sizes import types_of
from gradc.ir.loop.walk import every
from gradc.ir.schedule import show_schedule
from gradc.ir.stages import Stages

WIDEST = 60  # characters of a formula

STAGES: dict[str, Callable[[Stages], str]] = {
    "program": lambda stages: show(stages.program),
    "stable": lambda stages: show(stages.stable),
    "adjoint": lambda stages: show(stages.adjoint),
    "optimised": lambda stages: show(stages.optimised),
    "schedule": lambda stages: show_schedule(
        stages.schedule, {number: show_left(e) for number, e in enumerate(stages.optimised.equations)}
    ),
    "kernels": lambda stages: show_kernel(stages.kernel),
    "source": lambda stages: stages.source,
}


def difference(
    one: Stages,
    two: Stages,
    stage: str = "source",
    names: tuple[str, str] = ("one", "two"),
    text: Callable[[Stages], str] | None = None,
) -> str:
    """A table of what the two have, and a unified difference of the text of one stage.

    Parameters
    ----------
    one, two : Stages
        Two compilations: with other options, of other types, or of another derivation.
    stage : str
        ``"program"``, ``"stable"``, ``"adjoint"``, ``"optimised"``, ``"schedule"``, ``"kernels"`` or ``"source"``.
    names : pair of str
        What they are called.
    text : callable, optional
        What makes the text of a stage from a compilation; then `stage` is but a title.

    Raises
    ------
    ArgumentError
        There is no such stage, and no `text`.

    Examples
    --------
    >>> import numpy as np
    >>> from gradc import differentiate
    >>> at = differentiate(lambda x: np.exp(x)).at(np.ones(3))
    >>> stages = at.inspect("value").stages
    >>> print(difference(stages, stages, "optimised", ("first", "second")).splitlines()[-1])
    The text of optimised is the same.
    """
    if text is None and stage not in STAGES:
        raise ArgumentError(
            f"there is no text of the stage {stage!r}", do=f"choose one of {', '.join(STAGES)}"
        )
    make = text or STAGES[stage]
    rows = [("", *names), *_summary(with_loops(one), with_loops(two))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    before, after = (_without_head(make(stages), stages.kernel.name) for stages in (one, two))
    lines = list(
        difflib.unified_diff(before, after, f"{names[0]} {stage}", f"{names[1]} {stage}", lineterm="")
    )
    changed = lines or [f"The text of {stage} is the same."]
    return "\n".join([*table, "", *changed]) + "\n"


def _without_head(text: str, kernel: str) -> list[str]:
    """The lines of a stage without what always differs: the docstring of a module, and the name of the kernel."""
    lines = text.splitlines()
    if text.startswith('"""'):
        first = ast.parse(text).body[0]
        lines = lines[first.end_lineno or 0 :]
    named = re.compile(rf"\b{re.escape(kernel)}\b")
    plain = [re.sub(r" {2,}: ", "  : ", named.sub("kernel", line)) for line in lines]  # columns may be wider
    return "\n".join(plain).strip("\n").splitlines()


# --- the table ----------------------------------------------------------------------------------------------


def _summary(one: Stages, two: Stages) -> list[tuple[str, ...]]:
    """Rows for both; formulas where the extents of the one are those of the other."""
    rows: list[tuple[str, ...]] = [
        ("pieces", *(str(len(_pieces(stages))) for stages in (one, two))),
        ("equations", *(str(len(stages.optimised.equations)) for stages in (one, two))),
        ("arrays", *(str(_arrays(stages)) for stages in (one, two))),
        ("rewrites", *(str(len(stages.applied)) for stages in (one, two))),
        ("residuals", *(_kept(stages) for stages in (one, two))),
    ]
    if _symbols(one) == _symbols(two):
        rows += [
            ("operations", *(_cut(_operations(stages)) for stages in (one, two))),
            ("bytes, one by one", *(_cut(_bytes(stages)) for stages in (one, two))),
        ]
    return rows


def _pieces(stages: Stages) -> Sequence[object]:
    return [piece for piece in pieces(stages.kernel) if piece.kind != "entry"]


def _arrays(stages: Stages) -> int:
    """How many arrays a kernel makes, results included."""
    made = [s for s in every(stages.kernel.body) if isinstance(s, Allocate | Product | Library)]
    return sum(len(s.outs) if isinstance(s, Library) else 1 for s in made)


def _kept(stages: Stages) -> str:
    found = [row.how for row in residuals(stages)]
    parts = [f"{found.count(how)} {what}" for how, what in _HOW if how in found]
    return ", ".join(parts) or "none"


_HOW = (("array", "in arrays"), ("register", "in registers"), ("recomputed", "computed again"))


def _symbols(stages: Stages) -> set[str]:
    """The extents of the arguments."""
    types = stages.program.types
    shapes = (types[name].shape for name in stages.program.inputs)
    return {name for shape in shapes for size in shape for name in extents.symbols(size)}


def _operations(stages: Stages) -> Size:
    return count(stages.kernel.body, types_of(stages.kernel)).operations


def _bytes(stages: Stages) -> Size:
    total: Size = 0
    for cost in equation_costs(stages.optimised):
        total = extents.add(total, cost.bytes)
    return total


def _cut(size: Size) -> str:
    text = extents.show(size)
    return text if len(text) <= WIDEST else text[: WIDEST - 4] + " ..."
