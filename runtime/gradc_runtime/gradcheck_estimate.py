"""Derivatives of a function of one real variable, with an error bound that is computed, not assumed.

Centred or one-sided differences over steps that halve, extrapolated in a windowed Richardson tableau. Every
entry carries the round-off that reached it; the entry chosen is the tightest one that nothing computed from
smaller steps contradicts. That last rule is what keeps the checker off a wrong plateau: beyond a kink, across
a pole, or where a step leaves the domain.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np

EPS = float(np.finfo(np.float64).eps)
WINDOW = 6
QUICK_ROWS = 12
FULL_ROWS = 44
# Entries differ by less than their error when the leading power is fractional: h**0.25 needs a factor of 5.2.
CAUTION = 6.0
SAME_NOISE = 4.0  # levels of noise that differ by less are those of the same noise
ROUNDING = 1e-11  # of the size of f: what is smaller can be rounding, what is larger must show its steps
MOST_ROUNDING = 1e-4  # of the size of f: what is larger is a feature, such as tanh(1e6 * x)
# A step outside the domain raises in `math` where NumPy returns nan: both mean "no value there".
NO_VALUE = (ArithmeticError, ValueError)


class Estimate(NamedTuple):
    """A derivative and a bound on its error; a bound of infinity means that no value can be vouched for."""

    value: float
    bound: float


class Trace(Protocol):
    """What tells the smooth pieces of a function on a line apart."""

    def piece(self, t: float) -> bytes:
        """Return bytes that are equal for points on the same piece."""
        ...

    def difference(self, first: float, second: float) -> str:
        """Name a choice that the function makes differently at two points; empty if there is none."""
        ...


class Line:
    """A function of one variable around `origin`, remembered point by point.

    `scale` is the size of the quantity that moves: |x| for a coordinate, a typical |x_i| for a direction
    (whose origin is 0). It sets the first step and the smallest step worth taking.
    """

    def __init__(
        self,
        function: Callable[[float], float],
        origin: float,
        scale: float,
        trace: Trace | None = None,
    ) -> None:
        self.origin = origin
        self.scale = scale
        self.trace = trace
        self._function = function
        self._values: dict[float, float] = {}
        self._pieces: dict[float, bytes] = {}
        with np.errstate(all="ignore"):
            self.value = float(function(origin))
        self._values[origin] = self.value

    def __call__(self, t: float) -> float:
        """Value at `t`; nan where the function has none."""
        known = self._values.get(t)
        if known is None:
            try:
                with np.errstate(all="ignore"):
                    result = self._function(t)
                known = math.nan if isinstance(result, complex) else float(result)  # (-1) ** 0.5 in Python
            except NO_VALUE:
                known = math.nan
            self._values[t] = known
        return known

    def piece(self, t: float) -> bytes:
        """Which smooth piece `t` lies on; without a trace they are all one."""
        if self.trace is None:
            return b""
        if t not in self._pieces:
            try:
                self._pieces[t] = self.trace.piece(t)
            except NO_VALUE:
                self._pieces[t] = b"undefined"
        return self._pieces[t]

    def beside(self, side: int) -> bytes:
        """Return the piece that begins to one side of the origin."""
        return self.piece(self.origin + side * ladders(self.scale)[-1][-1])

    def leaves(self, t: float) -> bool:
        """Whether `t` lies beyond the piece that begins on its side of the origin."""
        return self.trace is not None and self.piece(t) != self.beside(1 if t > self.origin else -1)

    @property
    def is_seam(self) -> bool:
        """Whether two pieces meet at the origin."""
        return self.trace is not None and self.beside(-1) != self.beside(1)

    def end(self, side: int) -> tuple[float, str]:
        """Return how far the piece to one side reaches, and the choice that ends it; infinity if none was seen."""
        if self.trace is None:
            return math.inf, ""
        inside = self.origin + side * ladders(self.scale)[-1][-1]
        for t in sorted((t for t in self._pieces if (t - inside) * side > 0), key=lambda t: t * side):
            if self.leaves(t):
                inside, outside = self._bisected(inside, t)
                return abs(outside - self.origin), self.trace.difference(inside, outside)
            inside = t
        return math.inf, ""

    def seam(self) -> str:
        """Name the choice that differs to the two sides of the origin; empty if none does."""
        if self.trace is None or not self.is_seam:
            return ""
        step = ladders(self.scale)[-1][-1]
        return self.trace.difference(self.origin - step, self.origin + step)

    def _bisected(self, inside: float, outside: float) -> tuple[float, float]:
        for _ in range(24):
            middle = inside + (outside - inside) / 2
            if middle in (inside, outside):
                break
            inside, outside = (inside, middle) if self.leaves(middle) else (middle, outside)
        return inside, outside

    def size(self) -> float:
        """Largest finite |value| seen."""
        return max((abs(v) for v in self._values.values() if math.isfinite(v)), default=0.0)


class Candidate(NamedTuple):
    """One entry of a tableau: what it says, and the largest and smallest step behind it."""

    value: float
    bound: float
    coarsest: float
    finest: float


def first_step(scale: float) -> float:
    """Return the first step of the main ladder."""
    return min(0.25 * scale, 0.5) if scale > 1e-2 else 0.125


def ladders(scale: float, *, quick: bool = False) -> list[list[float]]:
    """Sequences of halving steps; the last one goes closest to the point.

    Where |x| is far from 1 a ladder starts at |x|/4, so that `log` at 1e-20 and at 1e12 are both met at their
    own scale.
    """
    start = first_step(scale)
    if quick:
        return [[start / 2.0**k for k in range(QUICK_ROWS)]]
    bottom = 64 * EPS * scale
    near = [(0.25 * scale, bottom)] if 0.0 < scale <= 1e-2 else []
    main = (0.25 * scale, bottom) if scale > 2.0 else (start, max(bottom, 1e-13 * start))
    return [[h for k in range(FULL_ROWS) if (h := s / 2.0**k) > least] for s, least in (main, *near)]


def table_noise(line: Line, spacing: float, points: int, *, robust: bool) -> float | None:
    """Level of the rounding noise from a difference table (ECnoise: Moré and Wild 2011), or None.

    `robust` takes medians, which one kink inside the table cannot move, in place of mean squares.
    """
    for first in (-(points // 2), 0, 1 - points):
        d = np.array([line(line.origin + (first + i) * spacing) for i in range(points)])
        if np.isfinite(d).all():
            break
        if 0 < 1e-11 * line.scale < spacing:  # `log` at 1e-20: rather look closer than to one side
            return table_noise(line, 1e-11 * line.scale, points, robust=robust)
    else:
        return None
    return min(_levels(d, robust=robust)[:3])


def _levels(d: np.ndarray, *, robust: bool) -> list[float]:
    """Noise levels that the differences of order 4 to 8 of equally spaced values suggest."""
    size = float(np.max(np.abs(d))) or 1.0
    d = d / size
    levels: list[float] = []
    with np.errstate(all="ignore"):
        for k in range(1, min(9, d.size)):
            d = np.diff(d)
            weight = math.sqrt(math.factorial(k) ** 2 / math.factorial(2 * k))
            spread = np.median(np.abs(d)) / 0.6745 if robust else np.sqrt(np.mean(d * d))
            levels.append(weight * float(spread) * size)
    return levels[3:]


def staircase_noise(line: Line) -> float:
    """Rounding noise that only shows from afar; 0 if none does.

    `log(1 + x*x)` near 0 is flat between the steps that rounding `1 + x*x` makes: every fine table says that
    it has no noise.  Noise is told from curvature by its levels: equal for differences of orders that follow
    each other, and at spacings that do (those of a smooth function shrink with both).  It is told from
    features too narrow for the spacing by being tiny, or by the steps themselves being seen from closer.
    """
    units = {first_step(line.scale), 0.25 * line.scale or first_step(0.0)}
    found = 0.0
    for unit in units:
        tables = [_table(line, unit / 4.0**k) for k in range(2, 18)]
        levels = [_plain_noise(table) for table in tables]
        for at, (far, near) in enumerate(pairwise(levels)):
            level = max(far, near)
            if not _is_same_noise(far, near) or level > MOST_ROUNDING * line.size():
                continue
            if level <= ROUNDING * line.size() or _has_steps(tables[at + 1 :], level):
                found = max(found, level)
    return found


def _table(line: Line, spacing: float) -> np.ndarray:
    return np.array([line(line.origin + i * spacing) for i in range(-8, 9)])


def _plain_noise(values: np.ndarray) -> float:
    """Noise in one table, 0 where its differences do not look like noise."""
    if not np.isfinite(values).all():
        return 0.0
    levels = _levels(values, robust=True)
    return next((high for low, high in pairwise(levels) if _is_same_noise(low, high)), 0.0)


def _is_same_noise(first: float, second: float) -> bool:
    return 0 < max(first, second) <= SAME_NOISE * min(first, second)


def _has_steps(tables: list[np.ndarray], height: float) -> bool:
    """Whether some table shows neighbours that are equal, and no change much smaller than `height`."""
    for values in tables:
        changes = np.abs(np.diff(values))
        if (changes == 0).any() and (changes > 0).any():
            return bool(np.min(changes[changes > 0]) >= height / 8)
    return False


def noise_level(line: Line, *, thorough: bool = False) -> float:
    """Twice the noise of `line` near its origin, never below half an ulp of its value.

    A function that rounds an intermediate result coarsely, `(1e8 + x) - 1e8`, is a staircase: flat over the
    finest table. The thorough estimate also looks from further away.
    """
    fine = table_noise(line, 1e-11 * max(line.scale, 1e-3), 9, robust=False)
    levels = [EPS * abs(line.value) / 2, 4 * EPS * abs(line.value) if fine is None else fine]
    if thorough:
        for relative in (1e-9, 2.3e-8, 1.6e-7):
            level = table_noise(line, relative * min(line.scale or 1e-3, 1.0), 17, robust=True)
            levels.append(level or 0.0)
    return 2 * max(levels)


class _Tableau:
    """A Richardson tableau that keeps its last rows, and the candidates it has produced."""

    def __init__(self, power: int) -> None:
        self.power = power
        self.values: list[list[float]] = []
        self.weights: list[list[float]] = []
        self.found: list[Candidate] = []

    def restart(self) -> None:
        self.values, self.weights = [], []

    def push(self, slope: float, roundoff: float, step: float) -> None:
        row, rounding = [slope], [roundoff]
        for j in range(1, min(len(self.values), WINDOW - 1) + 1):
            c = 2.0 ** (self.power * j)
            above = self.values[-1][j - 1]
            row.append(row[-1] + (row[-1] - above) / (c - 1))
            rounding.append((c * rounding[-1] + self.weights[-1][j - 1]) / (c - 1))
            if j >= 2:
                truncation = max(abs(row[j] - row[j - 1]), abs(row[j] - above))
                self._add(row[j], CAUTION * truncation + rounding[j], step * 2.0**j, step)
        if len(self.values) >= 3:
            self._shanks(slope, roundoff, step)
        self.values.append(row)
        self.weights.append(rounding)

    def _shanks(self, slope: float, roundoff: float, step: float) -> None:
        """Aitken's extrapolation, for a fractional leading power such as x**1.5 at 0."""
        d0, d1, d2, d3 = (self.values[-3][0], self.values[-2][0], self.values[-1][0], slope)
        q2, q1 = (d3 - d2) - (d2 - d1), (d2 - d1) - (d1 - d0)
        if q1 and q2 and abs(d3 - d2) > 10 * roundoff:
            now, before = d3 - (d3 - d2) / q2 * (d3 - d2), d2 - (d2 - d1) / q1 * (d2 - d1)
            bound = 3 * abs(now - before) + roundoff * (1 + 4 * abs((d3 - d2) / q2))
            self._add(now, bound, step * 8, step)

    def _add(self, value: float, bound: float, coarsest: float, finest: float) -> None:
        if math.isfinite(value) and math.isfinite(bound):
            self.found.append(Candidate(value, bound, coarsest, finest))


def candidates(
    line: Line, side: int, noise: float, steps: list[float], *, traced: bool = True
) -> list[Candidate]:
    """Every extrapolated difference along one ladder. `side`: 0 centred, +1 and -1 one-sided.

    With `traced`, steps that leave the smooth piece beside the origin are left out.
    """
    tableau = _Tableau(power=1 if side else 2)
    x = line.origin
    for h in steps:
        high = x + (side or 1) * h
        low = x if side else x - h
        width = high - low  # the step actually represented, not the one asked for
        a, b = line(high), line(low)
        usable = width and math.isfinite(a) and math.isfinite(b) and math.isfinite(width)
        if not usable or (traced and (line.leaves(high) or (low != x and line.leaves(low)))):
            tableau.restart()
            continue
        roundoff = 2 * max(noise, EPS * max(abs(a), abs(b))) / abs(width)
        tableau.push((a - b) / width, roundoff, h)
    return tableau.found


def choose(found: list[Candidate]) -> Estimate:
    """Take the tightest candidate that overlaps every candidate obtained entirely from smaller steps."""
    ranked = sorted(found, key=lambda c: c.bound)
    for best in ranked:
        reach = best.finest * 1.01
        if all(
            abs(best.value - other.value) <= best.bound + other.bound
            for other in ranked
            if other.coarsest <= reach
        ):
            return Estimate(best.value, best.bound)
    return Estimate(ranked[0].value if ranked else math.nan, math.inf)


def estimate(line: Line, side: int, noise: float, *, quick: bool = False) -> Estimate:
    """Estimate the derivative of `line` at its origin and a bound on its error."""
    found: list[Candidate] = []
    for steps in ladders(line.scale, quick=quick):
        found += candidates(line, side, noise, steps, traced=not quick)
    return choose(found)
