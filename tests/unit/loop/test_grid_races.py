"""The interpreter of launches finds every way in which threads can get into each other's way."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.loop.build import F64
from tests.unit.loop.grid_build import (
    BLOCK,
    HERE,
    NEXT,
    ONE,
    SHARED,
    SIZE,
    START,
    THREAD,
    WRITTEN,
    ZERO,
    device,
    launch,
    only,
    run,
    stepped,
    store,
    total,
    value,
)

from gradc.errors import CompilerBug
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Barrier,
    Clear,
    Combine,
    For,
    Let,
    Parts,
    Statement,
    When,
    apply,
    number,
    var,
)
from gradc.ir.loop.races import Access, Log

# --- waiting ------------------------------------------------------------------------------------------------

BARRIER = Barrier()
FEW = apply("lt", THREAD, number(5))

ELSEWHERE = {
    "when": (When(FEW, (BARRIER,)), "barrier is reached by 5 of 32"),
    "two branches, one statement": (
        For("k", number(2), (When(apply("eq", apply("lt", var("k"), ONE), FEW), (BARRIER,)),)),
        "barrier is reached by 5 of 32",
    ),
    "longer loops": (For("k", apply("add", ONE, THREAD), (BARRIER,)), "barrier is reached by 31 of 32"),
    "strides": (stepped("k", THREAD, number(40), number(32), BARRIER), "barrier is reached by 8 of 32"),
    "combine": (
        When(FEW, (Combine("s", "sum", number(32)),)),
        r"combine s = sum\(s\) of 32 threads is reached by 5 of 32",
    ),
    "different groups": (
        Combine("s", "sum", apply("select", FEW, ONE, number(2))),
        "groups of 1 or 2 among 32",
    ),
    "groups of three": (Combine("s", "sum", apply("add", BLOCK, number(3))), "groups of 3 among 32"),
    "too many": (Combine("s", "sum", apply("add", BLOCK, number(64))), "groups of 64 among 32"),
    "none": (Combine("s", "sum", BLOCK), "groups of 0 among 32"),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_threads_that_do_not_wait_together(case: str):
    statement, message = ELSEWHERE[case]
    with pytest.raises(CompilerBug, match=message):
        run(device(launch(START, statement, store(THREAD, total()))))


def test_groups_that_are_no_power_of_two():
    with pytest.raises(CompilerBug, match="groups of 3 among 96"):
        run(device(launch(START, Combine("s", "sum", apply("add", BLOCK, number(3))), threads=96)))


def test_two_statements_that_are_equal_are_two_places():
    """Half of the threads wait in one branch, half in the other: the same object, and not the same barrier."""
    other = apply("logical_not", apply("lt", THREAD, number(16)))
    body = launch(
        When(apply("lt", THREAD, number(16)), (BARRIER,)), When(other, (BARRIER,)), store(THREAD, WRITTEN)
    )
    with pytest.raises(CompilerBug, match="barrier is reached by 16 of 32 threads of block 0"):
        run(device(body))


def test_a_barrier_that_no_thread_reaches():
    body = launch(When(apply("gt", SIZE, number(9)), (BARRIER,)), store(THREAD, WRITTEN))
    np.testing.assert_array_equal(run(device(body)), np.ones(32))
    np.testing.assert_array_equal(run(device(body), np.ones(10)), np.ones(32))


def test_a_message_names_the_launch_and_a_thread():
    with pytest.raises(CompilerBug, match="in launch rows_1 thread 5 is elsewhere"):
        run(device(launch(When(FEW, (BARRIER,)), store(THREAD, WRITTEN))))


# --- races --------------------------------------------------------------------------------------------------

LAST = number(31)
RACES: dict[str, tuple[list[Statement], int, str]] = {
    "two threads write": (
        [store(ZERO, value("x", ZERO))],
        1,
        r"y\[0\] is written by thread \d+ of block 0 and written by thread \d+ of block 0 with no barrier",
    ),
    "the same value": ([store(ZERO, WRITTEN)], 1, r"y\[0\] is written .* and written"),
    "two blocks write": (
        [only(3, store(ZERO, WRITTEN))],
        2,
        r"y\[0\] is written by thread 3 of block \d and written by thread 3 of block \d",
    ),
    "read of what a neighbour writes": (
        [Clear("y"), store(THREAD, WRITTEN), Let("v", value("y", NEXT))],
        1,
        r"y\[\d+\] is (written|read) .* and (read|written)",
    ),
    "write of what a neighbour reads": (
        [Clear("y"), Let("v", value("y", NEXT)), store(THREAD, WRITTEN)],
        1,
        r"y\[\d+\] is (written|read) .* and (read|written)",
    ),
    "read of another block": (
        [Clear("y"), only(0, store(BLOCK, WRITTEN)), only(1, Let("v", value("y", ZERO)))],
        2,
        r"y\[0\] is (written|read) by thread \d of block \d and (read|written)",
    ),
    "barriers do not part blocks": (
        [Clear("y"), BARRIER, only(0, store(BLOCK, WRITTEN)), BARRIER, only(0, Let("v", value("y", ZERO)))],
        2,
        r"y\[0\] is (written|read) by thread 0 of block \d and (read|written)",
    ),
    "sums of two threads": ([Clear("y"), AddTo("y", (ZERO,), "sum", WRITTEN)], 1, r"y\[0\] is written"),
    "no barrier in shared memory": (
        [SHARED, store(THREAD, WRITTEN, "t"), store(THREAD, value("t", NEXT))],
        1,
        r"t\[\d+\] is (written by thread \d+ of block 0 and read by|read before it is written)",
    ),
    "no barrier before the next turn": (
        [
            SHARED,
            For("k", number(2), (store(THREAD, WRITTEN, "t"), BARRIER, store(THREAD, value("t", NEXT)))),
        ],
        1,
        r"t\[\d+\] is (read|written) by thread \d+ of block 0 and (read|written) by thread \d+ of block 0",
    ),
    "the next turn of an array that is new": (
        [
            For(
                "k",
                number(2),
                (SHARED, store(THREAD, WRITTEN, "t"), BARRIER, store(THREAD, value("t", NEXT))),
            )
        ],
        1,
        r"t\[\d+\] is (read|written) by thread \d+ of block 0 and (read|written)",
    ),
    "two write what is shared": (
        [SHARED, store(ZERO, WRITTEN, "t"), BARRIER, store(THREAD, value("t", ZERO))],
        1,
        r"t\[0\] is written",
    ),
}


@pytest.mark.parametrize("case", RACES)
@pytest.mark.parametrize("order", range(4))
def test_races(case: str, order: int):
    body, blocks, message = RACES[case]
    host = [statement for statement in body if isinstance(statement, Clear)]
    inside = [statement for statement in body if not isinstance(statement, Clear)]
    with pytest.raises(CompilerBug, match=message):
        run(device(*host, launch(*inside, blocks=blocks)), order=order)


def test_readers_that_come_before_a_writer():
    """Every reader counts: the writer is itself one of them, and others read before and after it."""
    ready = [SHARED, store(THREAD, WRITTEN, "t"), BARRIER]
    read = Let("v", value("t", ZERO))
    for writer in (0, 7, 31):
        late = When(apply("eq", THREAD, number(writer)), (store(ZERO, WRITTEN, "t"),))
        for order in range(6):
            with pytest.raises(CompilerBug, match=r"t\[0\] is (read|written)"):
                run(device(launch(*ready, read, late, store(THREAD, WRITTEN))), order=order)


@pytest.mark.parametrize("reader", [0, 1, 2])
@pytest.mark.parametrize("writer", [0, 1, 2])
def test_a_reader_of_any_block_collides_with_a_writer_of_any_other(reader: int, writer: int):
    """Readers of blocks that have long run count, also behind readers of other blocks and of the writer's own."""
    chosen = apply("logical_or", apply("eq", BLOCK, number(reader)), apply("eq", BLOCK, number(writer)))
    body = launch(
        When(chosen, (Let("v", value("y", ZERO)),)),
        BARRIER,
        When(apply("eq", BLOCK, number(writer)), (only(0, store(ZERO, WRITTEN)),)),
        blocks=3,
    )
    for order in range(6):
        if reader == writer:
            np.testing.assert_array_equal(run(device(Clear("y"), body), order=order), np.eye(1, 32)[0])
        else:
            with pytest.raises(CompilerBug, match=r"y\[0\] is (read|written)"):
                run(device(Clear("y"), body), order=order)


def test_what_is_no_race():
    """Reads by all, writes to a place of one's own, and anything in one block with a barrier between."""
    body = launch(
        SHARED,
        Let("a", value("x", ZERO)),
        store(THREAD, value("x", ZERO), "t"),
        AddTo("t", (THREAD,), "sum", value("t", THREAD)),
        BARRIER,
        Let("b", apply("add", value("t", NEXT), value("t", ZERO))),
        BARRIER,
        only(5, store(ZERO, total("b"), "t"), Let("c", value("t", ZERO)), store(ZERO, total("c"), "t")),
        Combine("a", "sum", number(32)),
        BARRIER,
        store(THREAD, value("t", ZERO)),
        BARRIER,
        store(NEXT, apply("add", value("t", ZERO), total("a"))),
    )
    for order in range(4):
        np.testing.assert_array_equal(run(device(body), order=order), np.full(32, 36.0))


def test_combining_is_no_barrier():
    """Threads that only exchange numbers do not see what others have stored."""
    body = launch(
        Let("a", WRITTEN),
        store(THREAD, total("a")),
        Combine("a", "sum", number(32)),
        Let("b", value("y", NEXT)),
    )
    with pytest.raises(CompilerBug, match="no barrier between"):
        run(device(Clear("y"), body))


def test_a_race_names_both_statements():
    body = launch(only(1, store(ZERO, WRITTEN)), only(2, AddTo("y", (ZERO,), "sum", WRITTEN)))
    with pytest.raises(CompilerBug) as caught:
        run(device(Clear("y"), body))
    assert "store y[0] = 1.0" in caught.value.why
    assert "store y[0] = sum(y[0], 1.0)" in caught.value.why
    assert "thread 1 of block 0" in caught.value.what
    assert "thread 2 of block 0" in caught.value.what


def test_a_race_names_the_head_of_a_loop_that_waits():
    waits = When(apply("gt", value("y", ZERO), WRITTEN), (BARRIER,))
    with pytest.raises(CompilerBug) as caught:
        run(device(Clear("y"), launch(only(1, store(ZERO, number(0.0, F64))), waits)))
    assert "when (y[0] > 1.0)" in caught.value.why


Touch = tuple[bool, Access]
PLACE = (0,)


def collide(one: Touch, two: Touch) -> bool:
    """Whether one of two accesses writes, and nothing puts one before the other."""
    (first, (a, s, at, _)), (second, (b, t, then, _)) = one, two
    return (first or second) and (a != b or (s != t and at == then))


def noted(touches: list[Touch]) -> int:
    """How many accesses there are until a race is found."""
    log = Log("y")
    for count, (writes, access) in enumerate(touches):
        try:
            (log.writes if writes else log.reads)(PLACE, access)
        except CompilerBug:
            return count
    return len(touches)


def test_no_race_is_missed_and_none_is_made_up(rng: np.random.Generator):
    """Against every pair of accesses, for random ones of three blocks with barriers between."""
    outcomes: set[int] = set()
    for _ in range(4000):
        touches: list[Touch] = []
        for block in range(3):
            for moment in range(rng.integers(1, 4)):
                for _ in range(rng.integers(0, 4)):
                    access = (block, int(rng.integers(0, 3)), moment, BARRIER)
                    touches.append((rng.random() < 0.2, access))
        first = next(
            (at for at, two in enumerate(touches) if any(collide(one, two) for one in touches[:at])),
            len(touches),
        )
        assert noted(touches) == first, touches
        outcomes.add(first - len(touches))
    assert {0, -1, -2, -3} <= outcomes


# --- what nobody has written, and what is elsewhere ---------------------------------------------------------

UNREADABLE = {
    "shared": ([SHARED, Let("v", value("t", THREAD))], r"t\[\d+\] is read before it is written"),
    "shared, of the block before": (
        [
            SHARED,
            When(apply("eq", BLOCK, ZERO), (store(THREAD, WRITTEN, "t"),)),
            Let("v", value("t", THREAD)),
        ],
        r"t\[\d+\] is read before it is written",
    ),
    "local": (
        [Allocate("mine", F64, (ONE,), local=True), Let("v", value("mine", ZERO))],
        r"mine\[0\] is read before it is written",
    ),
    "local, of another thread": (
        [
            Allocate("mine", F64, (ONE,), local=True),
            When(FEW, (store(ZERO, WRITTEN, "mine"),)),
            Let("v", value("mine", ZERO)),
        ],
        r"mine\[0\] is read before it is written",
    ),
    "device": ([Let("v", value("y", THREAD))], r"y\[\d+\] is read before it is written"),
    "behind the end": ([Let("v", value("x", THREAD))], r"x\[\d+\] is outside shape \(1,\)"),
    "behind the end of what is shared": (
        [SHARED, store(apply("add", THREAD, ONE), WRITTEN, "t")],
        r"t\[32\] is outside shape \(32,\)",
    ),
    "no step": ([stepped("i", THREAD, SIZE, BLOCK)], r"a loop from \d+ on by 0"),
    "from before the start": (
        [stepped("i", apply("sub", THREAD, number(40)), SIZE, ONE)],
        "a loop from -[0-9]+ on by 1",
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_a_device_would_not_notice(case: str):
    body, message = UNREADABLE[case]
    with pytest.raises(CompilerBug, match=message):
        run(device(launch(*body, store(HERE, WRITTEN), blocks=2), size=64))


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        ([BARRIER], "barrier stands outside a launch"),
        ([SHARED], "share t: f64.32. stands outside a launch"),
        ([Let("s", WRITTEN), Combine("s", "sum", ONE)], "stands outside a launch"),
        ([launch(Clear("y"))], "clear y stands in launch rows_1"),
        ([launch(Parts("p", SIZE, ONE, ONE), BARRIER)], "stands in launch rows_1"),
        ([launch(launch(name="inner"))], "launch inner, .* stands in launch rows_1"),
    ],
)
def test_statements_in_the_wrong_place(statements: list[Statement], message: str):
    with pytest.raises(CompilerBug, match=message):
        evaluate(device(*statements), {"x": np.ones(1)})
