"""Logistic regression on 20000 examples with 200 features: the gradient, and the full Hessian."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gradc.bench.frameworks import (
    Explained,
    gradc_function,
    gradc_way,
    jax_module,
    jax_run,
    jax_way,
    pytensor_way,
    torch_module,
    torch_tensor,
    torch_ways,
)
from gradc.bench.workload import Run, Workload


def inputs(small: bool) -> tuple[Any, ...]:
    """Weights, examples, answers."""
    rng = np.random.default_rng(8)
    count, features = (12, 3) if small else (20_000, 200)
    x = rng.standard_normal((count, features))
    w = rng.standard_normal(features) / features**0.5
    return w, x, (rng.random(count) < 0.5).astype(np.float64)


def loss(w, x, y):
    """As written for gradc."""
    z = x @ w
    return (np.log(1 + np.exp(z)) - y * z).mean()


def by_hand(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> Any:
    """NumPy."""
    z = x @ w
    value = (np.logaddexp(0, z) - y * z).mean()
    return value, ((1 / (1 + np.exp(-z)) - y) @ x) / len(y)


def hessian_by_hand(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> Any:
    """NumPy."""
    p = 1 / (1 + np.exp(-(x @ w)))
    return x.T @ (x * (p * (1 - p) / len(y))[:, None])


def of_softplus(softplus: Callable[[Any], Any]) -> Callable[..., Any]:
    """For libraries that have a softplus."""

    def regression(w, x, y):
        z = x @ w
        return (softplus(z) - y * z).mean()

    return regression


def with_jax(jax: Any) -> Callable[..., Any]:
    """JAX."""
    return of_softplus(jax.nn.softplus)


def with_torch(torch: Any) -> Callable[..., Any]:
    """PyTorch."""
    return of_softplus(torch.nn.functional.softplus)


def _gradc_hessian(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> Run:
    function = gradc_function(loss, ("w",))
    return Explained(partial(function.hessian, w, x, y), function.at(w, x, y), "hessian")


def _jax_hessian(*arrays: np.ndarray) -> Run:
    jax = jax_module("float64")
    return jax_run(jax, jax.jit(jax.hessian(with_jax(jax))), arrays)


def _torch_hessian(compiled: bool, *arrays: np.ndarray) -> Run:
    torch = torch_module()
    hessian = torch.func.hessian(with_torch(torch))
    hessian = torch.compile(hessian) if compiled else hessian
    return partial(hessian, *(torch_tensor(torch, array) for array in arrays))


GRADIENT = Workload(
    name="logistic",
    title="logistic regression, 20000 x 200, gradient",
    inputs=inputs,
    reference=by_hand,
    ways={
        "gradc": gradc_way(loss, ("w",)),
        "numpy": lambda *arrays: partial(by_hand, *arrays),
        "jax": jax_way(with_jax, 1),
        **torch_ways(with_torch, 1),
        "pytensor": pytensor_way(lambda tensor: of_softplus(tensor.softplus), 1),
    },
)
HESSIAN = Workload(
    name="logistic-hessian",
    title="logistic regression, 20000 x 200, full Hessian",
    inputs=inputs,
    reference=hessian_by_hand,
    ways={
        "gradc": _gradc_hessian,
        "numpy": lambda *arrays: partial(hessian_by_hand, *arrays),
        "jax": _jax_hessian,
        "torch, eager": partial(_torch_hessian, False),
        "torch, compiled": partial(_torch_hessian, True),
    },
)
