"""Functions as users write them, for kernels of a GPU: each has another shape of loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

RNG = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def neuron(w: Any, x: Any, b: Any) -> Any:
    return 1 / (1 + np.exp(-(w * x + b)))


def chain(x: Any, y: Any) -> Any:
    z = np.tanh(x) * y + np.exp(-x * x)
    return (np.sqrt(z * z + 1) + np.log1p(np.abs(y)) * np.sin(x)).sum()


def softmax_cross_entropy(x: Any, labels: Any) -> Any:
    shifted = x - x.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -logs[np.arange(x.shape[0]), labels].mean()


def layer_norm(x: Any, gain: Any, bias: Any, wanted: Any) -> Any:
    centred = x - x.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    return ((centred / spread * gain + bias) * wanted).sum()


def network(w1: Any, b1: Any, w2: Any, x: Any, y: Any) -> Any:
    hidden = np.maximum(x @ w1 + b1, 0)
    return ((hidden @ w2 - y) ** 2).mean()


def rosenbrock(x: Any) -> Any:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def mixture(weights: Any, means: Any, x: Any) -> Any:
    distances = ((x[:, None, :] - means[None, :, :]) ** 2).sum(axis=2)
    return scipy.special.logsumexp(weights - 0.5 * distances, axis=1).sum()


def attention(q: Any, k: Any, v: Any) -> Any:
    scores = q @ k.T / np.sqrt(q.shape[1])
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return ((weights / weights.sum(axis=1, keepdims=True)) @ v).std()


def convolution(x: Any, w: Any) -> Any:
    rows, columns = x.shape[2] - 2, x.shape[3] - 2
    parts = [
        np.einsum("ncpq,oc->nopq", x[:, :, i : i + rows, j : j + columns], w[:, :, i, j])
        for i in range(3)
        for j in range(3)
    ]
    return np.square(np.tanh(sum(parts[1:], parts[0]))).sum()


def look_up(table: Any, indices: Any, scale: Any) -> Any:
    return np.tanh(table[indices] * scale).sum()


def prices(spot: Any, strike: Any, rate: Any, volatility: Any, time: Any) -> Any:
    root = volatility * np.sqrt(time)
    d1 = (np.log(spot / strike) + (rate + volatility * volatility / 2) * time) / root
    call = spot * scipy.special.ndtr(d1) - strike * np.exp(-rate * time) * scipy.special.ndtr(d1 - root)
    return call.sum()


def branches(x: Any, y: Any) -> Any:
    return np.where(x > y, x * np.log(x * x + 1), np.minimum(x, y) ** 3).sum() + np.max(x) + np.min(y)


def running(x: Any) -> Any:
    return (np.cumsum(x, axis=1) ** 2).sum() + np.prod(1 + 0.1 * x)


def equations(a: Any, b: Any) -> Any:
    matrix = a @ a.T + 3 * np.eye(a.shape[0])
    return (b * np.linalg.solve(matrix, b)).sum() + np.linalg.slogdet(matrix)[1]


def steps(x: Any, rate: Any) -> Any:
    for _ in range(4):
        x = x + rate * (np.roll(x, 1) - 2 * x + np.roll(x, -1))
    return (x * x).sum()


LABELS = np.array([0, 2, 1, 2, 0, 1, 1])
PROGRAMS: dict[Callable[..., Any], tuple[Any, ...]] = {
    neuron: (2.0, -1.0, -3.0),
    chain: (normal(5, 7), normal(5, 7)),
    softmax_cross_entropy: (normal(7, 3), LABELS),
    layer_norm: (normal(5, 6), normal(6), normal(6), normal(5, 6)),
    network: (normal(4, 6), normal(6), normal(6, 2), normal(5, 4), normal(5, 2)),
    rosenbrock: (normal(9),),
    mixture: (normal(3), normal(3, 2), normal(8, 2)),
    attention: (normal(5, 4), normal(6, 4), normal(6, 3)),
    convolution: (normal(2, 2, 5, 6), normal(3, 2, 3, 3)),
    look_up: (normal(9, 4), np.array([1, 2, 1, -1]), normal(4, 4)),
    prices: tuple(np.abs(normal(6)) + shift for shift in (1.0, 1.1, 0.02, 0.2, 0.5)),
    branches: (normal(4, 5), normal(4, 5)),
    running: (normal(3, 5),),
    equations: (normal(4, 4), normal(4)),
    steps: (normal(8), 0.1),
}


def in_single_precision(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same arguments with float32 arrays."""
    return tuple(
        a.astype(np.float32) if isinstance(a, np.ndarray) and a.dtype == np.float64 else a for a in arguments
    )
