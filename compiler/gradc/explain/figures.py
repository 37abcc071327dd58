"""Numbers as people read them, and columns of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))
_AMOUNTS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def seconds(value: float) -> str:
    """Show a time with three digits and its unit.

    Examples
    --------
    >>> seconds(0.00123456), seconds(2.5e-7)
    ('1.23 ms', '250 ns')
    """
    if math.isnan(value):
        return "-"
    size, unit = next((found for found in _TIMES if value >= found[0]), (1e-9, "ns"))
    return f"{value / size:.3g} {unit}"


def ratio(value: float) -> str:
    """Show a ratio; a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def amount(value: float, unit: str = "") -> str:
    """Show a number with three digits, the letter of its size and its unit.

    Examples
    --------
    >>> amount(25165824), amount(12), amount(0.25), amount(800, "B"), amount(3.1e9, "B/s")
    ('25.2 M', '12', '0.25', '800 B', '3.1 GB/s')
    """
    size, letter = next((found for found in _AMOUNTS if value >= found[0]), (1.0, ""))
    return f"{value / size:.3g} {letter}{unit}".rstrip()


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of aligned columns: the first to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


MOST_ROWS = 400


def abridged(rows: Sequence[str], what: str, most: int = MOST_ROWS) -> list[str]:
    """Leave out the middle of too many rows, and say how many.

    Examples
    --------
    >>> abridged(["a", "b", "c", "d", "e"], "letters", 2)
    ['a', '  ... 3 letters left out ...', 'e']
    """
    left_out = len(rows) - most
    if left_out <= 0:
        return list(rows)
    head = most // 2
    return [*rows[:head], f"  ... {left_out} {what} left out ...", *rows[head + left_out :]]


def spans(numbers: Sequence[int]) -> str:
    """Show line numbers, neighbours together.

    Examples
    --------
    >>> spans([37, 33, 35, 36])
    '33,35-37'
    """
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)
