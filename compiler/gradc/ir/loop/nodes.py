"""Nodes of the loop IR.  Close enough to the target that a printer decides nothing.

    Kernel    := name, parameters, statements, results
    Statement := Extent(name, value)                            name = value, an int64
               | Require(condition, message)                    refuse arguments that do not fit
               | CheckIndices(tensor, extent)                   refuse look-ups out of range
               | Allocate(tensor, dtype, shape, zeroed, local)
               | Clear(tensor[, first, many[, unless]])       every element becomes 0, or those of some rows
               | Let(name, value)
               | Update(name, op, value)                        name = op(name, value), a reduction
               | Carry(name, value)                              name = value, for the iterations to come
               | Store(tensor, indices, value) | AddTo(tensor, indices, value)
               | For(index, extent, body)
               | Parts(name, extent, work, size)                name = how many parts a loop has, an int64
               | Tasks(name, part, count, work, extent, first, many, body)   independent parts of a loop
               | Product(out, left, right)                      matrix product into a fresh tensor
               | Contract(out, target, left, first, right, second, extents, add, views, again)
               | Library(outs, operation, ins, attributes)
               | Clock(tensor, position)                     note the time, in a kernel that measures itself
               | Width(name, extent, most)                   name = how many threads share a row, a power of two
               | Launch(name, block, thread, blocks, threads, body)   a grid of threads on a device
    In a launch: Share(tensor, dtype, shape)                 an array that the threads of a block share
               | Stride(index, first, extent, step, body)    for index in range(first, extent, step)
               | When(condition, body)                       only where the condition holds
               | Barrier()                                   all threads of a block wait for each other
               | Combine(name, op, width)                    name = op over groups of `width` threads
    Expression := Var | Number | Load | Apply | Convert          interned: equality is identity

Expressions carry their dtype, so that a printer never has to infer one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from gradc.ir.loop.expressions import Apply as Apply
from gradc.ir.loop.expressions import Convert as Convert
from gradc.ir.loop.expressions import Expr as Expr
from gradc.ir.loop.expressions import Load as Load
from gradc.ir.loop.expressions import Number as Number
from gradc.ir.loop.expressions import Var as Var
from gradc.ir.loop.expressions import applied as applied
from gradc.ir.loop.expressions import apply as apply
from gradc.ir.loop.expressions import convert as convert
from gradc.ir.loop.expressions import load as load
from gradc.ir.loop.expressions import neutral as neutral
from gradc.ir.loop.expressions import number as number
from gradc.ir.loop.expressions import var as var
from gradc.ir.types import DType


@dataclass(frozen=True, slots=True)
class Extent:
    """Bind an extent symbol."""

    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Require:
    """Raise ValueError(message) unless the condition holds."""

    condition: Expr
    message: str


@dataclass(frozen=True, slots=True)
class CheckIndices:
    """Raise IndexError unless every element of an integer tensor is an index into an axis of this extent."""

    tensor: str
    extent: Expr


@dataclass(frozen=True, slots=True)
class Allocate:
    """A new C-contiguous tensor; nobody but the kernel ever sees a `local` one, which may lie on its stack."""

    tensor: str
    dtype: DType
    shape: tuple[Expr, ...]
    zeroed: bool = False
    local: bool = False


@dataclass(frozen=True, slots=True)
class Clear:
    """Make every element of a tensor that may be written to 0, or those of `many` rows, from the row `first` on.

    Rows of the extents `unless` are left as they are: what comes behind it stores every element of such ones.
    """

    tensor: str
    first: Expr | None = None
    many: Expr | None = None
    unless: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Let:
    """Define a scalar; `note` is the equation it computes, for readers."""

    name: str
    value: Expr
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Update:
    """Combine a value into an accumulator with a reduction."""

    name: str
    op: str
    value: Expr
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Carry:
    """Give a scalar that was started before the loop another value: one iteration hands it to the next."""

    name: str
    value: Expr
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Store:
    """``tensor[indices] = value``."""

    tensor: str
    indices: tuple[Expr, ...]
    value: Expr
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class AddTo:
    """``tensor[indices] = op(tensor[indices], value)``, a reduction into memory."""

    tensor: str
    indices: tuple[Expr, ...]
    op: str
    value: Expr
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class For:
    """``for index in range(extent)``."""

    index: str
    extent: Expr
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """Bind the number of parts of a loop over `extent`, at most `extent`; 0 for an empty loop.

    `work` is the number of operations of an iteration, `size` the number of elements of which every part has a
    copy of its own.
    """

    name: str
    extent: Expr
    work: Expr
    size: Expr


@dataclass(frozen=True, slots=True)
class Tasks:
    """Run `body` for every part of ``range(extent)``, in any order or at once: the parts are independent.

    In the body `part` is the number of the part, which has the `many` indices from `first` on.  `name` is what
    a printer may call the body, `work` the number of operations of all parts together.
    """

    name: str
    part: str
    count: Expr
    work: Expr
    extent: Expr
    first: str
    many: str
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """``out = left @ right``, either read as its transpose on request."""

    out: str
    left: str
    right: str
    transpose_left: bool
    transpose_right: bool
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class From:
    """``start:``, all of an axis from one place on."""

    start: Expr


View: TypeAlias = tuple[Expr | From, ...]
"""What stands in the brackets of a view: ``x[i, j]``, all that is behind these axes, or ``x[i, start:]``."""


@dataclass(frozen=True, slots=True)
class Contract:
    """``out[target] = sum left[first] * right[second]``, or ``+=`` with `add`, if `again` is true where it is given.

    Positions are texts such as ``"i j+p k"``, `extents` those of the letters in alphabetical order, as in
    `gradc_runtime.contraction`.  The positions are those in `views` of out, left and right, which lack the axes that
    an index is given for.
    """

    out: str
    target: str
    left: str
    first: str
    right: str
    second: str
    extents: tuple[Expr, ...]
    add: bool
    views: tuple[View, View, View] = ((), (), ())
    again: Expr | None = None
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Library:
    """An operation of the closed table of calls; attributes are literals, strings or extents."""

    outs: tuple[str, ...]
    operation: str
    ins: tuple[str, ...]
    attributes: tuple[tuple[str, bool | int | str | tuple[Expr, ...]], ...]
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Clock:
    """``tensor[position]`` = nanoseconds on a clock that never goes backwards; the interpreter's counts statements."""

    tensor: str
    position: int


SHARE = 8  # elements of a row that a thread has at most, where there may be threads enough


@dataclass(frozen=True, slots=True)
class Width:
    """Bind how many threads of a block share a row of `extent` elements: a power of two from 1 to `most`.

    None of them has more than `SHARE` elements, where `most` allows it.
    """

    name: str
    extent: Expr
    most: int


@dataclass(frozen=True, slots=True)
class Launch:
    """Run `body` once for every thread of a grid of `blocks` blocks of `threads` threads.

    In the body `block` and `thread` are the numbers of the block and of the thread in it.  Blocks run in any order
    and know nothing of each other.  The threads of a block run at once; at a `Barrier` and a `Combine`, which all of
    them reach or none, they wait for each other.  An element that a thread writes is touched by another only behind a
    barrier, in the same block.  Arrays that a launch allocates are a thread's own.
    """

    name: str
    block: str
    thread: str
    blocks: Expr
    threads: int
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """A new array of numbers nobody has written yet, one for each block of a launch; its shape is known."""

    tensor: str
    dtype: DType
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stride:
    """``for index in range(first, extent, step)``, the iterations that a thread has of a loop over `extent`."""

    index: str
    first: Expr
    extent: Expr
    step: Expr
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class When:
    """Run `body` where the condition holds; what it defines is its own."""

    condition: Expr
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Barrier:
    """Wait until all threads of the block are here: each then sees what the others have written."""


@dataclass(frozen=True, slots=True)
class Combine:
    """Give every thread the reduction of `name` over its group: `width` threads of a block, counted from 0.

    `width` is a power of two that divides the threads of a block.  Neighbours are combined first, then pairs of
    neighbours, and so on: the order is always the same.  What threads have written is not seen by others for that.
    """

    name: str
    op: str
    width: Expr


Statement: TypeAlias = (
    Extent
    | Require
    | CheckIndices
    | Allocate
    | Clear
    | Let
    | Update
    | Carry
    | Store
    | AddTo
    | For
    | Parts
    | Tasks
    | Product
    | Contract
    | Library
    | Clock
    | Width
    | Launch
    | Share
    | Stride
    | When
    | Barrier
    | Combine
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument of a kernel: a scalar where `rank` is 0.

    One that is `written` is an array of the caller's for a result: the kernel writes every element of it, and reads
    none that it has not written, unless it is `updated`: then its content is an argument as well.  It shares memory
    with no other argument.
    """

    name: str
    dtype: DType
    rank: int
    written: bool = False
    updated: bool = False


@dataclass(frozen=True, slots=True)
class Kernel:
    """A function of arrays and scalars.

    It returns its `results` in order; the last `nested` of them, where there are two or more, as a tuple in the
    tuple: ``value, (gradient, gradient)``.
    """

    name: str
    parameters: tuple[Parameter, ...]
    body: tuple[Statement, ...]
    results: tuple[str, ...]
    header: tuple[str, ...] = field(default=(), compare=False)
    nested: int = 0
