"""Tables of indices: out of range they are an error at once, or a note on the device that nobody waits for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from tests.cuda import runtime_modules

from gradc_runtime import cuda_driver, cuda_indices, cuda_memory
from gradc_runtime.cuda_backend import SIMULATED, cuda
from gradc_runtime.cuda_indices import Notes, check_indices, checked
from gradc_runtime.cuda_run import run

pytestmark = [pytest.mark.simulator, pytest.mark.cuda]

DTYPES = [np.int64, np.int32, np.uint8]


@contextmanager
def noting() -> Iterator[Notes]:
    """Run as in a call that notes what is out of range."""
    with cuda_memory.call_on(0, None, stay=True) as outer:
        outer.hands_on = notes = Notes(cuda.to_device(np.zeros(1, np.int32)))
        with cuda_memory.call_on(0, None, stay=True):
            yield notes


def noted(notes: Notes) -> int:
    return notes.cell.copy_to_host()[0]


def address(array: Any) -> int:
    return array._ary.ctypes.data if SIMULATED else array.device_ctypes_pointer.value


def table_of(dtype: Any) -> np.ndarray:
    return np.resize(np.arange(0 if dtype is np.uint8 else -7, 7), 1000).astype(dtype).reshape(10, 100)


# --- at once ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [check_indices, checked])
@pytest.mark.parametrize("dtype", DTYPES)
def test_indices_in_range_pass_and_others_raise(dtype: Any, check: Any) -> None:
    table = table_of(dtype)
    check(cuda.to_device(table), 7)
    check(cuda.to_device(table[:0]), 0)
    for wrong in (7, 200 if dtype is np.uint8 else -8):
        table[9, 99] = wrong
        with pytest.raises(IndexError, match=r"an index is out of range$"):
            check(cuda.to_device(table), 7)
    check(-7, 7)
    for wrong, extent in ((7, 7), (-8, 7), (cuda.to_device(table), 0)):
        with pytest.raises(IndexError):
            check(wrong, extent)


def test_every_index_of_a_long_table_is_looked_at() -> None:
    for at in (0, 127, 128, 40_000, 65_535):
        table = np.zeros(65_536, np.int64)
        table[at] = 1
        with pytest.raises(IndexError):
            check_indices(cuda.to_device(table), 1)
        with noting() as notes:
            found = checked(cuda.to_device(table), 1)
            assert not found.copy_to_host().any()
        assert noted(notes) == 1


def test_without_notes_a_table_stays_the_one_it_is() -> None:
    table = cuda.to_device(np.arange(5))
    assert checked(table, 5) is table
    with cuda_memory.call_on(0, None, stay=True):
        assert checked(table, 5) is table
        with pytest.raises(IndexError):
            checked(table, 4)
    assert checked(3, 5) == 3


# --- noted --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_out_of_range_is_noted_and_replaced_and_nobody_waits(
    dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_of(dtype)
    with noting() as notes:
        assert not notes.used
        with monkeypatch.context() as patch:
            patch.setattr(cuda_driver, "wait", lambda stream: pytest.fail("it waits"))
            given = cuda.to_device(table)
            found = checked(given, 7)
        assert notes.used
        assert noted(notes) == 0
        assert (found.dtype, tuple(found.shape)) == (table.dtype, table.shape)
        assert address(found) != address(given)
        np.testing.assert_array_equal(found.copy_to_host(), table)
        for number, wrong in enumerate((7, 200 if dtype is np.uint8 else -8)):
            table[number, 3] = wrong
            given = cuda.to_device(table)
            with monkeypatch.context() as patch:
                patch.setattr(cuda_driver, "wait", lambda stream: pytest.fail("it waits"))
                found = checked(given, 7)
            np.testing.assert_array_equal(given.copy_to_host(), table)
            wanted = np.where((table < 7) & (table.astype(int) >= -7), table, 0)
            np.testing.assert_array_equal(found.copy_to_host(), wanted)
        assert noted(notes) == 1
        checked(cuda.to_device(np.zeros(2, dtype)), 7)
        assert noted(notes) == 1  # it stays


def test_what_the_processor_knows_it_does_not_note() -> None:
    with noting() as notes:
        for wrong, extent in ((7, 7), (cuda.to_device(np.zeros(3, int)), 0)):
            with pytest.raises(IndexError):
                checked(wrong, extent)
        none = cuda.to_device(np.zeros((0, 2), int))
        assert checked(none, 0) is none
        assert checked(6, 7) == 6
        assert not notes.used
        with pytest.raises(IndexError):
            check_indices(cuda.to_device(np.array([7])), 7)  # which raises in any case
    assert noted(notes) == 0


def test_notes_are_those_of_one_call_and_not_of_the_calls_in_it() -> None:
    wrong = cuda.to_device(np.array([7]))
    with noting() as notes:
        assert cuda_memory.this_call().notes is notes
        with cuda_memory.call_on(0, None, stay=True), pytest.raises(IndexError):
            checked(wrong, 7)
    with cuda_memory.call_on(0, None, stay=True), pytest.raises(IndexError):
        checked(wrong, 7)


def test_a_call_of_a_module_has_the_notes_that_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    loaded = runtime_modules.into()
    usual = loaded.function.__globals__["launch"]
    monkeypatch.setitem(
        loaded.function.__globals__,
        "launch",
        lambda *given: seen.append(cuda_memory.this_call().notes) or usual(*given),
    )
    arrays = [cuda.to_device(np.ones(4)) for _ in range(2)]
    with cuda_memory.call_on(0, None, stay=True) as outer:
        outer.hands_on = notes = Notes(cuda.to_device(np.zeros(1, np.int32)))
        run(loaded, arrays)
    run(loaded, arrays)
    assert seen == [notes, None]


def test_an_error_says_why() -> None:
    assert str(cuda_indices.outside()) == "an index is out of range"
    assert str(cuda_indices.outside("at step 3")) == "an index is out of range: at step 3"
