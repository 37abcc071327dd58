"""How much memory a kernel works in beside its arguments and results: its temporaries, by liveness.

A temporary is there from the statement that makes it to the last one that uses it: compiled kernels give its memory
back then, and the next array takes it.  What tasks make, every thread has at most once.  Statements inside loops make
no arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.loop.nodes import Allocate, Kernel, Library, Product, Statement, Tasks
from gradc.ir.loop.sizes import numbers_of, types_of
from gradc.ir.loop.walk import every, touched
from gradc.ir.tensors import TensorType
from gradc_runtime import backends

THREADS = "threads"  # stands in formulas for how many a kernel uses


@dataclass(frozen=True, slots=True)
class Workspace:
    """The temporaries of a kernel: how many arrays, and the most bytes that are there at once, also as a formula."""

    arrays: int
    bytes: int
    formula: str

    def __str__(self) -> str:
        plural = "" if self.arrays == 1 else "s"
        formula = "" if self.formula == str(self.bytes) else f" ({self.formula})"
        return f"temporaries: {self.arrays} array{plural}, {self.bytes} bytes at once{formula}"


def workspace_bytes(kernel: Kernel, arguments: Mapping[str, Any]) -> int:
    """The most bytes of temporaries that are there at once; see `workspace`."""
    return workspace(kernel, arguments).bytes


def workspace(kernel: Kernel, arguments: Mapping[str, Any]) -> Workspace:
    """The temporaries of a kernel.

    Parameters
    ----------
    kernel : Kernel
        A valid kernel.
    arguments : mapping of name to array or number
        One for each parameter; of arrays only the shapes count.

    Returns
    -------
    Workspace
        The formula holds where these arguments make the kernel use the most memory.
    """
    types, numbers = types_of(kernel), numbers_of(kernel, arguments, backends.parts_of())
    numbers[THREADS] = backends.threads()
    last = {name: at for at, s in enumerate(kernel.body) for inner in every((s,)) for name in touched(inner)}
    made = [
        (at, last[name], _bytes_of(types[name]))
        for at, statement in enumerate(kernel.body)
        for name in _made_by(statement)
        if name not in kernel.results and types[name].shape
    ]
    made += [
        (at, at, extents.mul(extents.symbol(THREADS), _bytes_of(types[inner.tensor])))
        for at, statement in enumerate(kernel.body)
        if isinstance(statement, Tasks)
        for inner in statement.body
        if isinstance(inner, Allocate)
    ]
    there: list[Size] = [0]
    for at in range(len(kernel.body)):
        total: Size = 0
        for first, end, size in made:
            total = total + size if first <= at <= end else total
        there.append(total)
    most = max(there, key=lambda size: extents.evaluate(size, numbers))
    return Workspace(len(made), extents.evaluate(most, numbers), extents.show(most))


def _made_by(statement: Statement) -> Iterator[str]:
    """The arrays that a statement makes."""
    match statement:
        case Allocate(name) | Product(name):
            yield name
        case Library(names):
            yield from names
        case _:
            return


def _bytes_of(type_: TensorType) -> Size:
    return extents.mul(np.dtype(type_.dtype.numpy).itemsize, extents.product(type_.shape))
