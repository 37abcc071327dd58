"""Faults of launches: where a statement may stand, and the sizes that a device takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Barrier,
    Carry,
    Combine,
    Expr,
    For,
    Launch,
    Let,
    Number,
    Share,
    Statement,
    Store,
    Stride,
    Tasks,
    Update,
    When,
    Width,
)
from gradc.ir.loop.walk import every

WARP = 32  # threads that a device runs in step: a block has a multiple of them
MOST_THREADS = 1024  # of a block, on every device
MOST_SHARED = 48 * 1024  # bytes of a block, without asking the device for more

_Device = Share | Stride | When | Barrier | Combine


def grid_faults(statement: Statement, around: Launch | Tasks | None) -> Iterator[str]:
    """Faults of a statement that need no types; `around` is the launch or the tasks that it stands in."""
    yield from _place_faults(statement, around)
    match statement:
        case Launch():
            yield from _launch_faults(statement)
        case Width(most=most):
            if not _is_power(most):
                yield f"{most} is no power of two from 1 to {MOST_THREADS}"
        case Share(shape=shape):
            if not shape or any(size < 1 for size in shape):
                yield "an array that a block shares has axes, and elements on each"
        case Combine(width=Number(int(width))) if isinstance(around, Launch):
            if not _is_power(width) or around.threads % width:
                yield f"groups of {width} among {around.threads} threads"
        case _:
            pass


def _place_faults(statement: Statement, around: Launch | Tasks | None) -> Iterator[str]:
    """Whether a statement stands where it may."""
    if not isinstance(around, Launch):
        if isinstance(statement, _Device):
            yield "stands outside a launch"
        elif isinstance(statement, Launch) and around is not None:
            yield "stands in tasks"
        return
    match statement:
        case Let() | Update() | Carry() | Store() | AddTo() | For():
            pass
        case Share() | Stride() | When() | Barrier() | Combine():
            pass
        case Allocate(shape=shape, local=local):
            if not local or not _are_literal(shape):
                yield f"an array in launch {around.name} is local, and its shape literal"
        case _:
            yield f"is for the host and stands in launch {around.name}"


def _launch_faults(launch: Launch) -> Iterator[str]:
    if launch.threads % WARP or not WARP <= launch.threads <= MOST_THREADS:
        yield f"{launch.threads} threads are no multiple of {WARP} up to {MOST_THREADS}"
    shared = (found for found in every(launch.body) if isinstance(found, Share))
    size = sum(prod(array.shape) * array.dtype.numpy.itemsize for array in shared)
    if size > MOST_SHARED:
        yield f"the threads of a block share {size} bytes, and {MOST_SHARED} is the most"


def _are_literal(shape: Sequence[Expr]) -> bool:
    return all(isinstance(size, Number) for size in shape)


def _is_power(number: int) -> bool:
    return 1 <= number <= MOST_THREADS and not number & (number - 1)
