"""Kernels as Numba's functions, compiled from their text without its front end."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import compiler, registry
from numba.core.compiler_lock import global_compiler_lock
from numba.core.environment import Environment
from numba.core.targetconfig import ConfigStack

from gradc_runtime.kernel_code import emit_kernel, is_long
from gradc_runtime.kernel_library import build_beside
from gradc_runtime.kernel_types import Kind, Typed, begin_tasks, read_with_tasks, typed
from gradc_runtime.machine_code import emitted_later
from gradc_runtime.numba_function import description, overload

OPTIONS: Any = {"error_model": "numpy", "nogil": True}  # of Numba's, for every kernel

_numbers = itertools.count(1)


def typed_kernel(source: str, function: Callable[..., Any], arguments: Sequence[Kind]) -> Typed | None:
    """The types in a kernel with tasks or blocks; None for others, and where Numba must read the text.

    Parameters
    ----------
    source : str
        The text of the kernel's module.  The tasks in it are given theirs.
    function : callable
        The kernel, made from that text.
    arguments : sequence of Numba's types
        What it takes.
    """
    if "run_tasks(" not in source and "@straight_line(" not in source:
        return None
    return typed(read_with_tasks(source, function), function.__globals__, arguments)


def compiled(made: Typed, function: Callable[..., Any], arguments: Sequence[Kind]) -> Any:
    """The compiled kernel, as an overload for a dispatcher.

    Threads are at work on its tasks, and on what calls it from Python and from C, while the kernel itself is emitted.
    """
    target: Any = registry.cpu_target
    flags: Any = target.options.parse_as_flags(compiler.Flags(), {"nopython": True, **OPTIONS})
    number = next(_numbers)  # the same text may be compiled twice, and symbols are looked up by name
    described = description(function, arguments, made.returns, f"{made.name}${number}", uid=number)
    environment = Environment.from_fndesc(described)
    context = compiler._make_subtarget(target.target_context, flags)
    context = context.subtarget(environment=environment, fndesc=described)
    library = context.codegen().create_library(described.unique_name)
    with global_compiler_lock, ConfigStack().enter(flags), context.push_code_library(library):
        build_beside(library, as_it_stands=is_long(made))
        with emitted_later():
            begin_tasks(context, made)
        module = library.create_ir_module(described.unique_name)
        context.declare_env_global(module, context.get_env_name(described))
        builder = ir.IRBuilder(context.declare_function(module, described).append_basic_block("entry"))
        helper = context.call_conv.init_call_helper(builder)
        context.create_cpython_wrapper(library, described, environment, helper, release_gil=True)
        context.create_cfunc_wrapper(library, described, environment, helper)
        given = context.call_conv.decode_arguments(builder, described.argtypes, builder.function)
        emit_kernel(context, builder, made, given)
        library.add_ir_module(module)
        return overload(library, described, environment)
