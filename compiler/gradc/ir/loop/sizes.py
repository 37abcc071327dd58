"""Sizes in a kernel: extents and shapes as polynomials in the kernel's symbols, and as numbers for actual arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from gradc.errors import CompilerBug
from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.index.calls import CALLS
from gradc.ir.loop.nodes import (
    Allocate,
    Apply,
    Expr,
    Extent,
    For,
    Kernel,
    Launch,
    Library,
    Load,
    Number,
    Parts,
    Product,
    Require,
    Share,
    Statement,
    Tasks,
    Var,
    Width,
)
from gradc.ir.loop.runs import runs_of, value_of
from gradc.ir.loop.show import show_expression
from gradc.ir.loop.strip import strip_of
from gradc.ir.loop.walk import every
from gradc.ir.tensors import TensorType
from gradc.ir.types import DType

PartsOf = Callable[[int, int, int], int]
WidthOf = Callable[[int, int], int]

NUMBER = TensorType(DType.F64, ())  # stands for a local number: of its type nothing but the rank matters


def size_of(expression: Expr) -> Size:
    """An extent as a polynomial; the shape of an argument is the symbol ``x.shape[0]``.

    Raises
    ------
    CompilerBug
        It is no polynomial.
    """
    match expression:
        case Number(value):
            return int(value)
        case Var(name):
            return extents.symbol(name)
        case Load():
            return extents.symbol(show_expression(expression))
        case Apply("add", (left, right)):
            return extents.add(size_of(left), size_of(right))
        case Apply("sub", (left, right)):
            return extents.sub(size_of(left), size_of(right))
        case Apply("mul", (left, right)):
            return extents.mul(size_of(left), size_of(right))
        case Apply("neg", (argument,)):
            return extents.mul(-1, size_of(argument))
        case _:
            raise CompilerBug(f"{show_expression(expression)} is no extent")


def types_of(kernel: Kernel) -> dict[str, TensorType]:
    """The dtype and the shape of every array, in the extents that the kernel binds at its entry."""
    shapes = _known_shapes(kernel)
    found: dict[str, TensorType] = {}
    for parameter in kernel.parameters:
        if parameter.rank:
            texts = [f"{parameter.name}.shape[{axis}]" for axis in range(parameter.rank)]
            sizes = tuple(shapes.get(text, extents.symbol(text)) for text in texts)
            found[parameter.name] = TensorType(parameter.dtype, sizes)
    for statement in every(kernel.body):
        match statement:
            case Allocate(tensor, dtype, shape):
                found[tensor] = TensorType(dtype, tuple(map(size_of, shape)))
            case Share(tensor, dtype, shape):
                found[tensor] = TensorType(dtype, shape)
            case Product():
                found[statement.out] = _product_type(statement, found)
            case Library():
                found.update(zip(statement.outs, _results(statement, found), strict=True))
            case _:
                pass
    return found


def _known_shapes(kernel: Kernel) -> dict[str, Size]:
    """What extents of arguments are called at the entry of a kernel, by their texts."""
    known: dict[Expr, Size] = {}
    for statement in kernel.body:
        match statement:
            case Extent(name, Load() as shape):
                known[shape] = extents.symbol(name)
            case Require(Apply("eq", (Load() as shape, size))):
                known[shape] = size_of(size)
            case _:
                pass
    return {show_expression(shape): size for shape, size in known.items()}


def _product_type(statement: Product, types: Mapping[str, TensorType]) -> TensorType:
    left, right = types[statement.left], types[statement.right]
    rows, columns = left.shape[statement.transpose_left], right.shape[not statement.transpose_right]
    return TensorType(left.dtype, (rows, columns))


def _results(statement: Library, types: Mapping[str, TensorType]) -> tuple[TensorType, ...]:
    attributes: dict[str, Any] = {
        name: tuple(map(size_of, value)) if isinstance(value, tuple) else value
        for name, value in statement.attributes
    }
    ins = tuple(types.get(name, NUMBER) for name in statement.ins)
    return CALLS[statement.operation].infer(ins, attributes)


# --- numbers ------------------------------------------------------------------------------------------------


def enough_threads(extent: int, most: int) -> int:
    """How many threads share a row where every element has its own, or as many as there may be."""
    return min(most, 1 << max(extent - 1, 0).bit_length())


def numbers_of(
    kernel: Kernel, arguments: Mapping[str, Any], parts_of: PartsOf, width_of: WidthOf = enough_threads
) -> dict[str, int]:
    """What every symbol of the kernel's extents stands for.

    Parameters
    ----------
    arguments : mapping of name to array or number
        One for every parameter.
    parts_of : callable
        How many parts a loop has, given its extent, the work of an iteration and the size of a part.
    width_of : callable
        How many threads share a row, given its extent and the most of them.
    """
    numbers: dict[str, int] = {}
    types = types_of(kernel)
    for parameter in kernel.parameters:
        value = arguments[parameter.name]
        numbers.update(_axes(parameter.name, np.shape(value)))
        if not parameter.rank and not parameter.dtype.is_float:
            numbers[parameter.name] = int(value)
    for statement in kernel.body:
        match statement:
            case Parts(name, extent, work, size):
                given = (_number(value, numbers) for value in (extent, work, size))
                numbers[name] = int(parts_of(*given))
            case Width(name, extent, most):
                numbers[name] = int(width_of(_number(extent, numbers), most))
            case Library(outs):  # launches ask for the shapes of arrays that the library has made
                for out in outs:
                    sizes = [extents.evaluate(size, numbers) for size in types[out].shape]
                    numbers.update(_axes(out, sizes))
            case _:
                numbers.update(_bound(statement, numbers))
    return numbers


def _bound(statement: Statement, numbers: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """What a statement at the top of a kernel gives names and symbols to."""
    match statement:
        case Extent(name, value):
            yield name, _number(value, numbers)
        case Allocate(tensor, _, shape):  # copies of results to arguments run over the shape of the result
            yield from _axes(tensor, [_number(size, numbers) for size in shape]).items()
        case Launch():
            yield from runs_of(statement, numbers).items()
        case Tasks():
            ends = _ends(statement, numbers)
            yield from _strips(statement, numbers, ends)
            yield from _limits(statement.body, numbers, ends)
        case For():
            yield from _limits((statement,), numbers)
        case _:
            pass


def _axes(tensor: str, shape: Sequence[int]) -> dict[str, int]:
    return {f"{tensor}.shape[{axis}]": size for axis, size in enumerate(shape)}


def strips_of(loop: For) -> str:
    """The symbol for how many strips all parts of a loop over strips have together."""
    return f"{loop.index}.count"


def columns_of(loop: For) -> str:
    """The symbol for how many columns all blocks of a loop have together, where a mask ends them."""
    return f"{loop.index}.columns"


def elements_of(loop: For) -> str:
    """The symbol for how many elements the rows of all blocks have together, where a mask ends them."""
    return f"{loop.index}.elements"


def _ends(tasks: Tasks, numbers: Mapping[str, int]) -> list[int]:
    """Where the parts of tasks begin and end."""
    extent, count = _number(tasks.extent, numbers), _number(tasks.count, numbers)
    return [extent * part // count for part in range(count + 1)] if count else []


def _strips(tasks: Tasks, numbers: Mapping[str, int], ends: Sequence[int]) -> Iterator[tuple[str, int]]:
    """How many strips the loops of tasks have."""
    for loop in (statement for statement in tasks.body if isinstance(statement, For)):
        found = strip_of(loop)
        if found is not None:
            lanes = _number(found.lanes, numbers)
            yield strips_of(loop), sum(-((a - b) // lanes) for a, b in pairwise(ends))


def _limits(
    statements: Sequence[Statement], numbers: Mapping[str, int], ends: Sequence[int] = ()
) -> Iterator[tuple[str, int]]:
    """How many columns and elements the blocks of rows have that end where a mask does; parts end at `ends`."""
    for loop in (statement for statement in every(statements) if isinstance(statement, For)):
        strip = strip_of(loop)
        if strip is None or strip.limit is None:
            continue
        height, columns = _number(strip.lanes, numbers), _number(strip.limit.columns, numbers)
        whole = isinstance(strip.first, Number)
        blocks: list[tuple[int, int]] = []  # rows and columns
        for first, last in pairwise((0, _number(strip.many, numbers)) if whole else ends):
            for start in range(first, last, height):
                end = min(start + height, last)
                full = strip.limit.begins and start == first
                blocks.append((end - start, columns if full else min(end, columns)))
        yield columns_of(loop), sum(many for _, many in blocks)
        yield elements_of(loop), sum(rows * many for rows, many in blocks)


def _number(expression: Expr, numbers: Mapping[str, int]) -> int:
    found = value_of(expression, numbers)
    return extents.evaluate(size_of(expression), numbers) if found is None else int(found)
