"""Writing a kernel to a directory that runs where NumPy, Numba and SciPy are, without gradc."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from gradc.errors import InputRefused
from gradc.ir.stages import Stages
from gradc.pipeline import VERSION, artifact_of

MARK = "gradc.json"


@dataclass(frozen=True, slots=True)
class Written:
    """Files written, the function's name, and the lines that import and call it."""

    files: tuple[str, ...]
    function: str
    usage: tuple[str, ...]


def write(stages: Stages, directory: Path, *, force: bool) -> Written:
    """Write the kernel module, its contract and a copy of the runtime it imports.

    Raises
    ------
    InputRefused
        The directory holds something else and `force` was not given.
    """
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise InputRefused(f"{directory} is not a directory", do="choose another --out")
    ours = (directory / MARK).is_file()
    if directory.is_dir() and any(directory.iterdir()) and not ours and not force:
        raise InputRefused(
            f"{directory} is not empty and was not made by gradc", do="choose another --out, or --force"
        )
    artifact = artifact_of(stages)
    directory.mkdir(parents=True, exist_ok=True)
    contract = {
        "gradc": VERSION,
        "function": artifact.name,
        "parameters": [list(parameter) for parameter in artifact.parameters],
        "results": [list(result) for result in artifact.results],
    }
    texts = {
        f"{artifact.name}.py": artifact.source,
        "__init__.py": _package(artifact.name),
        MARK: json.dumps(contract, indent=2) + "\n",
    }
    for name, text in texts.items():
        _replace(directory / name, text)
    runtime = _copy_runtime(directory)
    arguments = ", ".join(name for name, _, _ in artifact.parameters)
    usage = (f"from {directory.name} import {artifact.name}", f"{artifact.name}({arguments})")
    return Written((*texts, *runtime), artifact.name, usage)


def _package(function: str) -> str:
    """The package's ``__init__``: compile at import, with the bundled runtime unless one is installed."""
    return f'''"""A kernel written by gradc {VERSION}; needs NumPy, Numba and SciPy."""

import importlib.util
import json
import sys
from pathlib import Path

_HERE = Path(__file__).parent
if importlib.util.find_spec("gradc_runtime") is None:
    sys.path.append(str(_HERE / "runtime"))

from gradc_runtime.artifact import KernelArtifact
from gradc_runtime.numba_backend import compile_kernel, load

_CONTRACT = json.loads((_HERE / "{MARK}").read_text())
_PARTS = [tuple(map(tuple, _CONTRACT[part])) for part in ("parameters", "results")]
{function} = compile_kernel(
    load(KernelArtifact("{function}", (_HERE / "{function}.py").read_text(), *_PARTS))
)
'''


def _replace(path: Path, text: str) -> None:
    """Write next to the place and move there: a reader sees the old file or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    temporary.replace(path)


def _copy_runtime(directory: Path) -> tuple[str, ...]:
    target = directory / "runtime" / "gradc_runtime"
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    names = []
    for source in sorted(resources.files("gradc_runtime").iterdir(), key=lambda entry: entry.name):
        if source.name.endswith(".py"):
            _replace(target / source.name, source.read_text())
            names.append(f"runtime/gradc_runtime/{source.name}")
    return tuple(names)
