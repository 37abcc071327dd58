"""The tokenizer of expression text: numbers, names and operators, one at a time, each of bounded size.

Tokens are produced on demand, so the first mistake from the left is the one reported, and a text that is
refused early is not read to its end.
"""

from __future__ import annotations

import keyword
import re
import unicodedata
from typing import Literal, NamedTuple

from gradc.errors import InputRefused
from gradc.lang.source import Limits, Source, Span, escape

_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n\f]+)"
    r"|(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<refused><<|>>|<>|&&|\|\||:=|=(?!=)|!(?!=))"
    r"|(?P<operator>\*\*|//|<=|>=|==|!=|[-+*/%()<>,&|~])"
)

# spelling -> (code, what, do)
_ATTRIBUTE = (
    "E_ATTRIBUTE",
    "attributes are not part of an expression",
    "without a prefix: sin(x), not np.sin(x)",
)
_INDEXING = ("E_INDEXING", "indexing is not part of an expression", "give each component a name: x0, x1")
_ASSIGNMENT = ("E_ASSIGNMENT", "assignment is not part of an expression", "write one expression; == compares")
_STATEMENT = ("E_STATEMENT", "an expression is one formula, not statements", "write a Python file instead")
_STRING = ("E_STRING", "text in quotes is not part of an expression", "leave out the quotes")
_BRACES = ("E_CHARACTER", "braces are not part of an expression", "use parentheses")
_SHIFT = ("E_SHIFT", "bit shifts are not part of an expression", "write x*2**n")
_REFUSED = {
    "^": ("E_CARET_POWER", "^ is not an operator here", "for a power use `**`: x**2"),
    "&&": ("E_OPERATOR", "&& is not an operator here", "write `and`"),
    "||": ("E_OPERATOR", "|| is not an operator here", "write `or`; for a norm sqrt(x**2 + y**2)"),
    "!": ("E_OPERATOR", "! is not an operator here", "write `not x`; for a factorial gamma(n + 1)"),
    "<>": ("E_OPERATOR", "<> is not an operator here", "write !="),
    "@": ("E_OPERATOR", "@ is not an operator here", "write a Python function for matrix products"),
    "#": ("E_COMMENT", "comments are not part of an expression", "leave the comment out"),
    "\\": ("E_CHARACTER", "a backslash is not part of an expression", "leave it out: a line may simply end"),
    ".": _ATTRIBUTE,
    "[": _INDEXING,
    "]": _INDEXING,
    "=": _ASSIGNMENT,
    ":=": _ASSIGNMENT,
    ":": _STATEMENT,
    ";": _STATEMENT,
    "'": _STRING,
    '"': _STRING,
    "`": _STRING,
    "{": _BRACES,
    "}": _BRACES,
    "<<": _SHIFT,
    ">>": _SHIFT,
}

# Characters that formulas copied from a page contain: what to write for them.
_INSTEAD = {
    "\u2212": "-", "\u2013": "-", "\u2014": "-", "\u00d7": "*", "\u00b7": "*", "\u22c5": "*", "\u2217": "*",
    "\u00f7": "/", "\u2044": "/", "\u2264": "<=", "\u2265": ">=", "\u2260": "!=", "\u221a": "sqrt(x)",
    "\u03c0": "pi", "\u221e": "inf", "\u00b2": "**2", "\u00b3": "**3", "\u2227": "and", "\u2228": "or",
    "\u00ac": "not", "\u00a0": "an ordinary space", "\u2018": "no quotes", "\u2019": "no quotes",
}  # fmt: skip

_KEYWORD_REMEDY = {
    "if": "write where(condition, a, b)",
    "else": "write where(condition, a, b)",
    "True": "write a comparison such as x == x",
    "False": "write a comparison such as x != x",
    "lambda": "write only the formula; its variables are found",
}
_WORD_OPERATORS = frozenset({"and", "or", "not"})

Kind = Literal["number", "name", "operator", "end"]


class Token(NamedTuple):
    """One token; an operator's text is its spelling, the end's is empty."""

    kind: Kind
    text: str
    start: int

    @property
    def end(self) -> int:
        """Offset just behind the token."""
        return self.start + len(self.text)


class Tokens:
    """The tokens of a source, with one token of lookahead.

    Examples
    --------
    >>> tokens = Tokens(Source.of("2*x", "expression"), Limits())
    >>> [tokens.take().text for _ in range(4)]
    ['2', '*', 'x', '']
    """

    def __init__(self, source: Source, limits: Limits) -> None:
        self._source = source
        self._limits = limits
        self._position = 0
        self._ahead: Token | None = None

    def peek(self) -> Token:
        """Return the next token, left in place."""
        if self._ahead is None:
            self._ahead = self._read()
        return self._ahead

    def take(self) -> Token:
        """Return the next token, consumed.

        Raises
        ------
        InputRefused
            A character, name or number is not allowed.
        """
        token = self.peek()
        self._ahead = None
        return token

    def _read(self) -> Token:
        text = self._source.text
        while self._position < len(text):
            match = _TOKEN.match(text, self._position)
            if match is None or match.lastgroup == "refused":
                spelling = text[self._position] if match is None else match.group()
                raise refuse_spelling(self._source, self._position, spelling)
            self._position = match.end()
            if match.lastgroup != "space":
                return self._checked(match)
        return Token("end", "", len(text))

    def _checked(self, match: re.Match[str]) -> Token:
        start, spelling = match.start(), match.group()
        if match.lastgroup == "number":
            self._check_number(start, match.end())
            return Token("number", spelling, start)
        if match.lastgroup == "operator" or spelling in _WORD_OPERATORS:
            return Token("operator", spelling, start)
        check_name(self._source, start, spelling, self._limits)
        return Token("name", spelling, start)

    def _check_number(self, start: int, end: int) -> None:
        """Refuse other bases and underscores, which would otherwise read as a missing operator."""
        text = self._source.text
        follower = text[end : end + 1]
        if follower == "_" or (text[start:end] == "0" and follower and follower in "xXoObB"):
            raise self._source.refuse(
                self._source.span(start, end + 1),
                "this is not a decimal number",
                do="write decimal digits without underscores: 1000, 2.5, 1e-3",
                code="E_NUMBER",
            )


def check_name(source: Source, start: int, name: str, limits: Limits) -> None:
    """Refuse overlong names, names that begin with two underscores, and Python's keywords."""
    if len(name) <= limits.name_length and not name.startswith("__") and not keyword.iskeyword(name):
        return
    span = source.span(start, start + len(name))
    if len(name) > limits.name_length:
        what = f"a name has {len(name)} characters"
        raise source.over(span, what, "name_length", limits.name_length, "E_LIMIT_NAME")
    if name.startswith("__"):
        raise source.refuse(
            span,
            f"{name} is not a name for a variable",
            why="it begins with two underscores",
            code="E_DUNDER_NAME",
        )
    do = _KEYWORD_REMEDY.get(name, "choose another name")
    why = "it is a keyword of Python"
    raise source.refuse(span, f"{name} cannot be a variable", why=why, do=do, code="E_RESERVED_NAME")


def refuse_spelling(source: Source, start: int, spelling: str) -> InputRefused:
    """Explain why a character or operator is not part of the grammar, and what to write."""
    span = source.span(start, start + len(spelling))
    if spelling in _REFUSED:
        code, what, do = _REFUSED[spelling]
        return source.refuse(span, what, do=do, code=code)
    point = ord(spelling)
    what = f"the character U+{point:04X} ({_character_name(spelling)}) is not allowed"
    if 0xD800 <= point < 0xE000:
        return source.refuse(span, what, why="the text is not valid UTF-8", code="E_ENCODING")
    plain = _INSTEAD.get(spelling) or unicodedata.normalize("NFKC", spelling).strip()
    if plain and plain != spelling and plain.isascii() and plain.isprintable():
        do = f"write {plain}"
    else:
        do = "use ASCII letters, digits and + - * / ** % ( ) < > = ,"
    return source.refuse(span, what, do=do, code="E_CHARACTER")


def _character_name(char: str) -> str:
    """Unicode's name of a character; its escape where it has none."""
    return unicodedata.name(char, escape(char))


def number_value(source: Source, token: Token, limits: Limits) -> int | float:
    """Read a number token: an int if it is written as one.

    Raises
    ------
    InputRefused
        ``E_LIMIT_DIGITS``; ``E_LIMIT_MAGNITUDE`` for a number too large, or so small that it would be 0.
    """
    span = source.span(token.start, token.end)
    digits = sum(char.isdigit() for char in token.text)
    if digits > limits.digits:
        raise source.over(span, f"a number has {digits} digits", "digits", limits.digits, "E_LIMIT_DIGITS")
    value = float(token.text)
    if value >= limits.magnitude:
        raise too_large(source, span, limits)
    mantissa = token.text.lower().partition("e")[0]
    if value == 0 and mantissa.strip("0."):
        raise source.refuse(
            span,
            "this number is too small",
            why="float64 would make it 0",
            do="write 0",
            code="E_LIMIT_MAGNITUDE",
        )
    return int(token.text.lstrip("0") or "0") if token.text.isdigit() else value


def too_large(source: Source, span: Span, limits: Limits) -> InputRefused:
    """Build the refusal of a constant beyond the magnitude limit."""
    return source.over(span, "this number is too large", "magnitude", limits.magnitude, "E_LIMIT_MAGNITUDE")
