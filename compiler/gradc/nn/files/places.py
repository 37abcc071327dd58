"""Where a TOML text says what: the line of every table and key.

The parser of the standard library gives values without places.  This scan is for messages alone: it runs on text which
that parser has accepted, so it need not judge anything.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]  # keys, and positions in arrays of tables, as in the parsed document

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*"
    r"|[\[\]{}=.\n]"
    r"|[^\[\]{}=.\n#\"'\s]+",
    re.DOTALL,
)


def places(text: str) -> dict[Path, int]:
    r"""Return the line, counted from 1, at which each table and each key of a valid TOML text begins.

    What stands in an inline table or an array has no place of its own.

    Examples
    --------
    >>> places('a = 1\n[[layer]]\ntype = "Dense"\n')
    {('a',): 1, ('layer', 0): 2, ('layer', 0, 'type'): 3}
    """
    found: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    for line, tokens in _statements(text):
        if tokens[0] == "[":
            doubled = tokens[1] == "["
            table = _resolved(_keys(tokens), counts, last=not doubled)
            if doubled:
                counts[table] = counts.get(table, 0) + 1
                table += (counts[table] - 1,)
            found.setdefault(table, line)
        else:
            found[table + _keys(tokens[: tokens.index("=")])] = line
    return found


def line_of(found: Mapping[Path, int], path: Path) -> int:
    """Return the line of a path, or of what it is inside; 1 where there is none."""
    for end in range(len(path), 0, -1):
        if path[:end] in found:
            return found[path[:end]]
    return 1


def _statements(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the tokens of each header and of each key with its value, and the line where it begins."""
    line, first, depth = 1, 1, 0
    tokens: list[str] = []
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == "\n" and depth == 0 and tokens:
            yield first, tokens
            tokens = []
        elif token != "\n" and token[0] != "#":
            if not tokens:
                first = line
            tokens.append(token)
            depth += (token in ("[", "{")) - (token in ("]", "}"))
        line += token.count("\n")
    if tokens:
        yield first, tokens


def _keys(tokens: list[str]) -> tuple[str, ...]:
    """Return the parts of a key, quotes taken off."""
    return tuple(
        tomllib.loads(f"key = {token}")["key"] if token[0] in "\"'" else token
        for token in tokens
        if token not in ("[", "]", ".")
    )


def _resolved(keys: tuple[str, ...], counts: dict[Path, int], *, last: bool) -> Path:
    """Return the path of a header: of each array of tables that it goes through the table that came last."""
    path: Path = ()
    for at, key in enumerate(keys):
        path += (key,)
        if path in counts and (last or at < len(keys) - 1):
            path += (counts[path] - 1,)
    return path
