"""The code of a task: a symbol of its own, which kernels call by name.

LLVM takes most of a compilation's time.  It works on tasks beside Python (`gradc_runtime.object_code`), once for each:
equal tasks of different kernels are the same symbol, in later processes too.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from llvmlite import ir
from numba.core import cgutils, compiler, types
from numba.core.debuginfo import DIBuilder

from gradc_runtime.kernel_code import emit_task
from gradc_runtime.kernel_types import Typed, typed
from gradc_runtime.loop_widths import widen
from gradc_runtime.machine_code import provide_source
from gradc_runtime.object_code import Source, source_of
from gradc_runtime.simd import prefer_wide_vectors

_WORD = ir.IntType(64)
# What the pool calls: addresses of the arguments' addresses, the counts, the steps, and the table of arguments.
_ENTRY = ir.FunctionType(ir.VoidType(), [_WORD] * 4)
_UNNAMED = "gradc_task"  # the entry, until its module has a name


@dataclass(frozen=True, slots=True)
class TaskCode:
    """A task as a symbol: a C function that the pool calls.

    Of one that `may_fail` the last of its arguments becomes the address of an error's description where there is one.
    """

    source: Source
    may_fail: bool

    def declared_in(self, module: ir.Module) -> ir.Function:
        """The entry, declared in a module that will call it."""
        return cgutils.get_or_insert_function(module, _ENTRY, *self.source.public)


def task_code(
    context: Any, function: Callable[..., None], kinds: tuple[Any, ...], text: ast.FunctionDef | None = None
) -> TaskCode:
    """Compile a task for arguments of these types, with the entry that takes them from a table.

    No two of the arrays that it is given share memory, unless it only reads them.  With its `text` it is emitted
    without Numba's front end, where `gradc_runtime.kernel_types` knows all that is in it.
    """
    made = typed(text, function.__globals__, kinds) if text else None
    library = context.codegen().create_library(function.__name__)
    module = (
        _module_of(context, library, made, kinds) if made else _by_numba(context, library, function, kinds)
    )
    may_fail = _with_entry(context, module, kinds)
    code = TaskCode(_named(source_of(module, library=library)), may_fail)
    provide_source(code.source)
    return code


def _named(source: Source) -> Source:
    """The source of a task, named by what it is: equal tasks of other kernels are the same function."""
    numbers: dict[str, str] = {}
    text = _PICKLED.sub(
        lambda found: numbers.setdefault(found[0], f".const.pickledata.{len(numbers)}"), source.text
    )
    linked = (other.bitcode for other in source.linked)
    symbol = f"{_UNNAMED}_{hashlib.sha256(b''.join((text.encode(), *linked))).hexdigest()[:32]}"
    return replace(source, text=re.sub(rf"\b{_UNNAMED}\b", symbol, text), public=(symbol,))


# Numba names constants by where their objects lie.
_PICKLED = re.compile(r"\.const\.pickledata\.\d+")


def _module_of(
    context: Any, library: Any, made: Typed, kinds: tuple[Any, ...], *, lines: bool = False
) -> ir.Module:
    """The module of a task's function, which calls others of a library; with directives for `lines`."""
    module, convention = library.create_ir_module(made.name), context.call_conv
    function = ir.Function(module, convention.get_function_type(types.none, kinds), made.name)
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
    return source_of(module, library=library).assembly()


def _by_numba(context: Any, library: Any, function: Callable[..., None], kinds: tuple[Any, ...]) -> ir.Module:
    """The module of a task's function as Numba makes it."""
    flags: Any = compiler.Flags()
    flags.nrt, flags.error_model, flags.noalias = True, "numpy", True
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    made: list[ir.Module] = []
    library.add_ir_module = made.append
    compiler.compile_extra(context.typing_context, context, function, kinds, types.none, flags, {}, library)
    (module,) = made
    widen(module)
    return module


def _with_entry(context: Any, module: ir.Module, kinds: tuple[Any, ...]) -> bool:
    """Add the entry to the module of a task's function; whether that may fail."""
    defined = (found for found in module.functions if not found.is_declaration)
    (function,) = (found for found in defined if not found.linkage)  # functions that it calls are private
    entry = ir.Function(module, _ENTRY, _UNNAMED)
    builder = ir.IRBuilder(entry.append_basic_block())
    prefer_wide_vectors(builder)  # the function will be a part of its only caller
    part, _, _, place = entry.args
    may_fail = sum(isinstance(block.terminator, ir.Ret) for block in function.blocks) > 1
    table = builder.inttoptr(place, _WORD.as_pointer())
    arguments = [builder.load(builder.inttoptr(part, _WORD.as_pointer()))]
    for at, kind in enumerate(kinds[1:]):
        arguments.append(_from_table(builder, table, at, kind, context.get_value_type(kind)))
    status, _ = context.call_conv.call_function(builder, function, types.none, kinds, arguments)
    if may_fail:
        with builder.if_then(status.is_error, likely=False):
            to_table(builder, table, len(kinds) - 1, builder.ptrtoint(status.excinfoptr, _WORD))
    builder.ret_void()
    function.linkage = "private"
    return may_fail


def error_type(function: ir.Function) -> ir.Type:
    """What the description of an error is to a function of Numba's: it stores one where its second argument says."""
    return function.args[1].type.pointee


# --- the table of a task's arguments: a word each, of an array, which many tasks share, where its description lies


def to_table(builder: ir.IRBuilder, table: Any, at: int, value: Any) -> None:
    """Write a number, or the address of an array's description, to the word at a place."""
    word = builder.gep(table, [_WORD(at)], inbounds=True)
    builder.store(value, word if value.type == _WORD else builder.bitcast(word, value.type.as_pointer()))


def _from_table(builder: ir.IRBuilder, table: Any, at: int, kind: Any, as_value: ir.Type) -> Any:
    """Read an argument as the value that it is."""
    word = builder.gep(table, [_WORD(at)], inbounds=True)
    if isinstance(kind, types.Array):
        return builder.load(builder.inttoptr(builder.load(word), as_value.as_pointer()))
    return builder.load(word if as_value == _WORD else builder.bitcast(word, as_value.as_pointer()))
