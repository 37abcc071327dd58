"""What the numbers depend on: the processor, the threads, the versions."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradc.bench.measure import Settings
from gradc.bench.peers import Found


def describe(settings: Settings, found: Mapping[str, Found]) -> dict[str, Any]:
    """Processor, Python, threads, rounds, and the versions of every library."""
    versions = {name: version for peer in found.values() for name, version in peer.versions.items()}
    return {
        "processor": f"{platform.machine()} {_processor()}".strip(),
        "processors": os.cpu_count(),
        "threads": settings.threads,
        "rounds": settings.rounds,
        "small": settings.small,
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": versions,
        "missing": {name: peer.missing for name, peer in found.items() if peer.missing},
    }


def shown(machine: Mapping[str, Any]) -> str:
    """Show it in a few lines."""
    versions = ", ".join(
        version if name == "cc" else f"{name} {version}" for name, version in machine["versions"].items()
    )
    lines = [
        f"{machine['processor']}, {machine['processors']} processors, {machine['threads']} threads, "
        f"{machine['rounds']} rounds{', small' if machine['small'] else ''}",
        f"Python {machine['python']}, {versions}",
        *(f"{name}: {why}" for name, why in machine["missing"].items()),
    ]
    return "\n".join(lines)


def _processor() -> str:
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return platform.processor()
