"""A two-layer network in three lines of NumPy; nobody writes its backward pass.

The annotations name the extents, so that the command can draw inputs by itself: try ``gradc check`` and
``gradc inspect --stage source`` on ``02_two_layer_network.py:loss``.
"""

import numpy as np

from gradc import differentiate, f64

# Linters take a string in an annotation for the name of a type; here it names an extent.
# ruff: noqa: F821
# pyright: reportUndefinedVariable=false, reportInvalidTypeForm=false


@differentiate(wrt=("w1", "b1", "w2", "b2"))
def loss(
    w1: f64["D", "H"],
    b1: f64["H"],
    w2: f64["H", "C"],
    b2: f64["C"],
    x: f64["N", "D"],
    y: f64["N", "C"],
):
    hidden = 1 / (1 + np.exp(-(x @ w1 + b1)))
    output = hidden @ w2 + b2
    return np.square(output - y).sum() / len(x)


def main() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, (200, 1))
    y = np.sin(x)
    parameters = (rng.standard_normal((1, 16)), np.zeros(16), 0.1 * rng.standard_normal((16, 1)), np.zeros(1))

    report = loss.check(*parameters, x[:10], y[:10])
    print(report)
    report.assert_ok()

    first = loss(*parameters, x, y)
    for step in range(2001):
        value, gradient = loss.value_and_grad(*parameters, x, y)
        for parameter, g in zip(parameters, gradient, strict=True):
            parameter -= 0.1 * g
        if step % 400 == 0:
            print(f"step {step:4}: mean squared error {value:.5f}")
    last = loss(*parameters, x, y)
    assert last < 0.05 < first


if __name__ == "__main__":
    main()
