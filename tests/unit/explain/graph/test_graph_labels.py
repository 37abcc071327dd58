"""What stands in a gate and on a wire: a label for every kind of equation, and numbers in a few characters."""

import math
from typing import Any

import numpy as np
import pytest
from tests.unit.explain.graph.samples import SAMPLES, inspection_of, normal, stages_of

from gradc.explain.graph.summary import CELLS, figure, summary
from gradc.explain.graph.symbols import WIDEST, symbol
from gradc.ir.functions import FUNCTIONS
from gradc.ir.index.build import IDENTITY
from gradc.ir.index.nodes import Access, Assign, Const, Equation, ExtentValue, IndexValue, Reduce, outputs_of
from gradc.ir.index.templates import apply, composite, placeholder, template
from gradc.ir.types import DType

ROW = (5,)
X, Y, Z = (Access(name, IDENTITY[1]) for name in "xyz")


def number(value: float) -> Const:
    return Const(value, DType.F64)


def pointwise(name: str, *operands: Any) -> Assign:
    return Assign("out", ROW, 1, None, template(name), operands)


def reduced(op: str, name: str, *operands: Any, space: tuple[int, ...] = (5,), rank: int = 0) -> Assign:
    return Assign("out", space, rank, Reduce(op, DType.F64), template(name), operands)


POINTWISE: list[tuple[Equation, str]] = [
    (pointwise("add", X, Y), "+"),
    (pointwise("sub", X, Y), "−"),
    (pointwise("mul", X, Y), "×"),
    (pointwise("div", X, Y), "/"),
    (pointwise("pow", X, Y), "x^y"),
    (pointwise("neg", X), "−"),
    (pointwise("square", X), "x²"),
    (pointwise("reciprocal", X), "1/x"),
    (pointwise("sqrt", X), "√"),
    (pointwise("abs", X), "|x|"),
    (pointwise("maximum", X, Y), "max"),
    (pointwise("minimum", X, Y), "min"),
    (pointwise("exp", X), "exp"),
    (pointwise("tanh", X), "tanh"),
    (pointwise("select", X, Y, Z), "if"),
    (pointwise("lt", X, Y), "<"),
    (pointwise("le", X, Y), "≤"),
    (pointwise("gt", X, Y), ">"),
    (pointwise("ge", X, Y), "≥"),
    (pointwise("eq", X, Y), "="),
    (pointwise("ne", X, Y), "≠"),
    (pointwise("logical_and", X, Y), "and"),
    (pointwise("logical_or", X, Y), "or"),
    (pointwise("logical_not", X), "not"),
]
WITH_NUMBERS: list[tuple[Equation, str]] = [
    (pointwise("add", X, number(1.0)), "+1"),
    (pointwise("add", number(1.0), X), "+1"),
    (pointwise("sub", X, number(2.0)), "−2"),
    (pointwise("sub", number(2.0), X), "2−x"),
    (pointwise("mul", number(0.5), X), "×0.5"),
    (pointwise("div", X, number(3.0)), "/3"),
    (pointwise("div", number(1.0), X), "1/x"),
    (pointwise("pow", X, number(3.0)), "x^3"),
    (pointwise("pow", number(2.0), X), "2^x"),
    (pointwise("mul", X, number(1 / 3)), "×0.3333"),
    (pointwise("maximum", X, number(0.0)), "max"),
    (pointwise("add", number(1.0), number(2.0)), "+"),
]
COPIES: list[tuple[Equation, str]] = [
    (pointwise("copy", X), "copy"),
    (pointwise("copy", Access("x", ())), "broadcast"),
    (pointwise("copy", number(2.5)), "2.5"),
    (pointwise("copy", IndexValue(0)), "i"),
    (pointwise("copy", ExtentValue(7)), "7"),
    (Assign("out", (2, 3), 2, None, template("copy"), (Access("x", (1, 0)),)), "[j, i]"),
]
REDUCTIONS: list[tuple[Equation, str]] = [
    (reduced("sum", "copy", X), "Σ_i"),
    (reduced("prod", "copy", X), "Π_i"),
    (reduced("max", "copy", X), "max_i"),
    (reduced("min", "copy", X), "min_i"),
    (reduced("any", "copy", X), "any_i"),
    (reduced("all", "copy", X), "all_i"),
    (reduced("sum", "mul", X, Y), "Σ_i ×"),
    (reduced("sum", "square", X), "Σ_i x²"),
    (reduced("sum", "mul", Access("x", (0, 2)), Access("y", (2, 1)), space=(2, 3, 4), rank=2), "Σ_k ×"),
    (reduced("sum", "copy", Access("x", (0, 1)), space=(2, 3), rank=0), "Σ_i,j"),
]


@pytest.mark.parametrize(
    ("equation", "label"), POINTWISE + WITH_NUMBERS + COPIES + REDUCTIONS, ids=lambda item: str(item)[:20]
)
def test_a_gate_of_the_graph_says_what_it_does(equation: Equation, label: str):
    assert symbol([equation]) == label


def traced(function: Any, *arguments: Any) -> dict[str, str]:
    """The label of every tensor of a traced function."""
    equations: dict[str, list[Equation]] = {}
    for equation in inspection_of(function, *arguments, of="value").stages.program.equations:
        equations.setdefault(outputs_of(equation)[0], []).append(equation)
    return {name: symbol(found) for name, found in equations.items()}


def test_labels_of_graph_gates_that_are_no_equations_of_one_element():
    assert symbol(_of("solved", "v2")) == "solve"
    assert symbol(_of("joined", "v1")) == "concat"
    assert symbol(_of("accumulated", "x_2_bar")) == "Σ +="


def _of(sample: str, name: str) -> list[Equation]:
    return [e for e in stages_of(sample).program.equations if outputs_of(e)[0] == name]


def test_a_composite_of_the_graph_names_its_operands_by_letters():
    a, b, c = (placeholder(at) for at in range(3))
    twice = composite(a * (1 - b) + apply("exp", c), (a, b, c))
    label = symbol([Assign("out", ROW, 1, None, twice, (X, X, Y))])  # what is read twice has one letter
    assert sorted(set(label) & set("xyz")) == ["x", "y"]
    assert "exp(y)" in label
    assert "(1 - x)" in label


def test_a_composite_of_a_reduction_stands_behind_its_sign():
    a, b = placeholder(0), placeholder(1)
    found = symbol(
        [Assign("out", (5,), 0, Reduce("sum", DType.F64), composite(a * apply("exp", b), (a, b)), (X, Y))]
    )
    assert found == "Σ_i x * exp(y)"


def test_a_shifted_copy_shows_its_indices_alone():
    assert "[i + 1]" in traced(lambda x: (x[1:] * x[:-1]).sum(), normal(4)).values()


def test_a_long_label_of_the_graph_is_cut():
    names = [placeholder(at) for at in range(9)]
    body = apply("exp", names[0])
    for name in names[1:]:
        body = body + apply("tanh", name)
    operands = tuple(Access(f"t{at}", IDENTITY[1]) for at in range(9))
    label = symbol([Assign("out", ROW, 1, None, composite(body, tuple(names)), operands)])
    assert len(label) == WIDEST
    assert label.endswith("…")


def test_every_function_has_a_label_of_the_graph():
    for name, function in FUNCTIONS.items():
        operands = tuple(Access(f"t{at}", IDENTITY[1]) for at in range(function.arity))
        label = symbol([pointwise(name, *operands)])
        assert 0 < len(label) <= WIDEST
        assert name == "copy" or not any(operand.tensor in label for operand in operands)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_gate_of_the_graph_has_a_label(name: str):
    for equation in stages_of(name).program.equations:
        assert 0 < len(symbol([equation])) <= WIDEST


# --- numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.125, "0.125"),
        (1 / 3, "0.3333"),
        (-0.0, "0"),
        (0.0, "0"),
        (1e-20, "1e-20"),
        (123456.0, "1.235e+05"),
        (2, "2"),
        (-7, "-7"),
        (123456789, "123456789"),
        (True, "True"),
        (False, "False"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (np.float32(0.1), "0.1"),
    ],
)
def test_a_number_on_a_wire_of_the_graph(number: Any, text: str):
    assert summary(number).lines == (text,)
    assert summary(np.array(number)).lines == (text,)
    assert summary(number).levels == ()


def test_three_digits_are_for_arrays():
    assert figure(1 / 3, 3) == "0.333"


@pytest.mark.parametrize(
    ("array", "lines"),
    [
        (np.arange(6.0).reshape(2, 3), ("0 .. 5", "2×3  mean 2.5")),
        (np.array([1.0, 2.0]), ("1 .. 2", "2 numbers  mean 1.5")),
        (np.array([[3]]), ("3 .. 3", "1×1  mean 3")),
        (np.array([1, 2, 4]), ("1 .. 4", "3 numbers  mean 2.33")),
        (np.array([True, False, True, True]), ("true 75%", "4 numbers")),
        (np.zeros((2, 0, 3)), ("empty", "2×0×3")),
        (np.zeros(0), ("empty", "0 numbers")),
        (np.array([1.0, math.nan]), ("nan .. nan", "2 numbers  mean nan")),
        (np.array([1.0, math.inf]), ("1 .. inf", "2 numbers  mean inf")),
        (np.array([-math.inf, math.inf]), ("-inf .. inf", "2 numbers  mean nan")),
        (np.array([1e308, 1e308, 1e308]), ("1e+308 .. 1e+308", "3 numbers  mean inf")),
    ],
)
def test_an_array_on_a_wire_of_the_graph(array: np.ndarray, lines: tuple[str, ...]):
    assert summary(array).lines == lines


def test_the_strip_of_an_array_has_levels_over_its_largest_average():
    assert summary(np.array([1.0, -4.0, 2.0])).levels == (0.25, -1.0, 0.5)
    assert summary(np.array([True, False])).levels == (1.0, 0.0)
    assert summary(np.zeros(3)).levels == (0.0, 0.0, 0.0)
    assert summary(np.zeros((0, 3))).levels == ()


def test_the_strip_of_a_large_array_averages_neighbours():
    levels = summary(np.repeat(np.arange(CELLS), 10)).levels
    assert len(levels) == CELLS
    assert levels == pytest.approx([at / (CELLS - 1) for at in range(CELLS)])


def test_a_cell_without_a_finite_number_has_no_level():
    assert summary(np.array([math.nan, 2.0, math.inf, -1.0])).levels == (None, 1.0, None, -0.5)
    assert summary(np.array([math.nan, math.inf])).levels == (None, None)
