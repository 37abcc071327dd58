"""Training in the memory of the processor: steps change the network's own arrays."""

from __future__ import annotations

import numpy as np

from gradc.nn.checkpoint import copies, put
from gradc.nn.memory import require_step_fits
from gradc.nn.optimisers import Optimiser
from gradc.nn.place import Bound, Place
from gradc.nn.step import UPDATED, StepArguments, Trained
from gradc.pipeline import Options


class HostMemory(Place):
    """Steps run at once, on the arrays of the network; see `Place`."""

    @staticmethod
    def require(options: Options) -> None:
        """Every machine has it."""

    def __init__(
        self, network: Trained, optimiser: Optimiser, x: np.ndarray, y: np.ndarray, options: Options
    ) -> None:
        super().__init__(network, optimiser, x, y, options)
        self._order = np.zeros(0, np.int64)
        self._losses: list[float] = []

    def bind(self, size: int, *, begun: bool) -> Bound:
        """Return the step for batches of a size, and the arrays that hold its batch."""
        x = np.zeros((size, *self.x.shape[1:]), self.x.dtype)
        y = np.zeros((size, *self.y.shape[1:]), self.y.dtype)
        groups = self.network.parameters, self.network.statistics, self.slots
        arguments = StepArguments(*groups, x, y, self.control, self.key)
        require_step_fits(self.function, arguments, begun=begun)
        return self.function.bind_update(*arguments, updates=UPDATED), x, y

    def together(self, report: int | None) -> int:
        """The loss of a step is there when the step is done."""
        return 1

    def begin(self, order: np.ndarray) -> None:
        """Begin an epoch."""
        self._order = order

    def step(self, bound: Bound, first: int) -> None:
        """Run a step."""
        step, x, y = bound
        chosen = self._order[first : first + len(x)]
        np.take(self.x, chosen, axis=0, out=x)
        np.take(self.y, chosen, axis=0, out=y)
        self._losses = [step()]

    def losses(self, *, last: bool) -> list[float]:
        """Return the loss of the last step."""
        return self._losses

    def settle(self) -> None:
        """Steps change the network's own arrays."""

    def batch(self, bound: Bound) -> tuple[np.ndarray, np.ndarray]:
        """Return the arrays that hold a batch."""
        return bound[1:]

    def kept_slots(self) -> dict[str, np.ndarray]:
        """Return copies."""
        return copies(self.slots)

    def put_slots(self, kept: dict[str, np.ndarray]) -> None:
        """Write copies back."""
        put(kept, self.slots)

    def read_slots(self) -> None:
        """Steps change these arrays."""

    def write_slots(self) -> None:
        """Steps read these arrays."""
