"""Library operations as mathematics: one or more lines for each operation of `gradc.ir.index.calls`."""

from __future__ import annotations

from collections.abc import Callable

from gradc.explain.mathematics import building as build
from gradc.explain.mathematics import tree
from gradc.explain.mathematics.reading import Reading
from gradc.explain.mathematics.tree import (
    Affine,
    Apply,
    Expression,
    Number,
    Power,
    Product,
    Reduction,
    Tensor,
)
from gradc.ir.extents import Size
from gradc.ir.index.nodes import Call

Whole = Callable[[str], Expression]
Line = tuple[tuple[Tensor, ...], Expression]
_Writer = Callable[[Reading, Call, Whole], list[Line]]


def call_lines(reading: Reading, call: Call, whole: Whole) -> list[Line]:
    """Return what a library operation defines, as pairs of a left-hand and a right-hand side.

    `whole` gives the expression for all of a tensor.
    """
    return _WRITERS.get(call.operation, _general)(reading, call, whole)


def _general(reading: Reading, call: Call, whole: Whole) -> list[Line]:
    left = tuple(reading.whole(out) for out in call.outs)
    name = str(call.attribute("name")) if call.operation == "external" else call.operation
    return [(left, Apply(name, tuple(map(whole, call.ins)), _note(call)))]


def _note(call: Call) -> tuple[Size, ...]:
    """Return what is written below the name of an operation: the shape, or the axis."""
    if call.operation == "reshape":
        shape = call.attribute("shape")
        return shape if isinstance(shape, tuple) else ()
    axis = dict(call.attributes).get("axis")
    return (axis,) if isinstance(axis, int) else ()


def _one(value: Callable[[Call, list[Expression]], Expression]) -> _Writer:
    """Return the writer of an operation with one result."""

    def write(reading: Reading, call: Call, whole: Whole) -> list[Line]:
        return [((reading.whole(call.outs[0]),), value(call, [whole(name) for name in call.ins]))]

    return write


def inverse(matrix: Expression) -> Expression:
    """Return the inverse of a matrix."""
    return Power(matrix, Number(-1))


def matrix_product(*factors: Expression) -> Expression:
    """Return a product of matrices, whose order counts."""
    return Product(1, factors, ())


def transposed(matrix: Expression) -> Expression:
    """Return the transposed matrix."""
    if isinstance(matrix, Apply) and matrix.function == "transpose":
        return matrix.arguments[0]
    return Apply("transpose", (matrix,))


def _solve(call: Call, ins: list[Expression]) -> Expression:
    a, b = ins
    if isinstance(a, Apply) and a.function == "transpose":
        return matrix_product(Apply("inverse_transpose", a.arguments), b)
    return matrix_product(inverse(a), b)


def _solve_triangular(call: Call, ins: list[Expression]) -> Expression:
    triangle = Apply("tril" if call.attribute("lower") else "triu", (ins[0],))
    if call.attribute("transposed"):
        return matrix_product(Apply("inverse_transpose", (triangle,)), ins[1])
    return matrix_product(inverse(triangle), ins[1])


def _slogdet(reading: Reading, call: Call, whole: Whole) -> list[Line]:
    determinant = Apply("det", (whole(call.ins[0]),))
    sign, logarithm = (reading.whole(out) for out in call.outs)
    size = Apply("log", (Apply("abs", (determinant,)),))
    return [((sign,), Apply("sign", (determinant,))), ((logarithm,), size)]


def _affine_scan(reading: Reading, call: Call, whole: Whole) -> list[Line]:
    (a, b), (out,) = call.ins, call.outs
    axis = call.attribute("axis")
    assert isinstance(axis, int)
    here = list(reading.space(reading.types[out].shape))
    before = Affine(here[axis].terms, here[axis].offset + (1 if call.attribute("reverse") else -1))
    there = [before if at == axis else place for at, place in enumerate(here)]
    carried = build.product(reading.tensor(a, here), reading.tensor(out, there))
    return [((reading.tensor(out, here),), build.total(carried, reading.tensor(b, here)))]


def _arg_extreme(reading: Reading, call: Call, whole: Whole) -> list[Line]:
    (source,), (out,) = call.ins, call.outs
    axis = call.attribute("axis")
    assert isinstance(axis, int)
    places = reading.space(reading.types[source].shape)
    left = reading.tensor(out, [place for at, place in enumerate(places) if at != axis])
    if not places[axis].terms:
        return [((left,), tree.ZERO)]
    function = "arg_max" if call.attribute("largest") else "arg_min"
    over = (places[axis].terms[0][1],)
    return [((left,), Reduction(function, over, reading.tensor(source, places)))]


_WRITERS: dict[str, _Writer] = {
    "solve": _one(_solve),
    "solve_triangular": _one(_solve_triangular),
    "inv": _one(lambda call, ins: inverse(ins[0])),
    "slogdet": _slogdet,
    "affine_scan": _affine_scan,
    "arg_extreme": _arg_extreme,
}
