"""A network as users have it: predicted with, trained, looked at, kept."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from os import PathLike
from typing import Any

import numpy as np

from gradc.explain.graph.picture import Picture
from gradc.nn.checkpoint import load_network, save_network
from gradc.nn.graph import graph
from gradc.nn.history import History
from gradc.nn.model import Model
from gradc.nn.optimisers import Optimiser
from gradc.nn.signals import Signals, signals
from gradc.nn.step import BATCH, USUAL, Step
from gradc.nn.summary import Summary, summary
from gradc.nn.training import fit

TOGETHER = 512  # examples that are evaluated at once ...
NUMBERS = 2**25  # ... if their outputs in the widest layer are not more numbers than this


class Network(Model):
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
        What is added to the loss for each weight; a layer's own regulariser replaces it.

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
    InputRefused
        The parameters fit no memory.
    """

    def predict(self, x: Any) -> np.ndarray:
        """Return the outputs for examples, as at test time.

        Parameters
        ----------
        x : array
            Examples; the first axis counts them.
        """
        examples = self.examples_of(x)
        parts = [
            self.prediction_function(self.parameters, self.statistics, part)
            for part in self._chunks(examples)
        ]
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
        total, shares, count = 0.0, [], self.loss.amount(targets)
        for part, wanted in zip(self._chunks(examples), self._chunks(targets), strict=True):
            value, output = self._judged(self.parameters, self.statistics, part, wanted)
            amount = self.loss.amount(wanted)
            total += float(value) * amount
            share = self.loss.accuracy(output, wanted)
            shares += [] if share is None else [float(share) * amount]
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

    def signals(self, x: Any, y: Any, *, seed: int = 0) -> Signals:
        """Return what flows through all layers for a batch, outputs forwards and gradients backwards, as in training.

        Parameters
        ----------
        x, y : array
            Examples and targets.
        seed : int
            Of what layers draw.
        """
        return signals(self, x, y, seed=seed)

    def graph(self, x: Any = None, y: Any = None, *, seed: int = 0) -> Picture:
        """Return the picture of the layers; for a batch with their outputs and the gradients of these.

        Parameters
        ----------
        x, y : array, optional
            Examples and targets.
        seed : int
            Of what layers draw.
        """
        found = None if x is None else self.signals(x, y, seed=seed)
        return graph("the network", self.nodes, self.shape, found)

    def summary(self, batch: int = BATCH, optimiser: Optimiser = USUAL) -> Summary:
        """Return shapes, parameters, operations and memory of all layers; nothing runs: see `Summary`.

        Parameters
        ----------
        batch : int
            Examples of a step.
        optimiser : Optimiser
            Of the planned peak of a training step.
        """
        return summary(self, batch, optimiser)

    @property
    def step(self) -> Step:
        """The training step, to be looked at: ``network.step.inspect(optimiser, batch)``."""
        return Step(self)

    def fit(self, x: Any, y: Any, *, optimiser: Optimiser, **options: Any) -> History:
        """Train on examples, in shuffled mini-batches.

        Parameters
        ----------
        x, y : array
            Examples and targets; the first axis counts them.
        optimiser : Optimiser
            How a step changes the parameters.
        **options
            ``epochs``, ``batch``, ``validation``, ``seed``, ``callbacks``, ``patience``, ``checkpoint``,
            ``checkpoint_seconds``, ``resume``, ``progress``, ``target``, ``products`` and ``report``: those of
            `gradc.nn.training.fit`.  ``target="cuda"`` trains on a GPU, with ``products="cublas"`` by NVIDIA's
            library where matrices are multiplied.

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

    def _chunks(self, array: np.ndarray) -> Iterator[np.ndarray]:
        """Return parts that are evaluated at once."""
        widest = max(prod(shape) for shape in (self.shape, *(node.output for node in self.nodes)))
        size = min(TOGETHER, max(NUMBERS // widest, 2))  # a batch of 1 is another kernel
        return (array[at : at + size] for at in range(0, len(array), size))

    def __repr__(self) -> str:
        shapes = f"{self.shape} -> {self.output}"
        return f"<network of {len(self.nodes)} layers, {shapes}, {self.size} parameters, {self.dtype}>"
