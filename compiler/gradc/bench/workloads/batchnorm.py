"""Ten layers of 500 tanh units with batch normalisation, batch 256, squared error."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gradc.bench.frameworks import gradc_way, jax_way, pytensor_way, torch_ways
from gradc.bench.workload import Run, Workload

EPSILON = 1e-5


def inputs(small: bool) -> tuple[Any, ...]:
    """Weights, scales and shifts of every layer, one after the other; then inputs and wanted outputs."""
    rng = np.random.default_rng(4)
    layers, batch, units = (2, 6, 5) if small else (10, 256, 500)
    arrays: list[np.ndarray] = []
    for _ in range(layers):
        arrays += [
            rng.standard_normal((units, units)) / units**0.5,
            rng.uniform(0.5, 1.5, units),
            rng.standard_normal(units) / 10,
        ]
    arrays += [rng.standard_normal((batch, units)), rng.uniform(-1, 1, (batch, units))]
    return tuple(array.astype(np.float32) for array in arrays)


def loss(layers, x, y):
    """As written for gradc: the parameters are a list."""
    h = x
    for w, scale, shift in layers:
        z = h @ w
        normal = (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + EPSILON)
        h = np.tanh(scale * normal + shift)
    return np.square(h - y).mean()


def by_hand(*arrays: np.ndarray) -> Any:
    """NumPy."""
    *parameters, x, y = arrays
    h, kept = x, []
    for w, scale, shift in _threes(parameters):
        z = h @ w
        centred = z - z.mean(axis=0)
        inverse = 1 / np.sqrt(np.square(centred).mean(axis=0) + z.dtype.type(EPSILON))
        normal = centred * inverse
        after = np.tanh(scale * normal + shift)
        kept.append((h, w, scale, inverse, normal, after))
        h = after
    difference = h - y
    slope = difference * difference.dtype.type(2 / difference.size)
    found: list[np.ndarray] = []
    for before, w, scale, inverse, normal, after in reversed(kept):
        back = slope * (1 - after * after)
        of_scale, of_shift = (back * normal).sum(axis=0), back.sum(axis=0)
        back = back * scale
        back = inverse * (back - back.mean(axis=0) - normal * (back * normal).mean(axis=0))
        found = [before.T @ back, of_scale, of_shift, *found]
        slope = back @ w.T
    return np.square(difference).mean(), found


def _threes(parameters: Any) -> list[tuple[Any, Any, Any]]:
    return list(zip(parameters[::3], parameters[1::3], parameters[2::3], strict=True))


def of_library(library: Any) -> Callable[..., Any]:
    """JAX and PyTensor write it like NumPy."""

    def network(*arrays):
        *parameters, h, y = arrays
        for w, scale, shift in _threes(parameters):
            z = h @ w
            normal = (z - z.mean(axis=0)) / library.sqrt(z.var(axis=0) + np.float32(EPSILON))
            h = library.tanh(scale * normal + shift)
        return ((h - y) ** 2).mean()

    return network


def with_torch(torch: Any) -> Callable[..., Any]:
    """PyTorch has the layer."""
    functional = torch.nn.functional

    def network(*arrays):
        *parameters, h, y = arrays
        for w, scale, shift in _threes(parameters):
            h = functional.batch_norm(h @ w, None, None, scale, shift, training=True, eps=EPSILON)
            h = torch.tanh(h)
        return functional.mse_loss(h, y)

    return network


def _gradc(*arrays: np.ndarray) -> Run:
    *parameters, x, y = arrays
    return gradc_way(loss, ("layers",))(_threes(parameters), x, y)


def workload() -> Workload:
    """The number of gradients depends on the size, which the inputs tell."""

    def counted(way: Callable[..., Any]) -> Callable[..., Run]:
        return lambda *arrays: way(len(arrays) - 2)(*arrays)

    eager, compiled = (
        counted(lambda count, mode=mode: torch_ways(with_torch, count)[mode])
        for mode in ("torch, eager", "torch, compiled")
    )
    return Workload(
        name="batchnorm-f32",
        title="ten 500-unit batch-norm tanh layers, batch 256, float32",
        inputs=inputs,
        reference=by_hand,
        dtype="float32",
        rtol=2e-3,
        ways={
            "gradc": _gradc,
            "numpy": lambda *arrays: partial(by_hand, *arrays),
            "jax": counted(lambda count: jax_way(lambda jax: of_library(jax.numpy), count, "float32")),
            "torch, eager": eager,
            "torch, compiled": compiled,
            "pytensor": counted(lambda count: pytensor_way(of_library, count)),
        },
    )


WORKLOAD = workload()
