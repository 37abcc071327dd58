"""What flows through a network: outputs forwards, gradients backwards, layer by layer, from one kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from gradc.api.decorator import differentiate
from gradc.api.differentiated import Differentiated
from gradc.explain.figures import abridged, columns
from gradc.nn.layers.activations import HardTanh, Sigmoid, Tanh
from gradc.nn.nodes import Node

BOUNDS: dict[type, tuple[float, float]] = {HardTanh: (-1, 1), Sigmoid: (0, 1), Tanh: (-1, 1)}
SATURATED = 0.99  # of the way from the middle of the bounds to either of them: |tanh| > 0.99

Arrays = Mapping[str, np.ndarray]

_GROUPS = ("", *["output"] * 4, *["gradient"] * 3, *["parameters"] * 2)
_HEAD = ("", "mean", "deviation", "zeros", "saturated", "mean", "deviation", "largest", "deviation", "ratio")
DEFINITIONS = (
    "gradient: of the loss by the output of the layer",
    "parameters: deviation of the gradients of all its parameters, and ratio |gradients| / |parameters|",
)


class Observable(Protocol):
    """A network, as far as its signals need it."""

    nodes: tuple[Node, ...]
    parameters: dict[str, np.ndarray]
    statistics: dict[str, np.ndarray]
    loss: Any
    dtype: np.dtype

    def forward_all(
        self, parameters: Any, statistics: Any, x: Any, key: Any, added: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the outputs of all layers by name, with `added` to each, and the new statistics."""
        ...

    def penalised(self, value: Any, parameters: Any) -> Any:
        """Return a loss with what regularisers add to it."""
        ...

    def data_of(self, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return examples and targets as kernels take them, or raise what does not fit."""
        ...


@dataclass(frozen=True, slots=True)
class LayerSignals:
    """What flows through one layer.

    Attributes
    ----------
    name : str
        Of the layer.
    output_mean, output_deviation : float
        Of all numbers of its output.
    zeros : float
        The share of its output that is exactly 0.
    saturated : float or None
        The share of its output that lies in the outer 1 % of what `Tanh`, `HardTanh` or `Sigmoid` can give; for tanh,
        ``|output| > 0.99``.  None for other layers.
    gradient_mean, gradient_deviation, gradient_largest : float
        Of the gradient of the loss by its output: mean, standard deviation, and the largest magnitude.
    parameters_deviation : float or None
        The standard deviation of the gradients of all its parameters; None where it learns nothing.
    parameters_ratio : float or None
        The norm of these gradients over the norm of the parameters: infinite, or NaN for 0 / 0, where all are 0.
    """

    name: str
    output_mean: float
    output_deviation: float
    zeros: float
    saturated: float | None
    gradient_mean: float
    gradient_deviation: float
    gradient_largest: float
    parameters_deviation: float | None
    parameters_ratio: float | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Signals:
    """What flows through a network for one batch, as in training.

    Printing it shows a table.

    Attributes
    ----------
    loss : float
        With what the regulariser adds.
    examples : int
        How many the batch has.
    layers : tuple of LayerSignals
        One for each layer, in order.
    outputs, output_gradients : mapping of str to array
        By names of layers: outputs, and the gradients of the loss by them.
    gradients : mapping of str to array
        By names of parameters: their gradients.
    """

    loss: float
    examples: int
    layers: tuple[LayerSignals, ...]
    outputs: Arrays
    output_gradients: Arrays
    gradients: Arrays

    def __str__(self) -> str:
        lines = columns([_GROUPS, _HEAD, *map(_row, self.layers)])
        count = f"{self.examples} example{'' if self.examples == 1 else 's'}"
        head = f"loss {self.loss:.4g} of {count}, as in training"
        table = [line.rstrip() for line in (*lines[:2], *abridged(lines[2:], "layers"))]
        return "\n".join((head, *table, *DEFINITIONS, *self._fall())) + "\n"

    def _fall(self) -> list[str]:
        """Say how much of the gradient arrives at the first layer."""
        first, last = self.layers[0], self.layers[-1]
        if len(self.layers) == 1 or not last.gradient_deviation > 0:
            return []
        ratio = first.gradient_deviation / last.gradient_deviation
        return [f"deviation of the gradient at {first.name} over that at {last.name}: {ratio:.3g}"]

    def __repr__(self) -> str:
        return f"<signals of {len(self.layers)} layers for {self.examples} examples: loss {self.loss:.4g}>"


def signals(network: Observable, x: Any, y: Any, *, seed: int = 0) -> Signals:
    """Return what flows through a network for a batch: one forward and one backward pass, as in training.

    Outputs and gradients of all layers are kept, so the batch should be one of training, not the whole data.

    Parameters
    ----------
    network : Network
        Nothing of it changes, running statistics included.
    x, y : array
        Examples and targets.
    seed : int
        Of what layers draw.

    Returns
    -------
    Signals
        A table when printed, and the arrays.

    Raises
    ------
    ShapeError, GradcError
        Examples or targets do not fit.
    """
    examples, targets = network.data_of(x, y)
    added = {node.name: np.zeros((len(examples), *node.output), network.dtype) for node in network.nodes}
    (value, outputs), (gradients, output_gradients) = _function(network).value_and_grad(
        network.parameters, added, network.statistics, examples, targets, np.int64(seed)
    )
    layers = tuple(
        _layer(node, outputs[node.name], output_gradients[node.name], network.parameters, gradients)
        for node in network.nodes
    )
    return Signals(float(value), len(examples), layers, outputs, output_gradients, gradients)


def _function(network: Observable) -> Differentiated[..., Any]:
    """Return the loss and the outputs as a function with derivatives by the parameters and by what is added."""

    def observed(
        parameters: Any, added: Any, statistics: Any, x: Any, y: Any, key: Any
    ) -> tuple[Any, dict[str, Any]]:
        outputs, _ = network.forward_all(parameters, statistics, x, key, added)
        value = network.loss(outputs[network.nodes[-1].name], y)
        return network.penalised(value, parameters), outputs

    return differentiate(observed, wrt=("parameters", "added"), has_aux=True)


def _layer(
    node: Node, output: np.ndarray, gradient: np.ndarray, parameters: Arrays, gradients: Arrays
) -> LayerSignals:
    mean, deviation, _ = _moments(output)
    own = list(node.parameters)
    change = _joined([gradients[name] for name in own])
    return LayerSignals(
        node.name,
        mean,
        deviation,
        float((output == 0).mean()),
        _saturated(node, output),
        *_moments(gradient),
        _moments(change)[1] if own else None,
        _ratio(_norm(change), _norm(_joined([parameters[name] for name in own]))) if own else None,
    )


def _saturated(node: Node, output: np.ndarray) -> float | None:
    bounds = BOUNDS.get(type(node.layer))
    if bounds is None:
        return None
    low, high = bounds
    return float((np.abs(2 * (output - low) / (high - low) - 1) > SATURATED).mean())


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays]) if arrays else np.zeros(0)


def _moments(array: np.ndarray) -> tuple[float, float, float]:
    """Return mean, standard deviation and largest magnitude; NaN for the first two where a number is not finite.

    Numbers are divided by the largest first: gradients that vanish are so small that their squares would be 0.
    """
    largest = float(np.abs(array).max())
    if not 0 < largest < np.inf:
        mean = 0.0 if largest == 0 else float("nan")
        return mean, mean, largest
    scaled = array.astype(np.float64) / largest
    return float(scaled.mean() * largest), float(scaled.std() * largest), largest


def _norm(array: np.ndarray) -> float:
    largest = float(np.abs(array).max())
    if not 0 < largest < np.inf:
        return largest
    return float(np.linalg.norm(array.astype(np.float64) / largest)) * largest


def _ratio(gradient: float, parameter: float) -> float:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return float(np.float64(gradient) / np.float64(parameter))


def _row(layer: LayerSignals) -> tuple[str, ...]:
    return (
        layer.name,
        f"{layer.output_mean:.3g}",
        f"{layer.output_deviation:.3g}",
        f"{layer.zeros:.1%}",
        "" if layer.saturated is None else f"{layer.saturated:.1%}",
        f"{layer.gradient_mean:.3g}",
        f"{layer.gradient_deviation:.3g}",
        f"{layer.gradient_largest:.3g}",
        "" if layer.parameters_deviation is None else f"{layer.parameters_deviation:.3g}",
        "" if layer.parameters_ratio is None else f"{layer.parameters_ratio:.3g}",
    )
