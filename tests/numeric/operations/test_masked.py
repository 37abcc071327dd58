"""Selections by traced masks: reduced at once, written through, refused otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.numeric.operations.shaped import check, check_gradient, declare
from tests.numeric.operations.support import handler_for

from gradc.errors import ShapeError, TraceError
from gradc.lang.emit import Emitter, Value
from gradc.lang.operations import indexing, masked
from gradc.lang.operations.indexing import get_item, set_item
from gradc.lang.operations.masked import MaskedValue

RNG = np.random.default_rng(41)
S = np.s_


def x(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    return np.asarray(RNG.uniform(-3.0, 3.0, shape) * (1 if dtype == np.float64 else 2), dtype)


def written(array: np.ndarray, index: Any, new: Any) -> np.ndarray:
    result = array.copy()
    result[index] = new
    return result


REDUCTIONS = ("sum", "prod", "mean", "max", "min", "any", "all")
MASKS: list[tuple[tuple[int, ...], np.ndarray]] = [
    ((4,), np.array([True, False, True, True])),
    ((2, 3), np.array([[True, False, True], [False, True, False]])),
    ((3, 2), np.array([True, False, True])),
]


def reduced(name: Any, *arguments: Any, **options: Any) -> Callable[..., Any]:
    def handler(emit: Emitter, a: Value, m: Value) -> Any:
        return masked.call(emit, name, None, (get_item(emit, a, m), *arguments), options)

    return handler


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize(("shape", "mask"), MASKS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32, np.bool_])
def test_masked_reductions(name: str, shape: tuple[int, ...], mask: np.ndarray, dtype: Any) -> None:
    array = x(*shape, dtype=dtype)
    check(reduced(name), lambda a, m: getattr(np, name)(a[m]), array, mask, exact=False)
    check(reduced(getattr(np, name), 0), lambda a, m: getattr(a[m], name)(axis=0), array, mask, exact=False)


def test_functions_between_mask_and_reduction() -> None:
    def logarithms(emit: Emitter, a: Value) -> Any:
        positive = get_item(emit, a, emit.elementwise("gt", a, 0.0))
        logs = masked.call(emit, np.log, handler_for(np.log), (positive,))
        scaled = masked.call(emit, np.multiply, handler_for(np.multiply), (logs, positive))
        return masked.call(emit, "sum", None, (scaled,))

    array = np.array([-1.0, 0.5, 0.0, 2.0])
    check(logarithms, lambda a: (np.log(a[a > 0]) * a[a > 0]).sum(), array, exact=False)
    check_gradient(logarithms, np.array([-1.0, 0.5, 2.0]))


def test_elements_left_out_cannot_spoil_a_gradient() -> None:
    def exponentials(emit: Emitter, a: Value) -> Any:
        small = get_item(emit, a, emit.elementwise("lt", a, 5.0))
        return masked.call(emit, "sum", None, (masked.call(emit, np.exp, handler_for(np.exp), (small,)),))

    check_gradient(exponentials, np.array([1.0, 2000.0, np.inf]))


def test_writing_through_masks() -> None:
    for shape, mask in MASKS:
        check(lambda e, a, m: set_item(e, a, m, 1.5), lambda a, m: written(a, m, 1.5), x(*shape), mask)

    def doubled(emit: Emitter, a: Value, m: Value) -> Value:
        twice = masked.call(emit, np.multiply, handler_for(np.multiply), (get_item(emit, a, m), 2.0))
        return set_item(emit, a, m, twice)

    shape, mask = MASKS[1]
    check(doubled, lambda a, m: written(a, m, a[m] * 2), x(*shape), mask)
    check_gradient(doubled, x(*shape), mask)
    rows = np.array([True, False, True])
    check(lambda e, a, m, b: set_item(e, a, m, b), lambda a, m, b: written(a, m, b), x(3, 2), rows, x(2))


def test_masked_values_that_are_not_reduced_are_refused() -> None:
    emit, (a, m, other, n) = declare([x(4), np.ones(4, bool), x(4), np.zeros(4, bool)])
    selected = get_item(emit, a, m)
    assert isinstance(selected, MaskedValue)
    for attempt in (
        lambda: masked.call(emit, np.add, handler_for(np.add), (selected, other)),
        lambda: masked.call(emit, np.add, handler_for(np.add), (selected, get_item(emit, a, n))),
        lambda: masked.call(emit, np.sort, handler_for(np.sort), (selected,)),
        lambda: masked.call(emit, "sum", None, (selected,), {"keepdims": True}),
        lambda: indexing.ix_(emit, m),
        lambda: set_item(emit, a, m, other),
        lambda: set_item(emit, a, n, selected),
        lambda: set_item(emit, a, S[:2], selected),
        lambda: get_item(emit, emit.reshape(a, (1, *emit.shape(a))), (0, m)),
    ):
        with pytest.raises(TraceError, match=r"np\.where"):
            attempt()
    with pytest.raises(ShapeError):
        get_item(emit, a, declare([np.ones((2, 2), bool)])[1][0])


def test_every_reduction_is_exercised() -> None:
    assert set(masked.REDUCTIONS) == set(REDUCTIONS)
