"""How many floating-point operations a part of a kernel performs, as polynomials in the kernel's extents.

Counted is what the text of the kernel says: every application of an inventory function to floating-point numbers,
both arms of a choice, and the additions, products and comparisons of reductions.  Copies, conversions, choices,
comparisons and the arithmetic of indices are free, as in `gradc.ir.index.cost`.  A multiply-add of a contraction is
two operations.  Divisions and roots count 4 operations and elementary functions 8, the weights of the Livermore
loops (McMahon, "The Livermore Fortran Kernels", 1986).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from gradc.ir.extents import Polynomial, Size, add, evaluate, mul, product, symbol
from gradc.ir.functions import FUNCTIONS, MARKERS, Result
from gradc.ir.index.call_operations import CALL_OPERATIONS
from gradc.ir.loop.nodes import (
    AddTo,
    Apply,
    Combine,
    Contract,
    For,
    Launch,
    Let,
    Library,
    Number,
    Product,
    Statement,
    Stride,
    Tasks,
    Update,
    When,
)
from gradc.ir.loop.sizes import NUMBER, columns_of, elements_of, size_of, strips_of
from gradc.ir.loop.strip import Strip, strip_of
from gradc.ir.loop.walk import expressions, subexpressions
from gradc.ir.tensors import TensorType
from gradc.ir.types import DType

FREE = MARKERS | {"copy", "select"}
REDUCTIONS = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum"}
CONTRACTION, LIBRARY = "multiply-add", "library"  # counted like functions; of the library, operations

WEIGHTS: dict[str, int] = {
    **dict.fromkeys(
        ("neg", "add", "sub", "mul", "square", "abs", "sign", "copysign", "heaviside", LIBRARY), 1
    ),
    **dict.fromkeys(("maximum", "minimum", "fmax", "fmin", "floor", "ceil", "rint", "trunc"), 1),
    CONTRACTION: 2,
    **dict.fromkeys(("div", "reciprocal", "sqrt", "mod", "fmod", "floor_divide"), 4),
}
ELEMENTARY = 8

Key = tuple[str, DType]


@dataclass(frozen=True, slots=True)
class Counts:
    """How often each function is applied to numbers of each type."""

    calls: Mapping[Key, Size] = field(default_factory=dict)

    @property
    def operations(self) -> Size:
        """Weighted operations."""
        weighted = (mul(weight_of(name), times) for (name, _), times in self.calls.items())
        return _sum(weighted)

    @property
    def elementary(self) -> Size:
        """Applications of elementary and special functions."""
        return _sum(times for (name, _), times in self.calls.items() if name not in WEIGHTS)

    def at(self, numbers: Mapping[str, int]) -> dict[Key, int]:
        """The counts for extents of these values; what does not happen is left out."""
        found = {key: evaluate(times, numbers) for key, times in self.calls.items()}
        return {key: times for key, times in found.items() if times}


def weight_of(function: str) -> int:
    """Operations that one application counts for."""
    return WEIGHTS.get(function, ELEMENTARY)


def count(statements: Sequence[Statement], types: Mapping[str, TensorType]) -> Counts:
    """Count the operations of statements; `types` are those of the kernel's arrays (`gradc.ir.loop.sizes`)."""
    calls: dict[Key, Size] = {}
    for key, times in _counted(statements, types):
        calls[key] = add(calls.get(key, 0), times)
    return Counts(calls)


def _counted(statements: Sequence[Statement], types: Mapping[str, TensorType]) -> Iterator[tuple[Key, Size]]:
    """Functions and how often they are applied; loops nest as deep as tensors have axes."""
    for statement in statements:
        match statement:
            case For():
                for key, inner in _counted(statement.body, types):
                    yield key, _repeated(inner, statement)
            case Tasks():
                for key, inner in _counted(statement.body, types):
                    yield key, _over_parts(inner, statement)
            case Launch(name, body=body):
                yield from _of_threads(body, name, {})
            case Contract() | Product() | Library():
                yield from _called(statement, types)
            case _:
                yield from _applied(statement)


def _called(
    statement: Contract | Product | Library, types: Mapping[str, TensorType]
) -> Iterator[tuple[Key, Size]]:
    match statement:
        case Contract():
            dtype = types[statement.out].dtype
            yield (CONTRACTION, dtype), product(tuple(map(size_of, statement.extents)))
        case Product(out, left, _, transposed):
            summed = types[left].shape[not transposed]
            yield (CONTRACTION, types[out].dtype), mul(summed, product(types[out].shape))
        case Library(outs, operation, ins):
            given = tuple(types.get(name, NUMBER) for name in ins)
            dtype = types[outs[0]].dtype
            if operation in CALL_OPERATIONS and dtype.is_float:
                yield (LIBRARY, dtype), CALL_OPERATIONS[operation](given)
        case _:
            assert_never(statement)


def _of_threads(
    statements: Sequence[Statement], name: str, dtypes: dict[str, DType]
) -> Iterator[tuple[Key, Size]]:
    """Functions in a body of a launch, as often as all threads together run it (`gradc.ir.loop.runs`)."""
    for at, statement in enumerate(statements):
        inside = f"{name}.{at}"
        for key, times in _applied(statement):
            yield key, mul(times, symbol(name))
        match statement:
            case Let(number, value):
                dtypes[number] = value.dtype
            case Combine(number, op) if dtypes[number].is_float:
                yield (REDUCTIONS[op], dtypes[number]), symbol(inside)
            case For(body=body) | Stride(body=body) | When(body=body):
                yield from _of_threads(body, inside, dtypes)
            case _:
                pass


def _over_parts(times: Size, tasks: Tasks) -> Size:
    """What the parts do together: the number of indices of all of them is the extent of the loop."""
    whole, parts = size_of(tasks.extent), size_of(tasks.count)
    loops = [loop for loop in tasks.body if isinstance(loop, For)]
    strips = {name(loop) for loop in loops for name in (strips_of, columns_of, elements_of)}
    if not isinstance(times, Polynomial):
        return mul(times, parts)
    total: Size = 0
    for names, coefficient in times.terms:
        others = [symbol(name) for name in names if name != tasks.many]
        factor = 1 if strips & set(names) else parts if len(others) == len(names) else whole
        total = add(total, product((coefficient, *others, factor)))
    return total


def _repeated(times: Size, loop: For) -> Size:
    """What all iterations of a loop do together."""
    strip = strip_of(loop)
    if strip is None:
        return mul(size_of(loop.extent), times)
    is_block = isinstance(strip.first, Number)
    return _over_strips(times, loop, strip, size_of(loop.extent) if is_block else symbol(strips_of(loop)))


def _over_strips(times: Size, loop: For, strip: Strip, count: Size) -> Size:
    """What the strips of a part do together: their widths add up to the part's indices."""
    limit = "" if strip.limit is None else strip.limit.name
    if not isinstance(times, Polynomial):
        return mul(times, count)
    total: Size = 0
    for names, coefficient in times.terms:
        others = [symbol(name) for name in names if name not in (strip.width, limit)]
        factor = size_of(strip.many) if strip.width in names else count
        if limit in names:
            factor = symbol((elements_of if strip.width in names else columns_of)(loop))
        total = add(total, product((coefficient, *others, factor)))
    return total


def _applied(statement: Statement) -> Iterator[tuple[Key, Size]]:
    for expression in expressions(statement):
        for found in subexpressions(expression):
            if isinstance(found, Apply) and _is_counted(found):
                yield (found.function, found.arguments[-1].dtype), 1
    if isinstance(statement, Update | AddTo) and statement.value.dtype.is_float:
        yield (REDUCTIONS[statement.op], statement.value.dtype), 1


def _is_counted(found: Apply) -> bool:
    """Whether an application is an operation on floating-point numbers."""
    if FUNCTIONS[found.function].result in (Result.BOOL, Result.LOGICAL) or found.function in FREE:
        return False
    return found.dtype.is_float


def _sum(sizes: Iterator[Size]) -> Size:
    total: Size = 0
    for size in sizes:
        total = add(total, size)
    return total
