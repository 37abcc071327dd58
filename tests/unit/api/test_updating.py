"""Functions whose results become the new contents of their arguments."""

import numpy as np
import pytest

import gradc
from gradc.api.updating import inspect_update
from gradc.errors import ArgumentError, TraceError
from gradc_runtime import numba_backend

rng = np.random.default_rng(9)


@gradc.differentiate
def loss(parameters, x, y):
    scores = np.tanh(x @ parameters["first"]) @ parameters["second"]
    return np.square(scores - y).mean()


@gradc.differentiate
def adam_like(parameters, moments, x, y, rate):
    value, gradient = loss.with_options(wrt="parameters").value_and_grad(parameters, x, y)
    moments = {name: 0.9 * moments[name] + 0.1 * gradient[name] for name in gradient}
    size = sum(np.square(g).sum() for g in gradient.values())
    return value, size, {n: parameters[n] - rate * moments[n] for n in gradient}, moments


def arguments():
    parameters = {"first": rng.normal(size=(4, 6)), "second": rng.normal(size=(6, 2))}
    moments = {name: np.zeros_like(value) for name, value in parameters.items()}
    return parameters, moments, rng.normal(size=(9, 4)), rng.normal(size=(9, 2)), 0.1


def test_containers_are_updated_and_numbers_come_back():
    parameters, moments, x, y, rate = arguments()
    mine = {n: a.copy() for n, a in parameters.items()}, {n: a.copy() for n, a in moments.items()}
    step = adam_like.bind_update(*mine, x, y, rate, updates=("parameters", "moments"))
    for _ in range(4):
        value, size, parameters, moments = adam_like(parameters, moments, x, y, rate)
        assert step() == pytest.approx(value, rel=1e-12)  # another kernel may sum in another order
        assert step.numbers[0] == pytest.approx(size, rel=1e-12)
        for updated, expected in zip(mine, (parameters, moments), strict=True):
            for name in expected:
                np.testing.assert_allclose(updated[name], expected[name], rtol=1e-12, atol=1e-15)


def test_what_is_written_to_an_argument_between_calls_counts():
    w, x = np.ones(3), np.array([1.0, 2.0, 3.0])
    step = gradc.differentiate(lambda w, x: ((w * x).sum(), w + x)).bind_update(w, x, updates=("w",))
    assert step() == 6.0
    x[:] = 1.0
    w[:] = 5.0
    assert step() == 15.0
    np.testing.assert_array_equal(w, [6.0, 6.0, 6.0])


CAPTURED = np.array([1.0, 2.0, 3.0])


def test_captured_arrays_are_read_where_they_are():
    w = np.ones(3)
    step = gradc.differentiate(lambda w: ((w * CAPTURED).sum(), w + CAPTURED)).bind_update(w, updates=("w",))
    assert step() == 6.0
    np.testing.assert_array_equal(w, [2.0, 3.0, 4.0])


def test_single_precision_stays_single_precision():
    w = np.ones(3, np.float32)
    step = gradc.differentiate(lambda w: (w.sum(), w * np.float32(0.1))).bind_update(w, updates=("w",))
    assert step() == 3.0
    np.testing.assert_array_equal(w, np.full(3, np.float32(0.1)))


def test_the_step_shows_what_it_updates():
    w = np.ones(3)
    step = gradc.differentiate(lambda w: (w.sum(), w * 0.5)).bind_update(w, updates=("w",))
    shown = step.inspect()
    assert "Updated where they are, and sharing memory with nothing else: w." in shown.source
    assert "inout w: f64[:]" in shown.kernels
    assert "vectorised" in shown.asm
    assert "1 array, 8 bytes at once" in shown.workspace  # a sum for each part of the loop


def test_a_step_is_shown_without_machine_code_as_it_is_bound(monkeypatch):
    function, w = gradc.differentiate(lambda w, x: ((w * x).sum(), w * 0.5)), np.ones(3)
    bound = function.bind_update(w, np.ones(3), updates=("w",)).inspect()

    def refuse(*args):
        raise AssertionError("machine code was made")

    monkeypatch.setattr(numba_backend, "compile_kernel", refuse)
    fresh = gradc.differentiate(lambda w, x: ((w * x).sum(), w * 0.5))
    # Neither is contiguous or writable: of the arguments only shapes count.
    arguments = np.broadcast_to(0.0, 3), np.ones(6)[::2]
    shown = inspect_update(fresh, arguments, {}, ("w",))
    assert shown.source == bound.source
    assert shown.workspace == bound.workspace
    with pytest.raises(AssertionError, match="machine code was made"):
        _ = shown.asm


def test_what_cannot_be_updated_is_not_shown_either():
    function = gradc.differentiate(lambda w: (w, w * 0.5))
    with pytest.raises(ArgumentError, match="floating-point numbers beside new contents"):
        inspect_update(function, (np.ones(3),), {}, ("w",))
    with pytest.raises(ArgumentError, match="no argument 'v' to update"):
        inspect_update(function, (np.ones(3),), {}, ("v",))
    slow = gradc.differentiate(lambda w: (w.sum(), w * 0.5)).with_options(target="interpret")
    with pytest.raises(ArgumentError, match="only a compiled function"):
        inspect_update(slow, (np.ones(3),), {}, ("w",))


def test_an_error_leaves_the_arguments_as_they_were():
    def walk(w, x, t):
        return x[t].sum(), w + 1.0

    w, t = np.ones(3), np.array([0, 1])
    step = gradc.differentiate(walk).bind_update(w, np.ones(4), t, updates=("w",))
    t[1] = 9
    with pytest.raises(IndexError):
        step()
    np.testing.assert_array_equal(w, np.ones(3))


VECTOR = np.ones(3)
REFUSED = {
    "no such argument": (lambda w: (w.sum(), w * 2), (VECTOR,), ("v",), "no argument 'v'"),
    "too few results": (lambda w: w * 2, (VECTOR,), ("w",), "returns no numbers"),
    "no number": (lambda w: (w * 1, w * 2), (VECTOR,), ("w",), "must return floating-point numbers"),
    "another shape": (lambda w: (w.sum(), w[:1] * 2), (VECTOR,), ("w",), "w cannot be updated"),
    "another container": (lambda w: (w.sum(), [w * 2, w]), (VECTOR,), ("w",), "has 1 arrays"),
    "a number": (lambda w: (w * 1, w * 2), (2.0,), ("w",), "w cannot be updated"),
    "a name twice": (lambda w: (w.sum(), w * 2, w * 3), (VECTOR,), ("w", "w"), "named twice"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name: str):
    function, given, updates, message = REFUSED[name]
    with pytest.raises(ArgumentError, match=message) as caught:
        gradc.differentiate(function).bind_update(*given, updates=updates)
    assert caught.value.do


def test_arrays_that_cannot_be_updated_where_they_are_are_refused():
    double = gradc.differentiate(lambda w, x: ((w * x).sum(), w * 2))
    fixed = np.ones(3)
    fixed.flags.writeable = False
    both = np.ones(6)
    for w, x, message in (
        (fixed, VECTOR, "cannot be written"),
        (both[::2], VECTOR, "cannot be bound"),
        (both[:3], both[1:4], "share memory"),
        (VECTOR, both[::2], "cannot be bound"),
    ):
        with pytest.raises(ArgumentError, match=message):
            double.bind_update(w, x, updates=("w",))


def test_the_interpreter_updates_nothing():
    function = gradc.differentiate(lambda w: (w.sum(), w * 2)).with_options(target="interpret")
    with pytest.raises(ArgumentError, match="only a compiled function"):
        function.bind_update(np.ones(3), updates=("w",))


def test_inside_a_traced_function_it_is_refused():
    inner = gradc.differentiate(lambda w: (w.sum(), w * 2))
    with pytest.raises(TraceError, match=r"bind_update|traced"):
        gradc.differentiate(lambda w: inner.bind_update(w, updates=("w",))())(np.ones(3))
