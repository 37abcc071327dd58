"""Our matrix product: right at every edge of the tile, in every layout, with the same bits for any thread count."""

from typing import Any

import numba
import numpy as np
import pytest

import gradc
from gradc_runtime import routines, threads
from gradc_runtime.matmul import product

multiply: Any = numba.njit(lambda a, b: product(a, b))

# Around the tile (4 or 8 rows; 1, 2 and 3 vectors of columns), empty, long in the summed index, and above the
# threshold for threads.
SHAPES = (
    (1, 1, 1),
    (3, 2, 5),
    (8, 7, 24),
    (9, 3, 25),
    (17, 5, 9),
    (7, 1030, 13),
    (0, 3, 4),
    (4, 0, 3),
    (130, 200, 120),
    (60, 600, 100),  # in several passes, or in place
    (100, 300, 260),
)


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
def test_products_of_every_shape_and_layout(dtype: type):
    rng = np.random.default_rng(0)
    for m, k, n in SHAPES:
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
        found = multiply(a, b)
        exact = a.astype(np.float64) @ b.astype(np.float64)
        bound = (k + 2) * np.finfo(dtype).eps * (np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64))
        assert found.dtype == dtype
        assert (np.abs(found - exact) <= bound).all()
        assert np.array_equal(multiply(np.asfortranarray(a), np.asfortranarray(b)), found)


def test_bits_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((150, 300)), rng.standard_normal((300, 140))
    everything = numba.get_num_threads()
    try:
        results = []
        for count in range(1, everything + 1):
            numba.set_num_threads(count)
            threads.state[1] = 0  # no launch waits for a stalled barrier of an earlier test
            results.append(multiply(a, b))
    finally:
        numba.set_num_threads(everything)
    assert all(np.array_equal(result, results[0]) for result in results)


def test_a_stalled_launch_makes_the_next_ones_run_alone():
    if not threads.available():
        pytest.skip("no OpenMP here")
    a = np.ones((150, 150))
    threads.state[1] = 5
    first = multiply(a, a)
    assert threads.state[1] == 3  # two launches of one product: packing and rows
    assert np.array_equal(first, np.full((150, 150), 150.0))
    threads.state[1] = 0


def test_every_stall_doubles_what_the_next_one_costs():
    if not threads.available():
        pytest.skip("no OpenMP here")

    def nothing(arguments: int, counts: int, steps: int, table: int) -> None:
        pass

    launch = threads.launcher()
    address = routines.task("gradc_nothing", nothing)

    @numba.njit
    def run(patience: int) -> None:
        launch(address(), 4, 0, patience)

    shortest = threads.SHORTEST
    threads.state[1:3] = 0, shortest
    run(1)  # nothing is done within a nanosecond
    assert threads.state[1:3].tolist() == [shortest, 2 * shortest]
    run(1)  # alone
    assert threads.state[1:3].tolist() == [shortest - 1, 2 * shortest]
    threads.state[1] = 0
    run(10**12)
    assert threads.state[1:3].tolist() == [0, 2 * shortest - 1]
    threads.state[1:3] = 0, threads.LONGEST
    run(1)
    assert threads.state[1:3].tolist() == [threads.LONGEST, threads.LONGEST]
    threads.state[1:3] = 0, shortest
    with gradc.num_threads(1):
        run(1)  # the pool is not entered, so nothing can stall
    assert threads.state[1:3].tolist() == [0, shortest]


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="inner extents"):
        multiply(np.ones((2, 3)), np.ones((2, 3)))
