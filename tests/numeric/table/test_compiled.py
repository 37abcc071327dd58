"""Families of operations in one kernel each: compiled equals interpreted, in every layout and at every hazard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from tests.numeric.table import layouts, report
from tests.numeric.table.operations import Row, family_function
from tests.numeric.table.sweep import close, identical
from tests.numeric.table.test_interpreted import FIRST, SINGULAR

from gradc import differentiate
from gradc_runtime import numba_backend

Arrays = list[np.ndarray]
Record = Callable[[str, Any], None]
DTYPES = (np.float64, np.float32)
SIZE = 15  # operations in one kernel: what Numba needs grows faster than their number
SAMPLE = 8  # of each family, in one kernel and one dtype, in every run
TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}


@dataclass(frozen=True, eq=False)
class Family:
    """Operations compiled into one kernel."""

    name: str
    rows: tuple[Row, ...]
    scalars: bool = False  # arguments without axes

    def __str__(self) -> str:
        return self.name

    @cache  # noqa: B019 (as many as there are families)
    def functions(self) -> tuple[Any, Any]:
        """Return the compiled and the interpreted function."""
        function = family_function(self.name, self.rows)
        return differentiate(function), differentiate(function, target="interpret")

    def arguments(self, dtype: Any, change: Callable[[Row, Arrays], Arrays] = lambda row, a: a) -> Arrays:
        """Return the arrays of all rows, changed."""
        return [array for row in self.rows for array in change(row, self.base(row, dtype))]

    def base(self, row: Row, dtype: Any) -> Arrays:
        """Return the arrays of one row."""
        arrays = row.inputs(dtype)
        return layouts.single(arrays) if self.scalars else arrays

    def parts(self, gradients: Any) -> Iterator[tuple[Row, list[Any]]]:
        """Return the gradients of each row."""
        at = 0
        for row in self.rows:
            yield row, list(gradients[at : at + len(row.arrays)])
            at += len(row.arrays)


def _with_axes(row: Row) -> bool:
    return any(a.ndim for a in row.arrays) and all(a.size for a in row.arrays)


def _families() -> list[Family]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in FIRST:
        if _with_axes(row) or row.operation.startswith("math."):
            groups[row.family].append(row)
    return [
        Family(f"{name}_{start // SIZE}", tuple(rows[start : start + SIZE]))
        for name, rows in groups.items()
        for start in range(0, len(rows), SIZE)
    ]


def _scalar_families() -> list[Family]:
    rows = [
        row
        for row in FIRST
        if row.family in ("elementwise", "special")
        and not row.operation.startswith(("math.", "softmax", "log_softmax", "logsumexp", "logaddexp.reduce"))
        and _with_axes(row)
        and row.accepts(layouts.single(row.inputs(np.float64)))
    ]
    return [
        Family(f"scalars_{start // 40}", tuple(rows[start : start + 40]), scalars=True)
        for start in range(0, len(rows), 40)
    ]


def _sample() -> list[Family]:
    """Some rows of every family, evenly spread."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for family in WHOLE:
        groups[family.rows[0].family] += family.rows
    return [
        Family(f"{name}_sample", tuple(rows[:: -(-len(rows) // SAMPLE)])) for name, rows in groups.items()
    ]


WHOLE = _families()
SCALARS = _scalar_families()
SAMPLES = _sample()
CELLS = [
    *(pytest.param(family, DTYPES[at % 2], id=f"{family}-{DTYPES[at % 2].__name__}")
      for at, family in enumerate(SAMPLES)),
    *(
        pytest.param(family, dtype, id=f"{family}-{dtype.__name__}", marks=pytest.mark.full)
        for family in (*WHOLE, *SCALARS)
        for dtype in DTYPES
    ),
]  # fmt: skip


def compare(family: Family, dtype: Any, arguments: Arrays) -> tuple[Any, Any]:
    """Call the kernel and the interpreter; return the kernel's answer."""
    compiled, interpreted = family.functions()
    before = [a.tobytes() for a in arguments]
    with np.errstate(all="ignore"):
        value, gradients = compiled.value_and_grad(*arguments)
        expected, slopes = interpreted.value_and_grad(*arguments)
    assert [a.tobytes() for a in arguments] == before
    narrow = any("float32" in row.name for row in family.rows)  # the value is a sum over all rows
    close(value, expected, TOLERANCE[np.float32 if narrow else dtype])
    for (row, found), (_, wanted) in zip(family.parts(gradients), family.parts(slopes), strict=True):
        for one, other in zip(found, wanted, strict=True):
            _compare_one(row, one, other, TOLERANCE[dtype])
    return value, gradients


def _compare_one(row: Row, found: Any, expected: Any, tolerance: float) -> None:
    assert (found is None) == (expected is None), row.name
    if found is not None:
        assert np.asarray(found).dtype == np.asarray(expected).dtype, row.name
        try:
            close(found, expected, tolerance)
        except AssertionError as error:
            raise AssertionError(f"{row.name}: {error}") from None


def _empty(row: Row, arrays: Arrays) -> Arrays:
    """Empty arrays where NumPy takes them, the arrays themselves elsewhere."""
    for axis in (0, -1):
        changed = layouts.empty(arrays, axis)
        if all(a.shape == b.shape for a, b in zip(arrays, changed, strict=True)):
            continue
        if row.accepts(changed) and _same_program(row, arrays, changed):
            return changed
    return arrays


def _same_program(row: Row, arrays: Arrays, changed: Arrays) -> bool:
    """Whether a program traced for `arrays` serves `changed`: nothing in it depends on the sizes."""
    function: Any = differentiate(family_function("one", [row]), target="interpret")
    try:
        function(*arrays)
        function(*changed)
    except ValueError:
        return False
    return function.cache_info().variants == 1


def _repeated(row: Row, arrays: Arrays) -> Arrays:
    changed = layouts.repeated(arrays)
    return changed if row.accepts(changed) and row.operation not in SINGULAR else arrays


def _twice(row: Row, arrays: Arrays) -> Arrays:
    changed = layouts.twice(arrays)
    return changed if changed is not None and row.accepts(changed) else arrays


CHANGES: dict[str, Callable[[Row, Arrays], Arrays]] = {
    "0-stride": _repeated,
    "empty": _empty,
    "twice": _twice,
}


@pytest.mark.filterwarnings("ignore:.*does not depend on")
@pytest.mark.parametrize(("family", "dtype"), CELLS)
def test_kernels_equal_the_interpreter(family: Family, dtype: Any, record_property: Record) -> None:
    passed: dict[Row, set[str]] = {row: set() for row in family.rows}
    base = family.arguments(dtype)
    value, gradients = compare(family, dtype, base)
    if family.scalars:
        _note(record_property, dtype, {row: {"0-d"} for row in family.rows})
        return
    kernels = numba_backend.compilations
    for layout in layouts.SAME:
        again, slopes = compare(family, dtype, layouts.same(layout, base))
        identical(again, value)
        for one, other in zip(slopes, gradients, strict=True):
            identical(one, other)
        for row in family.rows:
            passed[row].add(layout)
    for layout, change in CHANGES.items():
        plain = {row: family.base(row, dtype) for row in family.rows}
        changed = {row: change(row, arrays) for row, arrays in plain.items()}
        compare(family, dtype, [array for arrays in changed.values() for array in arrays])
        for row, arrays in changed.items():
            if arrays is not plain[row]:
                passed[row].add(layout)
    if family.rows[0].family != "linalg":  # LAPACK refuses what is not finite
        for special in SPECIAL:
            with np.errstate(all="ignore"):
                check_special(family, dtype, [_spoiled(a, special) for a in base])
    check_results_are_fresh(family, base)
    assert numba_backend.compilations == kernels, "one kernel serves every layout and size"
    _note(record_property, dtype, passed)


SPECIAL = ((np.nan,), (np.inf,), (-np.inf,), (0.0, -0.0), (-0.0,))


def _spoiled(a: np.ndarray, special: tuple[float, ...]) -> np.ndarray:
    """Write special values to every second element."""
    result = a.copy()
    if a.dtype.kind == "f" and a.ndim:
        result.reshape(-1)[::2] = np.resize(special, result.reshape(-1)[::2].size)
    return result


def check_special(family: Family, dtype: Any, arguments: Arrays) -> None:
    """NaN and infinities are where the interpreter has them; the sign of a zero cotangent is left open."""
    compiled, interpreted = family.functions()
    _, gradients = compiled.value_and_grad(*arguments)
    _, slopes = interpreted.value_and_grad(*arguments)
    for (row, found), (_, wanted) in zip(family.parts(gradients), family.parts(slopes), strict=True):
        for one, other in zip(found, wanted, strict=True):
            if one is not None:
                np.testing.assert_allclose(one, other, rtol=1e3 * TOLERANCE[dtype], err_msg=row.name)


def check_results_are_fresh(family: Family, arguments: Arrays) -> None:
    """Writing to a result changes no argument, no other result and no later call."""
    compiled, _ = family.functions()
    before = [a.tobytes() for a in arguments]
    _, first = compiled.value_and_grad(*arguments)
    expected = [None if one is None else np.array(one) for one in first]
    for at, one in enumerate(first):
        if isinstance(one, np.ndarray):
            one[...] = np.nan
            expected[at] = np.full_like(one, np.nan)
            for other, kept in zip(first, expected, strict=True):
                identical(other, kept)
    assert [a.tobytes() for a in arguments] == before
    _, second = compiled.value_and_grad(*arguments)
    assert all(one is None or np.isfinite(one).all() for one in second)


def _note(record_property: Record, dtype: Any, passed: dict[Row, set[str]]) -> None:
    for row, found in passed.items():
        report.record(record_property, row, dtype, dict.fromkeys(found, "G"))


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:.*does not depend on")
@pytest.mark.parametrize("family", SAMPLES, ids=str)
def test_second_derivatives_equal_the_interpreter(family: Family, record_property: Record) -> None:
    compiled, interpreted = family.functions()
    arguments = family.arguments(np.float64)
    rng = np.random.default_rng(11)
    floats = [a.dtype.kind == "f" for a in arguments]
    along = tuple(
        rng.uniform(-1, 1, a.shape) if is_float else None
        for a, is_float in zip(arguments, floats, strict=True)
    )
    answers = [f.hvp(tuple(arguments), along) for f in (compiled, interpreted)]
    for found, expected in zip(*answers, strict=True):
        for one, other in zip(found, expected, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                close(one, other, 1e-11)
    _note_second(record_property, family)


def _note_second(record_property: Record, family: Family) -> None:
    for row in family.rows:
        report.record(record_property, row, np.float64, {"C": "H"})
