"""Vector instructions: the width of this machine, and the register-tiled core of a matrix product.

The core keeps a tile of ``rows x vectors`` accumulators in registers and runs over the contracted index with one
fused multiply-add per accumulator.  Every element of the result is one chain of additions in index order, so the
bits depend neither on the tile nor on the number of threads.
"""

from __future__ import annotations

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


def _micro_kernel(shape: Tile, vectors: int) -> Any:
    element = ir.DoubleType() if shape.bits == 64 else ir.FloatType()
    vector = ir.VectorType(element, shape.lanes)
    index = ir.IntType(64)

    @intrinsic
    def micro(
        typing: Any, a_rows: Any, steps: Any, b: Any, c_rows: Any, c_shifts: Any, count: Any, add: Any
    ) -> Any:
        """``c[i, j] (+)= sum over k < count of a[i, k] * b[k, j]``.

        All arguments are intp.  `a_rows` and `c_rows` are tables of the addresses of the rows, `steps` is a table
        of the bytes from the start of a row of a to its element k, `b` is a packed panel, `c_shifts` a table of the
        bytes from the start of a row of c to its element j; the elements of one vector are neighbours.  `add` adds to
        c instead of overwriting it.  `count` is at least 1.
        """
        signature = types.void(*[types.intp] * 7)
        return signature, lambda context, builder, _, arguments: _emit(context, builder, arguments)

    def _emit(context: Any, builder: ir.IRBuilder, arguments: Any) -> Any:
        a_rows, steps, b, c_rows, c_shifts, count, add = arguments
        name = f"llvm.fma.v{shape.lanes}f{shape.bits}"
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        table, offsets = (builder.inttoptr(address, index.as_pointer()) for address in (a_rows, steps))
        outs, shifts = (builder.inttoptr(address, index.as_pointer()) for address in (c_rows, c_shifts))
        right = builder.inttoptr(b, element.as_pointer())
        rows = [builder.load(builder.gep(table, [index(row)])) for row in range(shape.rows)]
        before = builder.block
        loop, done = builder.append_basic_block("k"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(index)
        k.add_incoming(index(0), before)
        sums = [[builder.phi(vector) for _ in range(vectors)] for _ in range(shape.rows)]
        offset = builder.load(builder.gep(offsets, [k]))
        places = [builder.inttoptr(builder.add(row, offset), element.as_pointer()) for row in rows]
        panel = builder.gep(right, [builder.mul(k, index(shape.columns))])
        new = _step(builder, shape, places, panel, sums, fma, vector, index)
        following = builder.add(k, index(1))
        k.add_incoming(following, loop)
        zero = ir.Constant(vector, [0.0] * shape.lanes)
        for old_row, new_row in zip(sums, new, strict=True):
            for old, value in zip(old_row, new_row, strict=True):
                old.add_incoming(zero, before)
                old.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, done)
        builder.position_at_end(done)
        accumulate = builder.icmp_signed("!=", add, index(0))
        shift = [builder.load(builder.gep(shifts, [index(at * shape.lanes)])) for at in range(vectors)]
        for row, values in enumerate(new):
            start = builder.load(builder.gep(outs, [index(row)]))
            for column, value in enumerate(values):
                place = builder.inttoptr(builder.add(start, shift[column]), vector.as_pointer())
                old = builder.load(place, align=shape.bits // 8)
                total = builder.select(accumulate, builder.fadd(old, value), value)
                builder.store(total, place, align=shape.bits // 8)
        return context.get_dummy_value()

    return micro


def _step(
    builder: ir.IRBuilder,
    shape: Tile,
    places: list[Any],
    panel: Any,
    sums: Any,
    fma: Any,
    vector: Any,
    index: Any,
) -> list[list[Any]]:
    """One value of the contracted index: load a row of b, broadcast an element of each row of a, multiply, add."""
    right = [
        builder.load(_vector_pointer(builder, panel, at * shape.lanes, vector, index), align=shape.bits // 8)
        for at in range(len(sums[0]))
    ]
    lane = ir.IntType(32)
    same = ir.Constant(ir.VectorType(lane, shape.lanes), [0] * shape.lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    new = []
    for place, row_sums in zip(places, sums, strict=True):
        scalar = builder.load(place)
        left = builder.shuffle_vector(builder.insert_element(undefined, scalar, lane(0)), undefined, same)
        new.append([builder.call(fma, [left, r, s]) for r, s in zip(right, row_sums, strict=True)])
    return new


def _vector_pointer(builder: ir.IRBuilder, start: Any, offset: int, vector: Any, index: Any) -> Any:
    return builder.bitcast(builder.gep(start, [index(offset)]), vector.as_pointer())


@cache
def micro_kernel(bits: int, vectors: int) -> Any:
    """The core for elements of `bits` bits and the first `vectors` vectors of a panel; called with addresses."""
    return _micro_kernel(tile(bits), vectors)


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
        64: (types.float64, ir.DoubleType()),
        32: (types.float32, ir.FloatType()),
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
def copy_vector(bits: int) -> Any:
    """A function that copies as many neighbours as a register has lanes: ``copy(destination, source)``."""
    shape = tile(bits)
    element = ir.DoubleType() if bits == 64 else ir.FloatType()
    vector = ir.VectorType(element, shape.lanes).as_pointer()

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
