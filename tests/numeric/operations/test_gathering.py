"""Taking, sorting, deleting and inserting against plain NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.numeric.operations.shaped import check, declare
from tests.numeric.operations.support import Case, call, check_value, refusing, uncovered
from tests.numeric.operations.support import check_gradient as check_case_gradient

from gradc.errors import TraceError
from gradc.lang.operations import indexing

RNG = np.random.default_rng(42)


def x(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    return np.asarray(RNG.uniform(-3.0, 3.0, shape) * (1 if dtype == np.float64 else 2), dtype)


def ints(high: int, *shape: int, dtype: Any = np.int64) -> np.ndarray:
    return RNG.integers(-high, high, shape).astype(dtype)


TABLE = x(3, 4)
CASES: list[Case] = [
    call(np.take, x(3, 4), ints(3, 2, 2)),
    call(np.take, x(3, 4), ints(3, 2), axis=1),
    call(np.take, x(3, 4), [0, 2], axis=0),
    call(np.take, x(4), 2),
    call(np.take, x(4), np.array([5, -7, 2]), mode="wrap"),
    call(np.take, x(4), np.array([5, -7, 2]), mode="clip"),
    call(np.take_along_axis, x(3, 4), ints(3, 3, 2), axis=1),
    call(np.take_along_axis, x(3, 4), ints(3, 1, 4), axis=0),
    call(np.take_along_axis, x(3, 4), ints(3, 2, 1), axis=0),
    call(np.take_along_axis, x(3, 4), ints(3, 5), axis=None),
    call(np.ix_, ints(3, 2), ints(3, 4)),
    call(np.ix_, [0, 2], ints(3, 2), ints(3, 1)),
    call(np.diag_indices, 3),
    call(np.diag_indices, 2, 3),
    call(np.diag_indices_from, x(3, 3)),
    call(np.sort, x(5)),
    call(np.sort, x(3, 4), axis=0),
    call(np.sort, x(3, 4), axis=None),
    call(np.sort, x(0)),
    call(np.argsort, x(3, 4)),
    call(np.argsort, x(3, 4), axis=None, kind="stable"),
    call(np.delete, x(5), 1),
    call(np.delete, x(5), -1),
    call(np.delete, x(3, 4), slice(1, 3), axis=1),
    call(np.delete, x(7), slice(None, None, 2)),
    call(np.delete, x(7), slice(-2, 1, -2)),
    call(np.delete, x(3, 4), [0, -1], axis=1),
    call(np.delete, x(3, 4), 5),
    call(np.insert, x(4), 1, 9.0),
    call(np.insert, x(4), -1, [8.0, 9.0]),
    call(np.insert, x(4), 4, 9.0),
    call(np.insert, x(3, 4), 1, x(4), axis=0),
    call(np.insert, x(3, 4), 1, x(3), axis=1),
    call(np.insert, x(3, 4), 2, 0.5, axis=1),
    call(np.insert, x(2, 2), 1, 7.0),
]


INTEGERS = (np.argsort, np.ix_, np.diag_indices, np.diag_indices_from)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("static", [False, True], ids=["symbolic", "static"])
def test_functions_mean_what_numpy_means(case: Case, static: bool) -> None:
    check_value(case, static=static)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.function not in INTEGERS and case.arguments[0].size], ids=str
)
def test_gradients_agree_with_differences(case: Case) -> None:
    check_case_gradient(case)


def test_methods() -> None:
    take, argsort = indexing.METHODS["take"], indexing.METHODS["argsort"]
    check(lambda e, a, i: take(e, a, i, 1), lambda a, i: a.take(i, 1), x(3, 4), ints(3, 2))
    check(lambda e, a: argsort(e, a, 0), lambda a: a.argsort(0), x(3, 4))


def test_every_handler_is_exercised() -> None:
    assert uncovered((indexing.FUNCTIONS, indexing.CREATION), CASES) == []


@pytest.mark.parametrize("handler", refusing((indexing.FUNCTIONS, {**indexing.METHODS})))
def test_refused_functions_say_what_to_write(handler: Callable[..., Any]) -> None:
    with pytest.raises(TraceError, match="do: "):
        handler(declare([])[0])
