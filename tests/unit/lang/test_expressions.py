import mpmath
import numpy as np
import pytest
import sympy as sp
from sympy import (
    Add,
    Eq,
    Float,
    Function,
    IndexedBase,
    Matrix,
    MatrixSymbol,
    Mul,
    Ne,
    Piecewise,
    Pow,
    Rational,
    Sum,
)
from sympy.codegen import cfunctions
from tests.unit.lang.front_ends import assert_gradient, of_expression, slopes_of, value_of

from gradc.autodiff.vjp import gradient
from gradc.errors import ArgumentError, GradcError, InputRefused
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Assign
from gradc.ir.index.verify import verify
from gradc.lang.expressions import HEADS, is_expression

x, y, k = sp.symbols("x y k")
i, j, n, m = sp.symbols("i j n m", integer=True)

# --- functions against mpmath -------------------------------------------------------------------------------

# The head, an expression and a smooth point of it.
CASES = [
    (sp.Add, x + 2 * y - 3, (0.7, 1.3)),
    (sp.Mul, -x * y * Rational(2, 7) / (x + y), (0.7, 1.3)),
    (sp.Pow, x**3 + x**-2 + sp.sqrt(x) / y ** Rational(3, 2) + x**y + 2**x + x**-y, (0.7, 1.3)),
    (sp.Pow, 1 / sp.sqrt(x) + x**sp.pi + x ** Float(2.5), (0.7, 1.3)),
    (sp.NumberSymbol, sp.pi * x + sp.E * y + sp.GoldenRatio, (0.7, 1.3)),
    (sp.exp, sp.exp(-x) * y + sp.exp(2), (0.7, 1.3)),
    (sp.log, sp.log(x) * sp.log(y, 10), (0.7, 1.3)),
    (sp.sin, sp.sin(x) * y, (0.7, 1.3)),
    (sp.cos, sp.cos(x * y), (0.7, 1.3)),
    (sp.tan, sp.tan(x) / y, (0.7, 1.3)),
    (sp.cot, sp.cot(x * y), (0.7, 1.3)),
    (sp.sec, sp.sec(x * y), (0.7, 1.3)),
    (sp.csc, sp.csc(x * y), (0.7, 1.3)),
    (sp.asin, sp.asin(x) + y, (0.3, 1.3)),
    (sp.acos, sp.acos(x) + y, (0.3, 1.3)),
    (sp.atan, sp.atan(x * y), (0.3, 1.3)),
    (sp.acot, sp.acot(x * y), (0.3, 1.3)),
    (sp.asec, sp.asec(x * y), (1.3, 1.9)),
    (sp.acsc, sp.acsc(x * y), (1.3, 1.9)),
    (sp.atan2, sp.atan2(x, -y), (0.7, 1.3)),
    (sp.sinh, sp.sinh(x * y), (0.7, 1.3)),
    (sp.cosh, sp.cosh(x * y), (0.7, 1.3)),
    (sp.tanh, sp.tanh(x * y), (0.7, 1.3)),
    (sp.coth, sp.coth(x * y), (0.7, 1.3)),
    (sp.sech, sp.sech(x * y), (0.7, 1.3)),
    (sp.csch, sp.csch(x * y), (0.7, 1.3)),
    (sp.asinh, sp.asinh(x * y), (0.7, 1.3)),
    (sp.acosh, sp.acosh(x * y), (1.7, 1.3)),
    (sp.atanh, sp.atanh(x * y), (0.3, 1.3)),
    (sp.acoth, sp.acoth(x * y), (1.7, 1.3)),
    (sp.asech, sp.asech(x * y), (0.3, 1.3)),
    (sp.acsch, sp.acsch(x * y), (0.7, 1.3)),
    (sp.sinc, sp.sinc(x * y), (0.7, 1.3)),
    (sp.Abs, sp.Abs(x - y), (0.7, 1.3)),
    (sp.sign, sp.sign(x) * x + y, (-0.7, 1.3)),
    (sp.floor, sp.floor(x) * y, (2.7, 1.3)),
    (sp.ceiling, sp.ceiling(x) * y, (2.7, 1.3)),
    (sp.frac, sp.frac(x) * y, (2.7, 1.3)),
    (sp.Mod, sp.Mod(x, y), (-2.7, 1.3)),
    (sp.Max, sp.Max(x, y, 1) * x, (0.7, 1.3)),
    (sp.Min, sp.Min(x, y, 1) * x, (0.7, 1.3)),
    (sp.Heaviside, sp.Heaviside(x) * y + sp.Heaviside(-x) * x, (0.7, 1.3)),
    (sp.erf, sp.erf(x * y), (0.7, 1.3)),
    (sp.erfc, sp.erfc(x * y), (0.7, 1.3)),
    (sp.erf2, sp.erf2(x, y), (0.7, 1.3)),
    (sp.erfinv, sp.erfinv(x) * y, (0.7, 1.3)),
    (sp.erfcinv, sp.erfcinv(x) * y, (0.7, 1.3)),
    (sp.gamma, sp.gamma(x * y), (0.7, 1.9)),
    (sp.loggamma, sp.loggamma(x * y), (0.7, 1.9)),
    (sp.digamma, sp.digamma(x * y, evaluate=False), (0.7, 1.9)),
    (sp.polygamma, sp.polygamma(2, x) * sp.polygamma(0, y, evaluate=False), (0.7, 1.9)),
    (sp.factorial, sp.factorial(x) * y, (0.7, 1.9)),
    (cfunctions.log1p, cfunctions.log1p(x) + cfunctions.expm1(y), (0.7, 1.9)),
    (cfunctions.log2, cfunctions.log2(x) + cfunctions.exp2(y), (0.7, 1.9)),
    (cfunctions.hypot, cfunctions.hypot(x, y) * cfunctions.log10(x), (0.7, 1.9)),
    (cfunctions.Cbrt, cfunctions.Cbrt(x) * cfunctions.Sqrt(y), (0.7, 1.9)),
    (
        sp.Piecewise,
        Piecewise((x * y, x > 1), (x - y, sp.And(x < 0, y > 0)), (sp.sin(x * y), True)),
        (0.7, 1.3),
    ),
    (
        sp.ITE,
        Piecewise((x * y, sp.ITE(x > 1, y > 0, y > 1)), (x - y, sp.Xor(x > 0, y > 0)), (1, True)),
        (0.7, 1.3),
    ),
    (sp.Or, Piecewise((x * y, sp.Or(x > 1, sp.Not(y >= 1), y <= -1)), (x / y, True)), (0.7, 1.3)),
    (sp.Not, Piecewise((x * y, sp.Not(x >= 1, evaluate=False)), (x / y, y >= 0), (y, True)), (0.7, 1.3)),
    (sp.re, sp.re(x) * sp.conjugate(y), (0.7, 1.3)),
    (sp.UnevaluatedExpr, sp.UnevaluatedExpr(x + y) * x, (0.7, 1.3)),
]


def oracle(expression, point):
    """The expression at a point, in 30 digits, by SymPy's own mpmath printer."""
    function = sp.lambdify((x, y), expression, "mpmath")
    with mpmath.workdps(30):
        return mpmath.re(function(*map(mpmath.mpf, point)))


def oracle_slopes(expression, point):
    with mpmath.workdps(30):
        return [
            mpmath.diff(
                lambda *p: oracle(expression, p),
                tuple(map(mpmath.mpf, point)),
                order,
                h=mpmath.mpf(10) ** -10,
            )
            for order in ((1, 0), (0, 1))
        ]


PRINTABLE = {
    sp.re: x * y,
    sp.UnevaluatedExpr: (x + y) * x,
    sp.factorial: sp.gamma(x + 1) * y,
    sp.erf2: sp.erf(y) - sp.erf(x),
    sp.erfcinv: sp.erfinv(1 - x) * y,
    sp.sinc: sp.sin(x * y) / (x * y),
    cfunctions.log1p: sp.log(1 + x) + sp.exp(y) - 1,
    cfunctions.log2: sp.log(x) / sp.log(2) + 2**y,
    cfunctions.hypot: sp.sqrt(x**2 + y**2) * sp.log(x) / sp.log(10),
    cfunctions.Cbrt: x ** Rational(1, 3) * sp.sqrt(y),
    sp.polygamma: sp.polygamma(2, x) * sp.digamma(y),
    sp.loggamma: sp.log(sp.gamma(x * y)),
}


@pytest.mark.parametrize(
    ("head", "expression", "point"), CASES, ids=[f"{c[0].__name__}-{at}" for at, c in enumerate(CASES)]
)
def test_values_and_gradients_agree_with_mpmath(head, expression, point):
    known = PRINTABLE.get(head, expression)
    values = {x: point[0], y: point[1]}
    np.testing.assert_allclose(float(value_of(expression, values)), float(oracle(known, point)), rtol=1e-13)
    slopes = [float(slope) for slope in slopes_of(expression, values)]
    np.testing.assert_allclose(slopes, [float(s) for s in oracle_slopes(known, point)], rtol=1e-8, atol=1e-9)


def test_every_scalar_head_is_exercised():
    used = {kind for case in CASES for node in sp.preorder_traversal(case[1]) for kind in type(node).__mro__}
    scalar = [head for head in HEADS if "matri" not in head.__module__ and issubclass(head, sp.Basic)]
    elsewhere = {"Equality", "Unequality", "Indexed", "Idx", "Sum", "Product", "NDimArray"}
    assert {head.__name__ for head in scalar if head not in used} <= elsewhere


# --- exactly as written -------------------------------------------------------------------------------------


def written(function, *arguments):
    return function(*arguments, evaluate=False)


def test_a_quotient_by_itself_is_nan_at_zero():
    quotient = written(Mul, x, written(Pow, x, -1))
    assert value_of(quotient, {x: 3.0}) == 1
    assert np.isnan(value_of(quotient, {x: 0.0}))


def test_sums_are_not_reassociated():
    big = written(Add, written(Add, x, Float(1e20)), Float(-1e20))
    assert value_of(big, {x: 1.0}) == 0.0
    assert value_of(written(Add, Float(0.1), Float(0.2)), {}) == 0.1 + 0.2
    assert value_of(written(Add, x, y, Rational(1, 3)), {x: 0.1, y: 0.2}) == (0.1 + 0.2) + 1 / 3


def test_a_product_with_negative_powers_is_one_quotient():
    expression = x * y / (3 * (x + 1) * y**2)
    made = of_expression(expression, {x: 0.3, y: 0.7})
    assert sum(e.template.name == "div" for e in made.equations if isinstance(e, Assign)) == 1


def test_whole_and_half_powers_need_no_pow():
    made = of_expression(x**-3 + x**7 + 1 / sp.sqrt(x) + x ** Float(2.0), {x: 0.3})
    assert "pow" not in {e.template.name for e in made.equations if isinstance(e, Assign)}
    assert value_of(x**-3, {x: 0.3}) == 1 / (0.3 * (0.3 * 0.3))


def test_numbers_are_rounded_once():
    assert value_of(Rational(1, 3), {}) == 1 / 3
    assert value_of(Rational(10**400 + 1, 10**399), {}) == 10.0
    assert value_of(Float("0.1", 50), {}) == 0.1
    assert value_of(sp.Integer(2**53 + 1), {}) == float(2**53 + 1)
    assert value_of(sp.pi, {}) == np.pi
    assert value_of(sp.oo, {}) == np.inf
    assert np.isnan(value_of(sp.nan, {}))
    with pytest.raises(InputRefused, match="too large"):
        value_of(sp.Integer(10**400), {})


def test_small_constants_are_not_folded_away():
    tiny = written(Mul, Float("1e-300"), written(Mul, x, Float("1e-300")))
    assert value_of(tiny, {x: 1e300}) == 1e-300 * (1e300 * 1e-300)


def test_infinities_and_nan_take_part():
    assert np.isnan(value_of(written(Add, x, sp.oo), {x: -np.inf}))
    assert np.isnan(value_of(sp.Max(x, y), {x: np.nan, y: 1.0}))
    assert np.isnan(value_of(sp.Heaviside(x), {x: np.nan}))


def test_comparisons_are_false_for_nan():
    both = Piecewise((1, x > 0), (2, sp.Not(written(sp.Gt, x, 0), evaluate=False)))
    assert value_of(both, {x: np.nan}) == 2
    assert np.isnan(value_of(Piecewise((1, x > 0), (2, x < 1)), {x: np.nan}))


def test_subtraction_is_one_operation():
    made = of_expression(x - y - 1, {x: 1.0, y: 2.0})
    assert [e.template.name for e in made.equations if isinstance(e, Assign)] == ["sub", "sub"]


def test_shared_parts_are_computed_once():
    part = sp.sin(x)
    made = of_expression([part * x, part + 1], {x: 1.0})
    assert sum(e.template.name == "sin" for e in made.equations if isinstance(e, Assign)) == 1


@pytest.mark.parametrize("half", [sp.Rational(1, 2), 0, 1])
def test_heaviside_at_zero_is_its_second_argument(half):
    assert value_of(sp.Heaviside(x, half), {x: 0.0}) == float(half)
    assert slopes_of(sp.Heaviside(x, half), {x: 0.0}) == [0]


# --- arms at points -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "values", "value", "slopes"),
    [
        (Piecewise((2 * x, Eq(x, 0)), (sp.sin(x), True)), {x: 0.0}, 0.0, [1.0]),
        (Piecewise((2 * x, Eq(x, 0)), (sp.sin(x), True)), {x: 0.5}, np.sin(0.5), [np.cos(0.5)]),
        (Piecewise((sp.sin(x), Ne(x, 0)), (2 * x, True)), {x: 0.0}, 0.0, [1.0]),
        (Piecewise((sp.sin(x), Ne(x, 0)), (2 * x, True)), {x: 0.5}, np.sin(0.5), [np.cos(0.5)]),
        (Piecewise((7, Eq(x, 1)), (x**2, True)), {x: 1.0}, 7.0, [2.0]),
        (Piecewise((7, sp.And(Eq(x, 1), x > 0)), (x**2, True)), {x: 1.0}, 7.0, [2.0]),
        (Piecewise((7, sp.Or(Eq(x, 1), Eq(x, 2))), (x**2, True)), {x: 2.0}, 7.0, [4.0]),
        (Piecewise((x, Eq(k, 1)), (x**2, Eq(k, 2)), (x**3, True)), {x: 3.0, k: 1.0}, 3.0, [1.0, 0.0]),
        (Piecewise((x, Eq(k, 1)), (x**2, Eq(k, 2)), (x**3, True)), {x: 3.0, k: 2.0}, 9.0, [6.0, 0.0]),
        (Piecewise((x, Eq(k, 1)), (x**2, Eq(k, 2)), (x**3, True)), {x: 3.0, k: 5.0}, 27.0, [27.0, 0.0]),
        # x and k leave the surface k = x, y stays on it
        (
            Piecewise((5 * y, Eq(k, x)), (x * k * y**2, True)),
            {x: 3.0, k: 3.0, y: 2.0},
            10.0,
            [12.0, 12.0, 5.0],
        ),
        (
            Piecewise((5 * y, Eq(k, x)), (x * k * y**2, True)),
            {x: 3.0, k: 1.0, y: 2.0},
            12.0,
            [4.0, 12.0, 12.0],
        ),
        (Piecewise((1, Eq(x, 0)), (x, x > 0), (-x, True)), {x: 0.0}, 1.0, [-1.0]),
    ],
)
def test_an_arm_at_a_point_is_not_differentiated_as_if_open(expression, values, value, slopes):
    assert value_of(expression, values) == value
    np.testing.assert_allclose([float(s) for s in slopes_of(expression, values)], slopes, rtol=1e-15)


def test_second_derivatives_at_a_point_arm():
    made = of_expression(Piecewise((5, Eq(x, 2)), (x**3, True)), {x: 2.0})
    first = gradient(made, ["x"])
    slope = type(first)(
        first.name,
        first.inputs,
        first.equations,
        first.outputs[1:],
        first.types,
        first.guards,
        first.quotients,
    )
    assert evaluate(gradient(slope, ["x"]), {"x": 2.0}) == (12.0, 12.0)


def test_an_untaken_arm_leaks_no_nan():
    safe = Piecewise((sp.sqrt(x), x > 0), (0, True))
    assert slopes_of(safe, {x: -1.0}) == [0.0]
    assert slopes_of(Piecewise((1, Eq(x, 0)), (1 / y, True)), {x: 0.0, y: 0.0}) == [0.0, 0.0]


# --- arrays: broadcasting, indexed sums, matrices -----------------------------------------------------------


def test_symbols_broadcast_like_a_ufunc():
    a, b = np.array([0.1, 0.2, 0.3]), np.array([[1.0], [2.0]])
    np.testing.assert_allclose(value_of(x * sp.sin(y) + 1, {x: a, y: b}), a * np.sin(b) + 1)
    stacked = value_of(Matrix([[x, y], [x * y, 1]]), {x: a, y: b})
    assert stacked.shape == (2, 3, 2, 2)
    np.testing.assert_allclose(stacked[1, 2], [[0.3, 2.0], [0.6, 1.0]])


def test_float32_symbols_give_float32():
    assert value_of(x * Rational(1, 3) + sp.sqrt(2), {x: np.float32(2)}).dtype == np.float32
    assert value_of(x / 2, {x: 3}) == 1.5


W, V = IndexedBase("W", shape=(n, m)), IndexedBase("V", shape=(m,))
U = IndexedBase("U")

SUMS = [
    (Sum(W[i, j] * V[j], (j, 0, m - 1), (i, 0, n - 1)), lambda W, V, U: (W @ V).sum()),
    (Sum(V[j] ** 2, (j, 0, m - 1)) / m, lambda W, V, U: (V**2).mean()),
    (Sum(V[j] * U[j + 1] * x, (j, 0, m - 1)), lambda W, V, U: 2 * (V * U[1:]).sum()),
    (Sum(sp.exp(W[0, j]) * j, (j, 1, 2)), lambda W, V, U: (np.exp(W[0, 1:3]) * [1, 2]).sum()),
    (Sum(x**j, (j, 0, 4)), lambda W, V, U: 31.0),
    (Sum(3, (j, 1, 4)), lambda W, V, U: 12.0),
    (Sum(Sum(W[i, j], (j, 0, m - 1)) ** 2, (i, 0, n - 1)), lambda W, V, U: (W.sum(1) ** 2).sum()),
    (Sum(U[i], (i, 0, k - 1)), lambda W, V, U: U.sum()),
    (Sum(Piecewise((V[j], V[j] > 1), (0, True)), (j, 0, m - 1)), lambda W, V, U: V[V > 1].sum()),
    (sp.Product(V[j], (j, 0, m - 1)), lambda W, V, U: V.prod()),
    (V[1] * W[0, 2] - U[0], lambda W, V, U: V[1] * W[0, 2] - U[0]),
    (Sum(V[sp.Idx("q", m)], (sp.Idx("q", m), 0, m - 1)), lambda W, V, U: V.sum()),
    (Sum(V[2 - j] * V[j], (j, 0, 2)), lambda W, V, U: (V[::-1] * V).sum()),
]


@pytest.mark.parametrize(("expression", "expected"), SUMS)
def test_sums_over_elements(expression, expected, rng):
    arrays = {"W": rng.uniform(0.5, 2, (2, 3)), "V": rng.uniform(0.5, 2, 3), "U": rng.uniform(0.5, 2, 4)}
    values = {W: arrays["W"], V: arrays["V"], U: arrays["U"], x: 2.0}
    np.testing.assert_allclose(value_of(expression, values), expected(**arrays), rtol=1e-13)
    made = of_expression(expression, values)
    assert_gradient(made, {**arrays, "x": 2.0}, rng)


def test_a_sum_of_products_is_one_contraction():
    made = of_expression(
        Sum(W[i, j] * V[j], (j, 0, m - 1), (i, 0, n - 1)), {W: np.ones((2, 3)), V: np.ones(3)}
    )
    (only,) = made.equations
    assert isinstance(only, Assign)
    assert only.template.name == "mul"


A, B, C = MatrixSymbol("A", 3, 3), MatrixSymbol("B", 3, 3), MatrixSymbol("C", 3, 1)

MATRICES = [
    (A * B, lambda a, b, c: a @ b),
    (A * B * C, lambda a, b, c: a @ b @ c),
    (2 * A - B.T + sp.Identity(3), lambda a, b, c: 2 * a - b.T + np.eye(3)),
    (x * A * y, lambda a, b, c: 1.5 * a),
    (sp.Trace(A * B), lambda a, b, c: np.trace(a @ b)),
    (sp.Trace(2 * A * B * A), lambda a, b, c: 2 * np.trace(a @ b @ a)),
    (sp.Trace(A + B) ** 2, lambda a, b, c: np.trace(a + b) ** 2),
    (A.inv() * C, lambda a, b, c: np.linalg.solve(a, c)),
    (B * A.inv() * C, lambda a, b, c: b @ np.linalg.solve(a, c)),
    (B * A.inv(), lambda a, b, c: b @ np.linalg.inv(a)),
    (A**3, lambda a, b, c: a @ a @ a),
    (sp.MatPow(A, -2), lambda a, b, c: np.linalg.inv(a) @ np.linalg.inv(a)),
    (sp.Determinant(A) * x, lambda a, b, c: np.linalg.det(a) * 0.5),
    (sp.HadamardProduct(A, B, A), lambda a, b, c: a * b * a),
    (sp.HadamardPower(A, 2), lambda a, b, c: a**2),
    (A.applyfunc(sp.sin), lambda a, b, c: np.sin(a)),
    (A[0, 1] * B[2, 2] + x, lambda a, b, c: a[0, 1] * b[2, 2] + 0.5),
    (A[0:2, 1:3], lambda a, b, c: a[:2, 1:]),
    (C.T * A * C, lambda a, b, c: c.T @ a @ c),
    (Matrix([[x, 1, 0], [0, y, 2]]) * C, lambda a, b, c: np.array([[0.5, 1, 0], [0, 3, 2]]) @ c),
    (Matrix([[x, y], [x * y, 1]]), lambda a, b, c: np.array([[0.5, 3], [1.5, 1]])),
    (sp.Array([[x], [y]]), lambda a, b, c: np.array([[0.5], [3]])),
    (A + sp.OneMatrix(3, 3) + sp.ZeroMatrix(3, 3), lambda a, b, c: a + 1),
    (Sum(A[i, i] * B[i, 0], (i, 0, 2)), lambda a, b, c: (np.diag(a) * b[:, 0]).sum()),
    (sp.Matrix(A.as_explicit()).det(), lambda a, b, c: np.linalg.det(a)),
]


@pytest.mark.parametrize(("expression", "expected"), MATRICES)
def test_matrix_expressions(expression, expected, rng):
    a, b, c = rng.normal(size=(3, 3)) + 3 * np.eye(3), rng.normal(size=(3, 3)), rng.normal(size=(3, 1))
    values = {A: a, B: b, C: c, x: 0.5, y: 3.0}
    np.testing.assert_allclose(value_of(expression, values), expected(a, b, c), rtol=1e-12, atol=1e-12)
    made = of_expression(expression, values)
    assert_gradient(made, {str(key.name): value for key, value in values.items()}, rng)


def test_an_inverse_times_a_matrix_is_a_solve():
    made = of_expression(A.inv() * C, {A: np.eye(3), C: np.ones((3, 1))})
    assert [getattr(e, "operation", "") for e in made.equations] == ["solve"]


def test_declared_shapes_are_checked_and_shared():
    P, Q = MatrixSymbol("P", n, m), MatrixSymbol("Q", m, n)
    values = {P: np.ones((2, 3)), Q: np.ones((3, 2))}
    assert value_of(sp.Trace(P * Q) / n, values) == 3.0
    with pytest.raises(GradcError, match="do not agree"):
        of_expression(P * Q, {P: np.ones((2, 3)), Q: np.ones((4, 2))})
    with pytest.raises(InputRefused, match="has 2 axes, the array for it has 1"):
        of_expression(P, {P: np.ones(2)})


def test_a_list_gives_several_values():
    assert value_of([x + y, x * y, 2], {x: 2.0, y: 3.0}) == (5.0, 6.0, 2.0)


# --- size ---------------------------------------------------------------------------------------------------


def chain(length):
    expression = x
    for _ in range(length // 2):
        expression = written(Add, written(Mul, expression, y), x)
    return expression


def test_deep_expressions_need_no_recursion():
    expression = chain(10_000)
    made = of_expression(expression, {x: 0.5, y: 0.5})
    assert len(made.equations) == 10_000
    assert evaluate(verify(gradient(made, ["x"])), {"x": 0.5, "y": 0.5})[1] == pytest.approx(2)


@pytest.mark.full
def test_a_hundred_thousand_nodes():
    assert len(of_expression(chain(100_000), {x: 0.5, y: 0.5}).equations) == 100_000


# --- what is refused ----------------------------------------------------------------------------------------

f = Function("f")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (sp.Integral(x, (x, 0, 1)), "Integral cannot be compiled"),
        (sp.Derivative(x**2, x, evaluate=False), "Derivative cannot be compiled"),
        (sp.DiracDelta(x), "DiracDelta cannot be compiled"),
        (sp.I * x, "ImaginaryUnit cannot be compiled"),
        (sp.zoo, "ComplexInfinity cannot be compiled"),
        (sp.Limit(sp.sin(x) / x, x, 0), "Limit cannot be compiled"),
        (sp.im(x), "im cannot be compiled"),
        (sp.LambertW(x), "LambertW cannot be compiled"),
        (sp.zeta(x), "zeta cannot be compiled"),
        (f(x), "f is an undefined function"),
        (x + sp.Symbol("z"), "z is not among the arguments"),
        (x + sp.Symbol("x", real=True), "real=True here"),
        (Sum(U[i], (i, 0, y)), "y cannot be a size"),
        (Sum(U[i], (i, 1, k)), "k cannot be a size"),
        (Sum(U[i], (i, 0, 4)), "outside the array"),
        (Sum(U[i - 1], (i, 0, 3)), "outside the array"),
        (Sum(U[i * j], (i, 0, 1), (j, 0, 1)), "not an affine index"),
        (Sum(U[i], (j, 0, i), (i, 0, 1)), "i cannot be a size"),
        (Sum(U[i, j], (i, 0, 1), (j, 0, 1)), "2 indices for an array with 1"),
        (U[sp.Idx("q", 4)], "q cannot be a size or an index"),
        (sp.polygamma(x, y), "polygamma of order x"),
        (sp.MatPow(A, sp.Rational(1, 2)), "not a whole number"),
        (MatrixSymbol("Z", 3, 3) * A, "matrix Z is not among"),
        (IndexedBase("Z")[0], "Z is not among"),
        (sp.KroneckerProduct(A, A), "KroneckerProduct cannot be compiled"),
        ("x + y", "str is not a SymPy expression"),
    ],
)
def test_what_cannot_be_compiled_is_named(expression, message):
    values = {x: 1.0, y: 2.0, U: np.ones(4), A: np.eye(3)}
    with pytest.raises(GradcError, match=message) as caught:
        of_expression(expression, values)
    assert caught.value.do


def test_arrays_beside_indices_are_refused():
    for expression in (Sum(U[i] * x, (i, 0, 3)), x * A):
        with pytest.raises(InputRefused, match="array of shape"):
            of_expression(expression, {x: np.ones(3), U: np.ones(4), A: np.eye(3)})


def test_arguments_are_distinct_symbols():
    twin = sp.Symbol("x", real=True)
    with pytest.raises(ArgumentError, match="two arguments are called x"):
        of_expression(x, {x: 1.0, twin: 2.0})


def test_expressions_are_recognised():
    assert all(map(is_expression, (x, Matrix([x]), sp.Array([x]), [x, 2, Matrix([x])], A, x > 0)))
    assert not any(map(is_expression, ("x", 2.0, [], [2.0], None, [x, "y"])))
