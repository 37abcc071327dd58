"""Launches in the interpreter: thread by thread, in an order that a device might choose as well.

Blocks run one after another in a shuffled order.  The threads of a block run in a shuffled order too, each up to the
next statement at which they wait for each other.  What a device would not notice is an error: two threads at one
element (`gradc.ir.loop.races`), and a barrier that some threads of a block reach and others do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from gradc.errors import CompilerBug
from gradc.ir.loop.machine import Machine, Other
from gradc.ir.loop.meaning import REDUCTIONS, Array, Meaning, function
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Barrier,
    Combine,
    Expr,
    For,
    Launch,
    Share,
    Statement,
    Store,
    Stride,
    When,
)
from gradc.ir.loop.races import Access, Log
from gradc.ir.loop.show import show_statement
from gradc.ir.loop.walk import every

Arrival: TypeAlias = tuple[tuple[int, ...], Barrier | Combine]
"""Where a thread waits: the places of the statements around it and the turns of their loops, and the statement."""


def run_launch(host: Machine, launch: Launch, shuffle: np.random.Generator) -> None:
    """Run a launch of `host`, which has the values of all that is outside the launch."""
    blocks = int(host.scalar(launch.blocks))
    if blocks < 0:
        raise CompilerBug(f"{blocks} blocks", why=show_statement(launch))
    grid = _Grid(host, launch, shuffle)
    for number in shuffle.permutation(blocks).tolist():
        grid.block(number)


@dataclass(slots=True)
class _Shared:
    """An array that the threads of a block share; `turns` says in which turn of `Share` an element was written."""

    values: np.ndarray
    turns: np.ndarray
    log: Log


class _Grid:
    """A launch that runs: what all its threads have in common."""

    def __init__(self, host: Machine, launch: Launch, shuffle: np.random.Generator) -> None:
        self.host = host
        self.launch = launch
        self.shuffle = shuffle
        self.meanings: dict[Expr, Meaning] = {}
        self.places: dict[tuple[Expr, ...], list[Meaning]] = {}
        self.waiting = {id(found) for found in every(launch.body) if _waits(found)}
        stored = {found.tensor for found in every(launch.body) if isinstance(found, Store | AddTo)}
        self.logs = {tensor: Log(tensor) for tensor in stored if tensor in host.values}
        self.shared: dict[int, _Shared] = {}
        self.moment = 0

    def block(self, number: int) -> None:
        """Run the threads of a block."""
        self.shared.clear()
        if self.waiting:
            self.together(number)
        else:
            for thread in self.order():
                _Thread(self, number, thread).run(self.launch.body)

    def together(self, number: int) -> None:
        """Run threads that wait for each other."""
        threads = [_Thread(self, number, thread) for thread in range(self.launch.threads)]
        walks = [thread.walk(self.launch.body) for thread in threads]
        arrivals: list[Arrival | None] = [None] * len(threads)
        while True:
            for thread in self.order():
                arrivals[thread] = next(walks[thread], None)
            waits = self.common(number, arrivals)
            if waits is None:
                return
            if isinstance(waits, Combine):
                _combine(waits, threads)
            self.moment += isinstance(waits, Barrier)

    def order(self) -> list[int]:
        return self.shuffle.permutation(self.launch.threads).tolist()

    def common(self, block: int, arrivals: Sequence[Arrival | None]) -> Barrier | Combine | None:
        """Return the statement at which all threads of a block wait; None where all are through."""
        places = [arrival and arrival[0] for arrival in arrivals]
        here = next((arrival for arrival in arrivals if arrival is not None), None)
        if here is None:
            return None
        reached = places.count(here[0])
        if reached < len(places):
            away = next(thread for thread, place in enumerate(places) if place != here[0])
            raise CompilerBug(
                f"{show_statement(here[1])} is reached by {reached} of {len(places)} threads of block {block}",
                why=f"in launch {self.launch.name} thread {away} is elsewhere",
            )
        return here[1]


class _Thread(Machine):
    """One thread: its own scalars and arrays, those of its block, and those of the device."""

    def __init__(self, grid: _Grid, block: int, number: int) -> None:
        launch = grid.launch
        self.grid = grid
        self.block = block
        self.number = number
        self.steps = grid.host.steps
        self.meanings, self.places = grid.meanings, grid.places
        self.values = {**grid.host.values, launch.block: np.int64(block), launch.thread: np.int64(number)}
        self.written = dict(grid.host.written)
        self.logs = grid.logs
        self.turn: dict[str, int] = {}

    def walk(self, statements: Sequence[Statement], at: tuple[int, ...] = ()) -> Iterator[Arrival]:
        """Run statements, and stop at those where threads wait for each other."""
        self.steps.take(len(statements))
        for place, statement in enumerate(statements):
            self.here = statement
            if isinstance(statement, Barrier | Combine):
                yield (*at, place), statement
            elif isinstance(statement, For | Stride | When) and id(statement) in self.grid.waiting:
                for turn in self.turns(statement):
                    yield from self.walk(statement.body, (*at, place, turn))
            else:
                self.statement(statement)

    def whole(self, statement: Other) -> None:
        match statement:
            case Allocate(tensor):
                self.turn.pop(tensor, None)
                self.logs = {name: log for name, log in self.logs.items() if name != tensor}
                self.allocate(statement)
            case Share():
                self.share(statement)
            case _:
                raise CompilerBug(f"{show_statement(statement)} stands in launch {self.grid.launch.name}")

    def share(self, statement: Share) -> None:
        """Begin to use an array of the block; it is new in every turn of a loop, and the memory is the same."""
        tensor, shape = statement.tensor, statement.shape
        found = self.grid.shared.get(id(statement))
        if found is None:
            found = _Shared(np.zeros(shape, statement.dtype.numpy), np.zeros(shape, np.int64), Log(tensor))
            self.grid.shared[id(statement)] = found
        self.values[tensor] = found.values
        self.written[tensor] = found.turns
        self.logs = {**self.logs, tensor: found.log}
        self.turn[tensor] = self.turn.get(tensor, 0) + 1

    def access(self) -> Access:
        return (self.block, self.number, self.grid.moment, self.here)

    def reads(self, where: Statement | Expr, tensor: str, position: tuple[int, ...]) -> None:
        if tensor in self.logs:
            self.logs[tensor].reads(position, self.access())
        super().reads(where, tensor, position)

    def writes(self, where: Statement, tensor: str, position: tuple[int, ...]) -> None:
        if tensor in self.logs:
            self.logs[tensor].writes(position, self.access())
        super().writes(where, tensor, position)

    def operand(self, expression: Expr) -> Meaning:
        """Return the operand's own function: a launch calls it many times."""
        return self.compiled(expression)


def _waits(statement: Statement) -> bool:
    """Whether threads wait for each other in a statement."""
    return any(isinstance(found, Barrier | Combine) for found in every((statement,)))


def _combine(statement: Combine, threads: Sequence[_Thread]) -> None:
    """Combine neighbours, then pairs of neighbours, and so on: every thread with the one whose number differs there."""
    widths = sorted({int(thread.scalar(statement.width)) for thread in threads})
    width = widths[0]
    if len(widths) > 1 or width < 1 or width & (width - 1) or len(threads) % width:
        raise CompilerBug(
            f"groups of {' or '.join(map(str, widths))} among {len(threads)} threads",
            why=show_statement(statement),
        )
    numbers = np.arange(len(threads))
    values: Array = np.array([thread.values[statement.name] for thread in threads])
    for level in range(width.bit_length() - 1):
        others, combined = values[numbers ^ (1 << level)], function(REDUCTIONS[statement.op])
        # The lower thread's number comes first: the order decides between 0.0 and -0.0.
        is_upper = (numbers >> level) % 2 == 1
        values = np.where(is_upper, combined(others, values), combined(values, others))
    for thread, value in zip(threads, values, strict=True):
        thread.values[statement.name] = value
