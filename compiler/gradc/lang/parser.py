"""Expression text from outside becomes data; nothing in it is ever evaluated.

The grammar is Python's, cut down to formulas (`op` from loosest to tightest, all but ``**`` from the left)::

    expression := operand | prefix expression | expression op expression
    operand    := number | name | "(" expression ")" | function "(" expression {"," expression} ")"
    op         := or | and | (not) | < <= > >= == != | "|" | & | + - | * / // % | (+ - ~) | **

A comparison may be chained (``0 < x < 1``).  A name is a variable unless it is called; only ``pi``, ``e`` and
``inf`` are constants, and not even these if the caller has bound them.  ``and or not`` and ``& | ~`` join
conditions, functions and comparisons take numbers, and what mixes them up is refused; only arithmetic between
a number and a condition is let through (``x*(x > 0)``: a condition counts as 0 or 1).

The parser is a Pratt parser with its own stack: text can exhaust its limits, never Python's recursion.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

from gradc.errors import InputRefused
from gradc.lang.constants import CONSTANTS
from gradc.lang.expression_nodes import Apply, Builder, Constant, Node, Number, Operand, Variable
from gradc.lang.source import Limits, Source, Span, open_text, shorten
from gradc.lang.tokens import Token, Tokens, number_value
from gradc.lang.vocabulary import FUNCTIONS, Function, suggest

__all__ = [
    "FUNCTIONS",
    "Apply",
    "Constant",
    "Limits",
    "Node",
    "Number",
    "Parsed",
    "Span",
    "Variable",
    "parse_expression",
]


@dataclass(frozen=True, slots=True)
class Parsed:
    """An expression in A-normal form: `Apply` names earlier nodes by index, the last node is the result.

    Parameters
    ----------
    nodes : tuple of Node
    variables : tuple of str
        In order of first appearance.
    """

    nodes: tuple[Node, ...]
    variables: tuple[str, ...]


class _Operator(NamedTuple):
    function: str  # of the inventory; "" for the unary plus
    left: int  # binds what stands on its left, if that is not held more tightly
    right: int  # holds what stands on its right


_COMPARISON = 40
_NOT = 30
_PREFIX = {"not": _Operator("logical_not", 0, _NOT), "~": _Operator("logical_not", 0, 90)} | {
    "-": _Operator("neg", 0, 90),
    "+": _Operator("", 0, 90),
}
_INFIX = {
    spelling: _Operator(function, power, power)
    for power, row in {
        10: {"or": "logical_or"},
        20: {"and": "logical_and"},
        _COMPARISON: {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"},
        50: {"|": "logical_or"},
        60: {"&": "logical_and"},
        70: {"+": "add", "-": "sub"},
        80: {"*": "mul", "/": "div", "//": "floor_divide", "%": "mod"},
    }.items()
    for spelling, function in row.items()
} | {"**": _Operator("pow", 100, 99)}  # right-associative


@dataclass(slots=True)
class _Bracket:
    """An open parenthesis; of a call if `function` is set."""

    token: Token  # the parenthesis
    start: int  # of the whole call
    name: str = ""
    function: Function | None = None
    arguments: list[Operand] = field(default_factory=list)


class _Pending(NamedTuple):
    """An operator waiting for its right side."""

    token: Token
    operator: _Operator
    left: Operand | None = None  # None for a prefix
    chained: Operand | None = None  # `0 < x` of `0 < x < 1`, whose left is then x


def parse_expression(
    text: str | bytes, *, bound: Collection[str] = (), limits: Limits | None = None, label: str = "expression"
) -> Parsed:
    """Parse the text of an expression, without evaluating any of it.

    Parameters
    ----------
    text : str or bytes
        Bytes must be UTF-8.
    bound : collection of str
        Names that the user has given values: they are variables even if they spell a constant.
    limits : Limits, optional
        Bounds on the size of the text and of what it says.
    label : str
        What messages call the text.

    Returns
    -------
    Parsed
        The nodes, result last, and the variables.

    Raises
    ------
    InputRefused
        With a stable `code`, the place with a caret line, and what to write instead.

    Examples
    --------
    >>> parsed = parse_expression("2*x + sin(x)")
    >>> parsed.variables, [node.function for node in parsed.nodes if isinstance(node, Apply)]
    (('x',), ['mul', 'sin', 'add'])
    """
    limits = limits or Limits()
    source = open_text(text, label, limits.text_bytes)
    return _Parser(source, limits, frozenset(bound)).parse()


class _Parser:
    """One parse.  `_stack` holds open brackets and pending operators, innermost last."""

    def __init__(self, source: Source, limits: Limits, bound: frozenset[str]) -> None:
        self._source = source
        self._limits = limits
        self._bound = bound
        self._tokens = Tokens(source, limits)
        self._stack: list[_Bracket | _Pending] = []
        self._build = Builder(source, limits)

    def parse(self) -> Parsed:
        """Alternate between the two states: an operand is due, or what may follow one."""
        operand: Operand | None = None
        while True:
            token = self._tokens.take()
            if operand is None:
                operand = self._operand(token)
            elif token.kind == "end":
                self._finish(operand)
                return Parsed(tuple(self._build.nodes), tuple(self._build.variables))
            else:
                operand = self._after(operand, token)

    # ---- an operand is due

    def _operand(self, token: Token) -> Operand | None:
        if token.kind == "number":
            value = number_value(self._source, token, self._limits)
            return self._build.number(value, token.start, token.end)
        if token.kind == "name":
            return self._name(token)
        if token.text == "(":
            return self._push(_Bracket(token, token.start))
        if token.text in _PREFIX:
            return self._prefix(token)
        self._refuse_operand(token)

    def _name(self, token: Token) -> Operand | None:
        if self._tokens.peek().text == "(":
            if token.text not in FUNCTIONS:
                self._refuse_function(token)
            opening = self._tokens.take()
            return self._push(_Bracket(opening, token.start, token.text, FUNCTIONS[token.text]))
        if token.text in CONSTANTS and token.text not in self._bound:
            return self._build.constant(token.text, token.start)
        return self._build.variable(token.text, token.start)

    def _prefix(self, token: Token) -> None:
        operator = _PREFIX[token.text]
        top = self._stack[-1] if self._stack else None
        if operator.right == _NOT and isinstance(top, _Pending) and top.operator.right > _NOT:
            self._refuse(
                token, "`not` cannot stand here", code="E_EXPECTED_OPERAND", do="write (not condition)"
            )
        self._push(_Pending(token, operator))

    def _push(self, entry: _Bracket | _Pending) -> None:
        if len(self._stack) >= self._limits.depth:
            span = self._source.span(entry.token.start, entry.token.end)
            what = "the expression nests too deeply"
            raise self._source.over(span, what, "depth", self._limits.depth, "E_LIMIT_DEPTH")
        self._stack.append(entry)

    # ---- an operand has been read

    def _after(self, operand: Operand, token: Token) -> Operand | None:
        operator = _INFIX.get(token.text)
        if operator is not None:
            return self._infix(operand, token, operator)
        if token.text == ")":
            return self._close(self._reduce(operand, 0), token)
        if token.text == ",":
            return self._comma(self._reduce(operand, 0), token)
        self._refuse_missing_operator(operand, token)

    def _infix(self, left: Operand, token: Token, operator: _Operator) -> None:
        left = self._reduce(left, operator.left)
        if operator.left == _COMPARISON and left.compared is not None:
            return self._push(_Pending(token, operator, left.compared, chained=left))
        return self._push(_Pending(token, operator, left))

    def _reduce(self, operand: Operand, power: int) -> Operand:
        """Apply the pending operators that hold `operand` at least as tightly as `power`."""
        while self._stack:
            top = self._stack[-1]
            if isinstance(top, _Bracket) or top.operator.right < power:
                break
            self._stack.pop()
            operand = self._apply(top, operand)
        return operand

    def _apply(self, pending: _Pending, operand: Operand) -> Operand:
        function, start = pending.operator.function, pending.token.start
        if pending.left is None:
            return self._build.prefix(function, operand, start)
        result = self._build.apply(function, [pending.left, operand], pending.left.start, operand.end)
        if pending.operator.left != _COMPARISON:
            return result
        if pending.chained is not None:
            both = [pending.chained, result]
            result = self._build.apply("logical_and", both, pending.chained.start, operand.end)
        return Operand(result.node, result.start, result.end, compared=operand)

    def _close(self, operand: Operand, token: Token) -> Operand:
        if not self._stack:
            self._refuse(
                token,
                "this parenthesis closes nothing",
                code="E_UNOPENED_PARENTHESIS",
                do="remove it or open one",
            )
        bracket = self._stack.pop()
        assert isinstance(bracket, _Bracket)  # _reduce stops at nothing else
        if bracket.function is None:
            return Operand(operand.node, bracket.start, token.end)
        bracket.arguments.append(operand)
        self._check_arity(bracket, token)
        return self._build.call(bracket.function, bracket.arguments, bracket.start, token.end)

    def _comma(self, operand: Operand, token: Token) -> None:
        bracket = self._stack[-1] if self._stack else None
        if not isinstance(bracket, _Bracket) or bracket.function is None:
            do = "write one expression; a decimal point is a dot: 0.5"
            self._refuse(token, "a comma may only separate arguments", code="E_COMMA", do=do)
        bracket.arguments.append(operand)

    def _finish(self, operand: Operand) -> None:
        self._reduce(operand, 0)
        if self._stack:
            opening = self._stack[-1].token
            what = "this parenthesis is never closed"
            self._refuse(opening, what, code="E_UNCLOSED_PARENTHESIS", do="add a )")

    # ---- refusals

    def _refuse(self, token: Token, what: str, *, code: str, why: str = "", do: str = "") -> NoReturn:
        span = self._source.span(token.start, token.end)
        raise self._source.refuse(span, what, code=code, why=why, do=do)

    def _check_arity(self, bracket: _Bracket, closing: Token) -> None:
        function, given = bracket.function, len(bracket.arguments)
        assert function is not None
        if given == function.arity or (function.variadic and given > function.arity):
            return
        takes = f"{function.arity} argument{'s' * (function.arity != 1)}{' or more' * function.variadic}"
        do = "for another base write log(x)/log(base)" if function.name == "log" and given == 2 else ""
        span = self._source.span(bracket.start, closing.end)
        what = f"{bracket.name} takes {takes}, not {given}"
        raise self._source.refuse(span, what, do=do, code="E_ARITY")

    def _refuse_operand(self, token: Token) -> NoReturn:
        top = self._stack[-1] if self._stack else None
        if token.text == ")" and isinstance(top, _Bracket) and top.function and not top.arguments:
            self._check_arity(top, token)
        if token.text == "|":
            do = "for an absolute value write abs(x)"
            self._refuse(token, "a formula cannot begin with |", code="E_ABSOLUTE_BARS", do=do)
        if token.kind == "end" and not self._source.text.strip():
            raise InputRefused(
                f"the {self._source.label} is empty", do="write a formula: x**2", code="E_EMPTY"
            )
        found = f"`{token.text}`" if token.text else "the end"
        after = f" after `{top.token.text}`" if top else ""
        what = f"a number, name or parenthesis should stand{after} before {found}"
        self._refuse(token, what, code="E_EXPECTED_OPERAND")

    def _refuse_function(self, token: Token) -> NoReturn:
        name = token.text
        known = name in self._bound or name in self._build.variables or (name in CONSTANTS and name != "e")
        do = f"to multiply, write {name}*(...)" if known else suggest(name)
        self._refuse(token, f"{name} is not a function gradc knows", code="E_UNKNOWN_FUNCTION", do=do)

    def _refuse_missing_operator(self, operand: Operand, token: Token) -> NoReturn:
        left = self._source.text[operand.start : operand.end]
        if left in FUNCTIONS:
            do = f"to call the function write {left}(...)"
        elif len(left) <= self._limits.name_length and token.text != "|":
            right = "(...)" if token.text == "(" else token.text
            do = f"to multiply write {shorten(left)}*{right}"
        else:
            do = "to multiply write *"
        self._refuse(token, "an operator is missing before this", code="E_MISSING_OPERATOR", do=do)
