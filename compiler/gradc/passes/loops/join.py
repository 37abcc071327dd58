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
from gradc.ir.loop.walk import every, touched
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

BLOCK_BYTES = (
    1 << 19
)  # of what a block keeps, where that makes more rows: it should stay in the second-level cache

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
    before: list[Statement] = field(default_factory=list)
    after: list[Statement] = field(default_factory=list)
    left: Effects = field(default_factory=Effects)  # what `after` does

    def take(self, statement: Statement) -> None:
        """Place the next statement: in the loop, or else before it, or else behind it."""
        apart = effects((statement,))
        free = not apart.common(self.left)
        body = self.joint.iteration(statement) if free else None
        found = effects(body or (), self.joint.index, self.around)
        if body is not None and self.fits(body, found):
            self.members += [inner for inner in body if not self.repeats(inner)]
            self.lets.update((inner.name, inner) for inner in body if isinstance(inner, Let))
            self.done.add(found)
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
        """Whether a number is there already."""
        return isinstance(statement, Let) and self.lets.get(statement.name) == statement


class _Joining:
    def __init__(self, kernel: Kernel) -> None:
        self.before = kernel
        self.allocated = {s.tensor: s for s in kernel.body if isinstance(s, Allocate)}
        self.sizes: list[Statement] = []  # heights and numbers of blocks
        loops = {statement.index for statement in every(kernel.body) if isinstance(statement, For)}
        used = {name for statement in every(kernel.body) for name in touched(statement)}
        self.letters = [name for name in INDEX_NAMES if name in loops or name not in used]
        self.names = NameSupply(
            (*used, *loops, *(p.name for p in kernel.parameters), *kernel.results, kernel.name)
        )

    def kernel(self) -> Kernel:
        body = self.block(self.before.body, set(self.before.results), ())
        made = [self.allocated[s.tensor] if isinstance(s, Allocate) else s for s in body]
        entry = next((at for at, s in enumerate(made) if not isinstance(s, Extent | Require)), len(made))
        return replace(self.before, body=(*made[:entry], *self.sizes, *made[entry:]))

    def block(
        self, statements: Sequence[Statement], outside: set[str], around: tuple[Expr, ...]
    ) -> list[Statement]:
        """The statements of a block, with what can be joined in loops; `outside` is touched by others, too."""
        contracts = [s for s in statements if isinstance(s, Contract)]
        batches = {batch_of(s) for s in contracts} - {None}
        images = set() if around or batches else {images_of(s) for s in contracts} - {None}
        for at in range(len(statements)):
            for joint in self.joints(statements, at, around, batches, images):
                group = _group(joint, statements[at:], around)
                beyond = outside | _names((*statements[:at], *group.before, *group.after))
                members = self.joined(group, beyond)
                if members is None:
                    continue
                inner = (
                    members
                    if isinstance(joint, Rows)
                    else self.block(members, beyond, (*around, joint.index))
                )
                first = [*statements[:at], *group.before, joint.loop(inner)]
                return [*first, *self.block(group.after, outside | _names(first), around)]
        return list(statements)

    def joints(
        self,
        statements: Sequence[Statement],
        at: int,
        around: tuple[Expr, ...],
        batches: set[Expr | None],
        images: set[Expr | None],
    ) -> Iterator[Joint]:
        """The loops that a statement may open; some run over batches, or over the images of convolutions."""
        statement = statements[at]
        for extents, found in ((batches, batch_of), (images, images_of)):
            extent = statement.extent if isinstance(statement, For) else None
            extent = found(statement) if isinstance(statement, Contract) else extent
            if extent is not None and extent in extents:
                if extents is batches:
                    yield Batch(extent, self.index(statements, extent, around))
                else:
                    yield from self.rows(statements, extent, around, 1)
        if isinstance(statement, Contract) and not batches:
            for letter, size in zip(letters_of(statement), statement.extents, strict=True):
                leads = row_of(statement, size) == letter and letter in statement.target
                if leads and not _is_low(size) and (around or any(map(self.is_square, self.allocated))):
                    yield from self.rows(statements, size, around, BLOCK_ROWS)

    def index(self, statements: Sequence[Statement], extent: Expr, around: tuple[Expr, ...]) -> Var:
        """What the loops over an extent call their index."""
        loops = (s.index for s in statements if isinstance(s, For) and s.extent is extent)
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

    def joined(self, group: _Group, outside: set[str]) -> list[Statement] | None:
        """The members, with the arrays that only they touch kept for one iteration; None if that gains nothing."""
        own = {name for name in group.done.axes if self.is_own(name, group, outside)}
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

    def is_own(self, name: str, group: _Group, outside: set[str]) -> bool:
        """Whether an array may exist for one iteration at a time."""
        array = self.allocated.get(name)
        if array is None or name in outside or group.done.axes[name] != 0:
            return False
        return len(array.shape) > 1

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


def _group(joint: Joint, statements: Sequence[Statement], around: tuple[Expr, ...]) -> _Group:
    group = _Group(joint, around)
    for at, statement in enumerate(statements):
        if not isinstance(statement, _MOVABLE):
            group.after += statements[at:]
            break
        group.take(statement)
    return group


def _names(statements: Sequence[Statement]) -> set[str]:
    """What statements touch otherwise than by making it."""
    return {name for s in every(statements) if not isinstance(s, Allocate) for name in touched(s)}


def _is_low(extent: Expr) -> bool:
    """Whether there is one block at most."""
    return isinstance(extent, Number) and int(extent.value) <= BLOCK_ROWS
