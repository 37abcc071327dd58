"""How a network is trained, as a file says it, and what a file may cost."""

from __future__ import annotations

from dataclasses import dataclass, field

from gradc.errors import ArgumentError
from gradc.nn.optimisers import Adam, Optimiser


@dataclass(frozen=True, slots=True)
class Limits:
    """What a network file may cost.

    Parameters
    ----------
    bytes : int
        Its length.
    layers : int
        How many layers it may have.
    elements : int
        The greatest whole number in it, and how many numbers an array that it describes may have.
    """

    bytes: int = 2**20
    layers: int = 2000
    elements: int = 2**31


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained: the arguments of `Network.fit` that a file can say.

    Parameters
    ----------
    optimiser : Optimiser
        How a step changes the parameters.
    epochs, batch, seed, patience
        See `Network.fit`.
    validation : float
        The share of the examples that is not trained on but looked at after every epoch.
    """

    optimiser: Optimiser = field(default_factory=Adam)
    epochs: int = 10
    batch: int = 64
    seed: int = 0
    patience: int | None = None
    validation: float = 0.0

    def __post_init__(self) -> None:
        least = {"epochs": 0, "batch": 1, "seed": 0, **({} if self.patience is None else {"patience": 1})}
        for name, low in least.items():
            value = getattr(self, name)
            if type(value) is not int or value < low:
                raise ArgumentError(f"{name} is {value!r}", do=f"give a whole number of at least {low}")
        if type(self.validation) not in (int, float) or not 0 <= self.validation < 1:
            raise ArgumentError(
                f"validation is {self.validation!r}", do="give the share of the examples: at least 0, below 1"
            )
