"""SymPy expressions become equations, exactly as written.

``Add`` and ``Mul`` run left to right in the order of ``.args``; a ``Mul`` with negative powers is one
numerator divided by one denominator; ``Rational(p, q)`` is rounded once; whole powers up to 64 are
multiplications. Nothing is simplified: what SymPy's automatic evaluation did happened when the expression
was built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sympy
from sympy.tensor.array import NDimArray

from gradc.errors import ArgumentError, InputRefused
from gradc.lang import matrices, sympy_arms, sympy_scalars, sympy_sums
from gradc.lang.emit import Emitter, Value
from gradc.lang.sympy_reader import Planner, Reader

HEADS: dict[type, Planner] = {
    **sympy_scalars.HEADS,
    **sympy_arms.HEADS,
    **sympy_sums.HEADS,
    **matrices.HEADS,
}

Argument = Any  # Symbol, IndexedBase or MatrixSymbol
Expression = Any  # a SymPy object, or a list of them


def is_expression(candidate: object) -> bool:
    """Whether `read_expression` takes an object: a SymPy expression, matrix or array, or a list of them."""
    if isinstance(candidate, list | tuple):
        parts = [item for item in candidate if not isinstance(item, int | float)]
        return bool(parts) and all(is_expression(item) for item in parts)
    return isinstance(candidate, sympy.Basic | sympy.MatrixBase | NDimArray)


def read_expression(
    expression: Expression, args: Sequence[Argument], emit: Emitter, inputs: Mapping[Argument, Value]
) -> Value | list[Value]:
    """Emit a SymPy expression.

    Parameters
    ----------
    expression : SymPy expression, Matrix, Array, or list of them
        A list gives a list of values, a Matrix or Array one value with its shape.
    args : sequence of Symbol, IndexedBase or MatrixSymbol
        The arguments, distinct.
    inputs : mapping of argument to Value
        Plain symbols may be arrays and broadcast; ``IndexedBase`` and ``MatrixSymbol`` have their shape.

    Raises
    ------
    InputRefused
        The expression holds something that has no floating-point meaning; the message names the head.
    """
    _check(args, inputs)
    reader = Reader(emit, {argument: inputs[argument] for argument in args}, HEADS)
    if isinstance(expression, list | tuple):
        return [_read(reader, item) for item in expression]
    return _read(reader, expression)


def _read(reader: Reader, expression: Expression) -> Value:
    if isinstance(expression, int | float):
        return reader.value(expression)
    if not is_expression(expression):
        raise InputRefused(
            f"a {type(expression).__name__} is not a SymPy expression",
            do="build it from sympy.symbols; text goes to `gradc --expr`",
        )
    return reader.value(reader.read(expression))


def _check(args: Sequence[Argument], inputs: Mapping[Argument, Value]) -> None:
    names: set[str] = set()
    for argument in args:
        if not isinstance(argument, sympy.Symbol | sympy.IndexedBase | sympy.MatrixSymbol):
            raise ArgumentError(
                f"{argument!r} is a {type(argument).__name__}, not a Symbol, IndexedBase or MatrixSymbol",
                do="list the symbols of the expression: args=(x, y)",
            )
        if str(argument.name) in names:
            raise ArgumentError(
                f"two arguments are called {argument}",
                why="they may differ in their assumptions, but a call could not tell them apart",
                do="rename one of them",
            )
        names.add(str(argument.name))
        if argument not in inputs:
            raise ArgumentError(f"no value for the argument {argument}")


__all__ = ["HEADS", "is_expression", "read_expression"]
