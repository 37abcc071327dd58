"""A graph as plain data: nodes, the wires between them, and the kernels that compute them.

    Graph := title, nodes, wires, kernels
    Node  := one input, gate, group of gates, kernel or output
    Wire  := a tensor on its way from the node that defines it to one that reads it

Nodes stand in an order in which each comes after all that it reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Node:
    """One box of the picture.

    Attributes
    ----------
    id : str
        Unique; of a gate, the first tensor that it defines.
    kind : str
        ``"input"``, ``"gate"``, ``"group"`` (several gates), ``"kernel"`` or ``"output"``.
    label : str
        What it does: ``+``, ``exp``, a line of the user's source.
    name : str
        What is written under it: the tensor, or nothing.
    formula : tuple of str
        Its equations.
    rule : tuple of str
        The local derivatives of its equations.
    file, line, source
        Where it comes from in the user's source; 0 and empty where that is unknown.
    gradient
        The gradient of the output with respect to the tensor of the node, or None.
    kept : str
        How the tensor gets to the backward pass: ``"array"``, ``"register"``, ``"recomputed"`` or empty.
    kernel : int or None
        The position of the piece of the kernel that computes it.
    adjoint_kernel : int or None
        The same for its cotangent.
    replaced : str
        The law by which a stable form takes its place in the compiled program.
    """

    id: str
    kind: str
    label: str
    name: str = ""
    formula: tuple[str, ...] = ()
    rule: tuple[str, ...] = ()
    file: str = ""
    line: int = 0
    source: str = ""
    gradient: Any = None
    kept: str = ""
    kernel: int | None = None
    adjoint_kernel: int | None = None
    replaced: str = ""


@dataclass(frozen=True, slots=True)
class Wire:
    """A tensor between two nodes, with its value and with what the reader adds to its gradient.

    `index` says that the tensor is read as an index, which has no gradient; `role` is that of the value's colour.
    """

    source: str
    target: str
    tensor: str
    type: str = ""
    value: Any = None
    gradient: Any = None
    index: bool = False
    role: str = "value"


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes, wires, and what each kernel is called."""

    title: str
    nodes: tuple[Node, ...]
    wires: tuple[Wire, ...]
    kernels: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many nodes compute something."""
        return sum(node.kind not in ("input", "output") for node in self.nodes)
