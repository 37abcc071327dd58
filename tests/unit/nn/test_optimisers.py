"""Updates against the formulas of papers and lectures, against PyTorch, traced, compiled, clipped."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import ArgumentError
from gradc.nn.optimisers import (
    AdaGrad,
    Adam,
    AdamW,
    GradientDescent,
    Momentum,
    Optimiser,
    RMSProp,
    clipped,
)
from gradc.nn.schedules import Cosine, StepDecay

# --- two small problems, with their gradients by hand ------------------------------------------------------

RANDOM = np.random.default_rng(5)
SKEW = RANDOM.normal(size=(4, 4))
HESSIAN = SKEW @ SKEW.T / 4 + 0.5 * np.eye(4)
LINEAR = RANDOM.normal(size=4)
POINTS = RANDOM.normal(size=(12, 3))
SIGNS = np.sign(POINTS @ np.array([1.0, -2.0, 0.5]) + 0.3 * RANDOM.normal(size=12))


def quadratic(x: np.ndarray) -> np.ndarray:
    return HESSIAN.astype(x.dtype) @ x - LINEAR.astype(x.dtype)


def logistic(x: np.ndarray) -> np.ndarray:
    points, signs = POINTS.astype(x.dtype), SIGNS.astype(x.dtype)
    return -(points.T @ (signs / (1 + np.exp(signs * (points @ x))))) / len(points)


PROBLEMS = [(quadratic, np.array([1.0, -1.0, 2.0, 0.5])), (logistic, np.array([0.2, 0.1, -0.3]))]
Gradient = Callable[[np.ndarray], np.ndarray]


# --- the formulas, each as one loop in float64 -------------------------------------------------------------


def by_descent(gradient: Gradient, x: np.ndarray, rates: list[float]) -> np.ndarray:
    for rate in rates:
        x = x - rate * gradient(x)
    return x


def by_momentum(gradient: Gradient, x: np.ndarray, rates: list[float], mu: float = 0.9) -> np.ndarray:
    v = np.zeros_like(x)
    for rate in rates:
        v = mu * v - rate * gradient(x)
        x = x + v
    return x


def by_nesterov(gradient: Gradient, x: np.ndarray, rates: list[float], mu: float = 0.8) -> np.ndarray:
    """The form of CS231n, in the variable ahead."""
    v = np.zeros_like(x)
    for rate in rates:
        before = v
        v = mu * v - rate * gradient(x)
        x = x - mu * before + (1 + mu) * v
    return x


def by_adagrad(gradient: Gradient, x: np.ndarray, rates: list[float]) -> np.ndarray:
    history = []
    for rate in rates:
        history.append(gradient(x))
        x = x - rate * history[-1] / (np.sqrt(np.sum(np.square(history), axis=0)) + 1e-8)
    return x


def by_rmsprop(gradient: Gradient, x: np.ndarray, rates: list[float], decay: float = 0.9) -> np.ndarray:
    cache = np.zeros_like(x)
    for rate in rates:
        g = gradient(x)
        cache = decay * cache + (1 - decay) * g**2
        x = x - rate * g / (np.sqrt(cache) + 1e-8)
    return x


def by_adam(
    gradient: Gradient,
    x: np.ndarray,
    rates: list[float],
    b1: float = 0.9,
    b2: float = 0.999,
    decay: float = 0,
) -> np.ndarray:
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t, rate in enumerate(rates, start=1):
        g = gradient(x)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        corrected, size = m / (1 - b1**t), np.sqrt(v / (1 - b2**t)) + 1e-8
        x = x - rate * (corrected / size + decay * x)
    return x


def by_adamw(gradient: Gradient, x: np.ndarray, rates: list[float]) -> np.ndarray:
    return by_adam(gradient, x, rates, 0.7, 0.95, 0.1)


FORMULAS = [
    (GradientDescent(0.1), by_descent),
    (Momentum(0.05), by_momentum),
    (Momentum(0.05, 0.8, nesterov=True), by_nesterov),
    (AdaGrad(0.3), by_adagrad),
    (RMSProp(0.05), by_rmsprop),
    (Adam(0.1), by_adam),
    (AdamW(0.1, 0.7, 0.95, decay=0.1), by_adamw),
]
OPTIMISERS = [optimiser for optimiser, _ in FORMULAS]


def trained(
    optimiser: Optimiser,
    gradient: Gradient,
    x: np.ndarray,
    steps: int,
    is_weight: bool = True,
    steps_per_epoch: int = 10,
) -> np.ndarray:
    """Call `update` with NumPy arrays, as a training loop does."""
    slots = {name: np.zeros_like(x) for name in optimiser.slots()}
    for step in range(1, steps + 1):
        rate = x.dtype.type(optimiser.rate_at(step, steps_per_epoch))
        x, slots = optimiser.update(x, gradient(x), slots, rate, x.dtype.type(step), is_weight=is_weight)
        assert tuple(slots) == optimiser.slots()
        assert {array.dtype for array in (x, *slots.values())} == {x.dtype}
    return x


@pytest.mark.parametrize(("gradient", "start"), PROBLEMS)
@pytest.mark.parametrize(("optimiser", "formula"), FORMULAS, ids=[f.__name__ for _, f in FORMULAS])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_50_steps_are_those_of_the_formula(
    optimiser: Any, formula: Any, gradient: Any, start: np.ndarray, dtype: Any, tolerance: float
):
    found = trained(optimiser, gradient, start.astype(dtype), 50)
    assert found.dtype == dtype
    expected = formula(gradient, start, 50 * [optimiser.rate])
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("optimiser", "formula"), FORMULAS, ids=[f.__name__ for _, f in FORMULAS])
def test_with_a_schedule_each_step_has_its_own_rate(optimiser: Any, formula: Any):
    schedule = StepDecay(optimiser.rate, factor=0.5, epochs=1)
    rates = [schedule(step, 10) for step in range(1, 51)]
    gradient, start = PROBLEMS[0]
    found = trained(dataclasses.replace(optimiser, rate=schedule), gradient, start, 50)
    np.testing.assert_allclose(found, formula(gradient, start, rates), rtol=1e-12)


def test_weights_alone_decay():
    gradient, start = PROBLEMS[0]
    as_bias = trained(AdamW(0.1, decay=0.1), gradient, start, 50, is_weight=False)
    np.testing.assert_array_equal(as_bias, trained(Adam(0.1), gradient, start, 50))


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=repr)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_gradient_of_0_leaves_a_bias_as_it_is(optimiser: Optimiser, dtype: Any):
    start = np.array([1.0, -2.0], dtype)
    found = trained(optimiser, np.zeros_like, start, 3, is_weight=False)
    np.testing.assert_array_equal(found, start)


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=repr)
def test_an_update_writes_to_none_of_its_arguments(optimiser: Optimiser):
    value, gradient = np.array([1.0, 2.0]), np.array([0.5, -0.5])
    slots = {name: np.array([0.25, 0.75]) for name in optimiser.slots()}
    before = [array.copy() for array in (value, gradient, *slots.values())]
    optimiser.update(value, gradient, slots, 0.1, 2.0, is_weight=True)
    for array, copy in zip((value, gradient, *slots.values()), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_the_bias_correction_keeps_the_digits_of_float32():
    one = np.ones(1, np.float32)
    for step in (1, 2, 10):
        weights = 1 - 0.9**step, 1 - 0.999**step  # moments of a gradient that was always 1
        slots = {"first_moment": one * weights[0], "second_moment": one * weights[1]}
        unbiased = Adam().update(0 * one, one, slots, np.float32(1), np.float32(step + 1), is_weight=False)[0]
        assert unbiased[0] == pytest.approx(-1, abs=4e-7)  # one minus a power would err by 2e-5


def test_a_beta_of_0_keeps_no_memory():
    value, _ = Adam(beta1=0, beta2=0).update(
        np.array([1.0]),
        np.array([-4.0]),
        {"first_moment": np.array([3.0]), "second_moment": np.array([7.0])},
        0.5,
        2.0,
        is_weight=True,
    )
    assert value[0] == pytest.approx(1.5)


def test_numpy_numbers_as_settings_do_not_widen_float32():
    wide = np.float64
    narrow = np.ones(2, np.float32)
    optimisers = [
        Momentum(wide(0.1), wide(0.9)),
        AdaGrad(wide(0.1), wide(1e-8)),
        RMSProp(wide(0.1), wide(0.9), wide(1e-8)),
        AdamW(wide(0.1), wide(0.9), wide(0.99), wide(1e-8), wide(0.1), clip_norm=wide(1), clip_value=wide(2)),
    ]
    for optimiser in optimisers:
        assert trained(optimiser, np.negative, narrow, 2).dtype == np.float32
        limited = clipped({"x": narrow}, optimiser.clip_norm, optimiser.clip_value)
        assert limited["x"].dtype == np.float32


# --- convergence -------------------------------------------------------------------------------------------

STEEP = np.array([1.0, 300.0])  # the eigenvalues of an ill-conditioned quadratic


def loss_after(optimiser: Optimiser, steps: int) -> float:
    x = trained(optimiser, lambda x: STEEP * x, np.array([1.0, 1.0]), steps, steps_per_epoch=1)
    return float(0.5 * np.sum(STEEP * x * x))


@pytest.mark.parametrize(
    ("optimiser", "limit"),
    [
        (GradientDescent(0.006), 1e-4),
        (Momentum(0.006), 1e-20),
        (Momentum(0.003, nesterov=True), 1e-20),
        (AdaGrad(0.5), 1e-20),
        (RMSProp(Cosine(0.05, epochs=800)), 1e-10),
        (Adam(Cosine(0.05, epochs=800)), 1e-10),
        (AdamW(Cosine(0.05, epochs=800), decay=0.01), 1e-10),
    ],
    ids=repr,
)
def test_an_ill_conditioned_quadratic_is_minimised(optimiser: Optimiser, limit: float):
    assert loss_after(optimiser, 800) < limit


def test_momentum_is_faster_where_the_curvatures_differ():
    assert loss_after(Momentum(0.006), 300) < 1e-3 * loss_after(GradientDescent(0.006), 300)


# --- traced into a step ------------------------------------------------------------------------------------

PARAMETERS = {"weight": RANDOM.normal(size=(3, 2)), "bias": np.array([0.1, -0.2])}
TARGETS = RANDOM.normal(size=(12, 2))


def loss(params: dict[str, Any], points: Any, targets: Any) -> Any:
    return np.mean(np.log1p(np.exp((points @ params["weight"] + params["bias"]) * targets)))


def loss_gradient(params: dict[str, np.ndarray], points: np.ndarray, targets: np.ndarray) -> Any:
    """The gradient of `loss`, by hand."""
    scores = points @ params["weight"] + params["bias"]
    delta = targets / (1 + np.exp(-scores * targets)) / targets.size
    return {"weight": points.T @ delta, "bias": delta.sum(axis=0)}


def step_of(optimiser: Optimiser, gradients: Callable[[Any], Any]) -> Callable[..., Any]:
    """The step of a training: gradients, clipping, updates."""

    def step(params: Any, slots: Any, rate: Any, t: Any) -> Any:
        found = clipped(gradients(params), optimiser.clip_norm, optimiser.clip_value)
        new = {
            name: optimiser.update(value, found[name], slots[name], rate, t, is_weight=name == "weight")
            for name, value in params.items()
        }
        return {name: pair[0] for name, pair in new.items()}, {name: pair[1] for name, pair in new.items()}

    return step


def steps_agree(optimiser: Optimiser, dtype: Any, target: str, steps: int) -> None:
    """Compare the step that gradc differentiates and runs with NumPy and a gradient by hand."""
    points, targets = POINTS.astype(dtype), TARGETS.astype(dtype)
    differentiated = gradc.differentiate(loss, wrt="params").with_options(target=target)
    traced = gradc.differentiate(
        step_of(optimiser, lambda params: differentiated.grad(params, points, targets))
    ).with_options(target=target)
    plain = step_of(optimiser, lambda params: loss_gradient(params, points, targets))
    start = {name: value.astype(dtype) for name, value in PARAMETERS.items()}
    zeros = {
        name: {slot: np.zeros_like(value) for slot in optimiser.slots()} for name, value in start.items()
    }
    ours = theirs = (start, zeros)
    for t in range(1, steps + 1):
        rate = dtype(optimiser.rate_at(t, 3))
        ours, theirs = traced(*ours, rate, dtype(t)), plain(*theirs, rate, dtype(t))
    tolerance = 200 * np.finfo(dtype).eps
    for name, value in theirs[0].items():
        assert ours[0][name].dtype == value.dtype == dtype
        assert not np.allclose(value, start[name], rtol=1e-3)
        np.testing.assert_allclose(ours[0][name], value, rtol=tolerance, atol=tolerance)
        assert list(ours[1][name]) == list(optimiser.slots())
        for slot, array in theirs[1][name].items():
            assert ours[1][name][slot].dtype == dtype
            np.testing.assert_allclose(ours[1][name][slot], array, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "optimiser",
    [*OPTIMISERS, Momentum(StepDecay(0.5, 0.5, 1)), Adam(0.1, clip_norm=0.05, clip_value=0.03)],
    ids=repr,
)
def test_the_traced_step_computes_what_numpy_does(optimiser: Optimiser, dtype: Any):
    steps_agree(optimiser, dtype, "interpret", 6)


def test_the_compiled_step_computes_what_numpy_does():
    steps_agree(AdamW(0.1, decay=0.1, clip_norm=0.05), np.float32, "cpu", 6)


# --- PyTorch -----------------------------------------------------------------------------------------------

TORCH: list[tuple[Optimiser, Callable[[Any, Any], Any]]] = [
    (GradientDescent(0.1), lambda optim, x: optim.SGD([x], lr=0.1)),
    (Momentum(0.05, 0.9), lambda optim, x: optim.SGD([x], lr=0.05, momentum=0.9)),
    (
        Momentum(0.05, 0.9, nesterov=True),
        lambda optim, x: optim.SGD([x], lr=0.05, momentum=0.9, nesterov=True),
    ),
    (AdaGrad(0.3), lambda optim, x: optim.Adagrad([x], lr=0.3, eps=1e-8)),
    (RMSProp(0.05, 0.95), lambda optim, x: optim.RMSprop([x], lr=0.05, alpha=0.95)),
    (Adam(0.1), lambda optim, x: optim.Adam([x], lr=0.1)),
    (AdamW(0.1, decay=0.2), lambda optim, x: optim.AdamW([x], lr=0.1, weight_decay=0.2)),
]


@pytest.mark.parametrize(("gradient", "start"), PROBLEMS)
@pytest.mark.parametrize(("optimiser", "make"), TORCH, ids=[repr(optimiser) for optimiser, _ in TORCH])
def test_50_steps_are_those_of_pytorch(optimiser: Any, make: Any, gradient: Any, start: np.ndarray):
    torch: Any = pytest.importorskip("torch")
    x = torch.tensor(start, requires_grad=True)
    theirs = make(torch.optim, x)
    for _ in range(50):
        x.grad = torch.tensor(gradient(x.detach().numpy()))
        theirs.step()
    np.testing.assert_allclose(trained(optimiser, gradient, start, 50), x.detach().numpy(), rtol=1e-11)


@pytest.mark.parametrize("limit", [0.5, 50.0])
def test_clipping_is_that_of_pytorch(limit: float):
    torch: Any = pytest.importorskip("torch")
    tensors = [torch.zeros(value.shape, dtype=torch.float64) for value in PARAMETERS.values()]
    for tensor, value in zip(tensors, PARAMETERS.values(), strict=True):
        tensor.grad = torch.tensor(value)
    torch.nn.utils.clip_grad_norm_(tensors, limit)
    found = clipped(PARAMETERS, limit, None)
    for tensor, array in zip(tensors, found.values(), strict=True):
        np.testing.assert_allclose(array, tensor.grad.numpy(), rtol=1e-6)  # they add 1e-6 to the norm


# --- clipping ----------------------------------------------------------------------------------------------

STEEPEST = {"a": np.array([[3.0, 0.0]]), "b": np.array([-4.0]), "c": np.array(12.0)}  # of norm 13


def test_the_norm_of_all_gradients_together_is_limited_and_their_direction_kept():
    found = clipped(STEEPEST, 6.5, None)
    assert list(found) == list(STEEPEST)
    for name, gradient in STEEPEST.items():
        np.testing.assert_allclose(found[name], gradient / 2, rtol=1e-15)


def test_gradients_within_the_limits_stay_to_the_bit():
    for norm, value in ((13.0, None), (100.0, 12.0), (None, 12.5), (None, None)):
        for name, gradient in clipped(STEEPEST, norm, value).items():
            np.testing.assert_array_equal(gradient, STEEPEST[name])


def test_values_are_limited_before_the_norm():
    found = clipped(STEEPEST, None, 3.0)
    assert [array.tolist() for array in found.values()] == [[[3.0, 0.0]], [-3.0], 3.0]
    both = clipped(STEEPEST, math.sqrt(27) / 3, 3.0)
    np.testing.assert_allclose(both["b"], [-1.0])
    np.testing.assert_allclose(both["c"], 1.0)


def test_no_gradient_and_gradients_of_0_are_clipped_to_themselves():
    assert clipped({}, 1.0, 1.0) == {}
    np.testing.assert_array_equal(clipped({"a": np.zeros(3)}, 1.0, 1.0)["a"], np.zeros(3))


@pytest.mark.parametrize("traced", [False, True])
def test_a_gradient_that_is_nan_is_not_hidden(traced: bool):
    def clip(a: Any, b: Any) -> Any:
        return clipped({"a": a, "b": b}, 1.0, 1.0)

    clip = gradc.differentiate(clip).with_options(target="interpret") if traced else clip
    found = clip(np.array([math.nan, 1.0]), np.ones(2))
    assert np.isnan([*found["a"], *found["b"]]).all()


# --- settings ----------------------------------------------------------------------------------------------

NOTHING: Any = None
TEXT: Any = "0.1"


@pytest.mark.parametrize(
    ("make", "what", "do"),
    [
        (
            lambda: GradientDescent(-0.1),
            "GradientDescent.rate is -0.1",
            "a finite number of at least 0, or a",
        ),
        (
            lambda: GradientDescent(math.nan),
            "GradientDescent.rate is nan",
            "a finite number of at least 0, or",
        ),
        (
            lambda: GradientDescent(TEXT),
            "GradientDescent.rate is '0.1'",
            "a finite number of at least 0, or a",
        ),
        (
            lambda: GradientDescent(NOTHING),
            "GradientDescent.rate is None",
            "a finite number of at least 0, or a",
        ),
        (lambda: Momentum(0.1, 1.5), "Momentum.momentum is 1.5", "a number of at least 0 and less than 1"),
        (lambda: Momentum(0.1, 1), "Momentum.momentum is 1", "a number of at least 0 and less than 1"),
        (lambda: Momentum(-1, 0.9), "Momentum.rate is -1", "a finite number of at least 0, or a schedule"),
        (lambda: AdaGrad(0.1, 0.0), "AdaGrad.epsilon is 0.0", "a positive finite number"),
        (lambda: RMSProp(0.1, -0.5), "RMSProp.decay is -0.5", "a number of at least 0 and less than 1"),
        (lambda: RMSProp(0.1, epsilon=math.inf), "RMSProp.epsilon is inf", "a positive finite number"),
        (lambda: Adam(beta1=1.0), "Adam.beta1 is 1.0", "a number of at least 0 and less than 1"),
        (lambda: Adam(beta2=math.nan), "Adam.beta2 is nan", "a number of at least 0 and less than 1"),
        (lambda: Adam(epsilon=-1e-8), "Adam.epsilon is -1e-08", "a positive finite number"),
        (lambda: AdamW(decay=-1), "AdamW.decay is -1", "a finite number of at least 0"),
        (lambda: AdamW(beta1=2), "AdamW.beta1 is 2", "a number of at least 0 and less than 1"),
        (lambda: Adam(clip_norm=0), "Adam.clip_norm is 0", "a positive finite number, or None for no limit"),
        (
            lambda: Adam(clip_value=-1),
            "Adam.clip_value is -1",
            "a positive finite number, or None for no limit",
        ),
    ],
)
def test_bad_settings_are_refused_at_construction(make: Any, what: str, do: str):
    with pytest.raises(ArgumentError) as refused:
        make()
    assert refused.value.what == what
    assert refused.value.do.startswith(f"give {do}")


def test_the_settings_by_default():
    assert Momentum(0.1) == Momentum(0.1, 0.9, nesterov=False, clip_norm=None, clip_value=None)
    assert AdaGrad(0.1) == AdaGrad(0.1, 1e-8)
    assert RMSProp(0.1) == RMSProp(0.1, 0.9, 1e-8)
    assert Adam() == Adam(1e-3, 0.9, 0.999, 1e-8)
    assert AdamW() == AdamW(1e-3, 0.9, 0.999, 1e-8, 0.01)


def test_a_schedule_that_fails_is_named_when_its_rate_is_asked_for():
    with pytest.raises(ArgumentError, match="in step 3 is nan"):
        Adam(lambda step, steps_per_epoch: math.nan).rate_at(3, 10)


def test_an_optimiser_of_ones_own():
    @dataclass(frozen=True, slots=True)
    class SignDescent(Optimiser):
        def update(self, value, gradient, slots, rate, step, *, is_weight):
            return value - rate * np.sign(gradient), {}

    steps_agree(SignDescent(0.05), np.float64, "interpret", 3)
    with pytest.raises(ArgumentError, match=r"SignDescent\.rate is -1"):
        SignDescent(-1)
