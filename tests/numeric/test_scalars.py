"""The scalar functions of kernels mean what NumPy means, at every kind of number and in both precisions.

One kernel per number of operands holds every function, so that the whole file compiles a handful of them.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest
from numba import njit

from gradc.autodiff.local import vjp_template
from gradc.autodiff.rules import RULES
from gradc.ir.functions import FUNCTIONS, imports_of
from gradc.ir.index.numbers import MachineNumbers
from gradc.ir.index.templates import Argument, Literal, Source, Template, template

ULPS = 4
# SciPy's own float32 versions overflow early (expit) or are single-precision algorithms.
LOOSE = {"ndtr": 8}  # units in the last place, where the interpreter is the less accurate one
EXCEPTIONS = {("expit", np.float32): 1e-43}
# Sums whose terms may cancel: an error of the larger term is all that either side promises.
CANCELLING = ("logaddexp", "logaddexp2")
# NumPy itself returns the one or the other zero, depending on the length of the array.
ZERO_OF_EITHER_SIGN = ("maximum", "minimum", "fmax", "fmin")

FINITE = [
    0.0,
    5e-324,
    2.3e-308,
    1e-300,
    1e-8,
    0.1,
    0.25,
    0.3,
    0.5,
    0.65,
    0.75,
    0.9,
    0.999,
    1.0,
    1.0000001,
    1.5,
]
FINITE += [2.0, 2.5, 3.0, 5.0, 7.25, 10.0, 20.0, 30.5, 37.5, 40.0, 88.0, 100.5, 300.0, 700.0, 745.0, 1e3, 1e5]
FINITE += [1e10, 1e38, 1e200, 1e308]
GRID = np.array([*FINITE, *(-x for x in FINITE), np.inf, -np.inf, np.nan])
ORDERED = ("polygamma", "sinc_derivative")
FAMILY = {
    arity: [name for name, f in FUNCTIONS.items() if f.arity == arity and name not in ("select", *ORDERED)]
    for arity in (1, 2)
}
FLOATING = {arity: [n for n in names if not n.startswith("logical_")] for arity, names in FAMILY.items()}


def grid(arity: int, dtype: type) -> tuple[np.ndarray, ...]:
    with np.errstate(over="ignore"):
        values = GRID.astype(dtype)
    return tuple(axis.ravel().copy() for axis in np.meshgrid(*[values] * arity))


def compiled(
    lines: list[str], names: dict[str, Any], arity: int, before: list[str] | None = None
) -> Callable[..., None]:
    """Compile a kernel that stores expression k of ``a`` and ``b`` at element i in ``out[k, i]``."""
    operands = ("a", "b")[:arity]
    source = [f"def kernel({', '.join(f'{x}_in' for x in operands)}, out):", "    for i in range(a_in.size):"]
    source += [f"        {x} = {x}_in[i]" for x in operands]
    source += [f"        {line}" for line in before or []]
    source += [f"        out[{k}, i] = {line}" for k, line in enumerate(lines)]
    exec("\n".join(source), names)
    return njit(error_model="numpy")(names["kernel"])


def namespace(spellings: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"np": np}
    for spelling in spellings:
        for module, name in imports_of(spelling):
            loaded = importlib.import_module(module)
            found[name or module] = getattr(loaded, name) if name else loaded
    return found


@cache
def family(arity: int) -> Callable[..., None]:
    spellings = [FUNCTIONS[name].kernel for name in FLOATING[arity]]
    lines = [spelling.format(*("a", "b")[:arity]) for spelling in spellings]
    return compiled(lines, namespace(spellings), arity)


def agrees(found: np.ndarray, wanted: np.ndarray, ulps: float, absolute: Any = 0.0) -> np.ndarray:
    with np.errstate(all="ignore"):
        close = np.abs(found - wanted) <= np.maximum(ulps * np.spacing(np.abs(wanted)), absolute)
    return (found == wanted) | (np.isnan(found) & np.isnan(wanted)) | close


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("arity", [1, 2])
def test_kernel_spellings_mean_what_numpy_means(arity: int, dtype: type):
    operands = grid(arity, dtype)
    found = np.empty((len(FLOATING[arity]), operands[0].size), dtype)
    family(arity)(*operands, found)
    wrong = []
    for row, name in zip(found, FLOATING[arity], strict=True):
        with np.errstate(all="ignore"):
            wanted = np.asarray(MachineNumbers().function(template(name))(*operands)).astype(dtype)
            cancelled = ULPS * np.spacing(np.max(np.abs(operands), axis=0)) if name in CANCELLING else 0.0
        good = agrees(
            row, wanted, LOOSE.get(name, ULPS), np.fmax(EXCEPTIONS.get((name, dtype), 0.0), cancelled)
        )
        if name not in ZERO_OF_EITHER_SIGN:
            good &= (wanted != 0) | (row != 0) | (np.signbit(row) == np.signbit(wanted))
        wrong += [
            (name, [float(x[k]) for x in operands], float(wanted[k]), float(row[k]))
            for k in np.flatnonzero(~good)[:3]
        ]
    assert not wrong


@pytest.mark.parametrize("arity", [1, 2])
def test_single_precision_stays_single(arity: int):
    """One operation computed in float64 would be more accurate, slower, and differ from NumPy."""
    names = [name for name in FLOATING[arity] if FUNCTIONS[name].result.value not in ("bool", "logical")]
    spellings = [FUNCTIONS[name].kernel for name in names]
    scope = namespace(spellings)
    operands = ("a", "b")[:arity]
    lines = ", ".join(spelling.format(*operands) for spelling in spellings)
    exec(f"def kernel({', '.join(operands)}): return ({lines},)", scope)
    kernel = njit(error_model="numpy")(scope["kernel"])
    kernel(*[np.float32(0.5)] * arity)
    (signature,) = kernel.nopython_signatures
    assert dict.fromkeys(str(t) for t in signature.return_type) == {"float32": None}


ORDERS = np.repeat(np.arange(0.0, 7.0), 40)
PLACES = np.tile(np.concatenate([np.linspace(-4.3, 5.2, 37), [0.0, 20.5, 1e4]]), 7)


@cache
def ordered() -> Callable[..., None]:
    spellings = [FUNCTIONS[name].kernel for name in ORDERED]
    return compiled([spelling.format("a", "b") for spelling in spellings], namespace(spellings), 2)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_derivatives_of_any_order(dtype: type):
    orders, places = ORDERS.astype(dtype), PLACES.astype(dtype)
    found = np.empty((2, orders.size), dtype)
    ordered()(orders, places, found)
    for row, name in zip(found, ORDERED, strict=True):
        wanted = MachineNumbers().function(template(name))(orders, places)
        inside = (places > 0) | (name == "sinc_derivative")  # SciPy's zeta function is NaN for negative x
        scale = np.maximum(np.abs(wanted), np.pi**ORDERS / (ORDERS + 1) if name != "polygamma" else 0)
        allowed = 64 * np.finfo(dtype).eps * scale
        inside &= np.isfinite(wanted)
        assert (np.abs(row[inside] - wanted[inside]) <= allowed[inside]).all(), name


def test_polygamma_left_of_the_origin():
    """By the reflection formula, which knows nothing of the zeta function."""
    x = np.array([-0.3, -1.7, -2.5, -41.25, -1e9 - 0.5])
    orders = np.ones_like(x)
    found = np.empty((2, x.size))
    ordered()(orders, x, found)
    mirrored = np.pi**2 / np.sin(np.pi * x) ** 2 - MachineNumbers().function(template("polygamma"))(
        orders, 1 - x
    )
    assert np.allclose(found[0], mirrored, rtol=1e-12, atol=0)
    places = np.array([0.0, -1.0, np.inf, -1e300, -np.inf])
    ordered()(orders, places, found)
    assert found[0, :4].tolist() == [np.inf, np.inf, 0.0, np.inf]  # every float beyond 2**53 is a pole
    assert np.isnan(found[0, 4])


def test_polygamma_of_high_orders():
    """Around where the sum of terms ends and the asymptotic series begins: that falls only beyond the order."""
    orders = np.repeat([12.0, 30.0, 60.0], 4)
    places = np.tile([0.5, 11.5, 12.5, 40.0], 3)
    found = np.empty((2, orders.size))
    ordered()(orders, places, found)
    with mpmath.workdps(40):
        wanted = [float(mpmath.polygamma(int(n), x)) for n, x in zip(orders, places, strict=True)]
    np.testing.assert_allclose(found[0], wanted, rtol=64 * np.finfo(float).eps)


INTEGERS = (
    "floor_divide",
    "mod",
    "maximum",
    "minimum",
    "fmax",
    "fmin",
    "square",
    "sign",
    "abs",
    "neg",
    "fmod",
)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8])
def test_integers_mean_what_numpy_means(dtype: type):
    limits = np.iinfo(dtype)
    values = np.unique(
        np.array([limits.min, limits.min + 1, limits.max, *range(-7, 8)]).clip(limits.min, limits.max)
    )
    a, b = (axis.ravel().astype(dtype) for axis in np.meshgrid(values, values))
    found = np.empty((len(INTEGERS), a.size), dtype)
    integer_family()(a, b, found)
    for row, name in zip(found, INTEGERS, strict=True):
        operands = (a, b)[: FUNCTIONS[name].arity]
        with np.errstate(all="ignore"):
            wanted = MachineNumbers().function(template(name))(*operands)
        assert np.array_equal(row, wanted.astype(dtype)), name


@cache
def integer_family() -> Callable[..., None]:
    spellings = [FUNCTIONS[name].kernel for name in INTEGERS]
    return compiled([spelling.format("a", "b") for spelling in spellings], namespace(spellings), 2)


def test_integer_powers():
    kernel = compiled(["power(a, b)"], namespace(["power({0}, {1})"]), 2)
    a, b = (axis.ravel() for axis in np.meshgrid(np.arange(-5, 6), np.arange(0, 70, 3)))
    found = np.empty((1, a.size), np.int64)
    kernel(a, b, found)
    assert np.array_equal(found[0], np.power(a, b))
    with pytest.raises(ValueError, match="negative integer powers"):
        kernel(a, -b - 1, found)


# --- Derivatives: the emitted templates, compiled -----------------------------------------------------------


def statements(body: Template, operands: tuple[str, ...], prefix: str) -> tuple[list[str], str]:
    """Write the tape as assignments to local variables, and the name of the result."""

    def text(source: Source) -> str:
        match source:
            case Argument(position):
                return operands[position]
            case Literal(number, _):
                return "np.inf" if number == math.inf else repr(float(number))
            case _:
                return f"{prefix}_{source.position}"

    lines = []
    for at, step in enumerate(body.tape.instructions):
        spelling = FUNCTIONS[step.function].kernel
        lines.append(f"{prefix}_{at} = {spelling.format(*(f'({text(source)})' for source in step.sources))}")
    return lines, text(body.tape.result)


SINGULAR_OR_KINKED = [
    name
    for arity in (1, 2)
    for name in FLOATING[arity]
    if RULES[name].partials is not None
    and (RULES[name].singular or RULES[name].kink)
    and sum(RULES[name].counts)
]


def test_compiled_partials_equal_the_interpreted_ones():
    """The conventions at kinks and poles hold in kernels as in the interpreter."""
    chosen = [
        (name, position, local)
        for name in SINGULAR_OR_KINKED
        for position in range(FUNCTIONS[name].arity)
        if (local := vjp_template(template(name), position, lone=False, with_result=True))
    ]
    spellings = [FUNCTIONS[name].kernel for name in SINGULAR_OR_KINKED]
    spellings += [
        FUNCTIONS[i.function].kernel for _, _, local in chosen for i in local.template.tape.instructions
    ]
    before, lines = [], []
    for k, (name, _, local) in enumerate(chosen):
        named = {"y": f"y{k}", "y_bar": "0.75"}
        before.append(f"y{k} = {FUNCTIONS[name].kernel.format('a', 'b')}")
        operands = tuple(("a", "b")[s] if isinstance(s, int) else named[str(s)] for s in local.sources)
        made, result = statements(local.template, operands, f"s{k}")
        before += made
        lines.append(result)
    points = tuple(axis.ravel().copy() for axis in np.meshgrid(GRID[::2], GRID[1::2]))
    found = np.empty((len(lines), points[0].size))
    compiled(lines, namespace(spellings), 2, before)(*points, found)
    for row, (name, position, local) in zip(found, chosen, strict=True):
        own = points[: FUNCTIONS[name].arity]
        with np.errstate(all="ignore"):
            named = {
                "y": MachineNumbers().function(template(name))(*own),
                "y_bar": np.full_like(points[0], 0.75),
            }
            operands = [points[s] if isinstance(s, int) else named[str(s)] for s in local.sources]
            wanted = MachineNumbers().function(local.template)(*operands)
        # an error of an ULP in the result grows with the exponent that it enters
        good = agrees(row, wanted, 4096 if name in ("pow", "erfinv", "ndtri") else 16, 1e-307)
        assert good.all(), (name, position, [x[~good][:4] for x in points], row[~good][:4], wanted[~good][:4])
