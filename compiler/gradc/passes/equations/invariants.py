"""Expensive parts of equations computed once for the indices they depend on, not for all of the equation's."""

from __future__ import annotations

from dataclasses import dataclass, replace

import sympy

from gradc.ir.functions import FUNCTIONS
from gradc.ir.index.build import Builder
from gradc.ir.index.nodes import Access, Assign, Const, Index, Operand, Program
from gradc.ir.index.rewrite import compose_operand
from gradc.ir.index.templates import Template, composite, placeholder

# Functions that cost no more than reading their result from memory.
_CHEAP = frozenset(
    (
        *(
            "select",
            "maximum",
            "minimum",
            "fmax",
            "fmin",
            "abs",
            "neg",
            "sign",
            "square",
            "heaviside",
            "copy",
        ),
        *("lt", "le", "gt", "ge", "eq", "ne", "isnan", "isfinite", "isinf", "passive", "stop_gradient"),
        *("logical_and", "logical_or", "logical_xor", "logical_not", "floor", "ceil", "sqrt", "strong_zero"),
    )
)


def without_invariants(program: Program) -> Program:
    """Give elementary functions of fewer indices than their equation has an equation of their own.

    Requires: `program` is valid.  Ensures: the same values up to the order of the factors of a product.

        h[i, j] = x[i, j] * exp(z[j]) * cos(z[j])   ->   v[j] = exp(z[j]) * cos(z[j]);  h[i, j] = x[i, j] * v[j]
    """
    builder = Builder.resume(replace(program, equations=()))
    for equation in program.equations:
        if isinstance(equation, Assign) and len(equation.space) > 1 and _is_plain(equation, builder):
            equation = _Hoisting(builder, equation).result()
        builder.equations.append(equation)
    return replace(program, equations=tuple(builder.equations), types=builder.types)


def _is_plain(equation: Assign, builder: Builder) -> bool:
    """Whether everything in an equation is of one floating-point dtype, and something in it may be expensive."""
    dtype = builder.types[equation.out].dtype
    kinds = {
        builder.types[operand.tensor].dtype for operand in equation.operands if isinstance(operand, Access)
    }
    same = kinds == {dtype} and all(isinstance(operand, Access | Const) for operand in equation.operands)
    return (
        dtype.is_float
        and same
        and equation.template.name not in FUNCTIONS
        and _is_expensive(equation.template.body)
    )


def _is_expensive(body: sympy.Expr) -> bool:
    return any(type(found).__name__ not in _CHEAP for found in body.atoms(sympy.Function))


@dataclass
class _Hoisting:
    """One equation, and the builder that takes those of its parts."""

    builder: Builder
    equation: Assign

    def result(self) -> Assign:
        """The equation with operands in the place of its invariant parts."""
        self.operands: list[Operand] = list(self.equation.operands)
        body = self.hoisted(self.equation.template.body)
        if len(self.operands) == len(self.equation.operands):
            return self.equation
        used = sorted(int(symbol.name[1:]) for symbol in body.free_symbols)
        template = composite(body, tuple(placeholder(position) for position in used))
        return replace(
            self.equation, template=template, operands=tuple(self.operands[position] for position in used)
        )

    def positions(self, expression: sympy.Basic) -> frozenset[int]:
        """The indices that an expression depends on."""
        found: set[int] = set()
        for symbol in expression.free_symbols:
            operand = self.operands[int(symbol.name[1:])]  # pyright: ignore[reportAttributeAccessIssue]
            if isinstance(operand, Access):
                for index in operand.indices:
                    found |= _used(index)
        return frozenset(found)

    def hoisted(self, expression: sympy.Expr) -> sympy.Expr:
        """The expression with new operands for expensive parts of fewer indices."""
        if not expression.args or not _is_expensive(expression):
            return expression
        if self.may_go(expression):
            return self.operand(expression)
        args: list[sympy.Expr] = list(expression.args)  # pyright: ignore[reportAssignmentType]
        if isinstance(expression, sympy.Mul):
            groups: dict[frozenset[int], list[sympy.Expr]] = {}
            for arg in args:
                if _is_expensive(arg) and self.may_go(arg):
                    groups.setdefault(self.positions(arg), []).append(arg)
            rest = [arg for arg in args if not any(arg in group for group in groups.values())]
            args = [*rest, *(sympy.Mul(*group) for group in groups.values())]
        return expression.func(*(self.hoisted(arg) for arg in args))

    def may_go(self, expression: sympy.Expr) -> bool:
        """Whether an expression lacks an index, but not all."""
        found = self.positions(expression)
        return bool(found) and len(found) < len(self.equation.space)

    def operand(self, expression: sympy.Expr) -> sympy.Expr:
        """Compute an expression in an equation of its own; the placeholder of the result."""
        kept = sorted(self.positions(expression))
        place = {position: at for at, position in enumerate(kept)}
        inner: tuple[Index, ...] = tuple(
            place.get(position, 0) for position in range(len(self.equation.space))
        )
        used = sorted(int(symbol.name[1:]) for symbol in expression.free_symbols)  # pyright: ignore[reportAttributeAccessIssue]
        operands = [compose_operand(self.operands[position], inner) for position in used]
        if None in operands:
            return expression
        template: Template = composite(expression, tuple(placeholder(position) for position in used))
        name = self.builder.declare(
            "", self.builder.types[self.equation.out].dtype, tuple(self.equation.space[p] for p in kept)
        )
        self.builder.equations.append(
            Assign(
                name,
                tuple(self.equation.space[position] for position in kept),
                len(kept),
                None,
                template,
                tuple(operand for operand in operands if operand is not None),
                self.equation.origin,
            )
        )
        self.operands.append(Access(name, tuple(kept)))
        return placeholder(len(self.operands) - 1)


def _used(index: Index) -> set[int]:
    """The positions that an index reads."""
    if isinstance(index, int):
        return {index}
    inner = getattr(index, "indices", None)
    if inner is not None:
        return {position for part in inner for position in _used(part)}
    return {position for position, _ in index.terms}  # pyright: ignore[reportAttributeAccessIssue]
