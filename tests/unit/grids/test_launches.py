"""How loops become launches: what is joined, shared out, kept and checked, and that it computes what it should."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.numeric.table.sweep import close
from tests.numeric.table.test_launched import launched

from gradc import differentiate, f64, nn
from gradc.codegen.numba_cuda import module_text
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import Allocate, Barrier, CheckIndices, Combine, Kernel, Launch
from gradc.ir.loop.walk import every
from gradc.nn.layer import Context
from gradc.schedule.fuse import MAX_LEAVES, MAX_LEAVES_SINGLE

RNG = np.random.default_rng(9)
LIMIT = 10**9


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def checked(function: Callable[..., Any], *arguments: Any, **options: Any) -> Kernel:
    """The kernel of value and gradient, after it gave what the program says, in groups of every width."""
    expected = differentiate(function, target="interpret", **options).value_and_grad(*arguments)
    kernel, values = launched(differentiate(function, target="cuda", **options), list(arguments))
    inputs = {p.name: value for p, value in zip(kernel.parameters, values, strict=True)}
    gradients = expected[1] if isinstance(expected[1], tuple) else (expected[1],)
    wanted = [expected[0], *(one for one in gradients if one is not None)]
    several = any("_tiles" in name for name in launches(kernel))  # products take the interpreter seconds
    for width, order in ((2, 1),) if several else ((1, 0), (2, 1), (8, 2)):
        found = evaluate(kernel, inputs, limit=LIMIT, width=width, order=order)
        for one, two in zip(wanted, found, strict=True):
            close(np.asarray(two).reshape(np.shape(one)), one, 1e-11)
    return kernel


def launches(kernel: Kernel) -> list[str]:
    return [statement.name for statement in kernel.body if isinstance(statement, Launch)]


def allocated(kernel: Kernel) -> set[str]:
    return {statement.tensor for statement in kernel.body if isinstance(statement, Allocate)}


# --- products and what follows them -------------------------------------------------------------------------


def test_what_follows_a_product_is_computed_with_it():
    def function(x, w, b, v):
        return np.square(np.tanh(x @ w + b) @ v).sum()

    kernel = checked(function, normal(5, 3), normal(3, 4), normal(4), normal(4, 2), wrt="w")
    assert "tanh" in module_text(kernel).split("\n\n\n")[1]  # the first launch
    assert "v1" not in allocated(kernel)  # nobody else reads x @ w


def test_a_product_that_is_read_again_is_stored_as_well():
    def function(x, w):
        z = x @ w
        return (np.exp(z) * z.sum(axis=0)).sum()

    kernel = checked(function, normal(5, 3), normal(3, 4), wrt="w")
    assert "z" in allocated(kernel)


def test_a_product_is_read_elsewhere_in_the_loops():
    checked(lambda x, w: np.sin((x @ w)[::-1]).sum(), normal(5, 3), normal(3, 5), wrt="w")
    checked(lambda x, w: np.sin((x @ w).T * (x @ w)).sum(), normal(5, 3), normal(3, 5), wrt="w")


def test_totals_of_a_product():
    checked(lambda x, w: ((x @ w) ** 2).sum(), normal(5, 3), normal(3, 4))


def test_what_a_product_reads_may_change_before_its_loops():
    def step(x, w):
        z = x @ w
        return (np.tanh(z) + (2 * w).sum()).sum()

    checked(step, normal(5, 3), normal(3, 4))


# --- rows ---------------------------------------------------------------------------------------------------


def softmax(x: Any, y: Any) -> Any:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True) * y).sum()


def test_short_rows_stay_with_their_threads():
    kernel = checked(softmax, normal(4, 5), normal(4, 5))
    text = module_text(kernel)
    assert "local.array(8" in text
    assert any(isinstance(s, Combine) for s in every(kernel.body))


@pytest.mark.parametrize("columns", [1, 8, 9, 16, 70])
def test_rows_of_every_length(columns: int):
    """Eight elements to a thread: of longer rows, copies are in memory."""
    checked(softmax, normal(3, columns), normal(3, columns))


def test_rows_that_add_to_common_sums():
    checked(
        lambda x, b: np.log1p(np.square(x * b).sum(axis=1) + (x + b).sum()).sum(), normal(9, 4), normal(4)
    )


def test_a_row_reads_what_another_lane_wrote():
    def function(x):
        powers = np.exp(x)
        shares = powers / powers.sum(axis=1, keepdims=True)
        return (shares[:, ::-1] * np.sin(shares)).sum()

    kernel = checked(function, normal(3, 6))
    assert any(isinstance(s, Barrier) for s in every(kernel.body))


def test_loops_that_follow_one_another_in_a_row():
    def function(x, y):
        return np.square(np.einsum("nij,nj->ni", x, y) * y.sum(axis=1, keepdims=True)).sum()

    checked(function, normal(4, 3, 5), normal(4, 5))


def test_steps_that_depend_on_each_other():
    def function(x):
        for _ in range(3):
            x = np.concatenate((x[1:], np.array([x.sum()])))
        return (x * x).sum()

    checked(function, normal(6))


def test_a_loop_of_a_gpu_has_room_for_more_equations():
    """What goes from one launch to another goes through memory; in float64 registers are full before."""

    def chain(x):
        for _ in range(2 * MAX_LEAVES):
            x = np.sin(x)
        return x

    pieces = {
        (target, dtype): differentiate(chain, target=target)
        .at(normal(3).astype(dtype))
        .inspect("value")
        .stages
        for target, dtype in (("cpu", "float32"), ("cuda", "float64"), ("cuda", "float32"))
    }
    assert [len(stages.schedule.body) for stages in pieces.values()] == [2, 2, 1]
    assert MAX_LEAVES_SINGLE > 2 * MAX_LEAVES


# --- sums into common elements ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 9])
def test_chained_slices(size: int):
    checked(lambda x: (x[1:] * x[:-1] ** 2).sum() + (x**3).sum(), normal(size))


def test_stencils_of_two_axes():
    kernel = checked(lambda x: np.exp(x[1:, 1:] * x[:-1, 2:][:, :1] - x[1:, :-1]).sum(), normal(4, 5))
    assert launches(kernel)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_windows(stride: int):
    checked(maximum_of_windows, normal(1, 2, 2 * stride + 3), stride, static=("stride",))


def maximum_of_windows(x: Any, stride: Any) -> Any:
    windows = np.stack([x[..., i : x.shape[-1] - 2 + i : stride] for i in range(3)])
    return (windows.max(axis=0) ** 2).sum()


@pytest.mark.parametrize("layer", [nn.MaxPool(3, stride=2), nn.MaxPool(2), nn.AvgPool(3, stride=1)], ids=str)
def test_windows_along_two_axes(layer: nn.Layer):
    checked(lambda x: (layer.apply(Context({}, True, lambda like: like), x) ** 2).sum(), normal(2, 2, 5, 5))


def test_look_ups_add_to_the_rows_that_they_read():
    places = np.array([2, 0, 2, -1, 1])
    checked(lambda table, w: np.tanh(table[places] * w).sum(), normal(4, 3), normal(5, 3))


SUMS: dict[Callable[..., Any], tuple[str, tuple[np.ndarray, ...]]] = {
    lambda x, b: np.square(x * b).sum(): ("b", (normal(5, 3), normal(3))),
    lambda x, w, b: np.tanh(x @ w + b).sum(): ("b", (normal(5, 3), normal(3, 4), normal(4))),
    lambda x, w: np.exp(x[1:, 1:] * x[:-1, 1:] * w).sum(): ("x", (normal(4, 5), normal(4))),
    lambda table, w: np.tanh(table[np.array([2, 0, 2, -1, 1])] * w).sum(): (
        "table",
        (normal(4, 3), normal(5, 3)),
    ),
}


@pytest.mark.parametrize("function", SUMS)
def test_sums_go_to_arrays_of_the_callers(function: Callable[..., Any]):
    """They have no allocation in the kernel, which copies for groups of threads would be like."""
    wrt, arguments = SUMS[function]
    value, gradient = differentiate(function, target="interpret", wrt=wrt).value_and_grad(*arguments)
    kernel, values = launched(differentiate(function, target="cuda", wrt=wrt), list(arguments), into=True)
    for width, order in ((1, 0), (2, 1), (8, 2)):
        out = np.full_like(gradient, np.nan)
        inputs = dict(zip((p.name for p in kernel.parameters), (*values, out), strict=True))
        (found,) = evaluate(kernel, inputs, limit=LIMIT, width=width, order=order)
        close(np.asarray(found).reshape(()), value, 1e-11)
        close(out, gradient, 1e-11)


# --- look-ups that loops compute ----------------------------------------------------------------------------


def picked(x: Any, places: Any) -> Any:
    return (x[places * places - 1] * 2.0).sum()


def test_computed_look_ups_are_checked_behind_the_loop():
    kernel = checked(picked, normal(4), np.array([1, 2, 1]))
    inside = [s for s in every(kernel.body) if isinstance(s, CheckIndices)]
    assert inside
    inputs = {p.name: v for p, v in zip(kernel.parameters, (normal(4), np.array([1, 3, 1])), strict=True)}
    with pytest.raises(IndexError):
        evaluate(kernel, inputs, limit=LIMIT)


# --- numbers ------------------------------------------------------------------------------------------------


def test_numbers_between_loops_stay_on_the_device():
    def function(x, y):
        scale = np.sqrt((x * x).sum() + 1)
        shifted = y / scale
        return np.log(shifted @ shifted + scale) * scale

    kernel = checked(function, normal(5), normal(7))
    assert not any(type(s).__name__ in ("Let", "Update") for s in kernel.body)


def test_totals_that_two_loops_add_to():
    checked(
        lambda x, y: np.maximum(x.max(), y.max()) * (x.sum() + y.sum()) * np.prod(y), normal(4), normal(3)
    )


def test_nothing_is_launched_for_no_elements():
    kernel = checked(lambda x: (np.sin(x) * 2).sum() + 1.0, np.zeros(0))
    assert launches(kernel)


def test_rows_of_a_known_length_stay_with_their_threads():
    """A literal extent needs no second launch: a group is as wide as that takes."""
    layer = nn.LayerNorm()
    arrays = {"gamma": normal(70), "beta": normal(70)}

    def function(x, y):
        return (layer.apply(Context(arrays, True, lambda like: like), x) * y).sum()

    function.__annotations__ = dict.fromkeys("xy", f64["n", 70])
    kernel = checked(function, normal(3, 70), normal(3, 70))
    assert sum(name.startswith("rows") for name in launches(kernel)) == 1
