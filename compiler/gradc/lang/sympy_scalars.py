"""Heads of scalar SymPy expressions: numbers, arithmetic, functions, conditions, arms, indexed sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import sympy
from sympy.codegen import cfunctions
from sympy.logic import boolalg
from sympy.tensor.indexed import Idx

from gradc.errors import InputRefused
from gradc.lang.emit import SizeValue
from gradc.lang.indexed import Position
from gradc.lang.sympy_reader import Node, Plan, Planner, Reader, Result, Scope, shown


def constant(result: Result) -> Plan:
    """Return a plan without children."""
    return Plan((), lambda: result)


# --- leaves -------------------------------------------------------------------------------------------------


def plan_number(reader: Reader, node: Node, scope: Scope) -> Plan:
    """Numbers are rounded once, from their exact value."""
    return constant(number(node))


def number(node: Node) -> float | int:
    """Return the Python number nearest to a SymPy one."""
    try:
        if isinstance(node, sympy.Integer):
            return int(node) if abs(node.p) < 2**53 else float(node.p)
        if isinstance(node, sympy.Rational):
            return node.p / node.q
        if isinstance(node, sympy.NumberSymbol):
            return float(node.evalf(30))
        value = float(node)
    except OverflowError:
        value = math.inf
    if math.isinf(value) and node not in (sympy.oo, -sympy.oo):
        raise InputRefused(f"{shown(node)} is too large", why="float64 ends at about 1.8e308", do="rescale")
    return value


def plan_symbol(reader: Reader, node: Node, scope: Scope) -> Plan:
    """Plan a variable, the index of a sum, or a size known from a shape."""
    if node in scope.bound:
        return constant(Position(scope.bound[node]))
    if node in scope.aliases:
        return Plan((scope.aliases[node],), lambda value: value)
    value = reader.input(node, scope)
    if value is not None:
        return constant(value)
    if node in reader.sizes:
        size = reader.emit.solver.resolve(reader.sizes[node])
        return constant(size if isinstance(size, int) else SizeValue(size))
    if isinstance(node, Idx):
        raise InputRefused(f"the index {node} is not summed over", do="write Sum(..., (i, 0, n - 1))")
    twins = [known for known in reader.inputs if getattr(known, "name", None) == node.name]
    raise InputRefused(
        f"the symbol {node} is not among the arguments",
        why=f"an argument has the same name but other assumptions: {_assumptions(twins[0])} there, "
        f"{_assumptions(node)} here"
        if twins
        else f"the arguments are {', '.join(map(str, reader.inputs)) or 'none'}",
        do="use one and the same Symbol object" if twins else f"add it: args=(..., {node})",
        code="E_SYMPY_SYMBOL",
    )


def _assumptions(symbol: Node) -> str:
    stated = [f"{name}={value}" for name, value in getattr(symbol, "_assumptions_orig", {}).items()]
    return ", ".join(stated) or "none"


def plan_truth(reader: Reader, node: Node, scope: Scope) -> Plan:
    """Plan ``True`` and ``False``."""
    return constant(node is sympy.true)


# --- arithmetic ---------------------------------------------------------------------------------------------


class Magnitude:
    """A term of a sum without its minus sign, so that ``x - y`` is a subtraction."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.args = node.args


def is_negative(node: Node) -> bool:
    """Whether a term of a sum carries a minus sign of its own (not: whether its value is negative)."""
    if isinstance(node, sympy.Mul):
        return node.args[0] is sympy.S.NegativeOne
    return isinstance(node, sympy.Rational | sympy.Float) and bool(node.is_negative)


def plan_add(reader: Reader, node: Node, scope: Scope) -> Plan:
    """Left to right; ``-y + x`` is ``x - y``, which is the same number."""
    signs = [is_negative(term) for term in node.args]
    children = tuple(
        (Magnitude(term) if negative else term, scope)
        for term, negative in zip(node.args, signs, strict=True)
    )

    def finish(*values: Result) -> Result:
        terms = list(zip(signs, values, strict=True))
        if signs[0] and len(terms) > 1 and not signs[1]:
            terms[:2] = [terms[1], terms[0]]
        (negative, total), *rest = terms
        total = reader.apply("neg", total) if negative else total
        for negative, value in rest:
            total = reader.apply("sub" if negative else "add", total, value)
        return total

    return Plan(children, finish)


def plan_magnitude(reader: Reader, node: Magnitude, scope: Scope) -> Plan:
    """Plan the absolute value of the literal, the other factors as they are."""
    if isinstance(node.node, sympy.Mul):
        return product(reader, node.node.args[1:], scope, negative=False)
    return constant(-number(node.node))


def plan_mul(reader: Reader, node: Node, scope: Scope) -> Plan:
    """One numerator divided by one denominator."""
    negative = node.args[0] is sympy.S.NegativeOne
    return product(reader, node.args[1:] if negative else node.args, scope, negative=negative)


def product(reader: Reader, factors: tuple[Node, ...], scope: Scope, *, negative: bool) -> Plan:
    """Factors with a negative constant exponent go below the bar."""
    below = [factor for factor in factors if has_negative_exponent(factor)]
    above = [factor for factor in factors if not has_negative_exponent(factor)]
    exponents = [-number(factor.exp) for factor in below]
    children = (*((factor, scope) for factor in above), *((factor.base, scope) for factor in below))

    def multiplied(values: list[Result]) -> Result:
        total = values[0]
        for value in values[1:]:
            total = reader.multiply(total, value)
        return total

    def finish(*values: Result) -> Result:
        numerator = list(values[: len(above)])
        raised = zip(values[len(above) :], exponents, strict=True)
        denominator = [base if e == 1 else reader.power(base, e) for base, e in raised]
        if not denominator:
            result = multiplied(numerator)
        elif not numerator:
            result = reader.apply("reciprocal", multiplied(denominator))
        else:
            result = reader.apply("div", multiplied(numerator), multiplied(denominator))
        return reader.apply("neg", result) if negative else result

    return Plan(children, finish)


def has_negative_exponent(factor: Node) -> bool:
    """Whether a factor is a power with a negative constant exponent."""
    if not isinstance(factor, sympy.Pow):
        return False
    return isinstance(factor.exp, sympy.Rational | sympy.Float) and bool(factor.exp.is_negative)


def plan_pow(reader: Reader, node: Node, scope: Scope) -> Plan:
    """Powers of e are exponentials."""
    base, exponent = node.args
    if base is sympy.S.Exp1:
        return Plan(((exponent, scope),), lambda value: reader.apply("exp", value))
    if isinstance(exponent, sympy.Rational | sympy.Float):
        power = number(exponent)
        return Plan(((base, scope),), lambda value: reader.power(value, power))
    return Plan(((base, scope), (exponent, scope)), reader.power)


# --- functions ----------------------------------------------------------------------------------------------

DIRECT: dict[type, str] = {
    sympy.exp: "exp",
    sympy.sin: "sin",
    sympy.cos: "cos",
    sympy.tan: "tan",
    sympy.asin: "arcsin",
    sympy.acos: "arccos",
    sympy.atan: "arctan",
    sympy.atan2: "arctan2",
    sympy.sinh: "sinh",
    sympy.cosh: "cosh",
    sympy.tanh: "tanh",
    sympy.asinh: "arcsinh",
    sympy.acosh: "arccosh",
    sympy.atanh: "arctanh",
    sympy.Abs: "abs",
    sympy.sign: "sign",
    sympy.floor: "floor",
    sympy.ceiling: "ceil",
    sympy.Mod: "mod",
    sympy.erf: "erf",
    sympy.erfc: "erfc",
    sympy.erfinv: "erfinv",
    sympy.gamma: "gamma",
    sympy.loggamma: "gammaln",
    sympy.digamma: "digamma",
    cfunctions.log1p: "log1p",
    cfunctions.expm1: "expm1",
    cfunctions.exp2: "exp2",
    cfunctions.log2: "log2",
    cfunctions.log10: "log10",
    cfunctions.hypot: "hypot",
    cfunctions.Cbrt: "cbrt",
    cfunctions.Sqrt: "sqrt",
    sympy.Eq: "eq",
    sympy.Ne: "ne",
    sympy.StrictLessThan: "lt",
    sympy.LessThan: "le",
    sympy.StrictGreaterThan: "gt",
    sympy.GreaterThan: "ge",
    boolalg.Not: "logical_not",
    boolalg.ITE: "select",
}

FOLDED: dict[type, str] = {
    sympy.Max: "maximum",
    sympy.Min: "minimum",
    boolalg.And: "logical_and",
    boolalg.Or: "logical_or",
    boolalg.Xor: "logical_xor",
}

COMPOSED: dict[type, Callable[..., Any]] = {
    sympy.cot: lambda f, x: f("reciprocal", f("tan", x)),
    sympy.sec: lambda f, x: f("reciprocal", f("cos", x)),
    sympy.csc: lambda f, x: f("reciprocal", f("sin", x)),
    sympy.acot: lambda f, x: f("arctan", f("reciprocal", x)),
    sympy.asec: lambda f, x: f("arccos", f("reciprocal", x)),
    sympy.acsc: lambda f, x: f("arcsin", f("reciprocal", x)),
    sympy.coth: lambda f, x: f("reciprocal", f("tanh", x)),
    sympy.sech: lambda f, x: f("reciprocal", f("cosh", x)),
    sympy.csch: lambda f, x: f("reciprocal", f("sinh", x)),
    sympy.acoth: lambda f, x: f("arctanh", f("reciprocal", x)),
    sympy.asech: lambda f, x: f("arccosh", f("reciprocal", x)),
    sympy.acsch: lambda f, x: f("arcsinh", f("reciprocal", x)),
    sympy.sinc: lambda f, x: f(
        "sinc", f("div", x, math.pi)
    ),  # SymPy's is sin(x)/x, the inventory's sin(pi x)/(pi x)
    sympy.log: lambda f, x, *base: f("div", f("log", x), f("log", base[0])) if base else f("log", x),
    sympy.frac: lambda f, x: f("sub", x, f("floor", x)),
    sympy.factorial: lambda f, x: f("gamma", f("add", x, 1)),
    sympy.erf2: lambda f, x, y: f("sub", f("erf", y), f("erf", x)),
    sympy.erfcinv: lambda f, x: f("div", f("ndtri", f("div", x, 2)), -math.sqrt(2)),
    sympy.Heaviside: lambda f, x, half: f(
        "select", f("gt", x, 0), 1, f("select", f("lt", x, 0), 0, f("select", f("eq", x, 0), half, math.nan))
    ),
    sympy.re: lambda f, x: x,
    sympy.conjugate: lambda f, x: x,
    sympy.UnevaluatedExpr: lambda f, x: x,
}


def plan_direct(reader: Reader, node: Node, scope: Scope) -> Plan:
    """Plan a function of the inventory."""
    name = DIRECT[type(node)]
    return Plan(tuple((argument, scope) for argument in node.args), lambda *v: reader.apply(name, *v))


def plan_folded(reader: Reader, node: Node, scope: Scope) -> Plan:
    """Plan an associative function of many arguments."""
    name = FOLDED[type(node)]

    def finish(*values: Result) -> Result:
        total = values[0]
        for value in values[1:]:
            total = reader.apply(name, total, value)
        return total

    return Plan(tuple((argument, scope) for argument in node.args), finish)


def plan_composed(reader: Reader, node: Node, scope: Scope) -> Plan:
    """Plan a function made of inventory functions."""
    recipe = COMPOSED[type(node)]
    return Plan(tuple((argument, scope) for argument in node.args), lambda *v: recipe(reader.apply, *v))


def plan_polygamma(reader: Reader, node: Node, scope: Scope) -> Plan:
    """Plan a polygamma function, whose order must be a whole number: there is no derivative in it."""
    order, argument = node.args
    if not isinstance(order, sympy.Integer) or order.p < 0:
        raise InputRefused(
            f"polygamma of order {shown(order)}", why="the order is a whole number", do="use 0, 1, 2"
        )
    if order.p == 0:
        return Plan(((argument, scope),), lambda value: reader.apply("digamma", value))
    return Plan(((argument, scope),), lambda value: reader.apply("polygamma", int(order), value))


HEADS: dict[type, Planner] = {
    sympy.Number: plan_number,
    sympy.NumberSymbol: plan_number,
    sympy.Symbol: plan_symbol,
    Idx: plan_symbol,
    boolalg.BooleanAtom: plan_truth,
    sympy.Add: plan_add,
    sympy.Mul: plan_mul,
    sympy.Pow: plan_pow,
    Magnitude: plan_magnitude,
    sympy.polygamma: plan_polygamma,
    **dict.fromkeys(DIRECT, plan_direct),
    **dict.fromkeys(FOLDED, plan_folded),
    **dict.fromkeys(COMPOSED, plan_composed),
}

__all__ = ["HEADS", "constant"]
