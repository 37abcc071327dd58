"""What passes from one iteration to another, and where threads of a group wait for each other."""

from __future__ import annotations

import numpy as np
import pytest

from gradc.ir.loop import nodes
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Barrier,
    CheckIndices,
    Expr,
    Extent,
    For,
    Kernel,
    Let,
    Parameter,
    Statement,
    Store,
    Update,
    Var,
)
from gradc.ir.loop.verify import verify
from gradc.ir.loop.walk import every
from gradc.ir.types import DType
from gradc.passes.grids.dependence import chain, effects, is_shared_out, is_shifted, kinds
from gradc.passes.grids.launches import with_launches

i, j, n, m = (nodes.var(name) for name in ("i", "j", "n", "m"))
ONE, TWO, ZERO = (nodes.number(value) for value in (1, 2, 0))
INSIDE = nodes.var("t")  # a number that iterations define


def of(tensor: str, *at: Expr, dtype: DType = DType.F64) -> Expr:
    return nodes.load(tensor, at, dtype)


def sub(left: Expr, right: Expr) -> Expr:
    return nodes.apply("sub", left, right)


def plus(left: Expr, right: Expr) -> Expr:
    return nodes.apply("add", left, right)


def times(left: Expr, right: Expr) -> Expr:
    return nodes.applied("mul", (left, right), DType.INT64)


def loop(*body: Statement, index: Var = i, extent: Expr = n) -> For:
    return For(index.name, extent, body)


def kind_of(*body: Statement, private: bool = False) -> dict[str, str] | None:
    return kinds(loop(*body), lambda *_: private)


# --- iterations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "shifted"),
    [
        (i, True),
        (j, False),
        (nodes.apply("neg", i), True),
        (times(i, TWO), True),
        (times(TWO, i), True),
        (times(i, ZERO), False),
        (times(ZERO, i), False),
        (plus(i, m), True),
        (sub(m, i), True),
        (plus(i, i), False),
        (plus(i, INSIDE), False),
        (plus(INSIDE, i), False),
        (plus(times(i, TWO), sub(m, ONE)), True),
        (plus(i, of("c", j, dtype=DType.INT64)), False),
        (nodes.apply("floor_divide", i, TWO), False),
        (nodes.apply("mul", i, m), False),
    ],
    ids=str,
)
def test_indices_that_differ_for_every_iteration(index: Expr, shifted: bool):
    assert is_shifted(index, "i", {"t"}) is shifted


X = of("x", i)


def test_arrays_of_their_own():
    assert kind_of(Store("y", (i,), X)) == {"y": "own"}
    assert kind_of(Store("y", (i,), of("y", i))) == {"y": "own"}
    assert kind_of(Store("y", (j, i), X), Let("v", of("y", ZERO, i))) == {"y": "own"}
    assert kind_of(Store("y", (i,), of("y", sub(i, ONE)))) is None
    assert kind_of(Store("y", (i,), X), Let("v", of("y", ZERO))) is None


def test_sums_into_common_elements():
    at = (nodes.apply("floor_divide", i, TWO),)
    assert kind_of(AddTo("y", at, "sum", X)) == {"y": "sum"}
    assert kind_of(AddTo("y", at, "max", X)) is None
    assert kind_of(AddTo("y", at, "sum", X), AddTo("y", at, "max", X)) is None
    assert kind_of(AddTo("y", at, "sum", X), Let("v", of("y", ZERO))) is None
    assert kind_of(AddTo("y", at, "sum", X), Store("y", (ZERO,), X)) is None


def test_scratch():
    writes, reads = loop(Store("y", (j,), X), index=j, extent=m), Let("v", of("y", ZERO))
    assert kind_of(writes, reads, private=True) == {"y": "scratch"}
    assert kind_of(writes, reads) is None
    assert kind_of(reads, writes, private=True) is None
    moving = Store("y", (nodes.apply("floor_divide", i, TWO),), X)
    assert kind_of(moving, private=True) is None


def test_totals():
    assert kind_of(Update("s", "sum", X)) == {}
    assert kind_of(Update("s", "sum", X), Update("s", "max", X)) is None
    assert kind_of(Update("s", "sum", X), Let("v", nodes.var("s", DType.F64))) is None
    own = (Let("s", nodes.number(0.0, DType.F64)), Update("s", "sum", X), Update("s", "max", X))
    assert kind_of(*own) == {}
    assert effects(own).totals == {}


def test_other_statements_keep_iterations_in_order():
    assert kind_of(Allocate("y", DType.F64, (n,))) is None
    assert kind_of(CheckIndices("t", n), Store("y", (i,), X)) == {"y": "own"}


def test_loops_that_are_independent_together():
    def names(outer: For) -> tuple[list[str], dict[str, str]]:
        loops, found = chain(outer, lambda *_: False)
        return [one.index for one in loops], found

    assert names(loop(loop(Store("y", (i, j), X), index=j, extent=m))) == (["i", "j"], {"y": "own"})
    assert names(loop(loop(Store("y", (i, ZERO), X), index=j, extent=m))) == (["i"], {"y": "own"})
    assert names(loop(loop(AddTo("y", (i, ZERO), "sum", X), index=j, extent=m))) == (["i"], {"y": "own"})
    assert names(loop(loop(Store("y", (j,), X), index=j, extent=m)))[0] == []
    assert is_shared_out(loop(Store("y", (i,), X)))
    assert not is_shared_out(loop(AddTo("y", (ZERO,), "sum", X)))


# --- rows ---------------------------------------------------------------------------------------------------

LAST = sub(m, ONE)
TURNED = sub(LAST, j)


def rows(*body: Statement) -> Kernel:
    """The launches of rows of `x` that write `y` and `z`."""
    parameters = (Parameter("x", DType.F64, 2), Parameter("c", DType.INT64, 1))
    entry: list[Statement] = [
        Extent(size.name, nodes.load("x.shape", (nodes.number(axis),), DType.INT64))
        for axis, size in enumerate((n, m))
    ]
    arrays = [Allocate(name, DType.F64, (n, m), zeroed=True) for name in "yz"]
    if any(getattr(s, "tensor", "") == "s" for s in every(body)):  # what every row has for itself
        arrays.append(Allocate("s", DType.F64, (m,)))
    before = verify(Kernel("f", parameters, (*entry, *arrays, loop(*body)), ("y", "z")))
    made = verify(with_launches(before))
    for rows_, columns in ((7, 9), (2, 40)):
        inputs = {
            "x": np.arange(rows_ * columns, dtype=float).reshape(rows_, columns),
            "c": np.full(rows_, columns),
        }
        wanted = evaluate(before, inputs)
        for order, width in enumerate((4, 8)):
            found = evaluate(made, inputs, order=order, width=width)
            for one, other in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(one, other)
    return made


def across(*body: Statement) -> For:
    return loop(*body, index=j, extent=m)


def barriers(*body: Statement) -> int:
    return sum(isinstance(s, Barrier) for s in every(rows(*body).body))


WRITTEN = across(Store("y", (i, j), nodes.apply("mul", of("x", i, j), of("x", i, j))))


def test_a_lane_reads_what_it_wrote_itself():
    assert barriers(WRITTEN, across(Store("z", (i, j), of("y", i, j)))) == 0
    assert barriers(WRITTEN, across(Store("y", (i, j), nodes.apply("neg", of("y", i, j))))) == 0


def test_a_lane_reads_what_another_wrote():
    assert barriers(WRITTEN, across(Store("z", (i, j), of("y", i, TURNED)))) == 1
    assert barriers(WRITTEN, across(Store("z", (i, j), of("y", i, ZERO)))) == 1
    assert (
        barriers(WRITTEN, Let("v", of("y", i, LAST)), across(Store("z", (i, j), nodes.var("v", DType.F64))))
        == 1
    )


def test_a_lane_writes_what_another_reads():
    read = across(Store("z", (i, j), of("y", i, TURNED)))
    assert barriers(read, WRITTEN) == 1
    assert (
        barriers(Let("v", of("y", i, ZERO)), WRITTEN, across(Store("z", (i, j), nodes.var("v", DType.F64))))
        == 1
    )


def test_a_barrier_serves_all_that_came_before():
    turned = across(Store("z", (i, j), plus_f(of("y", i, TURNED), of("y", i, ZERO))))
    again = across(AddTo("z", (i, j), "sum", of("y", i, TURNED)))
    assert barriers(WRITTEN, turned, again) == 1


def plus_f(left: Expr, right: Expr) -> Expr:
    return nodes.apply("add", left, right)


def test_single_elements_of_a_row():
    first = Store("y", (i, ZERO), of("x", i, LAST))
    assert barriers(WRITTEN, first, across(Store("z", (i, j), of("y", i, j)))) == 2
    stored = Store("y", (i, LAST), of("x", i, ZERO))
    assert (
        barriers(WRITTEN, stored, across(Store("z", (i, j), of("y", i, LAST)))) == 1
    )  # its value has a name
    other = Store("y", (i, LAST), nodes.number(3.0, DType.F64))
    chosen = across(Store("z", (i, j), of("y", i, LAST)))
    assert barriers(stored, across(Store("y", (i, j), of("x", i, j))), other, chosen) == 2


def test_an_element_that_depends_on_itself():
    """Only the first lane reads what it writes."""
    again = AddTo("y", (i, ZERO), "sum", nodes.apply("mul", of("y", i, ZERO), of("y", i, ZERO)))
    assert barriers(WRITTEN, again) == 1
    stored = Store("y", (i, ZERO), nodes.apply("neg", of("y", i, ZERO)))
    assert barriers(WRITTEN, stored, across(Store("z", (i, j), of("y", i, ZERO)))) == 2


def test_a_row_waits_for_the_one_before():
    """A group has several rows, and one array for all of them."""
    write = across(Store("s", (j,), of("x", i, j)))
    assert barriers(write, across(Store("z", (i, j), of("s", TURNED)))) >= 2
    assert barriers(write, across(Store("z", (i, j), of("s", j)))) == 0


def test_a_row_waits_for_single_elements_of_the_one_before():
    write = Store("s", (ZERO,), plus_f(of("x", i, ZERO), of("x", i, LAST)))
    assert barriers(write, across(Store("z", (i, j), of("s", nodes.apply("minimum", j, ZERO))))) >= 2


def test_loops_in_order_wait_for_what_was_read():
    read = across(Store("z", (i, j), of("y", i, TURNED)))
    steps = For("k", TWO, (across(AddTo("y", (i, j), "sum", of("x", i, j))),))
    assert barriers(read, steps) == 2


def test_what_loops_of_several_extents_touch_is_in_memory():
    write = across(Store("s", (j,), of("x", i, j)))
    rows(write, loop(Store("z", (i, j), of("s", j)), index=j, extent=LAST))


def test_an_element_may_have_changed_since_it_had_a_name():
    first = sub(of("c", i, dtype=DType.INT64), m)  # 0, which is not known before
    stores = (
        Store("y", (i, at), nodes.number(value, DType.F64)) for at, value in ((ZERO, 1.0), (first, 2.0))
    )
    rows(WRITTEN, *stores, across(Store("z", (i, j), of("y", i, ZERO))))


def test_totals_of_a_row_start_where_they_are():
    start = Let("s", of("x", i, ZERO))
    total = Update("s", "sum", of("x", i, j))
    value = nodes.var("s", DType.F64)
    rows(start, across(total), across(Store("z", (i, j), value)))
    rows(
        Let("s", nodes.number(0.0, DType.F64)),
        across(total),
        across(total),
        across(Store("z", (i, j), value)),
    )
    rows(
        Let("s", nodes.number(0.0, DType.F64)),
        across(total),
        Update("s", "sum", of("x", i, ZERO)),
        across(total),
        across(Store("z", (i, j), value)),
    )


def test_loops_in_order_within_a_row():
    k = nodes.var("k")
    steps = For(
        "k", nodes.number(3), (across(Store("y", (i, j), plus_f(of("y", i, j), of("x", i, TURNED)))),)
    )
    rows(WRITTEN, steps, across(Store("z", (i, j), of("y", i, TURNED))))
    turned = For(
        "k",
        nodes.number(2),
        (
            across(Store("z", (i, j), of("y", i, TURNED))),
            across(Store("y", (i, j), plus_f(of("z", i, TURNED), nodes.convert(k, DType.F64)))),
        ),
    )
    rows(WRITTEN, turned)


def test_loops_of_unknown_length_are_one_thread_s():
    """Rows of a block would disagree on the number of barriers."""
    many = nodes.load("c", (i,), DType.INT64)
    inner = (WRITTEN, across(AddTo("z", (i, j), "sum", of("y", i, TURNED))))
    made = rows(For("k", nodes.apply("minimum", many, TWO), inner))
    assert not any(isinstance(s, Barrier) for s in every(made.body))
