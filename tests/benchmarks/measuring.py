"""Timing several ways to compute one thing: checked first, then interleaved; recorded, never asserted."""

import gc
import importlib
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Way:
    """One way to compute: `run` gives a value and gradients, in the order of the other ways."""

    name: str
    run: Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """The median seconds of one way, and how they compare with those of the first way."""

    name: str
    seconds: float
    ratio: float


def flat(result: Any) -> np.ndarray:
    """Numbers of nested tuples, lists and arrays as one vector."""
    if isinstance(result, tuple | list):
        return np.concatenate([flat(item) for item in result]) if result else np.empty(0)
    return np.asarray(result, np.float64).ravel()


def agree(ways: Sequence[Way], rtol: float) -> None:
    """Compare every way with the first; a wrong way has no time."""
    wanted = flat(ways[0].run())
    scale = float(np.abs(wanted).max())
    if not scale or not math.isfinite(scale):
        raise AssertionError(f"{ways[0].name}: the values to compare with are zero or not finite")
    for way in ways[1:]:
        np.testing.assert_allclose(flat(way.run()), wanted, rtol=rtol, atol=rtol * scale, err_msg=way.name)


def measure(
    ways: Sequence[Way], *, rtol: float = 1e-9, rounds: int = 15, budget: float = 0.02, pause: float = 0.0
) -> list[Row]:
    """Check, warm up, then time the ways in turn, round by round, about `budget` seconds each.

    After a `pause` each way begins anew: the threads of a pool spin for some milliseconds after its last call,
    on the processors that the next way's pool wants.
    """
    agree(ways, rtol)
    repeats = [max(1, int(budget / max(_once(way, 1), 1e-8))) for way in ways]
    samples: list[list[float]] = [[] for _ in ways]
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for way, repeat, found in zip(ways, repeats, samples, strict=True):
                time.sleep(pause)
                if pause:
                    _once(way, repeat)
                found.append(_once(way, repeat))
    finally:
        gc.enable()
    medians = [statistics.median(found) for found in samples]
    return [Row(way.name, m, m / medians[0]) for way, m in zip(ways, medians, strict=True)]


def _once(way: Way, repeat: int) -> float:
    run = way.run
    begin = time.perf_counter()
    for _ in range(repeat):
        run()
    return (time.perf_counter() - begin) / repeat


def peer(name: str) -> Any:
    """Another library if it is installed; None, with a word about it, if not."""
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"({name} is not installed: left out)")
        return None


def show(title: str, rows: Sequence[Row]) -> None:
    """Print one table; the first row is what the ratios compare with."""
    print(f"\n{title}")
    width = max(len(row.name) for row in rows)
    for row in rows:
        print(f"  {row.name:{width}}  {_time(row.seconds):>10}  {row.ratio:8.3f} x")


def _time(seconds: float) -> str:
    unit, factor = next(
        (found for found in (("s", 1.0), ("ms", 1e3), ("us", 1e6)) if seconds * found[1] >= 1), ("ns", 1e9)
    )
    return f"{seconds * factor:.3g} {unit}"


def show_machine() -> None:
    """Print what the numbers depend on."""
    packages = ("gradc", "numpy", "numba", "llvmlite", "scipy", "jax", "torch")
    versions = [f"{name} {metadata.version(name)}" for name in packages if _installed(name)]
    print(f"{platform.machine()} {_processor()}, {os.cpu_count()} processors")
    print(f"Python {platform.python_version()}, {', '.join(versions)}")
    print(f"NUMBA_NUM_THREADS={os.environ.get('NUMBA_NUM_THREADS', 'default')}")


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _processor() -> str:
    if sys.platform == "linux":
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            found = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        return found[0] if found else ""
    return platform.processor()
