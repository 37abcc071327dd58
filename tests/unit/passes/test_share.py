"""Which loops become tasks, that they compute the same, and that the number of threads changes no bit."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest
from numba.core import registry

import gradc
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    CheckIndices,
    Clear,
    Expr,
    Extent,
    For,
    Kernel,
    Let,
    Parameter,
    Parts,
    Statement,
    Store,
    Tasks,
    Update,
    apply,
    load,
    number,
    var,
)
from gradc.ir.loop.show import show_expression
from gradc.ir.loop.verify import verify
from gradc.ir.loop.walk import every
from gradc.ir.types import DType
from gradc.passes.loops.share import share_out
from gradc.passes.loops.slide import FARTHEST
from gradc_runtime import arrays, memory, simd, tasks, threads
from gradc_runtime.tasks import start_of, task

F64 = DType.F64
N, HERE, J = var("n"), var("i"), var("j")
X, WHOLE = load("x", (HERE,), F64), load("at", (HERE,), DType.INT64)
SIZE = Extent("n", load("x.shape", (number(0),), DType.INT64))
S = var("s", F64)


def kernel(*body: Statement, results: tuple[str, ...]) -> Kernel:
    return Kernel("k", (Parameter("x", F64, 1), Parameter("at", DType.INT64, 1)), (SIZE, *body), results)


def fresh(name: str, *shape: Expr, zeroed: bool = False) -> Allocate:
    return Allocate(name, F64, shape or (N,), zeroed)


def started(name: str, value: float = 0.0) -> Let:
    return Let(name, number(value, F64))


def ahead(step: int) -> Expr:
    return apply("add", HERE, number(step))


SQUARE = apply("mul", X, X)
ADDING = For("i", N, (For("j", number(2), (AddTo("y", (HERE, J), "sum", X),)),))
SHARED: dict[str, Kernel] = {
    "elements": kernel(fresh("y"), For("i", N, (Store("y", (HERE,), SQUARE),)), results=("y",)),
    "a sum": kernel(started("s"), For("i", N, (Update("s", "sum", SQUARE),)), results=("s",)),
    "the largest": kernel(started("s", -np.inf), For("i", N, (Update("s", "max", X),)), results=("s",)),
    "shifted elements": kernel(
        fresh("y", apply("add", N, number(1)), zeroed=True),
        For("i", N, (AddTo("y", (apply("add", HERE, number(1)),), "sum", X),)),
        results=("y",),
    ),
    "scratch": kernel(
        started("s"),
        fresh("row", number(4)),
        For(
            "i",
            N,
            (
                For("j", number(4), (Store("row", (J,), apply("mul", X, X)),)),
                For("j", number(4), (Update("s", "sum", load("row", (J,), F64)),)),
            ),
        ),
        results=("s",),
    ),
    "a sum of rows": kernel(
        fresh("y", number(3), zeroed=True),
        For("i", N, (For("j", number(3), (AddTo("y", (J,), "sum", X),)),)),
        results=("y",),
    ),
    "sums that slide along": kernel(
        fresh("y", apply("add", N, number(2)), zeroed=True),
        For(
            "i",
            N,
            tuple(
                AddTo("y", (ahead(at),), "sum", v)
                for at, v in zip((1, 0, 2, 2), (X, SQUARE) * 2, strict=True)
            ),
        ),
        results=("y",),
    ),
    "whole numbers that slide along": kernel(
        Allocate("y", DType.INT64, (apply("add", N, number(1)),), True),
        For("i", N, tuple(AddTo("y", (ahead(step),), "sum", WHOLE) for step in (0, 1))),
        results=("y",),
    ),
    "sums that slide along far from the ends": kernel(
        fresh("y", apply("add", N, number(5)), zeroed=True),
        For("i", N, (AddTo("y", (ahead(4),), "sum", X), AddTo("y", (ahead(2),), "sum", SQUARE))),
        results=("y",),
    ),
    "rows that are added to": kernel(fresh("y", N, number(3), zeroed=True), ADDING, results=("y",)),
    "rows, where one has something already": kernel(
        fresh("y", N, number(3), zeroed=True),
        For("i", N, (Store("y", (HERE, number(1)), SQUARE),)),
        ADDING,
        results=("y",),
    ),
    "fewer rows than there are": kernel(
        fresh("y", apply("add", N, number(1)), number(3), zeroed=True), ADDING, results=("y",)
    ),
    "columns that are added to": kernel(
        fresh("y", number(2), N, zeroed=True),
        For("i", N, (AddTo("y", (number(0), HERE), "sum", X),)),
        results=("y",),
    ),
    "a scatter": kernel(
        fresh("y", number(3), zeroed=True),
        CheckIndices("at", number(3)),
        For("i", N, (AddTo("y", (load("at", (HERE,), DType.INT64),), "sum", X),)),
        results=("y",),
    ),
}
CARRIED = (Store("row", (number(0),), apply("add", X, load("row", (number(0),), F64))),)
KEPT: dict[str, Kernel] = {
    "what is carried over in an array": kernel(
        started("s"),
        fresh("row", number(1), zeroed=True),
        For("i", N, (*CARRIED, Update("s", "sum", load("row", (number(0),), F64)))),
        results=("s",),
    ),
    "a recurrence that nobody sees": kernel(
        started("s"),
        fresh("row", apply("add", N, number(1)), zeroed=True),
        For(
            "i",
            N,
            (
                Store("row", (apply("add", HERE, number(1)),), X),
                Update("s", "sum", load("row", (HERE,), F64)),
            ),
        ),
        results=("s",),
    ),
    "elements that several iterations write": kernel(
        fresh("y", apply("mul", number(2), N), zeroed=True),
        For("i", N, (Store("y", (apply("sub", HERE, HERE),), X),)),
        results=("y",),
    ),
    "a sum that starts elsewhere": kernel(
        started("s", 5.0), For("i", N, (Update("s", "sum", X),)), results=("s",)
    ),
    "a recurrence": kernel(
        fresh("y", apply("add", N, number(1)), zeroed=True),
        For(
            "i", N, (Store("y", (HERE,), apply("add", X, load("y", (apply("add", HERE, number(1)),), F64))),)
        ),
        results=("y",),
    ),
    "a running sum": kernel(
        started("s"),
        fresh("y"),
        For("i", N, (Update("s", "sum", X), Store("y", (HERE,), S))),
        results=("y",),
    ),
    "a slide that is read": kernel(
        started("s"),
        fresh("y", apply("add", N, number(1)), zeroed=True),
        For(
            "i",
            N,
            (
                AddTo("y", (HERE,), "sum", X),
                AddTo("y", (ahead(1),), "sum", X),
                Update("s", "sum", load("y", (HERE,), F64)),
            ),
        ),
        results=("y", "s"),
    ),
    "a slide over elements that are there": kernel(
        fresh("y", apply("add", N, number(1)), zeroed=True),
        Store("y", (N,), number(1.0, F64)),
        For("i", N, (AddTo("y", (HERE,), "sum", X), AddTo("y", (ahead(1),), "sum", X))),
        results=("y",),
    ),
    "a slide too far": kernel(
        fresh("y", apply("add", N, number(FARTHEST + 1)), zeroed=True),
        For("i", N, (AddTo("y", (HERE,), "sum", X), AddTo("y", (ahead(FARTHEST + 1),), "sum", X))),
        results=("y",),
    ),
    "a slide of products": kernel(
        fresh("y", apply("add", N, number(1)), zeroed=True),
        For("i", N, (AddTo("y", (HERE,), "prod", X), AddTo("y", (ahead(1),), "prod", X))),
        results=("y",),
    ),
    "a slide in an inner loop": kernel(
        fresh("y", apply("add", N, number(1)), zeroed=True),
        For("i", N, (For("j", N, (AddTo("y", (HERE,), "sum", X), AddTo("y", (ahead(1),), "sum", X))),)),
        results=("y",),
    ),
    "a sum as long as the loop": kernel(
        fresh("y", zeroed=True),
        For("i", N, (AddTo("y", (load("at", (HERE,), DType.INT64),), "sum", X),)),
        results=("y",),
    ),
    "a check": kernel(
        started("s"),
        For(
            "i", N, (Let("p", load("at", (HERE,), DType.INT64)), CheckIndices("p", N), Update("s", "sum", X))
        ),
        results=("s",),
    ),
    "two operations on one number": kernel(
        started("s"), For("i", N, (Update("s", "sum", X), Update("s", "max", X))), results=("s",)
    ),
    "what is read after it": kernel(
        fresh("row", number(2)),
        For("i", N, (Store("row", (number(0),), X), Store("row", (number(1),), X))),
        results=("row",),
    ),
    "a power of integers": kernel(
        fresh("y"),
        For("i", N, (Let("p", apply("pow", HERE, HERE)), Store("y", (HERE,), X))),
        results=("y",),
    ),
}


def has_tasks(written: Kernel) -> bool:
    return any(isinstance(statement, Tasks) for statement in written.body)


@pytest.mark.parametrize("size", [0, 1, 2, 7])
@pytest.mark.parametrize("name", SHARED)
def test_shared_loops_compute_the_same_in_any_order(name: str, size: int):
    inputs = {"x": np.linspace(-1.0, 2.0, size), "at": np.arange(size) % 3}
    shared = verify(share_out(verify(SHARED[name])))
    assert has_tasks(shared)
    for found, wanted in zip(evaluate(shared, inputs), evaluate(SHARED[name], inputs), strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-15)


@pytest.mark.parametrize("name", KEPT)
def test_loops_whose_iterations_depend_on_each_other_stay(name: str):
    assert share_out(KEPT[name]) == KEPT[name]


@pytest.mark.parametrize(
    ("name", "cleared"),
    [
        ("rows that are added to", True),
        ("rows, where one has something already", True),
        ("fewer rows than there are", False),
        ("columns that are added to", False),
        ("shifted elements", False),
    ],
)
def test_rows_are_cleared_by_the_part_that_adds_to_them(name: str, cleared: bool):
    shared = share_out(SHARED[name])
    found = [s for s in every(shared.body) if isinstance(s, Clear)]
    first = next(s for s in shared.body if isinstance(s, Tasks))
    assert found == ([Clear("y", var(first.first), var(first.many))] if cleared else [])
    assert [first.body[0]] == found or not cleared
    assert [s.zeroed for s in shared.body if isinstance(s, Allocate) and s.tensor == "y"] == [not cleared]


def test_what_slides_along_is_written_once_and_needs_no_zeros():
    shared = share_out(SHARED["sums that slide along"])
    (tasks,) = (s for s in shared.body if isinstance(s, Tasks))
    assert [s.tensor for s in every(tasks.body) if isinstance(s, AddTo)] == []
    assert sum(isinstance(s, Store) and s.tensor == "y" for s in every(tasks.body)) == 1
    assert [s.zeroed for s in shared.body if isinstance(s, Allocate) and s.tensor == "y"] == [False]
    far = share_out(SHARED["sums that slide along far from the ends"])
    assert [s.zeroed for s in far.body if isinstance(s, Allocate) and s.tensor == "y"] == [True]


def test_work_counts_operations_and_inner_loops():
    inner = For("j", var("m"), (Update("s", "sum", apply("exp", X)),))
    written = kernel(Extent("m", number(5)), started("s"), For("i", N, (inner,)), results=("s",))
    (parts,) = (s for s in share_out(written).body if isinstance(s, Parts))
    assert show_expression(parts.work) == "(m * 22)"  # a statement, a load and a call of exp


def test_elements_that_are_looked_up_count_for_more():
    at = load("at", (HERE,), DType.INT64)
    wrapped = apply("select", apply("lt", at, number(0)), apply("add", at, N), at)
    written = kernel(
        started("s"), For("i", N, (Update("s", "sum", load("x", (wrapped,), F64)),)), results=("s",)
    )
    (parts,) = (s for s in share_out(written).body if isinstance(s, Parts))
    assert show_expression(parts.work) == "24"  # a statement, a look-up and three elements of the table


def mixture(x, centres):
    distances = np.square(x[:, None, :] - centres).sum(axis=2)
    return np.log(np.exp(-distances).sum(axis=1)).sum()


def chain(x):
    return (100.0 * np.square(x[1:] - np.square(x[:-1])) + np.square(1.0 - x[:-1])).sum()


def largest(x):
    return np.maximum(np.sin(x), 0.1 * x).max() + np.exp(-x * x).mean()


def curvature(x):
    return np.square(x[2:] - 2 * x[1:-1] + np.exp(x[:-2])).sum()


PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "mixture": (mixture, ((30_000, 3), (5, 3))),
    "chain": (chain, ((300_001,),)),
    "curvature": (curvature, ((300_001,),)),
    "largest": (largest, ((200_003,),)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_many_parts_are_right_and_have_the_same_bits_for_any_number_of_threads(name: str):
    function, shapes = PROGRAMS[name]
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(shape) for shape in shapes]
    loss = gradc.differentiate(function, wrt="x")
    assert "run_tasks(" in loss.inspect(*inputs).source
    assert tasks.parts_of(shapes[0][0], 30, 0) > 1
    plain, plain_gradient = loss.with_options(target="interpret").value_and_grad(*inputs)
    results = []
    for count in (1, 2, 3):
        with gradc.num_threads(count):
            threads.state[1] = 0  # no launch waits for a stalled barrier of an earlier test
            results.append(loss.value_and_grad(*inputs))
    for value, gradient in results:
        np.testing.assert_allclose(value, plain, rtol=1e-11)
        np.testing.assert_allclose(gradient, plain_gradient, rtol=1e-9, atol=1e-9)
        assert value == results[0][0]
        assert np.array_equal(gradient, results[0][1])


def test_loops_run_alone_for_a_while_after_a_stalled_launch():
    if not threads.available():
        pytest.skip("no OpenMP here")
    double = gradc.differentiate(lambda x: (x * x).sum())
    x = np.arange(300_000.0)
    double.grad(x)
    threads.state[1] = 5
    double.grad(x)
    assert threads.state[1] == 4  # one launch, on one thread
    threads.state[1] = 0


@pytest.mark.parametrize(
    ("shape", "why"),
    [((2**40, 2**40), "overflow"), ((2**44, 1), "size"), ((-1, 3), "sign"), ((-1, -3), "signs")],
)
@pytest.mark.parametrize("make", [arrays.empty, arrays.zeros])
def test_arrays_that_cannot_be_are_refused(make: Callable[..., Any], shape: tuple[int, int], why: str):
    make_compiled: Any = numba.njit(lambda n, m: make((n, m), np.float64))
    assert make_compiled(2, 3).shape == (2, 3)
    with pytest.raises(MemoryError, match="smaller arguments"):
        make_compiled(*shape)


def test_memory_of_large_results_is_used_again_when_nobody_holds_it():
    if not memory.POOLED:
        pytest.skip("the pool of memory is Linux's")
    memory.clear_pool()
    double = gradc.differentiate(lambda x: (x * x).sum())
    x = np.arange(100_000.0)
    first = double.grad(x)
    kept = first.copy()
    second = double.grad(x)
    assert first.ctypes.data != second.ctypes.data
    assert np.array_equal(first, kept)
    before = memory.kept_bytes()
    address = second.ctypes.data
    del second
    assert memory.kept_bytes() > before
    assert double.grad(x).ctypes.data == address
    memory.clear_pool()
    assert memory.kept_bytes() == 0


def test_tasks_use_whole_vector_registers():
    @task
    def part_of_loop(part, parts, n, x, y):
        first = start_of(part, parts, n)
        for step in range(start_of(part + 1, parts, n) - first):
            y[first + step] = x[first + step] * 2.0

    array, word = numba.types.Array(numba.float64, 1, "C"), numba.types.intp
    context: Any = registry.cpu_target
    compiled = part_of_loop.compiled(context.target_context, (None, word, word, word, array, array))
    assert f'"prefer-vector-width"="{8 * simd.vector_bytes()}"' in str(compiled.source.optimised())


@pytest.mark.parametrize(
    ("extent", "work", "size", "parts"),
    [
        (0, 9, 0, 0),
        (1, 10**9, 0, 1),
        (5, 10, 0, 1),  # too little to do
        (7, 10**9, 0, 7),
        (3000, 70, 0, 4),  # 3 parts would be 2 for one of two threads
        (10**4, 34, 0, 4),
        (10**4, 40, 0, 8),
        (10**6, 30, 0, tasks.MOST),
        (10**6, 30, 10**5, 4),  # sums are cleared and added up for each part
        (10**6, 10**6, 1 << 24, 2),  # and take memory
        (10**6, 10**6, 1 << 30, 1),
    ],
)
def test_how_many_parts_a_loop_has(extent: int, work: int, size: int, parts: int):
    assert tasks.parts_of(extent, work, size) == parts
