"""``--products``: who multiplies matrices of a kernel for a GPU, without a GPU and without the library."""

import shlex
import tomllib
from pathlib import Path

import pytest
from tests.unit.command.alone import ALONE, in_simulator
from tests.unit.command.support import clean_imports, gradc

from gradc.nn.files.network_file import NetworkFile
from gradc_runtime import cuda_errors

pytest.importorskip("numba_cuda", reason="pip install gradc[cuda]")
from gradc_runtime import cuda_backend

BY_LIBRARY = ("--target", "cuda", "--products", "cublas")
FUNCTION = "def product(x, w):\n    return ((x @ w) ** 2).sum()\n"
DECORATED = f'from gradc import differentiate\n\n@differentiate(target="cuda", products="cublas")\n{FUNCTION}'
SHAPES = ("--shape", "x=3,4", "w=4,2")
NETWORK = """\
[network]
shape = 4
loss = "SoftmaxCrossEntropy"

[[layer]]
type = "Dense"
units = 3

[training]
optimiser = { type = "Momentum", rate = 0.1 }
epochs = 1
batch = 3
"""


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.fixture
def function(tmp_path: Path) -> str:
    return written(tmp_path / "model.py", FUNCTION) + ":product"


@pytest.fixture
def network(tmp_path: Path) -> str:
    return written(tmp_path / "net.toml", NETWORK)


def source(spec: str, *words: str) -> str:
    with clean_imports():
        ran = gradc("inspect", spec, *words, "--stage", "source")
    assert ran.code == 0, ran.err
    return ran.out


def test_inspect_shows_the_calls_of_the_library(function: str):
    assert "from gradc_runtime.cuda_blas import " in source(function, *SHAPES, *BY_LIBRARY)
    own = source(function, *SHAPES, "--target", "cuda", "--products", "own")
    assert own == source(function, *SHAPES, "--target", "cuda")
    assert "cuda_blas" not in own


@pytest.mark.parametrize("of", ["step", "predict", "value_and_grad"])
def test_every_function_of_a_network_has_them(of: str, network: str):
    found = source(network, "--of", of, *BY_LIBRARY)
    assert "cuda_blas" in found
    if of == "step":
        file = NetworkFile.read(network)
        step = file.network.step.inspect(file.training.optimiser, 3, target="cuda", products="cublas")
        assert found == step.source


def test_the_command_decides_about_decorated_functions_too(tmp_path: Path):
    spec = written(tmp_path / "decorated.py", DECORATED) + ":product"
    assert "cuda_blas" in source(spec, *SHAPES, *BY_LIBRARY)
    assert "cuda_blas" not in source(spec, *SHAPES, "--target", "cuda")
    with clean_imports():
        assert gradc("grad", spec, *SHAPES).code == 0


VERBS = ("grad", "check", "inspect", "compile", "train")


def words_of(verb: str, function: str, network: str, folder: Path) -> tuple[str, ...]:
    match verb:
        case "train":
            return (verb, network, "--data", str(folder / "none.npz"), "--out", str(folder / "out"))
        case "compile":
            return (verb, function, *SHAPES, "--out", str(folder / "out"))
        case _:
            return (verb, function, *SHAPES)


@pytest.mark.parametrize("verb", VERBS)
def test_the_library_is_for_gpus(verb: str, function: str, network: str, tmp_path: Path):
    words = words_of(verb, function, network, tmp_path)
    ran = gradc(*words, "--target", "cpu", "--products", "cublas")
    assert (ran.code, ran.out) == (2, "")
    what, do = ran.err.splitlines()
    assert what == "gradc: --products cublas is for kernels of a GPU"
    assert do == "  do: add --target cuda"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", VERBS)
def test_other_libraries_are_refused(verb: str, function: str, network: str, tmp_path: Path):
    ran = gradc(*words_of(verb, function, network, tmp_path), "--target", "cuda", "--products", "blas")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "gradc: --products 'blas' is unknown\n  do: use one of own, cublas\n"


def test_the_library_is_not_for_the_interpreter_and_not_for_written_kernels(function: str, tmp_path: Path):
    with clean_imports():
        gradc("compile", function, *SHAPES, "-o", str(tmp_path / "kernel"))
    for spec in (function, str(tmp_path / "kernel")):
        ran = gradc("check", spec, *SHAPES, "--target", "interpret", "--products", "cublas")
        assert (ran.code, ran.err.splitlines()[0]) == (2, "gradc: --products cublas is for kernels of a GPU")


@pytest.mark.parametrize("verb", ["explain", "report", "bench"])
def test_verbs_without_kernels_of_a_gpu_have_no_such_option(verb: str):
    ran = gradc(verb, "--products", "own")
    assert (ran.code, "No such option" in ran.err) == (2, True)


# --- compile ------------------------------------------------------------------------------------------------

STAND_IN = Path(__file__).parents[2] / "cuda" / "blas_stand_in.py"
# The folder alone, in the simulator: first without the library, then with the stand-in for it.
WITHOUT = """
import numpy as np
from device import product_value_and_grad
from gradc_runtime import cuda_blas
assert Path(cuda_blas.__file__).is_relative_to(FOLDER), cuda_blas.__file__
cuda_blas.SIMULATED, cuda_blas._address = False, id
sys.modules["nvmath.bindings.cublas"] = None
rng = np.random.default_rng(3)
x, w = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))
try:
    product_value_and_grad(x, w)
except cuda_blas.BlasMissing as error:
    print(error)
"""
WITH = """
import importlib
import runpy
importlib.reload(cuda_blas)
library = runpy.run_path(STAND_IN)["StandIn"]()
cuda_blas._library = lambda: library
sys.modules.pop("device")
from device import product_value_and_grad
value, (x_bar, w_bar) = product_value_and_grad(x, w)
made = x @ w
np.testing.assert_allclose(value, (made**2).sum(), rtol=1e-12)
np.testing.assert_allclose(x_bar, 2 * made @ w.T, rtol=1e-11)
np.testing.assert_allclose(w_bar, 2 * x.T @ made, rtol=1e-11)
print(library.calls, [name for name in ("gradc", "sympy", "optree") if name in sys.modules])
"""


@pytest.mark.skipif(cuda_backend.SIMULATED, reason="NUMBA_ENABLE_CUDASIM is set")
def test_a_folder_brings_what_calls_the_library_and_says_what_to_install(
    function: str, tmp_path: Path, environment: dict[str, str]
):
    out = tmp_path / "device"
    with clean_imports():
        ran = gradc("compile", function, *SHAPES, *BY_LIBRARY, "-o", str(out))
    assert ran.code == 0, ran.err
    names = {path.name for path in (out / "runtime" / "gradc_runtime").iterdir()}
    assert {"cuda_blas.py", "matrix_products.py"} <= names
    guide = (out / "USAGE.md").read_text()
    assert f"    pip install numpy scipy numba 'numba-cuda[cu13]' {cuda_errors.CUBLAS}\n" in guide
    assert "Products of matrices are NVIDIA's cuBLAS, and not among these files." in guide
    assert "NUMBA_ENABLE_CUDASIM" not in guide  # which has no cuBLAS
    assert "numba-cuda and cuBLAS" in (out / "__init__.py").read_text().splitlines()[0]
    places = f"FOLDER, STAND_IN = {str(out)!r}, {str(STAND_IN)!r}\nsys.path.insert(0, {str(tmp_path)!r})\n"
    alone = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    child = in_simulator(alone, f"{ALONE}\n{places}{WITHOUT}{WITH}")
    assert child.returncode == 0, child.stderr
    *message, calls = child.stdout.splitlines()
    assert message[0] == "products by cuBLAS need nvmath-python"
    assert cuda_errors.CUBLAS in message[2]
    assert calls == "['dgemm', 'dgemm', 'dgemm'] []"


@pytest.mark.skipif(cuda_backend.SIMULATED, reason="NUMBA_ENABLE_CUDASIM is set")
@pytest.mark.parametrize(("products", "text"), [("own", "x @ w"), ("cublas", "x + 0 * w.sum()")])
def test_a_folder_without_calls_of_the_library_needs_none_of_it(products: str, text: str, tmp_path: Path):
    spec = written(tmp_path / "model.py", f"def f(x, w):\n    return (({text}) ** 2).sum()\n") + ":f"
    with clean_imports():
        ran = gradc(
            *("compile", spec, *SHAPES, "--target", "cuda", "--products", products),
            *("-o", str(tmp_path / "device")),
        )
    assert ran.code == 0, ran.err
    texts = [(tmp_path / "device" / name).read_text() for name in ("USAGE.md", "__init__.py")]
    assert not [text for text in texts if "cuBLAS" in text or "nvmath" in text]
    assert not list((tmp_path / "device" / "runtime" / "gradc_runtime").glob("cuda_blas*"))


def test_the_packages_are_those_of_the_extra():
    extras = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    own, *others = extras["optional-dependencies"]["cublas"]
    assert own == "gradc[cuda]"
    found = {package.partition("=")[0].rstrip(">") for package in others}
    assert found == {package.partition("=")[0] for package in shlex.split(cuda_errors.CUBLAS)}
