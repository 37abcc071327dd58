"""What generated host functions call: kernels and launches, memory, how loops are cut."""

import sys
import threading
from typing import Any

import numpy as np
import pytest
from tests.cuda import runtime_modules

from gradc.ir.loop.nodes import SHARE
from gradc_runtime import cuda_backend, cuda_driver, cuda_memory
from gradc_runtime.cuda_backend import SIMULATED, cuda
from gradc_runtime.cuda_driver import DeviceArray
from gradc_runtime.cuda_errors import LaunchRefused
from gradc_runtime.cuda_host import (
    clear,
    copy_in,
    empty,
    kernel,
    launch,
    parts_of,
    scratch,
    width_of,
    zeros,
)

anywhere = [pytest.mark.simulator, pytest.mark.cuda]


def runs(test: Any) -> Any:
    """Mark a test that runs in the simulator and on devices."""
    for mark in anywhere:
        test = mark(test)
    return test


@kernel("float32[:, ::1], float32[::1], int64, float64, boolean")
def fill(x: Any, y: Any, n: int, s: float, doubled: bool) -> None:
    """Store ``s * y`` in every row."""
    for p in range(cuda.grid(1), n * y.size, cuda.gridsize(1)):
        x[p // y.size, p % y.size] = y[p % y.size] * (2.0 * s if doubled else s)


# --- kernels and launches -----------------------------------------------------------------------------------


@runs
def test_a_launch_runs_every_thread_of_every_block() -> None:
    y = cuda.to_device(np.arange(5, dtype=np.float32))
    x = cuda.to_device(np.zeros((7, 5), np.float32))
    launch(fill, 3, 16, x, y, 7, 0.5, True)
    assert np.array_equal(x.copy_to_host(), np.tile(np.arange(5, dtype=np.float32), (7, 1)))


@runs
def test_no_blocks_are_no_launch_and_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_backend, "start", None)  # a device refuses to launch no blocks
    y = cuda.to_device(np.ones(5, np.float32))
    x = cuda.to_device(np.zeros((7, 5), np.float32))
    launch(fill, 0, 16, x, y, 7, 0.5, True)
    with pytest.raises(LaunchRefused, match="fill is too large"):
        launch(fill, 2**31, 16, x, y, 7, 0.5, True)
    with pytest.raises(LaunchRefused, match="a block has 2048 threads"):
        launch(fill, 1, 2048, x, y, 7, 0.5, True)


@runs
def test_arguments_that_are_not_of_the_signature_are_refused() -> None:
    y = cuda.to_device(np.ones(5, np.float32))
    x = cuda.to_device(np.zeros((7, 5), np.float32))
    wrong = {
        "rank": (y, y, 7, 0.5, True),
        "dtype": (x, cuda.to_device(np.ones(5)), 7, 0.5, True),
        "strides": (x, cuda.to_device(np.ones(10, np.float32))[::2], 7, 0.5, True),
        "host": (x, np.ones(5, np.float32), 7, 0.5, True),
        "number": (x, 3.0, 7, 0.5, True),
    }
    for arguments in wrong.values():
        with pytest.raises(TypeError, match=r"fill\(float32.*launched with"):
            launch(fill, 1, 16, *arguments)
    with pytest.raises(TypeError, match="2 arguments"):
        launch(fill, 1, 16, x, y)


@runs
def test_a_kernel_keeps_its_function_and_its_signature() -> None:
    assert fill.signature == "float32[:, ::1], float32[::1], int64, float64, boolean"
    assert fill.py_func.__name__ == fill.__name__ == "fill"
    assert fill.__doc__ == "Store ``s * y`` in every row."
    assert repr(fill).startswith("<kernel fill(float32[:, ::1]")


@runs
def test_numbers_have_the_types_of_the_signature() -> None:
    @kernel("float64[::1], float32")
    def third(out: Any, a: float) -> None:
        out[0] = a
        out[1] = a / np.float32(3.0)

    out = cuda.to_device(np.zeros(2))
    launch(third, 1, 1, out, 0.1)
    assert out.copy_to_host().tolist() == [float(np.float32(0.1)), float(np.float32(0.1) / np.float32(3.0))]


@runs
def test_kernels_may_be_launched_from_several_threads() -> None:
    results: dict[int, np.ndarray] = {}

    def work(number: int) -> None:  # the simulator takes `cuda` away from a module while a kernel of it runs
        x, y = zeros((4, 5), np.float32), copy_in(np.full(5, number, np.float32))
        launch(fill, 2, 16, x, y, 4, 1.0, False)
        results[number] = x.copy_to_host()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((results[number] == number).all() for number in range(6))


# --- memory -------------------------------------------------------------------------------------------------


@runs
def test_new_arrays_have_their_shape_and_dtype() -> None:
    for shape, dtype in (((3, 4), np.float32), ((0, 4), np.float64), ((1,), np.bool_), ((2, 3, 5), np.int64)):
        for make in (empty, zeros, scratch):
            array = make(shape, dtype)
            assert isinstance(array, DeviceArray)
            assert tuple(array.shape) == shape
            assert array.dtype == dtype
            assert array.is_c_contiguous()
        assert not zeros(shape, dtype).copy_to_host().any()


@pytest.mark.simulator
def test_memory_that_nobody_has_written_is_no_number_in_the_simulator() -> None:
    with cuda_memory.call_on(0, None, stay=False):
        for make in (empty, scratch, scratch):
            array = make((5,), np.float64)
            assert np.isnan(array.copy_to_host()).all()
            clear(array)


@runs
def test_clear_makes_all_or_some_rows_zero() -> None:
    array = cuda.to_device(np.ones((4, 3)))
    clear(array, 1, 2)
    assert np.array_equal(array.copy_to_host()[:, 0], [1, 0, 0, 1])
    clear(array, 3, 0)
    clear(array, 4, 0)
    assert np.array_equal(array.copy_to_host()[:, 2], [1, 0, 0, 1])
    clear(array)
    assert not array.copy_to_host().any()
    clear(empty((0, 3), np.float32))


@runs
def test_copy_in_takes_arrays_of_any_layout() -> None:
    host = np.arange(12.0).reshape(3, 4)
    for given in (host, host.T, host[::2, ::-1], np.broadcast_to(1.5, (2, 3)), host[:0]):
        given.flags.writeable = False
        assert np.array_equal(copy_in(given).copy_to_host(), given)


@runs
def test_a_call_uses_the_memory_of_the_call_before_but_no_piece_twice() -> None:
    def call() -> list[int]:
        with cuda_memory.call_on(0, None, stay=True):
            arrays = [scratch((100,), np.float64), scratch((90,), np.float64), scratch((1000, 3), np.float64)]
            for number, array in enumerate(arrays):
                clear(array)
                launch(_set, 1, 1, cuda_flat(array), float(number + 1))
            assert [array.copy_to_host().flat[0] for array in arrays] == [1, 2, 3]
            return [address(array) for array in arrays]

    cuda_memory.release()
    first, second = call(), call()
    assert len(set(first)) == 3
    assert sorted(first) == sorted(second)
    assert cuda_memory.release() > 0
    assert cuda_memory.release() == 0


@runs
def test_results_that_stay_are_fresh_and_others_are_of_the_workspace() -> None:
    cuda_memory.release()
    with cuda_memory.call_on(0, None, stay=True):
        kept = [empty((64,), np.float64) for _ in range(2)]
    assert cuda_memory.release() == 0
    assert address(kept[0]) != address(kept[1])
    with cuda_memory.call_on(0, None, stay=False):
        empty((64,), np.float64)
    assert cuda_memory.release() == 512


@runs
def test_a_call_in_a_call_gets_memory_of_its_own() -> None:
    with cuda_memory.call_on(0, None, stay=True) as call:
        outer = scratch((64,), np.float64)
        with cuda_memory.call_on(0, None, stay=True):
            inner = scratch((64,), np.float64)
        assert cuda_memory.this_call() is call
        after = scratch((64,), np.float64)
        assert len({address(array) for array in (outer, inner, after)}) == 3


@runs
def test_calls_at_once_and_calls_on_several_streams_share_no_memory() -> None:
    places: list[int] = []
    together, stream = threading.Barrier(3), cuda.stream()

    def call(stream: Any = None) -> None:
        with cuda_memory.call_on(0, stream, stay=True):
            together.wait()
            places.append(address(scratch((64,), np.float64)))
            together.wait()

    cuda_memory.release()
    for _ in range(2):
        threads = [threading.Thread(target=call, args=(given,)) for given in (None, None, stream)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(places[:3])) == 3
    assert set(places[3:]) == set(places[:3])  # they are used again, by other threads
    assert cuda_memory.release() == 3 * 512


def test_the_default_stream_of_a_thread_has_memory_of_its_own() -> None:
    """Its number, 2, is the same in every thread, the stream is not."""
    keys: list[tuple[int, int, int]] = []
    both = threading.Barrier(2)

    def ask() -> None:
        keys.extend(cuda_memory._workspace(0, number).key for number in (2, 7))
        both.wait()  # numbers of threads are used again

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({key for key in keys if key[1] == 2}) == 2
    assert len({key for key in keys if key[1] == 7}) == 1


@runs
def test_memory_that_no_call_needs_any_more_is_let_go() -> None:
    cuda_memory.release()
    for extent in range(1, 200):
        with cuda_memory.call_on(0, None, stay=True):
            scratch((extent * 1000,), np.float64)
    assert cuda_memory.release() < 5_000_000


@runs
def test_memory_that_calls_use_is_not_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda_memory.release()
    usual, asked = cuda_driver.allocated, []
    monkeypatch.setattr(cuda_driver, "allocated", lambda size: asked.append(size) or usual(size))
    for number in range(100):
        with cuda_memory.call_on(0, None, stay=True):
            if number % 10:
                scratch((64,), np.float64)
    assert asked == [512]


@runs
def test_a_large_piece_serves_no_small_array_and_one_piece_several_dtypes() -> None:
    cuda_memory.release()
    for extent, dtype in ((100_000, np.float64), (128, np.float64), (128, np.float32), (128, np.int64)):
        with cuda_memory.call_on(0, None, stay=True):
            array = scratch((extent,), dtype)
            assert (array.shape[0], array.dtype) == (extent, dtype)
    assert cuda_memory.release() == 1024 + cuda_memory._rounded(800_000)


def test_a_piece_is_the_smallest_that_fits_and_of_those_the_one_not_used_for_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cuda_driver, "allocated", lambda size: object())
    workspace, rng = cuda_memory.Workspace((0, 0, 0)), np.random.default_rng(2)
    free: list[Any] = []  # in the order in which they were used
    used: dict[Any, int] = {}
    for number in range(40):
        taken = []
        for size in map(int, 2 ** rng.uniform(0, 16, 30)):
            found, wanted = workspace.take(size), cuda_memory._rounded(size)
            fit = [piece for piece in free if wanted <= piece.size <= 2 * wanted]
            if fit:
                assert found is min(fit, key=lambda piece: piece.size)
                free.remove(found)
            assert found.size >= size
            assert not fit or found.size <= 2 * wanted
            assert bool(fit) or found.size == wanted
            taken.append(found)
            used[found] = number
        workspace.give_back(taken)
        free = [piece for piece in free if used[piece] + cuda_memory.KEPT > number] + taken
    assert workspace.release() == sum(piece.size for piece in free)


def test_a_piece_is_found_without_looking_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "allocated", lambda size: object())
    workspace, lines = cuda_memory.Workspace((0, 0, 0)), 0

    def count(frame: Any, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    workspace.give_back([workspace.take(512 * number) for number in range(1, 1000)])
    usual = sys.gettrace()
    for size in (1, 100_000, 511_000, 10**9):
        lines = 0
        sys.settrace(count)
        workspace.take(size)
        sys.settrace(usual)
        assert 0 < lines < 200


def test_pieces_waste_little() -> None:
    for size in (1, 511, 512, 513, 10_000, 123_457, 2**20, 2**20 + 1):
        rounded = cuda_memory._rounded(size)
        assert size <= rounded <= max(size + 511, 1.126 * size)
        assert rounded % 512 == 0


@kernel("float64[::1], float64")
def _set(array: Any, value: float) -> None:
    array[0] = value


def cuda_flat(array: Any) -> Any:
    """The array as float64 without axes but one."""
    from gradc_runtime.cuda_driver import viewed  # noqa: PLC0415

    return viewed(array, (array.nbytes // 8,), np.dtype(np.float64), cuda_memory.this_call().stream)


def address(array: Any) -> int:
    return array._ary.ctypes.data if SIMULATED else array.device_ctypes_pointer.value


# --- how loops are cut --------------------------------------------------------------------------------------


def test_parts_follow_from_the_extents_alone() -> None:
    assert [parts_of(extent, 1000, 0) for extent in (0, 1, 2, 100, 10**4, 10**9)] == [0, 1, 1, 24, 2441, 4096]
    assert parts_of(10**9, 10**9, 2**22 // 10) == 10
    assert parts_of(10**9, 10**9, 2**30) == 1
    assert [parts_of(10**9, 10**9, 2**size) for size in (8, 10, 11, 12, 13, 14)] == [
        4096,
        1024,
        512,
        512,
        512,
        256,
    ]
    assert parts_of(3, 10**9, 0) == 3
    huge: Any = np.int64(2**40)
    assert parts_of(huge, huge, 0) == 4096  # no overflow


@pytest.mark.parametrize("size", [0, 1, 100, 10**5, 10**7])
@pytest.mark.parametrize("work", [1, 50, 10**5])
def test_parts_are_bounded_and_grow_with_the_loop(work: int, size: int) -> None:
    found = [parts_of(extent, work, size) for extent in (0, 1, 2, 3, 1000, 10**5, 10**7)]
    assert found == sorted(found)
    assert found[:2] == [0, 1]
    assert max(found) <= 4096
    assert all(many * size <= (2**22 if many <= 512 else 2**20) for many in found if many > 1)


def test_widths_are_powers_of_two_with_eight_elements_for_each_thread() -> None:
    extents = (0, 1, 7, 8, 15, 16, 32, 64, 65, 127, 128, 129, 1023, 1024, 1025, 10**9)
    widths = [width_of(extent, 256) for extent in extents]
    assert widths == [1, 1, 1, 2, 2, 4, 8, 8, 16, 16, 16, 32, 128, 128, 256, 256]
    assert all(extent <= SHARE * width_of(extent, 256) for extent in range(SHARE * 256 + 1))
    assert width_of(10**9, 1) == 1
    assert width_of(10**9, 100) == 64


# --- without a device ---------------------------------------------------------------------------------------


@pytest.mark.ptx
@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (9, 0)])
def test_kernels_compile_without_a_device(capability: tuple[int, int]) -> None:
    text = fill.ptx(capability)
    assert f".target sm_{capability[0]}{capability[1]}" in text
    assert text is fill.ptx(capability)
    found, why = fill.resources(capability)
    assert found is not None, why
    assert 0 < found.registers <= 64
    assert (found.shared, found.spilled) == (0, 0)


@pytest.mark.ptx
def test_resources_report_shared_memory_and_spills() -> None:
    @kernel("float64[::1]")
    def greedy(x: Any) -> None:
        shared = cuda.shared.array(512, np.float64)
        own = cuda.local.array(100, np.float64)
        thread = cuda.threadIdx.x
        for p in range(100):
            own[p] = x[(p * thread) % 7]
        shared[thread] = own[thread % 100]
        cuda.syncthreads()
        x[thread] = shared[thread ^ 1]

    found, why = greedy.resources((8, 0))
    assert found is not None, why
    assert (found.shared, found.spilled) == (4096, 0)
    assert found.stack >= 800
    found, why = runtime_modules.with_many_registers(300).resources((8, 0))
    assert found is not None, why
    assert found.registers > 250
    assert found.spilled > 100


@pytest.mark.ptx
def test_resources_say_why_they_are_unknown() -> None:
    @kernel("float64[::1]")
    def too_large(x: Any) -> None:
        shared = cuda.shared.array(20_000, np.float64)
        shared[cuda.threadIdx.x] = x[0]
        cuda.syncthreads()
        x[cuda.threadIdx.x] = shared[cuda.threadIdx.x ^ 1]

    found, why = too_large.resources((8, 0))
    assert found is None
    assert "too much shared data" in why
