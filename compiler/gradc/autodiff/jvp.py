"""Forward mode: from a program to the program that also pushes tangents forward.

For ``out[i] = sum[r] body(.., A[phi(i, r)], ..)`` the tangent is

    out_dot[i] = sum[r] sum over the varying operands A of  d body / d A * A_dot[phi(i, r)]

over the same space: every access keeps its indices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from gradc.autodiff.activity import read_through_passive, require_floats, useful, varying
from gradc.autodiff.calls import JVP
from gradc.autodiff.local import jvp_template
from gradc.autodiff.reductions import body_of, exclusive_product, winners
from gradc.autodiff.tangent import Forward
from gradc.ir.index.build import IDENTITY
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Assemble,
    Assign,
    Call,
    Const,
    Operand,
    Program,
    Reduce,
)
from gradc.ir.index.templates import Template, template


def _run(forward: Forward) -> None:
    """Emit the tangent of every equation that reads a varying tensor, first equation first."""
    tangents, wanted = forward.tangents, forward.wanted
    for equation in forward.program.equations:
        match equation:
            case Assign():
                if equation.out in wanted:
                    _assign(forward, equation)
            case Accumulate():
                if equation.out in wanted:
                    _accumulate(forward, equation)
            case Assemble():
                if equation.out in wanted and any(part in tangents for part in equation.parts):
                    parts = tuple(forward.tangent_or_zero(part, equation.origin) for part in equation.parts)
                    tangents[equation.out] = forward.builder.assemble(
                        equation.axis, parts, name=f"{equation.out}_dot", origin=equation.origin
                    )
            case Call():
                if any(out in wanted for out in equation.outs):
                    _call(forward, equation)
            case _:
                assert_never(equation)


def _varying(forward: Forward, equation: Assign | Accumulate) -> tuple[int, ...]:
    tangents = forward.tangents
    return tuple([at for at, o in enumerate(equation.operands) if type(o) is Access and o.tensor in tangents])


def _local(
    forward: Forward, equation: Assign | Accumulate, positions: tuple[int, ...], result: str = ""
) -> tuple[Template, tuple[Operand, ...]] | None:
    """Return template and operands of ``sum of partial * tangent``; `result` names the elementwise value."""
    found = jvp_template(equation.template, positions, with_result=bool(result))
    if found is None:
        return None
    operands: list[Operand] = []
    for source in found.sources:
        if isinstance(source, int):
            operands.append(equation.operands[source])
        elif isinstance(source, tuple):
            primal = equation.operands[source[1]]
            assert isinstance(primal, Access)
            operands.append(Access(forward.tangents[primal.tensor], primal.indices))
        else:
            operands.append(Access(result, IDENTITY[len(equation.space)]))
    return found.template, tuple(operands)


def _assign(forward: Forward, equation: Assign) -> None:
    reduce, positions = equation.reduce, _varying(forward, equation)
    if not positions:
        return
    if reduce is not None and reduce.op != "sum":
        _reduction(forward, equation, reduce)
        return
    terms: list[str] = []
    for group in _groups(equation, positions):
        local = _local(forward, equation, group, "" if reduce else equation.out)
        if local is not None:
            terms.append(_emit(forward, equation, reduce, local))
    if terms:
        total = terms[0]
        for term in terms[1:]:
            total = forward.builder.pointwise(
                "add", total, term, name=f"{equation.out}_dot", origin=equation.origin
            )
        forward.tangents[equation.out] = total


def _groups(equation: Assign | Accumulate, positions: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Operands treated together: a contraction becomes a sum of contractions, which are matrix products."""
    contraction = isinstance(equation, Accumulate) or equation.reduce is not None
    if contraction and len(positions) > 1 and _is_product(equation.template):
        return [(position,) for position in positions]
    return [positions]


def _is_product(body: Template) -> bool:
    """Whether the template multiplies its operands and does nothing else; known once per process."""
    if "product" not in body.cache:
        body.cache["product"] = body.body.is_Mul and all(factor.is_Symbol for factor in body.body.args)
    return bool(body.cache["product"])


def _emit(
    forward: Forward, equation: Assign, reduce: Reduce | None, local: tuple[Template, tuple[Operand, ...]]
) -> str:
    body, operands = local
    return forward.builder.assign(
        body,
        operands,
        equation.space,
        forward.types[equation.out].dtype,
        rank=equation.rank,
        reduce=reduce,
        name=f"{equation.out}_dot",
        origin=equation.origin,
    )


def _accumulate(forward: Forward, equation: Accumulate) -> None:
    positions = _varying(forward, equation)
    for group in _groups(equation, positions) if positions else ():
        local = _local(forward, equation, group)
        if local is None:
            continue
        out = forward.tangents.get(equation.out)
        if out is None:
            type_ = forward.types[equation.out]
            out = forward.builder.declare(f"{equation.out}_dot", type_.dtype, type_.shape)
            forward.tangents[equation.out] = out
        forward.builder.accumulate(out, *local, equation.space, equation.target, equation.origin)


def _reduction(forward: Forward, equation: Assign, reduce: Reduce) -> None:
    """Max and min: the mean of the winners' tangents; prod: each factor's tangent times the other factors."""
    builder, origin, space = forward.builder, equation.origin, equation.space
    dtype = forward.types[equation.out].dtype
    body = body_of(builder, equation)
    change = _body_tangent(forward, equation, body)
    if change is None:
        return
    if reduce.op == "prod":
        operands = (exclusive_product(builder, equation, body), change)
        total = _emit(forward, equation, Reduce("sum", dtype), (template("mul"), operands))
    else:
        winner, ties = winners(builder, equation, body)
        operands = (winner, change, Const(0.0, dtype))
        won = builder.assign(
            "select",
            operands,
            space,
            dtype,
            rank=equation.rank,
            reduce=Reduce("sum", dtype),
            name="won",
            origin=origin,
        )
        total = builder.pointwise("div", won, ties, name=f"{equation.out}_dot", origin=origin)
    forward.tangents[equation.out] = total


def _body_tangent(forward: Forward, equation: Assign, body: Access) -> Access | None:
    if body is equation.operands[0]:
        return Access(forward.tangents[body.tensor], body.indices)
    local = _local(forward, equation, _varying(forward, equation), body.tensor)
    if local is None:
        return None
    dtype = forward.types[equation.out].dtype
    name = forward.builder.assign(*local, equation.space, dtype, name="body_dot", origin=equation.origin)
    return Access(name, IDENTITY[len(equation.space)])


def _call(forward: Forward, equation: Call) -> None:
    if not any(name in forward.tangents for name in equation.ins):
        return
    found = JVP[equation.operation](forward, equation)
    results = (found,) if isinstance(found, str) else found
    for out, tangent in zip(equation.outs, results, strict=True):
        if tangent is not None:
            forward.tangents[out] = tangent


def jvp(program: Program, wrt: Sequence[str], outputs: Sequence[str] | None = None) -> Program:
    """Return the program that computes the outputs of `program` and their change along tangents of `wrt`.

    Its inputs are those of `program` followed by one tangent ``<name>_dot`` per name in `wrt`; its outputs
    are those of `program` followed by one tangent per floating-point output in `outputs` (default: all).

    Requires: `program` is valid; every name in `wrt` is a floating-point input, named once.
    Ensures: build time linear in equations; nothing is emitted that no output in `outputs` needs.
    """
    chosen = program.outputs if outputs is None else outputs
    require_floats(program, wrt)
    forward = Forward(program, varying(program, wrt) & useful(program, chosen))
    for name in wrt:
        type_ = program.types[name]
        forward.tangents[name] = forward.builder.input(f"{name}_dot", type_.dtype, type_.shape)
    _run(forward)
    results = [forward.tangent_or_zero(name, None) for name in chosen if program.types[name].dtype.is_float]
    read_through_passive(forward.builder.equations, len(program.equations))
    return forward.builder.finish((*program.outputs, *results))
