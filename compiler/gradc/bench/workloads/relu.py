"""A classifier: 784 inputs, 512 and 256 ReLU units, softmax over 10 classes, batch 128."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gradc.bench.by_hand import cross_entropy
from gradc.bench.frameworks import gradc_way, jax_way, pytensor_way, torch_ways
from gradc.bench.workload import Workload


def inputs(small: bool) -> tuple[Any, ...]:
    """Weights and biases of three layers, examples, classes."""
    rng = np.random.default_rng(3)
    batch, sizes = (4, (7, 6, 5, 3)) if small else (128, (784, 512, 256, 10))
    arrays: list[np.ndarray] = []
    for before, after in itertools.pairwise(sizes):
        arrays += [
            rng.standard_normal((before, after)) * (2 / before) ** 0.5,
            rng.standard_normal(after) / 10,
        ]
    arrays = [array.astype(np.float32) for array in (*arrays, rng.standard_normal((batch, sizes[0])))]
    return *arrays, rng.integers(0, sizes[-1], batch)


def loss(w1, b1, w2, b2, w3, b3, x, y):
    """As written for gradc."""
    h1 = np.maximum(x @ w1 + b1, 0)
    h2 = np.maximum(h1 @ w2 + b2, 0)
    scores = h2 @ w3 + b3
    picked = scores[np.arange(len(y)), y]
    return (np.log(np.exp(scores).sum(axis=1)) - picked).mean()


def by_hand(w1, b1, w2, b2, w3, b3, x, y) -> Any:
    """NumPy."""
    h1 = np.maximum(x @ w1 + b1, 0)
    h2 = np.maximum(h1 @ w2 + b2, 0)
    value, slope = cross_entropy(h2 @ w3 + b3, y)
    slope2 = (slope @ w3.T) * (h2 > 0)
    slope1 = (slope2 @ w2.T) * (h1 > 0)
    of_layers = [(x.T @ slope1, slope1), (h1.T @ slope2, slope2), (h2.T @ slope, slope)]
    return value, [part for of_w, back in of_layers for part in (of_w, back.sum(axis=0))]


def with_jax(jax: Any) -> Callable[..., Any]:
    """JAX."""
    jnp, nn = jax.numpy, jax.nn

    def classifier(w1, b1, w2, b2, w3, b3, x, y):
        h1 = nn.relu(x @ w1 + b1)
        h2 = nn.relu(h1 @ w2 + b2)
        return -nn.log_softmax(h2 @ w3 + b3)[jnp.arange(len(y)), y].mean()

    return classifier


def with_torch(torch: Any) -> Callable[..., Any]:
    """PyTorch."""

    def classifier(w1, b1, w2, b2, w3, b3, x, y):
        h1 = torch.relu(torch.addmm(b1, x, w1))
        h2 = torch.relu(torch.addmm(b2, h1, w2))
        return torch.nn.functional.cross_entropy(torch.addmm(b3, h2, w3), y)

    return classifier


def with_pytensor(tensor: Any) -> Callable[..., Any]:
    """PyTensor."""

    def classifier(w1, b1, w2, b2, w3, b3, x, y):
        h1 = tensor.maximum(x @ w1 + b1, 0)
        h2 = tensor.maximum(h1 @ w2 + b2, 0)
        scores = tensor.special.log_softmax(h2 @ w3 + b3, axis=1)
        return -scores[tensor.arange(y.shape[0]), y].mean(dtype="float32")

    return classifier


WORKLOAD = Workload(
    name="relu-f32",
    title="784-512-256-10 ReLU softmax network, batch 128, float32",
    inputs=inputs,
    reference=by_hand,
    dtype="float32",
    rtol=1e-4,
    ways={
        "gradc": gradc_way(loss, ("w1", "b1", "w2", "b2", "w3", "b3")),
        "numpy": lambda *arrays: partial(by_hand, *arrays),
        "jax": jax_way(with_jax, 6, "float32"),
        **torch_ways(with_torch, 6),
        "pytensor": pytensor_way(with_pytensor, 6),
    },
)
