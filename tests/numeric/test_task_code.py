"""Tasks are optimised once, linked behind the kernel's own optimisation, and private in its machine code."""

import re
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest

import gradc
from gradc_runtime.simd import vector_bytes
from gradc_runtime.tasks import run_tasks, start_of, task


@task
def double(part: int, parts: int, n: int, x: np.ndarray, y: np.ndarray) -> None:
    first = start_of(part, parts, n)
    for step in range(start_of(part + 1, parts, n) - first):
        y[first + step] = 2.0 * x[first + step]


@task
def halve(part: int, parts: int, n: int, x: np.ndarray, y: np.ndarray) -> None:
    first = start_of(part, parts, n)
    for step in range(start_of(part + 1, parts, n) - first):
        y[first + step] = 0.5 * x[first + step]


@numba.njit
def several(x: np.ndarray, parts: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.empty_like(x), np.empty_like(x)
    run_tasks(double, parts, 10, len(x), x, first)
    run_tasks(halve, parts, 10, len(x), first, second)
    run_tasks(double, parts, 10, len(x), second, first)
    return first, second


@numba.njit
def outer(x: np.ndarray) -> np.ndarray:
    return several(x, 3)[0]


@pytest.mark.parametrize("parts", [1, 4])
def test_tasks_of_one_kernel(parts: int):
    x = np.arange(10.0)
    first, second = several(x, parts)
    np.testing.assert_array_equal(first, 2 * x)
    np.testing.assert_array_equal(second, x)


def test_kernels_with_tasks_are_called_from_compiled_code():
    np.testing.assert_array_equal(outer(np.arange(5.0)), 2 * np.arange(5.0))


def test_a_task_stands_once_in_the_code_of_its_kernel():
    several(np.arange(10.0), 2)
    for text in several.inspect_llvm().values():
        assert len(re.findall(r"^define .*@(?:double|halve)\(", text, re.MULTILINE)) == 2


def test_tasks_fill_vector_registers():
    loss = gradc.differentiate(lambda x: np.sum(np.exp(-x * x)))
    x = np.linspace(-1, 1, 100)
    text = "".join(loss.at(x).kernel().inspect_llvm().values())
    assert f"<{vector_bytes() // 8} x double>" in text


def test_nothing_but_the_kernel_is_visible_in_its_machine_code():
    loss = gradc.differentiate(lambda x: np.sum(np.tanh(x) * np.arange(4000.0)))
    x = np.linspace(-1, 1, 4000)
    loss.value_and_grad(x)
    (result,) = loss.at(x).kernel().overloads.values()
    described = result.fndesc
    public = {
        *(described.llvm_func_name, described.llvm_cpython_wrapper_name, described.llvm_cfunc_wrapper_name),
        described.env_name,
    }
    module = llvm.parse_assembly(result.library.get_llvm_str(), llvm.create_context())
    visible = {
        value.name
        for value in (*module.functions, *module.global_variables)
        if not (value.is_declaration or value.name.startswith("llvm."))
        and value.linkage.name not in ("internal", "private")
    }
    assert visible == {*public, "loop_1"}


@pytest.mark.parametrize(("count", "extent"), [(1, 5), (3, 100), (4, 512), (4, 517), (16, 10_007)])
def test_parts_are_of_whole_vectors_where_they_are_long(count: int, extent: int):
    compiled: Any = numba.njit(lambda part, count, extent: start_of(part, count, extent))
    starts = [start_of(part, count, extent) for part in range(count + 1)]
    assert starts == [compiled(part, count, extent) for part in range(count + 1)]
    assert (starts[0], starts[-1]) == (0, extent)
    assert starts == sorted(starts)
    if extent >= 128 * count:
        assert not any(start % 16 for start in starts[:-1])
    assert all(abs(start - extent * part / count) < 16 for part, start in enumerate(starts))


def test_arrays_of_a_task_are_known_to_be_apart():
    loss = gradc.differentiate(lambda x, y: np.sum(np.exp(-x * x) * y), wrt=("x", "y"))
    x = np.linspace(-1, 1, 100)
    text = "".join(loss.at(x, x).kernel().inspect_llvm().values())
    assert "vector.body" in text
    assert "vector.memcheck" not in text
