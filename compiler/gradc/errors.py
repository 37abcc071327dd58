"""Every exception a user can meet.

Each message answers four questions: *what* happened, *where* (file, line, equation), *why* (the facts that
disagree, side by side) and what to *do* (the call that works).  The docstring of a class gives the usual cause
and the usual fix.
"""

from __future__ import annotations


class GradcError(Exception):
    """Base of everything gradc raises on purpose.

    Parameters
    ----------
    what : str
        One sentence: what is wrong.
    where, why, do, code : str, optional
        The place, the reason, the remedy and a stable identifier for programs.
    """

    def __init__(self, what: str, *, where: str = "", why: str = "", do: str = "", code: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.do = do
        self.code = code

    def __str__(self) -> str:
        parts = [f"{self.what} [{self.code}]" if self.code else self.what]
        parts += [
            _labelled(f"  {label}: ", text)
            for label, text in (("where", self.where), ("why", self.why), ("do", self.do))
            if text
        ]
        return "\n".join(parts)


def _labelled(label: str, text: str) -> str:
    """Put a label before a text; carets below its first line move to the right with that line."""
    first, _, below = text.partition("\n")
    if below and not below.strip(" ^"):
        return f"{label}{first}\n{' ' * len(label)}{below}"
    return label + text


class InputRefused(GradcError):
    """Text, a file or a command-line value was refused.

    Cause: it is malformed, too large, or asks for something gradc does not do.  Fix: what ``do`` says.
    """


class TraceError(GradcError, TypeError):
    """A Python construct needs a number while the function is being traced.

    Cause: ``if``, ``float()``, ``int()`` or a callback on a traced value.  Fix: ``np.where`` or the NumPy call
    that the message names; for a function that cannot be traced, ``gradc.external``.
    """


class ShapeError(GradcError, ValueError):
    """Shapes do not fit together.  Fix: reshape or broadcast one of the two arrays that the message shows."""


class DTypeError(GradcError, TypeError):
    """A dtype is not supported or two dtypes disagree.  Fix: ``astype`` as the message says."""


class ArgumentError(GradcError, TypeError):
    """A call does not match the function's signature, or an argument is of a kind gradc does not take."""


class NoDerivativeRule(GradcError):
    """A gradient was asked for through a function without a derivative."""


class GuardFailed(GradcError, ValueError):
    """The arguments of a call contradict what the compiled kernel assumes (for example two shapes must agree)."""


class LossNotFinite(GradcError, FloatingPointError):
    """A loss, a parameter or a running statistic has become NaN or infinite.

    Cause: a learning rate that is too high, as a rule, or a function outside its domain; ``where`` is the first
    equation that is not finite.  Fix: a lower rate, or limits for gradients, ``clip_norm=1.0``.
    """


class DeviceError(GradcError, RuntimeError):
    """A GPU is missing, full or failed.

    Cause: no driver, no device, no package for it, too little memory.  Fix: what ``do`` says; ``target="cpu"`` runs
    everywhere.
    """


class VerifyError(GradcError):
    """An IR is not well formed.  ``problems`` lists every fault found, not only the first."""

    def __init__(self, subject: str, problems: list[str]) -> None:
        super().__init__(
            f"{subject} is not well formed", why="; ".join(problems), do="report this: a pass broke the IR"
        )
        self.problems = problems


class CompilerBug(GradcError):
    """gradc itself is at fault; ``stage`` names the last stage that succeeded."""

    def __init__(self, what: str, *, stage: str = "", why: str = "") -> None:
        super().__init__(
            what, why=why, do="please report this with the program that caused it", code="E_COMPILER_BUG"
        )
        self.stage = stage


class GradcWarning(UserWarning):
    """Something that is legal and probably not meant, such as a gradient that is zero by construction."""
