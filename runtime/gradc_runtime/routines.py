"""Routines: the runtime's own functions of whole numbers and addresses, compiled without Numba's front end.

Numba takes 50 to 150 milliseconds for such a function, however small, and makes machine code of each one apart; a
matrix product needs forty of them.  Their language is small, so it is translated as it is read
(`gradc_runtime.routine_code`): all that one symbol needs is one module.

    @routine
    def sum_of(words: int, count: int) -> int:
        total = 0
        for at in range(count):
            total += read(words + 8 * at)
        return total

Types are int (64 bits), bool and what instructions return; tuples of them are returned and unpacked.  Statements are
assignments, ``if``, ``while``, ``for`` over a range (backwards, if its step is a negative number as it stands),
``break``, ``continue``, ``return`` and calls; operators are ``+ - * // %``, comparisons, ``and``, ``or``, ``not``,
``a if b else c``, ``min`` and ``max``.  Names stand for numbers, for instructions (Numba's intrinsics), for other
routines, and for functions that are called by symbol.  Called from Python a routine runs as it stands.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types

from gradc_runtime import routine_code
from gradc_runtime.linking import address_of
from gradc_runtime.machine_code import provide_emitted
from gradc_runtime.routine_code import Routine
from gradc_runtime.simd import symbol_address

_NUMBA = {routine_code.WORD: types.intp, ir.VoidType(): types.none}


def routine(function: Callable[..., Any]) -> Any:
    """Let compiled code call a function: a part of each module that does."""
    return Routine(function)


def exported(symbol: str, function: Callable[..., Any], *, innermost: bool = False) -> Any:
    """Compile a routine once, for all that is compiled, and give it a symbol; what routines and Numba call.

    LLVM takes twice as long to unroll and vectorise loops, so it does where they go through the elements of arrays.
    """
    made = function if isinstance(function, Routine) else Routine(function)
    kind = routine_code.kind_of(made)

    def emit(builder: ir.IRBuilder, context: Any) -> None:
        if not innermost:
            builder.function.attributes.add("optsize")
        routine_code.emit(builder, context, made)

    provide_emitted(symbol, kind, emit)
    returned, *taken = (_NUMBA[part] for part in (kind.return_type, *kind.args))
    return types.ExternalFunction(symbol, returned(*taken))


def for_python(symbol: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a routine of whole numbers, and return what calls it from Python."""
    signature = exported(symbol, function).sig
    returned = None if signature.return_type == types.none else ctypes.c_int64
    kind = ctypes.CFUNCTYPE(returned, *[ctypes.c_int64] * len(signature.args))
    return kind(address_of(symbol))


def task(symbol: str, function: Callable[[int, int, int, int], None]) -> Any:
    """Give a task a symbol; what compiled code calls for its address.

    `function` takes (arguments, counts, steps, table) as integers; the index is the integer at `arguments`.
    """
    exported(symbol, function)
    return symbol_address(symbol)
