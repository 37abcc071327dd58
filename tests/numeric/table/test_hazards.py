"""What may be done to arrays, threads and processes: edges, refusals, sizes, concurrent calls, forks."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from tests.numeric.table.sweep import close, identical

from gradc import differentiate
from gradc.errors import ArgumentError, DTypeError
from gradc_runtime import numba_backend

DTYPES = (np.float64, np.float32)

# --- zeros and infinities of values ---------------------------------------------------------------------------

EDGES = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 0.5, -0.5, 1.5, 1e-40, -1e-40, 5e-324, 1e30])


EITHER_ZERO = (
    2,
    3,
    4,
    9,
)  # maximum, minimum, fmax, fmin below: which of two zeros they return, C leaves open


def _signed(x, y):
    one = [
        np.abs(x),
        np.sign(x),
        -x,
        np.sqrt(x),
        np.cbrt(x),
        np.floor(x),
        np.ceil(x),
        np.trunc(x),
        np.rint(x),
    ]
    one += [np.sin(x), np.tan(x), np.arctan(x), np.tanh(x), np.arcsinh(x), np.expm1(x), np.log1p(x)]
    two = [np.copysign(x, y), np.arctan2(x, y), np.maximum(x, y), np.minimum(x, y), np.fmax(x, y), x * y]
    two += [x / y, x + y, x - y, np.fmin(x, y), np.hypot(x, y), np.fmod(x, y), np.where(x > y, x, y)]
    return one, two


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_values_keep_the_sign_of_zero(dtype: Any) -> None:
    edges = EDGES.astype(dtype)
    x, y = (a.reshape(-1).copy() for a in np.meshgrid(edges, edges))
    with np.errstate(all="ignore"):
        found, expected = differentiate(_signed)(x, y), _signed(x, y)
    ties = (x == 0) & (y == 0)
    for at, (one, other) in enumerate(zip([*found[0], *found[1]], [*expected[0], *expected[1]], strict=True)):
        np.testing.assert_allclose(one, other, rtol=1e-6 if dtype is np.float32 else 1e-14, err_msg=str(at))
        zero = (other == 0) & ~(ties & (at - len(found[0]) in EITHER_ZERO))
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


# --- results --------------------------------------------------------------------------------------------------


def _product(x, y):
    return np.sum(x * y)


def _sum(x, y):
    return x + y


def test_results_are_arrays_of_their_own() -> None:
    """Gradients that are an argument, or equal to each other, are still copies."""
    x, y = np.arange(4.0), np.arange(4.0, 8.0)
    product: Any = differentiate(_product)
    _, gradients = product.value_and_grad(x, y)
    cotangent = np.arange(8.0, 12.0)
    _, pullback = differentiate(_sum).vjp(x, y)
    for first, second in (gradients, pullback(cotangent)):
        expected = second.copy()
        first[...] = -1
        np.testing.assert_array_equal(second, expected)
        second[...] = -2
        np.testing.assert_array_equal([*x, *y, *cotangent], np.arange(12.0))
    _, (one, other) = product.value_and_grad(x, x)
    assert not np.shares_memory(one, x)
    assert not np.shares_memory(one, other)


# --- sizes ----------------------------------------------------------------------------------------------------


def _rolled(x, y):
    return np.sum(np.roll(x, 7) * x[0] * y)


@pytest.mark.parametrize("target", ["interpret", "cpu"])
def test_a_size_that_the_trace_fixed_is_fixed_for_one_variant_only(target: str) -> None:
    function: Any = differentiate(_rolled, target=target)
    for n in (3, 4, 3, 5):
        x = np.arange(1.0, n + 1)
        slope = np.roll(np.ones(n) * x[0], -7)
        slope[0] += np.sum(np.roll(x, 7))
        value, (found, other) = function.value_and_grad(x, np.ones(n))
        assert value == x.sum()
        np.testing.assert_array_equal(found, slope)
        np.testing.assert_array_equal(other, np.roll(x, 7))
    assert function.cache_info().variants == 3
    with pytest.raises(ValueError, match="3"):
        function(np.ones(3), np.ones(4))


# --- threads and processes ------------------------------------------------------------------------------------


def _products(a, b):
    return np.sum(np.tanh(a @ b) ** 2)


def _sines(x):
    return np.sum(np.sin(x) * x)


def _norm(x, y):
    return np.sqrt(np.sum((x - y) ** 2))


def test_eight_threads_may_call_from_the_first_compilation_on() -> None:
    calls = [
        (
            differentiate(_products),
            (np.linspace(-1, 1, 12).reshape(3, 4), np.linspace(0, 1, 8).reshape(4, 2)),
        ),
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
