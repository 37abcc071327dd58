"""Whole training steps of a network, in gradc, PyTorch and JAX: forward, backward and the update.

Every way keeps its own parameters and updates them: the losses of a few steps agree only if gradients and updates do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from measuring import Way, agree, peer

from gradc.nn.layers.activations import ReLU
from gradc.nn.layers.convolution import Conv2D
from gradc.nn.layers.dense import Dense
from gradc.nn.layers.dropout import Dropout
from gradc.nn.layers.normalisation import BatchNorm
from gradc.nn.layers.pooling import GlobalAvgPool, MaxPool
from gradc.nn.layers.shapes import Flatten
from gradc.nn.network import Network
from gradc.nn.nodes import Node
from gradc.nn.optimisers import Adam, Momentum

Step: TypeAlias = Callable[[], float]


@dataclass(frozen=True)
class Task:
    """A network to be made, which starts alike each time, its optimiser, and the batch that it is trained on."""

    make: Callable[[], Network]  # its loss is softmax cross-entropy
    optimiser: Momentum | Adam
    x: np.ndarray
    labels: np.ndarray


def ways(task: Task, images: bool) -> list[Way]:
    """Return all ways, gradc first; images have ways of their own, with channels last."""
    found = [Way("gradc", gradc_step(task)), Way("gradc, update in NumPy", gradc_halves(task))]
    torch, jax = peer("torch"), peer("jax")
    if torch is not None:
        modes = ("eager", "channels last", "compiled") if images else ("eager", "compiled")
        found += [Way(f"PyTorch, {mode}", torch_step(torch, task, mode)) for mode in modes]
    if jax is not None:
        found.append(Way("JAX", jax_step(jax, task, last=False)))
        found += [Way("JAX, channels last", jax_step(jax, task, last=True))] if images else []
    return found


def compare(these: Sequence[Way], rtol: float, steps: int = 3) -> None:
    """Compare the losses of the first steps."""
    for _ in range(steps):
        agree(these, rtol)


# --- gradc --------------------------------------------------------------------------------------------------


def _slots(task: Task, network: Network) -> dict[str, np.ndarray]:
    return {
        f"{name}.{slot}": np.zeros_like(value)
        for name, value in network.parameters.items()
        for slot in task.optimiser.slots()
    }


def gradc_step(task: Task) -> Step:
    """One kernel."""
    network = task.make()
    control, key = np.zeros(2, network.dtype), np.zeros(1, np.int64)
    arguments = network.parameters, network.statistics, _slots(task, network), task.x, task.labels
    updated = ("parameters", "statistics", "slots")
    function = network.step_function(task.optimiser)
    kernel = function.bind_update(*arguments, control, key, updates=updated)

    def step() -> float:
        control[:] = task.optimiser.rate_at(1, 1), control[1] + 1
        key[0] += 1
        return kernel()

    return step


def gradc_halves(task: Task) -> Step:
    """A kernel for value and gradients; then the optimiser's NumPy, which nothing compiles."""
    network = task.make()
    slots = _slots(task, network)
    done = 0

    def step() -> float:
        nonlocal done
        done += 1
        (value, statistics), gradients = network.objective_function.value_and_grad(
            network.parameters, network.statistics, task.x, task.labels, np.int64(done)
        )
        rate, number = (network.dtype.type(item) for item in (task.optimiser.rate_at(1, 1), done))
        for name, array in network.parameters.items():
            own = {slot: slots[f"{name}.{slot}"] for slot in task.optimiser.slots()}
            weight = name in network.weights
            new, kept = task.optimiser.update(array, gradients[name], own, rate, number, is_weight=weight)
            array[...] = new
            slots.update({f"{name}.{slot}": value for slot, value in kept.items()})
        for name, array in network.statistics.items():
            array[...] = statistics[name]
        return float(value)

    return step


# --- PyTorch ------------------------------------------------------------------------------------------------


def torch_step(torch: Any, task: Task, mode: str) -> Step:
    """A `torch.nn.Sequential` with the optimiser of `torch.optim`."""
    network = task.make()
    model = torch.nn.Sequential(*[_torch_layer(torch.nn, node) for node in network.nodes])
    with torch.no_grad():
        for node, module in zip(network.nodes, model, strict=True):
            for name in ("weight", "bias"):
                value = network.parameters.get(f"{node.name}.{name}")
                if value is not None:
                    getattr(module, name).copy_(
                        torch.tensor(value.T if isinstance(node.layer, Dense) else value)
                    )
    inputs, labels = torch.tensor(task.x), torch.tensor(task.labels)
    if mode == "channels last":
        model = model.to(memory_format=torch.channels_last)
        inputs = inputs.to(memory_format=torch.channels_last)
    optimiser = _torch_optimiser(torch, task.optimiser, model)

    def loss() -> Any:
        return torch.nn.functional.cross_entropy(model(inputs), labels)

    objective = torch.compile(loss, dynamic=False) if mode == "compiled" else loss

    def step() -> float:
        optimiser.zero_grad()
        value = objective()
        value.backward()
        optimiser.step()
        return float(value.detach())

    return step


def _torch_layer(kinds: Any, node: Node) -> Any:
    shape = node.shapes[0]
    match node.layer:
        case Conv2D() as layer:
            windows = layer.windows()
            geometry = (
                windows.sizes,
                windows.strides,
                _symmetric(windows.around(shape[1:])),
                windows.dilations,
            )
            return kinds.Conv2d(shape[0], layer.channels, *geometry, layer.groups, layer.bias)
        case MaxPool() as layer:
            windows = layer.windows(2)
            return kinds.MaxPool2d(windows.sizes, windows.strides, _symmetric(windows.around(shape[1:])))
        case BatchNorm() as layer:
            return kinds.BatchNorm2d(shape[0], layer.epsilon, 1 - layer.momentum)
        case Dense() as layer:
            return kinds.Linear(shape[0], layer.units, layer.bias)
        case Dropout() as layer:
            return kinds.Dropout(layer.rate)
        case GlobalAvgPool():
            return kinds.Sequential(kinds.AdaptiveAvgPool2d(1), kinds.Flatten())
        case ReLU():
            return kinds.ReLU()
        case Flatten():
            return kinds.Flatten()
        case other:
            raise NotImplementedError(other)


def _symmetric(margins: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Return margins as PyTorch has them, as many before as behind."""
    assert all(before == behind for before, behind in margins)
    return tuple(before for before, _ in margins)


def _torch_optimiser(torch: Any, ours: Momentum | Adam, model: Any) -> Any:
    match ours:
        case Momentum():
            return torch.optim.SGD(model.parameters(), lr=ours.rate, momentum=ours.momentum)
        case Adam():
            betas = ours.beta1, ours.beta2
            return torch.optim.Adam(model.parameters(), lr=ours.rate, betas=betas, eps=ours.epsilon)


# --- JAX ----------------------------------------------------------------------------------------------------


def jax_step(jax: Any, task: Task, last: bool) -> Step:
    """One jitted function that owns its state; with `last`, images have their channels last."""
    network = task.make()
    order = (2, 3, 1, 0) if last else (0, 1, 2, 3)
    values = {
        name: jax.numpy.asarray(value.transpose(order) if value.ndim == 4 else value)
        for name, value in network.parameters.items()
    }
    kept = {name: jax.numpy.asarray(value) for name, value in network.statistics.items()}
    slots = {name: jax.tree.map(jax.numpy.zeros_like, values) for name in task.optimiser.slots()}
    x = jax.numpy.asarray(task.x.transpose(0, 2, 3, 1) if last else task.x)
    labels = jax.numpy.asarray(task.labels)
    state = values, kept, slots, jax.numpy.zeros((), "int32")

    def objective(values: Any, kept: Any, key: Any) -> Any:
        h, updated = x, {}
        for position, node in enumerate(network.nodes):
            own = {
                name.removeprefix(f"{node.name}."): value
                for name, value in (values | kept).items()
                if name.startswith(f"{node.name}.")
            }
            h, statistics = _jax_layer(jax, node, own, h, jax.random.fold_in(key, position), last)
            updated |= {f"{node.name}.{name}": value for name, value in statistics.items()}
        return -jax.nn.log_softmax(h)[jax.numpy.arange(len(labels)), labels].mean(), updated

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def update(values: Any, kept: Any, slots: Any, done: Any) -> Any:
        done = done + 1
        slope = jax.value_and_grad(objective, has_aux=True)
        (value, kept), gradients = slope(values, kept, jax.random.key(done))
        values, slots = _jax_update(jax, task.optimiser, values, gradients, slots, done)
        return value, values, kept, slots, done

    def step() -> float:
        nonlocal state
        value, *state = update(*state)
        return float(value)

    return step


def _jax_layer(jax: Any, node: Node, own: dict[str, Any], h: Any, key: Any, last: bool) -> tuple[Any, Any]:
    channels = h.ndim - 1 if last else 1  # the axis
    inner = (1, 2) if last else (2, 3)
    match node.layer:
        case Conv2D() as layer:
            return _jax_convolution(jax, layer, node, own, h, last), {}
        case MaxPool() as layer:
            return _jax_pooled(jax, layer, node, h, inner), {}
        case BatchNorm() as layer:
            return _jax_normalised(jax, layer, own, h, channels)
        case Dense() as layer:
            return h @ own["weight"] + (own["bias"] if layer.bias else 0), {}
        case Dropout() as layer:
            keep = 1 - layer.rate
            return jax.numpy.where(jax.random.bernoulli(key, keep, h.shape), h / keep, 0), {}
        case GlobalAvgPool():
            return h.mean(axis=inner), {}
        case ReLU():
            return jax.nn.relu(h), {}
        case Flatten():
            return (h.transpose(0, 3, 1, 2) if last else h).reshape(len(h), -1), {}
        case other:
            raise NotImplementedError(other)


def _jax_convolution(jax: Any, layer: Conv2D, node: Node, own: dict[str, Any], h: Any, last: bool) -> Any:
    moving = layer.windows()
    found = jax.lax.conv_general_dilated(
        h,
        own["weight"],
        moving.strides,
        moving.around(node.shapes[0][1:]),
        rhs_dilation=moving.dilations,
        dimension_numbers=("NHWC", "HWIO", "NHWC") if last else ("NCHW", "OIHW", "NCHW"),
        feature_group_count=layer.groups,
    )
    return found + (own["bias"] if last else own["bias"][:, None, None]) if layer.bias else found


def _jax_pooled(jax: Any, layer: MaxPool, node: Node, h: Any, inner: tuple[int, int]) -> Any:
    moving = layer.windows(2)
    sizes, strides, margins = [1] * 4, [1] * 4, [(0, 0)] * 4
    parts = moving.sizes, moving.strides, moving.around(node.shapes[0][1:])
    for axis, size, stride, margin in zip(inner, *parts, strict=True):
        sizes[axis], strides[axis], margins[axis] = size, stride, margin
    return jax.lax.reduce_window(h, -np.inf, jax.lax.max, sizes, strides, margins)


def _jax_normalised(jax: Any, layer: BatchNorm, own: dict[str, Any], h: Any, channels: int) -> Any:
    axes = tuple(axis for axis in range(h.ndim) if axis != channels)
    wide = tuple(slice(None) if axis == channels else None for axis in range(h.ndim))
    mean, variance, count = h.mean(axes), h.var(axes), h.size // h.shape[channels]
    scale = own["gamma"] * jax.lax.rsqrt(variance + layer.epsilon)
    unbiased, keep = variance * (count / (count - 1)), layer.momentum
    updated = {
        "mean": keep * own["mean"] + (1 - keep) * mean,
        "variance": keep * own["variance"] + (1 - keep) * unbiased,
    }
    return (h - mean[wide]) * scale[wide] + own["beta"][wide], updated


def _jax_update(
    jax: Any, ours: Momentum | Adam, values: Any, gradients: Any, slots: Any, done: Any
) -> tuple[Any, Any]:
    each = jax.tree.map
    match ours:
        case Momentum():
            moved = each(lambda v, g: ours.momentum * v - ours.rate * g, slots["velocity"], gradients)
            return each(lambda p, v: p + v, values, moved), {"velocity": moved}
        case Adam():
            first = each(lambda m, g: ours.beta1 * m + (1 - ours.beta1) * g, slots["first_moment"], gradients)
            second = each(
                lambda v, g: ours.beta2 * v + (1 - ours.beta2) * g * g, slots["second_moment"], gradients
            )
            rate, share = ours.rate / (1 - ours.beta1**done), 1 - ours.beta2**done
            size = each(lambda v: jax.numpy.sqrt(v / share) + ours.epsilon, second)
            values = each(lambda p, m, s: p - rate * m / s, values, first, size)
            return values, {"first_moment": first, "second_moment": second}
