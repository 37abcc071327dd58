"""``Sum`` and ``Product`` over elements of arrays: ``Sum(w[i, j]*x[j], (j, 0, n - 1))``."""

from __future__ import annotations

from types import MappingProxyType

import sympy
from sympy.tensor.indexed import Idx, Indexed

from gradc.errors import InputRefused, ShapeError
from gradc.ir.extents import Size
from gradc.lang.emit import Value
from gradc.lang.indexed import Form, LoopIndex, Read
from gradc.lang.sympy_reader import Node, Plan, Planner, Reader, Result, Scope, nodes_of, shown


def plan_indexed(reader: Reader, node: Node, scope: Scope) -> Plan:
    """``A[i, j]``."""
    return element(reader, node, node.base, node.indices, scope)


def plan_element(reader: Reader, node: Node, scope: Scope) -> Plan:
    """``M[i, j]`` of a matrix symbol; of any other matrix expression, with constant indices."""
    if isinstance(node.args[0], sympy.MatrixSymbol):
        return element(reader, node, node.args[0], node.args[1:], scope)
    forms = tuple(reader.form(index, scope) for index in node.args[1:])

    def finish(matrix: Value) -> Result:
        return access(reader, node, matrix, forms)

    return Plan(((node.args[0], scope),), finish)


def element(reader: Reader, node: Node, base: Node, indices: tuple[Node, ...], scope: Scope) -> Plan:
    """One element of an argument."""
    value = reader.input(base, scope)
    if value is None:
        raise InputRefused(
            f"{base} is not among the arguments",
            where=shown(node),
            do=f"add it: args=(..., {base})",
            code="E_SYMPY_SYMBOL",
        )
    read = access(reader, node, value, tuple(reader.form(index, scope) for index in indices))
    if node in scope.detached:
        read = reader.apply("stop_gradient", read)
    return Plan((), lambda: read)


def access(reader: Reader, node: Node, value: Value, forms: tuple[Form, ...]) -> Result:
    """Return the element at `forms`, checked against the shape."""
    shape = reader.emit.shape(value)
    if len(shape) != len(forms):
        raise InputRefused(
            f"{shown(node)} has {len(forms)} indices for an array with {len(shape)} axes",
            do="give one index per axis",
        )
    for axis, (form, size) in enumerate(zip(forms, shape, strict=True)):
        try:
            reader.nest.require_within(form, size, f"{shown(node)} lies inside axis {axis}")
        except ShapeError as error:
            raise ShapeError(
                f"{shown(node)} lies outside the array",
                why=error.what,
                do="indices count from 0; change the limits of the sum",
            ) from None
    return reader.settle(Read(value, forms))


def plan_sum(reader: Reader, node: Node, scope: Scope) -> Plan:
    """All limits of one ``Sum`` or ``Product`` become one reduction."""
    op = "sum" if isinstance(node, sympy.Sum) else "prod"
    bound = dict(scope.bound)
    indices: list[LoopIndex] = []
    for symbol, lower, upper in map(limits, reversed(node.limits)):  # SymPy names the innermost first
        first = reader.size(lower)
        size = extent(reader, node, symbol, first, upper)
        index = reader.loop(str(symbol), size)
        indices.append(index)
        bound[symbol] = bound[getattr(symbol, "label", symbol)] = Form(((1, index),), first)
    inner = Scope(scope.detached, MappingProxyType(bound), scope.aliases)

    def finish(body: Result) -> Result:
        return reader.settle(reader.nest.reduce(op, indices, reader.term(body)))

    return Plan(((node.args[0], inner),), finish)


def limits(entry: Node) -> tuple[Node, Node, Node]:
    """Return the index of a sum and its two limits."""
    if len(entry) == 3:
        return tuple(entry)
    symbol = entry[0]
    if isinstance(symbol, Idx) and symbol.lower is not None:
        return symbol, symbol.lower, symbol.upper
    raise InputRefused(f"the sum over {symbol} has no limits", do=f"write Sum(..., ({symbol}, 0, n - 1))")


def extent(reader: Reader, node: Node, symbol: Node, first: Size, upper: Node) -> Size:
    """How many values an index takes.

    A limit ``n - 1`` with an unknown ``n`` is taken from an array that the index runs along: ``A[i]``.
    """
    unknown = [s for s in nodes_of(upper) if isinstance(s, sympy.Symbol) and s not in reader.sizes]
    if len(unknown) == 1 and unknown[0] not in reader.inputs and first == 0 and upper == unknown[0] - 1:
        for candidate in nodes_of(node.args[0]):
            if isinstance(candidate, Indexed) and symbol in candidate.indices:
                value = reader.input(candidate.base, reader.top)
                if value is not None:
                    reader.sizes[unknown[0]] = reader.emit.shape(value)[candidate.indices.index(symbol)]
                    break
    count = reader.size(upper) - first + 1
    if isinstance(count, int) and count < 0:
        raise InputRefused(
            f"the limits of {shown(node)} are reversed", do="sum from the lower to the upper limit"
        )
    reader.emit.solver.require(count, ">=", 0, f"the limits of {shown(node)} are in order")
    return count


HEADS: dict[type, Planner] = {
    Indexed: plan_indexed,
    sympy.matrices.expressions.matexpr.MatrixElement: plan_element,
    sympy.Sum: plan_sum,
    sympy.Product: plan_sum,
}
