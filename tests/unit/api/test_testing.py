"""The assertion for users' own test suites."""

import numpy as np
import pytest

import gradc
from gradc import differentiate
from gradc.testing import assert_gradient
from gradc_runtime.gradcheck import GradientCheckError, Verdict


@gradc.custom_gradient
def twice(x):
    return 2 * x, lambda bar: bar * 3


def test_right_gradients_of_both_orders_pass():
    x = np.array([0.3, -1.2])
    assert assert_gradient(lambda x: np.sum(np.tanh(x)), x).verdict is Verdict.PASS
    function = differentiate(lambda x, y: np.sum(np.exp(x) * y), wrt="x", target="interpret")
    assert assert_gradient(function, x, y=np.ones(2), order=2).verdict is Verdict.PASS


def test_a_wrong_one_is_an_assertion_error_with_the_gate():
    function = differentiate(lambda x: np.sum(twice(x)), target="interpret")
    with pytest.raises(GradientCheckError, match=r"return 2 \* x, lambda bar: bar \* 3"):
        assert_gradient(function, np.array([0.3, -1.2]))
    with pytest.raises(AssertionError):
        assert_gradient(function, np.array([0.3, -1.2]))
