"""Six activation functions written in NumPy, and their derivatives beside the formulas of the lecture."""

import numpy as np

from gradc import differentiate


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def tanh(x):
    return np.tanh(x)


def relu(x):
    return np.maximum(0, x)


def leaky_relu(x):
    return np.maximum(0.1 * x, x)


def elu(x):
    return np.where(x >= 0, x, np.exp(x) - 1)


@differentiate
def maxout(w1, b1, w2, b2, x):
    return np.maximum(w1 @ x + b1, w2 @ x + b2)


DERIVATIVES = {
    sigmoid: lambda x: sigmoid(x) * (1 - sigmoid(x)),
    tanh: lambda x: 1 - np.tanh(x) ** 2,
    relu: lambda x: (x > 0) * 1.0,
    leaky_relu: lambda x: np.where(x > 0, 1.0, 0.1),
    elu: lambda x: np.where(x >= 0, 1.0, np.exp(x)),
}


def main() -> None:
    points = np.array([-800.0, -3.0, -0.5, 0.25, 2.0, 800.0])
    print(f"{'':12}" + "".join(f"{x:>10}" for x in points))
    for function, by_hand in DERIVATIVES.items():
        _, pullback = differentiate(function).vjp(points)
        derivative = pullback(np.ones_like(points))
        print(f"{function.__name__:12}" + "".join(f"{d:10.4f}" for d in derivative))
        with np.errstate(over="ignore"):
            assert np.allclose(derivative, by_hand(points), rtol=1e-13)

    # A maxout unit passes the gradient to the piece that won.
    rng = np.random.default_rng(5)
    w1, w2 = rng.standard_normal((2, 4, 3))
    b1, b2 = rng.standard_normal((2, 4))
    x = rng.standard_normal(3)
    value, pullback = maxout.vjp(w1, b1, w2, b2, x)
    dw1, db1, dw2, db2, dx = pullback(np.ones(4))
    first = (w1 @ x + b1 > w2 @ x + b2) * 1.0
    print("maxout: the first piece won in units", np.flatnonzero(first))
    assert np.array_equal(db1, first)
    assert np.array_equal(db2, 1 - first)
    assert np.allclose(dw1, np.outer(first, x))
    assert np.allclose(dw2, np.outer(1 - first, x))
    assert np.allclose(dx, first @ w1 + (1 - first) @ w2)
    assert value.shape == (4,)


if __name__ == "__main__":
    main()
