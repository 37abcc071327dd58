"""How many threads kernels use, for the whole process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gradc.errors import ArgumentError
from gradc_runtime import backends, thread_count


def set_num_threads(count: int | None) -> None:
    """Let kernels use at most `count` threads, in the whole process.

    Results do not depend on it, to the bit.  Kernels use fewer where there are fewer processors, and one where
    more would not pay.

    Parameters
    ----------
    count : int or None
        At least 1; None for as many as there are, which is the default.  ``GRADC_NUM_THREADS`` sets it when
        the process starts.

    Raises
    ------
    ArgumentError
        If `count` is not a whole number of at least 1.

    Examples
    --------
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(None)
    """
    try:
        thread_count.want(count)
    except ValueError as error:
        raise ArgumentError(str(error), do="set_num_threads(2), or None") from None


def get_num_threads() -> int:
    """Return how many threads kernels use at most: 1 where there is no pool that is safe to share."""
    return backends.threads()


@contextmanager
def num_threads(count: int | None) -> Iterator[None]:
    """Let kernels use at most `count` threads inside a ``with`` block; in the whole process, not one thread alone.

    Examples
    --------
    >>> with num_threads(1):
    ...     get_num_threads()
    1
    """
    before = thread_count.wanted()
    set_num_threads(count)
    try:
        yield
    finally:
        thread_count.want(before)
