"""A device made of NumPy and of the PTX of kernels, for tests of what the host does with them.

Threads run one after the other.  Kernels in which they wait for each other run in blocks of one thread, to which
a barrier is nothing; that is for functions that choose the number of threads with `cuda_families`.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.cuda.ptx_machine import THREAD, Machine

from gradc_runtime import cuda_backend, cuda_driver, cuda_families, cuda_host, cuda_library, cuda_sorting

CAPABILITY = (8, 0)


class Array(np.ndarray):
    """An array that stands for one on a device."""

    def is_c_contiguous(self) -> bool:
        return self.flags.c_contiguous


class Program(Machine):
    """The PTX of a kernel, ready to run on the CPU."""

    def __init__(self, text: str) -> None:
        self.waits = "bar.sync" in text
        text = re.sub(r"\.shared (\.align \d+ \.b8 [\w$]+\[\d+\]);", r".global \1 = {0};", text)
        text = re.sub(r"bar\.sync\s+\d+;", "", text)
        text = re.sub(r"shfl\.sync\.bfly\.b32\s+(%\w+)\|%\w+, (%\w+),[^;]*;", r"mov.b32 \1, \2;", text)
        super().__init__(text)

    def start(self, blocks: int, threads: int, words: Sequence[int]) -> None:
        """Run all threads of all blocks."""
        assert threads == 1 or not self.waits, "threads wait for each other"
        parameters = (ctypes.c_int64 * len(words))(*words)
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *[ctypes.c_int32] * len(THREAD))
        run = kind(self.engine.get_function_address(self.kernel))
        for block in range(blocks):
            for thread in range(threads):
                run(ctypes.addressof(parameters), thread, block, threads, blocks)


@cache
def _program(function: Any, signature: str) -> Program:
    return Program(cuda_backend.ptx(function, cuda_backend.types_of(signature), CAPABILITY))


def _run(kernel: cuda_host.Kernel, blocks: int, threads: int, arguments: tuple[Any, ...]) -> None:
    """Stand in for `Kernel.run`."""
    words: list[int] = []
    for kind, value in zip(kernel._types, kernel._admitted(arguments), strict=True):
        if isinstance(value, np.ndarray):
            place = value.ctypes.data
            words += [0, 0, value.size, value.itemsize, place, *value.shape, *value.strides]
        else:
            number = np.asarray(value, cuda_host._dtype(kind))
            words.append(int.from_bytes(number.tobytes().ljust(8, b"\0"), "little", signed=True))
    _program(kernel.py_func, kernel.signature).start(blocks, threads, words)


def _viewed(block: Array, shape: tuple[int, ...], dtype: np.dtype, stream: Any) -> Array:
    many = int(np.prod(shape)) * dtype.itemsize
    return block.reshape(-1).view(np.uint8)[:many].view(dtype).reshape(shape).view(Array)


def _fill(array: Array, byte: int, first: int, many: int, stream: Any) -> None:
    array.reshape(-1).view(np.uint8)[first : first + many] = byte


def _copy(source: np.ndarray, target: np.ndarray, stream: Any) -> None:
    target[...] = source


@contextmanager
def device(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Replace what asks the driver, and let blocks have one thread."""
    stream = SimpleNamespace(handle=0)
    replaced = {
        "DeviceArray": Array,
        "allocated": lambda size: np.full(size, 0xFF, np.uint8).view(Array),
        "copy_to_device": _copy,
        "copy_to_host": _copy,
        "current": lambda: 0,
        "fill": _fill,
        "on": lambda number: nullcontext(),
        "stream_of": lambda given: stream,
        "viewed": _viewed,
        "wait": lambda stream: None,
    }
    with patch.context() as changed:
        for name, value in replaced.items():
            changed.setattr(cuda_driver, name, value)
        changed.setattr(cuda_library, "DeviceArray", Array)
        changed.setattr(cuda_host.Kernel, "run", _run)
        for module in (cuda_families, cuda_sorting):
            changed.setattr(module, "THREADS", 1)
        changed.setattr(cuda_families, "LEAST", 1)
        yield
