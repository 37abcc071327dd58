"""The register-tiled core of a matrix product.

It keeps a tile of ``rows x vectors`` accumulators in registers and runs over the contracted index with one fused
multiply-add per accumulator.  Every element of the result is one chain of additions in index order, so the bits depend
neither on the tile nor on the number of threads.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from gradc_runtime import machine_code
from gradc_runtime.simd import Tile, ask_of_loop, element_type, first_lanes, masked_load, masked_store, tile

_INDEX, _LANE = ir.IntType(64), ir.IntType(32)


@cache
def micro_kernel(bits: int, vectors: int, packed: bool) -> Any:
    """``micro(a_rows, a_step, b, b_step, c_rows, c_shifts, count, add, width)``, as a symbol.

    The core for `vectors` vectors: ``c[i, j] (+)= sum over k < count of a[i, k] * b[k, j]`` for ``j < width``.

    All arguments are intp.  `a_rows` and `c_rows` are tables of the addresses of the rows, `c_shifts` is a table of the
    bytes from the start of a row of c to its element j; the elements of one vector are neighbours.  If `packed`,
    `a_step` is a table of the bytes from the start of a row of a to its element k, `b` a packed panel, and `b_step` is
    not used; otherwise `a_step` and `b_step` are the bytes from one k to the next, and nothing of b behind `width` is
    read.  `add` adds to c instead of overwriting it.  `count` is at least 1, `width` ends in the last vector.  Rows
    that are equal are written alike: all of c is read before any of it is written.
    """
    symbol = f"gradc_{'tile' if packed else 'tile_in_place'}_{bits}_{vectors}"

    def emit(builder: ir.IRBuilder, context: Any) -> None:
        _MicroKernel(builder, tile(bits), vectors, packed, builder.function.args).emit()
        builder.ret_void()

    machine_code.provide_emitted(symbol, ir.FunctionType(ir.VoidType(), [_INDEX] * 9), emit)
    return types.ExternalFunction(symbol, types.void(*[types.intp] * 9))


class _MicroKernel:
    """The instructions of the core."""

    def __init__(
        self, builder: ir.IRBuilder, shape: Tile, vectors: int, packed: bool, arguments: Any
    ) -> None:
        self.builder = builder
        self.shape = shape
        self.vectors = vectors
        self.packed = packed
        self.size = shape.bits // 8
        self.element = element_type(shape.bits)
        self.vector = ir.VectorType(self.element, shape.lanes)
        self.a_rows, self.a_step, self.b, self.b_step, *others = arguments
        self.c_rows, self.c_shifts, self.count, self.add, self.width = others
        name = f"llvm.fma.v{shape.lanes}f{shape.bits}"
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        self.fma = cgutils.get_or_insert_function(builder.module, kind, name)

    def emit(self) -> None:
        """Multiply, then write: whole vectors, or the first lanes of the last one."""
        builder = self.builder
        behind = builder.sub(self.width, _INDEX((self.vectors - 1) * self.shape.lanes))
        masked = not self.packed
        # Masks of smaller vectors take a register, and the tile has filled them all: whole panels have their own loop.
        apart = masked and self.shape.lanes * self.shape.bits < 512
        sums: Any = None
        if not apart:
            sums = self.multiplied(first_lanes(builder, behind, self.shape.lanes) if masked else None)
        whole = builder.icmp_signed("==", behind, _INDEX(self.shape.lanes))
        with builder.if_else(whole, likely=True) as (all_lanes, some_lanes):
            with all_lanes:
                self.write(self.multiplied(None) if apart else sums, None)
            with some_lanes:
                mask = first_lanes(builder, behind, self.shape.lanes)
                self.write(self.multiplied(mask) if apart else sums, mask)

    def multiplied(self, mask: Any) -> list[list[Any]]:
        """The loop over the contracted index: the sums of every row, vector by vector; of the last one under a mask."""
        builder = self.builder
        rows = [self.word(self.a_rows, row) for row in range(self.shape.rows)]
        before = builder.block
        loop, done = builder.append_basic_block("k"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(_INDEX)
        k.add_incoming(_INDEX(0), before)
        sums = [[builder.phi(self.vector) for _ in range(self.vectors)] for _ in rows]
        offset = self.entry(self.a_step, k) if self.packed else builder.mul(k, self.a_step)
        left = [self.broadcast(builder.add(row, offset)) for row in rows]
        width = _INDEX(self.shape.columns * self.size) if self.packed else self.b_step
        line = builder.add(self.b, builder.mul(k, width))
        right = [
            self.read(self.vector_at(line, at * self.shape.lanes * self.size), at, mask)
            for at in range(self.vectors)
        ]
        new = [
            [builder.call(self.fma, [value, r, s]) for r, s in zip(right, row_sums, strict=True)]
            for value, row_sums in zip(left, sums, strict=True)
        ]
        following = builder.add(k, _INDEX(1))
        k.add_incoming(following, loop)
        zero = ir.Constant(self.vector, [0.0] * self.shape.lanes)
        for old_row, new_row in zip(sums, new, strict=True):
            for old, value in zip(old_row, new_row, strict=True):
                old.add_incoming(zero, before)
                old.add_incoming(value, loop)
        again = builder.cbranch(builder.icmp_signed("<", following, self.count), loop, done)
        # Accumulators and operands fill the registers: for two steps at a time LLVM would keep one of them in memory.
        ask_of_loop(again, "llvm.loop.unroll.disable")
        builder.position_at_end(done)
        return new

    def write(self, sums: list[list[Any]], mask: Any) -> None:
        """Write the sums to their rows, or add them; of the last vector the lanes of a mask."""
        builder = self.builder
        shifts = [self.word(self.c_shifts, at * self.shape.lanes) for at in range(self.vectors)]
        places = []
        for row in range(self.shape.rows):
            start = self.word(self.c_rows, row)
            places.append([self.vector_at(builder.add(start, shift)) for shift in shifts])
        with builder.if_else(builder.icmp_signed("!=", self.add, _INDEX(0))) as (added, written):
            with added:
                totals = [
                    [
                        builder.fadd(self.read(place, at, mask), value)
                        for at, (place, value) in enumerate(pairs)
                    ]
                    for pairs in (zip(*both, strict=True) for both in zip(places, sums, strict=True))
                ]
                self.store(totals, places, mask)
            with written:
                self.store(sums, places, mask)

    def store(self, values: list[list[Any]], places: list[list[Any]], mask: Any) -> None:
        for row, targets in zip(values, places, strict=True):
            for at, (value, place) in enumerate(zip(row, targets, strict=True)):
                if mask is not None and at == self.vectors - 1:
                    masked_store(self.builder, value, place, mask)
                else:
                    self.builder.store(value, place, align=self.size)

    def read(self, place: Any, at: int, mask: Any) -> Any:
        if mask is not None and at == self.vectors - 1:
            zero = ir.Constant(self.vector, [0.0] * self.shape.lanes)
            return masked_load(self.builder, place, mask, zero)
        return self.builder.load(place, align=self.size)

    # --- elements ---------------------------------------------------------------------------------------

    def word(self, table: Any, at: int) -> Any:
        """An entry of a table of words."""
        return self.entry(table, _INDEX(at))

    def entry(self, table: Any, at: Any) -> Any:
        """An entry of a table of words."""
        pointer = self.builder.inttoptr(table, _INDEX.as_pointer())
        return self.builder.load(self.builder.gep(pointer, [at]))

    def vector_at(self, address: Any, offset: int = 0) -> Any:
        found = self.builder.add(address, _INDEX(offset)) if offset else address
        return self.builder.inttoptr(found, self.vector.as_pointer())

    def broadcast(self, address: Any) -> Any:
        """The element at an address, in all lanes."""
        builder = self.builder
        scalar = builder.load(builder.inttoptr(address, self.element.as_pointer()))
        undefined = ir.Constant(self.vector, ir.Undefined)
        same = ir.Constant(ir.VectorType(_LANE, self.shape.lanes), [0] * self.shape.lanes)
        return builder.shuffle_vector(builder.insert_element(undefined, scalar, _LANE(0)), undefined, same)
