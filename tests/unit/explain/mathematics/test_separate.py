"""What operands contribute: it adds up to the cotangents that the compiler derives."""

import numpy as np
import pytest
from tests.unit.explain.mathematics.samples import SAMPLES, sample

from gradc.autodiff.vjp import gradient_with_cotangents
from gradc.explain.mathematics.separate import contributions, floats, operands_of
from gradc.ir.index.evaluate import Interpreter


@pytest.mark.parametrize("name", SAMPLES)
def test_contributions_add_up_to_the_cotangent(name: str):
    program, inputs = sample(name)
    wrt = floats(program)
    derived, cotangents = gradient_with_cotangents(program, wrt)
    wanted = Interpreter().run(derived, inputs)
    sums: dict[str, np.ndarray] = {}
    for (number, position), value in contributions(program, inputs).items():
        tensor = dict(operands_of(program.equations[number]))[position]
        assert np.shape(value) == np.shape(wanted[tensor])
        sums[tensor] = sums.get(tensor, 0) + value
    reached = {tensor for tensor in cotangents if tensor in program.types} - {program.outputs[0]}
    assert set(sums) == reached
    for tensor, total in sums.items():
        np.testing.assert_allclose(total, wanted[cotangents[tensor]], rtol=1e-12, atol=1e-14)
        assert np.isfinite(total).all()


def test_the_operands_of_a_square_count_apart():
    program, inputs = sample("twice")
    found = contributions(program, inputs)
    readers = [
        number for number, equation in enumerate(program.equations) if len(list(operands_of(equation))) == 2
    ]
    assert found[readers[0], 0] == found[readers[0], 1] == 3.0


def test_only_what_varies_has_a_contribution():
    program, inputs = sample("circuit")
    found = contributions(program, inputs, ("z",))
    assert {reader: float(value) for reader, value in found.items()} == {(1, 1): 3.0}
