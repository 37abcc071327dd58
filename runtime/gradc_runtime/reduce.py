"""Combining a value into an accumulator, in a way that lets LLVM keep several partial sums."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

Number = Any


def plus(total: Number, value: Number) -> Number:
    """``total + value``; a compiled loop may reassociate the additions, so that it vectorises."""
    return total + value


def larger(total: Number, value: Number) -> Number:
    """The larger number, NaN if either is; a compiled loop may take them in any order, so that it vectorises."""
    return total if (total >= value) | (total != total) else value


def smaller(total: Number, value: Number) -> Number:
    """The smaller number, NaN if either is; in any order like `larger`."""
    return total if (total <= value) | (total != total) else value


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


def _extreme(name: str) -> Any:
    """LLVM's function that is NaN where an operand is: its vectoriser knows reductions by it."""

    def typed(typing_context: Any, total: Any, value: Any) -> Any:
        if total != value or not isinstance(total, types.Float):
            return None

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Instruction:
            kind = arguments[0].type
            declared = ir.FunctionType(kind, [kind, kind])
            symbol = f"llvm.{name}.f{total.bitwidth}"
            return builder.call(cgutils.get_or_insert_function(builder.module, declared, symbol), arguments)

        return total(total, value), generate

    return intrinsic(typed)


_maximum: Any = _extreme("maximum")
_minimum: Any = _extreme("minimum")


@overload(larger, inline="always")
def _larger(total, value):  # type: ignore[no-untyped-def]
    if isinstance(total, types.Float) and total == value:
        return lambda total, value: _maximum(total, value)
    return lambda total, value: max(total, value)


@overload(smaller, inline="always")
def _smaller(total, value):  # type: ignore[no-untyped-def]
    if isinstance(total, types.Float) and total == value:
        return lambda total, value: _minimum(total, value)
    return lambda total, value: min(total, value)
