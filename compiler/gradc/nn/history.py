"""What a training has given: its epochs, the best of them, and how files list them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradc.nn.pictures.curves import curves
from gradc.nn.pictures.plot import Plot


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch gave.

    Attributes
    ----------
    number : int
        From 1.
    loss : float
        The mean of the batches, regulariser and dropout included, while parameters changed.
    validation_loss, accuracy : float or None
        Of the validation data at the end of the epoch, as at test time; accuracy where targets are labels.
    rate : float
        The learning rate of its last step.
    seconds : float
        What its steps took.
    examples : int
        How many it saw.
    """

    number: int
    loss: float
    validation_loss: float | None
    accuracy: float | None
    rate: float
    seconds: float
    examples: int


@dataclass(slots=True)
class History:
    """The epochs of a training.

    Attributes
    ----------
    epochs : list of Epoch
        Those of a checkpoint included.
    stopped : str
        Why `fit` ended: ``"finished"``, ``"interrupted"`` or ``"no improvement"``; empty before.
    """

    epochs: list[Epoch] = field(default_factory=list)
    stopped: str = ""

    @property
    def last(self) -> Epoch:
        """The epoch that ended last."""
        return self.epochs[-1]

    def curves(self) -> Plot:
        """Draw losses, accuracy and a learning rate that varies; `nn.curves` sets several trainings in one picture.

        Raises
        ------
        ArgumentError
            There is no epoch.
        InputRefused
            matplotlib is not installed.
        """
        return curves(self)

    def __len__(self) -> int:
        return len(self.epochs)

    def __repr__(self) -> str:
        if not self.epochs:
            return "<history of no epoch>"
        plural = "" if len(self.epochs) == 1 else "s"
        return f"<history of {len(self.epochs)} epoch{plural}: loss {self.epochs[0].loss:.4g} to {self.last.loss:.4g}>"


@dataclass(frozen=True, slots=True)
class Best:
    """The epoch with the least loss, and copies of the weights after it."""

    epoch: Epoch
    weights: dict[str, np.ndarray]


def is_better(epoch: Epoch, best: Best | None) -> bool:
    """Tell whether an epoch has less loss than the best before it; a loss that is not finite is never better."""
    if best is None:
        loss = epoch.loss if epoch.validation_loss is None else epoch.validation_loss
        return bool(np.isfinite(loss))
    if epoch.validation_loss is None or best.epoch.validation_loss is None:
        return epoch.loss < best.epoch.loss
    return epoch.validation_loss < best.epoch.validation_loss


def whole(value: object, limit: int = 2**63) -> int:
    """Return a whole number from a file, or raise."""
    if type(value) is not int or not 0 <= value < limit:
        raise ValueError(value)
    return value


def _real(value: object) -> float:
    if type(value) is not float:
        raise TypeError(value)
    return value


def epochs_of(found: list[Any]) -> list[Epoch]:
    """Return the epochs that a file lists."""
    epochs = []
    for number, (loss, judged, accuracy, rate, seconds, examples) in enumerate(found, 1):
        epochs.append(
            Epoch(
                number,
                _real(loss),
                None if judged is None else _real(judged),
                None if accuracy is None else _real(accuracy),
                _real(rate),
                _real(seconds),
                whole(examples),
            )
        )
    return epochs


def generator_at(state: Any) -> np.random.Generator:
    """Return a generator in a state from a file."""
    generator = np.random.default_rng(0)
    own: Any = generator.bit_generator.state
    if state["bit_generator"] != own["bit_generator"] or state["state"].keys() != own["state"].keys():
        raise ValueError(state)
    generator.bit_generator.state = {
        **own,
        "state": {name: whole(value, 2**128) for name, value in state["state"].items()},
        "has_uint32": whole(state["has_uint32"], 2),
        "uinteger": whole(state["uinteger"], 2**32),
    }
    return generator
