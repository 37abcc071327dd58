"""What pickling refers to by name, as it does to any function."""

from __future__ import annotations

import importlib
from typing import Any


def by_name(module: str, qualname: str) -> Any:
    """Find a decorated function again."""
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found
