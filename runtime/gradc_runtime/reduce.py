"""Combining a value into an accumulator, in a way that lets LLVM keep several partial sums."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import lower_builtin, type_callable

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


def _typed(context: Any) -> Any:
    return lambda total, value: total if isinstance(total, types.Number | types.Boolean) else None


for _function in (plus, larger, smaller):
    type_callable(_function)(_typed)


@lower_builtin(plus, types.Float, types.Float)
def _add_floats(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
    return add_to_sum(builder, *values)


def add_to_sum(builder: ir.IRBuilder, total: Any, value: Any) -> Any:
    """Add numbers or vectors with the flags ``reassoc nsz``: nothing is assumed about NaN or infinities.

    A product that is added may be one operation with the addition: of the roundings of a sum this drops one.
    """
    if getattr(value, "opname", "") == "fmul" and "contract" not in value.flags:
        value.flags = [*value.flags, "contract"]
    return builder.fadd(total, value, flags=("reassoc", "nsz", "contract"))


@lower_builtin(plus, types.Integer, types.Integer)
@lower_builtin(plus, types.Boolean, types.Boolean)
def _add_integers(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
    return builder.add(*values) if isinstance(signature.return_type, types.Integer) else builder.or_(*values)


def _extreme(function: Any, name: str, order: str) -> None:
    """Lower to LLVM's function that is NaN where an operand is: its vectoriser knows reductions by it."""

    def of_floats(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        kind = values[0].type
        declared = ir.FunctionType(kind, [kind, kind])
        symbol = f"llvm.{name}.f{signature.return_type.bitwidth}"
        return builder.call(cgutils.get_or_insert_function(builder.module, declared, symbol), values)

    def of_integers(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        signed = getattr(signature.return_type, "signed", False)
        compare = builder.icmp_signed if signed else builder.icmp_unsigned
        return builder.select(compare(order, *values), *values)

    lower_builtin(function, types.Float, types.Float)(of_floats)
    lower_builtin(function, types.Integer, types.Integer)(of_integers)
    lower_builtin(function, types.Boolean, types.Boolean)(of_integers)


_extreme(larger, "maximum", ">")
_extreme(smaller, "minimum", "<")
