"""The clock of kernels that measure themselves: nanoseconds, read between loops without the interpreter."""

from __future__ import annotations

import ctypes
import os
import time
from functools import cache
from typing import Any

import llvmlite.binding
import numpy as np
from numba import njit
from numba.core import types
from numba.extending import overload

from gradc_runtime.simd import element_access, stack_buffer

CLOCK = "gradc_clock"  # the symbol that `gradc_runtime.threads` reads barriers by, too


def nanoseconds() -> int:
    """Nanoseconds since some moment; they never go backwards."""
    return time.perf_counter_ns()


@overload(nanoseconds)
def _compiled():  # type: ignore[no-untyped-def]  # Numba compares this with the lambda's signature
    read = _python_clock() if os.name == "nt" else _posix_clock()
    return lambda: read()


@cache
def _posix_clock() -> Any:
    """``clock_gettime``: seconds and nanoseconds into two words."""
    libc = ctypes.cast(ctypes.CDLL(None).clock_gettime, ctypes.c_void_p).value
    llvmlite.binding.add_symbol(CLOCK, libc or 0)
    clock = types.ExternalFunction(CLOCK, types.int32(types.int32, types.intp))
    words, (load, _) = stack_buffer(16), element_access(0)
    monotonic = np.int32(time.CLOCK_MONOTONIC)

    @njit(error_model="numpy")
    def read() -> int:
        place = words()
        clock(monotonic, place)
        return load(place) * 1_000_000_000 + load(place + 8)

    return read


@cache
def _python_clock() -> Any:
    """Python's clock, called back: it takes the interpreter's lock, and half a microsecond."""
    callback = ctypes.CFUNCTYPE(ctypes.c_int64)(time.perf_counter_ns)
    _callbacks.append(callback)
    llvmlite.binding.add_symbol("gradc_python_clock", ctypes.cast(callback, ctypes.c_void_p).value or 0)
    return types.ExternalFunction("gradc_python_clock", types.int64())


_callbacks: list[Any] = []  # compiled code holds their addresses
