"""Realistic programs as people write them: each is traced, interpreted and compared with plain NumPy."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.linalg as sl
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import norm

from gradc.autodiff.vjp import gradient
from gradc.errors import TraceError
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.verify import verify
from gradc.lang.trace import leaves, trace

T = np.linspace(0.0, 2.0, 9)
SIGNAL = 1.5 * np.exp(-0.7 * T) + 0.1
RNG = np.random.default_rng(0)


# --- 1: curve fitting --------------------------------------------------------------------------------------


def curve_by_list(p):
    return np.array([p[0] * math.exp(-p[1] * t) + p[2] - s for t, s in enumerate([1.6, 0.9, 0.5, 0.3, 0.2])])


def curve(p):
    a, b, c = p
    model = a * np.exp(-b * T) + c
    return np.sum((model - SIGNAL) ** 2)


# --- 2: double pendulum ------------------------------------------------------------------------------------


def pendulum_matrix(state, m1, m2):
    th1, th2, w1, w2 = state
    d = th1 - th2
    mass = np.array([[m1 + m2, m2 * math.cos(d)], [math.cos(d), 1.0]])
    force = np.array(
        [
            -m2 * w2**2 * math.sin(d) - 9.81 * (m1 + m2) * math.sin(th1),
            w1**2 * math.sin(d) - 9.81 * math.sin(th2),
        ]
    )
    acceleration = np.linalg.solve(mass, force)
    return np.array([w1, w2, acceleration[0], acceleration[1]])


def pendulum_scalars(state):
    th1, th2, w1, w2 = state
    kinetic = 0.5 * w1**2 + 0.5 * (w1**2 + w2**2 + 2 * w1 * w2 * np.cos(th1 - th2))
    potential = -2 * 9.81 * np.cos(th1) - 9.81 * np.cos(th2)
    return kinetic + potential


# --- 3: Kalman filter --------------------------------------------------------------------------------------


def kalman_step(x, P, z, dt, q):
    F = np.array([[1, dt], [0, 1]])
    H = np.array([[1.0, 0.0]])
    x = F @ x
    P = F @ P @ F.T + q * np.eye(len(x))
    S = H @ P @ H.T + 0.1
    K = P @ H.T @ np.linalg.inv(S)
    x = x + K @ (z - H @ x)
    return x, (np.eye(len(x)) - K @ H) @ P


# --- 4: Gaussian process -----------------------------------------------------------------------------------


def gp_scipy(log_ell, log_sigma, X, y):
    d2 = np.sum((X[:, None, :] - X[None, :, :]) ** 2, axis=-1)
    K = np.exp(-0.5 * d2 / np.exp(2 * log_ell)) + np.exp(2 * log_sigma) * np.eye(len(X))
    L = sl.cholesky(K, lower=True)
    alpha = sl.cho_solve((L, True), y)
    return 0.5 * y @ alpha + np.sum(np.log(np.diag(L))) + 0.5 * len(y) * math.log(2 * math.pi)


def gp_numpy(log_ell, log_sigma, X, y):
    n = X.shape[0]
    d2 = np.sum((X[:, None, :] - X[None, :, :]) ** 2, axis=-1)
    K = np.exp(-0.5 * d2 / np.exp(2 * log_ell))
    K[np.diag_indices(n)] += np.exp(2 * log_sigma)
    _, logdet = np.linalg.slogdet(K)
    return 0.5 * y @ np.linalg.solve(K, y) + 0.5 * logdet + 0.5 * n * np.log(2 * np.pi)


# --- 5: classifiers ----------------------------------------------------------------------------------------


def logistic(w, b, X, y):
    p = 1.0 / (1.0 + np.exp(-(X @ w + b)))
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)) + 0.01 * np.sum(w * w)


def softmax_cs231n(W, X, y):
    scores = X.dot(W)
    scores -= np.max(scores, axis=1, keepdims=True)
    p = np.exp(scores)
    p /= np.sum(p, axis=1, keepdims=True)
    N = len(y)
    loss = -np.log(p[np.arange(N), y]).sum() / N
    return loss + 0.5 * 0.1 * np.sum(W * W)


# --- 6: k-means --------------------------------------------------------------------------------------------


def kmeans_argmin(C, X):
    d2 = ((X[:, None, :] - C[None, :, :]) ** 2).sum(axis=2)
    nearest = C[np.argmin(d2, axis=1)]
    return ((X - nearest) ** 2).sum()


def kmeans_min(C, x):
    return min(((x - c) ** 2).sum() for c in C)


# --- 7: rotations ------------------------------------------------------------------------------------------


def quaternion(q, v):
    w, x, y, z = q / np.sqrt(np.sum(q**2))
    R = np.array(
        [
            [1 - 2 * (y**2 + z**2), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x**2 + z**2), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x**2 + y**2)],
        ]
    )
    return R @ v


def denavit_hartenberg(q):
    T = np.eye(4)
    for i, (a, d) in enumerate([(0.5, 0.1), (0.4, 0.0), (0.2, 0.05)]):
        A = np.eye(4)
        A[0, 0] = np.cos(q[i])
        A[0, 1] = -np.sin(q[i])
        A[1, 0] = np.sin(q[i])
        A[1, 1] = np.cos(q[i])
        A[:3, 3] = np.array([a * np.cos(q[i]), a * np.sin(q[i]), d])
        T = T @ A
    return T[:3, 3]


# --- 8: cosmology ------------------------------------------------------------------------------------------


def distance_grid(om, h, z):
    grid = np.linspace(0.0, z, 65)
    return 2997.92 / h * np.trapezoid(1.0 / np.sqrt(om * (1 + grid) ** 3 + 1 - om), grid)


def distance_quad(om, z):
    return quad(lambda t: 1.0 / np.sqrt(om * (1 + t) ** 3 + 1 - om), 0.0, z)[0]


# --- 9: option price ---------------------------------------------------------------------------------------


def black_scholes(S, K, r, sigma, T):
    d1 = (np.log(S / K) + (r + 0.5 * sigma**2) * T) / (sigma * np.sqrt(T))
    d2 = d1 - sigma * np.sqrt(T)
    return S * norm.cdf(d1) - K * np.exp(-r * T) * norm.cdf(d2)


# --- 10, 11: layers and policies ---------------------------------------------------------------------------


def residual_block(x, w1, w2):
    out = np.zeros(x.shape)
    h = np.maximum(np.einsum("bi,ij->bj", x, w1), 0.0)
    out += np.einsum("bj,ji->bi", h, w2)
    out += x
    return (out**2).mean()


def policy_gradient(theta, states, actions, returns):
    logits = states @ theta
    logp = logits - logsumexp(logits, axis=1, keepdims=True)
    chosen = logp[np.arange(len(actions)), actions]
    return -(chosen * returns).mean()


# --- 12: particles -----------------------------------------------------------------------------------------


def lennard_jones_mask(x):
    i, j = np.triu_indices(len(x), k=1)
    d2 = ((x[i] - x[j]) ** 2).sum(axis=1)
    d2 = d2[d2 < 4.0]
    s6 = 1.0 / d2**3
    return (4.0 * (s6**2 - s6)).sum()


def lennard_jones_fill(x):
    d2 = ((x[:, None, :] - x[None, :, :]) ** 2).sum(axis=-1)
    np.fill_diagonal(d2, np.inf)
    s6 = 1.0 / d2**3
    return 2.0 * (s6**2 - s6).sum()


def lennard_jones_where(x):
    n = len(x)
    d2 = ((x[:, None, :] - x[None, :, :]) ** 2).sum(axis=-1) + np.eye(n)
    s6 = np.where(np.eye(n) > 0, 0.0, 1.0 / d2**3)
    return 2.0 * (s6**2 - s6).sum()


# --- 13: loops as for Numba --------------------------------------------------------------------------------


def numba_style(x, w):
    out = np.empty(3)
    for i in range(3):
        acc = 0.0
        for j in range(x.shape[0]):
            acc += x[j] * w[i, j]
        out[i] = acc
    return out


def numba_branch(x):
    total = 0.0
    for i in range(len(x)):
        if x[i] > 2:
            total += x[i]
    return total


# --- the tests ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A program with example arguments; `fixed` names the arguments whose extents the program fixes."""

    function: Callable[..., Any]
    arguments: dict[str, Any]

    def __repr__(self) -> str:
        return self.function.__name__


def positions() -> np.ndarray:
    return np.array([[0.0, 0.1, 0.0], [1.1, 0.0, 0.2], [0.3, 1.2, 0.1], [1.5, 1.6, 1.4], [-0.9, 0.4, 0.8]])


WORK = [
    Case(curve_by_list, {"p": np.array([1.5, 0.7, 0.1])}),
    Case(curve, {"p": np.array([1.4, 0.6, 0.2])}),
    Case(pendulum_matrix, {"state": np.array([0.3, -0.4, 0.5, 0.9]), "m1": 1.0, "m2": 0.7}),
    Case(pendulum_scalars, {"state": np.array([0.3, -0.4, 0.5, 0.9])}),
    Case(
        kalman_step,
        {
            "x": np.array([0.1, 0.2]),
            "P": np.array([[1.0, 0.2], [0.2, 0.8]]),
            "z": np.array([0.4]),
            "dt": 0.1,
            "q": 0.01,
        },
    ),
    Case(
        gp_scipy, {"log_ell": 0.1, "log_sigma": -1.0, "X": RNG.normal(size=(6, 2)), "y": RNG.normal(size=6)}
    ),
    Case(
        gp_numpy, {"log_ell": 0.1, "log_sigma": -1.0, "X": RNG.normal(size=(6, 2)), "y": RNG.normal(size=6)}
    ),
    Case(
        logistic,
        {
            "w": RNG.normal(size=3),
            "b": 0.2,
            "X": RNG.normal(size=(7, 3)),
            "y": (RNG.random(7) > 0.5).astype(float),
        },
    ),
    Case(
        softmax_cs231n,
        {"W": RNG.normal(size=(3, 4)), "X": RNG.normal(size=(7, 3)), "y": RNG.integers(0, 4, 7)},
    ),
    Case(kmeans_argmin, {"C": RNG.normal(size=(3, 2)), "X": RNG.normal(size=(8, 2))}),
    Case(kmeans_min, {"C": RNG.normal(size=(3, 2)), "x": RNG.normal(size=2)}),
    Case(quaternion, {"q": np.array([0.9, 0.1, -0.2, 0.3]), "v": np.array([1.0, 2.0, 3.0])}),
    Case(denavit_hartenberg, {"q": np.array([0.3, -0.5, 0.9])}),
    Case(distance_grid, {"om": 0.3, "h": 0.7, "z": 1.1}),
    Case(black_scholes, {"S": 100.0, "K": 95.0, "r": 0.02, "sigma": 0.25, "T": 0.5}),
    Case(
        residual_block,
        {"x": RNG.normal(size=(4, 3)), "w1": RNG.normal(size=(3, 5)), "w2": RNG.normal(size=(5, 3))},
    ),
    Case(
        policy_gradient,
        {
            "theta": RNG.normal(size=(3, 4)),
            "states": RNG.normal(size=(6, 3)),
            "actions": RNG.integers(0, 4, 6),
            "returns": RNG.normal(size=6),
        },
    ),
    Case(lennard_jones_mask, {"x": positions()}),
    Case(lennard_jones_where, {"x": positions()}),
    Case(numba_style, {"x": RNG.normal(size=4), "w": RNG.normal(size=(3, 4))}),
]


@pytest.mark.parametrize("case", WORK, ids=repr)
def test_program_equals_numpy(case: Case):
    expected = case.function(
        **{name: np.copy(a) if isinstance(a, np.ndarray) else a for name, a in case.arguments.items()}
    )
    traced = trace(case.function, case.arguments)
    verify(traced.program)
    inputs = {**case.arguments, **{hidden.name: hidden.read() for hidden in traced.hidden}}
    found = evaluate(traced.program, inputs)
    for one, other in zip(found, leaves(expected), strict=True):
        assert np.shape(one) == np.shape(other)
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", WORK, ids=repr)
def test_gradient_equals_a_difference_quotient(case: Case, rng):
    def total(**arguments):
        return sum(np.sum(leaf) for leaf in leaves(case.function(**arguments)))

    traced = trace(lambda **arguments: total(**arguments), case.arguments)
    wrt = [name for name in case.arguments if traced.program.types[name].dtype.is_float]
    inputs = {**case.arguments, **{hidden.name: hidden.read() for hidden in traced.hidden}}
    _, *gradients = evaluate(verify(gradient(traced.program, wrt)), inputs)
    step = 1e-6
    for name, found in zip(wrt, gradients, strict=True):
        direction = rng.normal(size=np.shape(case.arguments[name]))
        ahead, behind = (
            {**case.arguments, name: case.arguments[name] + sign * step * direction} for sign in (1, -1)
        )
        quotient = (total(**ahead) - total(**behind)) / (2 * step)
        np.testing.assert_allclose(np.sum(found * direction), quotient, rtol=1e-5, atol=1e-6)


REFUSED = [
    Case(distance_quad, {"om": 0.3, "z": 1.1}),
    Case(lennard_jones_fill, {"x": positions()}),
    Case(numba_branch, {"x": np.array([1.0, 3.0])}),
]


@pytest.mark.parametrize("case", REFUSED, ids=repr)
def test_program_is_refused(case: Case, golden):
    with pytest.raises(TraceError) as caught:
        trace(case.function, case.arguments)
    golden.message(str(caught.value))


SYMBOLIC = {
    "logistic",
    "softmax_cs231n",
    "policy_gradient",
    "residual_block",
    "gp_numpy",
    "lennard_jones_where",
}


@pytest.mark.parametrize("case", [c for c in WORK if repr(c) in SYMBOLIC], ids=repr)
def test_the_batch_size_is_not_specialised(case: Case):
    program = trace(case.function, case.arguments).program
    assert [guard for guard in program.guards if guard.relation == "=="] == []
