"""First terms of sums are stored, and single elements are added to in the loops over their rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from tests.unit.grids.test_launches import checked

from gradc import differentiate
from gradc.api.variant import Variant
from gradc.ir.loop import nodes
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Barrier,
    Clear,
    Contract,
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
from gradc.passes.grids.contributions import MOST, stored_first
from gradc.passes.grids.launches import with_launches
from gradc.pipeline import Derivation, into_arguments

i, j, k, n, m, t = (nodes.var(name) for name in ("i", "j", "k", "n", "m", "t"))
ONE, ZERO = nodes.number(1), nodes.number(0)
RNG = np.random.default_rng(3)


def x(*at: Expr) -> Expr:
    return nodes.load("x", at or (i, j), DType.F64)


def g(*at: Expr) -> Expr:
    return nodes.load("g", at, DType.F64)


def add(*at: Expr, value: Expr | None = None, op: str = "sum") -> AddTo:
    return AddTo("g", at, op, x() if value is None else value)


def loops(*body: Statement, over: Sequence[tuple[Var, Expr]] = ((i, n), (j, m))) -> Statement:
    """Loops around statements."""
    for index, extent in reversed(over):
        body = (For(index.name, extent, tuple(body)),)
    return body[0]


def kernel_of(*body: Statement, shape: Sequence[Expr] = (n, m), given: bool = False) -> Kernel:
    """A kernel of `x`, `n` by `m`, and columns `c`, that sums into `g`; the caller's array if it is given."""
    parameters = (Parameter("x", DType.F64, 2), Parameter("c", DType.INT64, 1))
    entry: list[Statement] = [
        Extent(size.name, nodes.load("x.shape", (nodes.number(axis),), DType.INT64))
        for axis, size in enumerate((n, m))
    ]
    if given:
        parameters = (*parameters, Parameter("g", DType.F64, len(shape), written=True))
        for axis, size in enumerate(shape):
            same = nodes.apply("eq", nodes.load("g.shape", (nodes.number(axis),), DType.INT64), size)
            entry.append(nodes.Require(same, "another shape"))
    start = Clear("g") if given else Allocate("g", DType.F64, tuple(shape), zeroed=True)
    return verify(Kernel("f", parameters, (*entry, start, *body), () if given else ("g",)))


def run(kernel: Kernel, rows: int = 3, columns: int = 4) -> np.ndarray:
    inputs = {"x": np.arange(rows * columns, dtype=float).reshape(rows, columns) + 1}
    inputs["c"] = np.arange(rows) % columns - columns * (np.arange(rows) % 2)
    given = kernel.parameters[-1].written
    if given:
        inputs["g"] = np.full((rows, columns), np.nan)
    results = evaluate(kernel, inputs)
    return inputs["g"] if given else results[0]


def is_stored(kernel: Kernel) -> bool:
    """Whether the pass stores the first terms; the values are the same in any case."""
    made = verify(stored_first(kernel))
    for shape in ((3, 4), (1, 1), (0, 2)):
        np.testing.assert_array_equal(run(made, *shape), run(kernel, *shape))
    np.testing.assert_array_equal(run(verify(with_launches(kernel))), run(kernel))
    starts = [s for s in made.body if isinstance(s, Clear) or (isinstance(s, Allocate) and s.zeroed)]
    return not starts


# --- first terms --------------------------------------------------------------------------------------------


def test_sums_over_all_of_an_array_are_stored():
    assert is_stored(kernel_of(loops(add(i, j))))
    assert is_stored(kernel_of(loops(add(j, i)), shape=(m, n)))
    assert is_stored(kernel_of(loops(add(i, ZERO, j)), shape=(n, ONE, m)))


def test_the_array_may_be_the_caller_s():
    assert is_stored(kernel_of(loops(add(i, j)), given=True))
    row = kernel_of(loops(add(i, j)), given=True)
    some = tuple(Clear("g", ZERO, n) if isinstance(s, Clear) else s for s in row.body)
    made = stored_first(Kernel(row.name, row.parameters, some, row.results))
    assert made.body == some  # rows that are cleared are not the array


def test_terms_that_follow_are_added():
    assert is_stored(kernel_of(loops(add(i, j), add(i, j))))
    assert is_stored(kernel_of(loops(add(i, j)), loops(add(i, j))))
    last = add(i, nodes.apply("sub", m, ONE), value=x(i, ZERO))
    row = loops(loops(add(i, j), over=((j, m),)), last, over=((i, n),))
    assert is_stored(kernel_of(row))


def up(index: Expr) -> Expr:
    return nodes.apply("sub", nodes.apply("sub", n, ONE), index)


@pytest.mark.parametrize(
    "body",
    [
        (loops(add(i, j), over=((i, nodes.apply("floor_divide", n, nodes.number(2))), (j, m))),),
        (loops(add(up(i), j)),),
        (loops(add(i, j), over=((i, n), (k, n), (j, m))),),
        (loops(add(i, j, value=nodes.apply("add", x(), g(i, j)))),),
        (loops(add(i, j, op="max")),),
        (loops(Let("a", g(i, j)), add(i, j)),),
        (loops(add(i, j), add(up(i), j)),),
        (loops(add(i, j), Let("a", g(up(i), j))),),
        (loops(loops(add(i, j), over=((j, m),)), Let("a", g(up(i), ZERO)), over=((i, n),)),),
        (loops(loops(add(i, j), over=((j, m),)), add(up(i), ZERO, value=x(i, ZERO)), over=((i, n),)),),
        (Store("g", (ZERO, ZERO), nodes.number(2.0, DType.F64)), loops(add(i, j))),
    ],
    ids=[
        *(
            "few rows",
            "turned rows",
            "several times",
            "of itself",
            "a maximum",
            "read before",
            "other rows too",
        ),
        *("other rows read", "other rows read behind", "other rows behind", "stored before"),
    ],
)
def test_other_sums_start_from_0(body: Sequence[Statement]):
    kernel = kernel_of(*body)
    made = verify(stored_first(kernel))
    assert made.body == kernel.body


def test_a_diagonal_starts_from_0():
    kernel = kernel_of(loops(AddTo("g", (i, i), "sum", x(i, ZERO)), over=((i, n),)), shape=(n, n))
    assert stored_first(kernel).body == kernel.body


def contraction(target: str, extents: Sequence[Expr], shape: Sequence[Expr], left: str = "x") -> Kernel:
    first, second = ("i k", "j k")
    return kernel_of(Contract("g", target, left, first, "x", second, tuple(extents), True), shape=shape)


def test_contractions():
    made = stored_first(contraction("i j", (n, n, m), (n, n)))
    assert [s.add for s in made.body if isinstance(s, Contract)] == [False]
    assert is_stored(contraction("i j", (n, n, m), (n, n)))
    for other in (
        contraction("i j+1", (n, n, m), (n, nodes.apply("add", n, ONE))),
        contraction("i j", (n, n, m), (n, nodes.apply("add", n, ONE))),
        contraction("i j j", (n, n, m), (n, n, n)),
        contraction("i 2j", (n, n, m), (n, nodes.apply("add", n, n))),
    ):
        assert stored_first(other).body == other.body


# --- single elements ----------------------------------------------------------------------------------------


COLUMN = nodes.apply("select", nodes.apply("lt", t, ZERO), nodes.apply("add", t, m), t)
LOOK_UP = Let("t", nodes.load("c", (i,), DType.INT64))
ROW = loops(add(i, j), over=((j, m),))


def in_rows(*body: Statement, given: bool = False) -> Kernel:
    return kernel_of(loops(*body, over=((i, n),)), given=given)


def sums(kernel: Kernel) -> int:
    """How many sums into the array the pass leaves; the values are the same."""
    assert is_stored(kernel)
    return sum(isinstance(s, AddTo) for s in every(stored_first(kernel).body))


def test_an_element_is_added_to_where_its_row_is():
    kernel = in_rows(ROW, LOOK_UP, add(i, COLUMN, value=nodes.apply("mul", x(i, ZERO), x(i, ZERO))))
    assert sums(kernel) == 0
    assert not any(isinstance(s, Barrier) for s in every(with_launches(kernel).body))
    assert sums(in_rows(ROW, LOOK_UP, add(i, COLUMN, value=nodes.number(2.0, DType.F64)), given=True)) == 0


def test_several_elements_of_a_row():
    terms = [add(i, COLUMN, value=x(i, ZERO)) for _ in range(MOST)]
    assert sums(in_rows(ROW, LOOK_UP, *terms)) == 0
    assert sums(in_rows(ROW, LOOK_UP, *terms, *terms[:2])) == 2


def test_elements_of_rows_that_are_added_to():
    """The row itself may be a sum, if nothing else touches it."""
    again = loops(ROW, LOOK_UP, add(i, COLUMN, value=x(i, ZERO)), over=((i, n),))
    made = stored_first(kernel_of(loops(add(i, j)), again))
    assert sum(isinstance(s, AddTo) for s in every(made.body)) == 1
    assert is_stored(kernel_of(loops(add(i, j)), again))


TOTAL = Update("s", "sum", x())
START = Let("s", nodes.number(0.0, DType.F64))
SUM = nodes.var("s", DType.F64)


@pytest.mark.parametrize(
    "body",
    [
        (START, loops(add(i, j), TOTAL, over=((j, m),)), LOOK_UP, add(i, COLUMN, value=SUM)),
        (START, ROW, LOOK_UP, Update("s", "sum", x(i, ZERO)), add(i, COLUMN, value=SUM)),
        (ROW, LOOK_UP, Let("a", g(i, ZERO)), add(i, COLUMN, value=nodes.var("a", DType.F64))),
        (ROW, LOOK_UP, add(i, COLUMN, value=g(i, ZERO))),
        (ROW, LOOK_UP, Let("a", g(i, ZERO)), add(i, COLUMN, value=x(i, ZERO))),
        (ROW, LOOK_UP, add(i, COLUMN, value=x(i, ZERO), op="max")),
    ],
    ids=["a total of the row", "a total", "of the row", "an element", "read between", "a maximum"],
)
def test_elements_that_wait_for_the_row(body: Sequence[Statement]):
    assert sums(in_rows(*body)) == 1


def test_a_row_that_changes_what_is_looked_up():
    """The columns are stored by the loop over the row: the look-up stays behind it."""
    at = nodes.apply("sub", nodes.apply("sub", m, ONE), j)
    row = loops(add(i, j), Store("d", (j,), at), over=((j, m),))
    look = Let("t", nodes.load("d", (ZERO,), DType.INT64))
    columns = Allocate("d", DType.INT64, (m,))
    kernel = kernel_of(columns, loops(row, look, add(i, t, value=x(i, ZERO)), over=((i, n),)))
    assert sum(isinstance(s, AddTo) for s in every(stored_first(kernel).body)) == 1
    assert is_stored(kernel)


def test_rows_that_are_not_whole():
    part = loops(add(i, j), over=((j, nodes.number(1)),))
    kernel = in_rows(part, LOOK_UP, add(i, COLUMN, value=x(i, ZERO)))
    assert stored_first(kernel).body == kernel.body
    other = in_rows(ROW, LOOK_UP, add(up(i), COLUMN, value=x(i, ZERO)))
    assert stored_first(other).body == other.body
    twice = in_rows(loops(add(i, j), add(i, j), over=((j, m),)), LOOK_UP, add(i, COLUMN, value=x(i, ZERO)))
    assert sums(twice) == 2


# --- gradients ----------------------------------------------------------------------------------------------


def cross_entropy(scores, labels):
    picked = scores[np.arange(len(labels)), labels]
    return (np.log(np.exp(scores).sum(axis=1)) - picked).mean()


@pytest.mark.parametrize("columns", [1, 3, 20])
def test_cross_entropy_of_rows(columns: int):
    labels = RNG.integers(-columns, columns, 5)
    kernel = checked(cross_entropy, RNG.normal(size=(5, columns)), labels, wrt="scores")
    (gradient,) = (s for s in kernel.body if isinstance(s, Allocate) and s.tensor == "scores_bar")
    assert not gradient.zeroed
    assert not any(isinstance(s, Barrier) for s in every(kernel.body))


def test_a_gradient_for_an_array_of_the_caller_s():
    function = differentiate(cross_entropy, wrt=("scores",), target="cuda")
    variant, _, _ = function._prepare((RNG.normal(size=(4, 6)), RNG.integers(0, 6, 4)), {})
    assert isinstance(variant, Variant)
    stages = variant.compiled(Derivation("value_and_grad", ("scores",)))
    assert not any(isinstance(s, Clear) for s in into_arguments(stages).kernel.body)
