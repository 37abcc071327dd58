"""The order of an iteration's steps in lanes: list scheduling, by the longest path to the end, within the registers.

In the order of the program all stores may stand at the end, with everything they store alive until then, and long
chains of steps stand one behind the other, which a processor that looks a few hundred instructions ahead runs one
after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradc_runtime.lane_rows import Place, alike, rows_of, windows
from gradc_runtime.straight_line import Step, has_lanes, operands_of

# Cycles until the result of a step can be used, as processors of these years have it.
_LATENCY = {"neg": 1, "select": 2, "div": 13, "reciprocal": 13, "sqrt": 20}
_ARITHMETIC, _FUNCTION = 4, 50
# Steps that are operands in memory: they wait where they are.
_FREE = ("constant", "truth", "argument", "load")


def in_order(steps: Sequence[Step], lanes: int, registers: int) -> tuple[Step, ...]:
    """The steps in another order with the same meaning, without those that nothing needs.

    `registers` is about how many results may be alive at once; neighbours in a row are stored together.
    """
    stores = [(step[1], step[2]) for step in steps if step[0] == "store"]
    stored = {position for position, _ in stores}
    read = any(step[0] == "load" and step[1] in stored for step in steps)
    if read or len(set(stores)) < len(stores) or not alike(stores):
        return tuple(steps)  # what is read, or written twice, may not change places
    return _Schedule(steps, _together(steps, lanes), registers).run()


def _together(steps: Sequence[Step], lanes: int) -> dict[int, list[int]]:
    """By store: the stores of its window, of which it is one."""
    numbers: dict[tuple[int, Place], int] = {
        (step[1], step[2]): number for number, step in enumerate(steps) if step[0] == "store"
    }
    found = {number: [number] for number in numbers.values()}
    for (position, row), columns in rows_of(numbers).items():
        for window in windows(columns, lanes, gaps=True):
            group = [numbers[position, (*row, column)] for column in window]
            found |= dict.fromkeys(group, group)
    return found


class _Schedule:
    """Steps that are put one after the other; the time is in cycles of a processor that starts one step in each."""

    def __init__(self, steps: Sequence[Step], together: dict[int, list[int]], registers: int) -> None:
        self.steps, self.together, self.registers = steps, together, registers
        self.readers: dict[int, list[int]] = {}
        self.path = [0] * len(steps)  # cycles from the start of a step to the end
        wanted = {number for number, step in enumerate(steps) if step[0] in ("store", "sum")}
        for number in reversed(range(len(steps))):
            if number not in wanted:
                continue
            self.path[number] += _latency(steps[number])
            for operand in set(operands_of(steps[number])):
                wanted.add(operand)
                self.readers.setdefault(operand, []).append(number)
                self.path[operand] = max(self.path[operand], self.path[number])
        self.unread = {number: len(readers) for number, readers in self.readers.items()}
        self.missing = {
            number: len(self.operands(number)) for number in sorted(wanted) if self.computes(number)
        }
        self.usable = dict.fromkeys(self.missing, 0.0)  # when the operands of a step are there
        self.found: list[Step] = []
        self.number: dict[int, int] = {}
        self.alive, self.time = 0, 0.0
        self.ready: list[int] = []
        for number, missing in self.missing.items():
            if not missing and number not in self.number:
                self.offer(number)

    def computes(self, number: int) -> bool:
        """Whether a step is more than an operand in memory."""
        return self.steps[number][0] not in _FREE

    def operands(self, number: int) -> set[int]:
        """The results that a step needs in registers."""
        return {operand for operand in operands_of(self.steps[number]) if self.computes(operand)}

    def run(self) -> tuple[Step, ...]:
        """Put all steps."""
        while self.ready:
            number = self.next()
            self.ready.remove(number)
            self.start(number)
        return tuple(self.found)

    def next(self) -> int:
        """The ready step with the longest way to go; where registers are short, one that frees most."""
        if self.alive >= self.registers:
            return min(self.ready, key=lambda at: (self.growth(at), -self.path[at], at))
        here = [at for at in self.ready if self.usable[at] <= self.time]
        if here:
            return min(here, key=lambda at: (-self.path[at], at))
        return min(self.ready, key=lambda at: (self.usable[at], -self.path[at], at))

    def growth(self, number: int) -> int:
        """How many more results are alive behind a step."""
        last = sum(self.unread[operand] == 1 for operand in self.operands(number))
        return (number in self.readers) - last

    def start(self, number: int) -> None:
        """Put a step, and see which ones are ready behind it."""
        self.time = max(self.time, self.usable[number]) + 1
        self.alive += self.growth(number)
        for operand in self.operands(number):
            self.unread[operand] -= 1
        self.put(number)
        there = self.time + _latency(self.steps[number])
        for reader in self.readers.get(number, ()):
            self.usable[reader] = max(self.usable[reader], there)
            self.missing[reader] -= 1
            if not self.missing[reader]:
                self.offer(reader)

    def offer(self, number: int) -> None:
        """A step has its operands: it is ready; stores that go together are put when the last one is."""
        group = self.together.get(number)
        if group is None:
            self.ready.append(number)
        elif not any(self.missing[other] for other in group):
            for other in group:
                self.start(other)

    def put(self, number: int) -> None:
        """Put a step, behind operands in memory that are not there yet."""
        if number not in self.number:
            operands = operands_of(self.steps[number])
            for operand in operands:
                self.put(operand)
            self.number[number] = len(self.found)
            step = self.steps[number]
            kept = step[: len(step) - len(operands)]
            self.found.append((*kept, *(self.number[operand] for operand in operands)))


def _latency(step: Step) -> int:
    if step[0] in _FREE:
        return 0
    return _LATENCY.get(step[0], _FUNCTION if has_lanes(step[0]) else _ARITHMETIC)


__all__ = ["in_order"]
