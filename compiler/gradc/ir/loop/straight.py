"""What a run of scalar statements may contain to be compiled from data instead of by Numba's front end."""

from __future__ import annotations

from collections.abc import Sequence

from gradc.ir.functions import FUNCTIONS
from gradc.ir.loop.nodes import Apply, Expr, Load, Number, Var
from gradc.ir.types import DType

# Functions that may be applied: arithmetic, choices, and what is called with floating-point operands.
_DIRECT = frozenset(
    (
        *(
            "add",
            "sub",
            "mul",
            "div",
            "reciprocal",
            "neg",
            "select",
            "lt",
            "le",
            "gt",
            "ge",
            "eq",
            "ne",
            "isnan",
        ),
        *("logical_and", "logical_or", "logical_xor", "logical_not"),
    )
)
_REFUSED = frozenset(("copy", "stop_gradient", "attach_gradient", "polygamma", "isfinite", "isinf"))


def is_simple(value: Expr, arrays: frozenset[str], index: str = "") -> bool:
    """Whether a value is made of float64 numbers, truths, and elements of `arrays` at fixed places.

    A place is a literal on every axis, or the variable `index`.
    """
    match value:
        case Var(_, dtype) | Number(_, dtype):
            return dtype in (DType.F64, DType.BOOL)
        case Load(tensor, indices, _):
            return is_place(tensor, indices, arrays, index)
        case Apply(function, arguments, _):
            known = function in _DIRECT or (function in FUNCTIONS and function not in _REFUSED)
            return known and all(is_simple(argument, arrays, index) for argument in arguments)
        case _:
            return False


def is_place(tensor: str, indices: Sequence[Expr], arrays: frozenset[str], index: str = "") -> bool:
    """Whether an element stands at a fixed place of one of the arrays."""
    return tensor in arrays and all(
        isinstance(at, Number) or (isinstance(at, Var) and at.name == index) for at in indices
    )
