"""Printing scalar expressions: one match, one precedence table, nothing decided.

A target supplies spellings for conversions and literals; the functions come from the inventory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import assert_never

from gradc.ir.functions import FUNCTIONS
from gradc.ir.loop.nodes import Apply, Convert, Expr, Load, Number, Var
from gradc.ir.types import DType

# Python's binding strength; higher binds tighter (https://docs.python.org/3/reference/expressions.html).
_STRENGTH = {
    "select": 1,
    "logical_or": 2,
    "logical_and": 3,
    "logical_not": 4,
    "lt": 5,
    "le": 5,
    "gt": 5,
    "ge": 5,
    "eq": 5,
    "ne": 5,
    "logical_xor": 5,
    "add": 6,
    "sub": 6,
    "mul": 7,
    "div": 7,
    "reciprocal": 7,
    "neg": 8,
}
_TIGHTEST = 10
_NARROW = frozenset(dtype for dtype in DType if not (dtype.is_float or dtype.is_bool or dtype is DType.INT64))
_WIDENED = frozenset(("neg", "add", "sub", "mul", "abs", "sum", "prod"))
_LEFT_ASSOCIATIVE = frozenset(("add", "sub", "mul", "div"))
CALLED = re.compile(r"([A-Za-z_][A-Za-z_0-9.]*)\(")


class Printer:
    """Expressions as Python text; remembers which functions it used, so that a module can import them."""

    def __init__(self, rename: Callable[[str], str]) -> None:
        self.rename = rename
        self.used: dict[str, None] = {}

    def text(self, expression: Expr) -> str:
        """Return the expression, with as few parentheses as Python needs."""
        return self._print(expression)[0]

    def _print(self, expression: Expr) -> tuple[str, int]:
        match expression:
            case Var(name, _):
                return self.rename(name), _TIGHTEST
            case Number(value, dtype):
                return self._number(value, dtype)
            case Load(tensor, indices, _):
                return f"{self.rename(tensor)}[{', '.join(self.text(index) for index in indices)}]", _TIGHTEST
            case Convert(argument, dtype):
                return self._convert(argument, dtype), _TIGHTEST
            case Apply():
                return self._apply(expression)
            case _:
                assert_never(expression)

    def _number(self, value: float | int | bool, dtype: DType) -> tuple[str, int]:
        if value != value or value in (float("inf"), float("-inf")):
            self.used["np"] = None
            text = "np.nan" if value != value else "np.inf" if value > 0 else "-np.inf"
            negative = text.startswith("-")
        else:
            text = repr(float(value)) if dtype.is_float else repr(value)
            negative = text.startswith("-")
        if dtype in (DType.F64, DType.INT64, DType.BOOL):
            return text, _STRENGTH["neg"] if negative else _TIGHTEST
        self.used["np"] = None
        return f"np.{dtype.value}({text})", _TIGHTEST

    def _convert(self, argument: Expr, dtype: DType) -> str:
        if dtype is DType.BOOL:
            return f"({self.at(argument, _STRENGTH['eq'] + 1)} != 0)"
        self.used["np"] = None
        return f"np.{dtype.value}({self.text(argument)})"

    def _apply(self, expression: Apply) -> tuple[str, int]:
        name, arguments = expression.function, expression.arguments
        if name == "reciprocal":
            one = self._number(1.0, expression.dtype)[0]
            return f"{one} / {self.at(arguments[0], 8)}", 7
        if expression.dtype in _NARROW and name in _WIDENED:
            return self.wrapped(self._spelled(expression)[0], name, expression.dtype), _TIGHTEST
        return self._spelled(expression)

    def wrapped(self, text: str, function: str, dtype: DType) -> str:
        """`text`, brought back into `dtype` where Python and Numba compute in wider integers than NumPy."""
        if dtype not in _NARROW or function not in _WIDENED:
            return text
        self.used["np"] = None
        return f"np.{dtype.value}({text})"

    def _spelled(self, expression: Apply) -> tuple[str, int]:
        name, arguments = expression.function, expression.arguments
        strength = _STRENGTH.get(name, _TIGHTEST)
        if name == "select":
            first = [self.at(arguments[1], 2), self.at(arguments[0], 2), self.at(arguments[2], 1)]
            return f"{first[0]} if {first[1]} else {first[2]}", strength
        spelling = FUNCTIONS[name].kernel
        for called in CALLED.findall(spelling):
            self.used[called] = None
        if strength == _TIGHTEST:
            return spelling.format(*(self.text(argument) for argument in arguments)), strength
        left = strength if name in _LEFT_ASSOCIATIVE or len(arguments) == 1 else strength + 1
        texts = [
            self.at(arguments[0], left),
            *(self.at(argument, strength + 1) for argument in arguments[1:]),
        ]
        return spelling.format(*texts), strength

    def at(self, expression: Expr, strength: int) -> str:
        """Return the expression, in parentheses if it binds less tightly than `strength`."""
        text, own = self._print(expression)
        return text if own >= strength else f"({text})"
