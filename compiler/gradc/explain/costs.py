"""What every piece of a kernel costs: operations, bytes, and the time that this machine needs for them at least.

The prediction is a roofline (Williams, Waterman and Patterson, 2009): a piece takes as long as its operations at
the measured rate of each, or as its bytes at the measured bandwidth, whichever is longer, and a launch if it runs
in parts.  Nothing in it is fitted to kernels, so measured over predicted tells what a better kernel could gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradc.explain.roofs import ARITHMETIC, Roofs
from gradc.ir.extents import evaluate, show
from gradc.ir.index.nodes import Origin
from gradc.ir.index.show import show_equation
from gradc.ir.loop.count import CONTRACTION, Counts, Key, count, weight_of
from gradc.ir.loop.footprint import footprint
from gradc.ir.loop.nodes import Kernel, Tasks
from gradc.ir.loop.pieces import Piece, pieces
from gradc.ir.loop.sizes import size_of, types_of
from gradc.ir.loop.workspace import workspace_bytes
from gradc.ir.stages import Stages
from gradc.ir.tensors import TensorType

PARALLEL = (
    2_000_000  # multiply-adds from which on a contraction uses threads (`gradc_runtime.contraction_ways`)
)


@dataclass(frozen=True, slots=True)
class Cost:
    """One piece of a kernel.

    Attributes
    ----------
    kind : str
        What its main statement is (`gradc.ir.loop.pieces`).
    origins : tuple of Origin
        The lines of the user's source that its equations come from.
    equations : tuple of str
        What it computes.
    counts : Counts
        Its operations as polynomials in the extents; `calls` are their values.
    moved, held : int
        Bytes read and written, and bytes of memory they lie in.
    parts : int
        How many parts it may run in at once.
    """

    kind: str
    origins: tuple[Origin, ...]
    equations: tuple[str, ...]
    counts: Counts
    calls: Mapping[Key, int]
    moved: int
    held: int
    parts: int

    @property
    def operations(self) -> int:
        """Weighted floating-point operations."""
        return sum(weight_of(name) * times for (name, _), times in self.calls.items())

    @property
    def elementary(self) -> int:
        """Elementary functions among them."""
        return sum(times for (name, _), times in self.calls.items() if weight_of(name) > 4)

    @property
    def formula(self) -> str:
        """The operations in the extents of the kernel."""
        return show(self.counts.operations)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Seconds by what they are needed for; `bound` is what needs most of them."""

    arithmetic: float
    functions: float
    transfer: float
    overhead: float
    far: bool  # whether the transfer is rather from memory than from a cache

    @property
    def seconds(self) -> float:
        """Arithmetic and transfers overlap."""
        return max(self.arithmetic + self.functions, self.transfer) + self.overhead

    @property
    def bound(self) -> str:
        """``"memory"``, ``"cache"``, ``"arithmetic"``, ``"functions"`` or ``"overhead"``."""
        terms = {
            "arithmetic": self.arithmetic,
            "functions": self.functions,
            "memory" if self.far else "cache": self.transfer,
            "overhead": self.overhead,
        }
        return max(terms, key=lambda name: terms[name])


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of arguments, of results, and of the other arrays that a kernel makes, the most of them at once."""

    arguments: int
    results: int
    temporaries: int


def costs(stages: Stages, numbers: Mapping[str, int]) -> tuple[Cost, ...]:
    """The cost of every piece of a kernel, for extents of these values (`gradc.ir.loop.sizes.numbers_of`)."""
    types = types_of(stages.kernel)
    origins = {
        show_equation(equation): equation.origin
        for equation in stages.optimised.equations
        if equation.origin is not None
    }
    return tuple(_cost(piece, types, numbers, origins) for piece in pieces(stages.kernel))


def _cost(
    piece: Piece,
    types: Mapping[str, TensorType],
    numbers: Mapping[str, int],
    origins: Mapping[str, Origin],
) -> Cost:
    counts, touched = count(piece.statements, types), footprint(piece.statements, types, numbers)
    found = dict.fromkeys(origins[note] for note in piece.notes if note in origins)
    calls = counts.at(numbers)
    moved, held = touched.moved(types), touched.held(types)
    parts = _parts(piece, calls, numbers)
    return Cost(piece.kind, tuple(found), piece.notes, counts, calls, moved, held, parts)


def _parts(piece: Piece, calls: Mapping[Key, int], numbers: Mapping[str, int]) -> int:
    tasks = [statement for statement in piece.statements if isinstance(statement, Tasks)]
    if tasks:
        return evaluate(size_of(tasks[0].count), numbers)
    products = sum(times for (name, _), times in calls.items() if name == CONTRACTION)
    return max(1, products // PARALLEL)


def memory(kernel: Kernel, arguments: Mapping[str, Any], numbers: Mapping[str, int]) -> Memory:
    """How much memory the arrays of a kernel take; workspaces of contractions and libraries are left out."""
    types = types_of(kernel)

    def size(name: str) -> int:
        type_ = types[name]
        elements = 1
        for extent in type_.shape:
            elements *= evaluate(extent, numbers)
        return elements * type_.dtype.numpy.itemsize

    given = [p.name for p in kernel.parameters if p.rank]
    results = [name for name in dict.fromkeys(kernel.results) if name in types]
    return Memory(sum(map(size, given)), sum(map(size, results)), workspace_bytes(kernel, arguments))


def predict(cost: Cost, alone: Roofs, together: Roofs, lanes: Mapping[int, int]) -> Prediction:
    """How long a piece takes at least.

    Parameters
    ----------
    alone, together : Roofs
        Of one thread, for what cannot run in parts, and of all.
    lanes : mapping of int to int
        Numbers in a vector register, by their size in bytes: arithmetic outside loops is done one by one.
    """
    roofs = together if cost.parts > 1 else alone
    arithmetic = functions = 0.0
    for (name, dtype), times in cost.calls.items():
        if name == CONTRACTION:
            arithmetic += times / roofs.rates[name, dtype]
        elif weight_of(name) > 1:
            functions += times / roofs.rates[name, dtype]
        else:
            slower = lanes[dtype.numpy.itemsize] if cost.kind in ("entry", "scalars") else 1
            arithmetic += times * slower / roofs.rates[ARITHMETIC, dtype]
    bandwidth = roofs.bandwidth(cost.held)
    far = bandwidth**2 < roofs.memory * roofs.cache
    launch = roofs.launch if cost.parts > 1 else 0.0
    return Prediction(arithmetic, functions, cost.moved / bandwidth, launch, far)
