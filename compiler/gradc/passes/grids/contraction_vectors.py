"""Contractions that are no product of two matrices: of a matrix and a vector, of two vectors, element by element.

A group of threads has an element of the result: as many as its sum keeps busy where neighbours in an operand are terms
of the sum, else one, so that neighbouring threads read neighbours.
"""

from __future__ import annotations

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import Combine, Expr, Launch, Let, Stride, Update, Width
from gradc.passes.grids.contraction_numbers import ONE, Writer, both, ceiling, plus, quotient, times, under
from gradc.passes.grids.contraction_results import Cut, Host, Problem, extents_of
from gradc.passes.grids.numbers import THREADS, least


def width_of(problem: Problem, host: Host) -> Expr:
    """How many threads have an element of the result together."""
    space = problem.space
    larger = [space.left] if space.rows else [space.right] if space.columns else [space.left, space.right]
    if not any(space.runs_along(reading, space.summed) for reading in larger):
        return ONE
    name = host.names.fresh("width")
    host.statements.append(Width(name, problem.terms, THREADS))
    return nodes.var(name)


def blocks_of(elements: Expr, width: Expr) -> Expr:
    """How many blocks there are for a part of the sum."""
    return ceiling(times(elements, width), THREADS)


def vector_launch(problem: Problem, width: Expr, elements: Expr, cut: Cut | None, host: Host) -> Launch:
    """The whole kernel."""
    writer = Writer(host.names)
    block, thread = nodes.var(writer.fresh("block")), nodes.var(writer.fresh("thread"))
    parts, chunks = ONE if cut is None else cut.parts, host.bind("chunks", blocks_of(elements, width))
    at = writer.decoded(block, (("part", parts), ("chunk", chunks)))
    number = writer.let("number", plus(times(at["chunk"], THREADS), thread))
    element = writer.let("element", quotient(number, width))
    lane = writer.let("lane", nodes.apply("sub", number, times(element, width)))
    last = nodes.apply("sub", elements, ONE)
    values = writer.decoded(writer.let("at", least(element, last)), problem.results)
    first, end = nodes.number(0), problem.terms
    if cut is not None:
        first = writer.let("first_term", quotient(times(at["part"], end), parts))
        end = writer.let("end", quotient(times(plus(at["part"], ONE), end), parts))
    total, term, body = writer.fresh("total"), nodes.var(writer.fresh("term")), writer.inside()
    found = {**values, **body.decoded(term, extents_of(problem.space.summed))}
    readings = (problem.space.left, problem.space.right)
    factors = (problem.element(body, reading, found, ()) for reading in readings)
    body.add(Update(total, "sum", nodes.apply("mul", *factors)))
    writer.add(Let(total, problem.zero))
    writer.add(Stride(term.name, plus(first, lane), end, width, tuple(body.statements)))
    conditions = [under(element, elements)]
    if width is not ONE:
        writer.add(Combine(total, "sum", width))
        conditions.append(nodes.apply("eq", lane, nodes.number(0)))
    inside, value = writer.inside(), nodes.var(total, problem.dtype)
    if cut is None:
        problem.store(inside, values, value)
    else:
        cut.store(inside, problem, at["part"], values, value)
    writer.when(both(conditions), inside)
    name = host.names.fresh(f"{problem.space.out}_sums")
    return Launch(name, block.name, thread.name, times(parts, chunks), THREADS, writer.close())
