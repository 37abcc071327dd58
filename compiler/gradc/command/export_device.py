"""What ``gradc compile --target cuda`` writes beside the kernel: a package, its runtime, PTX and how to call it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np

from gradc.explain.kernels.launches import grids
from gradc.explain.kernels.ptx import (
    USUAL,
    Capability,
    architecture,
    capability_of,
    compiled_launches,
    library_calls,
    ptx_of,
)
from gradc.ir.stages import Stages
from gradc.pipeline import VERSION
from gradc_runtime.artifact import KernelArtifact
from gradc_runtime.cuda_errors import CUBLAS

GUIDE = "USAGE.md"
FOLDER = "ptx"
ROOTS = ("artifact", "cuda_run")  # of the runtime, beside what the kernel's module imports
OURS = re.compile(rf"{re.escape(GUIDE)}|{FOLDER}/[A-Za-z]\w*\.sm_\d+\.ptx")
LIBRARY = "cuda_blas.py"  # of the runtime, where it calls NVIDIA's library
NEEDS = "numpy scipy numba 'numba-cuda[cu13]'"


def capabilities_of(given: Sequence[str]) -> tuple[Capability, ...]:
    """Read the values of ``--capability``, lists with commas among them; the usual one if there is none.

    Raises
    ------
    ArgumentError
        One of them is no compute capability.
    """
    parts = [part.strip() for text in given for part in text.split(",") if part.strip()]
    return tuple(dict.fromkeys(map(capability_of, parts))) or (USUAL,)


def extras(
    stages: Stages, artifact: KernelArtifact, chosen: Sequence[Capability], usage: str
) -> dict[str, bytes]:
    """The PTX of every launch for every capability, and the guide.

    Raises
    ------
    DeviceError
        The compiler for CUDA is not installed.
    ArgumentError
        It does not know a capability.
    """
    files = {
        f"{FOLDER}/{name}.{architecture(capability)}.ptx": text.encode()
        for capability in chosen
        for name, text in ptx_of(stages, capability).items()
    }
    return {**files, GUIDE: _guide(stages, artifact, chosen, usage).encode()}


# --- the runtime --------------------------------------------------------------------------------------------


def runtime_modules(source: str) -> tuple[str, ...]:
    """The modules of the runtime that a generated module needs, directly or through others.

    Examples
    --------
    >>> found = runtime_modules("from gradc_runtime.clock import nanoseconds")
    >>> "clock.py" in found, "cuda_run.py" in found, "gradcheck.py" in found
    (True, True, False)
    """
    home = resources.files("gradc_runtime")
    found: dict[str, None] = {}
    waiting = [*ROOTS, *_named(source)]
    while waiting:
        name = f"{waiting.pop()}.py"
        if name not in found and (home / name).is_file():
            found[name] = None
            waiting += _named((home / name).read_text(encoding="utf-8"))
    return tuple(sorted((*found, "__init__.py")))


def _by_library(artifact: KernelArtifact) -> bool:
    """Whether a kernel calls NVIDIA's library."""
    return LIBRARY in runtime_modules(artifact.source)


def _named(source: str) -> Iterator[str]:
    """The modules of the runtime that a text imports; what it imports late stands in it as a string."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names):
                yield from _below(alias.name for alias in names)
            case ast.ImportFrom("gradc_runtime", names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(str(module)):
                yield from _below((module,))
            case ast.Constant(str(text)):
                yield from _below((text,))
            case _:
                pass


def _below(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        package, _, module = name.partition(".")
        if package == "gradc_runtime" and module.isidentifier():
            yield module


# --- the package --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Names:
    """The names of a function's parameters, and of its keywords, which are none of them."""

    given: tuple[str, ...]

    @property
    def stream(self) -> str:
        return self._free("stream")

    @property
    def device(self) -> str:
        return self._free("device")

    @property
    def keywords(self) -> str:
        return f"*, {self.stream}=None, {self.device}=None"

    def _free(self, name: str) -> str:
        return self._free(f"{name}_") if name in self.given else name


def package(artifact: KernelArtifact, contract: str, more: str) -> str:
    """Write the package's ``__init__``: the kernel as a function, with an installed runtime or the bundled one."""
    names = _Names(tuple(name for name, _, _ in artifact.parameters))
    needs = "NumPy, SciPy, Numba" + (
        ", numba-cuda and cuBLAS" if _by_library(artifact) else " and numba-cuda"
    )
    given = ", ".join((*names.given, names.keywords))
    passed = f"({', '.join(names.given)}{',' if len(names.given) == 1 else ''})"
    return f'''"""A CUDA kernel written by gradc {VERSION}; needs {needs}. See {GUIDE}."""

import importlib.util as _util
import json as _json
import sys as _sys
from pathlib import Path as _Path

_HERE = _Path(__file__).parent
if _util.find_spec("gradc_runtime") is None:
    _sys.path.append(str(_HERE / "runtime"))

import gradc_runtime as _gradc_runtime

_gradc_runtime.__path__.append(str(_HERE / "runtime" / "gradc_runtime"))  # another package's copy may hold less

from gradc_runtime import cuda_run as _cuda_run
from gradc_runtime.artifact import KernelArtifact as _KernelArtifact

_CONTRACT = _json.loads((_HERE / "{contract}").read_text())
_PARTS = [tuple(map(tuple, _CONTRACT[part])) for part in ("parameters", "results")]
_SOURCE = (_HERE / "{artifact.name}.py").read_text()
_LOADED = _cuda_run.load(
    _KernelArtifact("{artifact.name}", _SOURCE, *_PARTS, tuple(_CONTRACT["written"]))
)


def {artifact.name}({given}):
    """Run the kernel on a device."""
    return _cuda_run.run(_LOADED, {passed}, stream={names.stream}, device={names.device})
{more}'''


def held_text(artifact: KernelArtifact, function: str, held: Mapping[str, np.ndarray], file: str) -> str:
    """Write the function of the arguments that are not held."""
    dtypes = {name: dtype for name, dtype, _ in artifact.parameters}
    whole, names = _Names(tuple(dtypes)), _Names(tuple(name for name in dtypes if name not in held))
    passed = [f'_HELD["{name}"]' if name in held else name for name in dtypes]
    lines = [f"    {name} = _as_given({name}, _np.{dtypes[name]})" for name in names.given]
    passed += [f"{whole.stream}={names.stream}", f"{whole.device}={names.device}"]
    result = f"{artifact.name}({', '.join(passed)})"
    return f'''
import numpy as _np

with _np.load(_HERE / "{file}") as _arrays:
    _HELD = dict(_arrays)


def _as_given(value, dtype):
    """Return an array of the processor as the kernel takes it; one of a device stays as it is."""
    foreign = hasattr(value, "__cuda_array_interface__") or hasattr(value, "__dlpack_device__")
    if foreign and not isinstance(value, _np.ndarray):
        return value
    return _np.ascontiguousarray(value, dtype)


def {function}({", ".join((*names.given, names.keywords))}):
    """Return `{artifact.name}` at the arrays of {file}, which are copied to the device at each call."""
{chr(10).join(lines)}
    return {result + "[0]" if len(artifact.results) == 1 else result}
'''


# --- the guide ----------------------------------------------------------------------------------------------


def _guide(stages: Stages, artifact: KernelArtifact, chosen: Sequence[Capability], usage: str) -> str:
    first, *_ = stages.kernel.header or (artifact.name,)
    parts = (
        f"# {artifact.name}\n\n{first} Written by gradc {VERSION} for CUDA.",
        f"    pip install {NEEDS}{f' {CUBLAS}' * _by_library(artifact)}\n\n{usage}",
        _calls(artifact),
        "## Arguments and results\n\n" + _arguments(artifact),
        _table(("result", "dtype", "axes"), artifact.results),
        _launches(stages, artifact, chosen),
    )
    return "\n\n".join(parts) + "\n"


_WITHOUT_GPU = """\
* Without a GPU, `NUMBA_ENABLE_CUDASIM=1 python ...` runs the same kernels slowly, for trying them on small arrays."""
_WITH_LIBRARY = """\
* NVIDIA's cuBLAS multiplies matrices. Where it is not installed, a call says how to; Numba's simulator has none."""


_WITH_UPDATES = """\
* Arguments that are updated get new contents: arrays on the device where they are, those of NumPy before the call
  returns. They are C-contiguous, may be written to, and share memory with no other argument.
"""


def _calls(artifact: KernelArtifact) -> str:
    return f"""\
* Arrays of NumPy are copied to the device and the results back: NumPy arrays and numbers. The call waits for them.
* Arrays on the device (of Numba, CuPy, PyTorch, JAX: anything with `__cuda_array_interface__` or DLPack) are used where
  they are. If one argument is there, the results stay there too, and the call does not wait for them; `float(value)`
  does.
* `stream=` queues the work in a stream, `device=` chooses a device: `{artifact.name}(..., stream=stream)`.
* Sizes are free; dtypes and numbers of axes are those below. What does not fit raises ValueError or TypeError.
{_WITH_UPDATES if artifact.written else ""}{_WITH_LIBRARY if _by_library(artifact) else _WITHOUT_GPU}"""


def _arguments(artifact: KernelArtifact) -> str:
    head = ("argument", "dtype", "axes")
    if not artifact.written:
        return _table(head, artifact.parameters)
    rows = [(*one, "yes" if one[0] in artifact.written else "") for one in artifact.parameters]
    return _table((*head, "updated"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _launches(stages: Stages, artifact: KernelArtifact, chosen: Sequence[Capability]) -> str:
    """What the PTX files are: grids, and what the parameters of an entry stand for."""
    formulas = grids(stages)
    rows = [
        (
            one.launch.name,
            f"`{formulas[one.launch.name]}`",
            one.launch.threads,
            ", ".join(f"{name}: `{kind}`" for name, kind in one.arguments),
        )
        for one in compiled_launches(stages)
    ]
    kinds = ", ".join(architecture(capability) for capability in chosen)
    called = library_calls(stages)
    absent = [f"The kernels of {', '.join(called)} are the runtime's"] if called else []
    absent += ["Products of matrices are NVIDIA's cuBLAS"] if _by_library(artifact) else []
    others = "".join(f"\n\n{what}, and not among these files." for what in absent)
    return f"""\
## Launches and PTX

`{stages.kernel.name}.py` is the whole program: its last function runs on the host and launches the others, in this
order. `{FOLDER}/` holds each of them as PTX for {kinds}, for use without Python; the package itself does not read these
files. The entry has the name of the launch. Every argument is one parameter for a number, and for an array of d axes
5 + 2d of them, 8 bytes each: two null pointers, the number of elements, the bytes of one, the address, the extents, the
strides in bytes.

{_table(("launch", "blocks", "threads", "arguments"), rows)}{others}"""
