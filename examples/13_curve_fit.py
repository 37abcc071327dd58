"""SciPy's optimisers take gradc's derivatives as they stand.

A curve fit with ``jac=f.jacobian``, and Rosenbrock with ``jac=True`` and with Hessian-vector products.
"""

import numpy as np
from scipy.optimize import least_squares, minimize

from gradc import differentiate


@differentiate(wrt="p")
def residuals(p, t, y):
    return p[0] * np.exp(-p[1] * t) * np.cos(p[2] * t) - y


@differentiate
def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def main() -> None:
    rng = np.random.default_rng(7)
    truth = np.array([2.0, 0.4, 3.0])
    t = np.linspace(0, 5, 60)
    y = truth[0] * np.exp(-truth[1] * t) * np.cos(truth[2] * t) + 0.01 * rng.standard_normal(60)

    start = np.array([1.0, 1.0, 2.8])
    fit = least_squares(residuals, start, jac=residuals.jacobian, args=(t, y))
    print("damped oscillation: p =", fit.x.round(3), "after", fit.nfev, "evaluations")
    assert fit.success
    assert np.allclose(fit.x, truth, atol=0.02)
    assert residuals.jacobian(start, t, y).shape == (60, 3)

    found = minimize(rosenbrock.value_and_grad, np.zeros(10), jac=True, method="L-BFGS-B")
    print(f"Rosenbrock in 10 dimensions: value {found.fun:.1e} after {found.nfev} evaluations")
    assert np.allclose(found.x, 1, atol=1e-4)

    found = minimize(
        rosenbrock, np.zeros(10), jac=rosenbrock.grad, hessp=rosenbrock.hessp, method="trust-ncg"
    )
    print(f"  with Hessian-vector products: {found.nit} iterations")
    assert np.allclose(found.x, 1, atol=1e-6)


if __name__ == "__main__":
    main()
