"""Runs PTX of one block of threads without a GPU: barriers, shuffles and shared memory, slowly.

Every thread is a Python generator that stops where it needs the others.  A shuffle wants all threads of a warp at the
same instruction, a barrier all threads of the block: anything else fails.  Only what kernels of integers, comparisons
and rounded sums and products consist of is here; `ptx_machine` runs arithmetic of single threads, fast.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import Any

import numpy as np

WARP = 32
SHARED = 1 << 40  # addresses of shared memory begin here

Word = int  # every register holds bits
# A thread tells where it stops, why, what it hands to another, and to which; it is sent what it gets.
Thread = Generator[tuple[int, str, Word, Word], Word, None]

_INSTRUCTION = re.compile(r"(?:@(!?)(%\w+)\s+)?([\w.]+)\s*(.*);$")
_SIZES = {"pred": 1, "b8": 8, "s8": 8, "u8": 8, "b16": 16, "s16": 16, "u16": 16}
_SIZES |= {f"{kind}{size}": size for kind in "bsuf" for size in (32, 64)}
_FLOATS = {32: (np.float32, np.uint32), 64: (np.float64, np.uint64)}


class Block:
    """A kernel, ready to run on one block."""

    def __init__(self, ptx: str) -> None:
        text = re.sub(r"//[^\n]*", "", ptx)
        self.parameters = re.findall(r"\.param \.u(?:8|64) ([\w$]+_param_\d+)(?=[,\n])", text)
        self.shared: dict[str, int] = {}
        self.bytes = 0
        for align, name, size in re.findall(r"\.shared \.align (\d+) \.b8 ([\w$]+)\[(\d+)\]", text):
            self.bytes = -(-self.bytes // int(align)) * int(align)
            self.shared[name] = SHARED + self.bytes
            self.bytes += int(size)
        self.labels: dict[str, int] = {}
        self.code: list[tuple[str, str, str, list[str]]] = []
        body = text[text.index("{", text.index(".entry")) + 1 : text.rindex("}")]
        for line in filter(None, map(str.strip, body.splitlines())):
            if line.endswith(":"):
                self.labels[line[:-1]] = len(self.code)
            elif not line.startswith("."):
                found = _INSTRUCTION.match(line)
                assert found, line
                negated, guard, name, operands = found.groups(default="")
                self.code.append((negated, guard, name, re.findall(r"\[[^]]*\]|[^\s,|]+", operands)))

    def run(self, threads: int, *arguments: np.ndarray | int) -> None:
        """Run the kernel for a block of threads; arrays are changed in place."""
        words: list[int] = []
        self.memory = {SHARED: np.full(self.bytes, 0xFF, np.uint8)}
        for argument in arguments:
            if isinstance(argument, int):
                words.append(argument)
                continue
            begin = argument.ctypes.data
            self.memory[begin] = argument.reshape(-1).view(np.uint8)
            words += [0, 0, argument.size, argument.itemsize, begin, *argument.shape, *argument.strides]
        given = dict(zip(self.parameters, words, strict=True))
        warps = [
            [self._thread(number, given) for number in range(first, min(first + WARP, threads))]
            for first in range(0, threads, WARP)
        ]
        while warps:
            warps.reverse()  # a warp runs ahead of the others as far as it can, every time another one
            places = [_to_barrier(warp) for warp in warps]
            assert len(set(places)) == 1, "some threads wait at a barrier that others do not reach"
            warps = warps if places[0] else []

    def _thread(self, number: int, given: dict[str, int]) -> Thread:
        registers: dict[str, Word] = {"%tid.x": number, "%ctaid.x": 0, "%ntid.x": 0, "%nctaid.x": 1}
        registers |= self.shared
        at = 0
        while True:
            negated, guard, name, operands = self.code[at]
            at += 1
            if guard and bool(registers[guard]) == bool(negated):
                continue
            head, *modifiers = name.split(".")
            if head == "ret":
                return
            if head == "bra":
                at = self.labels[operands[0]]
            elif head == "bar":
                yield at, "bar", 0, 0
            elif head == "shfl":
                assert modifiers[:2] == ["sync", "bfly"]
                target, _, value, offset, _, lanes = operands
                assert _read(registers, lanes) & 0xFFFFFFFF == 0xFFFFFFFF
                registers[target] = yield at, "shfl", _read(registers, value), _read(registers, offset)
            elif head in ("ld", "st"):
                self._access(head, modifiers, operands, registers, given)
            else:
                values = [_read(registers, operand) for operand in operands[1:]]
                registers[operands[0]] = _computed(head, modifiers, values)

    def _access(
        self,
        head: str,
        modifiers: list[str],
        operands: list[str],
        registers: dict[str, Word],
        given: dict[str, int],
    ) -> None:
        place = operands[1 if head == "ld" else 0].strip("[]")
        if modifiers[0] == "param":
            registers[operands[0]] = given[place] & (1 << 64) - 1
            return
        size = _SIZES[modifiers[-1]] // 8
        base, _, offset = place.partition("+")
        address = _signed(registers[base] + int(offset or 0), 64)
        assert address % size == 0, "an address is not aligned"
        begin, content = next(
            (begin, content)
            for begin, content in self.memory.items()
            if begin <= address and address + size <= begin + content.size
        )
        part = content[address - begin : address - begin + size]
        if head == "ld":
            registers[operands[0]] = int.from_bytes(part.tobytes(), "little")
        else:
            value = _read(registers, operands[1]) & (1 << 8 * size) - 1
            part[:] = np.frombuffer(value.to_bytes(size, "little"), np.uint8)


def _to_barrier(warp: list[Thread]) -> int:
    """Run the threads of a warp to the next barrier; return its place, 0 at the end."""
    states = [next(thread, None) for thread in warp]
    while True:
        kinds = {None if state is None else state[:2] for state in states}
        assert len(kinds) == 1, "the threads of a warp are at different instructions"
        if states[0] is None:
            return 0
        if states[0][1] == "bar":
            return states[0][0]
        values = [state[2] for state in states if state]
        sent = [values[lane ^ state[3]] for lane, state in enumerate(states) if state]
        states = [_sent(thread, word) for thread, word in zip(warp, sent, strict=True)]


def _sent(thread: Thread, word: Word) -> tuple[int, str, Word, Word] | None:
    try:
        return thread.send(word)
    except StopIteration:
        return None


def _read(registers: dict[str, Word], operand: str) -> Word:
    if re.fullmatch(r"-?\d+", operand):
        return int(operand)
    if re.match(r"0[fd][0-9A-Fa-f]+$", operand):
        return int(operand[2:], 16)
    return registers[operand]


def _signed(value: Word, size: int) -> int:
    value &= (1 << size) - 1
    return value - (1 << size) if value >> (size - 1) else value


def _number(value: Word, kind: str) -> Any:
    """Bits as a number of a type."""
    size = _SIZES[kind]
    if kind[0] == "f":
        real, word = _FLOATS[size]
        return word(value & (1 << size) - 1).view(real)
    return _signed(value, size) if kind[0] == "s" else value & (1 << size) - 1


def _bits(value: Any, kind: str) -> Word:
    size = _SIZES[kind]
    if kind[0] == "f":
        real, word = _FLOATS[size]
        return int(real(value).view(word))
    return int(value) & (1 << size) - 1


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "nan": lambda a, b: a != a or b != b,
}
_COMPUTE: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "min": min,
    "max": max,
    "neg": lambda a: -a,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "shl": lambda a, b: a << b,
    "shr": lambda a, b: a >> b,
    "not": lambda a: ~a,
    "mov": lambda a: a,
    "cvta": lambda a: a,
}


def _computed(head: str, modifiers: list[str], values: list[Word]) -> Word:
    kind = modifiers[-1]
    if head == "selp":
        return values[0] if values[2] else values[1]
    if head == "bfi":
        part, into, start, many = values
        mask = ((1 << many) - 1) << start
        return (into & ~mask) | (part << start & mask)
    if head == "not" and kind == "pred":
        return int(not values[0])
    if head == "cvt":
        return _bits(_number(values[0], kind), modifiers[-2])
    if head == "setp":
        first, second = (_number(value, kind) for value in values)
        return int(bool(_COMPARE[modifiers[0]](first, second)))
    if kind[0] == "f" and head in ("add", "mul"):
        assert modifiers[0] == "rn", "the assembler may make one operation of this and another"
    if head == "mul" and modifiers[0] == "wide":
        return _bits(_number(values[0], kind) * _number(values[1], kind), f"{kind[0]}{2 * _SIZES[kind]}")
    if head == "mul" and kind[0] != "f":
        assert modifiers[0] == "lo"
    if head in ("shl", "shr"):
        return _bits(_COMPUTE[head](_number(values[0], kind), values[1]), kind)
    with np.errstate(all="ignore"):
        return _bits(_COMPUTE[head](*(_number(value, kind) for value in values)), kind)
