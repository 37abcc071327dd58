"""Assembly with the loops of the generated source: which are vectorised, how wide, and where instructions are from."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradc.explain.kernels.instructions import ARM, OTHER, functions_of, locations_in, machine_of
from gradc.explain.kernels.machine_loops import AssemblyLoop, loops_of


@dataclass(frozen=True, slots=True)
class SourceLoop:
    """A loop of the generated source: the function it is in, its first and last line, and the line as text."""

    function: str
    first: int
    last: int
    text: str
    innermost: bool


def source_loops(source: str) -> tuple[SourceLoop, ...]:
    r"""The loops of a module, in order.

    Examples
    --------
    >>> source = "def f(x, n):\n    for i in range(n):\n        x[i] = 0"
    >>> [(loop.function, loop.first, loop.text) for loop in source_loops(source)]
    [('f', 2, 'for i in range(n):')]
    """
    lines, found = source.splitlines(), []
    for function in ast.parse(source).body:
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.For | ast.While):
                    inner = any(
                        isinstance(n, ast.For | ast.While) for child in node.body for n in ast.walk(child)
                    )
                    text = lines[node.lineno - 1].strip()
                    last = node.end_lineno or node.lineno
                    found.append(SourceLoop(function.name, node.lineno, last, text, not inner))
    return tuple(sorted(found, key=lambda loop: loop.first))


def placed(
    asm: str, source: str, lines: Mapping[int, int] | None = None
) -> tuple[tuple[AssemblyLoop, SourceLoop | None], ...]:
    """Every loop of the machine code with the loop of the source that it comes from, where that is known.

    Parameters
    ----------
    asm, source : str
        The machine code, and the text of the module that it comes from.
    lines : mapping of int to int, optional
        The lines of the source by lines of the assembly, numbered from 0
        (`gradc.explain.kernels.assembly_lines.lines_of`); else those that ``.loc`` directives tell.

    Returns
    -------
    tuple of (AssemblyLoop, SourceLoop or None)
        A loop of the source may be several in the machine code: one in vectors and one for what is left over.
    """
    known = locations_in(asm) if lines is None else lines
    loops = source_loops(source)
    return tuple((loop, _source_of(loop, loops, known)) for loop in loops_of(asm))


def _source_of(
    loop: AssemblyLoop, sources: Sequence[SourceLoop], lines: Mapping[int, int]
) -> SourceLoop | None:
    """The innermost loop of the source that most of a loop's instructions come from; the function's only one."""
    from_ = Counter(lines[line] for line in loop.lines if line in lines)
    if from_:
        most = from_.most_common(1)[0][0]
        around = [
            source
            for source in sources
            if source.first <= most <= source.last and (loop.innermost or not source.innermost)
        ]
        return max(around, key=lambda source: source.first, default=None)
    inner = [source for source in sources if source.innermost and _is_of(loop.function, source.function)]
    return inner[0] if len(inner) == 1 else None


def _is_of(symbol: str, name: str) -> bool:
    """Whether a symbol is the task with this name, mangled (its length stands before it) or bare.

    The kernel itself also holds what it does around its tasks, so its name says nothing about a loop.
    """
    return symbol == name or (symbol.endswith("_entry") and f"{len(name)}{name}" in symbol)


def annotated(asm: str, source: str, lines: Mapping[int, int] | None = None) -> str:
    """Assembly with a list of its loops at the head, and a comment at the head of each; with lines of the source.

    Parameters
    ----------
    asm, source : str
        The machine code, and the text of the module that it comes from.
    lines : mapping of int to int, optional
        The lines of the source by lines of the assembly, numbered from 0; else those that ``.loc`` directives tell.
    """
    known = locations_in(asm) if lines is None else dict(lines)
    mark = "//" if machine_of(asm) == ARM else "#"
    found, texts = placed(asm, source, known), source.splitlines()
    at_head = {loop.lines[0]: _remark(loop, origin) for loop, origin in found}
    made = [f"{mark} {line}".rstrip() for line in _summary(asm, found, known)]
    pending, shown = "", 0
    for number, line in enumerate(asm.splitlines()):
        remark = at_head.get(number)
        if remark is not None:
            _before_label(made, f"{mark} ---- {remark}")
        at = known.get(number, 0)
        if at and at != shown and at <= len(texts):
            pending, shown = f"\t{mark} {at}: {texts[at - 1].strip()}", at
            made.append(pending)
        made.append(line)
    return "\n".join(made) + "\n"


def _before_label(made: list[str], text: str) -> None:
    """Put a comment before the local labels and directives that stand before the next line."""
    at = len(made)
    while at and _OF_THE_HEAD.match(made[at - 1]):
        at -= 1
    made.insert(at, text)


_OF_THE_HEAD = re.compile(r"\.?L\w+:|\s*\.(p2align|loc)\b")


def _remark(loop: AssemblyLoop, origin: SourceLoop | None) -> str:
    return f"{loop}; {_place(origin)}"


def _place(origin: SourceLoop | None) -> str:
    return f"line {origin.first}: {origin.text}" if origin else "from an unknown line"


def _summary(
    asm: str, found: Sequence[tuple[AssemblyLoop, SourceLoop | None]], lines: Mapping[int, int]
) -> list[str]:
    machine = machine_of(asm)
    if machine == OTHER:
        return ["Loops: unknown. This is assembly for a machine whose instructions are not known here.", ""]
    rows = [("in", "at", "", "source")]
    for loop, origin in found:
        rows.append((short(loop.function), loop.label or "-", str(loop), _place(origin)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    head = f"Loops of the machine code ({machine}), as their instructions say:"
    text = [head, *table] if found else [f"The machine code ({machine}) has no loops."]
    if found and not lines:
        text.append("Which line an instruction comes from is not in this text.")
    elsewhere = called_elsewhere(asm)
    if elsewhere:
        text.append(f"The machine code of what it calls is elsewhere: {', '.join(elsewhere)}.")
    return [*text, ""]


_OURS = re.compile(r"\bgradc_(?!kernel_)\w+")


def called_elsewhere(asm: str) -> tuple[str, ...]:
    """The functions of the runtime that are called by name and are not in the text: contractions, blocks, launches."""
    here = {function.name for function in functions_of(asm)}
    used = (name for f in functions_of(asm) for i in f.instructions for name in _OURS.findall(i.operands))
    return tuple(name for name in dict.fromkeys(used) if name not in here)


def short(symbol: str) -> str:
    """The part of a mangled symbol that people read: the function's own name.

    Examples
    --------
    >>> short("_ZN29gradc_kernel_f4f47632c821f8116loop_1B2v5B60c8tJTAeGI_entry"), short("NRT_decref")
    ('loop_1', 'NRT_decref')
    """
    prefix = "cfunc." if symbol.startswith("cfunc.") else "cpython." if "cpython" in symbol[:12] else ""
    rest, parts = symbol.removeprefix("cfunc.").removeprefix("_ZN"), []
    if rest == symbol.removeprefix("cfunc."):
        return symbol
    while (found := re.match(r"\d+", rest)) is not None:
        digits = found[0]
        size = int(digits)
        parts.append(rest[len(digits) : len(digits) + size])
        rest = rest[len(digits) + size :]
    named = [part for part in parts if not part.startswith("gradc_kernel_") and part != "cpython"]
    return prefix + (named[-1] if named else symbol)
