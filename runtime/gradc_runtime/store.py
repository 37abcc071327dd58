"""Files of machine code, one per key: written whole, verified before use, private to the user.

Loading such a file is running it.  So the directory and the file must belong to this user and be writable by nobody
else, the file must be a plain file under its own name alone, and its content must be what its header says: format,
key, length and SHA-256.  A file that is anything else is put aside with a warning and compiled anew.  Where nothing
can be read or written, everything is compiled in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import struct
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradc_runtime import cache

MAGIC = b"gradc machine code\n"
FORMAT = 1
HEAD = struct.Struct(f"<{len(MAGIC)}sI32sQ32s")  # magic, format, key, length and digest of the payload
LARGEST = 2**28  # bytes of one entry
LIMIT = 2**30  # bytes of all entries, unless $GRADC_CACHE_LIMIT says otherwise
GRACE = 3600.0  # seconds for which what was used is not evicted
OFF = ("0", "off", "none", "no")


class CacheWarning(UserWarning):
    """A file of the kernel cache was damaged or not to be trusted; the kernel is compiled anew."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the store: `name` is the function's, `fault` says what is wrong with the file, or nothing."""

    name: str
    key: str
    path: Path
    size: int
    used: float
    fault: str


def directory() -> Path:
    """Where machine code lies."""
    return cache.directory() / "machine"


def is_on() -> bool:
    """Whether machine code is kept: ``GRADC_CACHE=off`` turns it off."""
    return os.environ.get("GRADC_CACHE", "").lower() not in OFF


def path_of(key: str) -> Path:
    """The file of a key."""
    return directory() / key[:2] / key


def read(key: str) -> bytes | None:
    """Return the payload of a key; None if there is none to be trusted."""
    path = path_of(key)
    if not is_on() or not _is_private_tree(path.parent):
        return None
    try:
        content, fault = _content(path)
        payload, fault = _payload(key, content) if not fault else (b"", fault)
    except FileNotFoundError:
        return None
    except OSError as error:
        payload, fault = b"", f"it cannot be read: {error.strerror}"
    if fault:
        _put_aside(path, fault)
        return None
    with contextlib.suppress(OSError):
        os.utime(path, follow_symlinks=False)  # the least recently used are evicted
    return payload


def write(key: str, payload: bytes) -> bool:
    """Write a payload under its key, whole or not at all; whether that was possible."""
    path = path_of(key)
    if not is_on() or len(payload) > LARGEST:
        return False
    digest = hashlib.sha256(payload).digest()
    head = HEAD.pack(MAGIC, FORMAT, bytes.fromhex(key), len(payload), digest)
    temporary = None
    try:
        cache.make_private(path.parent)
        if not _is_private_tree(path.parent):
            return False
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        with os.fdopen(handle, "wb") as file:
            file.write(head + payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        return False
    _evict(limit())
    return True


def limit() -> int:
    """The most bytes of all entries: ``$GRADC_CACHE_LIMIT``, or a gibibyte."""
    text = os.environ.get("GRADC_CACHE_LIMIT", "")
    return int(text) if text.isdecimal() else LIMIT


def entries() -> Iterator[Entry]:
    """All entries, each verified."""
    for path in _files():
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            payload = b""
            try:
                content, fault = _content(path)
                payload, fault = _payload(path.name, content) if not fault else (b"", fault)
            except OSError as error:
                fault = f"it cannot be read: {error.strerror}"
            name = "" if fault else str(unpacked(payload)[0].get("name", ""))
            yield Entry(name, path.name, path, status.st_size, status.st_mtime, fault)


def packed(head: Mapping[str, Any], *parts: bytes) -> bytes:
    """One payload of a head that JSON can say and of parts."""
    text = json.dumps({**head, "parts": [len(part) for part in parts]}).encode()
    return len(text).to_bytes(4, "little") + text + b"".join(parts)


def unpacked(payload: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """The head and the parts of a payload."""
    begin = 4 + int.from_bytes(payload[:4], "little")
    head = json.loads(payload[4:begin])
    parts = []
    for size in head["parts"]:
        parts.append(payload[begin : begin + size])
        begin += size
    return head, parts


def put_aside(entry: Entry) -> None:
    """Take a faulty entry out of use."""
    _put_aside(entry.path, entry.fault, warn=False)


def clear() -> int:
    """Delete all entries and what was put aside; return how many entries there were."""
    count = 0
    for path in _files():
        with contextlib.suppress(OSError):
            path.unlink()
            count += 1
    for path in (*directory().glob("aside/*"), *directory().glob("*/.new-*")):
        with contextlib.suppress(OSError):
            path.unlink()
    return count


# --- reading ------------------------------------------------------------------------------------------------


def _content(path: Path) -> tuple[bytes, str]:
    """Return the bytes of a file, or what keeps it from being trusted; links are not followed."""
    flags = (
        os.O_RDONLY
        | getattr(os, "O_NOFOLLOW", 0)
        | getattr(os, "O_NONBLOCK", 0)
        | getattr(os, "O_CLOEXEC", 0)
    )
    if path.is_symlink():
        return b"", "it is a link"
    handle = os.open(path, flags)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            return b"", "it is no plain file"
        if hasattr(os, "getuid") and status.st_uid != os.getuid():
            return b"", "it belongs to another user"
        if status.st_mode & 0o022:
            return b"", "others may write to it"
        if status.st_nlink > 1:  # none is left where another process has just replaced the file
            return b"", "it has other names"
        if status.st_size > LARGEST + HEAD.size:
            return b"", "it is too large"
        return file.read(LARGEST + HEAD.size + 1), ""


def _payload(key: str, content: bytes) -> tuple[bytes, str]:
    """Return what a file holds for a key, or what is wrong with it."""
    if len(content) < HEAD.size:
        return b"", "it is cut short"
    magic, version, own, length, digest = HEAD.unpack_from(content)
    payload = content[HEAD.size :]
    if magic != MAGIC or version != FORMAT:
        return b"", "it is of another format"
    if own.hex() != key:
        return b"", "it is of another kernel"
    if length != len(payload):
        return b"", "it is cut short" if length > len(payload) else "it is too long"
    if hashlib.sha256(payload).digest() != digest:
        return b"", "its checksum is wrong"
    return payload, ""


def _is_private_tree(folder: Path) -> bool:
    """Whether the folders down to `folder` are this user's own, and no links."""
    try:
        return all(cache.is_private(place) for place in (cache.directory(), directory(), folder))
    except OSError:
        return False


def _put_aside(path: Path, fault: str, *, warn: bool = True) -> None:
    """Move a file out of the way, for those who want to look at it; delete it where that fails."""
    aside = directory() / "aside"
    try:
        aside.mkdir(mode=0o700, exist_ok=True)
        os.replace(path, aside / f"{path.name}-{time.time_ns()}")
    except OSError:
        with contextlib.suppress(OSError):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    if warn:
        text = (
            f"a file of the kernel cache was put aside, because {fault}; its kernel is compiled anew: {path}"
        )
        warnings.warn(text, CacheWarning, stacklevel=2)


# --- eviction -----------------------------------------------------------------------------------------------


def _files() -> list[Path]:
    """The files of all entries, and whatever else lies under a key's name."""
    root = directory()
    if not root.is_dir() or root.is_symlink():
        return []
    with contextlib.suppress(OSError):
        return sorted(
            path
            for shard in root.iterdir()
            if len(shard.name) == 2 and shard.is_dir() and not shard.is_symlink()
            for path in shard.iterdir()
            if len(path.name) == 64
        )
    return []


def _evict(most: int) -> None:
    """Delete the least recently used entries until at most `most` bytes are left, and forgotten temporary files.

    What was used lately stays, however much it is: another process may be about to read it.
    """
    now = time.time()
    found: list[tuple[float, int, Path]] = []
    for path in _files():
        with contextlib.suppress(OSError):
            status = path.lstat()
            found.append((min(status.st_mtime, now), status.st_size, path))  # a clock may have been set back
    total = sum(size for _, size, _ in found)
    for used, size, path in sorted(found):
        if total <= most or now - used < GRACE:
            break
        with contextlib.suppress(OSError):
            path.unlink()
            total -= size
    for path in directory().glob("*/.new-*"):
        with contextlib.suppress(OSError):
            if now - path.lstat().st_mtime > GRACE:
                path.unlink()
