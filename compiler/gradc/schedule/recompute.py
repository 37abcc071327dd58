"""Recompute instead of keeping: cheap residuals are computed again where a later loop nest reads them.

A tensor that two loop nests need costs a store, a load for each reader and the memory.  Where a few additions
and products give it again from arrays that are there anyway, its equation runs once more inside the reader
and it becomes a local variable.  Values are bit-equal: it is the same equation on the same operands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from gradc.ir.index.nodes import Access, Accumulate, Affine, Assign, Program, accesses_of, reads_of
from gradc.ir.schedule import Leaf, Loop, Node, Schedule, Storage
from gradc.ir.types import DType

# A store and a load of one element take longer than this many vectorised additions or products; a function
# call or a division does not pay.
MOST_OPERATIONS = 6
CHEAP = frozenset(
    (
        *("copy", "neg", "add", "sub", "mul", "square", "abs", "select"),
        *("maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge"),
        *("logical_and", "logical_or", "logical_not"),
        "random_bits",  # dearer, but a random number need never be in memory
    )
)
INDEXING = frozenset(("add", "sub", "mul"))  # of integers: compilers take them out of loops
LOOPED = frozenset(("compute", "update", "add"))


@dataclass(frozen=True, slots=True)
class _Place:
    """A leaf with the loops around it, outermost first."""

    leaf: Leaf
    path: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What it takes to compute a tensor again: scalar operations, the arrays it starts from, and random numbers."""

    operations: int
    arrays: frozenset[str]
    is_drawn: bool = False


def recompute(program: Program, schedule: Schedule) -> Schedule:
    """Return the schedule in which cheap tensors are not kept from one loop nest to another.

    Requires: `schedule` computes `program`.  Ensures: equal results, bit for bit; fewer arrays; time linear in
    equations.

        for i: d[i] = x[i] - m; s += d[i]*d[i]          for i: d = x[i] - m; s += d*d
        for i: y[i] = d[i] * s                     ->   for i: d = x[i] - m; y[i] = d * s
    """
    chosen = _Choice(program, schedule).chosen()
    if not chosen:
        return schedule
    storage = {name: Storage("scalar") if name in chosen else kept for name, kept in schedule.storage.items()}
    body = _Rebuilding(program, storage).nodes(schedule.body)
    return Schedule(_without_dead(program, storage, tuple(body), set(program.outputs)), storage)


class _Choice:
    """Decides which tensors to compute again."""

    def __init__(self, program: Program, schedule: Schedule) -> None:
        self.program = program
        self.storage = schedule.storage
        self.readers: dict[str, list[tuple[_Place, Access | None]]] = {}
        self.read_in: dict[tuple[int, ...], set[str]] = {}  # arrays read in a loop, by its path
        self.recipes: dict[str, _Recipe | None] = {}
        self.defining: dict[str, Assign] = {}
        for place in _places(schedule.body, ()):
            self._note(place)

    def _note(self, place: _Place) -> None:
        equation = self.program.equations[place.leaf.equation]
        if place.leaf.role not in LOOPED or not isinstance(equation, Assign | Accumulate):
            for name in _names_read(self.program, place.leaf):
                self.readers.setdefault(name, []).append((place, None))
            return
        if isinstance(equation, Assign) and equation.reduce is None:
            self.defining[equation.out] = equation
        bare = set()
        for access in accesses_of(equation):
            self.readers.setdefault(access.tensor, []).append((place, access))
            self.read_in.setdefault(place.path, set()).add(access.tensor)
            bare.add(access.tensor)
        for name in _names_read(self.program, place.leaf) - bare:  # look-up tables
            self.readers.setdefault(name, []).append((place, None))

    def chosen(self) -> set[str]:
        found: set[str] = set()
        outputs = set(self.program.outputs)
        for name in self.storage:
            if self._is_kept(name) and name not in outputs:
                recipe = self._composed(name)
                if recipe is not None and self._pays(name, recipe):
                    self.recipes[name] = recipe
                    found.add(name)
        return found

    def _is_kept(self, name: str) -> bool:
        storage = self.storage[name]
        rank = len(self.program.types[name].shape)
        return bool(rank) and storage.kind == "array" and len(storage.axes) == rank and not storage.zeroed

    def _pays(self, name: str, recipe: _Recipe) -> bool:
        """Whether every reader can compute the tensor itself, from at most one array that it does not read yet.

        What follows from the indices alone, like a mask, is computed as often as it is read: that saves the loads.
        A random number is drawn once by each reader, not in loops round it as well.
        """
        often = not recipe.arrays and not recipe.is_drawn
        for place, access in self.readers.get(name, []):
            if access is None or not _covers(place, access, often=often):
                return False
            if len(recipe.arrays - self.read_in.get(place.path, set())) > 1:
                return False
        return True

    def recipe(self, name: str) -> _Recipe | None:
        """How to compute a tensor from arrays and scalars that exist when its readers run; None if it can't be."""
        if name not in self.storage:  # an input
            return _Recipe(0, frozenset((name,) if self.program.types[name].shape else ()))
        if name in self.recipes:
            return self.recipes[name]
        if not self.program.types[name].shape:
            return _Recipe(0, frozenset())
        if self.storage[name].kind == "array":
            whole = self._is_kept(name) or self.storage[name].zeroed
            return _Recipe(0, frozenset((name,))) if whole else None
        self.recipes[name] = self._composed(name)
        return self.recipes[name]

    def _composed(self, name: str) -> _Recipe | None:
        equation = self.defining.get(name)
        functions = [step.function for step in equation.template.tape.instructions] if equation else []
        if equation is None or not CHEAP.issuperset(functions):
            return None
        parts: list[_Recipe] = []
        for access in accesses_of(equation):
            part = self._read(access)
            if part is None:
                return None
            parts.append(part)
        integral = self.program.types[name].dtype is DType.INT64
        operations = sum(not (integral and function in INDEXING) for function in functions)
        operations += sum(part.operations for part in parts)
        arrays = frozenset(array for part in parts for array in part.arrays)
        drawn = "random_bits" in functions or any(part.is_drawn for part in parts)
        return _Recipe(operations, arrays, drawn) if operations <= MOST_OPERATIONS else None

    def _read(self, access: Access) -> _Recipe | None:
        """How to get an operand: an element at a fixed place of an array, such as a key, is there like a scalar."""
        if all(isinstance(index, int) for index in access.indices):
            return self.recipe(access.tensor)
        fixed = all(isinstance(index, Affine) and not index.terms for index in access.indices)
        there = access.tensor not in self.storage or self._is_kept(access.tensor)
        return _Recipe(0, frozenset()) if fixed and there else None


class _Rebuilding:
    """Makes the new tree: equations that are computed again stand before their first reader in a loop."""

    def __init__(self, program: Program, storage: Mapping[str, Storage]) -> None:
        self.program = program
        self.storage = storage
        self.number = {
            equation.out: number
            for number, equation in enumerate(program.equations)
            if isinstance(equation, Assign) and equation.reduce is None
        }

    def nodes(self, nodes: Sequence[Node], outside: Set[str] = frozenset()) -> Iterator[Node]:
        """The nodes of a block, in which the tensors in `outside` are known already."""
        here = set(outside)
        for node in nodes:
            if isinstance(node, Loop):
                yield Loop(node.id, node.extent, tuple(self.nodes(node.body, here)))
                continue
            equation = self.program.equations[node.equation]
            if node.role in LOOPED and isinstance(equation, Assign | Accumulate):
                yield from self._before(node, equation, here)
                if node.role == "compute":
                    here.add(equation.out)
            yield node

    def _before(self, leaf: Leaf, equation: Assign | Accumulate, here: set[str]) -> Iterator[Leaf]:
        """The leaves that give `equation` its operands in a block that has computed `here` so far."""
        for access in accesses_of(equation):
            name = access.tensor
            if name in here or not self._is_local(name):
                continue
            loops = tuple(leaf.loops[index] if isinstance(index, int) else 0 for index in access.indices)
            number = self.number[name]
            again = self.program.equations[number]
            assert isinstance(again, Assign)
            inner = Leaf(number, "compute", loops)
            yield from self._before(inner, again, here)
            here.add(name)
            yield inner

    def _is_local(self, name: str) -> bool:
        storage = self.storage.get(name)
        return (
            storage is not None
            and storage.kind == "scalar"
            and bool(self.program.types[name].shape)
            and name in self.number
        )


def _without_dead(
    program: Program, storage: Mapping[str, Storage], nodes: Sequence[Node], live: set[str]
) -> tuple[Node, ...]:
    """Drop what computes a local variable that nothing after it reads; `live` is updated to what is read."""
    kept: list[Node] = []
    for node in reversed(nodes):
        if isinstance(node, Loop):
            body = _without_dead(program, storage, node.body, live)
            if body:
                kept.append(Loop(node.id, node.extent, body))
            continue
        out = program.equations[node.equation]
        if (
            node.role == "compute"
            and isinstance(out, Assign)
            and storage[out.out].kind == "scalar"
            and out.rank
        ):
            if out.out not in live:
                continue
            live.discard(out.out)
        live |= _names_read(program, node)
        kept.append(node)
    return tuple(reversed(kept))


def _places(nodes: Sequence[Node], path: tuple[int, ...]) -> Iterator[_Place]:
    for node in nodes:  # as deep as a tensor's rank
        if isinstance(node, Leaf):
            yield _Place(node, path)
        else:
            yield from _places(node.body, (*path, node.id))


def _names_read(program: Program, leaf: Leaf) -> set[str]:
    if leaf.role in ("start", "finish"):
        return set()
    return set(reads_of(program.equations[leaf.equation]))


def _covers(place: _Place, access: Access, *, often: bool) -> bool:
    """Whether a read runs over the axes of the tensor with loops around it: with all of them, unless `often`."""
    if not all(isinstance(index, int) for index in access.indices):
        return False
    loops = [place.leaf.loops[index] for index in access.indices if isinstance(index, int)]
    used = [loop for loop in loops if loop]
    if len(set(used)) < len(used):
        return False
    return set(used) <= set(place.path) if often else set(used) == set(place.path)
