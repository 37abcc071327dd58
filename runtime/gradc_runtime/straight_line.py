"""Long straight-line blocks, compiled from data straight to LLVM.

Numba's front end costs about a millisecond per statement; a block of thousands of scalar operations is therefore
handed over as a tuple of steps, from which machine code is built without it.  The block also stands in the generated
module as readable Python: that is what runs without a compiler, and what the steps must equal.

    step := (function, operand, ...)          a scalar function of earlier values
          | ("constant", number)
          | ("argument", k)                   scalar argument k
          | ("load", k, index)                element of array argument k
          | ("store", k, index, operand) | ("add_to", k, index, operand)

An operand is the number of an earlier step.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

from gradc_runtime import threads

Step = tuple[Any, ...]

_DOUBLE, _WORD = ir.DoubleType(), ir.IntType(64)
_COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "=="}


def straight_line(steps: Sequence[Step]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Compile calls of the decorated function from `steps`; called from Python the function runs as it stands."""

    def decorate(reference: Callable[..., None]) -> Callable[..., None]:
        call = _caller_of(tuple(steps))

        @overload(reference)
        def compiled(*arguments):  # type: ignore[no-untyped-def]  # Numba compares this with the lambda's signature
            return lambda *arguments: call(arguments)

        return reference

    return decorate


def _caller_of(steps: tuple[Step, ...]) -> Any:
    """A function for compiled code that calls the block by symbol, so that no kernel compiles it again."""

    @intrinsic
    def call(typing: Any, arguments: Any) -> Any:
        """Hand addresses and numbers to the block."""
        arrays = tuple(isinstance(kind, types.Array) for kind in arguments)
        symbol = _compiled(steps, arrays)

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
            given = []
            for at, kind in enumerate(signature.args[0]):
                value = builder.extract_value(values[0], at)
                if isinstance(kind, types.Array):
                    value = builder.ptrtoint(context.make_array(kind)(context, builder, value).data, _WORD)
                given.append(value)
            kinds = [_WORD if array else _DOUBLE for array in arrays]
            declared = ir.FunctionType(ir.VoidType(), kinds)
            builder.call(cgutils.get_or_insert_function(builder.module, declared, symbol), given)
            return context.get_dummy_value()

        return types.none(arguments), generate

    return call


@cache
def _compiled(steps: tuple[Step, ...], arrays: tuple[bool, ...]) -> str:
    """Compile a block; the symbol it is called by."""
    symbol = f"gradc_block_{hashlib.sha256(repr((steps, arrays)).encode()).hexdigest()[:32]}"
    names = ", ".join(f"a{at}" for at in range(len(arrays)))
    namespace = {"build": _builder(steps, arrays)}
    exec(
        f"def block({names}):\n    build(({names},))", namespace
    )  # a C function has a fixed number of arguments
    signature = types.void(*(types.intp if array else types.float64 for array in arrays))
    threads.exported(symbol, signature, namespace["block"])
    return symbol


def _builder(steps: tuple[Step, ...], arrays: tuple[bool, ...]) -> Any:
    @intrinsic
    def build(typing: Any, arguments: Any) -> Any:
        """Emit the steps."""

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
            _Emitter(context, builder, arrays, values[0]).run(steps)
            return context.get_dummy_value()

        return types.none(arguments), generate

    return build


class _Emitter:
    """LLVM instructions for the steps of one block; `arrays` says which arguments are addresses."""

    def __init__(self, context: Any, builder: ir.IRBuilder, arrays: Sequence[bool], values: Any) -> None:
        self.context = context
        self.builder = builder
        self.arguments = []
        for at, array in enumerate(arrays):
            value = builder.extract_value(values, at)
            self.arguments.append(builder.inttoptr(value, _DOUBLE.as_pointer()) if array else value)
        self.results: list[Any] = []

    def run(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self.results.append(self.step(step))

    def step(self, step: Step) -> Any:
        match step:
            case ("constant", number):
                return _DOUBLE(number)
            case ("argument", position):
                return self.arguments[position]
            case ("load", position, index):
                return self.builder.load(self.element(position, index))
            case ("store", position, index, value):
                return self.builder.store(self.results[value], self.element(position, index))
            case ("add_to", position, index, value):
                place = self.element(position, index)
                return self.builder.store(
                    self.builder.fadd(self.builder.load(place), self.results[value]), place
                )
            case (function, *operands):
                return self.apply(function, [self.results[operand] for operand in operands])
            case _:
                raise ValueError(f"unknown step {step}")

    def element(self, position: int, index: int) -> Any:
        return self.builder.gep(self.arguments[position], [ir.IntType(64)(index)])

    def apply(self, function: str, operands: list[Any]) -> Any:
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
        if function in _COMPARISONS:
            return builder.fcmp_ordered(_COMPARISONS[function], *operands)
        if function in ("ne", "isnan"):
            return builder.fcmp_unordered("!=", operands[0], operands[-1])
        return self.call(function, operands)

    def call(self, function: str, operands: list[Any]) -> Any:
        """A function of `math` or the scalar runtime, by symbol: inlined a thousand times it would swamp LLVM."""
        declared = ir.FunctionType(_DOUBLE, [_DOUBLE] * len(operands))
        symbol = _function_symbol(function, len(operands))
        return self.builder.call(
            cgutils.get_or_insert_function(self.builder.module, declared, symbol), operands
        )


@cache
def _function_symbol(function: str, arity: int) -> str:
    """Compile a scalar function once per process; the symbol it is called by."""
    symbol = f"gradc_scalar_{function}"
    threads.exported(symbol, types.float64(*[types.float64] * arity), _caller(function, arity))
    return symbol


@cache
def _caller(function: str, arity: int) -> Any:
    """A small function that calls `function`: what Numba compiles."""
    from gradc_runtime import scalars, special  # noqa: PLC0415  (only blocks that call functions need them)

    found = getattr(scalars, function, None) or getattr(special, function, None) or getattr(math, function)
    if arity == 1:
        return lambda a: found(a)
    return lambda a, b: found(a, b)
