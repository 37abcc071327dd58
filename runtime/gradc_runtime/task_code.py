"""The code of a task: optimised once, alone, and linked into the kernels that launch it behind their own optimisation.

LLVM takes most of a compilation's time.  Numba would optimise a function again wherever it is linked, and make machine
code of each library on its way: a kernel's loops would be compiled three times.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba.core import cgutils, compiler, types
from numba.core.debuginfo import DIBuilder

from gradc_runtime.arrays import place_of
from gradc_runtime.kernel_code import emit_task
from gradc_runtime.kernel_types import Typed, typed
from gradc_runtime.loop_widths import widen
from gradc_runtime.machine_code import optimise_once
from gradc_runtime.simd import prefer_wide_vectors

_WORD = ir.IntType(64)
# What the pool calls: addresses of the arguments' addresses, the counts, the steps, and the table of arguments.
_ENTRY = ir.FunctionType(ir.VoidType(), [_WORD] * 4)


@dataclass(frozen=True, slots=True)
class TaskCode:
    """The optimised library of a task, and the name of the C function in it that the pool calls.

    Of one that `may_fail` the last of its arguments becomes the address of an error's description where there is one.
    """

    library: Any
    entry: str
    may_fail: bool

    def declared_in(self, module: ir.Module) -> ir.Function:
        """The entry, declared in a module that will be linked with the library."""
        return cgutils.get_or_insert_function(module, _ENTRY, self.entry)


_numbers = itertools.count(1)


def task_code(
    context: Any, function: Callable[..., None], kinds: tuple[Any, ...], text: ast.FunctionDef | None = None
) -> TaskCode:
    """Compile a task for arguments of these types, with the entry that takes them from a table.

    No two of the arrays that it is given share memory, unless it only reads them.  With its `text` it is emitted
    without Numba's front end, where `gradc_runtime.kernel_types` knows all that is in it.
    """
    made = typed(text, function.__globals__, kinds) if text else None
    return _by_numba(context, function, kinds) if made is None else _emitted(context, made, kinds)


def _emitted(context: Any, made: Typed, kinds: tuple[Any, ...]) -> TaskCode:
    library = context.codegen().create_library(made.name)
    module = _module_of(context, library, made, kinds)
    code = _with_entry(context, library, module, kinds)
    context.post_lowering(module, library)
    _leave_as_bitcode(library)
    library.add_ir_module(module)
    library.finalize()
    return code


def _module_of(
    context: Any, library: Any, made: Typed, kinds: tuple[Any, ...], *, lines: bool = False
) -> ir.Module:
    """The module of a task's function, for a library that LLVM will go over once; with directives for `lines`."""
    module, convention = library.create_ir_module(made.name), context.call_conv
    optimise_once(library)
    inside = str(made.globals["__name__"])
    name = f"_ZN{len(inside)}{inside}{len(made.name)}{made.name}B{next(_numbers)}"  # as Numba mangles names
    function = ir.Function(module, convention.get_function_type(types.none, kinds), name)
    names = [argument.arg for argument in made.function.args.args]
    convention.decorate_function(function, names, kinds, noalias=True)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    mark = _marker(context, builder, made) if lines else lambda line: None
    given = context.get_arg_packer(kinds).from_arguments(builder, convention.get_arguments(function))
    with context.push_code_library(library):
        emit_task(context, builder, made, given, mark)
        convention.return_value(builder, context.get_dummy_value())
    widen(module)
    return module


def _marker(context: Any, builder: ir.IRBuilder, made: Typed) -> Callable[[int], None]:
    """What is told of every statement's line before it is emitted."""
    function = builder.function
    notes: Any = DIBuilder(function.module, made.name, context, directives_only=True)
    notes.mark_subprogram(function, made.name, (), (), made.function.lineno)
    notes.finalize()
    return lambda line: notes.mark_location(builder, line)


def assembly_with_lines(context: Any, text: ast.FunctionDef | None, task: Any, kinds: tuple[Any, ...]) -> str:
    """The assembly of a task that is emitted, compiled apart with directives for lines; "" for others."""
    made = typed(text, task.__globals__, kinds) if text else None
    if made is None:
        return ""
    library = context.codegen().create_library(f"{made.name}_lines")
    module = _module_of(context, library, made, kinds, lines=True)
    context.post_lowering(module, library)
    library.add_ir_module(module)
    library.finalize()
    return library.get_asm_str()


def _leave_as_bitcode(library: Any) -> None:
    """Let a library end with its optimisation: nobody calls this copy, so no machine code is made of it."""

    def only_optimise() -> None:
        library._finalized = True

    library._finalize_final_module = only_optimise


def _by_numba(context: Any, function: Callable[..., None], kinds: tuple[Any, ...]) -> TaskCode:
    flags: Any = compiler.Flags()
    flags.nrt, flags.error_model, flags.noalias = True, "numpy", True
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    library = context.codegen().create_library(function.__name__)
    add, made = library.add_ir_module, []

    def add_with_entry(module: ir.Module) -> None:
        widen(module)
        made.append(_with_entry(context, library, module, kinds))
        add(module)

    library.add_ir_module = add_with_entry
    _leave_as_bitcode(library)
    compiler.compile_extra(context.typing_context, context, function, kinds, types.none, flags, {}, library)
    (code,) = made
    return code


def _with_entry(context: Any, library: Any, module: ir.Module, kinds: tuple[Any, ...]) -> TaskCode:
    """Add the entry to the module of a task's function."""
    defined = (found for found in module.functions if not found.is_declaration)
    (function,) = (found for found in defined if not found.linkage)  # functions that it calls are private
    entry = ir.Function(module, _ENTRY, f"{function.name}_entry")
    builder = ir.IRBuilder(entry.append_basic_block())
    prefer_wide_vectors(builder)  # the function will be a part of its only caller
    part, _, _, place = entry.args
    may_fail = sum(isinstance(block.terminator, ir.Ret) for block in function.blocks) > 1
    fields = [_in_table(context, kind) for kind in kinds[1:]] + [error_type(function)] * may_fail
    table_type = ir.LiteralStructType(fields)
    table = builder.inttoptr(place, table_type.as_pointer())
    arguments = [builder.load(builder.inttoptr(part, _WORD.as_pointer()))]
    for at, kind in enumerate(kinds[1:]):
        found = builder.load(cgutils.gep_inbounds(builder, table, 0, at))
        arguments.append(builder.load(found) if isinstance(kind, types.Array) else found)
    status, _ = context.call_conv.call_function(builder, function, types.none, kinds, arguments)
    if may_fail:
        with builder.if_then(status.is_error, likely=False):
            builder.store(status.excinfoptr, cgutils.gep_inbounds(builder, table, 0, len(kinds) - 1))
    builder.ret_void()
    function.linkage = "internal"
    return TaskCode(library, entry.name, may_fail)


def error_type(function: ir.Function) -> ir.Type:
    """What the description of an error is to a function of Numba's: it stores one where its second argument says."""
    return function.args[1].type.pointee


def _in_table(context: Any, kind: Any) -> ir.Type:
    """How an argument stands in the table: an array, which many tasks share, as the address of its description."""
    found = context.get_value_type(kind)
    return found.as_pointer() if isinstance(kind, types.Array) else found


def in_table(builder: ir.IRBuilder, kind: Any, value: Any) -> Any:
    """An argument of a task as it stands in the table; the description of an array is written once."""
    if not isinstance(kind, types.Array):
        return value
    return place_of(builder, value)


def link_behind(library: Any, code: TaskCode) -> None:
    """Let a kernel's library contain a task: it is linked after the kernel itself has been optimised."""
    linked = vars(library).setdefault("_tasks", [])
    if code in linked:
        return
    linked.append(code)
    if len(linked) > 1:
        return
    optimise = library._optimize_final_module

    def optimise_and_link() -> None:
        optimise()
        for task in linked:
            library._final_module.link_in(task.library._get_module_for_linking(), preserve=True)
        if _private:
            _hide_what_is_linked(library)

    library._optimize_final_module = optimise_and_link


# --- machine code that is kept ------------------------------------------------------------------------------

_private: list[bool] = []  # whether a kernel is being compiled whose machine code will be kept


@contextmanager
def to_be_kept() -> Iterator[None]:
    """Make what kernels link private, while they are compiled: their machine code can then be kept as it is.

    Requires: the kernels call no Python; that goes through environments which Numba finds by public names.
    """
    _private.append(True)
    try:
        yield
    finally:
        _private.pop()


def _hide_what_is_linked(library: Any) -> None:
    others = [*library._linking_libraries, *(task.library for task in vars(library)["_tasks"])]
    theirs = {name for other in others for name, _ in _defined(other._get_module_for_linking())}
    for name, value in _defined(library._final_module):
        if name in theirs:
            value.linkage = "internal"


def _defined(module: Any) -> Iterator[tuple[str, Any]]:
    """What a module defines, under its name; lists of LLVM's own (``llvm.used``) left out."""
    for value in (*module.functions, *module.global_variables):
        if not value.is_declaration and not value.name.startswith("llvm."):
            yield value.name, value
