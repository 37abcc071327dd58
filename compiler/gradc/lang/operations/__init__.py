"""What NumPy, SciPy and `math` calls mean: handlers that add equations to a program.

Handlers have the parameters of the function they stand for, after the emitter; array arguments are values,
Python scalars, extents, or nested lists of these.  `UFUNCS`, `FUNCTIONS` and `CREATION` are looked up with
``key_of(callable)``, `METHODS` with the name of an array method.
"""

from __future__ import annotations

from typing import Any

from gradc.lang.operations import (
    choices,
    contractions,
    creation,
    elementwise,
    indexing,
    joining,
    linalg,
    mathematics,
    normal,
    padding,
    randoms,
    reductions,
    scans,
    shapes,
    special,
    statistics,
    triangles,
)
from gradc.lang.operations.assignment import set_item
from gradc.lang.operations.indexing import get_item
from gradc.lang.operations.lift import Handler, Table, key_of

FAMILIES = (
    *(elementwise, choices, reductions, statistics, scans, creation, randoms, special, normal, mathematics),
    *(shapes, joining, padding, triangles, indexing, contractions, linalg),
)


def _merged(name: str) -> dict[Any, Handler]:
    """Return the tables called `name` of all families as one."""
    return {key: handler for family in FAMILIES for key, handler in getattr(family, name, {}).items()}


UFUNCS: Table = _merged("UFUNCS")
FUNCTIONS: Table = _merged("FUNCTIONS")
CREATION: Table = _merged("CREATION")
METHODS: dict[str, Handler] = _merged("METHODS")

__all__ = ["CREATION", "FUNCTIONS", "METHODS", "UFUNCS", "get_item", "key_of", "set_item"]
