import numpy as np
import pytest
from tests.unit.lang.front_ends import program

from gradc.autodiff.vjp import gradient
from gradc.errors import ArgumentError
from gradc.ir.index.evaluate import evaluate
from gradc.ir.types import DType
from gradc.lang.formula import lower_formula
from gradc.lang.parser import parse_expression


def run(text, **values):
    parsed = parse_expression(text)
    made = program(lambda emit, inputs: lower_formula(parsed, emit, inputs), values)
    return evaluate(made, values)[0], made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(x + y) * 3", lambda x, y: (x + y) * 3),
        ("x**2 - y**-1 + x**0.5", lambda x, y: x**2 - 1 / y + np.sqrt(x)),
        ("relu(-x) + relu(y) + clip(x, 0, 1)", lambda x, y: np.maximum(y, 0) + np.clip(x, 0, 1)),
        ("where(x > 1 and not y > 1, x, 1/2)", lambda x, y: np.where((x > 1) & ~(y > 1), x, 0.5)),
        ("x * (x > y)", lambda x, y: x * (x > y)),
        ("max(x, y, 2) % 1.5 // 1", lambda x, y: np.maximum(np.maximum(x, y), 2) % 1.5 // 1),
        ("sin(pi * x) + exp(1) + 2**3", lambda x, y: np.sin(np.pi * x) + np.exp(1) + 8),
    ],
)
def test_a_formula_means_what_numpy_means(text, expected):
    x, y = np.array([0.3, 1.2, 2.5]), np.array([[0.4], [1.7]])
    result, _ = run(text, x=x, y=y)
    want = expected(x, y)
    np.testing.assert_allclose(result, want, rtol=1e-15, atol=1e-15)


def test_literals_alone_make_a_constant():
    result, made = run("1/3")
    assert result == 1 / 3
    assert made.types[made.outputs[0]].dtype is DType.F64
    assert run("2")[0] == 2.0


def test_literals_are_weak_and_float32_stays():
    x = np.array([1.5, 2.0], np.float32)
    result, _ = run("where(x > 1, 1, 0) * x + 1/3 + 0.1*x", x=x)
    assert result.dtype == np.float32


def test_the_gradient_of_a_formula():
    parsed = parse_expression("x**3 * sin(y)")
    made = program(lambda emit, inputs: lower_formula(parsed, emit, inputs), {"x": 2.0, "y": 0.5})
    _, dx, dy = evaluate(gradient(made, ["x", "y"]), {"x": 2.0, "y": 0.5})
    np.testing.assert_allclose([dx, dy], [12 * np.sin(0.5), 8 * np.cos(0.5)], rtol=1e-15)


def test_a_long_formula_needs_no_recursion():
    result, _ = run("+".join(["x"] * 20_000), x=1.0)
    assert result == 20_000


def test_a_missing_value_is_named():
    parsed = parse_expression("x + z")
    with pytest.raises(ArgumentError, match="no value for z"):
        program(lambda emit, inputs: lower_formula(parsed, emit, inputs), {"x": 1.0})
