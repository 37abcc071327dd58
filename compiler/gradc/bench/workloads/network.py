"""The lecture's network: 64 examples, 1000 inputs, 100 sigmoid units, 10 outputs, squared error."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gradc.bench.frameworks import gradc_way, jax_way, pytensor_way, torch_ways
from gradc.bench.workload import Workload


def inputs(dtype: str, small: bool) -> tuple[Any, ...]:
    """Weights, inputs and wanted outputs."""
    rng = np.random.default_rng(0)
    batch, sizes = (4, (7, 5, 3)) if small else (64, (1000, 100, 10))
    w1 = rng.standard_normal(sizes[:2]) / sizes[0] ** 0.5
    w2 = rng.standard_normal(sizes[1:])
    x, y = rng.standard_normal((batch, sizes[0])), rng.random((batch, sizes[2]))
    return tuple(array.astype(dtype) for array in (w1, w2, x, y))


def loss(w1, w2, x, y):
    """As written for gradc."""
    h = 1 / (1 + np.exp(-(x @ w1)))
    return np.square(h @ w2 - y).sum()


def by_hand(w1: np.ndarray, w2: np.ndarray, x: np.ndarray, y: np.ndarray) -> Any:
    """NumPy."""
    h = 1 / (1 + np.exp(-(x @ w1)))
    difference = h @ w2 - y
    slope = 2 * difference
    return np.square(difference).sum(), (x.T @ ((slope @ w2.T) * h * (1 - h)), h.T @ slope)


def of_library(library: Any) -> Callable[..., Any]:
    """JAX, PyTorch and PyTensor write it alike."""

    def network(w1, w2, x, y):
        h = library.sigmoid(x @ w1)
        return ((h @ w2 - y) ** 2).sum()

    return network


def workload(dtype: str, rtol: float) -> Workload:
    """The same for both dtypes."""
    return Workload(
        name="network-f64" if dtype == "float64" else "network-f32",
        title=f"the lecture's 64-1000-100-10 sigmoid network, {dtype}",
        inputs=partial(inputs, dtype),
        reference=by_hand,
        dtype=dtype,
        rtol=rtol,
        ways={
            "gradc": gradc_way(loss, ("w1", "w2")),
            "numpy": lambda *arrays: partial(by_hand, *arrays),
            "jax": jax_way(lambda jax: of_library(jax.nn), 2, dtype),
            **torch_ways(of_library, 2),
            "pytensor": pytensor_way(of_library, 2),
        },
    )


WORKLOADS = (workload("float64", 1e-9), workload("float32", 1e-4))
