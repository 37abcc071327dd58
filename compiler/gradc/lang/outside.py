"""What a traced function reads from outside: arrays, read at each call, and numbers, checked at each call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Hidden:
    """An input that the user does not pass: `read` gives its array; a `literal` never changes."""

    name: str
    read: Callable[[], np.ndarray]
    literal: bool = False


@dataclass(frozen=True, slots=True)
class Captured:
    """A Python value read from outside the function, on which the program relies; `what` names it."""

    what: str
    read: Callable[[], object]
    value: object

    def holds(self) -> bool:
        """Whether the value is still the one that was traced with."""
        try:
            now = self.read()
        except (LookupError, AttributeError, ValueError):
            return False
        return type(now) is type(self.value) and (
            now == self.value or (now != now and self.value != self.value)
        )
