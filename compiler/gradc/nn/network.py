"""A network: layers put together, its parameters, and the functions that the compiler makes kernels of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np

from gradc.api.decorator import differentiate
from gradc.api.differentiated import Differentiated
from gradc.errors import ArgumentError, InputRefused, ShapeError
from gradc.nn.checkpoint import load_network, save_network
from gradc.nn.layer import Array, Context, Layer, Parameter, Shape
from gradc.nn.layers.embedding import Embedding
from gradc.nn.losses import Loss
from gradc.nn.nodes import INPUT, Node, placed
from gradc.nn.optimisers import Optimiser, clipped
from gradc.nn.regularisers import Regulariser
from gradc.nn.training import History, fit
from gradc.random import fold_in, uniform_like

TOGETHER = 512  # examples that are evaluated at once
DTYPES = ("float32", "float64")


class Network:
    """Layers, a loss, and the parameters: arrays that training updates where they are.

    Parameters
    ----------
    *layers : Layer
        In order; each takes the output of the one before it, or of those that its `inputs` name.
    shape : tuple of int or int
        Of one example, without the batch.
    loss : Loss
        What training makes small.
    dtype : {"float64", "float32"}
        Of parameters and of all arithmetic.
    seed : int
        Of the first values of the parameters, and of dropout.
    regulariser : Regulariser, optional
        What is added to the loss for each weight.

    Attributes
    ----------
    nodes : tuple of Node
        The layers in their places.
    parameters, statistics : dict of str to array
        By names such as ``dense_1.weight``.

    Raises
    ------
    ArgumentError
        A name is taken or unknown, or something is no layer.
    ShapeError
        A layer does not take what comes to it.
    """

    def __init__(
        self,
        *layers: Layer,
        shape: Shape | int,
        loss: Loss,
        dtype: str = "float64",
        seed: int = 0,
        regulariser: Regulariser | None = None,
    ) -> None:
        if dtype not in DTYPES:
            raise ArgumentError(f"dtype {dtype!r} is unknown", do=f"choose of {', '.join(DTYPES)}")
        if not layers:
            raise ArgumentError("a network has at least one layer", do="nn.Network(nn.Dense(10), ...)")
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if not self.shape or any(type(size) is not int or size < 1 for size in self.shape):
            raise ArgumentError(
                f"shape={shape!r} is no shape of an example", do="give positive whole numbers"
            )
        self.loss = loss
        self.dtype = np.dtype(dtype)
        self.seed = seed
        self.regulariser = regulariser
        self.nodes = placed(layers, self.shape)
        generator = np.random.default_rng(seed)
        self.parameters = self._made(generator, lambda node: node.parameters)
        self.statistics = self._made(generator, lambda node: node.statistics)
        self.weights = frozenset(
            name for node in self.nodes for name, found in node.parameters.items() if found.is_weight
        )

    def _made(
        self, generator: np.random.Generator, of: Callable[[Node], Mapping[str, Parameter]]
    ) -> dict[str, np.ndarray]:
        made = {}
        for node in self.nodes:
            for name, found in of(node).items():
                value = found.initialiser(generator, found.shape, found.fan_in, found.fan_out)
                made[name] = np.ascontiguousarray(value, self.dtype)
        return made

    @property
    def output(self) -> Shape:
        """The shape of the output for one example."""
        return self.nodes[-1].output

    @property
    def size(self) -> int:
        """How many numbers it learns."""
        return sum(value.size for value in self.parameters.values())

    # --- functions that are traced ------------------------------------------------------------------------

    def forward(
        self,
        parameters: Mapping[str, Array],
        statistics: Mapping[str, Array],
        x: Array,
        key: Array | None = None,
    ) -> tuple[Array, dict[str, Array]]:
        """Return the output for a batch and the new statistics: plain NumPy.

        With a key, a whole number, the network is in training: layers draw random numbers from it.
        """
        outputs, updated = self.forward_all(parameters, statistics, x, key)
        return outputs[self.nodes[-1].name], updated

    def forward_all(
        self,
        parameters: Mapping[str, Array],
        statistics: Mapping[str, Array],
        x: Array,
        key: Array | None = None,
        added: Mapping[str, Array] | None = None,
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return the outputs of all layers by name, and the new statistics; see `forward`.

        What `added` has for a layer is added to its output: zeros, whose gradient is that of the output.
        """
        outputs = {INPUT: x}
        updated = dict(statistics)
        for position, node in enumerate(self.nodes):
            arrays = {
                name.removeprefix(f"{node.name}."): value
                for name, value in (*parameters.items(), *statistics.items())
                if name.startswith(f"{node.name}.")
            }
            context = Context(arrays, key is not None, _drawer(key, position))
            output = node.layer.apply(context, *(outputs[name] for name in node.inputs))
            outputs[node.name] = output if added is None else output + added[node.name]
            updated |= {f"{node.name}.{name}": value for name, value in context.updated.items()}
        del outputs[INPUT]
        return outputs, updated

    def objective(
        self,
        parameters: Mapping[str, Array],
        statistics: Mapping[str, Array],
        x: Array,
        y: Array,
        key: Array | None = None,
    ) -> tuple[Array, dict[str, Array]]:
        """Return the loss of a batch with what the regulariser adds, and the new statistics: plain NumPy."""
        output, updated = self.forward(parameters, statistics, x, key)
        value = self.loss(output, y)
        if self.regulariser is not None:
            for name in sorted(self.weights):
                value = value + self.regulariser.penalty(parameters[name])
        return value, updated

    def step_function(self, optimiser: Optimiser) -> Differentiated[..., Any]:
        """Return one training step as a function: forward, backward, update and statistics, one kernel.

        Its arguments are parameters, statistics, slots of the optimiser, a batch, ``(rate, number of the step)`` and
        an array with the key; it returns the loss and the new contents of the first three.
        """
        objective = self.objective_function

        def step(
            parameters: Any, statistics: Any, slots: Any, x: Any, y: Any, control: Any, key: Any
        ) -> tuple[Any, ...]:
            (value, updated), gradients = objective.value_and_grad(parameters, statistics, x, y, key[0])
            gradients = clipped(gradients, optimiser.clip_norm, optimiser.clip_value)
            new_parameters, new_slots = {}, {}
            for name in parameters:
                own = {slot: slots[f"{name}.{slot}"] for slot in optimiser.slots()}
                new_parameters[name], kept = optimiser.update(
                    parameters[name],
                    gradients[name],
                    own,
                    control[0],
                    control[1],
                    is_weight=name in self.weights,
                )
                new_slots |= {f"{name}.{slot}": array for slot, array in kept.items()}
            return value, new_parameters, updated, new_slots

        return differentiate(step, wrt="parameters")

    @cached_property
    def objective_function(self) -> Differentiated[..., Any]:
        """The objective as a function with derivatives by the parameters; its arguments are those of `objective`."""

        def objective(
            parameters: Any, statistics: Any, x: Any, y: Any, key: Any
        ) -> tuple[Any, dict[str, Any]]:
            return self.objective(parameters, statistics, x, y, key)

        return differentiate(objective, wrt="parameters", has_aux=True)

    @cached_property
    def _judged(self) -> Differentiated[..., Any]:
        def judged(parameters: Any, statistics: Any, x: Any, y: Any) -> tuple[Any, Any]:
            output = self.forward(parameters, statistics, x)[0]
            return self.loss(output, y), output

        return differentiate(judged, wrt="parameters", has_aux=True)

    @cached_property
    def _predicted(self) -> Differentiated[..., Any]:
        def predicted(parameters: Any, statistics: Any, x: Any) -> Any:
            return self.forward(parameters, statistics, x)[0]

        return differentiate(predicted, wrt="parameters")

    @cached_property
    def _activated(self) -> Differentiated[..., Any]:
        def activated(parameters: Any, statistics: Any, x: Any) -> Any:
            return self.forward_all(parameters, statistics, x)[0]

        return differentiate(activated, wrt="parameters")

    # --- what users call ----------------------------------------------------------------------------------

    def predict(self, x: Any) -> np.ndarray:
        """Return the outputs for examples, as at test time.

        Parameters
        ----------
        x : array
            Examples; the first axis counts them.
        """
        examples = self.examples_of(x)
        parts = [self._predicted(self.parameters, self.statistics, part) for part in _chunks(examples)]
        return np.concatenate(parts) if parts else np.zeros((0, *self.output), self.dtype)

    def evaluate(self, x: Any, y: Any) -> tuple[float, float | None]:
        """Return the mean loss of examples as at test time, and the share of right ones if the loss knows of any.

        What a regulariser adds does not count; what is right is for `Loss.accuracy` to say.

        Raises
        ------
        ShapeError, GradcError
            Examples or targets do not fit.
        """
        examples, targets = self.data_of(x, y)
        total, shares, count = 0.0, [], len(examples)
        for part, wanted in zip(_chunks(examples), _chunks(targets), strict=True):
            value, output = self._judged(self.parameters, self.statistics, part, wanted)
            total += float(value) * len(part)
            share = self.loss.accuracy(output, wanted)
            shares += [] if share is None else [float(share) * len(part)]
        return total / count, sum(shares) / count if shares else None

    def activations(self, x: Any) -> dict[str, np.ndarray]:
        """Return the outputs of all layers for a batch, by name and as at test time.

        Parameters
        ----------
        x : array
            Examples; the first axis counts them.
        """
        return self._activated(self.parameters, self.statistics, self.examples_of(x))

    def gradients(self, x: Any, y: Any, *, seed: int = 0) -> tuple[float, dict[str, np.ndarray]]:
        """Return the loss of a batch as in training, and its gradients by the names of the parameters.

        Parameters
        ----------
        x, y : array
            Examples and targets.
        seed : int
            Of what layers draw.

        Returns
        -------
        tuple of float and dict of str to array
            The loss with what the regulariser adds, and for each parameter an array of its shape.

        Raises
        ------
        ShapeError, GradcError
            Examples or targets do not fit.
        """
        examples, targets = self.data_of(x, y)
        (value, _), gradients = self.objective_function.value_and_grad(
            self.parameters, self.statistics, examples, targets, np.int64(seed)
        )
        return float(value), gradients

    def fit(self, x: Any, y: Any, *, optimiser: Optimiser, **options: Any) -> History:
        """Train on examples, in shuffled mini-batches.

        Parameters
        ----------
        x, y : array
            Examples and targets; the first axis counts them.
        optimiser : Optimiser
            How a step changes the parameters.
        **options
            ``epochs``, ``batch``, ``validation``, ``seed``, ``callbacks``, ``patience``, ``checkpoint``, ``resume`` and
            ``progress``: those of `gradc.nn.training.fit`.

        Returns
        -------
        History
            Loss, accuracy, rate and seconds of every epoch.
        """
        return fit(self, x, y, optimiser=optimiser, **options)

    def save(self, path: str | PathLike[str]) -> None:
        """Write parameters and statistics to a safetensors file, whole or not at all.

        Raises
        ------
        InputRefused
            The place cannot be written.
        """
        save_network(self, path)

    def load(self, path: str | PathLike[str]) -> None:
        """Read parameters and statistics of this network from a file that `save` wrote.

        Raises
        ------
        InputRefused
            The file is damaged or of another network; nothing has changed then.
        """
        load_network(self, path)

    def data_of(self, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return examples and targets as kernels take them, or raise what does not fit."""
        examples, targets = self.examples_of(x), np.asarray(y)
        if len(examples) != len(targets) or not len(examples):
            raise ShapeError(
                f"{len(examples)} examples have {len(targets)} targets",
                do="give one target for each, and at least one",
            )
        self.loss.check(targets, (len(examples), *self.output))
        dtype = np.int64 if self.loss.target_kind == "labels" else self.dtype
        return examples, np.ascontiguousarray(targets, dtype)

    def examples_of(self, x: Any) -> np.ndarray:
        """Return examples as kernels take them, or raise what does not fit."""
        array = np.asarray(x)
        if array.shape[1:] != self.shape or array.ndim != len(self.shape) + 1:
            raise ShapeError(
                f"examples have shape {array.shape[1:]}, the network takes {self.shape}",
                do=f"give an array of shape (number of examples, {', '.join(map(str, self.shape))})",
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            at = np.argwhere(~np.isfinite(array))[0].tolist()
            raise InputRefused(
                f"examples hold {array[tuple(at)]} at {at}", do="remove or replace what is no number"
            )
        tables = [
            node.layer for node in self.nodes if INPUT in node.inputs and isinstance(node.layer, Embedding)
        ]
        if not tables:
            return np.ascontiguousarray(array, self.dtype)
        rows = min(table.count for table in tables)
        if array.dtype.kind not in "iu" or (array.size and not 0 <= array.min() <= array.max() < rows):
            raise InputRefused(
                f"examples are no numbers of rows from 0 to {rows - 1}",
                why=f"they are {array.dtype}"
                + (f" from {array.min()} to {array.max()}" if array.size else ""),
                do="give whole numbers that the Embedding has rows for",
            )
        return np.ascontiguousarray(array, np.int64)

    def __repr__(self) -> str:
        shapes = f"{self.shape} -> {self.output}"
        return f"<network of {len(self.nodes)} layers, {shapes}, {self.size} parameters, {self.dtype}>"


def _chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Return parts of at most `TOGETHER` examples."""
    return (array[at : at + TOGETHER] for at in range(0, len(array), TOGETHER))


def _drawer(key: Array | None, position: int) -> Callable[[Array], Array]:
    """Return what draws the numbers of one layer: each layer and each call has a stream of its own."""
    calls = 0

    def draw(like: Array) -> Array:
        nonlocal calls
        calls += 1
        return uniform_like(fold_in(key, position * 64 + calls), like)

    return draw
