"""The twenty-line NumPy network (64 examples, 1000-100-10 units), and the same without its backward pass.

Both train 2000 steps from the same weights and report the same loss at every step.
"""
# slow

import numpy as np
from threadpoolctl import threadpool_limits

from gradc import differentiate


@differentiate(wrt=("w1", "w2"))
def loss(w1, w2, x, y):
    h = 1 / (1 + np.exp(-x @ w1))
    return np.square(h @ w2 - y).sum()


def by_hand(w1, w2, x, y):
    h = 1 / (1 + np.exp(-x.dot(w1)))
    y_pred = h.dot(w2)
    value = np.square(y_pred - y).sum()
    grad_y_pred = 2.0 * (y_pred - y)
    grad_w2 = h.T.dot(grad_y_pred)
    grad_h = grad_y_pred.dot(w2.T)
    grad_w1 = x.T.dot(grad_h * h * (1 - h))
    return value, (grad_w1, grad_w2)


def train(value_and_grad, x, y, w1, w2, steps: int) -> np.ndarray:
    w1, w2 = w1.copy(), w2.copy()
    losses = np.empty(steps)
    for step in range(steps):
        losses[step], (grad_w1, grad_w2) = value_and_grad(w1, w2, x, y)
        w1 -= 1e-4 * grad_w1
        w2 -= 1e-4 * grad_w2
    return losses


def main(steps: int = 2000) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 1000)), rng.standard_normal((64, 10))
    w1, w2 = rng.standard_normal((1000, 100)), rng.standard_normal((100, 10))
    with threadpool_limits(1):  # for matrices this small, more threads wait for each other
        expected = train(by_hand, x, y, w1, w2, steps)
        losses = train(loss.value_and_grad, x, y, w1, w2, steps)
    for step in (*range(0, steps, max(1, steps // 5)), steps - 1):
        print(f"step {step:4}: gradc {losses[step]:.12g}   by hand {expected[step]:.12g}")
    difference = float(np.max(np.abs(losses - expected) / expected))
    print(f"largest relative difference over {steps} steps: {difference:.1e}")
    assert difference < 1e-12
    assert losses[-1] < 0.1 * losses[0]


if __name__ == "__main__":
    main()
