"""What a network is: layers with their parameters, and the functions that the compiler makes kernels of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from gradc.api.decorator import differentiate
from gradc.api.differentiated import Differentiated
from gradc.errors import ArgumentError, InputRefused, ShapeError
from gradc.lang.annotations import ArrayType, f32
from gradc.nn.layer import Array, Context, Layer, Parameter, Regulariser, Shape
from gradc.nn.layers.embedding import Embedding
from gradc.nn.losses import Loss
from gradc.nn.memory import require_parameters_fit
from gradc.nn.nodes import INPUT, Node, Placing, require_all_read
from gradc.nn.optimisers import Optimiser, clipped
from gradc.random import fold_in, uniform_like

DTYPES = ("float32", "float64")


class Model:
    """Layers, a loss and the parameters; `gradc.nn.Network` says what its arguments are."""

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
        if type(seed) is not int or seed < 0:
            raise ArgumentError(f"seed={seed!r} is no seed", do="give a whole number of at least 0")
        if not isinstance(loss, Loss):
            raise ArgumentError(
                f"loss={loss!r} is no loss", do="give one of gradc.nn, such as SquaredError()"
            )
        self.loss = loss
        self.dtype = np.dtype(dtype)
        self.seed = seed
        self.regulariser = regulariser
        placing = Placing(self.shape)
        self.nodes: tuple[Node, ...] = tuple(placing.add(layer) for layer in layers)
        require_all_read(self.nodes)
        require_parameters_fit(self.nodes, self.dtype)
        generator = np.random.default_rng(seed)
        self.parameters = self._made(generator, lambda node: node.parameters)
        self.statistics = self._made(generator, lambda node: node.statistics)
        weights = [
            (name, node.layer.regulariser or regulariser)
            for node in self.nodes
            for name, found in node.parameters.items()
            if found.is_weight
        ]
        self.weights = frozenset(name for name, _ in weights)
        self._regularised = tuple((name, found) for name, found in sorted(weights) if found is not None)

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

    @property
    def _target(self) -> Shape:
        """The shape of one target."""
        is_label = self.loss.target_kind == "labels"
        return self.loss.counted((1, *self.output))[1:] if is_label else self.output

    @property
    def rows(self) -> int | None:
        """How many different whole numbers examples may hold, where an Embedding takes them; None elsewhere."""
        tables = [
            node.layer for node in self.nodes if INPUT in node.inputs and isinstance(node.layer, Embedding)
        ]
        return min((table.count for table in tables), default=None)

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
        return self.penalised(self.loss(output, y), parameters), updated

    def penalised(self, value: Array, parameters: Mapping[str, Array]) -> Array:
        """Return a loss with what regularisers add to it: plain NumPy."""
        for name, regulariser in self._regularised:
            value = value + regulariser.penalty(parameters[name])
        return value

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

        slots = {
            f"{name}.{slot}": value for name, value in self.parameters.items() for slot in optimiser.slots()
        }
        return self._differentiated(step, slots=_types(slots))

    @cached_property
    def objective_function(self) -> Differentiated[..., Any]:
        """The objective as a function with derivatives by the parameters; its arguments are those of `objective`."""

        def objective(
            parameters: Any, statistics: Any, x: Any, y: Any, key: Any
        ) -> tuple[Any, dict[str, Any]]:
            return self.objective(parameters, statistics, x, y, key)

        return self._differentiated(objective, has_aux=True)

    @cached_property
    def _judged(self) -> Differentiated[..., Any]:
        def judged(parameters: Any, statistics: Any, x: Any, y: Any) -> tuple[Any, Any]:
            output = self.forward(parameters, statistics, x)[0]
            return self.loss(output, y), output

        return self._differentiated(judged, has_aux=True)

    @cached_property
    def prediction_function(self) -> Differentiated[..., Any]:
        """The output as at test time, as a function of parameters, statistics and examples."""

        def predict(parameters: Any, statistics: Any, x: Any) -> Any:
            return self.forward(parameters, statistics, x)[0]

        return self._differentiated(predict)

    @cached_property
    def _activated(self) -> Differentiated[..., Any]:
        def activated(parameters: Any, statistics: Any, x: Any) -> Any:
            return self.forward_all(parameters, statistics, x)[0]

        return self._differentiated(activated)

    def _differentiated(
        self, function: Callable[..., Any], *, has_aux: bool = False, **more: Any
    ) -> Differentiated[..., Any]:
        """Return a function with derivatives by the parameters; all shapes are known but the size of the batch.

        Of the annotations the shapes alone count.
        """
        known = {
            "parameters": _types(self.parameters),
            "statistics": _types(self.statistics),
            "x": f32[("batch", *self.shape)],
            "y": f32[("batch", *self._target)],
            "control": f32[2],
            **more,
        }
        function.__annotations__ = {
            name: known[name] for name in inspect.signature(function).parameters if name in known
        }
        return differentiate(function, wrt="parameters", has_aux=has_aux)

    # --- data ---------------------------------------------------------------------------------------------

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
        rows = self.rows
        if rows is None:
            return np.ascontiguousarray(array, self.dtype)
        if array.dtype.kind not in "iu" or (array.size and not 0 <= array.min() <= array.max() < rows):
            raise InputRefused(
                f"examples are no numbers of rows from 0 to {rows - 1}",
                why=f"they are {array.dtype}"
                + (f" from {array.min()} to {array.max()}" if array.size else ""),
                do="give whole numbers that the Embedding has rows for",
            )
        return np.ascontiguousarray(array, np.int64)


def _types(arrays: Mapping[str, np.ndarray]) -> dict[str, ArrayType]:
    """Return annotations that fix the shapes of arrays."""
    return {name: f32[value.shape] for name, value in arrays.items()}


def _drawer(key: Array | None, position: int) -> Callable[[Array], Array]:
    """Return what draws the numbers of one layer: each layer and each call has a stream of its own."""
    calls = 0

    def draw(like: Array) -> Array:
        nonlocal calls
        calls += 1
        return uniform_like(fold_in(key, position * 64 + calls), like)

    return draw
