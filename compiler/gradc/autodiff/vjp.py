"""Reverse mode: from a program to the program that also computes cotangents.

There is one adjoint rule for every index equation.  For ``out[i] = sum[r] body(.., A[phi(i, r)], ..)`` it adds

    A_bar[phi(i, r)] += out_bar[i] * d body / d A

over the primal's own iteration space.  Matrix products, convolutions, broadcasting, slices and gathers are all
instances; "sum out the broadcast axes" and "scatter-add" fall out of it.  `gradc.passes.equations.gather` later
turns accumulations into plain equations where the access can be solved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from gradc.autodiff.activity import useful, varying
from gradc.autodiff.rules import Local, vjp_template
from gradc.errors import NoDerivativeRule
from gradc.ir.extents import Size
from gradc.ir.index.build import IDENTITY, Builder
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Affine,
    Assemble,
    Assign,
    Call,
    Const,
    Equation,
    Index,
    Operand,
    Origin,
    Program,
    Reduce,
)
from gradc.ir.index.show import show_equation
from gradc.ir.index.templates import Template, template


class Adjoint:
    """The reverse pass over one program; `builder` holds the primal equations and receives the adjoint ones."""

    def __init__(self, program: Program, wrt: Sequence[str], outputs: Sequence[str]) -> None:
        self.program = program
        self.builder = Builder.resume(program)
        self.types = self.builder.types
        self.active = varying(program, wrt) & (useful(program, outputs) | set(wrt))
        self.cotangents: dict[str, str] = {}

    # --- used by the rules ------------------------------------------------------------------------------

    def cotangent(self, name: str) -> str:
        """The tensor that collects the cotangent of `name`, declared at its first contribution."""
        found = self.cotangents.get(name)
        if found is None:
            type_ = self.types[name]
            found = self.cotangents[name] = self.builder.declare(f"{name}_bar", type_.dtype, type_.shape)
        return found

    def contribute(
        self,
        name: str,
        indices: tuple[Index, ...],
        space: tuple[Size, ...],
        body: Template,
        operands: tuple[Operand, ...],
        origin: Origin | None,
    ) -> None:
        """``name_bar[indices] += body(operands)`` over `space`."""
        self.builder.accumulate(self.cotangent(name), body, operands, space, indices, origin)

    def contribute_tensor(self, name: str, contribution: str, origin: Origin | None) -> None:
        """``name_bar += contribution``, tensors of one shape."""
        shape = self.types[name].shape
        identity = IDENTITY[len(shape)]
        self.contribute(name, identity, shape, template("copy"), (Access(contribution, identity),), origin)

    # --- the walk ---------------------------------------------------------------------------------------

    def run(self) -> None:
        """Emit the contributions of every active equation, last equation first."""
        for equation in reversed(self.program.equations):
            match equation:
                case Assign() | Accumulate():
                    if equation.out in self.cotangents and equation.out in self.active:
                        self._equation(equation)
                case Assemble():
                    if equation.out in self.cotangents and equation.out in self.active:
                        self._assemble(equation)
                case Call():
                    if any(out in self.cotangents for out in equation.outs):
                        self._call(equation)
                case _:
                    assert_never(equation)

    def _equation(self, equation: Assign | Accumulate) -> None:
        reduce = equation.reduce if isinstance(equation, Assign) else None
        if reduce is None or reduce.op == "sum":
            self._sum(equation)
        elif reduce.op in ("max", "min"):
            self._extreme(equation)
        else:
            raise NoDerivativeRule(
                f"the reduction {reduce.op} has no derivative here",
                where=_place(equation),
                do="reduce with sum or max",
            )

    def _sum(self, equation: Assign | Accumulate) -> None:
        elementwise = isinstance(equation, Assign) and equation.reduce is None
        target = IDENTITY[equation.rank] if isinstance(equation, Assign) else equation.target
        y_bar = Access(self.cotangents[equation.out], target)
        active = [
            position
            for position, operand in enumerate(equation.operands)
            if isinstance(operand, Access) and operand.tensor in self.active
        ]
        for position in active:
            local = vjp_template(equation.template, position, lone=len(active) == 1, with_result=elementwise)
            if local is not None:
                operand = equation.operands[position]
                assert isinstance(operand, Access)
                operands = _operands(local, equation, y_bar)
                self.contribute(
                    operand.tensor, operand.indices, equation.space, local.template, operands, equation.origin
                )

    def _extreme(self, equation: Assign) -> None:
        """Max and min: the cotangent goes to the winners, split evenly among ties."""
        operand = equation.operands[0]
        assert equation.template.is_copy
        assert isinstance(operand, Access)
        add, origin, space = self.builder, equation.origin, equation.space
        kept = IDENTITY[equation.rank]
        dtype = self.types[equation.out].dtype
        bool_type = self.types[operand.tensor].dtype
        assert bool_type is dtype
        from gradc.ir.types import DType  # noqa: PLC0415

        winner = add.assign(
            "eq", (operand, Access(equation.out, kept)), space, DType.BOOL, name="winner", origin=origin
        )
        every = Access(winner, IDENTITY[len(space)])
        ties = add.assign(
            "copy",
            (every,),
            space,
            dtype,
            rank=equation.rank,
            reduce=Reduce("sum", dtype),
            name="ties",
            origin=origin,
        )
        share = add.pointwise("div", self.cotangents[equation.out], ties, name="share", origin=origin)
        operands = (every, Access(share, kept), Const(0.0, dtype))
        self.contribute(operand.tensor, operand.indices, space, template("select"), operands, origin)

    def _assemble(self, equation: Assemble) -> None:
        y_bar = self.cotangents[equation.out]
        offset: Size = 0
        for part in equation.parts:
            shape = self.types[part].shape
            if part in self.active:
                identity = IDENTITY[len(shape)]
                shifted = equation.axis if offset == 0 else Affine(((1, equation.axis),), offset)
                indices = (*identity[: equation.axis], shifted, *identity[equation.axis + 1 :])
                self.contribute(
                    part, identity, shape, template("copy"), (Access(y_bar, indices),), equation.origin
                )
            offset = offset + shape[equation.axis]

    def _call(self, equation: Call) -> None:
        from gradc.autodiff.calls import VJP  # noqa: PLC0415  (the rules of calls use this class)

        VJP[equation.operation](self, equation)


def _operands(local: Local, equation: Assign | Accumulate, y_bar: Access) -> tuple[Operand, ...]:
    def operand(source: int | str | tuple[str, int]) -> Operand:
        if isinstance(source, int):
            return equation.operands[source]
        if source == "y_bar":
            return y_bar
        assert source == "y"
        assert isinstance(equation, Assign)
        return Access(equation.out, IDENTITY[equation.rank])

    return tuple(operand(source) for source in local.sources)


def _place(equation: Equation) -> str:
    place = f"{equation.origin.file}:{equation.origin.line}: " if equation.origin else ""
    return place + show_equation(equation)


def vjp(program: Program, wrt: Sequence[str], outputs: Sequence[str] | None = None) -> Program:
    """The program that computes the outputs of `program` and the pullback of cotangents to `wrt`.

    Its inputs are those of `program` followed by one cotangent ``<output>_bar`` per floating-point output in
    `outputs` (default: all); its outputs are those of `program` followed by one cotangent per name in `wrt`.

    Requires: `program` is valid; every name in `wrt` is a floating-point input.
    Ensures: at most the sum of the rule rows' operations; build time linear in equations.
    """
    seeded = [name for name in (outputs or program.outputs) if program.types[name].dtype.is_float]
    adjoint = Adjoint(program, wrt, seeded)
    seeds = [
        adjoint.builder.input(f"{name}_bar", program.types[name].dtype, program.types[name].shape)
        for name in seeded
    ]
    return _finish(adjoint, wrt, dict(zip(seeded, seeds, strict=True)))


def gradient(program: Program, wrt: Sequence[str]) -> Program:
    """The program that computes the first output, a scalar, and its gradient with respect to `wrt`."""
    out = program.outputs[0]
    adjoint = Adjoint(program, wrt, (out,))
    type_ = program.types[out]
    one = adjoint.builder.assign(
        "copy", (Const(1.0, type_.dtype),), type_.shape, type_.dtype, name=f"{out}_bar"
    )
    return _finish(adjoint, wrt, {out: one})


def _finish(adjoint: Adjoint, wrt: Sequence[str], seeds: dict[str, str]) -> Program:
    for name, seed in seeds.items():
        if name in adjoint.active:
            adjoint.contribute_tensor(name, seed, None)
    adjoint.run()
    gradients = []
    for name in wrt:
        found = adjoint.cotangents.get(name)
        if found is None:
            type_ = adjoint.types[name]
            found = adjoint.builder.constant(0.0, type_.dtype, type_.shape, name=f"{name}_bar")
        gradients.append(found)
    return adjoint.builder.finish((*adjoint.program.outputs, *gradients))
