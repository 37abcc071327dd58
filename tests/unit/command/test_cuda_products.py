"""``--products``: who multiplies matrices of a kernel for a GPU, without a GPU and without the library."""

from pathlib import Path

import pytest
from tests.unit.command.support import clean_imports, gradc

from gradc.nn.files.network_file import NetworkFile

pytest.importorskip("numba_cuda", reason="pip install gradc[cuda]")

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
