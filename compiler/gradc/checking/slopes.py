"""The verdict on a claimed slope, given the slopes that the oracle measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.checking.blame import kinked_gate
from gradc.checking.oracle import Oracle
from gradc_runtime.gradcheck_report import Entry, Verdict

Array = Any
EPS = float(np.finfo(np.float64).eps)
CLOSE = 1e-6  # relative; only where no bound on the rounding is known, and the formula was found right
NONE = float("nan")


@dataclass(frozen=True, slots=True)
class Claim:
    """A slope of the tensor `output` along the oracle's direction, and a bound on its rounding (or infinity)."""

    label: str
    index: str
    output: str
    slope: float
    rounding: float

    @classmethod
    def along(
        cls, direction: Array, gradient: Array, error: Array, label: str, index: str, output: str
    ) -> Claim:
        """The claim that a gradient with these rounding errors makes along a direction."""
        with np.errstate(all="ignore"):  # a wrong gradient may be infinite
            terms = np.ravel(np.asarray(gradient, np.float64) * direction)
            rounding = float(np.sum(np.asarray(error) * np.abs(direction)))
            rounding += terms.size * EPS * float(np.sum(np.abs(terms)))
            return cls(label, index, output, float(np.sum(terms)), rounding)

    def entry(self, measured: float, bound: float, verdict: Verdict, detail: str) -> Entry:
        """The entry for the report."""
        return Entry(self.label, self.index, self.slope, measured, bound, verdict, detail)


def judged(oracle: Oracle, claim: Claim, formula: Callable[[], float]) -> Entry | None:
    """The verdict; None where the oracle measured no slope.  `formula` gives the claim without rounding."""
    if claim.output not in oracle.left:
        return None
    left, right = float(oracle.left[claim.output]), float(oracle.right[claim.output])
    if not (np.isfinite(left) and np.isfinite(right)):
        return None
    if oracle.is_smooth(claim.output):
        return _judged_smooth(float(oracle.tangent(claim.output)), claim, formula)
    gate = kinked_gate(oracle)
    if oracle.jumps(claim.output):
        return claim.entry(NONE, float("inf"), Verdict.JUMP, f"f jumps here; {gate}")
    low, high = sorted((left, right))
    inside = low - 2 * claim.rounding <= claim.slope <= high + 2 * claim.rounding
    detail = f"kink: slope {left:.6g} to one side, {right:.6g} to the other; {gate}"
    verdict = Verdict.KINK_OK if inside else Verdict.KINK_WRONG
    return claim.entry((left + right) / 2, abs(right - left) / 2, verdict, detail)


def _judged_smooth(measured: float, claim: Claim, formula: Callable[[], float]) -> Entry:
    """The oracle's slope is right to 30 digits: what is allowed is the rounding of the claim."""
    bound = 2 * claim.rounding + 4 * float(np.spacing(abs(measured)))
    off = abs(claim.slope - measured)
    if np.isnan(claim.slope):
        return claim.entry(measured, bound, Verdict.WRONG, "the gradient is nan where f has a slope")
    if np.isfinite(bound):
        verdict = Verdict.PASS if off <= bound else Verdict.WRONG
        return claim.entry(measured, bound, verdict, "50-digit differences along a random direction")
    exact = formula()
    bound = 4 * float(np.spacing(abs(measured)))
    if not abs(exact - measured) <= bound:
        detail = f"the rules give {exact:.10g} at 50 digits"
        return claim.entry(measured, bound, Verdict.WRONG, detail)
    verdict = Verdict.PASS if off <= CLOSE * abs(measured) else Verdict.INCONCLUSIVE
    detail = f"the rules are right at 50 digits; no bound on the rounding, which is {off:.1e}"
    return claim.entry(measured, CLOSE * abs(measured), verdict, detail)
