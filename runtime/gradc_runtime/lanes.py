"""Loops over long straight-line iterations, several at a time in the lanes of vectors, compiled from data.

    @over_lanes(STEPS)
    def block(i, totals, x, y, a): ...          # one iteration

    run_lanes(block, first, many, totals, (x, y, a))

LLVM's own vectoriser gives up on loops that read and write many elements of rows.  Here every value of an iteration
is a vector with a lane for each of several iterations; neighbours in a row are read and written together, and
transposed in registers.  The steps are those of `gradc_runtime.straight_line`, with these:

    step := ("truth", bool)
          | ("load", k, place) | ("store", k, place, operand)   element of array argument k
          | ("sum", t, operand)                                 add to total t

A place has an index for every axis, None where it is that of the iteration.  In the last vector lanes behind the end
repeat the last iteration: they store what it stores or nothing, and add nothing to totals.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, reduce
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import lower_builtin, type_callable

from gradc_runtime import machine_code
from gradc_runtime.lane_order import in_order
from gradc_runtime.lane_rows import Place, Rows, alike, rows_of, windows
from gradc_runtime.numba_backend import compiling
from gradc_runtime.opaque import opaque
from gradc_runtime.simd import first_lanes, masked_load, masked_store, prefer_wide_vectors, vector_bytes
from gradc_runtime.straight_line import Step, StepEmitter, has_lanes
from gradc_runtime.vecmath_lanes import call_defined

Value = Any  # of LLVM
Axes = tuple[int, ...]
Layout = tuple[int, bool]  # the rank of an array, and whether it is C-contiguous
FEWEST_BYTES = 32  # of a vector register: smaller ones have no masks
# By their bytes: results that are alive at once.  A few more than there are registers: operands may be in memory.
REGISTERS = {16: 20, 32: 20, 64: 40}

_DOUBLE, _WORD, _LANE = ir.DoubleType(), ir.IntType(64), ir.IntType(32)


class OverLanes:
    """One iteration of a loop; called from Python it runs as it stands."""

    def __init__(self, steps: Sequence[Step], function: Callable[..., None]) -> None:
        self.steps = tuple(steps)
        self.name = function.__name__
        self.function = function

    def __call__(self, *arguments: Any) -> None:
        """Run one iteration."""
        self.function(*arguments)


def over_lanes(steps: Sequence[Step]) -> Callable[[Callable[..., None]], OverLanes]:
    """Compile loops over the decorated function from `steps`."""
    return lambda function: OverLanes(steps, function)


def run_lanes(function: OverLanes, first: int, many: int, totals: Any, arguments: tuple[Any, ...]) -> None:
    """Call ``function(i, totals, *arguments)`` for the `many` indices from `first` on.

    `totals` is an array of float64 that is added to, or None where an iteration adds to none.
    """
    for index in range(first, first + many):
        function(index, totals, *arguments)


# --- for Numba ----------------------------------------------------------------------------------------------


_LanesType = opaque(OverLanes)


@type_callable(run_lanes)
def _type_of_run(context: Any) -> Any:
    def typer(function: Any, first: Any, many: Any, totals: Any, arguments: Any) -> Any:
        return types.none if isinstance(function, _LanesType) else None

    return typer


@lower_builtin(run_lanes, _LanesType, types.Integer, types.Integer, types.Any, types.BaseTuple)
def _lower_run(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
    """Call the loop by symbol, with the addresses and strides of arrays, and numbers."""
    function, _, _, totals, kinds = signature.args
    if isinstance(totals, types.Array):
        sums = context.make_array(totals)(context, builder, value=values[3]).data
    else:
        sums = ir.Constant(_DOUBLE.as_pointer(), None)
    given = [*values[1:3], sums]
    arrays = []
    for value, kind in zip(cgutils.unpack_tuple(builder, values[4]), kinds.types, strict=True):
        if isinstance(kind, types.Array):
            array = context.make_array(kind)(context, builder, value=value)
            given += [builder.ptrtoint(array.data, _WORD), *cgutils.unpack_tuple(builder, array.strides)]
        else:
            given.append(value)
        arrays.append((kind.ndim, kind.layout == "C") if isinstance(kind, types.Array) else None)
    symbol = _compiled(function.made.steps, tuple(arrays))
    declared = ir.FunctionType(ir.VoidType(), [value.type for value in given])
    builder.call(cgutils.get_or_insert_function(builder.module, declared, symbol), given)
    return context.get_dummy_value()


@cache
def _compiled(steps: tuple[Step, ...], arrays: tuple[Layout | None, ...]) -> str:
    """Compile a loop for arrays of these layouts, None for a number; the symbol it is called by."""
    symbol = f"gradc_loop_{hashlib.sha256(repr((steps, arrays)).encode()).hexdigest()[:32]}"
    parts = [[_DOUBLE] if layout is None else [_WORD] * (1 + layout[0]) for layout in arrays]
    kind = ir.FunctionType(
        ir.VoidType(), [_WORD, _WORD, _DOUBLE.as_pointer(), *(one for part in parts for one in part)]
    )
    with compiling:
        machine_code.provide_emitted(
            symbol, kind, lambda builder, context: _Loop(builder, arrays).emit(steps)
        )
    return symbol


def _axes(place: Place) -> Axes:
    """The axes along which an element moves with the iteration."""
    return tuple(axis for axis, index in enumerate(place) if index is None)


# --- instructions -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Array:
    """An argument that is an array, and where the iterations of a vector find their elements."""

    data: Value
    strides: list[Value]
    # By axes of the iteration: bytes from the first iteration of a vector to each, and the address of the first.
    offsets: dict[Axes, list[Value]] = field(default_factory=dict)
    bases: dict[Axes, Value] = field(default_factory=dict)

    def step(self, builder: ir.IRBuilder, axes: Axes) -> Value:
        """Bytes from one iteration to the next."""
        first, *others = axes
        return reduce(builder.add, (self.strides[axis] for axis in others), self.strides[first])


class _Loop(StepEmitter):
    """The instructions of a loop."""

    def __init__(self, builder: ir.IRBuilder, layouts: Sequence[Layout | None]) -> None:
        super().__init__(builder)
        self.lanes = max(2, vector_bytes() // 8)
        self.vector = ir.VectorType(_DOUBLE, self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)
        self.first, self.many, self.totals, *given = builder.function.args
        self.layouts = layouts
        self.numbers: dict[int, Value] = {}
        self.arrays: dict[int, _Array] = {}
        for position, layout in enumerate(layouts):
            value = given.pop(0)
            if layout is None:
                self.numbers[position] = value
                continue
            rank, contiguous = layout
            strides = [given.pop(0) for _ in range(rank)]
            if contiguous:
                strides[rank - 1 :] = [_WORD(8)]
            self.arrays[position] = _Array(value, strides)
        self.rows = Rows(builder, self.vector)
        self.windows: dict[tuple[int, Place], list[int]] = {}
        self.loaded: dict[tuple[int, Place], Value] = {}
        self.sums: dict[int, Value] = {}

    def emit(self, steps: Sequence[Step]) -> None:
        """Emit two loops in one: over whole vectors of iterations, then over what is left."""
        builder, steps = self.builder, in_order(steps, self.lanes, REGISTERS[vector_bytes()])
        prefer_wide_vectors(builder)
        self.steps = steps
        for step in steps:
            if step[0] == "sum" and step[1] not in self.sums:
                self.sums[step[1]] = cgutils.alloca_once_value(builder, self.zero)
        lanes = _WORD(self.lanes)
        whole, rest = builder.sdiv(self.many, lanes), builder.srem(self.many, lanes)
        left = builder.zext(builder.icmp_signed(">", rest, _WORD(0)), _WORD)
        with cgutils.for_range(builder, _WORD(2)) as phase:
            last = builder.icmp_signed("==", phase.index, _WORD(1))
            begin = builder.add(self.first, builder.select(last, builder.mul(whole, lanes), _WORD(0)))
            self.set_lanes(steps, builder.select(last, rest, lanes))
            with cgutils.for_range(builder, builder.select(last, left, whole)) as loop:
                self.start = builder.add(begin, builder.mul(loop.index, lanes))
                self.vector_of(steps)
        for total, place in self.sums.items():
            target = builder.gep(self.totals, [_WORD(total)])
            value = builder.load(target)
            for part in self.scalars(builder.load(place)):
                value = builder.fadd(value, part)
            builder.store(value, target)
        builder.ret_void()

    def set_lanes(self, steps: Sequence[Step], inside: Value) -> None:
        """Say where the lanes of vectors find their elements, of which the first `inside` are iterations."""
        builder = self.builder
        self.inside = first_lanes(builder, inside, self.lanes)
        self.last = builder.sub(inside, _WORD(1))
        numbers = []
        for lane in range(self.lanes):
            beyond = builder.icmp_signed(">", _WORD(lane), self.last)
            numbers.append(builder.select(beyond, self.last, _WORD(lane)))
        for step in steps:
            if step[0] in ("load", "store") and None in step[2]:
                array, axes = self.arrays[step[1]], _axes(step[2])
                if axes not in array.offsets:
                    stride = array.step(builder, axes)
                    array.offsets[axes] = [builder.mul(at, stride) for at in numbers]

    def vector_of(self, steps: Sequence[Step]) -> None:
        """Emit the steps of one vector of iterations."""
        written = {step[1] for step in steps if step[0] == "store"}
        read = [(step[1], step[2]) for step in steps if step[0] == "load" and step[1] not in written]
        for (position, row), columns in rows_of(dict.fromkeys(read)).items():
            for window in windows(columns, self.lanes, gaps=True):
                self.windows |= {(position, (*row, column)): window for column in window}
        number = 0
        while number < len(steps):
            stores = list(itertools.takewhile(lambda step: step[0] == "store", steps[number:]))
            if not alike((step[1], step[2]) for step in stores):
                stores = stores[:1]
            if stores:
                self.store_rows({(step[1], step[2]): self.results[step[3]] for step in stores})
            else:
                self.results[number] = self.step(steps[number])
            number += max(1, len(stores))

    def step(self, step: Step) -> Value:
        """One step of all lanes."""
        match step:
            case ("constant", value, *_):
                return ir.Constant(self.vector, [float(value)] * self.lanes)
            case ("truth", value, *_):
                return ir.Constant(ir.VectorType(ir.IntType(1), self.lanes), [int(value)] * self.lanes)
            case ("argument", position):
                return self.together([self.numbers[position]] * self.lanes)
            case ("load", position, place):
                return self.load(position, place)
            case ("sum", total, operand):
                kept = self.builder.select(self.inside, self.results[operand], self.zero)
                place = self.sums[total]
                return self.builder.store(self.builder.fadd(self.builder.load(place), kept), place)
            case ("plus", total, operand):
                return self.plus(self.results[total], self.steps[operand], self.results[operand])
            case (function, *operands):
                return self.apply(function, [self.results[operand] for operand in operands])
            case _:
                raise ValueError(f"unknown step {step}")

    def plus(self, total: Value, step: Step, value: Value) -> Value:
        """Add a step's result to a sum; one that is 0 in some lanes in the others alone, as one operation."""
        match step:
            case ("select", condition, chosen, other) if self.is_zero(other):
                return self.builder.select(
                    self.results[condition], self.apply("plus", [total, self.results[chosen]]), total
                )
            case ("select", condition, other, chosen) if self.is_zero(other):
                return self.builder.select(
                    self.results[condition], total, self.apply("plus", [total, self.results[chosen]])
                )
            case _:
                return self.apply("plus", [total, value])

    def is_zero(self, number: int) -> bool:
        """Whether a step is the constant 0."""
        return self.steps[number][0] == "constant" and self.steps[number][1] == 0

    def elements(self, position: int, place: Place) -> list[Value]:
        """The pointers to an element of every lane's row; one for all where the place is fixed."""
        builder, array = self.builder, self.arrays[position]
        offset = _WORD(0)
        for index, stride in zip(place, array.strides, strict=True):
            if index:
                offset = builder.add(offset, builder.mul(_WORD(index), stride))
        if None not in place:
            found = builder.inttoptr(builder.add(array.data, offset), _DOUBLE.as_pointer())
            return [found] * self.lanes
        axes = _axes(place)
        if axes not in array.bases:
            array.bases[axes] = builder.add(array.data, builder.mul(self.start, array.step(builder, axes)))
        base = builder.add(array.bases[axes], offset)
        return [builder.inttoptr(builder.add(base, at), _DOUBLE.as_pointer()) for at in array.offsets[axes]]

    # --- rows -----------------------------------------------------------------------------------------

    def load(self, position: int, place: Place) -> Value:
        """An element of every lane's row; neighbours come with it."""
        if (position, place) in self.loaded:
            return self.loaded[position, place]
        window = self.windows.get((position, place))
        if window is not None:
            pointers = self.elements(position, (*place[:-1], window[0]))
            for column, value in self.rows.load(pointers, window).items():
                self.loaded[position, (*place[:-1], column)] = value
            return self.loaded[position, place]
        pointers = self.elements(position, place)
        if not self.is_one_row(position, place):
            return self.together([self.builder.load(at) for at in pointers])
        beyond = self.together([self.builder.load(self.builder.gep(pointers[0], [self.last]))] * self.lanes)
        start = self.builder.bitcast(pointers[0], self.vector.as_pointer())
        return masked_load(self.builder, start, self.inside, beyond)

    def store_rows(self, values: dict[tuple[int, Place], Value]) -> None:
        """Store neighbours together."""
        for (position, row), columns in rows_of(values).items():
            for window in windows(columns, self.lanes, gaps=self.rows.masked):
                pointers = self.elements(position, (*row, window[0]))
                self.rows.store(
                    pointers, {column: values.pop((position, (*row, column))) for column in window}
                )
        for (position, place), value in values.items():
            if self.is_one_row(position, place):
                start = self.builder.bitcast(self.elements(position, place)[0], self.vector.as_pointer())
                masked_store(self.builder, value, start, self.inside)
                continue
            for at, number in zip(self.elements(position, place), self.scalars(value), strict=True):
                self.builder.store(number, at)

    def is_one_row(self, position: int, place: Place) -> bool:
        """Whether the elements of neighbouring iterations are neighbours, and vectors can be masked."""
        layout, last = self.layouts[position], len(place) - 1
        return layout is not None and layout[1] and _axes(place) == (last,) and vector_bytes() >= FEWEST_BYTES

    # --- numbers --------------------------------------------------------------------------------------

    def together(self, values: Sequence[Value]) -> Value:
        """A vector of numbers."""
        found = ir.Constant(self.vector, ir.Undefined)
        for lane, value in enumerate(values):
            found = self.builder.insert_element(found, value, _LANE(lane))
        return found

    def scalars(self, vector: Value) -> list[Value]:
        """The numbers of a vector."""
        return [self.builder.extract_element(vector, _LANE(lane)) for lane in range(self.lanes)]

    def call(self, function: str, operands: list[Value]) -> Value:
        """A function in its form for vectors; without one, lane by lane."""
        if not has_lanes(function):
            parts = zip(*map(self.scalars, operands), strict=True)
            return self.together([super(_Loop, self).call(function, list(part)) for part in parts])
        return call_defined(self.builder, function, operands)


__all__ = ["over_lanes", "run_lanes"]
