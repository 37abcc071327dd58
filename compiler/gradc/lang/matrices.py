"""Heads of SymPy's matrix expressions: products, sums, transposes, traces, inverses, explicit matrices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from types import MappingProxyType
from typing import Any

import sympy
from sympy.matrices import expressions as mx
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction
from sympy.matrices.expressions.slice import MatrixSlice
from sympy.tensor.array import NDimArray

from gradc.errors import InputRefused
from gradc.ir.extents import Size
from gradc.ir.index.nodes import Affine, Index
from gradc.lang.emit import Value
from gradc.lang.sympy_reader import Node, Plan, Planner, Reader, Result, Scope, shown
from gradc.lang.sympy_scalars import number

_BY_MULTIPLICATION = 64


# --- leaves -------------------------------------------------------------------------------------------------


def plan_symbol(reader: Reader, node: Node, scope: Scope) -> Plan:
    """Plan an argument with two axes."""
    value = reader.input(node, scope)
    if value is None:
        raise InputRefused(
            f"the matrix {node} is not among the arguments",
            do=f"add it: args=(..., {node})",
            code="E_SYMPY_SYMBOL",
        )
    return Plan((), lambda: value)


def plan_identity(reader: Reader, node: Node, scope: Scope) -> Plan:
    """Plan the unit matrix."""
    size = reader.size(node.args[0])
    return Plan((), lambda: unit_matrix(reader, size))


def unit_matrix(reader: Reader, size: Size) -> Value:
    """Ones on the diagonal."""
    return reader.emit.cast(reader.emit.index_predicate("eq", 0, 1, (size, size)), reader.dtype)


def plan_filled(reader: Reader, node: Node, scope: Scope) -> Plan:
    """``ZeroMatrix`` and ``OneMatrix``."""
    fill = 1 if isinstance(node, mx.OneMatrix) else 0
    shape = (reader.size(node.args[0]), reader.size(node.args[1]))
    return Plan((), lambda: reader.emit.constant(fill, reader.dtype, shape))


def plan_explicit(reader: Reader, node: Node, scope: Scope) -> Plan:
    """Plan a matrix or array of expressions."""
    elements = node.flat() if hasattr(node, "flat") else list(sympy.flatten(node.tolist()))
    return Plan(
        tuple((element, scope) for element in elements),
        lambda *values: assembled(reader, values, tuple(int(size) for size in node.shape)),
    )


def assembled(reader: Reader, elements: Sequence[Result], shape: tuple[int, ...]) -> Value:
    """Return a tensor of `shape` from its elements; where elements are arrays, `shape` follows their axes."""
    emit = reader.emit
    if not elements:
        return emit.constant(0, reader.dtype, shape)
    values = [emit.cast(reader.value(element), reader.dtype) for element in elements]
    outer = emit.broadcast_shape([emit.shape(value) for value in values])
    columns = [emit.reshape(emit.broadcast_to(value, outer), (*outer, 1)) for value in values]
    row = emit.concatenate(columns, len(outer)) if len(columns) > 1 else columns[0]
    return emit.reshape(row, (*outer, *shape))


# --- algebra ------------------------------------------------------------------------------------------------


class Solve:
    """An inverse followed by another factor: a linear system instead of an inverse."""

    def __init__(self, matrix: Node, right: Node) -> None:
        self.args = (matrix, right)


def plan_solve(reader: Reader, node: Solve, scope: Scope) -> Plan:
    """``A**-1 * B`` without the inverse."""
    children = tuple((argument, scope) for argument in node.args)
    return Plan(children, lambda a, b: reader.emit.call("solve", (a, b))[0])


def factors_of(node: Node) -> tuple[list[Node], list[Node]]:
    """Scalar and matrix factors of a product, with inverses joined to what follows them."""
    scalars = [factor for factor in node.args if not is_matrix(factor)]
    matrices: list[Node] = []
    for factor in reversed([factor for factor in node.args if is_matrix(factor)]):
        if isinstance(factor, mx.Inverse) and matrices:
            factor = Solve(factor.args[0], matrices.pop())
        matrices.append(factor)
    return scalars, matrices[::-1]


def is_matrix(node: Node) -> bool:
    """Whether a node has rows and columns."""
    return bool(getattr(node, "is_Matrix", False))


def plan_product(reader: Reader, node: Node, scope: Scope) -> Plan:
    """From left to right, scalars first."""
    scalars, matrices = factors_of(node)

    def finish(*values: Any) -> Result:
        product = reduce(lambda a, b: multiplied(reader, a, b), values[len(scalars) :])
        return scaled(reader, values[: len(scalars)], product)

    return Plan(tuple((factor, scope) for factor in (*scalars, *matrices)), finish)


def multiplied(reader: Reader, left: Value, right: Value) -> Value:
    """Return the matrix product."""
    return reader.emit.contract([(left, "ij"), (right, "jk")], "ik")


def scaled(reader: Reader, scalars: Sequence[Result], value: Result) -> Result:
    """Return a matrix or number times scalars."""
    for scalar in scalars:
        scalar = reader.settle(scalar)
        if isinstance(scalar, Value):
            reader.scalar(scalar, "a matrix")
        value = reader.apply("neg", value) if scalar == -1 else reader.multiply(scalar, value)
    return value


def plan_elementwise(function: str) -> Planner:
    """Make a planner that folds a binary function over matrices of one shape."""

    def plan(reader: Reader, node: Node, scope: Scope) -> Plan:
        def finish(*values: Result) -> Result:
            return reduce(lambda a, b: reader.apply(function, a, b), values)

        return Plan(tuple((argument, scope) for argument in node.args), finish)

    return plan


def plan_transpose(reader: Reader, node: Node, scope: Scope) -> Plan:
    """Rows become columns."""
    return Plan(((node.args[0], scope),), lambda value: reader.emit.transpose(value, (1, 0)))


def plan_trace(reader: Reader, node: Node, scope: Scope) -> Plan:
    """Plan a trace; that of a product is one contraction with its last factor, so no product is formed."""
    inner = node.args[0]
    contract = reader.emit.contract
    scalars, matrices = factors_of(inner) if isinstance(inner, mx.MatMul) else ([], [inner])

    def finish(*values: Any) -> Result:
        *rest, last = values[len(scalars) :]
        if not rest:
            return scaled(reader, values[: len(scalars)], contract([(last, "ii")], ""))
        left = reduce(lambda a, b: multiplied(reader, a, b), rest)
        return scaled(reader, values[: len(scalars)], contract([(left, "ij"), (last, "ji")], ""))

    return Plan(tuple((factor, scope) for factor in (*scalars, *matrices)), finish)


def plan_call(operation: str) -> Planner:
    """Make a planner for a library operation on one square matrix."""

    def plan(reader: Reader, node: Node, scope: Scope) -> Plan:
        return Plan(((node.args[0], scope),), lambda value: reader.emit.call(operation, (value,))[0])

    return plan


def plan_power(reader: Reader, node: Node, scope: Scope) -> Plan:
    """Whole powers by repeated multiplication."""
    base, exponent = node.args
    if not isinstance(exponent, sympy.Integer) or abs(exponent.p) > _BY_MULTIPLICATION:
        raise InputRefused(
            f"{shown(node)} is a matrix power that is not a whole number up to {_BY_MULTIPLICATION}",
            why="it would need an eigenvalue decomposition",
            do="write a product of matrices",
        )

    def finish(value: Value) -> Value:
        if exponent.p < 0:
            value = reader.emit.call("inv", (value,))[0]
        return raised(reader, value, abs(exponent.p))

    return Plan(((base, scope),), finish)


def raised(reader: Reader, value: Value, power: int) -> Value:
    """Return a matrix power by repeated squaring."""
    result: Value | None = None
    while power:
        if power & 1:
            result = value if result is None else multiplied(reader, result, value)
        power >>= 1
        if power:
            value = multiplied(reader, value, value)
    return unit_matrix(reader, reader.emit.shape(value)[0]) if result is None else result


def plan_hadamard_power(reader: Reader, node: Node, scope: Scope) -> Plan:
    """Plan the power of each element."""
    base, exponent = node.args
    if isinstance(exponent, sympy.Rational | sympy.Float):
        power = number(exponent)
        return Plan(((base, scope),), lambda value: reader.power(value, power))
    return Plan(((base, scope), (exponent, scope)), reader.power)


def plan_applied(reader: Reader, node: Node, scope: Scope) -> Plan:
    """``M.applyfunc(f)``: the body of ``f`` with its variable standing for the whole matrix."""
    function, matrix = node.args
    if len(function.variables) != 1:
        raise InputRefused(f"{shown(function)} takes {len(function.variables)} arguments", do="use one")
    aliases = {**scope.aliases, function.variables[0]: (matrix, scope)}
    inner = Scope(scope.detached, scope.bound, MappingProxyType(aliases))

    def finish(value: Value, result: Result) -> Result:
        return reader.emit.broadcast_to(reader.value(result), reader.emit.shape(value))

    return Plan(((matrix, scope), (function.expr, inner)), finish)


def plan_slice(reader: Reader, node: Node, scope: Scope) -> Plan:
    """Plan a rectangle with whole strides."""
    parent, *ranges = node.args
    entries = [tuple(part) for part in ranges]
    if not all(isinstance(entry, sympy.Integer) for part in entries for entry in part):
        raise InputRefused(f"{shown(node)} has symbolic bounds", do="use whole numbers")
    bounds = [tuple(int(entry) for entry in part) for part in entries]

    def finish(value: Value) -> Value:
        for (_, stop, _), size in zip(bounds, reader.emit.shape(value), strict=True):
            reader.emit.solver.require(size, ">=", stop, f"{shown(node)} lies inside the matrix")
        shape = tuple(len(range(*part)) for part in bounds)
        indices: tuple[Index, ...] = tuple(
            Affine(((step, axis),), start) if (start, step) != (0, 1) else axis
            for axis, (start, _, step) in enumerate(bounds)
        )
        return reader.emit.reindex(value, shape, indices)

    return Plan(((parent, scope),), finish)


HEADS: dict[type, Planner] = {
    sympy.MatrixSymbol: plan_symbol,
    mx.Identity: plan_identity,
    mx.ZeroMatrix: plan_filled,
    mx.OneMatrix: plan_filled,
    sympy.MatrixBase: plan_explicit,
    NDimArray: plan_explicit,
    mx.MatMul: plan_product,
    Solve: plan_solve,
    mx.MatAdd: plan_elementwise("add"),
    mx.HadamardProduct: plan_elementwise("mul"),
    mx.HadamardPower: plan_hadamard_power,
    mx.Transpose: plan_transpose,
    mx.Adjoint: plan_transpose,
    mx.Trace: plan_trace,
    mx.Determinant: plan_call("det"),
    mx.Inverse: plan_call("inv"),
    mx.MatPow: plan_power,
    ElementwiseApplyFunction: plan_applied,
    MatrixSlice: plan_slice,
}
