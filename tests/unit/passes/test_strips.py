"""Loops whose inner loops are short take several iterations together, and compute the same."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp

import gradc
from gradc.ir.loop import nodes
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import AddTo, Allocate, Expr, For, Kernel, Load, Statement, Store, Tasks
from gradc.ir.loop.verify import verify
from gradc.ir.loop.walk import every, expressions, subexpressions
from gradc.ir.types import DType
from gradc.passes.loops.share import share_out
from gradc.passes.loops.short_loops import fill_no_vectors
from gradc.passes.loops.strips import in_strips

ROWS = (2, 7, 64, 131)  # fewer than lanes, one strip, two and a rest


def mixture(x, means, factors, alpha):
    """A mixture of normal distributions: loops over components and coordinates for each point."""
    centred = x[:, None, :3] - means
    scaled = np.einsum("kij,nkj->nki", factors[:, :3, :3], centred)
    return logsumexp(alpha - 0.5 * np.square(scaled).sum(axis=2), axis=1).sum()


def distances(x, means, factors, alpha):
    """A row of results for every point, and a choice."""
    difference = x[:, None, :3] - means
    far = np.sqrt(1 + np.square(difference).sum(axis=2))
    weights = factors[:, 0, 0] * x[:, :1]
    return np.sum(np.where(far > alpha, far, alpha * np.tanh(far)) * weights)


def farthest(x, means, factors, alpha):
    """Elements of an iteration's own, made by one inner loop and read by another one, and a largest number."""
    turned = np.einsum("kij,nkj->nki", factors[:, :3, :3], np.tanh(x[:, None, :3] - means))
    return np.sum(np.max(np.square(turned).sum(axis=2) * alpha, axis=1))


FUNCTIONS: dict[str, Callable[..., Any]] = {f.__name__: f for f in (mixture, distances, farthest)}


def arguments(rows: int, dtype: type = np.float64) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(rows)
    shapes = ((rows, 3), (5, 3), (5, 3, 3), (5,))
    return tuple(rng.standard_normal(shape).astype(dtype) for shape in shapes)


def stages(name: str, dtype: type = np.float64) -> Any:
    return gradc.differentiate(FUNCTIONS[name]).at(*arguments(2, dtype)).inspect().stages


def strips(kernel: Kernel) -> list[For]:
    loops = [s for s in every(kernel.body) if isinstance(s, For) and s.index.startswith("strip")]
    return [
        loop
        for loop in loops
        if any(s.index.startswith("lane") for s in every(loop.body) if isinstance(s, For))
    ]


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_kernels_in_strips_compute_what_the_program_does(name, rows):
    given = arguments(rows)
    found = stages(name)
    verify(found.kernel)
    assert strips(found.kernel)
    inputs = dict(zip((p.name for p in found.kernel.parameters), given, strict=True))
    results = evaluate(found.kernel, inputs)
    slow = gradc.differentiate(FUNCTIONS[name], target="interpret")
    value, gradients = slow.value_and_grad(*given)
    for result, expected in zip(results, (value, *gradients), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_kernels_in_strips(name, rows, dtype):
    given = arguments(rows, dtype)
    loss = gradc.differentiate(FUNCTIONS[name])
    assert strips(loss.at(*given).inspect().stages.kernel)
    value, gradients = loss.value_and_grad(*given)
    wide = [array.astype(np.float64) for array in given]
    expected, expected_gradients = gradc.differentiate(FUNCTIONS[name], target="interpret").value_and_grad(
        *wide
    )
    near = 1e-10 if dtype is np.float64 else 2e-4
    np.testing.assert_allclose(value, FUNCTIONS[name](*wide), rtol=near, atol=near)
    np.testing.assert_allclose(value, expected, rtol=near, atol=near)
    for found, right in zip(gradients, expected_gradients, strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, right, rtol=near, atol=near)


def test_the_number_of_threads_changes_no_bit():
    given = arguments(5_000)
    loss = gradc.differentiate(mixture)
    with gradc.num_threads(1):
        value, gradients = loss.value_and_grad(*given)
    with gradc.num_threads(3):
        again, others = loss.value_and_grad(*given)
    assert value == again
    assert all((a == b).all() for a, b in zip(gradients, others, strict=True))


def test_sums_over_iterations_are_taken_in_registers():
    (strip,) = strips(stages("mixture").kernel)[-1:]
    lanes = [s for s in every(strip.body) if isinstance(s, For) and s.index.startswith("lane")]
    written = {s.tensor for loop in lanes for s in loop.body if isinstance(s, Store | AddTo)}
    assert written
    assert not any(name.startswith(("factors_bar", "means_bar", "alpha_bar")) for name in written)


def test_rows_of_arguments_are_read_once_for_all_components():
    (strip,) = strips(stages("mixture").kernel)[-1:]
    components = [
        loop for loop in strip.body if isinstance(loop, For) and not isinstance(loop.extent, nodes.Number)
    ]
    inner = [s for loop in components if not loop.index.startswith("lane") for s in every(loop.body)]
    assert inner
    values = [found for s in inner for value in expressions(s) for found in subexpressions(value)]
    assert not any(isinstance(found, Load) and found.tensor == "x" for found in values)


def test_arrays_of_an_iteration_have_an_axis_of_lanes():
    kernel = stages("mixture").kernel
    (task,) = [
        s
        for s in kernel.body
        if isinstance(s, Tasks) and any(loop in every(s.body) for loop in strips(kernel))
    ]
    own = {s.tensor for s in kernel.body if isinstance(s, Allocate) and "lanes" in str(s.shape[-1])}
    assert own & {s.tensor for s in every(task.body) if isinstance(s, Store | AddTo)}


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.sum(np.tanh(x)),
        lambda x: np.sum(np.exp(x - x.max(axis=1)[:, None])),  # rows of unknown length fill vectors
        lambda x: np.sum(x @ x.T),
    ],
)
def test_other_loops_stay_as_they_are(function):
    kernel = gradc.differentiate(function).at(np.ones((4, 5))).inspect().stages.kernel
    assert not strips(kernel)
    assert in_strips(kernel) == kernel


def test_what_fills_vectors():
    row, many, few = nodes.var("i"), nodes.var("n"), nodes.number(3)
    work = Store("y", (row,), nodes.apply("exp", nodes.load("x", (row,), DType.F64)))
    assert not fill_no_vectors((work,))  # one straight run: LLVM takes the loop around it
    assert not fill_no_vectors((For("i", many, (work,)),))
    assert not fill_no_vectors((work, For("i", many, (work,))))
    assert fill_no_vectors((For("i", few, (work,)),))
    assert fill_no_vectors((For("j", many, (work, For("i", few, (work,)))),))
    assert not fill_no_vectors((For("j", few, (work, For("i", many, (work,)))),))


def hand_made(inner: tuple[Statement, ...]) -> Kernel:
    """``y[i]`` is what `inner`, for each m, adds to ``total``: `x` has rows i of two, `w` is ``[m, 2, 3]``."""
    i, n, p = nodes.var("i"), nodes.var("n"), nodes.var("p")
    rows, many = (nodes.load(f"{name}.shape", (nodes.number(0),), DType.INT64) for name in "xw")
    body = (
        nodes.Let("total", nodes.number(0.0, DType.F64)),
        nodes.Let("same", nodes.number(0.0, DType.F64)),
        For("m", p, inner),
        Store("y", (i,), nodes.var("total", DType.F64)),
    )
    parameters = (nodes.Parameter("x", DType.F64, 2), nodes.Parameter("w", DType.F64, 3))
    start = (nodes.Extent("n", rows), nodes.Extent("p", many), Allocate("y", DType.F64, (n,)))
    return Kernel("k", parameters, (*start, For("i", n, body)), ("y",))


def weighted(at: Expr, sum_: str) -> Statement:
    """``total += x[i, at] * sum_``."""
    row = nodes.load("x", (nodes.var("i"), at), DType.F64)
    return nodes.Update("total", "sum", nodes.apply("mul", row, nodes.var(sum_, DType.F64)))


J, M = nodes.var("j"), nodes.var("m")
EACH = nodes.Update("each", "sum", nodes.load("w", (M, J, nodes.var("k")), DType.F64))
RUNNING = nodes.Update("same", "sum", nodes.load("w", (M, nodes.number(0), nodes.number(0)), DType.F64))
FIXED: dict[str, tuple[tuple[Statement, ...], Callable[..., Any]]] = {
    "a sum of its own in each iteration": (
        (
            For(
                "j",
                nodes.number(2),
                (
                    nodes.Let("each", nodes.number(0.0, DType.F64)),
                    For("k", nodes.number(3), (EACH,)),
                    weighted(J, "each"),
                ),
            ),
        ),
        lambda x, w: x @ w.sum(axis=(0, 2)),
    ),
    "a running sum, read before it grows": (
        (For("j", nodes.number(2), (weighted(J, "same"),)), RUNNING),
        lambda x, w: x.sum(axis=1) * (np.cumsum(w[:, 0, 0]) - w[:, 0, 0]).sum(),
    ),
}


def test_rows_are_not_read_beyond_their_ends():
    """An arm that is not taken may stand outside the array: padding does."""
    inside = nodes.apply("lt", J, nodes.number(2))
    element = nodes.load("x", (nodes.var("i"), J), DType.F64)
    padded = nodes.apply("select", inside, element, nodes.number(1.0, DType.F64))
    weight = nodes.load("w", (M, nodes.number(0), nodes.number(0)), DType.F64)
    term = nodes.Update("total", "sum", nodes.apply("mul", padded, weight))
    kernel = in_strips(share_out(hand_made((For("j", nodes.number(4), (term,)),))))
    assert strips(verify(kernel))
    x, w = np.arange(34.0).reshape(17, 2), np.arange(30.0).reshape(5, 2, 3)
    (found,) = evaluate(kernel, {"x": x, "w": w})
    np.testing.assert_allclose(found, (x.sum(axis=1) + 2) * w[:, 0, 0].sum(), rtol=1e-14)


@pytest.mark.parametrize("name", FIXED)
def test_sums_that_do_not_vary_are_taken_once(name: str):
    inner, expected = FIXED[name]
    kernel = in_strips(share_out(hand_made(inner)))
    assert strips(verify(kernel))
    x, w = np.arange(34.0).reshape(17, 2), np.arange(30.0).reshape(5, 2, 3)
    (found,) = evaluate(kernel, {"x": x, "w": w})
    np.testing.assert_allclose(found, expected(x, w), rtol=1e-14)
