"""The numbers and the hand-derived gradients of the lectures.

Most tests run the optimised gradient program on the interpreter; a few run the kernels.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import sympy

from gradc import differentiate
from gradc.explain.gates import gates
from gradc.ir.extents import evaluate as evaluate_size
from gradc.ir.index.cost import operations
from gradc.ir.index.evaluate import evaluate

Gradients = tuple[np.ndarray, ...]


def value_and_grads(function: Callable[..., Any], *args: Any, wrt: Any = None) -> tuple[Any, Gradients]:
    """Evaluate the program that is compiled, without compiling it."""
    at = differentiate(function, wrt=wrt).at(*args)
    _, inputs = at.program_and_inputs()
    value, *gradients = evaluate(at.inspect().stages.optimised, inputs)
    return value, tuple(gradients)


def pulled_back(function: Callable[..., Any], cotangent: np.ndarray, *args: Any) -> Gradients:
    at = differentiate(function).at(*args)
    _, inputs = at.program_and_inputs()
    program = at.inspect("vjp").stages.optimised
    (seed,) = set(program.inputs) - set(inputs)
    return evaluate(program, inputs | {seed: cotangent})


def close(found: Any, expected: Any) -> None:
    for first, second in zip(found, expected, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-12, atol=1e-13)


# --- circuits -----------------------------------------------------------------------------------------------


def test_circuit():
    value, gradient = differentiate(lambda x, y, z: (x + y) * z).value_and_grad(-2.0, 5.0, -4.0)
    assert value == -12
    assert gradient == (-4, -4, 3)


def neuron(w, x):
    return 1 / (1 + np.exp(-(w[0] * x[0] + w[1] * x[1] + w[2])))


W, X = np.array([2.0, -3.0, -3.0]), np.array([-1.0, -2.0])


def test_sigmoid_neuron():
    value, (dw, dx) = differentiate(neuron).value_and_grad(W, X)
    assert round(value, 2) == 0.73
    assert dw.round(2).tolist() == [-0.20, -0.39, 0.20]
    assert dx.round(2).tolist() == [0.39, -0.59]


def test_every_gate_of_the_neuron_shows_the_numbers_of_the_lecture():
    def gate_by_gate(w0, x0, w1, x1, w2):
        return 1 / (1 + np.exp(-(w0 * x0 + w1 * x1 + w2)))

    program, inputs = differentiate(gate_by_gate).at(2.0, -1.0, -3.0, -2.0, -3.0).program_and_inputs()
    rows = [(round(float(g.value), 2), round(float(g.gradient), 2)) for g in gates(program, inputs)]
    assert rows == [
        (2, -0.20),
        (-1, 0.39),
        (-3, -0.39),
        (-2, -0.59),
        (-3, 0.20),
        (-2, 0.20),  # w0 x0
        (6, 0.20),  # w1 x1
        (4, 0.20),
        (1, 0.20),
        (-1, -0.20),  # times -1
        (0.37, -0.53),  # exp
        (1.37, -0.53),  # plus 1
        (0.73, 1.0),  # 1 / x
    ]


def test_log_sigmoid():
    value, (dw, dx) = value_and_grads(lambda w, x: -np.log(1 / (1 + np.exp(-(w @ x)))), W[:2], X)
    p = 1 / (1 + np.exp(-(W[:2] @ X)))
    close((value, dw, dx), (-np.log(p), (p - 1) * X, (p - 1) * W[:2]))


def test_log_sigmoid_of_a_hopeless_score():
    value, (dw, _) = value_and_grads(
        lambda w, x: -np.log(1 / (1 + np.exp(-(w @ x)))), np.array([1e3]), np.array([-1.0])
    )
    close((value, dw), (1e3, [1.0]))


def test_ln_product_sine():
    value, gradient = value_and_grads(lambda x1, x2: np.log(x1) + x1 * x2 - np.sin(x2), 2.0, 5.0)
    close((value, *gradient), (11.652071455223084, 5.5, 2 - np.cos(5.0)))


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        (lambda x, y: x + y, (1, 1)),
        (lambda x, y: max(x, y), (1, 0)),
        (lambda x, y: x * y, (-4, 3)),
        (lambda x, y: 2 * (x * y + max(x, y)), (2 * (-4 + 1), 2 * 3)),
    ],
    ids=["add distributes", "max routes", "mul switches", "branches add"],
)
def test_gate_patterns(gate: Callable[..., Any], expected: tuple[float, float]):
    assert value_and_grads(gate, 3.0, -4.0)[1] == expected


# --- vectorised operations ----------------------------------------------------------------------------------


def test_squared_length_of_a_product():
    w, x = np.array([[0.1, 0.5], [-0.3, 0.8]]), np.array([0.2, 0.4])
    value, (dw, dx) = value_and_grads(lambda w, x: np.square(w @ x).sum(), w, x)
    assert round(float(value), 3) == 0.116
    close((dw, dx), ([[0.088, 0.176], [0.104, 0.208]], [-0.112, 0.636]))


def test_rectifier_on_a_minibatch_of_4096_values(rng: np.random.Generator):
    x, upstream = rng.standard_normal((100, 4096)), rng.standard_normal((100, 4096))
    (cotangent,) = pulled_back(lambda x: np.maximum(0, x), upstream, x)
    assert np.array_equal(cotangent, upstream * (x > 0))
    stages = differentiate(lambda x: np.maximum(0, x)).at(x).inspect("vjp").stages
    for program in (stages.adjoint, stages.optimised):  # nothing in it has the shape of a Jacobian
        assert max(len(type_.shape) for type_ in program.types.values()) == 2


def leaky(x):
    return np.maximum(0.1 * x, x)


def elu(x):
    return np.where(x >= 0, x, np.exp(x) - 1)


@pytest.mark.parametrize(
    ("activation", "derivative"),
    [
        (lambda x: 1 / (1 + np.exp(-x)), lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2),
        (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
        (lambda x: np.maximum(0, x), lambda x: x > 0),
        (leaky, lambda x: np.where(x > 0, 1, 0.1)),
        (elu, lambda x: np.where(x >= 0, 1, np.exp(x))),
    ],
    ids=["sigmoid", "tanh", "relu", "leaky relu", "elu"],
)
def test_activations(activation: Callable[..., Any], derivative: Callable[..., Any]):
    x = np.array([-3.0, -0.5, 0.25, 2.0])
    (found,) = pulled_back(lambda x: activation(x), np.array([1.0, 2.0, 3.0, 4.0]), x)
    close((found,), (derivative(x) * np.array([1.0, 2.0, 3.0, 4.0]),))


def test_maxout(rng: np.random.Generator):
    v, w = rng.standard_normal((2, 5, 3))
    x = rng.standard_normal(3)
    _, (dv, dw, dx) = value_and_grads(lambda v, w, x: np.maximum(v @ x, w @ x).sum(), v, w, x)
    first = (v @ x > w @ x)[:, None]
    close((dv, dw, dx), (first * x, ~first * x, (first * v + ~first * w).sum(axis=0)))


# --- linear models ------------------------------------------------------------------------------------------


def test_delta_rules(rng: np.random.Generator):
    w, x, t = rng.standard_normal(4), rng.standard_normal((9, 4)), rng.integers(0, 2, 9) * 1.0

    def linear(w, x, t):
        return np.square(t - x @ w).sum() / 2

    def logistic(w, x, t):
        p = 1 / (1 + np.exp(-(x @ w)))
        return -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum()

    def perceptron(w, x, t):
        return np.maximum(0, (1 - 2 * t) * (x @ w)).sum()

    for loss, output in (
        (linear, x @ w),
        (logistic, 1 / (1 + np.exp(-(x @ w)))),
        (perceptron, (x @ w > 0) * 1.0),  # of a threshold unit
    ):
        _, (dw,) = value_and_grads(loss, w, x, t, wrt="w")
        close((dw,), (-(t - output) @ x,))


def hinge(w, x, labels):
    scores = x @ w
    correct = scores[np.arange(len(labels)), labels]
    return (np.maximum(0, scores - correct[:, None] + 1).sum(axis=1) - 1).mean()


def softmax(w, x, labels):
    powers = np.exp(x @ w)
    probability = powers / powers.sum(axis=1, keepdims=True)
    return -np.log(probability[np.arange(len(labels)), labels]).mean()


def test_multiclass_losses_of_the_lecture():
    """Cat, car and frog: losses 2.9, 0 and 12.9 of the hinge, 2.04 of softmax for the cat."""
    scores = np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]])
    labels = np.arange(3)
    each = [float(value_and_grads(hinge, np.eye(3), scores[i : i + 1], labels[i : i + 1])[0]) for i in labels]
    assert np.round(each, 1).tolist() == [2.9, 0.0, 12.9]
    value, _ = value_and_grads(softmax, np.eye(3), scores[:1], labels[:1])
    assert round(float(value), 2) == 2.04


@pytest.mark.parametrize("penalty", ["none", "l1", "l2"])
@pytest.mark.parametrize("loss", [hinge, softmax])
def test_multiclass_gradients(loss: Callable[..., Any], penalty: str, rng: np.random.Generator):
    w, x, labels = rng.standard_normal((4, 3)), rng.standard_normal((7, 4)), rng.integers(0, 3, 7)
    added, its_gradient = {
        "none": (lambda w: 0.0, 0.0),
        "l1": (lambda w: 0.1 * np.abs(w).sum(), 0.1 * np.sign(w)),
        "l2": (lambda w: 0.1 * np.square(w).sum(), 0.2 * w),
    }[penalty]

    scores, rows = x @ w, np.arange(7)
    if loss is hinge:
        d_scores = (scores - scores[rows, labels][:, None] + 1 > 0) * 1.0
        d_scores[rows, labels] = 0
        d_scores[rows, labels] = -d_scores.sum(axis=1)
    else:
        d_scores = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        d_scores[rows, labels] -= 1

    def total(w, x, labels):
        return loss(w, x, labels) + added(w)

    _, (dw,) = value_and_grads(total, w, x, labels, wrt="w")
    close((dw,), (x.T @ d_scores / 7 + its_gradient,))


# --- networks -----------------------------------------------------------------------------------------------


def two_layers(w1, w2, x, y):
    h = 1 / (1 + np.exp(-x @ w1))
    return np.square(h @ w2 - y).sum()


def two_layers_by_hand(w1, w2, x, y):
    h = 1 / (1 + np.exp(-x.dot(w1)))
    y_pred = h.dot(w2)
    grad_y_pred = 2.0 * (y_pred - y)
    grad_h = grad_y_pred.dot(w2.T)
    return np.square(y_pred - y).sum(), (x.T.dot(grad_h * h * (1 - h)), h.T.dot(grad_y_pred))


def test_two_layer_network_trains_step_for_step(rng: np.random.Generator):
    """The example 06_two_thousand_steps.py runs all its steps at full size."""
    loss = differentiate(two_layers, wrt=("w1", "w2"))
    x, y = rng.standard_normal((16, 30)), rng.standard_normal((16, 4))
    mine = [rng.standard_normal((30, 10)), rng.standard_normal((10, 4))]
    theirs = [w.copy() for w in mine]
    losses = []
    for _ in range(200):
        value, gradient = loss.value_and_grad(mine[0], mine[1], x, y)
        expected, by_hand = two_layers_by_hand(theirs[0], theirs[1], x, y)
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        for w, g, v, h in zip(mine, gradient, theirs, by_hand, strict=True):
            w -= 1e-3 * g
            v -= 1e-3 * h
        losses.append(value)
    assert losses[-1] < 0.2 * losses[0]


def test_three_layer_network(rng: np.random.Generator):
    def loss(w1, b1, w2, b2, w3, b3, x):
        h1 = 1 / (1 + np.exp(-(w1 @ x + b1)))
        h2 = 1 / (1 + np.exp(-(w2 @ h1 + b2)))
        return (w3 @ h2 + b3).sum()

    shapes = ((4, 3), (4,), (4, 4), (4,), (1, 4), (1,), (3,))
    w1, b1, w2, b2, w3, b3, x = arguments = [rng.standard_normal(shape) for shape in shapes]
    value, gradient = value_and_grads(loss, *arguments)
    h1 = 1 / (1 + np.exp(-(w1 @ x + b1)))
    h2 = 1 / (1 + np.exp(-(w2 @ h1 + b2)))
    d2 = w3[0] * h2 * (1 - h2)
    d1 = d2 @ w2 * h1 * (1 - h1)
    close((value,), ((w3 @ h2 + b3).sum(),))
    close(gradient, (np.outer(d1, x), d1, np.outer(d2, h1), d2, h2[None], [1.0], d1 @ w1))


# --- descent ------------------------------------------------------------------------------------------------


def test_steepest_descent_and_momentum_on_a_quadratic():
    """Each coordinate follows its own linear recurrence, which the curvature decides."""
    curvature = np.array([1.0, 50.0])
    bowl = differentiate(lambda p, c: (c * p * p).sum() / 2, wrt="p", target="interpret")
    plain = heavy = start = np.array([10.0, 1.0])
    velocity, rate, friction = np.zeros(2), 0.03, 0.8
    matrices = [np.array([[1 - rate * c, friction], [-rate * c, friction]]) for c in curvature]
    for _ in range(40):
        plain = plain - rate * bowl.grad(plain, curvature)
        velocity = friction * velocity - rate * bowl.grad(heavy, curvature)
        heavy = heavy + velocity
    close((plain,), (start * (1 - rate * curvature) ** 40,))
    powers = [np.linalg.matrix_power(m, 40) @ [p, 0] for m, p in zip(matrices, start, strict=True)]
    close((heavy,), ([position for position, _ in powers],))


# --- numerical, symbolic and automatic derivatives ----------------------------------------------------------


def iterated(x, n: int):
    for _ in range(n - 1):
        x = 4 * x * (1 - x)
    return x


def automatic_operations(n: int) -> int:
    at = differentiate(lambda x: iterated(x, n)).at(0.3)
    return evaluate_size(operations(at.inspect().stages.optimised), {})


def test_logistic_map_grows_by_a_constant_where_the_formula_doubles():
    x = sympy.Symbol("x")
    expanded = [int(sympy.expand(sympy.diff(iterated(x, n), x)).count_ops()) for n in (3, 4, 5, 6)]
    assert all(after > 2 * before for before, after in pairwise(expanded))
    automatic = [automatic_operations(n) for n in (3, 4, 5, 6)]
    (each,) = {after - before for before, after in pairwise(automatic)}
    assert each <= 8
    assert automatic_operations(20) == automatic[0] + 17 * each


def test_l4_numerically_symbolically_automatically():
    x = sympy.Symbol("x")
    formula = sympy.expand(sympy.diff(iterated(x, 4), x))
    assert str(formula).startswith("-131072*x**7 + 458752*x**6")
    _, (automatic,) = value_and_grads(lambda x: iterated(x, 4), 0.3)
    exact = float(formula.subs(x, sympy.Rational(3, 10)))
    numerical = (iterated(0.3 + 1e-6, 4) - iterated(0.3 - 1e-6, 4)) / 2e-6
    assert abs(automatic - exact) < 1e-13
    assert 1e-13 < abs(numerical - exact) < 1e-8


def test_l20_against_its_closed_form():
    """The closed form is l(n) = sin(2^(n-1) t)^2 with x = sin(t)^2; l20 amplifies rounding by 2^20."""
    _, (automatic,) = value_and_grads(lambda x: iterated(x, 20), 0.3)
    t, factor = sympy.asin(sympy.sqrt(sympy.Rational(3, 10))), 2**19
    exact = float(sympy.N(factor * sympy.sin(2 * factor * t) / sympy.sin(2 * t), 30))
    np.testing.assert_allclose(automatic, exact, rtol=1e-9)
    step = 1e-6
    numerical = (iterated(0.3 + step, 20) - iterated(0.3 - step, 20)) / (2 * step)
    assert abs(numerical - exact) > 0.01 * abs(exact)
