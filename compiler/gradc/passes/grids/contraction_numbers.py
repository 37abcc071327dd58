"""Whole numbers of the kernels of contractions: extents on the host, and the numbers that a thread counts with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import Expr, For, Let, Number, Statement, When
from gradc.ir.names import NameSupply
from gradc.ir.types import DType
from gradc.passes.grids.numbers import ceiling as _ceiling

ZERO, ONE = nodes.number(0), nodes.number(1)


class Writer:
    """The statements of a body in the making."""

    def __init__(self, names: NameSupply, made: list[str] | None = None) -> None:
        self.names = names
        self.made: list[str] = [] if made is None else made
        self.statements: list[Statement] = []

    def fresh(self, hint: str) -> str:
        """A name that is free again when the launch is written."""
        name = self.names.fresh(hint)
        self.made.append(name)
        return name

    def let(self, hint: str, value: Expr) -> Expr:
        """Give a value a name, unless it is one or a literal."""
        if isinstance(value, nodes.Var | Number):
            return value
        name = self.fresh(hint)
        self.statements.append(Let(name, value))
        return nodes.var(name, value.dtype)

    def add(self, *statements: Statement) -> None:
        """Write statements."""
        self.statements += statements

    def inside(self) -> Writer:
        """A body of a statement in this one."""
        return Writer(self.names, self.made)

    def when(self, condition: Expr | None, body: Writer) -> None:
        """Write a body that runs where the condition holds."""
        self.add(*(body.statements if condition is None else (When(condition, tuple(body.statements)),)))

    def repeat(self, index: Expr, many: int, body: Writer) -> None:
        """Write a body that runs for every value of an index from `counter`."""
        if isinstance(index, nodes.Var):
            self.add(For(index.name, nodes.number(many), tuple(body.statements)))
        else:
            self.add(*body.statements)

    def counter(self, hint: str, many: int) -> Expr:
        """The index of a loop of `many` iterations: 0 if there is one."""
        return ZERO if many == 1 else nodes.var(self.fresh(hint))

    def close(self) -> tuple[Statement, ...]:
        """The statements, of which the names are free again."""
        for name in self.made:
            self.names.release(name)
        self.made.clear()
        return tuple(self.statements)

    def decoded(self, number: Expr, extents: Sequence[tuple[str, Expr]]) -> dict[str, Expr]:
        """The values of variables, the last of which counts fastest, from the number of all of them."""
        found: dict[str, Expr] = {}
        long = [(name, extent) for name, extent in extents if not is_one(extent)]
        for name, extent in reversed(long[1:]):
            rest = self.let("rest", quotient(number, extent))
            behind = nodes.apply("sub", number, nodes.apply("mul", rest, extent))
            found[name] = self.let(name, behind)
            number = rest
        if long:
            found[long[0][0]] = self.let(long[0][0], number)
        return {name: found.get(name, ZERO) for name, _ in extents}


def numbered(values: Mapping[str, Expr], extents: Sequence[tuple[str, Expr]]) -> Expr:
    """The number of all of some variables, the last of which counts fastest."""
    found: Expr = ZERO
    for name, extent in extents:
        found = nodes.apply(
            "add", nodes.apply("mul", found, extent) if found is not ZERO else ZERO, values[name]
        )
    return found


# --- arithmetic ---------------------------------------------------------------------------------------------


def is_one(extent: Expr) -> bool:
    """Whether there is nothing to count."""
    return isinstance(extent, Number) and extent.value == 1


def ceiling(many: Expr, size: int) -> Expr:
    """How many steps of `size` it takes to reach `many`."""
    return many if size == 1 else _ceiling(many, size)


def quotient(number: Expr, by: Expr) -> Expr:
    """``number // by``."""
    if is_one(by):
        return number
    if isinstance(number, Number) and isinstance(by, Number) and by.value:
        return nodes.number(int(number.value) // int(by.value))
    return nodes.apply("floor_divide", number, by)


def remainder(number: Expr, by: int) -> Expr:
    """``number % by``, as device code counts it."""
    size = nodes.number(by)
    return nodes.apply("sub", number, nodes.apply("mul", quotient(number, size), size))


def most(one: Expr, other: Expr) -> Expr:
    """The larger one of two extents."""
    if isinstance(one, Number) and isinstance(other, Number):
        return nodes.number(max(int(one.value), int(other.value)))
    return nodes.apply("maximum", one, other)


def plus(*values: Expr) -> Expr:
    """Their sum."""
    found: Expr = ZERO
    for value in values:
        found = nodes.apply("add", found, value)
    return found


def times(value: Expr, by: Expr | int) -> Expr:
    """Their product; nothing times 0 is kept."""
    factor = nodes.number(by) if isinstance(by, int) else by
    if ZERO in (value, factor):
        return ZERO
    return nodes.apply("mul", value, factor)


def under(number: Expr, extent: Expr) -> Expr:
    """``number < extent``."""
    return nodes.apply("lt", number, extent)


def both(conditions: Sequence[Expr]) -> Expr | None:
    """Whether all conditions hold; None where there are none."""
    found: Expr | None = None
    for condition in conditions:
        if condition is nodes.number(True, DType.BOOL):
            continue
        found = condition if found is None else nodes.apply("logical_and", found, condition)
    return found


def combination(terms: Sequence[tuple[int, str]], offset: int, values: Mapping[str, Expr]) -> Expr:
    """``sum of factor * value + offset``."""
    found: Expr = nodes.number(max(offset, 0))
    for factor, name in sorted(terms, key=lambda term: term[0] < 0):
        term = times(values[name], abs(factor))
        found = nodes.apply("sub" if factor < 0 else "add", found, term)
    return nodes.apply("sub", found, nodes.number(-offset)) if offset < 0 else found
