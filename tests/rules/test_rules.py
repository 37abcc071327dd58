"""Every row of the table of derivatives: against SymPy and mpmath, in float64, and closed under itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy

from gradc.autodiff.local import Local, jvp_template, vjp_template
from gradc.autodiff.rules import PREDICATES, RULES, rule_of
from gradc.errors import NoDerivativeRule
from gradc.ir.functions import FUNCTIONS
from gradc.ir.index.numbers import HighPrecision, MachineNumbers
from gradc.ir.index.templates import Template, operation_count, template

DIGITS = 50
NUMBERS = HighPrecision(DIGITS)
DIFFERENTIABLE = [name for name, row in RULES.items() if row.partials is not None]
PARTIALS = [(name, position) for name in DIFFERENTIABLE for position in range(FUNCTIONS[name].arity)]
# What sets a derivative apart from a difference quotient by definition, not by mathematics.
BY_DEFINITION = ("stop_gradient", "passive", "attach_gradient")


def is_discrete(name: str, position: int) -> bool:
    return name in ("sinc_derivative", "polygamma", "select") and position == 0


def is_continuous(name: str, position: int) -> bool:
    return name not in BY_DEFINITION and not is_discrete(name, position)


A, B = sympy.symbols("a b", real=True)
SYMPY: dict[str, sympy.Expr] = {
    "copy": A,
    "neg": -A,
    "add": A + B,
    "sub": A - B,
    "mul": A * B,
    "div": A / B,
    "floor_divide": sympy.floor(A / B),
    "mod": A - B * sympy.floor(A / B),
    "pow": A**B,
    "square": A**2,
    "reciprocal": 1 / A,
    "abs": sympy.Abs(A),
    "sign": sympy.sign(A),
    "maximum": sympy.Max(A, B),
    "minimum": sympy.Min(A, B),
    "fmax": sympy.Max(A, B),
    "fmin": sympy.Min(A, B),
    "floor": sympy.floor(A),
    "ceil": sympy.ceiling(A),
    "sqrt": sympy.sqrt(A),
    "cbrt": sympy.cbrt(A),
    "hypot": sympy.sqrt(A**2 + B**2),
    "exp": sympy.exp(A),
    "exp2": 2**A,
    "expm1": sympy.exp(A) - 1,
    "log": sympy.log(A),
    "log2": sympy.log(A, 2),
    "log10": sympy.log(A, 10),
    "log1p": sympy.log(1 + A),
    "logaddexp": sympy.log(sympy.exp(A) + sympy.exp(B)),
    "logaddexp2": sympy.log(2**A + 2**B, 2),
    "xlogy": A * sympy.log(B),
    "xlog1py": A * sympy.log(1 + B),
    "sin": sympy.sin(A),
    "cos": sympy.cos(A),
    "tan": sympy.tan(A),
    "arcsin": sympy.asin(A),
    "arccos": sympy.acos(A),
    "arctan": sympy.atan(A),
    "arctan2": sympy.atan2(A, B),
    "sinh": sympy.sinh(A),
    "cosh": sympy.cosh(A),
    "tanh": sympy.tanh(A),
    "arcsinh": sympy.asinh(A),
    "arccosh": sympy.acosh(A),
    "arctanh": sympy.atanh(A),
    "sinc": sympy.sin(sympy.pi * A) / (sympy.pi * A),
    "dsinc": sympy.diff(sympy.sin(sympy.pi * A) / (sympy.pi * A), A),
    "erf": sympy.erf(A),
    "erfc": sympy.erfc(A),
    "erfinv": sympy.erfinv(A),
    "ndtr": (1 + sympy.erf(A / sympy.sqrt(2))) / 2,
    "log_ndtr": sympy.log((1 + sympy.erf(A / sympy.sqrt(2))) / 2),
    "inverse_mills": sympy.diff(sympy.log((1 + sympy.erf(A / sympy.sqrt(2))) / 2), A),
    "ndtri": sympy.sqrt(2) * sympy.erfinv(2 * A - 1),
    "expit": 1 / (1 + sympy.exp(-A)),
    "log_expit": -sympy.log(1 + sympy.exp(-A)),
    "logit": sympy.log(A / (1 - A)),
    "softplus": sympy.log(1 + sympy.exp(A)),
    "gamma": sympy.gamma(A),
    "gammaln": sympy.loggamma(A),
    "digamma": sympy.digamma(A),
}
WITHOUT_SYMPY = {"fmod", "heaviside", "rint", "trunc", "copysign", "sinc_derivative", "polygamma", "select"}


def points(name: str, count: int) -> Iterator[tuple[float, ...]]:
    """Points spread over the row's domain; orders (of polygamma, ...) and conditions are whole numbers."""
    whole = name in ("sinc_derivative", "polygamma", "select")
    for k in range(count):
        point = []
        for axis, (low, high) in zip(range(FUNCTIONS[name].arity), RULES[name].domain, strict=False):
            share = (0.37 + 0.6180339887 * k + 0.4142135624 * axis) % 1.0
            value = low + (high - low) * share
            point.append(float(round(value)) if whole and axis == 0 else value)
        yield tuple(point)


def value(body: Template, *operands: Any) -> Any:
    return NUMBERS.function(body)(*(mpmath.mpf(operand) for operand in operands))


def gathered(local: Local, point: tuple[Any, ...], y: Any, y_bar: Any) -> list[Any]:
    named = {"y": y, "y_bar": y_bar}
    return [point[s] if isinstance(s, int) else named[str(s)] for s in local.sources]


def pulled_back(name: str, position: int, point: tuple[float, ...], *, lone: bool = False) -> Any:
    """The partial derivative at `point`, by the template, in high precision."""
    local = vjp_template(template(name), position, lone=lone, with_result=True)
    if local is None:
        return mpmath.mpf(0)
    return value(local.template, *gathered(local, point, value(template(name), *point), 1))


def difference_quotient(body: Template, position: int, point: tuple[Any, ...]) -> Any:
    def along(x: Any) -> Any:
        return value(body, *point[:position], x, *point[position + 1 :])

    return mpmath.diff(along, mpmath.mpf(point[position]), h=mpmath.mpf(10) ** -16)


def without_leftovers(derivative: sympy.Expr) -> sympy.Expr:
    """SymPy leaves the derivatives of step functions standing; they are zero on the domains."""
    return derivative.replace(
        lambda e: isinstance(e, sympy.Derivative | sympy.Subs | sympy.DiracDelta), lambda e: sympy.Integer(0)
    )


@pytest.fixture(autouse=True)
def _high_precision() -> Iterator[None]:
    with mpmath.workdps(DIGITS):
        yield


def test_every_row_is_compared_with_sympy_or_excused():
    assert set(SYMPY) | WITHOUT_SYMPY | set(BY_DEFINITION) == set(DIFFERENTIABLE)


@pytest.mark.parametrize(("name", "position"), [(n, p) for n, p in PARTIALS if n in SYMPY])
def test_partial_equals_sympy(name: str, position: int):
    symbol = (A, B)[position]
    derivative = without_leftovers(sympy.diff(SYMPY[name], symbol))
    for point in points(name, 2):
        exact = {s: sympy.Rational(v) for s, v in zip((A, B), point, strict=False)}
        wanted = mpmath.mpf(str(derivative.subs(exact).evalf(DIGITS)))
        assert mpmath.almosteq(pulled_back(name, position, point), wanted, 1e-40, 1e-45), point


@pytest.mark.parametrize(("name", "position"), [(n, p) for n, p in PARTIALS if is_continuous(n, p)])
def test_partial_equals_the_difference_quotient(name: str, position: int):
    for point in points(name, 3):
        wanted = difference_quotient(template(name), position, point)
        assert mpmath.almosteq(pulled_back(name, position, point), wanted, 1e-25, 1e-25), point
        assert mpmath.almosteq(pulled_back(name, position, point, lone=True), wanted, 1e-25, 1e-25), point


@pytest.mark.parametrize(("name", "position"), PARTIALS)
def test_float64_loses_no_more_than_the_condition_explains(name: str, position: int):
    local = vjp_template(template(name), position, lone=False, with_result=True)
    if local is None:
        return
    function, machine = MachineNumbers().function(local.template), MachineNumbers().function(template(name))
    for point in points(name, 12):
        scalars = [np.float64(x) for x in point]
        if name == "select":
            scalars = [np.bool_(point[0] > 0.5), *scalars[1:]]
        result = function(*gathered(local, tuple(scalars), machine(*scalars), np.float64(1)))
        exact = pulled_back(name, position, point)
        allowed = 8 * np.finfo(np.float64).eps * (abs(exact) + sensitivity(name, position, point))
        assert abs(result - exact) <= allowed, (point, result, exact)


def sensitivity(name: str, position: int, point: tuple[float, ...]) -> float:
    """How much the partial derivative changes per relative change of the operands."""
    total = 0.0
    for axis in range(len(point)):
        if is_discrete(name, axis):
            continue
        moved = tuple(x * (1 + 1e-12 * (k == axis)) for k, x in enumerate(point))
        change = pulled_back(name, position, moved) - pulled_back(name, position, point)
        total += float(abs(change)) / 1e-12
    return total


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_counts_are_those_of_the_emitted_templates(name: str):
    def count(position: int, *, lone: bool) -> int:
        local = vjp_template(template(name), position, lone=lone, with_result=True)
        return 0 if local is None else operation_count(local.template)

    row, positions = RULES[name], range(FUNCTIONS[name].arity)
    assert row.counts == tuple(count(position, lone=False) for position in positions)
    assert all(count(position, lone=True) <= row.counts[position] for position in positions)


def emitted(body: Template, *, guarded: bool) -> list[Local]:
    """All that vjp and jvp can make of a template."""
    positions = range(body.arity)
    found = [
        vjp_template(body, position, lone=lone, with_result=result, guarded=guarded)
        for position in positions
        for lone in (False, True)
        for result in (False, True)
    ]
    found += [jvp_template(body, tuple(positions), with_result=result) for result in (False, True)]
    return [local for local in found if local is not None]


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_what_the_table_emits_the_table_accepts(name: str):
    first = {local.template for local in emitted(template(name), guarded=False)}
    second = {local.template for body in first for local in emitted(body, guarded=False)}
    assert all(body.tape is not None for body in first | second)


def smooth_derivatives(name: str, order: int) -> Iterator[tuple[Template, tuple[Any, ...]]]:
    """Templates of the derivatives up to `order`, each with a point; composites after the first."""
    for point in points(name, 1):
        level: list[tuple[Template, tuple[Any, ...]]] = [(template(name), point)]
        for _ in range(order):
            following: dict[Template, tuple[Any, ...]] = {}
            for body, at in level:
                yield body, at
                for position in range(body.arity):
                    local = vjp_template(body, position, lone=False, with_result=False)
                    if local is not None:
                        following.setdefault(local.template, tuple(gathered(local, at, None, 0.75)))
            level = list(following.items())


def check_derivatives(name: str, order: int) -> None:
    order_of_point = next(points(name, 1))[0]  # of polygamma and sinc_derivative: a whole number
    for body, point in smooth_derivatives(name, order):
        for position in range(body.arity):
            if is_discrete(name, 0) and point[position] == order_of_point:
                continue
            local = vjp_template(body, position, lone=False, with_result=False)
            made = value(local.template, *gathered(local, point, None, 1)) if local else mpmath.mpf(0)
            wanted = difference_quotient(body, position, point)
            assert mpmath.almosteq(made, wanted, 1e-22, 1e-22), (body, position, point)


SMOOTH = [name for name in DIFFERENTIABLE if name not in (*BY_DEFINITION, "select")]


@pytest.mark.parametrize("name", SMOOTH)
def test_second_derivatives_equal_the_difference_quotient(name: str):
    check_derivatives(name, 2)


@pytest.mark.full
@pytest.mark.parametrize("name", SMOOTH)
def test_third_derivatives_equal_the_difference_quotient(name: str):
    check_derivatives(name, 3)


def test_a_function_without_a_row_is_an_error():
    with pytest.raises(NoDerivativeRule, match="nonesuch has no row"):
        rule_of("nonesuch")


@pytest.mark.parametrize("name", PREDICATES)
def test_predicates_say_that_they_have_no_derivative(name: str):
    assert RULES[name].partials is None
    assert vjp_template(template(name), 0, lone=False, with_result=True) is None
