"""Splitting the command line where a stock option parser cannot: values after ``--at``."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*=")
GREEDY = ("--at", "--shape")


def split_words(words: Sequence[str]) -> list[str]:
    """Repeat ``--at`` before every ``NAME=VALUE`` word that follows it, up to the next option.

    >>> split_words(["grad", "--at", "x=-2", "y=5", "--json"])
    ['grad', '--at', 'x=-2', '--at', 'y=5', '--json']
    """
    result: list[str] = []
    option = ""
    for word in words:
        if word in GREEDY:
            option = word
        elif word.startswith("--"):
            option = ""
            result.append(word)
        elif option and _ASSIGNMENT.match(word):
            result += [option, word]
        else:
            result.append(word)
    return result
