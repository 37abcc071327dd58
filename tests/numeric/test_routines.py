"""Routines: what is compiled does what the text says, and what is not in their language is refused by line."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numba
import numpy as np
import pytest

from gradc_runtime.routines import exported, for_python, routine
from gradc_runtime.simd import element_access

NUMBERS = (-7, -3, -1, 0, 1, 2, 3, 5, 12)
LIMIT = 4
load, store = element_access(0)
read_number, write_number = element_access(64)
HALF = np.float64(0.5)


def arithmetic(a: int, b: int, c: int) -> int:
    """Operators, and the names of numbers."""
    d = a * 3 - b + LIMIT
    d += c
    return -d if d % 5 == 2 else d * d - (a // 4) + (b // -4) + c % 3 + c % -5


def division(a: int, b: int, c: int) -> int:
    if b == 0:
        return c
    return 100 * (a // b) + a % b


def truths(a: int, b: int, c: int) -> int:
    found = (a < b and b <= c) or not (a + 1 == c or c < 0)
    if found and a != 1:
        return 1
    elif b > c or a >= c:
        return 2
    return 3


def shortcut(a: int, b: int, c: int) -> int:
    # What stands behind `and` is looked at only where it counts: dividing by zero ends a process.
    safe = b != 0 and 12 // b == c
    unsafe = b == 0 or 12 % b == a
    return (1 if safe else 0) + (12 // b if b != 0 else 7) + (2 if unsafe else 0)


def extremes(a: int, b: int, c: int) -> int:
    return 100 * min(a, b, c) + max(a, b) - min(max(c, 2), 9)


def loops(a: int, b: int, c: int) -> int:
    total = 0
    for at in range(a):
        total += at
    for at in range(b, a, 2):
        if at == c:
            continue
        total = total * 3 + at
    for at in range(a, b, -3):
        total -= at
        if total < -50:
            break
    step = max(c, 1)
    for at in range(0, 20, step):
        for _ in range(at):
            total += 1
    while total > 40:
        total = total // 2
    return total


def variable_behind_a_loop(a: int, b: int, c: int) -> int:
    last = -1
    for at in range(a):
        last = at
        at = 100
        if last > b:
            break
    return last


def pairs(a: int, b: int, c: int) -> int:
    a, b = b, a
    low, high = (a, b) if a < b else (b, a)
    return low * 1000 + high + c


@pytest.mark.parametrize(
    "function",
    [arithmetic, division, truths, shortcut, extremes, loops, variable_behind_a_loop, pairs],
    ids=lambda function: function.__name__,
)
def test_compiled_as_the_text_stands(function: Callable[..., int]):
    compiled = for_python(f"gradc_test_{function.__name__}", function)
    for given in product(NUMBERS, repeat=3):
        assert compiled(*given) == function(*given), given


def test_routines_call_each_other_instructions_and_symbols():
    @routine
    def both(words: int) -> tuple[int, int]:
        return load(words), load(words + 8)

    @routine
    def twice(value: int) -> int:
        return 2 * value

    def inner(value: int) -> int:
        return twice(value) + 1

    by_symbol = exported("gradc_test_inner", inner)

    def outer(words: int, count: int) -> None:
        first, second = both(words)
        for at in range(count):
            store(words + 8 * at, by_symbol(twice(first)) + second)

    call = for_python("gradc_test_outer", outer)
    words = np.array([5, 3, 0, -1])
    call(words.ctypes.data, 3)
    assert words.tolist() == [24, 24, 24, -1]  # 2 * (2 * 5) + 1 + 3


def test_numbers_are_those_of_the_instructions():
    def scale(place: int, count: int) -> int:
        above = 0
        for at in range(count):
            value = read_number(place + 8 * at) * HALF + HALF
            write_number(place + 8 * at, value - HALF if value > HALF else value)
            above += 1 if value > HALF else 0
        return above

    numbers = np.array([2.0, -4.0, 1.0])
    assert for_python("gradc_test_scale", scale)(numbers.ctypes.data, 3) == 2
    assert numbers.tolist() == [1.0, -1.5, 0.5]


def test_a_number_that_is_none_is_unequal_to_itself():
    def unequal(place: int) -> int:
        value = read_number(place)
        return (1 if value != value else 0) + (2 if value == value else 0)

    found = for_python("gradc_test_unequal", unequal)
    assert [found(np.array([value]).ctypes.data) for value in (np.nan, 1.0)] == [1, 2]


def test_compiled_code_of_numba_calls_a_routine():
    def shifted(value: int) -> int:
        return value + LIMIT

    call = exported("gradc_test_shifted", shifted)
    run: Any = numba.njit(lambda value: 10 * call(value))
    assert run(3) == 70


def kinds_mixed(a: int) -> int:
    a = a > 0
    return 1


def number_for_truth(a: int) -> int:
    return 1 if a else 0


def truth_returned(a: int) -> int:
    return a > 1


def nothing_kept(a: int) -> int:
    b = store(a, 1)
    return b


def unknown(a: int) -> int:
    return a + nowhere  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore


def not_a_routine(a: int) -> int:
    return abs(a)


def a_list(a: int) -> int:
    b = [a]
    return b[0]


def a_with(a: int) -> int:
    with a:  # type: ignore[attr-defined]  # pyright: ignore
        return 1


def no_kind(a) -> int:  # type: ignore[no-untyped-def]
    return 1


def real_division(a: int) -> int:
    return a / 2  # type: ignore[return-value]  # pyright: ignore


def chained(a: int) -> int:
    return 1 if 0 < a < 3 else 0


def arms_differ(a: int) -> int:
    b = 1 if a > 0 else a > 2
    return b + 1


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (kinds_mixed, "a was i64 before and is i1 now"),
        (number_for_truth, "'a' is neither true nor false"),
        (truth_returned, "i1 is returned, not i64"),
        (nothing_kept, "b is given nothing"),
        (unknown, "'nowhere' has no value here"),
        (not_a_routine, "'abs' has no value here"),
        (a_list, "'\\[a\\]' is not in the language"),
        (a_with, "is not in the language"),
        (no_kind, "annotate every argument"),
        (real_division, "Div of i64 is not in the language"),
        (chained, "'0 < a < 3' is not in the language"),
        (arms_differ, "i64 or i1: the arms differ"),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_what_is_not_in_the_language_is_refused(function: Callable[..., int], what: str):
    with pytest.raises(TypeError, match=what) as refused:
        exported(f"gradc_refused_{function.__name__}", function)
    assert f"routine {function.__name__}" in str(refused.value)
    if function is not no_kind:
        assert "test_routines.py:" in str(refused.value)
