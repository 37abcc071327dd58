"""Functions that update arrays where these lie on a GPU: none may share memory with another argument.

Tables of indices among them are checked where they are: a copy in range takes the place of those that nobody changes.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.api.updating import inspect_update
from gradc.errors import ArgumentError
from gradc_runtime import cuda_driver, cuda_memory


def bound(w: Any, x: Any) -> Any:
    step = gradc.differentiate(lambda w, x: ((w * x).sum(), w + x), target="cuda")
    return step.bind_update(w, x, updates=("w",))


@pytest.mark.simulator
@pytest.mark.cuda
def test_arrays_that_share_memory_cannot_be_updated():
    both = gradc.to_device(np.arange(8.0))
    one, other = (gradc.to_device(np.arange(4.0)) for _ in range(2))
    for w, x in ((one, one), (both[:4], both[:4]), (both[:4], both[3:7]), (both[3:7], both[:4])):
        with pytest.raises(ArgumentError, match="share memory"):
            bound(w, x)
    for w, x in ((one, other), (both[:4], both[4:]), (both[4:], both[:4])):
        bound(w, x)()
    assert other.copy_to_host().tolist() == [0, 1, 2, 3]
    assert one.copy_to_host().tolist() == [0, 2, 4, 6]


@pytest.mark.simulator
@pytest.mark.cuda
def test_arrays_that_are_only_read_may_share_memory():
    both, w = gradc.to_device(np.arange(8.0)), gradc.to_device(np.ones(4))
    step = gradc.differentiate(lambda w, x, y: ((w * x * y).sum(), w + x + y), target="cuda")
    step.bind_update(w, both[:4], both[:4], updates=("w",))()
    assert w.copy_to_host().tolist() == [1, 3, 5, 7]


@pytest.mark.ptx
def test_the_span_of_an_array_is_from_its_first_to_its_last_byte():
    whole = np.zeros((4, 6), np.float32)

    def span(array: np.ndarray) -> tuple[int, int]:
        begin = whole.ctypes.data
        first, end = cuda_driver.span(SimpleNamespace(__cuda_array_interface__=array.__array_interface__))
        return first - begin, end - begin

    cases = [
        (whole, (0, 96)),
        (whole[1:3], (24, 72)),
        (whole[:, 2:4], (8, 88)),
        (whole[::2, ::3], (0, 64)),
        (whole[::-1, ::-1], (0, 96)),
        (whole[1, 2:3], (32, 36)),
        (whole.T, (0, 96)),
        (np.broadcast_to(whole[2, :1], (5, 1)), (48, 52)),
    ]
    for array, wanted in cases:
        assert span(array) == wanted
    for unknown in (whole[:0], whole[:, :0], object()):
        interface = getattr(unknown, "__array_interface__", None)
        given = SimpleNamespace(__cuda_array_interface__=interface) if interface else unknown
        assert cuda_driver.span(given) == (0, 0)


# --- tables of indices --------------------------------------------------------------------------------------


def advance(at: Any, w: Any) -> Any:
    return w[at].sum(), at + 1


def sort(x: Any) -> Any:
    places = np.argsort(x)
    return x[places].sum(), places


def test_a_copy_takes_the_place_of_a_table_that_nobody_changes_or_gets():
    at, w = np.array([0, 2, 1]), np.arange(4.0)
    only_read = gradc.differentiate(lambda at, w: w[at].sum(), target="cuda", wrt="w")
    assert "at = checked(at, " in only_read.inspect(at, w).source
    updated = gradc.differentiate(advance, target="cuda", wrt="w")
    returned = gradc.differentiate(sort, target="cuda")
    for source in (inspect_update(updated, (at, w), {}, ("at",)).source, returned.inspect(w).source):
        assert "    check_indices(" in source
        assert "checked" not in source


@pytest.mark.simulator
@pytest.mark.cuda
def test_a_table_is_updated_also_where_what_is_out_of_range_is_noted():
    at, w = gradc.to_device((np.array([0, 2, 1]), np.arange(4.0)))
    step = gradc.differentiate(advance, target="cuda", wrt="w").bind_update(at, w, updates=("at",))
    with cuda_memory.call_on(0, None, stay=True) as call:
        call.hands_on = cuda_memory.Notes(gradc.to_device(np.zeros(1, np.int32)))
        assert [float(step()), float(step())] == [3.0, 6.0]
        with pytest.raises(IndexError):
            step()
    assert at.copy_to_host().tolist() == [2, 4, 3]
