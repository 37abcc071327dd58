"""Numbers between loops: when they are computed, and what they start from."""

from __future__ import annotations

import numpy as np

from gradc.ir.loop import nodes
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import (
    Allocate,
    Barrier,
    Expr,
    Extent,
    For,
    Kernel,
    Let,
    Parameter,
    Statement,
    Store,
    Update,
)
from gradc.ir.loop.verify import verify
from gradc.ir.loop.walk import every
from gradc.ir.types import DType
from gradc.passes.grids.launches import with_launches

i, n = nodes.var("i"), nodes.var("n")
S, V = nodes.var("s", DType.F64), nodes.var("v", DType.F64)
ZERO = nodes.number(0)


def of(tensor: str, at: Expr = i) -> Expr:
    return nodes.load(tensor, (at,), DType.F64)


def loop(*body: Statement) -> Statement:
    return For("i", n, body)


def launched(*body: Statement, results: tuple[str, ...]) -> Kernel:
    """The launches of statements about `x` and a new array `y`, which compute what the statements do."""
    entry = (
        Extent("n", nodes.load("x.shape", (ZERO,), DType.INT64)),
        Allocate("y", DType.F64, (n,), zeroed=True),
    )
    before = verify(Kernel("f", (Parameter("x", DType.F64, 1),), (*entry, *body), results))
    made = verify(with_launches(before))
    for many in (1, 5, 300):
        inputs = {"x": np.arange(many, dtype=float) + 1}
        for order in range(3):
            for one, other in zip(evaluate(made, inputs, order=order), evaluate(before, inputs), strict=True):
                np.testing.assert_array_equal(np.asarray(one).reshape(np.shape(other)), other)
    return made


def start(value: float) -> Let:
    return Let("s", nodes.number(value, DType.F64))


def test_a_total_may_start_anywhere():
    for value in (0.0, 5.0):
        launched(start(value), loop(Update("s", "sum", of("x"))), results=("s",))
    launched(Let("s", of("x", ZERO)), loop(Update("s", "max", of("x"))), results=("s",))


def test_a_total_that_is_added_to_again():
    """All threads read what one of them stores then: behind a barrier."""
    kernel = launched(
        start(1.0),
        loop(Update("s", "sum", of("x"))),
        loop(Store("y", (i,), nodes.apply("mul", S, of("x")))),
        loop(Update("s", "sum", of("y"))),
        results=("s", "y"),
    )
    assert any(isinstance(s, Barrier) for s in every(kernel.body))


def test_an_element_is_read_before_a_loop_changes_it():
    double = loop(Store("y", (i,), nodes.apply("add", of("y"), of("x"))))
    launched(double, Let("v", of("y", ZERO)), double, results=("v", "y"))


def test_an_element_is_stored_before_a_loop_reads_it():
    stored = Store("y", (ZERO,), nodes.number(7.0, DType.F64))
    launched(stored, start(0.0), loop(Update("s", "sum", of("y"))), results=("s", "y"))
    launched(loop(Store("y", (i,), of("x"))), stored, loop(Store("y", (i,), of("x"))), results=("y",))


def test_a_number_of_numbers():
    value = nodes.apply("mul", S, S)
    launched(start(0.0), loop(Update("s", "sum", of("x"))), Let("v", value), results=("v", "s"))
    launched(
        start(0.0),
        loop(Update("s", "sum", of("x"))),
        Let("v", value),
        loop(Store("y", (i,), nodes.apply("mul", V, of("x")))),
        results=("v", "y"),
    )
