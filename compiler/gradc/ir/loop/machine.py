"""What runs statements about numbers and elements: the part of the interpreter that hosts and threads share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from gradc.errors import CompilerBug, GradcError
from gradc.ir.loop.meaning import REDUCTIONS, Array, Meaning, function, meaning
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Apply,
    Barrier,
    Carry,
    CheckIndices,
    Clear,
    Clock,
    Combine,
    Contract,
    Convert,
    Expr,
    Extent,
    For,
    Launch,
    Let,
    Library,
    Load,
    Number,
    Parts,
    Product,
    Require,
    Share,
    Statement,
    Store,
    Stride,
    Tasks,
    Update,
    Var,
    When,
    Width,
)
from gradc.ir.loop.show import show_expression, show_statement

Other: TypeAlias = (
    Require | CheckIndices | Allocate | Clear | Parts | Tasks | Product | Contract | Library | Clock
    | Width | Launch | Share | Barrier | Combine
)  # fmt: skip
"""The statements that are not about a number, an element or a loop."""


@dataclass(slots=True)
class Steps:
    """How many statements have run, and how many may."""

    limit: int
    taken: int = 0

    def take(self, many: int) -> None:
        """Count statements before they run."""
        self.taken += many
        if self.taken > self.limit:
            raise GradcError(
                f"the interpreter stopped after {self.limit} statements",
                do="use smaller arrays, or a larger limit",
            )


class Machine:
    """The values of all names, and for arrays which elements have been written."""

    here: Statement  # what runs

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.values: dict[str, Array] = {}
        self.written: dict[str, np.ndarray] = {}
        self.turn: dict[str, int] = {}  # of arrays that are new in every turn of a loop
        self.meanings: dict[Expr, Meaning] = {}
        self.places: dict[tuple[Expr, ...], list[Meaning]] = {}

    # --- statements -------------------------------------------------------------------------------------

    def run(self, statements: Sequence[Statement]) -> None:
        """Run statements in order; loops nest as deep as a tensor has axes, so recursion is safe here."""
        self.steps.take(len(statements))
        for statement in statements:
            self.statement(statement)

    def statement(self, statement: Statement) -> None:
        """Run one statement."""
        self.here = statement
        match statement:
            case Let(name, value) | Carry(name, value) | Extent(name, value):
                self.values[name] = self.scalar(value)
            case Update(name, op, value):
                self.values[name] = function(REDUCTIONS[op])(self.values[name], self.scalar(value))
            case Store(tensor, indices, value):
                self.store(statement, tensor, indices, self.scalar(value))
            case AddTo(tensor, indices, op, value):
                total = self.element(statement, tensor, indices)
                self.store(statement, tensor, indices, function(REDUCTIONS[op])(total, self.scalar(value)))
            case For() | Stride() | When():
                for _ in self.turns(statement):
                    self.run(statement.body)
            case _:
                self.whole(statement)

    def turns(self, statement: For | Stride | When) -> Iterator[int]:
        """Number the runs of a body, and give the index its value for each."""
        match statement:
            case When(condition):
                yield from range(bool(self.scalar(condition)))
                return
            case For(index, extent):
                positions = range(int(self.scalar(extent)))
            case Stride(index, first, extent, step):
                start, end, by = (int(self.scalar(value)) for value in (first, extent, step))
                if start < 0 or by < 1:
                    raise CompilerBug(f"a loop from {start} on by {by}", why=show_statement(statement))
                positions = range(start, end, by)
        for turn, position in enumerate(positions):
            self.values[index] = np.int64(position)
            yield turn

    def whole(self, statement: Other) -> None:
        """Run a statement about a whole tensor, or about more than one thread."""
        raise NotImplementedError

    def allocate(self, statement: Allocate) -> None:
        """Make an array."""
        sizes = tuple(int(self.scalar(size)) for size in statement.shape)
        self.values[statement.tensor] = np.zeros(sizes, statement.dtype.numpy)
        self.written[statement.tensor] = np.full(sizes, statement.zeroed)

    # --- elements ---------------------------------------------------------------------------------------

    def position(self, where: Statement | Expr, tensor: str, indices: Sequence[Expr]) -> tuple[int, ...]:
        """Return where an element stands."""
        key = tuple(indices)
        places = self.places.get(key)
        if places is None:
            places = self.places[key] = [self.operand(index) for index in indices]
        position, shape = tuple([int(place(self)) for place in places]), self.values[tensor].shape
        inside = len(position) == len(shape)
        for at, size in zip(position, shape, strict=False):
            inside = inside and 0 <= at < size
        if not inside:
            raise CompilerBug(f"{tensor}{list(position)} is outside shape {shape}", why=text_of(where))
        return position

    def element(self, where: Statement | Expr, tensor: str, indices: Sequence[Expr]) -> Array:
        """Return an element that has been written, or an extent."""
        if tensor.endswith(".shape"):
            return np.int64(self.values[tensor.removesuffix(".shape")].shape[int(self.scalar(indices[0]))])
        position = self.position(where, tensor, indices)
        self.reads(where, tensor, position)
        return self.values[tensor][position]

    def store(self, where: Statement, tensor: str, indices: Sequence[Expr], value: Array) -> None:
        """Give an element a value."""
        position = self.position(where, tensor, indices)
        self.writes(where, tensor, position)
        self.values[tensor][position] = value

    def reads(self, where: Statement | Expr, tensor: str, position: tuple[int, ...]) -> None:
        """Refuse what nobody has written."""
        written = self.written.get(tensor)
        if written is not None and written[position] != self.turn.get(tensor, True):
            raise CompilerBug(f"{tensor}{list(position)} is read before it is written", why=text_of(where))

    def writes(self, where: Statement, tensor: str, position: tuple[int, ...]) -> None:
        """Note that an element is written; refuse what is not the kernel's."""
        if tensor not in self.written:
            raise CompilerBug(f"{tensor} is written to and was not allocated", why=text_of(where))
        self.written[tensor][position] = self.turn.get(tensor, True)

    # --- expressions ------------------------------------------------------------------------------------

    def scalar(self, expression: Expr) -> Array:
        """Return a NumPy scalar of the expression's dtype."""
        return self.compiled(expression)(self)

    def compiled(self, expression: Expr) -> Meaning:
        """Return what computes an expression, made once."""
        found = self.meanings.get(expression)
        if found is None:
            found = self.meanings[expression] = meaning(expression, self.operand)
        return found

    def operand(self, expression: Expr) -> Meaning:
        """Return what computes an operand or an index."""
        return lambda machine: machine.scalar(expression)


def text_of(where: Statement | Expr) -> str:
    """Return what a message says about a place."""
    if isinstance(where, Var | Number | Load | Apply | Convert):
        return show_expression(where)
    return show_statement(where)
