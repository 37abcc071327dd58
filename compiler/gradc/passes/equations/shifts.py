"""Shifts of a softmax: numbers that may be subtracted from all its arguments, and that it does not depend on."""

from __future__ import annotations

from collections.abc import Sequence

from gradc.ir.index.build import IDENTITY
from gradc.ir.index.nodes import Access, Assign, Equation, Program, accesses_of, reads_of


def free_shifts(program: Program) -> set[str]:
    """Differences ``x - m`` that only a softmax reads, over axes along which `m` does not vary."""
    definitions = {equation.out: equation for equation in program.equations if isinstance(equation, Assign)}
    readers: dict[str, list[Equation | None]] = {name: [None] for name in program.outputs}  # None: the caller
    for equation in program.equations:
        for name in reads_of(equation):
            readers.setdefault(name, []).append(equation)
    found: set[str] = set()
    for total in definitions.values():
        shifted = _shifted_by_user(total, definitions)
        if shifted is None or not isinstance(shifted.operands[1], Access):
            continue
        (powers,) = (access.tensor for access in accesses_of(total))
        read = next(accesses_of(total)).indices
        summed = {axis for axis, index in enumerate(read) if isinstance(index, int) and index >= total.rank}
        varies = summed & {index for index in shifted.operands[1].indices if isinstance(index, int)}
        quotients = [equation for equation in readers[powers] if equation is not total]
        if (
            not varies
            and readers[shifted.out] == [definitions[powers]]
            and quotients
            and all(_divides(equation, powers, total.out, definitions) for equation in quotients)
            and _only_divides(total.out, quotients, readers)
        ):
            found.add(shifted.out)
    return found


def _shifted_by_user(total: Assign, definitions: dict[str, Assign]) -> Assign | None:
    """The difference behind a sum of exponentials."""
    accesses = list(accesses_of(total))
    if total.reduce is None or total.reduce.op != "sum" or not total.template.is_copy or len(accesses) != 1:
        return None
    powers = definitions.get(accesses[0].tensor)
    if powers is None or powers.template.name != "exp" or powers.reduce is not None:
        return None
    (inner,) = powers.operands
    if not isinstance(inner, Access) or inner.indices != IDENTITY[len(powers.space)]:
        return None
    shifted = definitions.get(inner.tensor)
    if shifted is None or shifted.reduce is not None or shifted.template.name != "sub":
        return None
    return shifted


def _divides(equation: Equation | None, powers: str, total: str, definitions: dict[str, Assign]) -> bool:
    """Whether an equation divides the exponentials by their sum."""
    if not isinstance(equation, Assign) or equation.template.name != "div" or equation.reduce is not None:
        return False
    above, below = equation.operands
    if not isinstance(above, Access) or not isinstance(below, Access) or above.tensor != powers:
        return False
    name = below.tensor
    while name != total and name in definitions and definitions[name].template.is_copy:
        (inner,) = definitions[name].operands
        if definitions[name].reduce is not None or not isinstance(inner, Access):
            return False
        name = inner.tensor
    return name == total


def _only_divides(
    name: str, quotients: Sequence[Equation | None], readers: dict[str, list[Equation | None]]
) -> bool:
    """Whether a sum, and its broadcasts, are read by these quotients alone."""
    for equation in readers.get(name, []):
        if equation in quotients:
            continue
        if not isinstance(equation, Assign) or not equation.template.is_copy or equation.reduce is not None:
            return False
        if not _only_divides(equation.out, quotients, readers):
            return False
    return True
