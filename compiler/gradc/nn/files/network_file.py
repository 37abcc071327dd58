"""A network file: a network, how to train it, and the TOML text that says both.

A file looks like this; every type of `gradc.nn` is named as in Python, and its arguments are the keys::

    [network]
    shape = [1, 8, 8]                    # of one example, without the batch
    loss = "SoftmaxCrossEntropy"         # or { type = "SoftmaxCrossEntropy", smoothing = 0.1 }
    regulariser = { type = "L2", strength = 1e-4 }
    dtype = "float32"                    # "float64" where this is left out
    seed = 0                             # of the first weights
    weights = "digits.safetensors"       # a file in the folder of this one, or below it

    [[layer]]
    type = "Conv2D"
    channels = 32
    kernel = 3
    padding = "same"

    [[layer]]
    type = "Dense"
    units = 10
    name = "scores"                      # other layers may take it: inputs = ["scores"]
    initialiser = { type = "Normal", deviation = 0.01 }

    [training]                           # may be left out
    optimiser = { type = "Adam", rate = { type = "Cosine", rate = 1e-3, epochs = 40 } }
    epochs = 40
    batch = 64
    validation = 0.2                     # the share of the examples that is not trained on
    patience = 10                        # epochs without improvement until it stops
    seed = 0                             # of the order of the examples, and of dropout
"""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from gradc.explain.files import write_whole
from gradc.nn.files.reading import read
from gradc.nn.files.recipe import LIMITS, Limits, Recipe
from gradc.nn.files.writing import written
from gradc.nn.network import Network


@dataclass(frozen=True)
class NetworkFile:
    """A network, and how to train it.

    Parameters
    ----------
    network : Network
        Layers, loss and parameters.
    training : Recipe
        Its defaults where the file does not say.
    weights : str
        The file of the weights, in the folder of this one; empty where the weights are drawn anew.
    """

    network: Network
    training: Recipe = field(default_factory=Recipe)
    weights: str = ""

    @classmethod
    def read(cls, path: str | PathLike[str], limits: Limits = LIMITS) -> NetworkFile:
        """Read a network file, as data alone: nothing that it says is run.

        Parameters
        ----------
        path : str or path
            A regular file.
        limits : Limits
            What it may cost.

        Raises
        ------
        InputRefused
            It cannot be read, or is no description of a network; the message has the line.
        """
        return cls(*read(Path(path), limits))

    @property
    def text(self) -> str:
        """The file as text.

        Raises
        ------
        ArgumentError
            A layer is a function of Python, or of a type of your own.
        """
        return written(self.network, self.training, self.weights)

    def write(self, path: str | PathLike[str]) -> None:
        """Write the description, whole or not at all; `Network.save` writes the weights.

        Raises
        ------
        ArgumentError
            A layer is a function of Python, or of a type of your own.
        InputRefused
            The place cannot be written.
        """
        write_whole(Path(path), self.text.encode())
