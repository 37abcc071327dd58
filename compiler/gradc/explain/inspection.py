"""The stages of one compilation, as text and as pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from gradc.errors import ArgumentError
from gradc.explain.device_stages import OF_DEVICE, OF_PROCESSOR, DeviceStages
from gradc.ir.index.nodes import Program
from gradc.ir.index.show import show, show_left
from gradc.ir.schedule import show_schedule
from gradc.ir.stages import Stages

if TYPE_CHECKING:
    from gradc.explain.graph.picture import Picture

STAGES = (
    "program",
    "mathematics",
    "latex",
    "graph",
    "stable",
    "adjoint",
    "optimised",
    "schedule",
    "fusion",
    "residuals",
    "kernels",
    "source",
    "llvm",
    "asm",
    "launches",
    "ptx",
    "resources",
    "counts",
    "workspace",
    "timings",
)
_OF_LOOPS = "the loops that launches are made of: `launches` shows what becomes of them"


class Inspection(DeviceStages):
    """Every stage of a compilation; each attribute is text, `stages` holds the objects, `graph` draws.

    Printing it shows the program, the schedule and the source.
    """

    def __init__(
        self,
        stages: Stages,
        wrt: Sequence[str],
        arguments: Callable[[], Mapping[str, Any]],
        dispatcher: Callable[[], Any],
        path: Callable[[], str],
    ) -> None:
        self.stages = stages
        self._wrt = tuple(wrt)
        self._arguments = arguments
        self._dispatcher = dispatcher
        self._path = path

    @property
    def program(self) -> str:
        """The traced program, in index notation."""
        return show(self.stages.program)

    @property
    def mathematics(self) -> str:
        """The program and its gradient in the notation of mathematics, as plain text."""
        from gradc.explain.mathematics import programs  # noqa: PLC0415

        program = self.stages.program
        return programs.gradient_plain(program, self._wrt) if self._wrt else programs.plain(program)

    @property
    def latex(self) -> str:
        """The program and its gradient in LaTeX, an ``aligned`` environment for mathematics mode."""
        from gradc.explain.mathematics import programs  # noqa: PLC0415

        program = self.stages.program
        return programs.gradient_latex(program, self._wrt) if self._wrt else programs.latex(program)

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
        """The loop tree; for a GPU also what becomes of it, the launch plan."""
        return self.scheduled()

    def scheduled(self, bandwidth: float | None = None) -> str:
        """Return the loop tree, with a launch plan for this bandwidth (`launch_plan`)."""
        tree = show_schedule(self.stages.schedule, _left_sides(self.stages.optimised))
        return f"{tree}\n{self.launch_plan(bandwidth)}" if self._on_device else tree

    @property
    def fusion(self) -> str:
        """What shares a loop, and for each tensor that passes between two loops why they are two."""
        from gradc.explain.kernels.fusion import show_fusion  # noqa: PLC0415

        return self._of_loops(show_fusion)

    @property
    def residuals(self) -> str:
        """What the backward pass needs of the forward pass: kept in memory, in registers, or computed again."""
        from gradc.explain.kernels.residuals import show_residuals  # noqa: PLC0415

        return self._of_loops(show_residuals)

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
        self._require("llvm")
        return next(iter(self._dispatcher().inspect_llvm().values()))

    @property
    def asm(self) -> str:
        """The machine code as assembly: each loop with its line of the source, and whether it was vectorised."""
        from gradc.explain.kernels.assembly import annotated  # noqa: PLC0415
        from gradc.explain.kernels.assembly_lines import lines_of  # noqa: PLC0415

        self._require("asm")
        dispatcher = self._dispatcher()
        asm = next(iter(dispatcher.inspect_asm().values()))
        return annotated(asm, self.stages.source, lines_of(asm, dispatcher))

    @property
    def counts(self) -> str:
        """Operations and bytes of each equation and of each piece of the kernel, for these arguments."""
        from gradc.explain.kernels.contents import with_loops  # noqa: PLC0415
        from gradc.explain.kernels.counts import show_counts, show_device_counts  # noqa: PLC0415
        from gradc.ir.loop.sizes import numbers_of  # noqa: PLC0415
        from gradc_runtime import backends  # noqa: PLC0415

        stages = with_loops(self.stages)
        numbers = numbers_of(stages.kernel, self._arguments(), backends.parts_of())
        if self._on_device:
            return show_device_counts(stages, self.launch_plan(), numbers)
        return show_counts(stages, numbers)

    @property
    def workspace(self) -> str:
        """The memory that the kernel needs for these arguments beside them and its results."""
        from gradc.explain.kernels.launch_plan import show_temporaries  # noqa: PLC0415
        from gradc.ir.loop.workspace import workspace  # noqa: PLC0415

        if self._on_device:
            return f"{show_temporaries(self.launch_plan())}\n"
        return f"{workspace(self.stages.kernel, self._arguments())}\n"

    @property
    def timings(self) -> str:
        """Seconds of every stage that makes the source, by equations and by operations."""
        from gradc.explain.timings import timings  # noqa: PLC0415

        return str(timings(self.stages.adjoint, self.stages.seconds))

    def graph(
        self,
        path: Any = None,
        *,
        shown: str = "both",
        by: str = "auto",
        values: bool = True,
        limit: int = 300,
    ) -> Picture:
        """Draw the program: gates, a value above each wire and a gradient below it, kernels as boxes.

        The gates are those of the program as written; a gate that a stable form replaces carries a mark.  Where a
        tensor goes to several gates, each wire has its own contribution to the gradient.

        Parameters
        ----------
        path : str or path, optional
            Also write the picture there: .svg, .png, .dot or .gv.
        shown : {"both", "forward", "adjoint"}
            What stands on the wires; the three pictures share all positions.
        by : {"auto", "gates", "lines", "layers", "kernels"}
            What a node is: a gate, a line of the source, a turn of a loop, or a piece of the kernel, forward and
            backward.  ``"auto"`` takes the finest of them that has at most 40 nodes.
        values : bool
            Whether wires carry numbers, or types alone.
        limit : int
            Nodes of a picture; a larger one is refused.

        Returns
        -------
        Picture
            Shows itself in a notebook; `svg`, `png`, `dot` and `save(path)`.

        Raises
        ------
        ArgumentError
            An unknown choice, or more nodes than `limit`.
        InputRefused
            A file that is no picture or cannot be written; igraph is not installed.
        """
        from gradc.explain.drawing.image import require_format  # noqa: PLC0415
        from gradc.explain.graph.picture import FORMATS, picture  # noqa: PLC0415
        from gradc.explain.kernels.contents import with_loops  # noqa: PLC0415

        if path is not None:
            require_format(path, FORMATS)
        inputs = self._arguments() if values else None
        found = picture(with_loops(self.stages), inputs, shown=shown, by=by, limit=limit)
        if path is not None:
            found.save(path)
        return found

    def difference(
        self, other: Inspection, stage: str = "source", names: tuple[str, str] = ("one", "two")
    ) -> str:
        """Compare with another compilation: a table of what each has, and the difference of a stage's text.

        Parameters
        ----------
        other : Inspection
            Of the same function with other options or types, or of another derivation.
        stage : str
            ``"program"``, ``"stable"``, ``"adjoint"``, ``"optimised"``, ``"schedule"``, ``"kernels"`` or ``"source"``.
        names : pair of str
            What the two are called.

        Raises
        ------
        ArgumentError
            An unknown stage, or one whose text is not of the compiler alone.
        """
        from gradc.explain.kernels.difference import difference  # noqa: PLC0415

        return difference(self.stages, other.stages, stage, names)

    def stage(self, name: str) -> str:
        """Return the text of one stage."""
        if name not in STAGES:
            raise ArgumentError(f"there is no stage {name!r}", do=f"choose one of {', '.join(STAGES)}")
        return self.graph().dot if name == "graph" else getattr(self, name)

    def _of_loops(self, show_text: Callable[[Stages], str]) -> str:
        """Return a text about loops; that of a kernel for a GPU says that it is about those before the launches."""
        from gradc.explain.kernels.contents import with_loops  # noqa: PLC0415

        text = show_text(with_loops(self.stages))
        return f"{_OF_LOOPS}\n\n{text}" if self._on_device else text

    def __str__(self) -> str:
        return f"{self.program}\n{self.schedule}\n{self.source}"

    def _repr_html_(self) -> str:
        parts = ("mathematics", "fusion", *(("launches",) if self._on_device else ()), "source")
        texts = "".join(
            f"<details{' open' if name == 'mathematics' else ''}><summary>{name}</summary>"
            f"<pre>{escape(self.stage(name))}</pre></details>"
            for name in parts
        )
        return f"<div><code>{escape(repr(self))}</code>{texts}</div>"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex.strip()}$"

    def __repr__(self) -> str:
        without = OF_PROCESSOR if self._on_device else OF_DEVICE
        shown = (name for name in STAGES if name not in without)
        return f"<inspection of {self.stages.kernel.name}: {', '.join(shown)}>"


def _left_sides(program: Program) -> dict[int, str]:
    return {number: show_left(equation) for number, equation in enumerate(program.equations)}
