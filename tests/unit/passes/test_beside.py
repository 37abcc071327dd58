"""Rows that a loop fills but for a few zeros are not cleared before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.ir.loop import nodes
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Clear,
    Extent,
    For,
    Kernel,
    Let,
    Number,
    Parameter,
    Parts,
    Statement,
    Store,
    Tasks,
)
from gradc.ir.loop.show import show_statement
from gradc.ir.loop.verify import verify
from gradc.ir.loop.walk import every
from gradc.ir.types import DType
from gradc.passes.loops.beside import without_clearing
from gradc_runtime.arrays import clear_rows

F64, I64 = DType.F64, DType.INT64
N, M = nodes.var("n"), nodes.var("m")
ROW, FIRST, MANY, HERE = nodes.var("row"), nodes.var("first"), nodes.var("many"), nodes.var("i")
CLEAR = Clear("y", FIRST, MANY)
X = nodes.Load("x", (HERE,), F64)


def store(*place: int) -> Store:
    return Store("y", (HERE, *map(nodes.number, place)), X)


STORES = (store(0, 0), store(0, 2), store(1, 1), store(1, 2))


def kernel(
    *stores: Statement, clear: Statement = CLEAR, first: Any = FIRST, extra: tuple[Statement, ...] = ()
) -> Kernel:
    """Rows of 2 x `m` elements, some of which are `x` of the row."""
    begin = Let("i", nodes.apply("add", first, ROW))
    loop = For("row", MANY, (begin, *(stores or STORES)))
    parts = nodes.var("parts")
    tasks = Tasks("loop", "part", parts, nodes.number(4), N, "first", "many", (clear, *extra, loop))
    body = (
        Extent("n", nodes.Load("x.shape", (nodes.number(0),), I64)),
        Extent("m", nodes.Load("z.shape", (nodes.number(0),), I64)),
        Allocate("y", F64, (N, nodes.number(2), M)),
        Parts("parts", N, nodes.number(4), nodes.number(0)),
        tasks,
    )
    parameters = (Parameter("x", F64, 1), Parameter("z", F64, 1))
    return Kernel("rows", parameters, body, ("y",))


def cleared(made: Kernel) -> Clear:
    (found,) = (s for s in every(made.body) if isinstance(s, Clear))
    return found


@pytest.mark.parametrize("columns", [3, 4])
def test_zeros_are_stored(columns: int):
    before = kernel()
    after = without_clearing(before)
    verify(after)
    assert cleared(after).unless == (2, 3)
    assert show_statement(cleared(after)) == "clear many rows of y from first unless of 2 x 3"
    zeros = [s for s in every(after.body) if isinstance(s, Store) and isinstance(s.value, Number)]
    assert {tuple(int(at.value) for at in s.indices[1:]) for s in zeros} == {(0, 1), (1, 0)}  # type: ignore[union-attr]
    inputs = {"x": np.arange(1.0, 6.0), "z": np.zeros(columns)}
    (found,), (wanted,) = evaluate(after, inputs), evaluate(before, inputs)
    np.testing.assert_array_equal(found, wanted)
    assert found[4, 1, 2] == 5
    assert not found[:, 0, 1].any()


@pytest.mark.parametrize(
    "made",
    [
        kernel(store(0, 0), store(1, 2)),  # few of six
        kernel(*STORES, AddTo("y", (HERE, nodes.number(0), nodes.number(0)), "sum", X)),
        kernel(*STORES, Let("read", nodes.Load("y", (HERE, nodes.number(0), nodes.number(0)), F64))),
        kernel(*STORES, Store("y", (HERE, nodes.number(0), ROW), X)),  # nobody knows where
        kernel(*STORES, Store("y", (ROW, nodes.number(0), nodes.number(1)), X)),  # another row
        kernel(first=nodes.number(0)),  # other rows than were cleared
        kernel(clear=Clear("y", FIRST, nodes.number(1))),
        kernel(clear=Clear("y")),
        kernel(
            extra=(
                For(
                    "again", MANY, (replace(STORES[0], indices=(nodes.var("again"), *STORES[0].indices[1:])),)
                ),
            )
        ),
        kernel(*(store(0, column) for column in range(65))),  # long rows
    ],
    ids=["few", "added", "read", "anywhere", "elsewhere", "all", "one", "whole", "twice", "long"],
)
def test_what_stays_cleared(made: Kernel):
    assert without_clearing(made) == made


def test_rows_of_another_rank_are_a_fault():
    with pytest.raises(Exception, match="rows of y do not have 1 axes"):
        verify(kernel(clear=replace(CLEAR, unless=(3,))))


def test_rows_that_are_cleared():
    for shape in ((4, 2, 3), (4, 3, 2)):
        array = np.ones(shape)
        clear_rows(array, 1, 2, (2, 3))
        assert array.sum() == (24 if shape[1:] == (2, 3) else 12)
    numbers = np.ones(4)
    clear_rows(numbers, 1, 2)
    assert numbers.sum() == 2


@pytest.mark.parametrize("width", [3, 4])
def test_blocks_of_a_jacobian(width: int):
    """Rows as long as what a function uses of them, which are written once, and longer ones."""

    def curved(x: Any, y: Any) -> Any:
        a, b, c = x[0] * y[0], np.sin(x[1]) * y[1], np.exp(x[2] * y[2])
        return np.stack([a * b * np.cos(b * c), (b + c) * np.tanh(c - b)])

    rng = np.random.default_rng(width)
    x, y = rng.standard_normal((50, width)), rng.standard_normal((50, 3))
    blocks, slow = (
        gradc.vmap(gradc.differentiate(curved, wrt="x", target=target).jacobian, target=target)
        for target in ("cpu", "interpret")
    )
    np.testing.assert_allclose(blocks(x, y), slow(x, y), rtol=1e-12, atol=1e-14)
    assert ", (2, 3))" in blocks.at(x, y).inspect(of="value").source
