"""From equations of the index IR to mathematics for display, one equation at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count

import sympy

from gradc.explain.mathematics import building as build
from gradc.explain.mathematics import tree
from gradc.explain.mathematics.tree import (
    ONE,
    Affine,
    Apply,
    Expression,
    Extent,
    IndexNumber,
    LookedUp,
    Number,
    Place,
    Power,
    Product,
    Tensor,
    Variable,
)
from gradc.ir.extents import Size
from gradc.ir.functions import FUNCTIONS, MARKERS
from gradc.ir.index import nodes
from gradc.ir.index.nodes import Access, Accumulate, Assign, Const, ExtentValue, Index, Operand, terms_of
from gradc.ir.index.templates import CONSTANTS, Argument, Literal, Source, Template
from gradc.ir.tensors import TensorType

_HALF = build.quotient(ONE, Number(2))

_Rule = Callable[..., Expression]


def _function(name: str, *arguments: Expression) -> Expression:
    return Apply(name, arguments)


def _root(inside: Expression) -> Expression:
    return _function("sqrt", inside)


def _log(inside: Expression) -> Expression:
    return _function("log", inside)


def _exp(inside: Expression) -> Expression:
    return _function("exp", inside)


def _both(a: Expression, b: Expression) -> Expression:
    for one, other in ((a, b), (b, a)):
        if isinstance(one, Number):
            return other if one.value else tree.ZERO
    return _function("logical_and", a, b)


# Functions that mathematics writes with others; every other function keeps its name.
WRITTEN_OUT: dict[str, _Rule] = {
    **dict.fromkeys(("copy", *sorted(MARKERS)), lambda a, *_: a),
    "neg": build.negative,
    "add": build.total,
    "sub": lambda a, b: build.total(a, build.negative(b)),
    "mul": build.product,
    "div": build.quotient,
    "square": lambda a: build.product(a, a),
    "reciprocal": lambda a: build.quotient(ONE, a),
    "pow": build.power,
    "exp2": lambda a: build.power(Number(2), a),
    "expm1": lambda a: build.total(_exp(a), Number(-1)),
    "log1p": lambda a: _log(build.total(ONE, a)),
    "logaddexp": lambda a, b: _log(build.total(_exp(a), _exp(b))),
    "logaddexp2": lambda a, b: _function(
        "log2", build.total(build.power(Number(2), a), build.power(Number(2), b))
    ),
    "xlogy": lambda a, b: build.product(a, _log(b)),
    "xlog1py": lambda a, b: build.product(a, _log(build.total(ONE, b))),
    "hypot": lambda a, b: _root(build.total(build.product(a, a), build.product(b, b))),
    "floor_divide": lambda a, b: _function("floor", build.quotient(a, b)),
    "softplus": lambda a: _log(build.total(ONE, _exp(a))),
    "log_expit": lambda a: _log(_function("expit", a)),
    "log_ndtr": lambda a: _log(_function("ndtr", a)),
    "inverse_mills": lambda a: build.quotient(_function("normal_density", a), _function("ndtr", a)),
    "gammaln": lambda a: _log(_function("abs", _function("gamma", a))),
    "logical_and": _both,
    "select": build.choice,
    **{name: lambda a, b, name=name: build.comparison(name, a, b) for name in sorted(tree.COMPARISONS)},
}


def applied(name: str, arguments: Sequence[Expression]) -> Expression:
    """Return an inventory function of arguments, as mathematics writes it."""
    rule = WRITTEN_OUT.get(name)
    return rule(*arguments) if rule else Apply(name, tuple(arguments))


# --- templates ----------------------------------------------------------------------------------------------


def written(template: Template, operands: Sequence[Expression], *, derived: bool = False) -> Expression:
    """Return the expression of a template.

    With `derived` it was made by differentiation: what only guards against 0/0 or picks one of two spellings
    of the same derivative is left out.
    """
    if template.name in FUNCTIONS and template.name in MARKERS:
        return operands[0]
    values: list[Expression] = []

    def source(item: Source) -> Expression:
        if isinstance(item, Argument):
            return operands[item.position]
        return literal(item) if isinstance(item, Literal) else values[item.position]

    for step in template.tape.instructions:
        value = applied(step.function, [source(item) for item in step.sources])
        values.append(_plainer(value) if derived else value)
    return source(template.tape.result)


def literal(item: Literal) -> Expression:
    """Return a number of a template, as exact as it is known."""
    return _constant(item.exact) if item.exact in CONSTANTS else Number(item.value)


@cache
def _constant(text: str) -> Expression:
    return constant(CONSTANTS[text])


def constant(value: sympy.Expr) -> Expression:
    """Return a SymPy number: those in templates are made of rationals, roots, logarithms and the circle number."""
    match value:
        case sympy.Rational():
            return build.quotient(Number(int(value.p)), Number(int(value.q)))
        case sympy.Mul():
            return build.product(*(constant(factor) for factor in value.args))
        case sympy.Add():
            return build.total(*(constant(term) for term in value.args))
        case sympy.Pow() if value.exp == sympy.Rational(1, 2):
            return _root(constant(value.base))
        case sympy.Pow() if value.exp.is_negative:
            return build.quotient(ONE, constant(value.base**-value.exp))
        case sympy.Pow():
            return build.power(constant(value.base), constant(value.exp))
        case sympy.log():
            return _log(constant(value.args[0]))
        case sympy.pi:
            return tree.Constant("pi")
        case _:
            return Number(float(value))


def _plainer(expression: Expression) -> Expression:
    """Return one spelling of a choice between spellings that are equal where both are defined."""
    if not isinstance(expression, Apply) or expression.function != "select":
        return expression
    condition, first, second = expression.arguments
    if not isinstance(condition, Apply):
        return expression
    if condition.function == "eq" and is_zero(condition.arguments[1]) and is_zero(first):
        return second if _vanishes_with(second, condition.arguments[0]) else expression
    if condition.function == "lt" and condition.arguments[1] == _HALF and _has_cosh(second):
        return first  # 1 - y^2 and 1 / cosh(x)^2, the derivative of y = tanh(x)
    return expression


def is_zero(expression: Expression) -> bool:
    """Whether an expression is the number 0."""
    return tree.is_number(expression, 0)


def _has_cosh(expression: Expression) -> bool:
    found = tree.nodes(expression)
    return any(isinstance(node, Apply) and node.function == "cosh" for node in found)


def _vanishes_with(expression: Expression, factor: Expression) -> bool:
    """Whether an expression is a multiple of `factor`."""
    if isinstance(expression, Apply) and expression.function == "select":
        arms = expression.arguments[1:]
        return all(is_zero(arm) or _vanishes_with(arm, factor) for arm in arms)
    if expression == factor or is_zero(expression):
        return True
    if isinstance(expression, Apply) and expression.function == "sqrt":
        return expression.arguments[0] == factor
    if not isinstance(expression, Product):
        return False
    wanted = factor if isinstance(factor, Product) else Product(1, (factor,), ())
    bases = {item.base if isinstance(item, Power) else item for item in expression.above}
    return bool(wanted.above) and all(item in expression.above or item in bases for item in wanted.above)


def extent(size: Size) -> Expression:
    """Return the size of an axis as a number."""
    return Number(size) if isinstance(size, int) else Extent(size)


def index_number(place: Affine) -> Expression:
    """Return the value of an index."""
    return IndexNumber(place) if place.terms else extent(place.offset)


# --- operands and equations ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reading:
    """Reads the equations of a program with these types; every reading has variables of its own."""

    types: Mapping[str, TensorType]
    numbers: count[int] = field(default_factory=count)

    def variable(self, size: Size) -> Variable:
        """Return a new variable."""
        return Variable(next(self.numbers), size)

    def space(self, sizes: Sequence[Size]) -> tuple[Affine, ...]:
        """Return a place for every index of a space; an index over one element is 0."""
        return tuple(
            Affine(()) if isinstance(size, int) and size == 1 else Affine(((1, self.variable(size)),))
            for size in sizes
        )

    def tensor(self, name: str, places: Sequence[Place]) -> Tensor:
        """Return an element; axes of one element have no place."""
        return Tensor(name, self.dropped(name, places))

    def dropped(self, name: str, places: Sequence[Place]) -> tuple[Place, ...]:
        """Return the places on the axes of more than one element."""
        pairs = zip(places, self.types[name].shape, strict=True)
        return tuple(place for place, size in pairs if not (isinstance(size, int) and size == 1))

    def whole(self, name: str) -> Tensor:
        """Return all of a tensor; a number is its only element."""
        return Tensor(name, None if self.types[name].shape else ())

    def place(self, index: Index, space: Sequence[Affine]) -> Place:
        """Return an index of the IR."""
        if isinstance(index, nodes.Lookup):
            inner = [
                self._affine(position, space)
                for position in index.indices
                if not isinstance(position, nodes.Lookup)
            ]
            kept = self.dropped(index.tensor, inner)
            return LookedUp(index.tensor, tuple(place for place in kept if isinstance(place, Affine)))
        return self._affine(index, space)

    def _affine(self, index: int | nodes.Affine, space: Sequence[Affine]) -> Affine:
        terms, offset = terms_of(index)
        found: dict[Variable, int] = {}
        for coefficient, position in terms:
            for factor, variable in space[position].terms:
                found[variable] = found.get(variable, 0) + coefficient * factor
        return Affine(tuple((times, variable) for variable, times in found.items() if times), offset)

    def operand(self, operand: Operand, space: Sequence[Affine]) -> Expression:
        """Return an operand at a point of a space."""
        match operand:
            case Access(tensor, indices):
                return self.tensor(tensor, [self.place(index, space) for index in indices])
            case Const(value, _):
                return Number(value)
            case nodes.IndexValue(index):
                place = self._affine(index, space)
                return index_number(place)
            case ExtentValue(size):
                return extent(size)

    def left(self, equation: Assign | Accumulate, space: Sequence[Affine]) -> Tensor:
        """Return the element that an equation defines or adds to."""
        if isinstance(equation, Assign):
            return self.tensor(equation.out, space[: equation.rank])
        return self.tensor(equation.out, [self.place(index, space) for index in equation.target])

    def right(
        self,
        equation: Assign | Accumulate,
        space: Sequence[Affine],
        operands: Sequence[Expression],
        *,
        derived: bool,
    ) -> Expression:
        """Return what an equation computes from these operands."""
        body = written(equation.template, operands, derived=derived)
        if isinstance(equation, Accumulate) or equation.reduce is None:
            return body
        reduced = [place.terms[0][1] for place in space[equation.rank :] if place.terms]
        return build.reduction(equation.reduce.op, tuple(reduced), body)


def substituted(reading: Reading, expression: Expression, where: Mapping[Variable, Place]) -> Expression:
    """Return an expression at other places; what it sums over gets new variables.

    Raises
    ------
    NotAffine
        An index would be a function of a looked-up index.
    """
    if isinstance(expression, tree.Reduction):
        fresh = {variable: reading.variable(variable.size) for variable in expression.variables}
        inner = {**where, **{old: Affine(((1, new),)) for old, new in fresh.items()}}
        body = substituted(reading, expression.body, inner)
        return build.reduction(expression.function, tuple(fresh.values()), body)

    def at(variable: Variable) -> Place:
        return where.get(variable, Affine(((1, variable),)))

    if isinstance(expression, Tensor) and expression.places is not None:
        return Tensor(expression.name, tuple(tree.moved(place, at) for place in expression.places))
    if isinstance(expression, IndexNumber):
        place = tree.moved(expression.place, at)
        if isinstance(place, LookedUp):
            return Tensor(place.tensor, place.places)
        return index_number(place)
    parts = tree.children(expression)
    if not parts:
        return expression
    return build.rebuilt(expression, [substituted(reading, part, where) for part in parts])
