"""Symbols of compiled code: they may be used as soon as their machine code is on its way.

LLVM ends the process where it links what calls a symbol that is not defined.  So whatever is linked, by Numba too,
first waits for the symbols that it needs, and for those that they need.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, TypeAlias

import llvmlite.binding as llvm
from numba.core.compiler_lock import global_compiler_lock

from gradc_runtime.object_code import Building, Later, Ready, codegen, declared_in

Code: TypeAlias = Building | Later | Ready
_unlinked: dict[str, Code] = {}  # code that is being made or will be, or was kept, by symbol


def announce(symbol: str, made: Code) -> None:
    """Define a symbol as soon as something needs it."""
    with global_compiler_lock:
        _needs_come_first()
        _unlinked[symbol] = made


def is_provided(symbol: str) -> bool:
    """Whether a symbol is defined, or will be when it is needed."""
    return symbol in _unlinked or llvm.address_of_symbol(symbol) is not None


def address_of(symbol: str) -> int:
    """The address of a symbol."""
    link_needed([symbol])
    return llvm.address_of_symbol(symbol) or 0


def link_needed(names: Iterable[str]) -> None:
    """Link those of these symbols that are not linked yet, and what they need: wait for code that is being made."""
    with global_compiler_lock:
        needed: dict[str, Code] = {}
        left = list(names)
        while left:
            name = left.pop()
            if name in _unlinked:
                needed[name] = _unlinked.pop(name)
                left += needed[name].needs
        if needed:
            link([made.code() for made in needed.values()])
            for symbol in needed:
                llvm.add_symbol(symbol, codegen()._engine._ee.get_function_address(symbol))


def link(codes: Iterable[bytes]) -> None:
    """Link object codes, which may call one another.

    Requires: all else that they need is linked.
    """
    engine: Any = codegen()._engine._ee
    with global_compiler_lock:
        for code in codes:
            engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()


@cache
def _needs_come_first() -> None:
    """Let Numba's modules be linked behind what they need."""
    engine: Any = codegen()._engine
    add = engine.add_module

    def add_behind_its_needs(module: Any) -> Any:
        if _unlinked:
            link_needed(declared_in(module))
        return add(module)

    engine.add_module = add_behind_its_needs
