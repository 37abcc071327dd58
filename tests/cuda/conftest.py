"""Tests of the CUDA target run in one of three places, or in any of those that they name by markers.

simulator   NUMBA_ENABLE_CUDASIM=1 python -m pytest tests/cuda      kernels are Python functions
ptx         python -m pytest tests/cuda                             kernels are compiled, none runs
cuda        python -m pytest tests/cuda -m cuda                     kernels run on a device
"""

import os
from functools import cache
from importlib.util import find_spec

import pytest

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
MARKERS = {
    "simulator": "runs kernels in Numba's simulator; needs NUMBA_ENABLE_CUDASIM=1",
    "ptx": "compiles kernels for CUDA, without a device; needs NUMBA_ENABLE_CUDASIM unset",
    "cuda": "runs kernels on a CUDA device",
}
if find_spec("numba_cuda") is None:
    collect_ignore_glob = ["test_*"]  # they import it


def pytest_configure(config: pytest.Config) -> None:
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


@cache
def _missing(place: str) -> str:
    """Why tests of this place cannot run here; empty where they can."""
    if find_spec("numba_cuda") is None:
        return "numba-cuda is not installed: pip install gradc[cuda]"
    if (place == "simulator") != SIMULATED:
        return "NUMBA_ENABLE_CUDASIM is " + ("set" if SIMULATED else "not set")
    if place == "cuda":
        from gradc_runtime import cuda_driver, cuda_errors  # noqa: PLC0415

        try:
            cuda_driver.count()
        except cuda_errors.CudaError as error:
            return f"{error.what}: {error.why}"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that can run in none of the places that they name."""
    for item in items:
        reasons = [_missing(place) for place in MARKERS if item.get_closest_marker(place)]
        if reasons and all(reasons):
            item.add_marker(pytest.mark.skip(reason="; ".join(reasons)))
