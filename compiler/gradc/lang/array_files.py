r"""Array files (``.npy``, ``.npz``) from outside: measured before they are read, never unpickled.

NumPy evaluates the header of such a file as a Python literal.  Here it must first match the one form that
NumPy writes, so that only a header of known form reaches it; and the size it declares must be the file's.
"""

from __future__ import annotations

import io
import math
import os
import re
import stat
import zipfile
import zlib
from typing import BinaryIO

import numpy as np

from gradc.errors import InputRefused
from gradc.lang.source import WITHIN_LIMITS, limit_reason, shorten

_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    r"\{'descr': '(?P<descr>[<>|=]?[a-zA-Z]{1,2}[0-9]{0,4})', 'fortran_order': (?:True|False), "
    r"'shape': \((?P<shape>(?:[0-9]{1,18}, ){0,15}(?:[0-9]{1,18},?)?)\), \}[ ]*\n"
)
_HEADER_BYTES = 10_000  # NumPy's own limit
_KINDS = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (4, 8)}


def load_array(path: str, *, max_bytes: int, max_elements: int, label: str = "file") -> np.ndarray:
    """Read an array file.

    Parameters
    ----------
    path : str
        A regular file; a link to one will do, a pipe, device or folder is refused without waiting for it.
    max_bytes, max_elements : int
        Checked against the file and its header before the data are read.
    label : str
        What messages call the value.

    Returns
    -------
    numpy.ndarray
        In native byte order; bool, integer, float32 or float64.

    Raises
    ------
    InputRefused
        ``E_FILE_*`` or ``E_LIMIT_*``.
    """
    where = f"{label}, file {shorten(path)}"
    with _opened(path, where, "write x=@name.npy") as file:
        return _read(file, os.fstat(file.fileno()).st_size, where, max_bytes, max_elements)


def load_archive(
    path: str, *, max_bytes: int, max_elements: int, label: str = "file"
) -> dict[str, np.ndarray]:
    """Read the arrays of an ``.npz`` file by name, under the rules of `load_array`.

    `max_bytes` also bounds the sizes of all entries together, which the archive declares.
    """
    where = f"{label}, file {shorten(path)}"
    arrays: dict[str, np.ndarray] = {}
    try:
        with _opened(path, where, "give the path of an .npz file") as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            unpacked = sum(entry.file_size for entry in entries)
            if unpacked > max_bytes:
                raise _over(f"the file unpacks to {unpacked} bytes", where, "file_bytes", max_bytes)
            for entry in entries:
                inside = io.BytesIO(archive.read(entry))
                place = f"{where}, entry {shorten(entry.filename)}"
                array = _read(inside, entry.file_size, place, max_bytes, max_elements)
                arrays[entry.filename.removesuffix(".npy")] = array if array.ndim else array[()]
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise InputRefused(
            "this is not an .npz file that can be read",
            where=where,
            why=shorten(str(error)),
            do="write it with np.savez(file, name=array, ...)",
            code="E_FILE_FORMAT",
        ) from None
    return arrays


def _opened(path: str, where: str, do: str) -> BinaryIO:
    """Open a regular file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
        raise InputRefused(
            "the file cannot be opened", where=where, why=why, do=do, code="E_FILE_OPEN"
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputRefused(
            "this is not an ordinary file", where=where, do="save the array with np.save", code="E_FILE_KIND"
        )
    return os.fdopen(descriptor, "rb")


def _read(file: BinaryIO, file_bytes: int, where: str, max_bytes: int, max_elements: int) -> np.ndarray:
    """Measure an opened file, then read it through the same descriptor."""
    if file_bytes > max_bytes:
        raise _over(f"the file has {file_bytes} bytes", where, "file_bytes", max_bytes)
    dtype, shape, header_bytes = _header(file, where)
    elements = math.prod(shape)
    if math.prod(max(1, size) for size in shape) > max_elements:
        raise _over(f"the array has {elements} elements", where, "elements", max_elements)
    declared = header_bytes + elements * dtype.itemsize
    if declared != file_bytes:
        raise InputRefused(
            "the file is damaged",
            where=where,
            why=f"its header declares {declared} bytes, it has {file_bytes}",
            do="save the array again with np.save",
            code="E_FILE_DAMAGED",
        )
    file.seek(0)
    try:
        array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputRefused(
            "the file cannot be read", where=where, why=shorten(str(error)), code="E_FILE_DAMAGED"
        ) from None
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _over(what: str, where: str, limit: str, value: int) -> InputRefused:
    return InputRefused(
        what,
        where=where,
        why=limit_reason(limit, value),
        do=WITHIN_LIMITS,
        code=f"E_LIMIT_{'FILE' if limit == 'file_bytes' else 'ELEMENTS'}",
    )


def _header(file: BinaryIO, where: str) -> tuple[np.dtype, tuple[int, ...], int]:
    """Read dtype, shape and the number of bytes before the data."""
    start = file.read(12)
    major = start[6] if start[:6] == _MAGIC and len(start) == 12 else 0
    if major not in (1, 2, 3):
        raise InputRefused("this is not an .npy file", where=where, do=_remedy(start), code="E_FILE_FORMAT")
    prefix = 10 if major == 1 else 12
    length = int.from_bytes(start[8:prefix], "little")
    file.seek(prefix)
    text = file.read(length).decode("latin-1") if length <= _HEADER_BYTES else ""
    match = _HEADER.fullmatch(text)
    if match is None:
        raise InputRefused(
            "the header of the file is not one that np.save writes for numbers",
            where=where,
            do="save a plain array of float64 with np.save",
            code="E_FILE_HEADER",
        )
    shape = tuple(int(size) for size in re.findall(r"[0-9]+", match["shape"]))
    return _dtype(match["descr"], where), shape, prefix + length


def _dtype(descr: str, where: str) -> np.dtype:
    """Accept the dtype a header names, if it is one of ours."""
    kind, size = descr.lstrip("<>|=")[0], descr.lstrip("<>|=")[1:]
    if size.isdigit() and int(size) in _KINDS.get(kind, ()):
        return np.dtype(descr)
    why = "objects are stored as pickle, which is code" if kind == "O" else f"its dtype is {descr}"
    raise InputRefused(
        "the file does not hold numbers gradc can take",
        where=where,
        why=why,
        do="save it as np.save(name, x.astype(np.float64))",
        code="E_FILE_DTYPE",
    )


def _remedy(start: bytes) -> str:
    """Say what to do about a file of another format."""
    if start[:2] == b"PK":
        return "this looks like .npz: give it to --inputs, whose names are the arguments"
    return "save the array with np.save"
