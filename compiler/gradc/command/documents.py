"""Text that is safe to print and JSON that any program can read; nothing here is slow to import."""

from __future__ import annotations

import json
import math
from typing import Any

from gradc.errors import GradcError
from gradc.lang.source import escape

SCHEMA = 1
_LINES = str.maketrans({"├": "|", "│": "|", "└": "`", "─": "-"})


def printable(text: str) -> str:
    r"""Text whose control characters, terminal escapes, bidi marks and lone surrogates are written out.

    Examples
    --------
    >>> print(printable("é\x1b[2J"))
    é\x1b[2J
    """
    if all(line.isprintable() for line in text.split("\n")):
        return text
    return "".join(char if char in "\n\t" or char.isprintable() else escape(char) for char in text)


def named(text: object, width: int = 200) -> str:
    """Show a file name or other foreign text inside a message: one line, printable, not endless."""
    line = printable(str(text)).replace("\n", "\\n").replace("\t", "\\t")
    return line if len(line) <= width else line[:width] + "..."


def for_stream(text: str, encoding: str | None) -> str:
    """Text in the characters that a stream can write: lines of circuits in ASCII, all else escaped."""
    encoding = encoding or "ascii"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_LINES).encode(encoding, "backslashreplace").decode(encoding)
    return text


def plain(value: Any) -> Any:
    """Return a value as JSON: nested lists, shortest round-trip floats, NaN and infinities as strings."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "dtype"):  # of NumPy, which printing an error need not load
        if value.dtype.kind == "f" and value.dtype.itemsize < 8:
            value = value.astype(str).astype(float)  # the shortest text is that of the narrow float
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def to_json(answer: dict[str, Any]) -> str:
    """One JSON document."""
    return json.dumps({"schema": SCHEMA, **plain(answer)}, allow_nan=False)


def error_json(error: GradcError) -> str:
    """Return a refusal as JSON."""
    detail = {"what": error.what, "where": error.where, "why": error.why, "do": error.do, "code": error.code}
    return to_json({"error": detail})
