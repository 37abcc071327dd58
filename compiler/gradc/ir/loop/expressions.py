"""Expressions of the loop IR: scalars that carry their dtype, interned, so that equality is identity."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gradc.ir.functions import FUNCTIONS, result_dtype
from gradc.ir.types import DType


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Var:
    """A local scalar: a loop index, an extent, an accumulator or the value of an equation."""

    name: str
    dtype: DType


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Number:
    """A literal."""

    value: float | int | bool
    dtype: DType


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Load:
    """``tensor[indices]``."""

    tensor: str
    indices: tuple[Expr, ...]
    dtype: DType


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Apply:
    """An inventory function."""

    function: str
    arguments: tuple[Expr, ...]
    dtype: DType


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Convert:
    """A value in another dtype."""

    argument: Expr
    dtype: DType


Expr: TypeAlias = Var | Number | Load | Apply | Convert

# The sanctioned module state of interning: weak, so kernels do not keep each other's expressions alive.
_interned: weakref.WeakValueDictionary[tuple[Any, ...], Any] = weakref.WeakValueDictionary()


def _intern(kind: type, *fields: Any) -> Any:
    key = (kind, *fields, *(type(value) for value in fields if isinstance(value, int | float)))
    if kind is Number and fields[0] == 0:
        key = (*key, str(fields[0]))  # 0.0 and -0.0 are equal and differ
    found = _interned.get(key)
    if found is None:
        found = _interned[key] = kind(*fields)
    return found


def var(name: str, dtype: DType = DType.INT64) -> Var:
    """Return the interned variable."""
    return _intern(Var, name, dtype)


def number(value: float | int | bool, dtype: DType = DType.INT64) -> Number:
    """Return the interned literal; NaN is one literal."""
    if value != value:
        return _intern(Number, _NAN, dtype)
    return _intern(Number, value, dtype)


_NAN = float("nan")


def load(tensor: str, indices: tuple[Expr, ...], dtype: DType) -> Load:
    """Return the interned element access."""
    return _intern(Load, tensor, indices, dtype)


def convert(argument: Expr, dtype: DType) -> Expr:
    """`argument` in another dtype; literals convert at once."""
    if argument.dtype is dtype:
        return argument
    if isinstance(argument, Number):
        return number(dtype.numpy.type(argument.value).item(), dtype)
    return _intern(Convert, argument, dtype)


def apply(function: str, *arguments: Expr) -> Expr:
    """Return an inventory function of expressions, with the exact simplifications that literals allow."""
    simplified = _simplified(function, arguments)
    if simplified is not None:
        return simplified
    dtype = result_dtype(FUNCTIONS[function], arguments[-1].dtype)
    return _intern(Apply, function, arguments, dtype)


def neutral(op: str, dtype: DType) -> Number:
    """Return what a reduction starts from: the number that changes no other."""
    if op in ("max", "min") and dtype.is_float:
        return number(float("-inf" if op == "max" else "inf"), dtype)
    if op in ("max", "min") and not dtype.is_bool:
        limits = np.iinfo(dtype.numpy)
        return number(int(limits.min if op == "max" else limits.max), dtype)
    start = {"sum": 0, "prod": 1, "any": False, "all": True, "max": False, "min": True}[op]
    return number(dtype.numpy.type(start).item(), dtype)


def applied(function: str, arguments: tuple[Expr, ...], dtype: DType) -> Apply:
    """Return the interned application as it stands: for rewriting what has been simplified before."""
    return _intern(Apply, function, arguments, dtype)


def _simplified(function: str, arguments: tuple[Expr, ...]) -> Expr | None:
    """Laws that are exact for every float: ``1 * x``, ``x / 1``, and choices and comparisons of literals."""
    if function == "select" and isinstance(arguments[0], Number):
        return arguments[1] if arguments[0].value else arguments[2]
    if len(arguments) != 2:
        return None
    left, right = arguments
    if isinstance(left, Number) and isinstance(right, Number):
        return _folded(function, left, right)
    if function == "mul":
        return right if _is(left, 1) else left if _is(right, 1) else None
    if function == "div":
        return left if _is(right, 1) else None
    integral = not left.dtype.is_float
    if function == "add" and integral:
        return right if _is(left, 0) else left if _is(right, 0) else None
    return left if function == "sub" and integral and _is(right, 0) else None


def _folded(function: str, left: Number, right: Number) -> Number | None:
    a, b = left.value, right.value
    kind = right.dtype.numpy.type
    match function:
        case "eq":
            return number(a == b, DType.BOOL)
        case "ne":
            return number(a != b, DType.BOOL)
        case "lt":
            return number(a < b, DType.BOOL)
        case "gt":
            return number(a > b, DType.BOOL)
        case "add" | "sub" | "mul" if not isinstance(a, bool):
            with np.errstate(all="ignore"):
                value = {"add": np.add, "sub": np.subtract, "mul": np.multiply}[function](kind(a), kind(b))
            return number(value.item(), right.dtype)
        case _:
            return None


def _is(expression: Expr, value: int) -> bool:
    return (
        isinstance(expression, Number)
        and not isinstance(expression.value, bool)
        and expression.value == value
    )
