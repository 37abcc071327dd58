"""Which integers of a kernel are never negative: their quotients are those of unsigned numbers, which cost half."""

from __future__ import annotations

from collections.abc import Iterable

from gradc.ir.loop.nodes import (
    Apply,
    Carry,
    Expr,
    Extent,
    For,
    Launch,
    Let,
    Load,
    Number,
    Parts,
    Require,
    Statement,
    Stride,
    Update,
    Var,
    Width,
)
from gradc.ir.types import DType

_OF_BOTH = frozenset(("add", "mul", "floor_divide", "mod", "minimum"))


class Signs:
    """What is known behind the statements that were noted, in the order of the text.

    An extent is not negative, nor is a number of a loop, a block or a thread; arguments and elements may be.
    """

    def __init__(self, statements: Iterable[Statement]) -> None:
        self.changing = {s.name for s in statements if isinstance(s, Update | Carry)}
        self.values: dict[str, Expr] = {}  # of the names that are defined
        self.names: set[str] = set()  # of what is not negative
        self.differences: set[tuple[Expr, Expr]] = (
            set()
        )  # that are not either, or the arguments had been refused

    def note(self, statement: Statement) -> None:
        """Learn from a statement."""
        match statement:
            case Require(Apply("ge", (large, small))):
                self.differences.add((large, small))
            case Extent(name) | Parts(name) | Width(name) | For(name):
                self._name(name, True)
            case Stride(name, first):
                self._name(name, self.is_nonnegative(first))
            case Launch(_, block, thread):
                self._name(block, True)
                self._name(thread, True)
            case Let(name, value):
                self._name(name, self.is_nonnegative(value))
                self.values[name] = value
            case _:
                pass

    def _name(self, name: str, is_nonnegative: bool) -> None:
        """A name is bound; another part of the kernel may have bound it to something else."""
        self.values.pop(name, None)
        self.names.discard(name)
        if is_nonnegative and name not in self.changing:
            self.names.add(name)

    def is_nonnegative(self, expression: Expr) -> bool:
        """Whether an integer is never negative; False where that is not known."""
        match expression:
            case Number(value, DType.INT64):
                return value >= 0
            case Var(name, DType.INT64):
                return name in self.names
            case Load(tensor):
                return tensor.endswith(".shape")
            case Apply(function, (left, right), DType.INT64) if function in _OF_BOTH:
                return self.is_nonnegative(left) and self.is_nonnegative(right)
            case Apply("maximum", (left, right), DType.INT64):
                return self.is_nonnegative(left) or self.is_nonnegative(right)
            case Apply("select", (_, left, right), DType.INT64):
                return self.is_nonnegative(left) and self.is_nonnegative(right)
            case Apply("sub", (left, right), DType.INT64):
                return (left, right) in self.differences or self._is_rest(left, right)
            case _:
                return False

    def _is_rest(self, whole: Expr, part: Expr) -> bool:
        """Whether `part` is ``whole // size * size``."""
        match part:
            case Apply("mul", (count, size)):
                known = self.values.get(count.name, count) if isinstance(count, Var) else count
            case _:
                return False
        match known:
            case Apply("floor_divide", arguments):
                return arguments == (whole, size) and self.is_nonnegative(known)
            case _:
                return False
