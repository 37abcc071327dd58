"""The library operations of CUDA devices in generated modules, and their kernels as code of devices."""

from __future__ import annotations

import numpy as np
import pytest
from tests.cuda.library_calls import check, fetched, sent

from gradc_runtime import cuda_factors, cuda_families, cuda_linalg, cuda_scan, cuda_sorting
from gradc_runtime.artifact import KernelArtifact
from gradc_runtime.cuda_run import load, run

# --- in generated modules -----------------------------------------------------------------------------------

_MODULE = '''"""The inverse as one row, and the determinant."""

import numpy as np

from gradc_runtime.cuda_host import scratch
from gradc_runtime.cuda_library import det, inv, reshape


def function(a):
    n = a.shape[0]
    inverse = inv(a)
    row = reshape(inverse, (n * n,))
    same = reshape(a, (n * n,))
    size = det(a)
    return size, row, same
'''
MODULE = KernelArtifact(
    "function",
    _MODULE,
    (("a", "float64", 2),),
    (("size", "float64", 0), ("row", "float64", 1), ("same", "float64", 1)),
)


@pytest.mark.simulator
@pytest.mark.cuda
def test_results_on_the_device_are_the_callers_alone() -> None:
    loaded, a = load(MODULE), sent(np.diag([2.0, 4.0]))
    size, row, same = run(loaded, (a,))
    run(loaded, (sent(np.diag([8.0, 16.0])),))
    cuda_families.copied.each(4, sent(np.zeros(4)), cuda_families.flat(a))
    assert float(size) == pytest.approx(8.0, rel=1e-15)
    assert fetched(row).tolist() == [0.5, 0.0, 0.0, 0.25]
    assert fetched(same).tolist() == [2.0, 0.0, 0.0, 4.0]
    value, row, same = run(loaded, (np.diag([2.0, 4.0]),))
    assert (value, row.tolist(), same.tolist()) == (pytest.approx(8.0), [0.5, 0, 0, 0.25], [2.0, 0, 0, 4.0])


@pytest.mark.simulator
@pytest.mark.parametrize("reverse", [False, True])
def test_affine_scan_of_short_lines_is_numpys_bit_for_bit(reverse: bool, rng: np.random.Generator) -> None:
    """A device rounds a product and a sum once; the simulator rounds both."""
    a, b = (rng.normal(size=(3, 100, 2)) for _ in range(2))
    check("affine_scan", a, b, axis=1, reverse=reverse, exact=True)


# --- the code of devices ------------------------------------------------------------------------------------

FAMILIES = [
    family
    for module in (cuda_scan, cuda_sorting, cuda_factors, cuda_linalg)
    for family in vars(module).values()
    if isinstance(family, cuda_families.Family)
]
CAPABILITIES = [(8, 0), *(pytest.param(c, marks=pytest.mark.full) for c in ((7, 5), (9, 0)))]


@pytest.mark.ptx
@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("family", dict.fromkeys(FAMILIES), ids=lambda family: family.__name__)
def test_kernels_are_assembled_without_spills(
    family: cuda_families.Family, capability: tuple[int, int]
) -> None:
    for dtype in ("float32", "float64"):
        found, why = cuda_families.Family(family.py_func, family.signature).of(dtype).resources(capability)
        assert found is not None, why
        assert found.spilled == 0
        assert found.registers <= 128
