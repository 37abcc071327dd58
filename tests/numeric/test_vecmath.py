"""Elementary functions of kernels: units in the last place by mpmath, special values, vector instructions."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest
from numba import njit

from gradc_runtime import vecmath
from gradc_runtime.lanes import over_lanes, run_lanes
from gradc_runtime.reduce import plus

Array = np.ndarray
SINGLE, DOUBLE = np.float32, np.float64
DTYPES = pytest.mark.parametrize("dtype", [DOUBLE, SINGLE])


def softplus(x: Any) -> Any:
    return mpmath.log1p(mpmath.exp(x)) if x < 60 else x + mpmath.exp(-x)


def real(value: Any) -> Any:
    return value if isinstance(value, mpmath.mpf) else mpmath.nan


def logarithm(x: Any) -> Any:
    return real(mpmath.log(x)) if x != 0 else -mpmath.inf


def log1p(x: Any) -> Any:
    return real(mpmath.log1p(x)) if x != -1 else -mpmath.inf


def erfc(x: Any) -> Any:
    return mpmath.erfc(x) if abs(x) < 40 else mpmath.mpf(0 if x > 0 else 2)


# name: meaning, units in the last place allowed, the interval where the function is neither constant nor infinite
UNARY: dict[str, tuple[Callable[[Any], Any], float, float, float]] = {
    "exp": (mpmath.exp, 1.0, -746, 710),
    "exp2": (lambda x: mpmath.mpf(2) ** x, 2.0, -1076, 1025),
    "expm1": (mpmath.expm1, 1.0, -40, 710),
    "expit": (lambda x: 1 / (1 + mpmath.exp(-x)), 2.0, -746, 40),
    "tanh": (mpmath.tanh, 2.0, -20, 20),
    "sinh": (mpmath.sinh, 2.0, -711, 711),
    "cosh": (mpmath.cosh, 2.0, -711, 711),
    "log": (logarithm, 1.0, 0, 1e4),
    "log2": (lambda x: logarithm(x) / mpmath.ln2, 1.0, 0, 1e4),
    "log10": (lambda x: logarithm(x) / mpmath.ln10, 1.0, 0, 1e4),
    "log1p": (log1p, 1.0, -1, 1e4),
    "softplus": (softplus, 2.0, -746, 746),
    "log_expit": (lambda x: -softplus(-x), 2.0, -746, 746),
    "sin": (mpmath.sin, 1.0, -1e4, 1e4),
    "cos": (mpmath.cos, 1.0, -1e4, 1e4),
    "tan": (mpmath.tan, 4.0, -1e4, 1e4),
    "arcsin": (lambda x: real(mpmath.asin(x)), 2.0, -1, 1),
    "arccos": (lambda x: real(mpmath.acos(x)), 2.0, -1, 1),
    "arctan": (mpmath.atan, 2.0, -1e3, 1e3),
    "erf": (lambda x: 1 - erfc(x) if x > 1 else erfc(-x) - 1 if x < -1 else mpmath.erf(x), 2.0, -7, 7),
    "erfc": (erfc, 4.0, -7, 28),
    "ndtr": (lambda x: erfc(-x / mpmath.sqrt(2)) / 2, 4.0, -39, 9),
    "cbrt": (lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)), 1.0, -1e4, 1e4),
}
UNBOUNDED = ("sin", "cos", "tan", "log", "log2", "log10", "log1p", "cbrt", "arctan", "arcsin", "arccos")
BINARY = ("arctan2", "power", "logaddexp", "logaddexp2", "xlogy", "xlog1py")
# Numbers near multiples of pi/2.  Beyond 2**40 the C library answers, which is not that accurate right beside one.
NEAR_MULTIPLES = [5.0e11 * math.pi, 355.0, 1.57079637050628662109375, 11.0, 1e300, 16367173 * 2.0**72]


def units(found: Array, wanted: list[Any]) -> Array:
    """Distance in units in the last place of `wanted`; 0 where the rounded values are equal, NaN included."""
    info = np.finfo(found.dtype)
    errors = np.zeros(found.size)
    with np.errstate(all="ignore"):
        rounded = np.array([float(value) for value in wanted]).astype(found.dtype)
    same = (rounded == found) | (np.isnan(rounded) & np.isnan(found))
    for k in np.flatnonzero(~same):
        if not np.isfinite(found[k]) or not mpmath.isfinite(wanted[k]):
            errors[k] = np.inf
            continue
        exponent = max(mpmath.frexp(wanted[k])[1] - 1, info.minexp)
        errors[k] = abs(mpmath.mpf(float(found[k])) - wanted[k]) / mpmath.mpf(2) ** (exponent - info.nmant)
    return errors


def points(name: str, dtype: type, count: int, rng: np.random.Generator) -> Array:
    """Places of every magnitude, places in the interesting interval, places near 1, and the ends of the range."""
    _, _, low, high = UNARY[name]
    info = np.finfo(dtype)
    if dtype is SINGLE:
        low, high = (max(low, -152), min(high, 129)) if abs(low) > 100 and high < 2000 else (low, high)
    magnitudes = 2.0 ** rng.uniform(info.minexp - info.nmant, info.maxexp, count)
    near_one = 1 + rng.choice([-1, 1], count) * 2.0 ** rng.uniform(-info.nmant, 0, count)
    near_zero = 2.0 ** rng.uniform(-30, 2, count)
    ends = [info.smallest_subnormal, info.tiny, info.max, 1.0, 0.0, *NEAR_MULTIPLES]
    positive = np.concatenate([magnitudes, near_one, near_zero, ends])
    with np.errstate(over="ignore"):
        found = np.concatenate([positive, -positive, rng.uniform(low, high, 4 * count)]).astype(dtype)
    found = found[np.isfinite(found)]
    if name in (
        "erf",
        "erfc",
        "ndtr",
        "softplus",
        "log_expit",
        "sinh",
        "cosh",
        "tanh",
        "expit",
        "exp",
        "exp2",
        "expm1",
    ):
        found = found[np.abs(found) < 2000]  # mpmath would compute numbers of as many digits
    return found


@cache
def applied(names: tuple[str, ...], arity: int) -> Any:
    """Compile a kernel that stores function k of its operands in row k of its last argument, in a loop each."""
    operands = ("a", "b")[:arity]
    lines = [f"def kernel({', '.join(operands)}, out):"]
    for k, name in enumerate(names):
        lines.append("    for i in range(a.size):")
        lines.append(f"        out[{k}, i] = {name}({', '.join(f'{operand}[i]' for operand in operands)})")
    scope: dict[str, Any] = {name: getattr(vecmath, name) for name in names}
    exec("\n".join(lines), scope)
    return njit(error_model="numpy")(scope["kernel"])


def values(names: tuple[str, ...], *operands: Array) -> Array:
    found = np.empty((len(names), operands[0].size), operands[0].dtype)
    applied(names, len(operands))(*operands, found)
    return found


def in_lanes(names: tuple[str, ...], *operands: Array) -> Array:
    """The same from vectors: a block of a loop over lanes calls the functions on all of their numbers at once."""
    arity, count = len(operands), len(names)
    steps: list[Any] = [("load", 0, (None, at)) for at in range(arity)]
    steps += [(name, *range(arity)) for name in names]
    steps += [("store", 1, (None, at), arity + at) for at in range(count)]
    block = over_lanes(steps)(lambda i, totals, given, found: None)
    run: Any = njit(lambda given, found: run_lanes(block, 0, len(given), np.zeros(0), (given, found)))
    found = np.empty((operands[0].size, count))
    run(np.stack(operands, axis=1), found)
    return found.T


@pytest.mark.parametrize("arity", [1, 2])
def test_vectors_have_the_bits_of_numbers(arity: int, rng: np.random.Generator):
    """Beyond the limit of a function's arithmetic, too, where the C library computes single lanes."""
    names: tuple[str, ...] = tuple(UNARY) if arity == 1 else BINARY
    wide = rng.choice([-1, 1], (arity, 301)) * 2.0 ** rng.uniform(-1074, 1023, (arity, 301))
    near = rng.uniform(-5, 5, (arity, 300))
    special = np.array(list(itertools.product([*SPECIAL, *NEAR_MULTIPLES, 1e-310], repeat=arity))).T
    operands = np.concatenate([wide, near, special], axis=1)
    assert operands.shape[1] % 8, "the last vector must not be full"
    one, two = values(names, *operands), in_lanes(names, *operands)
    for name, number, vector in zip(names, one, two, strict=True):
        assert same(number, vector).all(), (name, operands[:, ~same(number, vector)])


def worst(name: str, dtype: type, count: int, rng: np.random.Generator) -> tuple[float, float]:
    """Greatest error in units in the last place, and where."""
    meaning = UNARY[name][0]
    x = points(name, dtype, count, rng)
    (found,) = values(tuple(UNARY), x)[[list(UNARY).index(name)]]
    with mpmath.workprec(160):
        errors = units(found, [meaning(mpmath.mpf(float(place))) for place in x])
    return float(errors.max()), float(x[errors.argmax()])


@DTYPES
@pytest.mark.parametrize("name", UNARY)
def test_ulp(name: str, dtype: type, rng: np.random.Generator):
    error, place = worst(name, dtype, 40, rng)
    assert error <= UNARY[name][1], place


@pytest.mark.full
@DTYPES
@pytest.mark.parametrize("name", UNARY)
def test_ulp_densely(name: str, dtype: type, rng: np.random.Generator):
    error, place = worst(name, dtype, 3000, rng)
    assert error <= UNARY[name][1], place


SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0]


def same(found: Array, wanted: Array, units_allowed: float = 0) -> Array:
    """Equal, the sign of zeros included."""
    with np.errstate(all="ignore"):
        close = np.abs(found - wanted) <= units_allowed * np.spacing(np.abs(wanted))
    equal = (found == wanted) & (np.signbit(found) == np.signbit(wanted))
    return equal | (np.isnan(found) & np.isnan(wanted)) | (close & (wanted != 0))


@DTYPES
def test_special_values_are_those_of_python_calls(dtype: type):
    """NumPy's own values, which the functions return when called from Python."""
    info = np.finfo(dtype)
    x = np.array([*SPECIAL, info.max, -info.max, info.smallest_subnormal, -info.smallest_subnormal], dtype)
    found = values(tuple(UNARY), x)
    for row, name in zip(found, UNARY, strict=True):
        wanted = np.array([getattr(vecmath, name)(place) for place in x])
        assert same(row, wanted, 2).all(), (name, x, row, wanted)


@DTYPES
def test_special_values_of_two_operands(dtype: type):
    numbers = [*SPECIAL, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 1.5, 2.0**60, -(2.0**60), 1e-40, 1e38, -1e38]
    a, b = np.array(list(itertools.product(numbers, numbers))).astype(dtype).T.copy()
    found = values(BINARY, a, b)
    for row, name in zip(found, BINARY, strict=True):
        function = getattr(vecmath, name)
        wanted = function(a, b)
        good = same(row, wanted, 8)  # logaddexp cancels
        assert good.all(), (name, a[~good], b[~good], row[~good], wanted[~good])


@DTYPES
def test_ulp_of_two_operands(dtype: type, rng: np.random.Generator):
    info = np.finfo(dtype)
    base = (2.0 ** rng.uniform(-3, 3, 400)).astype(dtype)
    base[:100] = 2.0 ** rng.uniform(info.minexp - 10, info.maxexp, 100)
    base[100:150] = 1 + rng.uniform(-1, 1, 50) * 2.0 ** rng.uniform(-15, 0, 50)
    with np.errstate(all="ignore"):
        exponent = (rng.uniform(info.minexp - info.nmant, info.maxexp, 400) / np.log2(base)).astype(dtype)
    y, x = rng.standard_normal((2, 400)).astype(dtype) * (2.0 ** rng.uniform(-20, 20, (2, 400))).astype(dtype)
    with mpmath.workprec(160):
        power = [mpmath.mpf(float(a)) ** mpmath.mpf(float(b)) for a, b in zip(base, exponent, strict=True)]
        assert units(values(("power",), base, exponent)[0], power).max() < 1
        angle = [mpmath.atan2(float(a), float(b)) for a, b in zip(y, x, strict=True)]
        assert units(values(("arctan2",), y, x)[0], angle).max() < 2


@DTYPES
def test_exact_results_are_exact(dtype: type):
    """What has no rounding error in NumPy has none here."""
    powers = np.arange(-126, 128)
    (two,) = values(("log2",), 2.0 ** powers.astype(dtype))
    assert np.array_equal(two, powers.astype(dtype))
    assert np.array_equal(values(("exp2",), powers.astype(dtype))[0], 2.0 ** powers.astype(dtype))
    tens = np.arange(0, 11)
    assert np.array_equal(values(("log10",), (10.0**tens).astype(dtype))[0], tens.astype(dtype))
    x = np.arange(-200, 200).astype(dtype) / 8
    for exponent in (0, 1, 2):
        assert np.array_equal(values(("power",), x, np.full_like(x, exponent))[0], x**exponent)
    cubes = np.arange(-100, 100).astype(dtype)
    assert np.array_equal(values(("cbrt",), cubes**3)[0], cubes)


@DTYPES
def test_python_calls_keep_the_dtype_and_are_silent(dtype: type):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in UNARY:
            for place in (0.25, -3.0, 0.0, 1e30, math.nan, math.inf, -math.inf):
                assert np.asarray(getattr(vecmath, name)(dtype(place))).dtype == dtype, name
        for name in BINARY:
            for pair in ((0.0, 0.0), (-1.0, 0.5), (0.0, -1.0), (math.inf, -math.inf)):
                assert np.asarray(getattr(vecmath, name)(*map(dtype, pair))).dtype == dtype, name
    assert vecmath.exp(1.0) == math.e


def test_integers_and_mixed_precision_count_as_float64():
    @njit
    def kernel(n: Any, x: Any) -> Any:
        return vecmath.exp(n), vecmath.power(x, 2.0), vecmath.arctan2(x, x)

    number, power, angle = kernel(1, np.float32(3))
    assert same(np.array([number]), np.array([math.e]), 1)
    assert (power, angle) == (9.0, float(np.float32(math.pi / 4)))


@DTYPES
def test_bits_depend_neither_on_the_vector_nor_on_the_flags_of_the_kernel(
    dtype: type, rng: np.random.Generator
):
    names = ("exp", "tanh", "log1p", "sin", "erfc", "expit")
    x = (rng.standard_normal(67) * 3).astype(dtype)
    x[5], x[40] = 1e20, 3e6  # one goes to the C library in a vector, the other alone
    together = values(names, x)
    alone = np.concatenate([values(names, x[k : k + 1]) for k in range(x.size)], 1)
    relaxed = np.empty_like(together)
    flags = {"contract", "nsz", "arcp", "reassoc"}
    njit(fastmath=flags, error_model="numpy")(applied(names, 1).py_func)(x, relaxed)
    for other in (alone, relaxed):
        assert np.array_equal(together, other, equal_nan=True)


# --- Vector instructions ------------------------------------------------------------------------------------

FUSED = """
import numpy as np, sys
from numba import njit, types
from gradc_runtime import vecmath
from gradc_runtime.lanes import over_lanes, run_lanes
from gradc_runtime.reduce import plus

def sigmoid(x, y):
    for i in range(x.size):
        y[i] = 1 / (1 + vecmath.exp(-x[i]))

def softmax(x, y):
    total = x.dtype.type(0)
    for i in range(x.size):
        y[i] = vecmath.exp(x[i])
        total = plus(total, y[i])
    for i in range(x.size):
        y[i] /= total

def gelu(x, y):
    for i in range(x.size):
        y[i] = (vecmath.tanh(x[i]) * 0.5 + 0.5) * x[i] + vecmath.sin(x[i]) * vecmath.erf(x[i])

def cross_entropy(x, y):
    total = x.dtype.type(0)
    for i in range(x.size):
        total = plus(total, vecmath.softplus(x[i]) - x[i] * y[i])
    return total

def loop(name, operands):
    scope = {"f": getattr(vecmath, name)}
    exec(f"def {name}(x, y):\\n for i in range(x.size):\\n  y[i] = f({operands})", scope)
    return scope[name]

kernels = [sigmoid, softmax, gelu, cross_entropy] if UNARY else [gelu, cross_entropy]
kernels += [loop(name, "x[i]") for name in UNARY] + [loop(name, "x[i], y[i]") for name in BINARY]
for kernel in kernels:
    for kind in (types.float64, types.float32):
        compiled = njit(error_model="numpy")(kernel)
        compiled.compile((types.Array(kind, 1, "C", readonly=True), types.Array(kind, 1, "C")))
        print("KERNEL", kernel.__name__, kind)
        print(*compiled.inspect_asm().values())
"""


@pytest.mark.full
@pytest.mark.parametrize(("processor", "register"), [("haswell", "ymm"), ("znver4", "zmm")])
def test_every_function_vectorises_in_a_loop(processor: str, register: str, environment: dict[str, str]):
    check_vector_instructions(tuple(UNARY), BINARY, processor, register, environment)


@pytest.mark.parametrize(("processor", "register"), [("haswell", "ymm"), ("znver4", "zmm")])
def test_fused_loops_vectorise(processor: str, register: str, environment: dict[str, str]):
    check_vector_instructions((), (), processor, register, environment)


def check_vector_instructions(
    unary: tuple[str, ...],
    binary: tuple[str, ...],
    processor: str,
    register: str,
    environment: dict[str, str],
) -> None:
    """Compile for a processor and look for fused multiply-adds in its vector registers, both precisions."""
    variables = {**environment, "NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": ""}
    run = subprocess.run(
        [sys.executable, "-c", f"UNARY = {unary}; BINARY = {binary}{FUSED}"],
        capture_output=True,
        text=True,
        env=variables,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    parts = run.stdout.split("KERNEL ")[1:]
    assert len(parts) == 2 * ((4 if unary else 2) + len(unary) + len(binary))
    for part in parts:
        _, kind = part.split("\n", 1)[0].split()
        suffix = "pd" if kind == "float64" else "p[sd]"
        multiplies = re.findall(rf"vfn?m(?:add|sub)\w*{suffix}\s.*%{register}\d", part)
        assert len(multiplies) > 4, part.split("\n", 1)[0]


def test_a_total_of_exponentials_is_right(rng: np.random.Generator):
    @njit(error_model="numpy")
    def kernel(x: Any) -> Any:
        total = 0.0
        for i in range(x.size):
            total = plus(total, vecmath.exp(x[i]))
        return total

    x = rng.standard_normal(1003)
    assert abs(kernel(x) - math.fsum(np.exp(x))) < 1e-12 * x.size
