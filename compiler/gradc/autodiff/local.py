"""Local derivatives: from rows of the table to interned templates, once per template and process.

`vjp_template` and `jvp_template` differentiate any template, composites by the chain rule over the table.
What they emit is a template again, so they can be applied any number of times.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy

from gradc.autodiff.rules import RULES, rule_of, select
from gradc.ir.functions import FUNCTIONS
from gradc.ir.index.templates import StrongZero, Template, composite, placeholder

RESULT = sympy.Symbol("y", real=True)
COTANGENT = sympy.Symbol("y_bar", real=True)


@dataclass(frozen=True, slots=True)
class Local:
    """A template for a local derivative and where its operands come from.

    `sources` holds, per operand, a position among the primal operands, ``"y"`` for the primal result,
    ``"y_bar"`` for the cotangent, or ``("dot", k)`` for the tangent of operand ``k``.
    """

    template: Template
    sources: tuple[int | str | tuple[str, int], ...]


def partial(template: Template, position: int, *, lone: bool, with_result: bool) -> sympy.Expr:
    """Partial derivative of `template` with respect to operand `position`.

    `lone` says that no other operand varies; `with_result` that the result ``y`` may be used.
    """
    key = ("partial", position, lone, with_result)
    if key not in template.cache:
        template.cache[key] = _partial(template, position, lone=lone, with_result=with_result)
    return template.cache[key]  # pyright: ignore[reportReturnType]


def _partial(template: Template, position: int, *, lone: bool, with_result: bool) -> sympy.Expr:
    result = RESULT if with_result else template.body
    if template.name in FUNCTIONS:
        arguments = tuple(placeholder(k) for k in range(template.arity))
        return _row_partials(template.name, arguments, result, lone=lone)[position]
    inner = under_guard(template)
    if inner is not None:
        found = partial(inner, position, lone=lone, with_result=with_result) if position < inner.arity else 0
        return select(placeholder(inner.arity), found, 0) if found != 0 else sympy.Integer(0)
    return _chain(template.body, placeholder(position))


def guard(template: Template) -> Template:
    """``template`` where one more operand, the last, is true, and 0 elsewhere."""
    if "guarded" not in template.cache:
        operands = tuple(placeholder(k) for k in range(template.arity + 1))
        template.cache["guarded"] = composite(select(operands[-1], template.body, 0), operands)
    return template.cache["guarded"]  # pyright: ignore[reportReturnType]


def under_guard(template: Template) -> Template | None:
    """The template that `guard` made this one of, or None."""
    body, last = template.body, placeholder(template.arity - 1)
    if type(body).__name__ != "select" or body.args[0] is not last or body.args[2] != 0:
        return None
    if last in body.args[1].free_symbols:
        return None
    return composite(body.args[1], tuple(placeholder(k) for k in range(template.arity - 1)))


def _row_partials(
    name: str, arguments: tuple[sympy.Expr, ...], result: sympy.Expr, *, lone: bool
) -> tuple[sympy.Expr, ...]:
    row = rule_of(name)
    chosen = row.lone if lone and row.lone is not None else row.partials
    return tuple(sympy.Integer(0) for _ in arguments) if chosen is None else chosen(*arguments, result)


def _chain(body: sympy.Expr, symbol: sympy.Symbol) -> sympy.Expr:
    """Differentiate a template body by the chain rule over the table; bodies are small."""
    if body is symbol:
        return sympy.Integer(1)
    if symbol not in body.free_symbols:
        return sympy.Integer(0)
    if isinstance(body, sympy.Add):
        return sympy.Add(*(_chain(term, symbol) for term in body.args))
    if isinstance(body, sympy.Mul):
        terms = []
        for at, factor in enumerate(body.args):
            if symbol in factor.free_symbols:
                terms.append(sympy.Mul(*body.args[:at], _chain(factor, symbol), *body.args[at + 1 :]))
        return sympy.Add(*terms)
    if isinstance(body, sympy.Pow):
        return body.exp * body.base ** (body.exp - 1) * _chain(body.base, symbol)
    if isinstance(body, StrongZero):
        return _chain_strong_zero(body, symbol)
    name = type(body).__name__
    if name == "select":
        condition, first, second = body.args
        return select(condition, _chain(first, symbol), _chain(second, symbol))
    partials = _row_partials(name, body.args, body, lone=False)
    parts = zip(partials, body.args, strict=True)
    return sympy.Add(
        *(outer * _chain(argument, symbol) for outer, argument in parts if symbol in argument.free_symbols)
    )


def _chain_strong_zero(body: sympy.Expr, symbol: sympy.Symbol) -> sympy.Expr:
    """Differentiate a strong zero, which is linear in its factor at zero too: its guard is not a flat arm."""
    factor, expression = body.args
    inner = _chain(expression, symbol)
    return inner if symbol is factor or inner == 0 else StrongZero(factor, inner)


def needs_strong_zero(template: Template, *, guarded: bool) -> bool:
    """Whether a zero cotangent could meet a partial that is infinite or NaN.

    `guarded` says that the value may be unused, in an arm not taken: then its operands can be anything.
    """
    rows = (RULES[step.function] for step in template.tape.instructions)
    return any(row.singular or (guarded and not row.bounded) for row in rows)


def vjp_template(
    template: Template, position: int, *, lone: bool, with_result: bool, guarded: bool = False
) -> Local | None:
    """``y_bar * partial`` for one operand as a template; None where the partial is zero."""
    key = ("vjp", position, lone, with_result, guarded)
    if key not in template.cache:
        local = partial(template, position, lone=lone, with_result=with_result)
        product = _scaled(template, local, COTANGENT, guarded=guarded)
        template.cache[key] = None if product == 0 else _local(product)
    return template.cache[key]  # pyright: ignore[reportReturnType]


def jvp_template(template: Template, active: tuple[int, ...], *, with_result: bool) -> Local | None:
    """``sum of partial * tangent`` over the active operands as a template; None where it is zero."""
    key = ("jvp", active, with_result)
    if key not in template.cache:
        total = sympy.Integer(0)
        for position in active:
            local = partial(template, position, lone=len(active) == 1, with_result=with_result)
            tangent = sympy.Symbol(f"dot{position}", real=True)
            total = total + _scaled(template, local, tangent, guarded=False)
        template.cache[key] = None if total == 0 else _local(total)
    return template.cache[key]  # pyright: ignore[reportReturnType]


def _scaled(template: Template, local: sympy.Expr, factor: sympy.Symbol, *, guarded: bool) -> sympy.Expr:
    product = _into_select(local, factor)
    strong = not local.is_number and needs_strong_zero(template, guarded=guarded)
    return StrongZero(factor, product) if strong else product


def _into_select(local: sympy.Expr, factor: sympy.Expr) -> sympy.Expr:
    """``local * factor``, inside the arms of a select: an untaken arm is assigned, not scaled."""
    if type(local).__name__ == "select":
        condition, first, second = local.args
        return select(condition, _into_select(first, factor), _into_select(second, factor))
    return local * factor


def _local(expression: sympy.Expr) -> Local:
    """Order: the cotangent first, then the primal operands, the result, the tangents."""

    def order(symbol: sympy.Symbol) -> tuple[int, int]:
        name = symbol.name
        if name == "y_bar":
            return 0, 0
        if name == "y":
            return 2, 0
        return (3, int(name[3:])) if name.startswith("dot") else (1, int(name[1:]))

    def source(symbol: sympy.Symbol) -> int | str | tuple[str, int]:
        rank, position = order(symbol)
        return symbol.name if rank in (0, 2) else position if rank == 1 else ("dot", position)

    used = tuple(sorted(expression.free_symbols, key=order))
    return Local(composite(expression, used), tuple(source(symbol) for symbol in used))
