"""Every function of the inventory has every spelling, and spellings and dtype rules agree with NumPy."""

from __future__ import annotations

import importlib
import itertools
from typing import Any

import mpmath
import numpy as np
import pytest

from gradc.autodiff.rules import RULES
from gradc.ir.functions import (
    COMMUTATIVE,
    FUNCTIONS,
    MARKERS,
    SPECIAL,
    Result,
    imports_of,
    operand_dtype,
    result_dtype,
)
from gradc.ir.index.numbers import HighPrecision, MachineNumbers
from gradc.ir.index.templates import operation_count, template
from gradc.ir.types import FROM_NUMPY, DType

INTEGER = [name for name, f in FUNCTIONS.items() if f.result is Result.INTEGER]
NUMERIC = [
    name
    for name, f in FUNCTIONS.items()
    if not name.startswith("logical_") and name != "select" and name not in INTEGER
]
ORDERED = ("polygamma", "sinc_derivative")  # the first operand is the order of a derivative
POINTS = [np.nan, np.inf, -np.inf, 0.0, 0.25, 1.0, -1.0, 2.0, -2.0, 3.5, -3.5, -0.75, 12.0, 1e200, -40.0]


def grid(name: str) -> list[np.ndarray]:
    axes = [axis.ravel() for axis in np.meshgrid(*[POINTS] * FUNCTIONS[name].arity)]
    if name in ORDERED:
        axes[0] = np.resize([1.0, 2.0, 3.0], axes[0].shape)
    return axes


def numpy_value(name: str, *operands: Any) -> Any:
    with np.errstate(all="ignore"):
        return MachineNumbers().function(template(name))(*operands)


def test_every_function_has_a_row_and_every_row_a_function():
    assert set(RULES) == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_spelling_uses_every_operand_and_no_other(name: str):
    function = FUNCTIONS[name]
    wanted = {f"{{{position}}}" for position in range(function.arity)}
    ignored = {"{1}"} if name == "attach_gradient" else set()
    for spelling in (function.numpy, function.mpmath, function.kernel):
        used = {part for part in wanted | {"{0}", "{1}", "{2}"} if part in spelling}
        assert used >= wanted - ignored, spelling
        assert used <= wanted, spelling


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_name_of_a_kernel_spelling_can_be_imported(name: str):
    for module, attribute in imports_of(FUNCTIONS[name].kernel):
        loaded = importlib.import_module(module)
        assert attribute is None or callable(getattr(loaded, attribute))
        assert module in ("math", "gradc_runtime.scalars", "gradc_runtime.special")


def test_the_list_of_special_names_has_no_strangers():
    used = {attribute for f in FUNCTIONS.values() for _, attribute in imports_of(f.kernel)}
    assert used >= SPECIAL


@pytest.mark.parametrize("name", NUMERIC)
def test_mpmath_means_what_numpy_means(name: str):
    operands = grid(name)
    found = numpy_value(name, *operands)
    numbers = HighPrecision(50)
    with numbers.context():
        for at, point in enumerate(zip(*operands, strict=True)):
            if found[at] in (np.inf, -np.inf, 0.0) and any(abs(x) in (1e200, 40.0, 12.0) for x in point):
                continue  # an overflow or underflow of float64 alone
            exact = numbers.function(template(name))(*(mpmath.mpf(float(x)) for x in point))
            wanted = float(exact)
            tolerance = 1e-13 * abs(wanted) + 1e-300
            if name in ("sin", "cos", "tan", "sinc", "dsinc", "sinc_derivative", "mod", "fmod"):
                tolerance += 1e-13
            agree = wanted == found[at] or (np.isnan(wanted) and np.isnan(found[at]))
            assert agree or abs(wanted - found[at]) <= tolerance, (point, wanted, found[at])


@pytest.mark.parametrize("name", INTEGER)
def test_functions_of_integers_are_exact_and_stay_integers(name: str):
    assert name == "random_bits"
    operands = [
        axis.ravel()
        for axis in np.meshgrid([0, 1, -1, 2**40, -(2**63)], [0, 1, 2**63 - 1, -5], [1, 24, 53, 64])
    ]
    found = numpy_value(name, *operands)
    exact = HighPrecision(50).function(template(name))(*operands)
    assert found.dtype == np.int64
    assert found.tolist() == exact.tolist()
    assert result_dtype(FUNCTIONS[name], operand_dtype(FUNCTIONS[name], (DType.INT32,) * 3)) is DType.INT64


FLOATS, INTEGERS = (DType.F32, DType.F64), (DType.INT8, DType.INT32, DType.INT64, DType.UINT8, DType.UINT32)
# NumPy has float16 for small integers, we have not; its reciprocal and rounding of integers are integers.
OURS = ("reciprocal", "floor", "ceil", "trunc", "heaviside")


@pytest.mark.parametrize("name", NUMERIC)
def test_dtypes_are_those_of_numpy(name: str):
    function = FUNCTIONS[name]
    for dtypes in itertools.product((*FLOATS, *INTEGERS), repeat=function.arity):
        shared = operand_dtype(function, dtypes)
        made = result_dtype(function, shared)
        operands = [np.ones((), dtype.numpy) for dtype in dtypes]
        if name in OURS and not any(dtype.is_float for dtype in dtypes):
            assert made.is_float
            continue
        if name in (*ORDERED, "inverse_mills", "dsinc", "attach_gradient", "sinc"):
            assert made is shared
            continue
        if len(set(dtypes)) > 1 and name in ("xlogy", "xlog1py"):
            continue  # SciPy's loops are not in NumPy's order
        wanted = np.asarray(numpy_value(name, *operands)).dtype
        if wanted == np.float16:
            assert made is DType.F32
        else:
            assert made is FROM_NUMPY[wanted], (dtypes, made, wanted)


@pytest.mark.parametrize("name", sorted(COMMUTATIVE))
def test_commutative_functions_commute(name: str):
    first, second = grid("add")
    if name.startswith("logical_"):
        first, second = first > 0, second > 1
    assert np.array_equal(
        numpy_value(name, first, second),
        numpy_value(name, second, first),
        equal_nan=not name.startswith("logical_"),
    )


@pytest.mark.parametrize(
    "name", [n for n in NUMERIC if FUNCTIONS[n].arity == 2 and n not in {*COMMUTATIVE, *ORDERED}]
)
def test_the_others_do_not(name: str):
    first, second = grid(name)
    assert not np.array_equal(
        numpy_value(name, first, second), numpy_value(name, second, first), equal_nan=True
    )


def test_imports_of_keywords_and_builtins_are_none():
    assert imports_of("{1} if {0} else {2}") == ()
    assert imports_of("abs({0})") == ()
    assert imports_of("maximum({0}, sqrt({1}))") == (
        ("gradc_runtime.scalars", "maximum"),
        ("gradc_runtime.scalars", "sqrt"),
    )
    assert imports_of("ndtri({0})") == (("gradc_runtime.special", "ndtri"),)


@pytest.mark.parametrize("name", ["copy", *sorted(MARKERS)])
def test_copies_have_no_instructions(name: str):
    assert template(name).tape.instructions == ()
    assert operation_count(template(name)) == 0
    assert template(name).is_copy == (name == "copy")
