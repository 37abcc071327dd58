"""The library operations of CUDA devices mean what the table of calls says.

They run in the simulator if it is on, on a device where tests are marked so, and else as PTX on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.cuda.library_calls import PLACES, call, check, fetched, placed, sent

from gradc.ir.index.calls import CALLS
from gradc_runtime import (
    cuda_families,
    cuda_library,
    cuda_scan,
    cuda_sorting,
    registry,
)
from gradc_runtime.cuda_library import reshape
from gradc_runtime.cuda_memory import call_on


@pytest.fixture(params=PLACES, autouse=True)
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with placed(request.param, monkeypatch):
        yield


def test_there_is_every_operation_of_the_table() -> None:
    assert all(callable(getattr(cuda_library, name)) for name in CALLS)
    assert set(cuda_library.ON_HOST) <= set(CALLS)


# --- recurrences --------------------------------------------------------------------------------------------

CUT = ["whole", "cut"]


@pytest.fixture
def cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut lines of more than 4 elements into chunks."""
    if request.param == "cut":
        monkeypatch.setattr(cuda_scan, "WHOLE", 4)


@pytest.mark.parametrize("cut", CUT, indirect=True)
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.full)])
@pytest.mark.parametrize("reverse", [False, True])
def test_affine_scan(dtype: str, reverse: bool, cut: None, rng: np.random.Generator) -> None:
    for shape in ((3, 20, 2), (1, 17, 1), (1, 1, 1), (0, 2, 3), (2, 0, 3), (2, 3, 0)):
        a, b = (rng.normal(size=shape).astype(dtype) for _ in range(2))
        for axis in range(3):
            check("affine_scan", a, b, axis=axis, reverse=reverse)


@pytest.mark.parametrize("cut", CUT, indirect=True)
@pytest.mark.parametrize("dtype", ["int64", "uint8", pytest.param("int16", marks=pytest.mark.full)])
def test_affine_scan_of_integers_wraps(dtype: str, cut: None, rng: np.random.Generator) -> None:
    a, b = (rng.integers(0, np.iinfo(dtype).max, (2, 20, 3)).astype(dtype) for _ in range(2))
    check("affine_scan", a, b, axis=1, reverse=False, exact=True)


def test_long_lines_are_cut_unless_there_are_many(rng: np.random.Generator) -> None:
    assert cuda_scan._chunk(128, 1) == 128
    assert cuda_scan._chunk(129, 4095) == 16
    assert cuda_scan._chunk(10**6, 4096) == 10**6
    check("affine_scan", rng.normal(size=700), rng.normal(size=700), axis=0, reverse=False)


def _powers(*factors: float) -> np.ndarray:
    """The factors of chunks of 8 elements."""
    return np.repeat(np.array(factors), 8)


LOST = {
    "zero before a product that overflows": (_powers(1.0, 1e200, 1.0), 0.0),
    "a product that underflows, of a large number": (_powers(1.0, 1e-40, 1.0), 1e300),
    "a product of zero": (_powers(1.0, 0.0, 1.0), 1e300),
    "infinity": (_powers(1.0, 1e200, 1.0), 1.0),
    "infinity that changes its sign": (_powers(1.0, -1e200, -1.0), 1.0),
    "infinity times a product that underflows": (_powers(1e200, 1e-60, 1.0), 1.0),
    "NaN": (np.concatenate([_powers(1.0), [np.nan], _powers(1.0, 0.0)[1:]]), 1.0),
    "an infinite factor": (np.concatenate([_powers(1.0), [np.inf], _powers(1.0, 0.5)[1:]]), 1.0),
}


@pytest.mark.parametrize("cut", ["cut"], indirect=True)
@pytest.mark.parametrize("name", LOST)
def test_what_a_product_of_factors_loses_is_found_in_a_run_through(name: str, cut: None) -> None:
    a, start = LOST[name]
    b = np.zeros_like(a)
    b[0] = start
    with np.errstate(all="ignore"):
        (expected,) = CALLS["affine_scan"].numpy(a, b, axis=0, reverse=False)
    (found,) = call("affine_scan", a, b, axis=0, reverse=False)
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=0)


# --- orders, winners ----------------------------------------------------------------------------------------

INTERESTING = {
    "float64": (-np.inf, -1.0, -0.0, 0.0, 1.0, np.inf, np.nan),
    "float32": (-np.inf, -1.0, -0.0, 0.0, 1.0, np.inf, np.nan),
    "int64": (-(2**63), -1, 0, 1, 2**63 - 1),
    "uint64": (0, 1, 2**63, 2**64 - 1),
    "int8": (-128, -1, 0, 127),
    "bool": (False, True),
}
SOME = [
    pytest.param(name, marks=() if name in ("float64", "bool") else pytest.mark.full) for name in INTERESTING
]


@pytest.mark.parametrize("dtype", SOME)
def test_orders_and_winners(dtype: str, rng: np.random.Generator) -> None:
    """Ties keep their order and the first of equals wins, NaN is the largest number and wins anyway."""
    for shape in ((3, 7, 2), (1, 40, 1), (2, 70, 3), (2, 1, 3), (0, 2, 3), (2, 3, 0)):
        x = rng.choice(np.array(INTERESTING[dtype], dtype), size=shape)
        for axis in range(3):
            check("argsort", x, axis=axis, exact=True)
            for largest in (False, True) if shape[axis] else ():
                check("arg_extreme", x, axis=axis, largest=largest, exact=True)


@pytest.mark.parametrize("length", [0, 1, 2, 31, 32, 33, 63, 64, 65, 129, 300])
def test_argsort_of_any_length(length: int, rng: np.random.Generator) -> None:
    check("argsort", rng.integers(0, 10, length).astype(float), axis=0, exact=True)
    check("argsort", np.arange(length)[::-1].astype(float), axis=0, exact=True)


@pytest.mark.parametrize("length", [13, 26, 27, 50])
def test_winners_of_long_lines_are_those_of_their_parts(
    length: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_sorting, "PART", 13)
    monkeypatch.setattr(cuda_sorting, "PARTS", 3)
    for _ in range(3):
        x = rng.choice(np.array([1.0, 2.0, 3.0] * 9 + [np.nan]), size=(2, length, 2))
        for largest in (False, True):
            check("arg_extreme", x, axis=1, largest=largest, exact=True)


def test_winners_of_many_lines_whose_elements_lie_apart(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_sorting, "LINES", 4)
    check("arg_extreme", rng.integers(0, 9, (2, 40, 3)), axis=1, largest=True, exact=True)


def test_an_axis_without_elements_has_no_winner() -> None:
    with pytest.raises(ValueError, match="without elements"):
        call("arg_extreme", np.empty((2, 0, 3)), axis=1, largest=True)


# --- shapes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bool"])
def test_reshape(dtype: str) -> None:
    x = np.arange(6).reshape(2, 3).astype(dtype)
    for shape in ((3, 2), (6,), (1, 6, 1)):
        check("reshape", x, shape=shape, exact=True)
    check("reshape", x[:1, :1].copy(), shape=(), exact=True)
    check("reshape", x[:0], shape=(3, 0), exact=True)


def test_a_number_as_an_array() -> None:
    for number, dtype in ((np.float32(2.5), np.float32), (2.5, np.float64), (3, np.int64), (True, np.bool_)):
        for shape in ((1, 1), ()):
            found = fetched(reshape(number, shape))
            assert (found.shape, found.dtype, found.item()) == (shape or (1,), dtype, number)


def test_a_view_is_for_what_nobody_gets() -> None:
    """Where results stay on the device only a view that was asked for shares memory."""
    for stay, view, shares in ((True, False, False), (True, True, True), (False, False, True)):
        with call_on(0, None, stay=stay):
            x = sent(np.zeros((2, 3)))
            made = reshape(x, (6,), view=view)
            cuda_families.copied.each(6, sent(np.ones(6)), cuda_families.flat(x))
            assert np.array_equal(fetched(made), np.full(6, float(shares)))


# --- functions of Python ------------------------------------------------------------------------------------


def test_external_functions_run_on_copies() -> None:
    seen: list[Any] = []

    def function(x: np.ndarray, s: float) -> tuple[np.ndarray, float]:
        seen.append((type(x), x.copy(), s))
        x[:] = 0.0
        return np.float32(s) * np.arange(3, dtype=np.float32), 7.0

    number = registry.register(function)
    x = sent(np.array([[1.0, 2.0]]))
    one, two = cuda_library.external(x, 0.5, "float32 float64", "f", number, 0, (3,), ())
    assert np.array_equal(fetched(one), np.array([0.0, 0.5, 1.0], np.float32))
    assert fetched(one).dtype == np.float32
    assert np.array_equal(fetched(two), [7.0])
    ((kind, given, s),) = seen
    assert (kind, given.tolist(), s) == (np.ndarray, [[1.0, 2.0]], 0.5)
    assert fetched(x).tolist() == [[1.0, 2.0]]


def test_an_external_function_of_one_result() -> None:
    number = registry.register(lambda x: x.sum())
    found = cuda_library.external(sent(np.ones(4)), "float64", "f", number, 0, ())
    assert np.array_equal(fetched(found), [4.0])
