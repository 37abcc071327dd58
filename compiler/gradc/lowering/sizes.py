"""Extents and indices as integer expressions, and the checks of shapes at a kernel's entry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gradc.ir import extents
from gradc.ir.extents import Polynomial, Size
from gradc.ir.index.nodes import Program
from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import Expr, Extent, Require, Statement
from gradc.ir.types import DType


def combination(terms: Iterable[tuple[int, Expr]]) -> Expr:
    """Return ``sum of coefficient * value``."""
    total: Expr = nodes.number(0)
    for coefficient, value in terms:
        term = nodes.apply("mul", nodes.number(abs(coefficient)), value)
        if coefficient < 0 and total is nodes.number(0):
            total = nodes.apply("neg", term)
        else:
            total = nodes.apply("sub" if coefficient < 0 else "add", total, term)
    return total


def size_of(size: Size) -> Expr:
    """Return an extent as an integer expression."""
    if not isinstance(size, Polynomial):
        return nodes.number(size)
    return combination((coefficient, _monomial(names)) for names, coefficient in size.terms)


def _monomial(names: tuple[str, ...]) -> Expr:
    product: Expr = nodes.number(1)
    for name in names:
        product = nodes.apply("mul", product, nodes.var(name))
    return product


def plus(total: Expr, offset: Size) -> Expr:
    """Return ``total + offset``."""
    if isinstance(offset, int) and offset < 0:
        return nodes.apply("sub", total, nodes.number(-offset))
    return nodes.apply("add", total, size_of(offset))


def symbols_of(program: Program) -> Iterator[str]:
    """Yield the extent symbols that inputs and quotients bind, some of them several times."""
    for name in program.inputs:
        for size in program.types[name].shape:
            yield from extents.symbols(size)
    for quotient in program.quotients:
        yield quotient.symbol


def entry(program: Program) -> Iterator[Statement]:
    """Bind the extent symbols and refuse shapes that do not fit."""
    quotients = {quotient.symbol for quotient in program.quotients}
    known: set[str] = set()
    pending: list[tuple[str, int, Size]] = []
    for name in program.inputs:
        for axis, size in enumerate(program.types[name].shape):
            if extents.is_symbol(size) and str(size) not in known | quotients:
                known.add(str(size))
                yield Extent(str(size), _shape_of(name, axis))
            else:
                pending.append((name, axis, size))
    for quotient in program.quotients:
        sizes = size_of(quotient.numerator), size_of(quotient.denominator)
        yield Extent(quotient.symbol, nodes.apply("floor_divide", *sizes))
    for name, axis, size in pending:
        agree = nodes.apply("eq", _shape_of(name, axis), size_of(size))
        yield Require(agree, f"axis {axis} of {name} must have extent {extents.show(size)}")
    for guard in program.guards:
        yield Require(_guard(guard), f"the shapes must satisfy {guard}")


def _guard(guard: extents.Guard) -> Expr:
    left, right = size_of(guard.left), size_of(guard.right)
    if guard.relation == "divides":  # zero divides only zero
        quotient = nodes.apply("floor_divide", left, right)
        return nodes.apply("eq", nodes.apply("mul", quotient, right), left)
    relation = {"==": "eq", "!=": "ne", ">=": "ge", "<": "lt"}[guard.relation]
    return nodes.apply(relation, left, right)


def _shape_of(name: str, axis: int) -> Expr:
    return nodes.load(f"{name}.shape", (nodes.number(axis),), DType.INT64)
