"""Object code of modules, made by threads beside the one that compiles.

llvmlite holds one lock around each of its calls, as modules may share a context.  A module here has a context of its
own, and a machine to write for; what LLVM works on for long is called without the lock, so that it works on several
modules at once, while Python emits the next.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from ctypes import string_at
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from llvmlite.binding import ffi
from numba.core import config, registry
from numba.core.llvm_bindings import create_pass_builder
from numba.core.runtime.nrt import rtsys

_config: Any = config  # as checkers of types see it
waited = 0.0  # seconds that this process has waited for threads
MOST = 8  # threads: each holds a module in memory


@dataclass(frozen=True, slots=True)
class Linked:
    """Bitcode of functions to be inlined, the functions and variables that it defines, and what it needs itself."""

    bitcode: bytes
    functions: tuple[str, ...]
    variables: tuple[str, ...]
    needs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A module before LLVM has seen it.

    Attributes
    ----------
    text : str
        LLVM's assembly language.
    public : tuple of str
        The functions that are called from outside.
    needs : tuple of str
        The names that it may need from outside.
    linked : tuple of Linked
        Functions that it calls, to be inlined.
    straight : bool
        It is one long block that has been simplified already: code is made of it as it stands, and scheduled once
        (LLVM's last scheduler takes time that grows with the square of a block's length).
    """

    text: str
    public: tuple[str, ...]
    needs: tuple[str, ...] = ()
    linked: tuple[Linked, ...] = ()
    straight: bool = False

    def optimised(self) -> Any:
        """The module in a context of its own, optimised."""
        return self._optimised(self._machine())

    def assembly(self) -> str:
        """Its assembly."""
        machine = self._machine()
        return machine.emit_assembly(self._optimised(machine))

    def object_code(self) -> bytes:
        """Its machine code."""
        machine = self._machine()
        return _emitted(machine, self._optimised(machine))

    def _machine(self) -> Any:
        """A machine of its own: one keeps notes on the functions that it has seen."""
        level = int(_config.OPT)
        options = dict(_machine_options(), opt=min(level, 1) if self.straight else level)
        return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(**options)

    def _optimised(self, machine: Any) -> Any:
        context = llvm.create_context()
        module = _parsed(self.text, context)
        for other in self.linked:
            module.link_in(llvm.parse_bitcode(other.bitcode, context))
            for find, names in (
                (module.get_function, other.functions),
                (module.get_global_variable, other.variables),
            ):
                for name in names:
                    with suppress(NameError):  # what nobody calls is not linked
                        find(name).linkage = "private"
        if not self.straight:
            builder = create_pass_builder(
                machine,
                opt=_config.OPT,
                loop_vectorize=_config.LOOP_VECTORIZE,
                slp_vectorize=_config.SLP_VECTORIZE,
            )
            manager = builder.getModulePassManager()
            if "NRT_incref" in self.text:  # Numba's front end counts references to arrays
                manager.add_refprune_pass()
            _without_lock(ffi.lib.LLVMPY_RunNewModulePassManager)(manager, module, builder)
        return module


class Building:
    """A module that a thread makes machine code of, and then calls `then` with it.

    After a fork, the child does what the thread would have done.
    """

    def __init__(self, source: Source, then: Callable[[bytes], None] = lambda code: None) -> None:
        self.source = source
        self._then = then
        self._code: bytes | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._in_turn, name=f"code of {source.public[0]}")
        self._thread.start()

    @property
    def needs(self) -> Sequence[str]:
        """The names that it needs from outside."""
        return self.source.needs

    def code(self) -> bytes:
        """Wait for the code."""
        global waited
        begin = time.perf_counter()
        self._thread.join()
        waited += time.perf_counter() - begin
        if self._error is not None:
            raise self._error
        if self._code is None:
            self._make()
        assert self._code is not None
        return self._code

    def _in_turn(self) -> None:
        with _turns():
            try:
                self._make()
            except BaseException as error:
                self._error = error

    def _make(self) -> None:
        code = self.source.object_code()
        self._then(code)
        self._code = code


@dataclass(frozen=True, slots=True)
class Ready:
    """Machine code that is there, and the names that it needs."""

    made: bytes
    needs: Sequence[str]

    def code(self) -> bytes:
        """It."""
        return self.made


class Later:
    """Machine code whose module is emitted when it is asked for, if it is not begun before."""

    def __init__(self, begin: Callable[[], Building]) -> None:
        self._begin = begin

    @cached_property
    def made(self) -> Building:
        """What it becomes."""
        return self._begin()

    @property
    def needs(self) -> Sequence[str]:
        """The names that it needs from outside."""
        return self.made.needs

    def code(self) -> bytes:
        """Wait for the code."""
        return self.made.code()


@cache
def _turns() -> Any:
    """What lets some more threads run than there are processors for this process: some wait for Python's lock."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return threading.BoundedSemaphore(min(count + 2, MOST))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_turns.cache_clear)


# --- LLVM without the lock ----------------------------------------------------------------------------------


def _without_lock(function: Any) -> Any:
    return getattr(function, "_cfn", function)


def _parsed(text: str, context: Any) -> Any:
    with ffi.OutputString() as error:
        parse = _without_lock(ffi.lib.LLVMPY_ParseAssembly)
        module = llvm.ModuleRef(parse(context, text.encode(), error), context)
        if error:
            module.close()
            raise RuntimeError(f"LLVM refuses a module: {error}")
    return module


def _emitted(machine: Any, module: Any) -> bytes:
    with ffi.OutputString() as error:
        emit = _without_lock(ffi.lib.LLVMPY_TargetMachineEmitToMemory)
        memory = emit(machine, module, 1, error)
        if not memory:
            raise RuntimeError(f"LLVM makes no code of a module: {error}")
    try:
        return string_at(ffi.lib.LLVMPY_GetBufferStart(memory), ffi.lib.LLVMPY_GetBufferSize(memory))
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(memory)


# --- from Numba ---------------------------------------------------------------------------------------------


def codegen() -> Any:
    """Numba's for this processor."""
    target: Any = registry.cpu_target
    return target.target_context.codegen()


@cache
def _machine_options() -> dict[str, Any]:
    options: dict[str, Any] = {}
    codegen()._customize_tm_options(options)
    return options


def source_of(module: ir.Module, *, library: Any = None, straight: bool = False) -> Source:
    """The source of a module; what it calls of Numba's `library`, and of the memory management, is inlined.

    What it defines for others is public: functions, and variables that any module may define.
    """
    defined = [found for found in module.functions if not found.is_declaration]
    common = [found.name for found in module.global_values if found.linkage == "common"]
    public = (*(found.name for found in defined if not found.linkage), *common)
    declared = [found.name for found in module.functions if found.is_declaration]
    libraries = dict.fromkeys(library._linking_libraries if library else ())
    if any(name.startswith("NRT_") for name in declared):
        rtsys.initialize(registry.cpu_target.target_context)
        libraries[rtsys.library] = None
    linked = tuple(map(_linked, libraries))
    inside = {name for one in linked for name in (*one.functions, *one.variables)}
    declared += [name for one in linked for name in one.needs]
    needs = dict.fromkeys(name for name in declared if name not in inside and not name.startswith("llvm."))
    return Source(str(module), public, tuple(needs), linked, straight)


def _linked(library: Any) -> Linked:
    """What others link of one of Numba's libraries."""
    known = vars(library)
    if "linked" not in known:
        module = library._get_module_for_linking()
        functions, variables = (
            tuple(value.name for value in values if _is_visible(value))
            for values in (module.functions, module.global_variables)
        )
        known["linked"] = Linked(module.as_bitcode(), functions, variables, declared_in(module))
    return known["linked"]


def _is_visible(value: Any) -> bool:
    hidden = value.is_declaration or value.linkage.name in ("internal", "private")
    return not hidden and not value.name.startswith("llvm.")


def declared_in(module: Any) -> tuple[str, ...]:
    """The names that one of LLVM's modules needs from outside."""
    values = (*module.functions, *module.global_variables)
    return tuple(v.name for v in values if v.is_declaration and not v.name.startswith("llvm."))
