"""Blocks of scalar steps: their order, and what they compute."""

from __future__ import annotations

import random
import re
from fractions import Fraction
from typing import Any

import numba
import numpy as np
import pytest

from gradc_runtime import machine_code, scalars, vecmath
from gradc_runtime.block_builder import LONGEST
from gradc_runtime.object_code import Source
from gradc_runtime.straight_line import FEWEST, Step, _compiled, in_levels, straight_line

UNARY = ("sin", "cos", "exp", "tanh", "expit", "arctan", "erf")
BINARY = ("arctan2", "logaddexp")
PLAIN = ("add", "sub", "mul", "square", "maximum")
COUNT = 6  # numbers in each of the two arrays: one to read, one to read and write


def program(seed: int, length: int) -> list[Step]:
    """A random program; its numbers stay of moderate size."""
    choose = random.Random(seed)
    steps: list[Step] = [("load", 0, at) for at in range(COUNT)]
    values = list(range(COUNT))
    while len(steps) < length:
        kind = choose.choice(("unary", "unary", "plain", "binary", "load", "store", "add_to"))
        a, b = (choose.choice(values[-40:]) for _ in range(2))
        match kind:
            case "unary":
                step: Step = (choose.choice(UNARY), a)
            case "binary":
                step = (choose.choice(BINARY), a, b)
            case "plain":
                steps.append((choose.choice(PLAIN), a, b))
                if steps[-1][0] == "square":
                    steps[-1] = ("square", a)
                step = ("sin", len(steps) - 1)
            case "load":
                step = ("load", choose.randrange(2), choose.randrange(COUNT))
            case _:
                steps.append((kind, 1, choose.randrange(COUNT), a))
                continue
        steps.append(step)
        values.append(len(steps) - 1)
    return steps


def interpret(steps: list[Step], arrays: list[np.ndarray]) -> None:
    """One step after the other, as they stand."""
    plain: dict[str, Any] = {"add": np.add, "sub": np.subtract, "mul": np.multiply}
    values: list[Any] = []
    for step in steps:
        match step:
            case ("constant", value):
                values.append(np.float64(value))
            case ("load", which, at):
                values.append(arrays[which][at])
            case ("store", which, at, value):
                arrays[which][at] = values[value]
                values.append(None)
            case ("add_to", which, at, value):
                arrays[which][at] += values[value]
                values.append(None)
            case (name, *operands):
                function = plain.get(name) or getattr(scalars, name, None) or getattr(vecmath, name)
                values.append(function(*(values[operand] for operand in operands)))
            case _:
                raise AssertionError(step)


def reference(x: np.ndarray, y: np.ndarray) -> None:
    raise AssertionError("compiled code has steps instead")


@pytest.mark.parametrize("seed", range(200))
def test_steps_come_after_what_they_need(seed: int):
    steps = program(seed, 40 + 7 * seed)
    order = in_levels(steps)
    place = {number: at for at, numbers in enumerate(order) for number in numbers}
    assert sorted(place) == list(range(len(steps)))
    touching: dict[int, int] = {}
    for number, step in enumerate(steps):
        operands = step[1:] if step[0] not in ("load", "store", "add_to") else step[3:]
        assert all(place[operand] < place[number] for operand in operands)
        if step[0] in ("load", "store", "add_to") and step[1] == 1:
            assert touching.get(1, -1) < place[number]
            touching[1] = place[number]
    groups = [numbers for numbers in order if len(numbers) > 1]
    assert all(len({steps[number][0] for number in numbers}) == 1 for numbers in groups)
    assert seed < 20 or groups


@pytest.mark.parametrize(("seed", "length"), [(1, 30), (2, 400), (3, 2000)])
def test_results_are_those_of_one_step_after_the_other(seed: int, length: int):
    steps = program(seed, length)
    block = straight_line(steps)(lambda x, y: reference(x, y))
    run = numba.njit(lambda x, y: block(x, y))
    x = np.random.default_rng(seed).uniform(-1, 1, COUNT)
    found, expected = np.ones(COUNT), np.ones(COUNT)
    run(x, found)
    interpret(steps, [x, expected])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("count", range(1, 20))
def test_any_number_of_calls_fills_vectors(count: int):
    """Also where the last vector is not full, and where there are too few calls for one."""
    steps: list[Step] = [("load", 0, at) for at in range(count)]
    steps += [("exp", at) for at in range(count)]
    steps += [("arctan2", count + at, at) for at in range(count)]
    steps += [("store", 1, at, 2 * count + at) for at in range(count)]
    together = [len(numbers) for numbers in in_levels(steps) if len(numbers) > 1]
    assert together == ([count, count] if count >= FEWEST else [])
    block = straight_line(steps)(lambda x, y: reference(x, y))
    x, y = np.linspace(-1, 1, count), np.full(count + 1, np.nan)
    numba.njit(lambda x, y: block(x, y))(x, y)
    np.testing.assert_allclose(y[:count], np.arctan2(np.exp(x), x), rtol=1e-14)
    assert np.isnan(y[count])


def test_a_program_of_many_sines_calls_them_together():
    steps: list[Step] = [("load", 0, 0)]
    for _ in range(50):
        steps += [("sin", 0)] if len(steps) < 9 else [("sin", len(steps) - 8)]
    widths = [len(numbers) for numbers in in_levels(steps) if len(numbers) > 1]
    assert widths == [8, 8, 8, 8, 8, 8]


def test_plain_operations_are_those_of_python(monkeypatch: pytest.MonkeyPatch):
    steps: list[Step] = [("load", 0, 0), ("load", 0, 1)]
    steps += [("add", 0, 1), ("sub", 0, 1), ("mul", 0, 1), ("div", 0, 1), ("neg", 0), ("plus", 1, 4)]
    steps += [("store", 1, at, 2 + at) for at in range(6)]
    sources: list[Source] = []
    with monkeypatch.context() as patch:
        patch.setattr(machine_code, "build", sources.append)
        _compiled(tuple(steps), (True, True))
    _compiled.cache_clear()
    assert "= fadd reassoc nsz contract double %" in sources[0].text
    assert "= fmul contract double %" in sources[0].text
    block = straight_line(steps)(lambda x, y: reference(x, y))
    x, y = np.array([1.1, 0.3]), np.zeros(6)
    numba.njit(lambda x, y: block(x, y))(x, y)
    a, b = x
    np.testing.assert_array_equal(y[:5], [a + b, a - b, a * b, a / b, -a])
    assert y[5] in (a * b + b, float(Fraction(a) * Fraction(b) + Fraction(b)))


def test_long_blocks_are_cut_for_llvm(monkeypatch: pytest.MonkeyPatch):
    """Else the time in which it chooses instructions grows with the square of their number."""
    sources: list[Source] = []
    monkeypatch.setattr(machine_code, "build", sources.append)
    for length in (LONGEST // 8, 20 * LONGEST):
        steps: list[Step] = [("load", 0, 0)]
        steps += [("mul" if number % 2 else "add", number, 0) for number in range(length)]
        steps.append(("store", 1, 0, length))
        _compiled(tuple(steps), (True, True))
    texts = [source.assembly() for source in sources]
    assert [len(re.findall(r"^\.?Ltmp\d+:", text, re.MULTILINE)) for text in texts] == [0, 19]
    assert "gradc_cuts" not in texts[1]
