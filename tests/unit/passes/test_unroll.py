"""Loops over short loops: what becomes a straight run of numbers, and what it computes in lanes of vectors."""

from typing import Any

import numba
import numpy as np
import pytest

import gradc
from gradc.codegen.lanes import lanes
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Expr,
    Extent,
    For,
    Kernel,
    Let,
    Parameter,
    Statement,
    Store,
    Update,
    apply,
    load,
    number,
    var,
)
from gradc.ir.loop.verify import verify
from gradc.ir.loop.walk import every
from gradc.ir.types import DType
from gradc.passes.loops.unroll import MOST, unroll
from gradc_runtime.lanes import over_lanes, run_lanes

F64, BOOL = DType.F64, DType.BOOL
N, HERE, J = var("n"), var("i"), var("j")
P = load("p", (HERE, J), F64)
THREE = number(3)


def kernel(*body: Statement, results: tuple[str, ...]) -> Kernel:
    size = Extent("n", load("p.shape", (number(0),), DType.INT64))
    parameters = (Parameter("p", F64, 2), Parameter("at", DType.INT64, 1))
    return Kernel("k", parameters, (size, *body), results)


def fresh(name: str, *shape: Expr, zeroed: bool = False, dtype: DType = F64) -> Allocate:
    return Allocate(name, dtype, shape or (N, THREE), zeroed)


def rows(*body: Statement) -> For:
    """A loop over all rows around one over three columns."""
    return For("i", N, (For("j", THREE, body),))


def started(name: str) -> Let:
    return Let(name, number(0.0, F64))


DOUBLE = apply("add", P, P)
UNROLLED: dict[str, Kernel] = {
    "elements": kernel(fresh("y"), rows(Store("y", (HERE, J), DOUBLE)), results=("y",)),
    "a sum": kernel(started("s"), rows(Update("s", "sum", P)), results=("s",)),
    "sums of rows": kernel(
        fresh("y", N),
        For(
            "i",
            N,
            (started("r"), For("j", THREE, (Update("r", "sum", P),)), Store("y", (HERE,), var("r", F64))),
        ),
        results=("y",),
    ),
    "sums of columns": kernel(
        fresh("y", THREE, zeroed=True), rows(AddTo("y", (J,), "sum", P)), results=("y",)
    ),
    "rows for themselves": kernel(
        started("s"),
        fresh("row", THREE),
        For(
            "i",
            N,
            (
                For("j", THREE, (Store("row", (J,), DOUBLE),)),
                For("j", THREE, (Update("s", "sum", load("row", (J,), F64)),)),
            ),
        ),
        results=("s",),
    ),
    "two loops and what they hand over": kernel(
        fresh("y"),
        rows(Store("y", (HERE, J), DOUBLE)),
        fresh("z", zeroed=True),
        rows(AddTo("z", (HERE, J), "sum", apply("mul", load("y", (HERE, J), F64), P))),
        results=("z",),
    ),
    "truths": kernel(
        fresh("t", dtype=BOOL),
        rows(Store("t", (HERE, J), apply("gt", P, number(0.0, F64)))),
        fresh("y"),
        rows(Store("y", (HERE, J), apply("select", load("t", (HERE, J), BOOL), P, number(0.0, F64)))),
        results=("y",),
    ),
    "elements written twice": kernel(
        fresh("y", zeroed=True),
        rows(
            AddTo("y", (HERE, number(1)), "sum", P),
            Store("y", (HERE, J), apply("add", load("y", (HERE, J), F64), P)),
            AddTo("y", (HERE, J), "sum", P),
        ),
        results=("y",),
    ),
    "elements of before": kernel(
        fresh("y", zeroed=True),
        For("i", number(2), (For("j", THREE, (AddTo("y", (HERE, J), "sum", number(5.0, F64)),)),)),
        rows(AddTo("y", (HERE, J), "sum", P)),
        results=("y",),
    ),
    "what stays as it was": kernel(
        fresh("y", N, number(5), zeroed=True), rows(AddTo("y", (HERE, J), "sum", P)), results=("y",)
    ),
}
KEPT: dict[str, Kernel] = {
    "a long inner loop": kernel(
        fresh("y", N, number(MOST + 1)),
        For("i", N, (For("j", number(MOST + 1), (Store("y", (HERE, J), number(1.0, F64)),)),)),
        results=("y",),
    ),
    "a long nest": kernel(
        fresh("y", N, number(9), number(8)),
        For(
            "i",
            N,
            (
                For(
                    "j",
                    number(9),
                    (For("k", number(8), (Store("y", (HERE, J, var("k")), number(1.0, F64)),)),),
                ),
            ),
        ),
        results=("y",),
    ),
    "an inner loop of any length": kernel(
        fresh("y", N, N),
        For("i", N, (For("j", N, (Store("y", (HERE, J), number(1.0, F64)),)),)),
        results=("y",),
    ),
    "what is carried over": kernel(
        started("s"),
        fresh("row", THREE, zeroed=True),
        rows(
            Store("row", (J,), apply("add", P, load("row", (J,), F64))),
            Update("s", "sum", load("row", (J,), F64)),
        ),
        results=("s",),
    ),
    "a row for all, read afterwards": kernel(fresh("y", THREE), rows(Store("y", (J,), P)), results=("y",)),
    "neighbours": kernel(
        fresh("y", apply("add", N, number(1)), THREE, zeroed=True),
        rows(Store("y", (apply("add", HERE, number(1)), J), apply("add", P, load("y", (HERE, J), F64)))),
        results=("y",),
    ),
    "both axes": kernel(
        fresh("y", N, N, zeroed=True),
        For("i", N, (For("j", THREE, (Store("y", (HERE, number(0)), P), Store("y", (number(0), HERE), P))),)),
        results=("y",),
    ),
    "the largest": kernel(started("s"), rows(Update("s", "max", P)), results=("s",)),
    "a sum that is read": kernel(
        started("s"),
        fresh("y"),
        rows(Update("s", "sum", P), Store("y", (HERE, J), var("s", F64))),
        results=("y",),
    ),
    "integers": kernel(
        fresh("y"),
        rows(Store("y", (HERE, J), load("p", (load("at", (HERE,), DType.INT64), J), F64))),
        results=("y",),
    ),
    "truths that are returned": kernel(
        fresh("t", dtype=BOOL), rows(Store("t", (HERE, J), apply("gt", P, number(0.0, F64)))), results=("t",)
    ),
    "nothing inside": kernel(
        fresh("y", N), For("i", N, (Store("y", (HERE,), load("p", (HERE, number(0)), F64)),)), results=("y",)
    ),
}


def long_loops(written: Kernel) -> list[For]:
    return [s for s in written.body if isinstance(s, For) and s.extent is N]


@pytest.mark.parametrize("size", [2, 3, 7])
@pytest.mark.parametrize("name", UNROLLED)
def test_a_straight_run_computes_the_same(name: str, size: int):
    inputs = {"p": np.random.default_rng(size).standard_normal((size, 3)), "at": np.arange(size)}
    found = verify(unroll(verify(UNROLLED[name])))
    (loop,) = long_loops(found)
    assert not any(isinstance(inner, For) for inner in loop.body)
    for mine, wanted in zip(evaluate(found, inputs), evaluate(UNROLLED[name], inputs), strict=True):
        np.testing.assert_array_equal(mine, wanted)


@pytest.mark.parametrize("name", KEPT)
def test_loops_that_are_no_straight_run_stay(name: str):
    assert unroll(KEPT[name]) == KEPT[name]


def test_arrays_that_only_the_loops_need_are_gone():
    found = unroll(UNROLLED["two loops and what they hand over"])
    assert [s.tensor for s in found.body if isinstance(s, Allocate)] == ["z"]


# --- in lanes -----------------------------------------------------------------------------------------------


def turned(r: Any, x: Any) -> Any:
    """A point turned about an axis: many operations on vectors of three."""
    square = r @ r
    angle = np.sqrt(np.where(square == 0, 1.0, square))
    axis = r / angle
    found = x * np.cos(angle) + np.cross(axis, x) * np.sin(angle) + axis * (axis @ x) * (1 - np.cos(angle))
    return np.where(square == 0, x, found)


def misfit(theta: Any, r: Any, x: Any, y: Any) -> Any:
    """A sum over observations of what depends on parameters that they share."""
    residuals = gradc.vmap(lambda r, x, y: turned(r + theta, x) - y)(r, x, y)
    return np.maximum(np.abs(residuals), residuals**2 + np.arctan2(residuals, 2.0)).sum()


@pytest.mark.parametrize("count", [1, 2, 5, 8, 9, 16, 1000])
def test_lanes_compute_what_the_interpreter_does(count: int):
    rng = np.random.default_rng(count)
    r, x = rng.standard_normal((2, count, 3))
    blocks, slow = (
        gradc.vmap(gradc.differentiate(turned, target=target).jacobian, target=target)
        for target in ("cpu", "interpret")
    )
    for found, wanted in zip(blocks(r, x), slow(r, x), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("count", [2, 5, 8, 1003, 40_000])
def test_sums_over_lanes_leave_out_what_is_behind_the_end(count: int):
    rng = np.random.default_rng(count)
    theta, (r, x, y) = rng.standard_normal(3), rng.standard_normal((3, count, 3))
    fast = gradc.differentiate(misfit, wrt=("theta", "x"))
    value, (of_theta, of_x) = fast.value_and_grad(theta, r, x, y)
    expected, (slow_theta, slow_x) = fast.with_options(target="interpret").value_and_grad(theta, r, x, y)
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(of_theta, slow_theta, rtol=1e-10, atol=1e-10 * count)
    np.testing.assert_allclose(of_x, slow_x, rtol=1e-10, atol=1e-12)
    source = fast.at(theta, r, x, y).inspect().source
    assert "run_lanes(" in source
    with gradc.num_threads(1):
        again = fast.value_and_grad(theta, r, x, y)
    assert again[0] == value
    np.testing.assert_array_equal(again[1][0], of_theta)


WIDE = 20  # numbers in a row: more than any vector has
USED = (0, 2, 3, 7, 9, 10, 11, 19)


def of_row(row: Any) -> Any:
    """Some numbers of a long row, with gaps between them, each several times."""
    total = 1.0
    for at, other in zip(USED, (*USED[1:], 0), strict=True):
        total = total + np.sin(row[at]) * row[other] + row[at] ** 2
    return total


@pytest.mark.parametrize("count", [2, 3, 8, 13, 64])
def test_rows_are_read_and_written_in_pieces(count: int):
    x = np.random.default_rng(count).standard_normal((count, WIDE))
    mapped = gradc.vmap(gradc.differentiate(of_row).value_and_grad)
    values, gradients = mapped(x)
    source = mapped.at(x).inspect(of="value").source
    assert "run_lanes(" in source
    assert "clear_rows(" in source  # of what no step writes
    np.testing.assert_allclose(values, [of_row(row) for row in x], rtol=1e-13)
    expected = np.zeros_like(x)
    for at, other, before in zip(USED, (*USED[1:], 0), (19, *USED[:-1]), strict=True):
        expected[:, at] += np.cos(x[:, at]) * x[:, other] + np.sin(x[:, before]) + 2 * x[:, at]
    np.testing.assert_allclose(gradients, expected, rtol=1e-12, atol=1e-13)


def test_lanes_are_for_rows():
    """A loop over vectors is left to LLVM, which reads whole vectors of neighbours."""
    body = [Let(f"v{at}", load("x", (HERE,), F64)) for at in range(50)]
    flat = For("i", N, (*body, Store("y", (HERE,), var("v49", F64))))
    assert lanes(flat, {"x": 1, "y": 1}) is None
    body = [Let(f"v{at}", load("x", (HERE, number(at)), F64)) for at in range(50)]
    of_rows = For("i", N, (*body, Store("y", (HERE,), var("v49", F64))))
    assert lanes(of_rows, {"x": 2, "y": 1}) is not None
    assert lanes(of_rows, {"y": 1}) is None  # elements of another kind
    assert lanes(For("i", N, of_rows.body[-1:]), {"x": 2, "y": 1}) is None  # too short
    read = For("i", N, (*body, Update("s", "sum", var("v1", F64)), Store("y", (HERE,), var("s", F64))))
    assert lanes(read, {"x": 2, "y": 1}) is None  # a sum of iterations that one of them reads


def test_tasks_with_different_runs_are_not_one():
    both = gradc.vmap(lambda r, x: (turned(r, x), turned(r, x * x + 1)))
    rng = np.random.default_rng(0)
    r, x = rng.standard_normal((2, 9, 3))
    first, second = both(r, x)
    for at in range(9):
        np.testing.assert_allclose(first[at], turned(r[at], x[at]), rtol=1e-12)
        np.testing.assert_allclose(second[at], turned(r[at], x[at] ** 2 + 1), rtol=1e-12)


def test_every_statement_of_a_kernel_is_walked():
    loop = rows(Store("y", (HERE, J), P))
    assert [type(s) for s in every((loop,))] == [For, For, Store]


def test_what_is_stored_is_what_is_loaded_afterwards():
    steps: list[Any] = [("load", 0, (None, at)) for at in range(4)]
    steps += [("store", 1, (None, at), at) for at in range(4)]
    steps += [("load", 1, (None, at)) for at in range(4)]
    steps += [("sum", 0, 8 + at) for at in range(4)]
    block = over_lanes(steps)(lambda i, totals, x, y: None)
    run: Any = numba.njit(lambda x, y, totals: run_lanes(block, 1, len(x) - 1, totals, (x, y)))
    x = np.random.default_rng(0).standard_normal((12, 4))
    y, totals = np.zeros_like(x), np.zeros(1)
    run(x, y, totals)
    np.testing.assert_array_equal(y[1:], x[1:])
    assert not y[0].any()
    assert totals[0] == pytest.approx(x[1:].sum())
