"""Calls with their arguments fixed in place."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sympy as sp
from numba.core import runtime

from gradc import differentiate
from gradc.errors import ArgumentError, GradcError

_nrt: Any = vars(runtime)["_nrt_python"]


def rosenbrock(x: np.ndarray) -> Any:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def test_arrays_are_read_where_they_are():
    loss = differentiate(rosenbrock)
    x = np.linspace(-1, 1, 10)
    step = loss.bind(x)
    for _ in range(3):
        value, gradient = loss.value_and_grad(x)
        assert step() == pytest.approx(value, rel=1e-14)
        np.testing.assert_allclose(step.gradient, gradient, rtol=1e-13)
        x -= 1e-3 * step.gradient


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (lambda w, x: np.sum(np.tanh(x @ w)), (np.linspace(0, 1, 6).reshape(3, 2), np.ones((4, 3)))),
        (lambda a, x, n: a * n * np.sum(x), (2.0, np.arange(3.0), 4)),
        (lambda x, m: np.sum(np.where(m, x, 2 * x)), (np.arange(3.0), np.array([True, False, True]))),
        (lambda x: np.sum(x * x), (np.arange(4, dtype=np.float32),)),
        (lambda a, b: a * b, (2.0, 3.0)),
    ],
)
def test_values_and_gradients_are_those_of_a_call(function: Callable[..., Any], arguments: tuple[Any, ...]):
    loss = differentiate(function)
    value, gradient = loss.value_and_grad(*arguments)
    step = loss.bind(*arguments)
    assert step() == pytest.approx(float(value), rel=1e-6)
    parts = gradient if isinstance(gradient, tuple) else (gradient,)
    found = step.gradient if isinstance(step.gradient, tuple) else (step.gradient,)
    for mine, theirs in zip(found, parts, strict=True):
        if theirs is None:
            assert mine is None
        else:
            np.testing.assert_allclose(mine, theirs, rtol=1e-6)


def test_gradients_go_where_they_are_wanted():
    x, out = np.arange(3.0), np.full(3, np.nan)
    step = differentiate(lambda x: np.sum(x**3)).bind(x, out=out)
    assert step.gradient is out
    np.testing.assert_array_equal(out, 3 * x**2)
    params = {"w": np.ones(2), "b": np.zeros(2)}
    grads = {"w": np.empty(2), "b": np.empty(2)}
    step = differentiate(lambda p: np.sum(np.sin(p["w"] * 2 + p["b"]))).bind(params, out=grads)
    params["b"] += 1.0
    step()
    np.testing.assert_allclose(grads["b"], np.cos(3.0))
    np.testing.assert_allclose(step.gradient["w"], 2 * np.cos(3.0))


STACKS = np.linspace(-1, 1, 24).reshape(2, 3, 4)
IN_PLACE: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "written in a loop": (rosenbrock, (np.linspace(-1, 1, 10),)),
    "long": (rosenbrock, (np.linspace(-1, 1, 100_001),)),
    "empty": (lambda x: np.sum(x * x), (np.zeros((0, 3)),)),
    "a matrix product": (lambda w, x: np.sum((x @ w) ** 2), (np.ones((3, 2)), np.arange(12.0).reshape(4, 3))),
    "a product of batches": (
        lambda x, a: np.sum(np.einsum("bij,bj->bi", a, x)),
        (STACKS[:, 0].copy(), STACKS),
    ),
    "a library's": (lambda a: np.sum(np.linalg.inv(a)), (np.eye(3) + 0.1,)),
    "in another shape": (lambda x: np.sum(np.reshape(x, (3, 2)) @ np.ones((2, 2))), (np.arange(6.0),)),
    "looked up": (lambda x: np.sum(x[np.array([0, 2, 2])]), (np.arange(4.0),)),
    "numbers and arrays": (lambda a, x, b: a * np.sum(np.sin(b * x)), (2.0, np.arange(5.0), 0.5)),
    "single precision": (lambda a, x: np.sum(x * x) * a, (np.float32(2.0), np.arange(4, dtype=np.float32))),
    "an argument that does not matter": (lambda x, y: np.sum(x) + 0 * np.sum(y), (np.ones(3), np.ones(2))),
}


@pytest.mark.parametrize(("function", "arguments"), IN_PLACE.values(), ids=IN_PLACE.keys())
def test_gradients_in_place_have_the_bits_of_those_that_are_returned(
    function: Callable[..., Any], arguments: tuple[Any, ...]
):
    loss = differentiate(function)
    value, gradient = loss.value_and_grad(*arguments)
    parts = gradient if isinstance(gradient, tuple) else (gradient,)
    outs: list[Any] = [np.full(np.shape(part), np.nan, np.asarray(part).dtype) for part in parts]
    step = loss.bind(*arguments, out=tuple(outs) if len(outs) > 1 else outs[0])
    for _ in range(2):
        assert step() == value
        for out, part in zip(outs, parts, strict=True):
            np.testing.assert_array_equal(out, part)
            out[...] = np.nan


def test_a_small_bound_call_makes_no_array():
    step = differentiate(rosenbrock).bind(np.linspace(-1, 1, 10))
    _nrt.memsys_enable_stats()
    before = _nrt.memsys_get_stats_alloc()
    for _ in range(10):
        step()
    made = _nrt.memsys_get_stats_alloc() - before
    _nrt.memsys_disable_stats()
    assert made == 0


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 66, 200])
def test_arrays_of_the_kernel_on_its_stack_and_beside_it(size: int):
    x = np.linspace(-1, 1, size)
    value, gradient = differentiate(rosenbrock).value_and_grad(x)
    across, along = x[1:] - x[:-1] ** 2, 1 - x[:-1]
    expected = np.zeros_like(x)
    expected[1:] = 200 * across
    expected[:-1] -= 400 * across * x[:-1] + 2 * along
    assert value == pytest.approx(rosenbrock(x), rel=1e-14)
    np.testing.assert_allclose(gradient, expected, rtol=1e-13, atol=1e-12)


def test_what_cannot_be_bound_is_refused():
    loss = differentiate(lambda x: np.sum(x * x))
    x = np.arange(6.0)
    with pytest.raises(ArgumentError, match=r"np.ascontiguousarray"):
        loss.bind(x[::2])
    with pytest.raises(ArgumentError, match="shares memory with an argument"):
        loss.bind(x, out=x)
    frozen = np.empty(6)
    frozen.flags.writeable = False
    for out in (np.empty(5), np.empty(6, np.float32), np.empty(12)[::2], frozen, 3.0):
        with pytest.raises(ArgumentError, match="writable C-contiguous"):
            loss.bind(x, out=out)
    with pytest.raises(ArgumentError, match="out= has 2 arrays"):
        loss.bind(x, out=(np.empty(6), np.empty(6)))
    both = np.empty(6)
    with pytest.raises(ArgumentError, match="two outputs share memory"):
        differentiate(lambda x, y: np.sum(x * y)).bind(x, x.copy(), out=(both, both))
    with pytest.raises(ArgumentError, match="one number"):
        loss.with_options(target="interpret").bind(x)
    with pytest.raises(ArgumentError, match="one number"):
        differentiate(sp.Symbol("x") * sp.Symbol("y")).bind(x, 2.0)
    with pytest.raises(TypeError, match="bind again"):
        pickle.dumps(loss.bind(x))


def test_a_bound_call_keeps_its_arrays_alive():
    step = differentiate(lambda x: np.sum(x * x)).bind(np.arange(1000.0))
    junk = [np.full(1000, 7.0) for _ in range(50)]
    assert step() == pytest.approx(np.sum(np.arange(1000.0) ** 2))
    assert len(junk) == 50


def test_inside_another_function_nothing_is_bound():
    inner = differentiate(lambda x: np.sum(x * x))
    with pytest.raises(GradcError, match="function"):
        differentiate(lambda x: inner.bind(x)(), target="interpret")(np.arange(3.0))


# --- the ordinary call of functions whose shapes must satisfy guards ------------------------------------------


def by_size(x: np.ndarray) -> Any:
    return np.sum(x**2) if x.shape[0] > 3 else np.sum(x**3)


def test_guards_on_shapes_do_not_keep_a_call_from_the_fast_path():
    loss = differentiate(rosenbrock)
    for size in (5, 3, 8):
        x = np.linspace(-1, 1, size)
        value, gradient = loss.value_and_grad(x)
        assert value == pytest.approx(rosenbrock(x), rel=1e-14)
        assert gradient.shape == x.shape
    assert len(loss._direct) == 1
    assert loss.cache_info().variants == 1


def test_a_call_that_fails_the_guards_of_one_program_finds_the_other():
    loss = differentiate(by_size)
    for size in (5, 2, 6, 3, 5):
        x = np.arange(1.0, size + 1)
        value, gradient = loss.value_and_grad(x)
        assert value == pytest.approx(float(by_size(x)))
        np.testing.assert_allclose(gradient, 2 * x if size > 3 else 3 * x**2)
    assert loss.cache_info().variants == 2
