"""A whole training step: forward, backward, and the update with momentum, in float32, beside PyTorch and JAX.

Every way keeps its own parameters and updates them; what is compared first is the loss of the first step.
"""

from typing import Any

import numpy as np
from measuring import Row, Way, measure, peer, show, show_machine

from gradc.nn.layers.activations import ReLU
from gradc.nn.layers.dense import Dense
from gradc.nn.losses import SoftmaxCrossEntropy
from gradc.nn.network import Network
from gradc.nn.optimisers import Momentum
from gradc.nn.training import Training

RATE, MOMENTUM = 0.01, 0.9
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


def ways(batch: int, sizes: tuple[int, ...]) -> list[Way]:
    """The ways, gradc first."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, sizes[0])).astype(np.float32)
    y = rng.integers(0, sizes[-1], batch)
    ours = network(sizes)
    first = [value.copy() for value in ours.parameters.values()]
    step, held_x, held_y = Training(ours, Momentum(RATE, MOMENTUM), x, y, batch=batch).bound(batch)
    held_x[:], held_y[:] = x, y
    found = [Way("gradc", step), Way("NumPy by hand", _numpy_step(first, x, y))]
    torch, jax = peer("torch"), peer("jax")
    if torch is not None:
        found += [
            Way(f"PyTorch, {mode}", _torch_step(torch, first, x, y, mode)) for mode in ("eager", "compiled")
        ]
    if jax is not None:
        found.append(Way("JAX", _jax_step(jax, first, x, y)))
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


def _torch_step(torch: Any, first: list[np.ndarray], x: np.ndarray, y: np.ndarray, mode: str) -> Any:
    parameters = [torch.tensor(value, requires_grad=True) for value in first]
    optimiser = torch.optim.SGD(parameters, lr=RATE, momentum=MOMENTUM)
    inputs, labels = torch.tensor(x), torch.tensor(y)

    def loss(*values: Any) -> Any:
        h = inputs
        for at in range(0, len(values), 2):
            h = h @ values[at] + values[at + 1]
            h = torch.relu(h) if at + 2 < len(values) else h
        return torch.nn.functional.cross_entropy(h, labels)

    objective = torch.compile(loss) if mode == "compiled" else loss

    def step() -> float:
        optimiser.zero_grad()
        value = objective(*parameters)
        value.backward()
        optimiser.step()
        return float(value.detach())

    return step


def _jax_step(jax: Any, first: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> Any:
    jnp = jax.numpy
    state = [jnp.asarray(value) for value in first], [jnp.zeros(value.shape, jnp.float32) for value in first]
    inputs, labels = jnp.asarray(x), jnp.asarray(y)

    def loss(values: list[Any]) -> Any:
        h = inputs
        for at in range(0, len(values), 2):
            h = h @ values[at] + values[at + 1]
            h = jax.nn.relu(h) if at + 2 < len(values) else h
        return -jax.nn.log_softmax(h)[jnp.arange(len(labels)), labels].mean()

    @jax.jit
    def update(values: list[Any], velocity: list[Any]) -> Any:
        value, gradient = jax.value_and_grad(loss)(values)
        velocity = [MOMENTUM * v - RATE * g for v, g in zip(velocity, gradient, strict=True)]
        return value, [p + v for p, v in zip(values, velocity, strict=True)], velocity

    def step() -> float:
        nonlocal state
        value, *state = update(*state)
        return float(value)

    return step


def run(small: bool = False) -> dict[str, list[Row]]:
    """Measure all sizes; with `small` tiny ones, to see that everything runs."""
    sizes: Sizes = {"small": (4, (5, 4, 3))} if small else SIZES
    return {
        name: measure(ways(*size), rtol=1e-4, pause=0.0 if small else 0.01) for name, size in sizes.items()
    }


if __name__ == "__main__":
    show_machine()
    for title, rows in run().items():
        show(title, rows)
