"""The cells of the operator table that a test run checked, carried by the reports of the tests and printed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

KEY = "operator table"
LAYOUTS = (
    *("C", "F", "strided", "negative", "read-only", "unaligned"),
    *("0-stride", "0-d", "empty", "twice"),
)
MARKS = "ghGHr"
LEGEND = (
    "g, h: gradient and gradient of the gradient, interpreted; G, H: compiled; r: refused with a message; "
    ".: NumPy does not define the call"
)

# (family, operation, dtype) -> layout -> marks
Table = dict[tuple[str, str, str], dict[str, set[str]]]


def record(record_property: Callable[[str, Any], None], row: Any, dtype: Any, passed: dict[str, str]) -> None:
    """Attach the cells that passed to the report of the running test; works across xdist workers."""
    record_property(KEY, [row.family, row.operation, np.dtype(dtype).name, passed])


def collect(properties: Iterable[tuple[str, Any]]) -> Table:
    """Merge the cells of all reports."""
    table: Table = defaultdict(lambda: defaultdict(set))
    for key, found in properties:
        if key == KEY:
            family, operation, dtype, passed = found
            for layout, marks in passed.items():
                table[family, operation, dtype][layout] |= set(marks)
    return table


def lines(table: Table, *, every: bool) -> list[str]:
    """Return the table as text: counts per family and dtype, and with `every` a line per operation."""
    result = [
        f"cells: {_count(table, MARKS[:4])} derivatives checked, {_count(table, 'GH')} of them compiled"
    ]
    result += _families(table)
    return [*result, "", LEGEND, *_operations(table)] if every else result


def _count(table: Table, marks: str) -> int:
    return sum(len(cell & set(marks)) for row in table.values() for cell in row.values())


def _families(table: Table) -> list[str]:
    """One line per family and dtype: operations, and per layout how many of them, interpreted/compiled."""
    groups: dict[tuple[str, str], list[dict[str, set[str]]]] = defaultdict(list)
    for (family, _, dtype), row in sorted(table.items()):
        groups[family, dtype].append(row)
    result = [f"{'operations, interpreted/compiled':<34}" + "".join(f"{name:>11}" for name in LAYOUTS)]
    for (family, dtype), rows in groups.items():
        counts = [
            f"{sum('g' in row.get(at, ()) for row in rows)}/{sum('G' in row.get(at, ()) for row in rows)}"
            for at in LAYOUTS
        ]
        result.append(f"{family + ' ' + dtype:<27}{len(rows):>7}" + "".join(f"{one:>11}" for one in counts))
    return result


def _operations(table: Table) -> list[str]:
    result = [f"{'':<40}" + "".join(f"{name:>11}" for name in LAYOUTS)]
    for (family, operation, dtype), row in sorted(table.items()):
        cells = ["".join(mark for mark in MARKS if mark in row.get(at, ())) or "." for at in LAYOUTS]
        name = f"{family} {operation} {'f64' if dtype == 'float64' else 'f32'}"
        result.append(f"{name:<40}" + "".join(f"{cell:>11}" for cell in cells))
    return result
