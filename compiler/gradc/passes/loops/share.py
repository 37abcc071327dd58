"""Share loops out over threads: outermost loops whose iterations are independent become tasks.

    for i < n:                              s_parts = array of one sum per part
        s = sum(s, f(x[i]))        ->       tasks rows_1, part < parts of n:
                                                s_part = 0
                                                for i in this part: s_part = sum(s_part, f(x[i]))
                                                s_parts[part] = s_part
                                            for part < parts: s = sum(s, s_parts[part])

What an iteration writes is its own: an element at its own index, a local number, an array that is a local one
in all but name (each part has its own copy), or a sum (each part sums by itself; the parts are added in order).
Sums that slide along with the loop are carried from iteration to iteration (`gradc.passes.loops.slide`); what is left
behind the last iteration of a part is added to the first elements of the next one.
The number of parts follows from the extents, so the bits of a result do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Apply,
    Clear,
    Contract,
    Expr,
    For,
    From,
    Kernel,
    Let,
    Load,
    Number,
    Parts,
    Statement,
    Store,
    Tasks,
    Update,
    Var,
    View,
)
from gradc.ir.loop.rewrite import rebuilt, with_values
from gradc.ir.loop.strip import Strip, strip_of
from gradc.ir.loop.walk import every, expressions, names_in, subexpressions, touched
from gradc.ir.names import INDEX_NAMES, NameSupply
from gradc.passes.loops.slide import Carried, slide_of
from gradc.passes.loops.work import product, total, work_of

_RAISING = frozenset(("pow",))  # of integers: a task has nobody to tell


@dataclass(slots=True)
class _Nest:
    """What the body of a loop does to names outside it."""

    index: str
    extent: Expr
    sums: dict[str, str] = field(default_factory=dict)  # local numbers that are added to: their operation
    stored: dict[str, list[Statement]] = field(default_factory=dict)
    places: dict[str, list[tuple[Expr, ...]]] = field(default_factory=dict)  # of every access to an array
    loaded: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    local: set[str] = field(default_factory=set)
    loops: set[str] = field(default_factory=set)  # their indices
    first_stored: set[str] = field(default_factory=set)  # arrays that an iteration writes before it reads
    cleared: set[str] = field(default_factory=set)  # arrays that an iteration clears before it touches them
    contracts: bool = False
    plain: bool = True  # nothing in it but loops, numbers and elements

    def varies(self, places: Sequence[tuple[Expr, ...]]) -> bool:
        """Whether the loop's own index stands in one of the places: then iterations may share elements."""
        here = nodes.var(self.index)
        return any(here in subexpressions(index) for place in places for index in place)


def share_out(kernel: Kernel) -> Kernel:
    """Turn the outermost loops that can run in parts into tasks.

    Requires: `kernel` is valid.  Ensures: the same values, with the sums of such loops in another order.
    """
    if not any(isinstance(statement, For) for statement in kernel.body):
        return kernel
    return _Sharing(kernel).kernel()


class _Sharing:
    def __init__(self, kernel: Kernel) -> None:
        self.before = kernel
        used = names_in(kernel.body)
        loops = {statement.index for statement in every(kernel.body) if isinstance(statement, For)}
        self.names = NameSupply((*used, *(p.name for p in kernel.parameters), *kernel.results, kernel.name))
        self.letters = [name for name in INDEX_NAMES if name in loops or name not in used]
        self.part, self.first, self.many, self.step = map(self.names.fresh, ("part", "first", "many", "step"))
        self.allocated = {s.tensor: s for s in kernel.body if isinstance(s, Allocate)}
        self.started = {s.name: s for s in kernel.body if isinstance(s, Let) and isinstance(s.value, Number)}
        self.users = _users(kernel.body)
        self.dropped: set[str] = set()  # arrays that exist as one copy per part only
        self.filled: set[str] = set()  # arrays whose every element is written where they needed zeros before
        self.count = 0

    def kernel(self) -> Kernel:
        body: list[Statement] = []
        for at, statement in enumerate(self.before.body):
            shared = self._shared(at, statement) if isinstance(statement, For) else None
            body += [statement] if shared is None else shared
        kept = (s for s in body if not (isinstance(s, Allocate) and s.tensor in self.dropped))
        filled = (
            replace(s, zeroed=False) if isinstance(s, Allocate) and s.tensor in self.filled else s
            for s in kept
        )
        return replace(self.before, body=tuple(filled))

    def _shared(self, at: int, loop: For) -> list[Statement] | None:
        """Return the statements that take a loop's place; None where it must stay as it is."""
        if isinstance(loop.extent, Number) and int(loop.extent.value) < 2:
            return None
        blocks = strip_of(loop)
        nest = _Nest(loop.index if blocks is None else _row(loop, blocks), loop.extent)
        for statement in loop.body:
            _look(nest, statement)
        kinds = self._kinds(at, loop, nest)
        if kinds is None or (blocks and "slide" in kinds.values()):
            return None
        self.count += 1
        started = [name for name in kinds if blocks is None and self._starts(at, loop, nest, name)]
        self.filled.update(started)
        return self._tasks(loop, nest, kinds, blocks, started)

    def _starts(self, at: int, loop: For, nest: _Nest, tensor: str) -> bool:
        """Whether nobody needs the zeros of an array before this loop, which goes through all of its rows."""
        array, here = self.allocated.get(tensor), nodes.var(loop.index)
        if array is None or not array.zeroed or min(self.users[tensor]) != at or not array.shape:
            return False
        return array.shape[0] is loop.extent and all(place[0] is here for place in nest.places[tensor])

    def _kinds(self, at: int, loop: For, nest: _Nest) -> dict[str, str] | None:
        """Return what each array that the loop writes is: its own, scratch, a slide or a sum; None if unknown."""
        outside = {name for name in nest.sums if name not in nest.local}
        if not nest.plain or any(name in nest.read for name in outside):
            return None
        if not all(self._starts_neutral(name, nest.sums[name]) for name in outside):
            return None
        kinds: dict[str, str] = {}
        for tensor, statements in nest.stored.items():
            kind = self._kind(at, loop, nest, tensor, statements)
            if kind is None:
                return None
            kinds[tensor] = kind
        return kinds

    def _starts_neutral(self, name: str, op: str) -> bool:
        """Whether every part may start where the sum does."""
        start = self.started.get(name)
        return start is not None and start.value is nodes.neutral(op, start.value.dtype)

    def _kind(
        self, at: int, loop: For, nest: _Nest, tensor: str, statements: Sequence[Statement]
    ) -> str | None:
        places = nest.places[tensor]
        allocated, used_here = self.allocated.get(tensor), self.users[tensor] == {at}
        if any(isinstance(statement, Clear) for statement in statements):
            return "scratch" if tensor in nest.cleared and used_here and not nest.varies(places) else None
        for axis, index in enumerate(places[0]):
            if _is_shifted(index, nest) and all(place[axis] is index for place in places):
                return "own"
        if allocated is None:
            return None
        if allocated.zeroed and min(self.users[tensor]) == at and slide_of(loop, tensor):
            return "slide"
        adds = [s for s in statements if isinstance(s, AddTo) or (isinstance(s, Contract) and s.add)]
        if not adds and used_here and tensor not in self.before.results:
            return "scratch" if tensor in nest.first_stored and not nest.varies(places) else None
        only_sums = len(adds) == len(statements) and all(getattr(s, "op", "sum") == "sum" for s in adds)
        if self._grows_with(allocated, nest.extent):
            return None  # clearing and adding up a copy for each part would cost as much as the loop
        return "sum" if only_sums and tensor not in nest.loaded and allocated.zeroed else None

    @staticmethod
    def _grows_with(array: Allocate, extent: Expr) -> bool:
        longer = {found for size in array.shape for found in subexpressions(size) if isinstance(found, Var)}
        return any(found in longer for found in subexpressions(extent))

    # --- the statements ---------------------------------------------------------------------------------

    def _tasks(
        self,
        loop: For,
        nest: _Nest,
        kinds: Mapping[str, str],
        blocks: Strip | None,
        started: Sequence[str],
    ) -> list[Statement]:
        name, count = self.names.fresh(f"loop_{self.count}"), self.names.fresh("parts")
        extent = loop.extent if blocks is None else blocks.many
        parts, here = nodes.var(count), nodes.var(self.part)
        outside = [name for name in nest.sums if name not in nest.local]
        # Contractions work on much memory, which every part takes when it runs: it is still in a cache then.
        taken = [tensor for tensor, kind in kinds.items() if kind == "scratch" and nest.contracts]
        copies = {
            tensor: self.names.fresh(f"{tensor}_parts")
            for tensor, kind in kinds.items()
            if kind in ("scratch", "sum") and tensor not in taken
        }
        slides = self._slides(loop, [tensor for tensor, kind in kinds.items() if kind == "slide"])
        partial = {name: self.names.fresh(f"{name}_part") for name in outside}
        stored = {name: self.names.fresh(f"{name}_parts") for name in outside}
        summed = [tensor for tensor in copies if kinds[tensor] == "sum"]
        self.dropped.update(tensor for tensor, kind in kinds.items() if kind == "scratch")
        work = work_of(loop)
        whole = nodes.apply("mul", loop.extent, work)
        size = total(self._elements(tensor) for tensor in copies)
        made: list[Statement] = [Parts(count, loop.extent, work, size)]
        for tensor, copy in copies.items():
            old = self.allocated[tensor]
            made.append(Allocate(copy, old.dtype, (parts, *old.shape)))  # each part clears its own
        for name_ in outside:
            made.append(Allocate(stored[name_], self.started[name_].value.dtype, (parts,)))
        rewrite = _Rewriting(copies, partial, here)
        inside: list[Statement] = [rewrite.statement(statement) for statement in loop.body]
        first, many = nodes.var(self.first), nodes.var(self.many)
        body: list[Statement] = [self.allocated[tensor] for tensor in taken]
        body += [Clear(tensor, first, many) for tensor in started]
        body += [
            Clear(copy, here, nodes.number(1))
            for tensor, copy in copies.items()
            if self.allocated[tensor].zeroed
        ]
        body += [Let(partial[n], self.started[n].value) for n in outside]
        for carried in slides:
            made += carried.before(loop.extent, parts)
            inside = list(carried.body(inside, nodes.var(loop.index)))
            body += carried.starts()
        index = Let(loop.index, nodes.apply("add", first, nodes.var(self.step)))
        shared = For(self.step, many, (index, *inside))
        body.append(shared if blocks is None else _blocks_of_part(loop, blocks, first, many, inside[2:]))
        for name_ in outside:
            value = nodes.var(partial[name_], self.started[name_].value.dtype)
            body.append(Store(stored[name_], (here,), value))
        for carried in slides:
            body += carried.rest(here, nodes.apply("add", first, many))
        made.append(Tasks(name, self.part, parts, whole, extent, self.first, self.many, tuple(body)))
        updates: list[Statement] = [
            Update(name, nest.sums[name], nodes.load(stored[name], (here,), self.started[name].value.dtype))
            for name in outside
        ]
        updates += [statement for carried in slides for statement in carried.after(here)]
        made += [For(self.part, parts, tuple(updates))] if updates else []
        return [*made, *(For(self.part, parts, (self._added(tensor, copies[tensor]),)) for tensor in summed)]

    def _slides(self, loop: For, tensors: Sequence[str]) -> list[Carried]:
        """The vectors that slide along with a loop; those whose every element it writes need no zeros before."""
        found = [slide for tensor in tensors if (slide := slide_of(loop, tensor)) is not None]
        self.filled.update(s.tensor for s in found if s.fills(self.allocated[s.tensor].shape, loop.extent))
        return [Carried(slide, self.names) for slide in found]

    def _added(self, tensor: str, copy: str) -> Statement:
        """Add the copy that a part has summed into."""
        old = self.allocated[tensor]
        at = tuple(nodes.var(letter) for letter in self.letters[: len(old.shape)])
        value = nodes.load(copy, (nodes.var(self.part), *at), old.dtype)
        inner: Statement = AddTo(tensor, at, "sum", value)
        for index, extent in zip(reversed(at), reversed(old.shape), strict=True):
            inner = For(index.name, extent, (inner,))
        return inner

    def _elements(self, tensor: str) -> Expr:
        return product(self.allocated[tensor].shape)


# --- looking ------------------------------------------------------------------------------------------------


def _look(nest: _Nest, statement: Statement) -> None:
    """Note what a statement of the body does; loops nest as deep as tensors have axes, so recursion is safe."""
    match statement:
        case Let(name, value):
            _read(nest, value)
            nest.local.add(name)
        case Update(name, op, value):
            _read(nest, value)
            nest.sums.setdefault(name, op)
            nest.plain &= nest.sums[name] == op
        case Store(tensor, indices, value) | AddTo(tensor, indices, _, value):
            for expression in (*indices, value):
                _read(nest, expression)
            if tensor not in nest.places:
                nest.first_stored.add(tensor)
            nest.stored.setdefault(tensor, []).append(statement)
            nest.places.setdefault(tensor, []).append(indices)
        case Contract() | Clear():
            _whole(nest, statement)
        case For(_, extent, body):
            _read(nest, extent)
            nest.loops.add(statement.index)
            for inner in body:
                _look(nest, inner)
        case _:
            nest.plain = False


def _whole(nest: _Nest, statement: Contract | Clear) -> None:
    """Note the arrays of a contraction, and at which indices it touches them; it goes all along other axes."""
    if isinstance(statement, Clear):
        if not nest.places.setdefault(statement.tensor, []):
            nest.cleared.add(statement.tensor)
        nest.stored.setdefault(statement.tensor, []).append(statement)
        return
    nest.contracts = True
    for expression in expressions(statement):
        _read(nest, expression)
    names = (statement.out, statement.left, statement.right)
    texts = (statement.target, statement.first, statement.second)
    if statement.out not in nest.places and not statement.add:
        nest.first_stored.add(statement.out)
    for name, view, text in zip(names, statement.views, texts, strict=True):
        here = (nodes.var(nest.index) if isinstance(at, From) else at for at in view)
        nest.places.setdefault(name, []).append((*here, *(nodes.var(":") for _ in text.split())))
    nest.loaded.update(names[1:])
    nest.stored.setdefault(statement.out, []).append(statement)


def _row(loop: For, blocks: Strip) -> str:
    """What the loops over the rows of a block call their index."""
    for inner in every(loop.body):
        if isinstance(inner, For) and isinstance(inner.extent, Var) and inner.extent.name == blocks.width:
            (here, *_) = inner.body
            assert isinstance(here, Let)
            return here.name
    return loop.index


def _is_shifted(index: Expr, nest: _Nest) -> bool:
    """Whether an index is that of the loop, or differs from it by what no iteration changes."""
    here = nodes.var(nest.index)
    if not isinstance(index, Apply) or index.function not in ("add", "sub"):
        return index is here
    others = [argument for argument in index.arguments if argument is not here]
    inside = {nest.index, *nest.local, *nest.loops}
    fixed = all(
        isinstance(found, Number) or (isinstance(found, Var) and found.name not in inside)
        for other in others
        for found in subexpressions(other)
        if not isinstance(found, Apply)
    )
    return len(others) == 1 and fixed


def _read(nest: _Nest, expression: Expr) -> None:
    for found in subexpressions(expression):
        if isinstance(found, Var):
            nest.read.add(found.name)
        elif isinstance(found, Load) and not found.tensor.endswith(".shape"):
            nest.loaded.add(found.tensor)
            nest.places.setdefault(found.tensor, []).append(found.indices)
        elif isinstance(found, Apply) and found.function in _RAISING and not found.dtype.is_float:
            nest.plain = False


def _users(body: Sequence[Statement]) -> dict[str, set[int]]:
    """For every array the top-level statements that touch it, other than by allocating it."""
    found: dict[str, set[int]] = {}
    for at, statement in enumerate(body):
        if isinstance(statement, Allocate):
            continue
        for inner in every((statement,)):
            for name in touched(inner):
                found.setdefault(name, set()).add(at)
    return found


def _blocks_of_part(
    loop: For, blocks: Strip, first: Expr, many: Expr, inside: Sequence[Statement]
) -> Statement:
    """The loop over blocks of rows for the rows of one part."""
    behind = nodes.apply("mul", nodes.var(loop.index), blocks.lanes)
    start = Let(blocks.start, nodes.apply("add", first, behind))
    rows = nodes.apply("minimum", blocks.lanes, nodes.apply("sub", many, behind))
    up = nodes.apply("add", many, nodes.apply("sub", blocks.lanes, nodes.number(1)))
    count = nodes.apply("floor_divide", up, blocks.lanes)
    return For(loop.index, count, (start, Let(blocks.width, rows), *inside))


# --- rewriting ----------------------------------------------------------------------------------------------


class _Rewriting:
    """Arrays become their copy of a part, sums their partial sums."""

    def __init__(self, copies: Mapping[str, str], partial: Mapping[str, str], part: Expr) -> None:
        self.copies = copies
        self.partial = partial
        self.part = part

    def statement(self, statement: Statement) -> Statement:
        match statement:
            case Update(name, op, value, note):
                return Update(self.partial.get(name, name), op, self.value(value), note)
            case Store(tensor, indices, value, note):
                return Store(*self.place(tensor, indices), self.value(value), note)
            case AddTo(tensor, indices, op, value, note):
                return AddTo(*self.place(tensor, indices), op, self.value(value), note)
            case Contract():
                names = (statement.out, statement.left, statement.right)
                (out, at), (left, first), (right, second) = map(self.view, names, statement.views)
                return replace(statement, out=out, left=left, right=right, views=(at, first, second))
            case For(index, extent, body):
                return For(index, self.value(extent), tuple(self.statement(inner) for inner in body))
            case _:
                return with_values(statement, self.value)

    def place(self, tensor: str, indices: Sequence[Expr]) -> tuple[str, tuple[Expr, ...]]:
        found = tuple(self.value(index) for index in indices)
        copy = self.copies.get(tensor)
        return (tensor, found) if copy is None else (copy, (self.part, *found))

    def view(self, tensor: str, view: View) -> tuple[str, View]:
        copy = self.copies.get(tensor)
        return (tensor, view) if copy is None else (copy, (self.part, *view))

    def value(self, expression: Expr) -> Expr:
        match expression:
            case Load(tensor, indices, dtype):
                return nodes.load(*self.place(tensor, indices), dtype)
            case _:
                return rebuilt(expression, self.value)
