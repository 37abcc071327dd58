"""Splitting the command line where a stock option parser cannot: any number of values after ``--at``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gradc.errors import InputRefused
from gradc.lang.source import shorten

_NAME_AND_VALUE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*=")
_EXAMPLES = {"--at": "--at x=-2 y=1,2 w=@file.npy", "--shape": "--shape w=10,3"}


def split_words(words: Sequence[str]) -> list[str]:
    """Repeat ``--at`` before every ``NAME=VALUE`` word that follows it, up to the next option.

    Raises
    ------
    InputRefused
        ``--at`` or ``--shape`` is followed by something else.

    Examples
    --------
    >>> split_words(["grad", "--at", "x=-2", "y=5", "--json"])
    ['grad', '--at', 'x=-2', '--at', 'y=5', '--json']
    """
    result: list[str] = []
    option = ""  # the greedy option whose values are being read
    due = False  # it has none yet
    for position, word in enumerate(words):
        if word == "--":
            return result + list(words[position:])
        name, equals, value = word.partition("=")
        if name in _EXAMPLES:
            if due:
                break
            option, due = name, not equals
            if equals:
                result += [option, value]
        elif option and "=" in word and not word.startswith("-"):
            result += [option, word]
            due = False
        elif due:
            raise _nothing_after(option, word)
        else:
            option = "" if word.startswith("-") else option
            result.append(word)
    if due:
        raise _nothing_after(option, "")
    return result


def _nothing_after(option: str, word: str) -> InputRefused:
    found = f"`{shorten(word)}` follows" if word else "nothing follows"
    return InputRefused(
        f"{option} needs NAME=VALUE",
        why=f"{found}; a value is written without spaces",
        do=f"write {_EXAMPLES[option]}",
        code="E_ASSIGNMENT_FORM",
    )


def refuse_stray_assignment(spec: str | None) -> None:
    """Refuse a ``NAME=VALUE`` word that stands where SPEC is expected.

    Raises
    ------
    InputRefused
        Always for such a word: a positional with ``=`` is never SPEC (write ``./a=b.py:f`` for such a file).
    """
    if spec is not None and _NAME_AND_VALUE.match(spec):
        raise InputRefused(
            f"`{shorten(spec)}` is a value and stands where SPEC is expected",
            why="values belong to --at",
            do=f"write --at {shorten(spec)}",
            code="E_ASSIGNMENT_FORM",
        )
