"""Mathematics for display: a small tree of expressions, and walks over it.

The tree says what an equation means, not how it is rounded; it is never turned back into a program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from gradc.ir.extents import Size


@dataclass(frozen=True, slots=True)
class Variable:
    """An index that runs over ``0 .. size - 1``; `number` tells it from all others."""

    number: int
    size: Size


@dataclass(frozen=True, slots=True)
class Affine:
    """``sum of coefficient * variable + offset``."""

    terms: tuple[tuple[int, Variable], ...]
    offset: Size = 0


@dataclass(frozen=True, slots=True)
class LookedUp:
    """The element of an integer tensor, used as an index."""

    tensor: str
    places: tuple[Affine, ...]


Place: TypeAlias = Affine | LookedUp


@dataclass(frozen=True, slots=True)
class Number:
    """A number."""

    value: float | int


@dataclass(frozen=True, slots=True)
class Constant:
    """The circle number and other constants that have a letter."""

    name: str


@dataclass(frozen=True, slots=True)
class Extent:
    """The size of an axis, as a number."""

    size: Size


@dataclass(frozen=True, slots=True)
class IndexNumber:
    """The value of an index, as a number."""

    place: Affine


@dataclass(frozen=True, slots=True)
class Tensor:
    """An element of a tensor, or all of it where `places` is None; axes of one element have no place."""

    name: str
    places: tuple[Place, ...] | None


@dataclass(frozen=True, slots=True)
class Apply:
    """A function of arguments; `note` is written below its name: sizes, or the number of an axis."""

    function: str
    arguments: tuple[Expression, ...]
    note: tuple[Size, ...] = ()


@dataclass(frozen=True, slots=True)
class Sum:
    """Two terms or more."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """``coefficient * above / below``; no factor is a product or a number, but for one number below."""

    coefficient: float | int
    above: tuple[Expression, ...]
    below: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Power:
    """``base ** exponent``."""

    base: Expression
    exponent: Expression


@dataclass(frozen=True, slots=True)
class Reduction:
    """``sum`` and the like over `variables`."""

    function: str
    variables: tuple[Variable, ...]
    body: Expression


Expression: TypeAlias = (
    Number | Constant | Extent | IndexNumber | Tensor | Apply | Sum | Product | Power | Reduction
)

ZERO, ONE = Number(0), Number(1)
COMPARISONS = frozenset(("lt", "le", "gt", "ge", "eq", "ne"))
LOGICAL = frozenset(("logical_and", "logical_or", "logical_xor", "logical_not"))


def is_number(expression: Expression, value: float) -> bool:
    """Whether an expression is this number."""
    return isinstance(expression, Number) and expression.value == value


def is_condition(expression: Expression) -> bool:
    """Whether an expression is a comparison, or made of such."""
    return isinstance(expression, Apply) and expression.function in COMPARISONS | LOGICAL


# --- walks --------------------------------------------------------------------------------------------------


def children(expression: Expression) -> tuple[Expression, ...]:
    """Return the parts of an expression."""
    match expression:
        case Apply():
            return expression.arguments
        case Sum():
            return expression.terms
        case Product():
            return (*expression.above, *expression.below)
        case Power():
            return (expression.base, expression.exponent)
        case Reduction():
            return (expression.body,)
        case Number() | Constant() | Extent() | IndexNumber() | Tensor():
            return ()
        case _:
            assert_never(expression)


def nodes(expression: Expression) -> Iterator[Expression]:
    """Yield all parts of an expression, from left to right, itself first."""
    stack = [expression]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(children(node)))


def leaves(expression: Expression) -> int:
    """Return how much there is to read: names, numbers, functions and reductions."""
    count = 0
    for node in nodes(expression):
        if isinstance(node, Product):
            count += abs(node.coefficient) != 1 and bool(node.above)
        else:
            count += not isinstance(node, Sum | Power)
    return count


def tensors(expressions: Iterable[Expression]) -> Iterator[str]:
    """Yield the names of the tensors in expressions, look-up tables included, as often as they occur."""
    for expression in expressions:
        for node in nodes(expression):
            if isinstance(node, Tensor):
                yield node.name
                yield from (place.tensor for place in node.places or () if isinstance(place, LookedUp))


class NotAffine(Exception):
    """An index would be a function of a looked-up index."""


def moved(place: Place, where: Callable[[Variable], Place]) -> Place:
    """Return a place with its variables replaced.

    Raises
    ------
    NotAffine
        A variable that is more than a bare index becomes a look-up.
    """
    if isinstance(place, LookedUp):
        inner = [moved(index, where) for index in place.places]
        affine = tuple(index for index in inner if isinstance(index, Affine))
        if len(affine) < len(inner):
            raise NotAffine
        return LookedUp(place.tensor, affine)
    if len(place.terms) == 1 and place.terms[0][0] == 1 and place.offset == 0:
        return where(place.terms[0][1])
    terms: dict[Variable, int] = {}
    offset = place.offset
    for coefficient, variable in place.terms:
        found = where(variable)
        if isinstance(found, LookedUp):
            raise NotAffine
        for factor, inner in found.terms:
            terms[inner] = terms.get(inner, 0) + coefficient * factor
        offset = offset + coefficient * found.offset
    return Affine(tuple((count, variable) for variable, count in terms.items() if count), offset)
