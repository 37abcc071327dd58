"""Files of networks and of trainings: safetensors, read as data alone, taken over whole or not at all.

A file is not trusted: it is opened without following links, its size is bounded by what the network needs before
anything of it is read, and every name, dtype, shape and note in it is compared before an array is written to.
"""

from __future__ import annotations

import json
import os
import re
import stat
import zlib
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from gradc.errors import InputRefused
from gradc.explain.files import write_whole

HEADER = 2**24  # bytes of a file beside its arrays, at most
SHOWN = 160  # characters of a text from a file that a message shows, at most
VERSION = "1"
DTYPES = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}

Arrays: TypeAlias = Mapping[str, np.ndarray]
File: TypeAlias = str | PathLike[str]


class Holder(Protocol):
    """What has parameters and statistics: a network."""

    parameters: dict[str, np.ndarray]
    statistics: dict[str, np.ndarray]


def save_network(network: Holder, path: File) -> None:
    """Write the parameters and statistics of a network to a safetensors file, whole or not at all.

    Parameters
    ----------
    network : Network
        It stays as it is.
    path : str or path
        A file there is replaced, and a link is too: what it points to stays.

    Raises
    ------
    InputRefused
        The place cannot be written.
    """
    write(path, "network", weights_of(network), {}, {})


def load_network(network: Holder, path: File) -> None:
    """Read parameters and statistics that `save_network` wrote into the arrays of a network.

    Parameters
    ----------
    network : Network
        Its arrays get new contents; they stay the same arrays.  Names, shapes and dtypes must be those in the file.
    path : str or path
        A regular file; links are not followed.

    Raises
    ------
    InputRefused
        The file is damaged, or is of another network.  No array has been changed then.
    """
    arrays = weights_of(network)
    put(read(path, "network", {}, (arrays,))[0], arrays)


# --- arrays by name ----------------------------------------------------------------------------------------


def weights_of(network: Holder) -> dict[str, np.ndarray]:
    """Return the arrays of a network, by the names that files give them: not copies."""
    return named("parameters", network.parameters) | named("statistics", network.statistics)


def named(group: str, arrays: Arrays) -> dict[str, np.ndarray]:
    """Return arrays by names that begin with the name of a group."""
    return {f"{group}/{name}": array for name, array in arrays.items()}


def copies(arrays: Arrays) -> dict[str, np.ndarray]:
    """Return a copy of each array."""
    return {name: array.copy() for name, array in arrays.items()}


def put(contents: Arrays, arrays: Arrays) -> None:
    """Write new contents into arrays, which stay the same arrays; names in `contents` alone are left out."""
    for name, array in arrays.items():
        array[...] = contents[name]


def described(thing: object) -> str:
    """Return the `repr` of a thing without addresses, so that it is the same in every process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(thing))


# --- writing and reading -----------------------------------------------------------------------------------


def write(
    path: File, kind: str, arrays: Arrays, settings: Mapping[str, str], notes: Mapping[str, Any]
) -> None:
    """Write a file whole or not at all.

    Parameters
    ----------
    path : str or path
        The file.
    kind : str
        What it holds: a reader names the same kind.
    arrays : mapping of str to array
        C-contiguous, of float32 or float64.
    settings : mapping of str to str
        What must be equal where the file is read.
    notes : mapping
        Anything else, as JSON has it.

    Raises
    ------
    InputRefused
        The place cannot be written, or the notes take too many bytes to be read again.
    """
    text = json.dumps({"settings": dict(settings), "notes": notes})
    metadata = {
        "format": "gradc",
        "version": VERSION,
        "kind": kind,
        "text": text,
        "crc32": str(_checksum(text, arrays)),
    }
    content = _in_order(save(dict(arrays), metadata))
    if int.from_bytes(content[:8], "little") > HEADER:
        raise InputRefused(
            f"the header of {Path(path).name} would take more than {HEADER} bytes",
            why="no reader would accept it",
            do="train with a shorter history or a network with fewer layers",
        )
    write_whole(Path(path), content)


def _in_order(content: bytes) -> bytes:
    """Return a safetensors file whose metadata are in order: the library's order differs from process to process."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data stay aligned
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(content)[8 + size :]))


def read(
    path: File, kind: str, settings: Mapping[str, str], choices: Sequence[Arrays]
) -> tuple[dict[str, np.ndarray], Any]:
    """Read a file, or refuse it.

    Parameters
    ----------
    path : str or path
        The file.
    kind : str
        What it must hold.
    settings : mapping of str to str
        What it must have been written with.
    choices : sequence of mapping of str to array
        Arrays whose names, shapes and dtypes those in the file must be: all of one choice.

    Returns
    -------
    tuple of dict and object
        The arrays, and the notes, of which nothing has been checked but that they are JSON.

    Raises
    ------
    InputRefused
        The file cannot be read, is damaged, or is not what it must be.
    """
    place = Path(path)
    largest = 8 + HEADER + max(sum(array.nbytes for array in arrays.values()) for arrays in choices)
    content = bounded_content(place, largest, f"what fits the network has at most {largest}")
    tensors, metadata = _parsed(place, content)
    if metadata.get("format") != "gradc" or metadata.get("kind") != kind:
        found = metadata.get("kind") if metadata.get("format") == "gradc" else metadata.get("format")
        raise InputRefused(
            f"{place.name} is no file of a {kind}",
            where=str(place),
            why=f"it says it is of {_shown(found)}",
            do="Network.load reads what Network.save wrote, Training.restore what Training.save wrote",
        )
    if metadata.get("version") != VERSION:
        raise InputRefused(
            f"{place.name} was written by another version of gradc",
            where=str(place),
            why=f"its format is {_shown(metadata.get('version'))}, this gradc reads {VERSION!r}",
            do="read it with the version of gradc that wrote it",
        )
    if metadata.get("crc32") != str(_checksum(metadata.get("text", ""), tensors)):
        raise damaged(place, "its checksum is another one")
    try:
        text = json.loads(metadata["text"])
        found, notes = text["settings"], text["notes"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise damaged(place, "its notes are not what gradc writes") from error
    _require_settings(place, found, settings)
    _require_arrays(place, tensors, choices)
    return tensors, notes


def damaged(path: File, why: str) -> InputRefused:
    """Return (not raise) the error for a file that is not what gradc writes."""
    place = Path(path)
    return InputRefused(
        f"{place.name} is damaged", where=str(place), why=why, do="use another file; nothing was changed"
    )


def bounded_content(place: Path, largest: int, limit: str, *, follows_links: bool = False) -> bytes:
    """Return the bytes of a regular file that is not too large.

    Raises
    ------
    InputRefused
        It cannot be read, or has more than `largest` bytes; `limit` says so in words.
    """
    flags = os.O_RDONLY
    names = ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY", *(() if follows_links else ("O_NOFOLLOW",)))
    for name in names:
        flags |= getattr(os, name, 0)  # some systems lack some
    try:
        if place.is_symlink() and not follows_links:
            raise _unreadable(place, "it is a link", "give the path of the file itself")
        handle = os.open(place, flags)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise _unreadable(place, "it is no regular file", "give the path of a file")
            with open(handle, "rb", closefd=False) as file:
                content = file.read(largest + 1) if status.st_size <= largest else b""
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:  # a NUL in a path is a ValueError
        why = getattr(error, "strerror", None) or str(error)
        raise _unreadable(place, why, "give the path of a file that can be read") from error
    if status.st_size > largest or len(content) > largest:
        why = f"it has {max(status.st_size, len(content))} bytes; {limit}"
        raise _unreadable(place, why, "give the right file")
    return content


def _unreadable(place: Path, why: str, do: str) -> InputRefused:
    return InputRefused(f"{_shown(place.name)} cannot be read", where=_shown(str(place)), why=why, do=do)


def _parsed(place: Path, content: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return tensors and metadata of a safetensors file."""
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > HEADER:
        raise damaged(place, "it does not begin with the length of a header")
    try:
        parts = deserialize(content)  # checks the header: its types, and that offsets fit sizes and the file
        metadata = json.loads(content[8 : 8 + size]).get("__metadata__") or {}
    except (SafetensorError, ValueError, RecursionError) as error:
        raise damaged(place, f"it is no safetensors file: {_shown(str(error))}") from error
    if not all(isinstance(value, str) for value in metadata.values()):
        raise damaged(place, "its metadata are no texts")
    tensors = {}
    for name, part in parts:
        if part["dtype"] not in DTYPES:
            raise damaged(place, f"{_shown(name)} has dtype {_shown(part['dtype'])}")
        flat = np.frombuffer(part["data"], DTYPES[part["dtype"]])
        tensors[name] = flat.reshape(part["shape"])
    return tensors, metadata


def _checksum(text: str, arrays: Arrays) -> int:
    value = zlib.crc32(text.encode(errors="surrogatepass"))
    for name in sorted(arrays):
        value = zlib.crc32(name.encode(errors="surrogatepass"), value)
        value = zlib.crc32(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data, value)
    return value


def _require_settings(place: Path, found: object, settings: Mapping[str, str]) -> None:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise damaged(place, "its notes are not what gradc writes")
    for name in (*settings, *(name for name in found if name not in settings)):
        if found.get(name) != settings.get(name):
            theirs, ours = found.get(name, "nothing"), settings.get(name, "nothing")
            raise InputRefused(
                f"{place.name} is of another training",
                where=str(place),
                why=f"{_shown(name)} is {_shown(theirs)} in the file and {_shown(ours)} here",
                do="set up the training as the file says, or begin a new one",
            )


def _require_arrays(place: Path, tensors: Arrays, choices: Sequence[Arrays]) -> None:
    wanted = next((arrays for arrays in choices if arrays.keys() == tensors.keys()), None)
    if wanted is None:
        missing, extra = choices[0].keys() - tensors.keys(), tensors.keys() - choices[0].keys()
        raise _other_network(place, f"it lacks {_listed(missing)}, and has {_listed(extra)} too many")
    for name, array in wanted.items():
        theirs = tensors[name]
        if theirs.shape != array.shape or theirs.dtype != array.dtype:
            raise _other_network(
                place, f"{name} is {theirs.dtype}{theirs.shape} in it and {array.dtype}{array.shape} here"
            )


def _other_network(place: Path, why: str) -> InputRefused:
    return InputRefused(
        f"{place.name} is of another network",
        where=str(place),
        why=why,
        do="make the network as it was when the file was written",
    )


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - 3} more" if len(ordered) > 3 else ""
    return ", ".join(map(_shown, ordered[:3])) + more or "nothing"


def _shown(text: object) -> str:
    """Return a text as a message may show it: short, and without control characters."""
    shown = str(text)
    shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]} ..."
    return shown if shown.isprintable() else ascii(shown)
