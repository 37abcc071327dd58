"""How many threads kernels may use: words that compiled code reads at every launch.

Needs NumPy alone, so that a program can choose before anything is compiled.
"""

from __future__ import annotations

import os

import numpy as np

ALL = np.iinfo(np.int64).max

# Whether threads may be used (0 in a forked child, whose OpenMP threads are gone), how many launches still run alone
# because a barrier stalled, how many the next stall will cost, and how many threads are wanted.
ENABLED, ALONE, PENALTY, WANTED = (8 * word for word in range(4))
state = np.array([1, 0, 0, ALL], np.int64)


def wanted() -> int | None:
    """How many threads were asked for; None for as many as there are."""
    count = int(state[WANTED // 8])
    return None if count == ALL else count


def want(count: int | None) -> None:
    """Ask for a number of threads, or with None for as many as there are.

    Raises
    ------
    ValueError
        If `count` is not a whole number of at least 1.
    """
    if count is not None and (
        isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1
    ):
        raise ValueError(
            f"{count!r} threads: give a whole number of at least 1, or None for as many as there are"
        )
    state[WANTED // 8] = ALL if count is None else min(int(count), ALL)


def forget_stalls() -> None:
    """Let the next launch use all threads, whatever stalled before: for measurements."""
    state[ALONE // 8] = 0


def _from_environment(text: str) -> None:
    """Take the number from ``$GRADC_NUM_THREADS``."""
    if not text:
        return
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"GRADC_NUM_THREADS is {text!r}; it must be a whole number of at least 1")
    want(int(text))


_from_environment(os.environ.get("GRADC_NUM_THREADS", "").strip())
