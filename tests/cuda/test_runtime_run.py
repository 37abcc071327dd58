"""Running generated modules: what goes in, what comes out, and where it lies."""

import threading
from typing import Any

import numpy as np
import pytest
from tests.cuda import runtime_modules

from gradc_runtime import cuda_arrays, cuda_memory
from gradc_runtime.cuda_backend import SIMULATED, cuda
from gradc_runtime.cuda_driver import DeviceArray, DeviceScalar
from gradc_runtime.cuda_errors import NoDevice
from gradc_runtime.cuda_run import run

pytestmark = [pytest.mark.simulator, pytest.mark.cuda]

RNG = np.random.default_rng(5)
X, Y, S = RNG.normal(size=(13, 7)).astype(np.float32), RNG.normal(size=7).astype(np.float32), 0.75
TOTAL = float((S * X.astype(np.float64) @ Y.astype(np.float64)).sum())
X_BAR = np.broadcast_to((S * Y.astype(np.float64)).astype(np.float32), X.shape)


@pytest.fixture(scope="module")
def scaled() -> Any:
    return runtime_modules.scaled()


def check_on_host(found: Any, total: float = TOTAL, x_bar: np.ndarray = X_BAR) -> None:
    value, (gradient,) = found
    assert isinstance(value, np.float64)
    assert np.isclose(value, total, rtol=1e-12)
    assert isinstance(gradient, np.ndarray)
    assert (gradient.dtype, gradient.flags.c_contiguous, gradient.flags.owndata) == (np.float32, True, True)
    assert np.array_equal(gradient, x_bar)


def check_on_device(found: Any) -> None:
    value, (gradient,) = found
    assert isinstance(value, DeviceScalar)
    assert (tuple(value.shape), value.dtype) == ((), np.float64)
    assert np.isclose(float(value), TOTAL, rtol=1e-12)
    assert value.copy_to_host()[()] == float(value) == value.item()
    assert isinstance(gradient, DeviceArray)
    assert np.array_equal(gradient.copy_to_host(), X_BAR)


# --- NumPy in, NumPy out ------------------------------------------------------------------------------------


def test_numpy_arrays_go_in_and_come_out(scaled: Any) -> None:
    check_on_host(run(scaled, (X, Y, S)))


def test_layouts_and_permissions_of_numpy_arrays_do_not_matter(scaled: Any) -> None:
    frozen = X.copy()
    frozen.flags.writeable = False
    wide = np.repeat(X, 2, axis=1)[:, ::2]
    for x in (frozen, np.asfortranarray(X), wide, X[::-1][::-1]):
        check_on_host(run(scaled, (x, Y, np.float64(S))))
    check_on_host(run(scaled, (X, Y, np.array(S))))


def test_broadcast_arrays_go_in(scaled: Any) -> None:
    row = np.ones(7, np.float32)
    value, (gradient,) = run(scaled, (np.broadcast_to(row, (4, 7)), row, 1))
    assert value == 28
    assert np.array_equal(gradient, np.ones((4, 7)))


def test_empty_arrays_go_in_and_come_out(scaled: Any) -> None:
    for shape in ((0, 7), (5, 0), (0, 0)):
        value, (gradient,) = run(scaled, (np.zeros(shape, np.float32), np.zeros(shape[1], np.float32), S))
        assert value == 0
        assert gradient.shape == shape


def test_results_are_the_same_bits_at_every_call(scaled: Any) -> None:
    x = RNG.normal(size=(60, 40)).astype(np.float32)
    y = RNG.normal(size=40).astype(np.float32)
    found = {run(scaled, (x, y, S))[0].tobytes() for _ in range(3)}
    assert len(found) == 1


def test_sizes_may_change_from_call_to_call(scaled: Any) -> None:
    for n, m in ((1, 1), (40, 3), (2, 90), (13, 7)):
        x, y = np.ones((n, m), np.float32), np.full(m, 2, np.float32)
        value, (gradient,) = run(scaled, (x, y, 0.5))
        assert value == n * m
        assert np.array_equal(gradient, np.ones((n, m)))


# --- arrays on the device -----------------------------------------------------------------------------------


def test_results_stay_where_the_arguments_lie(scaled: Any) -> None:
    check_on_device(run(scaled, (cuda.to_device(X), cuda.to_device(Y), S)))


def test_one_array_on_the_device_is_enough(scaled: Any) -> None:
    check_on_device(run(scaled, (cuda.to_device(X), Y, S)))
    check_on_device(run(scaled, (X, cuda.to_device(Y), S)))


def test_results_on_the_device_are_arguments_of_the_next_call(scaled: Any) -> None:
    _, (gradient,) = run(scaled, (cuda.to_device(X), cuda.to_device(Y), S))
    value, _ = run(scaled, (gradient, cuda.to_device(Y), S))
    again, _ = run(scaled, (gradient, cuda.to_device(Y), value))
    expected = (S * X_BAR.astype(np.float64) @ Y.astype(np.float64)).sum()
    assert np.isclose(float(value), expected)
    assert np.isclose(float(again), expected * expected / S)


def test_arguments_on_the_device_are_not_changed(scaled: Any) -> None:
    x, y = cuda.to_device(X), cuda.to_device(Y)
    run(scaled, (x, y, S))
    assert np.array_equal(x.copy_to_host(), X)
    assert np.array_equal(y.copy_to_host(), Y)


def test_arrays_with_strides_on_the_device_are_gathered(scaled: Any) -> None:
    wide = np.zeros((13, 14), np.float32)
    wide[:, ::2] = X
    check_on_device(run(scaled, (cuda.to_device(wide)[:, ::2], cuda.to_device(Y), S)))
    fortran = cuda.to_device(np.asfortranarray(X))
    assert not fortran.is_c_contiguous()
    check_on_device(run(scaled, (fortran, Y, S)))


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_arrays_of_every_rank_are_gathered(rank: int, dtype: str) -> None:
    host = (RNG.normal(size=(6, 5, 4, 7)[:rank]) * 9).astype(dtype)
    source = cuda.to_device(host)
    for place in ((slice(None, None, 2),) * rank, (slice(1, None, 3),) + (slice(None),) * (rank - 1)):
        part = source[place]
        with cuda_memory.call_on(0, None, stay=True) as call:
            found = cuda_arrays.gathered(call, part)
            assert found.is_c_contiguous()
            assert np.array_equal(found.copy_to_host(), host[place])


def test_empty_arrays_on_the_device_go_in(scaled: Any) -> None:
    x = cuda.to_device(np.zeros((5, 0), np.float32))
    value, (gradient,) = run(scaled, (x, np.zeros(0, np.float32), S))
    assert float(value) == 0
    assert tuple(gradient.shape) == (5, 0)


def test_numbers_on_the_device_convert_like_numbers(scaled: Any) -> None:
    value, _ = run(scaled, (cuda.to_device(np.ones((2, 2), np.float32)), np.ones(2, np.float32), 1.5))
    assert (float(value), int(value), bool(value), value.item()) == (6.0, 6, True, 6.0)
    assert isinstance(value.item(), float)


# --- arrays of the caller's for results ---------------------------------------------------------------------


def test_results_go_into_arrays_of_the_caller() -> None:
    x, out = np.arange(40.0), np.ones(40)
    assert run(runtime_modules.into(), (x, out)) == ()
    assert np.array_equal(out, x + 1)
    on_device = cuda.to_device(np.ones(40))
    run(runtime_modules.into(), (x, on_device))
    assert np.array_equal(on_device.copy_to_host(), x + 1)
    mixed = np.ones(40)
    run(runtime_modules.into(), (cuda.to_device(x), mixed))
    assert np.array_equal(mixed, x + 1)


def test_arrays_for_results_must_be_contiguous_and_writable() -> None:
    x, frozen = np.arange(4.0), np.ones(4)
    frozen.flags.writeable = False
    wrong = {
        "out is for a result, but is not C-contiguous": (np.ones(8)[::2], cuda.to_device(np.ones(8))[::2]),
        "out is for a result, but may not be written": (frozen,),
    }
    for message, outs in wrong.items():
        for out in outs:
            with pytest.raises(ValueError, match=message):
                run(runtime_modules.into(), (x, out))


# --- refusals -----------------------------------------------------------------------------------------------


def test_arguments_that_do_not_fit_are_refused(scaled: Any) -> None:
    cases: list[tuple[tuple[Any, ...], str]] = [
        (
            (X.astype(np.float64), Y, S),
            "x must be an array of float32 with 2 axes, not of float64 with 2 axes",
        ),
        ((X, Y[:, None], S), "y must be an array of float32 with 1 axis, not of float32 with 2 axes"),
        ((cuda.to_device(X), cuda.to_device(X), S), "y must be an array of float32 with 1 axis, not"),
        ((X, Y, Y), r"s must be a number, not an array of shape \(7,\)"),
        ((X, Y, cuda.to_device(Y)), r"s must be a number, not an array of shape \(7,\)"),
        ((X, Y), "scaled takes 3 arguments, not 2"),
    ]
    for arguments, message in cases:
        with pytest.raises(TypeError, match=message):
            run(scaled, arguments)


def test_what_the_module_refuses_reaches_the_caller_and_leaves_the_memory_usable(scaled: Any) -> None:
    cuda_memory.release()
    with pytest.raises(ValueError, match="x and y must agree"):
        run(scaled, (X, Y[:3], S))
    assert cuda_memory.this_call().workspace is None
    assert cuda_memory.release() > 0  # the copies of the arguments
    check_on_host(run(scaled, (X, Y, S)))


def test_devices_have_numbers_of_which_others_are_refused(scaled: Any) -> None:
    check_on_host(run(scaled, (X, Y, S), device=0))
    check_on_device(run(scaled, (cuda.to_device(X), Y, S), device=0))
    for number in (-1, 1000):
        with pytest.raises(NoDevice, match=f"there is no CUDA device {number}"):
            run(scaled, (X, Y, S), device=number)


# --- streams and threads ------------------------------------------------------------------------------------


def test_a_stream_of_numbas_is_used(scaled: Any) -> None:
    stream = cuda.stream()
    check_on_host(run(scaled, (X, Y, S), stream=stream))
    check_on_device(run(scaled, (cuda.to_device(X), Y, S), stream=stream))
    with pytest.raises(TypeError, match="stream"):
        run(scaled, (X, Y, S), stream="first")


def test_calls_from_several_threads_do_not_disturb_each_other(scaled: Any) -> None:
    found: dict[int, Any] = {}
    inputs = {number: np.full((20, 7), number, np.float32) for number in range(5)}

    def work(number: int) -> None:
        found[number] = [run(scaled, (inputs[number], Y, S)) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(number,)) for number in inputs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, x in inputs.items():
        for value, _ in found[number]:
            assert np.isclose(value, (S * x @ Y.astype(np.float64)).sum())


def test_the_module_is_kept_for_readers(scaled: Any) -> None:
    assert scaled.path.endswith(".py")
    with open(scaled.path) as file:
        assert file.read() == runtime_modules.SCALED.source
    assert callable(scaled.function)
    assert SIMULATED or scaled.artifact is runtime_modules.SCALED
