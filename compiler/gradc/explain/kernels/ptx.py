"""The launches of a kernel for a GPU in its assembly language, PTX, and what the assembler makes of them.

PTX is made for a compute capability, by the compiler alone: neither a driver nor a device is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gradc.errors import ArgumentError, DeviceError
from gradc.explain.figures import columns
from gradc.ir.loop.nodes import Launch, Library
from gradc.ir.stages import Stages
from gradc_runtime.cuda_errors import CudaError

Capability = tuple[int, int]

USUAL: Capability = (9, 0)  # of an H100; what is made for it runs on later devices too
_CAPABILITY = re.compile(r"(?:sm_)?(\d{1,2})(?:\.(\d)|(?<=\d)(\d))", re.IGNORECASE)
_ENTRY = re.compile(r"\.visible \.entry ([\w$]+)\(")
_TARGET = re.compile(r"^\.target sm_(\d+)", re.MULTILINE)
_COUNTED = (  # names with numbers in them that depend on what was compiled before
    (re.compile(r"\b_ZN08NumbaEnv[\w$]*"), "environment"),
    (re.compile(r"\b_cudapy_[a-z]+_\d+"), "memory"),
)


@dataclass(frozen=True, slots=True)
class CompiledLaunch:
    """A launch and the runtime's kernel for it, which makes its PTX; `arguments` are names and Numba's types."""

    launch: Launch
    made: Any

    @property
    def arguments(self) -> tuple[tuple[str, str], ...]:
        """The arguments of the kernel in order."""
        code = self.made.py_func.__code__
        kinds = re.split(r", (?![^\[]*\])", self.made.signature) if self.made.signature else []
        return tuple(zip(code.co_varnames[: code.co_argcount], kinds, strict=True))


def capability_of(given: object) -> Capability:
    """Read a compute capability: ``(8, 0)``, ``"8.0"``, ``8.0`` or ``"sm_80"``.

    Raises
    ------
    ArgumentError
        It is none.

    Examples
    --------
    >>> capability_of("8.0"), capability_of("sm_90"), capability_of("12.1"), capability_of((7, 5))
    ((8, 0), (9, 0), (12, 1), (7, 5))
    """
    if isinstance(given, tuple) and len(given) == 2 and all(type(part) is int for part in given):
        return given
    found = _CAPABILITY.fullmatch(str(given)) if isinstance(given, str | float) else None
    if found is None:
        raise ArgumentError(
            f"{given!r} is no compute capability", do="give one such as 9.0 (H100), 8.0 (A100) or 7.5 (T4)"
        )
    return int(found[1]), int(found[2] or found[3])


def architecture(capability: Capability) -> str:
    """How the compiler calls a capability: ``sm_90``."""
    return "sm_{}{}".format(*capability)


def compiled_launches(stages: Stages) -> tuple[CompiledLaunch, ...]:
    """The launches of a kernel with what compiles them.

    Raises
    ------
    DeviceError
        The compiler for CUDA is not installed.
    """
    launches = [statement for statement in stages.kernel.body if isinstance(statement, Launch)]
    with translated(stages):
        from gradc_runtime.cuda_host import Kernel  # noqa: PLC0415  (the compiler for CUDA)

        namespace: dict[str, Any] = {"__name__": stages.kernel.name}
        exec(compile(stages.source, f"<{stages.kernel.name}>", "exec"), namespace)
    made = [value for value in namespace.values() if isinstance(value, Kernel)]
    return tuple(CompiledLaunch(*pair) for pair in zip(launches, made, strict=True))


def ptx_of(stages: Stages, capability: Capability) -> dict[str, str]:
    """The PTX of every launch, by its name; the entry of each has that name too.

    Raises
    ------
    ArgumentError
        The compiler does not know the capability.
    DeviceError
        The compiler is not installed, or the simulator takes its place.
    """
    return {found.launch.name: _ptx(stages, found, capability) for found in compiled_launches(stages)}


def _ptx(stages: Stages, found: CompiledLaunch, capability: Capability) -> str:
    shown = "{}.{}".format(*capability)
    try:
        with translated(stages):
            text = found.made.ptx(capability)
    except Exception as error:
        if type(error).__name__ != "CCSupportError":  # a class of the compiler's, which is not imported here
            raise
        raise ArgumentError(
            f"there is no PTX for compute capability {shown}", why=str(error), do="choose a later one"
        ) from error
    target = _TARGET.search(text)
    if target is None or target[1] != "{}{}".format(*capability):  # the compiler takes the nearest it knows
        nearest = f"{target[1][:-1]}.{target[1][-1]}" if target else "another one"
        raise ArgumentError(
            f"the compiler knows no compute capability {shown}",
            why=f"it makes code for {nearest} instead",
            do=f"choose {nearest}",
        )
    return _with_plain_names(text, found.made.__name__)


def _with_plain_names(text: str, name: str) -> str:
    """Give the entry the name of its function, and what goes with it names that are the same in every process."""
    entry = _ENTRY.search(text)
    assert entry is not None
    text = re.sub(rf"\b{re.escape(entry[1])}", name, text)
    for pattern, kind in _COUNTED:
        found = dict.fromkeys(pattern.findall(text))
        plain = {counted: f"{name}_{kind}_{at}" for at, counted in enumerate(found)}
        text = pattern.sub(lambda match, plain=plain: plain[match[0]], text)
    return text


@contextmanager
def translated(stages: Stages) -> Iterator[None]:
    """Turn errors of the runtime into gradc's."""
    try:
        yield
    except CudaError as error:
        raise DeviceError(error.what, where=stages.kernel.name, why=error.why, do=error.do) from error


# --- text ---------------------------------------------------------------------------------------------------


def show_ptx(stages: Stages, capability: Capability) -> str:
    """The PTX of all launches in their order, each behind a heading."""
    found = compiled_launches(stages)
    parts = []
    for at, one in enumerate(found, 1):
        arguments = ", ".join(f"{name}: {kind}" for name, kind in one.arguments)
        heading = (
            f"// ==== {one.launch.name}: launch {at} of {len(found)} of {stages.kernel.name}, "
            f"{architecture(capability)}, blocks of {one.launch.threads} threads",
            f"// {one.made.__name__}({arguments})",
        )
        parts.append("\n".join((*heading, "", _ptx(stages, one, capability).strip(), "")))
    called = library_calls(stages)
    if called:
        parts.append(f"// Not here: the kernels of the runtime's own operations, {', '.join(called)}\n")
    return "\n".join(parts) if parts else f"// {stages.kernel.name} launches nothing\n"


def library_calls(stages: Stages) -> tuple[str, ...]:
    """The operations of the runtime's library that a kernel calls, which have kernels of their own."""
    return tuple(dict.fromkeys(s.operation for s in stages.kernel.body if isinstance(s, Library)))


@dataclass(frozen=True, slots=True)
class LaunchResources:
    """What a thread and a block of a launch take on devices of a capability; numbers are None where `why` says so."""

    name: str
    threads: int
    registers: int | None
    shared: int | None
    stack: int | None
    spilled: int | None
    why: str


def resources_of(stages: Stages, capability: Capability) -> tuple[LaunchResources, ...]:
    """What the assembler reports about every launch.

    Raises
    ------
    DeviceError
        The compiler for CUDA is not installed.
    ArgumentError
        The compiler does not know the capability.
    """
    rows = []
    for found in compiled_launches(stages):
        _require_known(stages, found, capability)
        taken, why = found.made.resources(capability)
        names = ("registers", "shared", "stack", "spilled")
        numbers = {name: getattr(taken, name, None) for name in names}
        rows.append(LaunchResources(found.launch.name, found.launch.threads, **numbers, why=why))
    return tuple(rows)


def _require_known(stages: Stages, found: CompiledLaunch, capability: Capability) -> None:
    """Refuse what the compiler does not know; that the simulator has no compiler is told with the resources."""
    try:
        _ptx(stages, found, capability)
    except DeviceError:
        return


_HEAD = ("launch", "threads", "registers", "shared memory", "stack", "spilled")


def show_resources(stages: Stages, capability: Capability, rows: Sequence[LaunchResources]) -> str:
    """A table of what launches take, or why that is unknown."""
    head = (
        f"{stages.kernel.name} for {architecture(capability)}: threads of a block, registers of a thread; bytes of "
        "shared memory of a block, of a thread's stack, and that a thread spills from its registers"
    )
    known = [row for row in rows if row.registers is not None]
    table = [_HEAD, *((row.name, *map(str, _numbers(row))) for row in known)]
    reasons: Mapping[str, None] = dict.fromkeys(row.why for row in rows if row.registers is None)
    lines = [f"  {line}" for line in columns(table)] if known else []
    for why in reasons:
        names = ", ".join(row.name for row in rows if row.why == why and row.registers is None)
        lines.append(f"  not known of {names}: " + why.replace("\n", "\n  "))
    return "\n".join([head, *lines]) + "\n"


def _numbers(row: LaunchResources) -> tuple[int | None, ...]:
    return row.threads, row.registers, row.shared, row.stack, row.spilled
