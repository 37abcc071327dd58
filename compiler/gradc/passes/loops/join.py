"""Contractions in one loop with what stands around them.

    contract s[i j k] = q[i j p] * r[i k p]          for i < n:
    for i < n:                                           contract s[j k] = q[i][j p] * r[i][k p]
        for j < m: e[i, j] = f(s[i, j])        ->        for j < m: e[j] = f(s[j])
    contract y[i j k] = e[i j p] * v[i p k]              contract y[i][j k] = e[j p] * v[i][p k]

Attention is the example: a matrix product for every sequence and head, loops over its result, and another one.  What
passes between them exists for one element of the batch at a time and stays in a cache; elements of the batch are
shared out to threads, each of which does all that there is to do for its own.  Of an element, blocks of rows follow one
another, so high that what they keep stays in a cache: a matrix of scores never exists as a whole.  Without a batch
there are such blocks where an array grows with the square of its rows, and blocks of images in networks that convolve
them; they are shared out to threads themselves.

Statements join a loop where nothing passes from one iteration to another: all that touches an array which one of them
writes does so at the loop's index.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    CheckIndices,
    Clear,
    Contract,
    Expr,
    Extent,
    For,
    Kernel,
    Let,
    Library,
    Number,
    Product,
    Require,
    Statement,
    Store,
    Update,
    Var,
)
from gradc.ir.loop.strip import BLOCK_ROWS
from gradc.ir.loop.walk import every, names_in, touched
from gradc.ir.names import INDEX_NAMES, NameSupply
from gradc.passes.loops.effects import Effects, effects
from gradc.passes.loops.joint_loops import (
    Batch,
    Joint,
    Rows,
    batch_of,
    images_of,
    keeping,
    letters_of,
    row_of,
)
from gradc.passes.loops.work import product, total

# What a block of rows keeps at most, where it has enough rows: it should stay in a cache.
BLOCK_BYTES = 1 << 19
REACH = 64  # statements behind the last one that joined a loop, among which the next one may be

_MOVABLE = (
    Allocate
    | CheckIndices
    | Clear
    | Contract
    | Extent
    | For
    | Let
    | Library
    | Product
    | Update
    | Store
    | AddTo
)


def join_contractions(kernel: Kernel) -> Kernel:
    """Put contractions into loops together with the loops around them.

    Requires: `kernel` is valid.  Ensures: the same values, sums over rows block by block; fewer and smaller arrays.
    """
    if not any(isinstance(statement, Contract) for statement in kernel.body):
        return kernel
    return _Joining(kernel).kernel()


@dataclass(slots=True)
class _Group:
    """Statements that share a loop, what goes before it, and what stays behind it."""

    joint: Joint
    around: tuple[Expr, ...]
    members: list[Statement] = field(default_factory=list)
    done: Effects = field(default_factory=Effects)
    lets: dict[str, Let] = field(default_factory=dict)
    # How many of the statements that joined touch a name.
    touching: Counter[str] = field(default_factory=Counter)
    before: list[Statement] = field(default_factory=list)
    after: list[Statement] = field(default_factory=list)
    left: Effects = field(default_factory=Effects)  # what `after` does
    since: int = 0  # statements since the last one that joined

    def take(self, statement: Statement, apart: Effects) -> None:
        """Place the next statement, which does this: in the loop, or else before it, or else behind it."""
        free = not apart.common(self.left)
        body = self.joint.iteration(statement) if free else None
        found = effects(body or (), self.joint.index, self.around)
        self.since += 1
        if body is not None and self.fits(body, found):
            self.members += [inner for inner in body if not self.repeats(inner)]
            self.lets.update((inner.name, inner) for inner in body if isinstance(inner, Let))
            self.done.add(found)
            self.touching.update(_names((statement,)))
            self.since = 0
        elif free and not apart.common(self.done):
            self.before.append(statement)
        else:
            self.after.append(statement)
            self.left.add(apart)

    def fits(self, body: Sequence[Statement], found: Effects) -> bool:
        """Whether an iteration may run right behind the same iteration of what is there."""
        repeated = {inner.name for inner in body if isinstance(inner, Let) and self.repeats(inner)}
        return found.in_step(self.done, found.common(self.done) - repeated)

    def repeats(self, statement: Statement) -> bool:
        """Whether a number is there already: a name stands for one equation, whose value never changes."""
        return isinstance(statement, Let) and self.lets.get(statement.name) == statement


@dataclass(slots=True)
class _Block:
    """Statements that follow one another, inside loops with the indices `around`.

    `users` counts the statements that touch a name; what is in `outside` others touch, too.
    """

    statements: Sequence[Statement]
    outside: set[str]
    around: tuple[Expr, ...]
    users: Counter[str] = field(init=False)
    batches: set[Expr | None] = field(init=False)
    images: set[Expr | None] = field(init=False)

    def __post_init__(self) -> None:
        self.users = Counter(name for statement in self.statements for name in _names((statement,)))
        contracts = [s for s in self.statements if isinstance(s, Contract)]
        self.batches = {batch_of(s) for s in contracts} - {None}
        whole = not self.around and not self.batches
        self.images = {images_of(s) for s in contracts} - {None} if whole else set()

    def is_own(self, name: str, group: _Group) -> bool:
        """Whether nothing but a group touches a name."""
        return name not in self.outside and self.users[name] == group.touching[name]


class _Joining:
    def __init__(self, kernel: Kernel) -> None:
        self.before = kernel
        self.allocated = {s.tensor: s for s in kernel.body if isinstance(s, Allocate)}
        self.sizes: list[Statement] = []  # heights and numbers of blocks
        self.known: dict[int, tuple[Statement, Effects]] = {}
        loops = {statement.index for statement in every(kernel.body) if isinstance(statement, For)}
        used = names_in(kernel.body)
        self.letters = [name for name in INDEX_NAMES if name in loops or name not in used]
        self.names = NameSupply(
            (*used, *loops, *(p.name for p in kernel.parameters), *kernel.results, kernel.name)
        )

    def kernel(self) -> Kernel:
        body = self.block(_Block(self.before.body, set(self.before.results), ()))
        made = [self.allocated[s.tensor] if isinstance(s, Allocate) else s for s in body]
        entry = next((at for at, s in enumerate(made) if not isinstance(s, Extent | Require)), len(made))
        return replace(self.before, body=(*made[:entry], *self.sizes, *made[entry:]))

    def block(self, block: _Block) -> list[Statement]:
        """The statements of a block, with what can be joined in loops."""
        made: list[Statement] = []
        rest = list(block.statements)
        at = 0
        while at < len(rest):
            found = self.opened(block, rest, at)
            if found is None:
                at += 1
                continue
            group, loop = found
            made += [*rest[:at], *group.before, loop]
            rest, at = group.after, 0
        return [*made, *rest]

    def opened(self, block: _Block, rest: Sequence[Statement], at: int) -> tuple[_Group, For] | None:
        """The loop that a statement makes with those behind it, and what does not join it."""
        for joint in self.joints(block, rest, at):
            group = self.group(joint, rest[at:], block.around)
            members = self.joined(group, block)
            if members is not None:
                if isinstance(joint, Batch):
                    others = {name for name in block.users if not block.is_own(name, group)}
                    inside = _Block(members, block.outside | others, (*block.around, joint.index))
                    members = self.block(inside)
                return group, joint.loop(members)
        return None

    def group(self, joint: Joint, statements: Sequence[Statement], around: tuple[Expr, ...]) -> _Group:
        """Place statements, as far as some of them join the loop."""
        group = _Group(joint, around)
        for at, statement in enumerate(statements):
            if not isinstance(statement, _MOVABLE) or group.since > REACH:
                group.after += statements[at:]
                break
            group.take(statement, self.apart(statement))
        return group

    def apart(self, statement: Statement) -> Effects:
        """What a statement does by itself."""
        if id(statement) not in self.known:
            self.known[id(statement)] = statement, effects((statement,))
        return self.known[id(statement)][1]

    def joints(self, block: _Block, rest: Sequence[Statement], at: int) -> Iterator[Joint]:
        """The loops that a statement may open."""
        statement = rest[at]
        extent = statement.extent if isinstance(statement, For) else None
        batch = batch_of(statement) if isinstance(statement, Contract) else extent
        if batch is not None and batch in block.batches:
            yield Batch(batch, self.index(rest[at:], batch, block.around))
        image = images_of(statement) if isinstance(statement, Contract) else extent
        if image is not None and image in block.images:
            yield from self.rows(rest[at:], image, block.around, 1)
        if isinstance(statement, Contract) and not block.batches:
            for letter, size in zip(letters_of(statement), statement.extents, strict=True):
                leads = row_of(statement, size) == letter and letter in statement.target
                if leads and not _is_low(size) and (block.around or any(map(self.is_square, self.allocated))):
                    yield from self.rows(rest[at:], size, block.around, BLOCK_ROWS)

    def index(self, statements: Sequence[Statement], extent: Expr, around: tuple[Expr, ...]) -> Var:
        """What the loops over an extent call their index."""
        loops = (s.index for s in statements[:REACH] if isinstance(s, For) and s.extent is extent)
        free = (name for name in self.letters if nodes.var(name) not in around)
        return nodes.var(next(loops, next(free)))

    def rows(
        self, statements: Sequence[Statement], extent: Expr, around: tuple[Expr, ...], lowest: int
    ) -> Iterator[Rows]:
        """Blocks of rows; the names are free again if they are not wanted."""
        names = [self.names.fresh(hint) for hint in ("block", "start", "rows", "row", "height", "blocks")]
        block, start, rows, row, height, blocks = map(nodes.var, names)
        index = self.index(statements, extent, around)
        # Blocks of an outermost loop are shared out: each part has sums of its own, which are added up.
        yield Rows(extent, index, block, start, rows, row, height, blocks, not around, lowest)
        for name in names:
            self.names.release(name)

    # --- what a loop keeps --------------------------------------------------------------------------------

    def joined(self, group: _Group, block: _Block) -> list[Statement] | None:
        """The members, with the arrays that only they touch kept for one iteration; None if that gains nothing."""
        own = {name for name in group.done.axes if self.is_own(name, group, block)}
        between = {n for s in group.members if isinstance(s, Contract) for n in (s.out, s.left, s.right)}
        joint = group.joint
        if not own & between:
            return None
        if isinstance(joint, Rows):
            summed = {s.out for s in group.members if isinstance(s, Contract) and s.add}
            if joint.adds and joint.lowest > 1 and not any(map(self.is_square, own)):
                return None
            self.sizes += self.heights(joint, own)
            for name in summed if joint.adds else ():
                self.allocated[name] = replace(self.allocated[name], zeroed=True)
        cleared = [Clear(name) for name in sorted(own) if self.allocated[name].zeroed]
        for name in own:
            old = self.allocated[name]
            self.allocated[name] = replace(old, shape=joint.shape(old.shape), zeroed=False)
        return [*cleared, *(keeping(member, own, joint) for member in group.members)]

    def is_own(self, name: str, group: _Group, block: _Block) -> bool:
        """Whether an array may exist for one iteration at a time."""
        array = self.allocated.get(name)
        leads = array is not None and len(array.shape) > 1 and group.done.axes[name] == 0
        return leads and block.is_own(name, group)

    def is_square(self, name: str) -> bool:
        """Whether an array grows with the square of its rows."""
        first, *others = self.allocated[name].shape
        return first in others

    def heights(self, joint: Rows, own: set[str]) -> list[Statement]:
        """How many rows a block has, and how many blocks there are."""
        rows = (
            nodes.apply(
                "mul",
                nodes.number(self.allocated[name].dtype.numpy.itemsize),
                product(self.allocated[name].shape[1:]),
            )
            for name in sorted(own)
        )
        kept = nodes.apply("maximum", total(rows), nodes.number(1))
        fitting = nodes.apply("floor_divide", nodes.number(BLOCK_BYTES), kept)
        wanted = nodes.apply("maximum", fitting, nodes.number(joint.lowest))
        height = nodes.apply("maximum", nodes.apply("minimum", wanted, joint.extent), nodes.number(1))
        up = nodes.apply("add", joint.extent, nodes.apply("sub", joint.height, nodes.number(1)))
        # One at least: without rows, it writes the zeros that sums over rows are.
        blocks = nodes.apply("maximum", nodes.apply("floor_divide", up, joint.height), nodes.number(1))
        return [Extent(joint.height.name, height), Extent(joint.blocks.name, blocks)]


def _names(statements: Sequence[Statement]) -> set[str]:
    """What statements touch otherwise than by making it."""
    return {name for s in every(statements) if not isinstance(s, Allocate) for name in touched(s)}


def _is_low(extent: Expr) -> bool:
    """Whether there is one block at most."""
    return isinstance(extent, Number) and int(extent.value) <= BLOCK_ROWS
