"""How often bodies of launches run, what they compute and what they touch: against the interpreter, which counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from tests.unit.loop.build import BOOL, F32, F64
from tests.unit.loop.grid_build import (
    BLOCK,
    HERE,
    ONE,
    SHARED,
    SIZE,
    START,
    THREAD,
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

from gradc.ir.loop import grid, runs
from gradc.ir.loop.count import count
from gradc.ir.loop.footprint import footprint
from gradc.ir.loop.nodes import (
    Allocate,
    Barrier,
    Carry,
    Combine,
    Expr,
    Extent,
    For,
    Kernel,
    Launch,
    Let,
    Parts,
    Statement,
    Stride,
    Update,
    When,
    Width,
    apply,
    convert,
    load,
    number,
    var,
)
from gradc.ir.loop.runs import value_of
from gradc.ir.loop.sizes import enough_threads, numbers_of, types_of
from gradc.ir.loop.verify import verify
from gradc.ir.types import DType

PART, LANE, W, STEP, ACTIVE = var("part"), var("lane"), var("w"), var("step"), var("active", BOOL)


def plus(one: Expr, other: Expr) -> Expr:
    return apply("add", one, other)


def times(one: Expr, other: Expr) -> Expr:
    return apply("mul", one, other)


def per(one: Expr, other: Expr) -> Expr:
    """How many times `other` covers `one`."""
    return apply("floor_divide", plus(one, apply("sub", other, ONE)), other)


ELEMENTS = (
    Extent("blocks", apply("minimum", per(SIZE, number(32)), number(3))),
    launch(
        stepped(
            "i",
            HERE,
            SIZE,
            times(var("blocks"), number(32)),
            Let("a", apply("exp", value("x", var("i")))),
            store(var("i"), apply("add", value("x", var("i")), var("a", F64))),
        ),
        blocks=var("blocks"),
    ),
)

# Groups of w threads have every p-th row of five elements; a row that does not exist has none.
COLUMN = stepped("j", LANE, apply("select", ACTIVE, number(5), ZERO), W, add_up(value("x", var("j"))))
ROWS = (
    Extent("rows", apply("floor_divide", SIZE, number(5))),
    Parts("p", var("rows"), ONE, ONE),
    Width("w", number(5), 32),
    launch(
        Let("part", apply("floor_divide", HERE, W)),
        Let("lane", apply("sub", HERE, times(PART, W))),
        For(
            "step",
            per(var("rows"), var("p")),
            (
                Let("here", plus(PART, times(STEP, var("p")))),
                Let(
                    "active",
                    apply("logical_and", apply("lt", PART, var("p")), apply("lt", var("here"), var("rows"))),
                ),
                START,
                COLUMN,
                Combine("s", "sum", W),
                When(
                    apply("logical_and", ACTIVE, apply("eq", LANE, ZERO)),
                    (store(var("here"), apply("sqrt", total())),),
                ),
            ),
        ),
        blocks=per(times(var("p"), W), number(32)),
    ),
)

TRIANGLE = (
    launch(
        START,
        stepped(
            "i",
            THREAD,
            SIZE,
            number(32),
            For("j", var("i"), (add_up(value("x", var("j"))),)),
            When(apply("lt", var("i"), number(7)), (add_up(apply("exp", total())),)),
            Update("s", "max", value("x", var("i"))),
        ),
        Combine("s", "max", number(32)),
        Combine("s", "sum", number(4)),
        only(3, store(ZERO, total())),
    ),
)

KERNELS: dict[str, tuple[tuple[Statement, ...], Expr | int]] = {
    "elements": (ELEMENTS, SIZE),
    "rows": (ROWS, var("rows")),
    "triangle": (TRIANGLE, 1),
    "behind the end": (
        (
            launch(
                START,
                stepped("i", THREAD, SIZE, ONE, add_up(value("x", var("i")))),
                only(0, store(ZERO, total())),
            ),
        ),
        1,
    ),
    "strides of a loop": (
        (
            launch(
                START,
                For("i", number(9), (stepped("j", var("i"), SIZE, ONE, add_up(value("x", var("j")))),)),
                only(0, store(ZERO, total())),
            ),
        ),
        1,
    ),
    "loops of a stride": (
        (
            launch(
                START,
                stepped("i", THREAD, SIZE, number(32), For("j", var("i"), (add_up(value("x", var("j"))),))),
                only(0, store(ZERO, total())),
            ),
        ),
        1,
    ),
    "conditions of a loop": (
        (
            launch(
                START,
                For("i", number(40), (When(apply("lt", var("i"), THREAD), (add_up(value("x", ZERO)),)),)),
                only(0, store(ZERO, total())),
            ),
        ),
        1,
    ),
    "sums in a loop": (
        (
            launch(
                Let("s", value("x", ZERO)),
                For("i", number(3), (Combine("s", "sum", number(8)),)),
                only(0, store(ZERO, total())),
            ),
        ),
        1,
    ),
    "no blocks": ((launch(store(HERE, apply("exp", value("x", ZERO))), blocks=0),), 0),
    "barriers": (
        (launch(SHARED, For("k", number(3), (store(THREAD, value("x", ZERO), "t"), Barrier()))),),
        0,
    ),
}


def kernel_of(name: str) -> Kernel:
    """A kernel whose array of results follows the extents that it binds."""
    body, size = KERNELS[name]
    made = device(*body, size=size)
    bound = [statement for statement in made.body if isinstance(statement, Extent)]
    rest = [statement for statement in made.body if not isinstance(statement, Extent)]
    return verify(Kernel("k", made.parameters, (*bound, *rest), made.results))


def parts_of(extent: int, work: int, size: int) -> int:
    return min(3, extent)


def width_of(extent: int, most: int) -> int:
    return min(4, enough_threads(extent, most))


def statements(body: tuple[Statement, ...], name: str) -> Iterator[tuple[str, str, Statement]]:
    """The symbols of the bodies that statements stand in, their own, and the statements."""
    for at, statement in enumerate(body):
        inside = f"{name}.{at}"
        yield name, inside, statement
        if isinstance(statement, For | Stride | When):
            yield from statements(statement.body, inside)


class Ran:
    """Counts the statements that threads run, and of combinations how many numbers they take in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: Counter[int] = Counter()
        self.combined: Counter[int] = Counter()
        before, combine = grid._Thread.statement, grid._combine

        def statement(thread: grid._Thread, statement: Statement) -> None:
            self.ran[id(statement)] += 1
            before(thread, statement)

        def combined(statement: Combine, threads: list[grid._Thread]) -> None:
            width = int(threads[0].scalar(statement.width))
            self.combined[id(statement)] += len(threads) * (width.bit_length() - 1)
            combine(statement, threads)

        monkeypatch.setattr(grid._Thread, "statement", statement)
        monkeypatch.setattr(grid, "_combine", combined)


@pytest.mark.parametrize("size", [1, 5, 35, 64, 100, 333])
@pytest.mark.parametrize("name", KERNELS)
def test_every_body_runs_as_often_as_its_symbol_says(name: str, size: int, monkeypatch: pytest.MonkeyPatch):
    kernel, x = kernel_of(name), np.full(size, 0.5)
    numbers = numbers_of(kernel, {"x": x}, parts_of, width_of)
    found = Ran(monkeypatch)
    if name == "rows" and size < 5:
        return  # no rows, and no results
    run(kernel, x)
    (grids,) = (statement for statement in kernel.body if isinstance(statement, Launch))
    assert numbers[grids.name] == 32 * int(value_of(grids.blocks, numbers))
    for around, own, statement in statements(grids.body, grids.name):
        if isinstance(statement, Combine):
            assert numbers[own] == found.combined[id(statement)]
        elif not isinstance(statement, Barrier | For | Stride | When):
            assert numbers[around] == found.ran[id(statement)], statement


def test_long_loops_are_counted_in_spans(monkeypatch: pytest.MonkeyPatch):
    """Sums over triangles are nearly right, loops without others in them exactly, and all turns count."""
    monkeypatch.setattr(runs, "TURNS", 10)
    size = 5000
    numbers = numbers_of(kernel_of("triangle"), {"x": np.ones(size)}, parts_of)
    assert numbers["rows_1.1"] == size
    assert numbers["rows_1.1.0"] == pytest.approx(size * (size - 1) / 2, rel=0.02)


def test_threads_are_counted_chunk_by_chunk(monkeypatch: pytest.MonkeyPatch):
    wanted = numbers_of(kernel_of("elements"), {"x": np.ones(90)}, parts_of)
    monkeypatch.setattr(runs, "THREADS", 64)
    assert numbers_of(kernel_of("elements"), {"x": np.ones(90)}, parts_of) == wanted


def operations(name: str, size: int) -> Mapping[tuple[str, DType], int]:
    kernel = kernel_of(name)
    numbers = numbers_of(kernel, {"x": np.ones(size)}, parts_of, width_of)
    return count(kernel.body, types_of(kernel)).at(numbers)


def test_operations_of_elements_are_those_of_the_loop():
    assert operations("elements", 77) == {("exp", F64): 77, ("add", F64): 77}


def test_operations_of_rows():
    """Every element is added once, and every level of a tree adds for each thread; one lane has the root."""
    threads, steps, levels = 32, 6, 2
    assert operations("rows", 80) == {("add", F64): 80 + threads * steps * levels, ("sqrt", F64): 16}


def test_reductions_count_in_their_dtype():
    body = launch(
        Let("s", number(0.0, F32)),
        Let("k", ONE),
        Let("flag", number(True, BOOL)),
        Combine("s", "max", number(8)),
        Combine("k", "sum", number(8)),
        Combine("flag", "any", number(8)),
    )
    kernel = verify(device(body))
    numbers = numbers_of(kernel, {"x": np.ones(1)}, parts_of)
    assert count(kernel.body, types_of(kernel)).at(numbers) == {("maximum", F32): 96}


@pytest.mark.parametrize(
    ("name", "size", "read", "written"),
    [
        ("elements", 77, {"x": 77}, {"y": 77}),
        ("rows", 80, {"x": 5}, {"y": 16}),
        ("triangle", 50, {"x": 50}, {"y": 1}),
        ("barriers", 9, {"x": 1}, {}),
        ("no blocks", 9, {}, {}),
    ],
)
def test_elements_in_memory(name: str, size: int, read: Mapping[str, int], written: Mapping[str, int]):
    """Shared arrays and those of threads are on the chip."""
    kernel = kernel_of(name)
    numbers = numbers_of(kernel, {"x": np.ones(size)}, parts_of, width_of)
    found = footprint(kernel.body, types_of(kernel), numbers)
    assert (found.read, found.written) == (read, written)


def test_places_that_a_thread_works_out_are_anywhere():
    """As many elements as are touched, and no more than there are; places on other axes count as they are."""
    odd = plus(times(number(2), THREAD), BLOCK)
    own = Allocate("mine", F64, (number(4),), local=True)
    body = launch(own, store(ZERO, value("x", odd), "mine"), Let("a", value("x", number(3))))
    kernel = verify(device(body))
    for size, many in ((200, 33), (20, 20)):
        numbers = numbers_of(kernel, {"x": np.ones(size)}, parts_of)
        found = footprint(kernel.body, types_of(kernel), numbers)
        assert (found.read, found.written) == ({"x": many}, {})


def test_what_depends_on_data_counts_as_happening():
    """A condition as one that holds, a loop as one turn."""
    condition = When(apply("gt", value("x", ZERO), number(2.0, F64)), (add_up(value("x", ZERO)),))
    many = convert(value("x", ZERO), DType.INT64)
    loop = For("j", many, (add_up(value("x", ZERO)), For("k", ONE, ())))
    numbers = numbers_of(device(launch(START, condition, loop)), {"x": np.ones(1)}, parts_of)
    assert (numbers["rows_1.1"], numbers["rows_1.2"], numbers["rows_1.2.1"]) == (32, 32, 32)


def test_what_does_not_run_is_counted_as_that():
    kernel = kernel_of("triangle")
    numbers = numbers_of(kernel, {"x": np.ones(0)}, parts_of)
    assert (numbers["rows_1.1"], numbers["rows_1.1.0"]) == (0, 0)
    assert count(kernel.body, types_of(kernel)).at(numbers) == {("maximum", F64): 160, ("add", F64): 64}


@pytest.mark.parametrize(("extent", "most", "given"), [(0, 32, 1), (1, 32, 1), (3, 32, 4), (33, 32, 32)])
def test_threads_for_a_row(extent: int, most: int, given: int):
    kernel = Kernel("k", (), (Width("w", number(extent), most),), ("w",))
    assert numbers_of(kernel, {}, parts_of)["w"] == given
    assert numbers_of(kernel, {}, parts_of, lambda *found: sum(found))["w"] == extent + most


def test_types_of_what_is_shared():
    found = types_of(device(launch(SHARED)))["t"]
    assert (found.dtype, found.shape) == (F64, (32,))


@pytest.mark.parametrize(
    ("value", "given"),
    [
        (apply("floor_divide", var("a"), var("b")), 2),
        (apply("floor_divide", var("a"), ZERO), 0),
        (apply("mod", var("a"), var("b")), 1),
        (apply("select", apply("lt", var("a"), var("b")), var("a"), var("b")), 3),
        (apply("select", var("unknown", BOOL), var("a"), var("b")), 7),
        (apply("minimum", var("a"), var("b")), 3),
        (apply("maximum", var("a"), load("x.shape", (ONE,), DType.INT64)), 11),
        (apply("add", var("a"), var("unknown")), None),
        (load("x", (ZERO,), DType.INT64), None),
    ],
)
def test_what_is_known_of_a_number(value: Expr, given: int | None):
    found = value_of(value, {"a": 7, "b": 3, "x.shape[1]": 11})
    assert found == given if given is not None else found is None


def test_numbers_that_change_are_not_known():
    """What a loop hands on is another number in its second turn, and behind it."""
    halved = (
        Carry("m", apply("floor_divide", var("m"), number(2))),
        For("k", var("m"), (add_up(value("x", ZERO)),)),
    )
    body = launch(
        START, Let("m", number(9)), For("j", number(2), halved), For("q", var("m"), (add_up(total()),))
    )
    numbers = numbers_of(device(body), {"x": np.ones(1)}, parts_of)
    assert (numbers["rows_1.2.1"], numbers["rows_1.3"]) == (64, 32)
    body = launch(START, Let("m", number(9)), Carry("m", ONE), For("q", var("m"), (add_up(total()),)))
    assert numbers_of(device(body), {"x": np.ones(1)}, parts_of)["rows_1.3"] == 32
    branch = When(apply("lt", THREAD, number(5)), (Carry("m", number(2)),))
    body = launch(START, Let("m", number(9)), branch, For("q", var("m"), (add_up(total()),)))
    assert numbers_of(device(body), {"x": np.ones(1)}, parts_of)["rows_1.3"] == 32
