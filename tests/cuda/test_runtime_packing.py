"""What stands for the arguments of a kernel at a launch: the bytes that Numba gives to the driver, made faster."""

import ctypes
import importlib
import re
import threading
import warnings
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradc_runtime import cuda_backend, cuda_driver
from gradc_runtime.cuda_backend import SIMULATED, devicearray, types
from gradc_runtime.cuda_errors import LaunchRefused
from gradc_runtime.cuda_host import Kernel, kernel, launch
from gradc_runtime.cuda_packing import Packing, Unfit

pytestmark = pytest.mark.ptx

DTYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float32",
    "float64",
)
NUMBERS: dict[str, tuple[Any, ...]] = {
    "bool": (True, False, np.True_, 0),
    "int32": (0, -1, 2**31 - 1, -(2**31), np.int64(5)),
    "int64": (0, -1, 2**63 - 1, -(2**63), np.int32(-5)),
    "uint64": (0, 2**64 - 1, np.uint64(2**63)),
    "float32": (0.1, -0.0, 1e300, np.nan, -np.inf, 1e-45, 3, np.float32(0.1)),
    "float64": (0.1, -0.0, 1e300, np.nan, -np.inf, 5e-324, 3, np.float32(0.1)),
}
ADDRESS = 0x7F12_3456_7800


@pytest.fixture(autouse=True)
def _no_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let arrays without elements be made where there is no device."""
    if not SIMULATED:
        monkeypatch.setattr(devicearray.devices, "get_context", lambda *number: None)


def on_device(like: np.ndarray) -> Any:
    """An array that says it lies on the device, with the shape and the strides of another one."""
    memory = SimpleNamespace(device_ctypes_pointer=ctypes.c_size_t(ADDRESS))
    return cuda_driver.DeviceArray(like.shape, like.strides, like.dtype, gpu_data=memory)


def kind_of(dtype: str) -> Any:
    return types.boolean if dtype == "bool" else getattr(types, dtype)


def numbas(*kinds: Any, **changes: Any) -> Any:
    """A kernel of Numba for arguments of these types, with no code."""
    made = object.__new__(importlib.import_module("numba.cuda.dispatcher")._Kernel)
    library = SimpleNamespace(get_cufunc=lambda: SimpleNamespace(kernel="a kernel of cuda.core"))
    usual = {"extensions": [], "debug": False, "cooperative": False, "_codelibrary": library}
    vars(made).update({**usual, "signature": SimpleNamespace(args=kinds), **changes})
    return made


def driven(words: Sequence[Any]) -> list[bytes]:
    """The bytes to which cuda.core points the driver."""
    holder = importlib.import_module("cuda.core._kernel_arg_handler").ParamHolder(tuple(words))
    places = (ctypes.c_void_p * len(words)).from_address(holder.ptr)
    sizes = [len(cuda_backend._bytes_of(word)) for word in words]
    return [ctypes.string_at(place, size) for place, size in zip(places, sizes, strict=True)]


# --- as Numba does it ---------------------------------------------------------------------------------------


def layouts(rank: int, dtype: str) -> list[np.ndarray]:
    """Arrays of a rank: whole ones, parts, turned ones, with repeated rows, and without elements."""
    whole = np.zeros((3, 2, 5, 4)[:rank], dtype)
    if not rank:
        return [whole]
    steps: tuple[Any, ...] = (slice(None, None, 2),) * rank
    none = np.zeros((*whole.shape[:-1], 0), dtype)
    return [
        whole,
        whole.T,
        whole[steps],
        whole[::-1],
        whole[:1],
        np.broadcast_to(whole[:1], whole.shape),
        none,
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", range(5))
def test_arrays_are_packed_as_numba_packs_them(rank: int, dtype: str):
    for like in layouts(rank, dtype):
        given = on_device(like)
        for layout in "CA" if given.is_c_contiguous() else "A":
            kinds = (types.Array(kind_of(dtype), rank, layout),)
            wanted = cuda_backend._packed_by_numba(numbas(*kinds), [given], 0)
            assert len(wanted) == 5 + 2 * rank
            for _ in range(2):  # what the array keeps as well
                assert driven(Packing(kinds).words([given])) == driven(wanted)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_numbers_are_packed_as_numba_packs_them(dtype: str):
    kinds = (kind_of(dtype),)
    for value in NUMBERS[dtype]:
        as_python = bool(value) if dtype == "bool" else value if "float" in dtype else int(value)
        (found,) = driven(Packing(kinds).words([value]))
        assert [found] == driven(cuda_backend._packed_by_numba(numbas(*kinds), [as_python], 0))
        with np.errstate(over="ignore"):
            assert found == np.array(value).astype(dtype).tobytes()


def test_a_kernels_parameters_are_as_many_and_as_large():
    """What the compiler made of the signature, against what is packed for it."""

    @kernel("float32[:, ::1], boolean, float64[::1], float32, int64, int64[:, :, :], float64, int32")
    def mixed(x: Any, t: Any, y: Any, a: Any, n: Any, z: Any, b: Any, m: Any) -> None:
        if t:
            y[0] = x[0, 0] + a + n + z[0, 0, 0] + b + m

    sizes = {"u64": 8, "u32": 4, "u8": 1, "b8": 1, "f32": 4, "f64": 8}
    found = [sizes[size] for size in re.findall(r"\.param \.(\w+) \S+_param_\d+", mixed.ptx((8, 0)))]
    arrays = [
        on_device(np.zeros((2, 2, 2)[:rank], dtype)) for rank, dtype in ((2, "f4"), (1, "f8"), (3, "i8"))
    ]
    words = mixed._packing.words((arrays[0], True, arrays[1], 0.5, 3, arrays[2], 0.25, 7))
    assert [len(cuda_backend._bytes_of(word)) for word in words] == found


# --- what does not fit --------------------------------------------------------------------------------------


def test_what_is_not_of_the_signature_is_not_packed():
    packing = Packing(cuda_backend.types_of("float32[:, ::1], int64"))
    fits = on_device(np.zeros((2, 3), np.float32))
    packing.words((fits, 5))
    others = (
        *(on_device(np.zeros(shape, dtype)) for shape, dtype in ((6, "f4"), ((2, 3), "f8"), ((2, 3), ">f4"))),
        on_device(np.zeros((2, 6), np.float32)[:, ::2]),
        *(np.zeros((2, 3), np.float32), 3.0),
    )
    for wrong in others:
        for _ in range(2):
            with pytest.raises(Unfit):
                packing.words((wrong, 5))
    for given in ((fits,), (fits, 5, 5)):
        with pytest.raises(Unfit):
            packing.words(given)


def test_numbers_that_kernels_do_not_take_are_refused():
    with pytest.raises(TypeError, match="no kernel takes numbers of type complex128"):
        Packing(cuda_backend.types_of("complex128"))


# --- launches -----------------------------------------------------------------------------------------------


def added(x: Any, n: int, s: float) -> None:
    """Add to the first element."""
    x[0] += n * s


class Core:
    """What cuda.core is asked to launch."""

    def __init__(self) -> None:
        self.launched: list[tuple[Any, ...]] = []
        self.error: Exception | None = None

    def LaunchConfig(self, **given: Any) -> Any:  # noqa: N802 (its name)
        return given

    def launch(self, stream: Any, config: Any, kernel: Any, *words: Any) -> None:
        if self.error is not None:
            raise self.error
        self.launched.append((config, kernel, words))


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Core:
    """A device that launches nothing."""
    found = Core()
    made = numbas(*cuda_backend.types_of("float32[::1], int64, float32"))
    stream = cuda_driver.Stream(0, 0, None)
    replaced = {
        "compiled": lambda *given: made,
        "bind": lambda kernel: None,
        "limits": lambda kernel: (64, 40),
    }
    for name, value in {**replaced, "_core": lambda: found}.items():
        monkeypatch.setattr(cuda_backend, name, value)
    monkeypatch.setattr(cuda_driver, "current", lambda: 0)
    monkeypatch.setattr(cuda_driver, "stream_of", lambda given: stream)
    cuda_backend._launched_by_numba.cache_clear()
    return found


def adding() -> Kernel:
    return kernel("float32[::1], int64, float32")(added)


def test_a_launch_is_one_of_cuda_core(core: Core):
    kernel, x = adding(), on_device(np.zeros(5, np.float32))
    for number in (1, 2):
        launch(kernel, 3, 32, x, number, 0.1)
    assert [config for config, _, _ in core.launched] == [{"grid": (3, 1, 1), "block": (32, 1, 1)}] * 2
    assert {kernel for _, kernel, _ in core.launched} == {"a kernel of cuda.core"}
    assert [words[-2] for _, _, words in core.launched] == [1, 2]
    wanted = [*np.array([0, 0, 5, 4, ADDRESS, 5, 4, 2])]
    assert driven(core.launched[1][2]) == [
        *(number.tobytes() for number in wanted),
        np.float32(0.1).tobytes(),
    ]


def test_every_launch_refuses_what_does_not_fit(core: Core):
    kernel, x = adding(), on_device(np.zeros(5, np.float32))
    wrong = on_device(np.zeros(5))
    for _ in range(2):  # the first one, and those behind it
        with pytest.raises(TypeError, match=r"added\(float32.*float64\[5\] for array\(float32"):
            launch(kernel, 1, 32, wrong, 1, 0.5)
        with pytest.raises(TypeError, match="2 arguments"):
            launch(kernel, 1, 32, x, 1)
        with pytest.raises(LaunchRefused, match="a block has 65 threads of 40 registers"):
            launch(kernel, 1, 65, x, 1, 0.5)
        assert not core.launched
        launch(kernel, 1, 32, x, 1, 0.5)
        core.launched.clear()


def test_errors_of_a_launch_become_ours(core: Core):
    kernel, x = adding(), on_device(np.zeros(5, np.float32))
    core.error = RuntimeError("CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: too many resources")
    with pytest.raises(LaunchRefused, match="the CUDA device refuses a kernel") as caught:
        launch(kernel, 1, 32, x, 1, 0.5)
    assert caught.value.__cause__ is core.error
    core.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        launch(kernel, 1, 32, x, 1, 0.5)


def test_threads_launch_at_once(core: Core):
    kernel, x = adding(), on_device(np.zeros(5, np.float32))
    threads = [
        threading.Thread(target=lambda n=n: [launch(kernel, n + 1, 32, x, n, n / 8) for _ in range(50)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(core.launched) == 400
    for config, _, words in core.launched:
        assert config["grid"][0] - 1 == words[-2] == 8 * words[-1].value


# --- another version of Numba -------------------------------------------------------------------------------


def numbas_launches(patch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    made = importlib.import_module("numba.cuda.dispatcher")._Kernel
    patch.setattr(made, "launch", lambda self, arguments, *rest: found.append(arguments))
    return found


def other_strides(self: Any, kind: Any, value: Any, stream: Any, back: list[Any], words: list[Any]) -> None:
    words += [0, 0, 5, 4, ADDRESS, 5, 8] if isinstance(kind, types.Array) else [2, ctypes.c_float(0.5)][-1:]


def more(self: Any, kind: Any, value: Any, stream: Any, back: list[Any], words: list[Any]) -> None:
    words += [0, 0, 5, 4, ADDRESS, 5, 4, 0] if isinstance(kind, types.Array) else [value]


def unknown(self: Any, kind: Any, value: Any, stream: Any, back: list[Any], words: list[Any]) -> None:
    words.append("a text")


@pytest.mark.parametrize("packing", [other_strides, more, unknown, None])
def test_numba_launches_what_it_packs_in_another_way_and_that_is_told_once(
    core: Core, monkeypatch: pytest.MonkeyPatch, packing: Any
):
    launched = numbas_launches(monkeypatch)
    dispatcher = importlib.import_module("numba.cuda.dispatcher")._Kernel
    if packing is None:
        monkeypatch.delattr(dispatcher, "_prepare_args")
    else:
        monkeypatch.setattr(dispatcher, "_prepare_args", packing)
    x = on_device(np.zeros(5, np.float32))
    made, other = adding(), adding()
    with pytest.warns(RuntimeWarning, match="numba-cuda .* is not as gradc knows it"):
        launch(made, 3, 32, x, 1, 0.5)
    launch(made, 3, 32, x, 2, 0.5)
    launch(other, 3, 32, x, 3, 0.5)
    assert not core.launched
    assert launched == [(x, number, 0.5) for number in (1, 2, 3)]


@pytest.mark.parametrize("more", [{"debug": True}, {"cooperative": True}, {"extensions": [1]}])
def test_numba_launches_what_takes_more_than_a_launch(more: dict[str, Any]):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cuda_backend.direct(numbas(types.int64, **more), [5], [5], 0) is None
    assert cuda_backend.direct(numbas(types.int64), [5], [5], 0) == "a kernel of cuda.core"
