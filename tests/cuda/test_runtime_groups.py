"""Reductions over groups of threads have the bits of the xor butterfly, everywhere."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.cuda.ptx_warps import Block

from gradc_runtime import cuda_backend, cuda_groups
from gradc_runtime.cuda_backend import cuda
from gradc_runtime.cuda_host import kernel, launch

OPERATIONS = ("sum", "prod", "max", "min", "any", "all")
NUMBERS = ("float32", "float64", "int64", "int32", "bool")
CELLS = [(op, dtype) for op in OPERATIONS[:4] for dtype in NUMBERS] + [("any", "bool"), ("all", "bool")]
THREADS = 128


def values_of(op: str, dtype: str, rng: np.random.Generator, count: int) -> np.ndarray:
    if dtype == "bool":
        return rng.random(count) < (0.1 if op in ("any", "sum", "max") else 0.9)
    if dtype.startswith("int"):
        return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, count).astype(dtype)
    return (rng.normal(size=count) * 10.0 ** rng.integers(-3, 4, count)).astype(dtype)


def _chosen(better: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda low, high: np.where(better(low, high) | (low != low), low, high)


COMBINED: dict[str, Callable[[Any, Any], Any]] = {
    "sum": np.add,
    "prod": np.multiply,
    "max": _chosen(np.greater_equal),
    "min": _chosen(np.less_equal),
    "any": np.logical_or,
    "all": np.logical_and,
}


def butterfly(op: str, values: np.ndarray, width: int) -> np.ndarray:
    """All threads exchange with the one whose number differs in bit 0, then bit 1, and so on."""
    lane, offset = np.arange(values.size), 1
    with np.errstate(all="ignore"):
        while offset < width:
            values = COMBINED[op](values[lane & ~offset], values[lane | offset]).astype(values.dtype)
            offset *= 2
    return values


def group_kernel(op: str, dtype: str, threads: int = THREADS) -> Any:
    group, kind = getattr(cuda_groups, f"group_{op}"), np.dtype(dtype)

    def reduce(x: Any, out: Any, width: int) -> None:
        scratch = cuda.shared.array(threads, kind)
        thread = cuda.threadIdx.x
        found = group(scratch, x[thread], width)
        again = group(scratch, x[x.size - 1 - thread], width)  # straight away, with the same scratch
        out[0, thread] = found
        out[1, thread] = again

    numba_name = "boolean" if dtype == "bool" else dtype
    return kernel(f"{numba_name}[::1], {numba_name}[:, ::1], int64")(reduce)


def same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.tobytes() == expected.tobytes(), (found, expected)


def check(op: str, x: np.ndarray, found: np.ndarray, width: int) -> None:
    """Both reductions of a `group_kernel`."""
    same_bits(found[0], butterfly(op, x, width))
    same_bits(found[1], butterfly(op, x[::-1], width))


@pytest.mark.simulator
@pytest.mark.cuda
@pytest.mark.parametrize(("op", "dtype"), CELLS)
def test_groups_of_every_width_have_the_bits_of_the_butterfly(
    op: str, dtype: str, rng: np.random.Generator
) -> None:
    made = group_kernel(op, dtype, 64)
    x = values_of(op, dtype, rng, 64)
    for width in (1, 2, 8, 32, 64):
        out = cuda.to_device(np.zeros((2, 64), dtype))
        launch(made, 1, 64, cuda.to_device(x), out, width)
        found = out.copy_to_host()
        check(op, x, found, width)


@pytest.mark.simulator
@pytest.mark.cuda
def test_a_group_may_be_a_block_of_the_most_threads(rng: np.random.Generator) -> None:
    made = group_kernel("sum", "float32", 1024)
    x = values_of("sum", "float32", rng, 1024)
    out = cuda.to_device(np.zeros((2, 1024), np.float32))
    launch(made, 1, 1024, cuda.to_device(x), out, 1024)
    same_bits(out.copy_to_host()[0], butterfly("sum", x, 1024))


AWKWARD = np.tile([0.0, -0.0, -0.0, 0.0, np.nan, 1.0, -np.inf, np.inf], 16)
AWKWARD[64:] = np.tile([0.0, -0.0, -0.0, 0.0], 16)


@pytest.mark.simulator
@pytest.mark.cuda
@pytest.mark.parametrize("op", ["max", "min"])
def test_extremes_propagate_nan_and_agree_on_the_sign_of_zero(op: str) -> None:
    made = group_kernel(op, "float64")
    for width in (2, 4, 64):
        out = cuda.to_device(np.zeros((2, THREADS)))
        launch(made, 1, THREADS, cuda.to_device(AWKWARD), out, width)
        found = out.copy_to_host()
        check(op, AWKWARD, found, width)
        per_group = found[0].reshape(-1, width)
        assert all(len({value.tobytes() for value in group}) == 1 for group in per_group)


# --- the code of devices ------------------------------------------------------------------------------------


@pytest.mark.ptx
@pytest.mark.parametrize(("op", "dtype"), CELLS)
def test_the_ptx_of_groups_computes_the_butterfly(op: str, dtype: str, rng: np.random.Generator) -> None:
    block = Block(group_kernel(op, dtype).ptx((8, 0)))
    x = values_of(op, dtype, rng, THREADS)
    for width in (1, 2, 16, 32, 64, 128) if (op, dtype) == ("sum", "float32") else (64,):
        out = np.zeros((2, THREADS), dtype)
        block.run(THREADS, x, out, width)
        check(op, x, out, width)


@pytest.mark.ptx
@pytest.mark.parametrize("op", ["max", "min"])
def test_the_ptx_of_extremes_propagates_nan_and_agrees_on_the_sign_of_zero(op: str) -> None:
    block = Block(group_kernel(op, "float64").ptx((8, 0)))
    for width in (2, 4, 64):
        out = np.zeros((2, THREADS))
        block.run(THREADS, AWKWARD, out, width)
        check(op, AWKWARD, out, width)


@pytest.mark.ptx
@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (9, 0)])
@pytest.mark.parametrize(("op", "dtype"), [("sum", "float32"), ("max", "float64"), ("any", "bool")])
def test_groups_are_assembled_for_every_capability_without_calls_and_spills(
    op: str, dtype: str, capability: tuple[int, int]
) -> None:
    made = group_kernel(op, dtype)
    text = made.ptx(capability)
    assert f".target sm_{capability[0]}{capability[1]}" in text
    assert "call" not in _opcodes(text)
    found, why = made.resources(capability)
    assert found is not None, why
    assert found.spilled == 0
    assert 0 < found.registers < 64


def _opcodes(text: str) -> set[str]:
    return {
        line.split()[0].split(".")[0] for line in text.splitlines() if line.startswith("\t") and line.strip()
    }


@pytest.mark.ptx
def test_a_product_is_not_fused_into_the_sum_of_a_group() -> None:
    def reduce(x: Any, y: Any, out: Any) -> None:
        scratch = cuda.shared.array(32, np.float64)
        thread = cuda.threadIdx.x
        out[thread] = cuda_groups.group_sum(scratch, x[thread] * y[thread], 32)

    text = cuda_backend.ptx(reduce, cuda_backend.types_of("float64[::1], " * 2 + "float64[::1]"), (9, 0))
    assert "fma" not in _opcodes(text)
    assert "add.rn.f64" in text
