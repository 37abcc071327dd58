"""Arguments of kernels as the driver takes them: of an array its address, its extents and its strides.

Numba makes them anew at every launch, in some 15 us for each array; here an array keeps its own.  What is kept is what
Numba makes: the first launch of every kernel compares them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from gradc_runtime import cuda_driver
from gradc_runtime.cuda_backend import types

Array = Any


class Unfit(Exception):
    """An argument is not of the type that the signature says."""


class Packing:
    """How arguments of the types of a signature are packed.

    Parameters
    ----------
    kinds : sequence
        Numba's types.
    """

    def __init__(self, kinds: Sequence[Any]) -> None:
        self._parameters = [(_layouts(kind), _number(kind)) for kind in kinds]

    def words(self, arguments: Sequence[Any]) -> list[Any]:
        """What stands for arguments, as cuda.core takes it: Python's numbers have 8 bytes and bools one.

        Raises
        ------
        Unfit
            There are more or fewer, or an array is not of a parameter's dtype, rank or layout.
        """
        if len(arguments) != len(self._parameters):
            raise Unfit
        found: list[Any] = []
        for (layouts, number), value in zip(self._parameters, arguments, strict=True):
            if layouts is None:
                found.append(number(value))
                continue
            try:
                layout, words = value._gradc_words
            except AttributeError:
                layout, words = _described(value)
            if layout not in layouts:
                raise Unfit
            found += words
        return found


@cache
def dtype_of(kind: Any) -> np.dtype:
    """The dtype of one of Numba's types."""
    return np.dtype("bool" if kind == types.boolean else str(kind))


# --- arrays -------------------------------------------------------------------------------------------------


def _layouts(kind: Any) -> frozenset[str] | None:
    """What `_described` says of arrays that a parameter takes, None for a number."""
    if not isinstance(kind, types.Array):
        return None
    contiguous = (True, False) if kind.layout == "A" else (True,)
    return frozenset(_layout(dtype_of(kind.dtype), kind.ndim, flag) for flag in contiguous)


@cache
def _layout(dtype: np.dtype, rank: int, contiguous: bool) -> str:
    return f"{dtype.str} {rank} {'C' if contiguous else 'strided'}"


def _described(value: Any) -> tuple[str, tuple[int, ...]]:
    """What an array is like, and what stands for it, which it keeps: it never moves."""
    if not isinstance(value, cuda_driver.DeviceArray):
        return "", ()
    address = int(value.device_ctypes_pointer.value or 0)
    memory = 0, 0, value.size, value.dtype.itemsize, address  # of which nobody counts references
    words = (*memory, *map(int, value.shape), *map(int, value.strides))
    found = _layout(value.dtype, value.ndim, bool(value.is_c_contiguous())), words
    value._gradc_words = found
    return found


# --- numbers ------------------------------------------------------------------------------------------------


def _number(kind: Any) -> Callable[[Any], Any]:
    """What makes what stands for a number of a type."""
    if kind == types.boolean:
        return bool
    if kind == types.int64:
        return int
    if kind == types.float64:
        return float
    if isinstance(kind, types.Array):
        return lambda value: value
    made = ctypes.c_float if kind == types.float32 else getattr(ctypes, f"c_{kind}", None)
    if made is None:
        raise TypeError(f"no kernel takes numbers of type {kind}")
    return made if kind == types.float32 else lambda value: made(int(value))
