"""The lines of a program: one per equation, or fewer where small unnamed results are written into their readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from gradc.explain.mathematics import tree
from gradc.explain.mathematics.calls import call_lines, transposed
from gradc.explain.mathematics.reading import Reading, substituted
from gradc.explain.mathematics.tree import (
    Affine,
    Apply,
    Expression,
    IndexNumber,
    LookedUp,
    NotAffine,
    Number,
    Place,
    Tensor,
    Variable,
)
from gradc.ir.index.nodes import (
    Accumulate,
    Assemble,
    Assign,
    Call,
    Equation,
    Program,
    accesses_of,
    outputs_of,
    reads_of,
)
from gradc.ir.tensors import TensorType

LARGEST = 14  # names, numbers and functions of what is written into its only reader
SMALL = 3  # of what is written into each of several readers
FEW = 400  # lines that are written a second time, more compactly


@dataclass(frozen=True, slots=True)
class Line:
    """``left = right``, or ``left += right`` for every value of the indices."""

    left: tuple[Tensor, ...]
    relation: str
    right: Expression


@dataclass(frozen=True, slots=True)
class Roles:
    """What may be written into its readers: nothing in `kept`, of `named` only what is small.

    `derived` holds the tensors that differentiation made.
    """

    kept: frozenset[str]
    named: frozenset[str] = frozenset()
    derived: frozenset[str] = frozenset()


def full_lines(program: Program, derived: frozenset[str] = frozenset()) -> list[Line]:
    """Return one line per equation."""
    roles = Roles(frozenset(program.types), derived=derived)
    return _Writer(Reading(program.types), roles, Counter()).lines(program.equations)


def equation_lines(equation: Equation, types: Mapping[str, TensorType]) -> list[Line]:
    """Return the lines of one equation: more than one where it defines several tensors."""
    return _Writer(Reading(types), Roles(frozenset(outputs_of(equation))), Counter()).lines((equation,))


def compact_lines(program: Program, roles: Roles) -> list[Line]:
    """Return the lines that are left when small unnamed results stand in their readers.

    Requires: equations are in order of execution.  Ensures: time linear in equations.
    """
    writer = _Writer(Reading(program.types), roles, _uses(program.equations))
    lines = _needed(writer.lines(program.equations), roles.kept)
    if len(lines) > FEW:
        return lines
    # Simplified lines read less than the equations do: what one of them alone still reads can stand in it.
    reads = Counter(tree.tensors(expression for line in lines for expression in (line.right, *line.left)))
    reads.subtract(tensor.name for line in lines for tensor in line.left)
    writer = _Writer(Reading(program.types), roles, reads)
    return _needed(writer.lines(program.equations), roles.kept)


def _uses(equations: Iterable[Equation]) -> Counter[str]:
    """Count how often each tensor is read."""
    counts: Counter[str] = Counter()
    for equation in equations:
        counts.update(reads_of(equation))
        if isinstance(equation, Assign | Accumulate):
            counts.update(access.tensor for access in accesses_of(equation))
            counts.subtract({access.tensor for access in accesses_of(equation)})
    return counts


def _needed(lines: list[Line], kept: frozenset[str]) -> list[Line]:
    """Return the lines that define tensors in `kept` and what the lines after them read."""
    wanted = set(kept)
    found: list[Line] = []
    for line in reversed(lines):
        if any(tensor.name in wanted for tensor in line.left):
            wanted.update(tree.tensors((line.right, *line.left)))
            found.append(line)
    return found[::-1]


@dataclass(slots=True)
class _Writer:
    reading: Reading
    roles: Roles
    uses: Counter[str]
    known: dict[str, tuple[tuple[Affine, ...], Expression]] = field(default_factory=dict)

    def lines(self, equations: Iterable[Equation]) -> list[Line]:
        found: list[Line] = []
        for equation in equations:
            match equation:
                case Assign() | Accumulate():
                    found.append(self._equation(equation))
                case Assemble():
                    parts = tuple(self._whole(part) for part in equation.parts)
                    joined = Apply("concatenate", parts, (equation.axis,))
                    found.append(Line((self.reading.whole(equation.out),), "=", joined))
                case Call():
                    pairs = call_lines(self.reading, equation, self._whole)
                    found += [Line(left, "=", right) for left, right in pairs]
                case _:
                    assert_never(equation)
        return found

    def _equation(self, equation: Assign | Accumulate) -> Line:
        reading = self.reading
        space = reading.space(equation.space)
        operands = [self._inlined(reading.operand(operand, space)) for operand in equation.operands]
        right = reading.right(equation, space, operands, derived=equation.out in self.roles.derived)
        left = reading.left(equation, space)
        if isinstance(equation, Accumulate):
            left = Tensor(left.name, tuple(self._place(place) for place in left.places or ()))
            return Line((left,), "+=", right)
        places = tuple(place for place in left.places or () if isinstance(place, Affine))
        if self._is_inlined(equation.out, right):
            self.known[equation.out] = (places, right)
        return Line((left,), "=", right)

    def _is_inlined(self, name: str, right: Expression) -> bool:
        if name in self.roles.kept:
            return False
        if isinstance(right, Number):
            return True
        size = tree.leaves(right)
        whole = any(isinstance(node, tree.Reduction) for node in tree.nodes(right))
        if size <= SMALL and not whole:
            return True
        return name not in self.roles.named and self.uses[name] <= 1 and size <= LARGEST

    def _inlined(self, expression: Expression) -> Expression:
        """Return what an operand stands for."""
        if not isinstance(expression, Tensor) or expression.places is None:
            return expression
        places = tuple(self._place(place) for place in expression.places)
        found = self.known.get(expression.name)
        if found is None:
            return Tensor(expression.name, places)
        try:
            return substituted(self.reading, found[1], _mapping(found[0], places))
        except NotAffine:
            return Tensor(expression.name, places)

    def _place(self, place: Place) -> Place:
        """Return an index with what a looked-up element stands for."""
        if not isinstance(place, LookedUp) or place.tensor not in self.known:
            return place
        try:
            found = self._inlined(Tensor(place.tensor, place.places))
        except NotAffine:
            return place
        if isinstance(found, IndexNumber):
            return found.place
        if isinstance(found, Tensor) and found.places is not None:
            affine = tuple(inner for inner in found.places if isinstance(inner, Affine))
            return LookedUp(found.name, affine) if len(affine) == len(found.places) else place
        return place

    def _whole(self, name: str) -> Expression:
        """Return all of a tensor; a copy of another tensor, transposed or not, as that tensor."""
        found = self.known.get(name)
        if found is None:
            return self.reading.whole(name)
        places, right = found
        if isinstance(right, Tensor) and right.places is not None:
            if right.places == places:
                return self._whole(right.name)
            if len(places) > 1 and right.places == (*places[:-2], places[-1], places[-2]):
                return transposed(self._whole(right.name))
        return self.reading.whole(name)


def _mapping(own: tuple[Affine, ...], places: tuple[Place, ...]) -> dict[Variable, Place]:
    """Return where the indices of a definition are at an access."""
    pairs = zip(own, places, strict=True)
    return {place.terms[0][1]: other for place, other in pairs if place.terms}
