"""Combining a value into an accumulator, in a way that lets LLVM keep several partial sums."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

Number = Any


def plus(total: Number, value: Number) -> Number:
    """``total + value``; a compiled loop may reassociate the additions, so that it vectorises."""
    return total + value


def _addition(typing_context: Any, total: Any, value: Any) -> Any:
    """Add with the flags ``reassoc nsz``: nothing is assumed about NaN or infinities."""
    if total != value or not isinstance(total, types.Float):
        return None

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Instruction:
        return builder.fadd(*arguments, flags=("reassoc", "nsz"))

    return total(total, value), generate


_reassociable_add: Any = intrinsic(_addition)  # the first parameter is not for callers


@overload(plus, inline="always")
def _plus(total, value):  # type: ignore[no-untyped-def]  # Numba compares these names with the lambdas' below
    if isinstance(total, types.Float) and total == value:
        return lambda total, value: _reassociable_add(total, value)
    return lambda total, value: total + value
