"""Array-level operations on a program under construction: what every front end lowers to.

An `Emitter` adds equations for broadcasting elementwise functions, reductions, views, gathers and contractions.
The NumPy tracer, the SymPy reader, index equations and command-line expressions all end here, so they share one
meaning of broadcasting and promotion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from gradc.errors import DTypeError, ShapeError
from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.functions import FUNCTIONS, Result, operand_dtype, result_dtype
from gradc.ir.index.build import IDENTITY, Attributes, Builder
from gradc.ir.index.nodes import (
    Access,
    Affine,
    Const,
    ExtentValue,
    Index,
    IndexValue,
    Lookup,
    Operand,
    Origin,
    Program,
    Reduce,
    fixed,
)
from gradc.ir.index.templates import Template, integer_power, template
from gradc.ir.types import DType, float_result, promote, promote_weak
from gradc.lang.notation import index_names, with_equation
from gradc.lang.unify import ExtentSolver, is_one, substituted
from gradc.lang.written import with_extents


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the program under construction; `weak` where it stands for a Python number (NEP 50)."""

    name: str
    dtype: DType
    shape: tuple[Size, ...]
    weak: type | None = None


@dataclass(frozen=True, slots=True)
class SizeValue:
    """An extent used as a number (``x.sum() / n``): weak like a Python int."""

    size: Size


Scalar: TypeAlias = float | int | bool
Arg: TypeAlias = Value | Scalar | SizeValue


class Emitter:
    """Adds equations to `builder`; `place` is asked for the user's line and a name hint of each equation."""

    def __init__(
        self,
        builder: Builder,
        solver: ExtentSolver | None = None,
        place: Callable[[], tuple[Origin | None, str]] = lambda: (None, ""),
    ) -> None:
        self.builder = builder
        self.solver = solver or ExtentSolver()
        self.place = place

    # --- values -----------------------------------------------------------------------------------------

    def input(self, name: str, dtype: DType, shape: tuple[Size, ...]) -> Value:
        """Declare an input tensor."""
        return self._value(self.builder.input(name, dtype, shape))

    def _value(self, name: str) -> Value:
        type_ = self.builder.types[name]
        return Value(name, type_.dtype, type_.shape)

    def shape(self, value: Value) -> tuple[Size, ...]:
        """The shape with everything known by now about extents."""
        return substituted(value.shape, self.solver) if value.shape else ()

    def constant(self, number: Scalar, dtype: DType, shape: tuple[Size, ...] = ()) -> Value:
        """A tensor filled with one number."""
        return self._assign("copy", (Const(dtype.numpy.type(number).item(), dtype),), shape, dtype)

    def size_value(self, size: Size, dtype: DType = DType.INT64) -> Value:
        """A scalar tensor holding an extent."""
        return self._assign("copy", (ExtentValue(size),), (), dtype)

    def index_values(self, shape: tuple[Size, ...], axis: int) -> Value:
        """The int64 tensor whose element is its own index along `axis` (``np.arange`` broadcast)."""
        return self._assign("copy", (IndexValue(axis),), shape, DType.INT64)

    def random_bits(self, key: Arg, count: int, shape: tuple[Size, ...]) -> Value:
        """The int64 tensor of `count` random bits for each element, numbered in C order, of the stream `key`."""
        operands: list[Operand] = [self._operand(key, (), DType.INT64)]
        axes = [axis for axis, size in enumerate(shape) if not is_one(size)]
        for axis in axes:
            operands += [ExtentValue(shape[axis])] if axis != axes[0] else []
            operands.append(IndexValue(axis))
        operands += [] if axes else [Const(0, DType.INT64)]
        operands.append(Const(count, DType.INT64))
        return self._assign(_bits_of_element(max(1, len(axes))), tuple(operands), shape, DType.INT64)

    def index_predicate(
        self, function: str, left: int | Affine, right: int | Affine, shape: tuple[Size, ...]
    ) -> Value:
        """A comparison of two combinations of a tensor's own indices: ``j >= i + 1`` is an upper triangle."""
        return self._assign(function, (IndexValue(left), IndexValue(right)), shape, DType.BOOL)

    # --- elementwise ------------------------------------------------------------------------------------

    def elementwise(self, function: str | Template, *arguments: Arg, dtype: DType | None = None) -> Value:
        """Apply an inventory function (or a template of floats) with broadcasting and NumPy's promotion."""
        chosen = template(function) if isinstance(function, str) else function
        shared = dtype or self._shared_dtype(chosen, arguments)
        shape = self.broadcast_shape([self.shape(a) for a in arguments if isinstance(a, Value)])
        operands = tuple(
            self._operand(
                argument, shape, DType.BOOL if chosen.name == "select" and position == 0 else shared
            )
            for position, argument in enumerate(arguments)
        )
        entry = FUNCTIONS.get(chosen.name)
        return self._assign(chosen, operands, shape, result_dtype(entry, shared) if entry else shared)

    def power(self, base: Arg, exponent: Arg) -> Value:
        """``base ** exponent``: by multiplication for integer constants up to 64, ``sqrt`` for one half."""
        if isinstance(base, Value) and isinstance(exponent, int | float) and not isinstance(exponent, bool):
            if float(exponent).is_integer() and 0 <= exponent <= 64:
                return self._integer_power(base, int(exponent), type(exponent))
            if exponent == 0.5:
                return self.elementwise("sqrt", base)
            if exponent == -1 and base.dtype.is_float:
                return self.elementwise("reciprocal", base)
            if float(exponent).is_integer() and -64 <= exponent < 0 and base.dtype.is_float:
                return self.elementwise(
                    "reciprocal", self._integer_power(base, -int(exponent), type(exponent))
                )
        return self.elementwise("pow", base, exponent)

    def _integer_power(self, base: Value, exponent: int, kind: type) -> Value:
        dtype = promote_weak(base.dtype, kind)
        base = self.cast(base, dtype)
        if exponent == 0:
            return self.broadcast_to(self.constant(1, dtype), self.shape(base))
        return base if exponent == 1 else self.elementwise(integer_power(exponent), base, dtype=dtype)

    def _shared_dtype(self, chosen: Template, arguments: Sequence[Arg]) -> DType:
        considered = arguments[1:] if chosen.name == "select" else arguments
        strong: DType | None = None
        for argument in considered:
            if isinstance(argument, Value) and argument.weak is None:
                strong = argument.dtype if strong is None else promote(strong, argument.dtype)
        for argument in considered:
            kind = weak_kind(argument)
            if kind is not None:
                strong = _python_dtype(kind) if strong is None else promote_weak(strong, kind)
        assert strong is not None
        entry = FUNCTIONS.get(chosen.name)
        if entry is None:
            return float_result(strong)
        shared = operand_dtype(entry, (strong,) * entry.arity)
        if entry.result is Result.SAME and shared.is_bool and chosen.name in ("neg", "sub"):
            raise DTypeError(
                f"NumPy does not define {chosen.name} on booleans", do="use np.logical_not or astype"
            )
        return shared

    def _operand(self, argument: Arg, shape: tuple[Size, ...], dtype: DType) -> Operand:
        if isinstance(argument, Value):
            return self.aligned(self.cast(argument, dtype), shape)
        if isinstance(argument, SizeValue):
            return self.aligned(self.size_value(argument.size, dtype), shape)
        return Const(dtype.numpy.type(argument).item(), dtype)

    def cast(self, value: Value, dtype: DType) -> Value:
        """The value in another dtype (the same value when nothing changes)."""
        if value.dtype is dtype:
            return value
        return self._assign("copy", (self.aligned(value, self.shape(value)),), self.shape(value), dtype)

    # --- broadcasting -----------------------------------------------------------------------------------

    def broadcast_shape(self, shapes: Sequence[tuple[Size, ...]]) -> tuple[Size, ...]:
        """NumPy's broadcast shape; symbolic extents that meet are unified."""
        rank = max((len(shape) for shape in shapes), default=0)
        result: list[Size] = [1] * rank
        for shape in shapes:
            for axis, size in enumerate(shape, rank - len(shape)):
                if not is_one(size):
                    reason = f"shapes {' and '.join(_show_shape(s) for s in shapes)} are broadcast together"
                    result[axis] = (
                        size if is_one(result[axis]) else self.solver.unify(result[axis], size, reason)
                    )
        return tuple(result)

    def aligned(self, value: Value, shape: tuple[Size, ...]) -> Access:
        """The access that reads `value` broadcast to `shape`, the iteration space."""
        if not value.shape:
            return Access(value.name, ())
        own = self.shape(value)
        lead = len(shape) - len(own)
        indices: tuple[Index, ...] = tuple(
            fixed(0) if is_one(size) and not is_one(shape[lead + axis]) else lead + axis
            for axis, size in enumerate(own)
        )
        return Access(value.name, indices)

    def broadcast_to(self, value: Value, shape: tuple[Size, ...]) -> Value:
        """`value` repeated along new and unit axes."""
        own = self.shape(value)
        result = self.broadcast_shape([own, shape])
        if len(result) != len(shape) or any(
            is_one(b) and not is_one(a) for a, b in zip(result, shape, strict=True)
        ):
            raise ShapeError(f"shape {_show_shape(own)} does not broadcast to {_show_shape(shape)}")
        return value if own == result else self.reindex(value, result, self.aligned(value, result).indices)

    # --- reductions and contractions --------------------------------------------------------------------

    def reduce(self, op: str, value: Value, axes: Sequence[int], *, keepdims: bool = False) -> Value:
        """Reduce over `axes` (nonnegative, distinct) with ``sum``, ``prod``, ``max``, ``min``, ``any`` or ``all``."""
        shape = self.shape(value)
        kept = [axis for axis in range(len(shape)) if axis not in axes]
        space = tuple(shape[axis] for axis in (*kept, *axes))
        position = {axis: at for at, axis in enumerate((*kept, *axes))}
        access = Access(value.name, tuple(position[axis] for axis in range(len(shape))))
        if op in ("max", "min"):
            for axis in axes:
                self.solver.require(shape[axis], ">=", 1, f"{op} needs at least one element")
        result = value
        if axes:
            reduce = Reduce(op, value.dtype)
            result = self._assign("copy", (access,), space, value.dtype, rank=len(kept), reduce=reduce)
        if keepdims:
            full = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
            result = self.reshape(result, full)
        return result

    def contract(self, operands: Sequence[tuple[Value, str]], output: str) -> Value:
        """A sum of products in einsum notation: ``contract([(a, "ij"), (b, "jk")], "ik")``; repeated labels allowed."""
        sizes: dict[str, Size] = {}
        dtype = operands[0][0].dtype
        for value, labels in operands:
            dtype = promote(dtype, value.dtype)
            for label, size in zip(labels, self.shape(value), strict=True):
                try:
                    sizes[label] = self._joined(sizes.get(label, 1), size, label)
                except ShapeError as error:
                    terms = [(value.name, labels) for value, labels in operands]
                    error.why = f"index {index_names(terms, output)[label]} of a contraction"
                    raise with_equation(error, terms, output) from None
        order = output + "".join(label for label in sizes if label not in output)
        space = tuple(self.solver.resolve(sizes[label]) for label in order)
        accesses = tuple(
            self._labelled(self.cast(value, dtype), labels, order, space) for value, labels in operands
        )
        return self._sum_of_products(accesses, space, len(output), dtype)

    def sum_of_products(
        self, operands: Sequence[tuple[Value, tuple[Index, ...]]], space: tuple[Size, ...], rank: int
    ) -> Value:
        """A contraction with affine indices, such as a convolution: sums the indices from `rank` on."""
        dtype = operands[0][0].dtype
        for value, _ in operands:
            dtype = promote(dtype, value.dtype)
        accesses = tuple(Access(self.cast(value, dtype).name, indices) for value, indices in operands)
        return self._sum_of_products(accesses, space, rank, dtype)

    def _sum_of_products(
        self, accesses: tuple[Access, ...], space: tuple[Size, ...], rank: int, dtype: DType
    ) -> Value:
        body = _product(len(accesses))
        reduce = Reduce("sum", dtype) if rank < len(space) else None
        if dtype.is_bool:  # NumPy's sum of products of booleans is "any" of "and"
            body = template("logical_and") if len(accesses) == 2 else body
            reduce = Reduce("any", dtype) if reduce else None
        return self._assign(body, accesses, space, dtype, rank=rank, reduce=reduce)

    def _joined(self, known: Size, size: Size, label: str) -> Size:
        if is_one(known) or is_one(size):
            return size if is_one(known) else known
        return self.solver.unify(known, size, f"index {label} of a contraction")

    def _labelled(self, value: Value, labels: str, order: str, space: tuple[Size, ...]) -> Access:
        indices = tuple(
            fixed(0) if is_one(size) and not is_one(space[order.index(label)]) else order.index(label)
            for label, size in zip(labels, self.shape(value), strict=True)
        )
        return Access(value.name, indices)

    # --- views, gathers and assembly --------------------------------------------------------------------

    def reindex(self, value: Value, shape: tuple[Size, ...], indices: tuple[Index, ...]) -> Value:
        """``out[i] = value[indices(i)]``: slices, transposes, diagonals, gathers; `shape` is the result's."""
        return self._assign("copy", (Access(value.name, indices),), shape, value.dtype)

    def lookup(self, table: Value, indices: tuple[int | Affine, ...]) -> Lookup:
        """Use an integer tensor as an index (negative values count from the end)."""
        if table.dtype not in (DType.INT64, DType.INT32):
            table = self.cast(table, DType.INT64)
        return Lookup(table.name, indices)

    def transpose(self, value: Value, axes: Sequence[int]) -> Value:
        """Permute axes as ``np.transpose(value, axes)`` does."""
        shape = self.shape(value)
        inverse = tuple(list(axes).index(axis) for axis in range(len(shape)))
        return self.reindex(value, tuple(shape[axis] for axis in axes), inverse)

    def reshape(self, value: Value, shape: tuple[Size, ...]) -> Value:
        """Same elements in C order; adding or dropping unit axes is a view, anything else a library call."""
        own, shape = self.shape(value), substituted(shape, self.solver)
        if own == shape:
            return value
        if [size for size in own if not is_one(size)] == [size for size in shape if not is_one(size)]:
            carrying = iter([axis for axis, size in enumerate(shape) if not is_one(size)])
            return self.reindex(
                value, shape, tuple(fixed(0) if is_one(size) else next(carrying) for size in own)
            )
        self.solver.unify(
            extents.product(own), extents.product(shape), "reshape keeps the number of elements"
        )
        return self.call("reshape", (value,), {"shape": shape})[0]

    def concatenate(self, values: Sequence[Value], axis: int) -> Value:
        """Join along `axis`; the other extents are unified."""
        dtype = values[0].dtype
        for value in values[1:]:
            dtype = promote(dtype, value.dtype)
        first = self.shape(values[0])
        for value in values[1:]:
            for other, (a, b) in enumerate(zip(first, self.shape(value), strict=True)):
                if other != axis:
                    self.solver.unify(a, b, "concatenate needs equal extents on the other axes")
        origin, hint = self.place()
        parts = tuple(self.cast(value, dtype).name for value in values)
        return self._value(self.builder.assemble(axis, parts, name=hint, origin=origin))

    def call(
        self, operation: str, values: Sequence[Value], attributes: Attributes | None = None
    ) -> tuple[Value, ...]:
        """A library operation of `gradc.ir.index.calls`."""
        origin, hint = self.place()
        names = self.builder.call(
            operation, tuple(value.name for value in values), attributes, hints=(hint,), origin=origin
        )
        return tuple(self._value(name) for name in names)

    # --- the end ----------------------------------------------------------------------------------------

    def _assign(
        self,
        body: Template | str,
        operands: tuple[Operand, ...],
        space: tuple[Size, ...],
        dtype: DType,
        *,
        rank: int | None = None,
        reduce: Reduce | None = None,
    ) -> Value:
        origin, hint = self.place()
        name = self.builder.assign(
            body, operands, space, dtype, rank=rank, reduce=reduce, name=hint, origin=origin
        )
        return Value(name, dtype, self.builder.types[name].shape)

    def finish(self, outputs: Sequence[Value]) -> Program:
        """The program, with unified extents written in and the guards collected."""
        self.builder.guards = self.solver.written_guards()
        self.builder.quotients = self.solver.written_quotients()
        program = self.builder.finish(tuple(value.name for value in outputs))
        return with_extents(program, self.solver) if self.solver.bound else program


def _product(count: int) -> Template:
    if count <= 2:
        return template("copy" if count == 1 else "mul")
    from gradc.ir.index.templates import composite, placeholder  # noqa: PLC0415

    body = placeholder(0)
    for position in range(1, count):
        body = body * placeholder(position)
    return composite(body, tuple(placeholder(position) for position in range(count)))


@cache
def _bits_of_element(rank: int) -> Template:
    """``random_bits(key, (i * m + j) * n + k, count)`` over the key, i, m, j, n, k and the count."""
    from gradc.ir.index.templates import apply, composite, placeholder  # noqa: PLC0415

    operands = tuple(placeholder(position) for position in range(2 * rank + 1))
    key, element, *rest = operands
    for extent, index in zip(rest[:-1:2], rest[1:-1:2], strict=True):
        element = element * extent + index
    return composite(apply("random_bits", key, element, rest[-1]), operands)


def weak_kind(argument: Arg) -> type | None:
    """Return the Python type that an operand counts as in promotion; None for a tensor."""
    if isinstance(argument, Value):
        return argument.weak
    return int if isinstance(argument, SizeValue) else type(argument)


def _python_dtype(kind: type) -> DType:
    return DType.BOOL if kind is bool else DType.INT64 if kind is int else DType.F64


def _show_shape(shape: tuple[Size, ...]) -> str:
    return f"[{', '.join(extents.show(size) for size in shape)}]"


__all__ = ["IDENTITY", "Arg", "Emitter", "Scalar", "SizeValue", "Value", "weak_kind"]
