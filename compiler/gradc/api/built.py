"""What a front end makes of one kind of call: a program, and how its inputs and outputs relate to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import optree

from gradc.errors import ArgumentError
from gradc.ir.index.nodes import Program
from gradc.lang.signature import Flat, Signature

if TYPE_CHECKING:  # tracing loads SciPy, and `import gradc` does not trace
    from gradc.lang.sizes import ScalarGuard
    from gradc.lang.trace import Captured, Hidden, Trace


ONE: Any = 0  # any leaf does
LEAF = optree.tree_structure(ONE)


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
        The outputs are elementwise functions of the inputs (expressions of scalars): gradients are
        elementwise.
    has_aux : bool
        The function returns ``(value, aux)``; only the value is differentiated.
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
    has_aux: bool = False

    @property
    def value_spec(self) -> optree.PyTreeSpec:
        """Container of the value, without the auxiliary results."""
        return self.out_spec.child(0) if self.has_aux else self.out_spec

    @property
    def value_outputs(self) -> tuple[int, ...]:
        """Per leaf of the value an index into the program's outputs."""
        return self.outputs[: self.value_spec.num_leaves]

    @property
    def value_program(self) -> Program:
        """The program without the auxiliary results."""
        count = len(self.value_outputs)
        return replace(self.program, outputs=self.program.outputs[:count]) if self.has_aux else self.program

    def at_outputs(self, tangents: Iterable[Any]) -> list[Any]:
        """Tangents of the floating-point outputs of the value, at the positions of all of them."""
        program, given = self.value_program, iter(tangents)
        return [next(given) if program.types[name].dtype.is_float else None for name in program.outputs]

    def with_aux(self) -> Built:
        """Return the same for a function that returns ``(value, aux)``."""
        if self.out_spec.type is not tuple or self.out_spec.num_children != 2:
            raise ArgumentError(
                f"{self.program.name} was decorated with has_aux=True and does not return a pair",
                why=f"it returns {self.out_spec.num_leaves} results in the structure {self.out_spec}",
                do="return (value, aux)",
            )
        return replace(self, has_aux=True)


class Source(Protocol):
    """A front end: makes a program for calls of one kind."""

    @property
    def name(self) -> str:
        """The function's name, for kernels and messages."""
        ...

    def with_signature(self, signature: Signature) -> Source:
        """Return the front end for the same function under another signature."""
        ...

    def build(self, flat: Flat) -> Built:
        """Return the program for calls whose leaves are like those of `flat`."""
        ...

    def inline(self, trace: Trace, values: Sequence[Any]) -> Inlined:
        """Add the function's equations to a trace; `values` are the arguments, one per parameter."""
        ...


@dataclass(frozen=True, slots=True)
class Inlined:
    """What a front end made of a call inside a trace.

    `outputs` is the tree of results.  Where `elementwise` is true, arguments were broadcast first:
    `operands` are the broadcast tensors, one per leaf.
    """

    outputs: Any
    operands: tuple[str, ...] = ()
    elementwise: bool = False


def positions(owners: Sequence[int], parameter: int) -> tuple[int, ...]:
    """Return the leaves that belong to one parameter."""
    return tuple(at for at, owner in enumerate(owners) if owner == parameter)
