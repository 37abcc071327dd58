"""Gradients that are written to arrays of the caller's: ``out=`` of ordinary calls."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sympy as sp

from gradc import differentiate
from gradc.errors import ArgumentError, GradcError, ShapeError, TraceError

X = np.linspace(-1, 1, 6)
TARGETS = ("cpu", "interpret")
Calls = tuple[Callable[..., Any], dict[str, Any], tuple[Any, ...]]


def params_loss(p: Any, x: Any) -> Any:
    return np.sum(np.tanh(x @ p["w"] + p["b"]) ** 2)


CALLS: dict[str, Calls] = {
    "an array": (lambda x: np.sum(x**3), {}, (X,)),
    "arrays": (lambda x, y: np.sum(np.sin(x) * y), {}, (X, X + 1)),
    "one in a tuple": (lambda x: np.sum(x**3), {"wrt": ("x",)}, (X,)),
    "a number": (lambda a: a * a, {}, (1.5,)),
    "a number and an array": (lambda a, x: a * np.sum(x * x), {}, (1.5, X)),
    "an array without axes": (lambda a, x: a * np.sum(x), {}, (np.float32(2), X.astype(np.float32))),
    "integers": (lambda x, n: n * np.sum(x * x), {"wrt": "x"}, (X, 3)),
    "truths": (lambda x, m: np.sum(np.where(m, x, x * x)), {"wrt": "x"}, (X, X > 0)),
    "a static argument": (lambda x, power: np.sum(x**power), {"static": "power"}, (X, 3)),
    "containers": (params_loss, {"wrt": "p"}, ({"w": np.ones((6, 2)), "b": np.zeros(2)}, X.reshape(1, 6))),
    "strided": (lambda x: np.sum(x**3), {}, (np.linspace(0, 1, 8)[::2],)),
    "auxiliary results": (lambda x: (np.sum(x**3), x + 1), {"has_aux": True}, (X,)),
}


def like(tree: Any) -> Any:
    """Arrays full of NaN in the structure of a gradient."""
    if isinstance(tree, tuple | list):
        return type(tree)(map(like, tree))
    if isinstance(tree, dict):
        return {key: like(item) for key, item in tree.items()}
    return np.full(np.shape(tree), np.nan, np.asarray(tree).dtype)


def leaves(tree: Any) -> list[Any]:
    if isinstance(tree, tuple | list | dict):
        return [leaf for item in (tree.values() if isinstance(tree, dict) else tree) for leaf in leaves(item)]
    return [tree]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("function", "options", "args"), CALLS.values(), ids=CALLS.keys())
def test_the_arrays_hold_what_is_returned_otherwise(
    function: Callable[..., Any], options: dict[str, Any], args: tuple[Any, ...], target: str
):
    loss = differentiate(function, target=target, **options)
    value, gradient = loss.value_and_grad(*args)
    out, again = like(gradient), like(gradient)
    found = loss.value_and_grad(*args, out=out)
    np.testing.assert_equal(found, (value, gradient))
    assert [id(leaf) for leaf in leaves(found[1])] == [id(leaf) for leaf in leaves(out)]
    assert [id(leaf) for leaf in leaves(loss.grad(*args, out=again))] == [id(leaf) for leaf in leaves(again)]
    np.testing.assert_equal(again, gradient)
    np.testing.assert_equal(loss.value_and_grad(*args), (value, gradient))


def test_values_are_fresh():
    loss = differentiate(lambda x: (np.sum(x * x), x + 1), has_aux=True)
    out = np.empty(6)
    (_, first), _ = loss.value_and_grad(X, out=out)
    (_, second), _ = loss.value_and_grad(2 * X, out=out)
    np.testing.assert_array_equal(first, X + 1)
    np.testing.assert_array_equal(second, 2 * X + 1)


def test_ordinary_calls_stay_direct():
    loss = differentiate(lambda x: np.sum(x * x))
    expected = loss.value_and_grad(X)
    direct: Any = loss.value_and_grad
    assert isinstance(direct, types.BuiltinFunctionType)
    out = np.empty(6)
    assert direct(X, out=out)[1] is out
    assert loss.value_and_grad is direct
    np.testing.assert_equal(direct(X, out=None), expected)
    np.testing.assert_equal(loss.grad(X, out=None), expected[1])


def test_arguments_by_name_and_methods():
    class Model:
        @differentiate
        def loss(self, x, a):
            return a * np.sum(x * x)

    out = (np.empty(6), np.empty(()))
    assert Model().loss.grad(a=2.0, x=X, out=out)[0] is out[0]
    np.testing.assert_array_equal(out[0], 4 * X)
    assert out[1] == pytest.approx(np.sum(X * X))


def test_elementwise_functions_of_arrays():
    loss = differentiate(sp.Symbol("x") ** 2 * sp.Symbol("y"))
    out = np.empty((2, 6)), np.empty((2, 6))
    y = np.array([[1.0], [3.0]])
    value, found = loss.value_and_grad(X, y, out=out)
    np.testing.assert_allclose(value, X**2 * y)
    assert found[0] is out[0]
    np.testing.assert_allclose(out[0], 2 * X * y)
    np.testing.assert_allclose(out[1], X**2 + 0 * y)


def test_a_parameter_of_a_formula_called_out_is_a_parameter():
    x, out = sp.symbols("x out")
    loss = differentiate(x**2 * out, args=(x, out))
    np.testing.assert_equal(loss.grad(3.0, out=2.0), (12.0, 9.0))


def test_what_does_not_fit_is_refused():
    loss = differentiate(lambda x: np.sum(x * x))
    frozen = np.empty(6)
    frozen.flags.writeable = False
    for call in (loss.grad, loss.value_and_grad):
        for out in (np.empty(5), np.empty(6, np.float32), np.empty(12)[::2], frozen, 3.0, [[0.0] * 6]):
            with pytest.raises(ArgumentError, match=r"writable C-contiguous|out= has 6 arrays"):
                call(X, out=out)
        with pytest.raises(ArgumentError, match="out= has 2 arrays"):
            call(X, out=(np.empty(6), np.empty(6)))
        with pytest.raises(ArgumentError, match="shares memory with an argument"):
            call(X, out=X)
    both = np.empty(6)
    with pytest.raises(ArgumentError, match="two outputs share memory"):
        differentiate(lambda x, y: np.sum(x * y)).grad(X, X.copy(), out=(both, both))
    with pytest.raises(ShapeError, match="grad needs a scalar output"):
        differentiate(lambda x: x * x).grad(X, out=both)
    whole = np.arange(6.0)
    with pytest.raises(ArgumentError, match="shares memory with an argument"):
        loss.grad(whole[::2], out=whole[:3])  # the kernel reads a copy, but the argument would change


def test_shapes_that_do_not_fit_are_explained_with_out_too():
    loss = differentiate(lambda x, y: np.sum(x * y))
    loss.value_and_grad(X, X)
    with pytest.raises(GradcError, match="axis 0 of y has 4 elements"):
        loss.value_and_grad(X, np.ones(4), out=(np.empty(6), np.empty(4)))


@pytest.mark.parametrize("method", ["grad", "value_and_grad"])
def test_in_a_trace_there_is_no_memory_to_write_to(method: str):
    inner = differentiate(lambda x: np.sum(x * x))
    outer = differentiate(lambda x: np.sum(getattr(inner, method)(x, out=np.empty(6))[0]))
    with pytest.raises(
        TraceError, match=rf"{method}\(..., out=...\) cannot be used while a function is traced"
    ):
        outer(X)
    into_traced = differentiate(lambda x: np.sum(inner.grad(X, out=x)))
    with pytest.raises(TraceError, match="cannot be used while a function is traced"):
        into_traced(X)
