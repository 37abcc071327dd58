"""Extents and other numbers that Python code may look at while it is traced.

An `Extent` is what ``x.shape[0]`` and ``len(x)`` give: arithmetic with integers and other extents stays
symbolic, and where Python needs a number (``range(n)``, ``if n > 3``) the program is specialised and a
guard is recorded. `Known` does the same for numbers computed from extents and from integer arguments.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gradc.ir import extents
from gradc.ir.extents import Size

Number = int | float | bool
# A `gradc.lang.session.Trace`.  Traced values and the trace need each other, and imports go one way: this way
# round the type has no name.
Tracer: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Known:
    """The number behind a weak scalar in the call being traced, and what it was computed from.

    `sizes` are the extents it depends on, `compute` gives it from the integer arguments by name.
    """

    number: Number
    sizes: tuple[Size, ...]
    arguments: frozenset[str]
    compute: Callable[[Mapping[str, int]], Number]


@dataclass(frozen=True, slots=True)
class ScalarGuard:
    """A condition on integer arguments that the program relies on: `compute` gives `expected`."""

    arguments: frozenset[str]
    compute: Callable[[Mapping[str, int]], Number]
    expected: Number
    reason: str

    def holds(self, arguments: Mapping[str, int]) -> bool:
        """Whether a program traced under this guard serves these integer arguments."""
        try:
            return self.compute(arguments) == self.expected
        except (ArithmeticError, ValueError):
            return False


def known_argument(name: str, number: int) -> Known:
    """Know an integer argument."""
    return Known(number, (), frozenset((name,)), lambda arguments: arguments[name])


def known_number(number: Number) -> Known:
    """Know a plain Python number."""
    return Known(number, (), frozenset(), lambda arguments: number)


def known_extent(size: Size, number: int) -> Known:
    """Know an extent; whoever looks at it specialises it, so that the number then holds."""
    return Known(number, (size,), frozenset(), lambda arguments: number)


def combine(function: Callable[..., Number], *parts: Known) -> Known | None:
    """Apply `function` to known numbers; None where Python refuses to compute it."""
    try:
        number = function(*(part.number for part in parts))
    except (ArithmeticError, ValueError, TypeError):
        return None
    computes = tuple(part.compute for part in parts)
    sizes = tuple(dict.fromkeys(size for part in parts for size in part.sizes))
    arguments = frozenset().union(*(part.arguments for part in parts))
    return Known(number, sizes, arguments, lambda given: function(*(compute(given) for compute in computes)))


# How a comparison is recorded, depending on its outcome; relation and the number added to the right side.
_RELATIONS: dict[str, tuple[tuple[str, int], tuple[str, int]]] = {
    "lt": (("<", 0), (">=", 0)),
    "le": (("<", 1), (">=", 1)),
    "gt": ((">=", 1), ("<", 1)),
    "ge": ((">=", 0), ("<", 0)),
    "eq": (("==", 0), ("!=", 0)),
    "ne": (("!=", 0), ("==", 0)),
}


def size_of(x: object) -> Size | None:
    """Return the size behind an extent or an integer; None for anything else."""
    if type(x) is Extent:
        return x._size
    if type(x) in (int, bool) or isinstance(x, np.integer):
        return int(x)  # pyright: ignore[reportArgumentType]
    return None


def _arithmetic(name: str, function: Callable[[Size, Size], Size], *, swapped: bool) -> Callable[..., object]:
    def method(self: Extent, other: object) -> object:
        size = size_of(other)
        if size is None:
            pair = (other, self) if swapped else (self, other)
            return self._trace.operate(name, *pair, sys._getframe(1))
        return self._trace.extent(function(size, self._size) if swapped else function(self._size, size))

    return method


def _comparison(name: str) -> Callable[[Any, object], Any]:
    def method(self: Extent, other: object) -> object:
        size = size_of(other)
        if size is not None:
            return self._trace.compare_sizes(name, self._size, size, sys._getframe(1))
        if other is None or isinstance(other, str):
            return NotImplemented
        if type(other) is float:
            number = self._trace.specialise(self._size, sys._getframe(1))
            return getattr(operator, name)(number, other)
        return self._trace.operate(name, self, other, sys._getframe(1))

    return method


class Extent:
    """A traced extent; behaves as the Python int that it stands for."""

    __slots__ = ("_size", "_trace")
    __array_priority__ = 2000.0

    def __init__(self, trace: Tracer, size: Size) -> None:
        self._trace = trace
        self._size = size

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleVariableOverride, reportIncompatibleMethodOverride]
        return int

    def __repr__(self) -> str:
        return f"<extent {extents.show(self._trace.emit.solver.resolve(self._size))}>"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: object, **options: object) -> object:
        return self._trace.ufunc(ufunc, method, inputs, options, sys._getframe(1))

    # --- where Python needs a number --------------------------------------------------------------------

    def __index__(self) -> int:
        return self._trace.specialise(self._size, sys._getframe(1))

    def __int__(self) -> int:
        return self._trace.specialise(self._size, sys._getframe(1))

    def __float__(self) -> float:
        return float(self._trace.specialise(self._size, sys._getframe(1)))

    def __hash__(self) -> int:
        return hash(self._trace.specialise(self._size, sys._getframe(1)))

    def __bool__(self) -> bool:
        return self._trace.compare_sizes("ne", self._size, 0, sys._getframe(1))

    # --- arithmetic that stays symbolic -----------------------------------------------------------------

    __add__ = _arithmetic("add", extents.add, swapped=False)
    __radd__ = _arithmetic("add", extents.add, swapped=True)
    __sub__ = _arithmetic("sub", extents.sub, swapped=False)
    __rsub__ = _arithmetic("sub", extents.sub, swapped=True)
    __mul__ = _arithmetic("mul", extents.mul, swapped=False)
    __rmul__ = _arithmetic("mul", extents.mul, swapped=True)
    __lt__ = _comparison("lt")
    __le__ = _comparison("le")
    __gt__ = _comparison("gt")
    __ge__ = _comparison("ge")
    __eq__ = _comparison("eq")
    __ne__ = _comparison("ne")

    def __pos__(self) -> Extent:
        return self

    def __neg__(self) -> object:
        return self._trace.extent(extents.mul(-1, self._size))

    def __abs__(self) -> object:
        return self if self >= 0 else -self

    def __floordiv__(self, other: object) -> object:
        if type(other) is int and other > 0:
            return self._trace.extent(self._trace.emit.solver.divide_down(self._size, other))
        return self._divide(operator.floordiv, "floor_divide", self, other)

    def __rfloordiv__(self, other: object) -> object:
        return self._divide(operator.floordiv, "floor_divide", other, self)

    def __mod__(self, other: object) -> object:
        if type(other) is int and other > 0:
            quotient: Any = self // other
            return self - quotient * other
        return self._divide(operator.mod, "mod", self, other)

    def __rmod__(self, other: object) -> object:
        return self._divide(operator.mod, "mod", other, self)

    def __divmod__(self, other: object) -> tuple[object, object]:
        return self // other, self % other

    def __pow__(self, other: object, modulus: object = None) -> object:
        if type(other) is int and other >= 0 and modulus is None:
            return self._trace.extent(extents.product((self._size,) * other))
        if modulus is not None:
            return pow(int(self), int(other), int(modulus))  # pyright: ignore[reportArgumentType]
        return self._trace.operate("pow", self, other, sys._getframe(1))

    def __rpow__(self, other: object) -> object:
        return self._trace.operate("pow", other, self, sys._getframe(1))

    def __truediv__(self, other: object) -> object:
        return self._trace.operate("div", self, other, sys._getframe(1))

    def __rtruediv__(self, other: object) -> object:
        return self._trace.operate("div", other, self, sys._getframe(1))

    def __round__(self, digits: int | None = None) -> Extent:
        return self

    def conjugate(self) -> Extent:
        """Return the extent itself, as for an int."""
        return self

    def _divide(
        self, function: Callable[[Any, Any], object], name: str, left: object, right: object
    ) -> object:
        if size_of(left) is None or size_of(right) is None:
            return self._trace.operate(name, left, right, sys._getframe(2))
        return function(operator.index(left), operator.index(right))  # pyright: ignore[reportArgumentType]


def relation(name: str, outcome: bool) -> tuple[str, int]:
    """Return the guard that records the outcome of a comparison, and what to add to its right side."""
    return _RELATIONS[name][0 if outcome else 1]
