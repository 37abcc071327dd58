"""A network in training: its steps and epochs, its faults, and its checkpoints."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from gradc.api.differentiated import Differentiated
from gradc.errors import ArgumentError, CompilerBug, LossNotFinite
from gradc.nn import checkpoint as files
from gradc.nn.device_memory import DeviceMemory
from gradc.nn.history import Best, Epoch, History, epochs_of, generator_at, is_better, whole
from gradc.nn.host_memory import HostMemory
from gradc.nn.optimisers import Optimiser
from gradc.nn.place import Bound, Place
from gradc.nn.step import Trained
from gradc.pipeline import Options

PLACES: dict[str, type[Place]] = {"cpu": HostMemory, "cuda": DeviceMemory}


def require_place(target: str, products: str = "own") -> Options:
    """Refuse a target that trains nothing, or nothing on this machine; return how steps are compiled.

    Raises
    ------
    ArgumentError
        There is no such target, or steps are not compiled for it; or nobody multiplies matrices so there.
    DeviceError
        There is no GPU, or no package or driver for it, or no library for `products`.
    """
    if target not in PLACES:
        raise ArgumentError(
            f"target={target!r} trains no network", do=f"give one of {', '.join(map(repr, PLACES))}"
        )
    options = Options(target=target, products=products)
    PLACES[target].require(options)
    return options


class Trainable(Trained, Protocol):
    """A network, as far as training uses it."""

    nodes: tuple[Any, ...]
    regulariser: Any

    @cached_property
    def objective_function(self) -> Differentiated[..., Any]:
        """Parameters, statistics, examples, targets and a key to the loss and the new statistics."""
        ...

    def data_of(self, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return examples and targets as kernels take them, or raise what does not fit."""
        ...

    def evaluate(self, x: Any, y: Any) -> tuple[float, float | None]:
        """Return loss and accuracy of examples as at test time."""
        ...


@dataclass(frozen=True, slots=True)
class _Position:
    """Copies of all that a training changes, between two epochs."""

    weights: dict[str, np.ndarray]
    slots: Any
    steps: int
    generator: Any


class Training:
    """A network in training: its optimiser's arrays, its data, and how far it is.

    Parameters
    ----------
    network : Network
        Its parameters and statistics are updated where they are.
    optimiser : Optimiser
        How a step changes them.
    x, y : array
        Examples and targets; the first axis counts them.
    batch : int
        Examples of a step; what is left of an epoch makes a smaller batch.
    seed : int
        Of the order of the examples, which every epoch shuffles anew, and of random numbers in layers.
    target : {"cpu", "cuda"}
        Where steps run.  On a GPU everything that they read and write stays in its memory; the network's own arrays
        are copied there where an epoch begins and back where it ends, and the loss of a step is known when the
        processor has waited for it: see `report`.
    products : {"own", "cublas"}
        Who multiplies matrices in steps on a GPU: see `gradc.differentiate`.

    Attributes
    ----------
    history : History
        The epochs so far.
    steps : int
        The steps so far.
    report : int or None
        On a GPU, after how many steps the processor waits for their losses; None for once an epoch.  In long epochs
        it waits every 1000 steps.

    Raises
    ------
    ArgumentError, ShapeError, GradcError
        Data do not fit the network or its loss: nothing has been compiled or changed then.
    DeviceError
        There is no GPU, or no package, driver or library for it: nothing has been compiled or changed then.
    """

    def __init__(
        self,
        network: Trainable,
        optimiser: Optimiser,
        x: Any,
        y: Any,
        *,
        batch: int = 64,
        seed: int = 0,
        target: str = "cpu",
        products: str = "own",
    ) -> None:
        options = require_place(target, products)
        self.network = network
        self.optimiser = optimiser
        self.target, self.products = target, products
        self.report: int | None = None
        self.x, self.y = network.data_of(x, y)
        count = len(self.x)
        if type(batch) is not int or batch < 1:
            raise ArgumentError(
                f"batch={batch!r} is no number of examples", do="give a positive whole number"
            )
        self.batch = min(batch, count)
        self.history = History()
        self.steps = 0
        self._generator = np.random.default_rng(seed)
        self._seed = seed
        self._place = PLACES[target](network, optimiser, self.x, self.y, options)
        self._bound: dict[int, Bound] = {}
        self._best: Best | None = None
        self._underway = False

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return -(-len(self.x) // self.batch)

    def bound(self, size: int) -> Bound:
        """Return the step for batches of a size, and the arrays that hold its batch; compiled once for all sizes.

        Raises
        ------
        InputRefused
            The memory that it takes is not available.
        """
        if size not in self._bound:
            self._bound[size] = self._place.bind(size, begun=bool(self._bound))
        return self._bound[size]

    def batches(self) -> Generator[float, None, None]:
        """Run one epoch, and yield the loss of each step: of several at once where steps run on a GPU."""
        self._underway = True
        try:
            yield from self._steps(self._place.together(self.report))
        finally:
            self._underway = False
            self._place.settle()

    def _steps(self, together: int) -> Iterator[float]:
        """Run the steps of an epoch, and yield their losses whenever there are so many."""
        place, count = self._place, self.steps_per_epoch
        self.bound(self._size(1))
        place.begin(self._generator.permutation(len(self.x)))
        for step in range(1, count + 1):
            self.steps += 1
            place.control[:] = self.optimiser.rate_at(self.steps, count), self.steps
            place.key[0] = self._seed + self.steps
            place.step(self.bound(self._size(step)), (step - 1) * self.batch)
            if step % together == 0 or step == count:
                yield from place.losses(last=step == count)

    def epoch(
        self,
        validation: tuple[Any, Any] | None = None,
        tell: Callable[[float, int], object] = lambda loss, examples: None,
    ) -> Epoch:
        """Run one epoch, look at the validation data, and note both in the history.

        Parameters
        ----------
        validation : tuple of array, optional
            Examples and targets that are not trained on.
        tell : callable, optional
            Takes the loss of each step and how many examples it took.

        Raises
        ------
        LossNotFinite
            Also a `FloatingPointError`.  The training is as it was before the epoch.
        IndexError
            A label is out of range.  On a GPU it is found at the next report, and the network's parameters and the
            optimiser's state are those of the epoch before.
        """
        for size in (self._size(1), self._size(self.steps_per_epoch)):
            self.bound(size)  # compiled before the clock runs
        position = self._position()
        begin = time.perf_counter()
        total = 0.0
        with closing(self.batches()) as losses:
            for step, value in enumerate(losses, 1):
                if not np.isfinite(value):
                    raise self._failure(position, f"the loss is {value} at step {step}")
                total += value * self._size(step)
                tell(value, self._size(step))
        seconds = time.perf_counter() - begin
        if unfit := self._not_finite():
            raise self._failure(position, f"{unfit} is not finite at the end")
        judged = self.network.evaluate(*validation) if validation is not None else (None, None)
        found = Epoch(
            len(self.history) + 1,
            total / len(self.x),
            *judged,
            float(self._place.control[0]),
            seconds,
            len(self.x),
        )
        self.history.epochs.append(found)
        if is_better(found, self._best):
            # New arrays, not the old ones: Ctrl-C may come between two of them.
            self._best = Best(found, files.copies(files.weights_of(self.network)))
        return found

    def _size(self, step: int) -> int:
        """Return how many examples a step of an epoch takes."""
        return min(self.batch, len(self.x) - (step - 1) * self.batch)

    # --- the best epoch -----------------------------------------------------------------------------------

    @property
    def best(self) -> Epoch | None:
        """The epoch with the least validation loss, or loss where there is none; None before the first."""
        return self._best.epoch if self._best is not None else None

    @property
    def since_best(self) -> int:
        """How many epochs have ended after the best."""
        return len(self.history) - (self._best.epoch.number if self._best is not None else 0)

    def keep_best(self) -> None:
        """Give the network the parameters and statistics of the best epoch; before the first those of the last step."""
        self._place.settle()  # an interruption may have come before
        if self._best is not None:
            files.put(self._best.weights, files.weights_of(self.network))

    # --- what is not finite -------------------------------------------------------------------------------

    def _not_finite(self) -> str:
        """Return the name of a parameter or statistic that is not finite, or nothing."""
        weights = files.weights_of(self.network)
        return next((name for name, value in weights.items() if not np.isfinite(value).all()), "")

    def _failure(self, position: _Position, what: str) -> LossNotFinite:
        """Return the error for an epoch that failed, after putting everything back to where it began.

        The numbers that made the fault are gone when it shows, so the epoch is repeated, which gives the same bits:
        a copy before each step of every epoch would cost all trainings what one failure costs here.
        """
        self._return_to(position)
        try:
            step, equation = self._first_fault()
        finally:
            self._return_to(position)
        number = len(self.history) + 1
        return LossNotFinite(
            f"{what} of epoch {number}",
            where=equation,
            why=f"this is the first equation that is not finite, in step {step} of the epoch",
            do="use a lower learning rate, limit gradients with clip_norm=1.0, or mend the equation",
        )

    def _first_fault(self) -> tuple[int, str]:
        """Repeat an epoch up to its first fault; return the number of the step, and the equation."""
        network, place = self.network, self._place
        weights = files.weights_of(network)
        before = files.copies(weights)
        for step, value in enumerate(self._steps(together=1), 1):
            place.settle()
            unfit = self._not_finite()
            if unfit or not np.isfinite(value):
                files.put(before, weights)
                x, y = place.batch(self.bound(self._size(step)))
                at = network.objective_function.at(network.parameters, network.statistics, x, y, place.key[0])
                with np.errstate(all="ignore"):
                    return step, at.find_nan() or f"the update of {unfit or 'no parameter'}"
            before = files.copies(weights)
        raise CompilerBug("an epoch that was repeated gave other numbers")

    def _position(self) -> _Position:
        weights = files.copies(files.weights_of(self.network))
        return _Position(weights, self._place.kept_slots(), self.steps, self._generator.bit_generator.state)

    def _return_to(self, position: _Position) -> None:
        self._place.put_slots(position.slots)
        files.put(position.weights, files.weights_of(self.network))
        self.steps = position.steps
        self._generator.bit_generator.state = position.generator

    # --- checkpoints --------------------------------------------------------------------------------------

    def save(self, path: files.File) -> None:
        """Write a checkpoint: a safetensors file from which training goes on to the same bits.

        Parameters
        ----------
        path : str or path
            The file, written whole or not at all; one that is there is replaced.

        Raises
        ------
        ArgumentError
            An epoch is underway.
        InputRefused
            The place cannot be written.
        """
        self._require_pause("save")
        self._place.read_slots()
        weights = files.weights_of(self.network)
        best = self._best
        arrays = self._arrays()
        if best is not None and any(
            not np.array_equal(best.weights[name], weights[name]) for name in weights
        ):
            arrays |= files.named("best", best.weights)  # most often they are those of the last epoch
        notes = {
            "steps": self.steps,
            "epochs": [astuple(epoch)[1:] for epoch in self.history.epochs],
            "best": 0 if best is None else best.epoch.number,
            "generator": self._generator.bit_generator.state,
        }
        files.write(path, "checkpoint", arrays, self._settings(), notes)

    def restore(self, path: files.File) -> None:
        """Go to where a training was when it wrote a checkpoint.

        Parameters
        ----------
        path : str or path
            What `save` wrote, in a training with the same network, optimiser, examples, batch and seed.

        Raises
        ------
        ArgumentError
            An epoch is underway.
        InputRefused
            The file is damaged, or of another training.  Nothing has been changed then.
        """
        self._require_pause("restore")
        live = self._arrays()
        weights = files.weights_of(self.network)
        found, notes = files.read(
            path, "checkpoint", self._settings(), (live, live | files.named("best", weights))
        )
        try:
            steps, epochs, best = whole(notes["steps"]), epochs_of(notes["epochs"]), whole(notes["best"])
            generator = generator_at(notes["generator"])
            chosen = epochs[best - 1] if best else None
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise files.damaged(path, "its notes are not those of a training") from error
        files.put(found, live)
        self._place.write_slots()
        self.steps, self.history.epochs, self._generator = steps, epochs, generator
        kept = {name: found.get(f"best/{name}", found[name]).copy() for name in weights}
        self._best = Best(chosen, kept) if chosen is not None else None

    def _arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays that steps change, by the names that files give them: not copies."""
        return files.weights_of(self.network) | files.named("slots", self._place.slots)

    def _settings(self) -> dict[str, str]:
        """Return what must not change between a checkpoint and its continuation."""
        network = self.network
        layers = {f"layer {node.name}": files.described(node) for node in network.nodes}
        return {
            "dtype": str(network.dtype),
            "optimiser": files.described(self.optimiser),
            "batch": str(self.batch),
            "seed": str(self._seed),
            "examples": f"{len(self.x)} with checksum {self._checksum}",
            "loss": files.described(network.loss),
            "regulariser": files.described(network.regulariser),
            **({} if self.target == "cpu" else {"target": self.target}),  # another one rounds otherwise
            **({} if self.products == "own" else {"products": self.products}),
            **layers,
        }

    @cached_property
    def _checksum(self) -> int:
        """A checksum of the data: another order or other numbers are another training."""
        found = 0
        for array in (self.x, self.y):
            found = zlib.crc32(array.reshape(-1).view(np.uint8).data, found)
        return found

    def _require_pause(self, verb: str) -> None:
        if self._underway:
            raise ArgumentError(f"{verb} was called in the middle of an epoch", do=f"{verb} between epochs")
