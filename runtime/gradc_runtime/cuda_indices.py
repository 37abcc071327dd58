"""Checks of tables of indices, at once or noted on the device: a launch cannot raise.

    labels = checked(labels, 10)

raises IndexError, for which it waits for the stream.  In a call that has `Notes` it waits for nothing: a kernel notes
that an index is out of range, and what follows gets a copy in which such an index is 0, so that nothing is read or
written out of range until somebody looks at the note.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from gradc_runtime import cuda_driver
from gradc_runtime.cuda_backend import cuda
from gradc_runtime.cuda_host import Kernel, kernel, launch
from gradc_runtime.cuda_memory import Notes as Notes
from gradc_runtime.cuda_memory import clear, scratch, this_call

Array = Any

THREADS, BLOCKS = 128, 256  # of a block, and at most, that look at indices


def check_indices(table: Any, extent: int) -> None:
    """Raise IndexError unless every element is an index into an axis of this extent, from either end.

    For an array on the device it waits for the stream, in a call with `Notes` too.
    """
    if not _known(table, int(extent)) and _any_outside(table, int(extent)):
        raise outside()


def checked(table: Any, extent: int) -> Any:
    """A table as it is after `check_indices`; in a call with `Notes` a copy of which all indices are in range."""
    notes = this_call().notes
    if notes is None or _known(table, int(extent)):
        check_indices(table, extent)
        return table
    notes.used = True
    shape, dtype = tuple(table.shape), np.dtype(table.dtype)
    found = scratch(shape, dtype)
    _launch(_replace(dtype.name), table, _flat(found), notes.cell, int(extent))
    return found


def outside(why: str = "") -> IndexError:
    """The error for an index that is out of range."""
    return IndexError("an index is out of range" + (f": {why}" if why else ""))


def _known(table: Any, extent: int) -> bool:
    """Whether the processor knows that all indices are in range, having raised where it knows that one is not."""
    if isinstance(table, cuda_driver.DeviceArray):
        if table.size and extent <= 0:
            raise outside()
        return not table.size
    if not all(-extent <= index < extent for index in np.ravel(table)):
        raise outside()
    return True


# --- on the device ------------------------------------------------------------------------------------------


def _any_outside(table: Array, extent: int) -> bool:
    found, read, stream = scratch((1,), np.int32), np.zeros(1, np.int32), this_call().stream
    clear(found)
    _launch(_note(table.dtype.name), table, found, extent)
    cuda_driver.copy_to_host(found, read, stream)
    cuda_driver.wait(stream)
    return bool(read[0])


def _launch(kernel: Kernel, table: Array, *others: Any) -> None:
    *arrays, extent = others
    blocks = min(BLOCKS, -(-table.size // THREADS))
    launch(kernel, blocks, THREADS, _flat(table), *arrays, table.size, extent)


def _flat(table: Array) -> Array:
    return cuda_driver.viewed(table, (table.size,), np.dtype(table.dtype), this_call().stream)


@cache
def _note(dtype: str) -> Kernel:
    """A kernel that sets a cell where an index is out of range; many threads may write the same 1."""

    def note(table: Array, cell: Array, size: int, extent: int) -> None:
        for p in range(cuda.grid(1), size, cuda.gridsize(1)):
            if table[p] < -extent or table[p] >= extent:
                cell[0] = 1

    return kernel(f"{dtype}[::1], int32[::1], int64, int64")(note)


@cache
def _replace(dtype: str) -> Kernel:
    """A kernel that does so as well, and copies the table with 0 in the place of such an index."""

    def replace(table: Array, copy: Array, cell: Array, size: int, extent: int) -> None:
        for p in range(cuda.grid(1), size, cuda.gridsize(1)):
            copy[p] = table[p]
            if table[p] < -extent or table[p] >= extent:
                copy[p] = 0
                cell[0] = 1

    return kernel(f"{dtype}[::1], {dtype}[::1], int32[::1], int64, int64")(replace)
