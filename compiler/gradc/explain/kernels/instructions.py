"""Assembly as instructions: functions, blocks, and which numbers an instruction computes with.

Read are the AT&T spelling for x86-64 and the spellings of LLVM and of Apple for AArch64.  Text of another machine has
functions and no instructions that are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

X86, ARM, OTHER = "x86-64", "aarch64", "unknown"

_LABEL = re.compile(r'^(?:"([^"]+)"|([^\s"#:]+)):')
_FUNCTION = re.compile(r'^\s*\.type\s+(?:"([^"]+)"|([^\s,"]+)),\s*[@%]function')
_LOCATION = re.compile(r"^\s*\.loc\s+(\d+)\s+(\d+)")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line of assembly: its number in the text from 0, the mnemonic and the operands."""

    line: int
    mnemonic: str
    operands: str


@dataclass(frozen=True, slots=True)
class Function:
    """The instructions of a function, and before which of them its labels stand, by number in `instructions`."""

    name: str
    instructions: tuple[Instruction, ...]
    labels: dict[str, int]


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """What an instruction computes with: whole registers of `bits` or one number; ``"f64"`` or ``"f32"``."""

    packed: bool
    bits: int
    element: str


def machine_of(asm: str) -> str:
    r"""Which processor assembly is for: ``"x86-64"``, ``"aarch64"`` or ``"unknown"``.

    Examples
    --------
    >>> machine_of("\tvaddpd\t%zmm0, %zmm1, %zmm2"), machine_of("\tfadd\tv0.2d, v1.2d, v2.2d")
    ('x86-64', 'aarch64')
    >>> machine_of("\tfadd.d\tfa0, fa1, fa2")
    'unknown'
    """
    if re.search(r"%(r[a-ds0-9]|e[a-ds]|[xyz]mm\d)", asm):
        return X86
    return ARM if _OF_ARM.search(asm) else OTHER


_OF_ARM = re.compile(
    r"^\s+(?:ldr|str|ldp|stp|ldur|stur|adrp|cbn?z|b\.[a-z]{2}|subs|fadd|fmul|fmadd|fmla)[.\w]*\s[^\n]*\b[xwvqd]\d+",
    re.MULTILINE,
)


def functions_of(asm: str) -> tuple[Function, ...]:
    """The functions of a text, with their instructions."""
    lines = asm.splitlines()
    declared = {found[1] or found[2] for line in lines if (found := _FUNCTION.match(line))}
    made: list[Function] = []
    name, instructions, labels = "", [], {}
    for number, line in enumerate(lines):
        label = _LABEL.match(line)
        if label is not None:
            text = label[1] or label[2]
            if text in declared or (not declared and not text.startswith((".L", "L"))):
                made += [Function(name, tuple(instructions), labels)] if instructions else []
                name, instructions, labels = text, [], {}
            else:
                labels[text] = len(instructions)
            continue
        parsed = _instruction(number, line)
        if parsed is not None and name:
            instructions.append(parsed)
    made += [Function(name, tuple(instructions), labels)] if instructions else []
    return tuple(made)


def _instruction(number: int, line: str) -> Instruction | None:
    if not line[:1].isspace():
        return None
    text = re.split(r"\s#(?![-\d:])|//|\s;", line, maxsplit=1)[0].strip()
    if not text or text.startswith((".", "#", "/")):
        return None
    mnemonic, _, operands = text.partition("\t") if "\t" in text else text.partition(" ")
    return Instruction(number, mnemonic, operands.strip())


def locations_in(asm: str) -> dict[int, int]:
    """The line of the source that each instruction comes from, by number in the text, where ``.loc`` tells.

    The file that counts is the one of the first directive of each function: others are of inlined functions.
    """
    lines, found = asm.splitlines(), {}
    wanted = {i.line for function in functions_of(asm) for i in function.instructions}
    declared = {known[1] or known[2] for line in lines if (known := _FUNCTION.match(line))}
    file, source = "", 0
    for number, line in enumerate(lines):
        label, location = _LABEL.match(line), _LOCATION.match(line)
        if label is not None and (label[1] or label[2]) in declared:
            file, source = "", 0
        elif location is not None:
            file = file or location[1]
            if location[1] == file and location[2] != "0":
                source = int(location[2])
        elif number in wanted and source:
            found[number] = source
    return found


# --- arithmetic ---------------------------------------------------------------------------------------------

_X86 = re.compile(
    r"v?(?:(?:add|sub|mul|div|sqrt|max|min|addsub|round|rndscale|scalef|getexp|getmant|reduce|range|u?comi|cmp[a-z_]*)"
    r"|f(?:n?madd|n?msub|maddsub|msubadd)\d{3})([ps])([sd])\Z"
)
_BITWISE = re.compile(r"v(?:and|andn|or|xor)p([sd])\Z")
_ARM = re.compile(
    r"f(?:add|sub|mul|div|neg|abs|sqrt|nmul|n?madd|n?msub|ml[as]|nml[as]|max(?:nm)?|min(?:nm)?|cm[a-z]{2}|cmp|cmpe|"
    r"rint[a-z]|abd|recpe|rsqrte)(?:\.(2d|4s|2s))?\Z"
)
_WIDTHS = {"x": 128, "y": 256, "z": 512}


def arithmetic(instruction: Instruction, machine: str) -> Arithmetic | None:
    """The floating-point arithmetic of an instruction; None for loads, stores, and arithmetic of integers."""
    if machine == X86:
        return _of_x86(instruction)
    return _of_arm(instruction) if machine == ARM else None


def _of_x86(instruction: Instruction) -> Arithmetic | None:
    found = _X86.match(instruction.mnemonic)
    bits = max((_WIDTHS[kind] for kind in re.findall(r"%([xyz])mm", instruction.operands)), default=0)
    if found is not None:
        element = "f64" if found[2] == "d" else "f32"
        packed = found[1] == "p"
        return Arithmetic(packed, bits if packed else 64 if element == "f64" else 32, element)
    bitwise = _BITWISE.match(instruction.mnemonic)
    if bitwise is not None and bits > 128:  # signs of numbers; in half-registers it may concern one number
        return Arithmetic(True, bits, "f64" if bitwise[1] == "d" else "f32")
    return None


def _of_arm(instruction: Instruction) -> Arithmetic | None:
    found = _ARM.match(instruction.mnemonic)
    if found is None:
        return None
    shape = found[1] or next(iter(re.findall(r"\bv\d+\.(2d|4s|2s)\b", instruction.operands)), "")
    if shape:
        return Arithmetic(True, 64 if shape == "2s" else 128, "f64" if shape == "2d" else "f32")
    scalable = re.match(r"z\d+\.([sd])\b", instruction.operands)
    if scalable is not None:  # as wide as the processor's registers are
        return Arithmetic(True, 0, "f64" if scalable[1] == "d" else "f32")
    scalar = re.match(r"([sd])\d+\b", instruction.operands)
    if scalar is None:
        return None
    return Arithmetic(False, 64 if scalar[1] == "d" else 32, "f64" if scalar[1] == "d" else "f32")


# --- flow ---------------------------------------------------------------------------------------------------


def successors(function: Function, machine: str) -> list[list[int]]:
    """The instructions that may follow each one, inside the function; a jump through a register leads nowhere."""
    found: list[list[int]] = []
    last = len(function.instructions)
    for at, instruction in enumerate(function.instructions):
        kind = _jump(instruction, machine)
        targets = [
            function.labels[word]
            for word in re.split(r"[\s,]+", instruction.operands)
            if kind in ("jump", "branch") and word in function.labels
        ]
        following = [at + 1] if kind in ("", "branch") else []
        found.append([target for target in dict.fromkeys((*following, *targets)) if target < last])
    return found


def _jump(instruction: Instruction, machine: str) -> str:
    """``"jump"``, ``"branch"`` (it may not jump), ``"end"``, or nothing."""
    name = instruction.mnemonic
    if machine == X86:
        if name.startswith("jmp"):
            return "jump"
        if name.startswith("j") or name.startswith("loop"):
            return "branch"
        return "end" if name.startswith(("ret", "ud2", "hlt")) else ""
    if name in ("b", "br"):
        return "jump"
    if name.startswith("b.") or name in ("cbz", "cbnz", "tbz", "tbnz"):
        return "branch"
    return "end" if name in ("ret", "brk", "udf") else ""


def components(nodes: Sequence[int], following: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """The strongly connected components of some nodes that have a cycle (Tarjan 1972), without recursion."""
    inside = set(nodes)
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    for root in nodes:
        if root in index:
            continue
        work = [(root, iter(following[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, targets = work[-1]
            target = next((t for t in targets if t in inside), None)
            if target is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    found = _popped(stack, on_stack, node)
                    if len(found) > 1 or node in following[node]:
                        yield sorted(found)
            elif target not in index:
                index[target] = low[target] = len(index)
                stack.append(target)
                on_stack.add(target)
                work.append((target, iter(following[target])))
            elif target in on_stack:
                low[node] = min(low[node], index[target])


def _popped(stack: list[int], on_stack: set[int], node: int) -> list[int]:
    found = []
    while True:
        last = stack.pop()
        on_stack.discard(last)
        found.append(last)
        if last == node:
            return found
