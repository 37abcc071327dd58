"""A random straight-line program of many operations on 50 numbers: how long compilation takes, and the code."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from gradc.bench.frameworks import casadi_ways, gradc_bound, gradc_way, heyoka_way, jax_way, torch_ways
from gradc.bench.workload import Run, Workload

INPUTS = 50
OPERATIONS = ("add", "mul", "sin", "sub")
Step = tuple[str, int, int]


def inputs(small: bool) -> tuple[Any, ...]:
    """Return one vector."""
    return (np.random.default_rng(7).uniform(0.2, 1.0, INPUTS),)


def steps_of(count: int) -> list[Step]:
    """Operations on inputs and earlier results; the numbers stay of moderate size."""
    rng = np.random.default_rng(count)
    steps = []
    for at in range(INPUTS, INPUTS + count):
        left, right = (int(rng.integers(max(0, at - 60), at)) for _ in range(2))
        steps.append((OPERATIONS[int(rng.integers(4))], left, right))
    return steps


def loose_ends(steps: Sequence[Step]) -> list[int]:
    """Values that no step reads; the program's result is their sum, so every input counts."""
    read = {position for _, left, right in steps for position in (left, right)}
    return [at for at in range(INPUTS + len(steps)) if at not in read]


TEXTS = {
    "add": "0.5 * ({a} + {b})",
    "sub": "{a} - 0.5 * {b}",
    "mul": "sin({a}) * {b}",
    "sin": "sin({a}) + 0.1 * {b}",
}


def program_of(steps: Sequence[Step], sin: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return the program as Python with a line for each step, for a library with this sine; it takes a vector."""
    lines = ["def program(x):", *(f"    v{at} = x[{at}]" for at in range(INPUTS))]
    for at, (name, left, right) in enumerate(steps, INPUTS):
        lines.append(f"    v{at} = {TEXTS[name].format(a=f'v{left}', b=f'v{right}')}")
    lines.append(f"    return {' + '.join(f'v{at}' for at in loose_ends(steps))}")
    names: dict[str, Any] = {"sin": sin, "__name__": "program"}
    exec("\n".join(lines), names)
    return names["program"]


def by_hand(steps: Sequence[Step], x: np.ndarray) -> Any:
    """Run the steps, then a reverse pass, in plain Python."""
    values = x.tolist()
    for name, left, right in steps:
        a, b = values[left], values[right]
        match name:
            case "add":
                values.append(0.5 * (a + b))
            case "sub":
                values.append(a - 0.5 * b)
            case "mul":
                values.append(math.sin(a) * b)
            case _:
                values.append(math.sin(a) + 0.1 * b)
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
    return sum(values[at] for at in ends), np.array(bars[:INPUTS])


def workload(count: int) -> Workload:
    """For a number of operations."""
    steps = steps_of(count)

    def with_library(library: Any) -> Callable[..., Any]:
        return program_of(steps, library.sin)

    def numpy_way(x: np.ndarray) -> Run:
        return partial(by_hand, steps, x)

    return Workload(
        name=f"bigexpr-{count}",
        title=f"a random straight-line program of {count} operations on 50 numbers",
        inputs=inputs,
        reference=partial(by_hand, steps),
        rtol=1e-7,
        ways={
            "gradc": gradc_way(with_library(np)),
            "gradc, bound": gradc_bound(with_library(np)),
            "numpy": numpy_way,
            "jax": jax_way(lambda jax: with_library(jax.numpy), 1),
            **torch_ways(with_library, 1),
            **casadi_ways(lambda casadi, x: with_library(casadi)(x)),
            "heyoka": heyoka_way(lambda heyoka, *x: with_library(heyoka)(x)),
        },
        notes={"numpy": "a reverse pass in plain Python", "heyoka": "reads and writes arrays in place"},
    )


WORKLOADS = (workload(2_000), workload(10_000))
