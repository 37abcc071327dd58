"""Operations and bytes of equations and pieces, against counts on paper."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.explain.costs import costs
from gradc.explain.kernels.counts import equation_costs, show_counts
from gradc.ir.extents import evaluate
from gradc.ir.loop.sizes import numbers_of
from gradc.ir.stages import Stages
from gradc_runtime import backends

rng = np.random.default_rng(5)


def vector(*shape: int) -> np.ndarray:
    return rng.normal(size=shape)


def with_numbers(
    function: Callable[..., Any], *arguments: Any, of: str = "value"
) -> tuple[Stages, dict[str, int]]:
    at = gradc.differentiate(function).at(*arguments)
    stages, (_, inputs) = at.inspect(of).stages, at.program_and_inputs()
    return stages, numbers_of(stages.kernel, inputs, backends.parts_of())


def only(function: Callable[..., Any], *arguments: Any) -> tuple[int, int, str]:
    stages, numbers = with_numbers(function, *arguments)
    (cost,) = equation_costs(stages.optimised)
    return evaluate(cost.operations, numbers), evaluate(cost.bytes, numbers), cost.formula


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (lambda x, y: x + y, (vector(5), vector(5)), (5, 120, "x_n0")),
        (lambda x: np.exp(x), (vector(5),), (40, 80, "8*x_n0")),
        (lambda x: x / 3, (vector(5),), (20, 80, "4*x_n0")),
        (lambda x: x.sum(axis=1), (vector(5, 3),), (15, 160, "x_n0*x_n1")),
        (lambda a, b: a @ b, (vector(5, 3), vector(3, 2)), (60, 8 * 31, "2*a_n0*b_n1*a_n1")),
        (lambda x: x > 1, (vector(5),), (0, 45, "")),
        (lambda x: x[1:] * x[:-1], (vector(5),), (4, 72, "(x_n0 - 1)")),
        (lambda a, b: np.linalg.solve(a, b), (np.eye(3), vector(3, 2)), (27 + 36, 8 * 21, None)),
    ],
)
def test_an_equation_by_itself(
    function: Callable[..., Any], arguments: tuple[Any, ...], expected: tuple[int, int, str | None]
):
    operations, moved, formula = only(function, *arguments)
    assert (operations, moved) == expected[:2]
    assert formula == expected[2] or expected[2] is None


def test_equations_and_pieces_agree_where_nothing_folds():
    stages, numbers = with_numbers(lambda x: np.tanh(np.exp(x) / 3) - x, vector(50))
    alone = sum(evaluate(cost.operations, numbers) for cost in equation_costs(stages.optimised))
    assert alone == sum(cost.operations for cost in costs(stages, numbers)) == 50 * (8 + 4 + 8 + 1)


def test_what_sharing_a_loop_saves_is_what_is_not_written_and_read_again():
    stages, numbers = with_numbers(lambda x: np.tanh(np.exp(x)), vector(1000))
    text = show_counts(stages, numbers)
    assert "Sharing loops saves 16 kB of 32 kB read and written (50 %)." in text
    assert text.count("together") == 2
    assert "x_n0 = 1000" in text.splitlines()[0]


def test_a_piece_alone_saves_nothing():
    stages, numbers = with_numbers(lambda a, b: a @ b, vector(40, 30), vector(30, 20))
    assert "Sharing loops saves nothing" in show_counts(stages, numbers)


def test_a_number_has_a_table_too():
    stages, numbers = with_numbers(lambda x, y: np.sin(x * y), 0.5, 1.5, of="value_and_grad")
    text = show_counts(stages, numbers)
    assert "for numbers alone" in text
    assert "v2 = sin(v1)" in text
