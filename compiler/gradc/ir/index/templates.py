"""Templates: interned scalar expressions over the placeholders ``a0, a1, ...``.

The body of a template is a SymPy expression in which every placeholder is distinct, so SymPy's automatic
evaluation has nothing to simplify; operands stand beside the template and are never substituted into it.
From the body a *tape* is made once: a straight list of inventory functions.  NumPy, mpmath, lowering and
operation counts read the tape, never the SymPy tree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import sympy

from gradc.errors import CompilerBug
from gradc.ir.functions import COMMUTATIVE, FUNCTIONS, MARKERS, Result

# --- SymPy classes for the inventory ------------------------------------------------------------------------


class Opaque(sympy.Function):
    """A function of ours: SymPy evaluates nothing about it."""

    is_real = True


class StrongZero(Opaque):
    """``StrongZero(factor, expression)``: 0 where the factor is 0, else the expression, linear in it.

    Unlike the choice that computes it, it has the derivative of the expression where the factor is 0.
    """

    nargs = 2


@cache
def function_class(name: str) -> type[sympy.Function]:
    """SymPy class of an inventory function: no automatic evaluation, real valued."""
    return type(name, (Opaque,), {"nargs": FUNCTIONS[name].arity})


_ALGEBRA: dict[str, Callable[..., sympy.Expr]] = {
    "copy": lambda a: a,
    "neg": lambda a: -a,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "square": lambda a: a**2,
    "reciprocal": lambda a: 1 / a,
}


def apply(name: str, *arguments: sympy.Expr) -> sympy.Expr:
    """SymPy expression of an inventory function applied to arguments."""
    algebra = _ALGEBRA.get(name)
    return algebra(*arguments) if algebra else function_class(name)(*arguments)


@cache
def placeholder(position: int) -> sympy.Symbol:
    """Return the placeholder ``a<position>``."""
    return sympy.Symbol(f"a{position}", real=True)


# --- Tapes --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Argument:
    """Operand number `position` of the template."""

    position: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, in the dtype of the template's operands; `exact` says what it stands for, to any digits."""

    value: float | int
    exact: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """The result of an earlier instruction."""

    position: int


Source: TypeAlias = Argument | Literal | Step


@dataclass(frozen=True, slots=True)
class Instruction:
    """One inventory function applied to sources."""

    function: str
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Tape:
    """Instructions in order; the result is the last one (or `result` where there is no instruction)."""

    instructions: tuple[Instruction, ...]
    result: Source


class Template:
    """An interned scalar expression; compare with ``is``.

    `name` is the inventory function's name, or a text of the body for a composite.
    """

    __slots__ = ("__weakref__", "_tape", "arity", "body", "cache", "name")

    def __init__(self, name: str, arity: int, body: sympy.Expr) -> None:
        self.name = name
        self.arity = arity
        self.body = body
        self._tape: Tape | None = None
        self.cache: dict[object, object] = {}

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        if self.name in FUNCTIONS:
            return (template, (self.name,))
        return (composite, (self.body, tuple(placeholder(k) for k in range(self.arity))))

    @property
    def is_copy(self) -> bool:
        """Whether the template returns its only operand unchanged."""
        return self.name == "copy"

    @property
    def tape(self) -> Tape:
        """The straight-line form."""
        if self._tape is None:
            self._tape = _inventory_tape(self.name) if self.name in FUNCTIONS else _linearise(self.body)
        return self._tape


# The one sanctioned piece of module state: templates are interned, so that equality is identity.
_by_body: dict[sympy.Expr, Template] = {}
_by_name: dict[str, Template] = {}


def template(name: str) -> Template:
    """Template of an inventory function."""
    found = _by_name.get(name)
    if found is None:
        function = FUNCTIONS[name]
        body = apply(name, *(placeholder(position) for position in range(function.arity)))
        found = _by_body.setdefault(body, Template(name, function.arity, body))
        _by_name[name] = found
    return found


def composite(body: sympy.Expr, operands: tuple[sympy.Symbol, ...]) -> Template:
    """Template of an expression over `operands`, which become ``a0, a1, ...`` in this order."""
    for name in _ALGEBRA:
        template(name)  # so that a composite that *is* an inventory function is recognised as such
    body = sympy.sympify(body).xreplace({symbol: placeholder(k) for k, symbol in enumerate(operands)})
    found = _by_body.get(body)
    if found is None or found.arity != len(operands):
        head = type(body).__name__
        plain = body.args == tuple(placeholder(position) for position in range(len(operands)))
        if head in FUNCTIONS and plain:
            return template(head)
        found = Template(str(body), len(operands), body)
        _by_body[body] = found
    return found


def integer_power(exponent: int) -> Template:
    """``a0**exponent`` by multiplication (valid for every base, negative ones included)."""
    if exponent == 2:
        return template("square")
    return composite(placeholder(0) ** exponent, (placeholder(0),))


@cache
def root_of_squares() -> Template:
    """``sqrt(a)`` for a sum of squares: its derivative at 0 is taken as 0, so that norms have one there."""
    a, zero = placeholder(0), sympy.Integer(0)
    return composite(apply("select", apply("eq", a, zero), zero, apply("sqrt", a)), (a,))


# --- From SymPy to a tape -----------------------------------------------------------------------------------


def _inventory_tape(name: str) -> Tape:
    sources: tuple[Source, ...] = tuple(Argument(position) for position in range(FUNCTIONS[name].arity))
    if name == "copy" or name in MARKERS:
        return Tape((), sources[0])
    return Tape((Instruction(name, sources),), Step(0))


class _Lineariser:
    """Turns one template body into a tape; templates are small, so the walk may recurse."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self.known: dict[tuple[str, tuple[Source, ...]], Source] = {}

    def emit(self, function: str, *sources: Source) -> Source:
        key = (function, sources)
        if key not in self.known:
            self.known[key] = Step(len(self.instructions))
            self.instructions.append(Instruction(function, sources))
        return self.known[key]

    def visit(self, expression: sympy.Expr) -> Source:
        if isinstance(expression, sympy.Symbol):
            return Argument(int(expression.name[1:]))
        if is_literal(expression):
            return _literal(expression)
        if isinstance(expression, sympy.Add):
            return self.visit_sum(expression)
        if isinstance(expression, sympy.Mul):
            return self.visit_product(expression)
        if isinstance(expression, sympy.Pow):
            return self.visit_power(expression.base, expression.exp)
        if isinstance(expression, StrongZero):
            factor, product = (self.visit(argument) for argument in expression.args)
            return self.emit("select", self.emit("eq", factor, ZERO), ZERO, product)
        name = type(expression).__name__
        if name in MARKERS:
            return self.visit(expression.args[0])
        if name not in FUNCTIONS or not isinstance(expression, Opaque):
            raise CompilerBug(f"a template holds {name}, which is not in the inventory", why=str(expression))
        return self.emit(name, *(self.visit(argument) for argument in expression.args))

    def visit_sum(self, expression: sympy.Add) -> Source:
        terms = [_split_sign(term) for term in expression.args]
        terms.sort(key=lambda item: item[0])  # positive terms first: ``1 - y*y`` rather than ``-y*y + 1``
        total: Source | None = None
        for negative, term in terms:
            value = self.visit(term)
            if total is None:
                total = self.emit("neg", value) if negative else value
            else:
                total = self.emit("sub" if negative else "add", total, value)
        assert total is not None
        return total

    def visit_product(self, expression: sympy.Mul) -> Source:
        number, factors = _split_number(expression)
        above = [factor for factor in factors if not _is_below(factor)]
        below = [factor.base**-factor.exp for factor in factors if _is_below(factor)]
        negative = bool(number.is_negative)
        if isinstance(number, sympy.Rational) and number.q & (
            number.q - 1
        ):  # 1/3 would be rounded: divide by 3
            above = [sympy.Integer(abs(number.p)), *above] if abs(number.p) != 1 else above
            below.insert(0, sympy.Integer(number.q))
        elif abs(number) != 1:
            above, negative = [number, *above], False
        result = self.multiply(above)
        if below:
            result = self.emit("div", result, self.multiply(below))
        return self.emit("neg", result) if negative else result

    def multiply(self, factors: list[sympy.Expr]) -> Source:
        result: Source | None = None
        for factor in factors:
            value = self.visit(factor)
            result = value if result is None else self.emit("mul", result, value)
        return Literal(1, "1") if result is None else result

    def visit_power(self, base: sympy.Expr, exponent: sympy.Expr) -> Source:
        if not isinstance(exponent, sympy.Integer):
            raise CompilerBug("a template holds a power that is not an integer", why=str(base**exponent))
        power = int(exponent)
        result = self.raise_to(self.visit(base), abs(power))
        return self.emit("div", Literal(1, "1"), result) if power < 0 else result

    def raise_to(self, base: Source, power: int) -> Source:
        """`base**power` by repeated squaring, least significant bit first."""
        result: Source | None = None
        while power:
            if power & 1:
                result = base if result is None else self.emit("mul", result, base)
            power >>= 1
            if power:
                base = self.emit("mul", base, base)
        assert result is not None
        return result


def _linearise(body: sympy.Expr) -> Tape:
    lineariser = _Lineariser()
    result = lineariser.visit(body)
    return Tape(tuple(lineariser.instructions), result)


ZERO = Literal(0, "0")


def is_literal(expression: sympy.Expr) -> bool:
    """Whether an expression is a number, to be rounded once like ``2/sqrt(pi)``: without `Opaque` parts."""
    return bool(expression.is_number) and not any(
        isinstance(node, Opaque) for node in sympy.preorder_traversal(expression)
    )


# Non-rational numbers that occur in templates, by their text: 50-digit evaluation looks them up here.
CONSTANTS: dict[str, sympy.Expr] = {}


def _literal(expression: sympy.Expr) -> Literal:
    if isinstance(expression, sympy.Integer):
        return Literal(int(expression), str(expression))
    if expression is sympy.oo or expression is -sympy.oo:
        return Literal(float(expression), str(float(expression)))
    text = sympy.sstr(expression)
    CONSTANTS[text] = expression
    return Literal(float(expression.evalf(30)), text)


def _split_sign(expression: sympy.Expr) -> tuple[bool, sympy.Expr]:
    """Whether a leading -1 or negative number was taken off, and the rest."""
    if expression.is_number:
        return (True, -expression) if expression.is_negative else (False, expression)
    if isinstance(expression, sympy.Mul) and expression.args[0].is_negative and expression.args[0].is_number:
        return True, sympy.Mul(-expression.args[0], *expression.args[1:])
    return False, expression


def _split_number(expression: sympy.Mul) -> tuple[sympy.Expr, list[sympy.Expr]]:
    """Split off the numbers among the factors as one product; the others keep their order."""
    numbers = [factor for factor in expression.args if is_literal(factor)]
    return sympy.Mul(*numbers), [factor for factor in expression.args if not is_literal(factor)]


def _is_below(factor: sympy.Expr) -> bool:
    return isinstance(factor, sympy.Pow) and bool(factor.exp.is_negative)


def operation_count(candidate: Template) -> int:
    """Scalar operations of a template: its inventory functions, each once, those of all arms included.

    Comparisons, logical operations, choices and copies are free.
    """
    kinds = (FUNCTIONS[step.function] for step in candidate.tape.instructions)
    return sum(
        1 for kind in kinds if kind.name != "select" and kind.result not in (Result.BOOL, Result.LOGICAL)
    )


__all__ = [
    "COMMUTATIVE",
    "Template",
    "apply",
    "composite",
    "integer_power",
    "operation_count",
    "placeholder",
    "template",
]
