"""The libraries that take part: what they are, whether they are here, how to install them."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True, slots=True)
class Peer:
    """A library: the modules that it loads before its first timing starts, and the packages it consists of."""

    name: str
    what: str
    modules: tuple[str, ...]
    packages: tuple[str, ...]
    install: str


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "gradc",
            "value_and_grad; bound: bind",
            ("gradc.api.decorator", "numba", "gradc_runtime.numba_backend"),
            ("gradc", "numba", "llvmlite", "scipy"),
            "pip install gradc",
        ),
        Peer("numpy", "derivatives by hand, in NumPy or plain Python", ("numpy",), ("numpy",), ""),
        Peer("jax", "jit outermost", ("jax", "jax.numpy"), ("jax", "jaxlib"), "pip install jax"),
        Peer(
            "torch",
            "PyTorch, eager and torch.compile",
            ("torch",),
            ("torch",),
            "pip install torch==2.13.0",
        ),
        Peer(
            "pytensor",
            "its Numba mode",
            ("pytensor.tensor",),
            ("pytensor",),
            "pip install pytensor in an environment of its own, then --python pytensor=DIR/bin/python "
            "(it asks for an older Numba than gradc)",
        ),
        Peer("casadi", "SX functions; C: its code compiled", ("casadi",), ("casadi",), "pip install casadi"),
        Peer("heyoka", "compiled functions", ("heyoka",), ("heyoka",), "pip install heyoka"),
        Peer("c", "C by hand: cc -O3 -march=native -fopenmp, relaxed arithmetic", (), (), "apt install gcc"),
        Peer("interpreter", "gradc's interpreter", ("gradc.api.decorator",), ("gradc",), ""),
    )
}
CHOICES = tuple(name for name in PEERS if name != "interpreter")
_PROBE = """
import json, sys
from importlib import metadata, util
modules, packages = json.loads(sys.argv[1])
missing = [m for m in modules if util.find_spec(m.partition(".")[0]) is None]
versions = {}
for p in packages:
    try:
        versions[p] = metadata.version(p)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps([missing, versions]))
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a peer: the interpreter that runs it, its versions, and why it cannot take part."""

    python: str
    versions: Mapping[str, str]
    missing: str = ""


def find(name: str, pythons: Mapping[str, str]) -> Found:
    """Look for a peer in this interpreter, or in the one that the user names for it."""
    peer = PEERS[name]
    if name == "c":
        version = _compiler()
        return Found(sys.executable, {"cc": version} if version else {}, "" if version else _lacking(peer))
    if name in pythons:
        return _ask(peer, pythons[name])
    if any(importlib.util.find_spec(module.partition(".")[0]) is None for module in peer.modules):
        return Found(sys.executable, {}, _lacking(peer))
    return Found(sys.executable, {package: _version(package) for package in peer.packages})


def _lacking(peer: Peer) -> str:
    return f"not installed ({peer.install})"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _ask(peer: Peer, python: str) -> Found:
    """Ask another interpreter what it has."""
    what = json.dumps([peer.modules, peer.packages])
    try:
        ran = subprocess.run(
            [python, "-c", _PROBE, what], capture_output=True, text=True, check=True, timeout=60
        )
        missing, versions = json.loads(ran.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return Found(python, {}, f"{python} does not run: {type(error).__name__}")
    return Found(python, versions, f"not installed in {python}" if missing else "")


def _compiler() -> str:
    """Return the first line of what ``cc --version`` prints; nothing if there is no C compiler."""
    if shutil.which("cc") is None:
        return ""
    ran = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=False)
    return ran.stdout.partition("\n")[0]
