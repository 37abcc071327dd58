"""Guards: what only one arm of a choice needs is zero, and has zero derivatives, where the arm is not taken.

The cotangent of an arm that is not taken is an exact zero, but ``0 * inf`` is NaN: in ``where(m, p * y, 0)``
an infinite or missing ``y`` behind ``m`` would reach ``p_bar``.  So an equation whose value nobody needs
where a condition fails is computed under that condition.  Its derivatives inherit the guard, to any order.

    z[i] = p[i] * y[i];  out[i] = m[i] ? z[i] : 0   ->   z[i] = m[i] ? p[i] * y[i] : 0;  out[i] = ...
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from heapq import heapify, heappop, heappush

import sympy

from gradc.autodiff.local import guard, partial
from gradc.autodiff.rules import RULES
from gradc.ir.extents import Size
from gradc.ir.index.build import IDENTITY, Builder
from gradc.ir.index.contraction import is_contraction, is_matrix_product
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Affine,
    Assign,
    Const,
    Equation,
    Index,
    Program,
    outputs_of,
    reads_of,
)
from gradc.ir.index.templates import Template, apply, composite, placeholder
from gradc.ir.types import DType


@dataclass(frozen=True, slots=True)
class Condition:
    """``tensor[indices] == holds``; the indices are axes of the tensor whose need it limits, or fixed."""

    tensor: str
    indices: tuple[Index, ...]
    holds: bool


Conditions = frozenset[Condition]
NOWHERE_ELSE: Conditions = frozenset()


def guarded(program: Program, active: set[str]) -> Program:
    """Return `program` with guards on the equations in `active` that only arms of choices need.

    Requires: `program` is valid.  Ensures: equal outputs; a guarded tensor is 0 where its guard fails; the
    equations are in an order of their own; time n log n in equations, linear without a choice.
    """
    if not any(_chooses(equation) for equation in program.equations):
        return program
    needs = _needs(program)
    walk = _Guarding(program)
    equations = [
        walk.under(equation, needs[equation.out])
        if isinstance(equation, Assign) and equation.out in active and _is_risky(equation, needs, active)
        else equation
        for equation in program.equations
    ]
    if not walk.conditions:
        return program
    return replace(
        program, equations=_sorted((*walk.builder.equations, *equations)), types=walk.builder.types
    )


# --- where a tensor is needed -------------------------------------------------------------------------------


def _chooses(equation: Equation) -> bool:
    return isinstance(equation, Assign) and equation.template.name == "select" and equation.reduce is None


def _needs(program: Program) -> dict[str, Conditions]:
    """For every tensor the conditions that hold wherever some equation or output needs its value."""
    found: dict[str, Conditions] = dict.fromkeys(program.outputs, NOWHERE_ELSE)
    for equation in reversed(program.equations):
        limited: dict[str, Conditions] = {}
        if isinstance(equation, Assign):
            own = found.get(equation.out, NOWHERE_ELSE)
            for access, conditions in _reads(equation, own):
                here = _seen_from(program, access, equation.space, conditions)
                limited[access.tensor] = limited.get(access.tensor, here) & here
        for name in reads_of(equation):
            here = limited.get(name, NOWHERE_ELSE)
            found[name] = found.get(name, here) & here
    return found


def _reads(equation: Assign, own: Conditions) -> Iterator[tuple[Access, Conditions]]:
    """The accesses of an equation, each with the conditions under which its value matters."""
    condition = equation.operands[0] if _chooses(equation) else None
    for position, operand in enumerate(equation.operands):
        if not isinstance(operand, Access):
            continue
        if position and isinstance(condition, Access):
            yield operand, own | {Condition(condition.tensor, condition.indices, position == 1)}
        else:
            yield operand, own


def _seen_from(program: Program, access: Access, space: Sequence[Size], conditions: Conditions) -> Conditions:
    """Translate conditions on the indices of a space to conditions on the axes of a tensor read there."""
    if not conditions:
        return conditions
    shape = program.types[access.tensor].shape
    axis_of = {
        index: axis
        for axis, index in enumerate(access.indices)
        if isinstance(index, int) and space[index] == shape[axis]
    }
    found = []
    for condition in conditions:
        indices: list[Index] = []
        for index in condition.indices:
            if isinstance(index, int) and index in axis_of:
                indices.append(axis_of[index])
            elif isinstance(index, Affine) and not index.terms:
                indices.append(index)
            else:
                break
        else:
            found.append(Condition(condition.tensor, tuple(indices), condition.holds))
    return frozenset(found)


def _is_risky(equation: Assign, needs: dict[str, Conditions], active: set[str]) -> bool:
    """Whether a guard is possible, and a zero cotangent could otherwise meet an infinite partial.

    Products of two matrices stay what they are: a kernel of their own is worth more than NaN in masked rows.
    """
    if not needs.get(equation.out) or is_contraction(equation) or is_matrix_product(equation):
        return False
    if equation.reduce is not None and equation.reduce.op != "sum":
        return False
    functions = {step.function for step in equation.template.tape.instructions}
    if not all(RULES[function].bounded for function in functions):
        return True
    constant = {at for at, operand in enumerate(equation.operands) if isinstance(operand, Const)}
    return "mul" in functions and any(
        not _partial_reads(equation.template, at) <= constant
        for at, operand in enumerate(equation.operands)
        if isinstance(operand, Access) and operand.tensor in active
    )


def _partial_reads(template: Template, position: int) -> set[int]:
    """The operands that the partial derivative with respect to operand `position` depends on."""
    found = partial(template, position, lone=False, with_result=False)
    return {int(symbol.name[1:]) for symbol in found.free_symbols}  # pyright: ignore[reportAttributeAccessIssue]


# --- rewriting ----------------------------------------------------------------------------------------------


class _Guarding:
    """Puts equations under guards; `builder` collects the equations that join several conditions."""

    def __init__(self, program: Program) -> None:
        self.builder = Builder.resume(program)
        self.builder.equations.clear()
        self.conditions: dict[tuple[Conditions, tuple[Size, ...]], Access] = {}

    def under(self, equation: Assign, conditions: Conditions) -> Assign:
        shape = equation.space[: equation.rank]
        key = (conditions, shape)
        if key not in self.conditions:
            self.conditions[key] = self._joined(conditions, shape, equation)
        operands = (*equation.operands, self.conditions[key])
        return replace(equation, template=guard(equation.template), operands=operands)

    def _joined(self, conditions: Conditions, shape: tuple[Size, ...], equation: Assign) -> Access:
        ordered = sorted(conditions, key=lambda c: (c.tensor, repr(c.indices), c.holds))
        accesses = tuple(Access(condition.tensor, condition.indices) for condition in ordered)
        if len(ordered) == 1 and ordered[0].holds:
            return accesses[0]
        body = _all_hold(tuple(condition.holds for condition in ordered))
        taken = self.builder.assign(body, accesses, shape, DType.BOOL, name="taken", origin=equation.origin)
        return Access(taken, IDENTITY[len(shape)])


def _all_hold(polarities: tuple[bool, ...]) -> Template:
    operands = tuple(placeholder(position) for position in range(len(polarities)))
    parts: list[sympy.Expr] = [
        operand if holds else apply("logical_not", operand)
        for operand, holds in zip(operands, polarities, strict=True)
    ]
    return composite(reduce(lambda a, b: apply("logical_and", a, b), parts), operands)


def _sorted(equations: Sequence[Equation]) -> tuple[Equation, ...]:
    """Order equations so that each follows what it reads, the earliest possible first.

    A guard may be computed after what it guards; accumulations into one tensor keep their order.
    """
    writers: dict[str, list[int]] = {}
    for number, equation in enumerate(equations):
        for name in outputs_of(equation):
            writers.setdefault(name, []).append(number)
    followers: list[list[int]] = [[] for _ in equations]
    missing = [0] * len(equations)
    for number, equation in enumerate(equations):
        before = {writers[name][-1] for name in reads_of(equation) if name in writers}
        if isinstance(equation, Accumulate):
            before.update(earlier for earlier in writers[equation.out] if earlier < number)
        for earlier in before:
            followers[earlier].append(number)
        missing[number] = len(before)
    ready = [number for number, count in enumerate(missing) if not count]
    heapify(ready)
    result: list[Equation] = []
    while ready:
        number = heappop(ready)
        result.append(equations[number])
        for later in followers[number]:
            missing[later] -= 1
            if not missing[later]:
                heappush(ready, later)
    return tuple(result)
