"""Deterministic text of programs, equations and templates; used in documentation, errors, kernels and golden files."""

from __future__ import annotations

from typing import assert_never

from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Affine,
    Assemble,
    Assign,
    Call,
    Const,
    Equation,
    ExtentValue,
    Index,
    IndexValue,
    Lookup,
    Operand,
    Program,
    TensorType,
)
from gradc.ir.index.templates import Argument, Literal, Source, Template
from gradc.ir.names import INDEX_NAMES

# Binding strength: higher binds tighter.  Everything else is a call and binds tightest.
_INFIX = {
    "logical_or": ("or", 1),
    "logical_and": ("and", 2),
    "lt": ("<", 4),
    "le": ("<=", 4),
    "gt": (">", 4),
    "ge": (">=", 4),
    "eq": ("==", 4),
    "ne": ("!=", 4),
    "add": ("+", 5),
    "sub": ("-", 5),
    "mul": ("*", 6),
    "div": ("/", 6),
}
_TIGHTEST = 9


def show_type(type_: TensorType) -> str:
    """``f64[n, 3]``; a scalar is ``f64``."""
    shape = ", ".join(extents.show(size) for size in type_.shape)
    return f"{type_.dtype.short}[{shape}]" if type_.shape else type_.dtype.short


def show_index(index: Index) -> str:
    """``i``, ``2*i + 1``, ``labels[i]``."""
    if isinstance(index, int):
        return INDEX_NAMES[index]
    if isinstance(index, Lookup):
        return f"{index.tensor}[{', '.join(show_index(inner) for inner in index.indices)}]"
    return _show_affine(index)


def _show_affine(index: Affine) -> str:
    text = ""
    for coefficient, position in index.terms:
        factor = "" if abs(coefficient) == 1 else f"{abs(coefficient)}*"
        sign = "-" if coefficient < 0 else "+"
        term = factor + INDEX_NAMES[position]
        text += f" {sign} {term}" if text else ("-" if coefficient < 0 else "") + term
    if index.offset != 0 or not text:
        offset = extents.show(index.offset)
        text = (
            offset
            if not text
            else f"{text} - {offset[1:]}"
            if offset.startswith("-")
            else f"{text} + {offset}"
        )
    return text


def show_operand(operand: Operand) -> str:
    """Text of one operand."""
    match operand:
        case Access(tensor, indices):
            return f"{tensor}[{', '.join(show_index(index) for index in indices)}]" if indices else tensor
        case Const(value, _):
            return repr(value)
        case IndexValue(index):
            return show_index(index)
        case ExtentValue(size):
            return extents.show(size)
        case _:
            assert_never(operand)


def show_template(template: Template, operands: tuple[str, ...]) -> str:
    """The expression of a template with `operands` written in."""
    loose = tuple([" " in _outside_brackets(operand) for operand in operands])
    key = "text", loose
    if key not in template.cache:
        template.cache[key] = _form(template, loose)
    return str(template.cache[key]).format(*operands)


def _form(template: Template, loose: tuple[bool, ...]) -> str:
    """The expression of a template with places for operands; those that are `loose` have operators in their text."""
    texts: list[tuple[str, int]] = []

    def source(item: Source) -> tuple[str, int]:
        if isinstance(item, Argument):
            return f"{{{item.position}}}", 0 if loose[item.position] else _TIGHTEST
        if isinstance(item, Literal):
            return (item.exact or repr(item.value)), _TIGHTEST if item.value >= 0 else 7
        return texts[item.position]

    for step in template.tape.instructions:
        texts.append(_show_application(step.function, [source(item) for item in step.sources]))
    return source(template.tape.result)[0]


def _outside_brackets(text: str) -> str:
    return text.split("[")[0]


def _show_application(function: str, arguments: list[tuple[str, int]]) -> tuple[str, int]:
    if function in _INFIX:
        symbol, strength = _INFIX[function]
        (left, left_strength), (right, right_strength) = arguments
        left = left if left_strength >= strength else f"({left})"
        right = right if right_strength > strength else f"({right})"
        return f"{left} {symbol} {right}", strength
    if function == "neg":
        text, strength = arguments[0]
        return (f"-{text}" if strength > 6 else f"-({text})"), 7
    return f"{function}({', '.join(text for text, _ in arguments)})", _TIGHTEST


def _indices(positions: range) -> str:
    return ", ".join(INDEX_NAMES[position] for position in positions)


def show_left(equation: Equation) -> str:
    """The left-hand side of an equation."""
    match equation:
        case Assign():
            return f"{equation.out}[{_indices(range(equation.rank))}]" if equation.rank else equation.out
        case Accumulate():
            target = ", ".join(show_index(index) for index in equation.target)
            return f"{equation.out}[{target}]" if equation.target else equation.out
        case Assemble():
            return equation.out
        case Call():
            return ", ".join(equation.outs)
        case _:
            assert_never(equation)


def show_right(equation: Equation) -> str:
    """The right-hand side of an equation."""
    match equation:
        case Assign():
            body = show_template(
                equation.template, tuple(show_operand(operand) for operand in equation.operands)
            )
            if equation.reduce is None:
                return body
            return f"{equation.reduce.op}[{_indices(range(equation.rank, len(equation.space)))}] {body}"
        case Accumulate():
            return show_template(
                equation.template, tuple(show_operand(operand) for operand in equation.operands)
            )
        case Assemble():
            return f"concatenate({', '.join(equation.parts)}; axis={equation.axis})"
        case Call():
            attributes = ", ".join(f"{name}={_show_attribute(value)}" for name, value in equation.attributes)
            return f"{equation.operation}({', '.join(equation.ins)}{'; ' + attributes if attributes else ''})"
        case _:
            assert_never(equation)


def _show_attribute(value: int | str | bool | tuple[Size, ...]) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(extents.show(size) for size in value)})"
    return str(value)


def show_equation(equation: Equation) -> str:
    """One line: ``h[i, j] = tanh(v1[i, j])``."""
    relation = "+=" if isinstance(equation, Accumulate) else "="
    return f"{show_left(equation)} {relation} {show_right(equation)}"


def show(program: Program) -> str:
    """The whole program, one equation a line, with the type of every result and the guards on extents."""
    inputs = ", ".join(f"{name}: {show_type(program.types[name])}" for name in program.inputs)
    lines = [f"program {program.name}({inputs}) -> {', '.join(program.outputs)}"]
    lines += [
        f"  where {q.symbol} = ({extents.show(q.numerator)}) {'//' if q.floor else '/'} ({extents.show(q.denominator)})"
        for q in program.quotients
    ]
    lines += [f"  requires {guard}" for guard in program.guards]
    shown = [(show_equation(equation), equation) for equation in program.equations]
    width = min(max((len(text) for text, _ in shown), default=0), 72)
    for text, equation in shown:
        names = equation.outs if isinstance(equation, Call) else (equation.out,)
        types = ", ".join(show_type(program.types[name]) for name in names)
        lines.append(f"  {text:{width}}  : {types}")
    return "\n".join(lines) + "\n"
