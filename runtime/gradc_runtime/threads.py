"""Threads of parallel kernels: tasks numbered 0 .. count-1, shared out by OpenMP.

A task is a C function with a table of addresses and extents.  It is handed to the OpenMP pool that Numba ships,
without Numba's ``prange``, whose compilation costs seconds, and kernels call it by symbol, because Numba would compile
a function that is called directly again in every kernel.  Results never depend on the number of threads: which task
does what is fixed.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding
import numba
from llvmlite import ir
from numba import cfunc
from numba.core import types
from numba.extending import intrinsic
from numba.np.ufunc import parallel

from gradc_runtime.machine_code import keep_function, provide_kept
from gradc_runtime.routines import exported, routine
from gradc_runtime.simd import element_access, stack_buffer, symbol_address
from gradc_runtime.thread_count import ALONE, ENABLED, PENALTY, WANTED, state

_numba: Any = numba  # Numba's types leave out its configuration
_config = _numba.config

# Symbols of compiled code.
POOL, THREADS, CLOCK, STATE = (
    "gradc_parallel_for",
    "gradc_get_num_threads",
    "gradc_clock",
    "gradc_launch_state",
)


@cache
def available() -> bool:
    """Whether OpenMP is there; Numba's fallback pool aborts when entered from two threads, so it is not used."""
    if _config.NUMBA_NUM_THREADS < 2 or os.name == "nt":  # the clock that watches barriers is POSIX's
        return False
    chosen = _config.THREADING_LAYER
    try:
        _config.THREADING_LAYER = "omp"
        parallel._launch_threads()
    except ValueError:
        return False
    finally:
        _config.THREADING_LAYER = chosen
    if _numba.threading_layer() != "omp":
        return False
    from numba.np.ufunc import omppool  # noqa: PLC0415  # pyright: ignore[reportAttributeAccessIssue]

    libc = ctypes.cast(ctypes.CDLL(None).clock_gettime, ctypes.c_void_p).value
    llvmlite.binding.add_symbol(POOL, omppool.parallel_for)
    llvmlite.binding.add_symbol(THREADS, omppool.get_num_threads)
    llvmlite.binding.add_symbol(CLOCK, libc or 0)
    llvmlite.binding.add_symbol(STATE, state.ctypes.data)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forked)
    return True


# On a busy machine one descheduled thread holds up all others for milliseconds: every stall doubles the penalty, every
# launch in time takes one off it, so that a single stall (threads that had gone to sleep) costs little and frequent
# ones much.
SHORTEST, LONGEST = 64, 1024
state[PENALTY // 8] = SHORTEST


def _forked() -> None:
    state[ENABLED // 8] = 0


_kept: list[Any] = []  # compiled functions live as long as the process: kernels hold their addresses


def exported_by_numba(symbol: str, signature: Any, function: Callable[..., Any]) -> None:
    """Compile a function that is no routine once, and give it a symbol that compiled code calls."""
    if not provide_kept(symbol):
        function.__module__, function.__qualname__ = (
            __name__,
            symbol,
        )  # Numba derives the names of symbols from them
        compiled: Any = cfunc(signature, error_model="numpy")(function)
        _kept.append(compiled)
        llvmlite.binding.add_symbol(symbol, compiled.address)
        keep_function(symbol, compiled._library, compiled.native_name)


def _accounting() -> Any:
    """Return what notes whether a launch stalled, in the words at an address."""
    load, store = element_access(0)

    @routine
    def account(words: int, stalled: bool) -> None:
        penalty = load(words + PENALTY)
        if stalled:
            store(words + ALONE, penalty)
            store(words + PENALTY, min(2 * penalty, LONGEST))
        elif penalty > SHORTEST:
            store(words + PENALTY, penalty - 1)

    return account


@routine
def _one() -> int:
    return 1


@cache
def used() -> Any:
    """``used()``: the number of threads that parallel launches use now, 1 where there is no pool."""
    load, _ = element_access(0)
    if not available():
        return _one
    pool_threads = types.ExternalFunction(THREADS, types.int32())
    state_address = symbol_address(STATE)

    @routine
    def threads_used() -> int:
        words = state_address()
        if load(words + ENABLED) != 1:
            return 1
        return max(1, min(load(words + WANTED), pool_threads()))

    return threads_used


@intrinsic
def _call_address(typing: Any, address: Any, place: Any, table: Any) -> Any:
    """Call the task at an address with the place of its index."""
    word = ir.IntType(64)
    kind = ir.FunctionType(ir.VoidType(), [word] * 4).as_pointer()

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        function, index, data = arguments
        builder.call(builder.inttoptr(function, kind), [index, word(0), word(0), data])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


call_address: Any = _call_address  # as checkers of types see an intrinsic


@cache
def launcher() -> Any:
    """``launch(address, count, table, patience)``, as a symbol: run the task at an address for every index.

    In parallel where `patience` is positive: a launch that takes longer, in nanoseconds, makes the next ones run alone.
    """
    launch = _launch_with_pool() if available() else _launch_alone()
    return exported("gradc_launch", launch)


def _launch_alone() -> Any:
    _, store = element_access(0)
    words = stack_buffer(8)

    @routine
    def alone(address: int, count: int, table: int, patience: int) -> None:
        place = words()
        for index in range(count):
            store(place, index)
            call_address(address, place, table)

    return alone


def _launch_with_pool() -> Any:
    load, store = element_access(0)
    words = stack_buffer(24)
    alone = _launch_alone()
    pool = types.ExternalFunction(POOL, types.void(*[types.intp] * 7, types.int32))
    clock = types.ExternalFunction(CLOCK, types.int32(types.int32, types.intp))
    state_address, account, threads_used = symbol_address(STATE), _accounting(), used()
    monotonic = time.CLOCK_MONOTONIC

    @routine
    def now() -> int:
        place = words()
        clock(monotonic, place)
        return load(place) * 1_000_000_000 + load(place + 8)

    @routine
    def launch(address: int, count: int, table: int, patience: int) -> None:
        if patience <= 0 or count < 2:
            alone(address, count, table, 0)
            return
        threads, state = threads_used(), state_address()
        if threads < 2:
            alone(address, count, table, 0)
            return
        waiting = load(state + ALONE)
        if waiting > 0:
            store(state + ALONE, waiting - 1)
            alone(address, count, table, 0)
            return
        # The pool adds index * step to each base address: base 0 and step 1 hand over the index itself.
        start = words()
        store(start, 0)
        store(start + 8, count)
        store(start + 16, 1)
        begin = now()
        pool(address, start, start + 8, start + 16, table, 0, 1, threads)
        account(state, now() - begin > patience)

    return launch
