"""Building expressions, simplified for display as they are built.

Factors of 1 and terms of 0 are gone, numbers are multiplied out, ``x * x`` is a power, signs stand in front.
"""

from __future__ import annotations

import math
from dataclasses import replace

from gradc.explain.mathematics.tree import (
    COMPARISONS,
    ONE,
    ZERO,
    Apply,
    Expression,
    Number,
    Power,
    Product,
    Reduction,
    Sum,
    Variable,
    children,
    is_number,
)

# --- arithmetic ---------------------------------------------------------------------------------------------


def _parts(factor: Expression) -> Product:
    if isinstance(factor, Product):
        return factor
    if isinstance(factor, Number):
        return Product(factor.value, (), ())
    return Product(1, (factor,), ())


def product(*factors: Expression) -> Expression:
    """Return the product; equal factors become a power."""
    parts = [_parts(factor) for factor in factors]
    above = [item for part in parts for item in part.above]
    below = [item for part in parts for item in part.below]
    return _product(math.prod(part.coefficient for part in parts), above, below)


def quotient(above: Expression, below: Expression) -> Expression:
    """Return ``above / below``."""
    first, second = _parts(above), _parts(below)
    if second.coefficient == 0:
        return Product(first.coefficient, first.above, (*first.below, ZERO))
    under = [Number(second.coefficient), *first.below, *second.above]
    return _product(first.coefficient, [*first.above, *second.below], under)


def _product(coefficient: float, above: list[Expression], below: list[Expression]) -> Expression:
    numbers = [item.value for item in below if isinstance(item, Number)]
    coefficient, divisor = _lowest(coefficient, math.prod(numbers))
    if coefficient == 0:
        return ZERO
    under = _collected([item for item in below if not isinstance(item, Number)])
    if divisor != 1:
        under = (Number(divisor), *under)
    over = _collected(above)
    if not under and not over:
        return Number(coefficient)
    if coefficient == 1 and not under and len(over) == 1:
        return over[0]
    return Product(coefficient, over, under)


def _lowest(coefficient: float, divisor: float) -> tuple[float, float]:
    """Return a fraction in lowest terms, its sign above the line; fractions with decimals stay as they are."""
    if divisor < 0:
        coefficient, divisor = -coefficient, -divisor
    if math.isfinite(coefficient) and math.isfinite(divisor) and coefficient % 1 == divisor % 1 == 0:
        common = math.gcd(int(coefficient), int(divisor)) or 1
        return int(coefficient) // common, int(divisor) // common
    return coefficient, divisor


def _collected(factors: list[Expression]) -> tuple[Expression, ...]:
    """Return the factors with equal ones as powers, each where it stood first."""
    exponents: dict[Expression, int] = {}
    for factor in factors:
        base, count = factor, 1
        if isinstance(factor, Power) and isinstance(factor.exponent, Number):
            value = factor.exponent.value
            if value % 1 == 0 and value > 0:
                base, count = factor.base, int(value)
        exponents[base] = exponents.get(base, 0) + count
    return tuple(base if count == 1 else Power(base, Number(count)) for base, count in exponents.items())


def negative(expression: Expression) -> Expression:
    """Return ``-expression``."""
    return product(Number(-1), expression)


def total(*terms: Expression) -> Expression:
    """Return the sum; numbers are added up, zeros vanish."""
    flat = [item for term in terms for item in (term.terms if isinstance(term, Sum) else (term,))]
    numbers = [item.value for item in flat if isinstance(item, Number)]
    if len(numbers) > 1:
        first = next(at for at, item in enumerate(flat) if isinstance(item, Number))
        flat[first] = Number(math.fsum(numbers) if all(map(math.isfinite, numbers)) else sum(numbers))
        flat = [item for at, item in enumerate(flat) if at <= first or not isinstance(item, Number)]
    kept = _merged(_like([item for item in flat if not is_number(item, 0)]))
    return Sum(kept) if len(kept) > 1 else kept[0] if kept else ZERO


def _like(terms: list[Expression]) -> list[Expression]:
    """Return terms where equal ones of one sign are counted: ``a + a`` is ``2 a``."""
    found: dict[tuple[Expression, bool], Expression] = {}
    for term in terms:
        parts = _parts(term)
        key = (Product(1, parts.above, parts.below), parts.coefficient > 0)
        before = found.get(key)
        if before is not None and not isinstance(term, Number):
            count = _parts(before).coefficient + parts.coefficient
            term = _product(count, list(parts.above), list(parts.below))
        found[key] = term
    return list(found.values())


def _merged(terms: list[Expression]) -> tuple[Expression, ...]:
    """Return terms where choices by one condition are one: ``[x > 0] a + [not x > 0] b`` is a choice of a and b."""
    if sum(_chooses(term) for term in terms) < 2:
        return tuple(terms)
    found: dict[Expression, tuple[Expression, Expression]] = {}
    result: list[Expression] = []
    for term in terms:
        condition, first, second = _chosen(term) if _chooses(term) else (term, term, term)
        if not _chooses(term):
            result.append(term)
        elif condition in found:
            before = found[condition]
            at = result.index(choice(condition, *before))
            found[condition] = total(before[0], first), total(before[1], second)
            result[at] = choice(condition, *found[condition])
        else:
            found[condition] = first, second
            result.append(choice(condition, first, second))
    return tuple(result)


def _chooses(term: Expression) -> bool:
    factors = term.above if isinstance(term, Product) else (term,)
    return sum(_is_choice(factor) for factor in factors) == 1


def _is_choice(factor: Expression) -> bool:
    return isinstance(factor, Apply) and factor.function == "select"


def _chosen(term: Expression) -> tuple[Expression, Expression, Expression]:
    """Return the condition of a term with one choice, and the term in both cases."""
    factors = term.above if isinstance(term, Product) else (term,)
    at = next(position for position, factor in enumerate(factors) if _is_choice(factor))
    condition, *arms = children(factors[at])

    def case(arm: Expression) -> Expression:
        if not isinstance(term, Product):
            return arm
        over = product(Number(term.coefficient), *factors[:at], arm, *factors[at + 1 :])
        return quotient(over, product(*term.below))

    return condition, case(arms[0]), case(arms[1])


def power(base: Expression, exponent: Expression) -> Expression:
    """Return ``base ** exponent``; natural exponents of a product or a power are multiplied out."""
    if is_number(exponent, 1):
        return base
    if is_number(exponent, 2):
        return product(base, base)
    return Power(base, exponent)


# --- choices and reductions ---------------------------------------------------------------------------------


def choice(condition: Expression, first: Expression, second: Expression) -> Expression:
    """Return `first` where the condition holds, else `second`."""
    if isinstance(condition, Number):
        return first if condition.value else second
    if first == second:
        return first
    return Apply("select", (condition, first, second))


def comparison(function: str, first: Expression, second: Expression) -> Expression:
    """Return a comparison; that of two numbers is 1 or 0."""
    if isinstance(first, Number) and isinstance(second, Number) and function == "eq":
        return ONE if first.value == second.value else ZERO
    return Apply(function, (first, second))


def reduction(function: str, variables: tuple[Variable, ...], body: Expression) -> Expression:
    """Return a reduction; the sign of what is summed stands before the sum."""
    if not variables or (function in ("max", "min", "any", "all") and isinstance(body, Number)):
        return body
    if function == "sum" and isinstance(body, Product) and body.coefficient < 0:
        return negative(Reduction(function, variables, negative(body)))
    return Reduction(function, variables, body)


def rebuilt(expression: Expression, parts: list[Expression]) -> Expression:
    """Return an expression of the same kind with other parts, simplified anew."""
    match expression:
        case Apply(function):
            if function == "select":
                return choice(parts[0], parts[1], parts[2])
            if function in COMPARISONS:
                return comparison(function, parts[0], parts[1])
            return replace(expression, arguments=tuple(parts))
        case Sum():
            return total(*parts)
        case Product(coefficient, above):
            over = product(Number(coefficient), *parts[: len(above)])
            return quotient(over, product(*parts[len(above) :]))
        case Power():
            return power(parts[0], parts[1])
        case Reduction(function, variables):
            return reduction(function, variables, parts[0])
        case _:
            return expression
