"""The record of one compilation: every stage is kept, so that it can be shown, checked and timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gradc.ir.index.nodes import Program
from gradc.ir.loop.nodes import Kernel
from gradc.ir.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Applied:
    """One application of a rewrite: its number and law, and the equation before and after."""

    number: int
    law: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Stages:
    """All stages of one compilation, in order.

    Attributes
    ----------
    program : Program
        What the front end made of the user's function.
    stable : Program
        After unstable spellings were replaced; `applied` lists the replacements.
    adjoint : Program
        The derived program (the program itself where only the value is asked for).
    optimised : Program
        After the passes on equations.
    schedule : Schedule
        The loop tree and the storage of tensors.
    kernel : Kernel
        The loop nests.
    source : str
        The text of the generated module.
    seconds : mapping of stage to float
        Time spent in each stage.
    serial : Kernel, optional
        For a device: the loop nests before they became launches.
    """

    program: Program
    stable: Program
    applied: tuple[Applied, ...]
    adjoint: Program
    optimised: Program
    schedule: Schedule
    kernel: Kernel
    source: str
    seconds: Mapping[str, float]
    serial: Kernel | None = None
