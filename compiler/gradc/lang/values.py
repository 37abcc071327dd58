"""Values from the command line: the text behind ``--at x=`` becomes a number or an array, never code.

======================  ==========================================================================
``-2``, ``1e-3``        an int if written as one, else a float; also ``inf``, ``-inf``, ``nan``
``true``, ``false``     a bool
``1,2``, ``5,``         a vector; ``5,`` has one element
``1,2;3,4``             rows of a matrix
``[[1,2],[3,4]]``       the same, of any rank
``@file.npy``           an array file, read without pickle and measured before it is read
``normal(64,10)``       drawn from the seeded generator; also ``uniform`` in [0, 1), ``zeros``, ``ones``
======================  ==========================================================================

An array is bool, int64 or float64, the narrowest that holds all of its items; files keep their dtype.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from gradc.errors import InputRefused
from gradc.lang.array_files import load_array
from gradc.lang.source import Source, open_text, shorten

Value = float | int | bool | np.ndarray

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*")
_NAME_LENGTH = 256
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_REAL = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,6})?")
_WORDS: dict[str, bool | float] = {
    "true": True,
    "false": False,
    "inf": math.inf,
    "+inf": math.inf,
    "-inf": -math.inf,
    "nan": math.nan,
}
_CALL = re.compile(r"([A-Za-z_]\w*)\s*\(([^()]*)\)")
_GENERATORS = ("normal", "uniform", "zeros", "ones")
_BRACKET_TOKEN = re.compile(r"\s*([\[\],]|[^\[\],\s][^\[\],]*)\s*")
_FORMS = "write 2, 1e-3, true, 1,2,3, 1,2;3,4, @file.npy or normal(64,10)"


@dataclass(frozen=True, slots=True)
class ValueLimits:
    """What a value from outside may cost.

    Parameters
    ----------
    text_bytes : int
        Length of the text.
    elements : int
        Elements of one array.
    file_bytes : int
        Size of an array file.
    rank : int
        Dimensions of an array.
    """

    text_bytes: int = 64 * 1024
    elements: int = 2**27  # 1 GiB of float64
    file_bytes: int = 2**30
    rank: int = 16


def parse_assignment(word: str) -> tuple[str, str]:
    """Split ``NAME=VALUE`` into its two sides.

    The name may be nested: ``params.w1`` is the entry ``w1`` of the argument ``params`` (see `nest`).

    Raises
    ------
    InputRefused
        ``E_ASSIGNMENT_FORM`` without ``=`` or value, ``E_VALUE_NAME`` for what is not a name.

    Examples
    --------
    >>> parse_assignment("params.w1=1,2")
    ('params.w1', '1,2')
    """
    name, equals, text = word.partition("=")
    name, text = name.strip(), text.strip()
    if not equals or not text:
        raise InputRefused(
            f"`{shorten(word)}` gives no value",
            why="a value is given as NAME=VALUE, without spaces",
            do="write x=-2",
            code="E_ASSIGNMENT_FORM",
        )
    is_dunder = any(part.startswith("__") for part in name.split("."))
    if len(name) > _NAME_LENGTH or is_dunder or not _NAME.fullmatch(name):
        raise InputRefused(
            f"`{shorten(name)}` is not the name of an argument",
            where=f"`{shorten(word)}`",
            why=f"a name has ASCII letters, digits and _, at most {_NAME_LENGTH}, parts joined by dots",
            do="write x=-2 or params.w1=1,2",
            code="E_VALUE_NAME",
        )
    return name, text


def nest(values: Iterable[tuple[str, Value]]) -> dict[str, object]:
    """Arrange values by their dotted names: each dot opens an inner dict.

    Parameters
    ----------
    values : iterable of (str, value)
        Names as `parse_assignment` returns them.

    Raises
    ------
    InputRefused
        ``E_VALUE_TWICE`` if a name is given twice or is also the prefix of another.

    Examples
    --------
    >>> nest([("x", 1.0), ("params.w1", 2.0), ("params.w2", 3.0)])
    {'x': 1.0, 'params': {'w1': 2.0, 'w2': 3.0}}
    """
    tree: dict[str, object] = {}
    for name, value in values:
        *outer, last = name.split(".")
        branch: object = tree
        for key in outer:
            branch = branch.setdefault(key, {}) if isinstance(branch, dict) else branch
        if not isinstance(branch, dict) or last in branch:
            raise InputRefused(
                f"`{shorten(name)}` is given twice",
                why="a name has either a value or entries, and only one",
                do="give each argument once",
                code="E_VALUE_TWICE",
            )
        branch[last] = value
    return tree


def parse_value(
    text: str, *, rng: np.random.Generator, limits: ValueLimits | None = None, label: str = "value"
) -> Value:
    """Read the value that a text writes.

    Parameters
    ----------
    text : str
        See the table of the module.
    rng : numpy.random.Generator
        Source of ``normal(...)`` and ``uniform(...)``; the caller seeds it.
    limits : ValueLimits, optional
        Bounds on text, arrays and files.
    label : str
        What messages call the text, for example ``value of x``.

    Raises
    ------
    InputRefused
        With a stable `code` beginning with ``E_VALUE``, ``E_LIMIT`` or ``E_FILE``.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> parse_value("-2", rng=rng), parse_value("1,2;3,4.5", rng=rng).tolist()
    (-2, [[1.0, 2.0], [3.0, 4.5]])
    """
    limits = limits or ValueLimits()
    source = open_text(text, label, limits.text_bytes)
    stripped = text.strip()
    if stripped.startswith("@"):
        return _from_file(stripped[1:], source, limits)
    if stripped.startswith("["):
        return _bracketed(source, limits)
    if "(" in stripped:
        return _generated(stripped, source, rng, limits)
    if ";" in stripped or "," in stripped:
        return _plain_array(source)
    return _scalar(source, 0, len(text))


def _from_file(path: str, source: Source, limits: ValueLimits) -> Value:
    """Load an array file."""
    return load_array(path, max_bytes=limits.file_bytes, max_elements=limits.elements, label=source.label)


def _scalar(source: Source, start: int, end: int) -> float | int | bool:
    """Read one item; surrounding blanks are no part of it."""
    piece = source.text[start:end]
    word = piece.strip()
    if word.lower() in _WORDS:
        return _WORDS[word.lower()]
    if _INTEGER.fullmatch(word):
        return int(word)
    if _REAL.fullmatch(word):
        value = float(word)
        if math.isfinite(value):
            return value
    offset = start + len(piece) - len(piece.lstrip())
    span = source.span(offset, offset + max(1, len(word)))
    what = f"`{shorten(word, 30)}` is not a number" if word else "a number is missing"
    raise source.refuse(
        span, what, why="at most 40 digits, finite in float64", do=_FORMS, code="E_VALUE_NUMBER"
    )


def _plain_array(source: Source) -> np.ndarray:
    """Read ``1,2`` as a vector, ``1,2;3,4`` as a matrix; one trailing comma is allowed in a row."""
    rows: list[list[float | int | bool]] = []
    start = 0
    for row in source.text.split(";"):
        end = start + len(row)
        content = row.rstrip()
        if content.endswith(",") and content[:-1].strip():
            end = start + len(content) - 1
        rows.append(_items(source, start, end))
        start += len(row) + 1
    return _array(rows if len(rows) > 1 else rows[0], source)


def _items(source: Source, start: int, end: int) -> list[float | int | bool]:
    """Read the comma-separated items of one row."""
    items: list[float | int | bool] = []
    for piece in source.text[start:end].split(","):
        items.append(_scalar(source, start, start + len(piece)))
        start += len(piece) + 1
    return items


def _bracketed(source: Source, limits: ValueLimits) -> np.ndarray:
    """Read nested lists with an explicit stack; the whole text must be one list."""
    outermost: list[object] = []
    stack = [outermost]
    due = True  # an item is due, not a comma
    position = len(source.text) - len(source.text.lstrip())
    end = len(source.text.rstrip())
    while position < end and (len(stack) > 1 or not outermost):
        match = _BRACKET_TOKEN.match(source.text, position)
        token = match.group(1) if match else source.text[position]
        start = match.start(1) if match else position
        if due != (token not in ",]") and not (due and token == "]" and not stack[-1]):
            raise _refuse_bracket(source, start)
        if token == "[":
            stack.append([])
        elif token == "]":
            inner = stack.pop()
            stack[-1].append(inner)
        elif token != ",":
            stack[-1].append(_scalar(source, start, start + len(token)))
        due = token in "[,"
        position = match.end() if match else position + 1
        if len(stack) > limits.rank + 1:
            raise source.over(
                source.span(start, start + 1), "too many dimensions", "rank", limits.rank, "E_LIMIT_RANK"
            )
    if len(stack) > 1 or position < end:
        raise _refuse_bracket(source, position)
    return _array(outermost[0], source)


def _refuse_bracket(source: Source, position: int) -> InputRefused:
    """Refuse a list whose brackets or commas do not match."""
    span = source.span(position, position + 1)
    return source.refuse(
        span, "this list is malformed here", do="write [1,2] or [[1,2],[3,4]]", code="E_VALUE_LIST"
    )


def _array(items: object, source: Source) -> np.ndarray:
    """Make an array of bools, 64-bit ints or floats from nested lists, all rows of one length."""
    kinds = {type(item) for item in _leaves(items)}
    if bool in kinds and len(kinds) > 1:
        raise _refuse_array(source, "numbers and truth values are mixed", "write 1 and 0 instead")
    dtype = np.bool_ if kinds == {bool} else np.int64 if kinds == {int} else np.float64
    try:
        return np.array(items, dtype=dtype)
    except (ValueError, TypeError):
        raise _refuse_array(source, "the rows have different lengths", "write 1,2;3,4") from None
    except OverflowError:
        raise _refuse_array(source, "an integer does not fit 64 bits", "write it as a float: 1e20") from None


def _leaves(items: object) -> Iterable[object]:
    """Find the numbers of nested lists, without recursion, in no particular order."""
    stack = [items]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        else:
            yield item


def _refuse_array(source: Source, what: str, do: str) -> InputRefused:
    return source.refuse(source.span(0, len(source.text)), what, do=do, code="E_VALUE_ARRAY")


def _generated(
    text: str, source: Source, rng: np.random.Generator, limits: ValueLimits
) -> float | np.ndarray:
    """Draw ``normal(64,10)`` and its like; without sizes they give a single number."""
    call = _CALL.fullmatch(text)
    if call is None or call.group(1) not in _GENERATORS:
        what = "this is neither a number nor a generator"
        do = f"{', '.join(_GENERATORS)} take a shape: normal(64,10); {_FORMS}"
        raise source.refuse(source.span(0, len(source.text)), what, do=do, code="E_VALUE_GENERATOR")
    shape = _shape(call.group(2), source, limits)
    match call.group(1):
        case "normal":
            drawn = rng.standard_normal(shape)
        case "uniform":
            drawn = rng.random(shape)
        case "zeros":
            drawn = np.zeros(shape)
        case _:
            drawn = np.ones(shape)
    return drawn if shape else float(drawn)


def _shape(text: str, source: Source, limits: ValueLimits) -> tuple[int, ...]:
    """Read the sizes of a generator and bound their product before anything is allocated."""
    words = [word.strip() for word in text.split(",")] if text.strip() else []
    if not all(word.isascii() and word.isdigit() and len(word) <= 18 for word in words):
        why = "a size is a whole number, 0 or more"
        raise source.refuse(
            source.span(0, len(source.text)),
            "these sizes are not a shape",
            why=why,
            do="write normal(64,10)",
            code="E_VALUE_SHAPE",
        )
    shape = tuple(int(word) for word in words)
    check = {
        "rank": (len(shape), limits.rank),
        "elements": (math.prod(max(1, size) for size in shape), limits.elements),
    }
    for limit, (given, allowed) in check.items():
        if given > allowed:
            code = f"E_LIMIT_{limit.upper()}"
            raise source.over(
                source.span(0, len(source.text)), f"{given} {limit} is too many", limit, allowed, code
            )
    return shape
