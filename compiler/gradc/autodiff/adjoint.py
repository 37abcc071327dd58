"""The state of a reverse pass: where cotangents are collected, and how a rule adds to them."""

from __future__ import annotations

from gradc.autodiff.activity import maybe_unused
from gradc.ir.extents import Size
from gradc.ir.index.build import IDENTITY, Builder
from gradc.ir.index.nodes import Access, Accumulate, Index, Operand, Origin, Program
from gradc.ir.index.templates import Template, template


class Adjoint:
    """Cotangents under construction; `builder` holds the primal equations and receives the adjoint ones."""

    def __init__(self, program: Program, active: set[str]) -> None:
        self.program = program
        self.active = active
        self.maybe_unused = maybe_unused(program)
        self.builder = Builder.resume(program)
        self.types = self.builder.types
        self.cotangents: dict[str, str] = {}

    def cotangent(self, name: str) -> str:
        """Return the tensor that collects the cotangent of `name`, declared at its first contribution."""
        found = self.cotangents.get(name)
        if found is None:
            found = self.builder.names.fresh(name + "_bar")
            self.types[found] = self.types[name]
            self.cotangents[name] = found
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
        out = self.cotangent(name)
        self.builder.equations.append(Accumulate(out, space, indices, body, operands, origin))

    def contribute_tensor(
        self, name: str, contribution: str, origin: Origin | None, function: str = "copy"
    ) -> None:
        """``name_bar += function(contribution)``, tensors of one shape."""
        shape = self.types[name].shape
        identity = IDENTITY[len(shape)]
        self.contribute(name, identity, shape, template(function), (Access(contribution, identity),), origin)
