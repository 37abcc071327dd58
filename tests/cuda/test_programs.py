"""Functions as users write them: kernels of a GPU, simulated or on a device, give what the interpreter does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.cuda.programs import PROGRAMS, chain, in_single_precision, layer_norm, look_up, network

import gradc
from gradc import differentiate
from gradc.errors import ArgumentError

runs = [pytest.mark.simulator, pytest.mark.cuda]
pytestmark = runs
TOLERANCE = {np.float64: 1e-11, np.float32: 3e-4}


def leaves(results: Any) -> list[Any]:
    if isinstance(results, tuple | list):
        return [leaf for part in results for leaf in leaves(part)]
    return [] if results is None else [results]


def check(found: Any, expected: Any, tolerance: float) -> None:
    for one, two in zip(leaves(found), leaves(expected), strict=True):
        assert np.shape(one) == np.shape(two)
        scale = max(1.0, float(np.abs(two).max(initial=0)))
        np.testing.assert_allclose(one, two, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("function", list(PROGRAMS), ids=lambda function: function.__name__)
def test_value_and_gradient(function: Callable[..., Any], dtype: Any):
    arguments = PROGRAMS[function] if dtype is np.float64 else in_single_precision(PROGRAMS[function])
    expected = differentiate(function, target="interpret").value_and_grad(*arguments)
    found = differentiate(function, target="cuda").value_and_grad(*arguments)
    check(found, expected, TOLERANCE[dtype])
    for one, two in zip(leaves(found), leaves(expected), strict=True):
        assert np.asarray(one).dtype == np.asarray(two).dtype


def test_two_calls_give_the_same_bits():
    loss = differentiate(layer_norm, target="cuda")
    first, second = (loss.value_and_grad(*PROGRAMS[layer_norm]) for _ in range(2))
    assert [np.asarray(a).tobytes() for a in leaves(first)] == [
        np.asarray(a).tobytes() for a in leaves(second)
    ]


def test_other_derivatives():
    loss, slow = (differentiate(chain, target=target) for target in ("cuda", "interpret"))
    x, y = PROGRAMS[chain]
    check(loss.jvp((x, y), (y, x)), slow.jvp((x, y), (y, x)), 1e-11)
    check(loss.vjp(x, y)[1](2.0), slow.vjp(x, y)[1](2.0), 1e-11)
    check(loss.hvp((x, y), (y, x)), slow.hvp((x, y), (y, x)), 1e-10)
    rows = differentiate(lambda x, y: np.sin(x) @ y.T, target="cuda")
    plain = differentiate(lambda x, y: np.sin(x) @ y.T, target="interpret")
    check(rows.jacobian(x[:2], y[:3]), plain.jacobian(x[:2], y[:3]), 1e-11)


def test_every_size_has_the_same_kernel():
    loss = differentiate(layer_norm, target="cuda")
    slow = differentiate(layer_norm, target="interpret")
    rng = np.random.default_rng(2)
    for rows, columns in ((2, 3), (7, 40), (3, 70)):
        sizes = ((rows, columns), (columns,), (columns,), (rows, columns))
        arguments = [rng.normal(size=size) for size in sizes]
        check(loss.value_and_grad(*arguments), slow.value_and_grad(*arguments), 1e-10)
    assert loss.cache_info().kernels == 1


def test_numbers_of_library_operations_are_results():
    matrix = np.random.default_rng(1).normal(size=(3, 3))
    for function in (np.linalg.det, lambda a: np.linalg.slogdet(a)[1]):
        found = differentiate(lambda a, f=function: f(a), target="cuda", static=("f",))
        assert found(matrix) == pytest.approx(function(matrix), rel=1e-12)


def test_indices_out_of_range_are_refused():
    loss = differentiate(look_up, target="cuda")
    table, _, scale = PROGRAMS[look_up]
    with pytest.raises(IndexError):
        loss.grad(table, np.array([0, 9, 1, 2]), scale)


def test_shapes_that_disagree_are_refused_with_both():
    loss = differentiate(network, target="cuda")
    w1, b1, w2, x, y = PROGRAMS[network]
    loss.grad(w1, b1, w2, x, y)
    with pytest.raises(gradc.GradcError, match="b1"):
        loss.grad(w1, b1[:-1], w2, x, y)


# --- arrays on the device -----------------------------------------------------------------------------------


def test_what_is_on_the_device_stays_there():
    loss = differentiate(layer_norm, target="cuda")
    expected = loss.value_and_grad(*PROGRAMS[layer_norm])
    value, gradients = loss.value_and_grad(*gradc.to_device(PROGRAMS[layer_norm]))
    assert hasattr(value, "copy_to_host")
    assert all(hasattr(gradient, "copy_to_host") for gradient in gradients)
    assert float(value) == expected[0]
    check([gradient.copy_to_host() for gradient in gradients], expected[1], 0.0)


def test_arrays_on_the_device_are_no_arguments_of_the_processor():
    with pytest.raises(ArgumentError, match="x is in the memory of a GPU"):
        differentiate(chain)(*gradc.to_device(PROGRAMS[chain]))


def test_a_step_updates_what_is_on_the_device():
    def step(w, x, y, rate):
        def loss(w):
            return ((x @ w - y) ** 2).mean()

        value, slope = differentiate(loss).value_and_grad(w)
        return value, w - rate[0] * slope

    rng = np.random.default_rng(3)
    x, y, w = rng.normal(size=(6, 3)), rng.normal(size=(6, 2)), rng.normal(size=(3, 2))
    on_device = gradc.to_device((w, x, y, np.array([0.1])))
    update = differentiate(step, target="cuda").bind_update(*on_device, updates=("w",))
    for _ in range(3):
        value = float(update())
        error = x @ w - y
        np.testing.assert_allclose(value, (error**2).mean(), rtol=1e-12)
        w = w - 0.1 * 2 / error.size * x.T @ error
    np.testing.assert_allclose(on_device[0].copy_to_host(), w, rtol=1e-12)
    with pytest.raises(ArgumentError, match="not in the memory of the GPU"):
        differentiate(step, target="cuda").bind_update(w, *on_device[1:], updates=("w",))


def test_a_device_is_chosen_by_number():
    with gradc.device(0):
        assert differentiate(chain, target="cuda")(*PROGRAMS[chain]) == pytest.approx(chain(*PROGRAMS[chain]))
    with pytest.raises(ArgumentError, match="number of a device"), gradc.device(-1):
        pass


def test_what_only_a_processor_has_is_refused():
    loss = differentiate(chain, target="cuda")
    for call in (loss.profile, loss.kernel):
        with pytest.raises(ArgumentError, match="GPU"):
            call(*PROGRAMS[chain])
    assert loss.inspect(*PROGRAMS[chain]).path.endswith(".py")


@pytest.mark.full  # minutes in the simulator
def test_the_check_drives_the_kernel_of_the_device():
    assert differentiate(layer_norm, target="cuda").check(*PROGRAMS[layer_norm])
