"""Sums into neighbouring elements, taken apart; and products together with what follows them."""

from __future__ import annotations

import numpy as np
import pytest

from gradc.ir.loop import nodes
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Expr,
    Extent,
    For,
    Kernel,
    Launch,
    Let,
    Parameter,
    Product,
    Statement,
    Store,
)
from gradc.ir.loop.verify import verify
from gradc.ir.loop.walk import every
from gradc.ir.types import DType
from gradc.passes.grids.apart import without_common_elements
from gradc.passes.grids.epilogues import joined
from gradc.passes.grids.launches import with_launches
from gradc.passes.grids.shapes import shapes_of

i, j, n, m = (nodes.var(name) for name in ("i", "j", "n", "m"))
ZERO, ONE = nodes.number(0), nodes.number(1)


def of(tensor: str, *at: Expr) -> Expr:
    return nodes.load(tensor, at, DType.F64)


def at(stride: int, by: int) -> Expr:
    """``stride * i + by``."""
    index = nodes.apply("mul", nodes.number(stride), i)
    function, number = ("add", by) if by >= 0 else ("sub", -by)
    return nodes.apply(function, index, nodes.number(number)) if by else index


def stencil(first: tuple[int, int], second: tuple[int, int], size: int, count: Expr = n) -> Kernel:
    """``g[a * i + b] += x[i]`` and ``g[c * i + d] += x[i] ** 2``."""
    x = of("x", i)
    body = (
        AddTo("g", (at(*first),), "sum", x),
        AddTo("g", (at(*second),), "sum", nodes.apply("mul", x, x)),
    )
    entry = Extent("n", nodes.load("x.shape", (ZERO,), DType.INT64))
    array = Allocate("g", DType.F64, (nodes.number(size),), zeroed=True)
    return verify(Kernel("f", (Parameter("x", DType.F64, 1),), (entry, array, For("i", count, body)), ("g",)))


# --- sums ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((1, 0), (1, 1)),
        ((1, 2), (1, 0)),
        ((2, 0), (2, 1)),
        ((3, 1), (3, 2)),
        ((2, 1), (1, 0)),
        ((1, 5), (2, 3)),
    ],
)
@pytest.mark.parametrize("many", [0, 1, 4])
def test_every_term_is_added_once(first: tuple[int, int], second: tuple[int, int], many: int):
    kernel = stencil(first, second, 16)
    apart = verify(without_common_elements(kernel))
    assert sum(isinstance(s, For) for s in apart.body) == 2
    inputs = {"x": np.arange(many, dtype=float) + 1}
    (wanted,) = evaluate(kernel, inputs)
    for made in (apart, verify(with_launches(kernel))):
        np.testing.assert_array_equal(evaluate(made, inputs)[0], wanted)


def test_one_place_stays():
    kernel = stencil((1, 1), (1, 1), 16)
    assert without_common_elements(kernel).body == kernel.body


def test_sums_that_are_read_stay():
    kernel = stencil((1, 0), (1, 1), 16)
    loop = kernel.body[-1]
    assert isinstance(loop, For)
    reading = For("i", n, (*loop.body, Let("v", of("g", i))))
    made = without_common_elements(
        Kernel(kernel.name, kernel.parameters, (*kernel.body[:-1], reading), ("g",))
    )
    assert made.body[-1] == reading


# --- products -----------------------------------------------------------------------------------------------


def product(
    *between: Statement, body: Statement | None = None, extents: tuple[Expr, Expr] = (n, n)
) -> Kernel:
    """``z = x @ x``, statements, and ``y[i, j] = z[i, j] + x[i, j]``."""
    value = nodes.apply("add", of("z", i, j), of("x", i, j))
    inner = Store("y", (i, j), value) if body is None else body
    loops = For("i", extents[0], (For("j", extents[1], (inner,)),))
    entry = (
        Extent("n", nodes.load("x.shape", (ZERO,), DType.INT64)),
        nodes.Require(nodes.apply("eq", nodes.load("x.shape", (ONE,), DType.INT64), n), "a square"),
    )
    arrays = Allocate("y", DType.F64, (n, n), zeroed=True), Allocate("w", DType.F64, (n, n), zeroed=True)
    copied = For("i", n, (For("j", n, (Store("w", (i, j), of("x", i, j)),)),))
    body_ = (*entry, *arrays, copied, Product("z", "w", "x", False, False), *between, loops)
    return verify(Kernel("f", (Parameter("x", DType.F64, 2),), body_, ("y", "w")))


def is_joined(kernel: Kernel) -> bool:
    """Whether the loops are part of the product's launch; the values are the same in any case."""
    inputs = {"x": np.arange(9, dtype=float).reshape(3, 3)}
    made = verify(with_launches(kernel))
    for one, other in zip(evaluate(made, inputs, limit=10**8), evaluate(kernel, inputs), strict=True):
        np.testing.assert_array_equal(one, other)
    found = bool(joined(kernel, shapes_of(kernel)))
    launches = [s for s in made.body if isinstance(s, Launch)]
    assert found == ("y" in {getattr(s, "tensor", "") for s in every(launches[1].body)})
    return found


def test_loops_over_all_of_a_product_are_part_of_it():
    assert is_joined(product())


def changed(tensor: str) -> Statement:
    return For("i", n, (Store(tensor, (i, ZERO), nodes.number(5.0, DType.F64)),))


def test_an_operand_that_changes_before_the_loops():
    assert not is_joined(product(changed("w")))
    reading = For("i", n, (Store("w", (i, ZERO), of("z", i, i)),))
    assert not is_joined(product(reading))


def test_an_operand_that_the_loops_change():
    assert not is_joined(product(body=Store("w", (i, j), of("z", i, j))))


def test_loops_over_some_of_a_product():
    assert not is_joined(product(extents=(n, nodes.apply("minimum", n, ONE))))
    assert not is_joined(product(body=Store("y", (i, j), of("z", j, i))))


def test_a_product_that_is_read_again():
    again = product()
    last = For("i", n, (AddTo("y", (i, ZERO), "sum", of("z", i, ZERO)),))
    assert is_joined(Kernel(again.name, again.parameters, (*again.body, last), again.results))
