"""Memory on the device: fresh arrays for results, and a workspace for what a call alone needs.

A workspace belongs to a device and a stream, and to one call at a time, so that nothing waits for anything: what one
call leaves is overwritten by the next one, which the stream runs after it.  No call is given a piece of memory twice.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradc_runtime import cuda_driver
from gradc_runtime.cuda_backend import SIMULATED
from gradc_runtime.cuda_driver import Stream
from gradc_runtime.cuda_errors import OutOfMemory
from gradc_runtime.cuda_simulator import UNWRITTEN

Array = Any

GRAIN = 512  # bytes: pieces are multiples of it
FINEST = 8  # and of an eighth of the power of two below them, so that sizes close to each other share one
MOST_WASTE = 2  # a piece serves arrays of half its size or more
KEPT = 16  # calls for which a piece that none of them uses is kept
MOST_VIEWS = 8  # arrays remembered for each piece
MOST_IDLE = 32  # workspaces kept


@dataclass(slots=True, eq=False)
class _Piece:
    """Memory of a workspace, the number of the call that used it last, and the arrays it has been."""

    block: Array
    size: int
    used: int
    views: dict[tuple[Any, ...], Array] = field(default_factory=dict)

    def as_array(self, shape: tuple[int, ...], dtype: np.dtype, stream: Stream) -> Array:
        found = self.views.get((shape, dtype))
        if found is None:
            if len(self.views) >= MOST_VIEWS:
                self.views.clear()
            found = self.views[shape, dtype] = cuda_driver.viewed(self.block, shape, dtype, stream)
        return found


class Workspace:
    """Memory of the calls on a device and a stream, one after the other; it has the pieces that none uses now."""

    def __init__(self, key: tuple[int, int, int]) -> None:
        self.key = key
        self.calls = 0
        self.free: dict[int, deque[_Piece]] = {}  # by their size, those at the end used last

    def take(self, size: int) -> _Piece:
        """The smallest piece that is large enough and not much larger, or a new one."""
        size = wanted = _rounded(size)
        while size <= MOST_WASTE * wanted:  # there are some ten sizes
            pieces = self.free.get(size)
            if pieces:
                best = pieces.popleft()
                best.used = self.calls
                return best
            size = _rounded(size + 1)
        return _Piece(_allocated(wanted, self), wanted, self.calls)

    def give_back(self, pieces: list[_Piece]) -> None:
        """Keep the pieces of a call that is over for the next one; let go of what has not been used for long."""
        self.calls += 1
        old = [piece for many in self.free.values() for piece in many if piece.used + KEPT >= self.calls]
        self.free = {}
        for piece in (*old, *pieces):
            self.free.setdefault(piece.size, deque()).append(piece)

    def release(self) -> int:
        """Let go of all pieces; return how many bytes they have."""
        pieces, self.free = self.free, {}
        return sum(size * len(many) for size, many in pieces.items())


_lock = threading.Lock()
_idle: list[Workspace] = []  # those of no call, the last one used at the end
_own = threading.local()


def _workspace(device: int, stream: int) -> Workspace:
    """A workspace that no other call has until `_rest` gets it."""
    thread = threading.get_ident() if stream == cuda_driver.PER_THREAD else 0
    key = (device, stream, thread)
    with _lock:
        for workspace in reversed(_idle):
            if workspace.key == key:
                _idle.remove(workspace)
                return workspace
    return Workspace(key)


def _rest(workspace: Workspace) -> None:
    with _lock:
        _idle.append(workspace)
        del _idle[:-MOST_IDLE]


def _rounded(size: int) -> int:
    grain = max(GRAIN, (1 << size.bit_length()) // (2 * FINEST))
    return -(-size // grain) * grain


def _allocated(size: int, workspace: Workspace | None) -> Array:
    try:
        return cuda_driver.allocated(size)
    except OutOfMemory:
        if not (workspace.release() if workspace else 0) + release():
            raise
        return cuda_driver.allocated(size)


def release() -> int:
    """Let go of all memory that is kept for later calls; return how many bytes it was."""
    if _idle:
        cuda_driver.current()  # memory is freed by threads that use a device
    with _lock:
        return sum(workspace.release() for workspace in _idle)


# --- calls --------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Notes:
    """Where calls note that an index was out of range, in place of an error: not 0 in a cell on the device.

    Attributes
    ----------
    cell : array of int32
        One element, that of the caller's.
    used : bool
        Whether a call may have noted something.
    """

    cell: Array
    used: bool = False


@dataclass(slots=True, eq=False)
class Call:
    """A call of a generated function: where it runs, its memory, and whether its results stay on the device.

    It has the notes that the call around it hands on, which no other call has; else what it checks raises at once.
    """

    device: int
    stream: Stream
    workspace: Workspace | None
    stay: bool
    notes: Notes | None = None
    hands_on: Notes | None = None
    taken: list[_Piece] = field(default_factory=list)

    def temporary(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """An array whose memory the next call uses again."""
        size = dtype.itemsize * math.prod(shape)
        if self.workspace is None or not size:
            return self.fresh(shape, dtype)
        piece = self.workspace.take(size)
        self.taken.append(piece)
        return self._unwritten(piece.as_array(shape, dtype, self.stream))

    def fresh(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """An array that is the caller's."""
        block = _allocated(dtype.itemsize * math.prod(shape), self.workspace)
        return self._unwritten(cuda_driver.viewed(block, shape, dtype, self.stream))

    def _unwritten(self, array: Array) -> Array:
        if SIMULATED:
            cuda_driver.fill(array, UNWRITTEN, 0, array.nbytes, self.stream)
        return array


def this_call() -> Call:
    """The call that this thread is in; outside of one, where the thread would launch kernels by default."""
    found = getattr(_own, "call", None)
    if found is not None:
        return found
    return Call(cuda_driver.current(), cuda_driver.stream_of(None), None, stay=True)


@contextmanager
def call_on(device: int, stream: Any, *, stay: bool) -> Iterator[Call]:
    """Run generated code on a device and a stream, with memory that no other call has."""
    with cuda_driver.on(device):
        chosen = cuda_driver.stream_of(stream)
        workspace = _workspace(device, chosen.handle)
        outer = getattr(_own, "call", None)
        notes = outer.hands_on if outer is not None and outer.device == device else None
        _own.call = call = Call(device, chosen, workspace, stay, notes)
        try:
            yield call
        finally:
            _own.call = outer
            workspace.give_back(call.taken)
            _rest(workspace)


# --- what generated code calls ------------------------------------------------------------------------------


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """A new array for a result, its elements undefined."""
    call = this_call()
    # Results that are copied back need not outlive the call.
    make = call.fresh if call.stay else call.temporary
    return make(_shape(shape), np.dtype(dtype))


def zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """A new array for a result, of zeros."""
    array = empty(shape, dtype)
    clear(array)
    return array


def scratch(shape: tuple[int, ...], dtype: Any) -> Array:
    """An array for this call alone, its elements undefined."""
    return this_call().temporary(_shape(shape), np.dtype(dtype))


def clear(array: Array, first: int = 0, many: int | None = None) -> None:
    """Make every element of a C-contiguous array 0, or those of `many` rows from the row `first` on."""
    row = array.dtype.itemsize * math.prod(array.shape[1:])
    rows = (array.shape[0] if array.shape else 1) if many is None else many
    cuda_driver.fill(array, 0, int(first) * row, int(rows) * row, this_call().stream)


def copy_in(host: Any) -> Array:
    """A copy of an array of the processor, for this call alone."""
    host = np.ascontiguousarray(host)
    call = this_call()
    array = call.temporary(host.shape, host.dtype)
    cuda_driver.copy_to_device(host, array, call.stream)
    return array


def _shape(shape: Any) -> tuple[int, ...]:
    return tuple(map(int, shape)) if isinstance(shape, tuple | list) else (int(shape),)
