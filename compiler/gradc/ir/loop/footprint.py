"""Which elements of which arrays a part of a kernel touches: the memory traffic that no cache can avoid.

An array counts once for all reads of a part and once for all its writes, with the number of distinct elements; what
the part has allocated itself is only written, because its own reads find it in a cache.  The set of elements at an
affine place is exact.  A place that depends on data may be any on its axis: there as many elements count as are
looked up, and no more than there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TypeAlias

import numpy as np

from gradc.ir.extents import evaluate
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Apply,
    CheckIndices,
    Clear,
    Contract,
    Expr,
    For,
    From,
    Launch,
    Let,
    Library,
    Load,
    Number,
    Product,
    Share,
    Statement,
    Store,
    Stride,
    Tasks,
    Var,
    When,
)
from gradc.ir.loop.runs import value_of
from gradc.ir.loop.sizes import size_of
from gradc.ir.loop.strip import Strip, strip_of
from gradc.ir.loop.walk import every, expressions, subexpressions
from gradc.ir.tensors import TensorType
from gradc.ir.types import DType
from gradc_runtime.contraction import positions

MARKED = 1 << 27  # elements of an array of which a map is kept where boxes overlap

Axis: TypeAlias = range | tuple[int, ...]  # positions in ascending order
Form: TypeAlias = tuple[dict[str, int], int]  # coefficients of loop indices, and a constant


@dataclass(frozen=True, slots=True)
class Footprint:
    """Elements read and written, by array; `touched` are those of both together."""

    read: Mapping[str, int]
    written: Mapping[str, int]
    touched: Mapping[str, int]

    def moved(self, types: Mapping[str, TensorType]) -> int:
        """Bytes read and written."""
        return _bytes(self.read, types) + _bytes(self.written, types)

    def held(self, types: Mapping[str, TensorType]) -> int:
        """Bytes of memory that all this takes."""
        return _bytes(self.touched, types)


def footprint(
    statements: Sequence[Statement], types: Mapping[str, TensorType], numbers: Mapping[str, int]
) -> Footprint:
    """Find what statements touch; `numbers` are the values of all extents (`gradc.ir.loop.sizes`)."""
    walk = _Walk(types, dict(numbers))
    walk.block(statements, 1)
    read = {name: walk.size(name, (walk.reads,)) for name in walk.reads if name not in walk.own}
    written = {name: walk.size(name, (walk.writes,)) for name in walk.writes}
    both = dict.fromkeys((*walk.reads, *walk.writes))
    return Footprint(read, written, {name: walk.size(name, (walk.reads, walk.writes)) for name in both})


def _bytes(elements: Mapping[str, int], types: Mapping[str, TensorType]) -> int:
    return sum(many * types[name].dtype.numpy.itemsize for name, many in elements.items())


@dataclass(slots=True)
class _Region:
    """A set of elements: boxes, other sets of positions in the flat array, and a number of look-ups anywhere."""

    boxes: dict[tuple[Axis, ...], None] = field(default_factory=dict)
    flat: list[np.ndarray] = field(default_factory=list)
    anywhere: int = 0


class _Walk:
    """Goes through statements with the range of every loop index and the affine form of every local integer."""

    def __init__(self, types: Mapping[str, TensorType], numbers: dict[str, int]) -> None:
        self.types = types
        self.numbers = numbers
        self.ranges: dict[str, int] = {}
        self.forms: dict[str, Form | None] = {}
        self.own: set[str] = set()
        self.near: set[str] = set()
        self.reads: dict[str, _Region] = {}
        self.writes: dict[str, _Region] = {}

    # --- statements -------------------------------------------------------------------------------------

    def block(self, statements: Sequence[Statement], trips: int) -> None:
        """Statements that run `trips` times; loops nest as deep as tensors have axes."""
        for statement in statements:
            for expression in expressions(statement):
                self.loads(expression, trips)
            match statement:
                case For() if (strip := strip_of(statement)) is not None:
                    self.strips(statement, strip, trips)
                case For(index, extent, body):
                    self.loop(index, evaluate(size_of(extent), self.numbers), body, trips)
                case Tasks():
                    self.tasks(statement)
                case Launch():
                    self.launch(statement)
                case _:
                    self.single(statement, trips)

    def single(self, statement: Statement, trips: int) -> None:
        """A statement without others in it."""
        match statement:
            case Let(name, value) if value.dtype is DType.INT64:
                self.forms[name] = self.form(value)
            case Store(tensor, indices) | AddTo(tensor, indices):
                self.element(self.writes, tensor, indices, trips)
                if isinstance(statement, AddTo):
                    self.element(self.reads, tensor, indices, trips)
            case _:
                self.whole(statement)

    def loop(self, index: str, extent: int, body: Sequence[Statement], trips: int) -> None:
        if extent > 0:
            self.ranges[index] = extent
            self.block(body, trips * extent)

    def tasks(self, tasks: Tasks) -> None:
        """All parts at once: the first index of a part and the steps from there are the whole loop."""
        count, extent = (evaluate(size_of(size), self.numbers) for size in (tasks.count, tasks.extent))
        if count > 0:
            self.ranges[tasks.part] = count
            self.forms[tasks.first] = ({}, 0)
            self.numbers[tasks.many] = extent
            self.block(tasks.body, 1)

    def launch(self, launch: Launch) -> None:
        """All threads at once; what they allocate and share is on the chip, not in memory."""
        self.near |= {found.tensor for found in every(launch.body) if isinstance(found, Allocate | Share)}
        self.forms[launch.block] = self.forms[launch.thread] = None
        self.threads(launch.body, launch.name)

    def threads(self, statements: Sequence[Statement], name: str) -> None:
        """A body that all threads together run as often as its symbol says (`gradc.ir.loop.runs`)."""
        trips = self.numbers[name]
        if not trips:
            return
        for at, statement in enumerate(statements):
            for expression in expressions(statement):
                self.loads(expression, trips)
            match statement:
                case For(index, extent, body) | Stride(index, _, extent, _, body):
                    # Together the threads go through the whole loop.
                    many = value_of(extent, self.numbers)
                    self.forms[index] = None if many is None else ({index: 1}, 0)
                    self.ranges[index] = int(many or 1)
                    self.threads(body, f"{name}.{at}")
                case When(_, body):
                    self.threads(body, f"{name}.{at}")
                case Allocate():
                    pass
                case _:
                    self.single(statement, trips)

    def strips(self, loop: For, strip: Strip, trips: int) -> None:
        """All strips at once: the lanes from the first index on are the whole loop."""
        self.forms[strip.start] = self.form(strip.first)
        self.numbers[strip.width] = evaluate(size_of(strip.many), self.numbers)
        if strip.limit is not None:
            self.numbers[strip.limit.name] = evaluate(size_of(strip.limit.columns), self.numbers)
        self.block(loop.body[2:], trips)

    def whole(self, statement: Statement) -> None:
        match statement:
            case Allocate(tensor, _, _, zeroed):
                self.own.add(tensor)
                if zeroed:
                    self.all_of(self.writes, (tensor,))
            case CheckIndices(tensor):
                self.all_of(self.reads, (tensor,))
            case Clear(tensor, _, _, unless) if unless and self.shape(tensor)[1:] == unless:
                pass
            case Clear(tensor, first, many):
                start = None if first is None else value_of(first, self.numbers)
                rows = None if many is None else value_of(many, self.numbers)
                if start is None or rows is None:  # all rows, or those of all parts
                    self.all_of(self.writes, (tensor,))
                    return
                box = (range(int(start), int(start + rows)), *map(range, self.shape(tensor)[1:]))
                self.writes.setdefault(tensor, _Region()).boxes[box] = None
            case Product(out, left, right):
                self.own.add(out)
                self.all_of(self.reads, (left, right))
                self.all_of(self.writes, (out,))
            case Library(outs, _, ins):
                self.own.update(outs)
                self.all_of(self.reads, ins)
                self.all_of(self.writes, outs)
            case Contract():
                self.contraction(statement)
            case _:
                pass

    def contraction(self, statement: Contract) -> None:
        texts = (statement.target, statement.first, statement.second)
        read = [positions(text) for text in texts]
        letters = sorted({letter for where in read for terms, _ in where for _, letter in terms})
        extents = [evaluate(size_of(size), self.numbers) for size in statement.extents]
        self.ranges.update((f"{letter} here", size) for letter, size in zip(letters, extents, strict=True))
        if not all(extents):
            return
        places: list[list[Form | None]] = [
            [
                *(self.form(index) for index in view if not isinstance(index, From)),
                # A block begins anywhere: all blocks of a loop count at once.
                *(({f"{letter} here": factor for factor, letter in terms}, offset) for terms, offset in at),
            ]
            for view, at in zip(statement.views, read, strict=True)
        ]
        self.place(self.writes, statement.out, places[0], 1)
        self.place(self.reads, statement.left, places[1], 1)
        self.place(self.reads, statement.right, places[2], 1)
        if statement.add:
            self.place(self.reads, statement.out, places[0], 1)

    # --- elements ---------------------------------------------------------------------------------------

    def loads(self, expression: Expr, trips: int) -> None:
        for found in subexpressions(expression):
            if isinstance(found, Load) and not found.tensor.endswith(".shape"):
                self.element(self.reads, found.tensor, found.indices, trips)

    def all_of(self, into: dict[str, _Region], names: Sequence[str]) -> None:
        for name in names:
            if name in self.types:  # else it is a number
                shape = self.shape(name)
                into.setdefault(name, _Region()).boxes[tuple(map(range, shape))] = None

    def element(self, into: dict[str, _Region], tensor: str, indices: Sequence[Expr], trips: int) -> None:
        if tensor not in self.near:
            self.place(into, tensor, [self.form(index) for index in indices], trips)

    def place(self, into: dict[str, _Region], tensor: str, forms: Sequence[Form | None], trips: int) -> None:
        """Note an access that is made `trips` times at a place with these forms on its axes."""
        region, shape = into.setdefault(tensor, _Region()), self.shape(tensor)
        known = [form for form in forms if form is not None]
        used = [index for form in known for index in form[0]]
        if len(known) == len(forms) and len(used) > len(set(used)):
            region.flat.append(self.flat(known, shape))
            return
        box = tuple(
            range(extent) if form is None else _clipped(self.axis(form), extent)
            for form, extent in zip(forms, shape, strict=True)
        )
        if len(known) == len(forms):
            region.boxes[box] = None
        else:
            region.anywhere += min(trips, prod(map(len, box)))

    def form(self, index: Expr) -> Form | None:
        """An index as a sum of multiples of loop indices, and a constant; None where it depends on data."""
        match index:
            case Number(value):
                return {}, int(value)
            case Var(name):
                if name in self.forms or name in self.ranges:
                    return self.forms.get(name, ({name: 1}, 0))
                return ({}, self.numbers[name]) if name in self.numbers else None
            case Apply("neg", (argument,)):
                return _scaled(self.form(argument), -1)
            case Apply("add" | "sub" as function, (left, right)):
                return _added(self.form(left), _scaled(self.form(right), 1 if function == "add" else -1))
            case Apply("mul", (left, right)):
                first, second = self.form(left), self.form(right)
                if first is not None and not first[0]:
                    return _scaled(second, first[1])
                return _scaled(first, second[1]) if second is not None and not second[0] else None
            case _:
                return None

    def axis(self, form: Form) -> Axis:
        """The positions that a form takes."""
        found: Axis = range(form[1], form[1] + 1)
        for index, factor in sorted(form[0].items(), key=lambda item: abs(item[1])):
            found = _spread(found, factor, self.ranges[index])
        return found

    def flat(self, forms: Sequence[Form], shape: Sequence[int]) -> np.ndarray:
        """Positions in the flat array, where one index stands on several axes."""
        factors: dict[str, int] = {}
        start, stride = 0, 1
        for (terms, constant), extent in zip(reversed(forms), reversed(shape), strict=True):
            start += constant * stride
            for index, factor in terms.items():
                factors[index] = factors.get(index, 0) + factor * stride
            stride *= extent
        found = np.array([start])
        for index, factor in factors.items():
            found = np.unique(np.add.outer(found, factor * np.arange(self.ranges[index])))
        return found[(found >= 0) & (found < stride)]

    # --- sizes ------------------------------------------------------------------------------------------

    def shape(self, tensor: str) -> tuple[int, ...]:
        return tuple(evaluate(size, self.numbers) for size in self.types[tensor].shape)

    def size(self, name: str, kinds: Sequence[Mapping[str, _Region]]) -> int:
        """How many elements the regions of one array hold together."""
        regions = [kind[name] for kind in kinds if name in kind]
        shape = self.shape(name)
        boxes = dict.fromkeys(box for region in regions for box in region.boxes)
        flat = [places for region in regions for places in region.flat]
        found = _distinct(list(boxes), flat, shape)
        return min(prod(shape), found + sum(region.anywhere for region in regions))


def _distinct(boxes: Sequence[tuple[Axis, ...]], flat: Sequence[np.ndarray], shape: tuple[int, ...]) -> int:
    """How many elements lie in at least one of the sets."""
    sizes = [prod(map(len, box)) for box in boxes] + [len(places) for places in flat]
    most = prod(shape)
    if len(sizes) < 2 or max(sizes) == most or most > MARKED:
        return min(most, sum(sizes))
    marked = np.zeros(shape, bool)
    for box in boxes:
        marked[np.ix_(*(np.array(axis, np.intp) for axis in box))] = True
    for places in flat:
        marked.reshape(-1)[places] = True
    return int(marked.sum())


def _scaled(form: Form | None, factor: int) -> Form | None:
    if form is None:
        return None
    return {index: factor * each for index, each in form[0].items()}, factor * form[1]


def _added(first: Form | None, second: Form | None) -> Form | None:
    if first is None or second is None:
        return None
    terms = dict(first[0])
    for index, factor in second[0].items():
        terms[index] = terms.get(index, 0) + factor
    return {index: factor for index, factor in terms.items() if factor}, first[1] + second[1]


def _spread(axis: Axis, factor: int, many: int) -> Axis:
    """The sums of a position and of a multiple ``factor * i``, ``i < many``."""
    reach = abs(factor) * (many - 1)
    start = axis[0] - (reach if factor < 0 else 0)
    if isinstance(axis, range):
        if len(axis) == 1:
            return range(start, start + reach + 1, abs(factor) or 1)
        if abs(factor) % axis.step == 0 and abs(factor) <= len(axis) * axis.step:
            return range(start, axis[-1] + start - axis[0] + reach + 1, axis.step)
    return tuple(sorted({position + factor * step for position in axis for step in range(many)}))


def _clipped(axis: Axis, extent: int) -> Axis:
    """Without positions outside the array: an arm that is not taken may stand there."""
    if axis[0] >= 0 and axis[-1] < extent:
        return axis
    return tuple(position for position in axis if 0 <= position < extent)
