"""Writing a kernel to a directory that runs where NumPy, Numba and SciPy are, for a GPU also numba-cuda, without gradc.

Everything is written to a directory beside the target first and moved over file by file: a write that fails
leaves the target as it was.  What else lies in the target stays there.
"""

from __future__ import annotations

import io
import json
import keyword
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gradc.command import export_device
from gradc.command.documents import named
from gradc.errors import InputRefused
from gradc.explain.kernels.ptx import USUAL, Capability
from gradc.ir.extents import is_symbol
from gradc.ir.index.nodes import Call
from gradc.ir.stages import Stages
from gradc.pipeline import VERSION, Derivation, artifact_of
from gradc_runtime.artifact import KernelArtifact

MARK = "gradc.json"
HELD = "weights.npz"
_ELSEWHERE = "choose another --out"


@dataclass(frozen=True, slots=True)
class Written:
    """Files written, the function's name, and the lines that import and call it in the folder `place`.

    `seconds` says how long the PTX of a kernel for a GPU took.
    """

    files: tuple[str, ...]
    function: str
    usage: tuple[str, ...]
    place: str
    seconds: Mapping[str, float]


def require_writable(directory: Path, *, force: bool) -> None:
    """Refuse a directory that is not ours to write to, before anything is compiled.

    Raises
    ------
    InputRefused
        It cannot be a package, is a file or a link, or holds something else and `force` was not given.
    """
    name = directory.resolve().name
    if not name.isidentifier() or keyword.iskeyword(name) or not name.isascii():
        raise InputRefused(
            f"{named(directory)} cannot be imported",
            why=f"`{named(name)}` is no module name",
            do="--out my_kernel",
        )
    if directory.is_symlink():
        raise InputRefused(f"{named(directory)} is a link", why="links are not followed", do=_ELSEWHERE)
    if directory.exists() and not directory.is_dir():
        raise InputRefused(f"{named(directory)} is not a directory", do=_ELSEWHERE)
    for inner in (directory / name for name in ("runtime", "runtime/gradc_runtime", export_device.FOLDER)):
        if inner.is_symlink() or (inner.exists() and not inner.is_dir()):
            raise InputRefused(
                f"{named(inner)} is not a directory", why="links are not followed", do=_ELSEWHERE
            )
    try:
        is_empty = not directory.is_dir() or not any(directory.iterdir())
    except OSError as error:
        raise _unwritable(directory, error) from error
    if not is_empty and _contract(directory) is None and not force:
        what = f"{named(directory)} is not empty and was not made by gradc"
        raise InputRefused(what, do=f"{_ELSEWHERE}, or --force")


def write(
    stages: Stages,
    derivation: Derivation,
    directory: Path,
    *,
    force: bool,
    held: Mapping[str, np.ndarray] | None = None,
    capabilities: Sequence[Capability] = (USUAL,),
) -> Written:
    """Write the kernel module, its contract and a copy of the runtime it imports.

    For a GPU also its PTX for some compute capabilities, and how to call it.

    What `held` has for some of the kernel's arguments, the weights of a network, goes with it; the package then has a
    function of the others, with the name of the program.

    Raises
    ------
    InputRefused
        See `require_writable`; or the file system refused.
    DeviceError
        The kernel is for a GPU, and the compiler for CUDA is not installed.
    """
    require_writable(directory, force=force)
    outside = [e for e in stages.optimised.equations if isinstance(e, Call) and e.operation == "external"]
    if outside:
        raise InputRefused(
            f"the kernel calls the Python function {outside[0].attribute('name')}",
            why="an external function exists in the process that registered it, not on another machine",
            do="write the function in NumPy, or call it outside the compiled function",
            code="E_EXPORT_EXTERNAL",
        )
    artifact = artifact_of(stages)
    usage = _usage(stages, artifact, directory, held or {})
    extras: dict[str, bytes] = {}
    begin = time.perf_counter()
    if stages.serial is not None:
        shown = "\n".join(f"    {line}" for line in usage)
        extras = export_device.extras(stages, artifact, capabilities, shown)
    seconds = {"PTX": time.perf_counter() - begin} if extras else {}
    contract = {**_contract_of(stages, derivation, artifact), "more": sorted(extras)}
    own = _own_files(stages, artifact, contract, held or {})
    files = {**own, **extras, **_runtime_files(artifact.source if extras else None)}
    try:
        _install(files, directory, list(_stale(directory, files)))
    except OSError as error:
        raise _unwritable(directory, error) from error
    place = f"# in {named(directory.resolve().parent)}:"
    return Written(tuple(files), artifact.name, usage, place, seconds)


def _usage(
    stages: Stages, artifact: KernelArtifact, directory: Path, held: Mapping[str, np.ndarray]
) -> tuple[str, str]:
    """The lines that import and call the kernel."""
    arguments = ", ".join(name for name, _, _ in artifact.parameters if name not in held)
    function = stages.program.name if held else artifact.name
    return f"from {directory.resolve().name} import {function}", f"{function}({arguments})"


def _unwritable(directory: Path, error: OSError) -> InputRefused:
    why = error.strerror or type(error).__name__
    return InputRefused(f"{named(directory)} cannot be written", why=why, do=_ELSEWHERE)


def _contract(directory: Path) -> dict[str, object] | None:
    """Return what an earlier export says about itself; None if the directory is not one."""
    path = directory / MARK
    try:
        found = json.loads(path.read_bytes()) if path.is_file() and not path.is_symlink() else None
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "gradc" in found else None


def _stale(directory: Path, files: Mapping[str, bytes]) -> Iterator[Path]:
    """Yield what an earlier export left that is not written again: its kernel, its PTX, its guide."""
    found = _contract(directory) or {}
    old, more = found.get("function"), found.get("more")
    names = [f"{old}.py"] if isinstance(old, str) and old.isidentifier() else []
    if isinstance(more, list):  # which anyone may have written: nothing but such files is deleted
        names += [name for name in more if isinstance(name, str) and export_device.OURS.fullmatch(name)]
    yield from (directory / name for name in names if name not in files)


def _install(files: dict[str, bytes], directory: Path, stale: Sequence[Path]) -> None:
    """Write all files beside `directory`, then move each to its place; the contract last."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        package = staged / directory.name  # made with the usual permissions, which the staging place has not
        for name, content in files.items():
            path = package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if not directory.exists():
            package.rename(directory)
            return
        for name in sorted(files, key=lambda name: name == MARK):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (package / name).replace(directory / name)
        for path in stale:
            path.unlink(missing_ok=True)
            if path.parent != directory and not any(path.parent.iterdir()):
                path.parent.rmdir()
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _contract_of(stages: Stages, derivation: Derivation, artifact: KernelArtifact) -> dict[str, object]:
    """Say what the kernel is: extents are sizes, names, or null for what follows from others."""
    extents = {
        name: [
            size if isinstance(size, int) else str(size) if is_symbol(size) else None for size in type_.shape
        ]
        for name in stages.optimised.inputs
        for type_ in [stages.optimised.types[name]]
    }
    return {
        "gradc": VERSION,
        "function": artifact.name,
        "target": "cpu" if stages.serial is None else "cuda",
        "of": derivation.of,
        "wrt": list(derivation.wrt),
        "parameters": [list(parameter) for parameter in artifact.parameters],
        "extents": extents,
        "results": [list(result) for result in artifact.results],
        "written": list(artifact.written),
    }


def _own_files(
    stages: Stages, artifact: KernelArtifact, contract: Mapping[str, object], held: Mapping[str, np.ndarray]
) -> dict[str, bytes]:
    name = stages.program.name
    if stages.serial is None:
        package = _package(artifact.name, _with_held(artifact, name, held) if held else "")
    else:
        more = export_device.held_text(artifact, name, held, HELD) if held else ""
        package = export_device.package(artifact, MARK, more)
    texts = {
        f"{artifact.name}.py": artifact.source,
        "__init__.py": package,
        MARK: json.dumps(contract, indent=2) + "\n",
    }
    files = {name: text.encode() for name, text in texts.items()}
    if held:
        content = io.BytesIO()
        arrays: Any = dict(held)
        np.savez(content, **arrays)
        files[HELD] = content.getvalue()
    return files


def _with_held(artifact: KernelArtifact, function: str, held: Mapping[str, np.ndarray]) -> str:
    """Write the function of the arguments that are not held."""
    free = [(name, dtype) for name, dtype, _ in artifact.parameters if name not in held]
    given = ", ".join(name for name, _ in free)
    passed = ", ".join(f'_HELD["{name}"]' if name in held else name for name, _, _ in artifact.parameters)
    lines = [f"    {name} = np.ascontiguousarray({name}, np.{dtype})" for name, dtype in free]
    result = f"{artifact.name}({passed})"
    return f'''
import numpy as np

with np.load(_HERE / "{HELD}") as _arrays:
    _HELD = dict(_arrays)


def {function}({given}):
    """Return `{artifact.name}` at the arrays of {HELD}."""
{chr(10).join(lines)}
    return {result + "[0]" if len(artifact.results) == 1 else result}
'''


def _runtime_files(for_device: str | None) -> dict[str, bytes]:
    """Return modules of the runtime, which has no folders: all but those for a GPU, or what a text for one needs."""
    found = sorted(resources.files("gradc_runtime").iterdir(), key=lambda entry: entry.name)
    wanted = {
        entry.name for entry in found if entry.name.endswith(".py") and not entry.name.startswith("cuda_")
    }
    if for_device is not None:
        wanted = set(export_device.runtime_modules(for_device))
    home = PurePosixPath("runtime", "gradc_runtime")
    return {str(home / entry.name): entry.read_bytes() for entry in found if entry.name in wanted}


def _package(function: str, more: str) -> str:
    """Write the package's ``__init__``: compile at import, with an installed runtime or the bundled one."""
    return f'''"""A kernel written by gradc {VERSION}; needs NumPy, Numba and SciPy."""

import importlib.util
import json
import sys
from pathlib import Path

_HERE = Path(__file__).parent
if importlib.util.find_spec("gradc_runtime") is None:
    sys.path.append(str(_HERE / "runtime"))

import gradc_runtime

gradc_runtime.__path__.append(str(_HERE / "runtime" / "gradc_runtime"))  # another package's copy may hold less

from gradc_runtime.artifact import KernelArtifact
from gradc_runtime.numba_backend import compile_kernel, load

_CONTRACT = json.loads((_HERE / "{MARK}").read_text())
_PARTS = [tuple(map(tuple, _CONTRACT[part])) for part in ("parameters", "results")]
_SOURCE = (_HERE / "{function}.py").read_text()
{function} = compile_kernel(
    load(KernelArtifact("{function}", _SOURCE, *_PARTS, tuple(_CONTRACT["written"])))
)
{more}'''
