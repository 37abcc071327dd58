"""Long straight-line blocks, compiled from data straight to LLVM.

Numba's front end costs about a millisecond per statement; a block of thousands of scalar operations is therefore
handed over as a tuple of steps, from which machine code is built without it.  The block also stands in the generated
module as readable Python: that is what runs without a compiler, and what the steps must equal.

    step := (function, operand, ...)          a scalar function of earlier values
          | ("plus", total, operand)          a sum whose order is free, and the signs of its zeros
          | ("constant", number)
          | ("argument", k)                   scalar argument k
          | ("load", k, index)                element of array argument k
          | ("store", k, index, operand) | ("add_to", k, index, operand)

An operand is the number of an earlier step.

Calls of elementary functions that do not depend on each other are made together, in the lanes of vectors: a program of
many sines spends its time there.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing import templates
from numba.extending import lower_builtin

from gradc_runtime import machine_code, simd, threads
from gradc_runtime.block_builder import BlockBuilder
from gradc_runtime.instructions import first_in
from gradc_runtime.numba_backend import compiling
from gradc_runtime.opaque import infer_global
from gradc_runtime.reduce import add_to_sum
from gradc_runtime.vecmath_lanes import call_defined

Step = tuple[Any, ...]

_DOUBLE, _WORD = ir.DoubleType(), ir.IntType(64)
_LANES_KIND = ir.FunctionType(ir.VoidType(), [_DOUBLE.as_pointer(), _WORD])
_COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "=="}


def straight_line(steps: Sequence[Step]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Compile calls of the decorated function from `steps`; called from Python the function runs as it stands."""
    made = tuple(steps)

    def decorate(reference: Callable[..., None]) -> Callable[..., None]:
        class Block(templates.AbstractTemplate):
            """Arrays and numbers."""

            key: Any = reference

            def generic(self, arguments: Any, keywords: Any) -> Any:
                """Return the signature."""
                return templates.signature(types.none, *arguments)

        infer_global(reference, types.Function(Block))

        @lower_builtin(reference, types.VarArg(types.Any))
        def call(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
            """Call the block by symbol, so that no kernel compiles it again."""
            _call(context, builder, made, signature.args, values)
            return context.get_dummy_value()

        return reference

    return decorate


def _call(context: Any, builder: ir.IRBuilder, steps: tuple[Step, ...], given: Any, values: Any) -> None:
    """Hand addresses and numbers to a block."""
    arrays = tuple(isinstance(kind, types.Array) for kind in given)
    words = [
        builder.ptrtoint(context.make_array(kind)(context, builder, value).data, _WORD) if array else value
        for array, kind, value in zip(arrays, given, values, strict=True)
    ]
    declared = ir.FunctionType(ir.VoidType(), [_WORD if array else _DOUBLE for array in arrays])
    symbol = _compiled(steps, arrays)
    builder.call(cgutils.get_or_insert_function(builder.module, declared, symbol), words)


@cache
def _compiled(steps: tuple[Step, ...], arrays: tuple[bool, ...]) -> str:
    """Compile a block; the symbol it is called by."""
    symbol = f"gradc_block_{hashlib.sha256(repr((steps, arrays)).encode()).hexdigest()[:32]}"
    kind = ir.FunctionType(ir.VoidType(), [_WORD if array else _DOUBLE for array in arrays])

    def emit(builder: ir.IRBuilder, context: Any) -> None:
        _Emitter(BlockBuilder(builder.block), arrays).run(steps)

    with compiling:
        machine_code.provide_emitted(symbol, kind, emit, straight=True)
    return symbol


# --- order: calls that can be made together ------------------------------------------------------------------

FEWEST = 3  # calls that are worth a vector
_MEMORY = ("load", "store", "add_to")


def in_levels(steps: Sequence[Step]) -> list[list[int]]:
    """The numbers of the steps, reordered; calls of functions that can be made together stand together in a list.

    The level of a step is the number of calls on the longest path to it.  Calls of one level are independent.
    """
    levels = _levels(steps)
    found: list[list[int]] = []
    by_level: list[list[int]] = [[] for _ in range(max(levels, default=0) + 1)]
    for number, level in enumerate(levels):
        by_level[level].append(number)
    for numbers in by_level:
        together: dict[str, list[int]] = {}
        for number in numbers:
            if has_lanes(steps[number][0]):
                together.setdefault(steps[number][0], []).append(number)
        for calls in together.values():
            found += [calls] if len(calls) >= FEWEST else [[number] for number in calls]
        found += [[number] for number in numbers if not has_lanes(steps[number][0])]
    return found


def _levels(steps: Sequence[Step]) -> list[int]:
    levels: list[int] = []
    written = {step[1] for step in steps if step[0] in ("store", "add_to")}
    reached: dict[int, int] = {}  # by what is done to an array that is written: its order stays
    for step in steps:
        operands = operands_of(step)
        level = max((levels[operand] for operand in operands), default=0) + has_lanes(step[0])
        if step[0] in _MEMORY and step[1] in written:
            level = reached[step[1]] = max(level, reached.get(step[1], 0))
        levels.append(level)
    return levels


def operands_of(step: Step) -> tuple[int, ...]:
    """The numbers of the steps that a step needs: always the last of its parts."""
    match step:
        case ("constant" | "truth" | "argument" | "load", *_):
            return ()
        case ("store" | "add_to", _, _, value) | ("sum", _, value):
            return (value,)
        case (_, *operands):
            return tuple(operands)
        case _:
            raise ValueError(f"unknown step {step}")


# --- instructions -------------------------------------------------------------------------------------------


class StepEmitter:
    """Instructions for steps that compute, of numbers or of vectors of them."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder
        self.results: dict[int, Any] = {}
        self.buffer: Any = None  # for calls of functions of several numbers

    def apply(self, function: str, operands: list[Any]) -> Any:
        """One function of earlier results."""
        builder = self.builder
        simple = {
            "add": builder.fadd,
            "sub": builder.fsub,
            "mul": builder.fmul,
            "div": builder.fdiv,
            "neg": builder.fneg,
            "logical_and": builder.and_,
            "logical_or": builder.or_,
            "logical_xor": builder.xor,
            "logical_not": builder.not_,
            "select": builder.select,
        }
        if function in simple:
            return simple[function](*operands)
        if function == "plus":
            return add_to_sum(builder, *operands)
        if function == "square":
            return builder.fmul(*operands, *operands)
        if function == "reciprocal":
            kind = operands[0].type
            ones = [1.0] * kind.count if isinstance(kind, ir.VectorType) else 1.0
            return builder.fdiv(ir.Constant(kind, ones), *operands)
        if function in ("sqrt", "abs"):
            return self.intrinsic(function, operands[0])
        if function in ("maximum", "minimum"):
            return first_in(builder, ">=" if function == "maximum" else "<=", operands)
        if function in _COMPARISONS:
            return builder.fcmp_ordered(_COMPARISONS[function], *operands)
        if function in ("ne", "isnan"):
            return builder.fcmp_unordered("!=", operands[0], operands[-1])
        return self.call(function, operands)

    def intrinsic(self, function: str, operand: Any) -> Any:
        """A function that is an instruction."""
        name = {"sqrt": "sqrt", "abs": "fabs"}[function]
        kind = f"v{operand.type.count}f64" if isinstance(operand.type, ir.VectorType) else "f64"
        declared = ir.FunctionType(operand.type, [operand.type])
        found = cgutils.get_or_insert_function(self.builder.module, declared, f"llvm.{name}.{kind}")
        return self.builder.call(found, [operand])

    def call(self, function: str, operands: list[Any]) -> Any:
        """A function of `math` or the scalar runtime, by symbol: inlined a thousand times it would swamp LLVM."""
        declared = ir.FunctionType(_DOUBLE, [_DOUBLE] * len(operands))
        symbol = _function_symbol(function, len(operands))
        return self.builder.call(
            cgutils.get_or_insert_function(self.builder.module, declared, symbol), operands
        )


class _Emitter(StepEmitter):
    """LLVM instructions for the steps of one block; `arrays` says which arguments are addresses."""

    def __init__(self, builder: BlockBuilder, arrays: Sequence[bool]) -> None:
        super().__init__(builder)
        self.builder: BlockBuilder = builder
        self.arguments = []
        for value, array in zip(builder.function.args, arrays, strict=True):
            self.arguments.append(builder.inttoptr(value, _DOUBLE.as_pointer()) if array else value)

    def run(self, steps: Sequence[Step]) -> None:
        order = in_levels(steps)
        widest = max((len(numbers) for numbers in order), default=0)
        if widest > 1:
            most = 3 * _padded(widest)
            self.buffer = cgutils.alloca_once(self.builder, _DOUBLE, size=_WORD(most))
        for numbers in order:
            if len(numbers) > 1:
                self.call_together(steps, numbers)
            else:
                (number,) = numbers
                self.results[number] = self.step(steps[number])
            self.builder.cut()
        self.builder.keep_cuts()
        self.builder.ret_void()

    def call_together(self, steps: Sequence[Step], numbers: Sequence[int]) -> None:
        """Calls of one function: operands to the buffer, one call, results from there."""
        function, *operands = steps[numbers[0]]
        padded = _padded(len(numbers))
        for which in range(len(operands)):
            for at in range(padded):  # what fills a vector up is computed for nothing
                operand = steps[numbers[min(at, len(numbers) - 1)]][1 + which]
                self.builder.write(self.results[operand], self.buffer, which * padded + at)
        symbol = lanes_symbol(function, len(operands))
        call = cgutils.get_or_insert_function(self.builder.module, _LANES_KIND, symbol)
        self.builder.call(call, [self.buffer, _WORD(padded)])
        for at, number in enumerate(numbers):
            self.results[number] = self.builder.read(self.buffer, len(operands) * padded + at)

    def step(self, step: Step) -> Any:
        match step:
            case ("constant", number):
                return _DOUBLE(number)
            case ("argument", position):
                return self.arguments[position]
            case ("load", position, index):
                return self.builder.read(self.arguments[position], index)
            case ("store", position, index, value):
                return self.builder.write(self.results[value], self.arguments[position], index)
            case ("add_to", position, index, value):
                array = self.arguments[position]
                total = self.builder.fadd(self.builder.read(array, index), self.results[value])
                return self.builder.write(total, array, index)
            case (function, *operands):
                return self.apply(function, [self.results[operand] for operand in operands])
            case _:
                raise ValueError(f"unknown step {step}")


def _padded(count: int) -> int:
    """The next multiple of the lanes of a vector."""
    return -(-count // _lanes()) * _lanes()


def _lanes() -> int:
    return max(2, simd.vector_bytes() // 8)


@cache
def has_lanes(function: str) -> bool:
    """Whether a function of steps has a form that vectorises."""
    from gradc_runtime import scalars, vecmath  # noqa: PLC0415

    form = getattr(vecmath, function) if function in vecmath.NAMES else None
    return form is not None and getattr(scalars, function, form) is form


@cache
def lanes_symbol(function: str, arity: int) -> str:
    """``f(buffer, count)``: reads `arity` rows of `count` numbers, writes one after them; the symbol of it.

    The rows consist of whole vectors.
    """
    symbol, vector = f"gradc_lanes_{function}", ir.VectorType(_DOUBLE, _lanes())

    def emit(builder: ir.IRBuilder, context: Any) -> None:
        simd.prefer_wide_vectors(builder)
        buffer, count = builder.function.args
        with cgutils.for_range_slice(builder, _WORD(0), count, _WORD(vector.count)) as (at, _):
            elements = (builder.add(at, builder.mul(count, _WORD(row))) for row in range(arity + 1))
            *places, result = (
                builder.bitcast(builder.gep(buffer, [element]), vector.as_pointer()) for element in elements
            )
            operands = [builder.load(place, align=8) for place in places]
            builder.store(call_defined(builder, function, operands), result, align=8)
        builder.ret_void()

    machine_code.provide_emitted(symbol, _LANES_KIND, emit)
    return symbol


@cache
def _function_symbol(function: str, arity: int) -> str:
    """Compile a scalar function once per process; the symbol it is called by."""
    symbol = f"gradc_scalar_{function}"
    if has_lanes(function):
        machine_code.provide_emitted(
            symbol,
            ir.FunctionType(_DOUBLE, [_DOUBLE] * arity),
            lambda builder, context: builder.ret(call_defined(builder, function, builder.function.args)),
        )
    else:
        threads.exported_by_numba(symbol, types.float64(*[types.float64] * arity), _caller(function, arity))
    return symbol


@cache
def _caller(function: str, arity: int) -> Any:
    """A small function that calls `function`: what Numba compiles."""
    from gradc_runtime import scalars, special  # noqa: PLC0415  (only blocks that call functions need them)

    found = getattr(scalars, function, None) or getattr(special, function, None) or getattr(math, function)
    if arity == 1:
        return lambda a: found(a)
    return lambda a, b: found(a, b)
