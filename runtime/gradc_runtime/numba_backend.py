"""Compiling a kernel with Numba for the CPU."""

from __future__ import annotations

import linecache
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import numba
from numba.core import event, types

from gradc_runtime import cache, machine_code, object_code
from gradc_runtime.artifact import KernelArtifact
from gradc_runtime.kernel_function import OPTIONS, compiled, typed_kernel

compiling = threading.RLock()  # Numba's compiler is not reentrant across threads
compilations = 0  # kernels compiled by this process; the test run bounds it
# Kernels in use.  There must be one of each: machine code that is loaded twice shares Numba's environment by its name,
# which dies with the one or the other.
_in_use: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
_sources: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()  # the texts of their modules


@dataclass(frozen=True, slots=True)
class Loaded:
    """A kernel in memory: `function` is plain Python, `path` its file or a description of where it is."""

    artifact: KernelArtifact
    function: Callable[..., Any]
    path: str

    @property
    def calls_out(self) -> bool:
        """Whether the kernel, for its tasks never do, calls Python functions by their numbers in this process."""
        return "gradc_runtime.external" in self.artifact.source


def load(artifact: KernelArtifact) -> Loaded:
    """Execute the kernel's module from memory; its file, where there is one, serves debuggers and readers."""
    kept = cache.keep(artifact.name, artifact.key, artifact.source)
    path = str(kept) if kept else f"<gradc kernel {artifact.name} {artifact.key[:16]}>"
    if kept is None:
        lines = artifact.source.splitlines(keepends=True)
        linecache.cache[path] = (len(artifact.source), None, lines, path)
    namespace: dict[str, Any] = {"__name__": f"gradc_kernel_{artifact.key[:16]}", "__file__": path}
    exec(compile(artifact.source, path, "exec"), namespace)
    return Loaded(artifact, namespace[artifact.name], path)


def signature(artifact: KernelArtifact) -> Any:
    """The one signature a kernel is compiled for: scalars and C-contiguous arrays, read-only but for results."""
    arguments = []
    for name, dtype, rank in artifact.parameters:
        scalar = types.boolean if dtype == "bool" else getattr(types, dtype)
        readonly = name not in artifact.written
        arguments.append(types.Array(scalar, rank, "C", readonly=readonly) if rank else scalar)
    return tuple(arguments)


def compile_kernel(loaded: Loaded) -> Any:
    """The Numba dispatcher of a kernel, with its one signature and closed to others.

    Its machine code comes from the store where an earlier process kept it.  Equal kernels are one dispatcher.
    """
    global compilations
    arguments = signature(loaded.artifact)
    key = machine_code.key_of("kernel", loaded.artifact.key)
    with compiling:
        dispatcher = _in_use.get(loaded.artifact.key)
        if dispatcher is not None:
            return dispatcher
        dispatcher = _dispatcher(loaded.function)
        if not machine_code.kept_kernel(key, dispatcher, arguments):
            compilations += 1
            dispatcher = _compiled(loaded.artifact.source, loaded.function, arguments)
            if not loaded.calls_out:
                machine_code.keep_kernel(key, loaded.artifact.name, dispatcher)
        dispatcher.disable_compile()
        _in_use[loaded.artifact.key] = dispatcher
        _sources[dispatcher] = loaded.artifact.source
    return dispatcher


@dataclass(frozen=True, slots=True)
class Compilation:
    """Seconds of making machine code, in Python and in LLVM; `kept` where an earlier process had made it.

    What LLVM does beside Python does not count, but where it is waited for.
    """

    numba: float
    llvm: float
    kept: bool


def measured(compile_it: Callable[[], Any]) -> Compilation:
    """Run what compiles kernels, and tell where its time goes."""
    before, waited, llvm = compilations, object_code.waited, []
    with event.install_timer("numba:llvm_lock", llvm.append):
        begin = time.perf_counter()
        compile_it()
        whole = time.perf_counter() - begin
    in_llvm = min(whole, sum(llvm) + object_code.waited - waited)
    return Compilation(whole - in_llvm, in_llvm, kept=compilations == before)


def readable(dispatcher: Any) -> Any:
    """A dispatcher of which LLVM's text can be had: compiled anew where the machine code came from the store."""
    (result,) = dispatcher.overloads.values()
    if not result.library._disable_inspection:
        return dispatcher
    with compiling:
        function: Any = dispatcher.py_func
        function = FunctionType(function.__code__, function.__globals__, function.__name__)
        function.__module__ = f"{dispatcher.py_func.__module__}_readable"  # names of its own: see `_in_use`
        return _compiled(_sources[dispatcher], function, result.signature.args)


def _compiled(source: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """The dispatcher of a kernel with this text, compiled."""
    found, made = _dispatcher(function), typed_kernel(source, function, arguments)
    if made is None:
        found.compile(arguments)
    else:
        found.add_overload(compiled(made, function, arguments))
    return found


def _dispatcher(function: Callable[..., Any]) -> Any:
    return numba.njit(**OPTIONS)(function)
