"""What only a real device shows: streams, arrays of other libraries, several devices, memory that runs out."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from tests.cuda import runtime_modules

from gradc_runtime import cuda_driver, cuda_memory
from gradc_runtime.cuda_backend import cuda
from gradc_runtime.cuda_driver import DeviceArray
from gradc_runtime.cuda_errors import LaunchRefused, NoDevice, OutOfMemory, WrongDevice
from gradc_runtime.cuda_host import kernel, launch
from gradc_runtime.cuda_run import run

pytestmark = pytest.mark.cuda

X = np.random.default_rng(3).normal(size=(50, 20)).astype(np.float32)
Y, S = X[0].copy(), 1.25
TOTAL = float((S * X.astype(np.float64) @ Y.astype(np.float64)).sum())
X_BAR = np.broadcast_to((S * Y.astype(np.float64)).astype(np.float32), X.shape)


class Interface:
    """An array of another library, with the array interface alone."""

    def __init__(self, array: Any, *, readonly: bool = False, stream: Any = None) -> None:
        self.kept = array
        pointer = array.__cuda_array_interface__["data"][0]
        self.__cuda_array_interface__ = {
            **array.__cuda_array_interface__,
            "data": (pointer, readonly),
            "stream": stream,
        }


class Capsule:
    """An array of another library, with DLPack alone; remembers the streams it was asked for."""

    def __init__(self, array: Any, view: Any) -> None:
        self.kept, self.view = array, view
        self.streams: list[Any] = []

    def __dlpack__(self, **given: Any) -> Any:
        self.streams.append(given.pop("stream", None))
        return self.view.__dlpack__(**given, stream=-1)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.view.__dlpack_device__()


def check(found: Any) -> None:
    value, (gradient,) = found
    assert isinstance(gradient, DeviceArray)
    assert np.isclose(float(value), TOTAL)
    assert np.array_equal(gradient.copy_to_host(), X_BAR)


@pytest.fixture(scope="module")
def scaled() -> Any:
    return runtime_modules.scaled()


def test_arrays_with_the_array_interface_are_used_where_they_are(scaled: Any) -> None:
    x = cuda.to_device(X)
    check(run(scaled, (Interface(x), Y, S)))
    check(run(scaled, (Interface(x, readonly=True), Interface(cuda.to_device(Y)), S)))
    wrapped, readonly = cuda_driver.wrapped(Interface(x, readonly=True), cuda_driver.stream_of(None))
    assert wrapped.device_ctypes_pointer.value == x.device_ctypes_pointer.value
    assert readonly


def test_arrays_with_dlpack_alone_are_used_where_they_are(scaled: Any) -> None:
    view = pytest.importorskip("cuda.core.utils").StridedMemoryView
    x = cuda.to_device(X)
    capsule = Capsule(x, view.from_cuda_array_interface(x, stream_ptr=-1))
    check(run(scaled, (capsule, Y, S)))
    stream = cuda.stream()
    check(run(scaled, (capsule, Y, S), stream=stream))
    assert capsule.streams == [1, int(stream)]


def test_read_only_arrays_of_others_take_no_results() -> None:
    out = Interface(cuda.to_device(np.ones(4)), readonly=True)
    with pytest.raises(ValueError, match="may not be written"):
        run(runtime_modules.into(), (np.ones(4), out))


def test_the_stream_of_an_array_is_waited_for(scaled: Any) -> None:
    """A long copy in one stream, then its array in a call on another."""
    first, second = cuda.stream(), cuda.stream()
    host = cuda.pinned_array((4000, 4000), np.float32)
    host[...] = 1
    for _ in range(5):
        x = cuda.device_array((4000, 4000), np.float32)
        x.copy_to_device(np.zeros((4000, 4000), np.float32))
        x.copy_to_device(host, stream=first)
        given = Interface(x, stream=int(first))
        value, _ = run(scaled, (given, np.ones(4000, np.float32), 1.0), stream=second)
        assert float(value) == 16_000_000


def test_a_stream_may_be_a_number_or_an_object(scaled: Any) -> None:
    stream = cuda.stream()

    class Like:
        def __cuda_stream__(self) -> tuple[int, int]:
            return 0, int(stream)

    class LikeTorch:
        cuda_stream = int(stream)

    for given in (stream, int(stream), Like(), LikeTorch(), 0):
        found = run(scaled, (cuda.to_device(X), Y, S), stream=given)
        assert found[1][0].__cuda_array_interface__["stream"] == (None if given == 0 else int(stream))
        check(found)
        if isinstance(given, Like | LikeTorch):
            assert found[1][0].stream.owner is given


def test_pinned_arrays_may_change_when_a_call_returns(scaled: Any) -> None:
    pinned = cuda.pinned_array((3000, 3000), np.float32)
    pinned[...] = 1
    value, _ = run(scaled, (pinned, cuda.to_device(np.ones(3000, np.float32)), 1.0))
    pinned[...] = 5
    assert float(value) == 9_000_000


def test_memory_that_is_not_there_is_an_error_that_says_how_much(scaled: Any) -> None:
    with pytest.raises(OutOfMemory, match=r"no memory for an array of 1\.13 PB"):
        cuda_memory.empty((2**50,), np.uint8)
    check(run(scaled, (cuda.to_device(X), Y, S)))


def test_numba_packs_arguments_here_as_it_did(scaled: Any) -> None:
    check(run(scaled, (cuda.to_device(X), Y, S)))
    for name in ("rows_1", "sums_1", "add_1"):
        assert scaled.function.__globals__[name]._ready[0].direct is not None


def test_a_kernel_with_too_much_shared_memory_is_refused() -> None:
    @kernel("float64[::1]")
    def too_large(x: Any) -> None:
        shared = cuda.shared.array(50_000, np.float64)
        shared[cuda.threadIdx.x] = x[0]
        cuda.syncthreads()
        x[cuda.threadIdx.x] = shared[cuda.threadIdx.x ^ 1]

    with pytest.raises(LaunchRefused):
        launch(too_large, 1, 32, cuda.to_device(np.zeros(32)))


def test_a_kernel_with_too_many_registers_for_its_block_is_refused() -> None:
    many = runtime_modules.with_many_registers()
    with pytest.raises(LaunchRefused, match="registers"):
        launch(many, 1, 1024, cuda.to_device(np.zeros(2048)))


def test_the_least_number_that_is_no_device_is_refused(scaled: Any) -> None:
    with pytest.raises(NoDevice):
        run(scaled, (X, Y, S), device=cuda_driver.count())


def test_every_device_runs_kernels_and_none_takes_anothers_arrays(scaled: Any) -> None:
    if cuda_driver.count() < 2:
        pytest.skip("there is one device")
    last = cuda_driver.count() - 1
    with cuda.gpus[last]:
        there = cuda.to_device(X)
    check(run(scaled, (there, Y, S)))
    check(run(scaled, (Interface(there), Y, S)))
    value, _ = run(scaled, (X, Y, S), device=last)
    assert np.isclose(value, TOTAL)
    with pytest.raises(WrongDevice, match=f"x lies on device {last}"):
        run(scaled, (there, cuda.to_device(Y), S))
    with pytest.raises(WrongDevice, match=f"its arrays lie on device {last}"):
        run(scaled, (there, Y, S), device=0)


FAULT = """
import os
import numpy as np
from gradc_runtime.cuda_backend import cuda
from gradc_runtime.cuda_driver import stream_of, wait
from gradc_runtime.cuda_errors import DeviceFault
from gradc_runtime.cuda_host import copy_in, kernel, launch

@kernel("float64[::1]")
def far(x):
    x[1 << 38] = 1.0

launch(far, 1, 1, copy_in(np.zeros(1)))
try:
    wait(stream_of(None))
except DeviceFault as error:
    print(error, flush=True)
os._exit(0)  # nothing can be freed any more
"""


def test_a_kernel_that_fails_is_an_error_of_ours(environment: dict[str, str]) -> None:
    """In a process of its own: it takes the device away from it."""
    command = [sys.executable, "-c", FAULT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("a kernel failed on the CUDA device")
    assert "start a new process" in done.stdout


def test_workspaces_keep_no_more_than_calls_need(scaled: Any) -> None:
    cuda_memory.release()
    arguments = (cuda.to_device(X), cuda.to_device(Y), S)
    free = []
    for _ in range(30):
        run(scaled, arguments)
        free.append(cuda.current_context().get_memory_info().free)
    assert max(free[10:]) - min(free[10:]) <= 1 << 22
