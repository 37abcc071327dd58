"""SymPy expressions, lists and matrices as differentiated functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy as sp

import gradc
from gradc.errors import ArgumentError, GradcWarning, ShapeError

x, y, z = sp.symbols("x y z")


def interpreted(expression: Any, **options: Any) -> Any:
    return gradc.differentiate(expression, target="interpret", **options)


def test_a_scalar_expression():
    function = interpreted((x + y) * z, args=(x, y, z))
    assert function(-2, 5, -4) == -12.0
    assert function.grad(-2, 5, -4) == (-4.0, -4.0, 3.0)
    assert function.value_and_grad(x=-2.0, y=5.0, z=-4.0) == (-12.0, (-4.0, -4.0, 3.0))


def test_the_order_of_arguments():
    assert interpreted(z * sp.exp(y) + x).signature.parameters == ("x", "y", "z")
    assert interpreted(z * sp.exp(y), args=(z, y)).signature.parameters == ("z", "y")
    with pytest.warns(GradcWarning, match="does not depend on x"):
        assert interpreted(z * y, args=[y, z, x]).grad(2.0, 3.0, 1.0) == (3.0, 2.0, 0.0)


def test_arrays_broadcast_and_gradients_are_elementwise():
    function = interpreted(sp.sin(x) * y, args=(x, y))
    column, row = np.array([[0.1], [0.2]]), np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(function(column, row), np.sin(column) * row)
    x_bar, y_bar = function.grad(column, row)
    np.testing.assert_allclose(x_bar, np.cos(column) * row)
    np.testing.assert_allclose(y_bar, np.broadcast_to(np.sin(column), (2, 3)))
    pulled = function.vjp(column, row)[1](np.ones((2, 3)))
    np.testing.assert_allclose(pulled[0], (np.cos(column) * row).sum(1, keepdims=True))


def test_a_list():
    function = interpreted([x * y, x + y, 1])
    assert function(2.0, 3.0) == [6.0, 5.0, 1.0]
    assert function.jacobian(2.0, 3.0) == [(3.0, 2.0), (1.0, 1.0), (0.0, 0.0)]
    with pytest.raises(ArgumentError, match=r"one scalar output, expression returns 3") as caught:
        function.grad(2.0, 3.0)
    assert ".jacobian" in caught.value.do


def test_a_matrix():
    function = interpreted(sp.Matrix([[x, y], [x * y, 1]]))
    np.testing.assert_array_equal(function(2.0, 3.0), [[2, 3], [6, 1]])
    in_x, in_y = function.jacobian(2.0, 3.0)
    np.testing.assert_array_equal(in_x, [[1, 0], [3, 0]])
    np.testing.assert_array_equal(in_y, [[0, 1], [2, 0]])
    with pytest.raises(ShapeError, match="grad needs a scalar output") as caught:
        function.grad(2.0, 3.0)
    assert ".jacobian" in caught.value.do


def test_matrix_symbols_and_indexed_bases():
    n, i = sp.symbols("n i", integer=True)
    matrix, vector = sp.MatrixSymbol("A", n, n), sp.IndexedBase("u", shape=(n,))
    function = interpreted(sp.Sum(vector[i] ** 2, (i, 0, n - 1)) * sp.Trace(matrix))
    assert function.signature.parameters == ("A", "u")
    u = np.arange(3.0)
    a_bar, u_bar = function.grad(np.eye(3), u)
    np.testing.assert_allclose(a_bar, 5 * np.eye(3))
    np.testing.assert_allclose(u_bar, 6 * u)
    product = interpreted(matrix * matrix.T, args=(matrix,))
    a = np.arange(4.0).reshape(2, 2)
    np.testing.assert_allclose(product(a), a @ a.T)
    with pytest.raises(ShapeError):
        interpreted(sp.Trace(matrix), args=(matrix,))(np.ones((2, 3)))


def test_names_that_python_does_not_take():
    reserved, alpha = sp.Symbol("lambda"), sp.Symbol(r"\alpha")
    function = interpreted(reserved * alpha**2 * x, args=(reserved, alpha, x))
    assert function.signature.parameters == ("v1", "v2", "x")
    assert function.grad(3.0, 2.0, 1.0) == (4.0, 12.0, 12.0)
    assert function(v1=3.0, v2=2.0, x=1.0) == 12.0
    taken = interpreted(sp.Symbol("v1") * sp.Symbol("a b"), args=(sp.Symbol("a b"), sp.Symbol("v1")))
    assert len(set(taken.signature.parameters)) == 2
    assert taken.grad(2.0, 5.0) == (5.0, 2.0)


def test_inside_traced_functions():
    function = interpreted(sp.exp(x) * y, args=(x, y))
    points = np.array([0.1, 0.5, 0.9])
    outer = gradc.differentiate(
        lambda t: np.sum(function.grad(t, t)[0] * function(t, 2.0)), target="interpret"
    )
    assert outer(points) == pytest.approx(np.sum(np.exp(points) * points * np.exp(points) * 2))
    np.testing.assert_allclose(outer.grad(points), 2 * np.exp(2 * points) * (1 + 2 * points), rtol=1e-13)
    wide = gradc.differentiate(lambda s, t: function.grad(s, t)[0], target="interpret")
    column = points[:, None]
    np.testing.assert_allclose(wide(column, points), np.exp(column) * points)
    listed = interpreted([x * y, x + y])
    both = gradc.differentiate(lambda t: np.sum(listed(t, 2.0)[0] * listed(t, 3.0)[1]), target="interpret")
    np.testing.assert_allclose(both.grad(points), 4 * points + 6)


def test_options_apply():
    function = gradc.differentiate((x + y) ** 2, args=(x, y), wrt="y", target="interpret")
    assert function.grad(1, 2) == 6.0


def test_refusals():
    with pytest.raises(ArgumentError, match=r"is a (Integer|One), not a Symbol"):
        interpreted(x, args=(x, sp.Integer(1)))(1.0, 2.0)
    with pytest.raises(ArgumentError, match="takes a function, not a float"):
        interpreted(3.0)
    with pytest.raises(ArgumentError, match="no option 'args'"):
        gradc.differentiate(lambda a: a, args=(x,))
    with pytest.raises(ArgumentError, match="must be a number or an array"):
        interpreted(x * y)(1.0, "two")
