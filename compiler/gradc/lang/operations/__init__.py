"""What NumPy, SciPy and `math` calls mean: handlers that add equations to a program.

Handlers have the parameters of the function they stand for, after the emitter; array arguments are values,
Python scalars, extents, or nested lists of these.  `UFUNCS`, `FUNCTIONS` and `CREATION` are looked up with
``key_of(callable)``, `METHODS` with the name of an array method.
"""

from __future__ import annotations

import importlib
import importlib.util

from gradc.lang.operations.lift import Handler, Table, key_of

_FAMILIES = (
    "elementwise",
    "choices",
    "reductions",
    "statistics",
    "scans",
    "creation",
    "special",
    "normal",
    "mathematics",
    "shapes",
    "joining",
    "indexing",
    "contractions",
    "linalg",
)

UFUNCS: Table = {}
FUNCTIONS: Table = {}
CREATION: Table = {}
METHODS: dict[str, Handler] = {}

for _family in _FAMILIES:
    if importlib.util.find_spec(f"{__name__}.{_family}") is None:
        continue
    _module = importlib.import_module(f"{__name__}.{_family}")
    for _name, _table in (
        ("UFUNCS", UFUNCS),
        ("FUNCTIONS", FUNCTIONS),
        ("CREATION", CREATION),
        ("METHODS", METHODS),
    ):
        _table.update(getattr(_module, _name, {}))

__all__ = ["CREATION", "FUNCTIONS", "METHODS", "UFUNCS", "key_of"]
