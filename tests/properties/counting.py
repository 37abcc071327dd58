"""An interpreter that counts while it runs: what it performs and what it touches, piece by piece of a kernel.

It knows nothing of the closed forms in `gradc.ir.loop.count` and `gradc.ir.loop.footprint`: every operation is one
that was carried out, every element one that was read or written.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from gradc.errors import CompilerBug
from gradc.ir.functions import FUNCTIONS, Result
from gradc.ir.loop import evaluate as loops
from gradc.ir.loop.count import CONTRACTION, FREE, LIBRARY, REDUCTIONS, Key
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Apply,
    CheckIndices,
    Clear,
    Contract,
    Expr,
    From,
    Kernel,
    Library,
    Product,
    Statement,
    Update,
    View,
)
from gradc.ir.loop.pieces import Piece, pieces
from gradc.ir.loop.walk import expressions
from gradc.ir.types import DType
from gradc_runtime.contraction import positions

Element = tuple[str, tuple[int, ...]]


class Counting(loops._Machine):
    """Runs statements; `calls` are the operations, `read` and `written` the elements touched, `own` new arrays."""

    def __init__(self) -> None:
        super().__init__(10**6)
        self.start()

    def start(self) -> None:
        """Begin to count anew."""
        self.calls: Counter[Key] = Counter()
        self.read: set[Element] = set()
        self.written_now: set[Element] = set()
        self.own: set[str] = set()

    # --- operations -------------------------------------------------------------------------------------

    def scalar(self, expression: Expr) -> Any:
        match expression:
            case Apply("select", (condition, yes, no), _):
                chosen, other = (yes, no) if self.scalar(condition) else (no, yes)
                self.look(other)
                return self.scalar(chosen)
            case Apply(function, arguments, dtype):
                self.note(function, arguments[-1].dtype, counted=dtype.is_float)
                return super().scalar(expression)
            case _:
                return super().scalar(expression)

    def look(self, expression: Expr) -> None:
        """Count the arm that is not taken, as far as there is something to read."""
        with contextlib.suppress(CompilerBug):
            self.scalar(expression)

    def note(self, function: str, dtype: Any, *, counted: bool = True) -> None:
        logical = FUNCTIONS[function].result in (Result.BOOL, Result.LOGICAL)
        if counted and not logical and function not in FREE:
            self.calls[function, dtype] += 1

    def statement(self, statement: Statement) -> None:
        if isinstance(statement, Update | AddTo) and statement.value.dtype.is_float:
            self.note(REDUCTIONS[statement.op], statement.value.dtype)
        super().statement(statement)

    # --- elements ---------------------------------------------------------------------------------------

    def element(self, where: Any, tensor: str, indices: Sequence[Expr]) -> Any:
        found = super().element(where, tensor, indices)
        if not tensor.endswith(".shape"):
            self.read.add((tensor, self.position(where, tensor, indices)))
        return found

    def store(self, where: Any, tensor: str, indices: Sequence[Expr], value: Any) -> None:
        super().store(where, tensor, indices, value)
        self.written_now.add((tensor, self.position(where, tensor, indices)))

    def whole(self, statement: Any) -> None:
        super().whole(statement)
        match statement:
            case Allocate(tensor, _, _, zeroed):
                self.own.add(tensor)
                self.written_now.update(self.all_of(tensor) if zeroed else ())
            case CheckIndices(tensor):
                self.read.update(self.all_of(tensor))
            case Clear(tensor):
                rows = [int(super(Counting, self).scalar(value)) for value in expressions(statement)]
                here = range(rows[0], sum(rows)) if rows else range(len(self.values[tensor]))
                self.written_now.update(one for one in self.all_of(tensor) if one[1][0] in here)
            case Product(out, left, right):
                self.own.add(out)
                self.read.update((*self.all_of(left), *self.all_of(right)))
                self.written_now.update(self.all_of(out))
                size = self.values[left].shape[-2 if statement.transpose_left else -1]
                size = size if self.values[left].ndim > 1 else self.values[left].size
                self.calls[CONTRACTION, _dtype(self, out)] += size * self.values[out].size
            case Contract():
                self.points(statement)
            case Library(outs, _, ins):
                self.own.update(outs)
                self.read.update(one for name in ins for one in self.all_of(name))
                self.written_now.update(one for name in outs for one in self.all_of(name))
            case _:
                pass

    def all_of(self, tensor: str) -> Iterator[Element]:
        shape = np.shape(self.values[tensor])
        return ((tensor, at) for at in np.ndindex(shape)) if shape else iter(())

    def points(self, statement: Contract) -> None:
        """Every point of a contraction, one after the other."""
        read = [positions(text) for text in (statement.target, statement.first, statement.second)]
        letters = sorted({letter for where in read for terms, _ in where for _, letter in terms})
        extents = [int(super(Counting, self).scalar(size)) for size in statement.extents]
        for point in product(*map(range, extents)):
            at = dict(zip(letters, point, strict=True))
            places = [
                self.place_in(view, [sum(f * at[x] for f, x in terms) + o for terms, o in where])
                for view, where in zip(statement.views, read, strict=True)
            ]
            self.calls[CONTRACTION, _dtype(self, statement.out)] += 1
            self.written_now.add((statement.out, places[0]))
            self.read.update(((statement.left, places[1]), (statement.right, places[2])))
            self.read.update([(statement.out, places[0])] if statement.add else [])

    def place_in(self, view: View, behind: list[int]) -> tuple[int, ...]:
        """The place in a whole array of a place in a view of it."""
        found: list[int] = []
        for at in view:
            start = int(super().scalar(at.start if isinstance(at, From) else at))
            found.append(start + behind.pop(0) if isinstance(at, From) else start)
        return (*found, *behind)


def _dtype(machine: Counting, name: str) -> DType:
    return DType(machine.values[name].dtype.name)


def counted(kernel: Kernel, inputs: Mapping[str, Any]) -> Iterator[tuple[Piece, Counting]]:
    """Run a kernel and give each piece with the machine that has just counted it."""
    machine = Counting()
    for parameter in kernel.parameters:
        machine.values[parameter.name] = np.asarray(inputs[parameter.name], parameter.dtype.numpy)[()]
    for piece in pieces(kernel):
        machine.start()
        with np.errstate(all="ignore"):
            machine.run(piece.statements)
        yield piece, machine


def parts_of(extent: int, work: int, size: int) -> int:
    """How many parts the interpreter makes of a loop."""
    return min(loops.PARTS, extent)


def without_library(calls: Mapping[Key, int]) -> dict[Key, int]:
    """Counts of what the interpreter can see."""
    return {key: times for key, times in calls.items() if key[0] != LIBRARY}
