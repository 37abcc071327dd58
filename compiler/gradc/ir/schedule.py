"""A schedule as plain data: the loop tree that computes a program, and where each tensor lives.

    Schedule := nodes, storage
    Node     := Loop(id, extent, nodes) | Leaf(equation, role, loops)

Everything here can be printed, compared and overridden; nothing is decided after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from gradc.ir import extents
from gradc.ir.extents import Size


@dataclass(frozen=True, slots=True)
class Leaf:
    """One step of one equation.

    `role` is ``"compute"`` (elementwise), ``"start"``, ``"update"`` and ``"finish"`` (a scalar accumulator),
    ``"add"`` (into memory), ``"part"`` (one part of an `Assemble`, number `part`), ``"product"``, ``"contract"`` or
    ``"call"``.
    `loops` gives the id of the loop that runs each index of the equation's space.
    """

    equation: int
    role: str
    loops: tuple[int, ...] = ()
    part: int = 0


@dataclass(frozen=True, slots=True)
class Loop:
    """Run `body` for every value of an index."""

    id: int
    extent: Size
    body: tuple[Node, ...]


Node: TypeAlias = Loop | Leaf


@dataclass(frozen=True, slots=True)
class Storage:
    """Where a tensor lives: ``"scalar"`` (a local variable) or ``"array"`` with the axes that are kept."""

    kind: str
    axes: tuple[int, ...] = ()
    zeroed: bool = False


@dataclass(frozen=True, slots=True)
class Schedule:
    """The loop tree and the storage of every tensor that an equation defines."""

    body: tuple[Node, ...]
    storage: Mapping[str, Storage]


def leaves(nodes: tuple[Node, ...]) -> Iterator[Leaf]:
    """All leaves, in execution order; iterative, because trees may be long."""
    stack = list(reversed(nodes))
    while stack:
        node = stack.pop()
        if isinstance(node, Leaf):
            yield node
        else:
            stack.extend(reversed(node.body))


def show_schedule(schedule: Schedule, names: Mapping[int, str]) -> str:
    """The loop tree as text; `names` gives the left-hand side of every equation."""
    lines: list[str] = []
    stack: list[tuple[Node, int]] = [(node, 0) for node in reversed(schedule.body)]
    while stack:
        node, depth = stack.pop()
        if isinstance(node, Leaf):
            lines.append("  " * depth + f"{node.role} {names[node.equation]}")
        else:
            lines.append("  " * depth + f"for L{node.id} < {extents.show(node.extent)}:")
            stack.extend((child, depth + 1) for child in reversed(node.body))
    for name, storage in schedule.storage.items():
        if storage.kind == "array":
            kept = ", ".join(str(axis) for axis in storage.axes)
            lines.append(f"store {name} as array, axes ({kept}){', zeroed' if storage.zeroed else ''}")
    return "\n".join(lines) + "\n"
