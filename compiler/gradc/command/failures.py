"""From any exception to a message of ours and an exit code: a traceback never reaches the user."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

from gradc.command.documents import named
from gradc.errors import CompilerBug, DeviceError, GradcError, InputRefused, LossNotFinite
from gradc_runtime.cuda_errors import CudaError
from gradc_runtime.gradcheck_report import GradientCheckError

CHECK_FAILED, REFUSED, INCONCLUSIVE, OUR_BUG, INTERRUPTED = 1, 2, 3, 70, 130

_GRADC = Path(__file__).resolve().parents[1]
_LIBRARIES = tuple(
    Path(path).resolve() for key, path in sysconfig.get_paths().items() if key.endswith("lib") and path
)
_RELAYS = ("_concretely", "_item")  # where gradc calls NumPy because the user's code did


class Interrupted(GradcError):
    """The user stopped the command."""


def explained(error: Exception) -> tuple[GradcError, int]:
    """Return the message for an exception, and the exit code."""
    match error:
        case CompilerBug():
            return error, OUR_BUG
        case Interrupted():
            return error, INTERRUPTED
        case LossNotFinite():
            return error, CHECK_FAILED
        case GradcError():
            return error, REFUSED
        case GradientCheckError():
            return InputRefused(str(error)), CHECK_FAILED
        case CudaError():
            return DeviceError(error.what, why=error.why, do=error.do), REFUSED
        case MemoryError():
            return InputRefused("there is not enough memory for this", do="use smaller arguments"), REFUSED
        case _:
            pass
    usage = getattr(error, "format_message", None)  # of the option parser, whose exceptions have moved before
    if usage is not None:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "gradc"
        return InputRefused(usage().strip(), do=f"{path} --help"), REFUSED
    return _foreign(error)


def _foreign(error: Exception) -> tuple[GradcError, int]:
    """Explain an exception that nobody foresaw: the user's own code raised it, or gradc is wrong."""
    text = named(f"{type(error).__name__}: {error}")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_library(frame)]
    users = [frame for frame in frames if not _inside(frame.filename, _GRADC)]
    last = frames[-1] if frames else None
    if not users or last is None or (last is not users[-1] and last.name not in _RELAYS):
        place = f"{Path(last.filename).name}:{last.lineno}, in {last.name}" if last else ""
        return CompilerBug(f"gradc failed: {text}", why=place), OUR_BUG
    frame = users[-1]
    where = f"{named(frame.filename)}:{frame.lineno}, in {named(frame.name)}"
    return InputRefused(f"the function raised {text}", where=where, why=named(frame.line or "")), REFUSED


def _is_library(frame: traceback.FrameSummary) -> bool:
    if frame.filename.startswith("<"):
        return True
    return not _inside(frame.filename, _GRADC) and any(_inside(frame.filename, lib) for lib in _LIBRARIES)


def _inside(file: str, folder: Path) -> bool:
    return Path(file).resolve().is_relative_to(folder)
