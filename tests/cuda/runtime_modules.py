"""A module as code generation writes it, for tests of what runs it."""

from __future__ import annotations

from collections.abc import Callable

from gradc_runtime.artifact import KernelArtifact
from gradc_runtime.cuda_backend import cuda
from gradc_runtime.cuda_host import Kernel, kernel
from gradc_runtime.cuda_run import Loaded, load

_SOURCE = '''"""Scaled rows: total = sum[i, j] s * x[i, j] * y[j]."""

import numpy as np

from gradc_runtime.cuda_backend import cuda
from gradc_runtime.cuda_groups import group_sum
from gradc_runtime.cuda_host import clear, empty, kernel, launch, parts_of, scratch


@kernel("float32[:, ::1], float32[::1], float32[:, ::1], float64, int64, int64")
def rows_1(x, y, x_bar, s, n, m):
    for p in range(cuda.grid(1), n * m, cuda.gridsize(1)):
        x_bar[p // m, p % m] = s * y[p % m]


@kernel("float32[:, ::1], float32[::1], float64[::1], float64, int64, int64, int64")
def sums_1(x, y, sums, s, n, m, parts):
    partial = cuda.shared.array(32, np.float64)
    part, thread = cuda.blockIdx.x, cuda.threadIdx.x
    total = np.float64(0.0)
    for p in range(n * m * part // parts + thread, n * m * (part + 1) // parts, 32):
        total += s * x[p // m, p % m] * y[p % m]
    total = group_sum(partial, total, 32)
    if thread == 0:
        sums[part] = total


@kernel("float64[::1], float64[::1], int64")
def add_1(sums, total, parts):
    for part in range(parts):
        total[0] += sums[part]


def scaled(x, y, s):
    n = x.shape[0]
    m = x.shape[1]
    if not (y.shape[0] == m):
        raise ValueError('x and y must agree')
    x_bar = empty((n, m), np.float32)
    launch(rows_1, (n * m + 31) // 32, 32, x, y, x_bar, s, n, m)
    parts = parts_of(n * m, 400, 0)
    sums = scratch((parts,), np.float64)
    launch(sums_1, parts, 32, x, y, sums, s, n, m, parts)
    total = empty((1,), np.float64)
    clear(total)
    launch(add_1, 1, 1, sums, total, parts)
    return total, (x_bar,)
'''

SCALED = KernelArtifact(
    "scaled",
    _SOURCE,
    (("x", "float32", 2), ("y", "float32", 1), ("s", "float64", 0)),
    (("total", "float64", 0), ("x_bar", "float32", 2)),
)

_INTO = '''"""out[i] += x[i], into the caller's array."""

from gradc_runtime.cuda_backend import cuda
from gradc_runtime.cuda_host import kernel, launch


@kernel("float64[::1], float64[::1], int64")
def add_1(x, out, n):
    for p in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[p] += x[p]


def into(x, out):
    launch(add_1, (x.shape[0] + 31) // 32, 32, x, out, x.shape[0])
    return ()
'''

INTO = KernelArtifact("into", _INTO, (("x", "float64", 1), ("out", "float64", 1)), (), ("out",))


def scaled() -> Loaded:
    """``scaled(x, y, s)`` returns ``total, (x_bar,)``."""
    return load(SCALED)


def into() -> Loaded:
    """``into(x, out)`` adds to an array of the caller's."""
    return load(INTO)


def with_many_registers(count: int = 120) -> Kernel:
    """A kernel whose threads hold more numbers at a time than a device has registers for."""
    numbers = range(count)
    lines = ["def many(x):", "    t = cuda.threadIdx.x"]
    lines += [f"    v{k} = x[t + {k}]" for k in numbers]
    lines += ["    cuda.syncthreads()"]
    for k in numbers:
        lines.append(f"    x[t + {k}] = " + " * ".join(f"v{k * j % count}" for j in range(1, 9)))
    made: dict[str, Callable[..., None]] = {}
    exec("\n".join(lines), {"cuda": cuda}, made)
    return kernel("float64[::1]")(made["many"])
