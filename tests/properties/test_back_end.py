"""Random programs through passes, scheduling, lowering and printing: nothing changes what they compute."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from tests.properties.exact_programs import program
from tests.properties.pipeline import check_back_end, same_numbers, within
from tests.properties.random_programs import Case, cases

from gradc.autodiff.vjp import vjp
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Program
from gradc.ir.index.verify import verify
from gradc.passes.equations.accumulators import wide_accumulators
from gradc.passes.equations.gather import gather
from gradc.passes.equations.simplify import dead_code, simplify

PASSES = {
    "gather": gather,
    "simplify": simplify,
    "dead code": dead_code,
    "all": lambda p: simplify(gather(p)),
    "wide": lambda p: wide_accumulators(simplify(gather(p))),
}
EXACT = ("simplify", "dead code")
SEEDS = [*range(60), *(pytest.param(seed, marks=pytest.mark.full) for seed in range(60, 2000))]


@pytest.mark.parametrize("seed", SEEDS)
def test_exact_programs(seed: int):
    """Every pass keeps every number, exact ones the sign of zero too, and every stage after it agrees."""
    original, inputs = program(seed)
    expected = evaluate(original, inputs)
    check_back_end(original, inputs)
    for name, apply in PASSES.items():
        changed = verify(apply(original))
        for out, one, two in zip(original.outputs, evaluate(changed, inputs), expected, strict=True):
            same_numbers(one, two, f"{out} after {name}")
            if name in EXACT:
                assert np.asarray(one).tobytes() == np.asarray(two).tobytes(), f"{out} after {name}"
        check_back_end(changed, inputs)


def both_ways(case: Case) -> list[tuple[Program, dict[str, np.ndarray]]]:
    """The program and its pullback, with inputs."""
    adjoint = vjp(case.program, case.wrt)
    seeds = tuple(name for name in adjoint.inputs if name not in case.inputs)
    values = dict(zip(seeds, case.values(adjoint, seeds), strict=True))
    return [(case.program, case.inputs), (adjoint, {**case.inputs, **values})]


@settings(max_examples=40, suppress_health_check=(HealthCheck.too_slow,))
@given(cases())
def test_programs_and_their_pullbacks(case: Case):
    """Sums may be reordered, so numbers agree up to rounding."""
    for one, inputs in both_ways(case):
        check_back_end(one, inputs, within(1e-9))
        check_back_end(verify(simplify(gather(one))), inputs, within(1e-9))
