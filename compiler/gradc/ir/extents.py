"""Extents: the sizes of axes, as integers or polynomials with integer coefficients over named symbols.

    Size := int | Polynomial
    Polynomial := sum of coefficient * product of symbols        e.g. n, n + 1, 2*n*m

Every symbol stands for a nonnegative integer.  Polynomials are interned, so equality is identity and an extent
costs a dictionary look-up, not a symbolic computation; the module needs no SymPy, because loop nests and printers
use extents too.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Monomial = tuple[str, ...]


class Polynomial:
    """An interned polynomial in canonical form; build with `symbol` and the arithmetic operators."""

    __slots__ = ("__weakref__", "terms")
    terms: tuple[tuple[Monomial, int], ...]

    def __repr__(self) -> str:
        return show(self)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (_intern_terms, (self.terms,))

    def __add__(self, other: Size) -> Size:
        return add(self, other)

    def __radd__(self, other: Size) -> Size:
        return add(other, self)

    def __sub__(self, other: Size) -> Size:
        return sub(self, other)

    def __rsub__(self, other: Size) -> Size:
        return sub(other, self)

    def __mul__(self, other: Size) -> Size:
        return mul(self, other)

    def __rmul__(self, other: Size) -> Size:
        return mul(other, self)


Size = int | Polynomial

_interned: weakref.WeakValueDictionary[tuple[tuple[Monomial, int], ...], Polynomial] = (
    weakref.WeakValueDictionary()
)


def _intern_terms(terms: tuple[tuple[Monomial, int], ...]) -> Polynomial:
    found = _interned.get(terms)
    if found is None:
        found = Polynomial()
        found.terms = terms
        _interned[terms] = found
    return found


def _from_dict(terms: dict[Monomial, int]) -> Size:
    kept = {monomial: coefficient for monomial, coefficient in terms.items() if coefficient}
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    return _intern_terms(tuple(sorted(kept.items(), key=lambda item: (-len(item[0]), item[0]))))


def _terms(size: Size) -> tuple[tuple[Monomial, int], ...]:
    return size.terms if isinstance(size, Polynomial) else (((), size),)


def symbol(name: str) -> Polynomial:
    """The polynomial consisting of one symbol."""
    return _intern_terms((((name,), 1),))


def add(first: Size, second: Size) -> Size:
    """Sum of two sizes."""
    if isinstance(first, int) and isinstance(second, int):
        return first + second
    result = dict(_terms(first))
    for monomial, coefficient in _terms(second):
        result[monomial] = result.get(monomial, 0) + coefficient
    return _from_dict(result)


def mul(first: Size, second: Size) -> Size:
    """Product of two sizes."""
    if isinstance(first, int) and isinstance(second, int):
        return first * second
    result: dict[Monomial, int] = {}
    for left, a in _terms(first):
        for right, b in _terms(second):
            monomial = tuple(sorted(left + right))
            result[monomial] = result.get(monomial, 0) + a * b
    return _from_dict(result)


def sub(first: Size, second: Size) -> Size:
    """Difference of two sizes."""
    return add(first, mul(-1, second))


def product(sizes: tuple[Size, ...]) -> Size:
    """Number of elements of a shape."""
    result: Size = 1
    for size in sizes:
        result = mul(result, size)
    return result


def divide_exactly(first: Size, second: Size) -> Size | None:
    """`first / second` when the division leaves no remainder for every value of the symbols, else None."""
    divisor = _terms(second)
    if len(divisor) != 1 or divisor[0][1] == 0:
        return 1 if first is second else None
    monomial, coefficient = divisor[0]
    result: dict[Monomial, int] = {}
    for term, factor in _terms(first):
        rest = list(term)
        for name in monomial:
            if name not in rest:
                return None
            rest.remove(name)
        if factor % coefficient:
            return None
        result[tuple(rest)] = factor // coefficient
    return _from_dict(result)


def symbols(size: Size) -> tuple[str, ...]:
    """Names of the symbols, in order of first appearance."""
    if isinstance(size, int):
        return ()
    return tuple(dict.fromkeys(name for monomial, _ in size.terms for name in monomial))


def is_symbol(size: Size) -> bool:
    """Whether the size is exactly one symbol."""
    return (
        isinstance(size, Polynomial)
        and len(size.terms) == 1
        and size.terms[0][1] == 1
        and len(size.terms[0][0]) == 1
    )


def is_nonnegative(size: Size) -> bool | None:
    """Whether a size is nonnegative for every value of its symbols; None where that depends on them."""
    if isinstance(size, int):
        return size >= 0
    coefficients = [coefficient for _, coefficient in size.terms]
    if all(coefficient >= 0 for coefficient in coefficients):
        return True
    if all(coefficient <= 0 for coefficient in coefficients) and dict(size.terms).get((), 0) < 0:
        return False
    return None


def balanced(difference: Size) -> tuple[Size, Size]:
    """Two sizes with nonnegative coefficients whose difference is the given one: a condition as a person writes it."""
    above: Size = 0
    below: Size = 0
    for monomial, coefficient in _terms(difference):
        term = product((abs(coefficient), *map(symbol, monomial)))
        above, below = (above + term, below) if coefficient > 0 else (above, below + term)
    return above, below


def substitute(size: Size, values: Mapping[str, Size]) -> Size:
    """Replace symbols by sizes."""
    if isinstance(size, int):
        return size
    result: Size = 0
    for monomial, coefficient in size.terms:
        term: Size = coefficient
        for name in monomial:
            term = mul(term, values[name] if name in values else symbol(name))
        result = add(result, term)
    return result


def evaluate(size: Size, values: Mapping[str, int]) -> int:
    """The number a size stands for, given the value of every symbol."""
    if isinstance(size, int):
        return size
    total = 0
    for monomial, coefficient in size.terms:
        for name in monomial:
            coefficient *= values[name]
        total += coefficient
    return total


def show(size: Size) -> str:
    """Text such as ``2*n*m + 1``, deterministic and valid Python."""
    if isinstance(size, int):
        return str(size)
    text = ""
    for monomial, coefficient in size.terms:
        factors = [*(() if abs(coefficient) == 1 and monomial else (str(abs(coefficient)),)), *monomial]
        sign = "-" if coefficient < 0 else "+"
        text += (
            f" {sign} {'*'.join(factors)}" if text else ("-" if coefficient < 0 else "") + "*".join(factors)
        )
    return text


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition on extents that a compiled kernel relies on, checked at every call.

    `relation` is one of ``"=="``, ``"!="``, ``">="``, ``"<"`` and ``"divides"`` (``right`` divides ``left``).
    """

    left: Size
    relation: str
    right: Size
    reason: str = ""

    def holds(self, values: Mapping[str, int]) -> bool:
        """Whether the condition is true for these values of the symbols."""
        left, right = evaluate(self.left, values), evaluate(self.right, values)
        match self.relation:
            case "==":
                return left == right
            case "!=":
                return left != right
            case ">=":
                return left >= right
            case "<":
                return left < right
            case "divides":
                return left == 0 if right == 0 else left % right == 0
            case _:
                raise ValueError(f"unknown relation {self.relation!r}")

    def __str__(self) -> str:
        if self.relation == "divides":
            return f"{show(self.right)} divides {show(self.left)}"
        return f"{show(self.left)} {self.relation} {show(self.right)}"


@dataclass(frozen=True, slots=True)
class Quotient:
    """A symbol defined as ``numerator // denominator``; unless `floor`, a guard records that it is exact."""

    symbol: str
    numerator: Size
    denominator: Size
    floor: bool = False
