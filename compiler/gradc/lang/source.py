r"""Untrusted text: its limits, positions in it, and refusals that show the place without repeating the harm.

Everything quoted in a message is printable ASCII: a terminal escape, a bidi mark or a look-alike letter is
shown as ``\x1b``, ``\u202e`` or ``\u0430``, so a message can neither steer a terminal nor hide what it says.
Lines of a user's own Python file keep their letters (`readable`); all carets are drawn here (`underlined`).
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from gradc.errors import InputRefused

_LINE_END = re.compile(r"\r\n|\n|\r")
_BEFORE, _AFTER = 40, 60  # columns of a line shown around the offending place
WITHIN_LIMITS = "give less, or call a Python function with arrays of your own: they have no such limit"


@dataclass(frozen=True, slots=True)
class Limits:
    """What an expression from outside may cost.  Each refusal names the field that was exceeded.

    Parameters
    ----------
    text_bytes : int
        Length of the text as UTF-8.
    depth : int
        Open parentheses, calls and operators waiting for their right side, together.
    nodes : int
        Nodes of the parsed expression.
    digits : int
        Digits of one number, exponent included.
    exponent : int
        Largest absolute value of a constant exponent.
    magnitude : float
        Numbers and constant subexpressions stay below it.
    name_length : int
        Characters of one name.

    Examples
    --------
    >>> Limits(depth=1000).nodes
    100000
    """

    text_bytes: int = 64 * 1024
    depth: int = 200
    nodes: int = 100_000
    digits: int = 40
    exponent: int = 64
    magnitude: float = 1e300
    name_length: int = 64

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise InputRefused(
                    f"the limit {field.name} is {value}",
                    why="a limit is a positive number",
                    code="E_LIMIT_VALUE",
                )


class Span(NamedTuple):
    """A piece of the text: offset and length in characters, and where it begins, counted from 1."""

    start: int
    length: int
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Source:
    """A text with a name for messages (`label`) and the offsets at which its lines begin."""

    text: str
    label: str
    lines: tuple[int, ...]

    @classmethod
    def of(cls, text: str, label: str) -> Source:
        """Find the lines of `text`; LF, CR LF and a lone CR end one."""
        return cls(text, label, (0, *(match.end() for match in _LINE_END.finditer(text))))

    def span(self, start: int, end: int) -> Span:
        """Name the piece from `start` up to but not including `end`."""
        line = bisect_right(self.lines, start)
        return Span(start, end - start, line, start - self.lines[line - 1] + 1)

    def show(self, span: Span) -> str:
        """Show the place in words, the line, and carets under the offending part; printable ASCII only."""
        begin = self.lines[span.line - 1]
        end = self.lines[span.line] if span.line < len(self.lines) else len(self.text)
        line, at = self.text[begin:end].rstrip("\r\n"), span.start - begin
        shown, carets = underlined(line, at, at + span.length, escape)
        place = f"{self.label}, line {span.line}, column {span.column}"
        return f"{place}\n    {shown}\n    {carets}"

    def refuse(self, span: Span, what: str, *, code: str, why: str = "", do: str = "") -> InputRefused:
        """Build (not raise) the refusal of the piece `span`."""
        return InputRefused(what, where=self.show(span), why=why, do=do, code=code)

    def over(self, span: Span, what: str, limit: str, value: float, code: str) -> InputRefused:
        """Build the refusal of something that exceeds the field `limit` of `Limits`."""
        return self.refuse(span, what, code=code, why=limit_reason(limit, value), do=WITHIN_LIMITS)


def underlined(line: str, start: int, end: int, show: Callable[[str], str]) -> tuple[str, str]:
    r"""Show a line, cut to about 100 characters around a piece of it, and the carets to print below it.

    Parameters
    ----------
    line : str
        The line, without its end.
    start, end : int
        Where the piece begins and ends, in characters.
    show : callable
        Makes text safe to print: `escape` or `readable`.

    Returns
    -------
    tuple of str
        The line and its carets; both have the same width up to the end of the piece.

    Examples
    --------
    >>> print(*underlined("y = x @ w + b", 4, 9, readable), sep="\n")
    y = x @ w + b
        ^^^^^
    """
    first, last = 0, len(line)
    if last > _BEFORE + _AFTER:
        first, last = max(0, start - _BEFORE), min(last, start + _AFTER)
    before = ("..." if first else "") + show(line[first:start])
    marked = show(line[start : min(last, end)])
    after = show(line[end:last]) + ("..." if last < len(line) else "")
    return before + marked + after, " " * columns(before) + "^" * max(1, columns(marked))


def side_by_side(rows: Sequence[tuple[str, ...]]) -> str:
    """Align texts in columns, one row a line, indented as continuation lines of messages are.

    Parameters
    ----------
    rows : sequence of tuple of str
        The texts; all rows have as many.

    Returns
    -------
    str
        The lines; each begins with a line break.

    Examples
    --------
    >>> print("shapes:" + side_by_side([("x:", "f64[n, 3]", "(5, 3)"), ("bias:", "f64[m]", "(4,)")]))
    shapes:
        x:    f64[n, 3] (5, 3)
        bias: f64[m]    (4,)
    """
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)]
    lines = (
        " ".join(text + " " * (width - columns(text)) for text, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "".join(f"\n    {line.rstrip()}" for line in lines)


def columns(text: str) -> int:
    """Count the columns that printable text takes on a screen: two for wide letters, none for accents.

    Examples
    --------
    >>> columns("x漢字")
    5
    """
    if text.isascii():
        return len(text)
    marks = sum(unicodedata.category(char) in ("Mn", "Me") for char in text)
    return len(text) - marks + sum(unicodedata.east_asian_width(char) in "WF" for char in text)


def readable(text: str) -> str:
    r"""Show a user's own text: letters of all alphabets, a blank for a tab, all that does not print escaped.

    Examples
    --------
    >>> print(readable("é\t漢\x1b[2J"))
    é 漢\x1b[2J
    """
    if text.isprintable():
        return text
    return "".join(" " if char == "\t" else char if char.isprintable() else escape(char) for char in text)


def limit_reason(limit: str, value: float) -> str:
    """Name a limit and its value."""
    return f"the limit {limit} is {value}"


def escape(text: str) -> str:
    r"""Make text safe to print: all but printable ASCII becomes a backslash escape.

    Examples
    --------
    >>> print(escape("a\x1b[2Jb"))
    a\x1b[2Jb
    """
    return "".join(char if " " <= char <= "~" else _escaped(ord(char)) for char in text)


def _escaped(point: int) -> str:
    """One code point as a backslash escape."""
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def shorten(text: str, width: int = 60) -> str:
    """Escape text and cut it to about `width` columns."""
    cut = escape(text[:width])
    return cut if len(text) <= width else cut + "..."


def open_text(text: str | bytes, label: str, text_bytes: int) -> Source:
    """Check size and encoding, before anything else looks at the text.

    Raises
    ------
    InputRefused
        ``E_LIMIT_TEXT`` or ``E_ENCODING``.
    """
    size = len(text)
    if size <= text_bytes and isinstance(text, str):
        size = len(text.encode("utf-8", "surrogatepass"))
    if size > text_bytes:
        raise InputRefused(
            f"the {label} is too long: {size} bytes or more",
            why=limit_reason("text_bytes", text_bytes),
            do=WITHIN_LIMITS,
            code="E_LIMIT_TEXT",
        )
    if isinstance(text, str):
        return Source.of(text, label)
    try:
        return Source.of(text.decode("utf-8"), label)
    except UnicodeDecodeError as error:
        raise InputRefused(
            f"the {label} is not UTF-8 text",
            where=f"byte {error.start + 1}",
            why=f"the byte 0x{text[error.start]:02x} cannot stand there",
            do="save or send it as UTF-8",
            code="E_ENCODING",
        ) from None
