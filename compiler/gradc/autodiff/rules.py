"""The table of derivatives: one row per function of the inventory.

A row gives the partial derivatives as expressions of the operands and of the result ``y``; `vjp_template` and
`jvp_template` turn them into interned templates, once per process.  A function without a derivative has a row that
says so; a function without a row is an error, never a silent zero.

Conventions at kinks are the minimum-norm subgradient, and are stated in the row; see also `kink`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sympy

from gradc.errors import NoDerivativeRule
from gradc.ir.functions import FUNCTIONS
from gradc.ir.index.templates import Template, apply, composite, placeholder

Partials = Callable[..., tuple[sympy.Expr, ...]]
Domain = tuple[tuple[float, float], ...]

PI = sympy.pi
HALF = sympy.Rational(1, 2)
LN2 = sympy.log(2)
LN10 = sympy.log(10)


def select(condition: sympy.Expr, first: object, second: object) -> sympy.Expr:
    """``first if condition else second``."""
    return apply("select", condition, sympy.sympify(first), sympy.sympify(second))


def is_zero(a: sympy.Expr) -> sympy.Expr:
    """The predicate ``a == 0``."""
    return apply("eq", a, sympy.Integer(0))


@dataclass(frozen=True, slots=True)
class ScalarRule:
    """Derivatives of one function.

    Attributes
    ----------
    function : str
        Name in the inventory.
    partials : callable
        Called with the operands and the result; returns one expression per operand.
    domain : tuple of intervals
        Where tests sample each operand.
    kink : str
        The convention at points without a derivative; empty where there are none.
    singular : bool
        The partials can be infinite or NaN at points of the domain's closure: a zero cotangent then gives an exact
        zero (a *strong zero*), so that untaken branches cannot leak NaN.
    lone : callable or None
        Partials that hold when only that operand varies, where this changes the convention.
    counts : tuple of int
        Scalar operations of each ``y_bar * partial``, selects not counted.
    source : str
        Where the formula stands.
    """

    function: str
    partials: Partials | None
    domain: Domain
    counts: tuple[int, ...]
    kink: str = ""
    singular: bool = False
    lone: Partials | None = None
    source: str = "elementary calculus"


REAL: Domain = ((-3.0, 3.0),)
POSITIVE: Domain = ((0.1, 4.0),)
UNIT: Domain = ((-0.95, 0.95),)
BELOW_ONE: Domain = ((0.05, 0.95),)
PAIR: Domain = ((-3.0, 3.0), (-3.0, 3.0))

F = apply
FLAT = "0 everywhere: the function is piecewise constant"


def _zero(*arguments: sympy.Expr) -> tuple[sympy.Expr, ...]:
    return tuple(sympy.Integer(0) for _ in arguments[:-1])


def _power(a: sympy.Expr, b: sympy.Expr, y: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    one = sympy.Integer(1)
    base = select(is_zero(b), 0, b * F("pow", a, b - one))
    exponent = select(is_zero(a), select(F("gt", b, sympy.Integer(0)), 0, -sympy.oo * one), y * F("log", a))
    return base, exponent


def _maximum(a: sympy.Expr, b: sympy.Expr, y: sympy.Expr) -> tuple[sympy.Expr, ...]:
    tie = select(F("eq", a, b), HALF, 0)
    return select(F("gt", a, b), 1, tie), select(F("gt", b, a), 1, tie)


def _minimum(a: sympy.Expr, b: sympy.Expr, y: sympy.Expr) -> tuple[sympy.Expr, ...]:
    tie = select(F("eq", a, b), HALF, 0)
    return select(F("lt", a, b), 1, tie), select(F("lt", b, a), 1, tie)


def _lone_maximum(a: sympy.Expr, b: sympy.Expr, y: sympy.Expr) -> tuple[sympy.Expr, ...]:
    return select(F("gt", a, b), 1, 0), select(F("gt", b, a), 1, 0)


def _lone_minimum(a: sympy.Expr, b: sympy.Expr, y: sympy.Expr) -> tuple[sympy.Expr, ...]:
    return select(F("lt", a, b), 1, 0), select(F("lt", b, a), 1, 0)


def _wins(better: str) -> Partials:
    """Fmax and fmin: as maximum and minimum, but an operand beside a NaN wins."""

    def partials(a: sympy.Expr, b: sympy.Expr, y: sympy.Expr) -> tuple[sympy.Expr, ...]:
        tie = select(F("eq", a, b), HALF, 0)
        left = select(F("isnan", b), 1, select(F(better, a, b), 1, tie))
        right = select(F("isnan", a), 1, select(F(better, b, a), 1, tie))
        return left, right

    return partials


def _xlogy(a: sympy.Expr, b: sympy.Expr, y: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    return F("log", b), select(is_zero(a), 0, a / b)


def _hypot(a: sympy.Expr, b: sympy.Expr, y: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    return select(is_zero(y), 0, a / y), select(is_zero(y), 0, b / y)


def _arctan2(a: sympy.Expr, b: sympy.Expr, y: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    r = F("hypot", a, b)
    return select(is_zero(r), 0, b / r / r), select(is_zero(r), 0, -(a / r / r))


def _rows() -> tuple[ScalarRule, ...]:
    row, one, two = ScalarRule, sympy.Integer(1), sympy.Integer(2)
    half_plane: Domain = ((-3.0, 3.0), (0.3, 3.0))
    tie = "ties are split evenly if both operands vary; 0 to the variable beside a constant"
    gaussian = "DLMF 7.2.1"
    return (
        row("copy", lambda a, y: (one,), REAL, (0,)),
        row("stop_gradient", _zero, REAL, (0,), kink="0 everywhere: by definition"),
        # arithmetic
        row("neg", lambda a, y: (-one,), REAL, (1,)),
        row("add", lambda a, b, y: (one, one), PAIR, (0, 0)),
        row("sub", lambda a, b, y: (one, -one), PAIR, (0, 1)),
        row("mul", lambda a, b, y: (b, a), PAIR, (1, 1)),
        row("div", lambda a, b, y: (1 / b, -y / b), half_plane, (1, 3), singular=True),
        row("floor_divide", _zero, half_plane, (0, 0), kink=FLAT),
        row(
            "mod",
            lambda a, b, y: (one, -F("floor_divide", a, b)),
            half_plane,
            (0, 3),
            kink="the derivative of the branch that floor selects",
        ),
        row(
            "pow",
            _power,
            ((0.2, 3.0), (-2.0, 2.0)),
            (4, 4),
            singular=True,
            kink="d/dx: y=0 gives 0, y>1 at x=0 gives 0; d/dy: 0 at x=0 for y>0",
        ),
        row("square", lambda a, y: (two * a,), REAL, (2,)),
        row("reciprocal", lambda a, y: (-y * y,), POSITIVE, (3,), singular=True),
        row("abs", lambda a, y: (F("sign", a),), REAL, (2,), kink="0 at 0"),
        row("sign", _zero, REAL, (0,), kink=FLAT),
        row("maximum", _maximum, PAIR, (3, 3), kink=tie, lone=_lone_maximum),
        row("minimum", _minimum, PAIR, (3, 3), kink=tie, lone=_lone_minimum),
        row("fmax", _wins("gt"), PAIR, (4, 4), kink=tie),
        row("fmin", _wins("lt"), PAIR, (4, 4), kink=tie),
        row("floor", _zero, REAL, (0,), kink=FLAT),
        row("ceil", _zero, REAL, (0,), kink=FLAT),
        row("rint", _zero, REAL, (0,), kink=FLAT),
        row("trunc", _zero, REAL, (0,), kink=FLAT),
        row(
            "copysign",
            lambda a, b, y: (F("sign", a) * F("copysign", one, b), sympy.Integer(0)),
            PAIR,
            (4, 0),
            kink="0 at 0",
        ),
        # powers and roots
        row("sqrt", lambda a, y: (HALF / y,), POSITIVE, (2,), singular=True, kink="+inf at 0 from the right"),
        row("cbrt", lambda a, y: (1 / (3 * y**2),), POSITIVE, (3,), singular=True, kink="+inf at 0"),
        row("hypot", _hypot, PAIR, (3, 3), kink="0 at the origin"),
        # exponentials and logarithms
        row("exp", lambda a, y: (y,), REAL, (1,)),
        row("exp2", lambda a, y: (y * LN2,), REAL, (2,)),
        row("expm1", lambda a, y: (y + 1,), REAL, (2,)),
        row("log", lambda a, y: (1 / a,), POSITIVE, (1,), singular=True),
        row("log2", lambda a, y: (1 / (a * LN2),), POSITIVE, (2,), singular=True),
        row("log10", lambda a, y: (1 / (a * LN10),), POSITIVE, (2,), singular=True),
        row("log1p", lambda a, y: (1 / (1 + a),), POSITIVE, (2,), singular=True),
        row("logaddexp", lambda a, b, y: (F("expit", a - b), F("expit", b - a)), PAIR, (3, 3)),
        row(
            "xlogy",
            _xlogy,
            ((-2.0, 2.0), (0.1, 4.0)),
            (2, 3),
            singular=True,
            kink="-inf in the first operand where the second is 0",
        ),
        row(
            "xlog1py",
            lambda a, b, y: (F("log1p", b), select(is_zero(a), 0, a / (1 + b))),
            ((-2.0, 2.0), (-0.5, 4.0)),
            (2, 4),
            singular=True,
        ),
        # trigonometric and hyperbolic
        row("sin", lambda a, y: (F("cos", a),), REAL, (2,), source="DLMF 4.20.1"),
        row("cos", lambda a, y: (-F("sin", a),), REAL, (3,), source="DLMF 4.20.2"),
        row("tan", lambda a, y: (1 + y**2,), ((-1.2, 1.2),), (3,), source="DLMF 4.20.3"),
        row(
            "arcsin",
            lambda a, y: (1 / F("sqrt", (1 - a) * (1 + a)),),
            UNIT,
            (5,),
            singular=True,
            source="DLMF 4.24.7",
        ),
        row(
            "arccos",
            lambda a, y: (-1 / F("sqrt", (1 - a) * (1 + a)),),
            UNIT,
            (6,),
            singular=True,
            source="DLMF 4.24.8",
        ),
        row("arctan", lambda a, y: (1 / (1 + a**2),), REAL, (3,), source="DLMF 4.24.9"),
        row("arctan2", _arctan2, half_plane, (5, 6), kink="0 at the origin"),
        row("sinh", lambda a, y: (F("cosh", a),), REAL, (2,), source="DLMF 4.34.1"),
        row("cosh", lambda a, y: (F("sinh", a),), REAL, (2,), source="DLMF 4.34.2"),
        row("tanh", lambda a, y: (1 - y**2,), REAL, (3,), source="DLMF 4.34.3"),
        row("arcsinh", lambda a, y: (1 / F("hypot", a, one),), REAL, (2,), source="DLMF 4.38.9"),
        row(
            "arccosh",
            lambda a, y: (1 / (F("sqrt", a - 1) * F("sqrt", a + 1)),),
            ((1.1, 4.0),),
            (6,),
            singular=True,
            source="DLMF 4.38.10",
        ),
        row(
            "arctanh",
            lambda a, y: (1 / ((1 - a) * (1 + a)),),
            UNIT,
            (4,),
            singular=True,
            source="DLMF 4.38.11",
        ),
        row("sinc", lambda a, y: (F("dsinc", a),), REAL, (2,)),
        row(
            "dsinc",
            lambda a, y: (select(is_zero(a), -(PI**2) / 3, -(PI**2) * F("sinc", a) - 2 * y / a),),
            ((0.3, 3.0),),
            (7,),
        ),
        # special functions
        row("erf", lambda a, y: (2 / F("sqrt", PI * one) * F("exp", -(a**2)),), REAL, (5,), source=gaussian),
        row(
            "erfc", lambda a, y: (-2 / F("sqrt", PI * one) * F("exp", -(a**2)),), REAL, (6,), source=gaussian
        ),
        row("erfinv", lambda a, y: (F("sqrt", PI * one) / 2 * F("exp", y**2),), UNIT, (5,), singular=True),
        row("ndtr", lambda a, y: (F("exp", -(a**2) / 2) / F("sqrt", 2 * PI),), REAL, (6,), source=gaussian),
        row("log_ndtr", lambda a, y: (F("exp", -(a**2) / 2 - y) / F("sqrt", 2 * PI),), REAL, (7,)),
        row("ndtri", lambda a, y: (F("sqrt", 2 * PI) * F("exp", y**2 / 2),), BELOW_ONE, (5,), singular=True),
        row("expit", lambda a, y: (y * (1 - y),), REAL, (3,)),
        row("log_expit", lambda a, y: (F("expit", -a),), REAL, (3,)),
        row("logit", lambda a, y: (1 / (a * (1 - a)),), BELOW_ONE, (3,), singular=True),
        row("softplus", lambda a, y: (F("expit", a),), REAL, (2,)),
        row("gamma", lambda a, y: (y * F("digamma", a),), POSITIVE, (3,), source="DLMF 5.2.2"),
        row("gammaln", lambda a, y: (F("digamma", a),), POSITIVE, (2,), source="DLMF 5.2.2"),
        row("digamma", lambda a, y: (F("polygamma", one, a),), POSITIVE, (2,), source="DLMF 5.15.1"),
        row(
            "polygamma",
            lambda n, a, y: (sympy.Integer(0), F("polygamma", n + 1, a)),
            ((1.0, 1.0), (0.5, 4.0)),
            (0, 3),
            source="DLMF 5.15",
        ),
        # choice; predicates have no derivative and none is needed: their result carries no cotangent
        row(
            "select",
            lambda c, a, b, y: (sympy.Integer(0), select(c, 1, 0), select(c, 0, 1)),
            ((0.0, 1.0), *PAIR),
            (0, 0, 0),
        ),
        *(row(name, None, PAIR, ()) for name in PREDICATES),
    )


PREDICATES = (
    "lt",
    "le",
    "gt",
    "ge",
    "eq",
    "ne",
    "isnan",
    "isinf",
    "isfinite",
    "logical_and",
    "logical_or",
    "logical_xor",
    "logical_not",
)

RULES: dict[str, ScalarRule] = {row.function: row for row in _rows()}


# --- From rows to templates ---------------------------------------------------------------------------------

RESULT = sympy.Symbol("y", real=True)
COTANGENT = sympy.Symbol("y_bar", real=True)


@dataclass(frozen=True, slots=True)
class Local:
    """A template for a local derivative and where its operands come from.

    `sources` holds, per operand, a position among the primal operands, ``"y"`` for the primal result, ``"y_bar"``
    for the cotangent, or ``("dot", k)`` for the tangent of operand ``k``.
    """

    template: Template
    sources: tuple[int | str | tuple[str, int], ...]


def rule_of(name: str) -> ScalarRule:
    """The row of a function, or an error naming it."""
    if name not in RULES:
        raise NoDerivativeRule(
            f"{name} has no row in the table of derivatives", do="add it to gradc.autodiff.rules"
        )
    return RULES[name]


def partial(template: Template, position: int, *, lone: bool, with_result: bool) -> sympy.Expr:
    """The partial derivative of `template` with respect to operand `position`.

    `lone` says that no other operand varies; `with_result` that the result ``y`` may be used.
    """
    key = ("partial", position, lone, with_result)
    if key not in template.cache:
        template.cache[key] = _partial(template, position, lone=lone, with_result=with_result)
    return template.cache[key]  # pyright: ignore[reportReturnType]


def _partial(template: Template, position: int, *, lone: bool, with_result: bool) -> sympy.Expr:
    result = RESULT if with_result else template.body
    if template.name in FUNCTIONS:
        arguments = tuple(placeholder(k) for k in range(template.arity))
        return _row_partials(template.name, arguments, result, lone=lone)[position]
    return _chain(template.body, placeholder(position))


def _row_partials(
    name: str, arguments: tuple[sympy.Expr, ...], result: sympy.Expr, *, lone: bool
) -> tuple[sympy.Expr, ...]:
    row = rule_of(name)
    chosen = row.lone if lone and row.lone is not None else row.partials
    return tuple(sympy.Integer(0) for _ in arguments) if chosen is None else chosen(*arguments, result)


def _chain(body: sympy.Expr, symbol: sympy.Symbol) -> sympy.Expr:
    """The derivative of a template body by the chain rule over the table; bodies are small."""
    if body is symbol:
        return sympy.Integer(1)
    if symbol not in body.free_symbols:
        return sympy.Integer(0)
    if isinstance(body, sympy.Add):
        return sympy.Add(*(_chain(term, symbol) for term in body.args))
    if isinstance(body, sympy.Mul):
        terms = []
        for at, factor in enumerate(body.args):
            if symbol in factor.free_symbols:
                terms.append(sympy.Mul(*body.args[:at], _chain(factor, symbol), *body.args[at + 1 :]))
        return sympy.Add(*terms)
    if isinstance(body, sympy.Pow):
        return body.exp * body.base ** (body.exp - 1) * _chain(body.base, symbol)
    name = type(body).__name__
    if name == "select":
        condition, first, second = body.args
        return select(condition, _chain(first, symbol), _chain(second, symbol))
    partials = _row_partials(name, body.args, body, lone=False)
    parts = zip(partials, body.args, strict=True)
    return sympy.Add(
        *(outer * _chain(argument, symbol) for outer, argument in parts if symbol in argument.free_symbols)
    )


def is_singular(template: Template) -> bool:
    """Whether a partial of the template can be infinite or NaN although the value is not used."""
    return any(RULES[step.function].singular for step in template.tape.instructions if step.function in RULES)


def vjp_template(template: Template, position: int, *, lone: bool, with_result: bool) -> Local | None:
    """The template of ``y_bar * partial`` for one operand; None where the partial is zero."""
    key = ("vjp", position, lone, with_result)
    if key not in template.cache:
        local = partial(template, position, lone=lone, with_result=with_result)
        product = _into_select(local, COTANGENT)
        if is_singular(template) and local != 0:
            product = select(is_zero(COTANGENT), 0, product)
        template.cache[key] = None if local == 0 else _local(product)
    return template.cache[key]  # pyright: ignore[reportReturnType]


def jvp_template(template: Template, active: tuple[int, ...], *, with_result: bool) -> Local | None:
    """The template of ``sum of partial * tangent`` over the active operands; None where it is zero."""
    key = ("jvp", active, with_result)
    if key not in template.cache:
        total = sympy.Integer(0)
        for position in active:
            local = partial(template, position, lone=len(active) == 1, with_result=with_result)
            tangent = sympy.Symbol(f"dot{position}", real=True)
            term = _into_select(local, tangent)
            if is_singular(template) and local != 0:
                term = select(is_zero(tangent), 0, term)
            total = total + term
        template.cache[key] = None if total == 0 else _local(total)
    return template.cache[key]  # pyright: ignore[reportReturnType]


def _into_select(local: sympy.Expr, factor: sympy.Expr) -> sympy.Expr:
    """``local * factor`` with the factor moved into the arms of a select: an untaken arm is assigned, not scaled."""
    if type(local).__name__ == "select":
        condition, first, second = local.args
        return select(condition, _into_select(first, factor), _into_select(second, factor))
    return local * factor


def _local(expression: sympy.Expr) -> Local:
    """Order: the cotangent first, then the primal operands, the result, the tangents."""

    def order(symbol: sympy.Symbol) -> tuple[int, int]:
        name = symbol.name
        if name == "y_bar":
            return 0, 0
        if name == "y":
            return 2, 0
        return (3, int(name[3:])) if name.startswith("dot") else (1, int(name[1:]))

    def source(symbol: sympy.Symbol) -> int | str | tuple[str, int]:
        rank, position = order(symbol)
        return symbol.name if rank in (0, 2) else position if rank == 1 else ("dot", position)

    used = tuple(sorted(expression.free_symbols, key=order))
    return Local(composite(expression, used), tuple(source(symbol) for symbol in used))
