"""The number of threads is a setting of the process, and changes no bit of a result."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gradc
from gradc.errors import ArgumentError
from gradc_runtime import thread_count


def test_the_setting_is_kept_and_restored():
    whole = gradc.get_num_threads()
    assert thread_count.wanted() is None
    with gradc.num_threads(1):
        assert gradc.get_num_threads() == 1
        with gradc.num_threads(None):
            assert gradc.get_num_threads() == whole
        assert thread_count.wanted() == 1
    gradc.set_num_threads(10_000)
    assert gradc.get_num_threads() == whole  # no more than there are
    gradc.set_num_threads(None)
    with pytest.raises(RuntimeError, match="inside"), gradc.num_threads(1):
        raise RuntimeError("inside")
    assert thread_count.wanted() is None


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", True])
def test_what_is_no_number_of_threads_is_refused(count: object):
    with pytest.raises(ArgumentError, match=r"set_num_threads\(2\), or None"):
        gradc.set_num_threads(count)  # pyright: ignore[reportArgumentType]
    assert thread_count.wanted() is None


def test_the_environment_sets_it():
    program = f"import sys; sys.path[:] = {sys.path!r}; import gradc; print(gradc.get_num_threads())"

    def run(value: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "GRADC_NUM_THREADS": value}
        return subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment
        )

    assert run("1").stdout == "1\n"
    refused = run("many")
    assert refused.returncode
    assert "GRADC_NUM_THREADS is 'many'; it must be a whole number" in refused.stderr


def test_results_are_the_same_for_every_number_and_from_many_python_threads():
    loss = gradc.differentiate(lambda w, x: np.sum(np.tanh(x @ w) ** 2))
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=(300, 200)), rng.normal(size=(250, 300))

    def bits() -> list[bytes]:
        value, gradients = loss.value_and_grad(w, x)
        return [np.asarray(part).tobytes() for part in (value, *gradients)]

    expected = bits()
    for count in (1, 2, 3, None):
        with gradc.num_threads(count):
            assert bits() == expected
    with ThreadPoolExecutor(8) as pool:
        assert all(found == expected for found in pool.map(lambda _: bits(), range(64)))
