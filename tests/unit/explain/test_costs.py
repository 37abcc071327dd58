"""What kernels cost, against counts on paper; what the roofs make of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.explain.costs import Cost, costs, memory, predict
from gradc.explain.roofs import ARITHMETIC, Roofs
from gradc.ir.extents import symbol
from gradc.ir.loop.count import CONTRACTION, Counts
from gradc.ir.loop.sizes import numbers_of
from gradc.ir.types import DType
from gradc_runtime import backends

F64, F32 = DType.F64, DType.F32
rng = np.random.default_rng(3)


def costs_of(function: Callable[..., Any], *arguments: Any, of: str = "value") -> tuple[Cost, ...]:
    """The costs of the pieces that do anything."""
    at = gradc.differentiate(function).at(*arguments)
    stages, (_, inputs) = at.inspect(of).stages, at.program_and_inputs()
    found = costs(stages, numbers_of(stages.kernel, inputs, backends.parts_of()))
    return tuple(cost for cost in found if cost.operations or cost.moved)


def vector(*shape: int, dtype: str = "float64") -> np.ndarray:
    return rng.normal(size=shape).astype(dtype)


@pytest.mark.parametrize(("dtype", "size"), [("float64", 8), ("float32", 4)])
def test_a_dot_product(dtype: str, size: int):
    n = 1000
    (cost,) = costs_of(lambda x, y: (x * y).sum(), vector(n, dtype=dtype), vector(n, dtype=dtype))
    assert (cost.operations, cost.elementary, cost.parts) == (2 * n + 1, 0, 1)  # and the sum of the one part
    assert cost.moved == 2 * size * n + 8  # and that sum in memory
    assert cost.counts.operations == 2 * symbol("x_n0") + symbol("parts")


def test_a_matrix_product():
    m, n, k = 30, 20, 10
    (cost,) = costs_of(lambda a, b: a @ b, vector(m, k), vector(k, n))
    assert (cost.kind, cost.operations) == ("product", 2 * m * n * k)
    assert cost.moved == cost.held == 8 * (m * k + k * n + m * n)
    assert cost.formula == "2*a_n0*a_n1*b_n1"


def test_elementary_functions_count_apart():
    n = 50
    (cost,) = costs_of(lambda x: np.tanh(np.exp(x) / 3) - x, vector(n))
    assert cost.elementary == 2 * n
    assert cost.operations == n * (8 + 4 + 8 + 1)
    assert dict(cost.calls) == {(name, F64): n for name in ("tanh", "exp", "div", "sub")}
    assert cost.moved == 16 * n


def test_a_reduction_of_rows():
    n, m = 40, 30
    (cost,) = costs_of(lambda x: x.sum(axis=1), vector(n, m))
    assert cost.operations == n * m
    assert cost.moved == 8 * (n * m + n)


def test_a_convolution():
    convolution = gradc.equation("y[n,o,p,q] = sum[c,i,j] w[o,c,i,j] * x[n,c,p+i,q+j]")
    n, o, c, side, window = 2, 4, 3, 10, 3
    *_, cost = costs_of(
        lambda w, x: convolution(w=w, x=x), vector(o, c, window, window), vector(n, c, side, side)
    )
    out = side - window + 1
    assert cost.operations == 2 * n * o * out * out * c * window * window
    assert cost.moved == 8 * (o * c * window * window + n * c * side * side + n * o * out * out)


def test_overlapping_windows_are_read_once():
    (cost,) = costs_of(lambda x: x[1:] * x[:-1], vector(101))
    assert (cost.operations, cost.moved) == (100, 8 * (101 + 100))


def test_a_part_of_an_array_and_a_look_up():
    at = np.array([5, 5, 2])
    (half,) = costs_of(lambda x: x[::2] + 1.0, vector(100))
    assert half.moved == 8 * 100
    *_, found = costs_of(lambda x: x[at] * 2.0, vector(100))
    assert found.moved <= 8 * 3 + 8 * 3 + 8 * 3  # indices, elements, results


def test_numbers_alone():
    (cost,) = costs_of(lambda x, y: np.sin(x * y) + x, 1.0, 2.0)
    assert (cost.kind, cost.operations, cost.moved) == ("scalars", 1 + 8 + 1, 0)


def test_a_loop_of_fixed_extent():
    weights = np.array([0.5, 0.25, 0.125])
    *_, cost = costs_of(lambda x: (x * weights).sum(axis=1), vector(20, 3))
    assert cost.operations == 20 * 3 * 2


def test_lines_of_the_source():
    def loss(w, x):
        h = np.tanh(x @ w)
        return np.square(h).sum()

    first = loss.__code__.co_firstlineno
    found = costs_of(loss, vector(4, 3), vector(5, 4), of="value_and_grad")
    lines = [{origin.line - first for origin in cost.origins} for cost in found]
    assert [cost.kind for cost in found] == ["product", "tasks", "product", "product"]
    assert lines[0] == {1}
    assert lines[1] == {1, 2}
    assert found[0].equations == ("v1[i, j] = sum[k] x[i, k] * w[k, j]",)


def test_memory():
    stages = gradc.differentiate(lambda w, x: np.tanh(x @ w).sum()).at(vector(4, 3), vector(5, 4)).inspect()
    given = {"w": vector(4, 3), "x": vector(5, 4)}
    found = memory(stages.stages.kernel, given, numbers_of(stages.stages.kernel, given, backends.parts_of()))
    assert (found.arguments, found.results) == (8 * (12 + 20), 8 * (12 + 20))
    assert found.temporaries >= 8 * 15


# --- predictions --------------------------------------------------------------------------------------------

LANES = {8: 8, 4: 16}


def roofs(threads: int = 1) -> Roofs:
    """A machine: 10 operations a second and thread, and other round numbers."""
    rates = {(ARITHMETIC, F64): 10.0, (CONTRACTION, F64): 20.0, ("exp", F64): 1.0, ("div", F64): 2.0}
    sizes = ((100, 1000.0), (10_000, 10.0))
    return Roofs(threads, {key: threads * rate for key, rate in rates.items()}, sizes, launch=0.5)


def cost(kind: str = "tasks", moved: int = 0, parts: int = 1, **calls: int) -> Cost:
    named = {(name.replace("_", "-"), F64): times for name, times in calls.items()}
    return Cost(kind, (), (), Counts(named), named, moved, moved, parts)


@pytest.mark.parametrize(
    ("found", "seconds", "bound"),
    [
        (cost(add=100), 10.0, "arithmetic"),
        (cost(add=60, mul=40), 10.0, "arithmetic"),
        (cost(multiply_add=100), 5.0, "arithmetic"),
        (cost(add=10, exp=10, div=4), 1.0 + 10.0 + 2.0, "functions"),
        (cost(add=1, moved=100), 0.1, "cache"),
        (cost(add=1, moved=10_000), 1000.0, "memory"),
        (cost(add=100, exp=1, moved=100_000), 10_000.0, "memory"),
        (cost(add=100, parts=2), 5.0 + 0.5, "arithmetic"),
        (cost(parts=2), 0.5, "overhead"),
        (cost("scalars", add=100), 80.0, "arithmetic"),
    ],
)
def test_predictions(found: Cost, seconds: float, bound: str):
    prediction = predict(found, roofs(), roofs(2), LANES)
    assert prediction.seconds == pytest.approx(seconds)
    assert prediction.bound == bound


def test_bandwidth_lies_between_what_was_measured():
    machine = roofs()
    assert machine.bandwidth(1) == pytest.approx(1000.0)
    assert machine.bandwidth(1000) == pytest.approx(100.0)  # in the middle, on a scale of powers
    assert machine.bandwidth(1e9) == pytest.approx(10.0)
    assert (machine.cache, machine.memory) == (1000.0, 10.0)
