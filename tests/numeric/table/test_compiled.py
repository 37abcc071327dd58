"""Families of operations in one kernel each: compiled equals interpreted, in every layout and at every hazard."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from tests.numeric.table import layouts, report
from tests.numeric.table.operations import ROWS, Row, family_function
from tests.numeric.table.sweep import close, identical
from tests.numeric.table.test_interpreted import FIRST, SINGULAR

from gradc import differentiate
from gradc.errors import ArgumentError, DTypeError
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
    return [Family(f"{name}_sample", tuple(rows[:: -(-len(rows) // SAMPLE)])) for name, rows in groups.items()]


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
    close(value, expected, TOLERANCE[dtype])
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
        rng.uniform(-1, 1, a.shape) if is_float else None for a, is_float in zip(arguments, floats, strict=True)
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


# --- zeros and infinities of values ---------------------------------------------------------------------------

EDGES = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 0.5, -0.5, 1.5, 1e-40, -1e-40, 5e-324, 1e30])


def _signed(x, y):
    one = [np.abs(x), np.sign(x), -x, np.sqrt(x), np.cbrt(x), np.floor(x), np.ceil(x), np.trunc(x), np.rint(x)]
    one += [np.sin(x), np.tan(x), np.arctan(x), np.tanh(x), np.arcsinh(x), np.expm1(x), np.log1p(x), x * x]
    two = [np.copysign(x, y), np.arctan2(x, y), np.maximum(x, y), np.minimum(x, y), np.fmax(x, y), x * y]
    two += [x / y, x + y, x - y, np.fmin(x, y), np.hypot(x, y), np.fmod(x, y), np.where(x > y, x, y)]
    return one, two


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_values_keep_the_sign_of_zero(dtype: Any) -> None:
    edges = EDGES.astype(dtype)
    x, y = (a.reshape(-1).copy() for a in np.meshgrid(edges, edges))
    with np.errstate(all="ignore"):
        found, expected = differentiate(_signed)(x, y), _signed(x, y)
    ties = np.isnan(x) | np.isnan(y) | ((x == 0) & (y == 0))
    for at, (one, other) in enumerate(zip([*found[0], *found[1]], [*expected[0], *expected[1]], strict=True)):
        np.testing.assert_allclose(one, other, rtol=1e-6 if dtype is np.float32 else 1e-14, err_msg=str(at))
        # Which zero is the larger one, C leaves open.
        zero = (other == 0) & ~(ties if at - len(found[0]) in (2, 3, 4, 9) else np.isnan(x))
        np.testing.assert_array_equal(np.signbit(one)[zero], np.signbit(other)[zero], err_msg=str(at))


# --- arrays that are refused ----------------------------------------------------------------------------------


def _half_square(x):
    return 0.5 * np.sum(x * x)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.ones(3, ">f8"), "big-endian"),
        (np.ones((2, 2), ">f4"), "big-endian"),
        (np.array([1.0, 2.0], object), "object"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), "masked"),
        (np.ones(2, np.float16), "float16"),
        (np.ones(2, np.longdouble), "longdouble"),
        (np.ones(2, complex), "complex"),
    ],
    ids=["f8-swapped", "f4-swapped", "object", "masked", "float16", "longdouble", "complex"],
)
def test_arrays_that_are_refused(array: np.ndarray, says: str) -> None:
    function: Any = differentiate(_half_square)
    for method in (function, function.grad, function.value_and_grad):
        with pytest.raises((DTypeError, ArgumentError), match=says) as caught:
            method(array)
        assert caught.value.do


# --- threads and processes ------------------------------------------------------------------------------------


def _products(a, b):
    return np.sum(np.tanh(a @ b) ** 2)


def _sines(x):
    return np.sum(np.sin(x) * x)


def _norm(x, y):
    return np.sqrt(np.sum((x - y) ** 2))


def test_eight_threads_may_call_from_the_first_compilation_on() -> None:
    calls = [
        (differentiate(_products), (np.linspace(-1, 1, 12).reshape(3, 4), np.linspace(0, 1, 8).reshape(4, 2))),
        (differentiate(_sines), (np.linspace(-2, 2, 7),)),
        (differentiate(_norm), (np.linspace(0, 1, 5), np.linspace(2, 1, 5))),
    ]
    expected = [
        differentiate(f.__wrapped__, target="interpret").value_and_grad(*args)  # pyright: ignore[reportCallIssue]
        for f, args in calls
    ]
    kernels = numba_backend.compilations
    start, failures, found = threading.Barrier(8), [], [[] for _ in range(8)]

    def work(own: int) -> None:
        try:
            start.wait()
            for turn in range(150):
                at = (own + turn) % len(calls)
                function, arguments = calls[at]
                found[own].append((at, function.value_and_grad(*arguments)))
        except BaseException as error:  # a test must see it, whatever it is
            failures.append(error)

    threads = [threading.Thread(target=work, args=(own,)) for own in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert numba_backend.compilations == kernels + len(calls), "each kernel is compiled once"
    first: dict[int, Any] = {}
    for at, (value, gradients) in [answer for answers in found for answer in answers]:
        leaves = [value, *(gradients if isinstance(gradients, tuple) else (gradients,))]
        for one, other in zip(leaves, first.setdefault(at, leaves), strict=True):
            identical(one, other)
    for at, leaves in first.items():
        value, gradients = expected[at]
        wanted = [value, *(gradients if isinstance(gradients, tuple) else (gradients,))]
        for one, other in zip(leaves, wanted, strict=True):
            close(one, other, 1e-13)


# In an interpreter of its own: the number of threads is fixed when Numba is imported, and a process that forks
# while another test runs threads would be a test of something else.
THREADS = """
import multiprocessing, sys
import numba, numpy as np
from gradc import differentiate

@differentiate
def loss(a, b, x):
    return np.sum(np.tanh(a @ b)) + np.sum(np.sin(x) ** 2)

def bits(dtype):
    rng = np.random.default_rng(2)
    a, b = (rng.uniform(-1, 1, (160, 160)).astype(dtype) for _ in range(2))
    value, gradients = loss.value_and_grad(a, b, rng.uniform(-1, 1, 100_003).astype(dtype))
    return [np.asarray(one).tobytes() for one in (value, *gradients)]

def report(queue):
    queue.put([bits(dtype) for dtype in (np.float64, np.float32)])

found = []
for threads in (1, 2, 4, 3, 1):
    numba.set_num_threads(threads)
    found.append([bits(dtype) for dtype in (np.float64, np.float32)])
assert all(one == found[0] for one in found), "the bits depend on the number of threads"
context = multiprocessing.get_context("fork")
queue = context.Queue()
child = context.Process(target=report, args=(queue,))
child.start()
forked = queue.get(timeout=60)
child.join(60)
assert forked == found[0], "a forked process computes something else"
assert bits(np.float64) == found[0][0]
print("equal")
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_bits_are_equal_for_any_number_of_threads_and_after_a_fork(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", THREADS],
        env={**environment, "NUMBA_NUM_THREADS": "4"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout == "equal\n", done.stderr
