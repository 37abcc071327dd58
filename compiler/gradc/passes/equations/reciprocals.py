"""Gradients divide once by what many of their elements are divided by: elsewhere they multiply by its reciprocal."""

from __future__ import annotations

from dataclasses import replace

import sympy

from gradc.ir.index.build import Builder
from gradc.ir.index.nodes import Access, Accumulate, Affine, Assign, Program, Size, affine, terms_of
from gradc.ir.index.rewrite import compose_operand
from gradc.ir.index.templates import StrongZero, Template, composite, placeholder

_RECIPROCAL = composite(1 / placeholder(0), (placeholder(0),))


def shared_reciprocals(program: Program) -> Program:
    """Divide once by a number that elements of a gradient along further indices are divided by.

    Requires: `program` is valid.  Ensures: the same values up to rounding, but where the reciprocal overflows, below
    the smallest normal number (a *rounding* pass).  Divisions of the program itself stay as they are.

        a_bar[i, j] = strong_zero(y_bar[i, j], y_bar[i, j] / b[i])
        ->   r[i] = 1 / b[i];  a_bar[i, j] = strong_zero(y_bar[i, j], y_bar[i, j] * r[i])
    """
    walk = _Sharing(Builder.resume(replace(program, equations=())))
    for equation in program.equations:
        if isinstance(equation, Assign | Accumulate) and isinstance(equation.template.body, StrongZero):
            equation = walk.multiplied(equation)
        walk.builder.equations.append(equation)
    return replace(program, equations=tuple(walk.builder.equations), types=walk.builder.types)


class _Sharing:
    """The builder that goes on with the program, and the reciprocals that it has so far."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.known: dict[tuple[Access, tuple[Size, ...]], str] = {}

    def multiplied(self, equation: Assign | Accumulate) -> Assign | Accumulate:
        """The equation with products in the place of divisions by numbers of fewer indices."""
        body, operands = equation.template.body, list(equation.operands)
        for at, operand in enumerate(operands):
            divided = _by_reciprocal(body, at)
            if divided is None or not isinstance(operand, Access):
                continue
            shared = self.reciprocal(equation, operand)
            if shared is not None:
                body, operands[at] = divided, shared
        if body is equation.template.body:
            return equation
        template: Template = composite(body, tuple(placeholder(at) for at in range(len(operands))))
        return replace(equation, template=template, operands=tuple(operands))

    def reciprocal(self, equation: Assign | Accumulate, divisor: Access) -> Access | None:
        """The reciprocal of a divisor, if elements along another index are divided by it too."""
        indices = [index for index in divisor.indices if isinstance(index, int | Affine)]
        if len(indices) < len(divisor.indices):
            return None  # looked up: nobody knows how many elements there are
        used = sorted({position for index in indices for _, position in terms_of(index)[0]})
        space = equation.space
        if all(axis in used or size == 1 for axis, size in enumerate(space)):
            return None
        # Along an axis that the divisor does not have, its first element stands for all.
        inner = tuple(affine({used.index(axis): 1}, 0) if axis in used else 0 for axis in range(len(space)))
        own = compose_operand(divisor, inner)
        assert isinstance(own, Access)
        shape = tuple(space[axis] for axis in used)
        if (own, shape) not in self.known:
            dtype = self.builder.types[divisor.tensor].dtype
            name = self.builder.assign(_RECIPROCAL, (own,), shape, dtype, origin=equation.origin)
            self.known[own, shape] = name
        return Access(self.known[own, shape], tuple(used))


def _by_reciprocal(body: sympy.Expr, at: int) -> sympy.Expr | None:
    """The body where an operand is its own reciprocal; None unless all that is done with it is to divide by it."""
    divisor, reciprocal = placeholder(at), sympy.Dummy()
    found = body.xreplace({1 / divisor: reciprocal})
    if found == body or found.has(divisor):
        return None
    return found.xreplace({reciprocal: divisor})


__all__ = ["shared_reciprocals"]
