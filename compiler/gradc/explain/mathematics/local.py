"""Local derivatives of equations: of a gate with respect to one operand, and what the operand gets of its gradient."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sympy

from gradc.autodiff.local import RESULT, partial
from gradc.explain.mathematics import building as build
from gradc.explain.mathematics import tree
from gradc.explain.mathematics.calls import inverse, matrix_product, transposed
from gradc.explain.mathematics.reading import Reading, constant, substituted, written
from gradc.explain.mathematics.tree import (
    Affine,
    Apply,
    Expression,
    IndexNumber,
    LookedUp,
    Reduction,
    Tensor,
    Variable,
)
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Assemble,
    Assign,
    Call,
    Equation,
    Operand,
    Program,
)
from gradc.ir.index.templates import Template, composite, is_literal, placeholder

UPSTREAM = ""  # the tensor that stands for the gradient of the gate


@dataclass(frozen=True, slots=True)
class LocalRule:
    """How one operand enters a gate.

    `gate` and `operand` are elements (or whole tensors), `derivative` that of one with respect to the other;
    None for library operations on matrices.  `pulled` is the contribution to the gradient of the operand in
    terms of the tensor `UPSTREAM`; where `adds`, one element gets it for several values of the indices.
    """

    gate: Tensor
    operand: Tensor
    derivative: Expression | None
    pulled: Expression
    adds: bool = False


@dataclass(frozen=True, slots=True)
class Partial:
    """The partial derivative of an elementwise equation as an equation's template and operands."""

    template: Template
    operands: tuple[Operand, ...]


def rule(
    equation: Equation,
    position: int,
    program: Program,
    active: Collection[str] | None = None,
    *,
    seed: bool = False,
) -> LocalRule:
    """Return how the operand at a position enters an equation.

    `active` holds the tensors that vary; all by default.  With `seed` the gradient of the gate is 1.

    Requires: the operand is a floating-point tensor.
    """
    reading = Reading(program.types)
    match equation:
        case Assign() | Accumulate():
            return _of_indexed(reading, equation, position, active, seed=seed)
        case Assemble():
            return _of_part(reading, equation, position)
        case Call():
            return _of_call(reading, equation, position)


# --- equations with indices ---------------------------------------------------------------------------------


def partial_of(
    equation: Assign | Accumulate, position: int, program: Program, active: Collection[str] | None = None
) -> Partial | None:
    """Return the partial derivative of an equation's expression; None where it is a number."""
    derivative = _derivative(equation, position, program.types, active)
    if is_literal(derivative):
        return None
    used = sorted(derivative.free_symbols, key=str)
    places = {placeholder(at): operand for at, operand in enumerate(equation.operands)}
    if isinstance(equation, Assign):
        places[RESULT] = Access(equation.out, tuple(range(equation.rank)))
    return Partial(composite(derivative, tuple(used)), tuple(places[symbol] for symbol in used))


def _derivative(
    equation: Assign | Accumulate, position: int, types: object, active: Collection[str] | None
) -> sympy.Expr:
    operands = [operand.tensor for operand in equation.operands if isinstance(operand, Access)]
    floating = [name for name in operands if _varies(name, types, active)]
    elementwise = isinstance(equation, Assign) and equation.reduce is None
    return partial(equation.template, position, lone=len(floating) == 1, with_result=elementwise)


def _varies(name: str, types: object, active: Collection[str] | None) -> bool:
    return types[name].dtype.is_float if active is None else name in active  # pyright: ignore[reportIndexIssue]


def _of_indexed(
    reading: Reading,
    equation: Assign | Accumulate,
    position: int,
    active: Collection[str] | None,
    *,
    seed: bool,
) -> LocalRule:
    space = reading.space(equation.space)
    operands = [reading.operand(operand, space) for operand in equation.operands]
    gate = reading.left(equation, space)
    operand = operands[position]
    assert isinstance(operand, Tensor)
    derivative = _derivative(equation, position, reading.types, active)
    if is_literal(derivative):
        local = constant(derivative)
    else:
        used = sorted(derivative.free_symbols, key=str)
        known = {placeholder(at): shown for at, shown in enumerate(operands)} | {RESULT: gate}
        template = composite(derivative, tuple(used))
        local = written(template, [known[symbol] for symbol in used], derived=True)
    if isinstance(equation, Assign) and equation.reduce is not None and equation.reduce.op != "sum":
        body = written(equation.template, operands)
        local = build.product(
            _of_reduction(reading, equation.reduce.op, gate, body, space[equation.rank :]), local
        )
    upstream = tree.ONE if seed else Tensor(UPSTREAM, gate.places)
    summed = [variable for variable in _variables(space) if variable not in _held(operand)]
    pulled = build.reduction("sum", tuple(summed), build.product(upstream, local))
    return LocalRule(gate, operand, local, pulled, not _is_bare(operand))


def _is_bare(operand: Tensor) -> bool:
    """Whether every index of an operand's element is a variable of its own."""
    found = [place.terms for place in operand.places or () if isinstance(place, Affine) and place.offset == 0]
    bare = [terms[0][1] for terms in found if len(terms) == 1 and terms[0][0] == 1]
    return len(set(bare)) == len(operand.places or ())


def _variables(space: tuple[Affine, ...]) -> list[Variable]:
    return [place.terms[0][1] for place in space if place.terms]


def _held(operand: Tensor) -> set[Variable]:
    """Return the variables that an operand's element determines: its bare indices and those of look-ups."""
    found: set[Variable] = set()
    for place in operand.places or ():
        inner = place.places if isinstance(place, LookedUp) else (place,)
        found.update(variable for index in inner for _, variable in index.terms)
    return found


def _of_reduction(
    reading: Reading, function: str, gate: Tensor, body: Expression, reduced: tuple[Affine, ...]
) -> Expression:
    """Return the derivative of a product, maximum or minimum with respect to one of the reduced values."""
    old = _variables(reduced)
    new = tuple(reading.variable(variable.size) for variable in old)
    other = substituted(reading, body, {a: Affine(((1, b),)) for a, b in zip(old, new, strict=True)})
    if function == "prod":
        pairs = zip(old, new, strict=True)
        same = [Apply("eq", (_position(b), _position(a))) for a, b in pairs]
        condition: Expression = same[0]
        for more in same[1:]:
            condition = Apply("logical_and", (condition, more))
        return Reduction("prod", new, build.choice(condition, tree.ONE, other))
    wins = build.choice(build.comparison("eq", body, gate), tree.ONE, tree.ZERO)
    ties = build.choice(build.comparison("eq", other, gate), tree.ONE, tree.ZERO)
    return build.quotient(wins, build.reduction("sum", new, ties))


def _position(variable: Variable) -> Expression:
    return IndexNumber(Affine(((1, variable),)))


# --- joined tensors and library operations ------------------------------------------------------------------


def _of_part(reading: Reading, equation: Assemble, position: int) -> LocalRule:
    part = equation.parts[position]
    shape = reading.types[part].shape
    here = list(reading.space(shape))
    offset = sum((reading.types[name].shape[equation.axis] for name in equation.parts[:position]), start=0)
    there = list(here)
    there[equation.axis] = Affine(here[equation.axis].terms, here[equation.axis].offset + offset)
    gate, operand = reading.tensor(equation.out, there), reading.tensor(part, here)
    return LocalRule(gate, operand, tree.ONE, Tensor(UPSTREAM, gate.places))


def _of_call(reading: Reading, call: Call, position: int) -> LocalRule:
    ins = [reading.whole(name) for name in call.ins]
    out = reading.whole(call.outs[-1 if call.operation == "slogdet" else 0])
    upstream = Tensor(UPSTREAM, out.places)
    pulled = _pulled(reading, call, position, ins, out, upstream)
    return LocalRule(out, ins[position], None, pulled)


def _pulled(
    reading: Reading, call: Call, position: int, ins: list[Tensor], out: Tensor, upstream: Tensor
) -> Expression:
    a = ins[0]
    match call.operation:
        case "reshape":
            return Apply("reshape", (upstream,), reading.types[call.ins[0]].shape)
        case "inv":
            return build.negative(matrix_product(transposed(out), upstream, transposed(out)))
        case "det":
            return matrix_product(upstream, Apply("cofactor", (a,)))
        case "slogdet":
            return matrix_product(upstream, Apply("inverse_transpose", (a,)))
        case "solve":
            back = Apply("inverse_transpose", (a,))
            if position == 1:
                return matrix_product(back, upstream)
            return tree.Product(-1, (back, upstream, transposed(out)), ())
        case "solve_triangular":
            return _pulled_triangular(call, position, a, out, upstream)
        case _:
            return Apply(f"{call.operation}_pullback", (upstream, *ins))


def _pulled_triangular(call: Call, position: int, a: Tensor, out: Tensor, upstream: Tensor) -> Expression:
    half = "tril" if call.attribute("lower") else "triu"
    triangle = Apply(half, (a,))
    if call.attribute("transposed"):
        back = matrix_product(inverse(triangle), upstream)
        outer = matrix_product(out, transposed(back))
    else:
        back = matrix_product(Apply("inverse_transpose", (triangle,)), upstream)
        outer = (
            tree.Product(1, (*back.above, transposed(out)), ()) if isinstance(back, tree.Product) else back
        )
    return back if position == 1 else build.negative(Apply(half, (outer,)))
