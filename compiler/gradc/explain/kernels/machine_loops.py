"""The loops of assembly, and whether their arithmetic fills vector registers.

A loop is vectorised where the instructions say so: all floating-point arithmetic in it is packed.  One with packed and
scalar arithmetic is mixed, one without any is neither.  Loops are found in the flow of control, not in the order of
the text: compilers turn loops, and put parts of them elsewhere.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gradc.explain.kernels.instructions import (
    X86,
    Arithmetic,
    Function,
    arithmetic,
    components,
    functions_of,
    machine_of,
    successors,
)

_SIZES = {"f64": 64, "f32": 32}


@dataclass(frozen=True, slots=True)
class AssemblyLoop:
    """A loop of a function.

    Attributes
    ----------
    function, label : str
        The symbol, and the label at the loop's head; empty where the head has none.
    lines : tuple of int
        The numbers of its lines in the text, from 0; the first one is the head.
    packed, scalar : int
        Instructions of floating-point arithmetic on whole registers, and on single numbers.
    bits : int
        Of the registers that packed arithmetic fills; 0 where there is none, and where the width is the processor's.
    element : str
        ``"f64"``, ``"f32"`` or, without arithmetic, empty: the type of most of it.
    step : int
        Elements that an iteration goes on by; 0 where that cannot be read off.
    calls : bool
        Whether it calls functions, whose arithmetic is elsewhere.
    innermost : bool
        Whether there is no loop in it; of others all this is about what stands outside of the loops in them.
    """

    function: str
    label: str
    lines: tuple[int, ...]
    packed: int
    scalar: int
    bits: int
    element: str
    step: int
    calls: bool
    innermost: bool = True

    @property
    def vectorised(self) -> bool:
        """Whether all arithmetic of an innermost loop is packed, and there is some."""
        return self.innermost and self.packed > 0 and self.scalar == 0

    @property
    def lanes(self) -> int:
        """Numbers in a register; 0 where that is unknown."""
        return self.bits // _SIZES[self.element] if self.bits and self.element else 0

    @property
    def unrolled(self) -> int:
        """How many registers of elements an iteration does; 0 where that is unknown."""
        return self.step // self.lanes if self.lanes and self.step % self.lanes == 0 else 0

    def __str__(self) -> str:
        counts = f"{self.packed} packed, {self.scalar} scalar"
        called = ", with calls" if self.calls else ""
        if not self.innermost:
            return f"outer loop{called} ({counts})"
        if not self.packed and not self.scalar:
            return f"no floating-point arithmetic{called}"
        if not self.packed:
            return f"scalar {self.element}{called} ({counts})"
        width = f"{self.lanes} x {self.element}" if self.lanes else f"scalable vectors of {self.element}"
        times = f", unrolled {self.unrolled}" if self.unrolled > 1 else ""
        kind = "vectorised" if self.vectorised else "mixed"
        return f"{kind}: {width}{times}{called} ({counts})"


def loops_of(asm: str) -> tuple[AssemblyLoop, ...]:
    r"""The innermost loops of all functions, and those around them that compute, in the order of the text.

    Parameters
    ----------
    asm : str
        Assembly for x86-64 (AT&T) or AArch64; of other machines nothing is said.

    Examples
    --------
    >>> add = "\tvaddpd\t(%rdi,%rax,8), %ymm0, %ymm0\n\taddq\t$4, %rax"
    >>> text = f"f:\n.LBB0_1:\n{add}\n\tjne\t.LBB0_1\n\tretq\n"
    >>> (loop,) = loops_of(text)
    >>> str(loop)
    'vectorised: 4 x f64 (1 packed, 0 scalar)'
    """
    machine = machine_of(asm)
    found = [loop for function in functions_of(asm) for loop in _loops(function, machine)]
    return tuple(sorted(found, key=lambda loop: loop.lines[0]))


def _loops(function: Function, machine: str) -> Iterator[AssemblyLoop]:
    following = successors(function, machine)
    before: list[list[int]] = [[] for _ in following]
    for at, targets in enumerate(following):
        for target in targets:
            before[target].append(at)
    open_ = list(components(range(len(following)), following))
    while open_:
        nodes = open_.pop()
        inside = set(nodes)
        heads = [node for node in nodes if any(other not in inside for other in before[node])] or nodes[:1]
        head = heads[0]
        inner = list(components([node for node in nodes if node != head], following))
        open_ += inner
        within = {node for found in inner for node in found} | {head}
        found = _loop(function, machine, [head, *(node for node in nodes if node not in within)], not inner)
        if found.innermost or found.packed or found.scalar:
            yield found


def _loop(function: Function, machine: str, nodes: Sequence[int], innermost: bool) -> AssemblyLoop:
    instructions = [function.instructions[node] for node in nodes]
    done = [found for i in instructions if (found := arithmetic(i, machine)) is not None]
    packed = [found for found in done if found.packed]
    element = _most(packed or done)
    at_head = [label for label, at in function.labels.items() if at == nodes[0]]
    return AssemblyLoop(
        function.name,
        at_head[-1] if at_head else "",
        tuple(i.line for i in instructions),
        len(packed),
        len(done) - len(packed),
        max((found.bits for found in packed), default=0),
        element,
        _step(function, machine, nodes, _SIZES.get(element, 0)),
        any(i.mnemonic.startswith("call") or i.mnemonic in ("bl", "blr") for i in instructions),
        innermost,
    )


def _most(found: Sequence[Arithmetic]) -> str:
    counted = Counter(one.element for one in found)
    return counted.most_common(1)[0][0] if counted else ""


_STEP = re.compile(r"\$(-?\d+), %(r\w+)\Z")


def _step(function: Function, machine: str, nodes: Sequence[int], size: int) -> int:
    """Elements that an iteration goes on by: what is added to a register by which elements are addressed."""
    if machine != X86 or not size:
        return 0
    steps: dict[str, int] = {}
    for node in nodes:
        instruction = function.instructions[node]
        found = _STEP.match(instruction.operands)
        sign = {"addq": 1, "subq": -1}.get(instruction.mnemonic, 0)
        if found and sign:
            steps[found[2]] = steps.get(found[2], 0) + sign * int(found[1])
        elif instruction.mnemonic in ("incq", "decq"):
            register = instruction.operands.removeprefix("%")
            steps[register] = steps.get(register, 0) + (1 if instruction.mnemonic == "incq" else -1)
    texts = [function.instructions[node].operands for node in nodes]
    elements = {
        abs(step) * scale * 8 // size for name, step in steps.items() for scale in _scales(name, texts)
    }
    return elements.pop() if len(elements) == 1 else 0


def _scales(register: str, operands: Sequence[str]) -> set[int]:
    """Bytes that one in a register stands for, in the addresses of vectors."""
    found: set[int] = set()
    for text in operands:
        if "mm" not in text:
            continue
        for base, index, scale in re.findall(r"\((%\w+)?(?:,(%\w+)(?:,(\d))?)?\)", text):
            if index == f"%{register}":
                found.add(int(scale or 1))
            elif base == f"%{register}":
                found.add(1)
    return found
