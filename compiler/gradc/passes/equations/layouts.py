"""Channels last: images between convolutions are stored pixel by pixel, all channels of a pixel side by side.

A convolution then reads and writes rows of channels, and what comes between two of them (biases, activations, pooling
and their gradients) runs along channels, which are neighbours in memory, however small the images are.

    y[n, o, p, q] = sum[c, i, j] k[o, c, i, j] * x[n, c, p+i, q+j]        with x and y stored [n, o, p, q]
    ->   y[n, p, q, o] = sum[i, j, c] k[o, c, i, j] * x[n, p+i, q+j, c]

What is an axis of channels follows from the sums of products over windows: an index of the weights that is in no
window.  Axes that run with one another, through all equations, are of one kind.  Arguments, results and what functions
of the library read and return keep the order of their axes: they are copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Assemble,
    Assign,
    Call,
    Equation,
    Index,
    Lookup,
    Program,
    accesses_of,
    outputs_of,
    terms_of,
)
from gradc.ir.index.rewrite import map_index, map_operand, renumber
from gradc.ir.index.templates import template
from gradc.ir.names import NameSupply
from gradc.ir.types import DType

Axis: TypeAlias = tuple[str | int, int]
"""An axis of a tensor, or an index of the equation of a number."""


def channels_last(program: Program) -> Program:
    """Store the images of convolutions with their channels last.

    Requires: `program` is valid.  Ensures: the same values, with the sums of convolutions in another order.
    """
    kinds = _Kinds(program)
    if not kinds.channels or kinds.channels & kinds.spatial:
        return program
    orders = {name: order for name in program.types if (order := kinds.order(name)) is not None}
    fixed = _of_fixed_order(program)
    assembled = {n for e in program.equations if isinstance(e, Assemble) for n in (e.out, *e.parts)}
    for equation in program.equations:
        if isinstance(equation, Assign) and equation.template.is_copy and equation.out in fixed - assembled:
            orders.pop(equation.out, None)  # it is a copy as it is
    if fixed.issuperset(orders):  # copies would be all that there is
        return program
    return _Rewriting(program, kinds, orders, fixed).program()


def _of_fixed_order(program: Program) -> set[str]:
    """Tensors whose order of axes is not ours to choose."""
    calls = [equation for equation in program.equations if isinstance(equation, Call)]
    return {*program.inputs, *program.outputs, *(n for call in calls for n in (*call.ins, *call.outs))}


# --- kinds of axes ------------------------------------------------------------------------------------------


class _Kinds:
    """Which axes run with one another, which of them are positions in images, and which are channels."""

    def __init__(self, program: Program) -> None:
        self.types = program.types
        self.parents: dict[Axis, Axis] = {}
        moved: set[Axis] = set()
        for number, equation in enumerate(program.equations):
            if isinstance(equation, Assemble):
                for part in equation.parts:
                    for axis in range(len(program.types[part].shape)):
                        self.join((part, axis), (equation.out, axis))
            elif not isinstance(equation, Call):
                moved |= self.look(number, equation)
        self.channels, gradients = self.of_convolutions(program.equations)
        self.spatial = {self.kind(axis) for axis in moved if axis[0] not in gradients}
        # Places in a window, not in an image: what weights become in an update keeps the order of the weights.
        self.offsets = {(gradients[place], axis) for place, axis in moved if place in gradients}

    def look(self, number: int, equation: Assign | Accumulate) -> set[Axis]:
        """Join axes that run with an index; the axes and indices of windows."""
        found: set[Axis] = set()
        for access in _all_accesses(equation):
            for axis, index in enumerate(access.indices):
                terms = _terms(index)
                if _is_window(index):
                    found.add((access.tensor, axis))
                    found |= {(number, at) for _, at in terms if _is_free(equation, at)}
                elif terms:
                    self.join((access.tensor, axis), (number, terms[0][1]))
        return found

    def of_convolutions(self, equations: Sequence[Equation]) -> tuple[set[Axis], dict[str | int, str]]:
        """The kinds of channels, and the gradients of weights by the numbers of their equations.

        A convolution and the gradient of its weights have the same form, with batch and channels in each other's
        place: the convolution comes first, and what contradicts it is no convolution.
        """
        channels: set[Axis] = set()
        batch: set[Axis] = set()
        gradients: dict[str | int, str] = {}
        for number, equation in enumerate(equations):
            of_weights, of_images = (
                {self.kind((number, at)) for at in indices} for indices in _outside_windows(equation)
            )
            if of_weights & batch or of_images & channels:
                (gradients[number],) = outputs_of(equation)
            else:
                channels |= of_weights
                batch |= of_images
        return channels, gradients

    def join(self, first: Axis, second: Axis) -> None:
        self.parents[self.kind(first)] = self.kind(second)

    def kind(self, axis: Axis) -> Axis:
        """What stands for all axes that run with one."""
        root = axis
        while root in self.parents and self.parents[root] != root:
            root = self.parents[root]
        while axis != root:
            self.parents[axis], axis = root, self.parents[axis]
        return root

    def order(self, name: str) -> tuple[int, ...] | None:
        """The axes of a tensor with its channels behind its pixels; None where they are, or where it is no image."""
        type_ = self.types[name]
        if not (type_.dtype.is_float or type_.dtype is DType.BOOL):
            return None
        kinds = [self.kind((name, axis)) for axis in range(len(type_.shape))]
        if sum(kind in self.channels for kind in kinds) != 1:
            return None
        return self.behind_pixels(kinds, {at for at in range(len(kinds)) if (name, at) in self.offsets})

    def behind_pixels(self, kinds: Sequence[Axis], offsets: Set[int] = frozenset()) -> tuple[int, ...] | None:
        """Positions, with those of channels behind the last one of a pixel or in `offsets`; None if they are there."""
        channels = [at for at, kind in enumerate(kinds) if kind in self.channels]
        last = max((at for at, kind in enumerate(kinds) if kind in self.spatial or at in offsets), default=-1)
        early = [at for at in channels if at < last]
        if not early:
            return None
        order = [at for at in range(len(kinds)) if at not in early]
        place = order.index(last) + 1
        return (*order[:place], *early, *order[place:])


def _all_accesses(equation: Assign | Accumulate) -> Iterator[Access]:
    target = equation.target if isinstance(equation, Accumulate) else tuple(range(equation.rank))
    yield Access(equation.out, target)
    yield from accesses_of(equation)


def _is_window(index: Index) -> bool:
    """Whether an index moves a window: ``p + i`` or ``2 * p``."""
    terms = _terms(index)
    return len(terms) > 1 or any(factor > 1 for factor, _ in terms)


def _terms(index: Index) -> tuple[tuple[int, int], ...]:
    return () if isinstance(index, Lookup) else terms_of(index)[0]


def _is_free(equation: Assign | Accumulate, index: int) -> bool:
    return isinstance(equation, Assign) and index < equation.rank


def _outside_windows(equation: Equation) -> tuple[set[int], set[int]]:
    """The indices outside the windows of a sum of products: those of the weights, and those of images alone."""
    if not isinstance(equation, Assign) or equation.reduce is None or equation.template.name != "mul":
        return set(), set()
    accesses = list(accesses_of(equation))
    moved = [access for access in accesses if any(map(_is_window, access.indices))]
    if len(accesses) != 2 or len(moved) != 1 or equation.reduce.op != "sum":
        return set(), set()
    (images,) = moved
    windows = {at for index in images.indices if _is_window(index) for _, at in _terms(index)}
    (weights,) = (access for access in accesses if access is not images)
    of_weights, of_images = (
        {index for index in access.indices if isinstance(index, int)} for access in (weights, images)
    )
    if not of_weights & windows:
        return set(), set()
    return of_weights - windows, of_images - of_weights


# --- rewriting ----------------------------------------------------------------------------------------------


@dataclass
class _Rewriting:
    """A program with tensors stored in other orders."""

    before: Program
    kinds: _Kinds
    orders: dict[str, tuple[int, ...]]
    fixed: set[str]
    renamed: dict[str, str] = field(default_factory=dict)  # tensors of fixed order: their copies

    def program(self) -> Program:
        before = self.before
        calls = [equation for equation in before.equations if isinstance(equation, Call)]
        given = {*before.inputs, *(name for call in calls for name in call.outs)}
        supply = NameSupply(tuple(before.types))
        self.renamed = {name: supply.fresh(f"{name}_last") for name in self.orders if name in self.fixed}
        last = {name: at for at, e in enumerate(before.equations) for name in outputs_of(e)}
        equations: list[Equation] = [self.copied(name) for name in before.inputs if name in self.renamed]
        for at, equation in enumerate(before.equations):
            equations.append(self.equation(at, equation))
            for name in outputs_of(equation):
                if name in self.renamed and last[name] == at:
                    equations.append(self.copied(name) if name in given else self.copied_back(name))
        types = dict(before.types)
        for name, order in self.orders.items():
            stored = replace(types[name], shape=tuple(types[name].shape[axis] for axis in order))
            types[self.renamed.get(name, name)] = stored
        return replace(before, equations=tuple(equations), types=types)

    def copied(self, name: str) -> Assign:
        """The copy of a tensor, channels last."""
        order = self.orders[name]
        shape = tuple(self.before.types[name].shape[axis] for axis in order)
        read = Access(name, tuple(order.index(axis) for axis in range(len(order))))
        return Assign(self.renamed[name], shape, len(shape), None, template("copy"), (read,))

    def copied_back(self, name: str) -> Assign:
        """A tensor of fixed order, from what was computed with channels last."""
        shape = self.before.types[name].shape
        read = Access(self.renamed[name], self.orders[name])
        return Assign(name, shape, len(shape), None, template("copy"), (read,))

    def equation(self, number: int, equation: Equation) -> Equation:
        """An equation with its tensors in their orders, and its own indices in that of its result."""
        match equation:
            case Assemble(out, axis, parts):
                order = self.orders.get(out)
                if order is None:
                    return equation
                names = tuple(self.renamed.get(part, part) for part in parts)
                return replace(equation, out=self.renamed.get(out, out), axis=order.index(axis), parts=names)
            case Assign():
                return self.reordered(equation, self.assign_order(number, equation))
            case Accumulate():
                kinds = [self.kinds.kind((number, at)) for at in range(len(equation.space))]
                order = self.kinds.behind_pixels(kinds)
                return self.reordered(equation, order or tuple(range(len(kinds))))
            case Call():
                return equation

    def assign_order(self, number: int, equation: Assign) -> tuple[int, ...]:
        """The order of the indices: those of the result as it is stored; of those summed, channels last."""
        free = self.orders.get(equation.out, tuple(range(equation.rank)))
        summed = range(equation.rank, len(equation.space))
        is_channel = {at: self.kinds.kind((number, at)) in self.kinds.channels for at in summed}
        return (*free, *sorted(summed, key=lambda at: is_channel[at]))

    def reordered(self, equation: Assign | Accumulate, order: Sequence[int]) -> Assign | Accumulate:
        """An equation with its indices in another order, reading tensors as they are stored."""
        change = renumber({position: at for at, position in enumerate(order)})
        operands = tuple(
            self.stored(changed) if isinstance(changed, Access) else changed
            for changed in (map_operand(operand, change) for operand in equation.operands)
        )
        space = tuple(equation.space[position] for position in order)
        out = self.renamed.get(equation.out, equation.out)
        if isinstance(equation, Assign):
            return replace(equation, out=out, space=space, operands=operands)
        target = self.stored(Access(equation.out, tuple(map_index(i, change) for i in equation.target)))
        return replace(equation, out=out, space=space, target=target.indices, operands=operands)

    def stored(self, access: Access) -> Access:
        """An access to a tensor as it is stored."""
        order = self.orders.get(access.tensor)
        if order is None:
            return access
        name = self.renamed.get(access.tensor, access.tensor)
        return Access(name, tuple(access.indices[axis] for axis in order))
