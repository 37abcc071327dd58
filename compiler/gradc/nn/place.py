"""Where a training happens: what its steps change, its data and its batches lie in one memory or another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from gradc.api.differentiated import Differentiated
from gradc.nn.optimisers import Optimiser
from gradc.nn.step import Trained, slots_of
from gradc.pipeline import Options

Bound: TypeAlias = tuple[Callable[[], Any], Any, Any]  # a step, and the arrays of its batch


class Place(ABC):
    """The memory that a training uses while it runs.

    Between two epochs the network's own arrays count, wherever steps run: what is written to them there is what the
    next epoch begins with.

    Parameters
    ----------
    network : Network
        Its arrays get what steps have made of them.
    optimiser : Optimiser
        How a step changes them.
    x, y : array
        All examples and targets, as kernels take them.
    options : Options
        How steps are compiled.

    Attributes
    ----------
    slots : dict of str to array
        The optimiser's arrays, in the memory of the processor; see `read_slots`.
    control, key : array
        Learning rate and number of the next step, and what it draws its random numbers from.
    """

    def __init__(
        self, network: Trained, optimiser: Optimiser, x: np.ndarray, y: np.ndarray, options: Options
    ) -> None:
        self.network = network
        self.x, self.y = x, y
        self.slots = slots_of(network.parameters, optimiser)
        self.control = np.zeros(2, network.dtype)
        self.key = np.zeros(1, np.int64)
        self.function: Differentiated[..., Any] = network.step_function(optimiser).with_options(
            target=options.target, products=options.products
        )

    @staticmethod
    @abstractmethod
    def require(options: Options) -> None:
        """Refuse a machine that has no such memory, or lacks what steps with these options call."""

    # --- steps ------------------------------------------------------------------------------------------

    @abstractmethod
    def bind(self, size: int, *, begun: bool) -> Bound:
        """Return the step for batches of a size, and the arrays that hold its batch.

        Parameters
        ----------
        size : int
            Of which nothing is bound yet.
        begun : bool
            Whether there is a step for another size.

        Raises
        ------
        InputRefused
            The memory that it takes is not available.
        """

    @abstractmethod
    def together(self, report: int | None) -> int:
        """Return after how many steps of an epoch their losses are read, at the latest."""

    @abstractmethod
    def begin(self, order: np.ndarray) -> None:
        """Begin an epoch with the network's arrays as they are, and with the examples in an order."""

    @abstractmethod
    def step(self, bound: Bound, first: int) -> None:
        """Run a step that `bind` returned, or queue it, with the examples from a place in the order on."""

    @abstractmethod
    def losses(self, *, last: bool) -> list[float]:
        """Return the losses of the steps since the last call; after the `last` step of an epoch settle too."""

    @abstractmethod
    def settle(self) -> None:
        """Let the network's arrays hold what the steps have made of them."""

    @abstractmethod
    def batch(self, bound: Bound) -> tuple[np.ndarray, np.ndarray]:
        """Return examples and targets of the last step of a size, in the memory of the processor."""

    # --- slots ------------------------------------------------------------------------------------------

    @abstractmethod
    def kept_slots(self) -> Any:
        """Return copies of the optimiser's arrays, which are good until the next call."""

    @abstractmethod
    def put_slots(self, kept: Any) -> None:
        """Give the optimiser's arrays the contents of copies; the network's own arrays count from here on."""

    @abstractmethod
    def read_slots(self) -> None:
        """Let `slots` hold what the steps have made of the optimiser's arrays."""

    @abstractmethod
    def write_slots(self) -> None:
        """Let the next step use what `slots` hold; the network's own arrays count from here on."""
