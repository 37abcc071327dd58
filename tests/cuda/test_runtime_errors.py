"""What is missing or goes wrong is said in our words: what, why and what to do."""

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gradc_runtime
from gradc_runtime import (
    backends,
    cuda_arrays,
    cuda_backend,
    cuda_devices,
    cuda_driver,
    cuda_errors,
    cuda_memory,
)

Python = Callable[..., str]
RUNTIME = Path(gradc_runtime.__file__).parent

RUN = """
import numpy as np
from tests.cuda.runtime_modules import scaled
from gradc_runtime.cuda_run import run
from gradc_runtime.cuda_errors import CudaError
try:
    run(scaled(), (np.ones((2, 3), np.float32), np.ones(3, np.float32), 1.0))
except CudaError as error:
    print(type(error).__name__)
    print(error)
"""

DESCRIBE = """
from gradc_runtime.cuda_devices import describe
for row in describe():
    print(*row, sep=": ")
"""

WITHOUT_PACKAGE = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "numba_cuda" else found(name, *rest)
"""


@pytest.fixture
def python(environment: dict[str, str]) -> Python:
    """Run a program in a process of its own and return what it prints."""

    def call(program: str, **variables: str) -> str:
        paths = f"{environment['PYTHONPATH']}:{Path(__file__).parents[2]}"
        variables = {**environment, "PYTHONPATH": paths, "NUMBA_ENABLE_CUDASIM": "0", **variables}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def _without_driver() -> bool:
    if cuda_backend.SIMULATED:
        return False
    try:
        cuda_driver.count()
    except cuda_errors.NoDriver:
        return True
    return False


# --- what is missing ----------------------------------------------------------------------------------------


@pytest.mark.ptx
def test_a_call_without_a_driver_says_so_and_ptx_works_nevertheless() -> None:
    if not _without_driver():
        pytest.skip("there is a driver")
    from tests.cuda import runtime_modules  # noqa: PLC0415

    run = backends.load("cuda").run
    module = runtime_modules.scaled()
    with pytest.raises(cuda_errors.NoDriver) as caught:
        run(module, (np.ones((2, 3), np.float32), np.ones(3, np.float32), 1.0))
    what, why, do = str(caught.value).splitlines()
    assert what == "there is no CUDA driver that works"
    assert why.startswith("  why: ")
    assert "driver" in why
    assert do.startswith("  do: install NVIDIA's driver")
    assert "NUMBA_ENABLE_CUDASIM=1" in do
    for name in ("rows_1", "sums_1", "add_1"):
        assert ".visible .entry" in module.function.__globals__[name].ptx((8, 0))


def test_cuda_switched_off_is_no_driver(python: Python) -> None:
    found = python(RUN, NUMBA_DISABLE_CUDA="1")
    assert found.startswith("NoDriver\nthere is no CUDA driver that works\n")
    assert "NUMBA_DISABLE_CUDA=1" in found


def test_without_the_package_the_error_says_how_to_install_it(python: Python) -> None:
    program = f"{WITHOUT_PACKAGE}\nfrom gradc_runtime.cuda_errors import PackageMissing\n" + (
        "from gradc_runtime import backends\n"
        "try:\n    backends.load('cuda')\nexcept PackageMissing as error:\n    print(error)\n"
    )
    what, why, do = python(program).splitlines()
    assert what == "kernels for CUDA need the package numba-cuda"
    assert why == "  why: it is not installed"
    assert do.startswith("  do: pip install 'gradc[cuda]'")


def test_without_its_bindings_the_package_is_missing_too(python: Python) -> None:
    program = "import sys\nsys.modules['cuda.bindings'] = None\nimport importlib.util\n" + (
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'cuda.bindings' else found(name, *rest)\n"
        "from gradc_runtime.cuda_errors import PackageMissing\n"
        "try:\n    import gradc_runtime.cuda_backend\nexcept PackageMissing as error:\n    print(error.why)\n"
    )
    assert "bindings not found" in python(program)


# --- what a machine offers ----------------------------------------------------------------------------------


def test_the_machine_is_described_in_the_simulator(python: Python) -> None:
    rows = python(DESCRIBE, NUMBA_ENABLE_CUDASIM="1").splitlines()
    assert rows[0].startswith("CUDA: numba-cuda 0.")
    assert rows[1].startswith("CUDA simulator: on")
    assert len(rows) == 2


def test_a_missing_package_and_a_missing_driver_are_rows(python: Python) -> None:
    assert python(WITHOUT_PACKAGE + DESCRIBE) == (
        "CUDA: kernels for CUDA need the package numba-cuda (it is not installed):"
        " pip install 'gradc[cuda]', or use another target\n"
    )
    rows = python(DESCRIBE, NUMBA_DISABLE_CUDA="1").splitlines()
    assert rows[0].startswith("CUDA: numba-cuda 0.")
    assert rows[1].startswith("CUDA driver: there is no CUDA driver that works (")


@pytest.mark.cuda
def test_devices_are_described() -> None:
    rows = dict(cuda_devices.describe())
    assert rows["CUDA driver"].startswith("for CUDA ")
    assert "compute capability" in rows["CUDA device 0"]


# --- what goes wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "kind", "what"),
    [
        ("[700] Call to cuStreamSynchronize results in CUDA_ERROR_ILLEGAL_ADDRESS", "DeviceFault", "failed"),
        ("CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: too many resources", "LaunchRefused", "refuses a kernel"),
        ("ptxas error : Entry function 'f' uses too much shared data", "LaunchRefused", "refuses a kernel"),
        ("Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY", "OutOfMemory", "an array of 5 GB"),
    ],
)
def test_errors_of_the_driver_become_ours(
    monkeypatch: pytest.MonkeyPatch, words: str, kind: str, what: str
) -> None:
    monkeypatch.setattr(cuda_backend, "memory", lambda: (3_000_000_000, 16_000_000_000))
    with pytest.raises(cuda_errors.CudaError, match=what) as caught, cuda_backend.translated(5_000_000_000):
        raise RuntimeError(words)
    assert type(caught.value).__name__ == kind
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert caught.value.why
    assert caught.value.do


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(ZeroDivisionError), cuda_backend.translated():
        raise ZeroDivisionError


def test_out_of_memory_says_how_much_was_asked_and_how_much_is_free() -> None:
    error = cuda_errors.out_of_memory(5_000_000_000, 3_100_000_000, 16_000_000_000)
    assert str(error).splitlines()[:2] == [
        "the CUDA device has no memory for an array of 5 GB",
        "  why: 3.1 GB of its 16 GB are free",
    ]


def test_a_driver_without_devices_is_told_from_no_driver() -> None:
    error = cuda_errors.no_driver(
        "Error at driver init: Call to cuInit results in CUDA_ERROR_NO_DEVICE (100)"
    )
    assert isinstance(error, cuda_errors.NoDevice)
    assert "CUDA_VISIBLE_DEVICES" in error.do


def test_a_number_without_a_device_says_which_there_are() -> None:
    assert "sees 1 device; it is number 0" in str(cuda_errors.no_such_device(3, 1))
    assert "sees 4 devices; they are numbered 0 to 3" in str(cuda_errors.no_such_device(7, 4))


def test_arrays_on_several_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = tuple((name, "float64", 1) for name in "abc")
    monkeypatch.setattr(cuda_driver, "where", {"a": 1, "b": 0, "c": None, "d": -1}.get)
    with pytest.raises(cuda_errors.WrongDevice) as caught:
        cuda_arrays.device_of(parameters, "cab")
    assert caught.value.why == "c lies on device 0, b lies on device 1"
    assert cuda_arrays.device_of(parameters, "caa") == 1
    assert cuda_arrays.device_of(parameters, "cdc") == -1
    assert cuda_arrays.device_of(parameters, "ccc") is None


@pytest.mark.simulator
def test_kept_memory_is_let_go_before_memory_is_said_to_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda_memory.release()
    with cuda_memory.call_on(0, None, stay=True):
        cuda_memory.scratch((1000,), np.float64)
    usual, asked = cuda_driver.allocated, []

    def full(size: int) -> object:
        asked.append(size)
        if len(asked) == 1:
            raise cuda_errors.out_of_memory(size, 0, 1)
        return usual(size)

    monkeypatch.setattr(cuda_driver, "allocated", full)
    array = cuda_memory.empty((2000,), np.float64)
    assert asked == [16000, 16000]
    assert cuda_memory.release() == 0
    assert tuple(array.shape) == (2000,)
    asked.clear()
    with pytest.raises(cuda_errors.OutOfMemory):  # nothing is kept that could be let go
        cuda_memory.empty((2000,), np.float64)


@pytest.mark.simulator
def test_ptx_in_the_simulator_is_refused_and_resources_are_unknown() -> None:
    from gradc_runtime.cuda_host import kernel  # noqa: PLC0415

    made = kernel("float64[::1]")(lambda x: None)
    with pytest.raises(cuda_errors.SimulatorLacks, match="no PTX in the simulator"):
        made.ptx((8, 0))
    found, why = made.resources((8, 0))
    assert found is None
    assert "unset NUMBA_ENABLE_CUDASIM" in why


# --- one door -----------------------------------------------------------------------------------------------


def test_only_one_module_imports_cuda() -> None:
    for path in sorted(RUNTIME.glob("*.py")):
        if path.name == "cuda_backend.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                names = [node.value]
            roots = ("numba.cuda", "cuda.core", "cuda.bindings")
            assert not [name for name in names if name.startswith(roots)], path.name
