"""The slow interpreter that *defines* the loop IR: a walk over the statements with NumPy scalars.

Every operation has NumPy's meaning in the dtype of its operands; sums are added in loop order.  What compiled
code would not notice is an error here: an index out of range, a read of an element that nobody has written.
Launches run thread by thread (`gradc.ir.loop.grid`), where races are errors as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import numpy as np

from gradc.errors import ArgumentError, CompilerBug, GuardFailed
from gradc.ir.index.calls import CALLS
from gradc.ir.loop.grid import run_launch
from gradc.ir.loop.machine import Machine, Other, Steps, text_of
from gradc.ir.loop.meaning import Array
from gradc.ir.loop.nodes import (
    SHARE,
    Allocate,
    Barrier,
    CheckIndices,
    Clear,
    Clock,
    Combine,
    Contract,
    Expr,
    From,
    Kernel,
    Launch,
    Library,
    Number,
    Parts,
    Product,
    Require,
    Share,
    Statement,
    Tasks,
    View,
    Width,
    number,
)
from gradc.ir.loop.show import show_statement
from gradc.ir.loop.walk import expressions
from gradc_runtime.contraction import add_contraction, contract, elements_of

LIMIT = 10**7

PARTS = 3  # of a loop that may run in parts, where it is that long
WIDTH = 4  # threads that share a row, where it is that long


def evaluate(
    kernel: Kernel, inputs: Mapping[str, Array], *, limit: int = LIMIT, order: int = 0, width: int = WIDTH
) -> tuple[Array, ...]:
    """Return the results of `kernel`.

    Parameters
    ----------
    inputs : mapping of name to array
        One array or scalar per parameter, of the declared dtype and rank; those for results are written to.
    limit : int
        How many statements may run.
    order : int
        Which order the blocks of a launch and the threads of a block run in: the seed of a shuffle.
    width : int
        How many threads share a row, a power of two, where the row and the kernel allow as many.

    Raises
    ------
    GuardFailed, IndexError
        Where the kernel itself refuses its arguments.
    CompilerBug
        Where the kernel does what compiled code would not notice.
    """
    machine = _Machine(limit, order, width)
    for parameter in kernel.parameters:
        value = np.asarray(inputs[parameter.name])
        if value.dtype != parameter.dtype.numpy or value.ndim != parameter.rank:
            raise ArgumentError(
                f"{parameter.name} is {value.dtype} with {value.ndim} axes",
                why=f"{kernel.name} takes {parameter.dtype.value} with {parameter.rank} axes",
            )
        machine.values[parameter.name] = value[()]
        if parameter.written:
            machine.written[parameter.name] = np.full(value.shape, parameter.updated)
    with np.errstate(all="ignore"):
        machine.run(kernel.body)
    for parameter in kernel.parameters:
        machine.complete(parameter.name)
    return tuple(machine.complete(name) for name in kernel.results)


class _Machine(Machine):
    """Runs what is outside of launches."""

    def __init__(self, limit: int, order: int = 0, width: int = WIDTH) -> None:
        super().__init__(Steps(limit))
        self.shuffle = np.random.default_rng(order)
        self.width = width

    def complete(self, name: str) -> Array:
        """Return a whole tensor, of which every element must have been written."""
        written = self.written.get(name)
        if written is not None and not written.all():
            raise CompilerBug(f"{name} is used before every element of it is written")
        return self.values[name]

    def whole(self, statement: Other) -> None:
        match statement:
            case Parts(name, extent):
                self.values[name] = np.int64(min(PARTS, int(self.scalar(extent))))
            case Width(name, extent, most):
                self.values[name] = np.int64(self.width_of(extent, most))
            case Require(condition, message):
                if not self.scalar(condition):
                    raise GuardFailed(message)
            case Tasks():
                self.tasks(statement)
            case Launch():
                run_launch(self, statement, self.shuffle)
            case Allocate():
                self.allocate(statement)
            case Share() | Barrier() | Combine():
                raise CompilerBug(f"{show_statement(statement)} stands outside a launch")
            case _:
                self.tensors(statement)

    def tensors(self, statement: CheckIndices | Clear | Product | Contract | Library | Clock) -> None:
        """Run a statement about whole tensors."""
        match statement:
            case CheckIndices():
                self.check(statement)
            case Clear():
                self.clear(statement)
            case Product():
                self.values[statement.out] = self.product(statement)
            case Contract():
                self.contraction(statement)
            case Library():
                self.library(statement)
            case Clock(tensor, position):
                self.store(statement, tensor, (number(position),), np.int64(self.steps.taken))
            case _:
                assert_never(statement)

    def width_of(self, extent: Expr, most: int) -> int:
        """How many threads share a row: few, so that rows are long for them; of a literal extent what is promised."""
        elements = int(self.scalar(extent))
        enough, least = (1 << max(many - 1, 0).bit_length() for many in (elements, -(-elements // SHARE)))
        wanted = max(self.width, least) if isinstance(extent, Number) else self.width
        return min(wanted, enough, most)

    def check(self, statement: CheckIndices) -> None:
        table, size = np.asarray(self.complete(statement.tensor)), self.scalar(statement.extent)
        if not ((table >= -size) & (table < size)).all():
            raise IndexError("an index is out of range")

    def library(self, statement: Library) -> None:
        options = {name: self.attribute(value) for name, value in statement.attributes}
        given = (self.complete(name) for name in statement.ins)
        results = CALLS[statement.operation].numpy(*given, **options)
        self.values.update(zip(statement.outs, (np.asarray(result)[()] for result in results), strict=True))

    def tasks(self, statement: Tasks) -> None:
        """Run the parts, the last one first: they may run in any order."""
        count, extent = int(self.scalar(statement.count)), int(self.scalar(statement.extent))
        for part in reversed(range(count)):
            first = extent * part // count
            numbers = (part, first, extent * (part + 1) // count - first)
            for name, value in zip((statement.part, statement.first, statement.many), numbers, strict=True):
                self.values[name] = np.int64(value)
            self.run(statement.body)

    def attribute(self, value: bool | int | str | tuple[Expr, ...]) -> bool | int | str | tuple[int, ...]:
        return tuple(int(self.scalar(size)) for size in value) if isinstance(value, tuple) else value

    def clear(self, statement: Clear) -> None:
        rows = [int(self.scalar(value)) for value in expressions(statement)]
        if statement.unless and self.values[statement.tensor].shape[1:] == statement.unless:
            return
        place = slice(rows[0], sum(rows)) if rows else ...
        self.values[statement.tensor][place] = 0
        self.written[statement.tensor][place] = True

    def product(self, statement: Product) -> Array:
        left, right = self.complete(statement.left), self.complete(statement.right)
        return (left.T if statement.transpose_left else left) @ (
            right.T if statement.transpose_right else right
        )

    def contraction(self, statement: Contract) -> None:
        """Carry it out as the uncompiled kernel does; every element of a result without `add` is written."""
        names = (statement.out, statement.left, statement.right)
        texts = (statement.target, statement.first, statement.second)
        places = [self.place(statement, *given) for given in zip(names, statement.views, strict=True)]
        extents = tuple(int(self.scalar(size)) for size in statement.extents)
        add = statement.add and (statement.again is None or bool(self.scalar(statement.again)))
        elements = elements_of(texts, extents)
        for at, name in enumerate(names):
            written = self.written.get(name)
            if written is not None and (at or add) and not written[places[at]][elements[at]].all():
                raise CompilerBug(
                    f"{name} is used before every element of it is written", why=text_of(statement)
                )
        out, left, right = (self.values[name][place] for name, place in zip(names, places, strict=True))
        meaning = add_contraction if add else contract
        meaning(out, statement.target, left, statement.first, right, statement.second, extents)
        self.written[statement.out][places[0]][elements[0]] = True

    def place(self, where: Statement, tensor: str, view: View) -> tuple[int | slice, ...]:
        """What a view is of a tensor."""
        starts = [int(self.scalar(at.start if isinstance(at, From) else at)) for at in view]
        shape = self.values[tensor].shape
        ends = [size + isinstance(at, From) for at, size in zip(view, shape, strict=False)]
        if any(not 0 <= start < end for start, end in zip(starts, ends, strict=True)):
            raise CompilerBug(f"{tensor}{starts} is outside shape {shape}", why=text_of(where))
        return tuple(
            slice(s, None) if isinstance(at, From) else s for s, at in zip(starts, view, strict=True)
        )
