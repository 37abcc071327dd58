"""Calls that machine code serves without Python, and the ones that it hands on."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import sys
import threading
import time
import tracemalloc
import types
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numba.core import runtime

from gradc import differentiate, vmap
from gradc.errors import GradcError

_nrt: Any = vars(runtime)["_nrt_python"]


@differentiate
def energy(a: Any, x: Any) -> Any:
    return (np.sin(a * x) * x).sum()


@differentiate(wrt="x")
def counted(x: Any, n: Any) -> Any:
    return (x * x * n).sum()


def ready(loss: Any, *args: Any) -> Any:
    """Return the function after its first value and gradient: the next ones are direct."""
    loss.value_and_grad(*args)
    assert isinstance(loss.value_and_grad, types.BuiltinFunctionType)
    return loss


def through_python(loss: Any, *args: Any) -> Any:
    return loss._value_and_grad_generally(*args)


def equal(left: Any, right: Any) -> bool:
    """The same results, bits and types."""
    if isinstance(left, tuple | list):
        return len(left) == len(right) and all(map(equal, left, right))
    return type(left) is type(right) and np.array_equal(left, right) and np.shape(left) == np.shape(right)


X = np.linspace(-1, 2, 5)


@pytest.mark.parametrize(
    ("loss", "args"),
    [
        (energy, (0.5, X)),
        (differentiate(lambda x: np.exp(-x * x)), (0.3,)),
        (differentiate(lambda x, y: x * np.sin(y)), (0.3, 1.5)),
        (differentiate(lambda x: (x**3).sum(), wrt=("x",)), (X,)),
        (differentiate(lambda x: (x**3).sum()), (X.astype(np.float32),)),
        (differentiate(lambda x, w: (w @ x).sum()), (np.ones((3, 4)), np.arange(6.0).reshape(2, 3))),
        (differentiate(lambda x, k: x[k].sum(), wrt="x"), (X, np.array([0, 2, 2]))),
        (differentiate(lambda x, m: np.where(m, x, 0).sum(), wrt="x"), (X, X > 0)),
        (differentiate(lambda x: (x * x).sum()), (np.arange(100_000.0),)),
        (differentiate(lambda x: (x * x).sum()), (np.zeros((0, 3)),)),
    ],
    ids=[
        "number and array",
        "number",
        "numbers",
        "one in a tuple",
        "float32",
        "matrices",
        "integers",
        "truths",
        "long",
        "empty",
    ],
)
def test_results_are_those_of_the_way_through_python(loss: Any, args: tuple[Any, ...]):
    ready(loss, *args)
    value, gradient = found = loss.value_and_grad(*args)
    assert equal(found, through_python(loss, *args))
    loss.grad(*args)
    assert isinstance(loss.grad, types.BuiltinFunctionType)
    assert equal(loss.grad(*args), loss._grad_generally(*args))
    for part in gradient if isinstance(gradient, tuple) else (gradient,):
        assert not isinstance(part, np.ndarray) or (part.flags.writeable and part.flags.c_contiguous)
    assert isinstance(value, np.floating)


def pair(x: Any, a: Any) -> Any:
    return x * a, (np.sin(x), a * a)


@pytest.mark.parametrize(
    ("method", "function", "args"),
    [
        ("__call__", energy.__wrapped__, (0.5, X)),
        ("__call__", lambda x: x, (X,)),
        ("__call__", lambda x: (x, (2 * x, x * x)), (np.arange(5000.0),)),
        ("__call__", pair, (X, 0.5)),
        ("__call__", lambda x: np.exp(x), (X.astype(np.float32),)),
        ("jacobian", lambda x: np.exp(x), (X,)),
        ("jacobian", pair, (X, 0.5)),
        ("jacobian", lambda x: np.sin(x), (0.5,)),
        ("hessian", energy.__wrapped__, (0.5, X)),
        ("hessian", lambda x: (x**3).sum(), (X,)),
        ("hessian", lambda x: x**3, (0.5,)),
    ],
)
def test_other_methods_are_direct_too(
    method: str, function: Any, args: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
):
    loss = differentiate(function)
    held = getattr(loss, method)
    expected = held(*args)
    monkeypatch.setattr(type(loss), "_prepare", None)  # whatever goes through Python fails
    found = getattr(loss, method)(*args)
    assert equal(found, expected)
    assert equal(held(*args), expected)
    parts = found if isinstance(found, tuple) else (found,)
    for part in parts:
        assert not any(np.shares_memory(part, arg) for arg in args if isinstance(part, np.ndarray))


@pytest.mark.parametrize("method", ["value_and_grad", "grad", "__call__"])
def test_what_stands_beside_the_value_comes_along(method: str, monkeypatch: pytest.MonkeyPatch):
    loss = differentiate(has_aux=True)(lambda x, a: ((a * x).sum(), (np.exp(x), a * a)))
    expected = getattr(loss, method)(X, 0.5)
    monkeypatch.setattr(type(loss), "_prepare", None)  # whatever goes through Python fails
    found = getattr(loss, method)(X, 0.5)
    assert equal(found, expected)
    value, aux = found[0] if method == "value_and_grad" else found if method == "__call__" else (None, None)
    if aux is not None:
        assert value == (0.5 * X).sum()
        assert equal(aux[0], np.exp(X))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: {"sum": x.sum(), "all": x},
        lambda x: [x.sum(), x],
        lambda x: (x.sum(), np.argmax(x)),
        lambda x: (x, x),
    ],
    ids=["dictionary", "list", "integer", "twice"],
)
def test_other_results_go_through_python(function: Any):
    loss = differentiate(function)
    for _ in range(3):
        found = loss(X)
        assert type(found) is type(function(X))
        for one, other in zip(_leaves(found), _leaves(function(X)), strict=True):
            assert type(one) is type(other)
            np.testing.assert_array_equal(one, other)


def _leaves(tree: Any) -> list[Any]:
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, tuple | list) else None
    return [tree] if parts is None else [leaf for part in parts for leaf in _leaves(part)]


def test_switched_off_in_between(monkeypatch: pytest.MonkeyPatch):
    loss = differentiate(lambda x: x.sum())
    for _ in range(2):
        assert loss(X) == pytest.approx(X.sum())
    monkeypatch.setattr(loss, "__wrapped__", lambda x: "in Python")
    assert loss(X) == pytest.approx(X.sum())
    monkeypatch.setenv("GRADC_DISABLE", "1")
    assert loss(X) == "in Python"


OTHERS: dict[str, tuple[Any, ...]] = {
    "single precision": (0.5, X.astype(np.float32)),
    "stretched": (0.5, np.ones(1)),
    "two axes": (0.5, np.ones((2, 3))),
    "no axes": (0.5, np.array(2.0)),
    "a number": (0.5, 2.0),
    "strided": (0.5, np.linspace(0, 1, 8)[::2]),
    "unaligned": (0.5, np.frombuffer(b"\0" + X.tobytes(), np.uint8)[1:].view(np.float64)),
    "a subclass": (0.5, X.view(np.recarray)),
    "integers": (0.5, np.arange(5)),
    "a list": (0.5, [1.0, 2.0]),
    "an integer": (2, X),
    "a scalar of NumPy's": (np.float64(0.5), X),
    "a truth": (True, X),
}


@pytest.mark.parametrize("args", OTHERS.values(), ids=OTHERS.keys())
def test_other_arguments_go_through_python(args: tuple[Any, ...]):
    loss = ready(differentiate(energy.__wrapped__), 0.5, X)
    expected = through_python(loss, *args)
    for _ in range(2):
        assert equal(loss.value_and_grad(*args), expected)


def test_names_of_arguments_and_wrong_calls():
    loss = ready(differentiate(energy.__wrapped__), 0.5, X)
    expected = through_python(loss, 0.5, X)
    assert equal(loss.value_and_grad(x=X, a=0.5), expected)
    assert equal(loss.value_and_grad(0.5, x=X), expected)
    for args, kwargs in (
        ((), {}),
        ((0.5,), {}),
        ((0.5, X, X), {}),
        ((0.5, X), {"a": 1.0}),
        ((0.5, None), {}),
    ):
        with pytest.raises((TypeError, GradcError)):
            loss.value_and_grad(*args, **kwargs)


def test_shapes_that_do_not_fit_are_explained():
    loss = ready(differentiate(lambda x, y: (x * y).sum()), X, X)
    with pytest.raises(GradcError, match="axis 0 of y has 4 elements"):
        loss.value_and_grad(X, np.ones(4))
    with pytest.raises(GradcError, match="a big-endian array"):
        loss.value_and_grad(X, X.astype(">f8"))
    with pytest.raises(GradcError, match="masked"):
        loss.value_and_grad(X, np.ma.masked_array(X, X > 0))


def test_an_extent_of_one_is_another_program():
    loss = ready(differentiate(lambda x: x.squeeze().ndim * x.sum()), np.ones((2, 3)))
    assert loss.value_and_grad(np.ones((2, 3)))[0] == 12
    assert loss.value_and_grad(np.ones((1, 3)))[0] == 3


def test_several_kinds_of_calls_are_all_direct(monkeypatch: pytest.MonkeyPatch):
    loss = differentiate(energy.__wrapped__)
    calls = [(0.5, X), (0.5, X.astype(np.float32)), (0.5, np.ones((2, 3))), (0.5, 2.0)]
    expected = [loss.value_and_grad(*args) for args in calls]
    monkeypatch.setattr(type(loss), "_prepare", None)  # whatever goes through Python fails
    for args, before in zip(calls, expected, strict=True):
        assert equal(loss.value_and_grad(*args), before)


def test_nothing_is_leaked_and_nothing_freed_too_often():
    small, large = np.ones(4), np.ones(10_000)
    loss = ready(differentiate(energy.__wrapped__), 0.5, small)
    loss.grad(0.5, small)
    loss(0.5, small)
    loss.jacobian(0.5, small)
    step = loss.bind(0.5, small)
    dtype, kept = np.dtype("float64"), loss.value_and_grad(0.5, large)
    held = [small, large, dtype, energy, loss, 0.5]
    before = [sys.getrefcount(item) for item in held]
    tracemalloc.start()
    _nrt.memsys_enable_stats()
    in_use = tracemalloc.get_traced_memory()[0], _blocks_in_use()
    for _ in range(1000):
        for x in (small, large):
            loss.value_and_grad(0.5, x)
            loss.grad(0.5, x)
            loss(0.5, x)
        loss.jacobian(0.5, small)
        step()
    gc.collect()
    now = tracemalloc.get_traced_memory()[0], _blocks_in_use()
    _nrt.memsys_disable_stats()
    tracemalloc.stop()
    assert now[0] - in_use[0] < 10_000
    assert now[1] == in_use[1]
    after = [sys.getrefcount(item) for item in held]
    assert max(abs(a - b) for a, b in zip(after, before, strict=True)) < 100
    assert equal(kept, loss.value_and_grad(0.5, large))


def _blocks_in_use() -> int:
    """How many blocks of memory Numba holds for arrays."""
    return _nrt.memsys_get_stats_mi_alloc() - _nrt.memsys_get_stats_mi_free()


def test_equal_functions_share_a_kernel_that_lives_as_long_as_one_of_them():
    function: Any = lambda x: np.sqrt(1 + x * x).sum()  # noqa: E731
    first, second = differentiate(function), differentiate(function)
    for loss in (first, second):
        loss.value_and_grad(X)
    assert first.kernel(X) is second.kernel(X)
    del second, loss
    gc.collect()
    for size in (3, 10_000):  # a result that is copied, and one whose dtype comes from Numba's environment
        x = np.linspace(0, 1, size)
        assert equal(through_python(first, x), first.value_and_grad(x))


def test_other_threads_run_during_a_long_call_and_may_call_too():
    x = np.linspace(0, 1, 3_000_000)
    loss = ready(differentiate(lambda x: np.sin(np.exp(np.sin(x))).sum()), x)
    expected = loss.value_and_grad(x)
    seen: list[float] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.append(time.perf_counter())
            time.sleep(0)

    watching = threading.Thread(target=watch)
    watching.start()
    during = 0
    for _ in range(20):
        begin = time.perf_counter()
        loss.value_and_grad(x)
        end = time.perf_counter()
        during += sum(begin + 0.1 * (end - begin) < at < end - 0.1 * (end - begin) for at in seen[-5000:])
    stop.set()
    watching.join()
    assert during > 0
    with ThreadPoolExecutor(4) as pool:
        assert all(equal(found, expected) for found in pool.map(loss.value_and_grad, [x] * 8))


def test_a_direct_call_is_like_the_method():
    ready(energy, 0.5, X)
    method: Any = energy.value_and_grad
    assert method.__name__ == "value_and_grad"
    assert method.__doc__ == type(energy).value_and_grad.__doc__
    assert list(inspect.signature(method).parameters) == ["args", "kwargs"]
    again = pickle.loads(pickle.dumps(method))
    assert equal(again(0.5, X), method(0.5, X))
    assert equal(copy.deepcopy(method)(0.5, X), method(0.5, X))


def test_a_function_outlives_the_object_it_was_a_method_of():
    loss = ready(differentiate(lambda x: (x * x).sum()), X)
    method = loss.value_and_grad
    del loss
    gc.collect()
    assert method(X)[0] == pytest.approx(np.square(X).sum())
    assert method(X[::2])[0] == pytest.approx(np.square(X[::2]).sum())


def test_who_holds_the_method_is_served_directly_too(monkeypatch: pytest.MonkeyPatch):
    loss = differentiate(lambda x: (x * x).sum())
    method, grad = loss.value_and_grad, loss.grad
    value, gradient = method(X)
    grad(X)
    monkeypatch.setattr(type(loss), "_prepare", None)
    assert equal(method(X), (value, gradient))
    assert equal(grad(X), gradient)


def test_inside_another_function_a_direct_one_is_traced():
    ready(energy, 0.5, X)
    twice = differentiate(lambda a, x: energy.grad(a, x)[0] ** 2)
    expected = 2 * np.sum(np.cos(0.5 * X) * X * X) * -np.sum(np.sin(0.5 * X) * X**3)
    assert twice.grad(0.5, X)[0] == pytest.approx(expected)
    energy.grad(0.5, X)
    direct = energy.grad
    assert isinstance(direct, types.BuiltinFunctionType)
    twice = differentiate(lambda a, x: direct(a, x)[0] ** 2)
    assert twice.grad(0.5, X)[0] == pytest.approx(expected)


def test_a_direct_method_is_mapped_and_differentiated_like_any_other():
    loss = differentiate(energy.__wrapped__, wrt="x")
    mapped = vmap(loss.grad, in_axes={"a": None, "x": 0})
    slope = differentiate(loss.grad, wrt="a")
    expected = mapped(a=0.5, x=np.stack([X, 2 * X])), slope.jacobian(0.5, X)
    ready(loss, 0.5, X)
    loss.grad(0.5, X)
    assert isinstance(loss.grad, types.BuiltinFunctionType)
    again = vmap(loss.grad, in_axes={"a": None, "x": 0})
    found = again(a=0.5, x=np.stack([X, 2 * X])), differentiate(loss.grad, wrt="a").jacobian(0.5, X)
    assert again.signature.wrt == mapped.signature.wrt == ("x",)
    assert equal(found, expected)


def test_bound_integers_and_truths():
    x = np.arange(3.0)
    step = counted.bind(x, 3)
    assert step() == 15.0
    np.testing.assert_array_equal(step.gradient, 6 * x)
    step = differentiate(lambda x, flag: np.where(flag, x, 2 * x).sum(), wrt="x").bind(
        x, np.array([True] * 3)
    )
    assert step() == 3.0
