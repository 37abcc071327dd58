"""The training step of a network: what it takes, and every stage of its one kernel, without running it.

`gradc.nn.trainer.Training` binds the same function to the same arguments, so what is shown here is what runs there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from gradc.api.differentiated import Differentiated
from gradc.api.updating import inspect_update, update_derivation
from gradc.api.variant import Variant
from gradc.errors import ArgumentError, InputRefused
from gradc.explain.inspection import Inspection
from gradc.nn.layer import Shape
from gradc.nn.optimisers import Adam, Optimiser
from gradc.pipeline import Derivation

UPDATED = ("parameters", "statistics", "slots")  # arguments of a step that it gives new contents
USUAL = Adam()  # where no optimiser is named
BATCH = 64  # where no size is named

Arrays = Mapping[str, np.ndarray]


class Trained(Protocol):
    """A network, as far as its training step is concerned."""

    parameters: dict[str, np.ndarray]
    statistics: dict[str, np.ndarray]
    shape: Shape
    dtype: np.dtype
    loss: Any

    @property
    def output(self) -> Shape:
        """The shape of the output for one example."""
        ...

    def step_function(self, optimiser: Optimiser) -> Differentiated[..., Any]:
        """Return one training step as a function."""
        ...

    def examples_of(self, x: Any) -> np.ndarray:
        """Return examples as kernels take them."""
        ...


class StepArguments(NamedTuple):
    """What a step takes, in this order.

    Attributes
    ----------
    parameters, statistics, slots : mapping of str to array
        What it updates.
    x, y : array
        A batch.
    control : array
        The learning rate and the number of the step.
    key : array
        What layers draw their random numbers from.
    """

    parameters: Arrays
    statistics: Arrays
    slots: Arrays
    x: np.ndarray
    y: np.ndarray
    control: np.ndarray
    key: np.ndarray


def slots_of(parameters: Arrays, optimiser: Optimiser) -> dict[str, np.ndarray]:
    """Return the arrays that an optimiser keeps: zeros, which take memory when they are first written to.

    Parameters
    ----------
    parameters : mapping of str to array
        What is trained.
    optimiser : Optimiser
        Names the arrays that it keeps for each of them.

    Returns
    -------
    dict of str to array
        By names such as ``dense_1.weight.velocity``.
    """
    return {
        f"{name}.{slot}": np.zeros(value.shape, value.dtype)  # `zeros_like` would write to it
        for name, value in parameters.items()
        for slot in optimiser.slots()
    }


def arguments_of(network: Trained, slots: Arrays, x: np.ndarray, y: np.ndarray) -> StepArguments:
    """Return what a step of a network takes, with zeros for what changes from step to step.

    Parameters
    ----------
    network : Network
        Its own arrays are arguments, not copies of them.
    slots : mapping of str to array
        See `slots_of`.
    x, y : array
        The arrays of a batch.
    """
    control, key = np.zeros(2, network.dtype), np.zeros(1, np.int64)
    return StepArguments(network.parameters, network.statistics, slots, x, y, control, key)


def batch_of(network: Trained, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return arrays for a batch of examples and targets: zeros, which take memory when they are first written to.

    Parameters
    ----------
    network : Network
        Its loss says what targets are.
    size : int
        How many examples.

    Raises
    ------
    ArgumentError
        The size is no positive whole number.
    InputRefused
        So many examples cannot be addressed.
    """
    if type(size) is not int or size < 1:
        raise ArgumentError(f"batch={size!r} is no number of examples", do="give a positive whole number")
    prediction = (size, *network.output)
    labels = network.loss.target_kind == "labels"
    examples = network.examples_of(np.zeros((1, *network.shape), np.int64)).dtype
    try:
        return (
            np.zeros((size, *network.shape), examples),
            np.zeros(network.loss.counted(prediction), np.int64)
            if labels
            else np.zeros(prediction, network.dtype),
        )
    except (MemoryError, ValueError) as error:  # NumPy has a ValueError for what no address can count
        raise InputRefused(
            f"a batch of {size} examples fits no memory", why=str(error), do="give a smaller batch"
        ) from error


class Step:
    """The training step of a network, to be looked at: forward, backward and update in one kernel.

    Parameters
    ----------
    network : Network
        It stays as it is.
    """

    def __init__(self, network: Trained) -> None:
        self._network = network

    def __repr__(self) -> str:
        return f"<training step of {self._network!r}>"

    def inspect(
        self,
        optimiser: Optimiser = USUAL,
        batch: int = BATCH,
        *,
        target: str = "cpu",
        products: str = "own",
    ) -> Inspection:
        """Every stage of the kernel that a step is, as training compiles it; nothing runs.

        Only what is shown of machine code (``llvm``, ``asm`` and the file's ``path``) makes machine code.

        Parameters
        ----------
        optimiser : Optimiser
            How a step changes the parameters; by default Adam.
        batch : int
            Examples of a step; all sizes but 1 have one kernel.
        target : {"cpu", "cuda"}
            What it is compiled for; nothing of ``"cuda"`` needs a GPU.
        products : {"own", "cublas"}
            Who multiplies matrices on a GPU.

        Returns
        -------
        Inspection
            ``source``, ``kernels``, ``fusion``, ``counts``, ``workspace`` and all other stages.

        Raises
        ------
        ArgumentError
            The batch is no number of examples, or `products` do not go with the target.
        InputRefused
            So many examples cannot be addressed.

        Examples
        --------
        >>> from gradc import nn
        >>> network = nn.Network(nn.Dense(2), shape=3, loss=nn.SquaredError())
        >>> "updated" in Step(network).inspect(nn.GradientDescent(0.1), batch=8).source.lower()
        True
        """
        return inspect_update(*self._bound(optimiser, batch, target, products))

    def derivation(
        self,
        optimiser: Optimiser = USUAL,
        batch: int = BATCH,
        *,
        target: str = "cpu",
        products: str = "own",
    ) -> tuple[Variant, Derivation]:
        """Return what is compiled for a step; see `inspect`."""
        variant, _, derivation = update_derivation(*self._bound(optimiser, batch, target, products))
        return variant, derivation

    def _bound(
        self, optimiser: Optimiser, batch: int, target: str, products: str
    ) -> tuple[Differentiated[..., Any], tuple[Any, ...], dict[str, Any], tuple[str, ...]]:
        network = self._network
        slots = slots_of(network.parameters, optimiser)
        arguments = arguments_of(network, slots, *batch_of(network, batch))
        function = network.step_function(optimiser).with_options(target=target, products=products)
        return function, tuple(arguments), {}, UPDATED
