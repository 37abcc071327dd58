"""Iterations in the lanes of vectors: random runs of steps, and the order in which they are put."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import pytest
from llvmlite import ir

from gradc_runtime import lane_rows, lanes, simd
from gradc_runtime.lane_order import in_order
from gradc_runtime.lane_rows import windows
from gradc_runtime.lanes import over_lanes, run_lanes
from gradc_runtime.straight_line import Step, operands_of

FUNCTIONS: dict[str, Any] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "plus": operator.add,
    "neg": operator.neg,
    "reciprocal": lambda a: 1 / a,
    "lt": operator.lt,
    "select": lambda condition, a, b: a if condition else b,
}
COLUMNS = 13


def run_of(seed: int, *, in_place: bool = False) -> list[Step]:
    """Random steps: rows of argument 0 and the numbers of argument 1 in, rows of 2, numbers of 3 and a total out."""
    rng = np.random.default_rng(seed)
    read = rng.choice(COLUMNS, 9, replace=False)
    steps: list[Step] = [("constant", 0.0), ("constant", 0.5 + seed), ("load", 1, (None,))]
    steps += [("load", 0, (None, int(at))) for at in read]
    steps += [("load", 0, (None, 4) if in_place else (0, 4)), ("argument", 4)]
    numbers = list(range(1, len(steps)))
    for _ in range(60):
        a, b, c = (int(numbers[at]) for at in rng.integers(len(numbers), size=3))
        match rng.integers(9):
            case 0:
                steps += [("lt", a, b), ("select", len(steps), c, b)]
            case 1:
                steps += [("lt", a, b), ("select", len(steps), c, 0), ("plus", a, len(steps) + 1)]
            case 2:
                steps += [("lt", a, b), ("select", len(steps), 0, c), ("plus", a, len(steps) + 1)]
            case 3:
                steps += [("mul", a, b), ("plus", c, len(steps))]
            case 4:
                steps += [("mul", a, a), ("add", 1, len(steps)), ("reciprocal", len(steps) + 1)]
            case 5:
                steps += [("lt", a, b), ("select", len(steps), c, 1), ("plus", a, len(steps) + 1)]
            case which:
                steps.append((("add", "sub", "mul")[int(which) - 6], a, b))
        numbers.append(len(steps) - 1)
    written = sorted(int(at) for at in rng.choice(COLUMNS, 10, replace=False))
    target = 0 if in_place else 2
    steps += [("store", target, (None, at), int(rng.choice(numbers[-20:]))) for at in written]
    steps += [("store", 3, (None,), numbers[-1]), ("sum", 0, numbers[-2])]
    return steps


def evaluate(steps: Sequence[Step], at: int, totals: Any, arguments: Sequence[Any]) -> None:
    """One iteration, step by step."""
    found: list[Any] = []
    for step in steps:
        match step:
            case ("constant", value):
                found.append(value)
            case ("argument", position):
                found.append(arguments[position])
            case ("load", position, place):
                found.append(arguments[position][tuple(at if index is None else index for index in place)])
            case ("store", position, place, operand):
                arguments[position][tuple(at if index is None else index for index in place)] = found[operand]
                found.append(None)
            case ("sum", total, operand):
                totals[total] += found[operand]
                found.append(None)
            case (function, *operands):
                found.append(FUNCTIONS[function](*(found[operand] for operand in operands)))
            case _:
                raise AssertionError(step)


def arrays(count: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(count)
    x, numbers = rng.uniform(-1, 1, (count, COLUMNS)), rng.uniform(-1, 1, count)
    return x, numbers, np.full((count, COLUMNS), 7.0), np.full(count, 7.0), 0.25


def compare(steps: Sequence[Step], given: tuple[Any, ...], first: int) -> None:
    """Run the steps compiled, and one by one."""
    block = over_lanes(steps)(lambda i, totals, a, b, c, d, e: None)
    run: Any = numba.njit(
        lambda totals, a, b, c, d, e: run_lanes(block, first, len(a) - first, totals, (a, b, c, d, e))
    )
    wanted, totals = [np.copy(array) for array in given], np.zeros((2, 1))
    run(totals[0], *given)
    for at in range(first, len(given[0])):
        evaluate(steps, at, totals[1], wanted)
    for found, expected in zip(given, wanted, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(*totals, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [64, 32, 16])
@pytest.mark.parametrize("count", [1, 3, 8, 21])
def test_random_runs(count: int, size: int, monkeypatch: pytest.MonkeyPatch):
    """Vectors of every size; on processors that have no larger ones LLVM takes them apart."""
    for module in (lanes, lane_rows, simd):
        monkeypatch.setattr(module, "vector_bytes", lambda: size)
    compare(run_of(100 * count + size), arrays(count), first=count // 4)


def test_rows_that_are_read_and_written():
    compare(run_of(5, in_place=True), arrays(19), first=0)


def test_arrays_with_other_strides():
    x, numbers, rows, found, scale = arrays(18)
    compare(run_of(6), (x[::2], numbers[::2], rows[::2], found[::2], scale), first=1)


def test_elements_of_a_diagonal_are_written_in_their_order():
    """``x[i, i]`` and ``x[i, 3]`` are one element where i is 3: neither overtakes the other."""
    steps: list[Step] = [("load", 1, (None,)), ("constant", 2.0), ("mul", 0, 1)]
    steps += [("load", 0, (None, None)), ("load", 0, (None, 3)), ("add", 3, 4), ("sum", 0, 5)]
    places: list[tuple[int | None, ...]] = [(None, 2), (None, None), (None, 3), (None, 4)]
    steps += [("store", 2, place, (0, 2, 0, 0)[at]) for at, place in enumerate(places)]
    compare(steps, arrays(9), first=0)


def test_nothing_is_read_behind_a_row():
    """Three neighbours are read by a vector of four under a mask: behind them there may be no memory."""
    steps: list[Step] = [("load", 0, (None, at)) for at in range(3)]
    steps += [("add", 0, 1), ("add", 3, 2), ("store", 1, (None,), 4)]
    word, number = ir.IntType(64), ir.DoubleType()
    module = ir.Module()
    kind = ir.FunctionType(ir.VoidType(), [word, word, number.as_pointer(), *[word] * 5])
    builder = ir.IRBuilder(ir.Function(module, kind, "loop").append_basic_block())
    lanes._Loop(builder, ((2, True), (1, True))).emit(steps)
    text = str(module)
    if simd.vector_bytes() >= 32:
        assert "<4 x i1> <i1 1, i1 1, i1 1, i1 0>" in text
        assert "load <4 x double>" not in text.replace("masked.load", "")


# --- order --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("registers", [4, 40])
@pytest.mark.parametrize("seed", range(6))
def test_another_order_means_the_same(seed: int, registers: int):
    steps, given = run_of(seed), arrays(2)
    ordered = in_order(steps, 8, registers)
    for number, step in enumerate(ordered):
        assert all(operand < number for operand in operands_of(step))
    wanted, found = ([np.copy(array) for array in given] for _ in range(2))
    totals = np.zeros((2, 1))
    for at, (order, arguments) in enumerate(((steps, wanted), (ordered, found))):
        evaluate(order, 1, totals[at], arguments)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
    assert totals[0] == totals[1]


def alive(steps: Sequence[Step]) -> int:
    """Results of computations that are needed at once."""
    last = {operand: number for number, step in enumerate(steps) for operand in operands_of(step)}
    kept = [number for number, step in enumerate(steps) if step[0] not in ("load", "constant", "store")]
    return max(sum(number < at <= last.get(number, 0) for number in kept) for at in range(len(steps)))


def test_what_is_stored_together_is_computed_together():
    steps: list[Step] = [("load", 0, (None, at)) for at in range(12)]
    for row in range(6):
        steps += [("mul", at, (at + row) % 12) for at in range(8)]
    results = range(12, len(steps))
    steps += [("store", 1, (None, number // 8, number % 8), result) for number, result in enumerate(results)]
    ordered = in_order(steps, 8, 12)
    assert len(ordered) == len(steps)
    assert alive(steps) == 48
    assert alive(ordered) <= 13
    stored = [number for number, step in enumerate(ordered) if step[0] == "store"]
    for first in range(0, 48, 8):  # one row after the other
        assert stored[first + 7] - stored[first] == 7
        assert len({ordered[number][2][1] for number in stored[first : first + 8]}) == 1


def test_the_last_of_two_stores_to_a_place_is_the_last():
    steps: list[Step] = [("load", 0, (None, 0)), ("neg", 0), ("mul", 0, 0), ("mul", 2, 2), ("mul", 3, 3)]
    steps += [("store", 1, (None, 0), 4), ("store", 1, (None, 0), 1)]
    stores = [step for step in in_order(steps, 8, 40) if step[0] == "store"]
    assert [step[3] for step in stores] == [4, 1]


def test_registers_are_not_exceeded_for_speed():
    """Thirty chains that are equally long, each stored by itself: not all of them at once."""
    steps: list[Step] = [("load", 0, (None, at)) for at in range(30)]
    for step in range(3):
        steps += [("mul", 30 * step + at, at) for at in range(30)]
    steps += [("store", 1, (None, at, 0), 90 + at) for at in range(30)]
    assert alive(in_order(steps, 8, 1000)) > 10
    assert alive(in_order(steps, 8, 6)) <= 7


def test_long_ways_come_first():
    """A chain of divisions starts at once, and what is short waits for its pauses."""
    steps: list[Step] = [("load", 0, (None, 0)), ("load", 0, (None, 1))]
    steps += [("mul", 0, 0)] + [("mul", 2 + at, 0) for at in range(3)]
    steps += [("div", 0, 1), ("div", 6, 1), ("add", 5, 7), ("store", 1, (None, 0), 8)]
    ordered = [step[0] for step in in_order(steps, 8, 40)]
    assert ordered.index("div") < ordered.index("mul")


def test_dead_steps_are_left_out():
    steps: list[Step] = [("load", 0, (None, 0)), ("mul", 0, 0), ("neg", 0), ("store", 1, (None, 0), 2)]
    assert in_order(steps, 8, 40) == (("load", 0, (None, 0)), ("neg", 0), ("store", 1, (None, 0), 1))


@pytest.mark.parametrize("gaps", [True, False])
def test_windows_of_rows(gaps: bool):
    columns = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 20]
    found = windows(columns, 8, gaps=gaps)
    assert found == ([[0, 1, 2, 3, 5, 6, 7], [8, 9, 10]] if gaps else [[0, 1, 2, 3], [5, 6, 7, 8], [9, 10]])
