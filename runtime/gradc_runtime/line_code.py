"""Functions of a kernel compiled once more, with nothing added but directives for lines: for reading, never run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

from numba.core import compiler, registry, types
from numba.core.callconv import create_error_model
from numba.core.compiler_lock import global_compiler_lock

from gradc_runtime.loop_widths import widen
from gradc_runtime.numba_backend import compiling
from gradc_runtime.task_code import assembly_with_lines
from gradc_runtime.tasks import Task


def compiled_with_lines(dispatcher: Any) -> list[str]:
    """The assembly of a kernel's tasks, or of the kernel itself where it has none, compiled apart with lines."""
    with compiling:
        (result,) = dispatcher.overloads.values()
        found = [_of_task(*task) for task in _tasks(dispatcher.py_func.__globals__)]
        if not found:
            function = dispatcher.py_func
            found.append(_compiled(function, result.signature.args, result.signature.return_type))
        return found


def _tasks(module: Mapping[str, Any]) -> Iterator[tuple[Task, tuple[Any, ...]]]:
    for value in module.values():
        if isinstance(value, Task):
            yield from ((value, kinds) for kinds in value.signatures)


def _of_task(task: Task, kinds: tuple[Any, ...]) -> str:
    context: Any = registry.cpu_target.target_context
    context = context.subtarget(enable_nrt=True, error_model=create_error_model("numpy", context))
    with global_compiler_lock:
        emitted = assembly_with_lines(context, task.text, task.function, kinds)
    return emitted or _compiled(task.function, kinds, types.none)


def _compiled(function: Any, kinds: tuple[Any, ...], returned: Any) -> str:
    """The assembly of a function, with names of its own so that it meets no other."""
    context: Any = registry.cpu_target.target_context
    copy = FunctionType(function.__code__, function.__globals__, function.__name__)
    copy.__module__ = f"{function.__module__}_lines"
    flags: Any = compiler.Flags()
    flags.nrt, flags.error_model = True, "numpy"
    flags.noalias = flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    flags.debuginfo = flags.dbg_directives_only = True
    library = context.codegen().create_library(f"{copy.__module__}.{copy.__name__}")
    add = library.add_ir_module

    def add_widened(module: Any) -> None:
        widen(module)
        add(module)

    library.add_ir_module = add_widened
    compiler.compile_extra(context.typing_context, context, copy, kinds, returned, flags, {}, library)
    with global_compiler_lock:
        library._ensure_finalized()
        return library.get_asm_str()
