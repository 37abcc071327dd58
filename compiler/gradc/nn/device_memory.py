"""Training in the memory of a GPU: everything that a step reads and writes stays there from its first epoch on.

A step is queued: examples are gathered into its batch on the device, it runs, and its loss is written down there.  The
processor waits where losses are read, once for all steps since the last time; with the last ones of an epoch come the
network's arrays.  That an index was out of range is noted on the device as well, and is an error at the next wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np

from gradc.api.device import device, to_device, translated
from gradc.api.updating import update_derivation
from gradc.errors import ArgumentError
from gradc.nn.checkpoint import weights_of
from gradc.nn.gpu import TRAINING, Planned, runtime
from gradc.nn.memory import require_step_fits
from gradc.nn.optimisers import Optimiser
from gradc.nn.place import Bound, Place
from gradc.nn.step import UPDATED, StepArguments, Trained
from gradc.pipeline import Options

MOST = 1000  # steps whose losses are read together: what they are written to is bounded

Array = Any


class DeviceMemory(Place):
    """Steps are queued on the device that `gradc.device` names; see `Place`.

    Raises
    ------
    DeviceError
        There is no package, no driver, no device, no library for products, or not enough memory.
    """

    @staticmethod
    def require(options: Options) -> None:
        """Refuse a machine without a GPU, or without a package, a driver or a library for it."""
        with translated(TRAINING):
            runtime().require()
            if options.by_library:
                runtime("cuda_blas").require()

    def __init__(
        self, network: Trained, optimiser: Optimiser, x: np.ndarray, y: np.ndarray, options: Options
    ) -> None:
        super().__init__(network, optimiser, x, y, options)
        self._control: Array = to_device(self.control)
        self._runtime = runtime()
        self._queue: Any = self._runtime.Queue(self._control)
        self._batches: dict[int, Any] = {}
        self._is_held = False
        self._is_ahead = False  # whether steps have run that the network's arrays do not show
        self._is_kept = False  # whether `_spare` is what the slots are
        self._queued: list[Array] = []  # losses on the device; to let go of one would wait for its step
        if options.by_library:
            with self._here():
                runtime("cuda_blas").begin()

    @contextmanager
    def _here(self, notes: Any = None) -> Iterator[None]:
        """Let what follows run on the device and the stream of this training, calls with notes if there are any."""
        queue = self._queue
        with translated(TRAINING), device(queue.device, stream=queue.stream), queue.call() as call:
            call.hands_on = notes
            yield

    # --- what lies on the device ------------------------------------------------------------------------

    def _hold(self) -> None:
        """Take the memory of the training, and copy there what does not change while it runs."""
        network, feed = self.network, self._runtime
        weights = weights_of(network)
        for name, array in weights.items():
            if not (array.flags.c_contiguous and array.flags.writeable):
                lacks = "is read-only" if array.flags.c_contiguous else "is not C-contiguous"
                raise ArgumentError(f"{name} cannot be trained", why=f"it {lacks}", do="give np.array(it)")
        with self._here():
            self._parameters, self._statistics, self._slots, self._spare = (
                {name: feed.zeros(array.shape, array.dtype) for name, array in group.items()}
                for group in (network.parameters, network.statistics, self.slots, self.slots)
            )
            self._x, self._y = (feed.zeros(array.shape, array.dtype) for array in (self.x, self.y))
            self._order = feed.zeros(len(self.x), np.int64)
            self._losses = feed.zeros(min(MOST, len(self.x)), np.float64)
            self._key = feed.zeros(1, np.int64)
            self._notes = runtime("cuda_indices").Notes(feed.zeros(1, np.int32))
            feed.write(((self.x, self._x), (self.y, self._y)))
        arrays = (*self._parameters.values(), *self._statistics.values())
        self._weights = list(zip(weights.values(), arrays, strict=True))
        self._is_held = True
        self.write_slots()

    def bind(self, size: int, *, begun: bool) -> Bound:
        """Return the step for batches of a size, and the arrays on the device that hold its batch."""
        planned = self._planned(size)
        require_step_fits(self.function, planned, (self.x, self.y), begun=begun, free=self._free)
        if not self._is_held:
            self._hold()
        feed = self._runtime
        with self._here():
            x, y = (feed.zeros((size, *array.shape[1:]), array.dtype) for array in (self.x, self.y))
            self._batches[size] = feed.Batch(self._order, self._x, self._y, x, y, self._control, self._key)
            groups = self._parameters, self._statistics, self._slots
            arguments = StepArguments(*groups, x, y, self._control, self._key)
            step = self.function.bind_update(*arguments, updates=UPDATED)
            variant, _, derivation = update_derivation(self.function, tuple(arguments), {}, UPDATED)
            feed.load_kernels(variant.loaded[derivation].function)  # compiled before an epoch's clock runs
        return step, x, y

    def _planned(self, size: int) -> StepArguments:
        network, of = self.network, cast(Any, Planned)
        parameters, statistics, slots = (
            {name: of(array.shape, array.dtype) for name, array in group.items()}
            for group in (network.parameters, network.statistics, self.slots)
        )
        x, y = (of((size, *array.shape[1:]), array.dtype) for array in (self.x, self.y))
        control, key = (of(array.shape, array.dtype) for array in (self.control, self.key))
        return StepArguments(parameters, statistics, slots, x, y, control, key)

    def _free(self) -> int | None:
        with self._here():
            return self._runtime.free_memory()

    # --- steps ------------------------------------------------------------------------------------------

    def together(self, report: int | None) -> int:
        """The processor waits for losses: at the end of an epoch, or after so many steps."""
        return min(report or MOST, MOST)

    def begin(self, order: np.ndarray) -> None:
        """Copy the network's arrays and the order of the examples to the device."""
        self._is_ahead = False
        self._queued.clear()
        self._notes.used = False
        if not self._is_kept:
            self.kept_slots()
        with self._here():
            nothing = np.zeros(1, np.int32)
            self._runtime.write((*self._weights, (order, self._order), (nothing, self._notes.cell)))

    def step(self, bound: Bound, first: int) -> None:
        """Queue a step."""
        step, x, _ = bound
        self._is_ahead, self._is_kept = True, False
        with self._here(self._notes):
            self._batches[x.shape[0]].fill(
                first, float(self.control[0]), int(self.control[1]), int(self.key[0])
            )
            self._queued.append(step())
            self._runtime.note(self._queued[-1], self._losses, len(self._queued) - 1)

    def losses(self, *, last: bool) -> list[float]:
        """Wait for the steps since the last call; after the last one of an epoch the network's arrays come too."""
        found = np.zeros(len(self._queued))
        self._wait((self._losses, found), weights=last)
        self._is_ahead = self._is_ahead and not last
        self._queued.clear()
        return found.tolist()

    def settle(self) -> None:
        """Wait for the steps, and copy what they have made into the network's arrays."""
        if self._is_ahead:
            self._wait(weights=True)
            self._is_ahead = False

    def _wait(self, *pairs: tuple[Array, np.ndarray], weights: bool) -> None:
        """Wait for the steps, and copy arrays of theirs, the network's own where no index was out of range."""
        arrays, outside = self._weights if weights else [], np.zeros(1, np.int32)
        if not self._notes.used:
            self._read(*((device, host) for host, device in arrays), *pairs)
            return
        copies = [np.empty_like(host) for host, _ in arrays]
        waiting = ((device, copy) for (_, device), copy in zip(arrays, copies, strict=True))
        self._read(*waiting, *pairs, (self._notes.cell, outside))
        if outside[0]:
            self.put_slots(self._spare)  # what is on the device counts no more
            raise runtime("cuda_indices").outside(
                "in a step since the processor last waited for the GPU; the network and the optimiser are as they were"
                " when the epoch began"
            )
        for (host, _), copy in zip(arrays, copies, strict=True):
            host[...] = copy

    def batch(self, bound: Bound) -> tuple[np.ndarray, np.ndarray]:
        """Return copies of the arrays that hold a batch."""
        _, x, y = bound
        examples, targets = (np.empty(array.shape, array.dtype) for array in (x, y))
        self._read((x, examples), (y, targets))
        return examples, targets

    def _read(self, *pairs: tuple[Array, np.ndarray]) -> None:
        with self._here():
            self._runtime.read(pairs)

    # --- slots ------------------------------------------------------------------------------------------

    def kept_slots(self) -> dict[str, Array]:
        """Return copies on the device."""
        self._copy_slots(self._slots, self._spare)
        self._is_kept = True
        return self._spare

    def put_slots(self, kept: dict[str, Array]) -> None:
        """Copy them back."""
        self._is_ahead = self._is_kept = False
        self._copy_slots(kept, self._slots)

    def _copy_slots(self, sources: dict[str, Array], targets: dict[str, Array]) -> None:
        with self._here():
            self._runtime.copy((source, targets[name]) for name, source in sources.items())

    def read_slots(self) -> None:
        """Copy them from the device."""
        if self._is_held:
            self._read(*((self._slots[name], array) for name, array in self.slots.items()))

    def write_slots(self) -> None:
        """Copy them to the device, if the training has memory there."""
        self._is_ahead = self._is_kept = False
        if self._is_held:
            with self._here():
                self._runtime.write((array, self._slots[name]) for name, array in self.slots.items())
