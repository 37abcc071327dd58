"""Extents that turn out to be equal while a program is built.

Every argument axis starts as a symbol of its own.  When two axes meet in a broadcast or a contraction their
symbols are unified; the call-time check then follows from one symbol occurring twice.  Where Python needs a number
(``range(n)``, ``if n > 3``) a symbol is *specialised* to its present value and the guard is recorded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gradc.errors import ShapeError
from gradc.ir import extents
from gradc.ir.extents import Guard, Polynomial, Quotient, Size


class ExtentSolver:
    """Union of extents; `hints` holds the values that the symbols have in the call being traced."""

    def __init__(self, hints: Mapping[str, int] | None = None) -> None:
        self.hints: dict[str, int] = dict(hints or {})
        self.bound: dict[str, Size] = {}
        self.guards: dict[Guard, None] = {}
        self.quotients: list[Quotient] = []

    def resolve(self, size: Size) -> Size:
        """`size` with every bound symbol replaced and ``quotient * denominator`` multiplied out."""
        size = self._substituted(size)
        for quotient in reversed(self.quotients):
            if not quotient.floor and quotient.symbol in extents.symbols(size):
                denominator = self._substituted(quotient.denominator)
                product = _multiplied_out(size, quotient.symbol, denominator, quotient.numerator)
                if product is not size:
                    return self.resolve(product)
        return size

    def _substituted(self, size: Size) -> Size:
        while not isinstance(size, int) and any(name in self.bound for name in extents.symbols(size)):
            size = extents.substitute(size, self.bound)
        return size

    def value(self, size: Size) -> int:
        """The number that `size` is in the call being traced."""
        return extents.evaluate(size, self.hints)

    def unify(self, first: Size, second: Size, reason: str = "") -> Size:
        """Make two extents equal and return the one to use; raises `ShapeError` where they cannot be."""
        first, second = self.resolve(first), self.resolve(second)
        if first is second or first == second:
            return first
        if isinstance(first, int) and isinstance(second, int):
            raise ShapeError(f"extents {first} and {second} do not agree", why=reason)
        self._check_hints(first, second, reason)
        difference = first - second
        if isinstance(difference, int):
            raise ShapeError(
                f"extents {extents.show(first)} and {extents.show(second)} do not agree", why=reason
            )
        left, right = extents.balanced(difference)
        derived = self._derived()
        for symbol, other in ((right, left), (left, right)):
            if extents.is_symbol(symbol) and str(symbol) not in self._dependencies(other):
                if str(symbol) in derived:  # its value is computed, not read off an argument: check it
                    self.guards[Guard(symbol, "==", other, reason)] = None
                self.bound[str(symbol)] = other
                return self.resolve(first)
        self.guards[Guard(left, "==", right, reason)] = None
        return first

    def _derived(self) -> set[str]:
        return {quotient.symbol for quotient in self.quotients}

    def _dependencies(self, size: Size) -> set[str]:
        """Symbols that the value of `size` follows from, through the definitions of quotients."""
        found = set(extents.symbols(size))
        for quotient in reversed(self.quotients):
            if quotient.symbol in found:
                for part in (quotient.numerator, quotient.denominator):
                    found.update(extents.symbols(self._substituted(part)))
        return found

    def _check_hints(self, first: Size, second: Size, reason: str) -> None:
        known = all(name in self.hints for size in (first, second) for name in extents.symbols(size))
        if known and self.value(first) != self.value(second):
            left, right = (
                str(size) if isinstance(size, int) else f"{extents.show(size)} = {self.value(size)}"
                for size in (first, second)
            )
            raise ShapeError(f"extents {left} and {right} do not agree", why=reason)

    def specialise(self, size: Size, reason: str = "") -> int:
        """The number behind `size`, recording that the compiled program holds for this number only."""
        size = self.resolve(size)
        if isinstance(size, int):
            return size
        number = self.value(size)
        if extents.is_symbol(size):
            self.guards[Guard(size, "==", number, reason)] = None
            self.bound[str(size)] = number
        else:
            self.guards[Guard(size, "==", number, reason)] = None
        return number

    def require(self, left: Size, relation: str, right: Size, reason: str = "") -> None:
        """Record a guard unless it holds for every value of the symbols; it must hold in the call being traced."""
        left, right = self.resolve(left), self.resolve(right)
        guard = Guard(left, relation, right, reason)
        constant = isinstance(left, int) and isinstance(right, int)
        known = all(name in self.hints for size in (left, right) for name in extents.symbols(size))
        if (constant or known) and not guard.holds(self.hints):
            raise ShapeError(f"{guard} does not hold", why=reason)
        if not constant:
            self.guards[guard] = None

    def divide(self, numerator: Size, denominator: Size, reason: str = "") -> Size:
        """``numerator / denominator``, with a divisibility guard and a new symbol where it is not a polynomial."""
        numerator, denominator = self.resolve(numerator), self.resolve(denominator)
        exact = extents.divide_exactly(numerator, denominator)
        if exact is not None:
            return exact
        if isinstance(numerator, int) and isinstance(denominator, int):
            raise ShapeError(f"{denominator} does not divide {numerator}", why=reason)
        if not self._known_quotient(numerator, denominator, floor=False):
            self.require(numerator, "divides", denominator, reason)
        return self._quotient(numerator, denominator, floor=False)

    def divide_down(self, numerator: Size, denominator: int) -> Size:
        """``numerator // denominator`` for any remainder; a new symbol where it is not a polynomial."""
        numerator = self.resolve(numerator)
        exact = extents.divide_exactly(numerator, denominator)
        if exact is not None:
            return exact
        if isinstance(numerator, int):
            return numerator // denominator
        return self._quotient(numerator, denominator, floor=True)

    def _known_quotient(self, numerator: Size, denominator: Size, *, floor: bool) -> Quotient | None:
        for known in self.quotients:
            if (known.numerator, known.denominator, known.floor) == (numerator, denominator, floor):
                return known
        return None

    def _quotient(self, numerator: Size, denominator: Size, *, floor: bool) -> Size:
        known = self._known_quotient(numerator, denominator, floor=floor)
        if known is not None:
            return extents.symbol(known.symbol)
        name = f"q{len(self.quotients) + 1}"
        self.quotients.append(Quotient(name, numerator, denominator, floor))
        if all(s in self.hints for size in (numerator, denominator) for s in extents.symbols(size)):
            divisor = self.value(denominator)
            self.hints[name] = self.value(numerator) // divisor if divisor else 0
        return extents.symbol(name)

    # --- for the finished program -----------------------------------------------------------------------

    def _written(self, size: Size) -> Size:
        """`size` in symbols that a caller can compute: those of arguments and the quotients."""
        derived = self._derived()
        while not isinstance(size, int):
            names = [name for name in extents.symbols(size) if name in self.bound and name not in derived]
            if not names:
                break
            size = extents.substitute(size, {name: self.bound[name] for name in names})
        return size

    def written_guards(self) -> list[Guard]:
        """List the guards that the types of the arguments do not imply already."""
        result: dict[Guard, None] = {}
        for guard in self.guards:
            left, right = self._written(guard.left), self._written(guard.right)
            certain = left is right or (isinstance(left, int) and isinstance(right, int))
            if guard.relation == ">=":
                certain = extents.is_nonnegative(left - right) is True
            if not certain:
                result[Guard(left, guard.relation, right, guard.reason)] = None
        return _strongest(result)

    def written_quotients(self) -> list[Quotient]:
        """List the definitions of the quotients, each over arguments and earlier quotients."""
        return [
            Quotient(q.symbol, self._written(q.numerator), self._written(q.denominator), q.floor)
            for q in self.quotients
        ]


def _strongest(guards: Collection[Guard]) -> list[Guard]:
    """Of several ``n >= number`` for one ``n`` only the largest number says anything."""
    largest: dict[Size, int] = {}
    for guard in guards:
        if guard.relation == ">=" and isinstance(guard.right, int):
            largest[guard.left] = max(guard.right, largest.get(guard.left, guard.right))
    weaker = (
        guard.relation == ">=" and isinstance(guard.right, int) and guard.right < largest[guard.left]
        for guard in guards
    )
    return [guard for guard, implied in zip(guards, weaker, strict=True) if not implied]


def _multiplied_out(size: Size, quotient: str, denominator: Size, numerator: Size) -> Size:
    """`size` with ``quotient * denominator`` replaced by the numerator, where it occurs as such."""
    if isinstance(size, int):
        return size
    factor: Size = 0
    rest: Size = 0
    for monomial, coefficient in size.terms:
        names = list(monomial)
        if quotient in names:
            names.remove(quotient)
            factor = factor + extents.product((coefficient, *map(extents.symbol, names)))
        else:
            rest = rest + extents.product((coefficient, *map(extents.symbol, names)))
    multiple = extents.divide_exactly(factor, denominator)
    return size if multiple is None else rest + multiple * numerator


def is_one(size: Size) -> bool:
    """Whether an axis broadcasts; a symbolic extent never does (extents of 1 are static)."""
    return isinstance(size, int) and size == 1


def substituted(sizes: tuple[Size, ...], solver: ExtentSolver) -> tuple[Size, ...]:
    """Sizes with bound symbols replaced."""
    return tuple(solver.resolve(size) if isinstance(size, Polynomial) else size for size in sizes)
