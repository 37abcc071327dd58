"""Arrays of kernels: large ones come from a pool of memory that has been touched before.

A new page of memory costs its first writer some 0.3 microseconds, which for arrays of megabytes is more than what a
kernel does to them.  Memory of arrays that nobody uses any more is therefore kept for the next ones, up to a limit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.core.typing.npydecl import parse_dtype
from numba.extending import intrinsic, lower_builtin, type_callable
from numba.np.arrayobj import make_array

from gradc_runtime.routines import exported, for_python, routine
from gradc_runtime.simd import element_access, symbol_address

Array = Any

POOLED = sys.platform == "linux"  # elsewhere every array is Numba's
LARGE = 1 << 18  # bytes of an array that comes from the pool
LIMIT = 1 << 28  # bytes that the pool keeps at most
SLOTS = 32
STACKED = 512  # bytes of a local array at most, for it to be on the stack
HUGE, PAGE = 1 << 21, 1 << 12  # bytes of a large page, which the system is asked for, and of a page
HEAD = LINE = 64  # bytes before an array: the size of its block; arrays start at a cache line
MOST_WASTE = 8  # a block serves an array that leaves less than one of so many parts of it unused

# The description of an array in compiled code: bytes to its fields, and their numbers.  Strides stand behind extents.
OWNER, PARENT, COUNT, ITEM, DATA, SHAPE = range(0, 48, 8)
OWNER_FIELD, COUNT_FIELD, ITEM_FIELD, DATA_FIELD, SHAPE_FIELD, STRIDES_FIELD = 0, 2, 3, 4, 5, 6

NO_MEMORY = "there is no memory for an array of the kernel: use smaller arguments, or fewer at a time"
MANAGE_MEMORY = 2  # in Numba's table of functions for extensions (`nrt_external.h`)

# Words of the pool: a lock, the bytes kept, then size and address of every slot.
LOCK, KEPT, FIRST = 0, 8, 16
POOL = "gradc_pool"
_pool = np.zeros(2 + 2 * SLOTS, np.int64)


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


def _lowering(make: Callable[[ir.IRBuilder, Any, Any, Any], Any]) -> Any:
    """`make` takes the place of the array's description, its rank and its elements' size; 0 where it cannot."""

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
    make: Callable[[ir.IRBuilder, Any, Any, Any], Any],
) -> Any:
    """A new array: its extents are written down, the rest is a call, as a kernel has hundreds of arrays."""
    word, index = ir.IntType(64), ir.IntType(32)
    with builder.goto_entry_block():
        place = builder.alloca(context.get_value_type(kind))
    for axis, extent in enumerate(extents):
        builder.store(extent, builder.gep(place, [index(0), index(SHAPE_FIELD), index(axis)], inbounds=True))
    item = context.get_abi_sizeof(context.get_data_type(kind.dtype))
    done = make(builder, builder.ptrtoint(place, word), word(kind.ndim), word(item))
    refuse_if(context, builder, builder.icmp_signed("==", done, word(0)), MemoryError, NO_MEMORY)
    found = builder.load(place)
    described(builder.function)[id(found)] = place, found
    return found


def refuse_if(context: Any, builder: ir.IRBuilder, wrong: Any, error: type[Exception], message: str) -> None:
    """Raise an error where something is wrong; the instructions for it stand once in a function."""
    blocks = vars(builder.function).setdefault("_refusals", {})
    if message not in blocks:
        blocks[message] = builder.append_basic_block("refused")
        with builder.goto_block(blocks[message]):
            context.call_conv.return_user_exc(builder, error, (message,))
    goes_on = builder.append_basic_block("goes_on")
    builder.cbranch(wrong, blocks[message], goes_on).set_weights([1, 99])
    builder.position_at_end(goes_on)


def on_heap(clear: bool) -> Callable[[ir.IRBuilder, Any, Any, Any], Any]:
    """What makes memory for an array that may outlive the kernel."""

    def make(builder: ir.IRBuilder, place: Any, rank: Any, item: Any) -> Any:
        return called_symbol(builder, _array_maker().symbol, [place, rank, item, item.type(int(clear))])

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


def give_back(builder: ir.IRBuilder, array: Any) -> None:
    """Let go of an array."""
    pointer = ir.IntType(8).as_pointer()
    declared = ir.FunctionType(ir.VoidType(), [pointer])
    function = cgutils.get_or_insert_function(builder.module, declared, "NRT_decref")
    builder.call(function, [builder.extract_value(array, OWNER_FIELD)])


def described(function: ir.Function) -> dict[int, tuple[Any, Any]]:
    """Descriptions of arrays that lie in memory already: place and value, by the identity of the value."""
    return vars(function).setdefault("_described", {})


for _function, _make in ((empty, on_heap(False)), (zeros, on_heap(True)), (local, _on_stack_if_small)):
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
def _managed(typing: Any, address: Any) -> Any:
    """What owns a block of the pool, for Numba: it gives the memory back there."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        word, pointer = ir.IntType(64), ir.IntType(8).as_pointer()
        returning = ir.FunctionType(ir.VoidType(), [pointer])
        giving = cgutils.get_or_insert_function(builder.module, returning, "gradc_give_memory")
        managing = ir.FunctionType(pointer, [pointer, returning.as_pointer()]).as_pointer()
        table = builder.bitcast(context.nrt.get_nrt_api(builder), managing.as_pointer())
        manage = builder.load(builder.gep(table, [word(MANAGE_MEMORY)]))
        return builder.ptrtoint(builder.call(manage, [builder.inttoptr(arguments[0], pointer), giving]), word)

    return types.intp(types.intp), generate


@intrinsic
def _small(typing: Any, size: Any) -> Any:
    """What owns as many new bytes; 0 where there are none to be had."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        align = ir.IntType(32)(LINE)
        owner = context.nrt.meminfo_alloc_aligned_unchecked(builder, arguments[0], align)
        return builder.ptrtoint(owner, ir.IntType(64))

    return types.intp(types.intp), generate


@intrinsic
def _clear_bytes(typing: Any, address: Any, size: Any) -> Any:
    """``memset`` to zero."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        cgutils.memset(builder, place, arguments[1], 0)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


@intrinsic
def _data(typing: Any, owner: Any) -> Any:
    """The address of the memory that is owned."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        owner = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        return builder.ptrtoint(context.nrt.meminfo_data(builder, owner), ir.IntType(64))

    return types.intp(types.intp), generate


@intrinsic
def _drop(typing: Any, owner: Any) -> Any:
    """Give up memory that nobody else has."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        declared = ir.FunctionType(ir.VoidType(), [pointer])
        dropping = cgutils.get_or_insert_function(builder.module, declared, "NRT_decref")
        builder.call(dropping, [builder.inttoptr(arguments[0], pointer)])
        return context.get_dummy_value()

    return types.void(types.intp), generate


# Intrinsics as checkers of types see them: what they are called with.
drop: Any = _drop
managed: Any = _managed
small: Any = _small
clear_bytes: Any = _clear_bytes
data_of: Any = _data


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
def _array_maker() -> Any:
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


@cache
def new_memory() -> Any:
    """``memory(bytes) -> owner``, as a symbol; 0 where there is no memory, or `bytes` is negative."""
    owned = _owned_by_pool() if POOLED else _of_numba

    def memory(size: int) -> int:
        return owned(size) if size >= 0 else 0

    return exported("gradc_new_memory", memory)


@routine
def _of_numba(size: int) -> int:
    return small(size)


def _owned_by_pool() -> Any:
    """What owns new memory: that of large arrays goes back to the pool."""
    take_memory = _taking()
    _giving()  # what the owners call

    @routine
    def owned(size: int) -> int:
        if size < LARGE:
            return small(size)
        address = take_memory(size)
        return managed(address) if address != 0 else 0

    return owned


# --- the pool -----------------------------------------------------------------------------------------------


@intrinsic
def _acquire(typing: Any, place: Any) -> Any:
    """Whether the lock was free and is held now.  Nobody waits for it: without it memory is the system's."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        lock = builder.inttoptr(arguments[0], word.as_pointer())
        return builder.extract_value(builder.cmpxchg(lock, word(0), word(1), "acquire", "monotonic"), 1)

    return types.boolean(types.intp), generate


@intrinsic
def _release(typing: Any, place: Any) -> Any:
    """Free the lock."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        lock = builder.inttoptr(arguments[0], word.as_pointer())
        builder.store_atomic(word(0), lock, "release", 8)
        return context.get_dummy_value()

    return types.void(types.intp), generate


# Intrinsics as checkers of types see them: what they are called with.
acquire: Any = _acquire
release: Any = _release


def _taking() -> Any:
    """``take(bytes) -> address``, as a symbol; 0 where there is no memory."""
    define_pool()
    load, store = element_access(0)
    pool = symbol_address(POOL)
    aligned = types.ExternalFunction("aligned_alloc", types.intp(types.intp, types.intp))
    advise = types.ExternalFunction("madvise", types.int32(types.intp, types.intp, types.int32))
    huge_pages = 14  # MADV_HUGEPAGE

    @routine
    def kept(size: int) -> int:
        words, found = pool(), 0
        if not acquire(words + LOCK):
            return 0
        for slot in range(SLOTS):
            place = words + FIRST + 16 * slot
            block = load(place)
            if block >= size and block - size <= block // MOST_WASTE:
                found = load(place + 8)
                store(place, 0)
                store(words + KEPT, load(words + KEPT) - block)
                break
        release(words + LOCK)
        return found

    def take(size: int) -> int:
        page = HUGE if size >= HUGE else PAGE
        size = (size + HEAD + page - 1) // page * page
        block = kept(size)
        if block == 0:
            block = aligned(page, size)
            if block == 0:
                return 0
            if page == HUGE:
                advise(block, size, huge_pages)
            store(block, size)
        return block + HEAD

    return exported("gradc_take_memory", take)


def _giving() -> Any:
    """``give(address)``, as a symbol."""
    define_pool()
    load, store = element_access(0)
    pool = symbol_address(POOL)
    free = types.ExternalFunction("free", types.void(types.intp))

    @routine
    def keep(block: int, size: int) -> bool:
        words, done = pool(), False
        if not acquire(words + LOCK):
            return False
        if load(words + KEPT) + size <= LIMIT:
            for slot in range(SLOTS):
                place = words + FIRST + 16 * slot
                if load(place) == 0:
                    store(place, size)
                    store(place + 8, block)
                    store(words + KEPT, load(words + KEPT) + size)
                    done = True
                    break
        release(words + LOCK)
        return done

    def give(address: int) -> None:
        block = address - HEAD
        if not keep(block, load(block)):
            free(block)

    return exported("gradc_give_memory", give)


def define_pool() -> None:
    """Give the words of the pool their symbol."""
    binding.add_symbol(POOL, _pool.ctypes.data)


def kept_bytes() -> int:
    """How many bytes the pool keeps."""
    return int(_pool[KEPT // 8])


def clear_pool() -> None:
    """Give the memory that the pool keeps back to the system, but what another thread is taking at the moment."""
    if POOLED:
        _clearing()()


@cache
def _clearing() -> Callable[[], None]:
    define_pool()
    load, store = element_access(0)
    pool = symbol_address(POOL)
    free = types.ExternalFunction("free", types.void(types.intp))

    @routine
    def clear() -> None:
        words = pool()
        if not acquire(words + LOCK):
            return
        for slot in range(SLOTS):
            place = words + FIRST + 16 * slot
            if load(place) != 0:
                free(load(place + 8))
                store(words + KEPT, load(words + KEPT) - load(place))
                store(place, 0)
        release(words + LOCK)

    return for_python("gradc_clear_pool", clear)
