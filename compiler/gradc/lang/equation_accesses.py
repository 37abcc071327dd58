"""The part of the index parser that reads tensors: ``x[n, 2*p + i]``, ``pad(x, 1)[i + j]``, ``b``."""

from __future__ import annotations

import math
from typing import NoReturn

from gradc.lang.equation_nodes import IndexNumber, Literal, Node, Reference, Subscript, Widths
from gradc.lang.equation_tokens import Cursor, Token, shown
from gradc.lang.indexed import Form, LoopIndex
from gradc.lang.source import Source, Span

NUMBERS = {"pi": math.pi, "inf": math.inf}
RESERVED = frozenset(("sum", "prod", "max", "min", "pad", "with", "and", "or", "not"))


class AccessParser(Cursor):
    """Reads accesses; `scope` holds the indices in use, `ended` those whose reduction is over."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.nodes: list[Node] = []
        self.scope: dict[str, LoopIndex] = {}
        self.ended: dict[str, LoopIndex] = {}
        self.read: dict[str, Span] = {}

    def add(self, node: Node) -> int:
        """Append a node."""
        self.nodes.append(node)
        return len(self.nodes) - 1

    def name(self, why: str) -> Token:
        """Take a name that is no reserved word."""
        token = self.next
        if token.kind != "name":
            self.refuse(token, f"a name should stand before {shown(token)}", why=why)
        if token.text in RESERVED or token.text.startswith("__"):
            self.refuse(token, f"{token.text} cannot be a name", why="it has a meaning of its own")
        return self.take()

    def reference(self) -> int:
        """Parse an index as a number, a scalar tensor, ``x[...]`` or ``pad(x, 1)[...]``."""
        start, pad = self.next.start, ()
        if self.skip("pad"):
            name, pad = self.padded()
        else:
            name = self.name("a tensor or an index")
        if not pad and self.next.text != "[":
            if name.text in self.scope:
                return self.add(IndexNumber(self.scope[name.text], self.span(start)))
            if name.text in self.ended and name.text not in self.read:
                self.unknown_index(name)
            if name.text in NUMBERS:
                return self.add(Literal(NUMBERS[name.text], self.span(start)))
        subscripts = self.subscripts() if self.next.text == "[" else ()
        if name.text in self.scope:
            self.refuse(
                name, f"{name.text} is an index and cannot be a tensor too", do="rename one of the two"
            )
        self.read.setdefault(name.text, self.source.span(name.start, name.end))
        return self.add(Reference(name.text, subscripts, self.span(start), pad))

    def padded(self) -> tuple[Token, Widths]:
        """``pad(x, 1)`` or ``pad(x, 0, (1, 2))``: the tensor and its amounts."""
        self.expect("(", "zeros outside a tensor are written pad(x, 1)[i + j]")
        name = self.name("pad takes a tensor and amounts: pad(x, 1)")
        amounts: list[tuple[int, int]] = []
        while self.skip(","):
            if self.skip("("):
                before = self.amount()
                self.expect(",", "an amount is a number or a pair: (before, after)")
                amounts.append((before, self.amount()))
                self.expect(")", "an amount is a number or a pair: (before, after)")
            else:
                both = self.amount()
                amounts.append((both, both))
        self.expect(")", "the call of pad is still open")
        if not amounts:
            self.refuse(name, "pad needs an amount", do=f"write pad({name.text}, 1)")
        return name, tuple(amounts)

    def amount(self) -> int:
        """Parse a whole number of zeros."""
        token = self.take()
        if not token.text.isdigit():
            self.refuse(token, f"a whole number should stand before {shown(token)}", do="write pad(x, 1)")
        return int(token.text)

    def subscripts(self) -> tuple[Subscript, ...]:
        """``[n, 2*p + i - 1]``."""
        self.expect("[", "indices stand in brackets")
        found: list[Subscript] = []
        while not found or self.skip(","):
            start = self.next.start
            found.append(Subscript(self.affine(), self.span(start)))
        self.expect("]", "an index is a sum of indices, whole multiples of indices and whole numbers")
        return tuple(found)

    def affine(self) -> Form:
        """Parse a sum of whole multiples of indices and whole numbers."""
        terms: dict[LoopIndex, int] = {}
        offset = 0
        sign = -1 if self.skip("-") else 1
        while True:
            coefficient, index = self.affine_term()
            if index is None:
                offset += sign * coefficient
            else:
                terms[index] = terms.get(index, 0) + sign * coefficient
            if self.next.text not in ("+", "-"):
                break
            sign = -1 if self.take().text == "-" else 1
        return Form(tuple((c, index) for index, c in terms.items() if c), offset)

    def affine_term(self) -> tuple[int, LoopIndex | None]:
        """``2*p``, ``p*2``, ``p`` or ``3``: a coefficient and an index."""
        coefficient, index = 1, None
        while True:
            token = self.take()
            if token.kind == "number" and token.text.isdigit():
                coefficient *= int(token.text)
            elif token.kind == "name" and index is None:
                index = self.scope.get(token.text) or self.unknown_index(token)
            else:
                self.refuse_subscript(token)
            if not self.skip("*"):
                return coefficient, index

    def refuse_subscript(self, token: Token) -> NoReturn:
        """Explain what an index expression may be."""
        if token.kind == "name":
            why = "a product of two indices is not affine"
        elif token.kind == "number":
            why = "coefficients and offsets are whole numbers"
        else:
            why = "an index is a sum of indices, whole multiples of indices and whole numbers"
        self.refuse(token, f"{shown(token)} cannot stand in an index", why=why, code="E_INDEX_FORM")

    def unknown_index(self, token: Token) -> NoReturn:
        """Explain where an index can be bound."""
        name = token.text
        if name in self.ended:
            self.refuse(
                token,
                f"index {name} is not bound here",
                why="a reduction reaches over products and ends before + and -",
                do=f"put the body in parentheses: sum[{name}] (...)",
                code="E_UNKNOWN_INDEX",
            )
        known = ", ".join(self.scope) or "none"
        self.refuse(
            token,
            f"index {name} is not bound",
            why=f"indices bound here: {known}",
            do=f"name it on the left of =, or reduce over it: sum[{name}] ...",
            code="E_UNKNOWN_INDEX",
        )
