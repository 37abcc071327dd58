"""Text of launches, walks through them, and their rewriting."""

from __future__ import annotations

import pytest
from tests.unit.loop.build import BOOL, F32, F64, I64, N
from tests.unit.loop.grid_build import (
    BLOCK,
    HERE,
    ONE,
    SHARED,
    SIZE,
    START,
    THREAD,
    WRITTEN,
    add_up,
    device,
    launch,
    stepped,
    store,
    total,
    value,
)

from gradc.ir.loop.nodes import (
    Allocate,
    Barrier,
    Carry,
    Clear,
    Combine,
    Contract,
    Expr,
    For,
    Let,
    Share,
    Statement,
    Tasks,
    Update,
    When,
    Width,
    apply,
    load,
    number,
    var,
)
from gradc.ir.loop.rewrite import with_values
from gradc.ir.loop.show import show, show_statement
from gradc.ir.loop.walk import every, free_names, touched

FIRST = apply("eq", THREAD, number(0))
ROW = launch(
    SHARED,
    START,
    stepped("i", HERE, SIZE, var("w"), add_up(value("x", var("i")))),
    Barrier(),
    When(FIRST, (Let("u", value("t", THREAD)), store(BLOCK, total("u")))),
    Combine("s", "sum", var("w")),
    blocks=var("p"),
)


def test_whole_kernel():
    assert show(device(Width("w", SIZE, 32), ROW)) == (
        "kernel k(x: f64[:]) -> y\n"
        "  extent n = x.shape[0]\n"
        "  allocate y: f64[32]\n"
        "  width w of n, at most 32\n"
        "  launch rows_1, block < p, thread < 32:\n"
        "    share t: f64[32]\n"
        "    let s: f64 = 0.0\n"
        "    for i from ((block * 32) + thread) < n by w:\n"
        "      update s = sum(s, x[i])\n"
        "    barrier\n"
        "    when (thread == 0):\n"
        "      let u: f64 = t[thread]\n"
        "      store y[block] = u\n"
        "    combine s = sum(s) of w threads\n"
    )


def test_axes_of_a_shared_array():
    assert show_statement(Share("t", F32, (4, 33))) == "share t: f32[4, 33]"


def test_every_statement_of_a_launch():
    found = list(every((ROW,)))
    assert found[0] is ROW
    assert [type(statement).__name__ for statement in found[1:]] == [
        *("Share", "Let", "Stride", "Update", "Barrier", "When", "Let", "Store", "Combine"),
    ]


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        (ROW, ["rows_1", "block", "thread"]),
        (SHARED, ["t"]),
        (stepped("i", load("x.shape", (ONE,), I64), SIZE, ONE), ["i", "x"]),
        (When(apply("lt", value("x", ONE), WRITTEN), ()), ["x"]),
        (Barrier(), []),
        (Combine("s", "sum", load("y.shape", (ONE,), I64)), ["s", "y"]),
        (Width("w", SIZE, 32), ["w"]),
    ],
)
def test_what_a_statement_touches(statement: Statement, names: list[str]):
    assert list(touched(statement)) == names


def test_what_a_launch_takes_from_around_it():
    """The number of blocks is for the host; arrays of which only the extent is read are needed as well."""
    assert free_names(ROW) == ["n", "w", "x", "y"]
    body = launch(
        Allocate("mine", F64, (ONE,), local=True),
        Let("a", load("z.shape", (ONE,), I64)),
        For(
            "k",
            var("m"),
            (Carry("a", var("k")), When(var("flag", BOOL), (store(ONE, value("v", ONE), "mine"),))),
        ),
        Combine("around", "sum", var("w")),
        Update("other", "sum", WRITTEN),
        blocks=var("p"),
    )
    assert free_names(body) == ["z", "m", "flag", "v", "around", "w", "other"]


def test_what_tasks_take_from_around_them():
    body = (
        Let("a", var("part")),
        For("i", var("many"), (store(apply("add", var("first"), var("i")), value("x", var("a"))),)),
        Clear("z", var("first"), var("rows")),
        Contract("c", "i", "d", "i", "e", "i", (var("m"),), False),
    )
    tasks = Tasks("part_1", "part", var("count"), var("work"), SIZE, "first", "many", body)
    assert free_names(tasks) == ["n", "y", "x", "z", "rows", "c", "d", "e", "m"]


def plus_one(expression: Expr) -> Expr:
    return apply("add", expression, ONE) if expression.dtype is I64 else apply("logical_not", expression)


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        (Width("w", SIZE, 32), "width w of (n + 1), at most 32"),
        (ROW, "launch rows_1, block < (p + 1), thread < 32:"),
        (stepped("i", THREAD, SIZE, var("w")), "for i from (thread + 1) < (n + 1) by (w + 1):"),
        (When(FIRST, ()), "when logical_not((thread == 0)):"),
        (Combine("s", "sum", var("w")), "combine s = sum(s) of (w + 1) threads"),
        (SHARED, "share t: f64[32]"),
        (Barrier(), "barrier"),
        (For("i", SIZE, ()), "for i < n:"),
        (N, "extent n = x.shape[0]"),
    ],
)
def test_other_values_in_a_statement(statement: Statement, text: str):
    assert show_statement(with_values(statement, plus_one)) == text


@pytest.mark.parametrize("statement", [ROW, ROW.body[2], ROW.body[4]])
def test_bodies_keep_their_values(statement: Statement):
    changed = with_values(statement, plus_one)
    assert list(every((changed,)))[1:] == list(every((statement,)))[1:]
