"""The stages of one compilation, as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gradc.errors import ArgumentError
from gradc.ir.index.nodes import Program
from gradc.ir.index.show import show, show_left
from gradc.ir.schedule import show_schedule
from gradc.ir.stages import Stages

STAGES = (
    "program",
    "stable",
    "adjoint",
    "optimised",
    "schedule",
    "kernels",
    "source",
    "llvm",
    "asm",
    "workspace",
    "timings",
)


class Inspection:
    """Every stage of a compilation; each attribute is text, `stages` holds the objects.

    Printing it shows the program, the schedule and the source.
    """

    def __init__(
        self,
        stages: Stages,
        arguments: Callable[[], Mapping[str, Any]],
        dispatcher: Callable[[], Any],
        path: Callable[[], str],
    ) -> None:
        self.stages = stages
        self._arguments = arguments
        self._dispatcher = dispatcher
        self._path = path

    @property
    def program(self) -> str:
        """The traced program, in index notation."""
        return show(self.stages.program)

    @property
    def stable(self) -> str:
        """The program after unstable spellings were replaced, and the list of what was replaced."""
        rows = [
            f"  {item.number:2}  {item.law}:  {item.before}  ->  {item.after}" for item in self.stages.applied
        ]
        listed = "\n".join(("replaced:", *rows)) if rows else "nothing to replace"
        return f"{show(self.stages.stable)}{listed}\n"

    @property
    def adjoint(self) -> str:
        """The derived program, before any pass."""
        return show(self.stages.adjoint)

    @property
    def optimised(self) -> str:
        """The derived program after the passes."""
        return show(self.stages.optimised)

    @property
    def schedule(self) -> str:
        """The loop tree."""
        return show_schedule(self.stages.schedule, _left_sides(self.stages.optimised))

    @property
    def kernels(self) -> str:
        """The loop nests, in the notation of the loop IR."""
        from gradc.ir.loop.show import show as show_kernel  # noqa: PLC0415

        return show_kernel(self.stages.kernel)

    @property
    def source(self) -> str:
        """The generated module."""
        return self.stages.source

    @property
    def path(self) -> str:
        """The file that holds the generated module."""
        return self._path()

    @property
    def llvm(self) -> str:
        """The optimised LLVM IR that Numba made of the kernel."""
        return next(iter(self._dispatcher().inspect_llvm().values()))

    @property
    def asm(self) -> str:
        """The machine code, as assembly."""
        return next(iter(self._dispatcher().inspect_asm().values()))

    @property
    def workspace(self) -> str:
        """The memory that the kernel needs for these arguments beside them and its results."""
        from gradc.ir.loop.workspace import workspace  # noqa: PLC0415

        return f"{workspace(self.stages.kernel, self._arguments())}\n"

    @property
    def timings(self) -> str:
        """Seconds of every stage that makes the source, by equations and by operations."""
        from gradc.explain.timings import timings  # noqa: PLC0415

        return str(timings(self.stages.adjoint, self.stages.seconds))

    def stage(self, name: str) -> str:
        """Return the text of one stage."""
        if name not in STAGES:
            raise ArgumentError(f"there is no stage {name!r}", do=f"choose one of {', '.join(STAGES)}")
        return getattr(self, name)

    def __str__(self) -> str:
        return f"{self.program}\n{self.schedule}\n{self.source}"

    def __repr__(self) -> str:
        return f"<inspection of {self.stages.kernel.name}: {', '.join(STAGES)}>"


def _left_sides(program: Program) -> dict[int, str]:
    return {number: show_left(equation) for number, equation in enumerate(program.equations)}
