"""Scalar functions that are a few instructions, written in place: Numba would compile a function for every type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import lower_builtin, type_callable

Number = Any  # a NumPy scalar here, a machine number in a kernel
Emit = Callable[[ir.IRBuilder, Any, Any, Any], Any]  # takes the operands' type, and the operands as such


def maximum(a: Number, b: Number) -> Number:
    """Larger operand; NaN if either is."""
    return a if (a >= b) | (a != a) else b


def minimum(a: Number, b: Number) -> Number:
    """Smaller operand; NaN if either is."""
    return a if (a <= b) | (a != a) else b


def fmax(a: Number, b: Number) -> Number:
    """Larger operand; NaN only if both are."""
    return a if (a >= b) | (b != b) else b


def fmin(a: Number, b: Number) -> Number:
    """Smaller operand; NaN only if both are."""
    return a if (a <= b) | (b != b) else b


def emit_with(function: Callable[..., Number], emit: Emit, takes: Callable[[Any, Any], bool]) -> None:
    """Let calls of a function of two numbers, whose types it `takes`, be instructions; these have one type."""

    @type_callable(function)
    def typed(context: Any) -> Any:
        def typer(a: Any, b: Any) -> Any:
            return context.unify_types(types.unliteral(a), types.unliteral(b)) if takes(a, b) else None

        return typer

    def lower(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        kind = signature.return_type
        pairs = zip(values, signature.args, strict=True)
        return emit(builder, kind, *(context.cast(builder, value, given, kind) for value, given in pairs))

    for kinds in (types.Number, types.Boolean):
        lower_builtin(function, kinds, kinds)(lower)


def are_signed(a: Any, b: Any) -> bool:
    """Whether both are types of integers with signs."""
    return all(isinstance(kind, types.Integer) and getattr(kind, "signed", False) for kind in (a, b))


def _are_alike(a: Any, b: Any) -> bool:
    return any(isinstance(a, kinds) and isinstance(b, kinds) for kinds in (types.Number, types.Boolean))


def first_in(builder: ir.IRBuilder, order: str, operands: Sequence[Any], of_nan: int = 0) -> Any:
    """The number that comes first in this order, or the other one; a NaN in the place `of_nan` chooses the first."""
    doubtful = operands[of_nan]
    is_nan = builder.fcmp_unordered("!=", doubtful, doubtful)
    return builder.select(builder.or_(builder.fcmp_ordered(order, *operands), is_nan), *operands)


def _extreme(order: str, of_nan: int) -> Emit:
    """The operand that comes first in this order, or the other one; a NaN in the place `of_nan` chooses the first."""

    def emit(builder: ir.IRBuilder, kind: Any, *operands: Any) -> Any:
        if not isinstance(kind, types.Float):
            compare = builder.icmp_signed if getattr(kind, "signed", False) else builder.icmp_unsigned
            return builder.select(compare(order, *operands), *operands)
        return first_in(builder, order, operands, of_nan)

    return emit


for _function, _order, _of_nan in (
    (maximum, ">=", 0),
    (minimum, "<=", 0),
    (fmax, ">=", 1),
    (fmin, "<=", 1),
):
    emit_with(_function, _extreme(_order, _of_nan), _are_alike)


def floor_quotient(builder: ir.IRBuilder, kind: Any, a: Any, b: Any) -> Any:
    """``floor(a / b)`` of signed integers; 0 for a divisor of 0."""
    zero, quotient, rest = _divided(builder, a, b)
    found = builder.sub(quotient, builder.zext(is_below(builder, rest, b), a.type))
    return builder.select(zero, a.type(0), found)


def floor_rest(builder: ir.IRBuilder, kind: Any, a: Any, b: Any) -> Any:
    """The rest of `floor_quotient`, with the sign of `b`; 0 for a divisor of 0."""
    zero, _, rest = _divided(builder, a, b)
    found = builder.select(is_below(builder, rest, b), builder.add(rest, b), rest)
    return builder.select(zero, a.type(0), found)


def _divided(builder: ir.IRBuilder, a: Any, b: Any) -> tuple[Any, Any, Any]:
    """Whether `b` is 0, and the quotient towards 0 with its rest: wrapped where it overflows, which traps on x86."""
    zero, negates = (builder.icmp_signed("==", b, b.type(value)) for value in (0, -1))
    by = builder.select(builder.or_(zero, negates), b.type(1), b)
    quotient, rest = builder.sdiv(a, by), builder.srem(a, by)
    return zero, builder.select(negates, builder.sub(a.type(0), a), quotient), rest


def is_below(builder: ir.IRBuilder, rest: Any, b: Any) -> Any:
    """Whether the quotient towards 0 is above the floor: there is a rest, whose sign is not that of `b`."""
    other_sign = builder.icmp_signed("<", builder.xor(rest, b), b.type(0))
    return builder.and_(builder.icmp_signed("!=", rest, b.type(0)), other_sign)
