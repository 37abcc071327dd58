"""Front ends that need no tracing: SymPy expressions and parsed text, evaluated elementwise like a ufunc."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import optree

from gradc.api.built import Built
from gradc.errors import ArgumentError
from gradc.ir.extents import Size, symbol
from gradc.ir.index.build import Builder
from gradc.ir.types import DType
from gradc.lang.emit import Emitter, Value
from gradc.lang.signature import Flat, LeafKind, Signature
from gradc.lang.unify import ExtentSolver

Lower = Callable[[Emitter, dict[str, Value]], Value | list[Value]]


class ExpressionSource:
    """Builds programs from a formula over named arguments.

    `lower` emits the formula on the argument tensors.  Arguments that are arrays broadcast against each other, and
    gradients are then elementwise derivatives in the broadcast shape.
    """

    def __init__(self, name: str, arguments: Sequence[str], lower: Lower, *, scalar: bool) -> None:
        self.name = name
        self.arguments = tuple(arguments)
        self.lower = lower
        self.scalar = scalar

    def with_signature(self, signature: Signature) -> ExpressionSource:
        """An expression's meaning does not depend on what is differentiated."""
        return self

    def build(self, flat: Flat) -> Built:
        """The program for arguments of these kinds."""
        emit = Emitter(Builder(self.name), ExtentSolver(_hints(flat)))
        inputs = [_declare(emit, name, kind, value) for name, kind, value in _triples(flat)]
        operands = [_floating(emit, value) for value in inputs]
        elementwise = self.scalar and any(kind.rank for kind in flat.kinds)
        if elementwise:
            shape = emit.broadcast_shape([emit.shape(value) for value in operands])
            operands = [emit.reindex(value, shape, emit.aligned(value, shape).indices) for value in operands]
        result = self.lower(emit, dict(zip(self.arguments, operands, strict=True)))
        outputs = result if isinstance(result, list) else [result]
        if elementwise:
            outputs = [emit.broadcast_to(value, shape) for value in outputs]
        spec = (
            optree.tree_structure([0] * len(outputs))
            if isinstance(result, list)
            else optree.tree_structure(0)
        )
        wrt = {at: value.name for at, value in enumerate(operands) if inputs[at].dtype.is_float}
        names = tuple(value.name for value in inputs)
        program = emit.finish(outputs)
        return Built(program, names, wrt, spec, tuple(range(len(outputs))), elementwise=elementwise)


def _triples(flat: Flat) -> list[tuple[str, LeafKind, Any]]:
    for name, kind in zip(flat.names, flat.kinds, strict=True):
        if kind.kind == "static":
            raise ArgumentError(f"argument {name} of an expression must be a number or an array")
    return list(zip(flat.names, flat.kinds, flat.values, strict=True))


def _floating(emit: Emitter, value: Value) -> Value:
    """Integer arguments of a formula count as floats."""
    return value if value.dtype.is_float or value.dtype.is_bool else emit.cast(value, DType.F64)


def _hints(flat: Flat) -> dict[str, int]:
    return {
        f"{name}_n{axis}": size
        for name, kind, value in zip(flat.names, flat.kinds, flat.values, strict=True)
        if kind.kind == "array"
        for axis, size in enumerate(value.shape)
    }


def _declare(emit: Emitter, name: str, kind: LeafKind, value: Any) -> Value:
    shape: tuple[Size, ...] = tuple(
        1 if axis in kind.ones else symbol(f"{name}_n{axis}") for axis in range(kind.rank)
    )
    return emit.input(name, kind.dtype or DType.F64, shape)


def made_up_function(name: str, arguments: Sequence[str], doc: str) -> Callable[..., Any]:
    """A function object that carries the signature of an expression."""

    def function(*args: Any) -> Any:
        raise ArgumentError(
            "an expression has no Python function behind it", do="call the differentiated object"
        )

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    function.__signature__ = inspect.Signature([inspect.Parameter(argument, kind) for argument in arguments])  # pyright: ignore[reportFunctionMemberAccess]
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def text_function(text: str, name: str = "expression") -> tuple[Callable[..., Any], ExpressionSource]:
    """The function and source of an expression given as text; its arguments are the variables in order."""
    from gradc.lang.formula import lower_formula  # noqa: PLC0415
    from gradc.lang.parser import parse_expression  # noqa: PLC0415

    parsed = parse_expression(text)

    def lower(emit: Emitter, inputs: dict[str, Value]) -> Value:
        return lower_formula(parsed, emit, inputs)

    source = ExpressionSource(name, parsed.variables, lower, scalar=True)
    return made_up_function(name, parsed.variables, text), source


def expression_function(expression: Any, arguments: Sequence[Any] | None) -> tuple[Callable[..., Any], Any]:
    """The function and source of a SymPy expression, a list of them or a Matrix, with its argument symbols."""
    from gradc.lang.expressions import expression_parts  # noqa: PLC0415

    names, lower, scalar = expression_parts(expression, arguments)
    source = ExpressionSource("expression", names, lower, scalar=scalar)
    return made_up_function("expression", names, str(expression)), source
