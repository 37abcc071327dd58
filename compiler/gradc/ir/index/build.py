"""Appending equations to a program under construction; front ends and the reverse pass share it."""

from __future__ import annotations

from collections.abc import Mapping

from gradc.ir.extents import Guard, Quotient, Size
from gradc.ir.functions import FUNCTIONS, Result
from gradc.ir.index.calls import CALLS
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
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
    TensorType,
    outputs_of,
)
from gradc.ir.index.templates import Template, template
from gradc.ir.names import NameSupply
from gradc.ir.types import DType

Attributes = Mapping[str, int | str | bool | tuple[Size, ...]]

IDENTITY: tuple[tuple[int, ...], ...] = tuple(tuple(range(rank)) for rank in range(40))


class Builder:
    """A list of equations with the types of their results.

    Every method that adds an equation returns the name of the new tensor.
    """

    def __init__(self, name: str = "program", names: NameSupply | None = None) -> None:
        self.name = name
        self.names = names or NameSupply()
        self.types: dict[str, TensorType] = {}
        self.inputs: list[str] = []
        self.equations: list[Equation] = []
        self.guards: list[Guard] = []
        self.quotients: list[Quotient] = []

    @classmethod
    def resume(cls, program: Program) -> Builder:
        """A builder that continues `program`."""
        builder = cls(program.name, NameSupply(tuple(program.types)))
        builder.types = dict(program.types)
        builder.inputs = list(program.inputs)
        builder.equations = list(program.equations)
        builder.guards = list(program.guards)
        builder.quotients = list(program.quotients)
        return builder

    def input(self, name: str, dtype: DType, shape: tuple[Size, ...]) -> str:
        """Add an input."""
        name = self.names.fresh(name)
        self.types[name] = TensorType(dtype, shape)
        self.inputs.append(name)
        return name

    def access(self, name: str) -> Access:
        """The access that reads a tensor at the identity: axis 0 at index 0, and so on."""
        return Access(name, IDENTITY[len(self.types[name].shape)])

    def assign(
        self,
        body: Template | str,
        operands: tuple[Operand, ...],
        space: tuple[Size, ...],
        dtype: DType,
        *,
        rank: int | None = None,
        reduce: Reduce | None = None,
        name: str = "",
        origin: Origin | None = None,
    ) -> str:
        """Append an `Assign`; without `rank` every index of the space is an axis of the result."""
        rank = len(space) if rank is None else rank
        out = self.names.fresh(name)
        self.types[out] = TensorType(dtype, space[:rank])
        chosen = template(body) if isinstance(body, str) else body
        self.equations.append(Assign(out, space, rank, reduce, chosen, operands, origin))
        return out

    def pointwise(
        self, body: Template | str, *operands: str | Const, name: str = "", origin: Origin | None = None
    ) -> str:
        """Append an elementwise `Assign` on tensors of one shape (scalars and constants are broadcast)."""
        chosen = template(body) if isinstance(body, str) else body
        tensors = [operand for operand in operands if isinstance(operand, str)]
        shape = max((self.types[tensor].shape for tensor in tensors), key=len, default=())
        typed = [self.types[o].dtype if isinstance(o, str) else o.dtype for o in operands]
        dtype = typed[-1]
        if chosen.name in FUNCTIONS and FUNCTIONS[chosen.name].result in (Result.BOOL, Result.LOGICAL):
            dtype = DType.BOOL
        arguments = tuple(self.access(o) if isinstance(o, str) else o for o in operands)
        return self.assign(chosen, arguments, shape, dtype, name=name, origin=origin)

    def constant(self, value: float, dtype: DType, shape: tuple[Size, ...] = (), *, name: str = "") -> str:
        """A tensor filled with one number."""
        return self.assign("copy", (Const(value, dtype),), shape, dtype, name=name)

    def declare(self, hint: str, dtype: DType, shape: tuple[Size, ...]) -> str:
        """Reserve a tensor that `accumulate` will fill."""
        name = self.names.fresh(hint)
        self.types[name] = TensorType(dtype, shape)
        return name

    def accumulate(
        self,
        out: str,
        body: Template,
        operands: tuple[Operand, ...],
        space: tuple[Size, ...],
        target: tuple[Index, ...],
        origin: Origin | None = None,
    ) -> None:
        """Append an `Accumulate` into a declared tensor."""
        self.equations.append(Accumulate(out, space, target, body, operands, origin))

    def assemble(
        self, axis: int, parts: tuple[str, ...], *, name: str = "", origin: Origin | None = None
    ) -> str:
        """Append an `Assemble`: the parts one after the other along `axis`."""
        first = self.types[parts[0]]
        extent: Size = 0
        for part in parts:
            extent = extent + self.types[part].shape[axis]
        out = self.names.fresh(name)
        self.types[out] = TensorType(first.dtype, (*first.shape[:axis], extent, *first.shape[axis + 1 :]))
        self.equations.append(Assemble(out, axis, parts, origin))
        return out

    def call(
        self,
        operation: str,
        ins: tuple[str, ...],
        attributes: Attributes | None = None,
        *,
        hints: tuple[str, ...] = (),
        origin: Origin | None = None,
    ) -> tuple[str, ...]:
        """Append a `Call` and return the names of its results."""
        pairs = tuple(sorted((attributes or {}).items()))
        results = CALLS[operation].infer(tuple(self.types[name] for name in ins), dict(pairs))
        outs = []
        for position, result in enumerate(results):
            out = self.names.fresh(hints[position] if position < len(hints) else "")
            self.types[out] = result
            outs.append(out)
        self.equations.append(Call(tuple(outs), operation, ins, pairs, origin))
        return tuple(outs)

    def rename_last(self, name: str, hint: str) -> str:
        """Rename `name` after `hint` if it is the last equation's numbered result; return its name."""
        last = self.equations[-1]
        if not isinstance(last, Assign | Assemble | Call) or outputs_of(last) != (name,):
            return name
        new = self.names.renamed(name, hint)
        if new == name:
            return name
        match last:
            case Assign():
                renamed: Equation = Assign(
                    new, last.space, last.rank, last.reduce, last.template, last.operands, last.origin
                )
            case Assemble():
                renamed = Assemble(new, last.axis, last.parts, last.origin)
            case Call():
                renamed = Call((new,), last.operation, last.ins, last.attributes, last.origin)
        self.equations[-1] = renamed
        self.types[new] = self.types.pop(name)
        return new

    def finish(self, outputs: tuple[str, ...]) -> Program:
        """The program."""
        return Program(
            self.name,
            tuple(self.inputs),
            tuple(self.equations),
            outputs,
            self.types,
            tuple(self.guards),
            tuple(self.quotients),
        )
