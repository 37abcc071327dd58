"""Conventions at kinks and singular points, in every number system, and what an arm not taken may not do."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isinf, isnan, nan, pi

import mpmath
import numpy as np
import pytest

from gradc.autodiff.local import vjp_template
from gradc.autodiff.rules import RULES
from gradc.autodiff.vjp import vjp
from gradc.ir.functions import FUNCTIONS
from gradc.ir.index.build import Builder
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Const, Program
from gradc.ir.index.numbers import HighPrecision, MachineNumbers
from gradc.ir.index.templates import integer_power, template
from gradc.ir.types import DType

TINY = 5e-324
SYSTEMS = ["float64", "float32", "mp"]
Made = Callable[..., tuple[float, ...]]


def program_of(build: Callable[..., str], operands: int, dtype: DType) -> Program:
    builder = Builder()
    names = [builder.input(f"x{k}", dtype, ()) for k in range(operands)]
    return builder.finish((build(builder, *names),))


def gradient(
    build: Callable[..., str] | str, point: tuple[float, ...], system: str = "float64", *, seed: float = 1.0
) -> tuple[float, ...]:
    """The gradient of an inventory function, or of the scalar that `build` appends to a builder."""
    made = (lambda b, *x: b.pointwise(build, *x)) if isinstance(build, str) else build
    dtype = DType.F32 if system == "float32" else DType.F64
    program = program_of(made, len(point), dtype)
    wrt = [f"x{k}" for k in range(len(point))]
    inputs = {**dict(zip(wrt, point, strict=True)), f"{program.outputs[0]}_bar": seed}
    arrays = {name: np.asarray(value, dtype.numpy) for name, value in inputs.items()}
    results = evaluate(vjp(program, wrt), arrays, numbers="mp" if system == "mp" else "numpy")
    return tuple(float(value) for value in results[1:])


def same(found: float, wanted: float, tolerance: float) -> bool:
    if isnan(wanted) or isinf(wanted) or wanted == 0:
        return found == wanted or (isnan(found) and isnan(wanted))
    return abs(found - wanted) <= tolerance * abs(wanted)


def relu(builder: Builder, x: str) -> str:
    return builder.pointwise("maximum", x, Const(0.0, builder.types[x].dtype))


def clip(builder: Builder, x: str) -> str:
    dtype = builder.types[x].dtype
    return builder.pointwise(
        "minimum", builder.pointwise("maximum", x, Const(-1.0, dtype)), Const(1.0, dtype)
    )


def cube(builder: Builder, x: str) -> str:
    return builder.pointwise(integer_power(3), x)


def entropy(builder: Builder, x: str) -> str:
    return builder.pointwise("xlogy", x, x)


CONVENTIONS: list[tuple[Callable[..., str] | str, tuple[float, ...], tuple[float, ...]]] = [
    # the norm and roots at 0
    ("hypot", (0.0, 0.0), (0.0, 0.0)),
    ("sqrt", (0.0,), (inf,)),
    ("cbrt", (0.0,), (inf,)),
    ("reciprocal", (0.0,), (-inf,)),
    ("log", (0.0,), (inf,)),
    ("arctan2", (0.0, 0.0), (0.0, 0.0)),
    # x**y at x = 0, and whole exponents of negative bases
    ("pow", (0.0, 0.0), (0.0, -inf)),
    ("pow", (0.0, 1.0), (1.0, 0.0)),
    ("pow", (0.0, 1.5), (0.0, 0.0)),
    ("pow", (0.0, 2.0), (0.0, 0.0)),
    ("pow", (0.0, 0.5), (inf, 0.0)),
    ("pow", (0.0, -1.0), (-inf, -inf)),
    ("pow", (-2.0, 3.0), (12.0, nan)),
    ("square", (-3.0,), (-6.0,)),
    ("square", (0.0,), (0.0,)),
    (cube, (-2.0,), (12.0,)),
    (cube, (0.0,), (0.0,)),
    # x log x
    ("xlogy", (0.0, 0.0), (-inf, 0.0)),
    ("xlogy", (0.0, 2.0), (np.log(2.0), 0.0)),
    ("xlog1py", (0.0, -1.0), (-inf, 0.0)),
    (entropy, (0.0,), (-inf,)),
    # ties
    ("maximum", (1.0, 1.0), (0.5, 0.5)),
    ("minimum", (1.0, 1.0), (0.5, 0.5)),
    ("fmax", (1.0, 1.0), (0.5, 0.5)),
    ("fmin", (1.0, 1.0), (0.5, 0.5)),
    ("maximum", (0.0, -0.0), (0.5, 0.5)),
    ("maximum", (nan, 1.0), (0.5, 0.5)),
    ("fmax", (nan, 1.0), (0.0, 1.0)),
    ("fmin", (1.0, nan), (1.0, 0.0)),
    ("fmax", (nan, nan), (0.5, 0.5)),
    # the least-norm subgradient at kinks
    (relu, (0.0,), (0.0,)),
    (relu, (2.0,), (1.0,)),
    (relu, (nan,), (1.0,)),
    (clip, (-1.0,), (0.0,)),
    (clip, (1.0,), (0.0,)),
    (clip, (0.5,), (1.0,)),
    ("abs", (0.0,), (0.0,)),
    ("abs", (-2.0,), (-1.0,)),
    ("abs", (-inf,), (-1.0,)),
    ("copysign", (0.0, -1.0), (0.0, 0.0)),
    ("copysign", (2.0, -1.0), (-1.0, 0.0)),
    *((name, (1.0,), (0.0,)) for name in ("sign", "floor", "ceil", "rint", "trunc")),
    ("sign", (0.0,), (0.0,)),
    ("heaviside", (0.0, 0.5), (0.0, 1.0)),
    ("mod", (4.0, 2.0), (1.0, -2.0)),
    ("mod", (-3.0, 2.0), (1.0, 2.0)),
    ("fmod", (-3.0, 2.0), (1.0, 1.0)),
    # removable singularities
    ("sinc", (0.0,), (0.0,)),
    ("dsinc", (0.0,), (-(pi**2) / 3,)),
    # far out: no overflow, no loss of the small factor
    ("softplus", (80.0,), (1.0,)),
    ("logaddexp", (inf, inf), (0.5, 0.5)),
    ("logaddexp", (-inf, -inf), (0.5, 0.5)),
    ("logaddexp", (-inf, 0.0), (0.0, 1.0)),
    ("logaddexp2", (-inf, -inf), (0.5, 0.5)),
    ("expit", (-40.0,), (4.248354255291589e-18,)),
    ("expit", (40.0,), (4.248354255291589e-18,)),
    ("tanh", (20.0,), (1.6993417021166355e-17,)),
    ("tanh", (-9.0,), (6.091991712323229e-08,)),
    ("expm1", (-40.0,), (4.248354255291589e-18,)),
    ("log_expit", (40.0,), (4.248354255291589e-18,)),
    ("log_ndtr", (-1e5,), (1.0000000000999999999e5,)),
    ("log_ndtr", (-12.0,), (12.082214175254284,)),
]


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(("build", "point", "wanted"), CONVENTIONS)
def test_convention(
    build: Callable[..., str] | str, point: tuple[float, ...], wanted: tuple[float, ...], system: str
):
    tolerance = 1e-5 if system == "float32" else 1e-9
    found = gradient(build, point, system)
    assert all(same(f, w, tolerance) for f, w in zip(found, wanted, strict=True)), found


EXTREMES: list[tuple[str, tuple[float, ...], tuple[float, ...]]] = [
    ("hypot", (3e200, 4e200), (0.6, 0.8)),
    ("hypot", (3e-200, 4e-200), (0.6, 0.8)),
    ("arctan2", (3e200, 4e200), (1.6e-201, -1.2e-201)),
    ("arctan2", (3e-200, 4e-200), (1.6e199, -1.2e199)),
    ("softplus", (800.0,), (1.0,)),
    ("softplus", (-700.0,), (9.859676543759770e-305,)),
    ("expit", (-700.0,), (9.859676543759770e-305,)),
    ("expit", (700.0,), (9.859676543759770e-305,)),
    ("expit", (-800.0,), (0.0,)),
    ("logaddexp", (1000.0, 999.0), (0.731058578630004879, 0.268941421369995121)),
    ("tanh", (300.0,), (4 * 2.6503965530043108163e-261,)),
    ("arcsinh", (1e200,), (1e-200,)),
    ("maximum", (TINY, 0.0), (1.0, 0.0)),
    ("maximum", (-TINY, TINY), (0.0, 1.0)),
    ("abs", (-TINY,), (-1.0,)),
    ("sqrt", (1e-300,), (5e149,)),
]


@pytest.mark.parametrize(("name", "point", "wanted"), EXTREMES)
def test_magnitudes_that_only_float64_has(name: str, point: tuple[float, ...], wanted: tuple[float, ...]):
    found = gradient(name, point)
    assert all(same(f, w, 4e-15) for f, w in zip(found, wanted, strict=True)), found


# Where a formula of the obvious kind loses digits; the high-precision system is the truth.
DELICATE = {
    "sinc": (1e-9, 1e-5, 1e-3, 0.05, 0.1, 0.3, 0.7),
    "dsinc": (1e-9, 1e-3, 0.1, 0.3, 0.95, 1.1),
    "tanh": (0.2, 0.85, 0.9, 5.0, 19.0, 100.0, -3.0),
    "expit": (-30.0, -1.0, 0.0, 3.0, 20.0, 36.0),
    "expm1": (-30.0, -3.0, -0.1, 1e-8, 5.0),
    "log_ndtr": (-1e10, -1e5, -1e3, -38.0, -20.0, -5.0, 0.0, 3.0, 8.0, 30.0),
    "softplus": (-100.0, -30.0, 0.0, 30.0),
    "logit": (1e-12, 0.3, 0.5, 0.9),
    "arcsin": (0.999999999, 1e-9),
    "arctanh": (0.999999999, 1e-9),
    "arccosh": (1.0 + 1e-9, 1e9),
    "erfc": (-3.0, 0.0, 2.0, 10.0),
}


@pytest.mark.parametrize("name", DELICATE)
def test_no_digits_are_lost_where_the_obvious_formula_loses_them(name: str):
    for x in DELICATE[name]:
        (found,), (exact,) = gradient(name, (x,)), gradient(name, (x,), "mp")
        condition = 1 + {"erfc": 2 * x * x, "softplus": abs(x), "log_ndtr": max(x, 0) ** 2}.get(name, 0)
        assert same(found, exact, 8 * condition * 2.3e-16), (x, found, exact)


# --- The guard of a singular point is not an arm that is flat: second derivatives --------------------------


def second(name: str, first: int, then: int, point: tuple[float, ...], y_bar: float = 1.0) -> float:
    """Differentiate the contribution to operand `first` by operand `then`; -1 is the cotangent."""
    local = vjp_template(template(name), first, lone=False, with_result=False)
    assert local is not None
    again = vjp_template(
        local.template, local.sources.index("y_bar" if then < 0 else then), lone=False, with_result=False
    )
    assert again is not None
    inner = [point[s] if isinstance(s, int) else y_bar for s in local.sources]
    operands = [inner[s] if isinstance(s, int) else 1.0 for s in again.sources]
    return float(MachineNumbers().function(again.template)(*(np.float64(x) for x in operands)))


@pytest.mark.parametrize(
    ("name", "first", "then", "point", "wanted"),
    [
        ("xlogy", 1, 0, (0.0, 4.0), 0.25),
        ("xlogy", 0, 1, (0.0, 4.0), 0.25),
        ("xlog1py", 1, 0, (0.0, 3.0), 0.25),
        ("pow", 0, 1, (4.0, 0.0), 0.25),
        ("logaddexp", 0, 0, (1.5, 1.5), 0.25),
        ("logaddexp", 0, 1, (1.5, 1.5), -0.25),
        ("tanh", 0, 0, (0.0,), 0.0),
        ("dsinc", 0, 0, (0.0,), 0.0),
    ],
)
def test_guards_are_no_flat_arms(name: str, first: int, then: int, point: tuple[float, ...], wanted: float):
    assert second(name, first, then, point) == pytest.approx(wanted, rel=1e-14)


@pytest.mark.parametrize(("name", "wanted"), [("log", 0.25), ("sqrt", 0.25), ("div", 0.25)])
def test_a_strong_zero_has_a_derivative_where_the_cotangent_is_zero(name: str, wanted: float):
    """An exact fit has cotangent 0, and a Hessian that is not."""
    point = (4.0, 4.0)[: FUNCTIONS[name].arity]
    assert second(name, 0, -1, point, y_bar=0.0) == wanted


def test_the_fourth_derivative_of_sinc_at_zero():
    numbers = MachineNumbers().function(template("sinc_derivative"))
    assert numbers(np.float64(4), np.float64(0)) == pytest.approx(pi**4 / 5, rel=1e-15)


# --- An arm not taken leaks nothing -------------------------------------------------------------------------

BAD = np.array([nan, inf, -inf, 0.0, -0.0, 1.0, -1.0, 2.0, -2.5, 1e308, -1e308, TINY, -TINY, 800.0, -800.0])
LEAVES = [
    (name, position)
    for name, row in RULES.items()
    for position in range(FUNCTIONS[name].arity)
    if row.partials is not None and name not in ("mul", "select")
]


@pytest.mark.parametrize(("name", "position"), LEAVES)
def test_a_value_not_used_leaks_nothing(name: str, position: int):
    """Zero cotangents give zeros whatever the operands: an arm not taken may have computed anything."""
    local = vjp_template(template(name), position, lone=False, with_result=True, guarded=True)
    if local is None:
        return
    grid = np.meshgrid(*[BAD] * FUNCTIONS[name].arity)
    operands = [axis.ravel() for axis in grid]
    if name in ("polygamma", "sinc_derivative"):
        operands[0] = np.full_like(operands[0], 2.0)
    with np.errstate(all="ignore"):
        y = MachineNumbers().function(template(name))(*operands)
        named = {"y": y, "y_bar": np.zeros_like(operands[0])}
        values = [operands[s] if isinstance(s, int) else named[str(s)] for s in local.sources]
        leaked = MachineNumbers().function(local.template)(*values)
    assert (leaked == 0).all()


SINGULAR = [name for name, row in RULES.items() if row.singular and FUNCTIONS[name].arity == 1]


@pytest.mark.parametrize("name", SINGULAR)
def test_singular_rows_leak_nothing_through_where(name: str):
    def build(builder: Builder, x: str) -> str:
        dtype = builder.types[x].dtype
        condition = builder.pointwise("eq", x, x)
        unused = builder.pointwise(
            "logical_not", builder.pointwise("logical_or", condition, builder.pointwise("ne", x, x))
        )
        return builder.pointwise(
            "select", unused, builder.pointwise(name, x), builder.pointwise("mul", x, Const(3.0, dtype))
        )

    for x in (0.0, 1.0, -1.0, -2.0, 1e308, TINY):
        assert gradient(build, (x,)) == (3.0,), x
        assert gradient(build, (x,), "mp") == (3.0,), x


def test_a_nan_in_the_taken_arm_propagates():
    assert isnan(gradient("sqrt", (-1.0,))[0])
    assert isnan(gradient("log", (nan,))[0])
    assert gradient("sqrt", (0.0,), seed=0.0) == (0.0,)


def test_high_precision_is_the_oracle_it_claims_to_be():
    numbers = HighPrecision(50)
    with numbers.context():
        found = numbers.function(template("log_ndtr"))(mpmath.mpf(20))
        assert mpmath.almosteq(found, -mpmath.erfc(20 / mpmath.sqrt(2)) / 2, 1e-45)
