"""The comparisons of a gradient check: element by element, along random directions, and down to the guilty ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gradc_runtime.gradcheck_arguments import Arguments, Flaw
from gradc_runtime.gradcheck_estimate import EPS
from gradc_runtime.gradcheck_judge import Judgement, is_refuted, judge, quick_look, rough_slope
from gradc_runtime.gradcheck_report import Entry, Verdict

Array = NDArray[np.float64]
Progress = Callable[[int, int, str], None]

BASE = 1024  # how many places one weighted direction tells apart
CULPRITS = 4  # elements named per failing direction; a fault in every element needs no longer list
REFUTED = frozenset({Verdict.WRONG, Verdict.KINK_WRONG})
EVERYTHING = "all arguments"


def flawed(flaw: Flaw) -> Entry:
    """Return the entry of a finding that is not about numbers."""
    nan = float("nan")
    return Entry(flaw.argument, flaw.what, nan, nan, float("inf"), flaw.verdict, flaw.detail)


class Comparisons:
    """All comparisons of one check; `progress(done, planned, what)` is told of each."""

    def __init__(
        self,
        point: Arguments,
        claims: dict[int, Array],
        rounding: Mapping[str, float],
        *,
        probes: int,
        seed: int,
        elements: int,
        progress: Progress | None,
    ) -> None:
        self.point = point
        self.probes = probes
        self.seed = seed
        self.checks = [
            ArgumentCheck(point, position, claim, self._tell, rounding.get(point.names[position], 0.0))
            for position, claim in claims.items()
        ]
        self.large = [check for check in self.checks if check.claim.size > elements]
        self.progress = progress
        self.done = 0
        small = sum(check.claim.size for check in self.checks if check not in self.large)
        self.planned = small + len(self.large) * 3 + (probes if self.large else 0)

    def _tell(self, what: str) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(min(self.done, self.planned), self.planned, what)

    def run(self) -> list[Entry]:
        """Compare; the entries of the arguments in their order, then those of all of them together."""
        entries: list[Entry] = []
        whole = len(self.checks) == 1
        for check in self.checks:
            flaw = self.point.narrow(check.position)
            if flaw:
                return [*entries, flawed(flaw)]
            if not check.claim.size:
                entries.append(Entry(check.name, "empty", 0.0, 0.0, 0.0, Verdict.PASS, "no elements"))
            elif check in self.large:
                entries += check.run_along(self.seed, range(self.probes if whole else 1))
            else:
                entries += [check.element(i) for i in range(check.claim.size)]
        if self.large and not whole:
            entries += [self.together(probe) for probe in range(1, self.probes + 1)]
        return entries

    def together(self, probe: int) -> Entry:
        """Judge a direction in which all arguments move in proportion, but for elements known to be wrong."""
        moves: dict[int, Array] = {}
        terms: list[tuple[float, float]] = []
        for check in self.checks:
            size = self.point.typical(check.position) or 1.0
            v = check.spared(self.point.direction(check.position, self.seed, probe)) * size
            if v.any():
                moves[check.position] = v
                terms.append(check.slope_along(v))
        name = f"direction {probe}"
        if not moves:
            return Entry(EVERYTHING, name, 0.0, 0.0, 0.0, Verdict.PASS, "nothing is left that is not wrong")
        claim, slack = sum(c for c, _ in terms), sum(s for _, s in terms)
        found = judge(self.point.along(moves, scale=1.0), claim, slack)
        self._tell(name)
        if found.verdict in REFUTED:
            named = {c.name: c.blame(moves[c.position]) for c in self.checks if c.position in moves}
            found = replace(found, detail=f"{_blamed(named, self.checks)}; {found.detail}")
        return Entry(EVERYTHING, name, claim, found.numeric, found.bound, found.verdict, found.detail)


def _blamed(named: dict[str, list[int]], checks: Sequence[ArgumentCheck]) -> str:
    """Name elements of several arguments."""
    places = {check.name: check.place for check in checks}
    texts = [f"{name}{[list(places[name](i)) for i in found]}" for name, found in named.items() if found]
    return f"to blame: {', '.join(texts)}" if texts else "no single element to blame"


class ArgumentCheck:
    """The comparisons for one argument."""

    def __init__(
        self,
        point: Arguments,
        position: int,
        claim: np.ndarray,
        tell: Callable[[str], None] = lambda what: None,
        rounding: float = 0.0,
    ) -> None:
        self.tell = tell
        self.rounding = rounding
        self.point = point
        self.position = position
        self.name = point.names[position]
        self.shape = claim.shape
        self.claim = claim.reshape(-1)
        self.eps = point.precision(position)
        finite = self.claim[np.isfinite(self.claim)]
        largest = float(np.max(np.abs(finite), initial=0.0))
        self.typical = largest * float(np.sqrt(np.mean((finite / largest) ** 2))) if largest else 0.0
        self.judged: dict[int, Entry] = {}

    def run_along(self, seed: int, probes: Sequence[int]) -> list[Entry]:
        """Judge directions, the first and the last element, and elements that are not finite."""
        size = self.claim.size
        holes = ~np.isfinite(self.claim)
        shown = {0, size - 1, *np.flatnonzero(holes)[:CULPRITS].tolist()}
        for i in shown:
            self.element(i)
        directions: list[Entry] = []
        for probe in probes:
            v = self.spared(self.point.direction(self.position, seed, probe))
            if v.any():
                directions.append(self.direction(v, probe))
        # The search also lands on innocent elements, which nobody asked about.
        shown.update(self.wrong())
        return [*directions, *(self.judged[i] for i in sorted(shown))]

    def wrong(self) -> list[int]:
        """The elements known to be wrong."""
        return [i for i, entry in self.judged.items() if entry.verdict in REFUTED]

    def spared(self, v: Array) -> Array:
        """Return a direction without the elements that are known to be wrong, or not finite."""
        v[~np.isfinite(self.claim)] = 0.0
        v[self.wrong()] = 0.0
        return v

    def element(self, i: int) -> Entry:
        """Judge one element, once."""
        if i not in self.judged:
            claim = float(self.claim[i])
            found = judge(
                self.point.coordinate(self.position, i), claim, self.slack(self.claim[i : i + 1], 1.0)
            )
            self.judged[i] = self.entry(self.place(i), claim, found)
            self.tell(f"{self.name}{list(self.place(i))}" if self.shape else self.name)
        return self.judged[i]

    def direction(self, v: np.ndarray, probe: int) -> Entry:
        """Judge one direction; on failure find elements to blame."""
        claim, slack = self.slope_along(v)
        found = judge(self.point.along({self.position: v}), claim, slack)
        self.tell(f"direction {probe} of {self.name}")
        if found.verdict in REFUTED:
            named = self.blame(v)
            places = ", ".join(str(list(self.place(i))) for i in named)
            text = f"element {places} to blame" if named else "no single element to blame"
            more = " and more" if len(named) >= CULPRITS else ""
            found = replace(found, detail=f"{text}{more}; {found.detail}")
        return self.entry(f"direction {probe}", claim, found)

    def blame(self, v: np.ndarray) -> list[int]:
        """Find wrong elements by halving the index set; each is confirmed by itself, then left out."""
        rest = v.copy()
        named = [i for i in self.wrong() if rest[i]]
        rest[named] = 0.0
        while len(named) < CULPRITS and self.fails(rest):
            for find in (self.decode, self.descend, self.descend_carefully):
                i = find(rest)
                if i is not None and self.element(i).verdict in REFUTED:
                    break
            else:
                break
            named.append(i)
            rest[i] = 0.0
        return sorted(named)

    def decode(self, v: np.ndarray) -> int | None:
        """Read the place of a single wrong element off a few weighted directions; None if that fails.

        With one wrong element the excess of the claim along ``w * v`` is its own weight times that along `v`:
        weights that count up in each digit of the position spell it out.
        """
        moving = np.flatnonzero(v)
        whole = self.excess(v)
        place, unit = 0, 1
        while unit < moving.size:
            weighted = np.zeros_like(v)
            weighted[moving] = v[moving] * (np.arange(moving.size) // unit % BASE + 1) / BASE
            digit = self.excess(weighted) / whole * BASE - 1 if whole else float("nan")
            if not np.isfinite(digit) or abs(digit - round(digit)) > 0.1:
                return None
            place += unit * round(digit)
            unit *= BASE
        return int(moving[place]) if 0 <= place < moving.size else None

    def excess(self, v: np.ndarray) -> float:
        """Return by how much the claim exceeds a rough slope along `v`."""
        return self.slope_along(v)[0] - rough_slope(self.point.along({self.position: v}))

    def descend_carefully(self, v: np.ndarray) -> int:
        """Halve the support without the quick look, which can lead astray among kinks."""
        return self.descend(v, careful=True)

    def descend(self, v: np.ndarray, *, careful: bool = False) -> int:
        """Halve the support of a failing direction down to one element."""
        left = np.flatnonzero(v)
        while left.size > 1:
            lower = left[: left.size // 2]
            masked = np.zeros_like(v)
            masked[lower] = v[lower]
            left = lower if self.fails(masked, careful=careful) else left[left.size // 2 :]
        return int(left[0])

    def fails(self, v: np.ndarray, *, careful: bool = False) -> bool:
        """Whether the claim is refuted along `v`; without `careful` a quick refutation is believed."""
        if not v.any():
            return False
        claim, slack = self.slope_along(v)
        line = self.point.along({self.position: v})
        if not careful and is_refuted(quick_look(line), claim, slack):
            return True
        return judge(line, claim, slack).verdict in REFUTED

    def slope_along(self, v: np.ndarray) -> tuple[float, float]:
        """Return the claimed slope along `v`, and the rounding allowed to it."""
        moving = np.flatnonzero(v)
        terms = self.claim[moving] * v[moving]
        return float(np.sum(terms)), self.slack(terms, float(np.linalg.norm(v)))

    def slack(self, terms: np.ndarray, length: float) -> float:
        """Return the rounding allowed to a claim that is the sum of `terms`, along a direction of `length`.

        In a shorter float every term may be off by some of its own eps, independently of the others.
        """
        shared = 8 * self.eps * float(np.sum(np.abs(terms))) + self.rounding * length
        if self.eps <= EPS:
            return shared
        return shared + 64 * self.eps * max(float(np.linalg.norm(terms)), self.typical * length)

    def place(self, i: int) -> tuple[int, ...]:
        """Return the index of element `i` in C order."""
        return tuple(int(k) for k in np.unravel_index(i, self.shape)) if self.shape else ()

    def entry(self, place: tuple[int, ...] | str, claim: float, found: Judgement) -> Entry:
        """Return the entry for the report."""
        return Entry(self.name, place, claim, found.numeric, found.bound, found.verdict, found.detail)
