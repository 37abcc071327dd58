"""The table of derivatives: one row per function of the inventory.

A row gives the partial derivatives as expressions of the operands and of the result ``y``;
`gradc.autodiff.local` turns them into templates.  A function without a derivative has a row that says so; a
function without a row is an error, never a silent zero.

Conventions at kinks are the minimum-norm subgradient, stated in the row.  Three rules for formulas:
* a small factor is computed directly: ``1 / cosh(a)**2``, not ``1 - tanh(a)**2``, where that cancels;
* a guard against 0/0 covers the singular point alone, because its arm is flat: guarding ``a == 0`` where only
  ``a == b == 0`` is singular would make the next derivative wrong on the whole line;
* a quotient that would overflow if it were merged with other factors is `held`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sympy

from gradc.errors import NoDerivativeRule
from gradc.ir.index.templates import apply, function_class

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
    """Predicate ``a == 0``."""
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
        A partial can be infinite or NaN at an ordinary point.  A zero cotangent then gives an exact zero (a
        *strong zero*), so that arms not taken cannot leak NaN.
    bounded : bool
        No partial is infinite or NaN, whatever the operands.  The others get a strong zero where their value
        may end in an arm not taken.  Multiplication counts as bounded: a contraction stays a sum of products.
    lone : callable or None
        Partials that hold when only that operand varies, where this changes the convention.
    counts : tuple of int
        Scalar operations of each ``y_bar * partial``, given ``y``, as `operation_count` counts them.
    source : str
        Where the formula stands.
    """

    function: str
    partials: Partials | None
    domain: Domain
    counts: tuple[int, ...]
    kink: str = ""
    singular: bool = False
    bounded: bool = False
    lone: Partials | None = None
    source: str = "elementary calculus"


REAL: Domain = ((-3.0, 3.0),)
POSITIVE: Domain = ((0.1, 4.0),)
UNIT: Domain = ((-0.95, 0.95),)
BELOW_ONE: Domain = ((0.05, 0.95),)
PAIR: Domain = ((-3.0, 3.0), (-3.0, 3.0))

F = apply
FLAT = "0 everywhere: the function is piecewise constant"


def held(name: str, *arguments: sympy.Expr) -> sympy.Expr:
    """Arithmetic operation that SymPy leaves alone: ``b / r / r`` stays two divisions."""
    return function_class(name)(*arguments)


def both(first: sympy.Expr, second: sympy.Expr) -> sympy.Expr:
    """Predicate ``first and second``."""
    return F("logical_and", first, second)


def _zero(*arguments: sympy.Expr) -> tuple[sympy.Expr, ...]:
    return tuple(sympy.Integer(0) for _ in arguments[:-1])


def _power(a: sympy.Expr, b: sympy.Expr, y: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    base = select(both(is_zero(a), is_zero(b)), 0, b * F("pow", a, b - sympy.Integer(1)))
    exponent = select(both(is_zero(a), is_zero(y)), 0, y * F("log", a))
    return base, exponent


def _extreme(loses: str) -> tuple[Partials, Partials]:
    """Give the partials of maximum or minimum, for two operands that vary and for one that does.

    `loses` compares a loser to a winner.
    An operand that is NaN does not stop the cotangent: the comparisons fail and the operands count as tied.
    """

    def share(own: sympy.Expr, other: sympy.Expr) -> sympy.Expr:
        return select(F(loses, own, other), 0, select(F(loses, other, own), 1, HALF))

    def lone(own: sympy.Expr, other: sympy.Expr) -> sympy.Expr:
        return select(F({"lt": "le", "gt": "ge"}[loses], own, other), 0, 1)

    return (
        lambda a, b, y: (share(a, b), share(b, a)),
        lambda a, b, y: (lone(a, b), lone(b, a)),
    )


def _extreme_but_nan(not_better: str) -> tuple[Partials, Partials]:
    """As `_extreme` for fmax and fmin: an operand beside a NaN wins."""

    def wins(own: sympy.Expr, other: sympy.Expr) -> sympy.Expr:
        return both(F("logical_not", F(not_better, own, other)), F("logical_not", F("isnan", own)))

    def share(own: sympy.Expr, other: sympy.Expr) -> sympy.Expr:
        return select(wins(own, other), 1, select(wins(other, own), 0, HALF))

    return (
        lambda a, b, y: (share(a, b), share(b, a)),
        lambda a, b, y: (select(wins(a, b), 1, 0), select(wins(b, a), 1, 0)),
    )


def _abs(a: sympy.Expr, y: sympy.Expr) -> tuple[sympy.Expr]:
    return (select(is_zero(a), 0, select(F("lt", a, sympy.Integer(0)), -1, 1)),)


def _copysign(a: sympy.Expr, b: sympy.Expr, y: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    one = sympy.Integer(1)
    return select(is_zero(a), 0, F("copysign", one, a) * F("copysign", one, b)), sympy.Integer(0)


def _difference(a: sympy.Expr, b: sympy.Expr) -> sympy.Expr:
    """Difference ``a - b``, 0 for equal infinities."""
    return select(both(F("eq", a, b), F("isinf", a)), 0, a - b)


def _xlogy(a: sympy.Expr, b: sympy.Expr, y: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    return F("log", b), select(both(is_zero(a), is_zero(b)), 0, a / b)


def _xlog1py(a: sympy.Expr, b: sympy.Expr, y: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    return F("log1p", b), select(both(is_zero(a), is_zero(1 + b)), 0, a / (1 + b))


def _hypot(a: sympy.Expr, b: sympy.Expr, y: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    return select(is_zero(y), 0, held("div", a, y)), select(is_zero(y), 0, held("div", b, y))


def _arctan2(a: sympy.Expr, b: sympy.Expr, y: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    r = F("hypot", a, b)  # two divisions by r rather than one by r*r, which overflows at 1e200
    over = held("div", held("div", b, r), r), -held("div", held("div", a, r), r)
    return select(is_zero(r), 0, over[0]), select(is_zero(r), 0, over[1])


def _tanh(a: sympy.Expr, y: sympy.Expr) -> tuple[sympy.Expr]:
    return (select(F("lt", y**2, HALF), 1 - y**2, 1 / F("cosh", a) ** 2),)


def _rows() -> tuple[ScalarRule, ...]:
    row, one, root = ScalarRule, sympy.Integer(1), sympy.sqrt
    half_plane: Domain = ((-3.0, 3.0), (0.3, 3.0))
    tie = "ties are split evenly if both operands vary; 0 to the variable beside a constant"
    largest, smallest = _extreme("lt"), _extreme("gt")
    largest_number, smallest_number = _extreme_but_nan("le"), _extreme_but_nan("ge")
    gaussian = "DLMF 7.2.1"
    return (
        row("copy", lambda a, y: (one,), REAL, (0,), bounded=True),
        row("stop_gradient", _zero, REAL, (0,), kink="0 everywhere: by definition", bounded=True),
        row("passive", _zero, REAL, (0,), kink="0 everywhere: by definition", bounded=True),
        row(
            "attach_gradient",
            lambda a, b, y: (one, one),
            PAIR,
            (0, 0),
            kink="1 in both: by definition",
            bounded=True,
        ),
        # arithmetic
        row("neg", lambda a, y: (-one,), REAL, (1,), bounded=True),
        row("add", lambda a, b, y: (one, one), PAIR, (0, 0), bounded=True),
        row("sub", lambda a, b, y: (one, -one), PAIR, (0, 1), bounded=True),
        row("mul", lambda a, b, y: (b, a), PAIR, (1, 1), bounded=True),
        row("div", lambda a, b, y: (1 / b, -y / b), half_plane, (1, 3), singular=True),
        row("floor_divide", _zero, half_plane, (0, 0), kink=FLAT, bounded=True),
        row(
            "mod",
            lambda a, b, y: (one, -F("floor_divide", a, b)),
            half_plane,
            (0, 3),
            kink="the derivative of the branch that floor selects",
        ),
        row(
            "fmod",
            lambda a, b, y: (one, -F("rint", held("div", a - y, b))),
            half_plane,
            (0, 5),
            kink="the derivative of the branch that truncation selects",
        ),
        row(
            "pow",
            _power,
            ((0.2, 3.0), (-2.0, 2.0)),
            (4, 3),
            singular=True,
            kink="d/dx: y=0 gives 0, y>1 at x=0 gives 0; d/dy: 0 at x=0 for y>0",
        ),
        row("square", lambda a, y: (2 * a,), REAL, (2,)),
        row("reciprocal", lambda a, y: (-y * y,), POSITIVE, (3,), singular=True),
        row("abs", _abs, REAL, (1,), kink="0 at 0", bounded=True),
        row("sign", _zero, REAL, (0,), kink=FLAT, bounded=True),
        row(
            "heaviside",
            lambda a, b, y: (sympy.Integer(0), select(is_zero(a), 1, 0)),
            PAIR,
            (0, 0),
            kink=FLAT + "; 1 in the second operand where the first is 0",
            bounded=True,
        ),
        row("maximum", largest[0], PAIR, (1, 1), kink=tie, lone=largest[1], bounded=True),
        row("minimum", smallest[0], PAIR, (1, 1), kink=tie, lone=smallest[1], bounded=True),
        row("fmax", largest_number[0], PAIR, (1, 1), kink=tie, lone=largest_number[1], bounded=True),
        row("fmin", smallest_number[0], PAIR, (1, 1), kink=tie, lone=smallest_number[1], bounded=True),
        row("floor", _zero, REAL, (0,), kink=FLAT, bounded=True),
        row("ceil", _zero, REAL, (0,), kink=FLAT, bounded=True),
        row("rint", _zero, REAL, (0,), kink=FLAT, bounded=True),
        row("trunc", _zero, REAL, (0,), kink=FLAT, bounded=True),
        row("copysign", _copysign, PAIR, (4, 0), kink="0 at 0; 0 in the second operand", bounded=True),
        # powers and roots
        row("sqrt", lambda a, y: (HALF / y,), POSITIVE, (2,), singular=True, kink="+inf at 0 from the right"),
        row("cbrt", lambda a, y: (1 / (3 * y**2),), POSITIVE, (3,), singular=True, kink="+inf at 0"),
        row("hypot", _hypot, PAIR, (2, 2), kink="0 at the origin"),
        # exponentials and logarithms
        row("exp", lambda a, y: (y,), REAL, (1,)),
        row("exp2", lambda a, y: (y * LN2,), REAL, (2,)),
        row("expm1", lambda a, y: (F("exp", a),), REAL, (2,)),
        row("log", lambda a, y: (1 / a,), POSITIVE, (1,), singular=True),
        row("log2", lambda a, y: (1 / (a * LN2),), POSITIVE, (2,), singular=True),
        row("log10", lambda a, y: (1 / (a * LN10),), POSITIVE, (2,), singular=True),
        row("log1p", lambda a, y: (1 / (1 + a),), POSITIVE, (2,), singular=True),
        row(
            "logaddexp",
            lambda a, b, y: (F("expit", _difference(a, b)), F("expit", _difference(b, a))),
            PAIR,
            (3, 3),
            kink="split evenly between equal infinities",
        ),
        row(
            "logaddexp2",
            lambda a, b, y: (F("expit", LN2 * _difference(a, b)), F("expit", LN2 * _difference(b, a))),
            PAIR,
            (4, 4),
            kink="split evenly between equal infinities",
        ),
        row(
            "xlogy",
            _xlogy,
            ((-2.0, 2.0), (0.1, 4.0)),
            (2, 2),
            singular=True,
            kink="-inf in the first operand where the second is 0",
        ),
        row(
            "xlog1py",
            _xlog1py,
            ((-2.0, 2.0), (-0.5, 4.0)),
            (2, 3),
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
        row("arctan2", _arctan2, half_plane, (4, 5), kink="0 at the origin"),
        row("sinh", lambda a, y: (F("cosh", a),), REAL, (2,), source="DLMF 4.34.1"),
        row("cosh", lambda a, y: (F("sinh", a),), REAL, (2,), source="DLMF 4.34.2"),
        row("tanh", _tanh, REAL, (6,), source="DLMF 4.34.3, 4.28.8"),
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
        row("dsinc", lambda a, y: (F("sinc_derivative", sympy.Integer(2), a),), REAL, (2,)),
        row(
            "sinc_derivative",
            lambda n, a, y: (sympy.Integer(0), F("sinc_derivative", n + 1, a)),
            ((0.0, 6.0), (-3.0, 3.0)),
            (0, 3),
        ),
        # special functions
        row("erf", lambda a, y: (2 / root(PI) * F("exp", -(a**2)),), REAL, (5,), source=gaussian),
        row("erfc", lambda a, y: (-2 / root(PI) * F("exp", -(a**2)),), REAL, (5,), source=gaussian),
        row("erfinv", lambda a, y: (root(PI) / 2 * F("exp", y**2),), UNIT, (4,), singular=True),
        row("ndtr", lambda a, y: (F("exp", -(a**2) / 2) / root(2 * PI),), REAL, (5,), source=gaussian),
        row("log_ndtr", lambda a, y: (F("inverse_mills", a),), REAL, (2,)),
        row("inverse_mills", lambda a, y: (-y * (a + y),), REAL, (4,)),
        row("ndtri", lambda a, y: (root(2 * PI) * F("exp", y**2 / 2),), BELOW_ONE, (5,), singular=True),
        row("expit", lambda a, y: (y * F("expit", -a),), REAL, (4,)),
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
            bounded=True,
        ),
        *(row(name, None, PAIR, (), bounded=True) for name in PREDICATES),
        # integers have no derivative: what is drawn is a constant
        row("random_bits", None, (), (), bounded=True),
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


def rule_of(name: str) -> ScalarRule:
    """Row of a function, or an error naming it."""
    if name not in RULES:
        raise NoDerivativeRule(
            f"{name} has no row in the table of derivatives", do="add it to gradc.autodiff.rules"
        )
    return RULES[name]
