"""Rewriting the expressions of statements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import (
    AddTo,
    Apply,
    Carry,
    Clear,
    Combine,
    Contract,
    Convert,
    Expr,
    From,
    Launch,
    Let,
    Load,
    Statement,
    Store,
    Stride,
    Update,
    Var,
    When,
    Width,
)


def with_values(statement: Statement, change: Callable[[Expr], Expr]) -> Statement:
    """A statement about numbers, elements and views with every expression changed; others as they are.

    Of a launch and what only a launch has in it, the expressions of the statement itself change, not its body.
    """
    match statement:
        case Let(name, value, note):
            return Let(name, change(value), note)
        case Update(name, op, value, note):
            return Update(name, op, change(value), note)
        case Carry(name, value, note):
            return Carry(name, change(value), note)
        case Store(tensor, indices, value, note):
            return Store(tensor, tuple(map(change, indices)), change(value), note)
        case AddTo(tensor, indices, op, value, note):
            return AddTo(tensor, tuple(map(change, indices)), op, change(value), note)
        case Clear(tensor, first, many, unless) if first is not None and many is not None:
            return Clear(tensor, change(first), change(many), unless)
        case Contract(extents=extents, views=views, again=again):
            out, left, right = (
                tuple(From(change(at.start)) if isinstance(at, From) else change(at) for at in view)
                for view in views
            )
            again = None if again is None else change(again)
            return replace(
                statement, extents=tuple(map(change, extents)), views=(out, left, right), again=again
            )
        case _:
            return _with_values_of_grid(statement, change)


def _with_values_of_grid(statement: Statement, change: Callable[[Expr], Expr]) -> Statement:
    match statement:
        case Width(name, extent, most):
            return Width(name, change(extent), most)
        case Launch(blocks=blocks):
            return replace(statement, blocks=change(blocks))
        case Stride(index, first, extent, step, body):
            return Stride(index, change(first), change(extent), change(step), body)
        case When(condition, body):
            return When(change(condition), body)
        case Combine(name, op, width):
            return Combine(name, op, change(width))
        case _:
            return statement


def rebuilt(expression: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """An expression of the same operation with its operands changed; a number or a variable as it is."""
    match expression:
        case Load(tensor, indices, dtype):
            return nodes.load(tensor, tuple(map(change, indices)), dtype)
        case Apply(function, arguments, dtype):
            return nodes.applied(function, tuple(map(change, arguments)), dtype)
        case Convert(argument, dtype):
            return nodes.convert(change(argument), dtype)
        case _:
            return expression


def substituted(expression: Expr, values: Mapping[str, Expr]) -> Expr:
    """An expression with other expressions for variables; operations on numbers are done."""
    match expression:
        case Var(name, _):
            return values.get(name, expression)
        case Apply(function, arguments, _):
            return nodes.apply(function, *(substituted(argument, values) for argument in arguments))
        case _:
            return rebuilt(expression, lambda operand: substituted(operand, values))
