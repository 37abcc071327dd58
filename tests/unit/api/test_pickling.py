"""Functions made from formulas are pickled by their formula and show it."""

import pickle

import numpy as np
import pytest
import sympy

import gradc
from gradc import differentiate

x, y = sympy.symbols("x y")
FORMULA = "y[n] = sum[c] w[c] * v[n, c]"


@pytest.mark.parametrize(
    ("made", "arguments"),
    [
        (differentiate(x * sympy.sin(y), args=(x, y), target="interpret"), (2.0, 0.5)),
        (differentiate([x * y, x + y], args=(y, x), target="interpret"), (2.0, 0.5)),
        (gradc.equation(FORMULA, target="interpret"), (np.arange(3.0), np.ones((2, 3)))),
        (gradc.equation("y[p] = sum[i] w[i] * v[p + i]", pad={"v": 1}), (np.ones(3), np.arange(4.0))),
    ],
    ids=["expression", "list", "equation", "padded"],
)
def test_a_formula_survives_pickling(made: gradc.Differentiated, arguments: tuple[object, ...]):
    found = pickle.loads(pickle.dumps(made))
    assert repr(found) == repr(made)
    assert found.options == made.options
    for mine, theirs in zip(np.atleast_1d(found(*arguments)), np.atleast_1d(made(*arguments)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_equal(found.jacobian(*arguments), made.jacobian(*arguments))


def test_what_was_chosen_survives_too():
    made = differentiate(x * y, args=(x, y), wrt="y", target="interpret")
    found = pickle.loads(pickle.dumps(made))
    assert found.grad(3.0, 4.0) == 3.0
    both = pickle.loads(pickle.dumps(made.with_options(wrt=("y", "x"))))
    assert both.grad(3.0, 4.0) == (3.0, 4.0)


def test_a_formula_shows_itself():
    assert repr(differentiate(x * sympy.sin(y), args=(x, y))) == (
        "<differentiated expression(x, y): x*sin(y)>"
    )
    assert repr(gradc.equation(FORMULA)) == f"<differentiated y(w, v): {FORMULA}>"
