"""The pieces of a kernel, and why each is not one with those before it.

Pieces are those of `gradc.ir.loop.pieces`, numbered from 0.  For every tensor that one piece makes and a later one
reads, `gradc.explain.kernels.apart` tells which condition of fusion kept its maker and its reader from sharing a loop.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from gradc.explain.kernels.apart import ALONE, Layout, Reason, extents_of, why_apart
from gradc.explain.kernels.contents import arrays_of_tensors, contents
from gradc.ir import extents
from gradc.ir.extents import Size
from gradc.ir.index.nodes import Accumulate, outputs_of, reads_of
from gradc.ir.index.show import show_equation
from gradc.ir.loop.nodes import Contract
from gradc.ir.loop.pieces import Piece
from gradc.ir.loop.sizes import types_of
from gradc.ir.loop.walk import every
from gradc.ir.stages import Stages
from gradc.schedule.fuse import fuse, most_leaves

WIDEST = 84  # characters of a list of names
KINDS = {
    "entry": "shapes are checked",
    "scalars": "numbers",
    "loop": "loop",
    "tasks": "loop in parts",
    "contract": "contraction",
    "product": "matrix product",
}
# What stands first where several reasons concern one tensor: the others follow from these.
_FIRST = ("alone", "incomplete", "shifted", "turned", "extents", "full", "assembled")


@dataclass(frozen=True, slots=True)
class Apart:
    """One tensor that passes between two pieces, and why there are two.

    Attributes
    ----------
    tensor : str
        What passes.
    before : int
        The piece that makes it.
    reader : str
        What the equation makes that reads it.
    reason : Reason
        Why maker and reader share no loop; of several readers in a piece the first one's that is no consequence of
        another reason.
    """

    tensor: str
    before: int
    reader: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Group:
    """A piece of the final kernel.

    Attributes
    ----------
    index : int
        Its number among all pieces, from 0.
    kind : str
        As in `gradc.ir.loop.pieces.Piece`.
    tensors : tuple of str
        What its equations compute, in program order.
    stored : tuple of str
        Those of them that lie in memory; the others are local variables.
    equations : tuple of str
        The equations, as text.
    loops : tuple of tuple of str
        The extents of its loop nests, outermost first; those of a contraction are its indices'.
    contractions : int
        How many contractions run inside its loops.
    apart : tuple of Apart
        What it reads of earlier pieces.
    """

    index: int
    kind: str
    tensors: tuple[str, ...]
    stored: tuple[str, ...]
    equations: tuple[str, ...]
    loops: tuple[tuple[str, ...], ...]
    contractions: int
    apart: tuple[Apart, ...]


def fusion(stages: Stages) -> tuple[Group, ...]:
    """The pieces of the final kernel, and why they are not fewer.

    Examples
    --------
    >>> import numpy as np
    >>> from gradc import differentiate
    >>> stages = differentiate(lambda x: x / x.sum()).at(np.ones(3)).inspect("value").stages
    >>> *_, last = fusion(stages)
    >>> last.tensors, last.apart[0].before, last.apart[0].reason.kind
    (('v2',), 1, 'incomplete')
    """
    program = stages.optimised
    leaves = most_leaves(stages.optimised, "cpu" if stages.serial is None else "cuda")
    layout = Layout(program, fuse(program, leaves), leaves)
    moved = _moved(stages, layout)
    arrays = arrays_of_tensors(stages, types_of(stages.kernel))
    held = contents(stages)
    homes: dict[int, list[int]] = {}
    for index, (_, numbers) in enumerate(held):
        for number in numbers:
            homes.setdefault(number, []).append(index)
    found = []
    for index, (piece, numbers) in enumerate(held):
        apart = tuple(_Here(layout, moved, homes, index, frozenset(numbers)).apart())
        found.append(_group(layout, arrays, index, piece, numbers, apart))
    return tuple(found)


def _group(
    layout: Layout,
    arrays: dict[str, str],
    index: int,
    piece: Piece,
    numbers: Sequence[int],
    apart: tuple[Apart, ...],
) -> Group:
    equations = [layout.program.equations[number] for number in numbers]
    tensors = tuple(dict.fromkeys(name for equation in equations for name in outputs_of(equation)))
    inside = sum(isinstance(statement, Contract) for statement in every(piece.statements))
    return Group(
        index,
        piece.kind,
        tensors,
        tuple(name for name in tensors if name in arrays),
        tuple(map(show_equation, equations)),
        _nests(layout, numbers, alone=inside < 2),
        inside if piece.kind != "contract" else 0,
        apart,
    )


def _nests(layout: Layout, numbers: Sequence[int], *, alone: bool) -> tuple[tuple[str, ...], ...]:
    """The loop nests that equations run in, without those that begin another one."""
    found: dict[tuple[str, ...], None] = {}
    for number in numbers:
        placed = layout.main(number)
        sizes: Sequence[Size] = extents_of(placed)
        if placed.leaf.role in ALONE and alone:
            sizes = getattr(layout.program.equations[number], "space", ())
        found[tuple(map(extents.show, sizes))] = None
    nests = [nest for nest in found if nest]
    return tuple(nest for nest in nests if not any(_begins(nest, other) for other in nests))


def _begins(nest: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return len(nest) < len(other) and other[: len(nest)] == nest


# --- what passes between pieces -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Here:
    """A piece, to be compared with those before it; `homes` are the pieces that compute each equation."""

    layout: Layout
    moved: Set[int]
    homes: Mapping[int, Sequence[int]]
    index: int
    numbers: frozenset[int]

    def apart(self) -> Iterator[Apart]:
        """What the piece reads of earlier ones, one entry for each tensor."""
        found: dict[str, Apart] = {}
        for reader in sorted(self.numbers):
            for tensor, number in self.reads(reader):
                before = None if number in self.numbers else self.home(number)
                if before is None:
                    continue
                reason = self.reason(reader, tensor, number)
                known = found.get(tensor)
                if known is None or (known.reason.kind not in _FIRST and reason.kind in _FIRST):
                    made = outputs_of(self.layout.program.equations[reader])[0]
                    found[tensor] = Apart(tensor, before, made, reason)
        yield from found.values()

    def reads(self, reader: int) -> Iterator[tuple[str, int]]:
        """What an equation reads or adds to, with the last equation before it that makes that."""
        equation = self.layout.program.equations[reader]
        own = outputs_of(equation) if isinstance(equation, Accumulate) else ()
        for tensor in (*reads_of(equation), *own):
            number = self.layout.producer_before(tensor, reader)
            if number is not None:
                yield tensor, number

    def home(self, number: int) -> int | None:
        """The last piece before this one that computes an equation."""
        homes = self.homes.get(number, ())
        at = bisect_left(homes, self.index)
        return homes[at - 1] if at else None

    def reason(self, reader: int, tensor: str, number: int) -> Reason:
        """Why maker and reader of a tensor are in two pieces."""
        reason = why_apart(self.layout, reader, tensor) or _later(self.layout, self.moved, number, reader)
        return self.waiting(reader, reason) if reason.kind == "order" else reason

    def waiting(self, reader: int, reason: Reason) -> Reason:
        """What outside of the piece an equation waits for in the end: what it waits for may itself wait."""
        seen, at = {reader}, reader
        while True:
            waits = [(self.layout.main(n).position, n, name) for name, n in self.reads(at) if n not in seen]
            if not waits:
                return reason
            _, at, name = max(waits)
            seen.add(at)
            before = self.home(at)
            if at not in self.numbers and before is not None:
                (first, *_) = outputs_of(self.layout.program.equations[reader])
                return Reason("order", f"is read by {first}, which also needs {name} of {before}", at)


def _later(layout: Layout, moved: Set[int], number: int, reader: int) -> Reason:
    """Why what fusion has not parted is in two pieces."""
    path = layout.main(number).path
    (name, *_) = outputs_of(layout.program.equations[reader])
    if reader in moved:
        return Reason("again", f"is kept, and {name} is computed from it where that is read")
    if not path:
        return Reason("number", "is computed once, outside of loops")
    extent = extents.show(path[0].extent)
    how = "written out" if isinstance(path[0].extent, int) else "taken apart by a later pass"
    return Reason("unrolled", f"is read in the same loop over {extent}, which is {how}")


def _moved(stages: Stages, layout: Layout) -> set[int]:
    """The equations that run elsewhere, too, or instead, since they are computed again where they are read."""
    final = Layout(stages.optimised, stages.schedule)

    def places(found: Layout, number: int) -> set[tuple[int, ...]]:
        return {tuple(loop.id for loop in placed.path) for placed in found.places.get(number, ())}

    return {number for number in layout.places if places(layout, number) != places(final, number)}


# --- text ---------------------------------------------------------------------------------------------------


def show_fusion(stages: Stages, groups: Sequence[Group] | None = None) -> str:
    """The pieces one after the other: what each computes, and what parts it from those before it.

    Parameters
    ----------
    stages : Stages
        Of any derivation.
    groups : sequence of Group, optional
        What `fusion` found, where it is known already.
    """
    found = fusion(stages) if groups is None else groups
    at_work = [group for group in found if group.equations]
    equations, tensors = len(stages.optimised.equations), {n for g in found for n in g.tensors}
    stored = {name for group in found for name in group.stored}
    pieces = f"{len(at_work)} piece{'' if len(at_work) == 1 else 's'}"
    lines = [
        f"{stages.kernel.name}: {equations} equations in {pieces}; "
        f"of {len(tensors)} tensors, {len(stored)} are in memory"
    ]
    for group in at_work:
        lines += ["", *_shown(group)]
    return "\n".join(lines) + "\n"


def _shown(group: Group) -> Iterator[str]:
    yield f"{group.index}  {title(group)}"
    local = [name for name in group.tensors if name not in group.stored]
    read = [f"{apart.tensor} ({apart.before})" for apart in group.apart]
    for what, names in (
        ("reads of others: ", read),
        ("to memory: ", group.stored),
        ("in registers: ", local),
    ):
        if names:
            yield f"     {what}{_list(names, WIDEST - len(what))}"
    yield from (f"     not in {before}: {text}" for before, text in _reasons(group))


def title(group: Group) -> str:
    """What a piece is: ``loop in parts over n, 10: 12 equations``."""
    kind = KINDS.get(group.kind, f"the library's {group.kind}")
    inside = f" with {group.contractions} contractions" if group.contractions > 1 else ""
    inside = " with a contraction" if group.contractions == 1 else inside
    nests = "; ".join(", ".join(nest) for nest in group.loops)
    over = f" over {nests}" if nests else ""
    return f"{kind}{over}{inside}: {len(group.equations)} equation{'' if len(group.equations) == 1 else 's'}"


def _reasons(group: Group) -> Iterator[tuple[int, str]]:
    """Pieces and the reasons that part them from this one, each once; what follows from another one is left out."""
    alike: dict[tuple[int, str], list[str]] = {}
    for apart in sorted(group.apart, key=lambda apart: apart.before):
        if not _follows(apart, group):
            alike.setdefault((apart.before, apart.reason.text), []).append(apart.tensor)
    for (before, text), names in alike.items():
        yield before, _sentence(names, text)


def _follows(apart: Apart, group: Group) -> bool:
    """Whether other reasons say more: numbers pass between any pieces."""
    others = [
        other.reason.kind for other in group.apart if other is not apart and other.before == apart.before
    ]
    match apart.reason.kind:
        case "number":
            return any(other.reason.kind != "number" for other in group.apart)
        case "behind":
            return any(kind in _FIRST for kind in others)
        case "order":
            return apart.reason.text.endswith(f" of {apart.before}") and any(
                kind in _FIRST for kind in others
            )
        case _:
            return False


_PLURAL = {"is": "are", "comes": "come"}


def _sentence(names: Sequence[str], text: str) -> str:
    if len(names) == 1:
        return f"{names[0]} {text}"
    verb, _, rest = text.partition(" ")
    return f"{', '.join(names[:-1])} and {names[-1]} {_PLURAL[verb]} {rest}"


def _list(names: Sequence[str], room: int) -> str:
    text = ", ".join(names)
    return text if len(text) <= room else text[: room - 4].rpartition(",")[0] + ", ..."
