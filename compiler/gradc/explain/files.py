"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from gradc.errors import InputRefused


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there, so that no reader ever sees half of it.

    Raises
    ------
    InputRefused
        The place cannot be written.
    """
    if path.is_dir():
        raise InputRefused(f"{path.name} is a directory", do="name a file")
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-", suffix=path.suffix)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else the power may fail between the name and the content
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)  # what `open` would have given it
        Path(temporary).replace(path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise


def _unwritable(path: Path, error: OSError) -> InputRefused:
    why = error.strerror or str(error)
    return InputRefused(
        f"{path.name} cannot be written", where=str(path.parent), why=why, do="name another file"
    )
