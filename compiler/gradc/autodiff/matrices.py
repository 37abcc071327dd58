"""Matrix algebra written as index equations; leading axes are batches and are the same for all operands."""

from __future__ import annotations

from typing import TypeVar

from gradc.ir.index.build import IDENTITY, Attributes, Builder
from gradc.ir.index.nodes import Access, Const, IndexValue, Operand, Origin, Reduce
from gradc.ir.types import DType


class Matrices:
    """Appends matrix operations to `builder`; every method returns the name of its result."""

    def __init__(self, builder: Builder, origin: Origin | None) -> None:
        self.builder = builder
        self.origin = origin

    def call(self, operation: str, *ins: str, attributes: Attributes | None = None) -> str:
        """Return a library operation with one result."""
        return self.builder.call(operation, ins, attributes, origin=self.origin)[0]

    def transposed(self, matrix: str) -> str:
        """Return the last two axes exchanged."""
        type_ = self.builder.types[matrix]
        *batch, rows, columns = type_.shape
        at = len(batch)
        access = Access(matrix, (*IDENTITY[at], at + 1, at))
        return self.builder.assign(
            "copy", (access,), (*batch, columns, rows), type_.dtype, origin=self.origin
        )

    def product(self, left: str, right: str, *, left_t: bool = False, right_t: bool = False) -> str:
        """``left @ right``, either of them transposed on request."""
        first, second = self.builder.types[left], self.builder.types[right]
        *batch, rows, inner = (*first.shape[:-2], *_swapped(first.shape[-2:], swap=left_t))
        columns = _swapped(second.shape[-2:], swap=right_t)[1]
        at = len(batch)
        row, column, summed = at, at + 1, at + 2
        operands = (
            Access(left, (*IDENTITY[at], *_swapped((row, summed), swap=left_t))),
            Access(right, (*IDENTITY[at], *_swapped((summed, column), swap=right_t))),
        )
        return self.builder.assign(
            "mul",
            operands,
            (*batch, rows, columns, inner),
            first.dtype,
            rank=at + 2,
            reduce=Reduce("sum", first.dtype),
            origin=self.origin,
        )

    def inner(self, left: str, right: str, *, right_t: bool = False) -> str:
        """``sum[i, j] left[i, j] * right[i, j]``, one number per matrix."""
        type_ = self.builder.types[left]
        at = len(type_.shape) - 2
        operands = (
            Access(left, IDENTITY[at + 2]),
            Access(right, (*IDENTITY[at], *_swapped((at, at + 1), swap=right_t))),
        )
        return self.builder.assign(
            "mul",
            operands,
            type_.shape,
            type_.dtype,
            rank=at,
            reduce=Reduce("sum", type_.dtype),
            origin=self.origin,
        )

    def scaled(self, function: str, matrix: str, scale: str) -> str:
        """``function(matrix[i, j], scale)`` with one number per matrix (``mul``, ``div``)."""
        type_ = self.builder.types[matrix]
        rank = len(type_.shape)
        operands = (Access(matrix, IDENTITY[rank]), Access(scale, IDENTITY[rank - 2]))
        return self.builder.assign(function, operands, type_.shape, type_.dtype, origin=self.origin)

    def pointwise(self, function: str, *operands: str | Const) -> str:
        """Return an elementwise function of tensors of one shape."""
        return self.builder.pointwise(function, *operands, origin=self.origin)

    def where(self, relation: str, matrix: str, other: Operand | str | None = None) -> str:
        """``matrix[i, j]`` where ``i relation j``, else `other` or 0: ``ge`` keeps the lower triangle."""
        type_ = self.builder.types[matrix]
        at = len(type_.shape) - 2
        comparison = (IndexValue(0), IndexValue(1))
        mask = self.builder.assign(relation, comparison, type_.shape[at:], DType.BOOL, origin=self.origin)
        whole = IDENTITY[at + 2]
        rest = Access(other, whole) if isinstance(other, str) else other
        operands = (Access(mask, (at, at + 1)), Access(matrix, whole), rest or Const(0.0, type_.dtype))
        return self.builder.assign("select", operands, type_.shape, type_.dtype, origin=self.origin)

    def halved(self, matrix: str) -> str:
        """``matrix / 2``."""
        return self.pointwise("mul", matrix, Const(0.5, self.builder.types[matrix].dtype))

    def lower_half(self, matrix: str) -> str:
        """Return the lower triangle with half the diagonal: the linear map called Phi by I. Murray."""
        return self.where("gt", matrix, self.where("eq", self.halved(matrix)))

    def from_lower(self, matrix: str) -> str:
        """Return the symmetric matrix that has the lower triangle of `matrix`."""
        return self.where("ge", matrix, self.transposed(matrix))


Item = TypeVar("Item")


def _swapped(pair: tuple[Item, ...], *, swap: bool) -> tuple[Item, ...]:
    return pair[::-1] if swap else pair
