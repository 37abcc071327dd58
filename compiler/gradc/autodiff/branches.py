"""The branch trace: which smooth piece of a program its inputs lie on.

A program with ``abs``, ``maximum``, comparisons or ``floor`` is made of smooth pieces.  The trace computes one
*code* for every choice that the inputs to differentiate can change: the sign of what is compared, the winners
of a maximum, the whole number that was cut off.  Inputs with equal codes lie on one piece; on a seam a code
differs from those on both sides, or from one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import sympy

from gradc.autodiff.activity import differentiable_reads, varying
from gradc.autodiff.rules import RULES
from gradc.ir.index.build import IDENTITY, Builder
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Assign,
    Call,
    Equation,
    Operand,
    Origin,
    Program,
)
from gradc.ir.index.show import show_equation
from gradc.ir.index.templates import Argument, Literal, Source, Template, apply, composite, placeholder
from gradc.ir.types import DType

Code = Callable[..., sympy.Expr]
ZERO = sympy.Integer(0)


def _sign(a: sympy.Expr) -> sympy.Expr:
    return apply("sign", a)


def _order(a: sympy.Expr, b: sympy.Expr) -> sympy.Expr:
    """1, 0 or -1; a comparison takes another arm beside a tie than at it."""
    return apply("sign", apply("sub", a, b))


# What tells the pieces of a function apart, in its operands.
CODES: dict[str, Code] = {
    **dict.fromkeys(("abs", "sign"), _sign),
    **dict.fromkeys(("maximum", "minimum", "fmax", "fmin"), _order),
    **dict.fromkeys(("lt", "le", "gt", "ge"), _order),
    **{name: partial(apply, name) for name in ("eq", "ne", "floor", "ceil", "rint", "trunc")},
    "heaviside": lambda a, b: _sign(a),
    "copysign": lambda a, b: apply("add", _sign(a), apply("mul", sympy.Integer(3), _sign(b))),
    "floor_divide": lambda a, b: apply("floor", apply("div", a, b)),
    "mod": lambda a, b: apply("floor", apply("div", a, b)),
    "fmod": lambda a, b: apply("trunc", apply("div", a, b)),
    "arctan2": lambda a, b: apply("select", apply("lt", b, ZERO), _sign(a), ZERO),
}


@dataclass(frozen=True, slots=True)
class Branch:
    """One choice of the program: `function` in `equation`; its code is the tensor `code`."""

    code: str
    function: str
    equation: str
    origin: Origin | None

    def __str__(self) -> str:
        origin = self.origin
        at = f" at {origin.file}:{origin.line}: {origin.text}" if origin and origin.file else ""
        row = RULES.get(self.function)
        convention = f"; convention: {row.kink}" if row is not None and row.kink else ""
        return f"{self.function} in {self.equation}{at}{convention}"


def branches(program: Program, wrt: Sequence[str]) -> tuple[Program, tuple[Branch, ...]]:
    """Return the program of all codes, one output each, and what they are codes of.

    Requires: `program` is valid.  Ensures: only choices that depend on `wrt` through floating-point values are
    traced; without any the program has no outputs.
    """
    walk = _Tracing(program, varying(program, wrt))
    for equation in program.equations:
        walk.visit(equation)
    traced = walk.builder.finish(tuple(branch.code for branch in walk.found))
    return traced, tuple(walk.found)


def branch_codes(program: Program, wrt: Sequence[str]) -> Program:
    """Return the program of all codes alone."""
    return branches(program, wrt)[0]


class _Tracing:
    """Adds the code of every choice to a program."""

    def __init__(self, program: Program, moving: set[str]) -> None:
        self.program = program
        self.moving = moving
        self.builder = Builder.resume(program)
        self.found: list[Branch] = []

    def visit(self, equation: Equation) -> None:
        if not any(name in self.moving for name in differentiable_reads(equation)):
            return
        if isinstance(equation, Call):
            self.visit_call(equation)
        elif isinstance(equation, Assign | Accumulate):
            for function, code in codes_of(equation.template):
                self.compute(equation, function, code, equation.operands)
            if isinstance(equation, Assign):
                self.visit_result(equation)

    def visit_call(self, equation: Call) -> None:
        """Positions, such as those of sorting, and the sign of a determinant."""
        discrete = [name for name in equation.outs if not self.program.types[name].dtype.is_float]
        for name in equation.outs[:1] if equation.operation == "slogdet" else discrete:
            self.found.append(Branch(name, equation.operation, show_equation(equation), equation.origin))

    def visit_result(self, equation: Assign) -> None:
        """Winners of a reduction, and floats that were cut to integers."""
        if equation.reduce is not None and equation.reduce.op in ("max", "min"):
            arity = equation.template.arity
            symbols = tuple(placeholder(at) for at in range(arity + 1))
            wins = composite(apply("eq", equation.template.body, symbols[arity]), symbols)
            best = Access(equation.out, IDENTITY[equation.rank])
            self.compute(equation, equation.reduce.op, wins, (*equation.operands, best))
        elif not (dtype := self.program.types[equation.out].dtype).is_float and not dtype.is_bool:
            self.found.append(Branch(equation.out, "cast", show_equation(equation), equation.origin))

    def compute(
        self, equation: Assign | Accumulate, function: str, code: Template, operands: tuple[Operand, ...]
    ) -> None:
        """Add an equation that computes a code over the whole space of another."""
        name = self.builder.assign(
            code, operands, equation.space, DType.F64, name="branch", origin=equation.origin
        )
        self.found.append(Branch(name, function, show_equation(equation), equation.origin))


def codes_of(template: Template) -> list[tuple[str, Template]]:
    """The choices inside a template, each with the template of its code over the same operands."""
    found = template.cache.get("branch codes")
    if found is None:
        found = template.cache["branch codes"] = list(_codes(template))
    assert isinstance(found, list)
    return found


def _codes(template: Template) -> Iterator[tuple[str, Template]]:
    operands = tuple(placeholder(at) for at in range(template.arity))
    values: list[sympy.Expr] = []

    def value(source: Source) -> sympy.Expr:
        match source:
            case Argument(position):
                return operands[position]
            case Literal(number, exact):
                return sympy.sympify(exact) if exact else sympy.sympify(number)
            case _:
                return values[source.position]

    for step in template.tape.instructions:
        arguments = tuple(value(source) for source in step.sources)
        if step.function in CODES:
            yield step.function, composite(CODES[step.function](*arguments), operands)
        values.append(apply(step.function, *arguments))
