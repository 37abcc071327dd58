"""The interpreter of launches: what threads compute, and in which orders they run."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.loop.build import BOOL, F32, F64, I32
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
    run,
    stepped,
    store,
    total,
    value,
)

from gradc.errors import CompilerBug, GradcError
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Barrier,
    Carry,
    Clear,
    Combine,
    For,
    Kernel,
    Launch,
    Let,
    Parameter,
    Parts,
    Store,
    Update,
    When,
    Width,
    apply,
    convert,
    load,
    neutral,
    number,
    var,
)
from gradc.ir.loop.verify import verify
from gradc.ir.types import DType

# --- what threads compute -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 200, 1000])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_elements_are_shared_out_over_a_grid(size: int, order: int, rng: np.random.Generator):
    blocks = apply("minimum", apply("floor_divide", apply("add", SIZE, number(31)), number(32)), number(4))
    square = store(var("i"), apply("mul", value("x", var("i")), value("x", var("i"))))
    loop = stepped("i", HERE, SIZE, apply("mul", blocks, number(32)), square)
    x = rng.normal(size=size)
    np.testing.assert_array_equal(run(device(launch(loop, blocks=blocks), size=SIZE), x, order=order), x * x)


def strided_sum(threads: int) -> Kernel:
    """``y[0] = sum x`` in one block."""
    return device(
        launch(
            START,
            stepped("i", THREAD, SIZE, number(threads), add_up(value("x", var("i")))),
            Combine("s", "sum", number(threads)),
            only(0, store(ZERO, total())),
            threads=threads,
        ),
        size=1,
    )


@pytest.mark.parametrize("threads", [32, 64, 256])
@pytest.mark.parametrize("size", [0, 1, 100, 1000])
def test_a_sum_in_strides_is_that_of_numpy(threads: int, size: int, rng: np.random.Generator):
    x = rng.integers(-1000, 1000, size).astype(float)  # whole numbers: every order gives the same bits
    assert run(strided_sum(threads), x)[0] == x.sum()


def tree(values: np.ndarray) -> np.floating:
    """Neighbours first, then pairs of neighbours."""
    while len(values) > 1:
        values = values[::2] + values[1::2]
    return values[0]


def test_neighbours_are_combined_first_in_every_order(rng: np.random.Generator):
    x = rng.normal(size=64) * 10.0 ** rng.integers(-8, 8, 64)
    found = {run(strided_sum(64), x, order=order)[0] for order in range(5)}
    assert found == {tree(x)}
    assert len({tree(rng.permutation(x)) for _ in range(9)}) > 1


@pytest.mark.parametrize("width", [1, 2, 8, 32])
def test_every_thread_has_the_sum_of_its_group(width: int, rng: np.random.Generator):
    x = rng.normal(size=32)
    found = run(
        device(
            launch(Let("s", value("x", THREAD)), Combine("s", "sum", number(width)), store(THREAD, total()))
        ),
        x,
    )
    expected = [tree(x[width * (i // width) : width * (i // width + 1)]) for i in range(32)]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("op", "dtype", "meant"),
    [
        ("sum", F32, np.add.reduce),
        ("prod", F64, np.multiply.reduce),
        ("max", F64, np.max),
        ("min", I32, np.min),
        ("sum", I32, np.add.reduce),
        ("any", BOOL, np.any),
        ("all", BOOL, np.all),
    ],
)
def test_reductions(op: str, dtype: DType, meant):
    x = np.random.default_rng(3).integers(0, 3, 32).astype(float)
    body = launch(
        Let("s", convert(value("x", THREAD), dtype)),
        Combine("s", op, number(32)),
        Store("y", (THREAD,), convert(var("s", dtype), F64)),
    )
    np.testing.assert_array_equal(run(device(body), x), np.full(32, meant(x.astype(dtype.numpy))))


def test_float32_is_combined_in_float32():
    x = np.where(np.arange(32) == 0, 1.0, 1e-8)
    body = launch(
        Let("s", convert(value("x", THREAD), F32)),
        Combine("s", "sum", number(32)),
        store(THREAD, convert(var("s", F32), F64)),
    )
    single = tree(x.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_array_equal(run(device(body), x), np.full(32, single))


@pytest.mark.parametrize(
    ("asked", "extent", "given"),
    [(4, 1, 1), (4, 2, 2), (4, 3, 4), (4, 9, 4), (1, 9, 1), (64, 33, 32), (4, 0, 1)],
)
def test_how_many_threads_share_a_row(asked: int, extent: int, given: int):
    kernel = Kernel("k", (Parameter("n", DType.INT64, 0),), (Width("w", var("n"), 32),), ("w",))
    inputs = {"n": np.int64(extent)}
    assert evaluate(kernel, inputs, width=asked) == (given,)
    assert evaluate(kernel, inputs) == evaluate(kernel, inputs, width=4)


@pytest.mark.parametrize(("extent", "given"), [(8, 1), (9, 2), (64, 8), (65, 16), (500, 32)])
def test_a_thread_has_its_share_of_a_literal_extent(extent: int, given: int):
    kernel = Kernel("k", (), (Width("w", number(extent), 32),), ("w",))
    assert evaluate(kernel, {}, width=1) == (given,)


@pytest.mark.parametrize("width", [1, 2, 4, 32])
def test_groups_of_threads_share_rows(width: int, rng: np.random.Generator):
    """The rows of a matrix of n / 5 rows, given as a vector, each added up by a group."""
    w, lane, row = var("w"), var("lane"), var("row")
    rows = apply("floor_divide", SIZE, number(5))
    at = apply("add", apply("mul", apply("minimum", row, apply("sub", rows, ONE)), number(5)), var("j"))
    body = launch(
        Let("row", apply("floor_divide", HERE, w)),
        Let("lane", apply("sub", HERE, apply("mul", row, w))),
        START,
        stepped("j", lane, number(5), w, add_up(value("x", at))),
        Combine("s", "sum", w),
        When(apply("logical_and", apply("eq", lane, ZERO), apply("lt", row, rows)), (store(row, total()),)),
        blocks=apply("floor_divide", apply("add", apply("mul", rows, w), number(31)), number(32)),
    )
    kernel = device(Width("w", number(32), 32), body, size=rows)
    x = rng.integers(0, 100, 85).astype(float)
    np.testing.assert_array_equal(run(kernel, x, width=width), x.reshape(17, 5).sum(axis=1))


def test_what_a_block_shares(rng: np.random.Generator):
    """Every thread hands its number to the next one: right behind a barrier."""
    body = launch(
        SHARED,
        store(THREAD, value("x", HERE), "t"),
        Barrier(),
        store(HERE, value("t", NEXT)),
        blocks=3,
    )
    x = rng.normal(size=96)
    expected = np.roll(x.reshape(3, 32), -1, axis=1).reshape(-1)
    for order in range(3):
        np.testing.assert_array_equal(run(device(body, size=96), x, order=order), expected)


def test_barriers_in_loops(rng: np.random.Generator):
    """A prefix sum: the same barriers in every turn of a loop that all threads run equally often."""
    back = apply("sub", THREAD, var("gap"))
    step = (
        Let("gap", var("g", DType.INT64)),
        Let("before", number(0.0, F64)),
        When(apply("ge", back, ZERO), (Carry("before", value("t", back)),)),
        Barrier(),
        When(apply("ge", back, ZERO), (AddTo("t", (THREAD,), "sum", total("before")),)),
        Barrier(),
        Carry("g", apply("mul", var("g"), number(2))),
    )
    body = launch(
        SHARED,
        store(THREAD, value("x", THREAD), "t"),
        Let("g", ONE),
        Barrier(),
        For("k", number(5), step),
        store(THREAD, value("t", THREAD)),
    )
    x = rng.integers(0, 9, 32).astype(float)
    np.testing.assert_array_equal(run(device(body), x), np.cumsum(x))


def test_a_shared_array_is_new_in_every_turn():
    """Two turns with a barrier at their ends; what the first turn wrote does not count as written in the second."""
    first = When(apply("lt", var("k"), var("turns")), (store(THREAD, value("x", ZERO), "t"),))
    turn = (SHARED, first, Barrier(), Let("v", value("t", NEXT)), Barrier(), store(THREAD, total("v")))

    def kernel(turns: int) -> Kernel:
        return device(launch(Let("turns", number(turns)), For("k", number(2), turn)))

    np.testing.assert_array_equal(run(kernel(2)), np.ones(32))
    with pytest.raises(CompilerBug, match=r"t\[\d+\] is read before it is written"):
        run(kernel(1))


def test_threads_have_scalars_and_arrays_of_their_own():
    local = (
        Allocate("mine", F64, (number(2),), local=True),
        store(ZERO, convert(THREAD, F64), "mine"),
        Let("s", value("mine", ZERO)),
        add_up(convert(BLOCK, F64)),
        store(HERE, total()),
    )
    expected = np.add.outer(np.arange(2), np.arange(32)).reshape(-1)
    np.testing.assert_array_equal(run(device(launch(*local, blocks=2), size=64)), expected)


def test_arrays_of_threads_are_kept_over_a_barrier():
    few = apply("lt", THREAD, number(5))
    body = launch(
        Allocate("mine", F64, (ONE,), local=True),
        When(few, (store(ZERO, convert(THREAD, F64), "mine"),)),
        Barrier(),
        START,
        When(few, (add_up(value("mine", ZERO)),)),
        store(THREAD, total()),
    )
    np.testing.assert_array_equal(run(device(body)), [0, 1, 2, 3, 4, *[0] * 27])


def test_a_name_may_stand_for_a_shared_array_and_then_for_one_of_a_thread():
    turns = For("k", number(2), (SHARED, store(THREAD, WRITTEN, "t"), Barrier()))
    own = (
        Allocate("t", F64, (ONE,), local=True),
        store(ZERO, convert(THREAD, F64), "t"),
        store(THREAD, value("t", ZERO)),
    )
    np.testing.assert_array_equal(run(device(launch(turns, For("k", ONE, own)))), np.arange(32.0))


def test_launches_follow_each_other():
    """What one launch has written, the next may read anywhere; scalars of a launch end with it."""
    one = launch(START, store(THREAD, convert(THREAD, F64)))
    two = launch(START, add_up(value("y", NEXT)), store(THREAD, total(), "z"), name="rows_2")
    kernel = device(Allocate("z", F64, (number(32),)), one, two)
    found = evaluate(verify(Kernel("k", kernel.parameters, kernel.body, ("z",))), {"x": np.ones(1)})[0]
    np.testing.assert_array_equal(found, np.roll(np.arange(32.0), -1))


def test_scalars_around_a_launch_and_parts():
    body = (Parts("p", SIZE, ONE, ONE), launch(store(THREAD, convert(apply("add", var("p"), SIZE), F64))))
    np.testing.assert_array_equal(run(device(*body), np.ones(7)), np.full(32, 10.0))


def test_no_blocks_do_nothing_and_fewer_are_refused():
    write = store(THREAD, number(1.0, F64))
    clear = Clear("y")
    np.testing.assert_array_equal(run(device(clear, launch(write, blocks=0))), np.zeros(32))
    with pytest.raises(CompilerBug, match="-1 blocks"):
        run(device(clear, launch(write, blocks=-1)))


def test_steps_of_all_threads_count():
    kernel = device(launch(START, store(THREAD, total())))
    run(kernel, limit=3 + 64)
    with pytest.raises(GradcError, match="stopped after 66 statements"):
        run(kernel, limit=66)
    waits = device(launch(START, Barrier(), store(THREAD, total())))
    run(waits, limit=3 + 96)
    with pytest.raises(GradcError, match="stopped after 98 statements"):
        run(waits, limit=98)


# --- orders -------------------------------------------------------------------------------------------------


def orders(kernel: Kernel, size: int, order: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """In which order the elements of y are written."""
    from gradc.ir.loop import grid  # noqa: PLC0415

    seen: list[int] = []
    writes = grid._Thread.writes

    def noted(self, where, tensor, position):
        seen.append(position[0])
        writes(self, where, tensor, position)

    with monkeypatch.context() as patch:
        patch.setattr(grid._Thread, "writes", noted)
        run(kernel, np.ones(size), order=order)
    return seen


@pytest.mark.parametrize("waits", [False, True])
def test_blocks_and_threads_run_in_shuffled_orders(waits: bool, monkeypatch: pytest.MonkeyPatch):
    body = launch(*([Barrier()] if waits else []), store(HERE, value("x", HERE)), blocks=8)
    kernel = device(body, size=256)
    found = [tuple(orders(kernel, 256, order, monkeypatch)) for order in (0, 1, 1)]
    assert found[1] == found[2] != found[0]
    for order in found:
        assert sorted(order) == list(range(256))
        blocks = [at // 32 for at in order]
        assert all(blocks[at] == blocks[at - at % 32] for at in range(256))  # one block after the other
        assert blocks[::32] != sorted(blocks[::32])
        first, second = ([at % 32 for at in order[k : k + 32]] for k in (0, 32))
        assert first != sorted(first)
        assert first != second


def test_threads_run_in_another_order_behind_a_barrier(monkeypatch: pytest.MonkeyPatch):
    body = launch(store(THREAD, value("x", ZERO)), Barrier(), store(THREAD, value("x", ZERO)))
    seen = orders(device(body), 1, 0, monkeypatch)
    assert sorted(seen[:32]) == sorted(seen[32:]) == list(range(32))
    assert seen[:32] != seen[32:]


def test_extents_of_arrays_are_known_in_a_launch():
    size = load("x.shape", (ZERO,), DType.INT64)
    shared = load("t.shape", (ZERO,), DType.INT64)
    body = launch(SHARED, store(THREAD, convert(apply("add", size, shared), F64)))
    np.testing.assert_array_equal(run(device(body), np.ones(7)), np.full(32, 39.0))


def test_results_that_a_caller_gives_are_written_by_threads():
    given = Parameter("out", F64, 1, written=True)
    kernel = Kernel("k", (given,), (launch(store(THREAD, convert(THREAD, F64), "out")),), ("out",))
    out = np.empty(32)
    assert evaluate(verify(kernel), {"out": out})[0] is not None
    np.testing.assert_array_equal(out, np.arange(32.0))
    with pytest.raises(CompilerBug, match="out is used before every element"):
        evaluate(kernel, {"out": np.empty(33)})


def test_neutral_elements_change_no_group():
    """Threads without an element take part with the neutral element."""
    body = launch(
        Let("s", neutral("max", F64)),
        When(apply("lt", THREAD, SIZE), (Update("s", "max", value("x", THREAD)),)),
        Combine("s", "max", number(32)),
        store(THREAD, total()),
    )
    np.testing.assert_array_equal(run(device(body), [-3.0, -1.0, -2.0]), np.full(32, -1.0))


def test_launches_are_statements_of_a_loop_as_well():
    body = For(
        "k",
        number(3),
        (Launch("rows_1", "block", "thread", ONE, 32, (AddTo("y", (THREAD,), "sum", WRITTEN),)),),
    )
    np.testing.assert_array_equal(run(device(Clear("y"), body)), np.full(32, 3.0))
