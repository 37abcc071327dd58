"""Look-ups whose indices a kernel computes: what is refused, when, and at what cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from tests.numeric.table.test_launched import launched

from gradc import differentiate
from gradc.ir.loop import nodes
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import (
    Allocate,
    CheckIndices,
    Expr,
    Extent,
    For,
    Kernel,
    Launch,
    Let,
    Parameter,
    Statement,
    Store,
)
from gradc.ir.loop.verify import verify
from gradc.ir.types import DType
from gradc.passes.grids.launches import with_launches

ZERO = nodes.number(0)
SIZE, ROWS, COLUMNS = (nodes.var(name) for name in ("size", "rows", "columns"))
TABLE = [1.0, 2.0, 4.0]


def looked_up(index: Expr) -> Expr:
    """An element of the table, from either end."""
    behind = nodes.apply("add", index, SIZE)
    return nodes.load("x", (nodes.apply("select", nodes.apply("lt", index, ZERO), behind, index),), DType.F64)


def kernel_of(body: Sequence[Statement], *results: str) -> Kernel:
    """The launches of statements about a table `x`, places `p` in rows and columns, and a number `i`."""
    parameters = (
        Parameter("x", DType.F64, 1),
        Parameter("p", DType.INT64, 2),
        Parameter("i", DType.INT64, 0),
    )
    entry = (
        Extent("size", nodes.load("x.shape", (ZERO,), DType.INT64)),
        Extent("rows", nodes.load("p.shape", (ZERO,), DType.INT64)),
        Extent("columns", nodes.load("p.shape", (nodes.number(1),), DType.INT64)),
    )
    return verify(with_launches(verify(Kernel("f", parameters, (*entry, *body), results))))


def run(kernel: Kernel, x: Sequence[float], p: np.ndarray | None = None, i: int = 0) -> list:
    inputs = {"x": np.array(x, float), "p": np.zeros((0, 0), int) if p is None else p, "i": np.int64(i)}
    return [np.asarray(found).tolist() for found in evaluate(kernel, inputs)]


def launches(kernel: Kernel) -> list[str]:
    return [statement.name for statement in kernel.body if isinstance(statement, Launch)]


# --- numbers between loops ----------------------------------------------------------------------------------


def total_of(times: int) -> Kernel:
    """``x[i] + x[i + 1] + ...``, one look-up after the other."""
    body: list[Statement] = [Let("s0", nodes.number(0.0, DType.F64))]
    for at in range(times):
        index, total = nodes.var(f"t{at}"), nodes.var(f"s{at}", DType.F64)
        body.append(Let(index.name, nodes.apply("add", nodes.var("i"), nodes.number(at))))
        body.append(CheckIndices(index.name, SIZE))
        body.append(Let(f"s{at + 1}", nodes.apply("add", total, looked_up(index))))
    return kernel_of(body, f"s{times}")


def test_thousands_of_look_ups_are_checked_in_one_launch():
    kernel = total_of(2000)
    assert len(launches(kernel)) == 1
    assert (
        sum(isinstance(s, CheckIndices) for s in kernel.body) == 2
    )  # there are elements; all indices are inside


@pytest.mark.parametrize("first", [-3, -2, 0, 1])
def test_numbers_in_range(first: int):
    assert run(total_of(2), TABLE, i=first) == [[TABLE[first] + TABLE[first + 1]]]


@pytest.mark.parametrize("first", [-4, 2, 3])
def test_one_of_several_numbers_is_out_of_range(first: int):
    with pytest.raises(IndexError):
        run(total_of(2), TABLE, i=first)


def test_a_number_in_an_empty_table():
    with pytest.raises(IndexError):
        run(total_of(1), [])


def test_numbers_are_checked_before_the_caller_s_array_changes():
    body = (
        Let("t", nodes.var("i")),
        CheckIndices("t", SIZE),
        Store("y", (ZERO,), looked_up(nodes.var("t"))),
    )
    parameters = (
        Parameter("x", DType.F64, 1),
        Parameter("i", DType.INT64, 0),
        Parameter("y", DType.F64, 1, True, True),
    )
    entry = Extent("size", nodes.load("x.shape", (ZERO,), DType.INT64))
    kernel = verify(with_launches(verify(Kernel("f", parameters, (entry, *body), ()))))
    y = np.zeros(1)
    with pytest.raises(IndexError):
        evaluate(kernel, {"x": np.array(TABLE), "i": np.int64(3), "y": y})
    assert y[0] == 0.0
    evaluate(kernel, {"x": np.array(TABLE), "i": np.int64(2), "y": y})
    assert y[0] == 4.0


# --- indices in loops ---------------------------------------------------------------------------------------


def doubled(extent: Expr) -> Kernel:
    """``y[r, k] = x[2 * p[r, k]]`` in a table of this extent."""
    r, k, t = nodes.var("r"), nodes.var("k"), nodes.var("t")
    inside = (
        Let("t", nodes.apply("mul", nodes.load("p", (r, k), DType.INT64), nodes.number(2))),
        CheckIndices("t", extent),
        Store("y", (r, k), looked_up(t)),
    )
    rows = For("r", ROWS, (For("k", COLUMNS, inside),))
    return kernel_of((Allocate("y", DType.F64, (ROWS, COLUMNS)), rows), "y")


def test_indices_of_loops():
    kernel = doubled(SIZE)
    assert run(kernel, TABLE, np.array([[0, 1], [-1, 0]])) == [[[1.0, 4.0], [2.0, 1.0]]]
    for wrong in (2, -2):
        with pytest.raises(IndexError):
            run(kernel, TABLE, np.array([[0, 1], [wrong, 0]]))


@pytest.mark.parametrize("shape", [(2, 3), (1, 1)])
def test_an_empty_table_is_refused_before_the_loop_reads_it(shape: tuple[int, int]):
    """The interpreter would raise CompilerBug if a launch read outside the table."""
    with pytest.raises(IndexError):
        run(doubled(SIZE), [], np.zeros(shape, int))


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_an_empty_table_does_for_a_loop_that_never_runs(shape: tuple[int, int]):
    assert run(doubled(SIZE), [], np.zeros(shape, int)) == [np.zeros(shape).tolist()]


def test_a_table_that_an_empty_loop_left_alone_is_refused_later():
    r, t = nodes.var("r"), nodes.var("t")
    inside = (
        Let("t", nodes.load("p", (r, ZERO), DType.INT64)),
        CheckIndices("t", SIZE),
        Store("y", (r,), looked_up(t)),
    )
    number = (Let("u", nodes.var("i")), CheckIndices("u", SIZE), Let("v", looked_up(nodes.var("u"))))
    kernel = kernel_of((Allocate("y", DType.F64, (ROWS,)), For("r", ROWS, inside), *number), "y", "v")
    with pytest.raises(IndexError):
        run(kernel, [])
    assert run(kernel, TABLE, i=1) == [[], [2.0]]


def test_a_table_of_known_extent_is_looked_at_once():
    assert sum(isinstance(s, CheckIndices) for s in doubled(nodes.number(3)).body) == 1
    assert sum(isinstance(s, CheckIndices) for s in doubled(SIZE).body) == 2


def test_an_empty_table_in_a_gradient():
    def picked(x, places):
        return (x[places * places - 1] * 2.0).sum()

    function = differentiate(picked, target="cuda", wrt="x")
    kernel, _ = launched(function, [np.ones(2), np.array([1, 0])])
    names = [parameter.name for parameter in kernel.parameters]
    with pytest.raises(IndexError):
        evaluate(kernel, dict(zip(names, (np.zeros(0), np.array([1])), strict=True)))
    value, gradient = evaluate(kernel, dict(zip(names, (np.zeros(0), np.zeros(0, int)), strict=True)))
    assert value.tolist() == [0.0]
    assert gradient.tolist() == []
