"""Operands of traced operations: how they count in promotion, and whether they are known while tracing."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradc.ir.types import dtype_of, promote
from gradc.lang.emit import SizeValue, Value
from gradc.lang.sizes import Extent
from gradc.lang.traced import Literal, TracedArray, TracedMasked, TracedScalar

REAL = "__gradc_real__"  # attribute of a stand-in class: the class it stands for

# Operators by name: the ufunc that defines their meaning, and Python's function for known numbers.
OPERATORS: dict[str, tuple[np.ufunc, Callable[..., Any]]] = {
    "add": (np.add, operator.add),
    "sub": (np.subtract, operator.sub),
    "mul": (np.multiply, operator.mul),
    "div": (np.divide, operator.truediv),
    "floor_divide": (np.floor_divide, operator.floordiv),
    "mod": (np.remainder, operator.mod),
    "pow": (np.power, operator.pow),
    "matmul": (np.matmul, operator.matmul),
    "divmod": (np.divmod, divmod),
    "and": (np.bitwise_and, operator.and_),
    "or": (np.bitwise_or, operator.or_),
    "xor": (np.bitwise_xor, operator.xor),
    "lshift": (np.left_shift, operator.lshift),
    "rshift": (np.right_shift, operator.rshift),
    "lt": (np.less, operator.lt),
    "le": (np.less_equal, operator.le),
    "gt": (np.greater, operator.gt),
    "ge": (np.greater_equal, operator.ge),
    "eq": (np.equal, operator.eq),
    "ne": (np.not_equal, operator.ne),
    "neg": (np.negative, operator.neg),
    "abs": (np.absolute, operator.abs),
    "invert": (np.invert, operator.invert),
    "trunc": (np.trunc, int),
    "floor": (np.floor, int),
    "ceil": (np.ceil, int),
}
COMPARISONS = frozenset(("lt", "le", "gt", "ge", "eq", "ne"))
# Names that the emitter takes as they stand when the operands are floating-point numbers.
DIRECT = frozenset(("add", "sub", "mul", "div", *COMPARISONS))
PLAIN = (float, int, bool)


def weak_of(operand: object) -> type | None:
    """Return the Python type that an operand counts as in promotion; None for arrays and NumPy scalars."""
    if isinstance(operand, Value):
        return operand.weak
    kind = type(operand)
    return kind if kind in PLAIN else int if kind is SizeValue else None


def is_direct(a: object, b: object) -> bool:
    """Whether the emitter may take two operands as they stand: float tensors beside plain numbers."""
    if isinstance(a, Value) and a.dtype.is_float:
        return type(b) in PLAIN or (isinstance(b, Value) and b.dtype.is_float)
    return type(a) in PLAIN and isinstance(b, Value) and b.dtype.is_float


def simplified(operand: object, other: object) -> object:
    """Turn a NumPy scalar into a plain number where that gives the same dtype, and a constant."""
    if not isinstance(operand, np.generic) or not isinstance(other, Value) or other.weak is not None:
        return operand
    kind = dtype_of(operand.dtype)
    same = (
        other.dtype.is_float and (kind.is_float or kind.is_bool) and promote(kind, other.dtype) is other.dtype
    )
    return operand.item() if same else operand


def is_int(operand: object) -> bool:
    """Whether an operand counts as a Python int."""
    return weak_of(operand) is int


def is_concrete(operand: object) -> bool:
    """Whether an operand is known while tracing."""
    return isinstance(operand, Literal | np.generic) or type(operand) in PLAIN


def array_of(operand: object) -> Any:
    """Return a known operand for NumPy to compute with."""
    return operand.array if isinstance(operand, Literal) else operand


def contains_traced(x: object) -> bool:
    """Whether a nested sequence holds traced values or extents."""
    if isinstance(x, list | tuple):
        return any(contains_traced(item) for item in x)
    return type(x) in (TracedScalar, TracedArray, TracedMasked, Extent)


def needs_equations(args: Sequence[object]) -> bool:
    """Whether a call with these arguments has to be emitted: some array in them is not known."""
    for arg in args:
        if isinstance(arg, list | tuple):
            if needs_equations(arg):
                return True
        elif type(arg) is TracedArray:
            if not isinstance(arg._now(), Literal):
                return True
        elif type(arg) in (TracedScalar, TracedMasked, Extent):
            return True
    return False


def index_parts(index: object) -> tuple[object, ...]:
    """Return the parts of an index expression, bounds of slices included."""
    parts: list[object] = []
    for part in index if isinstance(index, tuple) else (index,):
        parts += (part.start, part.stop, part.step) if isinstance(part, slice) else (part,)
    return tuple(parts)
