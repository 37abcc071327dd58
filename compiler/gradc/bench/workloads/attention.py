"""Causal attention: what comes out, weighed and summed; several short sequences, and one long one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gradc.bench.frameworks import gradc_way, jax_way, pytensor_way, torch_ways
from gradc.bench.workload import Workload


def inputs(small: bool, *, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Queries, keys, values; and what the result is weighed with."""
    shape = (2, 2, 5, 3) if small else shape
    return tuple(np.random.default_rng(6).standard_normal((4, *shape)).astype(np.float32))


def loss(q, k, v, c):
    """As written for gradc."""
    length, features = q.shape[-2:]
    scores = q @ k.swapaxes(-1, -2) / features**0.5  # a plain number: np.sqrt would make it float64
    scores = np.where(np.tril(np.ones((length, length), bool)), scores, -np.inf)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares = powers / powers.sum(axis=-1, keepdims=True)
    return (c * (shares @ v)).sum()


def by_hand(q: np.ndarray, k: np.ndarray, v: np.ndarray, c: np.ndarray) -> Any:
    """NumPy."""
    length, features = q.shape[-2:]
    scale = q.dtype.type(features**-0.5)
    scores = (q @ k.swapaxes(-1, -2)) * scale
    scores[..., ~np.tril(np.ones((length, length), bool))] = -np.inf
    scores -= scores.max(axis=-1, keepdims=True)
    shares = np.exp(scores, out=scores)
    shares /= shares.sum(axis=-1, keepdims=True)
    of_shares = c @ v.swapaxes(-1, -2)
    slope = shares * (of_shares - (of_shares * shares).sum(axis=-1, keepdims=True)) * scale
    value = (c * (shares @ v)).sum()
    return value, (slope @ k, slope.swapaxes(-1, -2) @ q, shares.swapaxes(-1, -2) @ c)


def with_jax(jax: Any) -> Callable[..., Any]:
    """JAX."""
    jnp = jax.numpy

    def attention(q, k, v, c):
        length, features = q.shape[-2:]
        scores = q @ k.swapaxes(-1, -2) / np.float32(features**0.5)
        scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -jnp.inf)
        return (c * (jax.nn.softmax(scores) @ v)).sum()

    return attention


def with_torch(torch: Any) -> Callable[..., Any]:
    """PyTorch has the whole of it."""
    attention = torch.nn.functional.scaled_dot_product_attention
    return lambda q, k, v, c: (c * attention(q, k, v, is_causal=True)).sum()


def with_torch_parts(torch: Any) -> Callable[..., Any]:
    """PyTorch, from its parts."""

    def attention(q, k, v, c):
        length, features = q.shape[-2:]
        scores = q @ k.transpose(-1, -2) / features**0.5
        seen = torch.ones((length, length), dtype=torch.bool).tril()
        return (c * (torch.softmax(scores.masked_fill(~seen, -torch.inf), -1) @ v)).sum()

    return attention


def with_pytensor(tensor: Any) -> Callable[..., Any]:
    """PyTensor."""

    def attention(q, k, v, c):
        length, features = q.shape[-2], q.shape[-1]
        scores = q @ k.swapaxes(-1, -2) / tensor.sqrt(features).astype("float32")
        seen = tensor.arange(length)[:, None] >= tensor.arange(length)
        scores = tensor.where(seen, scores, np.float32(-1e30))
        return (c * (tensor.special.softmax(scores, axis=-1) @ v)).sum(dtype="float32")

    return attention


WORKLOADS = tuple(
    Workload(
        name=name,
        title=f"causal attention, {' x '.join(map(str, shape))} (sequences, heads, positions, features), float32",
        inputs=partial(inputs, shape=shape),
        reference=by_hand,
        dtype="float32",
        rtol=1e-4,
        ways={
            "gradc": gradc_way(loss, ("q", "k", "v")),
            "numpy": lambda *arrays: partial(by_hand, *arrays),
            "jax": jax_way(with_jax, 3, "float32"),
            **torch_ways(with_torch, 3),
            "torch, compiled from its parts": torch_ways(with_torch_parts, 3)["torch, compiled"],
            "pytensor": pytensor_way(with_pytensor, 3),
        },
    )
    for name, shape in (("attention-f32", (8, 4, 128, 32)), ("attention-long-f32", (1, 4, 2048, 64)))
)
