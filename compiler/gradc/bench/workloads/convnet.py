"""A small convolutional network: two convolutions with pooling, one dense layer, on 64 images of 3x32x32."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gradc.bench.by_hand import cross_entropy
from gradc.bench.frameworks import gradc_way, jax_way, torch_ways
from gradc.bench.workload import Run, Workload


def inputs(small: bool) -> tuple[Any, ...]:
    """Kernels and biases of the convolutions, weights and biases of the dense layer, images, classes."""
    rng = np.random.default_rng(5)
    batch, size, maps1, maps2 = (3, 8, 4, 5) if small else (64, 32, 32, 64)
    features = maps2 * (size // 4) ** 2
    arrays = (
        rng.standard_normal((maps1, 3, 3, 3)) * (2 / 27) ** 0.5,
        rng.standard_normal(maps1) / 10,
        rng.standard_normal((maps2, maps1, 3, 3)) * (2 / (9 * maps1)) ** 0.5,
        rng.standard_normal(maps2) / 10,
        rng.standard_normal((features, 10)) / features**0.5,
        rng.standard_normal(10) / 10,
        rng.standard_normal((batch, 3, size, size)),
    )
    return *(array.astype(np.float32) for array in arrays), rng.integers(0, 10, batch)


def for_gradc() -> Callable[..., Any]:
    """As written for gradc: convolution and pooling are index equations."""
    equation = importlib.import_module("gradc").equation
    convolution = equation("y[n,o,p,q] = sum[c,i,j] k[o,c,i,j] * x[n,c,p+i,q+j]")
    pooling = equation("y[n,c,p,q] = max[i,j] x[n,c,2*p+i,2*q+j] with i < 2, j < 2")
    edge = ((0, 0), (0, 0), (1, 1), (1, 1))

    def loss(k1, b1, k2, b2, w, b, x, y):
        h = pooling(np.maximum(convolution(k1, np.pad(x, edge)) + b1[:, None, None], 0))
        h = pooling(np.maximum(convolution(k2, np.pad(h, edge)) + b2[:, None, None], 0))
        scores = h.reshape(len(x), -1) @ w + b
        return (np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(y)), y]).mean()

    return loss


def _gradc(*arrays: np.ndarray) -> Run:
    return gradc_way(for_gradc(), ("k1", "b1", "k2", "b2", "w", "b"))(*arrays)


def by_hand(k1, b1, k2, b2, w, b, x, y) -> Any:
    """NumPy, with windows and matrix products."""
    pooled1, kept1 = _layer(k1, b1, x)
    pooled2, kept2 = _layer(k2, b2, pooled1)
    features = pooled2.reshape(len(x), -1)
    value, slope = cross_entropy(features @ w + b, y)
    of_k2, of_b2, back = _layer_back(k2, kept2, (slope @ w.T).reshape(pooled2.shape))
    of_k1, of_b1, _ = _layer_back(k1, kept1, back, deeper=False)
    return value, (of_k1, of_b1, of_k2, of_b2, features.T @ slope, slope.sum(axis=0))


def _layer(k: np.ndarray, b: np.ndarray, x: np.ndarray) -> Any:
    """Convolution with a margin of zeros, ReLU, the largest of two by two."""
    windows = _windows(x)
    hidden = np.tensordot(windows, k, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2) + b[:, None, None]
    hidden = np.maximum(hidden, 0)
    n, c, height, width = hidden.shape
    blocks = hidden.reshape(n, c, height // 2, 2, width // 2, 2)
    pooled = blocks.max(axis=(3, 5))
    return pooled, (windows, blocks, pooled)


def _layer_back(k: np.ndarray, kept: Any, slope: np.ndarray, deeper: bool = True) -> Any:
    """Gradients of kernel and bias, and of the input if another layer lies below."""
    windows, blocks, pooled = kept
    largest = (blocks == pooled[:, :, :, None, :, None]) & (blocks > 0)
    back = (slope[:, :, :, None, :, None] * largest).reshape(*windows.shape[:1], len(k), *windows.shape[2:4])
    of_k = np.tensordot(back, windows, ((0, 2, 3), (0, 2, 3)))
    below = None
    if deeper:
        below = np.tensordot(_windows(back), k[:, :, ::-1, ::-1], ((1, 4, 5), (0, 2, 3))).transpose(
            0, 3, 1, 2
        )
    return of_k, back.sum(axis=(0, 2, 3)), below


def _windows(x: np.ndarray) -> np.ndarray:
    """All windows of three by three: images, channels, rows, columns, 3, 3."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))


def with_jax(jax: Any) -> Callable[..., Any]:
    """JAX, channels last in memory, which is faster."""
    jnp, nn, lax = jax.numpy, jax.nn, jax.lax
    order = ("NHWC", "HWIO", "NHWC")

    def layer(k, b, x):
        h = lax.conv_general_dilated(x, k.transpose(2, 3, 1, 0), (1, 1), "SAME", dimension_numbers=order)
        lowest, window = -np.float32(np.inf), (1, 2, 2, 1)
        return lax.reduce_window(nn.relu(h + b), lowest, lax.max, window, window, "VALID")

    def network(k1, b1, k2, b2, w, b, x, y):
        h = layer(k2, b2, layer(k1, b1, x.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)
        return -nn.log_softmax(h.reshape(len(x), -1) @ w + b)[jnp.arange(len(y)), y].mean()

    return network


def with_torch(torch: Any) -> Callable[..., Any]:
    """PyTorch; channels come last in memory if the images' channels do."""
    functional = torch.nn.functional

    def network(k1, b1, k2, b2, w, b, x, y):
        h = functional.max_pool2d(torch.relu(functional.conv2d(x, k1, b1, padding=1)), 2)
        h = functional.max_pool2d(torch.relu(functional.conv2d(h, k2, b2, padding=1)), 2)
        return functional.cross_entropy(h.flatten(1) @ w + b, y)

    return network


def with_torch_last(torch: Any) -> Callable[..., Any]:
    """PyTorch, channels last in memory."""
    network, last = with_torch(torch), torch.channels_last

    def of_last(k1, b1, k2, b2, w, b, x, y):
        k1, k2, x = (item.contiguous(memory_format=last) for item in (k1, k2, x))
        return network(k1, b1, k2, b2, w, b, x, y)

    return of_last


_FIRST, _LAST = torch_ways(with_torch, 6), torch_ways(with_torch_last, 6)
WORKLOAD = Workload(
    name="convnet-f32",
    title="conv3x3(32)-pool-conv3x3(64)-pool-dense10 on 64 images 3x32x32, float32",
    inputs=inputs,
    reference=by_hand,
    dtype="float32",
    rtol=1e-3,
    ways={
        "gradc": _gradc,
        "numpy": lambda *arrays: partial(by_hand, *arrays),
        "jax": jax_way(with_jax, 6, "float32"),
        **_FIRST,
        "torch, eager, channels last": _LAST["torch, eager"],
        "torch, compiled, channels last": _LAST["torch, compiled"],
    },
)
