"""Reverse mode: from a program to the program that also computes cotangents.

There is one adjoint rule for every index equation.  For ``out[i] = sum[r] body(.., A[phi(i, r)], ..)`` it
adds

    A_bar[phi(i, r)] += out_bar[i] * d body / d A

over the primal's own iteration space.  Matrix products, convolutions, broadcasting, slices and gathers are
all instances; "sum out the broadcast axes" and "scatter-add" fall out of it.  `gradc.passes.equations.gather`
later turns accumulations into plain equations where the access can be solved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from gradc.autodiff.activity import (
    read_anywhere,
    read_through_passive,
    require_floats,
    useful,
    varying,
)
from gradc.autodiff.adjoint import Adjoint
from gradc.autodiff.calls import VJP
from gradc.autodiff.guards import guarded
from gradc.autodiff.local import vjp_template
from gradc.autodiff.reductions import body_of, exclusive_product, winners
from gradc.errors import NoDerivativeRule
from gradc.ir.extents import Size
from gradc.ir.index.build import IDENTITY
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Affine,
    Assemble,
    Assign,
    Call,
    Const,
    Equation,
    Operand,
    Program,
    Reduce,
)
from gradc.ir.index.show import show_equation
from gradc.ir.index.templates import Template, template

# Per varying operand: its position, the template of its contribution, and the source of each of its operands
# (a position among the primal operands, -1 for the cotangent, -2 for the result).
Plan = tuple[tuple[int, Template, tuple[int, ...]], ...]
_COTANGENT, _RESULT = -1, -2


def _run(adjoint: Adjoint) -> None:
    """Emit the contributions of every active equation, last equation first."""
    cotangents, active = adjoint.cotangents, adjoint.active
    for equation in reversed(adjoint.program.equations):
        match equation:
            case Assign():
                if equation.out in cotangents and equation.out in active:
                    _assign(adjoint, equation)
            case Accumulate():
                if equation.out in cotangents and equation.out in active:
                    _contributions(adjoint, equation, Access(cotangents[equation.out], equation.target))
            case Assemble():
                if equation.out in cotangents and equation.out in active:
                    _assemble(adjoint, equation)
            case Call():
                if any(out in cotangents and out in active for out in equation.outs):
                    VJP[equation.operation](adjoint, equation)
            case _:
                assert_never(equation)


def _assign(adjoint: Adjoint, equation: Assign) -> None:
    reduce = equation.reduce
    if reduce is None or reduce.op == "sum":
        y_bar = Access(adjoint.cotangents[equation.out], IDENTITY[equation.rank])
        _contributions(adjoint, equation, y_bar)
    else:
        _reduction(adjoint, equation, reduce)


def _contributions(adjoint: Adjoint, equation: Assign | Accumulate, y_bar: Access) -> None:
    """``operand_bar += y_bar * partial`` over the space of the equation, for every varying operand."""
    active = adjoint.active
    operands = equation.operands
    varying_operands = tuple(
        [at for at, o in enumerate(operands) if type(o) is Access and o.tensor in active]
    )
    elementwise = isinstance(equation, Assign) and equation.reduce is None
    guarded = equation.out in adjoint.maybe_unused
    key = ("adjoint plan", varying_operands, elementwise, guarded)
    plan = equation.template.cache.get(key)
    if plan is None:
        plan = _plan(equation.template, varying_operands, elementwise=elementwise, guarded=guarded)
        equation.template.cache[key] = plan
    for position, local, sources in plan:  # pyright: ignore[reportGeneralTypeIssues]
        operand = operands[position]
        assert isinstance(operand, Access)
        chosen: tuple[Operand, ...] = tuple(
            [operands[s] if s >= 0 else y_bar if s == _COTANGENT else _result(equation) for s in sources]
        )
        adjoint.contribute(operand.tensor, operand.indices, equation.space, local, chosen, equation.origin)


def _plan(body: Template, positions: tuple[int, ...], *, elementwise: bool, guarded: bool) -> Plan:
    plan = []
    for position in positions:
        lone = len(positions) == 1
        local = vjp_template(body, position, lone=lone, with_result=elementwise, guarded=guarded)
        if local is not None:
            sources = [
                s if isinstance(s, int) else _COTANGENT if s == "y_bar" else _RESULT for s in local.sources
            ]
            plan.append((position, local.template, tuple(sources)))
    return tuple(plan)


def _result(equation: Assign | Accumulate) -> Access:
    assert isinstance(equation, Assign)
    return Access(equation.out, IDENTITY[equation.rank])


def _reduction(adjoint: Adjoint, equation: Assign, reduce: Reduce) -> None:
    """Max, min and prod: the cotangent of the body first, then that of its operands."""
    builder, origin, space = adjoint.builder, equation.origin, equation.space
    y_bar, kept = adjoint.cotangents[equation.out], IDENTITY[equation.rank]
    dtype = adjoint.types[equation.out].dtype
    body = body_of(builder, equation)
    if reduce.op in ("max", "min"):
        winner, ties = winners(builder, equation, body)
        share = builder.pointwise("div", y_bar, ties, name="share", origin=origin)
        local, operands = template("select"), (winner, Access(share, kept), Const(0.0, dtype))
    elif reduce.op == "prod":
        others = exclusive_product(builder, equation, body)
        local, operands = template("mul"), (Access(y_bar, kept), others)
    else:
        raise NoDerivativeRule(
            f"the reduction {reduce.op} has no derivative",
            where=_place(equation),
            why="its result is no floating-point number",
            do="reduce with sum, prod, max or min",
        )
    if body is equation.operands[0]:
        adjoint.contribute(body.tensor, body.indices, space, local, operands, origin)
        return
    body_bar = builder.assign(local, operands, space, dtype, name="body_bar", origin=origin)
    inner = Assign(body.tensor, space, len(space), None, equation.template, equation.operands, origin)
    _contributions(adjoint, inner, Access(body_bar, IDENTITY[len(space)]))


def _assemble(adjoint: Adjoint, equation: Assemble) -> None:
    y_bar, axis = adjoint.cotangents[equation.out], equation.axis
    offset: Size = 0
    for part in equation.parts:
        shape = adjoint.types[part].shape
        if part in adjoint.active:
            identity = IDENTITY[len(shape)]
            shifted = axis if offset == 0 else Affine(((1, axis),), offset)
            source = Access(y_bar, (*identity[:axis], shifted, *identity[axis + 1 :]))
            adjoint.contribute(part, identity, shape, template("copy"), (source,), equation.origin)
        offset = offset + shape[axis]


def _place(equation: Equation) -> str:
    place = f"{equation.origin.file}:{equation.origin.line}: " if equation.origin else ""
    return place + show_equation(equation)


def vjp(program: Program, wrt: Sequence[str], outputs: Sequence[str] | None = None) -> Program:
    """Return the program that computes the outputs of `program` and the pullback of cotangents to `wrt`.

    Its inputs are those of `program` followed by one cotangent ``<output>_bar`` per floating-point output in
    `outputs` (default: all); its outputs are those of `program` followed by one cotangent per name in `wrt`.

    Requires: `program` is valid; every name in `wrt` is a floating-point input.
    Ensures: at most the sum of the rule rows' operations; build time linear in equations.
    """
    chosen = program.outputs if outputs is None else outputs
    seeded = [name for name in chosen if program.types[name].dtype.is_float]
    adjoint = _start(program, wrt, seeded)
    seeds = []
    for name in seeded:
        type_ = program.types[name]
        seeds.append((name, adjoint.builder.input(f"{name}_bar", type_.dtype, type_.shape)))
    return _finish(adjoint, wrt, seeds)


def gradient(program: Program, wrt: Sequence[str]) -> Program:
    """Return the program that computes the outputs of `program` and the gradient of the first, a scalar."""
    return gradient_with_cotangents(program, wrt)[0]


def gradient_with_cotangents(program: Program, wrt: Sequence[str]) -> tuple[Program, dict[str, str]]:
    """Return what `gradient` does, and the tensor that holds the cotangent of each tensor that has one."""
    out = program.outputs[0]
    type_ = program.types[out]
    adjoint = _start(program, wrt, (out,))
    one = adjoint.builder.assign(
        "copy", (Const(1.0, type_.dtype),), type_.shape, type_.dtype, name=f"{out}_bar"
    )
    return _finish(adjoint, wrt, [(out, one)]), dict(adjoint.cotangents)


def _start(program: Program, wrt: Sequence[str], seeded: Sequence[str]) -> Adjoint:
    require_floats(program, (*wrt, *seeded))
    active = varying(program, wrt) & (useful(program, seeded) | set(wrt))
    return Adjoint(guarded(program, active), active)


def _finish(adjoint: Adjoint, wrt: Sequence[str], seeds: Sequence[tuple[str, str]]) -> Program:
    times = [name for name, _ in seeds]
    read = read_anywhere(adjoint.program, times)
    for name, seed in seeds:
        if name not in adjoint.active:
            continue
        if name in read or name in wrt or times.count(name) > 1:
            adjoint.contribute_tensor(name, seed, None)
        else:
            adjoint.cotangents[name] = seed  # nothing else contributes: the seed is the cotangent
    _run(adjoint)
    gradients = []
    for name in wrt:
        found = adjoint.cotangents.get(name)
        if found is None:
            type_ = adjoint.types[name]
            found = adjoint.builder.constant(0.0, type_.dtype, type_.shape, name=f"{name}_bar")
        gradients.append(found)
    read_through_passive(adjoint.builder.equations, len(adjoint.program.equations))
    return adjoint.builder.finish((*adjoint.program.outputs, *gradients))
