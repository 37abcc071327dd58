"""Processes of their own, such as those of a user who has an exported kernel and no gradc."""

import subprocess
import sys

# As on a machine without gradc: what is imported comes out of the package.
ALONE = """
import sys
from importlib.machinery import PathFinder
from pathlib import Path

INSTALLED = [place for place in sys.path if (Path(place) / "gradc_runtime").is_dir()]  # NumPy may be there as well

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("gradc", "sympy", "optree"):
            raise ImportError(f"{name} is blocked here")

class Elsewhere:
    find_distributions = staticmethod(PathFinder.find_distributions)

    def find_spec(self, name, path=None, target=None):
        if name == "gradc_runtime":
            path = [place for place in sys.path if place not in INSTALLED]
        return PathFinder.find_spec(name, path, target)

others = [finder for finder in sys.meta_path if finder is not PathFinder]
sys.meta_path[:] = [Blocked(), *others, Elsewhere()]
"""


def child(environment: dict[str, str], program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, env={**environment, **variables}, capture_output=True, text=True, check=False
    )


def in_simulator(environment: dict[str, str], program: str) -> subprocess.CompletedProcess[str]:
    return child(environment, program, NUMBA_ENABLE_CUDASIM="1")
