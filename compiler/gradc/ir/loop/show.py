"""Deterministic text of kernels, statements and expressions; used in errors, documentation and golden files.

Every operator is in parentheses and every number carries its dtype, so the text says exactly what the IR
holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias, assert_never

from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Apply,
    Barrier,
    Carry,
    CheckIndices,
    Clear,
    Clock,
    Combine,
    Contract,
    Convert,
    Expr,
    Extent,
    For,
    From,
    Kernel,
    Launch,
    Let,
    Library,
    Load,
    Number,
    Parameter,
    Parts,
    Product,
    Require,
    Share,
    Statement,
    Store,
    Stride,
    Tasks,
    Update,
    Var,
    View,
    When,
    Width,
)
from gradc.ir.loop.walk import Compound
from gradc.ir.types import DType

_INFIX = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "eq": "==",
    "ne": "!=",
    "logical_and": "and",
    "logical_or": "or",
}


def show_expression(expression: Expr) -> str:
    """``(x[i] + 1.0)``; integers that are int64 carry no dtype."""
    match expression:
        case Var(name, _):
            return name
        case Number(value, dtype):
            plain = dtype in (DType.INT64, DType.F64, DType.BOOL)
            return repr(value) if plain else f"{dtype.short}({value!r})"
        case Load(tensor, indices, _):
            return _element(tensor, indices)
        case Convert(argument, dtype):
            return f"{dtype.short}({show_expression(argument)})"
        case Apply(function, arguments, _):
            texts = [show_expression(argument) for argument in arguments]
            if function in _INFIX and len(texts) == 2:
                return f"({texts[0]} {_INFIX[function]} {texts[1]})"
            return f"{function}({', '.join(texts)})"
        case _:
            assert_never(expression)


def _element(tensor: str, indices: Sequence[Expr]) -> str:
    return f"{tensor}[{', '.join(show_expression(index) for index in indices)}]"


def show_statement(statement: Statement) -> str:
    """One line; of a loop, the first line."""
    match statement:
        case Extent(name, value) | Carry(name, value):
            return f"{type(statement).__name__.lower()} {name} = {show_expression(value)}"
        case Require(condition, message):
            return f"require {show_expression(condition)}: {message!r}"
        case CheckIndices(tensor, extent):
            return f"check {tensor} < {show_expression(extent)}"
        case Allocate(tensor, dtype, shape, zeroed, local):
            sizes = ", ".join(show_expression(size) for size in shape)
            kind = f"{' zeroed' if zeroed else ''}{' local' if local else ''}"
            return f"allocate {tensor}: {dtype.short}[{sizes}]{kind}"
        case Let(name, value, _):
            return f"let {name}: {value.dtype.short} = {show_expression(value)}"
        case Update(name, op, value, _):
            return f"update {name} = {op}({name}, {show_expression(value)})"
        case For(index, extent, _):
            return f"for {index} < {show_expression(extent)}:"
        case Parts(name, extent, work, size):
            sizes = f"{show_expression(work)} operations, {show_expression(size)} sums"
            return f"parts {name} of {show_expression(extent)}: {sizes}"
        case Tasks(name, part, count, _, extent, first, many, _):
            sizes = f"{show_expression(count)} of {show_expression(extent)}"
            return f"tasks {name}, {part} < {sizes}, indices {first} + {many}:"
        case _:
            return _tensor_statement(statement)


_Grid: TypeAlias = Width | Launch | Share | Stride | When | Barrier | Combine


def _tensor_statement(
    statement: Clear | Store | AddTo | Product | Contract | Library | Clock | _Grid,
) -> str:
    match statement:
        case Store(tensor, indices, value, _):
            return f"store {_element(tensor, indices)} = {show_expression(value)}"
        case AddTo(tensor, indices, op, value, _):
            element = _element(tensor, indices)
            return f"store {element} = {op}({element}, {show_expression(value)})"
        case Clear():
            return _clear(statement)
        case Product():
            return _product(statement)
        case Contract():
            return _contraction(statement)
        case Library():
            return _library(statement)
        case Clock(tensor, position):
            return f"clock {tensor}[{position}]"
        case _:
            return _grid_statement(statement)


def _grid_statement(statement: _Grid) -> str:
    match statement:
        case Width(name, extent, most):
            return f"width {name} of {show_expression(extent)}, at most {most}"
        case Launch(name, block, thread, blocks, threads, _):
            return f"launch {name}, {block} < {show_expression(blocks)}, {thread} < {threads}:"
        case Share(tensor, dtype, shape):
            return f"share {tensor}: {dtype.short}[{', '.join(map(str, shape))}]"
        case Stride(index, first, extent, step, _):
            start, end, each = map(show_expression, (first, extent, step))
            return f"for {index} from {start} < {end} by {each}:"
        case When(condition, _):
            return f"when {show_expression(condition)}:"
        case Barrier():
            return "barrier"
        case Combine(name, op, width):
            return f"combine {name} = {op}({name}) of {show_expression(width)} threads"
        case _:
            assert_never(statement)


def show_view(tensor: str, view: View) -> str:
    """``x[i, start:]``, or ``x`` as a whole."""
    places = (f"{show_expression(at.start)}:" if isinstance(at, From) else show_expression(at) for at in view)
    return f"{tensor}[{', '.join(places)}]" if view else tensor


def _contraction(statement: Contract) -> str:
    names = (statement.out, statement.left, statement.right)
    out, left, right = (show_view(*given) for given in zip(names, statement.views, strict=True))
    sizes = ", ".join(show_expression(size) for size in statement.extents)
    product = f"{left}[{statement.first}] * {right}[{statement.second}]"
    sign = "+=" if statement.add else "="
    again = "" if statement.again is None else f", or = unless {show_expression(statement.again)}"
    return f"contract {out}[{statement.target}] {sign} {product} over ({sizes}){again}"


def _clear(statement: Clear) -> str:
    if statement.first is None or statement.many is None:
        return f"clear {statement.tensor}"
    first, many = map(show_expression, (statement.first, statement.many))
    unless = f" unless of {' x '.join(map(str, statement.unless))}" if statement.unless else ""
    return f"clear {many} rows of {statement.tensor} from {first}{unless}"


def _product(statement: Product) -> str:
    left = statement.left + (".T" if statement.transpose_left else "")
    right = statement.right + (".T" if statement.transpose_right else "")
    return f"product {statement.out} = {left} @ {right}"


def _library(statement: Library) -> str:
    attributes = "".join(f"; {name}={_attribute(value)}" for name, value in statement.attributes)
    return (
        f"library {', '.join(statement.outs)} = {statement.operation}({', '.join(statement.ins)}{attributes})"
    )


def _attribute(value: bool | int | str | tuple[Expr, ...]) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(show_expression(size) for size in value)})"
    return repr(value)


def show_parameter(parameter: Parameter) -> str:
    """``x: f64[:, :]``; a scalar is ``x: f64``, an array for a result ``out x: f64[:, :]``, one updated ``inout x``."""
    axes = f"[{', '.join(':' * parameter.rank)}]" if parameter.rank else ""
    how = "inout " if parameter.updated else "out " if parameter.written else ""
    return f"{how}{parameter.name}: {parameter.dtype.short}{axes}"


def _lines(statements: Sequence[Statement], depth: int) -> Iterator[str]:
    """Loops nest as deep as a tensor has axes, so recursion is safe here."""
    for statement in statements:
        yield "  " * depth + show_statement(statement)
        if isinstance(statement, Compound):
            yield from _lines(statement.body, depth + 1)


def show(kernel: Kernel) -> str:
    """Return the whole kernel, one statement a line."""
    parameters = ", ".join(show_parameter(parameter) for parameter in kernel.parameters)
    first = f"kernel {kernel.name}({parameters}) -> {', '.join(kernel.results)}"
    return "\n".join((first, *_lines(kernel.body, 1))) + "\n"
