"""Kernels of a generated module in the assembly language of devices, none of which is here."""

from __future__ import annotations

import re
from typing import Any

CAPABILITIES = ((7, 5), (8, 0), (9, 0))


def kernels_in(source: str) -> dict[str, Any]:
    """The launches of a module."""
    namespace: dict[str, Any] = {"__name__": "module"}
    exec(compile(source, "<module>", "exec"), namespace)
    return {name: found for name, found in namespace.items() if hasattr(found, "ptx")}


def check_ptx(source: str, capability: tuple[int, int]) -> int:
    """Assemble every launch of a module; returns how many there are."""
    found = kernels_in(source)
    for name, kernel in found.items():
        text = kernel.ptx(capability)
        assert re.search(rf"\.target sm_{capability[0]}{capability[1]}\b", text), name
        assert text.count(".visible .entry") == 1, name
        assert not re.search(r"\.extern \.func", text), f"{name} calls a function that no device has"
    return len(found)
