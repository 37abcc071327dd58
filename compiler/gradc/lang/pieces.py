"""Which piece of a line an instruction computes, and the line with carets below that piece.

Python keeps the columns of every instruction.  They are read for messages only: an operation that succeeds
never looks at them.
"""

from __future__ import annotations

import itertools
import tokenize
import types
from collections.abc import Sequence

from gradc.ir.index.nodes import Origin
from gradc.lang.source import columns, readable, underlined


def show_origin(origin: Origin, piece: tuple[int, int] | None = None) -> str:
    """Show a line of the user's, with carets below a piece of it unless that is the whole line.

    Parameters
    ----------
    origin : Origin
        The line.
    piece : tuple of int, optional
        Where the piece begins and ends, in characters of the line.

    Returns
    -------
    str
        ``file:line: text`` and, after a line break, the carets; empty where no file is known.

    Examples
    --------
    >>> print(show_origin(Origin("f.py", 5, "h = np.tanh(x @ w)"), (12, 17)))
    f.py:5: h = np.tanh(x @ w)
                        ^^^^^
    """
    if not origin.file:
        return ""
    place = readable(f"{origin.file}:{origin.line}: ")
    if piece is None or piece == (0, len(origin.text)):
        return place + readable(origin.text)
    line, carets = underlined(origin.text, *piece, readable)
    return f"{place}{line}\n{' ' * columns(place)}{carets}"


def piece_of_line(
    code: types.CodeType, at: int, origin: Origin, source: Sequence[str]
) -> tuple[int, int] | None:
    """Return where the expression of an instruction begins and ends in the text of its line.

    Parameters
    ----------
    code, at : code object, int
        The instruction, by its offset.
    origin : Origin
        The line that the message shows; its text is without indentation.
    source : sequence of str
        The lines of the file.

    Returns
    -------
    tuple of int or None
        Characters; None where Python keeps no columns or they do not fit the line.  Of an expression over
        several lines it is the part on the first one.
    """
    found = positions(code, at)
    if found is None or not origin.text:
        return None
    first, last, start, end = found
    line = source[first - 1]
    indent = len(line) - len(line.lstrip())
    start = characters(line, start) - indent
    if last == first:
        end = characters(line, end) - indent
    else:
        end = start + _on_first_line([line[start + indent :], *source[first:last]])
    # They do not fit where the file has changed since Python compiled it.
    return (start, end) if 0 <= start < end <= len(origin.text) else None


def positions(code: types.CodeType, at: int) -> tuple[int, int, int, int] | None:
    """Return first line, last line, first column and end column of an instruction; columns count bytes of UTF-8."""
    found = next(itertools.islice(code.co_positions(), at // 2, None), None)
    if found is None:
        return None
    first, last, start, end = found
    if first is None or last is None or start is None or end is None:
        return None
    return first, last, start, end


def characters(line: str, size: int) -> int:
    """Return how many characters the first bytes of a line are."""
    return len(line.encode()[:size].decode(errors="ignore"))


def _on_first_line(lines: list[str]) -> int:
    """Return how long the first line of an expression is, without a comment or backslash at its end."""
    tokens = tokenize.generate_tokens(iter(["(" + lines[0], *lines[1:]]).__next__)
    end = 1
    try:
        for token in tokens:
            if token.start[0] > 1 or token.type in (tokenize.COMMENT, tokenize.NL):
                break
            if token.end[0] > 1:
                return len(lines[0].rstrip())
            end = token.end[1]
    except (tokenize.TokenError, SyntaxError):
        return len(lines[0].rstrip())  # the tokens go on behind the expression
    return end - 1
