"""Brackets: what is printed, read by a reader that knows only the grammar, has the value of the tree."""

import math
import random
from itertools import count, product
from typing import Any

import pytest
from tests.unit.explain.mathematics.reader import evaluate

from gradc.explain.mathematics import building as build
from gradc.explain.mathematics import tree
from gradc.explain.mathematics.latex import LatexPrinter
from gradc.explain.mathematics.reading import Reading, substituted
from gradc.explain.mathematics.symbols import Symbol, Symbols
from gradc.explain.mathematics.tree import (
    Affine,
    Apply,
    Constant,
    Expression,
    Extent,
    IndexNumber,
    Number,
    Power,
    Product,
    Reduction,
    Sum,
    Tensor,
    Variable,
)
from gradc.explain.mathematics.unicode import UnicodePrinter

SIZE = 2
VALUES: dict[str, Any] = {
    "a": 1.3,
    "b": 0.7,
    "x": {(0,): 0.4, (1,): 1.9},
    "w": {(0, 0): 0.3, (0, 1): 1.1, (1, 0): 2.3, (1, 1): 0.9},
    "g": 1.7,
}
SYMBOLS = Symbols({"g": Symbol("y", "L")})
READ = {**VALUES, "∂L/∂y": VALUES["g"]}
FUNCTIONS = {"sin": math.sin, "cos": math.cos, "tanh": math.tanh, "exp": math.exp, "maximum": max, "abs": abs}
COMPARED = {
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}
LOGICAL = {
    "logical_and": lambda a, b: a and b,
    "logical_or": lambda a, b: a or b,
    "logical_xor": lambda a, b: a != b,
    "logical_not": lambda a: not a,
}
REDUCTIONS = {"sum": sum, "prod": math.prod, "max": max, "min": min}


def value(expression: Expression, env: dict[Variable, int]) -> Any:  # noqa: C901
    """The value of a tree."""
    match expression:
        case Number(number):
            return number
        case Tensor(name, places):
            at = tuple(env[place.terms[0][1]] for place in places or () if isinstance(place, Affine))
            return VALUES[name][at] if at else VALUES[name]
        case IndexNumber(place):
            return env[place.terms[0][1]]
        case Sum(terms):
            return sum(value(term, env) for term in terms)
        case Product(coefficient, above, below):
            over = math.prod(value(factor, env) for factor in above)
            return coefficient * over / math.prod(value(factor, env) for factor in below)
        case Power(base, exponent):
            return value(base, env) ** value(exponent, env)
        case Reduction(function, variables, body):
            points = product(range(SIZE), repeat=len(variables))
            return REDUCTIONS[function](
                [value(body, {**env, **dict(zip(variables, point, strict=True))}) for point in points]
            )
        case Apply("select", (condition, first, second)):
            return value(first if value(condition, env) else second, env)
        case Apply(function, arguments):
            return {**FUNCTIONS, **COMPARED, **LOGICAL}[function](*(value(item, env) for item in arguments))
        case Constant() | Extent():
            raise AssertionError


class Maker:
    """Makes random expressions."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.numbers = count()

    def make(self, depth: int, scope: tuple[Variable, ...]) -> Expression:
        if depth == 0:
            return self.leaf(scope)
        kinds = (self.arithmetic, self.arithmetic, self.function, self.reduction, self.choice, self.power)
        return self.random.choice(kinds)(depth - 1, scope)

    def leaf(self, scope: tuple[Variable, ...]) -> Expression:
        found: list[Expression] = [Tensor("a", ()), Tensor("b", ()), Tensor("g", ())]
        found += [Number(self.random.choice((2, 3, -1, 0.5, -1.5)))]
        places = [Affine(((1, variable),)) for variable in scope]
        found += [Tensor("x", (place,)) for place in places] + [IndexNumber(place) for place in places[:1]]
        found += [Tensor("w", (places[0], place)) for place in places[1:]]
        return self.random.choice(found)

    def arithmetic(self, depth: int, scope: tuple[Variable, ...]) -> Expression:
        first, second = self.make(depth, scope), self.make(depth, scope)
        operation = self.random.choice(
            (build.product, build.quotient, build.total, lambda a, b: build.total(a, build.negative(b)))
        )
        return operation(first, second)

    def function(self, depth: int, scope: tuple[Variable, ...]) -> Expression:
        name = self.random.choice(tuple(FUNCTIONS))
        arity = 2 if name == "maximum" else 1
        return Apply(name, tuple(self.make(depth, scope) for _ in range(arity)))

    def reduction(self, depth: int, scope: tuple[Variable, ...]) -> Expression:
        own = tuple(Variable(next(self.numbers), SIZE) for _ in range(self.random.choice((1, 1, 2))))
        name = self.random.choice(("sum", "sum", "prod", "max", "min"))
        return build.reduction(name, own, self.make(depth, (*own, *scope)))

    def power(self, depth: int, scope: tuple[Variable, ...]) -> Expression:
        if self.random.random() < 0.6:
            return build.power(self.make(depth, scope), Number(self.random.choice((2, 3, 5))))
        return build.power(Tensor("a", ()), self.make(depth, scope))

    def choice(self, depth: int, scope: tuple[Variable, ...]) -> Expression:
        arms = self.random.choice(((0, 0), (0, 1), (1, 0)))
        if self.random.random() < 0.3:
            return build.choice(
                self.condition(depth, scope),
                *self.random.choice(((tree.ONE, tree.ZERO), (tree.ZERO, tree.ONE))),
            )
        first, second = (self.make(max(0, depth - lower), scope) for lower in arms)
        return build.choice(self.condition(depth, scope), first, second)

    def condition(self, depth: int, scope: tuple[Variable, ...]) -> Expression:
        if depth > 0 and self.random.random() < 0.4:
            name = self.random.choice(tuple(LOGICAL))
            arity = 1 if name == "logical_not" else 2
            return Apply(name, tuple(self.condition(depth - 1, scope) for _ in range(arity)))
        name = self.random.choice(tuple(COMPARED))
        return Apply(name, (self.make(min(depth, 1), scope), self.make(0, scope)))


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_what_is_printed_has_the_value_of_the_tree(depth: int):
    compared = 0
    for seed in range(700):
        made = Maker(seed * 10 + depth).make(depth, ())
        try:
            wanted = value(made, {})
        except (ZeroDivisionError, OverflowError):
            continue
        if not math.isfinite(wanted) or abs(wanted) > 1e12:
            continue
        text = UnicodePrinter(SYMBOLS, SYMBOLS.named([made])).text(made)
        found = evaluate(text, READ)
        assert found == pytest.approx(wanted, rel=1e-6, abs=1e-6), text
        compared += 1
    assert compared > 400


A, B, C = (Tensor(name, ()) for name in "abc")
ROW = Variable(0, 5)
X = Tensor("x", (Affine(((1, ROW),)),))


def both(expression: Expression) -> tuple[str, str]:
    letters = SYMBOLS.named([expression])
    return UnicodePrinter(SYMBOLS, letters).text(expression), LatexPrinter(SYMBOLS, letters).text(expression)


@pytest.mark.parametrize(
    ("expression", "plain", "latex"),
    [
        (build.product(Number(2), Number(1.0), A), "2 a", "2 a"),
        (build.product(A, A, B), "a² b", "a^{2} b"),
        (build.total(A, build.negative(B)), "a - b", "a - b"),
        (build.total(A, build.negative(build.total(B, C))), "a - (b + c)", "a - (b + c)"),
        (build.total(A, Number(0)), "a", "a"),
        (build.negative(build.negative(A)), "a", "a"),
        (build.product(A, Number(0)), "0", "0"),
        (build.quotient(A, build.product(B, C)), "a / (b c)", r"\frac{a}{b c}"),
        (build.product(build.quotient(A, B), C), "a c / b", r"\frac{a c}{b}"),
        (build.quotient(Number(1), Number(2)), "1 / 2", r"\frac{1}{2}"),
        (build.quotient(build.negative(A), B), "-a / b", r"-\frac{a}{b}"),
        (build.product(build.total(A, B), C), "(a + b) c", "(a + b) c"),
        (build.power(build.total(A, B), Number(2)), "(a + b)²", "(a + b)^{2}"),
        (build.reduction("sum", (ROW,), build.product(X, A)), "Σ_i x_i a", r"\sum_{i} x_{i} a"),
        (
            build.product(build.reduction("sum", (ROW,), X), A),
            "(Σ_i x_i) a",
            r"\left(\sum_{i} x_{i}\right) a",
        ),
        (build.reduction("sum", (ROW,), build.total(X, A)), "Σ_i (x_i + a)", r"\sum_{i} (x_{i} + a)"),
        (build.reduction("sum", (ROW,), build.negative(X)), "-Σ_i x_i", r"-\sum_{i} x_{i}"),
        (build.reduction("max", (ROW,), build.negative(X)), "max_i (-x_i)", r"\max_{i} (-x_{i})"),
        (build.total(A, A, build.product(Number(2), A)), "4 a", "4 a"),
        (build.total(A, B, build.negative(A)), "a + b - a", "a + b - a"),
        (Apply("exp", (build.negative(A),)), "exp(-a)", "e^{-a}"),
        (Apply("exp", (build.quotient(A, B),)), "exp(a / b)", r"\exp\left(\frac{a}{b}\right)"),
        (Apply("abs", (Apply("abs", (A,)),)), "abs(|a|)", r"\left|\left|a\right|\right|"),
        (build.power(Apply("exp", (A,)), Number(2)), "exp(a)²", "(e^{a})^{2}"),
        (Number(1e-05), "1e-05", "10^{-5}"),
        (Number(2.5e-07), "2.5e-07", r"2.5 \cdot 10^{-7}"),
        (Number(float("inf")), "∞", r"\infty"),
        (
            build.choice(Apply("gt", (A, Number(0))), A, B),
            "{a if a > 0; b otherwise}",
            r"\begin{cases} a & \text{if } a > 0 \\ b & \text{otherwise} \end{cases}",
        ),
    ],
)
def test_a_form(expression: Expression, plain: str, latex: str):
    assert both(expression) == (plain, latex)


def test_choices_by_one_condition_become_one():
    positive = Apply("gt", (A, Number(0)))
    first = build.choice(positive, tree.ONE, tree.ZERO)
    second = build.product(Number(0.1), build.choice(positive, tree.ZERO, tree.ONE))
    halves = build.total(first, second)
    assert both(halves)[0] == "{1 if a > 0; 0.1 otherwise}"


def test_what_is_summed_over_is_not_captured():
    reading = Reading({})
    row, column = reading.variable(5), reading.variable(5)
    there = Affine(((1, column),))
    inner = tree.Reduction("sum", (column,), Tensor("x", (Affine(((1, row),)), there)))
    moved = substituted(reading, inner, {row: there})
    assert UnicodePrinter(SYMBOLS, SYMBOLS.named([Tensor("y", (there,)), moved])).text(moved) == "Σ_j x_ij"
