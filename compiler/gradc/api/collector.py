"""The cyclic garbage collector rests while programs are built.

Building makes many small objects that all stay alive.  Each full collection in between walks all of them and
frees none: a quarter of the time to trace 10,000 operations.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_depth = 0
_was_enabled = False


@contextmanager
def collector_resting() -> Iterator[None]:
    """Pause cyclic collection; the last of several threads, or of nested uses, lets it go on."""
    global _depth, _was_enabled
    with _lock:
        if not _depth:
            _was_enabled = gc.isenabled()
            gc.disable()
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if not _depth and _was_enabled:
                gc.enable()
