"""A kernel that measures itself: the time is noted before, between and after its pieces.

    v1 = x @ w                    ->     times = empty(3)
    for i < n: y[i] = f(v1[i])           times[0] = now
                                         v1 = x @ w
                                         times[1] = now
                                         for i < n: y[i] = f(v1[i])
                                         times[2] = now

The clock is read by the thread that calls the kernel.
"""

from __future__ import annotations

from dataclasses import replace

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import Allocate, Clock, Kernel, Statement
from gradc.ir.loop.pieces import pieces
from gradc.ir.loop.walk import names_in
from gradc.ir.names import NameSupply
from gradc.ir.types import DType


def with_clocks(kernel: Kernel) -> Kernel:
    """Return the kernel that also tells when each of its pieces began and when the last one ended.

    Requires: `kernel` is valid.  Ensures: the same results, bit for bit, as one flat tuple, and after them one
    array of int64: nanoseconds, one more than there are pieces.
    """
    parts = pieces(kernel)
    used = names_in(kernel.body)
    names = NameSupply((*used, *(p.name for p in kernel.parameters), *kernel.results, kernel.name))
    times = names.fresh("times")
    body: list[Statement] = [Allocate(times, DType.INT64, (nodes.number(len(parts) + 1),))]
    for at, piece in enumerate(parts):
        body += (Clock(times, at), *piece.statements)
    body.append(Clock(times, len(parts)))
    return replace(
        kernel,
        name=f"{kernel.name}_timed",
        body=tuple(body),
        results=(*kernel.results, times),
        nested=0,
    )
