"""The one sanctioned lazy import: back ends load Numba only when a kernel is compiled."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType

from gradc_runtime import thread_count

NAMES = {
    "numba": "gradc_runtime.numba_backend",
    "entry": "gradc_runtime.entry",
    "cuda": "gradc_runtime.cuda_run",
}


def load(name: str) -> ModuleType:
    """The module of a back end."""
    if name not in NAMES:
        raise ValueError(f"there is no back end {name!r}; there are {', '.join(NAMES)}")
    return importlib.import_module(NAMES[name])


def threads() -> int:
    """How many threads kernels use at most."""
    layer, numba = (importlib.import_module(name) for name in ("gradc_runtime.threads", "numba"))
    wanted = thread_count.wanted()
    pool = numba.get_num_threads() if layer.available() else 1
    return pool if wanted is None else min(wanted, pool)


def parts_of() -> Callable[[int, int, int], int]:
    """How many parts kernels make of a loop: takes its extent, the work of an iteration and the size of a part."""
    compiled = importlib.import_module("gradc_runtime.tasks").parts_of
    return getattr(compiled, "py_func", compiled)


def vector_bytes() -> int:
    """How many bytes a vector register has."""
    return importlib.import_module("gradc_runtime.simd").vector_bytes()


def describe() -> list[tuple[str, str]]:
    """What this machine offers to kernels."""
    simd = importlib.import_module("gradc_runtime.simd")
    available = importlib.import_module("gradc_runtime.threads").available()
    layer = "OpenMP" if available else "none: no thread-safe layer, kernels are serial"
    return [
        ("vector bytes", str(simd.vector_bytes())),
        ("threads", f"{threads()} ({layer})"),
    ]
