"""The directory where the source of every kernel lies, one file per kernel, named by content.

The files are for people: debuggers step into them, profilers name them, ``diff`` compares them.  They are written
and never read back, so nothing that somebody plants there is ever run.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path


def directory() -> Path:
    """``$GRADC_CACHE_DIR``, or ``gradc`` in the user's cache directory."""
    chosen = os.environ.get("GRADC_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "gradc"


def keep(name: str, key: str, source: str) -> Path | None:
    """Write `source` to its file and return the path; None where the directory cannot be used safely.

    The directory must be the user's own and writable by nobody else.  The file appears complete or not at all.
    """
    folder = directory() / "kernels" / key[:2]
    path = folder / f"{name}_{key[:16]}.py"
    try:
        make_private(folder)
        if not is_private(directory()) or not is_private(folder):
            return None
        if path.is_symlink() or not path.is_file() or path.read_bytes() != source.encode():
            _replace(path, source)
    except OSError:
        return None
    return path


def is_private(folder: Path) -> bool:
    """Whether a folder is no link, belongs to this user and is writable by nobody else."""
    status = folder.lstat()
    owner = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    return owner and stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o022


def make_private(folder: Path) -> None:
    """Make a folder inside the cache directory, and those above it, for this user alone."""
    root = directory()
    inner = [place for place in (folder, *folder.parents) if root in place.parents]
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    for place in reversed(inner):  # `parents=True` would ignore the mode
        place.mkdir(exist_ok=True, mode=0o700)


def _replace(path: Path, source: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-", suffix=".py")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(source.encode())
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def clear() -> int:
    """Delete every kernel file; return how many there were."""
    count = 0
    for path in sorted((directory() / "kernels").glob("*/*.py")):
        path.unlink(missing_ok=True)
        count += 1
    return count
