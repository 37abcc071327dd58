"""What the host of a kernel for a GPU does, step by step: launches, copies, checks and calls, and what each costs.

Bytes are those of distinct elements, each read and written once (`gradc.ir.loop.footprint`): the traffic that no cache
can avoid.  Operations are weighted as in `gradc.ir.loop.count`.  The floor of a step is the time in which the memory
of the device moves its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradc.explain.figures import amount, ratio, seconds

BANDWIDTH = 3350.0  # GB/s of an H100 SXM (NVIDIA H100 Tensor Core GPU, data sheet)
WIDEST = 52  # characters of a formula, and of a list of arrays
_HEAD = ("", "step", "grid", "blocks", "threads", "read", "written", "operations", "op/byte", "floor")
_WORD = re.compile(r"[A-Za-z_]\w*")
_LEFT = 3  # columns that stand to the left
_COPIES = {"copy in": "to the device", "copy back": "to the host"}


@dataclass(frozen=True, slots=True)
class Step:
    """Something that the host starts.

    `kind` is ``"launch"``, ``"copy in"``, ``"copy back"``, ``"clear"``, ``"check"`` or ``"library"``.  `grid` is the
    number of blocks as a formula in the extents, empty for all but launches; `waits` tells that the host goes on only
    when the device is done.
    """

    kind: str
    name: str
    grid: str = ""
    blocks: int = 0
    threads: int = 0
    read: int = 0
    written: int = 0
    operations: int = 0
    waits: bool = False

    @property
    def moved(self) -> int:
        """Bytes read and written."""
        return self.read + self.written

    @property
    def intensity(self) -> float:
        """Operations per byte; NaN where no byte is moved."""
        return self.operations / self.moved if self.moved else float("nan")

    def floor(self, bandwidth: float) -> float:
        """Seconds that the memory of the device takes at least, at this many GB/s; copies go another way."""
        return 0.0 if self.kind.startswith("copy") else self.moved / (bandwidth * 1e9)


@dataclass(frozen=True, slots=True)
class Choice:
    """A number that the host chooses: the parts of a loop, or the threads that share a row."""

    name: str
    value: int
    meaning: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a call with NumPy arrays, in order.

    Attributes
    ----------
    sizes : mapping of str to int
        The extents of the arguments.
    choices : tuple of Choice
        Numbers in the grids that follow from the extents.
    arguments, results : int
        Bytes of the arrays of the caller.
    temporaries : int
        Bytes of the arrays that a call makes for itself, all of which are there at once; `arrays` is their number,
        `formula` the bytes in the extents.
    bandwidth : float
        GB/s of the device's memory, for floors.
    """

    name: str
    steps: tuple[Step, ...]
    sizes: Mapping[str, int]
    choices: tuple[Choice, ...]
    arguments: int
    results: int
    temporaries: int
    arrays: int
    formula: str
    bandwidth: float

    def __str__(self) -> str:
        return show_plan(self)

    @property
    def launches(self) -> tuple[Step, ...]:
        """The launches that take place: those of at least one block."""
        return tuple(step for step in self.steps if step.kind == "launch" and step.blocks)

    @property
    def seconds(self) -> float:
        """The floors of all steps together."""
        return sum(step.floor(self.bandwidth) for step in self.steps)


# --- text and JSON ------------------------------------------------------------------------------------------


def show_plan(plan: Plan) -> str:
    """A table of the steps in order, what they take together, and what the letters in it stand for."""
    sizes = ", ".join(f"{name} = {value}" for name, value in plan.sizes.items()) or "numbers alone"
    rows: list[tuple[str, ...]] = [_HEAD]
    launched = 0
    for step in plan.steps:
        launched += step.kind == "launch"
        if step.kind != "launch" or step.blocks:
            rows.append(_row(step, launched, plan.bandwidth))
    lines = [
        f"launch plan of {plan.name} for {sizes}; floors for {_rate(plan.bandwidth)}",
        *_aligned(rows),
        *_left_out(plan),
        *_explained(plan, [step.grid for step in plan.launches]),
        _together(plan),
        _memory(plan),
    ]
    return "\n".join(lines) + "\n"


def _rate(bandwidth: float) -> str:
    whose = ", the memory of an H100 SXM" if bandwidth == BANDWIDTH else ""
    return f"{bandwidth:g} GB/s{whose}"


def _row(step: Step, number: int, bandwidth: float) -> tuple[str, ...]:
    read, written = (amount(size, "B") if size else "" for size in (step.read, step.written))
    if step.kind != "launch":
        what = step.name if step.kind == "library" else f"{step.kind} {step.name}"
        floor = "" if step.kind.startswith("copy") else _time(step.floor(bandwidth))
        where = ", ".join(filter(None, (_COPIES.get(step.kind), "the host waits" if step.waits else "")))
        operations = amount(step.operations) if step.operations else ""
        return ("", _cut(what), where, "", "", read, written, operations, "", floor)
    return (
        str(number),
        step.name,
        _cut(step.grid),
        str(step.blocks),
        str(step.threads),
        read,
        written,
        amount(step.operations),
        ratio(step.intensity),
        _time(step.floor(bandwidth)),
    )


def _time(value: float) -> str:
    return seconds(value) if value >= 1e-9 else "< 1 ns"


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 4].rstrip(" ,") + " ..."


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if at < _LEFT else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _left_out(plan: Plan) -> list[str]:
    """Name the launches of no blocks: other sizes need them."""
    names = [step.name for step in plan.steps if step.kind == "launch" and not step.blocks]
    return [f"  not launched for these sizes: {', '.join(names)}"] if names else []


def _explained(plan: Plan, formulas: Sequence[str]) -> list[str]:
    """Say what the names in formulas stand for, and the names in what they stand for."""
    used = {name for text in formulas for name in _WORD.findall(text)}
    lines: list[str] = []
    for choice in reversed(plan.choices):
        if choice.name in used:
            used.update(_WORD.findall(choice.meaning))
            lines.append(f"  {choice.name} = {choice.value}: {choice.meaning}")
    return lines[::-1]


def _together(plan: Plan) -> str:
    many = len(plan.launches)
    on_device = [step for step in plan.steps if not step.kind.startswith("copy")]
    moved, operations = sum(s.moved for s in on_device), sum(s.operations for s in on_device)
    each = f" ({ratio(operations / moved)} op/byte)" if moved else ""
    parts = f"{many} launch{'' if many == 1 else 'es'}, {amount(moved, 'B')} moved, {amount(operations)} operations"
    return f"  together: {parts}{each}, floor {_time(plan.seconds)}; starting a launch is not in it"


def _memory(plan: Plan) -> str:
    plural = "" if plan.arrays == 1 else "s"
    return (
        f"  device memory: {amount(plan.arguments, 'B')} of arguments, {amount(plan.results, 'B')} of results, "
        f"{amount(plan.temporaries, 'B')} of {plan.arrays} temporary array{plural}"
    )


def show_temporaries(plan: Plan) -> str:
    """The memory of the device that a call takes for itself."""
    plural = "" if plan.arrays == 1 else "s"
    lines = [f"temporaries on the device: {plan.arrays} array{plural}, {plan.temporaries} bytes at once"]
    if plan.formula != str(plan.temporaries):
        lines[0] += f" ({plan.formula})"
    return "\n".join([*lines, *_explained(plan, [plan.formula])])


def document(plan: Plan) -> dict[str, Any]:
    """The plan as JSON."""
    return {
        "kernel": plan.name,
        "sizes": dict(plan.sizes),
        "choices": [{"name": c.name, "value": c.value, "meaning": c.meaning} for c in plan.choices],
        "bandwidth_bytes_per_second": plan.bandwidth * 1e9,
        "steps": [_step(step, plan.bandwidth) for step in plan.steps],
        "floor_seconds": plan.seconds,
        "memory": {
            "argument_bytes": plan.arguments,
            "result_bytes": plan.results,
            "temporary_bytes": plan.temporaries,
        },
    }


def _step(step: Step, bandwidth: float) -> dict[str, Any]:
    found = {"kind": step.kind, "name": step.name, "bytes_read": step.read, "bytes_written": step.written}
    found |= {"host_waits": step.waits}
    if step.kind == "launch":
        found |= {"grid": step.grid, "blocks": step.blocks, "threads": step.threads}
        found |= {
            "operations": step.operations,
            "operations_per_byte": step.intensity if step.moved else None,
        }
    return found if step.kind.startswith("copy") else {**found, "floor_seconds": step.floor(bandwidth)}
