"""Nodes of the loop IR.  Close enough to the target that a printer decides nothing.

    Kernel    := name, parameters, statements, results
    Statement := Extent(name, value)                            name = value, an int64
               | Require(condition, message)                    refuse arguments that do not fit
               | CheckIndices(tensor, extent)                   refuse look-ups out of range
               | Allocate(tensor, dtype, shape, zeroed, local)
               | Clear(tensor[, first, many])                 every element becomes 0, or those of some rows
               | Let(name, value)
               | Update(name, op, value)                        name = op(name, value), a reduction
               | Carry(name, value)                              name = value, for the iterations to come
               | Store(tensor, indices, value) | AddTo(tensor, indices, value)
               | For(index, extent, body)
               | Parts(name, extent, work, size)                name = how many parts a loop has, an int64
               | Tasks(name, part, count, work, extent, first, many, body)   independent parts of a loop
               | Product(out, left, right)                      matrix product into a fresh tensor
               | Contract(out, target, left, first, right, second, extents, add, views, again)
               | Library(outs, operation, ins, attributes)
               | Clock(tensor, position)                     note the time, in a kernel that measures itself
    Expression := Var | Number | Load | Apply | Convert          interned: equality is identity

Expressions carry their dtype, so that a printer never has to infer one.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from gradc.ir.functions import FUNCTIONS, result_dtype
from gradc.ir.types import DType

# --- Expressions --------------------------------------------------------------------------------------------


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


# --- Statements ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Extent:
    """Bind an extent symbol."""

    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Require:
    """Raise ValueError(message) unless the condition holds."""

    condition: Expr
    message: str


@dataclass(frozen=True, slots=True)
class CheckIndices:
    """Raise IndexError unless every element of an integer tensor is an index into an axis of this extent."""

    tensor: str
    extent: Expr


@dataclass(frozen=True, slots=True)
class Allocate:
    """A new C-contiguous tensor; nobody but the kernel ever sees a `local` one, which may lie on its stack."""

    tensor: str
    dtype: DType
    shape: tuple[Expr, ...]
    zeroed: bool = False
    local: bool = False


@dataclass(frozen=True, slots=True)
class Clear:
    """Make every element of a tensor that may be written to 0, or those of `many` rows, from the row `first` on."""

    tensor: str
    first: Expr | None = None
    many: Expr | None = None


@dataclass(frozen=True, slots=True)
class Let:
    """Define a scalar; `note` is the equation it computes, for readers."""

    name: str
    value: Expr
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Update:
    """Combine a value into an accumulator with a reduction."""

    name: str
    op: str
    value: Expr
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Carry:
    """Give a scalar that was started before the loop another value: one iteration hands it to the next."""

    name: str
    value: Expr
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Store:
    """``tensor[indices] = value``."""

    tensor: str
    indices: tuple[Expr, ...]
    value: Expr
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class AddTo:
    """``tensor[indices] = op(tensor[indices], value)``, a reduction into memory."""

    tensor: str
    indices: tuple[Expr, ...]
    op: str
    value: Expr
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class For:
    """``for index in range(extent)``."""

    index: str
    extent: Expr
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """Bind the number of parts of a loop over `extent`, at most `extent`; 0 for an empty loop.

    `work` is the number of operations of an iteration, `size` the number of elements of which every part has a
    copy of its own.
    """

    name: str
    extent: Expr
    work: Expr
    size: Expr


@dataclass(frozen=True, slots=True)
class Tasks:
    """Run `body` for every part of ``range(extent)``, in any order or at once: the parts are independent.

    In the body `part` is the number of the part, which has the `many` indices from `first` on.  `name` is what
    a printer may call the body, `work` the number of operations of all parts together.
    """

    name: str
    part: str
    count: Expr
    work: Expr
    extent: Expr
    first: str
    many: str
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """``out = left @ right``, either read as its transpose on request."""

    out: str
    left: str
    right: str
    transpose_left: bool
    transpose_right: bool
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class From:
    """``start:``, all of an axis from one place on."""

    start: Expr


View: TypeAlias = tuple[Expr | From, ...]
"""What stands in the brackets of a view: ``x[i, j]``, all that is behind these axes, or ``x[i, start:]``."""


@dataclass(frozen=True, slots=True)
class Contract:
    """``out[target] = sum left[first] * right[second]``, or ``+=`` with `add`, if `again` is true where it is given.

    Positions are texts such as ``"i j+p k"``, `extents` those of the letters in alphabetical order, as in
    `gradc_runtime.contraction`.  The positions are those in `views` of out, left and right, which lack the axes that
    an index is given for.
    """

    out: str
    target: str
    left: str
    first: str
    right: str
    second: str
    extents: tuple[Expr, ...]
    add: bool
    views: tuple[View, View, View] = ((), (), ())
    again: Expr | None = None
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Library:
    """An operation of the closed table of calls; attributes are literals, strings or extents."""

    outs: tuple[str, ...]
    operation: str
    ins: tuple[str, ...]
    attributes: tuple[tuple[str, bool | int | str | tuple[Expr, ...]], ...]
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Clock:
    """``tensor[position]`` = nanoseconds on a clock that never goes backwards; the interpreter's counts statements."""

    tensor: str
    position: int


Statement: TypeAlias = (
    Extent
    | Require
    | CheckIndices
    | Allocate
    | Clear
    | Let
    | Update
    | Carry
    | Store
    | AddTo
    | For
    | Parts
    | Tasks
    | Product
    | Contract
    | Library
    | Clock
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument of a kernel: a scalar where `rank` is 0.

    One that is `written` is an array of the caller's for a result: the kernel writes every element of it, and reads
    none that it has not written, unless it is `updated`: then its content is an argument as well.  It shares memory
    with no other argument.
    """

    name: str
    dtype: DType
    rank: int
    written: bool = False
    updated: bool = False


@dataclass(frozen=True, slots=True)
class Kernel:
    """A function of arrays and scalars.

    It returns its `results` in order; the last `nested` of them, where there are two or more, as a tuple in the
    tuple: ``value, (gradient, gradient)``.
    """

    name: str
    parameters: tuple[Parameter, ...]
    body: tuple[Statement, ...]
    results: tuple[str, ...]
    header: tuple[str, ...] = field(default=(), compare=False)
    nested: int = 0
