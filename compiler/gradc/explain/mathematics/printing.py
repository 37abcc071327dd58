"""From the tree to text with brackets where they are needed; the signs are those of a style."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gradc.explain.mathematics import building as build
from gradc.explain.mathematics import tree
from gradc.explain.mathematics.symbols import Symbols
from gradc.explain.mathematics.tree import (
    Affine,
    Apply,
    Constant,
    Expression,
    Extent,
    IndexNumber,
    LookedUp,
    Number,
    Place,
    Power,
    Product,
    Reduction,
    Sum,
    Tensor,
)
from gradc.ir.extents import Size, symbol

# How tightly text binds; an operand of weaker text gets brackets.
LOOSE, OR, XOR, AND, COMPARED, ADDED, MULTIPLIED, FACTOR, RAISED, ATOM = range(10)
_LOGICAL = {"logical_or": OR, "logical_xor": XOR, "logical_and": AND}

Text = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Printer(ABC):
    """Prints expressions; a style says how the parts look."""

    symbols: Symbols
    letters: Mapping[int, str] = field(default_factory=dict)

    # --- what a style decides ---------------------------------------------------------------------------

    @abstractmethod
    def name(self, tensor: str, indices: str = "") -> Text:
        """The symbol of a tensor with its indices, which may be empty."""

    @abstractmethod
    def size_name(self, name: str) -> str:
        """The symbol of an extent."""

    @abstractmethod
    def indices(self, places: Sequence[Place]) -> str:
        """The indices of an element."""

    @abstractmethod
    def number(self, value: float) -> Text:
        """A nonnegative number."""

    @abstractmethod
    def constant(self, name: str) -> Text:
        """A constant that has a letter."""

    @abstractmethod
    def bracketed(self, text: str) -> str:
        """Text in round brackets."""

    @abstractmethod
    def juxtaposed(self, factors: Sequence[str]) -> str:
        """Factors side by side."""

    @abstractmethod
    def fraction(self, above: Expression, below: Expression) -> Text:
        """A quotient."""

    @abstractmethod
    def raised(self, base: str, exponent: Expression) -> Text:
        """A power."""

    @abstractmethod
    def compared(self, function: str) -> str:
        """The sign of a comparison or of a logical function, with its spaces."""

    @abstractmethod
    def negated(self, condition: str) -> str:
        """The opposite of a condition."""

    @abstractmethod
    def indicator(self, condition: str) -> str:
        """1 where a condition holds, else 0."""

    @abstractmethod
    def reduced(self, function: str, variables: Sequence[str], body: str) -> str:
        """A reduction."""

    @abstractmethod
    def cases(self, rows: Sequence[tuple[str, str]], otherwise: str) -> Text:
        """Values with their conditions, and the value where none holds."""

    @abstractmethod
    def called(self, expression: Apply) -> Text:
        """A function of arguments."""

    # --- the walk ---------------------------------------------------------------------------------------

    def text(self, expression: Expression) -> str:
        """The text of an expression."""
        return self.shown(expression)[0]

    def at(self, expression: Expression, level: int) -> str:
        """The text of an expression, in brackets where it binds more weakly than `level`."""
        text, own = self.shown(expression)
        return text if own >= level else self.bracketed(text)

    def condition(self, expression: Expression, level: int = LOOSE) -> str:
        """The text of an expression where a condition is expected."""
        if not tree.is_condition(expression):
            return self.at(expression, level)
        assert isinstance(expression, Apply)
        text, own = self._condition(expression)
        return text if own >= level else self.bracketed(text)

    def _condition(self, expression: Apply) -> Text:
        function, arguments = expression.function, expression.arguments
        if function == "logical_not":
            return self.negated(self.condition(arguments[0], ATOM)), COMPARED
        sign = self.compared(function)
        if function in tree.COMPARISONS:
            return sign.join(self.at(argument, ADDED) for argument in arguments), COMPARED
        level = _LOGICAL[function]
        return sign.join(self.condition(argument, level + 1) for argument in arguments), level

    def shown(self, expression: Expression) -> Text:
        """The text of an expression and how tightly it binds."""
        match expression:
            case Number() | Constant() | Extent() | IndexNumber() | Tensor():
                return self._leaf(expression)
            case Sum(terms):
                return self._sum(terms), ADDED
            case Product():
                return self._product(expression)
            case Power(base, exponent):
                return self.raised(self.at(base, ATOM), exponent)
            case Reduction():
                return self._reduction(expression)
            case Apply():
                return self._applied(expression)

    def _leaf(self, expression: Number | Constant | Extent | IndexNumber | Tensor) -> Text:
        match expression:
            case Number(value):
                return (f"-{self.number(-value)[0]}", ADDED) if value < 0 else self.number(value)
            case Constant(name):
                return self.constant(name)
            case Extent(size):
                return self.size(size)
            case IndexNumber(place):
                return self.place(place), ATOM if len(place.terms) == 1 and place.offset == 0 else ADDED
            case Tensor(name, places):
                return self.name(name, self.indices(places) if places else "")

    def _sum(self, terms: Sequence[Expression]) -> str:
        text = ""
        for term in terms:
            below_zero = isinstance(term, Product) and term.coefficient < 0
            below_zero = below_zero or (isinstance(term, Number) and term.value < 0)
            if text:
                shown = self.at(build.negative(term) if below_zero else term, MULTIPLIED)
                text += f"{' - ' if below_zero else ' + '}{shown}"
            else:
                text = self.at(term, ADDED)
        return text

    def _product(self, expression: Product) -> Text:
        if expression.coefficient < 0:
            return f"-{self.at(build.negative(expression), MULTIPLIED)}", ADDED
        if expression.below:
            above = Product(expression.coefficient, expression.above, ())
            below = Product(1, expression.below, ())
            return self.fraction(_simple(above), _simple(below))
        factors = list(expression.above)
        texts = [] if expression.coefficient == 1 else [self.number(expression.coefficient)[0]]
        texts += [self.at(factor, FACTOR) for factor in factors[:-1]]
        # A sum at the end of a product needs no brackets: it reaches to the end of the term anyway.
        texts.append(self.at(factors[-1], MULTIPLIED if isinstance(factors[-1], Reduction) else FACTOR))
        return self.juxtaposed(texts), MULTIPLIED

    def _reduction(self, expression: Reduction) -> Text:
        variables = [self.letters[variable.number] for variable in expression.variables]
        logical = expression.function in ("any", "all")
        body = (
            self.condition(expression.body, COMPARED + 1) if logical else self.at(expression.body, MULTIPLIED)
        )
        return self.reduced(expression.function, variables, body), MULTIPLIED

    def _applied(self, expression: Apply) -> Text:
        if tree.is_condition(expression):
            return self.indicator(self._condition(expression)[0]), ATOM
        if expression.function == "select":
            condition, first, second = expression.arguments
            if tree.is_number(first, 1) and tree.is_number(second, 0):
                return self.indicator(self.condition(condition)), ATOM
            if tree.is_number(first, 0) and tree.is_number(second, 1):
                return self.indicator(self.negated(self.condition(condition, ATOM))), ATOM
            rows: list[tuple[str, str]] = []
            rest: Expression = expression
            while isinstance(rest, Apply) and rest.function == "select":
                condition, value, rest = rest.arguments
                rows.append((self.text(value), self.condition(condition)))
            return self.cases(rows, self.text(rest))
        return self.called(expression)

    def arguments(self, expression: Apply) -> str:
        """The arguments of a function, with commas."""
        return ", ".join(self.text(argument) for argument in expression.arguments)

    # --- indices and sizes ------------------------------------------------------------------------------

    def place(self, place: Place) -> str:
        """The text of an index."""
        if isinstance(place, LookedUp):
            return self.name(place.tensor, self.indices(place.places))[0]
        return self._affine(place)

    def _affine(self, place: Affine) -> str:
        text = ""
        for coefficient, variable in place.terms:
            factor = "" if abs(coefficient) == 1 else str(abs(coefficient))
            sign = "-" if coefficient < 0 else "+" if text else ""
            text += sign + factor + self.letters[variable.number]
        if place.offset == 0 and text:
            return text
        offset = self.size(place.offset)[0].replace(" ", "")
        return offset if not text else f"{text}{'' if offset.startswith('-') else '+'}{offset}"

    def size(self, size: Size) -> Text:
        """The text of an extent."""
        if isinstance(size, int):
            return (str(size), ATOM) if size >= 0 else (str(size), ADDED)
        terms: list[Expression] = []
        for monomial, coefficient in size.terms:
            factors = [Extent(symbol(name)) for name in monomial]
            terms.append(build.product(Number(coefficient), *factors))
        if len(terms) == 1 and isinstance(terms[0], Extent):
            return self.size_name(size.terms[0][0][0]), ATOM
        return self.shown(build.total(*terms))


def _simple(expression: Product) -> Expression:
    return (
        build.product(Number(expression.coefficient), *expression.above)
        if expression.above
        else Number(expression.coefficient)
    )


def simple_factor(expression: Expression) -> bool:
    """Whether an expression is one factor that needs no brackets below the line of a fraction."""
    return not isinstance(expression, Sum | Product | Reduction)


def decimal(value: float) -> str:
    """A number without an exponent of zero, a decimal point at its end or digits that only rounding made.

    Examples
    --------
    >>> decimal(2.0), decimal(0.1), decimal(1e-05), decimal(0.1 * 0.2)
    ('2', '0.1', '1e-05', '0.02')
    """
    if float(value).is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.12g}"


def every(items: Iterable[str]) -> str:
    """Texts one after the other where each is a single letter, else with commas."""
    texts = list(items)
    return "".join(texts) if all(len(text) == 1 for text in texts) else ",".join(texts)
