"""Vector instructions: the width of this machine, and elements, vectors and blocks of them at addresses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


@dataclass(frozen=True, slots=True)
class Tile:
    """A register tile: `rows` x (`vectors` x `lanes`) elements of `bits` bits."""

    rows: int
    vectors: int
    lanes: int
    bits: int

    @property
    def columns(self) -> int:
        """Elements in a row of the tile."""
        return self.vectors * self.lanes


_numba: Any = numba  # Numba's types leave out its configuration


@cache
def vector_bytes() -> int:
    """Bytes of the widest vector register of the processor that Numba compiles for: this one, or a chosen one."""
    chosen = _numba.config.CPU_FEATURES
    if chosen is not None:
        features = {word[1:] for word in chosen.split(",") if word.startswith("+")}
    elif _numba.config.CPU_NAME in (None, "", llvm.get_host_cpu_name()):
        features = {name for name, there in llvm.get_host_cpu_features().items() if there}
    else:
        features = set[str]()  # LLVM does not tell what it knows about a name
    return 64 if "avx512f" in features else 32 if "avx2" in features else 16


@cache
def tile(bits: int) -> Tile:
    """The tile for elements of `bits` bits: as many accumulators as registers allow, some left for operands."""
    lanes = vector_bytes() * 8 // bits
    return Tile(8, 3, lanes, bits) if vector_bytes() == 64 else Tile(4, 3, lanes, bits)


def prefer_wide_vectors(builder: ir.IRBuilder) -> None:
    """Let LLVM fill whole vector registers in the function that is being built.

    On processors that lower their clock for vectors of 64 bytes it would stay at 32.  The contractions use all of the
    register anyway, and elementary functions in loops gain a quarter to a half.
    """
    set.add(builder.function.attributes, f'"prefer-vector-width"="{8 * vector_bytes()}"')


@intrinsic
def _wide_vectors(typing: Any) -> Any:
    """`prefer_wide_vectors` in the function that calls this."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        prefer_wide_vectors(builder)
        return context.get_dummy_value()

    return types.none(), generate


wide_vectors: Any = _wide_vectors  # as checkers of types see it: what it is called with


def element_access(bits: int) -> tuple[Any, Any]:
    """``load(address)`` and ``store(address, value)`` for floating-point elements of `bits` bits; 0 is an int64."""
    scalar, element = {
        64: (types.float64, element_type(64)),
        32: (types.float32, element_type(32)),
        0: (types.int64, ir.IntType(64)),
    }[bits]

    @intrinsic
    def load(typing: Any, address: Any) -> Any:
        """The element at an address."""

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            return builder.load(builder.inttoptr(arguments[0], element.as_pointer()))

        return scalar(types.intp), generate

    @intrinsic
    def store(typing: Any, address: Any, value: Any) -> Any:
        """Write an element at an address."""

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            builder.store(arguments[1], builder.inttoptr(arguments[0], element.as_pointer()))
            return context.get_dummy_value()

        return types.void(types.intp, scalar), generate

    return load, store


@intrinsic
def _copy_bytes(typing: Any, destination: Any, source: Any, count: Any) -> Any:
    """``memcpy`` between addresses."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        to, start = (builder.inttoptr(address, byte) for address in arguments[:2])
        cgutils.raw_memcpy(builder, to, start, arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


copy_bytes: Any = _copy_bytes  # called without the typing context


@cache
def copy_vector(bits: int, count: int) -> Any:
    """A function that copies `count` neighbours: ``copy(destination, source)``."""
    vector = ir.VectorType(element_type(bits), count).as_pointer()

    @intrinsic
    def copy(typing: Any, destination: Any, source: Any) -> Any:
        """Copy one vector between addresses."""

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            to, start = (builder.inttoptr(address, vector) for address in arguments)
            builder.store(builder.load(start, align=bits // 8), to, align=bits // 8)
            return context.get_dummy_value()

        return types.void(types.intp, types.intp), generate

    return copy


@cache
def copy_some(bits: int) -> Any:
    """``copy(destination, source, count)``: the first `count` lanes of a vector; the others become zero."""
    vector = ir.VectorType(element_type(bits), tile(bits).lanes)

    @intrinsic
    def copy(typing: Any, destination: Any, source: Any, count: Any) -> Any:
        """Copy a part of a vector; nothing behind it is read."""

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            to, start = (builder.inttoptr(address, vector.as_pointer()) for address in arguments[:2])
            mask = first_lanes(builder, arguments[2], vector.count)
            zero = ir.Constant(vector, [0.0] * vector.count)
            builder.store(masked_load(builder, start, mask, zero), to, align=bits // 8)
            return context.get_dummy_value()

        return types.void(types.intp, types.intp, types.intp), generate

    return copy


@cache
def transpose_block(bits: int) -> Any:
    """``transpose(destination, step, addresses, shift)``: a square block of elements, rows for columns.

    Row j of the block begins `shift` bytes behind the j-th address of a table; column k is written as a vector
    ``k * step`` bytes behind `destination`.
    """
    count, word = tile(bits).lanes, ir.IntType(64)
    vector = ir.VectorType(element_type(bits), count).as_pointer()

    @intrinsic
    def transpose(typing: Any, destination: Any, step: Any, addresses: Any, shift: Any) -> Any:
        """Transpose one block in registers."""

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            to, step, table, shift = arguments
            rows = []
            for at in range(count):
                place = builder.inttoptr(builder.add(table, word(8 * at)), word.as_pointer())
                start = builder.inttoptr(builder.add(builder.load(place), shift), vector)
                rows.append(builder.load(start, align=bits // 8))
            for column in transposed(builder, rows):
                builder.store(column, builder.inttoptr(to, vector), align=bits // 8)
                to = builder.add(to, step)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 4), generate

    return transpose


# --- parts of instructions ----------------------------------------------------------------------------------


def element_type(bits: int) -> Any:
    """LLVM's floating-point type of this size."""
    return ir.DoubleType() if bits == 64 else ir.FloatType()


def ask_of_loop(branch: Any, hint: str, *values: Any) -> None:
    """Give LLVM a hint about the loop that a branch goes back in."""
    module = branch.parent.function.module
    asked = module.add_metadata([ir.MetaDataString(module, hint), *values])
    loop: Any = ir.MDValue(module, [], name=str(len(module.metadata)))
    loop.operands = (loop, asked)  # LLVM wants the list of them to begin with itself
    branch.set_metadata("llvm.loop", loop)


def first_lanes(builder: ir.IRBuilder, count: Any, lanes: int) -> Any:
    """A mask of the first `count` lanes, an integer of 64 bits."""
    word = ir.IntType(64)
    numbers = ir.Constant(ir.VectorType(word, lanes), list(range(lanes)))
    undefined = ir.Constant(numbers.type, ir.Undefined)
    first = builder.insert_element(undefined, count, ir.IntType(32)(0))
    same = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.icmp_signed("<", numbers, builder.shuffle_vector(first, undefined, same))


def masked_load(builder: ir.IRBuilder, place: Any, mask: Any, otherwise: Any) -> Any:
    """The lanes of a vector in memory that a mask has; the other ones are not read."""
    kind = otherwise.type
    name = f"llvm.masked.load.v{kind.count}f{_bits(kind)}.p0"
    given = [place.type, ir.IntType(32), mask.type, kind]
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, given), name)
    return builder.call(function, [place, ir.IntType(32)(_bits(kind) // 8), mask, otherwise])


def masked_store(builder: ir.IRBuilder, value: Any, place: Any, mask: Any) -> None:
    """Write the lanes of a vector that a mask has."""
    kind = value.type
    name = f"llvm.masked.store.v{kind.count}f{_bits(kind)}.p0"
    given = [kind, place.type, ir.IntType(32), mask.type]
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), given), name)
    builder.call(function, [value, place, ir.IntType(32)(_bits(kind) // 8), mask])


def _bits(vector: ir.VectorType) -> int:
    return 64 if vector.element == ir.DoubleType() else 32


def transposed(builder: ir.IRBuilder, rows: Sequence[Any]) -> list[Any]:
    """Vectors rows for columns, in every block of as many lanes as there are rows: 1, 2, 4, ... change places."""
    found, size, lanes = list(rows), 1, rows[0].type.count
    while size < len(rows):
        low = [at if not at & size else lanes + at - size for at in range(lanes)]
        high = [at + size if not at & size else lanes + at for at in range(lanes)]
        masks = [ir.Constant(ir.VectorType(ir.IntType(32), lanes), mask) for mask in (low, high)]
        for at in range(len(rows)):
            if not at & size:
                pair = found[at], found[at + size]
                found[at], found[at + size] = (builder.shuffle_vector(*pair, mask) for mask in masks)
        size *= 2
    return found


# --- addresses ----------------------------------------------------------------------------------------------


@cache
def symbol_address(symbol: str) -> Any:
    """A function that gives the address of a symbol of the linker: code with addresses in it could not be kept."""

    @intrinsic
    def address(typing: Any) -> Any:
        """The address of the symbol."""

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            kind = ir.FunctionType(ir.VoidType(), [])
            place = cgutils.get_or_insert_function(builder.module, kind, symbol)
            return builder.ptrtoint(place, ir.IntType(64))

        return types.intp(), generate

    return address


@cache
def stack_buffer(count: int) -> Any:
    """A function that gives the address of `count` bytes on the stack, aligned for vectors, valid until it returns."""

    @intrinsic
    def buffer(typing: Any) -> Any:
        """The address of the buffer."""

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            with builder.goto_entry_block():
                place = builder.alloca(ir.ArrayType(ir.IntType(8), count))
                place.align = 64
            return builder.ptrtoint(place, ir.IntType(64))

        return types.intp(), generate

    return buffer
