"""The state of a forward pass: the tangent of every varying tensor, and where it is written."""

from __future__ import annotations

from gradc.ir.index.build import Builder
from gradc.ir.index.nodes import Origin, Program


class Forward:
    """Tangents under construction; `builder` holds the primal equations and receives the tangent ones.

    `wanted` are the tensors that vary and that an output depends on.
    """

    def __init__(self, program: Program, wanted: set[str]) -> None:
        self.program = program
        self.wanted = wanted
        self.builder = Builder.resume(program)
        self.types = self.builder.types
        self.tangents: dict[str, str] = {}

    def tangent_or_zero(self, name: str, origin: Origin | None) -> str:
        """Return the tangent of `name`; a tensor of zeros where it does not vary."""
        found = self.tangents.get(name)
        if found is None:
            type_ = self.types[name]
            found = self.builder.constant(0.0, type_.dtype, type_.shape, name=f"{name}_dot")
        return found
