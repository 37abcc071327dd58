"""How much memory a kernel works in beside its arguments and results: its temporaries, by liveness.

A temporary is there from the statement that makes it to the last one that uses it: compiled kernels give its memory
back then, and the next array takes it.  Statements inside loops make no arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.index.calls import CALLS
from gradc.ir.loop import nodes
from gradc.ir.loop.evaluate import number_of
from gradc.ir.loop.nodes import (
    Allocate,
    Apply,
    Expr,
    Extent,
    Kernel,
    Library,
    Load,
    Number,
    Parts,
    Product,
    Require,
    Statement,
    Var,
)
from gradc.ir.loop.show import show_expression
from gradc.ir.loop.walk import every, touched
from gradc.ir.tensors import TensorType
from gradc.ir.types import DType


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
    sizes = _Sizes(kernel, arguments)
    last = {name: at for at, s in enumerate(kernel.body) for inner in every((s,)) for name in touched(inner)}
    made: list[tuple[int, int, Size]] = []
    for at, statement in enumerate(kernel.body):
        for name in sizes.made_by(statement):
            if name not in kernel.results:
                made.append((at, last[name], sizes.bytes_of(name)))
    there: list[Size] = [0]
    for at in range(len(kernel.body)):
        total: Size = 0
        for first, end, size in made:
            total = total + size if first <= at <= end else total
        there.append(total)
    most = max(there, key=sizes.value)
    return Workspace(len(made), sizes.value(most), extents.show(most))


class _Sizes:
    """The shapes of arrays, in terms of the kernel's extents; expressions that are no polynomials are symbols."""

    def __init__(self, kernel: Kernel, arguments: Mapping[str, Any]) -> None:
        self.values: dict[str, Any] = {p.name: np.asarray(arguments[p.name]) for p in kernel.parameters}
        self.known: dict[str, int] = {}
        self.lengths: dict[Expr, Size] = {}  # of axes that have a name
        self.types: dict[str, TensorType] = {}
        for statement in kernel.body:
            self._bind(statement)
        for p in kernel.parameters:
            self.types[p.name] = TensorType(p.dtype, tuple(self._length(p.name, at) for at in range(p.rank)))

    def value(self, size: Size) -> int:
        return extents.evaluate(size, self.known)

    def bytes_of(self, name: str) -> Size:
        type_ = self.types[name]
        return extents.mul(np.dtype(type_.dtype.numpy).itemsize, extents.product(type_.shape))

    def made_by(self, statement: Statement) -> Iterator[str]:
        """The arrays that a statement makes, whose types are known from here on."""
        for name, type_ in self._made(statement):
            self.types[name] = type_
            if type_.shape:
                yield name

    def _made(self, statement: Statement) -> Iterator[tuple[str, TensorType]]:
        match statement:
            case Allocate(name, dtype, shape):
                yield name, TensorType(dtype, tuple(map(self._size, shape)))
            case Product(out, left, right, transpose_left, transpose_right, batch):
                first, second = self.types[left].shape, self.types[right].shape
                rows, columns = first[batch:][:: -1 if transpose_left else 1], second[batch:]
                columns = columns[:: -1 if transpose_right else 1]
                yield out, TensorType(self.types[left].dtype, (*first[:batch], *rows[:-1], *columns[1:]))
            case Library(outs, operation, ins, attributes):
                given = {n: tuple(map(self._size, v)) if isinstance(v, tuple) else v for n, v in attributes}
                yield from zip(
                    outs,
                    CALLS[operation].infer(tuple(self.types[name] for name in ins), given),
                    strict=True,
                )
            case _:
                return

    # --- extents ----------------------------------------------------------------------------------------

    def _bind(self, statement: Statement) -> None:
        """Learn what numbers extents are, and which axes they are the lengths of."""
        match statement:
            case Extent(name, value):
                self.values[name] = number_of(value, self.values)
                self.lengths.setdefault(value, self._size(nodes.var(name)))
            case Parts(name, extent, work, size):
                from gradc_runtime.tasks import parts_of  # noqa: PLC0415  (it loads Numba)

                self.values[name] = np.int64(
                    parts_of(*(int(number_of(e, self.values)) for e in (extent, work, size)))
                )
            case Require(Apply("eq", (Load() as length, extent))):
                self.lengths.setdefault(length, self._size(extent))
            case _:
                pass

    def _length(self, tensor: str, axis: int) -> Size:
        return self._size(nodes.load(f"{tensor}.shape", (nodes.number(axis),), DType.INT64))

    def _size(self, expression: Expr) -> Size:
        if expression in self.lengths:
            return self.lengths[expression]
        match expression:
            case Number(value):
                return int(value)
            case Apply("add" | "sub" | "mul" as operation, (left, right)):
                meaning = {"add": extents.add, "sub": extents.sub, "mul": extents.mul}[operation]
                return meaning(self._size(left), self._size(right))
            case _:
                name = expression.name if isinstance(expression, Var) else show_expression(expression)
                self.known[name] = int(number_of(expression, self.values))
                return extents.symbol(name)
