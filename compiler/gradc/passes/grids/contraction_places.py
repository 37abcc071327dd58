"""What the indices of a contraction count, so that it is a product of matrices in which every element is written once.

    out[i, j + p] += left[i, j] * right[p]        out[i, o] += sum[p] left[i, o - p] * right[p]
    out[2 j + p]  += left[j] * right[p]           out[2 u + r] += sum[s] left[u - s] * right[2 s + r]

Several products that go to one element become terms of one sum: an axis of the result on which two indices meet is
counted by a number of its own, and one of the indices follows from it.  Where that would not be an index, the operand
counts as zero there: what it is multiplied by must be finite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd, lcm

from gradc.ir.loop import nodes
from gradc.ir.loop.nodes import Expr, Number
from gradc.passes.grids.contraction_numbers import ceiling, most
from gradc_runtime.contraction import Position

LONG = 1024  # elements of an axis of unknown extent, where the longer one of two axes is looked for
WIDE = 8  # neighbours that are worth reading together: float32 of a sector of memory


@dataclass(frozen=True, slots=True)
class Variable:
    """A number that the kernel counts: an index, or what two indices add up to."""

    name: str
    extent: Expr


@dataclass(frozen=True, slots=True)
class Place:
    """A sum of variables times whole numbers, and an offset."""

    terms: tuple[tuple[int, str], ...]
    offset: int = 0

    @property
    def variables(self) -> frozenset[str]:
        """Those in the sum."""
        return frozenset(name for _, name in self.terms)


@dataclass(frozen=True, slots=True)
class Index:
    """``place / divisor``: an index where it is whole, and at least 0 if `below`, and less than `extent` if `above`."""

    place: Place
    extent: Expr
    divisor: int = 1
    below: bool = False
    above: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """An operand: its positions in the letters of the texts, and those that must be equal to a variable."""

    tensor: str
    positions: tuple[Position, ...]
    equal: tuple[tuple[Position, str], ...] = ()

    @property
    def letters(self) -> frozenset[str]:
        """Those that the positions have."""
        found = (*self.positions, *(position for position, _ in self.equal))
        return frozenset(letter for terms, _ in found for _, letter in terms)


@dataclass(frozen=True, slots=True)
class Space:
    """A contraction as products of matrices, one for every value of the `batch` variables.

    Variables stand in the order in which neighbours in memory are counted one after the other.  `places` are those
    of the result; one for which there is an extent in `ends` may reach it, and is no place there.
    """

    out: str
    left: Reading
    right: Reading
    indices: Mapping[str, Index]
    batch: tuple[Variable, ...]
    rows: tuple[Variable, ...]
    columns: tuple[Variable, ...]
    summed: tuple[Variable, ...]
    places: tuple[Place, ...]
    ends: Mapping[int, Expr]

    def variables_of(self, reading: Reading) -> frozenset[str]:
        """The variables on which the elements depend that an operand is read at."""
        return _variables_of(reading, self.indices)

    def runs_along(self, reading: Reading, candidates: Sequence[Variable]) -> tuple[Variable, ...]:
        """The variables of which neighbours are neighbours in an operand."""
        found = _last_axis(reading, self.indices)
        return tuple(variable for variable in candidates if variable.name in found)


def space_of(
    out: str,
    target: Sequence[Position],
    operands: tuple[Reading, Reading],
    extents: Mapping[str, Expr],
    shape: Sequence[Expr],
) -> Space:
    """Return what the indices of a contraction count.

    Parameters
    ----------
    out, target : str, positions
        The result and where it is written to.
    operands : two of Reading
        Without `equal`.
    extents : mapping of letter to expression
        Those of all letters.
    shape : sequence of expression
        That of the result.
    """
    solver = _Solver(target, extents, shape)
    first, second = operands
    first = Reading(first.tensor, first.positions, tuple(solver.equal))
    of_first, of_second = _variables_of(first, solver.indices), _variables_of(second, solver.indices)
    last = solver.places[len(target) - 1].variables if target else frozenset()
    if last & of_first - of_second and not last & of_second:  # neighbours in the result are columns
        first, second, of_first, of_second = second, first, of_second, of_first
    both, rows, columns = [], [], []
    for variable in solver.free:
        in_both = variable.name in of_first & of_second
        (both if in_both else columns if variable.name in of_second else rows).append(variable)
    return Space(
        out,
        first,
        second,
        solver.indices,
        _in_order(both, solver.ranks()),
        _in_order(rows, _ranks(first, solver.indices)),
        _columns_in_order(columns, second, solver),
        _summed_in_order(solver.summed, (first, second), solver.indices),
        tuple(solver.places[axis] for axis in range(len(target))),
        solver.ends,
    )


def is_short(extent: Expr, than: int) -> bool:
    """Whether an extent is known to be less than a number."""
    return isinstance(extent, Number) and extent.value < than


# --- solving for the indices --------------------------------------------------------------------------------


class _Solver:
    """Decides axis by axis what counts the result; `free` variables do, `summed` ones count the terms of a sum."""

    def __init__(
        self, target: Sequence[Position], extents: Mapping[str, Expr], shape: Sequence[Expr]
    ) -> None:
        self.target = [(_merged(terms), offset) for terms, offset in target]
        self.extents, self.shape = extents, shape
        self.indices: dict[str, Index] = {}
        self.free: list[Variable] = []
        self.summed: list[Variable] = []
        self.places: dict[int, Place] = {}
        self.ends: dict[int, Expr] = {}
        self.equal: list[tuple[Position, str]] = []
        for letter, extent in extents.items():
            if isinstance(extent, Number) and extent.value == 1:  # the letter is always 0
                self.indices[letter] = Index(Place(()), extent)
        waiting = list(range(len(target)))
        while waiting:
            axis = next((at for at in waiting if self.is_free(at)), waiting[0])
            waiting.remove(axis)
            self.places[axis] = self.own(axis) if self.is_free(axis) else self.shared(axis)
        for letter in sorted(set(extents) - set(self.indices)):
            self.counted(letter, self.summed)

    def ranks(self) -> dict[str, int]:
        """The axis of the result that a variable counts; the last one if it counts several."""
        return {name: axis for axis in sorted(self.places) for name in self.places[axis].variables}

    def unknown(self, axis: int) -> list[str]:
        return [letter for _, letter in self.target[axis][0] if letter not in self.indices]

    def is_free(self, axis: int) -> bool:
        """Whether the position on an axis follows from free variables, if one more letter is one."""
        names = {variable.name for variable in self.free}
        known = [self.indices[letter] for _, letter in self.target[axis][0] if letter in self.indices]
        return len(self.unknown(axis)) <= 1 and all(
            index.place.variables <= names and not (index.below or index.above) for index in known
        )

    def counted(self, letter: str, by: list[Variable]) -> None:
        """Let a letter be a variable itself."""
        by.append(Variable(letter, self.extents[letter]))
        self.indices[letter] = Index(Place(((1, letter),)), self.extents[letter])

    def own(self, axis: int) -> Place:
        for letter in self.unknown(axis):
            self.counted(letter, self.free)
        terms, offset = self.target[axis]
        parts = [(factor, self.indices[letter].place) for factor, letter in terms]
        return _combined(parts, offset)

    def shared(self, axis: int) -> Place:
        """Count the places of an axis on which letters meet."""
        terms, offset = self.target[axis]
        unknown = self.unknown(axis)
        if not unknown:
            name = self.places_of(axis, "at", self.shape[axis])
            self.equal.append(((tuple(terms), offset), name))
            return Place(((1, name),))
        kept = max(unknown, key=self.length)
        others = [letter for letter in unknown if letter != kept]
        scale, start = (
            (gcd(*(factor for factor, _ in terms)), offset) if _is_upward(terms, offset) else (1, 0)
        )
        factors = {letter: factor // scale for factor, letter in terms}
        many = nodes.apply("sub", self.shape[axis], nodes.number(start))
        many = most(many, nodes.number(0)) if start else many
        if (
            len(terms) == 2
            and len(others) == 1
            and factors[kept] > 1 == factors[others[0]]
            and start == offset
        ):
            return self.strided(axis, (kept, others[0]), factors[kept], scale, many)
        for letter in others:
            self.counted(letter, self.summed)
        name = self.places_of(axis, kept, ceiling(many, scale))
        self.solved(kept, factors, name, offset - start)
        return Place(((scale, name),), start)

    def places_of(self, axis: int, hint: str, many: Expr) -> str:
        name = f"{hint}_at{axis}"
        self.free.append(Variable(name, many))
        return name

    def solved(self, kept: str, factors: Mapping[str, int], place: str, offset: int) -> None:
        """Let a letter be what the place on an axis leaves for it."""
        others = {letter: self.indices[letter] for letter in factors if letter != kept}
        scale = lcm(*(index.divisor for index in others.values()))
        sign = 1 if factors[kept] > 0 else -1
        parts = [(sign * scale, Place(((1, place),)))]
        for letter, index in others.items():
            parts.append((-sign * factors[letter] * (scale // index.divisor), index.place))
        found = _combined(parts, -sign * scale * offset)
        divisor = abs(factors[kept]) * scale
        self.indices[kept] = Index(found, self.extents[kept], divisor, below=True, above=True)

    def strided(self, axis: int, letters: tuple[str, str], stride: int, scale: int, many: Expr) -> Place:
        """Count ``stride * kept + other`` in steps of the stride, and by what is left of it.

        With ``other = stride * step + left`` no term of the sum is zero because it is between two steps.
        """
        kept, other = letters
        steps, left, step = f"{kept}_at{axis}", f"{kept}_left{axis}", f"{other}_step"
        jump, offset, size = scale * stride, self.target[axis][1], self.extents[other]
        self.free += [Variable(steps, ceiling(many, jump)), Variable(left, nodes.number(stride))]
        self.summed.append(Variable(step, ceiling(size, stride)))
        at = Place(((1, steps), (-1, step)))
        self.indices[kept] = Index(at, self.extents[kept], below=True, above=True)
        whole = isinstance(size, Number) and size.value % stride == 0
        self.indices[other] = Index(Place(((stride, step), (1, left))), size, above=not whole)
        if not (isinstance(many, Number) and many.value % jump == 0):
            self.ends[axis] = self.shape[axis]
        return Place(((jump, steps), (scale, left)), offset)

    def length(self, letter: str) -> int:
        extent = self.extents[letter]
        return int(extent.value) if isinstance(extent, Number) else LONG


def _is_upward(terms: Sequence[tuple[int, str]], offset: int) -> bool:
    """Whether no place on an axis is before its offset."""
    return offset >= 0 and all(factor > 0 for factor, _ in terms)


def _merged(terms: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Terms with every letter once."""
    factors: dict[str, int] = {}
    for factor, letter in terms:
        factors[letter] = factors.get(letter, 0) + factor
    return [(factor, letter) for letter, factor in factors.items()]


def _combined(parts: Sequence[tuple[int, Place]], offset: int) -> Place:
    """A sum of places times whole numbers."""
    factors: dict[str, int] = {}
    for factor, place in parts:
        offset += factor * place.offset
        for own, name in place.terms:
            factors[name] = factors.get(name, 0) + factor * own
    return Place(tuple((factor, name) for name, factor in factors.items() if factor), offset)


# --- what comes after what ----------------------------------------------------------------------------------


def _variables_of(reading: Reading, indices: Mapping[str, Index]) -> frozenset[str]:
    found = frozenset(name for letter in reading.letters for name in indices[letter].place.variables)
    return found | {name for _, name in reading.equal}


def _last_axis(reading: Reading, indices: Mapping[str, Index]) -> frozenset[str]:
    """The variables that move by one element in memory as they count."""
    terms = reading.positions[-1][0] if reading.positions else ()
    whole = [(factor, indices[letter].place) for factor, letter in terms if indices[letter].divisor == 1]
    return frozenset(name for factor, name in _combined(whole, 0).terms if abs(factor) == 1)


def _ranks(reading: Reading, indices: Mapping[str, Index]) -> dict[str, int]:
    """The last axis of an operand that each variable moves along."""
    return {
        name: axis
        for axis, (terms, _) in enumerate(reading.positions)
        for _, letter in terms
        for name in indices[letter].place.variables
    }


def _in_order(variables: Sequence[Variable], ranks: Mapping[str, int]) -> tuple[Variable, ...]:
    return tuple(sorted(variables, key=lambda variable: ranks.get(variable.name, -1)))


def _columns_in_order(columns: Sequence[Variable], second: Reading, solver: _Solver) -> tuple[Variable, ...]:
    """As in the result, unless others are neighbours in the operand: it is read more often than that is written."""
    last = _last_axis(second, solver.indices)
    scattered = any(v.name in last and not is_short(v.extent, WIDE) for v in columns)
    return _in_order(columns, _ranks(second, solver.indices) if scattered else solver.ranks())


def _summed_in_order(
    summed: Sequence[Variable], operands: tuple[Reading, Reading], indices: Mapping[str, Index]
) -> tuple[Variable, ...]:
    """As in the operand in which terms of the sum are neighbours, in the longest row if both are such."""

    def run(reading: Reading) -> int:
        last = _last_axis(reading, indices)
        runs = (
            LONG if not isinstance(v.extent, Number) else int(v.extent.value)
            for v in summed
            if v.name in last
        )
        return max(runs, default=0)

    return _in_order(summed, _ranks(max(operands, key=run), indices))
