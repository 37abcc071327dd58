"""Command-line expressions, already parsed, become equations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, assert_never

from gradc.errors import ArgumentError
from gradc.ir.types import DType, promote
from gradc.lang.constants import CONSTANTS
from gradc.lang.emit import Arg, Emitter, Value
from gradc.lang.expression_nodes import Apply, Constant, Number, Variable
from gradc.lang.parser import Parsed

T = TypeVar("T")


def composed(function: str, arguments: tuple[T, ...], apply: Callable[..., T], zero: T) -> T:
    """Apply a function of the vocabulary: ``relu`` and ``clip`` are made of inventory functions."""
    if function == "relu":
        return apply("maximum", arguments[0], zero)
    if function == "clip":
        value, low, high = arguments
        return apply("minimum", apply("maximum", value, low), high)
    return apply(function, *arguments)


def float_dtype(values: tuple[Value, ...]) -> DType:
    """Return the floating-point dtype that `values` share; float64 where there is none."""
    shared: DType | None = None
    for value in values:
        if value.dtype.is_float:
            shared = value.dtype if shared is None else promote(shared, value.dtype)
    return shared or DType.F64


def lower_formula(parsed: Parsed, emit: Emitter, inputs: Mapping[str, Value]) -> Value:
    """Emit a parsed expression; arrays broadcast, literals are weak.

    Parameters
    ----------
    parsed : Parsed
        In A-normal form, so no recursion.
    inputs : mapping of name to Value
        One value per variable of the expression.

    Raises
    ------
    ArgumentError
        A variable has no value.
    """
    missing = [name for name in parsed.variables if name not in inputs]
    if missing:
        raise ArgumentError(
            f"no value for {', '.join(missing)}",
            why=f"the expression reads {', '.join(parsed.variables)}",
            do=f"give {missing[0]}=...",
        )
    default = float_dtype(tuple(inputs[name] for name in parsed.variables))
    results: list[Arg] = []

    def apply(function: str, *arguments: Arg) -> Arg:
        if function == "pow":
            return _power(emit, default, *arguments)
        return emit.elementwise(function, *arguments, dtype=literal_dtype(function, arguments, default))

    for node in parsed.nodes:
        match node:
            case Number(value=value):
                results.append(value)
            case Variable(name=name):
                results.append(inputs[name])
            case Constant(name=name):
                results.append(CONSTANTS[name])
            case Apply(function=function, arguments=arguments):
                results.append(composed(function, tuple(results[at] for at in arguments), apply, 0))
            case _:
                assert_never(node)
    result = results[-1]
    return result if isinstance(result, Value) else emit.constant(result, default)  # pyright: ignore[reportArgumentType]


def literal_dtype(function: str, arguments: tuple[Arg, ...], default: DType) -> DType | None:
    """Return the dtype of an operation on literals alone; None where a tensor decides."""
    considered = arguments[1:] if function == "select" else arguments
    if any(isinstance(argument, Value) for argument in considered):
        return None
    return DType.BOOL if function.startswith("logical_") else default


def _power(emit: Emitter, default: DType, base: Arg, exponent: Arg) -> Value:
    if isinstance(base, Value) or isinstance(exponent, Value):
        return emit.power(base, exponent)
    return emit.elementwise("pow", base, exponent, dtype=default)


__all__ = ["composed", "float_dtype", "literal_dtype", "lower_formula"]
