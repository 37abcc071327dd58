"""One layer, applied to arrays: its value, what it updates, and its gradient against the checker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc import differentiate
from gradc.nn.layer import Context, Layer

BATCH = 3


@dataclass(frozen=True)
class Applied:
    """What came out, and what went in."""

    value: np.ndarray
    updated: dict[str, np.ndarray]
    gradients: tuple[dict[str, np.ndarray], tuple[np.ndarray, ...]]
    arrays: dict[str, np.ndarray]
    inputs: tuple[np.ndarray, ...]


def random_arrays(layer: Layer, *shapes: tuple[int, ...], dtype: Any = np.float64) -> dict[str, np.ndarray]:
    """Return parameters and statistics, all of them unlike their first values; variances are positive."""
    rng = np.random.default_rng(11)
    found = {name: rng.normal(size=p.shape) for name, p in layer.parameters(*shapes).items()}
    found |= {name: rng.uniform(0.5, 2, p.shape) for name, p in layer.statistics(*shapes).items()}
    return {name: array.astype(dtype) for name, array in found.items()}


def random_inputs(
    *shapes: tuple[int, ...], batch: int = BATCH, dtype: Any = np.float64
) -> tuple[np.ndarray, ...]:
    """Return a batch for every input."""
    rng = np.random.default_rng(12)
    return tuple(rng.normal(size=(batch, *shape)).astype(dtype) for shape in shapes)


def apply(
    layer: Layer,
    *inputs: np.ndarray,
    training: bool = True,
    arrays: Mapping[str, np.ndarray] | None = None,
    uniform: np.ndarray | None = None,
    check: bool = True,
    target: str = "interpret",
) -> Applied:
    """Apply a layer through the compiler; its gradient along random cotangents must pass the checker."""
    shapes = [x.shape[1:] for x in inputs]
    dtype = next((x.dtype for x in inputs if x.dtype.kind == "f"), np.dtype(np.float64))
    arrays = dict(random_arrays(layer, *shapes, dtype=dtype) if arrays is None else arrays)
    noise = inputs[0] if uniform is None else uniform
    learned = {name: arrays[name] for name in layer.parameters(*shapes)}
    kept = {name: arrays[name] for name in layer.statistics(*shapes)}
    floats = tuple(x for x in inputs if x.dtype.kind == "f")
    whole = tuple(x for x in inputs if x.dtype.kind != "f")

    def forward(learned: Any, floats: Any, whole: Any, kept: Any, noise: Any) -> Any:
        context = Context({**learned, **kept}, training, lambda like: noise)
        value = layer.apply(context, *floats, *whole)
        return value, {name: context.updated[name] for name in sorted(context.updated)}

    def weighed(learned: Any, floats: Any, whole: Any, kept: Any, noise: Any, cotangent: Any) -> Any:
        return (forward(learned, floats, whole, kept, noise)[0] * cotangent).sum()

    where = ("learned", "floats") if learned and floats else ("learned",) if learned else ("floats",)
    value, updated = differentiate(forward, wrt=where, target=target)(learned, floats, whole, kept, noise)
    assert value.dtype == dtype
    assert all(array.dtype == dtype for array in updated.values())
    assert value.shape[1:] == layer.output_shape(*shapes)
    assert value.shape[0] == len(inputs[0])
    cotangent = np.random.default_rng(13).uniform(0.5, 1.5, value.shape).astype(dtype)
    slope = differentiate(weighed, wrt=where, target=target)
    given = learned, floats, whole, kept, noise, cotangent
    if check:
        slope.check(*given).assert_ok()
    found = dict(zip(where, slope.grad(*given), strict=True))
    assert all(g.dtype == dtype for g in (*found.get("learned", {}).values(), *found.get("floats", ())))
    return Applied(value, updated, (found.get("learned", {}), found.get("floats", ())), arrays, inputs)


def agree(layer: Layer, *inputs: np.ndarray, expected: Any, **options: Any) -> Applied:
    """Compare with an independent value, in float64 with the checker and in float32 with the float64 gradient."""
    wide = apply(layer, *inputs, **options)
    wanted = expected(wide.arrays, *inputs)
    np.testing.assert_allclose(wide.value, wanted, rtol=1e-12, atol=1e-13)
    short = [x.astype(np.float32) if x.dtype.kind == "f" else x for x in inputs]
    arrays = {name: array.astype(np.float32) for name, array in wide.arrays.items()}
    options = options | {"arrays": arrays, "check": False}
    if options.get("uniform") is not None:
        options["uniform"] = options["uniform"].astype(np.float32)
    narrow = apply(layer, *short, **options)
    np.testing.assert_allclose(narrow.value, wanted, rtol=2e-4, atol=1e-5)
    for name, gradient in wide.gradients[0].items():
        np.testing.assert_allclose(narrow.gradients[0][name], gradient, rtol=1e-3, atol=1e-4)
    for found, gradient in zip(narrow.gradients[1], wide.gradients[1], strict=True):
        np.testing.assert_allclose(found, gradient, rtol=1e-3, atol=1e-4)
    return wide
