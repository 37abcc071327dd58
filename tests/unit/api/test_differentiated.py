"""The object that `differentiate` returns: structures, arguments of every kind, options, threads, caching."""

from __future__ import annotations

import os
import pickle
import threading
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numba import njit

import gradc
from gradc.errors import ArgumentError, DTypeError, GradcError, GuardFailed, ShapeError

X = np.array([0.5, 1.5, 2.5])


def interpreted(function: Any, **options: Any) -> Any:
    return gradc.differentiate(target="interpret", **options)(function)


def bilinear(w, x):
    return np.sum(w * x**2)


@gradc.differentiate
def weighted(w, x):
    """Weighted sum of squares."""
    return np.sum(w * x**2)


# --- structures --------------------------------------------------------------------------------------------


def test_bare_or_tuple_follows_wrt_alone():
    one = interpreted(lambda x: np.sum(x**2))
    assert isinstance(one.grad(X), np.ndarray)
    assert isinstance(interpreted(bilinear, wrt="w").grad(X, X), np.ndarray)
    assert isinstance(interpreted(bilinear, wrt=1).grad(X, X), np.ndarray)
    for wrt, count in ((("w",), 1), (("x", "w"), 2), (None, 2)):
        gradient = interpreted(bilinear, wrt=wrt).grad(X, 2 * X)
        assert isinstance(gradient, tuple)
        assert len(gradient) == count
    swapped = interpreted(bilinear, wrt=("x", "w")).grad(X, 2 * X)
    np.testing.assert_allclose(swapped[0], 2 * X * 2 * X)
    np.testing.assert_allclose(swapped[1], 4 * X**2)


Pair = namedtuple("Pair", "a b")


@dataclass
class Settings:
    a: np.ndarray
    b: Any


CONTAINERS = [
    (X, 2.0),
    [X, 2.0],
    {"b": 2.0, "a": X},
    Pair(X, 2.0),
    Settings(X, 2.0),
    ((X,), [2.0]),
    {"a": [X], "b": (2.0,)},
]


def leaves(container: Any) -> list[Any]:
    if isinstance(container, dict):
        return [leaf for key in sorted(container) for leaf in leaves(container[key])]
    if isinstance(container, list | tuple):
        return [leaf for item in container for leaf in leaves(item)]
    return leaves((container.a, container.b)) if isinstance(container, Settings) else [container]


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda c: type(c).__name__)
def test_gradients_come_back_in_the_containers_of_the_arguments(container: Any):
    function = interpreted(lambda p: np.sum(leaves(p)[0] ** 2) * leaves(p)[1])
    gradient = function.grad(container)
    assert type(gradient) is type(container)
    array, number = leaves(gradient)
    np.testing.assert_allclose(array, 4 * X)
    assert number == pytest.approx(np.sum(X**2))
    assert type(number) is float


def test_leaves_without_gradient_come_back_as_none():
    function = interpreted(lambda p, s: np.sum(p["x"]) * p["n"] * s)
    gradient = function.grad({"x": X, "n": 3, "name": "adam"}, 2.0)[0]
    np.testing.assert_allclose(gradient["x"], 6.0)
    assert gradient["n"] is None
    assert gradient["name"] is None


def test_results_come_back_in_the_containers_of_the_function():
    function = interpreted(lambda x: {"sum": x.sum(), "parts": [x * 2, (x.max(), 3)]})
    result = function(X)
    assert set(result) == {"sum", "parts"}
    np.testing.assert_array_equal(result["parts"][0], 2 * X)
    assert result["parts"][1] == (2.5, 3)


def test_gradients_have_the_shape_and_dtype_of_their_arguments():
    function = interpreted(lambda x, y: np.sum(x) * y)
    column = np.ones((3, 1), np.float32)
    gradient = function.grad(column, np.float32(2))
    assert (gradient[0].shape, gradient[0].dtype) == ((3, 1), np.float32)
    assert type(gradient[1]) is np.float32
    assert type(function.grad(column, 2.0)[1]) is float
    assert type(function.grad(X, np.float64(2.0))[1]) is np.float64


def test_wrong_containers_of_tangents_and_cotangents_are_refused():
    function = interpreted(lambda x: (x, x.sum()))
    with pytest.raises(ArgumentError, match="another container"):
        function.vjp(X)[1]([X, 1.0])
    with pytest.raises(ArgumentError, match="2 tangents for 1"):
        function.jvp(X, [X, X])
    with pytest.raises(ArgumentError, match=r"the cotangent of .* has 2 axes"):
        function.vjp(X)[1]((np.ones((1, 3)), 1.0))


def test_several_outputs_have_no_gradient():
    function = interpreted(lambda x: (x.sum(), x.max()))
    with pytest.raises(ArgumentError, match=r"one scalar output.* returns 2") as caught:
        function.grad(X)
    assert "has_aux=True" in caught.value.do


# --- auxiliary results -------------------------------------------------------------------------------------


def test_auxiliary_results():
    function = interpreted(lambda x, y: (np.sum(x * y), {"double": 2 * x}), has_aux=True, wrt="x")
    value, aux = function(X, X)
    (again, same), gradient = function.value_and_grad(X, X)
    assert value == again == np.sum(X**2)
    np.testing.assert_array_equal(aux["double"], same["double"])
    np.testing.assert_allclose(gradient, X)
    np.testing.assert_allclose(function.grad(X, X), X)
    (third, _), pullback = function.vjp(X, X)
    assert third == value
    np.testing.assert_allclose(pullback(2.0), 2 * X)
    (fourth, _), change = function.jvp((X, X), X)
    assert (fourth, change) == (value, np.sum(X**2))
    np.testing.assert_allclose(function.jacobian(X, X), X)
    assert function.with_options(wrt="y").has_aux


def test_auxiliary_results_need_a_pair():
    with pytest.raises(ArgumentError, match="has_aux=True and does not return a pair"):
        interpreted(lambda x: x.sum(), has_aux=True)(X)


# --- arguments ---------------------------------------------------------------------------------------------


def unaligned(x: np.ndarray) -> np.ndarray:
    raw = np.zeros(x.nbytes + 1, np.uint8)[1:]
    view = raw.view(x.dtype).reshape(x.shape)
    view[...] = x
    assert not view.flags.aligned
    return view


def read_only(x: np.ndarray) -> np.ndarray:
    copy = x.copy()
    copy.flags.writeable = False
    return copy


GRID = np.arange(12.0).reshape(3, 4) + 1


@gradc.differentiate
def rows(w, x):
    return np.sum(w * np.sum(x**2, axis=1))


LAYOUTS = {
    "C": GRID,
    "F": np.asfortranarray(GRID),
    "strided": np.repeat(GRID, 2, axis=1)[:, ::2],
    "negative": GRID[::-1, ::-1][::-1, ::-1],
    "transposed": np.ascontiguousarray(GRID.T).T,
    "read only": read_only(GRID),
    "unaligned": unaligned(GRID),
    "zero stride": np.broadcast_to(GRID[:, :1], (3, 4)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_kernel_takes_every_layout(layout: str):
    x = LAYOUTS[layout]
    before = x.copy()
    gradient = rows.grad(X, x)
    np.testing.assert_allclose(gradient[0], np.sum(before**2, 1))
    np.testing.assert_allclose(gradient[1], 2 * X[:, None] * before)
    np.testing.assert_array_equal(x, before)
    assert rows.cache_info() == (1, 1)


def test_empty_and_0d_arrays():
    assert interpreted(bilinear).grad(np.zeros(0), np.zeros(0))[0].shape == (0,)
    assert rows(np.zeros(0), np.zeros((0, 4))) == 0.0
    square = interpreted(lambda x: x**2)
    assert square.grad(np.array(3.0)) == 6.0
    assert square(np.float64(3.0)) == 9.0


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        (X.astype(">f8"), "big-endian"),
        (X.astype(object), "object arrays are refused"),
        (np.ma.masked_array(X), "masked array"),
        (X.astype(np.float16), "float16"),
        (X + 1j, "complex"),
        (X.astype(np.longdouble), "longdouble"),
        (1j, "complex"),
    ],
)
def test_arrays_of_other_kinds_are_refused(argument: Any, text: str):
    with pytest.raises(DTypeError, match=text) as caught:
        interpreted(lambda x: np.sum(x))(argument)
    assert "argument x" in caught.value.where


def test_the_same_array_twice_and_results_of_their_own():
    first, second = weighted.grad(X, X)
    np.testing.assert_allclose(first, X**2)
    np.testing.assert_allclose(second, 2 * X**2)
    identity = gradc.differentiate(lambda x: x)
    result = identity(X)
    result[0] = 99.0
    assert X[0] == 0.5
    first[:] = 0.0
    np.testing.assert_allclose(weighted.grad(X, X)[0], X**2)


def test_float32_stays_float32():
    function = interpreted(bilinear)
    f32 = X.astype(np.float32)
    value, (w_bar, x_bar) = function.value_and_grad(f32, f32)
    assert value.dtype == w_bar.dtype == x_bar.dtype == np.float32


def test_integers_are_values_and_floats_where_they_are_differentiated():
    power = interpreted(lambda b, t: b**t, wrt="b")
    assert [power(0.5, t) for t in (1, 2, 3)] == [0.5, 0.25, 0.125]
    assert power.cache_info().variants == 1
    assert interpreted(lambda x: x**2).grad(3) == 6.0
    assert power.grad(2, 3) == 12.0


def test_static_arguments():
    @gradc.differentiate(static=("exponent",), target="interpret")
    def powers(x, exponent, mode="sum"):
        return np.sum(x**exponent) if mode == "sum" else np.max(x**exponent)

    assert powers(X, 2) == np.sum(X**2)
    assert powers(X, 3) == np.sum(X**3)
    assert powers(X, 3, mode="max") == 2.5**3
    assert powers.cache_info().variants == 3
    np.testing.assert_allclose(powers.grad(X, 2)[0], 2 * X)


def test_the_wrong_arguments():
    with pytest.raises(ArgumentError, match="missing a required argument"):
        weighted(X)  # pyright: ignore[reportCallIssue]
    with pytest.raises(ArgumentError, match="argument n of f is not floating point"):
        interpreted(_count, wrt=("x", "n")).grad(X, "three")
    with pytest.raises(ArgumentError, match="has no argument 'v'"):
        gradc.differentiate(wrt="v")(bilinear)
    with pytest.raises(ArgumentError, match="named 'out'"):
        gradc.differentiate(lambda x, out: x)
    with pytest.raises(ArgumentError, match="no option 'wtr'"):
        gradc.differentiate(bilinear, wtr="x")


def _count(x, n):
    return np.sum(x)


_count.__name__ = "f"


def test_shapes_that_do_not_agree():
    weighted(X, X)
    with pytest.raises(GuardFailed) as caught:
        weighted(X, np.ones(4))
    assert "w: f64[w_n0] given (3,)" in caught.value.why
    assert "given (4,)" in caught.value.why
    with pytest.raises(ShapeError):
        interpreted(bilinear)(X, np.ones(4))


# --- options, caching, Python ------------------------------------------------------------------------------


def test_it_looks_like_the_function():
    assert getattr(weighted, "__name__", "") == "weighted"
    assert weighted.__doc__ == "Weighted sum of squares."
    assert repr(weighted) == "<differentiated weighted(w, x)>"
    assert weighted.__wrapped__(X, X) == np.sum(X**3)


def test_pickling_is_by_name():
    assert pickle.loads(pickle.dumps(weighted)) is weighted


def test_disabled_it_is_the_function(monkeypatch: pytest.MonkeyPatch):
    seen = []

    def spy(x):
        seen.append(type(x))
        return np.sum(x)

    function = interpreted(spy)
    monkeypatch.setitem(os.environ, "GRADC_DISABLE", "1")
    assert function(X) == X.sum()
    assert seen == [np.ndarray]


def test_options_make_siblings():
    sibling = weighted.with_options(target="interpret", wrt="x")
    np.testing.assert_allclose(sibling.grad(X, X), 2 * X**2)
    assert isinstance(weighted.grad(X, X), tuple)
    with pytest.raises(TypeError):
        weighted.with_options(speed=11)


def test_cache_info_and_the_warning_at_the_eighth_compilation():
    function = interpreted(lambda x, y: np.sum(x) + np.sum(y))
    for rank in range(1, 8):
        function(np.ones((2,) * rank), X)
        function(np.ones((3,) * rank), X)
    assert function.cache_info().variants == 7
    with pytest.warns(UserWarning, match=r"compiled 8 times: argument x keeps changing"):
        function(np.ones((2,) * 8), X)


def test_check_runs_once_and_raises(monkeypatch: pytest.MonkeyPatch):
    right = interpreted(lambda x: np.sum(np.sin(x)), check=True)
    right.grad(X)
    assert right.checked
    wrong = gradc.custom_gradient(lambda x: (np.sin(x), lambda y_bar: 2 * y_bar))
    with pytest.raises((GradcError, AssertionError)):
        interpreted(lambda x: np.sum(wrong(x)), check=True).grad(X)


def test_any_method_from_any_thread():
    function = interpreted(bilinear)
    barrier, found = threading.Barrier(6), []

    def work() -> None:
        barrier.wait()
        found.append((function(X, X), function.grad(X, X)[0]))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert {value for value, _ in found} == {np.sum(X**3)}
    assert function.cache_info().variants == 1


def test_threads_trace_functions_of_functions_at_once():
    outer = interpreted(lambda x: np.sum(interpreted(lambda y: np.sum(y**3)).grad(x)))
    results: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: results.append(outer.grad(X))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        np.testing.assert_allclose(result, 6 * X)


def test_a_kernel_in_the_users_own_compiled_code():
    kernel = weighted.kernel(X, X)

    @njit
    def descend(w, x, steps):
        total = 0.0
        for _ in range(steps):
            value, gradients = kernel(w, x)
            total += value
            x = x - 0.1 * gradients[1]
        return total, x

    total, x = descend(X, X, 2)
    first = X - 0.2 * X**2
    assert total == pytest.approx(np.sum(X**3) + np.sum(X * first**2))
    np.testing.assert_allclose(x, first - 0.2 * X * first)


def test_compiling_without_calling():
    function = gradc.differentiate(lambda w, x, s: np.sum(w * x) * s)
    assert function.compile(gradc.f64["N", 10], gradc.f64["N", 1], float) is function
    assert function.cache_info() == (1, 1)
    function.value_and_grad(np.ones((3, 10)), np.ones((3, 1)), 2.0)
    assert function.cache_info() == (1, 1)


def test_types_from_annotations():
    def annotated(x, s, power=2):
        return np.sum(x**power) * s

    annotated.__annotations__ = {"x": gradc.f64["N"], "s": gradc.f64}
    function = interpreted(annotated)
    function.compile()
    assert function.cache_info().variants == 1
    function(X, 1.0)
    assert function.cache_info().variants == 1
    with pytest.raises(ArgumentError, match="needs the type of w"):
        interpreted(bilinear).compile()
    with pytest.raises(ArgumentError, match="too many positional arguments"):
        interpreted(bilinear).compile(gradc.f64, gradc.f64, gradc.f64)
