"""A whole training step of dense layers, with momentum and in float32, beside NumPy, PyTorch and JAX."""

from typing import Any

import numpy as np
from measuring import Row, Way, measure, show, show_machine
from steps import Task, compare, ways

from gradc.nn.layers.activations import ReLU
from gradc.nn.layers.dense import Dense
from gradc.nn.losses import SoftmaxCrossEntropy
from gradc.nn.network import Network
from gradc.nn.optimisers import Momentum

RATE, MOMENTUM, RTOL = 0.01, 0.9, 1e-4
Sizes = dict[str, tuple[int, tuple[int, ...]]]
SIZES: Sizes = {
    "64-100-10, batch 64": (64, (64, 100, 10)),
    "784-512-256-10, batch 128": (128, (784, 512, 256, 10)),
}


def network(sizes: tuple[int, ...]) -> Network:
    """Dense layers with ReLU between them."""
    layers: list[Any] = [Dense(sizes[1])]
    for size in sizes[2:]:
        layers += [ReLU(), Dense(size)]
    return Network(*layers, shape=sizes[0], loss=SoftmaxCrossEntropy(), dtype="float32")


def task(batch: int, sizes: tuple[int, ...]) -> Task:
    """Random examples, and a network for them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, sizes[0])).astype(np.float32)
    return Task(lambda: network(sizes), Momentum(RATE, MOMENTUM), x, rng.integers(0, sizes[-1], batch))


def compared(made: Task) -> list[Way]:
    """The ways, gradc first, after their losses have been compared."""
    first, *others = ways(made, images=False)
    start = list(made.make().parameters.values())
    found = [first, Way("NumPy by hand", _numpy_step(start, made.x, made.labels)), *others]
    compare(found, RTOL)
    return found


def _numpy_step(first: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> Any:
    parameters = [value.copy() for value in first]
    velocity = [np.zeros_like(value) for value in first]
    rows = np.arange(len(y))

    def step() -> float:
        held = [x]
        for at in range(0, len(parameters), 2):
            z = held[-1] @ parameters[at] + parameters[at + 1]
            held.append(np.maximum(z, 0) if at + 2 < len(parameters) else z)
        scores = held.pop()
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        chances = powers / powers.sum(axis=1, keepdims=True)
        value = -np.log(chances[rows, y]).mean()
        slope = chances
        slope[rows, y] -= 1
        slope /= len(y)
        for at in range(len(parameters) - 2, -1, -2):
            h = held.pop()
            gradients = h.T @ slope, slope.sum(axis=0)
            slope = (slope @ parameters[at].T) * (h > 0)
            for position, gradient in zip((at, at + 1), gradients, strict=True):
                velocity[position] *= MOMENTUM
                velocity[position] -= RATE * gradient
                parameters[position] += velocity[position]
        return float(value)

    return step


def run(small: bool = False) -> dict[str, list[Row]]:
    """Measure all sizes; with `small` tiny ones, to see that everything runs."""
    sizes: Sizes = {"small": (4, (5, 4, 3))} if small else SIZES
    pause = 0.0 if small else 0.01
    return {name: measure(compared(task(*size)), rtol=RTOL, pause=pause) for name, size in sizes.items()}


if __name__ == "__main__":
    show_machine()
    for title, rows in run().items():
        show(title, rows)
