"""Which line of the generated source an instruction of a kernel comes from.

Machine code of kernels carries no lines, and Numba's debug information would make other code.  So the functions of the
module are compiled once more, apart from the kernel, with nothing but directives for lines.  Where a loop in that code
has the same instructions as one in the kernel's, its lines are those of the kernel; of other loops nothing is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from gradc.explain.kernels.assembly import short
from gradc.explain.kernels.instructions import functions_of, locations_in
from gradc.explain.kernels.machine_loops import AssemblyLoop, loops_of


def lines_of(asm: str, dispatcher: Any) -> dict[int, int]:
    """The lines of the source by lines of a kernel's assembly, numbered from 0, for what is in innermost loops.

    Parameters
    ----------
    asm : str
        The kernel's.
    dispatcher : numba dispatcher
        The kernel, compiled in this process (`gradc_runtime.numba_backend.readable`): what its tasks were compiled
        for is not in the store.  It is left as it is.
    """
    from gradc_runtime.line_code import compiled_with_lines  # noqa: PLC0415

    return transferred(asm, compiled_with_lines(dispatcher))


def transferred(asm: str, others: Sequence[str]) -> dict[int, int]:
    """The lines of loops that have the same instructions in another text, which has ``.loc`` directives.

    Where the order of instructions differs and the arithmetic does not, the head of a loop alone has a line.  Loops
    of a function that look alike are taken in their order, if there are as many of them in both texts.
    """
    found: dict[int, int] = {}
    for exact in (False, True):  # what is exact replaces the rest
        known: dict[Look, list[list[int]]] = {}
        for other in others:
            locations, names = locations_in(other), _mnemonics(other)
            for loop in loops_of(other):
                lines = [locations.get(line, 0) for line in loop.lines]
                known.setdefault(_look(loop, names, exact), []).append(lines)
        names, here = _mnemonics(asm), dict[Look, list[AssemblyLoop]]()
        for loop in loops_of(asm):
            here.setdefault(_look(loop, names, exact), []).append(loop)
        for look, loops in here.items():
            there = known.get(look, [])
            for loop, lines in zip(loops, there, strict=True) if len(loops) == len(there) else ():
                found.update(_lines(loop, lines, exact))
    return found


def _lines(loop: AssemblyLoop, lines: Sequence[int], exact: bool) -> dict[int, int]:
    if exact:
        return {here: there for here, there in zip(loop.lines, lines, strict=True) if there}
    counted = Counter(line for line in lines if line)
    return {loop.lines[0]: counted.most_common(1)[0][0]} if counted else {}


Look: TypeAlias = tuple[str, tuple[str, ...]]


def _look(loop: AssemblyLoop, names: Mapping[int, str], exact: bool) -> Look:
    """A loop's function and its mnemonics: all of them in order, or those of arithmetic in any."""
    found = [names[line] for line in loop.lines]
    if not exact:
        found = sorted(
            name for name in found if name.endswith(("pd", "ps", "sd", "ss")) and "mov" not in name
        )
    return short(loop.function), tuple(found)


def _mnemonics(asm: str) -> dict[int, str]:
    return {i.line: i.mnemonic for function in functions_of(asm) for i in function.instructions}
