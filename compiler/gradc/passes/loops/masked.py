"""Columns that a causal mask removes from blocks of rows are not computed.

    for block < blocks:                                    for block < blocks:
        start, rows = ...                                      unmasked = start + rows
        contract s[j k] = q[start:][j l] * r[k l]              contract s ... over k < unmasked
        for row < rows:                                        for row < rows:
            j = start + row                                        j = start + row
            for k < n:                                ->           for k < limit:
                e[row, k] = exp(s[row, k] if k <= j                    e[row, k] = ...
                                else -inf)
        contract y[j l] = e[j k] * v[k l]                      contract y ... over k < unmasked

Behind the last row of a block ``k <= j`` is false for all of its rows.  What follows from that is found here by
computing with what is known: scores are minus infinity, exponentials are zero, and what they are added to stays as it
is.  Where that holds for all that a block does with these columns, its loops and contractions end before them: that is
half of causal attention, and of its gradient.

Zero times anything counts as zero, as it does in gradients: an infinite number at a place that the mask removes does
not enter.  The first block writes to the end where sums over blocks begin with it.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Apply,
    Contract,
    Convert,
    Expr,
    For,
    From,
    Kernel,
    Let,
    Load,
    Number,
    Statement,
    Store,
    Update,
    Var,
    View,
)
from gradc.ir.loop.strip import Strip, strip_of
from gradc.ir.loop.walk import every, expressions, names_in, subexpressions, touched
from gradc.ir.names import NameSupply
from gradc.ir.types import DType
from gradc.passes.loops.joint_loops import letters_of

# How a column behind the limit compares with a row of the block plus a number, and how large that may be: the column
# is at least one behind the row.  The other way round, the comparison is mirrored.
_BEHIND = {
    "le": (False, 0),
    "lt": (False, 1),
    "eq": (False, 0),
    "ge": (True, 1),
    "gt": (True, 0),
    "ne": (True, 0),
}
_MIRRORED = {"le": "ge", "lt": "gt", "ge": "le", "gt": "lt", "eq": "eq", "ne": "ne"}

_FOLDED: dict[str, Callable[..., Any]] = {
    **{name: getattr(operator, name) for name in _BEHIND},
    **{name: getattr(operator, name) for name in ("neg", "add", "sub", "mul")},
    "abs": abs,
    "div": operator.truediv,
    "exp": math.exp,
    "logical_and": operator.and_,
    "logical_not": operator.not_,
    "logical_or": operator.or_,
    "maximum": max,
    "minimum": min,
}


def without_masked_columns(kernel: Kernel) -> Kernel:
    """End loops over the columns of blocks of rows where a mask removes the rest.

    Requires: `kernel` is valid.  Ensures: the same values where zero times any operand is zero.
    """
    if not any(isinstance(statement, Contract) for statement in every(kernel.body)):
        return kernel
    return _Masking(kernel).kernel()


class _Needed(Exception):
    """The columns make a difference."""


class _Masking:
    def __init__(self, kernel: Kernel) -> None:
        self.before = kernel
        used = names_in(kernel.body)
        loops = {statement.index for statement in every(kernel.body) if isinstance(statement, For)}
        parameters = (parameter.name for parameter in kernel.parameters)
        self.names = NameSupply((*used, *loops, *parameters, *kernel.results, kernel.name))
        self.allocated = {s.tensor for s in kernel.body if isinstance(s, Allocate)} - set(kernel.results)
        self.users = _users(kernel.body)

    def kernel(self) -> Kernel:
        return replace(self.before, body=tuple(map(self.statement, self.before.body)))

    def statement(self, statement: Statement) -> Statement:
        if not isinstance(statement, For):
            return statement
        strip = strip_of(statement)
        if strip is not None:
            return self.block(statement, strip)
        return replace(statement, body=tuple(map(self.statement, statement.body)))

    def block(self, loop: For, strip: Strip) -> For:
        """A loop over blocks of rows, with less to do where that can be proven."""
        inside = _users(loop.body)
        local = {name for name in self.allocated if inside[name] == self.users[name]}
        limit = nodes.var(self.names.fresh("unmasked"))
        block = _Block(loop, strip, local, limit)
        try:
            body = block.statements(loop.body[2:])
        except _Needed:
            body = []
        if not (body and block.shorter):
            self.names.release(limit.name)
            return loop
        end = nodes.apply("add", nodes.var(strip.start), nodes.var(strip.width))
        first = nodes.apply("eq", nodes.var(loop.index), nodes.number(0))
        shorter = nodes.apply("minimum", strip.many, end)
        chosen = nodes.apply("select", first, strip.many, end) if block.begins else shorter
        return replace(loop, body=(*loop.body[:2], Let(limit.name, chosen), *body))


@dataclass(slots=True)
class _Block:
    """One block of rows, and what is known about the columns behind its limit.

    `columns` has the arrays whose columns there exist no more: the axis, and their value if it is known.
    """

    loop: For
    strip: Strip
    local: set[str]
    limit: Var
    shorter: int = 0  # contractions
    begins: bool = False  # whether one of them begins a sum over blocks
    column: Var | None = None  # the index of the loop over columns that is looked at
    rows: set[str] = field(default_factory=set)  # indices of rows
    known: dict[str, Number | None] = field(default_factory=dict)  # numbers of one column
    columns: dict[str, tuple[int, Number | None]] = field(default_factory=dict)
    written: set[str] = field(init=False)  # arrays that are going to be in `columns`

    def __post_init__(self) -> None:
        loops = [s for s in every(self.loop.body) if isinstance(s, For) and self.is_long(s.extent)]
        stored = {s.tensor for loop in loops for s in every(loop.body) if isinstance(s, Store)}
        contracts = (s for s in every(self.loop.body) if isinstance(s, Contract) and not s.add)
        outs = {s.out for s in contracts if set(self.long_letters(s)) & set(s.target.split())}
        self.written = (stored | outs) & self.local

    def is_long(self, extent: Expr) -> bool:
        """Whether an extent is that of the columns: as many as there are rows."""
        return extent is self.strip.many

    def long_letters(self, statement: Contract) -> list[str]:
        found = zip(letters_of(statement), statement.extents, strict=True)
        return [letter for letter, extent in found if self.is_long(extent)]

    # --- statements -------------------------------------------------------------------------------------

    def statements(self, body: Sequence[Statement]) -> list[Statement]:
        """Statements outside loops over columns; loops nest as deep as tensors have axes."""
        return [self.statement(statement) for statement in body]

    def statement(self, statement: Statement) -> Statement:
        match statement:
            case For(extent=extent) if self.is_long(extent):
                return self.over_columns(statement)
            case For(index, extent, body):
                here = nodes.apply("add", nodes.var(self.strip.start), nodes.var(index))
                of_rows = extent is nodes.var(self.strip.width)
                for inner in body:
                    if isinstance(inner, Let):
                        self.rows.discard(inner.name)
                        self.rows |= {inner.name} if of_rows and inner.value is here else set()
                return replace(statement, body=tuple(self.statements(body)))
            case Contract():
                return self.contraction(statement)
            case _:
                if self.written & set(touched(statement)):
                    raise _Needed
                return statement

    def look(self, statement: Statement) -> None:
        """See that a statement reads nothing behind the limit."""
        for expression in expressions(statement):
            self.value(expression)

    def over_columns(self, loop: For) -> For:
        """A loop over columns ends at the limit if the rest of them changes nothing."""
        self.column, self.known = nodes.var(loop.index), {}
        for statement in loop.body:
            match statement:
                case Let(name, value):
                    self.known[name] = self.value(value)
                case Update(name) if name in self.known:
                    self.look(statement)
                    self.known[name] = None
                case Update(_, op, value):
                    self.neutral(op, value)
                case AddTo(_, _, op, value):
                    self.look(statement)
                    self.neutral(op, value)
                case Store(tensor, indices, value):
                    self.look(statement)
                    self.store(tensor, indices, value)
                case _:
                    raise _Needed
        self.column = None
        return replace(loop, extent=self.limit)

    def neutral(self, op: str, value: Expr) -> None:
        found = self.value(value)
        if found is None or found.value != nodes.neutral(op, value.dtype).value:
            raise _Needed

    def store(self, tensor: str, indices: Sequence[Expr], value: Expr) -> None:
        column = self.column
        axes = [axis for axis, at in enumerate(indices) if any(one is column for one in subexpressions(at))]
        if tensor not in self.local or len(axes) != 1 or indices[axes[0]] is not column:
            raise _Needed
        self.note(tensor, axes[0], self.value(value))

    def note(self, tensor: str, axis: int, value: Number | None) -> None:
        before, _ = self.columns.get(tensor, (axis, None))
        if before != axis:
            raise _Needed
        self.columns[tensor] = axis, value

    def contraction(self, statement: Contract) -> Contract:
        """A contraction over or of fewer columns, where an operand is zero behind them or nobody misses them."""
        names = (statement.out, statement.left, statement.right)
        letters = self.long_letters(statement)
        if len(letters) != 1:
            if self.written & set(names):
                raise _Needed
            return statement
        texts = (statement.target, statement.first, statement.second)
        axes = [_axis(letters[0], *given) for given in zip(texts, statement.views, strict=True)]
        gone = [one for at in (1, 2) for one in self.operand(names[at], axes[at])]
        zero = any(one is not None and one.value == 0 for one in gone)
        if axes[0] is not None and not statement.add and statement.out in self.local:
            self.note(statement.out, axes[0], _number(0, DType.F64) if zero else None)
        elif statement.out in self.written:
            raise _Needed
        elif zero and (axes[0] is None or statement.add):
            self.begins |= statement.again is not None
        elif gone:
            raise _Needed
        else:
            return statement
        self.shorter += 1
        extents = (self.limit if self.is_long(extent) else extent for extent in statement.extents)
        return replace(statement, extents=tuple(extents))

    def operand(self, name: str, axis: int | None) -> list[Number | None]:
        """What an operand is on this axis behind the limit; nothing where all of it is there."""
        if name not in self.columns:
            if name in self.written:
                raise _Needed
            return []
        there, value = self.columns[name]
        if there != axis:
            raise _Needed
        return [value]

    # --- values behind the limit ------------------------------------------------------------------------

    def value(self, expression: Expr) -> Number | None:
        """What an expression is behind the limit, where that is known; expressions are as small as templates."""
        match expression:
            case Number():
                return expression
            case Var(name, _):
                return self.known.get(name) if self.column is not None else None
            case Load(tensor, indices, _):
                return self.element(tensor, indices)
            case Convert(argument, dtype):
                found = self.value(argument)
                return None if found is None else _number(found.value, dtype)
            case Apply(function, arguments, dtype):
                masked = self.compared(function, arguments)
                if masked is not None:
                    return _number(masked, DType.BOOL)
                return _applied(function, [self.value(argument) for argument in arguments], dtype)

    def element(self, tensor: str, indices: Sequence[Expr]) -> Number | None:
        for at in indices:
            self.value(at)
        if tensor not in self.columns:
            if tensor in self.written:
                raise _Needed
            return None
        axis, value = self.columns[tensor]
        if self.column is None or indices[axis] is not self.column:
            raise _Needed
        return value

    def compared(self, function: str, arguments: Sequence[Expr]) -> bool | None:
        """The outcome of comparing the column with the row; None for anything else."""
        if function not in _BEHIND:
            return None
        for name, given in ((function, arguments), (_MIRRORED[function], arguments[::-1])):
            (column, before), (row, ahead) = map(_place, given)
            outcome, most = _BEHIND[name]
            if (
                column is self.column
                and isinstance(row, Var)
                and row.name in self.rows
                and ahead - before <= most
            ):
                return outcome
        return None


def _place(expression: Expr) -> tuple[Expr, int]:
    """An index, and a number that is added to it."""
    match expression:
        case Apply("add", (index, Number(value))) | Apply("add", (Number(value), index)):
            return index, int(value)
        case Apply("sub", (index, Number(value))):
            return index, -int(value)
        case _:
            return expression, 0


def _applied(function: str, given: Sequence[Number | None], dtype: DType) -> Number | None:
    """A function of operands of which some are known."""
    if function == "select":
        condition, yes, no = given
        if condition is not None:
            return yes if condition.value else no
        return yes if yes is not None and no is not None and yes.value == no.value else None
    known = [one.value for one in given if one is not None]
    if len(known) < len(given):
        return _decided(function, given, dtype)
    try:
        return _number(_FOLDED[function](*known), dtype) if function in _FOLDED else None
    except (OverflowError, ValueError, ZeroDivisionError):
        return None


def _decided(function: str, given: Sequence[Number | None], dtype: DType) -> Number | None:
    """What one operand decides, whatever the number that the others are."""
    known = [one.value for one in given if one is not None]
    deciding = {"logical_and": False, "logical_or": True, "mul": 0}
    if function in deciding and deciding[function] in known:
        return _number(deciding[function], dtype)
    first = given[0]
    if function == "div" and first is not None and first.value == 0:
        return first
    if function in ("add", "sub") and any(map(math.isinf, known)):
        return _applied(function, [_number(0, dtype) if one is None else one for one in given], dtype)
    return None


def _number(value: float, dtype: DType) -> Number | None:
    """A literal of a dtype; what is not a number is not known."""
    return None if value != value else nodes.number(dtype.numpy.type(value).item(), dtype)


def _axis(letter: str, text: str, view: View) -> int | None:
    """The axis of an array that a letter alone runs along; None where it runs along none."""
    words = text.split()
    if letter not in text:
        return None
    if text.count(letter) != 1 or letter not in words:
        raise _Needed
    return sum(not isinstance(at, From) for at in view) + words.index(letter)


def _users(statements: Sequence[Statement]) -> Counter[str]:
    """How many statements touch a name otherwise than by making it."""
    found = (s for s in every(statements) if not isinstance(s, Allocate))
    return Counter(name for statement in found for name in set(touched(statement)))
