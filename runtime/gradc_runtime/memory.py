"""Memory of arrays: large blocks come from a pool of memory that has been touched before.

A new page of memory costs its first writer some 0.3 microseconds, which for arrays of megabytes is more than what a
kernel does to them.  Memory of arrays that nobody uses any more is therefore kept for the next ones, up to a limit.
Memory is known by its owner, an object of Numba's that counts references and gives it back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from gradc_runtime.routines import exported, for_python, routine
from gradc_runtime.simd import element_access, symbol_address

POOLED = sys.platform == "linux"  # elsewhere every array is Numba's
LARGE = 1 << 18  # bytes of an array that comes from the pool
LIMIT = 1 << 28  # bytes that the pool keeps at most
SLOTS = 32
HUGE, PAGE = 1 << 21, 1 << 12  # bytes of a large page, which the system is asked for, and of a page
HEAD = LINE = 64  # bytes before an array: the size of its block; arrays start at a cache line
MOST_WASTE = 8  # a block serves an array that leaves less than one of so many parts of it unused

NO_MEMORY = "there is no memory for an array of the kernel: use smaller arguments, or fewer at a time"
MANAGE_MEMORY = 2  # in Numba's table of functions for extensions (`nrt_external.h`)

# Words of the pool: a lock, the bytes kept, then size and address of every slot.
LOCK, KEPT, FIRST = 0, 8, 16
POOL = "gradc_pool"
_pool = np.zeros(2 + 2 * SLOTS, np.int64)


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
