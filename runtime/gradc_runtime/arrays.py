"""Arrays of kernels: how they are made, and how they are described in compiled code.

A kernel has hundreds of them, so it writes down the extents of each and calls what makes it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.npydecl import parse_dtype
from numba.extending import intrinsic, lower_builtin, type_callable
from numba.np.arrayobj import make_array
from numba.np.numpy_support import as_dtype

from gradc_runtime.memory import LINE, NO_MEMORY, clear_bytes, data_of, new_memory
from gradc_runtime.routines import exported, routine
from gradc_runtime.simd import element_access

Array = Any
# What makes an array, given the place of its description, its rank and the size of its elements; 0 where it cannot.
Maker: TypeAlias = Callable[[ir.IRBuilder, Any, Any, Any], Any]

STACKED = 512  # bytes of a local array at most, for it to be on the stack
# The description of an array in compiled code: bytes to its fields, and their numbers.  Strides stand behind extents.
OWNER, PARENT, COUNT, ITEM, DATA, SHAPE = range(0, 48, 8)
OWNER_FIELD, COUNT_FIELD, ITEM_FIELD, DATA_FIELD, SHAPE_FIELD, STRIDES_FIELD = 0, 2, 3, 4, 5, 6


def empty(shape: tuple[int, ...], dtype: Any = np.float64) -> Array:
    """A new array, its elements undefined."""
    return np.empty(shape, dtype)


def zeros(shape: tuple[int, ...], dtype: Any = np.float64) -> Array:
    """A new array of zeros."""
    return np.zeros(shape, dtype)


def local(shape: tuple[int, ...], dtype: Any) -> Array:
    """A new array, its elements undefined, that does not outlive the kernel: a small one is on the kernel's stack."""
    return np.empty(shape, dtype)


def clear(array: Array) -> None:
    """Make every element of a C-contiguous array 0."""
    array[...] = 0


def clear_rows(array: Array, first: int, many: int, unless: tuple[int, ...] = ()) -> None:
    """Make the elements of `many` rows of a C-contiguous array 0, from the row `first` on.

    Rows of the extents `unless` stay as they are.
    """
    if not unless or array.shape[1:] != unless:
        array[first : first + many] = 0


def _typing(context: Any) -> Any:
    def typer(shape: Any, dtype: Any = None) -> Any:
        kind = types.float64 if dtype is None else parse_dtype(dtype)
        return types.Array(kind, len(shape), "C") if kind is not None else None

    return typer


def _lowering(make: Maker) -> Any:
    def lower(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        word, extents = ir.IntType(64), cgutils.unpack_tuple(builder, values[0])
        return array_of(
            context, builder, signature.return_type, [builder.sext(n, word) for n in extents], make
        )

    return lower


def array_of(
    context: Any,
    builder: ir.IRBuilder,
    kind: types.Array,
    extents: Sequence[Any],
    make: Maker,
) -> Any:
    """A new array: its extents are written down, the rest is a call, as a kernel has hundreds of arrays."""
    word, index = ir.IntType(64), ir.IntType(32)
    place = room_for(context, builder, kind)
    for axis, extent in enumerate(extents):
        builder.store(extent, builder.gep(place, [index(0), index(SHAPE_FIELD), index(axis)], inbounds=True))
    item = as_dtype(kind.dtype).itemsize
    done = make(builder, builder.ptrtoint(place, word), word(kind.ndim), word(item))
    refuse_if(context, builder, builder.icmp_signed("==", done, word(0)), MemoryError, NO_MEMORY)
    return described_at(builder, place)


def room_for(context: Any, builder: ir.IRBuilder, kind: types.Array) -> Any:
    """Room on the stack for the description of an array."""
    with builder.goto_entry_block():
        return builder.alloca(context.get_value_type(kind))


def described_at(builder: ir.IRBuilder, place: Any) -> Any:
    """The description of an array that lies in memory."""
    found = builder.load(place)
    described(builder.function)[id(found)] = place, found
    return found


def drop_unused_loads(function: ir.Function) -> None:
    """Remove loads of descriptions from a function that LLVM does not optimise; most calls need the place alone."""
    blocks = function.blocks
    used = {id(operand) for block in blocks for line in block.instructions for operand in line.operands}
    unused = described(function).keys() - used
    for block in blocks:
        block.instructions = [line for line in block.instructions if id(line) not in unused]


def refuse_if(context: Any, builder: ir.IRBuilder, wrong: Any, error: type[Exception], message: str) -> None:
    """Raise an error where something is wrong; the instructions for it stand once in a function."""
    blocks = vars(builder.function).setdefault("_refusals", {})  # by their messages
    if message not in blocks:
        blocks[message] = builder.append_basic_block("refused")
        with builder.goto_block(blocks[message]):
            context.call_conv.return_user_exc(builder, error, (message,))
    goes_on = builder.append_basic_block("goes_on")
    builder.cbranch(wrong, blocks[message], goes_on).set_weights([1, 99])
    builder.position_at_end(goes_on)


def on_heap(clear: bool) -> Maker:
    """What makes memory for an array that may outlive the kernel."""

    def make(builder: ir.IRBuilder, place: Any, rank: Any, item: Any) -> Any:
        return called_symbol(builder, array_maker().symbol, [place, rank, item, item.type(int(clear))])

    return make


def _on_stack_if_small(builder: ir.IRBuilder, place: Any, rank: Any, item: Any) -> Any:
    with builder.goto_entry_block():
        buffer = builder.alloca(ir.ArrayType(ir.IntType(8), STACKED))
    buffer.align = LINE
    address = builder.ptrtoint(buffer, ir.IntType(64))
    return called_symbol(builder, _local_maker().symbol, [place, rank, item, address])


def called_symbol(builder: ir.IRBuilder, symbol: str, words: Sequence[Any]) -> Any:
    """Call a routine of whole numbers by its symbol."""
    word = ir.IntType(64)
    declared = ir.FunctionType(word, [word] * len(words))
    return builder.call(cgutils.get_or_insert_function(builder.module, declared, symbol), words)


def data_and_shape(builder: ir.IRBuilder, kind: types.Array, array: Any) -> tuple[Any, list[Any]]:
    """The address of an array's elements, and its extents."""
    shape = [builder.extract_value(array, [SHAPE_FIELD, axis]) for axis in range(kind.ndim)]
    return builder.extract_value(array, DATA_FIELD), shape


def part_of(builder: ir.IRBuilder, array: Any, kind: Any, places: Sequence[Any], begins: bool) -> Any:
    """What lies at leading indices of an array, or from the last of them on, as an array of LLVM's type `kind`.

    It has no owner.
    """
    word, axes = ir.IntType(64), range(array.type.elements[STRIDES_FIELD].count)
    shape = [builder.extract_value(array, [SHAPE_FIELD, axis]) for axis in axes]
    strides = [builder.extract_value(array, [STRIDES_FIELD, axis]) for axis in axes]
    data = builder.extract_value(array, DATA_FIELD)
    offset = functools.reduce(builder.add, map(builder.mul, places, strides))
    address = builder.gep(builder.bitcast(data, ir.IntType(8).as_pointer()), [offset])
    left = len(places) - begins
    if begins:
        shape[left] = builder.sub(shape[left], places[-1])
    found: Any = ir.Constant(kind, None)
    for field, value in (
        (COUNT_FIELD, functools.reduce(builder.mul, shape[left:], word(1))),
        (ITEM_FIELD, builder.extract_value(array, ITEM_FIELD)),
        (DATA_FIELD, builder.bitcast(address, data.type)),
        (SHAPE_FIELD, cgutils.pack_array(builder, shape[left:])),
        (STRIDES_FIELD, cgutils.pack_array(builder, strides[left:])),
    ):
        found = builder.insert_value(found, value, field)
    return found


def transposed(builder: ir.IRBuilder, array: Any) -> Any:
    """A matrix whose rows are the columns of another one; nobody gives it back."""
    found = array
    for field in (SHAPE_FIELD, STRIDES_FIELD):
        for axis in range(2):
            found = builder.insert_value(
                found, builder.extract_value(array, [field, axis]), [field, 1 - axis]
            )
    return found


def give_back(builder: ir.IRBuilder, array: Any) -> None:
    """Let go of an array."""
    pointer = ir.IntType(8).as_pointer()
    declared = ir.FunctionType(ir.VoidType(), [pointer])
    function = cgutils.get_or_insert_function(builder.module, declared, "NRT_decref")
    builder.call(function, [builder.extract_value(array, OWNER_FIELD)])


def described(function: ir.Function) -> dict[int, tuple[Any, Any]]:
    """Descriptions of arrays that lie in memory already: place and value, by the identity of the value."""
    return vars(function).setdefault("_described", {})


def place_of(builder: ir.IRBuilder, array: Any) -> Any:
    """Where the description of an array lies in memory; it is written down once."""
    known = described(builder.function)
    if id(array) not in known:
        with builder.goto_entry_block():
            place = builder.alloca(array.type)
        builder.store(array, place)
        known[id(array)] = place, array
    return known[id(array)][0]


def address_of(builder: ir.IRBuilder, array: Any) -> Any:
    """Where the description of an array lies in memory, as a whole number."""
    place, known = place_of(builder, array), vars(builder.function).setdefault("_addresses", {})
    if id(place) not in known:
        with builder.goto_entry_block():
            known[id(place)] = builder.ptrtoint(place, ir.IntType(64))
    return known[id(place)]


makers: dict[Any, Maker] = {empty: on_heap(False), zeros: on_heap(True), local: _on_stack_if_small}
for _function, _make in makers.items():
    type_callable(_function)(_typing)
    for _given in ((types.BaseTuple,), (types.BaseTuple, types.Any)):
        lower_builtin(_function, *_given)(_lowering(_make))


@type_callable(clear)
def _type_of_clear(context: Any) -> Any:
    return lambda array: types.none if isinstance(array, types.Array) and array.layout == "C" else None


@lower_builtin(clear, types.Array)
def _lower_clear(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
    array = make_array(signature.args[0])(context, builder, value=values[0])
    cgutils.memset(builder, array.data, builder.mul(array.nitems, array.itemsize), 0)
    return context.get_dummy_value()


@type_callable(clear_rows)
def _type_of_clear_rows(context: Any) -> Any:
    def typer(array: Any, first: Any, many: Any, unless: Any = None) -> Any:
        return types.none if isinstance(array, types.Array) else None

    return typer


@lower_builtin(clear_rows, types.Array, types.Integer, types.Integer, types.BaseTuple)
def _lower_clear_rows_unless(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
    array, *rows, unless = values
    shape = cgutils.unpack_tuple(builder, make_array(signature.args[0])(context, builder, value=array).shape)
    other = ir.IntType(1)(0)
    for extent, number in zip(shape[1:], cgutils.unpack_tuple(builder, unless), strict=True):
        other = builder.or_(other, builder.icmp_signed("!=", extent, number))
    with builder.if_then(other):
        _lower_clear_rows(context, builder, signature, (array, *rows))
    return context.get_dummy_value()


@lower_builtin(clear_rows, types.Array, types.Integer, types.Integer)
def _lower_clear_rows(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
    array = make_array(signature.args[0])(context, builder, value=values[0])
    row = builder.extract_value(array.strides, 0)
    place = builder.gep(
        builder.bitcast(array.data, ir.IntType(8).as_pointer()), [builder.mul(values[1], row)]
    )
    cgutils.memset(builder, place, builder.mul(values[2], row), 0)
    return context.get_dummy_value()


@intrinsic
def _times(typing: Any, size: Any, extent: Any) -> Any:
    """The product of two sizes; -1 where one of them is negative, or it is too large."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        found = builder.smul_with_overflow(*arguments)
        negative = builder.icmp_signed("<", builder.or_(*arguments), word(0))
        wrong = builder.or_(builder.extract_value(found, 1), negative)
        return builder.select(wrong, word(-1), builder.extract_value(found, 0))

    return types.intp(types.intp, types.intp), generate


times: Any = _times
read, write = element_access(0)


@routine
def _bytes_of(place: int, rank: int, item: int) -> int:
    """Complete the description of an array whose extents stand there; how many bytes it has, -1 if none can have."""
    size, count, strides = item, 1, place + SHAPE + 8 * rank
    for axis in range(rank - 1, -1, -1):
        extent = read(place + SHAPE + 8 * axis)
        write(strides + 8 * axis, size)
        size = times(size, extent)
        count *= extent
    write(place + PARENT, 0)
    write(place + COUNT, count)
    write(place + ITEM, item)
    return size


@cache
def array_maker() -> Any:
    """``make(place, rank, item, clear)``, as a symbol: an array of the extents that stand in its description."""
    memory = new_memory()

    def make(place: int, rank: int, item: int, clear: int) -> int:
        size = _bytes_of(place, rank, item)
        owner = memory(size)
        if owner == 0:
            return 0
        write(place + OWNER, owner)
        write(place + DATA, data_of(owner))
        if clear != 0:
            clear_bytes(data_of(owner), size)
        return 1

    return exported("gradc_make_array", make)


@cache
def _local_maker() -> Any:
    """``make(place, rank, item, buffer)``, as a symbol: a small array has no owner, and lies in the buffer.

    Numba takes memory without an owner for memory that somebody else looks after.
    """
    memory = new_memory()

    def make(place: int, rank: int, item: int, buffer: int) -> int:
        size, owner = _bytes_of(place, rank, item), 0
        if size < 0 or size > STACKED:
            owner = memory(size)
            if owner == 0:
                return 0
        write(place + OWNER, owner)
        write(place + DATA, data_of(owner) if owner != 0 else buffer)
        return 1

    return exported("gradc_make_local", make)
