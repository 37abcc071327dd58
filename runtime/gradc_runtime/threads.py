"""Threads of parallel kernels."""

from __future__ import annotations

from functools import cache

import numba
from numba.np.ufunc import parallel


@cache
def available() -> bool:
    """Whether parallel kernels may run: a threading layer that survives being entered from several threads.

    Numba's fallback layer, workqueue, aborts the process when two Python threads enter parallel kernels, so
    without OpenMP kernels are serial.
    """
    if numba.config.NUMBA_NUM_THREADS < 2:  # pyright: ignore[reportAttributeAccessIssue]
        return False
    try:
        numba.config.THREADING_LAYER = "omp"  # pyright: ignore[reportAttributeAccessIssue]
        parallel._launch_threads()
    except ValueError:
        numba.config.THREADING_LAYER = "default"  # pyright: ignore[reportAttributeAccessIssue]
        return False
    return numba.threading_layer() == "omp"

