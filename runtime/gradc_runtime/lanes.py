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
repeat the last iteration: they store what it stores, and add nothing to totals.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import lower_builtin, type_callable

from gradc_runtime import machine_code
from gradc_runtime.numba_backend import compiling
from gradc_runtime.opaque import opaque
from gradc_runtime.simd import prefer_wide_vectors, transposed, vector_bytes
from gradc_runtime.straight_line import Step, StepEmitter, has_lanes
from gradc_runtime.vecmath_lanes import call_vectors

Value = Any  # of LLVM
Place = tuple[Any, ...]  # an index for every axis, None for that of the iteration
FEWEST = 2  # neighbours in a row that are worth a transpose

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
    """Call ``function(i, totals, *arguments)`` for the `many` indices from `first` on."""
    for index in range(first, first + many):
        function(index, totals, *arguments)


# --- for Numba ----------------------------------------------------------------------------------------------


_LanesType = opaque(OverLanes)


@type_callable(run_lanes)
def _type_of_run(context: Any) -> Any:
    def typer(function: Any, first: Any, many: Any, totals: Any, arguments: Any) -> Any:
        return types.none if isinstance(function, _LanesType) else None

    return typer


@lower_builtin(run_lanes, _LanesType, types.Integer, types.Integer, types.Array, types.BaseTuple)
def _lower_run(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
    """Call the loop by symbol, with the addresses and strides of arrays, and numbers."""
    function, _, _, totals, kinds = signature.args
    given = [*values[1:3], context.make_array(totals)(context, builder, value=values[3]).data]
    ranks = []
    for value, kind in zip(cgutils.unpack_tuple(builder, values[4]), kinds.types, strict=True):
        if isinstance(kind, types.Array):
            array = context.make_array(kind)(context, builder, value=value)
            given += [builder.ptrtoint(array.data, _WORD), *cgutils.unpack_tuple(builder, array.strides)]
        else:
            given.append(value)
        ranks.append(kind.ndim if isinstance(kind, types.Array) else 0)
    symbol = _compiled(function.made.steps, tuple(ranks))
    declared = ir.FunctionType(ir.VoidType(), [value.type for value in given])
    builder.call(cgutils.get_or_insert_function(builder.module, declared, symbol), given)
    return context.get_dummy_value()


@cache
def _compiled(steps: tuple[Step, ...], ranks: tuple[int, ...]) -> str:
    """Compile a loop for arguments of these ranks, 0 for a number; the symbol it is called by."""
    symbol = f"gradc_loop_{hashlib.sha256(repr((steps, ranks)).encode()).hexdigest()[:32]}"
    parts = [[_WORD] * (1 + rank) if rank else [_DOUBLE] for rank in ranks]
    kind = ir.FunctionType(
        ir.VoidType(), [_WORD, _WORD, _DOUBLE.as_pointer(), *(one for part in parts for one in part)]
    )
    with compiling:
        machine_code.provide_emitted(symbol, kind, lambda builder, context: _Loop(builder, ranks).emit(steps))
    return symbol


def _rows(places: Iterable[tuple[int, Place]]) -> dict[tuple[int, Place], list[Place]]:
    """Places in rows of the iterations, by array and row: all that differ in the last index alone."""
    found: dict[tuple[int, Place], list[Place]] = {}
    for position, place in places:
        if None in place[:-1]:
            found.setdefault((position, place[:-1]), []).append(place)
    return found


# --- instructions -------------------------------------------------------------------------------------------


class _Loop(StepEmitter):
    """The instructions of a loop."""

    def __init__(self, builder: ir.IRBuilder, ranks: Sequence[int]) -> None:
        super().__init__(builder)
        self.lanes = max(2, vector_bytes() // 8)
        self.vector = ir.VectorType(_DOUBLE, self.lanes)
        self.first, self.many, self.totals, *given = builder.function.args
        self.arguments: list[Any] = []  # numbers, or the address and the strides of an array
        for rank in ranks:
            self.arguments.append(given[: rank + 1] if rank else given[0])
            del given[: rank + 1 if rank else 1]
        # By array and axis: the addresses of the rows of the iterations in a vector.
        self.rows: dict[tuple[int, int], list[Value]] = {}
        self.loaded: dict[tuple[int, Place], Value] = {}
        self.sums: dict[int, Value] = {}

    def emit(self, steps: Sequence[Step]) -> None:
        """Emit the loop over vectors of iterations."""
        builder = self.builder
        prefer_wide_vectors(builder)
        zero = ir.Constant(self.vector, [0.0] * self.lanes)
        for step in steps:
            if step[0] == "sum" and step[1] not in self.sums:
                self.sums[step[1]] = cgutils.alloca_once_value(builder, zero)
        last = builder.sub(self.many, _WORD(1))
        vectors = builder.sdiv(builder.add(self.many, _WORD(self.lanes - 1)), _WORD(self.lanes))
        with cgutils.for_range(builder, vectors) as loop:
            start = builder.mul(loop.index, _WORD(self.lanes))
            self.inside = []  # whether a lane is an iteration of its own
            self.indices = []
            for lane in range(self.lanes):
                at = builder.add(start, _WORD(lane))
                inside = builder.icmp_signed("<=", at, last)
                self.inside.append(inside)
                self.indices.append(builder.add(self.first, builder.select(inside, at, last)))
            self.load_rows(steps)
            number = 0
            while number < len(steps):
                stores = list(itertools.takewhile(lambda step: step[0] == "store", steps[number:]))
                if stores:
                    self.store_rows(stores)
                else:
                    self.results[number] = self.step(steps[number])
                number += max(1, len(stores))
        for total, place in self.sums.items():
            target = builder.gep(self.totals, [_WORD(total)])
            value = builder.load(target)
            for part in self.scalars(builder.load(place)):
                value = builder.fadd(value, part)
            builder.store(value, target)
        builder.ret_void()

    def step(self, step: Step) -> Value:
        """One step of all lanes."""
        match step:
            case ("constant", number):
                return ir.Constant(self.vector, [float(number)] * self.lanes)
            case ("truth", value):
                return ir.Constant(ir.VectorType(ir.IntType(1), self.lanes), [int(value)] * self.lanes)
            case ("argument", position):
                return self.together([self.arguments[position]] * self.lanes)
            case ("load", position, place) if (position, place) in self.loaded:
                return self.loaded[position, place]
            case ("load", position, place):
                return self.together([self.builder.load(at) for at in self.elements(position, place)])
            case ("sum", total, operand):
                return self.add(self.sums[total], self.results[operand])
            case (function, *operands):
                return self.apply(function, [self.results[operand] for operand in operands])
            case _:
                raise ValueError(f"unknown step {step}")

    def elements(self, position: int, place: Sequence[int | None]) -> list[Value]:
        """The pointers to an element of every lane's row; one for all where the place is fixed."""
        builder, (data, *strides) = self.builder, self.arguments[position]
        axis = place.index(None) if None in place else -1
        if (position, axis) not in self.rows:
            steps = [builder.mul(index, strides[axis]) for index in self.indices] if axis >= 0 else [_WORD(0)]
            self.rows[position, axis] = [builder.add(data, step) for step in steps]
        offset = _WORD(0)
        for index, stride in zip(place, strides, strict=True):
            if index:
                offset = builder.add(offset, builder.mul(_WORD(index), stride))
        rows = self.rows[position, axis]
        found = [builder.inttoptr(builder.add(row, offset), _DOUBLE.as_pointer()) for row in rows]
        return found * self.lanes if axis < 0 else found

    # --- rows -----------------------------------------------------------------------------------------

    def load_rows(self, steps: Sequence[Step]) -> None:
        """Load neighbours in rows together, of arrays that nothing is written to."""
        written = {step[1] for step in steps if step[0] == "store"}
        places = {(step[1], step[2]) for step in steps if step[0] == "load" and step[1] not in written}
        for position, places_of_row in _rows(places).items():
            for chunk in self.chunks(sorted(places_of_row), gaps=True):
                width = chunk[-1][-1] - chunk[0][-1] + 1
                kind = ir.VectorType(_DOUBLE, width)
                pointers = self.elements(position[0], chunk[0])
                parts = [
                    self.resized(self.builder.load(self.builder.bitcast(at, kind.as_pointer()), align=8))
                    for at in pointers
                ]
                columns = transposed(self.builder, parts)
                for place in chunk:
                    self.loaded[position[0], place] = columns[place[-1] - chunk[0][-1]]

    def store_rows(self, stores: Sequence[Step]) -> None:
        """Store neighbours in rows together."""
        values = {(step[1], step[2]): self.results[step[3]] for step in stores}
        rows = _rows(values)
        for position, places_of_row in rows.items():
            for chunk in self.chunks(sorted(places_of_row), gaps=False):
                columns = [values.pop((position[0], place)) for place in chunk]
                undefined = ir.Constant(self.vector, ir.Undefined)
                parts = transposed(self.builder, [*columns, *[undefined] * (self.lanes - len(chunk))])
                kind = ir.VectorType(_DOUBLE, len(chunk))
                for at, part in zip(self.elements(position[0], chunk[0]), parts, strict=True):
                    target = self.builder.bitcast(at, kind.as_pointer())
                    self.builder.store(self.resized(part, len(chunk)), target, align=8)
        for (position, place), value in values.items():
            for at, number in zip(self.elements(position, place), self.scalars(value), strict=True):
                self.builder.store(number, at)

    def chunks(self, places: Sequence[Place], *, gaps: bool) -> list[list[Place]]:
        """Places of a row that fit into a vector together, at least `FEWEST`; without gaps between them or with."""
        found: list[list[Place]] = []
        for place in places:
            chunk = found[-1] if found else []
            near = bool(chunk) and place[-1] - chunk[0][-1] < self.lanes
            if near and (gaps or place[-1] == chunk[-1][-1] + 1):
                chunk.append(place)
            else:
                found.append([place])
        return [chunk for chunk in found if len(chunk) >= min(FEWEST, self.lanes)]

    def resized(self, vector: Value, size: int = 0) -> Value:
        """A vector with as many numbers, by default the lanes: cut off, or undefined behind."""
        size = size or self.lanes
        if vector.type.count == size:
            return vector
        mask = [at if at < vector.type.count else vector.type.count for at in range(size)]
        kind = ir.Constant(ir.VectorType(_LANE, size), mask)
        return self.builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), kind)

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

    def add(self, place: Value, value: Value) -> None:
        """Add to a total, what is behind the end left out."""
        builder = self.builder
        mask: Value = ir.Constant(ir.VectorType(ir.IntType(1), self.lanes), ir.Undefined)
        for lane, inside in enumerate(self.inside):
            mask = builder.insert_element(mask, inside, _LANE(lane))
        zero = ir.Constant(self.vector, [0.0] * self.lanes)
        kept = builder.select(mask, value, zero)
        builder.store(builder.fadd(builder.load(place), kept), place)

    def call(self, function: str, operands: list[Value]) -> Value:
        """A function in its form for vectors; without one, lane by lane."""
        if not has_lanes(function):
            parts = zip(*map(self.scalars, operands), strict=True)
            return self.together([super(_Loop, self).call(function, list(part)) for part in parts])
        return call_vectors(self.builder, function, operands)


__all__ = ["over_lanes", "run_lanes"]
