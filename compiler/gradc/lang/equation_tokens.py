"""The tokens of index notation."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, NoReturn

from gradc.errors import InputRefused
from gradc.lang.source import Source, Span, escape

_TOKEN = re.compile(
    r"(?P<space>[ \t\r\f]+|\#[^\n]*)"
    r"|(?P<separator>[\n;])"
    r"|(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![A-Za-z0-9_.]))"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<operator>\+=|\*\*|//|<=|>=|==|!=|[-+*/%()\[\],=<>])"
)
_INSTEAD = {
    "^": "for a power write x**2",
    "@": "write the product out: sum[j] a[i, j] * b[j, k]",
    ".": "numbers are written 0.5; attributes are not part of index notation",
    "{": "use parentheses",
    "}": "use parentheses",
    "&": "write `and`",
    "|": "write `or`; an absolute value is abs(x[i])",
    "!": "write `not`",
    ":": "name the index: x[i]",
    "'": "the transpose of a[i, j] is a[j, i]",
}
_NEEDS_MORE = frozenset(
    (
        "+",
        "-",
        "*",
        "/",
        "**",
        "//",
        "%",
        ",",
        "=",
        "<",
        ">",
        "<=",
        ">=",
        "==",
        "!=",
        "with",
        "and",
        "or",
        "not",
    )
)

Kind = Literal["number", "name", "operator", "separator", "end"]


class Token(NamedTuple):
    """One token; the text of the end is empty."""

    kind: Kind
    text: str
    start: int

    @property
    def end(self) -> int:
        """Offset just behind the token."""
        return self.start + len(self.text)


def tokens_of(source: Source) -> list[Token]:
    """All tokens; a line break inside brackets or after an operator separates nothing.

    Raises
    ------
    InputRefused
        A character has no place in index notation.
    """
    result: list[Token] = []
    depth = position = 0
    while position < len(source.text):
        match = _TOKEN.match(source.text, position)
        if match is None:
            raise _refuse_character(source, position)
        position = match.end()
        text = match.group()
        depth += (text in "([") - (text in ")]") if len(text) == 1 else 0
        if match.lastgroup == "space" or (text == "\n" and (depth > 0 or _continues(result))):
            continue
        kind: Kind = match.lastgroup  # pyright: ignore[reportAssignmentType]
        result.append(Token(kind, text, match.start()))
    result.append(Token("end", "", len(source.text)))
    return result


def _continues(tokens: list[Token]) -> bool:
    return bool(tokens) and tokens[-1].text in _NEEDS_MORE


def _refuse_character(source: Source, position: int) -> InputRefused:
    character = source.text[position]
    span = source.span(position, position + 1)
    if character.isdigit():
        what, do = "this is not a decimal number", "write 2*x[i], 0.5 or 1e-3"
    else:
        what, do = f"`{escape(character)}` is not part of index notation", _INSTEAD.get(character, "")
    return source.refuse(
        span, what, do=do or "use names, numbers, [ ] ( ) and + - * / **", code="E_CHARACTER"
    )


class Cursor:
    """A position among tokens."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.tokens = tokens_of(source)
        self.at = 0

    @property
    def next(self) -> Token:
        """The token that is not yet taken."""
        return self.tokens[self.at]

    def take(self) -> Token:
        """Take one token."""
        token = self.tokens[self.at]
        self.at += token.kind != "end"
        return token

    def skip(self, text: str) -> bool:
        """Take the next token if it is `text`."""
        found = self.next.text == text
        if found:
            self.take()
        return found

    def expect(self, text: str, why: str) -> Token:
        """Take the token `text` or refuse."""
        if self.next.text != text:
            self.refuse(self.next, f"`{text}` should stand before {shown(self.next)}", why=why)
        return self.take()

    def span(self, start: int, end: int | None = None) -> Span:
        """Return the piece from `start` to the last token taken (or to `end`)."""
        return self.source.span(start, self.tokens[self.at - 1].end if end is None else end)

    def refuse(self, token: Token, what: str, *, why: str = "", do: str = "", code: str = "") -> NoReturn:
        """Refuse with carets under a token."""
        raise self.refusal(self.source.span(token.start, token.end), what, why=why, do=do, code=code)

    def refusal(self, span: Span, what: str, *, why: str = "", do: str = "", code: str = "") -> InputRefused:
        """Build a refusal with carets under `span`."""
        return self.source.refuse(span, what, why=why, do=do, code=code or "E_EQUATION")


def shown(token: Token) -> str:
    """Return a token in words."""
    if token.kind == "end":
        return "the end"
    return "the end of the line" if token.text == "\n" else f"`{token.text}`"
