"""What weights add to the loss: values, gradients, dtypes."""

import math
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import ArgumentError
from gradc.nn.regularisers import L1, L2, Elastic

WEIGHT = np.array([[3.0, -4.0, 0.0], [0.5, -0.25, 2.0]])
ABSOLUTE, SQUARES = 9.75, 29.3125  # sums, by hand
NOTHING: Any = None
ROWS = [
    (L1(0.1), 0.1 * ABSOLUTE, 0.1 * np.sign(WEIGHT)),
    (L2(0.1), 0.05 * SQUARES, 0.1 * WEIGHT),
    (Elastic(0.2, 0.3), 0.2 * ABSOLUTE + 0.15 * SQUARES, 0.2 * np.sign(WEIGHT) + 0.3 * WEIGHT),
    (Elastic(l1=0.2, l2=0.0), 0.2 * ABSOLUTE, 0.2 * np.sign(WEIGHT)),
    (L2(0.0), 0.0, 0.0 * WEIGHT),
]


@pytest.mark.parametrize(("regulariser", "penalty", "gradient"), ROWS, ids=[repr(row[0]) for row in ROWS])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_penalty_and_gradient_are_the_formula_in_the_dtype_of_the_weight(
    regulariser: Any, penalty: float, gradient: np.ndarray, dtype: Any
):
    weight = WEIGHT.astype(dtype)
    tolerance = 4 * float(np.finfo(dtype).eps)
    plain = regulariser.penalty(weight)
    assert plain == pytest.approx(penalty, rel=tolerance)
    assert plain.dtype == dtype
    traced = gradc.differentiate(regulariser.penalty).with_options(target="interpret")
    value, found = traced.value_and_grad(weight)
    assert value == pytest.approx(penalty, rel=tolerance)
    assert value.dtype == found.dtype == dtype
    np.testing.assert_allclose(found, gradient, rtol=tolerance, atol=0)  # 0 where a weight is 0


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: L1(-0.1), "L1.strength is -0.1"),
        (lambda: L2(math.nan), "L2.strength is nan"),
        (lambda: L2(NOTHING), "L2.strength is None"),
        (lambda: Elastic(0.1, math.inf), "Elastic.l2 is inf"),
        (lambda: Elastic(-1, 0.1), "Elastic.l1 is -1"),
    ],
)
def test_bad_strengths_are_refused_at_construction(make: Any, what: str):
    with pytest.raises(ArgumentError) as refused:
        make()
    assert refused.value.what == what
    assert refused.value.do == "give a finite number of at least 0"
