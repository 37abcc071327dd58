"""Sums over the parts of tasks: bits as the loop gives them, whole arrays only, on any number of threads."""

import ast
from typing import Any

import numpy as np
import pytest
from numba import njit

import gradc
from gradc_runtime import part_sums, threads
from gradc_runtime.part_sums import PartSum, adder, part_sum


def added(total: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """By the compiled function."""
    add: Any = adder(total.itemsize * 8)
    found = total.copy()

    @njit
    def call(total: int, rows: int, count: int, size: int) -> None:
        add(total, rows, count, size)

    call(found.ctypes.data, rows.ctypes.data, len(rows), total.size)
    return found


def by_loop(total: np.ndarray, rows: np.ndarray) -> np.ndarray:
    found = total.copy()
    for row in rows:
        found += row
    return found


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [1, 3, 16, 31, 64, 65, 129, 1000])
@pytest.mark.parametrize("count", [0, 1, 5, 64])
def test_bits_are_those_of_the_loop(dtype: type, size: int, count: int):
    rng = np.random.default_rng(size)
    rows = rng.standard_normal((count, size)).astype(dtype)
    guarded = rng.standard_normal(size + 2).astype(dtype)
    whole = guarded.copy()
    whole[1:-1] = added(guarded[1:-1], rows)
    np.testing.assert_array_equal(whole[1:-1], by_loop(guarded[1:-1], rows))


def test_nothing_behind_the_array_is_written():
    memory = np.arange(100.0)
    add: Any = adder(64)

    @njit
    def call(total: int, rows: int, count: int, size: int) -> None:
        add(total, rows, count, size)

    rows = np.ones((3, 37))
    call(memory[5:].ctypes.data, rows.ctypes.data, 3, 37)
    expected = np.arange(100.0)
    expected[5:42] += 3
    np.testing.assert_array_equal(memory, expected)


def test_bits_do_not_depend_on_the_number_of_threads():
    rows = np.random.default_rng(0).standard_normal((40, 3001))
    assert rows.size > part_sums.PARALLEL
    found = []
    for count in (1, 2, 3):
        with gradc.num_threads(min(count, gradc.get_num_threads())):
            threads.state[1] = 0  # no launch waits for a stalled barrier of an earlier test
            found.append(added(np.zeros(3001), rows))
    assert all(np.array_equal(one, found[0]) for one in found)


MADE = {"t": "n, m", "c": "parts, n, m", "u": "n", "d": "parts, n"}
WHOLE = "for p in range(parts):\n for i in range(n):\n  for j in range(m):\n   "


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (WHOLE + "t[i, j] += c[p, i, j]", PartSum("t", "c")),
        ("for p in range(parts):\n for i in range(n):\n  u[i] += d[p, i]", PartSum("u", "d")),
        (WHOLE + "t[i, j] -= c[p, i, j]", None),
        (WHOLE + "t[j, i] += c[p, i, j]", None),
        (WHOLE + "t[i, j] += c[p, j, i]", None),
        (WHOLE + "t[i, j] += c[i, p, j]", None),
        (WHOLE + "t[i, j] += 2 * c[p, i, j]", None),
        (WHOLE + "t[i, j] = c[p, i, j]", None),
        (WHOLE + "t[i, 0] += c[p, i, j]", None),
        (WHOLE + "w[i, j] += c[p, i, j]", None),  # an argument, of whatever layout
        ("for p in range(parts):\n for i in range(k):\n  u[i] += d[p, i]", None),  # a part of the array
        ("for p in range(k):\n for i in range(n):\n  u[i] += d[p, i]", None),
        ("for p in range(parts):\n u[p] += d[p, p]", None),
        ("for p in range(parts):\n for i in range(n):\n  u[i] += d[p, i]\n  u[i] += d[p, i]", None),
        ("for p in range(parts):\n v = v + x[p]", None),
    ],
)
def test_which_loops_are_sums_of_whole_arrays(text: str, found: PartSum | None):
    made: dict[str, Any] = {
        name: ast.parse(f"({shape},)", mode="eval").body.elts  # type: ignore[attr-defined]
        for name, shape in MADE.items()
    }
    (loop,) = ast.parse(text).body
    assert isinstance(loop, ast.For)
    assert part_sum(loop, made) == found


def test_kernels_call_it():
    function = gradc.differentiate(lambda x, w: np.tanh(x * w).sum(), wrt=("w",))
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((3000, 40)), rng.standard_normal(40)
    _, found = function.value_and_grad(x, w)
    np.testing.assert_allclose(found[0], (x / np.cosh(x * w) ** 2).sum(axis=0), rtol=1e-12)
    source = str(function.inspect(x, w).source)
    assert "_parts[part, i]" in source
    assert "gradc_add_parts_64" in str(function.inspect(x, w).asm)
