"""What the derivatives of ``max``, ``min`` and ``prod`` reductions share in both modes.

``max`` and ``min``: the derivative goes to the winners, in equal shares where several elements tie.
``prod``: the partial derivative with respect to one factor is the product of the others, made of two scans
and no division, so that zeros are exact at every order.
"""

from __future__ import annotations

from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.index.build import IDENTITY, Builder
from gradc.ir.index.nodes import (
    Access,
    Assign,
    Const,
    ExtentValue,
    Index,
    IndexValue,
    Operand,
    Origin,
    Reduce,
    affine,
)
from gradc.ir.index.rewrite import compose_all
from gradc.ir.index.templates import template
from gradc.ir.types import DType


def body_of(builder: Builder, equation: Assign) -> Access:
    """Return what `equation` reduces, over its whole space; computed anew unless it is a plain access."""
    operand = equation.operands[0]
    if equation.template.is_copy and isinstance(operand, Access):
        return operand
    dtype = builder.types[equation.out].dtype
    name = builder.assign(
        equation.template, equation.operands, equation.space, dtype, name="body", origin=equation.origin
    )
    return Access(name, IDENTITY[len(equation.space)])


def winners(builder: Builder, equation: Assign, body: Access) -> tuple[Access, str]:
    """Which points of the space attain the ``max`` or ``min``, and how many of them each result has."""
    space, kept, dtype = equation.space, IDENTITY[equation.rank], builder.types[equation.out].dtype
    operands = (body, Access(equation.out, kept))
    winner = builder.assign("eq", operands, space, DType.BOOL, name="winner", origin=equation.origin)
    every = Access(winner, IDENTITY[len(space)])
    ties = builder.assign(
        "copy",
        (every,),
        space,
        dtype,
        rank=equation.rank,
        reduce=Reduce("sum", dtype),
        name="ties",
        origin=equation.origin,
    )
    return every, ties


def exclusive_product(builder: Builder, equation: Assign, body: Access) -> Access:
    """Per point of the space, the product of all *other* factors of the same result."""
    space, rank, dtype = equation.space, equation.rank, builder.types[equation.out].dtype
    if len(space) == rank + 1:
        return _others(builder, space, body, dtype, equation.origin)
    flat = (*space[:rank], extents.product(space[rank:]))
    whole = builder.assign("copy", (body,), space, dtype, name="factors", origin=equation.origin)
    (row,) = builder.call("reshape", (whole,), {"shape": flat}, origin=equation.origin)
    others = _others(builder, flat, Access(row, IDENTITY[rank + 1]), dtype, equation.origin)
    (back,) = builder.call("reshape", (others.tensor,), {"shape": space}, origin=equation.origin)
    return Access(back, IDENTITY[len(space)])


def _others(
    builder: Builder, space: tuple[Size, ...], factor: Access, dtype: DType, origin: Origin | None
) -> Access:
    """Multiply the factors before each position of the last axis by the factors after it."""
    before, after = (
        _running_product(builder, space, factor, dtype, origin, reverse=r) for r in (False, True)
    )
    identity = IDENTITY[len(space)]
    operands = (Access(before, identity), Access(after, identity))
    return Access(builder.assign("mul", operands, space, dtype, name="others", origin=origin), identity)


def _running_product(
    builder: Builder,
    space: tuple[Size, ...],
    factor: Access,
    dtype: DType,
    origin: Origin | None,
    *,
    reverse: bool,
) -> str:
    """Multiply the factors strictly before (with `reverse`: after) each position of the last axis."""
    axis = len(space) - 1
    start: Operand = ExtentValue(extents.sub(space[axis], 1)) if reverse else Const(0, DType.INT64)
    first = builder.assign("eq", (IndexValue(0), start), space[axis:], DType.BOOL, origin=origin)
    one, zero = Const(1.0, dtype), Const(0.0, dtype)
    begin = builder.assign("select", (Access(first, (axis,)), one, zero), space, dtype, origin=origin)
    steps = shifted(builder, factor, space, axis, dtype, origin, forward=not reverse)
    (result,) = builder.call("affine_scan", (steps, begin), {"axis": axis, "reverse": reverse}, origin=origin)
    return result


def shifted(
    builder: Builder,
    source: Access,
    space: tuple[Size, ...],
    axis: int,
    dtype: DType,
    origin: Origin | None,
    *,
    forward: bool,
) -> str:
    """``out[i + 1] = source[i]`` along `axis` with zero at the start; without `forward` the other way round.

    The iteration space is one shorter than the axis, hence empty for an empty axis.
    """
    out = builder.declare("shifted", dtype, space)
    inner = shorter(space, axis)
    identity, moved = IDENTITY[len(space)], next_index(len(space), axis)
    operands, target = (source,), moved
    if not forward:
        later = compose_all(source.indices, moved)
        assert later is not None  # an affine image never meets a look-up
        operands, target = (Access(source.tensor, later),), identity
    builder.accumulate(out, template("copy"), operands, inner, target, origin)
    return out


def shorter(space: tuple[Size, ...], axis: int) -> tuple[Size, ...]:
    """Return the space with one element less along `axis`."""
    return (*space[:axis], extents.sub(space[axis], 1), *space[axis + 1 :])


def next_index(rank: int, axis: int) -> tuple[Index, ...]:
    """Return the identity with ``i + 1`` along `axis`."""
    return tuple(affine({axis: 1}, 1) if position == axis else position for position in range(rank))
