"""The verifier finds every fault of launches."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.loop.build import BOOL, F32, F64, I32, X
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
    add_up,
    device,
    launch,
    only,
    stepped,
    store,
    total,
    value,
)

from gradc.errors import VerifyError
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Barrier,
    Carry,
    CheckIndices,
    Clear,
    Clock,
    Combine,
    Contract,
    Extent,
    For,
    Kernel,
    Let,
    Library,
    Parameter,
    Parts,
    Product,
    Require,
    Share,
    Statement,
    Tasks,
    Update,
    When,
    Width,
    apply,
    number,
    var,
)
from gradc.ir.loop.verify import verify

WRITE = store(HERE, WRITTEN)
GOOD = device(
    Width("w", SIZE, 32),
    Parts("p", SIZE, ONE, ONE),
    launch(
        SHARED,
        Allocate("mine", F32, (number(4),), zeroed=True, local=True),
        START,
        Let("flag", number(True, BOOL)),
        stepped("i", HERE, SIZE, var("w"), add_up(value("x", var("i"))), Carry("flag", number(False, BOOL))),
        For("i", number(2), (store(THREAD, total(), "t"), Barrier())),
        When(var("flag", BOOL), (Let("u", value("t", NEXT)), AddTo("y", (HERE,), "sum", total("u")))),
        When(var("flag", BOOL), (Let("u", ONE),)),
        Combine("s", "max", var("w")),
        Combine("flag", "any", number(2)),
    ),
    launch(WRITE, blocks=var("p"), threads=1024, name="rows_2"),
)


def test_a_good_kernel_is_returned():
    assert verify(GOOD) is GOOD


TASKS = Tasks("part_1", "part", ONE, ONE, SIZE, "first", "many", (WRITE,))
HOST: dict[str, Statement] = {
    "extent": Extent("m", ONE),
    "requirement": Require(number(True, BOOL), "never"),
    "indices": CheckIndices("x", ONE),
    "clearing": Clear("y"),
    "parts": Parts("p", ONE, ONE, ONE),
    "width": Width("w", ONE, 32),
    "tasks": TASKS,
    "product": Product("c", "x", "x", False, False),
    "contraction": Contract("y", "i", "x", "i", "x", "i", (SIZE,), False),
    "library": Library(("order",), "argsort", ("x",), (("axis", 0),)),
    "clock": Clock("y", 0),
    "launch": launch(name="inner"),
}


@pytest.mark.parametrize("name", HOST)
def test_what_the_host_does_is_not_for_threads(name: str):
    assert "is for the host and stands in launch rows_1" in faults(device(launch(HOST[name])))
    assert "is for the host" in faults(
        device(launch(For("k", ONE, (When(number(True, BOOL), (HOST[name],)),))))
    )
    assert "stands in launch" not in faults(device(HOST[name]))


DEVICE: dict[str, Statement] = {
    "share": SHARED,
    "stride": stepped("i", ZERO, SIZE, ONE),
    "when": When(number(True, BOOL), ()),
    "barrier": Barrier(),
    "combine": Combine("s", "sum", ONE),
}


@pytest.mark.parametrize("name", DEVICE)
def test_what_threads_do_is_not_for_the_host(name: str):
    assert "stands outside a launch" in faults(device(START, DEVICE[name]))
    assert "stands outside a launch" in faults(device(START, launch(), DEVICE[name]))
    assert "stands outside a launch" in faults(device(START, replace(TASKS, body=(DEVICE[name],))))


def faults(kernel: Kernel) -> str:
    """What is wrong with a kernel."""
    try:
        verify(kernel)
    except VerifyError as error:
        return "; ".join(error.problems)
    return ""


COUNT = Let("s", ONE)
FAULTS: dict[str, tuple[list[Statement], str]] = {
    "blocks": ([launch(WRITE, blocks=number(1, I32))], "i32(1) is i32, not i64"),
    "blocks of a thread": ([launch(WRITE, blocks=THREAD)], "thread is not defined"),
    "no threads": ([launch(WRITE, threads=0)], "0 threads are no multiple of 32 up to 1024"),
    "part of a warp": ([launch(WRITE, threads=48)], "48 threads are no multiple"),
    "too many threads": ([launch(WRITE, threads=1056)], "1056 threads are no multiple"),
    "two launches of a name": ([launch(WRITE), launch(WRITE)], "there is another launch rows_1"),
    "in tasks": (
        [replace(TASKS, body=(launch(WRITE),))],
        "launch rows_1, block < 1, thread < 32:: stands in tasks",
    ),
    "name of the block": ([Let("block", ONE), launch(WRITE)], "defines block a second time"),
    "block behind a launch": ([launch(WRITE), Let("a", BLOCK)], "block is not defined"),
    "thread behind a launch": ([launch(WRITE), Let("a", THREAD)], "thread is not defined"),
    "scalar behind a launch": ([launch(START), Let("a", total())], "s is not defined"),
    "array behind a launch": ([launch(SHARED), Let("a", value("t", ZERO))], "t is not defined"),
    "block changes": ([launch(Carry("block", ONE))], "block is not an accumulator"),
    "thread changes": ([launch(Update("thread", "sum", ONE))], "thread is not an accumulator"),
    "scalar around": ([START, launch(add_up(WRITTEN))], "s is not an accumulator"),
    "scalar around, carried": ([START, launch(Carry("s", WRITTEN))], "s is not an accumulator"),
    "scalar around, combined": ([START, launch(Combine("s", "sum", ONE))], "s is not an accumulator"),
    "width is constant": ([Width("w", SIZE, 32), Carry("w", ONE)], "w is not an accumulator"),
    "extent of a width": ([Width("w", WRITTEN, 32)], "1.0 is f64, not i64"),
    "most of a width": ([Width("w", SIZE, 48)], "48 is no power of two from 1 to 1024"),
    "least of a width": ([Width("w", SIZE, 0)], "0 is no power of two"),
    "a width too many": ([Width("w", SIZE, 2048)], "2048 is no power of two from 1 to 1024"),
    "width twice": ([Width("n", SIZE, 32)], "defines n a second time"),
    "array of a thread": (
        [launch(Allocate("mine", F64, (ONE,)))],
        "an array in launch rows_1 is local, and its shape literal",
    ),
    "size of an array of a thread": (
        [launch(Allocate("mine", F64, (SIZE,), local=True))],
        "an array in launch rows_1 is local, and its shape literal",
    ),
    "shared array of no axes": ([launch(Share("t", F64, ()))], "has axes, and elements on each"),
    "shared array of no elements": ([launch(Share("t", F64, (4, 0)))], "has axes, and elements on each"),
    "shared arrays of a name": ([launch(SHARED, SHARED)], "defines t a second time"),
    "too much is shared": (
        [launch(Share("t", F32, (64, 96)), For("k", ONE, (Share("u", F64, (3073,)),)))],
        "the threads of a block share 49160 bytes, and 49152 is the most",
    ),
    "start of a stride": ([launch(stepped("i", WRITTEN, SIZE, ONE))], "1.0 is f64, not i64"),
    "extent of a stride": ([launch(stepped("i", ZERO, WRITTEN, ONE))], "1.0 is f64, not i64"),
    "step of a stride": ([launch(stepped("i", ZERO, SIZE, WRITTEN))], "1.0 is f64, not i64"),
    "index of a stride": (
        [launch(stepped("i", ZERO, SIZE, ONE, Carry("i", ONE)))],
        "i is not an accumulator",
    ),
    "index of a stride twice": ([launch(stepped("n", ZERO, SIZE, ONE))], "defines n a second time"),
    "index behind a stride": (
        [launch(stepped("i", ZERO, SIZE, ONE), Let("a", var("i")))],
        "i is not defined",
    ),
    "condition": ([launch(When(THREAD, (WRITE,)))], "thread is i64, not bool"),
    "scalar behind a condition": ([launch(only(0, START), Let("a", total()))], "s is not defined"),
    "array behind a condition": ([launch(only(0, SHARED), Let("a", value("t", ZERO)))], "t is not defined"),
    "combined before start": ([launch(Combine("s", "sum", ONE), START)], "s has not been started"),
    "combined array": ([launch(SHARED, Combine("t", "sum", ONE))], "t is not an accumulator"),
    "combined index": ([launch(Combine("thread", "sum", ONE))], "thread is not an accumulator"),
    "unknown reduction": ([launch(START, Combine("s", "mean", ONE))], "unknown reduction mean"),
    "any of integers": ([launch(COUNT, Combine("s", "any", ONE))], "any of i64"),
    "width of a group": ([launch(START, Combine("s", "sum", number(2, I32)))], "i32(2) is i32, not i64"),
    "three threads": ([launch(START, Combine("s", "sum", number(3)))], "groups of 3 among 32 threads"),
    "no thread": ([launch(START, Combine("s", "sum", ZERO))], "groups of 0 among 32 threads"),
    "more threads than there are": (
        [launch(START, For("k", ONE, (Combine("s", "sum", number(64)),)))],
        "groups of 64 among 32 threads",
    ),
    "threads that are left over": (
        [launch(START, Combine("s", "sum", number(64)), threads=96)],
        "groups of 64 among 96 threads",
    ),
    "store into an argument": ([launch(store(HERE, WRITTEN, "x"))], "x was not allocated"),
    "dtype of a shared element": (
        [launch(Share("t", F32, (32,)), store(THREAD, WRITTEN, "t"))],
        "t is f32, the element f64",
    ),
    "axes of a shared array": (
        [launch(Share("t", F64, (4, 8)), store(THREAD, WRITTEN, "t"))],
        "t has 2 axes and 1",
    ),
    "no such extent": (
        [launch(SHARED, Let("a", apply("add", ONE, value("t.shape", ONE))))],
        "t has no such axis",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_found(fault: str):
    body, message = FAULTS[fault]
    assert message in faults(device(*body))


def test_as_much_as_a_block_may_share():
    assert not faults(device(launch(Share("t", F32, (64, 96)), Share("u", F64, (3072,)))))


def test_scalars_change_again_behind_a_launch():
    assert not faults(device(START, launch(WRITE), add_up(WRITTEN)))


def test_launches_and_their_names_are_apart():
    """The block and the thread have the same names in every launch, and so may what is in it."""
    assert not faults(device(launch(SHARED, START), launch(SHARED, START, name="rows_2")))


def test_all_faults_are_found_at_once():
    found = faults(device(Barrier(), launch(Clear("y"), Combine("s", "sum", number(3)), threads=40)))
    for message in (
        "outside a launch",
        "for the host",
        "groups of 3",
        "40 threads",
        "s has not been started",
    ):
        assert message in found


def test_arguments_that_are_written_are_for_threads_as_well():
    given = Parameter("out", F64, 1, written=True)
    verify(Kernel("k", (X, given), (launch(store(HERE, value("x", ZERO), "out")),), ("out",)))
