"""Kernels in the simulator: silent as a device is, with barriers and shared memory that betray what misses them."""

import threading
from typing import Any

import numpy as np
import pytest

from gradc_runtime import cuda_simulator
from gradc_runtime.cuda_backend import cuda
from gradc_runtime.cuda_host import kernel, launch

pytestmark = pytest.mark.simulator


def test_the_simulator_stays_silent_where_a_device_does() -> None:
    @kernel("float64[::1], int32[::1], float64")
    def divide(out: Any, whole: Any, a: float) -> None:
        out[0] = a / out[1]
        out[1] = 1.0 / cuda.threadIdx.x
        whole[0] = whole[0] * whole[0]

    out, whole = cuda.to_device(np.zeros(2)), cuda.to_device(np.full(1, 2**20, np.int32))
    launch(divide, 1, 1, out, whole, 1.0)  # a warning would fail the test
    assert out.copy_to_host().tolist() == [np.inf, np.inf]
    assert whole.copy_to_host()[0] == 0


def test_a_failure_in_the_simulator_names_its_thread_and_leaves_the_simulator_usable() -> None:
    @kernel("float64[::1], int64")
    def fails(out: Any, at: int) -> None:
        cuda.syncthreads()
        if cuda.threadIdx.x == at:
            raise KeyError("planted")
        cuda.syncthreads()
        out[cuda.threadIdx.x] = 1.0

    out = cuda.to_device(np.zeros(8))
    launch(fails, 1, 8, cuda.to_device(np.zeros(8)), 9)
    workers = threading.active_count()
    with pytest.raises(KeyError) as caught:
        launch(fails, 2, 8, out, 5)
    assert threading.active_count() == workers
    assert len(cuda_simulator._idle) >= 8
    assert caught.value.__notes__ == ["in thread 5 of block 0"]
    assert not out.copy_to_host().any()
    launch(fails, 2, 8, out, 9)
    assert out.copy_to_host().all()


def test_a_barrier_that_some_threads_miss_is_an_error_in_the_simulator() -> None:
    @kernel("float64[::1]")
    def leaves(out: Any) -> None:
        if cuda.threadIdx.x < 3:
            cuda.syncthreads()

    with pytest.raises(RuntimeError, match="3 of 8 threads of block 0 wait at a barrier"):
        launch(leaves, 2, 8, cuda.to_device(np.zeros(8)))


def test_a_missing_barrier_shows_in_the_simulator() -> None:
    @kernel("float64[::1]")
    def races(out: Any) -> None:
        shared = cuda.shared.array(32, np.float64)
        shared[cuda.threadIdx.x] = 1.0
        out[cuda.threadIdx.x] = shared[(cuda.threadIdx.x + 1) % 32]

    out = cuda.to_device(np.zeros(32))
    launch(races, 1, 32, out)
    assert np.isnan(out.copy_to_host()).any()


def test_memory_that_a_block_shares_is_new_in_every_block_of_the_simulator() -> None:
    @kernel("float64[::1]")
    def reads_first(out: Any) -> None:
        shared = cuda.shared.array(4, np.float64)
        out[cuda.grid(1)] = shared[cuda.threadIdx.x]
        shared[cuda.threadIdx.x] = 1.0

    out = cuda.to_device(np.zeros(12))
    launch(reads_first, 3, 4, out)
    assert np.isnan(out.copy_to_host()).all()


def test_threads_run_in_a_shuffled_order_that_is_the_same_every_time() -> None:
    seen: list[int] = []

    @kernel("float64[::1]")
    def notes(out: Any) -> None:
        seen.append(cuda.threadIdx.x)
        cuda.syncthreads()
        seen.append(cuda.threadIdx.x)

    orders = []
    for _ in range(2):
        seen.clear()
        launch(notes, 1, 16, cuda.to_device(np.zeros(1)))
        orders.append((seen[:16], seen[16:]))
    assert orders[0] == orders[1]
    before, after = orders[0]
    assert sorted(before) == sorted(after) == list(range(16))
    assert before != after
    for order in (before, after):
        assert order not in (list(range(16)), list(range(15, -1, -1)))
