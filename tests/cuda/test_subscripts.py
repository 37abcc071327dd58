"""Subscripts count from the start alone, and so do the numbers that they are made of: nothing asks for their signs."""

import re
import threading
from typing import Any

import numpy as np
import pytest
from tests.cuda.ptx_machine import Machine

from gradc_runtime import cuda_backend
from gradc_runtime.cuda_backend import cuda
from gradc_runtime.cuda_host import Kernel, kernel, launch
from gradc_runtime.cuda_scalars import quotient


def moved() -> Kernel:
    """A fresh kernel whose subscripts have the signs of `start`, as far as a compiler knows."""

    @kernel("float64[:, ::1], float64[::1], int64[::1]")
    def copied(table: Any, out: Any, start: Any) -> None:
        i = start[0]
        out[i] += table[i, i + 1]

    return copied


def questions(text: str) -> int:
    """How often PTX compares an integer with zero, or takes its sign."""
    return len(re.findall(r"setp\.(?:lt|gt)\.s64[^;]*, (?:-1|0);|shr\.s64[^;]*, 63;", text))


@pytest.mark.ptx
@pytest.mark.parametrize("capability", [(7, 5), (9, 0)])
def test_no_kernel_asks_for_the_sign_of_a_subscript(capability: tuple[int, int]):
    assert questions(moved().ptx(capability)) == 0


@pytest.mark.ptx
def test_subscripts_are_right():
    table, out = np.arange(12.0).reshape(3, 4), np.ones(3)
    Machine(moved().ptx((8, 0))).run(table, out, np.array([2]))
    assert out.tolist() == [1.0, 1.0, 12.0]


@pytest.mark.ptx
def test_other_kernels_of_the_process_count_from_the_end():
    """Afterwards, and in a thread that compiles at the same time."""
    function, kinds = moved().py_func, cuda_backend.types_of(moved().signature)

    def usual() -> int:
        return questions(cuda.compile(function, kinds, cc=(8, 0), device=False, abi="numba")[0])

    counts: list[int] = []
    with cuda_backend._on(cuda_backend.Terms()):
        other = threading.Thread(target=lambda: counts.append(usual()))
        other.start()
        other.join()
        assert usual() == 0
    assert [*counts, usual()] == [2, 2]


@pytest.mark.simulator
def test_a_negative_subscript_shows_in_the_simulator():
    arrays = cuda.to_device(np.arange(12.0).reshape(3, 4)), cuda.to_device(np.ones(3))
    launch(moved(), 1, 1, *arrays, cuda.to_device(np.array([2])))
    assert arrays[1].copy_to_host().tolist() == [1.0, 1.0, 12.0]
    with pytest.raises(IndexError, match="the subscript -1 is negative"):
        launch(moved(), 1, 1, *arrays, cuda.to_device(np.array([-1])))


@pytest.mark.simulator
def test_no_element_is_written_at_a_negative_subscript():
    @kernel("float64[::1]")
    def writes(out: Any) -> None:
        out[cuda.threadIdx.x - 1] = 1.0

    with pytest.raises(IndexError, match="the subscript -1 is negative"):
        launch(writes, 1, 1, cuda.to_device(np.zeros(3)))


# --- quotients ----------------------------------------------------------------------------------------------


@kernel("int64[::1], int64[::1], int64[::1]")
def divides(a: Any, b: Any, out: Any) -> None:
    out[0] = quotient(a[0], b[0])


PAIRS = ((7, 2), (6, 2), (0, 5), (3, 5), (2**40 + 1, 3), (2**62, 2**31 + 7))


@pytest.mark.ptx
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_quotients(a: int, b: int):
    out = np.zeros(1, np.int64)
    Machine(divides.ptx((8, 0))).run(np.array([a]), np.array([b]), out)
    assert out[0] == a // b


@pytest.mark.ptx
def test_a_quotient_has_no_sign():
    text = divides.ptx((8, 0))
    assert "div.u64" in text
    assert "div.s64" not in text
    assert questions(text) == 0


@pytest.mark.simulator
def test_quotients_in_the_simulator_are_checked():
    out = cuda.to_device(np.zeros(1, np.int64))
    for a, b in PAIRS:
        launch(divides, 1, 1, cuda.to_device(np.array([a])), cuda.to_device(np.array([b])), out)
        assert out.copy_to_host()[0] == a // b
    for a, b in ((-1, 2), (3, 0), (3, -1)):
        with pytest.raises(ValueError, match=f"{a} // {b} is no quotient of unsigned numbers"):
            launch(divides, 1, 1, cuda.to_device(np.array([a])), cuda.to_device(np.array([b])), out)
