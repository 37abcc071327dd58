"""Real programs against published derivatives: what gradc makes of ADBench's objectives, written as plain NumPy.

Where compiling costs more than it tells, the interpreter runs the same derived program.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from tests.adbench import files, objectives

from gradc import differentiate, vmap

TOLERANCE = 1e-10  # ADBench itself asks for 1e-8

posterior = differentiate(objectives.mixture, wrt=("alpha", "means", "inverse_factors"))
error = differentiate(objectives.reprojection_error, wrt=("camera", "point", "weight"))
residuals = differentiate(objectives.hand_residuals, wrt="theta")
loss = differentiate(objectives.network_loss, wrt=("main", "extra"))
step = differentiate(objectives.network_step, wrt=("main", "extra", "state"))


def joined(parts: Sequence[np.ndarray], rank: int = 0) -> np.ndarray:
    """One array from the parts of a derivative; the first `rank` axes are those of the result."""
    return np.concatenate([part.reshape(*part.shape[:rank], -1) for part in map(np.asarray, parts)], axis=-1)


def assert_agrees(found: Any, expected: Any) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    difference = np.abs(found - expected) / np.maximum(1, np.abs(found) + np.abs(expected))
    assert difference.max() <= TOLERANCE  # False for NaN


def complex_step(function: Callable[..., Any], args: Sequence[Any], count: int) -> np.ndarray:
    """Jacobian with respect to the first `count` arguments, exact to rounding."""
    columns = []
    for at in range(count):
        for place in np.ndindex(np.shape(args[at])):
            moved = [np.array(arg, complex if number < count else None) for number, arg in enumerate(args)]
            moved[at][place] += 1e-40j
            columns.append(function(*moved).imag / 1e-40)
    return np.stack(columns, axis=-1)


# --- GMM ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("test", "interpret"),
        ("1k/gmm_d2_K5", "cpu"),
        pytest.param("test", "cpu", marks=pytest.mark.full),
        pytest.param("1k/gmm_d10_K25", "cpu", marks=pytest.mark.full),
    ],
)
def test_gradient_of_the_mixture(name: str, target: str):
    value, gradient = posterior.with_options(target=target).value_and_grad(*files.mixture(name))
    golden = files.golden(f"gmm/{name.replace('/', '_')}")
    assert_agrees(value, golden.value)
    assert_agrees(joined(gradient), golden.derivative)


# --- BA -----------------------------------------------------------------------------------------------------


def test_sparse_jacobian_of_one_observation():
    count, observed = files.observation("test")
    golden = files.golden_observation("test")
    block = joined(error.with_options(target="interpret").jacobian(*observed), rank=1)
    weight = differentiate(objectives.weight_error).grad(observed.weight)
    assert_agrees(block.ravel(), golden["vals"][:30])
    assert_agrees(weight, golden["vals"][30])
    assert_agrees(error(*observed), golden["reproj_error"]["elements"])
    assert golden["nrows"] == 3 * count


def test_blocks_of_many_observations():
    """One kernel for all of them: the repeated observation as published, and perturbed ones."""
    blocks = vmap(error.jacobian)
    for name, spread in (("ba1_n49_m7776_p31843", 0.0), ("ba1_n49_m7776_p31843", 1e-3), ("test", 0.3)):
        observed = files.observation(name)[1]
        batch = perturbed(observed, 20, spread)
        found = joined(blocks(*batch), rank=2)
        if not spread:
            published = files.golden_observation(name)["vals"][:30]
            assert_agrees(found.reshape(20, 30), [published] * 20)
        for at in range(20):
            one = [part[at] for part in batch]
            assert_agrees(found[at], complex_step(objectives.reprojection_error, one, 3))


def perturbed(observed: files.Observation, count: int, spread: float) -> list[np.ndarray]:
    """`count` observations like this one: every parameter times ``1 + spread N(0, 1)``."""
    rng = np.random.default_rng(0)
    shapes = [(count, *np.shape(part)) for part in observed]
    return [p * (1 + spread * rng.standard_normal(s)) for p, s in zip(observed, shapes, strict=True)]


def test_no_rotation_has_a_derivative():
    """At r = 0 the other arm divides by zero; the derivative is that of ``x + r x x``."""
    turn = differentiate(objectives.rotate, wrt=("r", "x")).with_options(target="interpret")
    x, y, z = point = np.array([1.0, -2.0, 0.5])
    by_r, by_x = turn.jacobian(np.zeros(3), point)
    assert_agrees(by_r, [[0, z, -y], [-z, 0, x], [y, -x, 0]])
    assert_agrees(by_x, np.eye(3))


# --- HAND ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("test", "interpret"),
        ("simple_small/hand1_t26_c100", "interpret"),
        pytest.param("simple_small/hand1_t26_c100", "cpu", marks=pytest.mark.full),
    ],
)
def test_jacobian_of_the_hand(name: str, target: str):
    arguments = files.hand(name)
    golden = files.golden_hand(name.replace("/", "_"))
    assert_agrees(objectives.hand_residuals(*arguments).ravel(), golden.value)
    jacobian = residuals.with_options(target=target).jacobian(*arguments)
    assert_agrees(jacobian.reshape(golden.derivative.shape), golden.derivative)


# --- LSTM ---------------------------------------------------------------------------------------------------


def test_gradient_of_the_network_step_by_step():
    """A thousand steps: one compiled step, its pullbacks called in reverse order."""
    main, extra, state, text = files.network("lstm_l2_c1024")
    total, pullbacks = 0.0, []
    for x, following in itertools.pairwise(text):
        (gain, state), pullback = step.vjp(main, extra, state, x, following)
        total += gain
        pullbacks.append(pullback)
    scale = -1 / text[1:].size
    by_main, by_extra, by_state = np.zeros_like(main), np.zeros_like(extra), np.zeros_like(state)
    for pullback in reversed(pullbacks):
        of_main, of_extra, by_state = pullback((scale, by_state))
        by_main += of_main
        by_extra += of_extra
    golden = files.golden("lstm/lstm_l2_c1024")
    assert_agrees(total * scale, golden.value)
    assert_agrees(joined((by_main, by_extra)), golden.derivative)


def test_gradient_of_the_network_unrolled():
    main, extra, state, text = files.network("lstm_l2_c1024")
    arguments = main, extra, state, text[:8]
    value, gradient = loss.with_options(target="interpret").value_and_grad(*arguments)
    assert_agrees(value, objectives.network_loss(*arguments))
    assert_agrees(joined(gradient), complex_step(objectives.network_loss, arguments, 2))
