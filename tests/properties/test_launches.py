"""Random programs as launches: the interpreter runs them thread by thread, in any order, and finds no race."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from tests.properties.exact_programs import program
from tests.properties.pipeline import Compare, arguments_of, kernel_of, same_numbers, within
from tests.properties.random_programs import Case, cases

from gradc.autodiff.vjp import vjp
from gradc.codegen.numba_cuda import module_text
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Program
from gradc.ir.loop import evaluate as loops
from gradc.ir.loop.verify import verify
from gradc.passes.equations.accumulators import wide_accumulators
from gradc.passes.equations.gather import gather
from gradc.passes.equations.simplify import simplify
from gradc.passes.grids.launches import with_launches
from gradc.passes.loops.unroll import unroll

SEEDS = [*range(24), *(pytest.param(seed, marks=pytest.mark.full) for seed in range(24, 2000))]
WIDTHS = (1, 4)  # of the groups that share a row
LIMIT = 10**8


def check_launches(program: Program, inputs: dict, compare: Compare, order: int = 0) -> None:
    """The launches of a program compute what it does, alone and in groups, and can be printed."""
    kernel, arguments = kernel_of(program), arguments_of(program, inputs)
    expected = evaluate(program, inputs)
    given_ = dict(zip(program.inputs, arguments, strict=True))
    for before in (kernel, unroll(kernel)):
        launched = verify(with_launches(before))
        compile(module_text(launched), "<kernel>", "exec")
        for width in WIDTHS:
            found = loops.evaluate(launched, given_, limit=LIMIT, width=width, order=order)
            for name, one, two in zip(program.outputs, expected, found, strict=True):
                shaped = np.asarray(two).reshape(np.shape(one))  # a number is an array of one element
                compare(shaped, one, f"{name} of {program.name} in groups of {width}")


@pytest.mark.parametrize("seed", SEEDS)
def test_exact_programs(seed: int):
    """Every number is the same: sums of exact numbers do not depend on their order."""
    original, inputs = program(seed)
    check_launches(original, inputs, same_numbers, order=seed)
    check_launches(wide_accumulators(simplify(gather(original))), inputs, same_numbers, order=seed)


@settings(max_examples=5, suppress_health_check=(HealthCheck.too_slow,), deadline=None)
@given(cases())
def test_programs_and_their_pullbacks(case: Case):
    """Sums may be reordered, so numbers agree up to rounding."""
    adjoint = vjp(case.program, case.wrt)
    seeds = tuple(name for name in adjoint.inputs if name not in case.inputs)
    values = dict(zip(seeds, case.values(adjoint, seeds), strict=True))
    check_launches(case.program, case.inputs, within(1e-9))
    check_launches(simplify(gather(adjoint)), {**case.inputs, **values}, within(1e-9))
