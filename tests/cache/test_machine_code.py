"""Kernels from the store: the same results in a process that compiles nothing, and new ones where anything is off."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gradc_runtime import machine_code, store

# Each is a statement that defines `f` and the arguments of a call; the kinds of code a kernel may hold.
KERNELS = {
    "numbers": "f, a = differentiate(lambda x, n: x**2 * n + np.exp(x), wrt='x'), (1.5, 3)",
    "arrays": "f, a = differentiate(lambda x: np.sum(np.sin(x) * x)), (np.arange(5.0),)",
    "products": (
        "f, a = differentiate(lambda w, x: np.sum(np.tanh(x @ w))), "
        "(np.linspace(0, 1, 90_000).reshape(300, 300) / 300, np.linspace(1, 2, 90_000).reshape(300, 300))"
    ),
    "float32": (
        "f, a = differentiate(lambda w, x: np.sum(x @ w)), "
        "(np.ones((5, 3), np.float32), np.linspace(0, 1, 20, dtype=np.float32).reshape(4, 5))"
    ),
    "linear algebra": (
        "f, a = differentiate(lambda m: np.linalg.slogdet(m)[1] + np.sum(np.linalg.inv(m))), "
        "(np.eye(4) + 0.1 * np.arange(16.0).reshape(4, 4),)"
    ),
    "special functions": "f, a = differentiate(lambda x: np.sum(gammaln(x) + erf(x))), (np.array([0.5, 2.5]),)",
    "masks and indices": (
        "f, a = differentiate(lambda x, m, i: np.sum(np.where(m, x, x**2)) + np.sum(x[i]), wrt='x'), "
        "(np.arange(4.0), np.array([True, False, True, False]), np.array([1, 3, 1]))"
    ),
    "long scalar programs": ("f, a = differentiate(long), (np.linspace(0.1, 0.9, 10),)"),
}
PROGRAM = """
import sys
sys.path[:] = {path!r}
import warnings
warnings.simplefilter("error")
import numpy as np
from scipy.special import erf, gammaln
from gradc import differentiate
from gradc_runtime import numba_backend

def long(x):
    total = x[0]
    for step in range(400):
        total = np.sin(total) * x[step % 10] + x[(step + 3) % 10]
    return total

{kernel}
value, gradient = f.value_and_grad(*a)
parts = gradient if isinstance(gradient, tuple) else (gradient,)
bits = [np.asarray(part).tobytes().hex() for part in (value, *parts)]
import json
print(json.dumps([bits, numba_backend.compilations]))
"""


def run(kernel: str, **environment: str) -> tuple[list[str], int]:
    """The bits of a kernel's results in a process of its own, and how many kernels it compiled."""
    source = PROGRAM.format(path=sys.path, kernel=kernel)
    child = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert child.returncode == 0, child.stderr
    bits, compiled = json.loads(child.stdout)
    return bits, compiled


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADC_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("GRADC_CACHE", raising=False)
    return tmp_path


@pytest.mark.parametrize("kind", KERNELS)
def test_a_second_process_computes_the_same_and_compiles_nothing(kind: str):
    first, compiled = run(KERNELS[kind])
    assert compiled == 1
    assert {entry.fault for entry in store.entries()} == {""}
    second, compiled = run(KERNELS[kind])
    assert compiled == 0
    assert second == first


# What a kernel with a product and a loop needs of the runtime.
RUNTIME = [
    *(f"gradc_contract_{what}" for what in ("64", "extents", "offsets")),
    *("gradc_give_memory", "gradc_launch", "gradc_make_array", "gradc_make_local"),
    *("gradc_multiply_64", "gradc_new_memory", "gradc_pack_64", "gradc_pack_panel_64", "gradc_panel_64"),
    *("gradc_parts_of", "gradc_product_64", "gradc_rows_64", "gradc_take_memory"),
    *(f"gradc_tile_{where}64_{vectors}" for where in ("", "in_place_") for vectors in (1, 2, 3)),
]


def test_damage_anywhere_means_compiling_again():
    """The kernel needs functions of the runtime: whichever file is damaged, the result is the same."""
    first, _ = run(KERNELS["products"])
    files = sorted(store._files())
    names = {entry.path: entry.name for entry in store.entries()}
    assert set(names.values()) > set(RUNTIME)
    others = sorted(re.sub("_[0-9a-f]{32}$", "", name) for name in names.values() if name not in RUNTIME)
    assert others == ["function_value_and_grad", "gradc_entry", "gradc_task"]
    assert len(files) == len(RUNTIME) + len(others)
    for path in files:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
        source = PROGRAM.format(path=sys.path, kernel=KERNELS["products"]).replace('("error")', '("always")')
        child = subprocess.run(
            [sys.executable, "-c", source], capture_output=True, text=True, check=True, env=os.environ
        )
        assert "its checksum is wrong" in child.stderr, names[path]
        bits, _ = json.loads(child.stdout)
        assert bits == first
        assert {entry.fault for entry in store.entries()} == {""}
        assert len(store._files()) == len(files)  # written anew


def test_a_function_that_is_missing_is_compiled_again():
    first, _ = run(KERNELS["products"])
    (pack,) = [entry.path for entry in store.entries() if entry.name == "gradc_pack_64"]
    pack.unlink()
    second, compiled = run(KERNELS["products"])
    assert second == first
    assert compiled == 1
    assert pack.exists()


@pytest.mark.parametrize(
    "setting", [{"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}, {"NUMBA_OPT": "1"}]
)
def test_other_processors_and_settings_have_keys_of_their_own(setting: dict[str, str]):
    run(KERNELS["numbers"])
    _, compiled = run(KERNELS["numbers"], **setting)
    assert compiled == 1
    assert len(store._files()) == 2


def test_with_one_thread_the_functions_that_launch_tasks_are_others():
    first, _ = run(KERNELS["products"])
    again, _ = run(KERNELS["products"], NUMBA_NUM_THREADS="1")
    assert again == first  # the bits do not depend on the number of threads
    names = sorted(entry.name for entry in store.entries())
    assert names.count("gradc_contract_64") == 2
    assert run(KERNELS["products"])[1] == 0


def test_another_numba_has_keys_of_its_own(monkeypatch: pytest.MonkeyPatch):
    key = machine_code.key_of("kernel", "x")
    assert key == machine_code.key_of("kernel", "x") != machine_code.key_of("kernel", "y")
    monkeypatch.setattr(machine_code.numba, "__version__", "0.1")
    machine_code.machine.cache_clear()
    try:
        assert machine_code.key_of("kernel", "x") != key
    finally:
        machine_code.machine.cache_clear()


def test_kernels_that_call_python_functions_are_not_kept():
    kernel = (
        "import gradc\n"
        "def twice(x): return 2 * x\n"
        "twice.__annotations__ = {'x': gradc.f64['N']}\n"
        "out = gradc.external(twice, result=gradc.f64['N'], vjp=lambda y_bar, x: (2 * y_bar,))\n"
        "f, a = differentiate(lambda x: np.sum(out(x) ** 2)), (np.arange(3.0),)"
    )
    first, _ = run(kernel)
    assert all(entry.name.startswith("gradc_") for entry in store.entries())  # the runtime's own functions
    second, compiled = run(kernel)
    assert (second, compiled) == (first, 1)


def test_without_a_cache_everything_works():
    first, compiled = run(KERNELS["arrays"], GRADC_CACHE="off")
    assert compiled == 1
    assert not store._files()
    again, compiled = run(KERNELS["arrays"], GRADC_CACHE_DIR="/proc/nowhere")
    assert (again, compiled) == (first, 1)


USES = """
import numba
step = f.kernel(*a)

@numba.njit
def twice(x):
    return step(x)[0] + step(x)[0]

assert twice(*a) == 2 * f.value_and_grad(*a)[0]
text = f.inspect(*a)
assert "define" in text.stage("llvm") and "ret" in text.stage("asm")
import os
if hasattr(os, "fork"):
    child = os.fork()
    if child == 0:
        os._exit(0 if f.value_and_grad(*a)[0] > 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_a_kept_kernel_is_called_from_compiled_code_read_and_forked():
    kernel = KERNELS["arrays"] + USES
    run(kernel)
    bits, _ = run(kernel)
    assert bits


def test_a_wrong_shape_is_refused_by_a_kept_kernel_too():
    kernel = (
        "f, a = differentiate(lambda w, x: np.sum(x * w)), (np.ones(3), np.ones(3))\n"
        "f.value_and_grad(*a)\n"
        "try:\n"
        "    f.value_and_grad(np.ones(3), np.ones(4))\n"
        "except Exception as error:\n"
        "    assert 'x' in str(error)\n"
        "else:\n"
        "    raise SystemExit('nothing was refused')"
    )
    run(kernel)
    _, compiled = run(kernel)
    assert compiled == 0


def processes(count: int) -> list[Any]:
    source = PROGRAM.format(path=sys.path, kernel=KERNELS["arrays"])
    return [
        subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(count)
    ]


def test_processes_that_start_together_agree():
    found = [child.communicate() for child in processes(4)]
    assert [error for _, error in found] == [b""] * 4
    assert len({json.loads(out)[0][0] for out, _ in found}) == 1
    assert {entry.fault for entry in store.entries()} == {""}
