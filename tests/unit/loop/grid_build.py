"""Launches written by hand, shared by the tests of what runs on a device."""

from __future__ import annotations

import numpy as np
from tests.unit.loop.build import F64, N, X

from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import (
    Allocate,
    Expr,
    Kernel,
    Launch,
    Let,
    Share,
    Statement,
    Store,
    Stride,
    Update,
    When,
    apply,
    load,
    number,
    var,
)
from gradc.ir.loop.verify import verify

BLOCK, THREAD = var("block"), var("thread")
HERE = apply(
    "add", apply("mul", BLOCK, number(32)), THREAD
)  # the number of a thread in a grid of blocks of 32
NEXT = apply("mod", apply("add", THREAD, number(1)), number(32))  # the neighbour in a block of 32
ZERO, ONE, SIZE = number(0), number(1), var("n")
WRITTEN = number(1.0, F64)
SHARED = Share("t", F64, (32,))
START = Let("s", number(0.0, F64))


def run(kernel: Kernel, x: object = 1.0, **options: int) -> np.ndarray:
    """Run a valid kernel on an array of numbers."""
    found = np.asarray(x, np.float64)
    return evaluate(verify(kernel), {"x": found.reshape(-1)}, **options)[0]


def value(tensor: str, *place: Expr) -> Expr:
    """An element of a float64 array."""
    return load(tensor, place, F64)


def total(name: str = "s") -> Expr:
    """A float64 scalar."""
    return var(name, F64)


def add_up(of: Expr) -> Update:
    """``s += of``."""
    return Update("s", "sum", of)


def store(place: Expr, what: Expr, tensor: str = "y") -> Store:
    """``y[place] = what``."""
    return Store(tensor, (place,), what)


def only(thread: int, *body: Statement) -> When:
    """What one thread of a block does."""
    return When(apply("eq", THREAD, number(thread)), body)


def stepped(index: str, first: Expr, extent: Expr, step: Expr, *body: Statement) -> Stride:
    """``for index in range(first, extent, step)``."""
    return Stride(index, first, extent, step, body)


def launch(*body: Statement, blocks: Expr | int = 1, threads: int = 32, name: str = "rows_1") -> Launch:
    """A launch of one block of a warp, as a rule."""
    many = number(blocks) if isinstance(blocks, int) else blocks
    return Launch(name, "block", "thread", many, threads, body)


def device(*body: Statement, size: Expr | int = 32) -> Kernel:
    """A kernel over ``x`` that makes ``y`` of `size` elements."""
    many = number(size) if isinstance(size, int) else size
    return Kernel("k", (X,), (N, Allocate("y", F64, (many,)), *body), ("y",))
