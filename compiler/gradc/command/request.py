"""What the command line asks and what it gets; nothing here is slow to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Request:
    """What function at which arguments."""

    spec: str | None
    expr: str | None
    at: tuple[str, ...]
    shape: tuple[str, ...]
    inputs: Path | None
    seed: int
    target: str
    products: str = "own"


@dataclass(frozen=True, slots=True)
class Answer:
    """What to print and the exit code."""

    text: str
    code: int = 0


@dataclass(frozen=True, slots=True)
class Writing:
    """How ``compile`` writes."""

    timings: bool
    force: bool
    capabilities: tuple[str, ...] = ()  # of the PTX of a kernel for a GPU
