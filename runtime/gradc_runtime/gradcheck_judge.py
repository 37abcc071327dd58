"""The verdict on one claimed derivative: what the function does at the point, and whether the claim fits.

A quick look (33 evaluations) can only say PASS. Whatever it cannot pass gets the thorough look: all steps,
noise seen from further away, one-sided slopes, kinks, edges, jumps and infinite slopes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from gradc_runtime.gradcheck_estimate import (
    EPS,
    QUICK_ROWS,
    Estimate,
    Line,
    estimate,
    first_step,
    ladders,
    noise_level,
    staircase_noise,
)
from gradc_runtime.gradcheck_report import Verdict

RESOLUTION = 1e-3  # a bound above this share of the derivative can refute a claim but never support it
QUICK_RESOLUTION = 1e-8  # a wider bound than this is worth the thorough look
RUN = 10  # how many steps a trend must hold before it counts as the behaviour at the point


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and the numbers behind it."""

    numeric: float
    bound: float
    verdict: Verdict
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Side:
    """The slope to one side; `kind` is finite, unresolved, undefined, infinite or jump."""

    kind: str
    value: float = math.nan
    bound: float = math.inf


def judge(line: Line, claim: float, slack: float) -> Judgement:
    """Judge `claim` as the derivative of `line` at its origin; `slack` is the rounding allowed to it."""
    slack = slack if math.isfinite(claim) else 0.0  # a share of infinity would allow everything
    if not math.isfinite(line.value):
        return Judgement(math.nan, math.inf, Verdict.UNDEFINED, f"f(x) = {line.value}")
    quick = quick_look(line)
    sharp = quick.bound <= QUICK_RESOLUTION * abs(quick.value) or _is_zero(line, quick, claim, slack)
    if sharp and is_supported(line, quick, claim, slack):
        return _agreement(quick)
    found = _thorough(line, claim, slack, quick)
    if math.isnan(claim):
        return Judgement(found.numeric, found.bound, Verdict.WRONG, "the gradient is nan where f is finite")
    return found


def quick_look(line: Line) -> Estimate:
    """Centred differences over a short ladder; no bound where the point looks like a kink."""
    noise = noise_level(line)
    found = estimate(line, 0, noise, quick=True)
    # |x| at 0: every centred difference is 0. The second difference over h tells: it halves with h when f is
    # smooth and stays when the slope jumps. It costs nothing, all its points are known.
    start = first_step(line.scale)
    bends = [_bend(line, start / 2.0 ** (QUICK_ROWS - k)) for k in (2, 1)]
    visible = 8 * noise / (start / 2.0 ** (QUICK_ROWS - 1))
    if not abs(bends[1]) <= max(visible, 0.6 * abs(bends[0])):
        return Estimate(found.value, math.inf)
    return found


def rough_slope(line: Line) -> float:
    """Three centred differences, extrapolated: six evaluations and no bound, to find places and not to judge."""
    h, x = first_step(line.scale) / 8, line.origin
    coarse, middle, fine = ((line(x + s) - line(x - s)) / (2 * s) for s in (h, h / 2, h / 4))
    first, second = middle + (middle - coarse) / 3, fine + (fine - middle) / 3
    return second + (second - first) / 15


def is_refuted(found: Estimate, claim: float, slack: float) -> bool:
    """Whether a bounded estimate contradicts the claim."""
    return math.isfinite(found.bound) and not abs(claim - found.value) <= 2 * found.bound + slack


def is_supported(line: Line, found: Estimate, claim: float, slack: float) -> bool:
    """Whether the claim lies inside the bound, and the bound is small enough to mean something."""
    if not abs(claim - found.value) <= 2 * found.bound + slack or math.isinf(found.bound):
        return False
    # What is allowed for rounding is the resolution of the claim: a bound far below it says all there is to say.
    resolved = found.bound <= RESOLUTION * max(abs(found.value), slack)
    if resolved or _is_zero(line, found, claim, slack):
        return True
    # Beside the kink of an inactive ReLU only short steps are left, which make the bound wide: but f is flat.
    return claim == found.value == 0.0 and found.bound <= 1e-6 * _visible(line) / EPS


def slope(line: Line, side: int) -> Estimate:
    """Estimate a derivative; the bound is infinite at a kink, a jump, or an edge seen from both sides."""
    noise = max(noise_level(line, thorough=True), 2 * staircase_noise(line))
    if side:
        found = _side(line, side, noise)
        return Estimate(found.value, found.bound if found.kind == "finite" else math.inf)
    left, right = _side(line, -1, noise), _side(line, 1, noise)
    centre = estimate(line, 0, noise)
    smooth = {left.kind, right.kind} <= {"finite", "unresolved"} and not _is_kink(line, left, right, noise)
    return centre if smooth else Estimate(centre.value, math.inf)


def _bend(line: Line, h: float) -> float:
    x = line.origin
    return (line(x + h) - line.value - (line.value - line(x - h))) / h


def _is_zero(line: Line, found: Estimate, claim: float, slack: float) -> bool:
    """Whether slope and claim both vanish, and the bound is mere rounding of the size of f.

    A relative bound means nothing for a derivative of 0. What changes f by less than its own rounding when x
    moves by its own size is 0 for this purpose; a larger claim must be confirmed in its digits.
    """
    ulp = _visible(line)
    return abs(found.value) <= found.bound <= 64 * ulp and abs(claim) <= max(4 * ulp, slack)


def _visible(line: Line) -> float:
    """Return the slope that changes f by its rounding when x moves by its own size."""
    return EPS * line.size() / max(line.scale, 4 * first_step(line.scale))


def _thorough(line: Line, claim: float, slack: float, quick: Estimate) -> Judgement:
    noise = noise_level(line, thorough=True)
    found = _placed(line, _classified(line, claim, slack, noise))
    if found.verdict in (Verdict.WRONG, Verdict.PASS) and not _is_seen_from_afar(found, quick):
        coarse = 2 * staircase_noise(line)
        if coarse > noise:
            noise, found = coarse, _placed(line, _classified(line, claim, slack, coarse))
    if found.verdict is Verdict.WRONG and _is_hidden(line, found, claim, noise):
        why = "f is constant, or mere noise, to its rounding here, and the claim says no more; try another point"
        return _inconclusive(Estimate(found.numeric, found.bound), why)
    return found


def _is_seen_from_afar(found: Judgement, quick: Estimate) -> bool:
    """Whether the long steps of the quick look found the same slope: then there is no staircase."""
    sharp = quick.bound <= RESOLUTION * abs(quick.value)
    return sharp and abs(found.numeric - quick.value) <= 2 * (quick.bound + found.bound)


def _placed(line: Line, found: Judgement) -> Judgement:
    """Add to a judgement which choice of f makes the kink, or ends the piece that was looked at."""
    if line.trace is None:
        return found
    if line.is_seam:
        return replace(found, detail=f"{found.detail}; at this point {line.seam()}" if found.detail else "")
    (distance, name), side = min((line.end(side), side) for side in (-1, 1))
    if not name:
        return found
    towards = "left" if side < 0 else "right"
    text = f"another piece of f begins {distance:.1e} to the {towards}: {name}"
    return replace(found, detail=f"{found.detail}; {text}" if found.detail else text)


def _is_hidden(line: Line, found: Judgement, claim: float, noise: float) -> bool:
    """Whether the values of f cannot tell the claim from the slope found.

    Where `log(1 + exp(x))` is rounded to 0, a slope that changes f by less than its rounding from further
    away is beyond refutation; so is any slope where f is nothing but noise.
    """
    reach = 4 * max(line.scale, first_step(line.scale))
    further = [abs(v) for t in (-reach, reach) if math.isfinite(v := line(line.origin + t))]
    size = max(line.size(), *further, 0.0)
    return (found.numeric == 0 and abs(claim) * reach <= EPS * size) or noise > 0.05 * line.size()


def _classified(line: Line, claim: float, slack: float, noise: float) -> Judgement:
    left, right = _side(line, -1, noise), _side(line, 1, noise)
    kinds = {left.kind, right.kind}
    if "jump" in kinds:
        text = "f jumps at this point: |f(x+h) - f(x)| does not shrink"
        return Judgement(math.nan, math.inf, Verdict.JUMP, text)
    if kinds == {"undefined"}:
        return _inconclusive(
            Estimate(math.nan, math.inf), "f is finite at x and nowhere around it; check inside its domain"
        )
    if "infinite" in kinds:
        return _judge_infinite(line, left, right, claim)
    if "undefined" in kinds:
        return _judge_edge(line, right if left.kind == "undefined" else left, claim, slack)
    if _is_kink(line, left, right, noise):
        return _judge_kink(left, right, claim, slack)
    return _judge_smooth(line, [estimate(line, 0, noise), *_estimates(left, right)], claim, slack)


def _estimates(*sides: Side) -> list[Estimate]:
    return [Estimate(s.value, s.bound) for s in sides]


def _side(line: Line, side: int, noise: float) -> Side:
    steps = ladders(line.scale)[-1]
    x = line.origin
    if not any(math.isfinite(line(x + side * h)) for h in steps[-3:]):
        return Side("undefined")
    trend = _trend(line, side, steps[-RUN:])
    if trend is not None:
        return trend
    found = estimate(line, side, noise)
    return Side("finite" if math.isfinite(found.bound) else "unresolved", *found)


def _trend(line: Line, side: int, steps: list[float]) -> Side | None:
    """Slopes that grow to the last step, by increments that do not die out, have no finite limit.

    x**0.5 and x*log(x) at 0. Growth by 2 with every halving is a jump: the rise itself does not shrink.
    """
    x = line.origin
    rises = [line(x + side * h) - line.value for h in steps]
    visible = 1e3 * EPS * max(abs(line.value), 5e-324)
    if len(steps) < RUN or not all(math.isfinite(r) and abs(r) > visible for r in rises):
        return None
    slopes = [r / ((x + side * h) - x) for r, h in zip(rises, steps, strict=True)]
    growth = [b - a for a, b in pairwise(slopes)]
    upward = math.copysign(1.0, growth[-1])
    if any(g * upward <= 0 for g in growth) or slopes[-1] * upward <= 0:
        return None
    if any(abs(b) < 0.97 * abs(a) for a, b in pairwise(growth)):
        return None
    if abs(rises[-1]) > 0.99 * abs(rises[0]):
        return Side("jump", slopes[-1])
    return Side("infinite", math.copysign(math.inf, upward), abs(slopes[-1]))


def _is_kink(line: Line, left: Side, right: Side, noise: float) -> bool:
    """Whether the slopes differ beyond their bounds, and the second difference shows the same gap."""
    if not left.kind == right.kind == "finite":
        return False
    gap = right.value - left.value
    if not abs(gap) > 2 * (left.bound + right.bound):
        return False
    if line.is_seam:
        return True
    steps = [h for h in ladders(line.scale)[-1] if 4 * noise / h < 0.05 * abs(gap)]
    return bool(steps) and abs(median(_bend(line, h) for h in steps[-3:]) - gap) <= 0.1 * abs(gap)


def _judge_kink(left: Side, right: Side, claim: float, slack: float) -> Judgement:
    low, high = sorted((left, right), key=lambda s: s.value)
    near = min((left, right), key=lambda s: abs(claim - s.value))
    text = f"kink: slope {left.value:.6g} to the left, {right.value:.6g} to the right"
    inside = low.value - 2 * low.bound - slack <= claim <= high.value + 2 * high.bound + slack
    return Judgement(near.value, near.bound, Verdict.KINK_OK if inside else Verdict.KINK_WRONG, text)


def _judge_edge(line: Line, side: Side, claim: float, slack: float) -> Judgement:
    found = Estimate(side.value, side.bound)
    if is_refuted(found, claim, slack):
        return _wrong(found, claim, "edge: f is undefined to one side; ")
    if is_supported(line, found, claim, slack):
        return Judgement(*found, Verdict.EDGE, "f is undefined to one side; one-sided slope used")
    return _inconclusive(
        found, "f is undefined to one side and the other slope is not resolved; go further inside"
    )


def _judge_infinite(line: Line, left: Side, right: Side, claim: float) -> Judgement:
    infinite = [s for s in (left, right) if s.kind == "infinite"]
    value, reached = infinite[0].value, max(s.bound for s in infinite)
    text = f"the slope grows without limit, past {reached:.1e}"
    if "undefined" in (left.kind, right.kind) and claim == value:
        return Judgement(value, 0.0, Verdict.EDGE, text + "; f is undefined to one side")
    if len(infinite) == 2 and left.value == right.value and claim == value:
        return Judgement(value, 0.0, Verdict.PASS, text)
    if "undefined" not in (left.kind, right.kind) and left.value != right.value:
        ends = [s for s in (left, right) if s.kind == "finite" and abs(claim - s.value) <= 2 * s.bound]
        if claim == 0 or ends or claim in (left.value, right.value):
            return Judgement(
                value, 0.0, Verdict.KINK_OK, f"kink, {left.value:.6g} to {right.value:.6g}; {text}"
            )
        return Judgement(value, math.inf, Verdict.INFINITE, f"kink with an infinite side; {text}")
    if abs(claim) <= reached / 2 or claim == -value:
        return Judgement(value, 0.0, Verdict.WRONG, text + "; a convention must be stated by hand")
    return Judgement(value, math.inf, Verdict.INFINITE, f"{text}, no step small enough to refute this")


def _judge_smooth(line: Line, found: list[Estimate], claim: float, slack: float) -> Judgement:
    """`found`: centred, left, right. The sides speak when the centre cannot, and may veto a refusal."""
    one_piece = line.trace is not None and not line.is_seam
    best = min(found, key=lambda e: e.bound)
    centre = best if one_piece or math.isinf(found[0].bound) else found[0]
    if math.isinf(centre.bound):
        return _inconclusive(
            centre, "no estimate agrees with those from smaller steps; less noise in f would help"
        )
    if is_supported(line, centre, claim, slack):
        return _agreement(centre)
    if not is_refuted(centre, claim, slack):
        return _inconclusive(
            centre, "the bound is too wide: f is too noisy for its slope here; try another point"
        )
    vetoes = [
        e
        for e in found[1:]
        if is_supported(line, e, claim, slack) and is_refuted(e, centre.value, 2 * centre.bound)
    ]
    if vetoes:
        return _inconclusive(centre, f"a one-sided slope is {vetoes[0].value:.6g}; move away from this point")
    return _wrong(centre, claim, "")


def _agreement(found: Estimate) -> Judgement:
    zero = found.bound > RESOLUTION * abs(found.value)
    return Judgement(*found, Verdict.PASS, "zero to within the rounding of f" if zero else "")


def _wrong(found: Estimate, claim: float, prefix: str) -> Judgement:
    error = abs(claim - found.value)
    size = abs(found.value) or 5e-324
    text = f"{prefix}off by {error:.1e}"
    if error < 1e9 * size:
        text += f", {error / size:.1e} relative, {error / math.ulp(size):.1e} ulps"
    return Judgement(*found, Verdict.WRONG, text)


def _inconclusive(found: Estimate, why: str) -> Judgement:
    return Judgement(*found, Verdict.INCONCLUSIVE, why)
