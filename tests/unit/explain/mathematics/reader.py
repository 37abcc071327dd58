"""A reader of the plain text of mathematics, which knows its grammar and nothing of the tree that it came from."""

import math
import re
from collections.abc import Mapping
from typing import Any

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?)|(?P<sum>(?:Σ|Π|max|min)_[a-z]+)"
    r"|(?P<raised>[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)|(?P<word>∂[A-Za-z]+/∂[A-Za-z]+(?:_[a-z]+)?|[A-Za-z][A-Za-z0-9]*(?:_[a-z]+)?)"
    r"|(?P<sign>[-+/·^()\[\]{}|;,=<>≤≥≠∧∨¬⊕]))"  # noqa: RUF001
)
OR = "\N{LOGICAL OR}"
_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_FUNCTIONS = {"sin": math.sin, "cos": math.cos, "tanh": math.tanh, "exp": math.exp, "max": max, "abs": abs}
_COMPARISONS = {
    "=": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "≤": lambda a, b: a <= b,
    "≥": lambda a, b: a >= b,
    "≠": lambda a, b: a != b,
}
_REDUCTIONS = {"Σ": sum, "Π": math.prod, "max": max, "min": min}


def evaluate(text: str, values: Mapping[str, Any], size: int = 2) -> float:
    """The value of an expression; indices run over ``0 .. size - 1``."""
    reader = _Reader(_tokens(text), values, size)
    result = reader.sum({})
    assert reader.at == len(reader.tokens), f"{text} ends early at {reader.tokens[reader.at :]}"
    return result


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        assert match is not None, text[at:]
        kind = match.lastgroup
        assert kind is not None
        found.append((kind, match[kind]))
        at = match.end()
    return found


def _divided(above: float, below: float) -> float:
    """A quotient; arms of a choice that are not taken may divide by zero."""
    return above / below if below else math.nan


def _raised(base: float, exponent: float) -> float:
    try:
        return base**exponent
    except (OverflowError, ZeroDivisionError):
        return math.nan


class _Reader:
    def __init__(self, tokens: list[tuple[str, str]], values: Mapping[str, Any], size: int) -> None:
        self.tokens, self.values, self.size, self.at, self.inside = tokens, values, size, 0, 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self, *signs: str) -> str:
        _, text = self.peek()
        assert not signs or text in signs, f"{text} where {signs} is expected"
        self.at += 1
        return text

    def sum(self, env: dict[str, int]) -> float:
        sign = -1 if self.peek()[1] == "-" and self.take() else 1
        total = sign * self.term(env)
        while self.peek()[1] in ("+", "-"):
            sign = 1 if self.take() == "+" else -1
            total += sign * self.term(env)
        return total

    def term(self, env: dict[str, int]) -> float:
        value = self.juxtaposed(env)
        while self.peek()[1] == "/":
            self.take()
            value = _divided(value, self.power(env))
        return value

    def juxtaposed(self, env: dict[str, int]) -> float:
        if self.peek()[0] == "sum":
            return self.reduction(env)
        value = self.power(env)
        while True:
            kind, text = self.peek()
            if text == "·":
                self.take()
                value *= self.power(env)
            elif kind == "sum":
                return value * self.reduction(env)
            elif self.is_factor():
                value *= self.power(env)
            else:
                return value

    def is_factor(self) -> bool:
        kind, text = self.peek()
        word = kind == "word" and text not in ("if", "otherwise")
        return word or text in ("(", "[", "{") or (text == "|" and not self.inside)

    def reduction(self, env: dict[str, int]) -> float:
        function, _, letters = self.take().partition("_")
        start, found = self.at, []
        for point in range(self.size ** len(letters)):
            self.at = start
            indices = {letter: point // self.size**at % self.size for at, letter in enumerate(letters)}
            found.append(self.term({**env, **indices}))
        return _REDUCTIONS[function](found)

    def power(self, env: dict[str, int]) -> float:
        value = self.atom(env)
        if self.peek()[0] == "raised":
            return _raised(value, int(self.take().translate(_DIGITS)))
        if self.peek()[1] == "^":
            self.take()
            return _raised(value, self.atom(env))
        return value

    def atom(self, env: dict[str, int]) -> float:
        kind, text = self.peek()
        self.take()
        if kind == "number":
            return float(text)
        if kind == "word" and text in _FUNCTIONS and self.peek()[1] == "(":
            return self.call(text, env)
        if kind == "word":
            return self.named(text, env)
        if text == "|":
            self.inside += 1
            value = abs(self.sum(env))
            self.inside -= 1
            self.take("|")
            return value
        before, self.inside = self.inside, 0
        value = {"(": self.bracket, "[": self.indicator, "{": self.cases}[text](env)
        self.inside = before
        return value

    def call(self, name: str, env: dict[str, int]) -> float:
        self.take("(")
        before, self.inside = self.inside, 0
        arguments = [self.sum(env)]
        while self.peek()[1] == ",":
            self.take()
            arguments.append(self.sum(env))
        self.take(")")
        self.inside = before
        try:
            return _FUNCTIONS[name](*arguments)
        except (OverflowError, ValueError):
            return math.nan

    def named(self, text: str, env: dict[str, int]) -> float:
        if text in env:
            return env[text]
        name, _, letters = text.rpartition("_") if "_" in text else (text, "", "")
        value = self.values[name]
        return value[tuple(env[letter] for letter in letters)] if letters else value

    def bracket(self, env: dict[str, int]) -> float:
        value = self.sum(env)
        self.take(")")
        return value

    def indicator(self, env: dict[str, int]) -> float:
        holds = self.either(env)
        self.take("]")
        return float(holds)

    def cases(self, env: dict[str, int]) -> float:
        chosen: float | None = None
        while True:
            value = self.sum(env)
            if self.take("if", "otherwise") == "otherwise":
                self.take("}")
                return value if chosen is None else chosen
            holds = self.either(env)
            chosen = value if holds and chosen is None else chosen
            self.take(";")

    def either(self, env: dict[str, int]) -> bool:
        value = self.one_of(env)
        while self.peek()[1] == OR:
            self.take()
            value = self.one_of(env) or value
        return value

    def one_of(self, env: dict[str, int]) -> bool:
        value = self.both(env)
        while self.peek()[1] == "⊕":
            self.take()
            value = self.both(env) != value
        return value

    def both(self, env: dict[str, int]) -> bool:
        value = self.compared(env)
        while self.peek()[1] == "∧":
            self.take()
            value = self.compared(env) and value
        return value

    def compared(self, env: dict[str, int]) -> bool:
        if self.peek()[1] == "¬":
            self.take()
            self.take("(")
            value = self.either(env)
            self.take(")")
            return not value
        if self.peek()[1] == "(" and self.is_condition():
            self.take()
            value = self.either(env)
            self.take(")")
            return value
        first = self.sum(env)
        return _COMPARISONS[self.take()](first, self.sum(env))

    def is_condition(self) -> bool:
        """Whether the bracket here holds a comparison of its own, not a number."""
        depth = 0
        for _, text in self.tokens[self.at :]:
            depth += (text in ("(", "[", "{")) - (text in (")", "]", "}"))
            if depth == 0:
                return False
            if depth == 1 and text in (*_COMPARISONS, "¬", "∧", OR, "⊕"):
                return True
        return False
