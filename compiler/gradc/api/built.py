"""What a front end makes of one kind of call: a program, and how its inputs and outputs relate to the call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import optree

from gradc.ir.index.nodes import Program
from gradc.lang.signature import Flat, Signature
from gradc.lang.sizes import ScalarGuard
from gradc.lang.trace import Captured, Hidden


@dataclass(frozen=True, slots=True)
class Built:
    """A program and its relation to the call.

    Attributes
    ----------
    program : Program
        Inputs are the dynamic leaves in order, then the hidden ones.
    inputs : tuple of (str or None)
        Per leaf of the call the program input, None for static leaves.
    wrt : mapping of leaf to str
        Per leaf the tensor whose cotangent is the gradient of that leaf (usually the input itself).
    hidden, captured, scalar_guards
        What else the program depends on: captured arrays, captured numbers, conditions on integer arguments.
    out_spec : PyTreeSpec
        Container of the outputs.
    outputs : tuple
        Per output leaf an index into the program's outputs.
    elementwise : bool
        The outputs are elementwise functions of the inputs (expressions of scalars): gradients are elementwise.
    """

    program: Program
    inputs: tuple[str | None, ...]
    wrt: dict[int, str]
    out_spec: optree.PyTreeSpec
    outputs: tuple[int, ...]
    hidden: tuple[Hidden, ...] = ()
    captured: tuple[Captured, ...] = ()
    scalar_guards: tuple[ScalarGuard, ...] = ()
    elementwise: bool = False


class Source(Protocol):
    """A front end: makes a program for calls of one kind."""

    @property
    def name(self) -> str:
        """The function's name, for kernels and messages."""
        ...

    def with_signature(self, signature: Signature) -> Source:
        """The front end for the same function under another signature."""
        ...

    def build(self, flat: Flat) -> Built:
        """The program for calls whose leaves are like those of `flat`."""
        ...


def positions(owners: Sequence[int], parameter: int) -> tuple[int, ...]:
    """The leaves that belong to one parameter."""
    return tuple(at for at, owner in enumerate(owners) if owner == parameter)
