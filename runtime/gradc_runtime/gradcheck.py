"""Check a gradient against differences whose error is bounded by computation, not by a chosen tolerance.

A tolerance that suits one function hides faults in another: here every comparison carries a bound on the
error of its own numeric side, and a bound too wide to mean something is INCONCLUSIVE, never PASS.

Method: centred differences with Richardson extrapolation and propagated round-off, Shanks' transformation at
edges, difference-table noise (Moré and Wild, "Estimating computational noise", 2011). Of the estimates, the
tightest one that nothing from smaller steps contradicts is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gradc_runtime.gradcheck_arguments import Arguments, Flaw
from gradc_runtime.gradcheck_estimate import EPS, Line
from gradc_runtime.gradcheck_judge import Judgement, is_refuted, judge, quick_look, rough_slope, slope
from gradc_runtime.gradcheck_report import Entry, GradientCheckError, Report, Verdict
from gradc_runtime.gradcheck_trees import Flattened, children

__all__ = ["Entry", "GradientCheckError", "Report", "Verdict", "check_gradient", "derivative"]

BASE = 1024  # how many places one weighted direction tells apart
CULPRITS = 4  # elements named per failing direction; a fault in every element needs no longer list
REFUTED = frozenset({Verdict.WRONG, Verdict.KINK_WRONG})


def derivative(f: Callable[[float], float], x: float, *, side: int = 0) -> tuple[float, float]:
    """Differentiate a function of one float numerically, with a bound on the error.

    Parameters
    ----------
    f : callable
        A function of one float. Where it raises ArithmeticError or ValueError it counts as undefined.
    x : float
        The point.
    side : {0, 1, -1}
        Both sides, or the slope to the right or left only.

    Returns
    -------
    value, bound : float
        The derivative and a bound on its error. A bound of infinity means that the value is not to be
        trusted: a kink or jump, an infinite slope, noise, or f(x) not finite.

    Raises
    ------
    ValueError
        If `side` is not 0, 1 or -1.

    Notes
    -----
    The bound is computed from the function's values. It held at every point of a catalogue; for a function
    whose trouble lies between the points looked at, no bound from values can be a proof.

    Examples
    --------
    >>> import math
    >>> value, bound = derivative(math.sin, 1.0)
    >>> abs(value - math.cos(1.0)) <= bound < 1e-10
    True
    >>> derivative(abs, 0.0)
    (0.0, inf)
    """
    if side not in (0, 1, -1):
        raise ValueError(f"side is {side!r}; it must be 0 (both), 1 (right) or -1 (left)")
    x = float(x)
    line = Line(f, x, abs(x))
    if not np.isfinite(line.value) or not np.isfinite(x):
        return float("nan"), float("inf")
    value, bound = slope(line, side)
    return value, bound


def check_gradient(
    f: Callable[..., Any],
    gradient: Callable[..., Any] | Sequence[Any],
    arguments: Any,
    *,
    wrt: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    probes: int = 3,
    seed: int = 0,
    elements: int = 64,
    wide: Callable[..., Any] | None = None,
    trace: Callable[..., Mapping[str, Any]] | None = None,
) -> Report:
    """Check the gradient of a scalar function of arrays and floats.

    Up to `elements` elements, every element of an argument is checked by itself. A larger argument is checked
    along `probes` random directions, and at its first and last element; when a direction fails, the guilty
    elements are searched for by bisection and named. Shape and dtype of the gradient are compared with the
    argument's, the inputs must come back with the same bits, and a second call must give the same bits.

    Parameters
    ----------
    f : callable
        `f(*arguments)` returns a real scalar. An exception at the given arguments propagates;
        ArithmeticError and ValueError at displaced ones count as "undefined there".
    gradient : callable or sequence
        `gradient(*arguments)`, or its result: one array or float for each name of `wrt`, in that order. With
        a single name it may be the bare array.
    arguments : sequence, or one array
        The point: arrays, floats, and nested tuples, lists, dicts, namedtuples or dataclasses of them, whose
        gradients come in the same containers. It is copied and never written to.
    wrt : sequence of str, optional
        Arguments the gradient is taken to; by default all of floating dtype.
    names : sequence of str, optional
        Names of the arguments; by default `arg0`, `arg1`, ...
    probes : int
        Random directions for each large argument, ±Uniform(0.5, 1.5) in every element, seeded by
        `(seed, name, probe)`.
    seed : int
        Seed of the directions.
    elements : int
        Largest size of an argument that is checked element by element.
    wide : callable, optional
        The same function in float64, for arguments of a shorter float; it receives their float64 copies.
    trace : callable, optional
        The choices that f makes: `trace(*arguments)` returns a mapping from the name of each `if`, `max`,
        `abs`, ... to an array (or number) that is the same as long as f makes the same choice, such as
        `x > 0` or `np.argmax(x)`. Steps across a kink are then left out, and the report names the choice.

    Returns
    -------
    Report
        True only if every verdict is PASS, KINK-OK or EDGE.

    Raises
    ------
    TypeError
        If `f` does not return a real scalar, or an argument to differentiate is not a real float.
    ValueError
        If `names`, `wrt` or the number of gradients do not fit the arguments.

    Notes
    -----
    A function computed in float32 is never differenced: its rounding drowns its slope. For float32 arguments
    the differences are taken of `wide`, or without it of `f` called with float64 copies; if `f` is then seen
    to round to less than float64 the verdict is INCONCLUSIVE. A float32 gradient is allowed 72 of its eps,
    relative to the larger of the element and the argument's root mean square gradient; along a direction the
    allowance grows as the root of the number of elements.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([1.0, -2.0, 3.0])
    >>> report = check_gradient(lambda x: float(np.sum(x**3)), lambda x: [3 * x**2], [x], names=["x"])
    >>> bool(report)
    True
    >>> wrong = check_gradient(lambda x: float(np.sum(x**3)), [np.array([3.0, 12.0, 26.9])], [x], names=["x"])
    >>> [(entry.argument, entry.index, str(entry.verdict)) for entry in wrong.entries if entry.index == (2,)]
    [('x', (2,), 'WRONG')]
    """
    if not isinstance(arguments, tuple | list):
        arguments = [arguments]
    if any(children(argument) is not None for argument in arguments):
        flat = Flattened(arguments, names, wrt)
        return check_gradient(
            flat.function(f),
            _of_leaves(flat, gradient),
            flat.values,
            wrt=flat.wrt,
            names=flat.names,
            probes=probes,
            seed=seed,
            elements=elements,
            wide=None if wide is None else flat.function(wide),
            trace=None if trace is None else flat.function(trace),
        )
    point = Arguments(f, wide, arguments, names, wrt, trace)
    flaws, gradients = point.settle(gradient)
    entries = [_flawed(flaw) for flaw in flaws]
    if point.usable:
        for position, claim in gradients.items():
            entries += _ArgumentCheck(point, position, claim).run(probes, seed, elements)
        entries += [_flawed(flaw) for flaw in point.final_changes()]
    return Report(tuple(entries), point.evaluations, seed)


def _of_leaves(flat: Flattened, gradient: Callable[..., Any] | Sequence[Any]) -> Any:
    """Return the gradient with respect to leaves, from one with respect to containers."""
    if not callable(gradient):
        return flat.gradient(gradient)
    whole = flat.function(gradient)
    return lambda *given: flat.gradient(whole(*given))


def _flawed(flaw: Flaw) -> Entry:
    nan = float("nan")
    return Entry(flaw.argument, flaw.what, nan, nan, float("inf"), flaw.verdict, flaw.detail)


class _ArgumentCheck:
    """The comparisons for one argument."""

    def __init__(self, point: Arguments, position: int, claim: np.ndarray) -> None:
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

    def run(self, probes: int, seed: int, elements: int) -> list[Entry]:
        size = self.claim.size
        if size == 0:
            return [Entry(self.name, "empty", 0.0, 0.0, 0.0, Verdict.PASS, "no elements")]
        flaw = self.point.narrow(self.position)
        if flaw:
            return [_flawed(flaw)]
        if size <= elements:
            return [self.element(i) for i in range(size)]
        holes = ~np.isfinite(self.claim)
        shown = {0, size - 1, *np.flatnonzero(holes)[:CULPRITS].tolist()}
        for i in shown:
            self.element(i)
        directions: list[Entry] = []
        for probe in range(probes):
            v = self.point.direction(self.position, seed, probe)
            v[holes] = 0.0
            if v.any():
                directions.append(self.direction(v, probe))
        # The search also lands on innocent elements, which nobody asked about.
        shown.update(i for i, entry in self.judged.items() if entry.verdict in REFUTED)
        return [*directions, *(self.judged[i] for i in sorted(shown))]

    def element(self, i: int) -> Entry:
        """Judge one element, once."""
        if i not in self.judged:
            claim = float(self.claim[i])
            found = judge(
                self.point.coordinate(self.position, i), claim, self.slack(self.claim[i : i + 1], 1.0)
            )
            self.judged[i] = self.entry(self.place(i), claim, found)
        return self.judged[i]

    def direction(self, v: np.ndarray, probe: int) -> Entry:
        """Judge one direction; on failure find elements to blame."""
        claim, slack = self.slope_along(v)
        found = judge(self.point.along({self.position: v}), claim, slack)
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
        named = [i for i, e in self.judged.items() if e.verdict in REFUTED and rest[i]]
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
        shared = 8 * self.eps * float(np.sum(np.abs(terms)))
        if self.eps <= EPS:
            return shared
        return shared + 64 * self.eps * max(float(np.linalg.norm(terms)), self.typical * length)

    def place(self, i: int) -> tuple[int, ...]:
        return tuple(int(k) for k in np.unravel_index(i, self.shape)) if self.shape else ()

    def entry(self, place: tuple[int, ...] | str, claim: float, found: Judgement) -> Entry:
        return Entry(self.name, place, claim, found.numeric, found.bound, found.verdict, found.detail)
