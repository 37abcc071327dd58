"""The checker against a catalogue: its bounds hold, right derivatives pass, faults of a millionth are caught."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
from tests.gradcheck.catalogue import CATALOGUE, STAIRCASES, Pair
from tests.gradcheck.kinks import KINKS, Scalar

from gradc_runtime.gradcheck import Verdict, check_gradient, derivative


@cache
def truth(pair: Pair) -> Any:
    return pair.truth


def verdict(f: Scalar, claim: float, x: float) -> Verdict:
    return check_gradient(f, [claim], [x]).verdict


def test_the_catalogues_are_wide():
    assert len(CATALOGUE) >= 300
    assert len({pair.text for pair in CATALOGUE}) >= 50
    assert len(KINKS) >= 100


@pytest.mark.parametrize("pair", [*CATALOGUE, *STAIRCASES], ids=str)
def test_the_bound_contains_the_error(pair: Pair):
    value, bound = derivative(pair.f, pair.x)
    assert abs(value - truth(pair)) <= bound
    assert bound <= 1e-4 * abs(truth(pair)), "a bound this wide says nothing"
    for side in (-1, 1):
        one_sided, its_bound = derivative(pair.f, pair.x, side=side)
        assert not math.isnan(one_sided)
        assert abs(one_sided - truth(pair)) <= its_bound


@pytest.mark.parametrize("pair", [*CATALOGUE, *STAIRCASES], ids=str)
def test_right_passes_and_wrong_does_not(pair: Pair):
    right = float(truth(pair))
    assert verdict(pair.f, right, pair.x) is Verdict.PASS
    for fault in (1e-2, 1e-3, 1e-4, -1e-4):
        assert verdict(pair.f, right * (1 + fault), pair.x) is Verdict.WRONG
    for claim in (0.0, -right, math.nan, math.inf):
        assert verdict(pair.f, claim, pair.x) is Verdict.WRONG


def test_faults_of_a_millionth_are_caught():
    missed = [
        pair for pair in CATALOGUE if check_gradient(pair.f, [float(truth(pair)) * (1 + 1e-6)], [pair.x])
    ]
    assert len(missed) <= 0.01 * len(CATALOGUE), missed


def test_right_gradients_are_cheap():
    evaluations = sorted(
        check_gradient(pair.f, [float(truth(pair))], [pair.x]).evaluations for pair in CATALOGUE
    )
    assert evaluations[len(evaluations) // 2] <= 40


@pytest.mark.parametrize(("f", "x", "claim", "expected"), KINKS)
def test_kinks_edges_and_jumps(f: Scalar, x: float, claim: float, expected: str):
    report = check_gradient(f, [claim], [x])
    assert report.verdict == expected, report
