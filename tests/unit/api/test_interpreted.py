"""The interpreter back end computes the same function as the compiled one, stabilised spellings included."""

import numpy as np
import pytest

from gradc import differentiate


def sigmoid_sum(x):
    return (1 / (1 + np.exp(-x))).sum()


@pytest.mark.parametrize("stabilise", [True, False])
def test_the_interpreter_stabilises_when_asked(stabilise: bool):
    function = differentiate(sigmoid_sum, target="interpret", stabilise=stabilise)
    gradient = function.grad(np.array([-800.0]))
    assert np.isfinite(gradient).all() == stabilise
