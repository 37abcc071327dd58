"""The scalar functions of CUDA kernels mean what NumPy means, at every kind of number and in both precisions.

Kernels run in the simulator if it is on, on a device where tests are marked so, and else as PTX on the CPU.
"""

from __future__ import annotations

import math
import re
from typing import Any

import mpmath
import numpy as np
import pytest

from gradc.ir.functions import FUNCTIONS, Result
from gradc.ir.index.numbers import HighPrecision, MachineNumbers
from gradc.ir.index.templates import template
from gradc.ir.random_bits import random_bits

pytest.importorskip("numba_cuda")

from tests.cuda.scalar_kernels import IN_DOUBLE, families, run, spellings_of, text_of

from gradc_runtime.cuda_backend import SIMULATED

PLACES = [False, pytest.param(True, marks=pytest.mark.cuda)]
FLOATS = [np.float64, np.float32]

ULPS = 16 if SIMULATED else 4  # SciPy stands in for libdevice in the simulator
LOOSE = {"ndtr": 8, "erfinv": 6}  # units in the last place, where NumPy and SciPy are the less accurate ones
# Compared with 60 digits: SciPy loses more where it rounds an argument or a sum cancels.
EXACT = ("dsinc", "digamma", "erfc", "inverse_mills", "log_ndtr", "sinc")
if not SIMULATED:
    EXACT += ("gamma", "gammaln")
# Errors near zeros of the function, in multiples of what rounds 1: the terms of a sum do not vanish there.
ABSOLUTE = {"dsinc": 4, "digamma": 8, "gammaln": 2, "sinc": 1}
# Errors of the larger operand.
CANCELLING = ("logaddexp", "logaddexp2")
# NumPy itself returns the one or the other zero; SciPy's erfinv is 0 for both.
ZERO_OF_EITHER_SIGN = ("maximum", "minimum", "fmax", "fmin", "erfinv")
# NumPy has NaN where pi a overflows; here the angle is reduced before, and the values are nearly 0.
OVERFLOWING = ("dsinc", "sinc")

ORDERED = ("polygamma", "sinc_derivative")  # the first operand is the order of a derivative
NAMES = [
    name
    for name, f in FUNCTIONS.items()
    if f.arity < 3 and name not in ORDERED and not name.startswith("logical_")
]
FAMILIES = families(NAMES)
PREDICATES = tuple(name for name, f in FUNCTIONS.items() if f.result is Result.BOOL)

FINITE = [0.0, 5e-324, 2.3e-308, 1e-300, 1e-8, 0.1, 0.25, 0.3, 0.5, 0.65, 0.75, 0.9, 0.999, 1.0, 1.0000001]
FINITE += [1.5, 2.0, 2.5, 3.0, 5.0, 7.25, 10.0, 20.0, 30.5, 37.5, 40.0, 88.0, 100.5, 300.0, 700.0, 745.0, 1e3]
FINITE += [1e5, 1e10, 1e38, 1e200, 1e308]
SPECIAL = np.array([np.inf, -np.inf, np.nan, *FINITE, *(-x for x in FINITE)])


def points(arity: int, dtype: type, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Special values in all combinations, and numbers of many sizes."""
    with np.errstate(over="ignore"):
        special = SPECIAL.astype(dtype)
    chosen = special[:: 3 if SIMULATED and arity == 2 else 1]
    grid = [axis.ravel() for axis in np.meshgrid(*[chosen] * arity)]
    random = rng.normal(size=(arity, 240)) * np.repeat([0.1, 1.0, 10.0, 100.0], 60)
    random[:, ::6] = rng.uniform(size=(arity, 40))  # a probability is between 0 and 1
    return tuple(np.concatenate(axes).astype(dtype) for axes in zip(grid, random, strict=True))


def reference(name: str, operands: tuple[np.ndarray, ...]) -> np.ndarray:
    """NumPy's values: of float32 in float64, where the result is not defined by the arithmetic of the dtype."""
    dtype = operands[0].dtype
    if FUNCTIONS[name].result is not Result.SAME:
        operands = tuple(operand.astype(np.float64) for operand in operands)
    with np.errstate(all="ignore"):
        values = np.asarray(MachineNumbers().function(template(name))(*operands)).astype(np.float64)
        if name in EXACT and dtype == np.float64:
            values = exact(name, operands, values)
        return values.astype(dtype)


def exact(name: str, operands: tuple[np.ndarray, ...], values: np.ndarray) -> np.ndarray:
    """Replace values by those in 60 digits, but at 0, which has a sign, and where more digits would be needed."""
    kept = np.isnan(values)
    for operand in operands:
        kept |= (operand == 0) | ~(np.abs(operand) < 1e11)
    numbers = HighPrecision(60)
    with numbers.context():
        function = numbers.function(template(name))
        for at in np.flatnonzero(~kept):
            values[at] = float(function(*(mpmath.mpf(float(operand[at])) for operand in operands)))
    return values


def agrees(name: str, found: np.ndarray, wanted: np.ndarray, operands: tuple[np.ndarray, ...]) -> np.ndarray:
    numbers = np.finfo(found.dtype)
    with np.errstate(all="ignore"):
        # what is subnormal SciPy may flush to zero
        allowed = np.maximum(max(LOOSE.get(name, 0), ULPS) * np.spacing(np.abs(wanted)), numbers.tiny)
        allowed = np.fmax(allowed, ABSOLUTE.get(name, 0) * numbers.eps)
        if name in CANCELLING:
            allowed = np.fmax(allowed, ULPS * np.spacing(np.max(np.abs(operands), axis=0)))
        close = np.abs(found - wanted) <= allowed
    same_sign = (found != 0) | (wanted != 0) | (np.signbit(found) == np.signbit(wanted))
    good = (found == wanted) & (same_sign | (name in ZERO_OF_EITHER_SIGN))
    if name in OVERFLOWING:
        good |= (np.abs(operands[0]) > numbers.max / 4) & (np.abs(found) < numbers.tiny)
    return good | (np.isnan(found) & np.isnan(wanted)) | (close & (found != wanted))


@pytest.mark.parametrize("device", PLACES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("names", FAMILIES, ids=lambda names: names[0])
def test_spellings_mean_what_numpy_means(
    names: tuple[str, ...], dtype: type, device: bool, rng: np.random.Generator
):
    operands = points(FUNCTIONS[names[0]].arity, dtype, rng)
    found = run(spellings_of(names), operands, dtype, device=device)
    wrong = []
    for row, name in zip(found, names, strict=True):
        wanted = reference(name, operands)
        bad = np.flatnonzero(~agrees(name, row, wanted, operands))
        wrong += [(name, [float(x[k]) for x in operands], float(wanted[k]), float(row[k])) for k in bad[:4]]
    assert not wrong


# --- Derivatives of any order -------------------------------------------------------------------------------

ORDERS = np.repeat(np.arange(0.0, 7.0), 40)
PLACES_OF_ORDERS = np.tile(np.concatenate([np.linspace(-4.3, 5.2, 37), [0.0, 20.5, 1e4]]), 7)


@pytest.mark.parametrize("device", PLACES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ORDERED)
def test_derivatives_of_any_order(name: str, dtype: type, device: bool):
    orders, places = ORDERS.astype(dtype), PLACES_OF_ORDERS.astype(dtype)
    (found,) = run(spellings_of([name]), (orders, places), dtype, device=device)
    wanted = MachineNumbers().function(template(name))(orders, places)
    inside = (places > 0) | (name == "sinc_derivative")  # SciPy's zeta function is NaN for negative x
    scale = np.maximum(np.abs(wanted), np.pi**ORDERS / (ORDERS + 1) if name != "polygamma" else 0)
    allowed = 64 * np.finfo(dtype).eps * scale
    inside &= np.isfinite(wanted)
    assert (np.abs(found[inside] - wanted[inside]) <= allowed[inside]).all()


@pytest.mark.parametrize("device", PLACES)
def test_polygamma_left_of_the_origin(device: bool):
    x = np.array([-0.3, -1.7, -2.5, -41.25])
    for order in range(1, 5):
        operands = (np.full_like(x, order), x)
        (found,) = run(spellings_of(["polygamma"]), operands, float, device=device)
        # at half-integers an even derivative is a small difference of large numbers
        scale = math.factorial(order) * 2.0 ** (order + 2) * np.finfo(float).eps
        assert np.allclose(found, exact("polygamma", operands, np.zeros_like(x)), rtol=1e-12, atol=scale)
    places = np.array([0.0, -1.0, np.inf, -1e300, -np.inf, -1e9 - 0.5])
    (found,) = run(spellings_of(["polygamma"]), (np.ones_like(places), places), float, device=device)
    assert found[:4].tolist() == [np.inf, np.inf, 0.0, np.inf]  # every float beyond 2**53 is a pole
    assert np.isnan(found[4])
    assert math.isclose(found[5], np.pi**2, rel_tol=1e-8)  # all but what is summed beyond 1e9


@pytest.mark.parametrize("device", PLACES)
def test_polygamma_of_high_order(device: bool):
    operands = tuple(axis.ravel() for axis in np.meshgrid([7.0, 20.0, 30.0], [0.7, 5.5, 11.9, 40.0]))
    (found,) = run(spellings_of(["polygamma"]), operands, float, device=device)
    assert np.allclose(found, exact("polygamma", operands, np.zeros(12)), rtol=1e-13, atol=0)


@pytest.mark.parametrize("device", PLACES)
def test_digamma_near_its_zero(device: bool):
    x = 1.4616321449683622 + np.arange(-3, 4) * 2.0**-52
    (found,) = run(spellings_of(["digamma"]), (x,), float, device=device)
    wanted = exact("digamma", (x,), np.zeros_like(x))
    assert (np.abs(found - wanted) <= ULPS * np.spacing(np.abs(wanted))).all()


# --- Integers and booleans ----------------------------------------------------------------------------------

INTEGERS = ("floor_divide", "mod", "fmod", "maximum", "minimum", "fmax", "fmin", "add", "sub", "mul")
INTEGERS_OF_ONE = ("square", "sign", "abs", "neg")


@pytest.mark.parametrize("device", PLACES)
@pytest.mark.parametrize("names", [INTEGERS, INTEGERS_OF_ONE], ids=["two operands", "one operand"])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int16, np.int8, np.uint8])
def test_integers_mean_what_numpy_means(dtype: Any, names: tuple[str, ...], device: bool):
    limits = np.iinfo(dtype)
    values = [limits.min, limits.min + 1, limits.max, *range(-7, 8)]
    values = np.unique(np.array(values).clip(limits.min, limits.max)).astype(dtype)
    operands = [axis.ravel() for axis in np.meshgrid(*[values] * FUNCTIONS[names[0]].arity)]
    spellings = [f"np.{np.dtype(dtype).name}({FUNCTIONS[name].kernel})" for name in names]
    found = run(spellings, operands, dtype, device=device)
    for row, name in zip(found, names, strict=True):
        with np.errstate(all="ignore"):
            wanted = MachineNumbers().function(template(name))(*operands)
        assert np.array_equal(row, wanted.astype(dtype)), name


@pytest.mark.parametrize("device", PLACES)
def test_integer_powers(device: bool):
    a, b = (axis.ravel() for axis in np.meshgrid(np.arange(-5, 6), np.arange(0, 70, 3)))
    (found,) = run(["power({0}, {1})"], (a, b), np.int64, device=device)
    assert np.array_equal(found, np.power(a, b))
    inverse = np.array([-3, -2, -1, 0, 1, 2])
    (found,) = run(["power({0}, {1})"], (inverse, np.full(6, -3)), np.int64, device=device)
    assert found.tolist() == [0, 0, -1, 0, 1, 0]
    (found,) = run(["power({0}, {1})"], (inverse, np.full(6, -2)), np.int64, device=device)
    assert found.tolist() == [0, 0, 1, 0, 1, 0]


@pytest.mark.parametrize("device", PLACES)
def test_booleans(device: bool):
    a, b = np.array([False, False, True, True]), np.array([False, True, False, True])
    names = ("logical_and", "logical_or", "logical_xor", "maximum", "minimum", "eq")
    extra = ("plus({0}, {1})", "larger({0}, {1})", "smaller({0}, {1})", "not {0}", "{1} if {0} else {0}")
    found = run((*spellings_of(names), *extra), (a, b), bool, device=device)
    wanted = [a & b, a | b, a ^ b, a | b, a & b, a == b, a | b, a | b, a & b, ~a, a & b]
    assert found.tolist() == [row.tolist() for row in wanted]


@pytest.mark.parametrize("device", PLACES)
def test_random_bits_are_those_of_the_cpu(device: bool, rng: np.random.Generator):
    keys = np.concatenate([[0, 1, -1, 2**63 - 1, -(2**63)], rng.integers(-(2**63), 2**63 - 1, 40)])
    grid = np.meshgrid(keys, [0, 1, 77, 2**40, 2**63 - 1], [1, 24, 32, 53, 64])
    operands = [axis.ravel() for axis in grid]
    (found,) = run(spellings_of(["random_bits"]), operands, np.int64, device=device)
    assert np.array_equal(found, random_bits(*operands))


# --- Combining, choosing and converting ---------------------------------------------------------------------


@pytest.mark.parametrize("device", PLACES)
@pytest.mark.parametrize("dtype", [*FLOATS, np.int64])
def test_accumulators(dtype: Any, device: bool):
    a, b = (axis.ravel() for axis in np.meshgrid(*[np.array([-2.0, 0.0, 3.0, np.nan, np.inf])] * 2))
    if dtype is np.int64:
        a, b = (np.nan_to_num(x, nan=5, posinf=7) for x in (a, b))
    a, b = a.astype(dtype), b.astype(dtype)
    spellings = [f"{name}({{0}}, {{1}})" for name in ("plus", "larger", "smaller")]
    found = run(spellings, (a, b), dtype, device=device)
    with np.errstate(all="ignore"):
        wanted = [a + b, np.maximum(a, b), np.minimum(a, b)]
    assert np.array_equal(found, wanted, equal_nan=dtype is not np.int64)


@pytest.mark.parametrize("device", PLACES)
def test_a_sum_keeps_the_dtype_of_its_total(device: bool):
    text = ["np.int64(plus({0}, {1}))"]
    for a, b, wanted in ((np.int8(100), np.int8(100), -56), (True, True, 1), (np.int16(5), np.int8(-7), -2)):
        (found,) = run(text, (np.array([a]), np.array([b])), np.int64, device=device)
        assert found == wanted
    total, value = np.array([0.1]), np.array([0.1], np.float32)
    (found,) = run(["plus({0}, {1})"], (total, value), np.float64, device=device)
    assert found == total + value


CONVERSIONS = {  # as printed, by dtype of the operands: text, dtype and values of the result
    "float32": [
        ("1 if {0} > {1} else 0", np.int64, lambda a, b: a > b),
        ("{0} if {0} > np.float32(0.1) and not {1} > {0} else {1}", np.float32, np.maximum),
        ("np.float64({0}) * np.float64({1})", np.float64, lambda a, b: a.astype(float) * b.astype(float)),
        ("np.int64({0})", np.int64, lambda a, b: a.astype(int)),
        ("np.float32({0} > {1})", np.float32, lambda a, b: a > b),
        ("({0} != 0)", np.bool_, lambda a, b: a != 0),
        ("np.float32(1.0) / {0}", np.float32, lambda a, b: 1 / a),
        ("{0} if {1} > {0} else -np.float32(np.inf)", np.float32, lambda a, b: np.where(b > a, a, -np.inf)),
        ("np.float32(1 if {0} > {1} else 0) + {0}", np.float32, lambda a, b: (a > b) + a),
    ],
    "float64": [
        ("np.float32({0})", np.float32, lambda a, b: a.astype(np.float32)),
        ("{0} // {1}", np.float64, np.floor_divide),
        ("np.float64(np.float32({0}))", np.float64, lambda a, b: a.astype(np.float32)),
        ("1.0 if {0} <= {1} else 0.25", np.float64, lambda a, b: np.where(a <= b, 1, 0.25)),
    ],
    "int64": [
        ("np.float32({0})", np.float32, lambda a, b: a),
        ("np.float64({0}) / np.float64({1})", np.float64, np.divide),
        ("np.int8({0})", np.int8, lambda a, b: a.astype(np.int8)),
        ("np.uint8({0} * {1})", np.uint8, lambda a, b: (a * b).astype(np.uint8)),
        ("{0} // 3 + {1} % 3", np.int64, lambda a, b: a // 3 + b % 3),
    ],
}


@pytest.mark.parametrize("device", PLACES)
@pytest.mark.parametrize("dtype", CONVERSIONS)
def test_what_is_printed_around_functions(dtype: str, device: bool):
    a = np.array([2.5, -1.5, 7.25, 3.0, -1000.75, 1 / 3]).astype(dtype)
    b = np.array([1.5, -1.5, 2.0, -300.1, 5.5, 0.7]).astype(dtype)
    b[b == 0] = 1
    for text, result, meaning in CONVERSIONS[dtype]:
        (found,) = run([text], (a, b), result, device=device)
        assert found.tolist() == np.asarray(meaning(a, b)).astype(result).tolist(), text


# --- What is compiled ---------------------------------------------------------------------------------------


@pytest.mark.ptx
@pytest.mark.parametrize("names", families([*NAMES, *ORDERED]), ids=lambda names: names[0])
def test_single_precision_stays_single(names: tuple[str, ...]):
    text = text_of(spellings_of(names), ("float32",) * FUNCTIONS[names[0]].arity, "float32")
    assert bool(re.search(r"\.f64\b", text)) == (names[0] in IN_DOUBLE)


@pytest.mark.ptx
def test_every_row_is_compiled_somewhere():
    tested = {*NAMES, *ORDERED, "logical_and", "logical_or", "logical_xor", "logical_not", "select"}
    assert tested | {"random_bits"} == set(FUNCTIONS)


@pytest.mark.ptx
@pytest.mark.parametrize("capability", [(7, 5), (9, 0), (12, 0)])
def test_other_devices(capability: tuple[int, int]):
    names = ("exp", "log1p", "tanh", "cbrt", "rint", "erfinv", "ndtr", "gammaln", "log_ndtr", "softplus")
    text = text_of(spellings_of(names), ("float32",), "float32", capability)
    assert ".target sm_{}{}".format(*capability) in text
    assert ".f64" not in text


@pytest.mark.simulator
@pytest.mark.parametrize("dtype", FLOATS)
def test_simulated_functions_keep_the_dtype(dtype: type):
    names = [
        name
        for name in (*NAMES, *ORDERED)
        if not FUNCTIONS[name].kernel.startswith("math.") and name not in PREDICATES
    ]
    for arity in (1, 2):
        chosen = [name for name in names if FUNCTIONS[name].arity == arity]
        texts = [f"1.0 if type({FUNCTIONS[name].kernel}) is type({{0}}) else 0.0" for name in chosen]
        found = run(texts, [np.full(1, 0.5, dtype)] * arity, dtype)
        assert not [name for name, row in zip(chosen, found, strict=True) if not row.all()]
