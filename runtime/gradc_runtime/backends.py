"""The one sanctioned lazy import: back ends load Numba only when a kernel is compiled."""

from __future__ import annotations

import importlib
from types import ModuleType

NAMES = ("numba",)


def load(name: str) -> ModuleType:
    """The module of a back end."""
    if name not in NAMES:
        raise ValueError(f"there is no back end {name!r}; there are {', '.join(NAMES)}")
    return importlib.import_module(f"gradc_runtime.{name}_backend")


def describe() -> list[tuple[str, str]]:
    """What this machine offers to kernels."""
    simd = importlib.import_module("gradc_runtime.simd")
    threads = importlib.import_module("gradc_runtime.threads")
    numba = importlib.import_module("numba")
    layer = "OpenMP" if threads.available() else "none: no thread-safe layer, kernels are serial"
    return [
        ("vector bytes", str(simd.vector_bytes())),
        ("threads", f"{numba.get_num_threads()} ({layer})"),
    ]
