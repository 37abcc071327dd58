"""What expressions mean: Python functions of a machine that knows the values of names and elements.

Every operation has NumPy's meaning in the dtype of its operands.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, TypeAlias, assert_never

import numpy as np

from gradc.errors import CompilerBug
from gradc.ir.functions import FUNCTIONS
from gradc.ir.loop.nodes import Apply, Convert, Expr, Load, Number, Var
from gradc.ir.loop.show import show_expression

Array: TypeAlias = Any  # ndarray or NumPy scalar

REDUCTIONS: dict[str, str] = {
    "sum": "add",
    "prod": "mul",
    "max": "maximum",
    "min": "minimum",
    "any": "logical_or",
    "all": "logical_and",
}

# Of NumPy scalars the operators are the functions of the inventory, at a tenth of the time.
OPERATORS: dict[str, Callable[..., Array]] = {
    **{
        name: getattr(operator, name)
        for name in ("add", "sub", "mul", "neg", "lt", "le", "gt", "ge", "eq", "ne")
    },
    "floor_divide": operator.floordiv,
    "mod": operator.mod,
}


class Values(Protocol):
    """What a meaning takes its values from."""

    values: dict[str, Array]

    def element(self, where: Expr, tensor: str, indices: tuple[Expr, ...], /) -> Array:
        """Return an element of an array."""
        ...


Meaning: TypeAlias = Callable[[Any], Array]


def meaning(expression: Expr, of: Callable[[Expr], Meaning]) -> Meaning:
    """Return the function that computes `expression`, a NumPy scalar of its dtype; `of` gives those of operands.

    Only the chosen arm of a select is computed.
    """
    match expression:
        case Number(literal, dtype):
            value = dtype.numpy.type(literal)
            return lambda values: value
        case Convert(argument, dtype):
            argued, kind = of(argument), dtype.numpy
            return lambda values: argued(values).astype(kind)
        case Var():
            return _variable(expression)
        case Load(tensor, indices, _):
            return _checked(expression, lambda values: values.element(expression, tensor, indices))
        case Apply("select", (condition, yes, no), _):
            chosen, first, second = of(condition), of(yes), of(no)
            return _checked(expression, lambda values: (first if chosen(values) else second)(values))
        case Apply(name, arguments, _):
            return _checked(expression, _applied(function(name), [of(argument) for argument in arguments]))
        case _:
            assert_never(expression)


def _applied(apply: Callable[..., Array], operands: list[Meaning]) -> Meaning:
    if len(operands) != 2:
        return lambda values: apply(*[operand(values) for operand in operands])
    left, right = operands
    return lambda values: apply(left(values), right(values))


def _checked(expression: Expr, found: Meaning) -> Meaning:
    """The same, where the dtype is the one that the expression states."""
    wanted = expression.dtype.numpy

    def checked(values: Values) -> Array:
        value = found(values)
        if value.dtype is not wanted and value.dtype != wanted:
            raise _wrong(expression, value)
        return value

    return checked


def _variable(expression: Var) -> Meaning:
    """A name's value, in one call where `_checked` takes two: half of all expressions are names."""
    name, wanted = expression.name, expression.dtype.numpy

    def variable(values: Values) -> Array:
        value = values.values[name]
        if value.dtype is not wanted and value.dtype != wanted:
            raise _wrong(expression, value)
        return value

    return variable


def _wrong(expression: Expr, value: Array) -> CompilerBug:
    return CompilerBug(f"{show_expression(expression)} is {value.dtype}, not {expression.dtype.value}")


@cache
def function(name: str) -> Callable[..., Array]:
    """Return the NumPy meaning of an inventory function, on scalars."""
    return OPERATORS.get(name) or spelled(name)


def spelled(name: str) -> Callable[..., Array]:
    """Return an inventory function as its NumPy spelling says."""
    from scipy import special  # noqa: PLC0415  (0.2 s that most processes never need)

    from gradc.ir.index import special_functions  # noqa: PLC0415

    found = FUNCTIONS[name]
    names = ", ".join(f"a{position}" for position in range(found.arity))
    body = found.numpy.format(*(f"a{position}" for position in range(found.arity)))
    namespace = {"np": np, "sp": special, **special_functions.NUMPY}
    computed = eval(f"lambda {names}: {body}", namespace)
    return lambda *arguments: np.asarray(computed(*arguments))[()]
