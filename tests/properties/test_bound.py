"""Random programs: the exact result lies within the running error bound, and passes that round stay within it."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from tests.properties.bounds import assert_agree, assert_bounded, narrowed
from tests.properties.random_programs import STEPS, Case, cases, linear_algebra

from gradc import differentiate
from gradc.autodiff.vjp import vjp
from gradc.ir.index.nodes import Program
from gradc.ir.index.verify import verify
from gradc.passes.equations.accumulators import wide_accumulators
from gradc.passes.equations.gather import gather
from gradc.passes.equations.stabilise import stabilise

# mpmath has no library operations
EXACT = tuple(step for step in STEPS if step is not linear_algebra)


def both_ways(case: Case) -> list[tuple[Program, dict[str, np.ndarray]]]:
    adjoint = vjp(case.program, case.wrt)
    seeds = tuple(name for name in adjoint.inputs if name not in case.inputs)
    values = dict(zip(seeds, case.values(adjoint, seeds), strict=True))
    return [(case.program, case.inputs), (adjoint, {**case.inputs, **values})]


def some(count: int):
    return settings(max_examples=count, suppress_health_check=(HealthCheck.too_slow,))


def check_exact(case: Case) -> None:
    for program, inputs in both_ways(case):
        assert_bounded(program, inputs)
        assert_bounded(narrowed(program), inputs)


@some(40)
@given(cases(EXACT))
def test_exact_results_lie_within_the_bound(case: Case):
    check_exact(case)


@pytest.mark.full
@some(1500)
@given(cases(EXACT, length=10))
def test_exact_results_of_longer_programs_lie_within_the_bound(case: Case):
    check_exact(case)


def layer(w1: np.ndarray, w2: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    h = 1 / (1 + np.exp(-x @ w1))
    return np.square(h @ w2 - y).sum()


def cross_entropy(w1: np.ndarray, w2: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    scores = np.tanh(x @ w1) @ w2
    scores = scores - scores.max(axis=1, keepdims=True)
    return -(y * np.log(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True))).mean()


@pytest.mark.parametrize("loss", [layer, cross_entropy])
def test_bounds_of_reference_programs_are_no_larger_than_they_must(loss):
    rng = np.random.default_rng(11)
    arrays = [rng.normal(size=shape) for shape in ((4, 5), (5, 3), (6, 4), (6, 3))]
    program = differentiate(loss, wrt=("w1", "w2")).inspect(*arrays).stages.adjoint
    inputs = dict(zip(program.inputs, arrays, strict=True))
    assert np.median(assert_bounded(program, inputs)) < 1e-12
    assert np.median(assert_bounded(narrowed(program), inputs)) < 1e-12 * 2.0**29


@some(40)
@given(cases())
def test_passes_that_round_stay_within_the_bound(case: Case):
    for program, inputs in both_ways(case):
        for one in (program, narrowed(program)):
            assert_agree(one, verify(stabilise(one)[0]), inputs)
            assert_agree(one, verify(wide_accumulators(gather(one))), inputs)
