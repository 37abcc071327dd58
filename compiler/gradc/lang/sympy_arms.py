"""Arms of ``Piecewise``, and derivatives at arms that hold at a point only."""

from __future__ import annotations

import math

import sympy
from sympy.functions.elementary.piecewise import ExprCondPair
from sympy.logic import boolalg
from sympy.tensor.indexed import Indexed

from gradc.lang.sympy_reader import Node, Plan, Planner, Reader, Result, Scope


class Arms:
    """The arms of a `Piecewise` from some position on."""

    def __init__(self, pairs: tuple[ExprCondPair, ...]) -> None:
        self.pairs = pairs
        self.args = pairs
        self._rest: Arms | None = None

    @property
    def rest(self) -> Arms:
        """All but the first arm; always the same object."""
        if self._rest is None:
            self._rest = Arms(self.pairs[1:])
        return self._rest


def plan_piecewise(reader: Reader, node: Node, scope: Scope) -> Plan:
    """Plan the first arm whose condition holds; NaN if none does."""
    arms = Arms(node.args)
    return Plan(((arms, scope),), lambda value: value)


def plan_arms(reader: Reader, arms: Arms, scope: Scope) -> Plan:
    """One arm against the rest."""
    if not arms.pairs:
        return Plan((), lambda: math.nan)
    value, condition = arms.pairs[0].args
    if condition is sympy.true:
        return Plan(((value, scope),), lambda result: result)
    if len(arms.pairs) > 1:
        if is_thin(condition):
            return point_arm(reader, condition, value, arms.rest, scope)
        if is_thin(condition, complement=True):
            return point_arm(reader, condition, arms.rest, value, scope, complement=True)
    children = ((condition, scope), (value, scope), (arms.rest, scope))
    return Plan(children, lambda *v: reader.apply("select", *v))


def is_thin(condition: Node, *, complement: bool = False) -> bool:
    """Whether a condition (or its complement) holds on a surface only: equations, and what implies one."""
    if isinstance(condition, boolalg.Not):
        return is_thin(condition.args[0], complement=not complement)
    if isinstance(condition, sympy.Ne if complement else sympy.Eq):
        return True
    if isinstance(condition, boolalg.Or if complement else boolalg.And):
        return any(is_thin(part, complement=complement) for part in condition.args)
    if isinstance(condition, boolalg.And if complement else boolalg.Or):
        return all(is_thin(part, complement=complement) for part in condition.args)
    return False


def point_arm(
    reader: Reader, condition: Node, point: Node, around: Node, scope: Scope, *, complement: bool = False
) -> Plan:
    """Plan an arm on a surface such as ``Eq(x, 0)``: its value holds there, not its derivative across it.

    A variable of the condition leaves the surface when it moves, so its derivative is that of the arm around;
    any other variable stays on it, so its derivative is that of the arm itself.  The derivative of
    ``Piecewise((2*x, Eq(x, 0)), (sin(x), True))`` at 0 is 1; that of ``Piecewise((x, Eq(k, 1)), (0, True))``
    with respect to x is 1 where k is 1.  Where the arm around has no finite derivative on the surface, as
    ``sin(x)/x`` at 0, the result is NaN: `sympy.sinc` is the function to use there.
    """
    crossing = leaves_of(condition, scope) - scope.detached
    across = leaves_of(around, scope)
    along = frozenset(across - crossing)
    inner = reader.detach(scope, frozenset(crossing & leaves_of(point, scope)))
    children = ((condition, scope), (point, inner), (around, scope))
    if crossing & across:
        children = (*children, (around, reader.detach(scope, along)))

    def finish(holds: Result, value: Result, other: Result, carrier: Result | None = None) -> Result:
        if carrier is not None:
            value = reader.apply("attach_gradient", value, carrier)
        first, second = (other, value) if complement else (value, other)
        return reader.apply("select", holds, first, second)

    return Plan(children, finish)


def leaves_of(node: Node, scope: Scope) -> frozenset[Node]:
    """Return the variables below a node; an element of an array counts by itself."""
    found: set[Node] = set()
    seen: set[int] = set()
    stack = [node]
    while stack:
        current = stack.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, sympy.Symbol | sympy.MatrixSymbol | Indexed):
            found.add(current)
        else:  # the condition of an inner arm carries no derivative
            stack.extend(current.args[:1] if isinstance(current, ExprCondPair) else current.args)
    return frozenset(found - set(scope.bound))


HEADS: dict[type, Planner] = {sympy.Piecewise: plan_piecewise, Arms: plan_arms}
