"""`loss.kernel` is an ordinary Numba function: call it in your own compiled code.

A whole training loop becomes machine code with no Python in it.
"""

import numpy as np
from numba import njit

from gradc import differentiate


@differentiate(wrt=("w", "b"))
def loss(w, b, x, y):
    p = 1 / (1 + np.exp(-((x * w).sum(axis=1) + b)))
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()


def main() -> None:
    rng = np.random.default_rng(11)
    x = rng.standard_normal((500, 4))
    y = (x @ np.array([1.0, -2.0, 0.5, 0.0]) + 0.3 > 0).astype(float)
    start = np.zeros(4)
    kernel = loss.kernel(start, 0.0, x, y)

    @njit
    def train(w, b, x, y, rate, steps):
        losses = np.empty(steps)
        for step in range(steps):
            losses[step], (dw, db) = kernel(w, b, x, y)
            w = w - rate * dw
            b -= rate * db
        return w, b, losses

    w, b, losses = train(start, 0.0, x, y, 1.0, 300)
    print(f"loss {losses[0]:.4f} -> {losses[-1]:.4f}; w = {w.round(2)}, b = {b:.2f}")

    slow_w, slow_b = start, 0.0
    for _ in range(300):
        dw, db = loss.grad(slow_w, slow_b, x, y)
        slow_w, slow_b = slow_w - dw, slow_b - db
    assert np.allclose(w, slow_w, rtol=1e-9)
    assert np.isclose(b, slow_b, rtol=1e-9)
    assert np.isclose(losses[0], np.log(2))
    assert losses[-1] < 0.15


if __name__ == "__main__":
    main()
