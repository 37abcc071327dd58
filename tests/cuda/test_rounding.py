"""Operations of generated kernels round each, but for the products that a contraction adds up.

A sign, a maximum or a branch is then the same wherever it is computed: ``x * x - y * y`` is 0 where `x` is `y`.
"""

import re
import threading
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.cuda.assembled import kernels_in
from tests.cuda.ptx_machine import Machine
from tests.cuda.test_assembly import source_of

from gradc import differentiate
from gradc_runtime import cuda_backend
from gradc_runtime.cuda_backend import Terms, cuda
from gradc_runtime.cuda_host import Kernel, kernel

pytestmark = pytest.mark.ptx
CAPABILITIES = ((7, 5), (8, 0), (9, 0))
X = np.random.default_rng(11).normal(size=(5, 4))


def difference(**terms: Any) -> Kernel:
    """What `x * x` differs from a number."""

    @kernel("float64[::1], float64[::1], float64[::1]", **terms)
    def compares(x: Any, y: Any, out: Any) -> None:
        out[0] = x[0] * x[0] + y[0]

    return compares


def fused(text: str) -> int:
    """How many operations are a product and a sum, or may be made one by the assembler, as those without `rn`."""
    return len(re.findall(r"^\s*(?:fma|(?:mul|add|sub)\.f\d\d\b)", text, re.MULTILINE))


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_products_and_sums_stay_apart(capability: tuple[int, int]):
    assert fused(difference().ptx(capability)) == 0
    assert fused(difference(fused=True).ptx(capability)) == 1


@pytest.mark.parametrize(("terms", "is_zero"), [({}, True), ({"fused": True}, False)])
def test_a_difference_of_equal_products_is_zero(terms: dict[str, Any], is_zero: bool):
    out, x = np.ones(1), np.array([1.1])
    Machine(difference(**terms).ptx((8, 0))).run(x, -x * x, out)
    assert bool(out[0] == 0) is is_zero


def test_other_threads_compile_as_ever():
    function, kinds = difference().py_func, cuda_backend.types_of(difference().signature)

    def usual() -> int:
        return fused(cuda.compile(function, kinds, cc=(8, 0), device=False, abi="numba")[0])

    counts: list[int] = []
    with cuda_backend._on(Terms()):
        other = threading.Thread(target=lambda: counts.append(usual()))
        other.start()
        other.join()
        assert usual() == 0
    assert [*counts, usual()] == [1, 1]


def test_what_is_shown_has_the_bounds_of_its_launch():
    assert ".maxntid" not in difference().ptx((8, 0))
    text = difference(launch_bounds=(256, 2)).ptx((8, 0))
    assert ".maxntid 256" in text
    assert ".minnctapersm 2" in text


class Compiled(Exception):
    """What Numba would bring to a device."""


@pytest.mark.parametrize("terms", [Terms(), Terms((256, 2), fused=True)])
def test_what_is_launched_is_compiled_on_the_same_terms(terms: Terms, monkeypatch: pytest.MonkeyPatch):
    """Also what is assembled later, for a device of another capability: the terms stay with the kernel."""
    seen: list[tuple[str, str]] = []

    def assembles(library: Any, cc: Any = None) -> Any:
        seen.append((usual(library, cc=(8, 0))[0], usual(library, cc=(9, 0))[0]))
        raise Compiled

    library: Any = import_module("numba.cuda.codegen").CUDACodeLibrary
    usual = library.get_asm_strs
    device = SimpleNamespace(compute_capability=(8, 0))
    monkeypatch.setattr("numba.cuda.dispatcher.get_current_device", lambda: device)
    monkeypatch.setattr(library, "get_asm_strs", assembles)
    with pytest.raises(Compiled):
        cuda_backend.compiled(difference().py_func, cuda_backend.types_of(difference().signature), terms)
    for text in seen[0]:
        assert fused(text) == int(terms.fused)
        assert (".minnctapersm 2" in text and ".maxntid 256" in text) is bool(terms.launch_bounds)


def test_a_kernel_is_loaded_on_its_own_terms(monkeypatch: pytest.MonkeyPatch):
    seen: list[Any] = []

    def compiles(function: Any, kinds: Any, *terms: Terms) -> Any:
        seen.extend(terms)
        raise Compiled

    monkeypatch.setattr(cuda_backend, "compiled", compiles)
    with pytest.raises(Compiled):
        difference(launch_bounds=(32, 16), fused=True)._load(0)
    assert seen == [Terms((32, 16), fused=True)]


def of_kernels(function: Any, *arguments: Any) -> dict[str, int]:
    """How many fused operations each kernel of a program has."""
    kernels = kernels_in(source_of(differentiate(function, target="cuda"), *arguments))
    return {name: fused(found.ptx((8, 0))) for name, found in kernels.items()}


def test_what_programs_compare_is_rounded_step_by_step():
    found = of_kernels(lambda x, y: np.where(x * x - y * y > 0, x * y + 1, x - y * y).sum(), X, X)
    assert list(found.values()) == [0] * len(found)
    assert found


def test_a_reduction_of_products_rounds_once():
    found = of_kernels(lambda x: np.log((x * x).sum(axis=1)).sum(), X)
    assert any(found.values())


@pytest.mark.full
def test_every_product_of_a_tile_is_added_in_one_operation():
    found = of_kernels(lambda x, w: x @ w, X, X.T.copy())
    tiles = [many for name, many in found.items() if "tiles" in name]
    assert tiles
    assert min(tiles) >= 8
