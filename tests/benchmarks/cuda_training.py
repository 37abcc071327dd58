"""Training steps on a GPU, forward, backward and the update, in gradc, PyTorch and JAX.

Every way keeps parameters of its own on the device; the losses of the first steps agree only if gradients and updates
do.  No way reads a loss while it is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from cuda_tasks import Ours
from training_step import MOMENTUM, RATE
from training_step import task as classifier_task

import gradc
from gradc.bench.workload import wide
from gradc.bench.workloads import network as lecture
from gradc.bench.workloads import relu
from gradc.nn.step import UPDATED, arguments_of, slots_of

STEPS = 4  # whose losses are compared
Step = Callable[[], Any]


@dataclass(frozen=True)
class Training:
    """A network in training: its first parameters, a batch, and its loss for every library.

    `by_hand` gives value and gradients of parameters and batch; `ours` is a step whose first result is the loss.
    """

    name: str
    title: str
    parameters: tuple[np.ndarray, ...]
    batch: tuple[np.ndarray, ...]
    rate: float
    momentum: float
    ours: Ours
    by_hand: Callable[..., Any]
    with_torch: Callable[[Any], Any]
    with_jax: Callable[[Any], Any]
    rtol: float = 1e-4

    @cached_property
    def wanted(self) -> list[float]:
        """The losses of the first steps, in float64."""
        parameters, batch = wide(self.parameters), wide(self.batch)
        moved, losses = [np.zeros_like(parameter) for parameter in parameters], []
        for _ in range(STEPS):
            value, gradients = self.by_hand(*parameters, *batch)
            losses.append(float(value))
            moved = [self.momentum * v - self.rate * g for v, g in zip(moved, gradients, strict=True)]
            parameters = tuple(p + v for p, v in zip(parameters, moved, strict=True))
        return losses

    def fault(self, losses: list[float]) -> str:
        """What is wrong with the first losses of a way."""
        wanted = self.wanted[: len(losses)]
        if np.allclose(losses, wanted, rtol=self.rtol, atol=0):
            return ""
        return f"the losses of the first steps are {losses}, not {wanted}"


def lecture_training(small: bool) -> Training:
    """The lecture's sigmoid network with squared error, by plain gradient descent."""
    w1, w2, x, y = lecture.inputs("float32", small)
    rate = 1e-4
    loss = gradc.differentiate(lecture.loss, wrt=("w1", "w2"))

    def step(weights: Any, x: Any, y: Any) -> Any:
        value, slopes = loss.value_and_grad(*weights, x, y)
        return value, tuple(weight - rate * slope for weight, slope in zip(weights, slopes, strict=True))

    function = gradc.differentiate(step, target="cuda")
    return Training(
        name="train-lecture",
        title=f"a step of a {_sizes(x, w1, w2)} sigmoid network, squared error, float32",
        parameters=(w1, w2),
        batch=(x, y),
        rate=rate,
        momentum=0.0,
        ours=Ours("gradc", function, ((w1, w2), x, y), updates=("weights",)),
        by_hand=lecture.by_hand,
        with_torch=lecture.of_library,
        with_jax=lambda jax: lecture.of_library(jax.nn),
    )


def classifier_training(small: bool) -> Training:
    """Dense layers with ReLU and softmax, of `gradc.nn`, with momentum."""
    batch, sizes = (4, (7, 6, 5, 3)) if small else (128, (784, 512, 256, 10))
    made = classifier_task(batch, sizes)
    network, optimiser = made.make(), made.optimiser
    slots = slots_of(network.parameters, optimiser)
    arguments = arguments_of(network, slots, made.x, made.labels)
    arguments.control[:] = optimiser.rate_at(1, 1), 1
    function = network.step_function(optimiser).with_options(target="cuda")
    parameters = tuple(network.parameters.values())
    return Training(
        name="train-classifier",
        title=f"a step of a {_sizes(made.x, *parameters[::2])} ReLU network, softmax, momentum, float32",
        parameters=parameters,
        batch=(made.x, made.labels),
        rate=RATE,
        momentum=MOMENTUM,
        ours=Ours("gradc", function, tuple(arguments), updates=UPDATED),
        by_hand=relu.by_hand,
        with_torch=relu.with_torch,
        with_jax=relu.with_jax,
    )


def _sizes(x: np.ndarray, *weights: np.ndarray) -> str:
    return "-".join(map(str, (*x.shape, *(weight.shape[1] for weight in weights))))


TRAININGS: dict[str, Callable[[bool], Training]] = {
    "train-lecture": lecture_training,
    "train-classifier": classifier_training,
}


# --- PyTorch ------------------------------------------------------------------------------------------------


def torch_step(torch: Any, training: Training, mode: str | None) -> Step:
    """Autograd and `torch.optim.SGD`; with a mode, the loss is compiled."""
    step, _ = _torch_step(torch, training, mode)
    return step


def _torch_step(torch: Any, training: Training, mode: str | None) -> tuple[Step, Callable[[], None]]:
    """A step, and what puts everything back to where it was."""
    first = [torch.tensor(parameter, device="cuda") for parameter in training.parameters]
    parameters = [parameter.clone().requires_grad_() for parameter in first]
    batch = [torch.tensor(array, device="cuda") for array in training.batch]
    loss = training.with_torch(torch)
    loss = loss if mode is None else torch.compile(loss, dynamic=False, mode=mode)
    optimiser = torch.optim.SGD(parameters, lr=training.rate, momentum=training.momentum, fused=True)

    def step() -> Any:
        optimiser.zero_grad()
        value = loss(*parameters, *batch)
        value.backward()
        optimiser.step()
        return value.detach()

    def back() -> None:
        with torch.no_grad():
            for parameter, start in zip(parameters, first, strict=True):
                parameter.copy_(start)
            for state in optimiser.state.values():
                if state.get("momentum_buffer") is not None:
                    state["momentum_buffer"].zero_()

    return step, back


def torch_graph(torch: Any, training: Training) -> Step:
    """The whole step as one graph of the driver, captured by hand."""
    step, back = _torch_step(torch, training, None)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # what is captured has to have run before
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    back()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = step()

    def replay() -> Any:
        graph.replay()
        return value

    return replay


TORCH: dict[str, Callable[[Any, Training], Step]] = {
    "PyTorch, eager": partial(torch_step, mode=None),
    "PyTorch, compiled": partial(torch_step, mode="default"),
    "PyTorch, compiled, reduce-overhead": partial(torch_step, mode="reduce-overhead"),
    "PyTorch, graph by hand": torch_graph,
}

# --- JAX ----------------------------------------------------------------------------------------------------


def jax_step(jax: Any, training: Training) -> Step:
    """One jitted function whose parameters are donated."""
    loss, count = training.with_jax(jax), len(training.parameters)
    slope = jax.value_and_grad(loss, argnums=tuple(range(count)))
    batch = [jax.numpy.asarray(array) for array in training.batch]
    parameters = [jax.numpy.array(parameter) for parameter in training.parameters]
    state = parameters, [jax.numpy.zeros_like(parameter) for parameter in parameters]

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(parameters: Any, moved: Any, *batch: Any) -> Any:
        value, gradients = slope(*parameters, *batch)
        moved = [training.momentum * v - training.rate * g for v, g in zip(moved, gradients, strict=True)]
        return value, ([p + v for p, v in zip(parameters, moved, strict=True)], moved)

    def step() -> Any:
        nonlocal state
        value, state = update(*state, *batch)
        return value

    return step
