"""For test suites: assert that a gradient is right.

from gradc.testing import assert_gradient

def test_loss():
assert_gradient(loss, weights, data)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradc.api.decorator import differentiate
from gradc.api.differentiated import Differentiated

if TYPE_CHECKING:
    from gradc_runtime.gradcheck import Report


def assert_gradient(
    function: Callable[..., Any], *args: Any, order: int = 1, probes: int = 3, seed: int = 0, **kwargs: Any
) -> Report:
    """Assert that the derivatives that gradc computes of a function are right at a point.

    Parameters
    ----------
    function : callable
        A differentiated function, or a plain one that is differentiated with respect to every floating-point
        argument.
    *args, **kwargs
        The point.
    order : {1, 2}
        The gradient, or the Hessian along a random direction.
    probes, seed : int
        Random directions for large arguments, and their seed.

    Returns
    -------
    Report
        For those who want to look at it; it is true.

    Raises
    ------
    GradientCheckError
        An AssertionError that shows what is wrong, the gate to blame included.

    Examples
    --------
    >>> import numpy as np
    >>> report = assert_gradient(lambda x: np.sum(np.sin(x)), np.array([0.3, 1.2]))
    >>> report.verdict
    <Verdict.PASS: 'PASS'>
    """
    differentiated = function if isinstance(function, Differentiated) else differentiate(function)
    report = differentiated.at(*args, **kwargs).check(order=order, probes=probes, seed=seed)
    report.assert_ok()
    return report
