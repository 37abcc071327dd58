"""Loops become launches: who of a grid of threads computes what.

    for i < n:                         launch elements_1, block < min((n + 255) / 256, 1024), thread < 256:
        y[i] = f(x[i])           ->        for i in range(256 * block + thread, n, 256 * blocks):
                                               y[i] = f(x[i])

Loops whose iterations are independent and have no loops in them are shared out over all threads of a grid, one
element after the other, so that neighbouring threads touch neighbouring elements.  Of others, an iteration is a row, on
which a group of threads works (`gradc.passes.grids.cooperate`).  What all rows add to is a copy for every group or, of
a number, for every block; copies are added in their order, so that results are always the same bits.  What depends on
its own past runs in one thread, or in one block where there are loops in it.

Numbers between loops are computed on the device and stay there, in arrays of one element.

Products of matrices are launches by tiles, or left to a library, whose call the host makes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gradc.errors import CompilerBug
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
    Launch,
    Let,
    Library,
    Number,
    Parts,
    Product,
    Require,
    Statement,
    Store,
    Stride,
    Update,
    Var,
    Width,
)
from gradc.ir.loop.sizes import types_of
from gradc.ir.loop.walk import every, names_in, touched
from gradc.ir.names import NameSupply
from gradc.ir.types import DType
from gradc.passes.grids.apart import without_common_elements
from gradc.passes.grids.checks import with_checks_behind
from gradc.passes.grids.contraction_numbers import most
from gradc.passes.grids.contraction_results import Epilogue, Host
from gradc.passes.grids.contractions import Tensors, allocated, contraction_launches
from gradc.passes.grids.contributions import stored_first
from gradc.passes.grids.cooperate import Cooperation, Lanes, NotShared, can_share, shared_extents
from gradc.passes.grids.copies import add_up
from gradc.passes.grids.dependence import chain, effects
from gradc.passes.grids.epilogues import Joined, epilogue_of, joined
from gradc.passes.grids.kept import SLOTS, Kept, keepable
from gradc.passes.grids.library_products import is_for_library
from gradc.passes.grids.numbers import THREADS, Numbers, Totals, ceiling, decoded, least, quotient
from gradc.passes.grids.rows import Rows, Sharing, copied
from gradc.passes.grids.shapes import shapes_of
from gradc.passes.loops.work import product, total, work_of

BLOCKS = 1024  # of a launch over elements, at most: enough for every multiprocessor to be busy
LOCAL = 64  # elements of an array that a thread keeps for itself


def with_launches(kernel: Kernel, *, library: bool = False) -> Kernel:
    """Turn the loops of a kernel into launches on a device.

    Requires: `kernel` is valid and has no tasks.  Ensures: the same values, sums in another order; all that is
    computed is computed in launches, with `library` but for products of matrices, which stay contractions; and the
    results are arrays: of a number, one of one element.
    """
    return _Launching(stored_first(without_common_elements(with_checks_behind(kernel))), library).kernel()


@dataclass(frozen=True, slots=True)
class _Job:
    """Rows to be launched: what happens in one, and what becomes of the arrays that all of them add to."""

    body: Sequence[Statement]
    carried: Mapping[str, str]
    copies: Mapping[str, str]
    sharing: Sharing
    totals: Totals
    blocks: Expr


@dataclass(frozen=True, slots=True)
class _Keeping:
    """Arrays along `extent` of which lanes keep the elements of short rows: where `is_short` holds, or all rows are."""

    extent: Expr
    tensors: tuple[str, ...]
    is_short: Expr
    is_always: bool


class _Launching:
    def __init__(self, kernel: Kernel, library: bool) -> None:
        self.before = kernel
        names = names_in(kernel.body)
        self.names = NameSupply((*names, *(p.name for p in kernel.parameters), *kernel.results, kernel.name))
        self.allocated = {s.tensor: s for s in kernel.body if isinstance(s, Allocate)}
        types = types_of(kernel)
        self.dtypes = {name: type_.dtype for name, type_ in types.items()}
        self.shapes = shapes_of(kernel)
        self.library = {at for at, s in enumerate(kernel.body) if library and is_for_library(s, types)}
        found = joined(kernel, self.shapes)
        self.joined = {at: one for at, one in found.items() if one.product not in self.library}
        self.touches = _touches(kernel.body)
        self.dropped: set[str] = set()  # arrays that exist as copies only
        self.out: list[Statement] = []
        self.numbers = Numbers(kernel, self.names, self.out)

    def kernel(self) -> Kernel:
        body = self.before.body
        late = {found.product for found in self.joined.values()}  # computed with what follows
        for at, statement in enumerate(body):
            if at in self.joined:
                self._joined(at, self.joined[at])
            elif at not in late:
                self._statement(at, statement)
        results = self.numbers.results()
        kept = (s for s in self.out if not (isinstance(s, Allocate) and s.tensor in self.dropped))
        return replace(self.before, body=tuple(kept), results=results)

    def _joined(self, at: int, found: Joined) -> None:
        """Launch a product together with the loops over its elements."""
        product, loop = self.before.body[found.product], self.before.body[at]
        assert isinstance(product, Product | Contract)
        assert isinstance(loop, For)
        self.numbers.require(at, loop)
        dtype = self.dtypes[product.out]
        epilogue = epilogue_of(loop, product.out, is_kept=found.is_kept, dtype=dtype, names=self.names)
        self._contraction(product, epilogue)
        if not found.is_kept:
            self.dropped.add(product.out)

    def _statement(self, at: int, statement: Statement) -> None:
        match statement:
            case Extent() | Require() | Allocate():
                self.out.append(statement)
            case Clear() | CheckIndices():
                self.numbers.flush(at)
                self.out.append(statement)
            case Let() | Update() | Store() | AddTo():
                self.numbers.add(at, statement)
            case For():
                self._loop(at, statement)
            case Library():
                self.numbers.fetch(at, statement)
                self.out.append(statement)
            case Product() | Contract():
                self.numbers.flush(at)
                if at in self.library:
                    self._in_library(statement)
                else:
                    self._contraction(statement)
            case _:
                raise CompilerBug(f"{type(statement).__name__} before launches are made", stage="grids")

    def _is_private(self, tensor: str, loop: For) -> bool:
        """Whether a loop is all that touches an array."""
        if tensor not in self.allocated or tensor in self.before.results:
            return False
        return _touches(loop.body)[tensor] == self.touches[tensor]

    # --- loops ------------------------------------------------------------------------------------------

    def _loop(self, at: int, loop: For) -> None:
        loops, kinds = chain(loop, self._is_private)
        carried = {tensor: kind for tensor, kind in kinds.items() if kind != "own"}
        if not loops or not carried.keys() <= self.allocated.keys():
            self._in_order(at, loop)
            return
        *outer, last = loops
        is_flat = not carried and not any(isinstance(inner, For) for inner in last.body)
        self.numbers.require(at, loop)
        if is_flat and outer and not isinstance(last.extent, Number):
            # Dividing the number of an element by an extent costs more than a group does.
            self._rows(at, outer, (last,), carried)
        elif self._is_alone(last.body, carried):
            self._elements(loops, last.body, carried)
        else:
            self._rows(at, loops, last.body, carried)

    def _is_alone(self, body: Sequence[Statement], carried: Mapping[str, str]) -> bool:
        """Whether one thread does for an iteration, which leaves nothing behind but elements and totals."""
        if not all(kind == "scratch" and self._is_small(tensor) for tensor, kind in carried.items()):
            return False
        return bool(carried) or not (shared_extents(body) and can_share(body))

    def _elements(self, loops: Sequence[For], body: Sequence[Statement], own: Iterable[str]) -> None:
        """Share elements out over all threads; each has arrays of its own."""
        self.dropped.update(own)
        elements = self._numbered(loops, "element")
        blocks = self._bound("blocks", least(ceiling(elements.many), nodes.number(BLOCKS)))
        launch = self.numbers.launch("elements")
        totals = self.numbers.totals(effects((loops[0],)).totals, blocks)
        step = nodes.apply("mul", blocks, nodes.number(THREADS))
        inside = (*elements.lets, *(totals.statement(inner) for inner in body))
        loop = Stride(elements.name, launch.number, elements.many, step, inside)
        local = [replace(self.allocated[tensor], local=True, zeroed=False) for tensor in sorted(own)]
        self.numbers.emit(launch, blocks, [*local, *totals.starts, loop, *totals.ends(launch)])

    def _rows(
        self, at: int, loops: Sequence[For], body: Sequence[Statement], carried: Mapping[str, str]
    ) -> None:
        """Give every row to a group of threads."""
        self.dropped.update(tensor for tensor, kind in carried.items() if kind == "scratch")
        rows, found = self._numbered(loops, "row"), effects((loops[0],)).totals
        copies = {tensor: self.names.fresh(f"{tensor}_parts") for tensor in carried}
        extents = shared_extents(body) if can_share(body) else []
        width = self._width(extents)
        kept = self._keeping(body, copies if extents else (), width)
        free = rows.many
        if found:
            free = least(rows.many, quotient(nodes.number(BLOCKS * THREADS), width))
        groups = self._groups(rows, loops[-1], carried, kept, free)
        blocks = self._bound("blocks", ceiling(nodes.apply("mul", groups, width)))
        sharing = Sharing(rows, groups, width, nodes.var(self.numbers.own("part")), self.numbers)
        totals = self.numbers.totals(found, blocks)
        job = _Job([totals.statement(inner) for inner in body], carried, copies, sharing, totals, blocks)
        if not extents:
            self._copies(job, None)
            launch = self.numbers.launch("rows")
            made = sharing.alone([copied(inner, copies, sharing.part) for inner in job.body], launch)
            self.numbers.emit(launch, blocks, [*totals.starts, *made, *totals.ends(launch)])
        else:
            self._shared_rows(job, kept)
        for tensor, copy in copies.items():
            if carried[tensor] == "sum":
                add_up(self.allocated[tensor], copy, groups, self.numbers)

    def _shared_rows(self, job: _Job, keeping: _Keeping | None) -> None:
        """Launch groups; where lanes can keep elements of short rows, a launch for these and one for others."""
        if keeping is None:
            self._copies(job, None)
            self._launch_groups(job, job.blocks, None)
            return
        own = {tensor: self.names.fresh(f"{tensor}_own") for tensor in keeping.tensors}
        kept = Kept(keeping.extent, own, self.numbers.own("slot"))
        self._copies(job, keeping)
        if keeping.is_always:
            self._launch_groups(job, job.blocks, kept)
            return
        none = nodes.number(0)
        for hint, chosen, short, long in (
            ("short_blocks", kept, job.blocks, none),
            ("long_blocks", None, none, job.blocks),
        ):
            blocks = self._bound(hint, nodes.apply("select", keeping.is_short, short, long))
            self._launch_groups(job, blocks, chosen)

    def _copies(self, job: _Job, kept: _Keeping | None) -> None:
        """Make room for the copies of arrays: of what lanes keep, those that are needed all the same.

        Sums that lanes keep are stored at the end: only those of long rows start from 0 in memory.
        """
        groups, long = job.sharing.groups, nodes.number(0)
        if kept is not None and not kept.is_always:
            long = self._bound("long_groups", nodes.apply("select", kept.is_short, long, groups))
        for tensor, copy in job.copies.items():
            old, is_sum = self.allocated[tensor], job.carried[tensor] == "sum"
            is_kept = kept is not None and tensor in kept.tensors
            many = long if is_kept and not is_sum else groups
            if many is not nodes.number(0):
                self.out.append(Allocate(copy, old.dtype, (many, *old.shape), is_sum and not is_kept))
            if is_kept and is_sum and long is not nodes.number(0):
                self.out.append(Clear(copy, nodes.number(0), long))

    def _launch_groups(self, job: _Job, blocks: Expr, kept: Kept | None) -> None:
        names = kept.names if kept is not None else {}
        copies = {tensor: copy for tensor, copy in job.copies.items() if tensor not in names}
        sums = {t: copy for t, copy in job.copies.items() if t in names and job.carried[t] == "sum"}
        launch = self.numbers.launch("rows")
        inside = [copied(inner, copies, job.sharing.part) for inner in job.body]
        changed = frozenset(job.totals.partial.values())
        made = job.sharing.together(inside, launch, changed, kept)
        if kept is not None:
            begin = [*kept.arrays(self.allocated), *kept.cleared(list(sums), self.allocated)]
            made = [*begin, *made, *kept.stored(sums, self.allocated, job.sharing.place)]
        self.numbers.emit(launch, blocks, [*job.totals.starts, *made, *job.totals.ends(launch)])

    def _keeping(self, body: Sequence[Statement], copied: Iterable[str], width: Expr) -> _Keeping | None:
        """What lanes keep of the arrays of which groups have copies."""
        extent, tensors = keepable(body, {tensor: self.allocated[tensor] for tensor in copied})
        if extent is None:
            return None
        reach = nodes.apply("mul", nodes.number(SLOTS), width)
        always = isinstance(extent, Number) and int(extent.value) <= SLOTS * THREADS
        return _Keeping(extent, tuple(tensors), nodes.apply("le", extent, reach), always)

    def _groups(
        self, rows: Rows, loop: For, carried: Mapping[str, str], kept: _Keeping | None, free: Expr
    ) -> Expr:
        """How many groups share rows out: `free`, but for those that have sums or arrays of their own in memory."""
        memory = [t for t, kind in carried.items() if kind == "sum" or kept is None or t not in kept.tensors]
        if not carried or (kept is not None and kept.is_always and not memory):
            return free if free is rows.many else self._bound("groups", free)
        whole, short = (
            total([product(self.allocated[tensor].shape) for tensor in tensors])
            for tensors in (carried, memory)
        )
        size = whole if kept is None else short
        if kept is not None and not kept.is_always and short is not whole:
            size = self._bound("copied", nodes.apply("select", kept.is_short, short, whole))
        parts = self.names.fresh("parts")
        self.out.append(Parts(parts, rows.many, work_of(loop), size))
        if kept is None or memory:
            return nodes.var(parts)
        return self._bound("groups", nodes.apply("select", kept.is_short, free, nodes.var(parts)))

    def _is_small(self, tensor: str) -> bool:
        size = product(self.allocated[tensor].shape)
        return isinstance(size, Number) and int(size.value) <= LOCAL

    def _width(self, extents: Sequence[Expr]) -> Expr:
        """How many threads a group has: one, or as many as its longest loop keeps busy."""
        if not extents:
            return nodes.number(1)
        longest = extents[0]
        for extent in extents[1:]:
            longest = most(longest, extent)
        width = self.names.fresh("width")
        self.out.append(Width(width, longest, THREADS))
        return nodes.var(width)

    def _in_order(self, at: int, loop: For) -> None:
        """Run a loop whose iterations depend on each other in one block, or in one thread."""
        lanes = Lanes(
            nodes.var(self.numbers.own("thread")), nodes.number(THREADS), nodes.number(True, DType.BOOL)
        )
        try:
            if not shared_extents((loop,)):
                raise NotShared
            made = Cooperation(lanes, self.names).row((loop,))
        except NotShared:
            self.numbers.add(at, loop)
            return
        self.numbers.require(at, loop, totals_too=True)
        launch = self.numbers.launch("steps")
        self.numbers.emit_changing(at, launch, made, effects((loop,)).totals)

    # --- small things -----------------------------------------------------------------------------------

    def _numbered(self, loops: Sequence[For], hint: str) -> Rows:
        """The iterations of loops, numbered, the innermost loop's one after the other."""
        if len(loops) == 1:
            return Rows(loops[0].index, loops[0].extent)
        name = self.names.fresh(hint)
        lets = decoded(nodes.var(name), [(loop.index, loop.extent) for loop in loops], self.names)
        return Rows(name, self._bound(f"{hint}s", product([loop.extent for loop in loops])), lets)

    def _bound(self, hint: str, value: Expr) -> Expr:
        if isinstance(value, Number | Var):
            return value
        name = self.names.fresh(hint)
        self.out.append(Extent(name, value))
        return nodes.var(name)

    def _contraction(self, statement: Product | Contract, epilogue: Epilogue | None = None) -> None:
        """Launch a product by tiles."""
        tensors = Tensors(self.names, self.dtypes, self.shapes)
        made = contraction_launches(statement, tensors, epilogue=epilogue)
        if isinstance(statement, Product):
            (out,) = (s for s in made if isinstance(s, Allocate) and s.tensor == statement.out)
            self.shapes[out.tensor] = out.shape
        self.out += [self.numbers.completed(s) if isinstance(s, Launch) else s for s in made]

    def _in_library(self, statement: Product | Contract) -> None:
        """Leave a product to the library: a contraction that the host starts."""
        host = Host(self.names)
        if isinstance(statement, Product):
            statement = allocated(statement, Tensors(self.names, self.dtypes, self.shapes), host)
        self.out += [*host.statements, statement]


def _touches(statements: Sequence[Statement]) -> Counter[str]:
    """How many statements touch each array, other than by allocating it."""
    made = (s for s in every(statements) if not isinstance(s, Allocate | For))
    return Counter(name for statement in made for name in set(touched(statement)))
