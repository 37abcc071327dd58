"""The slow interpreter that *defines* the index IR, in NumPy or in mpmath.

Every equation is evaluated over its whole space by brute force, in blocks along the first axis so that at most
`LIMIT` points are held at once.  Nothing here knows about derivatives, schedules or targets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, assert_never, overload

import numpy as np

from gradc.errors import GradcError, GuardFailed
from gradc.ir.extents import Size, is_symbol
from gradc.ir.extents import evaluate as size_value
from gradc.ir.index import numbers as number_systems
from gradc.ir.index.calls import CALLS
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Assemble,
    Assign,
    Call,
    Const,
    ExtentValue,
    Index,
    IndexValue,
    Lookup,
    Operand,
    Program,
    terms_of,
)
from gradc.ir.index.numbers import NumberSystem
from gradc.ir.types import DType

LIMIT = 2**22

Array = Any  # ndarray or NumPy scalar; object arrays hold mpmath numbers


def bind_extents(program: Program, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Values of all extent symbols, from the shapes of the inputs; raises `GuardFailed` where they contradict."""
    values: dict[str, int] = {}
    pending: list[tuple[str, int, Size, int]] = []
    derived = {quotient.symbol for quotient in program.quotients}
    for name in program.inputs:
        declared = program.types[name].shape
        if len(declared) != len(shapes[name]):
            raise GuardFailed(f"{name} has {len(shapes[name])} axes, the program takes {len(declared)}")
        for axis, (size, actual) in enumerate(zip(declared, shapes[name], strict=True)):
            if is_symbol(size) and str(size) not in values and str(size) not in derived:
                values[str(size)] = actual
            else:
                pending.append((name, axis, size, actual))
    for quotient in program.quotients:
        numerator, denominator = (
            size_value(quotient.numerator, values),
            size_value(quotient.denominator, values),
        )
        values[quotient.symbol] = numerator // denominator if denominator else 0
    for name, axis, size, actual in pending:
        if size_value(size, values) != actual:
            raise GuardFailed(f"axis {axis} of {name} has {actual} elements, the program needs {size}")
    for guard in program.guards:
        if not guard.holds(values):
            raise GuardFailed(f"the shapes do not satisfy {guard}", why=guard.reason)
    return values


class Interpreter:
    """Evaluates programs; `numbers` is ``"numpy"``, ``"mp"`` (with `digits` digits) or a number system."""

    def __init__(self, numbers: str | NumberSystem = "numpy", digits: int = 50) -> None:
        known = isinstance(numbers, str)
        self.numbers: NumberSystem = number_systems.system(numbers, digits) if known else numbers

    def run(self, program: Program, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Values of all tensors of `program`, inputs included."""
        with np.errstate(all="ignore"), self.numbers.context():
            return self._run(program, inputs)

    def _run(self, program: Program, inputs: Mapping[str, Array]) -> dict[str, Array]:
        values = {
            name: self.numbers.convert(inputs[name], program.types[name].dtype) for name in program.inputs
        }
        self.extents = bind_extents(program, {name: np.shape(values[name]) for name in program.inputs})
        self.values = values
        self.program = program
        for equation in program.equations:
            match equation:
                case Assign():
                    values[equation.out] = self._assign(equation)
                case Accumulate():
                    self._accumulate(equation)
                case Assemble():
                    values[equation.out] = self.numbers.concatenate(
                        [values[part] for part in equation.parts], equation.axis
                    )
                case Call():
                    values.update(zip(equation.outs, self._call(equation), strict=True))
                case _:
                    assert_never(equation)
        return values

    # --- equations --------------------------------------------------------------------------------------

    def _assign(self, equation: Assign) -> Array:
        dtype = self.program.types[equation.out].dtype
        space = self._sizes(equation.space)
        if not space:
            return self.numbers.cast(self._body(equation, ()), dtype)
        parts = [self._assign_block(equation, block, space, dtype) for block in _blocks(space, equation.rank)]
        return parts[0] if len(parts) == 1 else self.numbers.concatenate(parts, 0)

    def _assign_block(self, equation: Assign, block: slice, space: tuple[int, ...], dtype: DType) -> Array:
        points = (block.stop - block.start, *space[1:])
        body = self.numbers.broadcast(self._body(equation, space, block), points)
        if equation.reduce is None:
            return self.numbers.cast(self.numbers.own(body), dtype)
        axes = tuple(range(equation.rank, len(points)))
        body = self.numbers.cast(body, equation.reduce.acc)
        return self.numbers.cast(self.numbers.reduce(equation.reduce.op, body, axes), dtype)

    def _accumulate(self, equation: Accumulate) -> None:
        type_ = self.program.types[equation.out]
        # A shifted contribution has ``n - 1`` points: none where the axis is empty.
        space = tuple(max(0, size) for size in self._sizes(equation.space))
        if equation.out not in self.values:
            self.values[equation.out] = self.numbers.zeros(self._sizes(type_.shape), type_.dtype)
        out = self.values[equation.out]
        if not space:
            position = tuple(self._index(index, (), slice(0, 1)) for index in equation.target)
            self.values[equation.out] = self.numbers.add_at(out, position, self._body(equation, ()))
            return
        for block in _blocks(space, len(space)):
            points = (block.stop - block.start, *space[1:])
            body = self.numbers.broadcast(self._body(equation, space, block), points)
            position = tuple(
                self.numbers.broadcast(self._wrapped(index, axis, type_, space, block), points)
                for axis, index in enumerate(equation.target)
            )
            self.values[equation.out] = self.numbers.add_at(self.values[equation.out], position, body)

    def _wrapped(self, index: Index, axis: int, type_: Any, space: tuple[int, ...], block: slice) -> Array:
        value = self._index(index, space, block)
        if not isinstance(index, Lookup):
            return value
        return self.numbers.wrapped(value, self._size(type_.shape[axis]))

    def _call(self, equation: Call) -> tuple[Array, ...]:
        attributes = {
            name: self._sizes(value) if isinstance(value, tuple) else value
            for name, value in equation.attributes
        }
        return self.numbers.call(
            CALLS[equation.operation], [self.values[name] for name in equation.ins], attributes
        )

    # --- bodies and indices -----------------------------------------------------------------------------

    def _body(
        self, equation: Assign | Accumulate, space: tuple[int, ...], block: slice = slice(0, 1)
    ) -> Array:
        operands = [self._operand(operand, space, block) for operand in equation.operands]
        return self.numbers.function(equation.template)(*operands)

    def _operand(self, operand: Operand, space: tuple[int, ...], block: slice) -> Array:
        match operand:
            case Access(tensor, indices):
                positions = tuple(self._index(i, space, block) for i in indices)
                return self.numbers.take(self.values[tensor], positions)
            case Const(value, dtype):
                return self.numbers.constant(value, dtype)
            case IndexValue(index):
                return self.numbers.integer(self._index(index, space, block))
            case ExtentValue(size):
                return self.numbers.integer(np.int64(self._size(size)))
            case _:
                assert_never(operand)

    def _index(self, index: Index, space: tuple[int, ...], block: slice) -> Array:
        if isinstance(index, Lookup):
            inner = tuple(self._index(position, space, block) for position in index.indices)
            return self.numbers.positions(self.numbers.take(self.values[index.tensor], inner))
        terms, offset = terms_of(index)
        total: Array = np.int64(self._size(offset))
        for coefficient, position in terms:
            total = total + coefficient * _grid(position, space, block)
        return total

    def _size(self, size: Size) -> int:
        return size if isinstance(size, int) else size_value(size, self.extents)

    def _sizes(self, sizes: tuple[Size, ...]) -> tuple[int, ...]:
        return tuple(self._size(size) for size in sizes)


def _grid(position: int, space: tuple[int, ...], block: slice) -> np.ndarray:
    """Loop index `position` as an array that broadcasts over the space."""
    values = np.arange(block.start, block.stop) if position == 0 else np.arange(space[position])
    return values.reshape((-1,) + (1,) * (len(space) - position - 1))


def _blocks(space: tuple[int, ...], rank: int) -> list[slice]:
    rows = space[0]
    if rank == 0 or rows == 0:
        return [slice(0, rows)]
    step = max(1, LIMIT // max(1, math.prod(space[1:])))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


@overload
def evaluate(
    program: Program,
    inputs: Mapping[str, Array],
    *,
    numbers: str = "numpy",
    digits: int = 50,
    bound: Literal[False] = False,
) -> tuple[Array, ...]: ...


@overload
def evaluate(
    program: Program, inputs: Mapping[str, Array], *, bound: Literal[True]
) -> tuple[tuple[Array, ...], tuple[Array, ...]]: ...


def evaluate(
    program: Program,
    inputs: Mapping[str, Array],
    *,
    numbers: str = "numpy",
    digits: int = 50,
    bound: bool = False,
) -> tuple[Array, ...] | tuple[tuple[Array, ...], tuple[Array, ...]]:
    """The outputs of `program`.

    Parameters
    ----------
    inputs : mapping of name to array
        One array (or scalar) per input, of the declared shape.
    numbers : {"numpy", "mp"}
        ``"mp"`` computes with mpmath numbers of `digits` decimal digits in object arrays.
    bound : bool
        Return ``(outputs, bounds)``: beside each output an array of absolute error bounds, for exact inputs
        and sums in any order; infinite where no bound is available.  See `gradc.ir.index.bound`.
    """
    if not bound:
        values = Interpreter(numbers, digits).run(program, inputs)
        return tuple(values[name] for name in program.outputs)
    if numbers != "numpy":
        raise GradcError("only machine numbers have error bounds", do='leave out numbers="mp", or bound=True')
    from gradc.ir.index.bound import BoundedNumbers  # noqa: PLC0415  (SciPy: 0.2 s that few processes need)

    found = Interpreter(BoundedNumbers()).run(program, inputs)
    return tuple(found[name].value for name in program.outputs), tuple(
        found[name].error for name in program.outputs
    )


__all__ = ["Interpreter", "bind_extents", "evaluate"]
