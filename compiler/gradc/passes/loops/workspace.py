"""The memory that a kernel works in: arrays that are not results."""

from __future__ import annotations

from dataclasses import replace

from gradc.ir.loop.nodes import Allocate, Kernel, Library, Statement

# Arrays of a kernel that may be on its stack.  Every one makes LLVM's work longer, which is superlinear; what has many
# arrays has much to do, and does not notice what making them costs.
MOST_LOCAL = 16


def with_local_arrays(kernel: Kernel) -> Kernel:
    """Mark the arrays that nobody but the kernel sees, where there are few.

    Requires: `kernel` is valid.  Ensures: the same kernel; local arrays are neither results nor arguments of
    functions of the library, of which external ones may keep them.
    """
    made = {statement.tensor for statement in kernel.body if isinstance(statement, Allocate)}
    seen = {name for statement in kernel.body if isinstance(statement, Library) for name in statement.ins}
    local = made - seen - set(kernel.results)
    if len(local) > MOST_LOCAL:
        return kernel

    def marked(statement: Statement) -> Statement:
        known = isinstance(statement, Allocate) and statement.tensor in local
        return replace(statement, local=True) if known else statement

    return replace(kernel, body=tuple(map(marked, kernel.body)))
