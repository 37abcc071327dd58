"""The two kinds of loops that contractions can stand in: over a batch, and over blocks of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import AddTo, Contract, Expr, For, From, Let, Load, Statement, Store, Var, View
from gradc.ir.loop.rewrite import rebuilt, substituted, with_values
from gradc.ir.loop.walk import every


class Joint(Protocol):
    """A loop that statements are to share."""

    @property
    def extent(self) -> Expr:
        """How many indices it has."""
        ...

    @property
    def index(self) -> Expr:
        """What stands where an iteration touches an array."""
        ...

    def iteration(self, statement: Statement) -> tuple[Statement, ...] | None:
        """What an iteration does of a loop or a contraction over this extent; None for other statements."""
        ...

    def shape(self, shape: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """What an iteration keeps of an array of this shape."""
        ...

    def kept(self, indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """The indices of an element in what an iteration keeps."""
        ...

    def loop(self, body: Sequence[Statement]) -> For:
        """The loop."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """``for i < n``: one element of the batch."""

    extent: Expr
    index: Var

    def iteration(self, statement: Statement) -> tuple[Statement, ...] | None:
        """A loop's body, or the contraction of an element of the batch."""
        match statement:
            case For(extent=extent) if extent is self.extent:
                return renamed(statement, self.index.name)
            case Contract() if batch_of(statement) is self.extent:
                statement = _opened(statement)
                at = letters_of(statement).index(_heads(statement)[0])
                target, first, second = (text.partition(" ")[2] for text in _texts(statement))
                out, left, right = ((*view, self.index) for view in statement.views)
                extents = (*statement.extents[:at], *statement.extents[at + 1 :])
                return (
                    replace(
                        statement,
                        target=target,
                        first=first,
                        second=second,
                        extents=extents,
                        views=(out, left, right),
                    ),
                )
            case _:
                return None

    def shape(self, shape: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """All but the first axis."""
        return shape[1:]

    def kept(self, indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """All but the first index."""
        return indices[1:]

    def loop(self, body: Sequence[Statement]) -> For:
        """The loop over the batch."""
        return For(self.index.name, self.extent, tuple(body))


@dataclass(frozen=True, slots=True)
class Rows:
    """``for block < blocks: start = block * height; rows = minimum(height, n - start)``: some rows at a time.

    `index` is what the loops over rows call theirs, `row` a row's place in the block.  The first block writes what the
    others add to, unless it `adds`, too.  A block has `lowest` rows at least, if there are as many.
    """

    extent: Expr
    index: Var
    block: Var
    start: Var
    rows: Var
    row: Var
    height: Var
    blocks: Var
    adds: bool
    lowest: int

    def iteration(self, statement: Statement) -> tuple[Statement, ...] | None:
        """A loop over the rows of the block, or their contraction: it adds to its result if they are summed."""
        match statement:
            case For(extent=extent) if extent is self.extent:
                body = renamed(statement, self.index.name)
                here = Let(self.index.name, nodes.apply("add", self.start, self.row))
                return None if body is None else (For(self.row.name, self.rows, (here, *body)),)
            case Contract():
                return self._contraction(statement)
            case _:
                return None

    def _contraction(self, statement: Contract) -> tuple[Statement, ...] | None:
        letter = row_of(statement, self.extent)
        if letter is None or (statement.add and letter not in statement.target):
            return None
        statement = _opened(statement)
        at = letters_of(statement).index(letter)
        out, left, right = (
            (*view, From(self.start)) if head == letter else view
            for head, view in zip(_heads(statement), statement.views, strict=True)
        )
        extents = (*statement.extents[:at], self.rows, *statement.extents[at + 1 :])
        found = replace(statement, extents=extents, views=(out, left, right))
        if letter in statement.target:
            return (found,)
        again = None if self.adds else nodes.apply("ne", self.block, nodes.number(0))
        return (replace(found, add=True, again=again),)

    def shape(self, shape: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """As many rows as a block has."""
        return (self.height, *shape[1:])

    def kept(self, indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """The row's place in the block."""
        return (self.row, *indices[1:])

    def loop(self, body: Sequence[Statement]) -> For:
        """The loop over blocks."""
        start = nodes.apply("mul", self.block, self.height)
        rows = nodes.apply("minimum", self.height, nodes.apply("sub", self.extent, self.start))
        return For(
            self.block.name, self.blocks, (Let(self.start.name, start), Let(self.rows.name, rows), *body)
        )


def batch_of(statement: Contract) -> Expr | None:
    """The extent of the batch that the first axes of result and operands run over together."""
    (letter, *others) = set(_heads(statement))
    if others or letter not in letters_of(statement) or "".join(_texts(statement)).count(letter) != 3:
        return None
    return statement.extents[letters_of(statement).index(letter)]


def row_of(statement: Contract, extent: Expr) -> str | None:
    """The index of this extent that runs over the first axes of two of the arrays, and over no other axis."""
    for letter, size in zip(letters_of(statement), statement.extents, strict=True):
        leading = _heads(statement).count(letter)
        if size is extent and leading == 2 == "".join(_texts(statement)).count(letter):
            return letter
    return None


def images_of(statement: Contract) -> Expr | None:
    """The extent of the images that a convolution, or a gradient of one, runs over."""
    if not any("+" in word for text in _texts(statement) for word in text.split()):
        return None
    for letter, size in zip(letters_of(statement), statement.extents, strict=True):
        if row_of(statement, size) == letter and letter in statement.target:
            return size
    return None


def letters_of(statement: Contract) -> list[str]:
    """The indices of a contraction, in the order of its extents."""
    return sorted({character for text in _texts(statement) for character in text if character.isalpha()})


def _heads(statement: Contract) -> list[str]:
    """The first position of each array that is no fixed place."""
    words = (text.split() for text in _texts(statement))
    return [next(word for word in found if not word.isdigit()) for found in words]


def _opened(statement: Contract) -> Contract:
    """The contraction with fixed places at the front in the views."""
    found: list[tuple[str, View]] = []
    for text, view in zip(_texts(statement), statement.views, strict=True):
        words = text.split()
        while words[0].isdigit():
            view = (*view, nodes.number(int(words.pop(0))))
        found.append((" ".join(words), view))
    (target, out), (first, left), (second, right) = found
    return replace(statement, target=target, first=first, second=second, views=(out, left, right))


def _texts(statement: Contract) -> tuple[str, str, str]:
    return statement.target, statement.first, statement.second


def renamed(loop: For, index: str) -> tuple[Statement, ...] | None:
    """The body of a loop that calls its index so; None where a loop in it does."""
    if loop.index == index:
        return loop.body
    if any(isinstance(inner, For) and inner.index == index for inner in every(loop.body)):
        return None
    return tuple(_substituted(inner, {loop.index: nodes.var(index)}) for inner in loop.body)


def _substituted(statement: Statement, values: dict[str, Expr]) -> Statement:
    if isinstance(statement, For):
        body = tuple(_substituted(inner, values) for inner in statement.body)
        return For(statement.index, substituted(statement.extent, values), body)
    return with_values(statement, lambda value: substituted(value, values))


def keeping(statement: Statement, own: set[str], joint: Joint) -> Statement:
    """A statement with the elements of some arrays where an iteration keeps them."""

    def value(expression: Expr) -> Expr:
        if isinstance(expression, Load) and expression.tensor in own:
            place = tuple(map(value, joint.kept(expression.indices)))
            return nodes.load(expression.tensor, place, expression.dtype)
        return rebuilt(expression, value)

    match statement:
        case For(index, extent, body):
            return For(index, value(extent), tuple(keeping(inner, own, joint) for inner in body))
        case Store(tensor, place) | AddTo(tensor, place) if tensor in own:
            return with_values(replace(statement, indices=joint.kept(place)), value)
        case Contract():
            names = (statement.out, statement.left, statement.right)
            out, left, right = (
                view[1:] if name in own else view for name, view in zip(names, statement.views, strict=True)
            )
            return replace(statement, views=(out, left, right))
        case _:
            return with_values(statement, value)
