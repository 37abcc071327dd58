"""Nodes of a parsed expression, and the builder that checks every one of them when it is made.

A node is made when its arguments are known, so the list is in A-normal form by construction.  Beside each
node the builder keeps whether it is a number or a condition, and its size if it is constant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from gradc.errors import InputRefused
from gradc.lang.constants import CONSTANTS, value_of
from gradc.lang.source import Limits, Source, Span
from gradc.lang.tokens import too_large
from gradc.lang.vocabulary import Function


@dataclass(frozen=True, slots=True)
class Number:
    """A literal: an int if it is written as one.  A minus sign directly before it belongs to it."""

    value: int | float
    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Variable:
    """One occurrence of a variable."""

    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class Constant:
    """``pi``, ``e`` or ``inf``."""

    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class Apply:
    """A function of the inventory, applied to earlier nodes given by index."""

    function: str
    arguments: tuple[int, ...]
    span: Span


Node = Number | Variable | Constant | Apply


class Operand(NamedTuple):
    """A node as it stands in the text, parentheses included; `compared` is the right side of a comparison."""

    node: int
    start: int
    end: int
    compared: Operand | None = None


class _Kind(Enum):
    NUMBER = auto()
    CONDITION = auto()
    VARIABLE = auto()  # may turn out to be either


_COMPARISONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})
_LOGICAL = frozenset({"logical_and", "logical_or", "logical_not"})


class Builder:
    """Makes the nodes of one expression.

    Parameters
    ----------
    source : Source
        Where they stand.
    limits : Limits
        What they may cost.
    """

    def __init__(self, source: Source, limits: Limits) -> None:
        self.nodes: list[Node] = []
        self.variables: dict[str, None] = {}  # in order of first appearance
        self._source = source
        self._limits = limits
        self._kinds: list[_Kind] = []
        self._values: list[float | None] = []  # None: not constant; NaN: constant of unknown size

    def number(self, value: int | float, start: int, end: int) -> Operand:
        """Make a literal."""
        node = Number(value, self._source.text[start:end], self._source.span(start, end))
        return self._add(node, _Kind.NUMBER, float(value))

    def constant(self, name: str, start: int) -> Operand:
        """Make a named constant."""
        span = self._source.span(start, start + len(name))
        return self._add(Constant(name, span), _Kind.NUMBER, CONSTANTS[name])

    def variable(self, name: str, start: int) -> Operand:
        """Make an occurrence of a variable."""
        self.variables[name] = None
        return self._add(Variable(name, self._source.span(start, start + len(name))), _Kind.VARIABLE, None)

    def prefix(self, function: str, operand: Operand, start: int) -> Operand:
        """Apply a prefix operator; an empty function is the unary plus, which makes no node."""
        node = self.nodes[operand.node]
        if function in ("", "neg"):
            self._require_number(operand, "a sign")
        if function == "":
            return Operand(operand.node, start, operand.end)
        if function == "neg" and isinstance(node, Number):
            text = "-" + node.text
            self.nodes[operand.node] = Number(-node.value, text, self._source.span(start, operand.end))
            self._values[operand.node] = -float(node.value)
            return Operand(operand.node, start, operand.end)
        return self.apply(function, [operand], start, operand.end)

    def call(self, function: Function, arguments: list[Operand], start: int, end: int) -> Operand:
        """Apply a function of the allow list; a variadic one pairwise from the left."""
        if not function.variadic:
            return self.apply(function.name, arguments, start, end)
        result, *others = arguments
        for other in others:
            result = self.apply(function.name, [result, other], start, end)
        return result

    def apply(self, function: str, arguments: list[Operand], start: int, end: int) -> Operand:
        """Apply a function of the inventory.

        Raises
        ------
        InputRefused
            An argument is of the wrong kind, a divisor is zero, or a constant exceeds a limit.
        """
        self._check_kinds(function, arguments)
        span = self._source.span(start, end)
        value = self._value(function, arguments, span)
        is_condition = function in _COMPARISONS or function in _LOGICAL
        node = Apply(function, tuple([argument.node for argument in arguments]), span)
        return self._add(node, _Kind.CONDITION if is_condition else self._kind(function, arguments), value)

    def _add(self, node: Node, kind: _Kind, value: float | None) -> Operand:
        if len(self.nodes) >= self._limits.nodes:
            what = "the expression has too many parts"
            raise self._source.over(node.span, what, "nodes", self._limits.nodes, "E_LIMIT_NODES")
        self.nodes.append(node)
        self._kinds.append(kind)
        self._values.append(value)
        return Operand(len(self.nodes) - 1, node.span.start, node.span.start + node.span.length)

    # ---- kinds

    def _kind(self, function: str, arguments: list[Operand]) -> _Kind:
        """Tell what a result is: a selection is what both of its arms are, all else here is a number."""
        if function != "select":
            return _Kind.NUMBER
        arms = {self._kinds[argument.node] for argument in arguments[1:]}
        return arms.pop() if len(arms) == 1 else _Kind.NUMBER

    def _check_kinds(self, function: str, arguments: list[Operand]) -> None:
        if function in _LOGICAL:
            for argument in arguments:
                self._require_condition(argument, "and, or, not and & | ~ join conditions")
        elif function == "select":
            self._require_condition(arguments[0], "the first argument of where is a condition")
        elif function in _COMPARISONS:
            for argument in arguments:
                self._require_number(argument, "a comparison")
        elif all(self._kinds[argument.node] is _Kind.CONDITION for argument in arguments):
            self._require_number(arguments[0], function)

    def _require_condition(self, operand: Operand, why: str) -> None:
        if self._kinds[operand.node] is _Kind.NUMBER:
            raise self._source.refuse(
                self._source.span(operand.start, operand.end),
                "this is a number, not a condition",
                why=why,
                do="compare it: x > 0; with & and | put each comparison in parentheses: (x > 0) & (y > 0); "
                "an absolute value is abs(x)",
                code="E_NOT_A_CONDITION",
            )

    def _require_number(self, operand: Operand, user: str) -> None:
        if self._kinds[operand.node] is _Kind.CONDITION:
            raise self._source.refuse(
                self._source.span(operand.start, operand.end),
                "this is a condition, not a number",
                why=f"{user} is for numbers",
                do="where(condition, 1, 0) is a number; with & and | put each comparison in parentheses: "
                "(x > 0) & (y > 0)",
                code="E_NOT_A_NUMBER",
            )

    # ---- sizes

    def _value(self, function: str, arguments: list[Operand], span: Span) -> float | None:
        values = [self._values[argument.node] for argument in arguments]
        if function == "pow":
            self._check_exponent(arguments[1], values[1])
        if function in ("div", "floor_divide", "mod") and values[1] == 0:
            where = self._source.span(arguments[1].start, arguments[1].end)
            raise self._source.refuse(where, "this divisor is 0", code="E_DIVISION_BY_ZERO")
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        result = value_of(function, known)
        if abs(result) >= self._limits.magnitude and not any(math.isinf(value) for value in known):
            raise too_large(self._source, span, self._limits)
        return result

    def _check_exponent(self, operand: Operand, value: float | None) -> None:
        if value is None or abs(value) <= self._limits.exponent:
            return
        span = self._source.span(operand.start, operand.end)
        raise self._exponent_refusal(span, value)

    def _exponent_refusal(self, span: Span, value: float) -> InputRefused:
        """Refuse a constant exponent that is too large, or whose size is not known (NaN)."""
        if math.isnan(value):
            do = "write the exponent as a number"
            return self._source.refuse(
                span, "the size of this constant exponent is not known", do=do, code="E_EXPONENT"
            )
        what = "this constant exponent is too large"
        return self._source.over(span, what, "exponent", self._limits.exponent, "E_LIMIT_EXPONENT")
