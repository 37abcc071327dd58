"""Straight-line programs of numbers: the logistic map, and random programs of many operations and 50 inputs.

The ratios compare with a reverse pass in plain Python.  Seconds to compile stand in the title.
"""

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from measuring import Row, Way, measure, show, show_machine

from gradc import differentiate

INPUTS = 50
OPERATIONS = ("add", "mul", "sin", "sub")
Step = tuple[str, int, int]


@differentiate
def logistic(x, r):
    for _ in range(20):
        x = r * x * (1 - x)
    return x


def logistic_by_hand(x: float, r: float):
    path = [x]
    for _ in range(20):
        path.append(r * path[-1] * (1 - path[-1]))
    x_bar, r_bar = 1.0, 0.0
    for before in reversed(path[:-1]):
        r_bar += x_bar * before * (1 - before)
        x_bar *= r * (1 - 2 * before)
    return path[-1], (x_bar, r_bar)


def random_steps(count: int, rng: np.random.Generator) -> list[Step]:
    """Operations on inputs and earlier results; the numbers stay of moderate size."""
    steps = []
    for at in range(INPUTS, INPUTS + count):
        left, right = (int(rng.integers(max(0, at - 60), at)) for _ in range(2))
        steps.append((OPERATIONS[int(rng.integers(4))], left, right))
    return steps


def loose_ends(steps: Sequence[Step]) -> list[int]:
    """Values that no step reads; the program's result is their sum, so every input counts."""
    read = {position for _, left, right in steps for position in (left, right)}
    return [at for at in range(INPUTS + len(steps)) if at not in read]


def interpret(steps: Sequence[Step], x: Sequence[Any], sin: Any) -> list[Any]:
    values = list(x)
    for name, left, right in steps:
        a, b = values[left], values[right]
        match name:
            case "add":
                values.append(0.5 * (a + b))
            case "sub":
                values.append(a - 0.5 * b)
            case "mul":
                values.append(sin(a) * b)
            case _:
                values.append(sin(a) + 0.1 * b)
    return values


def by_hand(steps: Sequence[Step], x: Sequence[float]):
    values = interpret(steps, x, math.sin)
    ends = set(loose_ends(steps))
    bars = [float(at in ends) for at in range(len(values))]
    for at in range(len(values) - 1, INPUTS - 1, -1):
        name, left, right = steps[at - INPUTS]
        a, b, bar = values[left], values[right], bars[at]
        match name:
            case "add":
                slopes = (0.5, 0.5)
            case "sub":
                slopes = (1.0, -0.5)
            case "mul":
                slopes = (math.cos(a) * b, math.sin(a))
            case _:
                slopes = (math.cos(a), 0.1)
        bars[left] += bar * slopes[0]
        bars[right] += bar * slopes[1]
    return sum(values[at] for at in ends), bars[:INPUTS]


def random_program(count: int, rounds: int) -> tuple[str, list[Row]]:
    rng = np.random.default_rng(count)
    steps = random_steps(count, rng)
    ends = loose_ends(steps)
    x = tuple(map(float, rng.uniform(0.2, 1.0, INPUTS)))

    @differentiate
    def program(x):
        values = interpret(steps, x, np.sin)
        return sum([values[at] for at in ends])

    begin = time.perf_counter()
    kernel = program.kernel(x)
    seconds = time.perf_counter() - begin
    ways = [Way("Python by hand", lambda: by_hand(steps, x)), Way("gradc kernel", lambda: kernel(*x))]
    return f"random program, {count} operations (compiled in {seconds:.2f} s)", measure(
        ways, rounds=rounds, rtol=1e-6
    )


def run(small: bool = False) -> dict[str, list[Row]]:
    rounds = 2 if small else 15
    ways = [
        Way("Python by hand", lambda: logistic_by_hand(0.3, 3.7)),
        Way("gradc value_and_grad", lambda: logistic.value_and_grad(0.3, 3.7)),
    ]
    tables = {"logistic map, 20 steps": measure(ways, rounds=rounds, rtol=1e-6)}
    tables |= dict(random_program(count, rounds) for count in ((30,) if small else (200, 2_000)))
    return tables


if __name__ == "__main__":
    show_machine()
    for title, rows in run().items():
        show(title, rows)
