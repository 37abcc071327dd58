"""Index notation becomes data; nothing in the text is ever evaluated.

::

    equations := equation { (newline | ";") equation }
    equation  := name [ "[" index {"," index} "]" ] "=" value [ "with" index "<" bound {"," index "<" bound} ]
    value     := operand | "-" value | value op value | reduction "[" index {"," index} "]" value
    operand   := number | index | access | function "(" value {"," value} ")" | "(" value ")"
    access    := (name | "pad" "(" name "," amount {"," amount} ")") [ "[" affine {"," affine} "]" ]
    reduction := sum | prod | max | min
    op        := or | and | (not) | < <= > >= == != | + - | * / // % | **   loosest to tightest, as in Python

A reduction reaches over products, quotients and powers and ends before ``+``, ``-`` and comparisons:
``sum[j] w[i, j] * x[j] + b[i]`` adds ``b`` outside the sum.
"""

from __future__ import annotations

from typing import NoReturn

from gradc.errors import InputRefused
from gradc.lang.equation_accesses import AccessParser
from gradc.lang.equation_nodes import Literal, Operation, ParsedEquations, Range, Reduction, Statement
from gradc.lang.equation_tokens import Token, shown
from gradc.lang.indexed import LoopIndex
from gradc.lang.source import Limits, Source, Span, open_text
from gradc.lang.vocabulary import FUNCTIONS, suggest

REDUCTIONS = ("sum", "prod", "max", "min")
_DEPTH = 100
_REDUCTION = 75  # between + and *

_INFIX: dict[str, tuple[str, int]] = {
    "or": ("logical_or", 10),
    "and": ("logical_and", 20),
    "<": ("lt", 40),
    "<=": ("le", 40),
    ">": ("gt", 40),
    ">=": ("ge", 40),
    "==": ("eq", 40),
    "!=": ("ne", 40),
    "+": ("add", 70),
    "-": ("sub", 70),
    "*": ("mul", 80),
    "/": ("div", 80),
    "//": ("floor_divide", 80),
    "%": ("mod", 80),
    "**": ("pow", 100),
}
_PREFIX = {"-": ("neg", 90), "+": ("", 90), "not": ("logical_not", 30)}


def parse_equations(text: str, *, label: str = "equation") -> ParsedEquations:
    """Parse index equations.

    Raises
    ------
    InputRefused
        With carets under the offending place and what to write instead.

    Examples
    --------
    >>> parse_equations("y[i] = sum[j] w[i, j] * x[j]").parameters
    ('w', 'x')
    """
    limits = Limits()
    return _Parser(open_text(text, label, limits.text_bytes)).parse()


class _Parser(AccessParser):
    """One parse, by operator precedence; nesting is bounded, so Python's recursion is too."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.depth = 0
        self.bound: list[tuple[LoopIndex, Span]] = []
        self.sizes: dict[str, Span] = {}
        self.statements: list[Statement] = []

    # --- statements -------------------------------------------------------------------------------------

    def parse(self) -> ParsedEquations:
        """All equations of the text."""
        while self.next.kind != "end":
            if self.next.kind == "separator":
                self.take()
            else:
                self.statements.append(self.statement())
        if not self.statements:
            raise InputRefused(
                "the text holds no equation",
                do="write y[i] = 2*x[i]",
                code="E_EMPTY",
                where=self.source.label,
            )
        defined = {statement.target for statement in self.statements}
        parameters = tuple(name for name in self.read if name not in defined)
        return ParsedEquations(self.source, tuple(self.statements), parameters, tuple(self.sizes))

    def statement(self) -> Statement:
        """``target[indices] = value with ranges``."""
        self.nodes, self.scope, self.ended, self.bound = [], {}, {}, []
        start = self.next.start
        target = self.name("a tensor's name begins an equation")
        indices = self.bindings("output", start) if self.next.text == "[" else ()
        span = self.span(start)
        self.check_target(target.text, span)
        if self.next.text == "+=":
            self.refuse(self.next, "+= is not part of index notation", do="write = sum[...] on the right")
        self.expect("=", "an equation has a left and a right side")
        self.value(0)
        if self.next.text == "\n" and self.tokens[self.at + 1].text == "with":
            self.take()
        ranges = self.ranges() if self.skip("with") else ()
        if self.next.kind not in ("separator", "end"):
            self.refuse_rest()
        return Statement(target.text, span, indices, tuple(self.nodes), tuple(self.bound), ranges)

    def check_target(self, name: str, span: Span) -> None:
        """Refuse a tensor that is defined twice, or used before its definition."""
        if any(statement.target == name for statement in self.statements):
            raise self.refusal(span, f"{name} is defined twice", do="give the second one another name")
        if name in self.read:
            raise self.refusal(
                span,
                f"{name} is read before it is defined",
                why="equations are computed in order, so the name would stand for two tensors",
                do="move this equation up, or give it another name",
            )

    def bindings(self, kind: str, start: int) -> tuple[LoopIndex, ...]:
        """``[i, j]``: names that become indices."""
        self.expect("[", "indices stand in brackets")
        found: list[LoopIndex] = []
        while not self.skip("]"):
            token = self.name(
                f"the indices of {'an output' if kind == 'output' else 'a reduction'} are plain names"
            )
            if token.text in self.scope:
                self.refuse_binding(token, kind, found)
            index = LoopIndex(token.text, len(self.bound))
            found.append(index)
            self.scope[token.text] = index
            self.bound.append((index, self.source.span(token.start, token.end)))
            if self.next.text != "]":
                self.expect(
                    ",", "indices are separated by commas; an index expression may stand only on the right"
                )
        if not found:
            raise self.refusal(
                self.span(start), "the brackets are empty", do="leave them out, or name an index"
            )
        return tuple(found)

    def refuse_binding(self, token: Token, kind: str, found: list[LoopIndex]) -> NoReturn:
        """Explain why an index cannot be bound a second time."""
        if self.scope[token.text] in found:
            what, do = f"index {token.text} appears twice here", "give each axis its own index"
            why = (
                ""
                if kind == "reduction"
                else "a diagonal is written with a condition: where(i == j, x[i], 0)"
            )
            self.refuse(token, what, why=why, do=do, code="E_REPEATED_INDEX")
        self.refuse(
            token,
            f"index {token.text} is already in use around this reduction",
            why="the reduction would hide it",
            do="rename the index of the reduction",
            code="E_SHADOWED_INDEX",
        )

    def ranges(self) -> tuple[Range, ...]:
        """``p < 10, q < n``."""
        found: list[Range] = []
        while not found or self.skip(","):
            token = self.name("a range is written: index < size")
            if all(index.name != token.text for index, _ in self.bound):
                self.refuse(token, f"{token.text} is not an index of this equation", code="E_UNKNOWN_INDEX")
            self.expect("<", "a range is written: index < size")
            found.append(Range(token.text, self.bound_of(), self.span(token.start)))
        return tuple(found)

    def bound_of(self) -> int | str:
        """Parse a whole number or the name of a size."""
        token = self.next
        if token.kind == "number" and token.text.isdigit():
            return int(self.take().text)
        name = self.name("the size of a range is a whole number or a name").text
        if any(index.name == name for index, _ in self.bound):
            self.refuse(token, f"{name} is an index, not a size", do="name a size that no index has")
        self.sizes.setdefault(name, self.source.span(token.start, token.end))
        return name

    def refuse_rest(self) -> NoReturn:
        """Explain what cannot follow a complete equation."""
        token = self.next
        if token.text == "=":
            self.refuse(token, "a second = in one equation", do="separate equations by a new line or ;")
        if token.text in (")", "]"):
            self.refuse(token, f"this `{token.text}` closes nothing")
        self.refuse(token, f"an operator is missing before {shown(token)}", do="to multiply write *")

    # --- values -----------------------------------------------------------------------------------------

    def value(self, power: int) -> int:
        """Parse a value whose operators bind more tightly than `power`; returns its node."""
        if self.depth >= _DEPTH:
            self.refuse(self.next, "the equation nests too deeply", do="split it into several equations")
        self.depth += 1
        start = self.next.start
        left = self.operand()
        while (entry := _INFIX.get(self.next.text)) is not None and entry[1] > power:
            function, strength = entry
            self.take()
            right = self.value(strength - (function == "pow"))
            left = self.add(Operation(function, (left, right), self.span(start)))
            if strength == 40 and _INFIX.get(self.next.text, ("", 0))[1] == 40:
                self.refuse(self.next, "comparisons are not chained here", do="join them: 0 < i and i < 3")
        self.depth -= 1
        return left

    def operand(self) -> int:
        """Parse a number, access, call, reduction, parenthesis or signed operand."""
        token = self.next
        if token.kind == "number":
            return self.number()
        if token.text in _PREFIX:
            return self.prefix()
        if token.text == "(":
            self.take()
            inner = self.value(0)
            self.expect(")", "the parenthesis is still open")
            return inner
        if token.kind != "name":
            self.refuse(token, f"a number, name or parenthesis should stand before {shown(token)}")
        following = self.tokens[self.at + 1].text
        if token.text in REDUCTIONS and following != "(":
            return self.reduction()
        if following == "(" and token.text != "pad":
            return self.call()
        return self.reference()

    def number(self) -> int:
        """Parse a literal."""
        token = self.take()
        value = int(token.text) if token.text.isdigit() else float(token.text)
        if abs(value) >= Limits().magnitude:
            self.refuse(token, "this number is too large")
        return self.add(Literal(value, self.span(token.start)))

    def prefix(self) -> int:
        """Parse a sign or ``not``."""
        token = self.take()
        function, strength = _PREFIX[token.text]
        inner = self.value(strength)
        node = self.nodes[inner]
        if function == "neg" and isinstance(node, Literal) and inner == len(self.nodes) - 1:
            self.nodes[inner] = Literal(-node.value, self.span(token.start))
            return inner
        return self.add(Operation(function, (inner,), self.span(token.start))) if function else inner

    def reduction(self) -> int:
        """``sum[i, j] value``."""
        token = self.take()
        if self.next.text != "[":
            do = f"write {token.text}[i] x[i]; a tensor cannot have this name"
            self.refuse(token, f"{token.text} is a reduction and needs its indices", do=do)
        outer = dict(self.scope)
        indices = self.bindings("reduction", token.start)
        body = self.value(_REDUCTION)
        self.ended.update((index.name, index) for index in indices)
        self.scope = outer
        return self.add(Reduction(token.text, indices, body, self.span(token.start)))

    def call(self) -> int:
        """Parse a function of the allow list."""
        token = self.take()
        function = FUNCTIONS.get(token.text)
        if function is None:
            do = f"to multiply write {token.text}*(...)" if token.text in self.scope else suggest(token.text)
            self.refuse(
                token, f"{token.text} is not a function gradc knows", do=do, code="E_UNKNOWN_FUNCTION"
            )
        self.take()
        arguments = [self.value(0)]
        while self.skip(","):
            arguments.append(self.value(0))
        self.expect(")", f"the call of {token.text} is still open")
        given = len(arguments)
        if given != function.arity and not (function.variadic and given > function.arity):
            takes = f"{function.arity}{' or more' * function.variadic}"
            raise self.refusal(self.span(token.start), f"{token.text} takes {takes} arguments, not {given}")
        result, rest = arguments[0], arguments[1:]
        if not function.variadic:
            return self.add(Operation(function.name, tuple(arguments), self.span(token.start)))
        for argument in rest:
            result = self.add(Operation(function.name, (result, argument), self.span(token.start)))
        return result
