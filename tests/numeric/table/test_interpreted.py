"""Every differentiable operation x dtype x layout x {gradient, gradient of the gradient}, interpreted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from tests.numeric.operations.support import refusing
from tests.numeric.table import layouts, report
from tests.numeric.table.operations import ROWS, Row, operation_name, weighted
from tests.numeric.table.sweep import check_differences, close, gradient_of_gradient, identical

from gradc import differentiate
from gradc.errors import ArgumentError, GuardFailed, ShapeError, TraceError
from gradc.lang.operations import CREATION, FUNCTIONS, UFUNCS

Record = Callable[[str, Any], None]
Arrays = list[np.ndarray]

# Operations that NumPy defines and gradc refuses with a message: cells without derivative, marked r.
_SCANS = ("cumsum", "cumprod", "cumulative_sum", "cumulative_prod", "diff")
_REDUCTIONS = (
    "sum",
    "prod",
    "mean",
    "var",
    "add.reduce",
    "multiply.reduce",
    "maximum.reduce",
    "minimum.reduce",
)
_MATRICES = ("solve", "cholesky", "scipy.cholesky")
_ITEMS = ("getitem", "setitem", *(f"mask{name}" for name in (".sum", ".prod", ".mean", ".max", ".min", "=")))
REFUSED: dict[str, frozenset[str]] = {
    # NumPy lets a number have an axis 0, SciPy takes it for a matrix; in a traced function it has no items.
    "0-d": frozenset(
        (
            *("softmax", "log_softmax", "logsumexp", "logaddexp.reduce", "squeeze"),
            *(*_SCANS, *_REDUCTIONS, *_MATRICES, *_ITEMS),
        )
    ),
    # Maxima of nothing, although `initial` or the function has a value for it; lengths that follow from another.
    "empty": frozenset(
        (
            *("logsumexp", "logaddexp.reduce", "max", "min", "norm", "matrix_norm", "trapezoid"),
            *("diff", "diagonal", "diag", "getitem", "setitem"),
        )
    ),
}
# Singular matrices: the first derivative of slogdet is infinite, NumPy raises for its inverse; the second
# derivative of det goes through the inverse and is NaN.
SINGULAR = frozenset(("slogdet",))
NO_SECOND = frozenset(("det(d2x2)",))


def first_of_each(rows: Sequence[Row]) -> list[Row]:
    """One row per operation, with axes and elements where there is such a row."""
    chosen: dict[tuple[str, str], Row] = {}
    for row in sorted(rows, key=lambda row: not all(a.size > 1 for a in row.arrays)):
        chosen.setdefault((row.family, row.operation), row)
    return list(chosen.values())


FIRST = first_of_each(ROWS)
REST = [row for row in ROWS if row not in FIRST]
DTYPES = (np.float64, np.float32)
PARAMETERS = [
    *(pytest.param(row, id=row.name) for row in FIRST),
    *(pytest.param(row, id=row.name, marks=pytest.mark.full) for row in REST),
]


class Cells:
    """The cells of one row and dtype: checks them, and notes those that passed."""

    def __init__(self, row: Row, dtype: Any) -> None:
        self.row = row
        self.dtype = dtype
        self.arrays = row.inputs(dtype)
        with np.errstate(all="ignore"):
            self.function: Any = differentiate(weighted(row), target="interpret")
            self.weights = row.weights(self.arrays)
        self.passed: dict[str, str] = {}

    def derivatives(self, arrays: Arrays, weights: Arrays) -> tuple[Any, list[Any]]:
        value, (gradients, slopes) = self.function.value_and_grad(arrays, weights)
        return value, [*gradients, *slopes]

    def check_values(self, layout: str, arrays: Arrays) -> None:
        """Check value and gradient against NumPy, the gradient of the gradient against the gradient."""
        row, weights = self.row, self.row.weights(arrays)
        value, found = self.derivatives(arrays, weights)
        results = row.results(arrays)
        exact = self.dtype is np.float64 and row.smooth
        total = sum(np.sum(one * weight) for one, weight in zip(results, weights, strict=True))
        close(value, total, 1e-11 if exact else 1e-5, sum(float(np.abs(one).sum()) for one in results))
        for one, weight in zip(found, [*arrays, *weights], strict=True):
            assert one is None or (np.shape(one), one.dtype) == (weight.shape, weight.dtype)
        for one, result in zip(found[len(arrays) :], results, strict=True):
            close(one, result, 1e-12 if exact else 1e-5)
        finite = all(np.isfinite(a).all() for a in arrays)
        slopes = [one for one, a in zip(found, arrays, strict=False) if a.dtype == self.dtype]
        if exact and finite:
            check_differences(row, arrays, weights, slopes)
        elif finite:
            self.check_against_wider(arrays, weights, slopes)
        differenced = exact and finite and row.name not in NO_SECOND
        self.check_second(arrays, weights, differenced=differenced)
        self.passed[layout] = "g" if row.name in NO_SECOND else "gh"

    def check_against_wider(self, arrays: Arrays, weights: Arrays, slopes: list[Any]) -> None:
        """Check float32 against the same function in float64: differences of float32 say nothing."""
        wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]
        _, (expected, _) = self.function.value_and_grad(wide, [w.astype(np.float64) for w in weights])
        own = [one for one, a in zip(expected, arrays, strict=True) if a.dtype == self.dtype]
        for one, slope in zip(slopes, own, strict=True):
            close(one, np.asarray(slope, np.float32), 1e-4)

    def check_second(self, arrays: Arrays, weights: Arrays, *, differenced: bool) -> None:
        program, inputs = self.function.at(arrays, weights).program_and_inputs()
        wrt = [program.inputs[at] for at, a in enumerate(arrays) if a.dtype == self.dtype]
        gradient_of_gradient(program, inputs, wrt, differenced=differenced)

    def check_same(self, layout: str, base: Arrays, changed: Arrays, weights: Arrays) -> None:
        """Check that only the layout changed: bits stay, inputs stay, results share nothing with them."""
        before = [a.tobytes() for a in changed]
        value, found = self.derivatives(changed, weights)
        expected, slopes = self.derivatives(base, weights)
        identical(value, expected)
        for one, other in zip(found, slopes, strict=True):
            identical(one, other)
        assert [a.tobytes() for a in changed] == before
        assert not any(np.shares_memory(one, a) for one in found if one is not None for a in changed)
        self.passed[layout] = "gh"

    def check_all(self) -> None:
        with np.errstate(all="ignore"):
            self.check_values("C", self.arrays)
            for layout in layouts.SAME:
                self.check_same(
                    layout, self.arrays, layouts.same(layout, self.arrays), layouts.same(layout, self.weights)
                )
            repeated = layouts.repeated(self.arrays)
            if self.row.accepts(repeated) and self.row.operation not in SINGULAR:
                copies = [a.copy() for a in repeated]
                self.check_same("0-stride", copies, repeated, self.row.weights(copies))
            self.check_or_refuse("0-d", layouts.single(self.arrays))
            for axis in (0, -1):
                self.check_or_refuse("empty", layouts.empty(self.arrays, axis))
            twice = layouts.twice(self.arrays)
            if twice is not None and self.row.accepts(twice):
                self.check_twice(twice)

    def check_or_refuse(self, layout: str, arrays: Arrays) -> None:
        """Other shapes: where NumPy computes something, so does gradc, but for what `REFUSED` lists."""
        if not self.row.accepts(arrays) or all(
            a.shape == b.shape for a, b in zip(arrays, self.arrays, strict=True)
        ):
            return
        if self.row.operation in REFUSED[layout]:
            try:
                self.check_values(layout, arrays)
            except (ShapeError, TraceError, ArgumentError, GuardFailed):
                self.passed[layout] = "r"
        else:
            self.check_values(layout, arrays)

    def check_twice(self, twice: Arrays) -> None:
        """One array for several arguments: each gets its own contribution, and a function of one their sum."""
        self.check_same("twice", [a.copy() for a in twice], twice, self.row.weights(twice))
        places = {id(a): at for at, a in enumerate(twice)}
        order = [places[id(a)] for a in twice]
        call = weighted(self.row)

        def shared(arrays: Any, weights: Any) -> Any:
            return call([arrays[at] for at in order], weights)

        weights = self.row.weights(twice)
        _, found = self.derivatives(twice, weights)
        _, (merged, _) = differentiate(shared, target="interpret").value_and_grad(twice, weights)
        for at in set(order):
            parts = [found[one] for one in range(len(twice)) if order[one] == at]
            if parts[0] is not None:
                total = np.sum(parts, axis=0)
                close(merged[at], total, 1e-12 if self.dtype is np.float64 else 1e-5)


@pytest.mark.filterwarnings("ignore:.*does not depend on")  # zeros_like, or nothing left of an empty array
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("row", PARAMETERS)
def test_operation(row: Row, dtype: Any, record_property: Record) -> None:
    cells = Cells(row, dtype)
    cells.check_all()
    report.record(record_property, row, dtype, cells.passed)


# Operations whose results are no floating-point numbers, or that take none: there is nothing to differentiate.
_ORDERS = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
_LOGIC = (*(f"bitwise_{x}" for x in ("and", "or", "xor")), *(f"logical_{x}" for x in ("and", "or", "xor")))
_CLASSES = (
    "isnan",
    "isinf",
    "isfinite",
    "signbit",
    "isposinf",
    "isneginf",
    "isclose",
    "invert",
    "logical_not",
)
WITHOUT_DERIVATIVE = frozenset(
    (
        *(*_CLASSES, *_LOGIC, *_ORDERS, *(f"{name}.outer" for name in (*_LOGIC, *_ORDERS))),
        *(
            "logical_or.reduce",
            "logical_and.reduce",
            "any",
            "all",
            "count_nonzero",
            "argmax",
            "argmin",
            "argsort",
        ),
        *("bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))),
        *(f"math.{name}" for name in ("floor", "ceil", "trunc", "isnan", "isinf", "isfinite")),
        *("shape", "ndim", "size", "ix_", "diag_indices", "diag_indices_from"),
        *("zeros", "ones", "empty", "arange", "eye", "identity", "tri"),
        *("uniform", "uniform_like", "normal", "bernoulli", "fold_in", "split"),
    )
)


def test_every_operation_has_a_row_or_no_derivative() -> None:
    tables = (UFUNCS, FUNCTIONS, CREATION)
    refused = {id(handler) for handler in refusing(tables)}
    covered = frozenset().union(*(row.keys for row in ROWS))
    rest = {
        operation_name(key)
        for table in tables
        for key, handler in table.items()
        if key not in covered and id(handler) not in refused
    }
    assert rest == WITHOUT_DERIVATIVE
