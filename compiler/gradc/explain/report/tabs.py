"""The other tabs: mathematics, kernels, timings, memory, gradient check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradc.explain.drawing.svg import svg
from gradc.explain.kernels.fusion import show_fusion
from gradc.explain.kernels.residuals import show_residuals
from gradc.explain.mathematics.derivation import Derivation
from gradc.explain.mathematics.programs import gradient_latex, gradient_plain
from gradc.explain.mathematics.showing import show_derivation
from gradc.explain.profile import Profile
from gradc.explain.report.gates import source_lines
from gradc.explain.report.mathml import preformatted, table
from gradc.explain.report.page import Tab, folded, section
from gradc.ir.stages import Stages


@dataclass(frozen=True, slots=True)
class Evidence:
    """What running and checking a kernel gave.

    Attributes
    ----------
    derivation : Derivation or None
        The steps of the gradient with numbers.
    profile : Profile
        The kernel's pieces, counted, predicted and timed.
    timings, workspace, counts, schedule, loops, assembly : str
        The stages of these names, as text.
    check : str
        The report of the gradient check; `passed` says how it ended.
    """

    derivation: Derivation | None
    profile: Profile
    timings: str
    workspace: str
    counts: str
    schedule: str
    loops: str
    assembly: str
    check: str
    passed: bool


def other_tabs(stages: Stages, wrt: Sequence[str], evidence: Evidence) -> list[Tab]:
    """Return the tabs beside that of the graph."""
    return [
        Tab("Mathematics", _mathematics(stages, wrt, evidence.derivation)),
        Tab("Kernels", _kernels(stages, evidence)),
        Tab("Timings", _timings(evidence)),
        Tab("Memory", _memory(stages, evidence)),
        Tab("Gradient check", _check(evidence)),
    ]


def _mathematics(stages: Stages, wrt: Sequence[str], derivation: Derivation | None) -> str:
    aligned = gradient_latex(stages.program, wrt)
    parts = [
        section(
            "The program and its gradient",
            table(aligned),
            "Results without a name of their own stand where they are read. Repeated indices are summed only where "
            "a sum is written.",
        ),
        folded("as plain text", preformatted(gradient_plain(stages.program, wrt))),
        folded("as LaTeX", preformatted(aligned)),
    ]
    if derivation is not None:
        hint = "From the output to the inputs: local derivative times upstream gradient, added where a tensor branches."
        parts.append(section("Step by step", preformatted(show_derivation(derivation)), hint))
    return "\n".join(parts)


def _kernels(stages: Stages, evidence: Evidence) -> str:
    return "\n".join(
        (
            section("What shares a loop, and what does not", preformatted(show_fusion(stages))),
            section("The generated module", f"<pre>{source_lines(stages.source)}</pre>"),
            folded("the schedule", preformatted(evidence.schedule)),
            folded("the loop nests", preformatted(evidence.loops)),
            folded("the assembly", preformatted(evidence.assembly)),
        )
    )


def _timings(evidence: Evidence) -> str:
    hint = (
        "The kernel with a clock at each piece, on this machine. The floor is what its memory and its arithmetic "
        "allow: a piece cannot take less."
    )
    return "\n".join(
        (
            section("Time of a call", svg(evidence.profile.chart().scene, alone=False), hint),
            section("Piece by piece", preformatted(str(evidence.profile))),
            section("Time of the compilation", preformatted(evidence.timings)),
        )
    )


def _memory(stages: Stages, evidence: Evidence) -> str:
    return "\n".join(
        (
            section("What the backward pass needs of the forward pass", preformatted(show_residuals(stages))),
            section("Beside arguments and results", preformatted(evidence.workspace)),
            section("Operations and bytes", preformatted(evidence.counts)),
        )
    )


def _check(evidence: Evidence) -> str:
    verdict = '<p class="good">passed</p>' if evidence.passed else '<p class="bad">not passed</p>'
    hint = "The compiled gradient beside numerical differences, the interpreter and 50-digit arithmetic."
    return section("The gradient check", verdict + preformatted(evidence.check), hint)
